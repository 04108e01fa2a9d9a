"""Prices from a list that was fetched while the image was built."""

import json
from pathlib import Path

from flask import Flask

app = Flask(__name__)
PRICES = json.loads(Path("/srv/prices.json").read_text())


@app.get("/")
def hello() -> str:
    """Return the page."""
    return f"<p>The answer costs {PRICES['answer']}.</p>"
