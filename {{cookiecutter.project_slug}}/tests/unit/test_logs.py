"""Log lines: JSON whatever is logged, and nothing that escapes them."""

import gc
import io
import json
import linecache
import logging
import os
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from flask import Flask

from app import logs, request_ids
from app.settings import Secret
from tests.unit.required import NEEDED

PROJECT = Path(__file__).parents[2]
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def parsed(line: str) -> dict[str, Any]:
    """Return what a line says; refuse what Python takes for JSON and others do not."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    assert line.isascii()
    assert line.isprintable()
    found: dict[str, Any] = json.loads(line, parse_constant=refuse)
    return found


def write(*arguments: object, **options: Any) -> dict[str, Any]:
    """Log an error; return the one line that comes of it."""
    logger, stream = logging.Logger("shop"), io.StringIO()
    logger.addHandler(logging.StreamHandler(stream))
    logger.handlers[0].setFormatter(logs.JsonFormatter())
    logger.error(*arguments, **options)
    assert stream.getvalue().endswith("\n")
    return parsed(stream.getvalue()[:-1])


@pytest.fixture(autouse=True)
def outside() -> None:
    """Be in no request: a test client does not end the last one of another test."""
    request_ids.leave()


class Unprintable:
    """An object without text."""

    def __str__(self) -> str:
        """Fail."""
        raise RuntimeError("hunter2")

    __repr__ = __str__


def circular() -> dict[str, Any]:
    """Return a dictionary that contains itself."""
    found: dict[str, Any] = {}
    found["self"] = found
    return found


def deep() -> list[Any]:
    """Return a list that is nested deeper than Python can follow."""
    found: list[Any] = []
    for _ in range(100_000):
        found = [found]
    return found


def test_a_line_says_when_who_and_what() -> None:
    line = write("sold %d %s", 3, "h\u00e9\n\x1b[31m")

    assert line == {
        "time": line["time"],
        "level": "ERROR",
        "logger": "shop",
        "message": "sold 3 h\u00e9\n\x1b[31m",
        "request_id": None,
    }


def test_the_time_of_a_line_is_that_of_its_record() -> None:
    record = logging.makeLogRecord({"created": 86_400.25, "msecs": 250.0})

    assert parsed(logs.JsonFormatter().format(record))["time"] == "1970-01-02T00:00:00.250+00:00"


NAN, INFINITY = float("nan"), float("inf")


def nested(depth: int, inner: object) -> object:
    """Return lists in lists."""
    return [nested(depth - 1, inner)] if depth else inner


@pytest.mark.parametrize(
    ("value", "in_line"),
    [
        pytest.param(7, 7, id="number"),
        pytest.param({"a": [1, (2.5, None, True)]}, {"a": [1, [2.5, None, True]]}, id="nested"),
        pytest.param(SimpleNamespace(number=7), "namespace(number=7)", id="object"),
        pytest.param(b"a\xff", r"b'a\xff'", id="bytes"),
        pytest.param({7}, "{7}", id="set"),
        pytest.param("\ud800", "\ud800", id="lone surrogate"),
        pytest.param(NAN, "nan", id="NaN"),
        pytest.param([9e299, 1e300], [9e299, "1e+300"], id="too large for others"),
        pytest.param(nested(20, [7]), nested(20, [7]), id="as deep as others can read"),
        pytest.param(nested(21, [7]), nested(21, "<list>"), id="too deep"),
        pytest.param(circular(), {"self": "<dict>"}, id="circular"),
        pytest.param({"a": [(-INFINITY, 1)]}, {"a": [["-inf", 1]]}, id="nested infinity"),
        pytest.param({NAN: 1, None: 2}, {"nan": 1, "None": 2}, id="NaN as a key"),
        pytest.param({("a", 1): 2, b"b": 3}, {"('a', 1)": 2, "b'b'": 3}, id="keys that are no text"),
        pytest.param(Unprintable(), "<Unprintable>", id="no text"),
        pytest.param({Unprintable(): [Unprintable()]}, {"<Unprintable>": ["<Unprintable>"]}, id="key without text"),
    ],
)
def test_an_extra_field_becomes_part_of_the_line(value: object, in_line: object) -> None:
    line = write("sold", extra={"order": value})

    assert line.keys() == {"time", "level", "logger", "message", "request_id", "order"}
    assert line["order"] == in_line


@pytest.mark.parametrize(
    "value",
    [pytest.param(circular(), id="circular"), pytest.param(deep(), id="deep"), pytest.param(10**5000, id="huge")],
)
def test_what_json_cannot_hold_costs_no_other_field(value: object) -> None:
    line = write("sold", extra={"before": 1, "order": value, "after": 2})

    assert (line["message"], line["before"], line["after"]) == ("sold", 1, 2)
    assert "order" in line


def test_a_tree_with_links_to_parents_fits_into_a_line() -> None:
    tree: dict[str, Any] = {}
    tree["children"] = [{"parent": tree} for _ in range(200)]

    assert len(json.dumps(write("sold", extra={"tree": tree}))) < 50_000


@pytest.mark.parametrize("name", ["time", "level", "logger", "request_id", "exception", "stack"])
def test_an_extra_field_overwrites_nothing(name: str) -> None:
    line = write("sold", extra={name: "mine"}, exc_info=ValueError("no stock"), stack_info=True)

    assert line[f"{name}_"] == "mine"
    assert line[name] != "mine"
    assert (line["level"], line["logger"], line["message"]) == ("ERROR", "shop", "sold")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(("%d sold", "three"), "%d sold ('three',)", id="wrong kind"),
        pytest.param(("%s sold", 1, 2), "%s sold (1, 2)", id="too many"),
        pytest.param(("%s %s", 1), "%s %s (1,)", id="too few"),
        pytest.param(("100%", 1), "100% (1,)", id="no placeholder"),
        pytest.param(("%(a)s", {"b": 1}), "%(a)s {'b': 1}", id="no such name"),
        pytest.param(("100%",), "100%", id="nothing to fill in"),
        pytest.param(("%s sold", Unprintable()), "%s sold <tuple>", id="no text"),
        pytest.param((Unprintable(),), "<Unprintable> ()", id="a message without text"),
        pytest.param(("%s", deep()), "%s <tuple>", id="deep"),
        pytest.param((b"sold",), "b'sold'", id="bytes"),
    ],
)
def test_a_message_whose_arguments_do_not_fit_is_logged(arguments: tuple[object, ...], message: str) -> None:
    assert write(*arguments)["message"] == message


def test_a_traceback_stays_on_the_line() -> None:
    try:
        raise ValueError("no stock")
    except ValueError as error:
        try:
            raise KeyError(Unprintable()) from error
        except KeyError:
            line = write("failed", exc_info=True)

    assert line["exception"].startswith("Traceback (most recent call last):\n")
    assert "ValueError: no stock\n" in line["exception"]
    assert line["exception"].endswith("\nKeyError: <exception str() failed>")


def test_a_stack_stays_on_the_line() -> None:
    line = write("where", stack_info=True)

    assert line["stack"].startswith("Stack (most recent call last):\n")
    assert "test_a_stack_stays_on_the_line" in line["stack"]


@pytest.mark.usefixtures("alone")
def test_a_line_knows_its_request_and_its_trace(
    app: Flask, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caplog.handler, "formatter", logs.JsonFormatter())

    @app.get("/logging")
    def logging_view() -> str:
        logging.getLogger("shop").warning("inside")
        return ""

    headers = {"X-Request-ID": "me", "traceparent": f"00-{TRACE}-{SPAN}-01"}
    assert app.test_client().get("/logging", headers=headers, buffered=True).status_code == 200
    logging.getLogger("shop").warning("outside")

    inside, outside = map(parsed, caplog.text.splitlines())
    assert (inside["request_id"], inside["trace_id"], inside["span_id"]) == ("me", TRACE, SPAN)
    assert outside.keys() == {"time", "level", "logger", "message", "request_id"}
    assert outside["request_id"] is None


def test_a_record_knows_the_file_and_line_it_comes_from(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("shop").warning("this very line")

    (record,) = caplog.records
    assert (record.pathname, record.funcName) == (__file__, "test_a_record_knows_the_file_and_line_it_comes_from")
    assert "this very line" in linecache.getline(record.pathname, record.lineno)


@pytest.fixture
def capturing(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Capture, until the end of the test."""
    for module, hook in ((sys, "excepthook"), (sys, "unraisablehook"), (threading, "excepthook")):
        monkeypatch.setattr(module, hook, getattr(module, hook))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logs.capture()
        yield
        logging.captureWarnings(False)


