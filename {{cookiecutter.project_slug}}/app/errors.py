"""Errors as problem details (RFC 9457): one JSON shape for every client that does not ask for HTML."""

import json

from flask import Flask, request
from werkzeug.exceptions import HTTPException, RequestTimeout
from werkzeug.wrappers import Response

from app import request_ids


def init_app(app: Flask) -> None:
    """Answer every HTTP error of `app`, and every uncaught exception, through `problem`."""
    app.register_error_handler(HTTPException, problem)
    # What the socket raises where a client pauses for too long in the middle of a body (see app/worker.py).
    app.register_error_handler(BlockingIOError, lambda _: problem(RequestTimeout()))


def problem(error: HTTPException) -> Response:
    """Return the response to `error`, with its own headers (Allow, Retry-After …) kept."""
    response = error.get_response(request.environ)
    if error.response is not None or _prefers_html():
        return response
    details = {
        "type": "about:blank",
        "title": error.name,
        "status": error.code,
        "detail": error.description,
        "request_id": request_ids.current(),
    }
    response.data = json.dumps(details)
    response.content_type = "application/problem+json"
    return response


def _prefers_html() -> bool:
    accepted = request.accept_mimetypes
    return accepted["text/html"] > max(accepted["application/problem+json"], accepted["application/json"])
