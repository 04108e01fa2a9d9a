"""The smallest Flask service, as a first tutorial has it: one page, and a server for whoever develops it."""

from flask import Flask

app = Flask(__name__)


@app.get("/")
def index() -> str:
    """Greet the world."""
    return "<p>Hello, World!</p>"


@app.get("/healthz")
@app.get("/readyz")
def health() -> str:
    """Show that a worker responds; here it needs nothing else to be ready."""
    return "ok"


if __name__ == "__main__":
    app.run(host="0.0.0.0", port=5000, debug=True)