def fail(error: BaseException) -> None:
    """Raise an exception."""
    raise error


def in_thread(error: BaseException) -> None:
    """Raise an exception that ends a thread."""
    thread = threading.Thread(target=fail, args=[error], name="worker-1")
    thread.start()
    thread.join()


def in_main(error: BaseException) -> None:
    """Do what Python does with an exception that ends the program."""
    try:
        raise error
    except BaseException:
        sys.excepthook(*sys.exc_info())


def in_finalizer(error: BaseException) -> None:
    """Raise an exception where nobody can catch it."""

    class Closing:
        def __del__(self) -> None:
            raise error

    Closing()
    gc.collect()


@pytest.mark.parametrize(
    ("place", "level", "message"),
    [
        (in_thread, "ERROR", "uncaught exception in thread worker-1"),
        (in_main, "CRITICAL", "uncaught exception"),
        (in_finalizer, "ERROR", "(?i)exception ignored .*__del__.*"),
    ],
)
def test_an_exception_nobody_has_caught_is_logged(
    capturing: None,
    caplog: pytest.LogCaptureFixture,
    place: Callable[[BaseException], None],
    level: str,
    message: str,
) -> None:
    place(ValueError("no stock"))

    (record,) = caplog.records
    line = parsed(logs.JsonFormatter().format(record))
    assert (line["logger"], line["level"]) == ("app", level)
    assert re.fullmatch(message, line["message"])
    assert "None" not in line["message"]
    assert line["exception"].startswith("Traceback (most recent call last):\n")
    assert line["exception"].endswith("\nValueError: no stock")


