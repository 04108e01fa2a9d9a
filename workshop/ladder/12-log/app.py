"""The smallest Flask service, as a first tutorial has it: one page, and a server for whoever develops it."""

import re
import secrets
import time

from flask import Flask, Response, g, request

app = Flask(__name__)


@app.before_request
def begin() -> None:
    """Take the id that a client gave the request if it is well-formed, or make one."""
    given = re.fullmatch(r"[A-Za-z0-9._-]{1,128}", request.headers.get("X-Request-ID", ""))
    g.began, g.id = time.monotonic(), given[0] if given else secrets.token_hex(16)


@app.after_request
def end(response: Response) -> Response:
    """Log the request, unless it was a probe, and give its id back."""
    response.headers["X-Request-ID"] = g.id
    what = {"method": request.method, "path": request.path, "status": response.status_code}
    how = {"request_id": g.id, "duration_ms": round(1000 * (time.monotonic() - g.began), 3)}
    if request.endpoint != "health":
        app.logger.info("%s %s %s", *what.values(), extra={"fields": what | how})
    return response


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
