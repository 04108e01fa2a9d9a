"""The access log."""

import json
import logging
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("fcntl", reason="gunicorn does not run on Windows")
from app import access_log, logs, request_ids

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Log:
    """gunicorn's logger, and the lines it has written."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        """Begin without lines."""
        self.caplog = caplog
        self.logger = access_log.GunicornLogger.__new__(access_log.GunicornLogger)

    def access(self, path: str | None = "/a", status: str | int = "200 OK", method: str | None = "GET") -> None:
        """Log the end of a request."""
        request = SimpleNamespace(method=method, path=path, uri=f"{path}?password=hunter2", query="password=hunter2")
        request.headers = [("AUTHORIZATION", "Bearer hunter2"), ("COOKIE", "session=hunter2")]
        environ = {"QUERY_STRING": "password=hunter2", "RAW_URI": request.uri, "HTTP_COOKIE": "session=hunter2"}
        self.logger.access(SimpleNamespace(status=status), request, environ, timedelta(microseconds=1500))

    def lines(self) -> list[dict[str, Any]]:
        """Return the lines."""
        return [json.loads(line) for line in self.caplog.text.splitlines()]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    """Yield a log in the middle of a request."""
    caplog.set_level(logging.INFO, logger="gunicorn.access")
    monkeypatch.setattr(caplog.handler, "formatter", logs.JsonFormatter())
    request_ids.enter({"HTTP_X_REQUEST_ID": "me"})
    yield Log(caplog)
    request_ids.leave()


def test_an_access_line_has_exactly_these_fields(log: Log) -> None:
    log.access()

    (line,) = log.lines()
    assert line == {
        "time": line["time"],
        "level": "INFO",
        "logger": "gunicorn.access",
        "message": "GET /a 200",
        "request_id": "me",
        "method": "GET",
        "path": "/a",
        "status": 200,
        "duration_ms": 1.5,
    }
    assert "hunter2" not in log.caplog.text


def test_an_access_line_of_a_trace_has_its_ids(log: Log) -> None:
    log.access()
    request_ids.enter({"HTTP_TRACEPARENT": f"00-{TRACE}-{SPAN}-01"})
    log.access()

    without, line = log.lines()
    assert line.keys() - without.keys() == {"trace_id", "span_id"}
    assert (line["trace_id"], line["span_id"]) == (TRACE, SPAN)


@pytest.mark.parametrize("status", [200, 204, 302, 404, 413, 500, 503])
def test_every_status_has_one_line(log: Log, status: int) -> None:
    log.access(status=f"{status} Reason")

    assert [line["status"] for line in log.lines()] == [status], "one line a request, whatever its status"


def test_no_level_shows_what_a_client_keeps_secret(log: Log) -> None:
    log.caplog.set_level(logging.DEBUG)
    log.caplog.set_level(logging.DEBUG, logger="gunicorn.access")
    log.access(status=500)

    assert len(log.lines()) == 1
    assert "hunter2" not in log.caplog.text, "query, Authorization or Cookie is in the log"


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
@pytest.mark.parametrize("status", ["200 OK", "503 Service Unavailable"])
def test_probes_are_not_logged(log: Log, path: str, status: str) -> None:
    log.access(path, status)

    assert log.lines() == []


@pytest.mark.parametrize("path", ["/", "/healthz/", "/healthz2", "/a\n{}", "/h\u00e9\udcff", "*"])
def test_all_other_paths_are_logged(log: Log, path: str) -> None:
    log.access(path, 404)

    (line,) = log.lines()
    assert (line["path"], line["status"], line["message"]) == (path, 404, f"GET {path} 404")


@pytest.mark.parametrize("path", [None, ""])
def test_a_request_line_that_was_refused_has_no_path(log: Log, path: str | None) -> None:
    request_ids.leave()
    log.access(path, "400 Bad Request", method=None)

    (line,) = log.lines()
    assert (line["path"], line["status"], line["request_id"]) == ("-", 400, None)
    assert "hunter2" not in log.caplog.text


def test_the_level_decides_whether_there_is_a_line(log: Log) -> None:
    log.caplog.set_level(logging.WARNING, logger="gunicorn.access")

    log.access("/a")

    assert not log.lines()
