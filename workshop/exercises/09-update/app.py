"""A greeting, and the page by which a balancer decides whether to send requests here."""

from flask import Flask

app = Flask(__name__)


@app.get("/")
def hello() -> str:
    """Return the page."""
    return "<p>Hello, World!</p>"


@app.get("/readyz")
def readyz() -> str:
    """Tell the balancer whether to send requests to this container: readiness."""
    return "ok\n"
