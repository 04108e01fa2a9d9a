"""Body limit, trusted proxies and response headers."""

from flask import Flask, request
from flask.testing import FlaskClient

from app import create_app
from app.settings import Settings


def test_an_oversize_body_is_refused_before_any_view(client: FlaskClient) -> None:
    response = client.post("/", data=b"x" * (2**20 + 1))

    assert response.status_code == 413


def test_a_body_of_the_limit_passes(client: FlaskClient) -> None:
    assert client.post("/", data=b"x" * 2**20).status_code == 405


def test_responses_carry_secure_headers(client: FlaskClient) -> None:
    for path in ("/", "/nowhere", "/healthz"):
        headers = client.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert "Strict-Transport-Security" not in headers


def test_a_view_may_set_its_own_header(app: Flask, client: FlaskClient) -> None:
    app.add_url_rule("/own", view_func=lambda: ("", {"Referrer-Policy": "origin"}))

    assert client.get("/own").headers.getlist("Referrer-Policy") == ["origin"]


def test_https_is_remembered_by_browsers(client: FlaskClient) -> None:
    assert client.get("/", base_url="https://localhost").headers["Strict-Transport-Security"] == "max-age=31536000"


def _client_address(hops: str, forwarded: str) -> str:
    app = create_app(Settings.from_environ({"TRUSTED_HOPS": hops}))
    app.add_url_rule("/address", view_func=lambda: str(request.remote_addr))
    return app.test_client().get("/address", headers={"X-Forwarded-For": forwarded}).text


def test_without_a_proxy_a_forwarded_address_is_not_believed() -> None:
    assert _client_address("0", "203.0.113.9") == "127.0.0.1"


def test_as_many_hops_are_believed_as_are_trusted() -> None:
    assert _client_address("1", "198.51.100.1, 203.0.113.9") == "203.0.113.9"
    assert _client_address("2", "198.51.100.1, 203.0.113.9") == "198.51.100.1"
