"""The image's HEALTHCHECK against a real socket."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import healthcheck


@contextmanager
def _server(answer: bytes | None) -> Iterator[str]:
    """Serve one connection on a free port; None leaves it without an answer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                if answer is None:
                    connection.recv(1)
                else:
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield str(listener.getsockname()[1])
        thread.join()


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", None),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", r"/healthz answered b'HTTP/1.1 503 Service Unavailable\r\n'"),
        (b"", "/healthz answered b''"),
    ],
)
def test_the_status_decides(monkeypatch: pytest.MonkeyPatch, answer: bytes, verdict: str | None) -> None:
    with _server(answer) as port:
        monkeypatch.setenv("PORT", port)

        assert healthcheck.main() == verdict


def test_silence_is_unhealthy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(healthcheck, "TIMEOUT_SECONDS", 0.1)
    with _server(None) as port:
        monkeypatch.setenv("PORT", port)

        assert str(healthcheck.main()).startswith("no answer from /healthz: TimeoutError")


def test_a_closed_port_is_unhealthy(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("PORT", str(listener.getsockname()[1]))

    assert str(healthcheck.main()).startswith("no answer from /healthz: ConnectionRefusedError")
