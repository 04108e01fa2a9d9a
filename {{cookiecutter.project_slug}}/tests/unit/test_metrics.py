"""What is counted, under which labels. Several workers and the exporter are the matter of the container tests."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from flask import Flask, abort
from flask.testing import FlaskClient
from prometheus_client import REGISTRY

from app import create_app, metrics
from app.settings import Settings
from tests.unit.required import NEEDED

pytestmark = pytest.mark.usefixtures("alone")


@pytest.fixture
def app() -> Flask:
    """Return the application with metrics and a few more views."""
    app = create_app(Settings.from_environ({**NEEDED, "METRICS": "prometheus"}))
    app.get("/a-pattern/<int:number>", endpoint="order")(lambda number: f"{number}")
    app.get("/broken", endpoint="broken")(lambda: f"{1 // 0}")
    app.get("/looks", endpoint="looks")(lambda: f"{in_flight('/looks')}")
    app.get("/refuses", endpoint="refuses")(lambda: abort(418))
    return app


def samples(name: str) -> dict[tuple[str, ...], float]:
    """Return what is counted under a name, by the values of the labels."""
    found = [sample for family in REGISTRY.collect() for sample in family.samples if sample.name == name]
    return {tuple(sample.labels.values()): sample.value for sample in found}


def requests() -> dict[tuple[str, ...], float]:
    return samples("http_requests_total")


def in_flight(route: str) -> float:
    return samples("http_requests_in_flight").get((route,), 0)


def test_a_route_is_a_pattern(client: FlaskClient) -> None:
    for number in range(5):
        client.get(f"/a-pattern/{number}", buffered=True)

    assert requests()["GET", "/a-pattern/<int:number>", "200"] == 5
    assert samples("http_request_duration_seconds_count")["GET", "/a-pattern/<int:number>"] == 5
    assert 0 < samples("http_request_duration_seconds_sum")["GET", "/a-pattern/<int:number>"] < 60


def test_a_duration_is_in_seconds(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 100.25])
    monkeypatch.setattr(metrics, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    before = samples("http_request_duration_seconds_sum").get(("GET", "/looks"), 0)
    client.get("/looks", buffered=True)

    took = samples("http_request_duration_seconds_sum")["GET", "/looks"] - before
    assert took == 0.25, f"a quarter of a second is told as {took}"


def test_clients_cannot_invent_labels(client: FlaskClient) -> None:
    before = requests().keys()
    for number in range(20):
        client.open(f"/no/such/page/{number}", method=f"VERB{number}", buffered=True)
    client.delete("/a-pattern/1", buffered=True)

    assert requests().keys() - before == {("other", "unmatched", "404"), ("DELETE", "unmatched", "405")}


def test_probes_are_not_counted(client: FlaskClient) -> None:
    client.get("/healthz", buffered=True)
    client.get("/readyz", buffered=True)

    assert not [labels for labels in requests() if labels[1].endswith("z")]


@pytest.mark.parametrize(("path", "status"), [("/broken", "500"), ("/refuses", "418")])
def test_a_failed_view_is_counted_and_no_longer_in_flight(client: FlaskClient, path: str, status: str) -> None:
    client.get(path, buffered=True)

    assert requests()["GET", path, status] == 1
    assert in_flight(path) == 0


def test_a_body_that_is_refused_is_counted(client: FlaskClient) -> None:
    client.post("/", data=b"x" * (2**20 + 1), buffered=True)

    assert requests()["POST", "unmatched", "413"] == 1


def test_a_request_is_in_flight_until_it_is_answered(app: Flask, client: FlaskClient) -> None:
    @app.get("/stream")
    def stream() -> Iterator[str]:
        yield "a"
        yield f"{in_flight('/stream')}"

    assert client.get("/looks", buffered=True).text == "1.0"
    assert client.get("/stream", buffered=True).text == "a1.0"
    assert in_flight("/looks") == in_flight("/stream") == 0
    assert requests()["GET", "/stream", "200"] == 1
