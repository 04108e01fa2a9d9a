"""The image's HEALTHCHECK against a real socket."""

import _socket
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import healthcheck

SECONDS = 10  # the end of a test that would hang


class Server:
    """Takes one connection on a free port of this host, and keeps what it has received."""

    def __init__(self, listener: socket.socket, pieces: tuple[bytes, ...]) -> None:
        """Respond with some pieces, one after another; after the first line, or nothing, wait until the client goes."""
        self.listener, self.pieces = listener, pieces
        self.port = str(listener.getsockname()[1])
        self.received = b""
        self.left_alone = False

    def serve(self) -> None:
        """Take a request and respond."""
        connection, _ = self.listener.accept()
        with connection:
            connection.settimeout(SECONDS)
            while b"\r\n\r\n" not in self.received and (more := connection.recv(1000)):
                self.received += more
            for number, piece in enumerate(self.pieces):
                time.sleep(0.1 if number else 0)
                connection.sendall(piece)
            if not self.pieces or b"\n" in self.pieces[-1]:
                try:
                    connection.recv(1)
                except TimeoutError:
                    self.left_alone = True


@contextmanager
def serving(*pieces: bytes, family: int = socket.AF_INET, host: str = "127.0.0.1") -> Iterator[Server]:
    """Serve, and see that the request was the right one."""
    with socket.create_server((host, 0), family=family) as listener:
        listener.settimeout(SECONDS)
        server = Server(listener, pieces)
        thread = threading.Thread(target=server.serve, daemon=True)
        thread.start()
        yield server
        thread.join(SECONDS)
    assert not server.left_alone, f"it waits after {SECONDS} s of silence: it has lost its time-out, or reads on"
    assert server.received == b"GET /healthz HTTP/1.0\r\n\r\n", f"the probe asks {server.received!r}, not /healthz"


@pytest.mark.parametrize("line", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 200 \r\n", b"HTTP/1.1 200\n"])
def test_200_is_healthy(monkeypatch: pytest.MonkeyPatch, line: bytes) -> None:
    with serving(line + b"Connection: close\r\n\r\n") as server:
        monkeypatch.setenv("PORT", server.port)

        assert healthcheck.main() is None


@pytest.mark.parametrize(
    "line",
    [
        b"HTTP/1.1 204 No Content\r\n",
        b"HTTP/1.1 404 Not Found\r\n",
        b"HTTP/1.1 500 Internal Server Error\r\n",
        b"HTTP/1.1 503 Service Unavailable\r\n",
        b"HTTP/1.1 500 200 \r\n",
        b"HTTP/1.1 503 Service Unavailable\r\nX: HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 2000\r\n",
        b"200\r\n",
        b"\r\nHTTP/1.1 200 OK\r\n",
        b"HTTP/1.1",
    ],
)
def test_all_else_is_unhealthy(monkeypatch: pytest.MonkeyPatch, line: bytes) -> None:
    with serving(line) as server:
        monkeypatch.setenv("PORT", server.port)
        first = line.split(b"\n")[0]

        assert healthcheck.main() == f"/healthz responded {first!r}"


def test_a_response_may_come_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(b"HTTP/1.1 2", b"00 OK\r", b"\n\r\n") as server:
        monkeypatch.setenv("PORT", server.port)

        assert healthcheck.main() is None


def test_silence_is_unhealthy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(healthcheck, "TIMEOUT_SECONDS", 0.1)
    with serving() as server:
        monkeypatch.setenv("PORT", server.port)
        reason = str(healthcheck.main())

    assert reason.startswith("no response from /healthz: TimeoutError(")


def test_the_probe_gives_up_before_docker_does() -> None:
    assert healthcheck.TIMEOUT_SECONDS < 3, "HEALTHCHECK --timeout ends it without a reason: stay below its 3 s"


def test_a_connection_that_is_closed_is_unhealthy(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(b"") as server:
        monkeypatch.setenv("PORT", server.port)

        assert healthcheck.main() == "/healthz responded b''"


@pytest.fixture
def closed_port() -> str:
    """Return a port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return str(listener.getsockname()[1])


@pytest.mark.parametrize("other_family", [_socket.AF_INET6, 9999], ids=["IPv6", "no IPv6"])
def test_a_closed_port_is_unhealthy(monkeypatch: pytest.MonkeyPatch, closed_port: str, other_family: int) -> None:
    monkeypatch.setattr(_socket, "AF_INET6", other_family)
    monkeypatch.setenv("PORT", closed_port)

    assert str(healthcheck.main()).startswith("no response from /healthz: ConnectionRefusedError(")


@pytest.mark.parametrize("port", [None, "", "http"])
def test_no_port_is_unhealthy(monkeypatch: pytest.MonkeyPatch, port: str | None) -> None:
    monkeypatch.delenv("PORT", raising=False)
    if port is not None:
        monkeypatch.setenv("PORT", port)

    assert re.match(r"no response from /healthz: (KeyError|ValueError)\(", str(healthcheck.main()))


def test_a_service_on_ipv6_alone_is_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this host has no ::1")
    with serving(b"HTTP/1.1 200 OK\r\n\r\n", family=socket.AF_INET6, host="::1") as server:
        monkeypatch.setenv("PORT", server.port)

        assert healthcheck.main() is None


def run(port: str) -> tuple[int, str, str]:
    """Run the program as the image does; return its exit code and output."""
    ended = subprocess.run(
        [sys.executable, "-I", "-S", "healthcheck.py"],
        cwd=Path(healthcheck.__file__).parent,
        env={**os.environ, "PORT": port},
        capture_output=True,
        text=True,
        check=False,
        timeout=6 * SECONDS,
    )
    return ended.returncode, ended.stdout, ended.stderr


def test_the_exit_code_tells_docker(closed_port: str) -> None:
    with serving(b"HTTP/1.1 200 OK\r\n\r\n") as server:
        assert run(server.port) == (0, "", "")
    with serving(b"HTTP/1.1 500 Internal Server Error\r\n\r\n") as server:
        assert run(server.port) == (1, "", "/healthz responded b'HTTP/1.1 500 Internal Server Error\\r'\n")
    assert run(closed_port)[0] == 1