def test_a_thread_that_is_gone_has_no_name(capturing: None, caplog: pytest.LogCaptureFixture) -> None:
    threading.excepthook(threading.ExceptHookArgs((ValueError, ValueError("no stock"), None, None)))

    (record,) = caplog.records
    assert record.getMessage() == "uncaught exception in thread ?"


@pytest.mark.parametrize("error", [SystemExit(), SystemExit(3)], ids=repr)
def test_a_thread_may_end_itself(capturing: None, caplog: pytest.LogCaptureFixture, error: SystemExit) -> None:
    in_thread(error)

    assert not caplog.records


def test_a_warning_is_logged(capturing: None, caplog: pytest.LogCaptureFixture) -> None:
    warnings.warn("old", DeprecationWarning, stacklevel=1)

    (record,) = caplog.records
    line = parsed(logs.JsonFormatter().format(record))
    assert (line["logger"], line["level"]) == ("py.warnings", "WARNING")
    assert f"{__file__}:" in line["message"]
    assert "DeprecationWarning: old" in line["message"]


PROGRAM = """\
import logging.config, sys, threading, warnings
from app import logs
logging.config.dictConfig(logs.configuration(*sys.argv[1:]))
logs.capture()
logging.getLogger("shop").debug("sold")
logging.getLogger("gunicorn.error").info("started")
logging.getLogger("gunicorn.access").info("GET /")
warnings.warn("old", UserWarning)
threading.Thread(target=lambda: 1 / 0).start()
class Closing:
    def __del__(self):
        raise KeyError("closing")
Closing()
raise ValueError("the end")
"""


def output(level: str, style: str, program: str = PROGRAM) -> str:
    """Run a program with logs of a level and a style; return its standard output, if it wrote nothing else."""
    ended = subprocess.run(
        [sys.executable, "-c", program, level, style],
        cwd=PROJECT,
        env={**os.environ, **NEEDED, "TZ": "EAST-9", "LOG_LEVEL": level, "LOG_FORMAT": style},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (ended.returncode, ended.stderr) == (1, "")
    return ended.stdout


def test_nothing_a_program_logs_is_anything_but_json() -> None:
    lines = [parsed(line) for line in output("debug", "json").splitlines()]

    assert sorted(line["logger"] for line in lines) == [
        *["app", "app", "app", "gunicorn.access", "gunicorn.error", "py.warnings", "shop"]
    ]
    for time in (datetime.fromisoformat(line["time"]) for line in lines):
        assert time.utcoffset() == timedelta(0)
        assert abs(datetime.now(UTC) - time) < timedelta(minutes=5)


def test_lines_below_the_level_are_left_out() -> None:
    lines = [parsed(line) for line in output("error", "json").splitlines()]

    assert [line["logger"] for line in lines] == ["app", "app", "app"]


def test_text_shows_people_file_and_line() -> None:
    text = output("debug", "text")

    assert " DEBUG   shop <string>:5: sold\n" in text
    assert text.count("GET /") == 1
    assert text.endswith("ValueError: the end\n")


WORKER = """\
import logging
from app import logs, settings
logs.start(settings.load())
logging.getLogger("shop").info("sold")
raise ValueError("the end")
"""


def test_a_program_beside_the_service_logs_as_it_does() -> None:
    assert [parsed(line)["logger"] for line in output("info", "json", WORKER).splitlines()] == ["shop", "app"]
    assert [parsed(line)["logger"] for line in output("error", "json", WORKER).splitlines()] == ["app"]
    assert " INFO    shop <string>:4: sold\n" in output("info", "text", WORKER)


def test_a_secret_is_not_shown_in_a_field() -> None:
    line = write("sold", extra={"token": Secret("hunter2"), "config": {"KEYS": [Secret("hunter2")]}})

    assert (line["token"], line["config"]) == ("<secret>", {"KEYS": ["<secret>"]})


def test_what_cannot_be_read_at_all_costs_no_line() -> None:
    class Hostile(dict[str, str]):
        def items(self) -> NoReturn:
            raise RuntimeError

    line = write("sold", extra={"order": Hostile(a="b")})

    assert (line["message"], line["logging_error"]) == ("sold", "RuntimeError")
