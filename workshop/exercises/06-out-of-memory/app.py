"""A greeting, and a table that needs memory."""

from flask import Flask

app = Flask(__name__)

# Stands in for a model or a dictionary that is loaded from a file: 32 MiB that every request reads.
TABLE = bytes(range(256)) * 2**17


@app.get("/")
def hello() -> str:
    """Return the page."""
    return f"<p>Hello, World! {TABLE.count(42)} answers.</p>"
