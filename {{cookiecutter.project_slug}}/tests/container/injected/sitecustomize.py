"""Mounted into a container by the contract: gives any Flask application a slow page, without a change of its image.

GET /contract/sleep?3 waits 3 seconds and then answers like /.
"""

import time
from contextlib import suppress
from typing import Any

with suppress(ImportError):
    from flask import Flask

    _wsgi_app = Flask.wsgi_app

    def _slow_wsgi_app(self: Flask, environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/contract/sleep":
            time.sleep(float(environ["QUERY_STRING"]))
            environ["PATH_INFO"] = "/"
        return _wsgi_app(self, environ, start_response)

    Flask.wsgi_app = _slow_wsgi_app  # type: ignore[method-assign]
