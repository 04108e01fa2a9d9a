"""The access log: one line a request, in place of gunicorn's text."""

import logging
from datetime import timedelta
from typing import Any

from gunicorn.glogging import Logger

from app import health

_access = logging.getLogger("gunicorn.access")


class GunicornLogger(Logger):  # type: ignore[misc]
    """gunicorn's logger with structured access lines, for its setting `logger_class`."""

    def access(self, resp: Any, req: Any, _: dict[str, Any], request_time: timedelta) -> None:
        """Log one request. Probes are left out: they come every few seconds and say nothing new.

        So is the query string, where people put what must not be logged.
        """
        path = req.path or "-"  # nothing where the request line itself was refused
        if path not in health.PATHS and _access.isEnabledFor(logging.INFO):
            status = int(str(resp.status).split(maxsplit=1)[0])
            fields = {"method": req.method, "path": path, "status": status}
            milliseconds = round(request_time / timedelta(milliseconds=1), 3)
            _access.info("%s %s %s", *fields.values(), extra={**fields, "duration_ms": milliseconds})
