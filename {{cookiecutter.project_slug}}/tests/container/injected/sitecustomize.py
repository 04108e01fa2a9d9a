"""Mounted into a container by the contract: gives any Flask application more pages, without a change of its image.

/contract/sleep?3 waits 3 seconds in the page that CONTRACT_PAGE names, then responds with 200; /contract/worker tells
the number of its process; /contract/read reads the body and tells its length; /contract/exit?3 ends by sys.exit(3), and
/contract/exit?x by a ValueError; /contract/temporary writes a megabyte to a temporary file; /contract/client tells
address, scheme, host and the place of the application as views see them.
"""

import os
import sys
import tempfile
import time
from contextlib import suppress
from typing import Any

with suppress(ImportError):
    from flask import Flask, Request

    _wsgi_app = Flask.wsgi_app

    def _with_contract_pages(self: Flask, environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/contract/worker":
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [str(os.getpid()).encode()]
        if environ["PATH_INFO"] == "/contract/read":
            length = len(Request(environ).get_data())
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [str(length).encode()]
        if environ["PATH_INFO"] == "/contract/client":
            start_response("200 OK", [("Content-Type", "text/plain")])
            seen = [environ[name] for name in ("REMOTE_ADDR", "wsgi.url_scheme", "HTTP_HOST")]
            return [" ".join([*seen, environ["SCRIPT_NAME"] or "/"]).encode()]
        if environ["PATH_INFO"] == "/contract/exit":
            sys.exit(int(environ["QUERY_STRING"].partition("&")[0]))
        if environ["PATH_INFO"] == "/contract/temporary":
            with tempfile.TemporaryFile() as file:
                written = file.write(bytes(10**6))
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [str(written).encode()]
        if environ["PATH_INFO"] == "/contract/sleep":
            environ["PATH_INFO"] = os.environ["CONTRACT_PAGE"]
            answer = _wsgi_app(self, environ, lambda _, *rest: start_response("200 OK", *rest))
            # How a test knows that the request is in flight. In one piece: print() writes the line end apart, and a
            # worker beside it may write before that.
            os.write(1, b"contract: asleep\n")
            time.sleep(float(environ["QUERY_STRING"]))
            return answer
        return _wsgi_app(self, environ, start_response)

    Flask.wsgi_app = _with_contract_pages  # type: ignore[method-assign]
