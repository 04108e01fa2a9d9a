"""Errors are problem details, or HTML for those who ask for it."""

import pytest
from flask import Flask, Response, abort
from flask.testing import FlaskClient


def test_not_found_is_a_problem(client: FlaskClient) -> None:
    response = client.get("/nowhere", headers={"X-Request-ID": "abc-1"})

    assert response.status_code == 404
    assert response.mimetype == "application/problem+json"
    assert response.json is not None
    assert response.json["type"] == "about:blank"
    assert response.json["title"] == "Not Found"
    assert response.json["status"] == 404
    assert response.json["request_id"] == "abc-1"


def test_wrong_method_keeps_its_allow_header(client: FlaskClient) -> None:
    response = client.post("/")

    assert response.status_code == 405
    assert response.json is not None
    assert response.json["title"] == "Method Not Allowed"
    assert "GET" in response.headers["Allow"]


@pytest.mark.parametrize(
    ("accept", "mimetype"),
    [
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html"),
        ("*/*", "application/problem+json"),
        ("application/json", "application/problem+json"),
        ("application/json,text/html;q=0.5", "application/problem+json"),
        ("", "application/problem+json"),
    ],
)
def test_html_only_for_those_who_prefer_it(client: FlaskClient, accept: str, mimetype: str) -> None:
    assert client.get("/nowhere", headers={"Accept": accept}).mimetype == mimetype


def test_an_uncaught_exception_is_logged_and_not_told(
    app: Flask, client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    @app.get("/broken")
    def broken() -> str:
        raise RuntimeError("the password is hunter2")

    response = client.get("/broken")

    assert response.status_code == 500
    assert response.mimetype == "application/problem+json"
    assert "hunter2" not in response.text
    assert "hunter2" in caplog.text


def test_a_response_made_by_the_view_is_left_alone(app: Flask, client: FlaskClient) -> None:
    @app.get("/teapot")
    def teapot() -> str:
        abort(Response("short and stout", status=418))

    response = client.get("/teapot")

    assert (response.status_code, response.text) == (418, "short and stout")


def test_a_client_that_pauses_for_too_long_is_told_so(app: Flask, client: FlaskClient) -> None:
    @app.get("/upload")
    def upload() -> str:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    assert client.get("/upload").status_code == 408
