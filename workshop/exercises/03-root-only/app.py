"""A greeting that says since when it serves."""

from datetime import UTC, datetime
from pathlib import Path

from flask import Flask

STARTED = Path("started.txt")
STARTED.write_text(datetime.now(UTC).isoformat(timespec="seconds"))

app = Flask(__name__)


@app.get("/")
def hello() -> str:
    """Return the page."""
    return f"<p>Hello, World! Serving since {STARTED.read_text()}.</p>"
