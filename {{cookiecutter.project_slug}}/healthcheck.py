"""HEALTHCHECK of the image: exit code 0 if /healthz answers 200 within 2 seconds, else 1 and the reason.

A raw socket and no site-packages: run as `python -I -S`, a probe costs a quarter of one through urllib.
"""

import os
import socket
import sys

TIMEOUT_SECONDS = 2


def main() -> str | None:
    """Return None if the service is healthy, else the reason why not."""
    try:
        with socket.create_connection(("127.0.0.1", int(os.environ["PORT"])), TIMEOUT_SECONDS) as connection:
            connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            answer = connection.makefile("rb").readline(100)
    except (OSError, KeyError, ValueError) as error:
        return f"no answer from /healthz: {error!r}"
    return None if b" 200 " in answer else f"/healthz answered {answer!r}"


if __name__ == "__main__":
    sys.exit(main())
