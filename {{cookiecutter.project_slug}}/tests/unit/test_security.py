"""Trusted proxies and response headers."""

import pytest
from flask import Flask, Response, request
from flask.testing import FlaskClient

from app import create_app
from app.settings import Settings
from tests.unit.required import NEEDED

pytestmark = pytest.mark.usefixtures("alone")

PAGE = "default-src 'self'; frame-ancestors 'none'"
DATA = "default-src 'none'; frame-ancestors 'none'"


@pytest.mark.parametrize(
    ("path", "policy"), [("/page", PAGE), ("/nowhere", DATA), ("/healthz", DATA), ("/broken", DATA), ("/gone", DATA)]
)
def test_responses_carry_secure_headers(app: Flask, client: FlaskClient, path: str, policy: str) -> None:
    app.add_url_rule("/page", view_func=lambda: "<p>", endpoint="page")
    app.add_url_rule("/broken", view_func=lambda: f"{1 // 0}", endpoint="broken")
    app.add_url_rule("/gone", view_func=lambda: ("", 204, {"Content-Type": ""}))

    headers = client.get(path).headers

    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers.getlist("Content-Security-Policy") == [policy]
    assert "Strict-Transport-Security" not in headers


@pytest.mark.parametrize(
    ("kind", "policy"),
    [
        ("text/html", PAGE),
        ("text/html; charset=latin-1", PAGE),
        ("application/xhtml+xml", PAGE),
        ("image/svg+xml", DATA),
        ("text/plain", DATA),
        ("application/json", DATA),
    ],
)
def test_a_page_may_load_what_the_service_serves(app: Flask, client: FlaskClient, kind: str, policy: str) -> None:
    app.add_url_rule("/kind", view_func=lambda: Response("", content_type=kind))

    assert client.get("/kind").headers["Content-Security-Policy"] == policy


def test_an_error_page_for_a_browser_is_a_page(client: FlaskClient) -> None:
    assert client.get("/nowhere", headers={"Accept": "text/html"}).headers["Content-Security-Policy"] == PAGE


def test_a_view_may_set_its_own_header(app: Flask, client: FlaskClient) -> None:
    own = {"referrer-policy": "origin", "Content-Security-Policy": "default-src https:"}
    app.add_url_rule("/own", view_func=lambda: ("", own))

    headers = client.get("/own").headers

    assert headers.getlist("Referrer-Policy") == ["origin"]
    assert headers.getlist("Content-Security-Policy") == ["default-src https:"]


def test_https_is_remembered_by_browsers(client: FlaskClient) -> None:
    headers = client.get("/nowhere", base_url="https://localhost").headers

    assert headers["Strict-Transport-Security"] == "max-age=31536000"


FORWARDED = {
    "X-Forwarded-For": "198.51.100.1, 203.0.113.9",
    "X-Forwarded-Proto": "http, https",
    "X-Forwarded-Host": "evil.example.org, shop.example.org",
}


@pytest.mark.parametrize(
    ("hops", "seen"),
    [
        ("0", "192.0.2.7 localhost http"),
        ("1", "203.0.113.9 shop.example.org https"),
        ("2", "198.51.100.1 evil.example.org http"),
    ],
)
def test_as_many_hops_are_believed_as_are_trusted(hops: str, seen: str) -> None:
    app = create_app(Settings.from_environ({**NEEDED, "TRUSTED_HOPS": hops}))
    app.add_url_rule("/seen", view_func=lambda: f"{request.remote_addr} {request.host} {request.scheme}")

    response = app.test_client().get("/seen", headers=FORWARDED, environ_overrides={"REMOTE_ADDR": "::ffff:192.0.2.7"})

    assert response.text == seen
    assert ("Strict-Transport-Security" in response.headers) == seen.endswith("https")
