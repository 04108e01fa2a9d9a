"""Logs: one JSON object a line on stdout, for the application, gunicorn and its access log alike."""

import json
import logging
import time
from contextlib import suppress
from datetime import timedelta
from functools import lru_cache
from typing import Any, TextIO

from gunicorn.glogging import Logger

from app import health, request_ids

# What every record has; all else came with `extra=` and belongs into the line.
_STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

_access = logging.getLogger("gunicorn.access")
_encode = json.JSONEncoder(default=str).encode


def configuration(level: str, style: str) -> dict[str, Any]:
    """Return the `logging.config` dictionary for a level and a style, "json" or "text"."""
    # No line tells its file, thread or process, and finding them out takes time (Logging HOWTO, Optimization).
    logging._srcfile = None
    for unused in ("logThreads", "logProcesses", "logMultiprocessing", "logAsyncioTasks"):
        setattr(logging, unused, False)
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {"()": JsonFormatter},
            "text": {"format": "%(asctime)s %(levelname)-7s %(name)s: %(message)s"},
        },
        "handlers": {"stdout": {"()": BatchHandler, "formatter": style, "stream": "ext://sys.stdout"}},
        "root": {"level": level.upper(), "handlers": ["stdout"]},
        # No handlers of their own: gunicorn's would write the same line a second time, as plain text.
        "loggers": {
            "gunicorn.error": {"level": level.upper(), "handlers": [], "propagate": True},
            "gunicorn.access": {"level": level.upper(), "handlers": [], "propagate": True},
        },
    }


class BatchHandler(logging.StreamHandler[TextIO]):
    """Writes a line at once; in a worker, access lines many together.

    Every write wakes up two processes of the container engine, which costs more than to answer the request. Therefore
    access lines wait for the event loop (app/worker.py) or for the next line of another logger, a tenth of a second at
    most. Only a worker that is killed loses them.
    """

    batching = False

    def __init__(self, stream: TextIO) -> None:
        """Write to `stream`."""
        super().__init__(stream)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Take the line of a record."""
        try:
            self.lines.append(self.format(record) + self.terminator)
        except Exception:
            self.handleError(record)
        if not (self.batching and record.name == _access.name):
            self.flush()

    def flush(self) -> None:
        """Write what there is. A reader of the log that has gone away must not stop the service."""
        self.acquire()
        try:
            lines, self.lines = self.lines, []
            if lines:
                with suppress(OSError, ValueError):
                    self.stream.write("".join(lines))
                    self.stream.flush()
        finally:
            self.release()


def waiting() -> list[BatchHandler]:
    """Return the handlers that have lines to flush."""
    return [handler for handler in logging.root.handlers if isinstance(handler, BatchHandler) and handler.lines]


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON. Non-ASCII text is escaped, so no terminal or collector can trip over it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its line end. `time` is UTC, RFC 3339."""
        line = {
            "time": f"{_utc(int(record.created))}.{int(record.msecs):03}+00:00",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": request_ids.current(),
        }
        line.update({key: value for key, value in vars(record).items() if key not in _STANDARD_FIELDS})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _encode(line)


@lru_cache(maxsize=1)
def _utc(timestamp: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(timestamp))


class GunicornLogger(Logger):  # type: ignore[misc]
    """gunicorn's logger with structured access lines."""

    def access(self, resp: Any, req: Any, environ: dict[str, Any], request_time: timedelta) -> None:
        """Log one request. Probes are left out: they come every few seconds and say nothing new.

        So is the query string, where people put what must not be logged.
        """
        path = req.path or "-"  # nothing where the request line itself was refused
        if path in health.PATHS or not _access.isEnabledFor(logging.INFO):
            return
        status = int(str(resp.status).split(maxsplit=1)[0])
        _access.info(
            "%s %s %s",
            req.method,
            path,
            status,
            extra={
                "request_id": environ.get(request_ids.ENVIRON_KEY),
                "method": req.method,
                "path": path,
                "status": status,
                "duration_ms": round(request_time / timedelta(milliseconds=1), 3),
            },
        )
