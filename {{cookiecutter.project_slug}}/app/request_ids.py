"""Request ids: one name for a request, from the proxy through every log line to the client's bug report."""

import os
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import Flask, has_request_context, request

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# Anything else could forge log lines or fill the log.
WELL_FORMED = re.compile(r"[A-Za-z0-9._-]{1,128}")
ENVIRON_KEY = "app.request_id"


def init_app(app: Flask) -> None:
    """Give every request to `app` an id: the client's X-Request-ID where it is well-formed, else a new one."""
    app.wsgi_app = _with_request_id(app.wsgi_app)  # type: ignore[method-assign, assignment]


def current() -> str | None:
    """Return the id of the request being handled, or None outside of one."""
    return request.environ.get(ENVIRON_KEY) if has_request_context() else None


def _with_request_id(wsgi_app: "WSGIApplication") -> "WSGIApplication":
    """Wrap the whole application, so that a response of the framework itself carries the id as well."""

    def wrapped(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        offered = environ.get("HTTP_X_REQUEST_ID", "")
        request_id = offered if WELL_FORMED.fullmatch(offered) else os.urandom(16).hex()
        environ[ENVIRON_KEY] = request_id

        def start(status, headers, exc_info=None):  # type: ignore[no-untyped-def]
            return start_response(status, [*headers, ("X-Request-ID", request_id)], exc_info)

        return wsgi_app(environ, start)

    return wrapped
