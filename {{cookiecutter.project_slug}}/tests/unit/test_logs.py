"""Log lines."""

import io
import json
import logging
import sys
from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest
from flask import Flask

pytest.importorskip("fcntl", reason="gunicorn does not run on Windows")
from app import logs, request_ids


def _line(record: logging.LogRecord) -> dict[str, object]:
    text = logs.JsonFormatter().format(record)
    assert "\n" not in text
    line: dict[str, object] = json.loads(text)
    return line


def _record(message: str, *args: object) -> logging.LogRecord:
    return logging.LogRecord("shop", logging.INFO, __file__, 1, message, args, None)


def test_a_line_says_when_who_and_what() -> None:
    line = _line(_record("sold %d %s", 3, "h\u00e9\n\x1b[31m"))

    assert line == {
        "time": line["time"],
        "level": "INFO",
        "logger": "shop",
        "message": "sold 3 h\u00e9\n\x1b[31m",
        "request_id": None,
    }
    offset = datetime.fromisoformat(str(line["time"])).utcoffset()
    assert offset == timedelta(0)


def test_extra_fields_become_part_of_the_line() -> None:
    record = _record("sold")
    record.order = SimpleNamespace(number=7)

    assert _line(record)["order"] == "namespace(number=7)"


def test_a_traceback_stays_on_the_line() -> None:
    record = _record("failed")
    try:
        raise ValueError("no stock")
    except ValueError:
        record.exc_info = sys.exc_info()

    assert "ValueError: no stock" in str(_line(record)["exception"])


def test_a_line_knows_its_request(app: Flask) -> None:
    with app.test_request_context(environ_overrides={request_ids.ENVIRON_KEY: "abc"}):
        assert _line(_record("sold"))["request_id"] == "abc"


@pytest.fixture
def access(caplog: pytest.LogCaptureFixture) -> logs.GunicornLogger:
    caplog.set_level(logging.INFO, logger="gunicorn.access")
    return logs.GunicornLogger.__new__(logs.GunicornLogger)


def test_an_access_line_has_its_own_fields(access: logs.GunicornLogger, caplog: pytest.LogCaptureFixture) -> None:
    request = SimpleNamespace(method="GET", path="/a", query="password=hunter2")
    access.access(
        SimpleNamespace(status="200 OK"), request, {request_ids.ENVIRON_KEY: "id"}, timedelta(milliseconds=1.5)
    )

    line = _line(caplog.records[0])
    assert line["message"] == "GET /a 200"
    fields = ("logger", "request_id", "method", "path", "status", "duration_ms")
    assert [line[field] for field in fields] == ["gunicorn.access", "id", "GET", "/a", 200, 1.5]


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes_are_not_logged(access: logs.GunicornLogger, caplog: pytest.LogCaptureFixture, path: str) -> None:
    access.access(SimpleNamespace(status=200), SimpleNamespace(method="GET", path=path), {}, timedelta(0))

    assert not caplog.records


def test_text_for_people_is_available() -> None:
    assert logs.configuration("debug", "text")["handlers"]["stdout"]["formatter"] == "text"
    assert logs.configuration("debug", "text")["root"]["level"] == "DEBUG"


@pytest.fixture
def handler(monkeypatch: pytest.MonkeyPatch) -> logs.BatchHandler:
    monkeypatch.setattr(logs.BatchHandler, "batching", True)
    return logs.BatchHandler(io.StringIO())


def test_access_lines_wait_and_keep_their_order(handler: logs.BatchHandler) -> None:
    access = logging.LogRecord("gunicorn.access", logging.INFO, __file__, 1, "first", (), None)
    handler.handle(access)
    assert handler.stream.getvalue() == ""  # type: ignore[attr-defined]

    handler.handle(_record("second"))
    assert handler.stream.getvalue() == "first\nsecond\n"  # type: ignore[attr-defined]


def test_lines_that_wait_can_be_flushed(handler: logs.BatchHandler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.root, "handlers", [handler])
    assert logs.waiting() == []

    handler.handle(logging.LogRecord("gunicorn.access", logging.INFO, __file__, 1, "first", (), None))
    assert logs.waiting() == [handler]

    handler.flush()
    assert handler.stream.getvalue() == "first\n"  # type: ignore[attr-defined]
    assert logs.waiting() == []


def test_a_reader_that_has_gone_does_not_stop_the_service(handler: logs.BatchHandler) -> None:
    handler.stream.close()

    handler.handle(_record("nobody reads this"))
