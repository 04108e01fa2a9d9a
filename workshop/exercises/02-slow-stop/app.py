"""A greeting, and a page that takes its time."""

import time

from flask import Flask

app = Flask(__name__)


@app.get("/")
def hello() -> str:
    """Return the page."""
    return "<p>Hello, World!</p>"


@app.get("/report")
def report() -> str:
    """Return a page that takes three seconds to make."""
    time.sleep(3)
    return "<p>42</p>"
