"""Liveness and readiness."""

import mmap
import threading
from collections.abc import Iterator

import pytest
from flask import Flask, current_app
from flask.testing import FlaskClient

from app import health


def test_healthz_says_ok(client: FlaskClient) -> None:
    response = client.get("/healthz")

    assert (response.status_code, response.json) == (200, {"status": "ok"})
    assert response.headers["X-Request-ID"]


def test_readyz_says_ready(client: FlaskClient) -> None:
    response = client.get("/readyz")

    assert (response.status_code, response.json) == (200, {"status": "ready"})


def test_a_probe_is_a_get(client: FlaskClient) -> None:
    response = client.post("/healthz")

    assert (response.status_code, response.headers["Allow"]) == (405, "GET, HEAD")
    assert client.head("/healthz").status_code == 200


@pytest.mark.usefixtures("alone")
def test_no_rule_of_the_application_refuses_a_probe(app: Flask, client: FlaskClient) -> None:
    app.config["TRUSTED_HOSTS"] = ["shop.example.org"]
    app.before_request(lambda: ("not you", 403))

    assert client.get("/nowhere").status_code == 403
    assert [client.get(path).status_code for path in ("/healthz", "/readyz")] == [200, 200]


def test_draining_ends_readiness_but_not_liveness(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_draining", mmap.mmap(-1, 1))

    health.start_draining()

    assert client.get("/readyz").status_code == 503
    assert client.get("/readyz").json == {"status": "draining"}
    assert client.get("/healthz").status_code == 200


def test_a_check_that_passes_runs_in_the_context_of_the_application(app: Flask, client: FlaskClient) -> None:
    seen: list[str] = []
    health.add_check("database", lambda: seen.append(current_app.name))

    assert client.get("/readyz").status_code == 200
    assert client.get("/readyz").status_code == 200
    assert seen == [app.name] * 2


@pytest.mark.parametrize("error", [ConnectionError("password=hunter2 refused"), SystemExit(3), KeyboardInterrupt()])
def test_a_failing_check_is_named_and_its_reason_stays_in_the_log(
    client: FlaskClient, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    def ping() -> None:
        raise error

    health.add_check("database", ping)
    health.add_check("cache", lambda: None)

    response = client.get("/readyz")

    assert response.status_code == 503
    assert response.json == {"status": "not ready", "failed": ["database"]}
    assert type(error).__name__ in caplog.text
    assert "readiness check failed: database" in caplog.messages
    assert "hunter2" not in response.text


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Add a check that hangs until the end of the test; yield a list with an entry for each call of it."""
    monkeypatch.setattr(health, "CHECK_SECONDS", 0.05)
    calls: list[int] = []
    ended = threading.Event()

    def hang() -> None:
        calls.append(1)
        ended.wait(60)

    health.add_check("database", hang)
    yield calls
    ended.set()


def test_a_check_that_hangs_has_failed_and_is_not_called_again(
    client: FlaskClient, hanging: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    threads = threading.active_count()
    responses = [client.get("/readyz") for _ in range(3)]

    assert [response.status_code for response in responses] == [503] * 3
    assert responses[0].json == {"status": "not ready", "failed": ["database"]}
    assert "TimeoutError: no result after 0.05 s" in caplog.text
    assert hanging == [1]
    assert threading.active_count() == threads + 1
    assert client.get("/healthz").status_code == 200


def test_a_check_that_hangs_keeps_no_process_from_ending(hanging: list[int], client: FlaskClient) -> None:
    client.get("/readyz")

    assert all(thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread())
