"""The smallest Flask application: what the baselines serve, and the bare application of the throughput measure."""

# Flask is in the image, not where mypy runs.
# mypy: ignore-errors

from flask import Flask

app = Flask(__name__)


@app.get("/")
def index() -> str:
    """Greet the world."""
    return "<p>Hello, World!</p>"
