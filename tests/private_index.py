"""A package index as companies have them: pypiserver behind TLS and a password. test_private_networks.py runs it.

A separate program, because pypiserver's import hook warns of itself in every later import.
"""

import ssl
import sys
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pypiserver


class _Handler(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:  # noqa: ARG002 - so it is called
        """Write status, path and what the client said of itself, as one line."""
        sys.stdout.write(f"{code} {self.path} {self.headers.get('Authorization', '-')}\n")
        sys.stdout.flush()


def main(packages: str, certificate: str, user: str, password: str) -> None:
    """Serve a folder of packages on a port of the system's choice; print the port, then a line for every request."""
    app = pypiserver.app(
        roots=[Path(packages)],
        authenticate=["list", "download"],
        password_file=None,
        auther=lambda *given: given == (user, password),
        disable_fallback=True,
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    with make_server("", 0, app, handler_class=_Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        sys.stdout.write(f"{server.server_port}\n")
        sys.stdout.flush()
        server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
