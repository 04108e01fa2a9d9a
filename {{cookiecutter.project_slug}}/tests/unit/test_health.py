"""Liveness and readiness."""

import mmap

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app import health


def test_healthz_says_ok(client: FlaskClient) -> None:
    response = client.get("/healthz")

    assert (response.status_code, response.json) == (200, {"status": "ok"})


def test_readyz_says_ready(client: FlaskClient) -> None:
    response = client.get("/readyz")

    assert (response.status_code, response.json) == (200, {"status": "ready"})


def test_draining_ends_readiness_but_not_liveness(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_draining", mmap.mmap(-1, 1))

    health.start_draining()

    assert client.get("/readyz").status_code == 503
    assert client.get("/readyz").json == {"status": "draining"}
    assert client.get("/healthz").status_code == 200


def test_a_failing_check_is_named_and_its_reason_stays_in_the_log(
    app: Flask, client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    def ping() -> None:
        raise ConnectionError("password=hunter2 refused")

    health.add_check(app, "database", ping)
    health.add_check(app, "cache", lambda: None)

    response = client.get("/readyz")

    assert response.status_code == 503
    assert response.json == {"status": "not ready", "failed": ["database"]}
    assert "hunter2" in caplog.text
