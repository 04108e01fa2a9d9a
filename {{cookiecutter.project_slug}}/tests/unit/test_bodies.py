"""Request bodies: whole and within the limit, or refused."""

import io
import socket
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, request
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app import bodies

pytestmark = pytest.mark.usefixtures("alone")

MIB = 2**20


class Wire(io.RawIOBase):
    """What a server makes of a connection: a body in pieces, then the error of a server that finds no more."""

    def __init__(self, content: bytes, error: Exception | None = None) -> None:
        """Keep what is to come."""
        self.content, self.error = io.BytesIO(content), error

    def read(self, size: int = -1) -> bytes:
        """Return as much as was asked for, or what there is before the end."""
        piece = self.content.read(size)
        if len(piece) < size and self.error:
            raise self.error
        return piece


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """Return a client of an application that reads bodies in every way Flask has."""
    app.post("/data", endpoint="data")(lambda: f"{len(request.get_data())}")
    app.post("/json", endpoint="json")(lambda: f"{request.get_json(silent=True)}")
    app.post("/form", endpoint="form")(lambda: f"{ {**request.form, **request.files} }")
    app.post("/pieces", endpoint="pieces")(lambda: f"{sum(len(line) for line in request.stream)}")
    app.post("/unread", endpoint="unread")(lambda: "fine")

    @app.post("/little")
    def little() -> str:
        request.max_content_length = 10
        return f"{len(request.get_data())}"

    return app.test_client()


def send(client: FlaskClient, path: str, body: Any, length: int | None = None, kind: str = "") -> TestResponse:
    """Send a body of an announced length, or a chunked one."""
    environ = {"wsgi.input": body, "wsgi.input_terminated": True, "CONTENT_LENGTH": str(length or "")}
    environ["CONTENT_TYPE"] = kind
    if length is None:
        environ["HTTP_TRANSFER_ENCODING"] = "chunked"
    return client.post(path, environ_overrides=environ)


@pytest.mark.parametrize("size", [1, 10, 65536, 65537, MIB])
@pytest.mark.parametrize("path", ["/data", "/pieces"])
@pytest.mark.parametrize("chunked", [False, True], ids=["plain", "chunked"])
def test_a_body_up_to_the_limit_arrives_whole(client: FlaskClient, path: str, size: int, chunked: bool) -> None:
    response = send(client, path, Wire(b"x\n" * (size // 2) + b"x" * (size % 2)), None if chunked else size)

    assert (response.status_code, response.text) == (200, str(size))


@pytest.mark.parametrize("path", ["/data", "/pieces", "/unread", "/nowhere"])
@pytest.mark.parametrize("chunked", [False, True], ids=["plain", "chunked"])
def test_a_body_over_the_limit_is_refused_and_not_cut(client: FlaskClient, path: str, chunked: bool) -> None:
    size = MIB + 1
    response = send(client, path, Wire(b"x" * size), None if chunked else size)

    assert (response.status_code, response.mimetype) == (413, "application/problem+json")


@pytest.mark.parametrize("limit", [0, 10, 3 * MIB])
@pytest.mark.parametrize("chunked", [False, True], ids=["plain", "chunked"])
def test_the_limit_is_max_body_bytes(told: Callable[..., Flask], limit: int, chunked: bool) -> None:
    app = told(MAX_BODY_BYTES=str(limit))
    app.post("/data", endpoint="data")(lambda: f"{len(request.get_data())}")
    statuses = [
        send(app.test_client(), "/data", Wire(b"x" * size), None if chunked else size).status_code
        for size in (limit, limit + 1)
    ]

    assert statuses == [200, 413], f"MAX_BODY_BYTES={limit} has no effect"
    assert app.config["MAX_FORM_MEMORY_SIZE"] == limit, "Flask has another limit for forms"


@pytest.mark.parametrize("chunked", [False, True], ids=["plain", "chunked"])
@pytest.mark.parametrize(("size", "status"), [(10, 200), (11, 413)])
def test_a_view_may_set_a_lower_limit(client: FlaskClient, size: int, status: int, chunked: bool) -> None:
    assert send(client, "/little", Wire(b"x" * size), None if chunked else size).status_code == status


MULTIPART = b'--x\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n'


@pytest.mark.parametrize(
    ("path", "kind", "body"),
    [
        ("/data", "text/plain", b"hello"),
        ("/pieces", "text/plain", b"hello"),
        ("/json", "application/json", b"{}"),
        ("/form", "application/x-www-form-urlencoded", b"a=b"),
        ("/form", "multipart/form-data; boundary=x", MULTIPART),
    ],
)
def test_a_body_that_ends_early_is_refused_and_not_taken_for_whole(
    client: FlaskClient, path: str, kind: str, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    response = send(client, path, Wire(body), 1000, kind)

    assert response.status_code == 400
    assert response.json is not None
    assert response.json["detail"] == "The body ended before the length that was announced."
    assert not caplog.records, "a client's fault is no error of the service"


@pytest.mark.parametrize("length", [1000, None], ids=["plain", "chunked"])
@pytest.mark.parametrize(
    ("error", "status"),
    [(TimeoutError("timed out"), 408), (ConnectionResetError(), 400), (Exception("a server's own"), 400)],
    ids=repr,
)
def test_what_goes_wrong_with_a_body_is_the_fault_of_the_client(
    client: FlaskClient, length: int | None, error: Exception, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    response = send(client, "/data", Wire(b"hello", error), length)

    assert (response.status_code, response.mimetype) == (status, "application/problem+json")
    assert response.json is not None
    assert status == 408 or response.json["detail"] == "The body could not be read."
    assert not caplog.records


def test_a_pause_is_limited_only_while_the_body_is_read(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "PAUSE_SECONDS", 0.05)
    server, other = socket.socketpair()
    server.settimeout(60)  # the time-out of the server itself, which comes back
    with server, other, server.makefile("rb", buffering=0) as wire:
        environ = {"wsgi.input": wire, "gunicorn.socket": server, "CONTENT_LENGTH": "10"}
        response = client.post("/data", environ_overrides=environ)

        assert response.status_code == 408
        assert server.gettimeout() == 60


def test_a_field_of_a_form_may_be_as_long_as_a_body(client: FlaskClient) -> None:
    body = MULTIPART.replace(b'; filename="a"', b"") + b"x" * 600_000 + b"\r\n--x--\r\n"
    response = send(client, "/form", Wire(body), len(body), "multipart/form-data; boundary=x")

    assert (response.status_code, len(response.text) > 600_000) == (200, True)


@pytest.mark.parametrize("path", ["/unread", "/nowhere"])
@pytest.mark.parametrize("length", [300_000, 2 * MIB])
def test_what_nobody_reads_is_taken_and_dropped(client: FlaskClient, path: str, length: int) -> None:
    wire = Wire(b"x" * length + b"the next request")
    send(client, path, wire, length).close()

    assert wire.content.read() == b"the next request"
