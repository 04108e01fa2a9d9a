"""HEALTHCHECK of the image: exit code 0 if /healthz responds with 200 within 2 seconds, else 1 and the reason.

`_socket` is what Python's socket module is made of. With it and `python -I -S` a probe costs half of one with that.
"""

import _socket
import os
import sys

TIMEOUT_SECONDS = 2


def main() -> str | None:
    """Return None if the service is healthy, else the reason why not."""
    try:
        response = ask(int(os.environ["PORT"]))
    except (OSError, KeyError, ValueError, OverflowError) as error:
        return f"no response from /healthz: {error!r}"
    return None if response.split(None, 2)[1:2] == [b"200"] else f"/healthz responded {response!r}"


def ask(port: int) -> bytes:
    """Return the first line of the response of /healthz, or what there was of it."""
    connection = connect(port)
    try:
        connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        received = b""
        while b"\n" not in received and (more := connection.recv(100)):
            received += more
        return received.partition(b"\n")[0]
    finally:
        connection.close()


def connect(port: int) -> _socket.socket:
    """Return a connection to the service on this host, by IPv4 or else by IPv6."""
    problems = []
    for family, host in (_socket.AF_INET, "127.0.0.1"), (_socket.AF_INET6, "::1"):
        connection = None
        try:
            connection = _socket.socket(family)
            connection.settimeout(TIMEOUT_SECONDS)
            connection.connect((host, port))
        except OSError as error:
            problems.append(error)
            if connection:
                connection.close()
        else:
            return connection
    raise problems[0]


if __name__ == "__main__":
    sys.exit(main())
