"""A greeting."""

from flask import Flask

app = Flask(__name__)


@app.get("/")
def hello() -> str:
    """Return the page."""
    return "<p>Hello, World!</p>"
