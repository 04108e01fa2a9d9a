"""Logs: one JSON object a line on stdout, whatever is logged, by the application and gunicorn alike."""

import json
import logging.config
import sys
import threading
import time
from functools import lru_cache
from typing import Any

from app import request_ids
from app.settings import Secret, Settings

# What every record has; all else came with `extra=` and belongs into the line.
_STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_log = logging.getLogger("app")
# Beyond these, a field is told as text: other programs must be able to read the line.
MAX_DEPTH = 20
MAX_NUMBER = 1e300


def configuration(level: str, style: str) -> dict[str, Any]:
    """Return the `logging.config` dictionary for a level and a style, "json" or "text"."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {"()": JsonFormatter},
            "text": {"format": "%(asctime)s %(levelname)-7s %(name)s %(filename)s:%(lineno)d: %(message)s"},
        },
        "handlers": {"stdout": {"class": "logging.StreamHandler", "formatter": style, "stream": "ext://sys.stdout"}},
        "root": {"level": level.upper(), "handlers": ["stdout"]},
        # gunicorn's own handlers would write the same line a second time, as plain text.
        "loggers": {
            name: {"level": level.upper(), "handlers": [], "propagate": True}
            for name in ("gunicorn.error", "gunicorn.access")
        },
    }


def start(config: Settings) -> None:
    """Log as the service does, in a program beside it, such as a worker. What serves gets the same from gunicorn."""
    logging.config.dictConfig(configuration(config.log_level, config.log_format))
    capture()


def capture() -> None:
    """Log what Python would print to stderr: warnings, and exceptions that nobody has caught, in threads as well."""
    logging.captureWarnings(True)
    sys.excepthook = lambda *error: _log.critical("uncaught exception", exc_info=error)
    threading.excepthook = _uncaught_in_thread
    sys.unraisablehook = lambda found: _log.error(
        "%s", found.err_msg or f"exception ignored in {found.object!r}", exc_info=found.exc_value
    )


def _uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is not SystemExit:  # the way to end a thread
        name = args.thread.name if args.thread else "?"
        _log.error("uncaught exception in thread %s", name, exc_info=args.exc_value)


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON. Non-ASCII text is escaped, so no terminal or collector can trip over it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its line end. `time` is UTC, RFC 3339."""
        line: dict[str, Any] = {
            "time": f"{_utc(int(record.created))}.{int(record.msecs):03}+00:00",
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record),
            "request_id": None,
        }
        line |= request_ids.fields()
        try:
            return _encode(line | self._more(record, line))
        except Exception as error:  # one field must not cost the line
            return _encode(line | {"logging_error": type(error).__name__})

    def _more(self, record: logging.LogRecord, line: dict[str, Any]) -> dict[str, Any]:
        more: dict[str, Any] = {}
        if record.exc_info:
            more["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            more["stack"] = record.stack_info
        for key in [key for key in vars(record) if key not in _STANDARD_FIELDS]:
            more[f"{key}_" if key in line or key in more else key] = _plain(vars(record)[key])
        return more


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # the arguments do not fit: what was meant is still worth a line
        return f"{_text(record.msg)} {_text(record.args)}"


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception:
        return f"<{type(value).__name__}>"


_encode = json.JSONEncoder(allow_nan=False).encode


def _plain(value: Any, *around: Any) -> Any:
    """Return what JSON can hold of a value: no NaN, only text as keys, nothing that contains itself, no secret."""
    if value is None or isinstance(value, str):
        return repr(value) if isinstance(value, Secret) else value
    if isinstance(value, (int, float)) and abs(value) < MAX_NUMBER:
        return value
    if any(value is each for each in around) or len(around) > MAX_DEPTH:
        return f"<{type(value).__name__}>"
    if isinstance(value, dict):
        return {_text(key): _plain(each, *around, value) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each, *around, value) for each in value]
    return _text(value)


@lru_cache(maxsize=1)
def _utc(timestamp: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(timestamp))
