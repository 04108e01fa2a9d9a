"""Request bodies: whole, within the limit and without long pauses, or refused. No view takes a part for the whole."""

import io
from contextlib import suppress
from time import monotonic
from typing import Any
from wsgiref.types import WSGIEnvironment

from werkzeug.exceptions import BadRequest, HTTPException, RequestEntityTooLarge, RequestTimeout
from werkzeug.wsgi import get_content_length

# How long a client may pause. One that is only slow is the business of the proxy, which waits without a thread.
PAUSE_SECONDS = 10
# How long a client may go on sending after the response (RFC 9112, section 9.6).
DRAIN_SECONDS = 2
BLOCK = 64 * 1024
ENVIRON_KEY = "app.body"


def guard(environ: WSGIEnvironment, limit: int) -> None:
    """Put a guarded body into `environ`; raise an HTTPException for one that is over the limit or malformed.

    A chunked body does not say how long it is. It is read here, so that views, and the limits they may set themselves,
    find a length as with any other body.
    """
    if "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower():
        whole, body = bytearray(), _Body(environ, None)
        while block := body.read(BLOCK):
            whole += block
            if len(whole) > limit:
                raise RequestEntityTooLarge
        del environ["HTTP_TRANSFER_ENCODING"]
        environ |= {"CONTENT_LENGTH": str(len(whole)), "wsgi.input": io.BytesIO(whole)}
    elif announced := get_content_length(environ):
        body = _Body(environ, announced)
        if announced > limit:
            raise RequestEntityTooLarge
        environ["wsgi.input"] = io.BufferedReader(body, BLOCK)


def drain(environ: WSGIEnvironment) -> None:
    """Drop what the client still sends: a connection that is closed meanwhile takes the response along."""
    if body := environ.get(ENVIRON_KEY):
        body.pause, deadline = DRAIN_SECONDS, monotonic() + DRAIN_SECONDS
        with suppress(HTTPException, ValueError):
            while monotonic() < deadline and body.read(BLOCK):
                pass


class _Body(io.RawIOBase):
    """What the server reads from the client. Whatever goes wrong with that is told as the client's fault."""

    def __init__(self, environ: WSGIEnvironment, length: int | None) -> None:
        self.input, self.socket = environ["wsgi.input"], environ.get("gunicorn.socket")
        self.left, self.pause = length, PAUSE_SECONDS
        environ[ENVIRON_KEY] = self

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        wanted = len(buffer) if self.left is None else min(len(buffer), self.left)
        data = self._receive(wanted) if wanted else b""
        buffer[: len(data)] = data
        if self.left is not None:
            self.left -= len(data)
            if len(data) < wanted:
                raise BadRequest("The body ended before the length that was announced.")
        return len(data)

    def _receive(self, size: int) -> bytes:
        before = self.socket.gettimeout() if self.socket else None
        try:
            if self.socket:
                self.socket.settimeout(self.pause)
            return bytes(self.input.read(size))
        except TimeoutError:
            raise RequestTimeout from None
        except Exception:  # servers have their own errors for a malformed chunk or a connection that is lost
            raise BadRequest("The body could not be read.") from None
        finally:
            if self.socket:
                self.socket.settimeout(before)
