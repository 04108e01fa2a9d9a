"""The time of day where the office is."""

import os
from datetime import datetime
from zoneinfo import ZoneInfo

from flask import Flask

app = Flask(__name__)


@app.get("/")
def hello() -> str:
    """Return the page."""
    now = datetime.now(ZoneInfo(os.environ["ZONE"]))
    return f"<p>Hello, World! It is {now:%H:%M}.</p>"


@app.errorhandler(Exception)
def failed(_: Exception) -> tuple[str, int]:
    """Tell the client no details."""
    return "Something went wrong.", 500
