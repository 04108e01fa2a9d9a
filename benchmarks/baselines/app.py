"""The smallest Flask application: what the baselines serve."""

# Flask is in the image, not where mypy runs.
# mypy: ignore-errors

from flask import Flask

app = Flask(__name__)


@app.get("/")
def index() -> str:
    """Greet the world."""
    return "<p>Hello, World!</p>"
