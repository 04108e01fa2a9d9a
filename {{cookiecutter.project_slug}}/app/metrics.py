"""Metrics for Prometheus: what is counted, in every worker. Imported only with METRICS=prometheus.

`python -m app` names the folder in which prometheus_client's multiprocess mode keeps the numbers, and app/exporter.py
adds them up. No hook of gunicorn is needed, so none of yours can switch metrics off.
"""

import time
from collections.abc import Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Flask, request, request_started
from prometheus_client import Counter, Gauge, Histogram
from werkzeug.wsgi import ClosingIterator

from app import health

# Labels have a bounded set of values, whatever a client sends: each new one costs memory here and in Prometheus.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"})
OTHER_METHOD = "other"
UNMATCHED = "unmatched"  # the route of a request that no view takes: rules begin with a slash
ROUTE_KEY = "app.route"

REQUESTS = Counter("http_requests_total", "Requests served, without health probes.", ["method", "route", "status"])
DURATION = Histogram(
    "http_request_duration_seconds",
    "Time from the arrival of a request to the end of its response, without health probes.",
    ["method", "route"],
)
IN_FLIGHT = Gauge(
    "http_requests_in_flight",
    "Requests being served, without health probes.",
    ["route"],
    multiprocess_mode="livesum",
)


def init_app(app: Flask) -> None:
    """Count the requests to `app`."""
    app.wsgi_app = _counted(app.wsgi_app)  # type: ignore[method-assign, assignment]
    request_started.connect(_matched, app)


def _matched(*_: Any, **__: Any) -> None:
    """Note the route of a request, now that Flask has found it."""
    route = request.environ[ROUTE_KEY] = request.url_rule.rule if request.url_rule else UNMATCHED
    IN_FLIGHT.labels(route).inc()


def _counted(wsgi_app: WSGIApplication) -> WSGIApplication:
    def counted(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] in health.PATHS:
            return wsgi_app(environ, start_response)
        began = time.perf_counter()
        status = ""

        def start(given: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            nonlocal status
            status = given.partition(" ")[0]
            return start_response(given, headers, exc_info)

        def count() -> None:
            route = environ.get(ROUTE_KEY, UNMATCHED)
            if ROUTE_KEY in environ:
                IN_FLIGHT.labels(route).dec()
            method = environ["REQUEST_METHOD"]
            method = method if method in METHODS else OTHER_METHOD
            REQUESTS.labels(method, route, status).inc()
            DURATION.labels(method, route).observe(time.perf_counter() - began)

        response = wsgi_app(environ, start)
        return ClosingIterator(response, [close for close in (getattr(response, "close", None), count) if close])

    return counted
