"""Errors as problem details (RFC 9457): one JSON shape for every client, or a page for a browser."""

import json
from wsgiref.types import WSGIEnvironment

from flask import Flask, request
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Request, Response

from app import request_ids


def init_app(app: Flask) -> None:
    """Send every HTTP error of `app`, and every uncaught exception, through `response`."""
    app.register_error_handler(HTTPException, lambda error: response(error, request.environ))


def response(error: HTTPException, environ: WSGIEnvironment) -> Response:
    """Return the response to `error`, with its own headers (Allow, Retry-After …) kept."""
    given = Response.force_type(error.get_response(environ), environ)
    if error.response is not None or given.status_code < 400:  # made by a view, or a redirect
        return given
    ids = request_ids.fields()
    if _prefers_html(environ):
        given.data = given.get_data(as_text=True) + "".join(f"<p>{key}: <code>{ids[key]}</code>\n" for key in ids)
        return given
    details = {"type": "about:blank", "title": error.name, "status": error.code, "detail": error.description}
    given.data = json.dumps(details | ids)
    given.content_type = "application/problem+json"
    return given


def _prefers_html(environ: WSGIEnvironment) -> bool:
    accepted = Request(environ).accept_mimetypes
    return accepted["text/html"] > max(accepted["application/problem+json"], accepted["application/json"])
