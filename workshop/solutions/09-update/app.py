"""A greeting, and the page by which a balancer decides whether to send requests here."""

from pathlib import Path

from flask import Flask, abort

app = Flask(__name__)
DRAINING = Path("/dev/shm/draining")  # gunicorn.conf.py makes it


@app.get("/")
def hello() -> str:
    """Return the page."""
    return "<p>Hello, World!</p>"


@app.get("/readyz")
def readyz() -> str:
    """Tell the balancer whether to send requests to this container: readiness."""
    if DRAINING.exists():
        abort(503, "about to stop")
    return "ok\n"
