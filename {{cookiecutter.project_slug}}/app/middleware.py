"""The outer layer, around Flask: what holds for every response, whatever the application does."""

import errno
import logging
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Flask, json
from werkzeug.exceptions import HTTPException, InternalServerError, MethodNotAllowed
from werkzeug.wrappers import Response
from werkzeug.wsgi import ClosingIterator, FileWrapper

from app import bodies, errors, health, request_ids, security
from app.settings import Settings

_log = logging.getLogger(__name__)


def init_app(app: Flask, config: Settings) -> None:
    """Wrap `app`: give each request an id, respond to probes, guard bodies, and let no failure reach the server."""
    app.wsgi_app = _Middleware(app, app.wsgi_app, config.max_body_bytes)  # type: ignore[method-assign]


class _Middleware:
    def __init__(self, app: Flask, wsgi_app: WSGIApplication, limit: int) -> None:
        self.app, self.wsgi_app, self.limit = app, wsgi_app, limit

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        request_id = request_ids.enter(environ)
        # On a socket for both, IPv4 addresses come in the notation of IPv6.
        environ["REMOTE_ADDR"] = environ.get("REMOTE_ADDR", "").removeprefix("::ffff:")
        # A date in an image says nothing, except that it is made from the content of its file, and Flask makes the ETag
        # from it. So that alone decides whether a copy is fresh.
        environ.pop("HTTP_IF_MODIFIED_SINCE", None)

        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            headers = security.completed([*headers, ("X-Request-ID", request_id)], environ)
            return start_response(status, headers, *more)

        try:
            return self._respond(environ, start)
        except HTTPException as error:
            response = errors.response(error, environ)
        except BaseException as error:
            # sys.exit and its like end a process, and this one serves others as well.
            if self.app.testing or (isinstance(error, Exception) and "werkzeug.debug.preserve_context" in environ):
                raise
            _log_exception(environ)
            response = errors.response(InternalServerError(), environ)
        return ClosingIterator(response(environ, start), [partial(bodies.drain, environ), request_ids.leave])

    def _respond(self, environ: WSGIEnvironment, start: Any) -> Iterable[bytes]:
        """Return the body of the response. Its head is sent once the first piece of it is there."""
        if (path := environ.get("PATH_INFO", "")) in health.PATHS:
            if environ["REQUEST_METHOD"] not in {"GET", "HEAD"}:
                raise MethodNotAllowed(["GET", "HEAD"])
            body, status = health.probe(path, self.app)
            response = Response(json.dumps(body), status, content_type="application/json")(environ, start)
            return ClosingIterator(response, request_ids.leave)
        bodies.guard(environ, self.limit)
        head: list[Any] = []
        pieces: list[bytes] = []

        def keep(*arguments: Any) -> Any:
            head[:] = arguments
            return pieces.append

        response = self.wsgi_app(environ, keep)
        close = getattr(response, "close", lambda: None)
        if isinstance(response, environ.get("wsgi.file_wrapper", FileWrapper)):
            status, headers, *more = head
            start(status, [header for header in headers if header[0] != "Last-Modified"], *more)
            response.close = ClosingIterator((), [close, request_ids.leave]).close
            return response  # type: ignore[no-any-return]  # as it is: the server has the kernel send the file
        try:
            rest = iter(response)
            pieces.extend(piece for piece in [next(rest, None)] if piece is not None)
        except BaseException:
            close()
            raise
        start(*head)
        ending = [close, partial(bodies.drain, environ), request_ids.leave]
        return ClosingIterator(_cut_off_on_failure(environ, chain(pieces, rest)), ending)


def _cut_off_on_failure(environ: WSGIEnvironment, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the pieces. If one fails, the head has been sent: only a connection that is lost tells the client."""
    try:
        yield from pieces
    except GeneratorExit:
        raise
    except BaseException:
        _log_exception(environ)
        raise BrokenPipeError(errno.EPIPE, "the response has failed") from None


def _log_exception(environ: WSGIEnvironment) -> None:
    _log.exception("Exception on %s [%s]", environ.get("PATH_INFO"), environ["REQUEST_METHOD"])
