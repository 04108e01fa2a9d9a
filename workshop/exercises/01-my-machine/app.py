"""A greeting. The token is for a service that comes later; on the author's machine it stands in `.env`."""

import os

from flask import Flask

app = Flask(__name__)
app.config["API_TOKEN"] = os.environ.get("API_TOKEN", "")


@app.get("/")
def hello() -> str:
    """Return the page."""
    return "<p>Hello, World!</p>"
