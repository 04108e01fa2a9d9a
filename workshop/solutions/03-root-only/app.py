"""A greeting that says since when it serves."""

from datetime import UTC, datetime

from flask import Flask

STARTED = datetime.now(UTC).isoformat(timespec="seconds")

app = Flask(__name__)


@app.get("/")
def hello() -> str:
    """Return the page."""
    return f"<p>Hello, World! Serving since {STARTED}.</p>"
