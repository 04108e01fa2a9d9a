"""Metrics for Prometheus, of all workers together. gunicorn.conf.py imports this module only with METRICS=prometheus.

Every worker counts in files of its own, in shared memory. One process more adds them up for whoever asks on
METRICS_PORT. To gunicorn it is a worker like the others, so it is started, watched and stopped like them; but it has no
part in the service: it answers while all their threads are busy, and whoever asks too much takes none of them.
"""

import logging
import os
import shutil
import tempfile
import threading
import time
from itertools import count
from types import SimpleNamespace
from typing import Any

from flask import request, request_started
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, make_wsgi_app, multiprocess, values

from app import health, settings

# Labels have a bounded set of values, whatever a client sends: each new one costs memory here and in Prometheus.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"})
OTHER_METHOD = "other"
UNMATCHED = "unmatched"  # the route of a request that no view takes: rules begin with a slash

# What the library names its files by. By process id, which is its default, every restart of a worker would leave some.
_slot = 0
_directory = tempfile.mkdtemp(prefix="metrics-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
os.environ["PROMETHEUS_MULTIPROC_DIR"] = _directory
values.ValueClass = values.MultiProcessValue(lambda: _slot)  # type: ignore[no-untyped-call]

REQUESTS = Counter("http_requests_total", "Requests answered, without health probes.", ["method", "route", "status"])
DURATION = Histogram(
    "http_request_duration_seconds",
    "Time from the arrival of a request to the end of its answer, without health probes.",
    ["method", "route"],
)
IN_FLIGHT = Gauge(
    "http_requests_in_flight",
    "Requests being answered, without health probes.",
    ["route"],
    multiprocess_mode="livesum",
)


class _Current(threading.local):
    """The request that this thread handles: when it began, and its route once Flask has found that."""

    began: float | None = None
    route: str | None = None


_current = _Current()


def pre_fork(server: Any, worker: Any) -> None:
    """Give a new worker the lowest number that is free, and say whether it is the one that exports.

    That one comes last, so that no start waits for it, and has no age: where there are too many, gunicorn ends the
    oldest.
    """
    others = server.WORKERS.values()
    worker.slot = next(number for number in count(1) if number not in {other.slot for other in others})
    worker.exports = len(others) >= max(1, server.num_workers - 1) and not any(other.exports for other in others)
    if worker.exports:
        worker.age = float("inf")


def post_fork(_: Any, worker: Any) -> None:
    """Let a worker count under its number, and serve one port: that of the service or that of the metrics."""
    global _slot  # noqa: PLW0603 - the library asks a function without arguments
    _slot = worker.slot
    port = settings.load().metrics_port
    worker.sockets = [one for one in worker.sockets if (one.getsockname()[1] == port) == worker.exports]
    if worker.exports:
        worker.app = SimpleNamespace(wsgi=exporter)
        logging.getLogger("gunicorn.access").disabled = True


def child_exit(_: Any, worker: Any) -> None:
    """Forget what a worker that has ended was doing. What it has counted stays, for the next of its number."""
    multiprocess.mark_process_dead(worker.slot)  # type: ignore[no-untyped-call]


def on_exit(_: Any) -> None:
    """Leave nothing behind."""
    shutil.rmtree(_directory, ignore_errors=True)


def exporter() -> Any:
    """Return the WSGI application that answers GET /metrics."""
    registry = CollectorRegistry(support_collectors_without_names=True)
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    metrics = make_wsgi_app(registry)

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/metrics":
            return metrics(environ, start_response)
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"There is nothing but /metrics.\n"]

    return application


def pre_request(_: Any, __: Any) -> None:
    """Note when a request began."""
    _current.began, _current.route = time.perf_counter(), None


@request_started.connect
def matched(*_: Any, **__: Any) -> None:
    """Note the route of a request, now that Flask has found it."""
    if _current.began is None or _current.route is not None:
        return  # a request that the service makes to itself
    _current.route = request.url_rule.rule if request.url_rule else UNMATCHED
    if _current.route not in health.PATHS:
        IN_FLIGHT.labels(_current.route).inc()


def post_request(worker: Any, req: Any, _: Any, resp: Any) -> None:
    """Count a request: its last byte has been sent, its view has failed or its client has gone."""
    began, route = _current.began, _current.route
    _current.began = _current.route = None
    if began is None or resp is None or worker.exports or route in health.PATHS:
        return
    if route is not None:
        IN_FLIGHT.labels(route).dec()
    method = req.method if req.method in METHODS else OTHER_METHOD
    route = route or UNMATCHED
    REQUESTS.labels(method, route, resp.status_code or 500).inc()
    DURATION.labels(method, route).observe(time.perf_counter() - began)
