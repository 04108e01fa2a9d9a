"""Trusted proxies and response headers."""

import re
import sys
from collections.abc import Callable

import pytest
from flask import Flask, Response, abort, redirect, request
from flask.testing import FlaskClient

pytestmark = pytest.mark.usefixtures("alone")

ALWAYS = {"X-Request-ID": ".+", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
PAGE = "default-src 'self'; frame-ancestors 'none'"
DATA = "default-src 'none'; frame-ancestors 'none'"


@pytest.mark.parametrize(
    ("path", "status", "policy"),
    [
        ("/page", 200, PAGE),
        ("/nowhere", 404, DATA),
        ("/healthz", 200, DATA),
        ("/broken", 500, DATA),
        ("/exits", 500, DATA),
        ("/away", 503, DATA),
        ("/fails", 502, DATA),
        ("/too-large", 413, DATA),
        ("/moved", 302, PAGE),
        ("/gone", 204, DATA),
    ],
)
def test_responses_carry_secure_headers(app: Flask, client: FlaskClient, path: str, status: int, policy: str) -> None:
    app.add_url_rule("/page", view_func=lambda: "<p>", endpoint="page")
    app.add_url_rule("/broken", view_func=lambda: f"{1 // 0}", endpoint="broken")
    app.add_url_rule("/exits", view_func=lambda: sys.exit(3), endpoint="exits")
    app.add_url_rule("/away", view_func=lambda: abort(503), endpoint="away")
    app.add_url_rule("/fails", view_func=lambda: ("", 502, {"Content-Type": "text/plain"}), endpoint="fails")
    app.add_url_rule("/moved", view_func=lambda: redirect("/page"), endpoint="moved")
    app.add_url_rule("/gone", view_func=lambda: ("", 204, {"Content-Type": ""}))

    response = client.get(path, environ_overrides={"CONTENT_LENGTH": f"{2**60}"} if status == 413 else {})
    headers = response.headers

    assert response.status_code == status
    for name, value in ALWAYS.items():
        assert re.fullmatch(value, headers.get(name, "")), f"{path} ({status}) lacks {name}"
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
    # No proxy is believed in these, however many are trusted.
    "X-Forwarded-Port": "1, 1",
    "X-Forwarded-Prefix": "/evil, /evil",
    "X-Forwarded-Ssl": "on",
    "X-Real-IP": "198.51.100.1",
    "X-Script-Name": "/evil",
    "Forwarded": "for=198.51.100.1;host=evil.example.org;proto=https",
}


@pytest.mark.parametrize(
    ("hops", "seen"),
    [
        ("0", "192.0.2.7 http://localhost/"),
        ("1", "203.0.113.9 https://shop.example.org/"),
        ("2", "198.51.100.1 http://evil.example.org/"),
    ],
)
def test_as_many_hops_are_believed_as_are_trusted(told: Callable[..., Flask], hops: str, seen: str) -> None:
    app = told(TRUSTED_HOPS=hops)
    app.add_url_rule("/seen", view_func=lambda: f"{request.remote_addr} {request.root_url}")

    response = app.test_client().get("/seen", headers=FORWARDED, environ_overrides={"REMOTE_ADDR": "::ffff:192.0.2.7"})

    assert response.text == seen, f"TRUSTED_HOPS={hops} must decide alone what is believed"
    assert ("Strict-Transport-Security" in response.headers) == ("https:" in seen)


@pytest.mark.usefixtures("caplog")
def test_no_variable_switches_a_debugger_on(told: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FLASK_DEBUG", "FLASK_ENV", "DEBUG"):
        monkeypatch.setenv(name, "development" if name == "FLASK_ENV" else "1")
    app = told()
    app.add_url_rule("/broken", view_func=lambda: f"{1 // 0}", endpoint="broken")
    for path in ("/broken", "/console", "/broken?__debugger__=yes&cmd=resource&f=debugger.js"):
        text = app.test_client().get(path, headers={"Accept": "text/html"}).text
        assert not re.search("__debugger__|EVALEX|Traceback|ZeroDivisionError", text), (
            f"{path} shows a debugger or an exception: everybody who reaches it reads secrets, or runs any code"
        )
