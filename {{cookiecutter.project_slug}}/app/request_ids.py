"""Ids of the request being handled: its own, and those of its trace (https://www.w3.org/TR/trace-context/)."""

import os
import re
from contextvars import ContextVar
from wsgiref.types import WSGIEnvironment

# Anything else could forge log lines or fill the log.
WELL_FORMED = re.compile(r"[A-Za-z0-9._-]{1,128}")
# Versions after 00 may have more fields.
TRACEPARENT = re.compile(
    r"(?!ff|00.{54})[0-9a-f]{2}-(?!0{32})(?P<trace_id>[0-9a-f]{32})-(?!0{16})(?P<span_id>[0-9a-f]{16})-[0-9a-f]{2}(-.*)?"
)
_current: ContextVar[dict[str, str]] = ContextVar("request_ids")


def enter(environ: WSGIEnvironment) -> str:
    """Begin a request: return its X-Request-ID, the client's where it is well-formed, else a new one."""
    offered = environ.get("HTTP_X_REQUEST_ID", "")
    request_id = offered if WELL_FORMED.fullmatch(offered) else os.urandom(16).hex()
    trace = TRACEPARENT.fullmatch(environ.get("HTTP_TRACEPARENT", ""))
    _current.set({"request_id": request_id, **(trace.groupdict() if trace else {})})
    return request_id


def leave() -> None:
    """End the request: what this thread logs from now on is not part of it."""
    _current.set({})


def fields() -> dict[str, str]:
    """Return `request_id`, and `trace_id` and `span_id` if the client sent them; nothing outside of a request."""
    return _current.get({})


def current() -> str | None:
    """Return the id of the request being handled, or None outside of one."""
    return fields().get("request_id")
