"""Logs: one JSON object a line on stdout, for the application, gunicorn and its access log alike."""

import json
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from gunicorn.glogging import Logger

from app import health, request_ids

# What every record has; all else came with `extra=` and belongs into the line.
_STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

_access = logging.getLogger("gunicorn.access")


def configuration(level: str, style: str) -> dict[str, Any]:
    """Return the `logging.config` dictionary for a level and a style, "json" or "text"."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {"()": JsonFormatter},
            "text": {"format": "%(asctime)s %(levelname)-7s %(name)s: %(message)s"},
        },
        "handlers": {"stdout": {"class": "logging.StreamHandler", "formatter": style, "stream": "ext://sys.stdout"}},
        "root": {"level": level.upper(), "handlers": ["stdout"]},
        # No handlers of their own: gunicorn's would write the same line a second time, as plain text.
        "loggers": {
            "gunicorn.error": {"level": level.upper(), "handlers": [], "propagate": True},
            "gunicorn.access": {"level": level.upper(), "handlers": [], "propagate": True},
        },
    }


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON. Non-ASCII text is escaped, so no terminal or collector can trip over it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its line end. `time` is UTC, RFC 3339."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": request_ids.current(),
        }
        line.update((key, value) for key, value in vars(record).items() if key not in _STANDARD_FIELDS)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class GunicornLogger(Logger):  # type: ignore[misc]
    """gunicorn's logger with structured access lines."""

    def access(self, resp: Any, req: Any, environ: dict[str, Any], request_time: timedelta) -> None:
        """Log one request. Probes are left out: they come every few seconds and say nothing new.

        So is the query string, where people put what must not be logged.
        """
        path = req.path or "-"  # nothing where the request line itself was refused
        if path in health.PATHS:
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
