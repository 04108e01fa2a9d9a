"""What is counted, under which labels, and who does what. Several workers are the matter of the container tests."""

import logging
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import Client

pytest.importorskip("fcntl", reason="gunicorn does not run on Windows")
from prometheus_client.parser import text_string_to_metric_families

from app import metrics

WORKER = SimpleNamespace(exports=False)


@pytest.fixture(scope="module", autouse=True)
def shared_memory() -> Iterator[None]:
    """Remove the files that the import of the module has made a place for."""
    yield
    metrics.on_exit(None)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """Return a client of an application with a few more views."""
    app.get("/orders/<int:number>", endpoint="order")(lambda number: f"{number}")
    app.get("/broken", endpoint="broken")(lambda: f"{1 // 0}")
    app.get("/looks", endpoint="looks")(lambda: f"{in_flight('/looks')}")
    app.get("/asks/itself", endpoint="asks")(lambda: app.test_client().get("/orders/1").text)
    return app.test_client()


def ask(client: FlaskClient, path: str, method: str = "GET") -> str:
    """Do with one request what a worker does; return the page."""
    request = SimpleNamespace(method=method)
    metrics.pre_request(WORKER, request)
    response = client.open(path, method=method)
    metrics.post_request(WORKER, request, {}, SimpleNamespace(status_code=response.status_code))
    return response.text


def samples(name: str) -> dict[tuple[str, ...], float]:
    """Return what is exported under a name, by the values of the labels."""
    families = list(text_string_to_metric_families(Client(metrics.exporter()).get("/metrics").text))
    found = [sample for family in families for sample in family.samples if sample.name == name]
    return {tuple(sample.labels.values()): sample.value for sample in found}


def requests() -> dict[tuple[str, ...], float]:
    return samples("http_requests_total")


def in_flight(route: str) -> float:
    return samples("http_requests_in_flight").get((route,), 0)


def test_a_route_is_a_pattern(client: FlaskClient) -> None:
    for number in range(5):
        ask(client, f"/orders/{number}")

    assert requests()["GET", "/orders/<int:number>", "200"] == 5
    assert samples("http_request_duration_seconds_count")["GET", "/orders/<int:number>"] == 5
    assert 0 < samples("http_request_duration_seconds_sum")["GET", "/orders/<int:number>"] < 60


def test_clients_cannot_invent_labels(client: FlaskClient) -> None:
    before = requests().keys()
    for number in range(20):
        ask(client, f"/no/such/page/{number}", method=f"VERB{number}")
    ask(client, "/orders/1", method="DELETE")

    assert requests().keys() - before == {("other", "unmatched", "404"), ("DELETE", "unmatched", "405")}


def test_probes_are_not_counted(client: FlaskClient) -> None:
    ask(client, "/healthz")
    ask(client, "/readyz")

    assert not [labels for labels in requests() if labels[1].endswith("z")]


def test_a_failed_view_is_counted_and_no_longer_in_flight(client: FlaskClient) -> None:
    ask(client, "/broken")

    assert requests()["GET", "/broken", "500"] == 1
    assert in_flight("/broken") == 0


def test_a_request_is_in_flight_until_it_is_answered(client: FlaskClient) -> None:
    assert ask(client, "/looks") == "1.0"
    assert in_flight("/looks") == 0


def test_a_request_of_the_service_to_itself_is_none(client: FlaskClient) -> None:
    before = requests()
    ask(client, "/asks/itself")
    client.get("/orders/1")  # and none of a thread that no worker has given a request

    assert requests() == before | {("GET", "/asks/itself", "200"): 1}
    assert in_flight("/orders/<int:number>") == in_flight("/asks/itself") == 0


def test_a_request_that_was_refused_unread_is_none() -> None:
    before = requests()
    metrics.pre_request(WORKER, None)
    metrics.post_request(WORKER, None, {}, None)

    assert requests() == before


def test_nothing_but_metrics_is_exported() -> None:
    exporter = Client(metrics.exporter())

    assert exporter.get("/").status_code == 404
    assert exporter.post("/metrics").status_code == 405
    assert exporter.get("/metrics").content_type.startswith("text/plain; version=")


def fork(server: Any) -> Any:
    """Do with a new worker what gunicorn does in its parent."""
    worker = SimpleNamespace(age=1)
    metrics.pre_fork(server, worker)
    server.WORKERS[worker.slot] = worker
    return worker


def test_one_worker_more_exports_and_all_numbers_are_used_again() -> None:
    server = SimpleNamespace(WORKERS={}, num_workers=4)
    first = [fork(server) for _ in range(4)]
    assert [worker.slot for worker in first] == [1, 2, 3, 4]
    assert [worker.exports for worker in first] == [False, False, False, True]
    assert max(first, key=lambda worker: worker.age) is first[3], "gunicorn would end it where there are too many"

    del server.WORKERS[2]
    assert (fork(server).slot, server.WORKERS[2].exports) == (2, False)

    del server.WORKERS[3], server.WORKERS[4]
    assert [fork(server).exports for _ in range(2)] == [False, True]


@pytest.mark.parametrize("exports", [False, True])
def test_each_process_serves_one_port(monkeypatch: pytest.MonkeyPatch, exports: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as service, socket.create_server(("127.0.0.1", 0)) as scraped:
        monkeypatch.setenv("METRICS_PORT", str(scraped.getsockname()[1]))
        monkeypatch.setattr(metrics, "_slot", metrics._slot)
        access_log = logging.getLogger("gunicorn.access")
        monkeypatch.setattr(access_log, "disabled", False)
        worker = SimpleNamespace(slot=metrics._slot, exports=exports, sockets=[service, scraped])
        metrics.post_fork(None, worker)

        assert worker.sockets == ([scraped] if exports else [service])
        assert access_log.disabled == exports
