"""The smallest Flask service, as a first tutorial has it: one page, and a server for whoever develops it."""

from flask import Flask

app = Flask(__name__)


@app.get("/")
def index() -> str:
    """Greet the world."""
    return "<p>Hello, World!</p>"


if __name__ == "__main__":
    app.run(host="0.0.0.0", port=5000, debug=True)
