"""What holds for any input: settings, request ids, problem details and lines of the log, in a freshly baked service."""

import importlib
import json
import logging
import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from flask import abort
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.conftest import BakedProject

# The same examples every time, and none that is kept from the last run.
ANY = settings(max_examples=200, deadline=None, database=None, suppress_health_check=list(HealthCheck))
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00")
ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
TEXT = st.text() | st.text(alphabet="{}%\"'\\\n\r\u2028\x00\udcff<>é🐍")


class Odd:
    """An object that cannot be told as text."""

    def __str__(self) -> str:
        """Fail."""
        raise RuntimeError("no text")

    __repr__ = __str__


def nested(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return containers of values, some of which contain themselves."""

    def knotted(values: list[Any]) -> list[Any]:
        values.append(values)
        return values

    keys = st.one_of(TEXT, st.integers(), st.none(), st.builds(Odd))
    return st.lists(children) | st.lists(children).map(knotted) | st.dictionaries(keys, children) | st.tuples(children)


SCALARS = st.one_of(
    *(TEXT, st.none(), st.booleans(), st.integers(), st.floats(), st.binary(), st.complex_numbers(), st.dates()),
    *(st.builds(Odd), st.builds(pow, st.just(10), st.just(5000)), st.builds(ValueError, TEXT)),
)
VALUES = st.recursive(SCALARS, nested, max_leaves=8)


@pytest.fixture(scope="module")
def modules(project: BakedProject) -> Iterator[dict[str, Any]]:
    """Return the modules of the service, loaded into this process and forgotten afterwards."""
    sys.path.insert(0, str(project.path))
    try:
        yield {name: importlib.import_module(f"app.{name}") for name in ("logs", "request_ids", "settings")} | {
            "app": importlib.import_module("app")
        }
    finally:
        sys.path.remove(str(project.path))
        for name in [name for name in sys.modules if name == "app" or name.startswith("app.")]:
            del sys.modules[name]


@seed(1)
@ANY
@given(
    message=VALUES, arguments=st.lists(VALUES, max_size=3), extra=st.dictionaries(TEXT, VALUES), failed=st.booleans()
)
def test_a_record_is_one_line_of_json(
    modules: dict[str, Any], message: Any, arguments: list[Any], extra: dict[str, Any], failed: bool
) -> None:
    error = (Odd, ValueError(message), None) if failed else None
    record = logging.LogRecord("name", logging.INFO, "path", 1, message, tuple(arguments), error)  # type: ignore[arg-type]
    # A logger refuses to replace what a record has; all else goes into it as it is.
    more = {key: value for key, value in extra.items() if key not in vars(record)}
    vars(record).update(more)

    line = modules["logs"].JsonFormatter().format(record)

    assert line.isascii()
    assert line.isprintable()
    told = json.loads(line, parse_constant=pytest.fail)
    assert TIME.fullmatch(told["time"])
    assert (told["level"], told["logger"]) == ("INFO", "name")
    assert {"message", "request_id"} <= told.keys()
    assert "logging_error" not in told, "a field costs all others"
    assert len(told) == 5 + len(more) + failed
    if isinstance(message, str) and not arguments:
        assert told["message"] == message


HEADERS = TEXT | st.from_regex(ID, fullmatch=True) | st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


@seed(1)
@ANY
@given(offered=HEADERS, traceparent=HEADERS)
def test_ids_of_a_request_are_well_formed(modules: dict[str, Any], offered: str, traceparent: str) -> None:
    ids = modules["request_ids"]

    entered = ids.enter({"HTTP_X_REQUEST_ID": offered, "HTTP_TRACEPARENT": traceparent})

    fields = ids.fields()
    ids.leave()
    assert ID.fullmatch(entered)
    assert fields["request_id"] == entered
    assert entered == offered or not ID.fullmatch(offered)
    if "trace_id" in fields:
        assert re.fullmatch(r"[0-9a-f]{32}", fields["trace_id"])
        assert int(fields["trace_id"], 16)
        assert re.fullmatch(r"[0-9a-f]{16}", fields["span_id"])
        assert traceparent[3:52] == f"{fields['trace_id']}-{fields['span_id']}"
    assert ids.fields() == {}


@seed(1)
@ANY
@given(data=st.data())
def test_an_environment_is_valid_or_refused_with_a_line_for_each_variable(
    modules: dict[str, Any], data: st.DataObject
) -> None:
    module = modules["settings"]
    names = [name.upper() for name in module.Settings.__dataclass_fields__]
    values = (
        st.sampled_from(
            ["1", "0", "65535", "65536", "debug", "JSON", "prometheus", "gthread", "", " 1", "\u0661", "1_0"]
        )
        | TEXT
    )
    environ = data.draw(st.dictionaries(st.sampled_from(names), values))

    try:
        valid = module.Settings.from_environ(environ)
    except module.SettingsError as error:
        lines = str(error).split("\n")
        assert all(re.match(r"[A-Z_]+=['\"].*['\"] is not valid: .", line) or "is missing" in line for line in lines), (
            lines
        )
        assert all(line.isascii() for line in lines)
        wrong = [line.partition("=")[0] for line in lines]
        assert set(wrong) <= {*environ, "METRICS_PORT"}
        # Without what is wrong, the rest is taken.
        rest = {name: value for name, value in environ.items() if name not in {*wrong, "METRICS"}}
        module.Settings.from_environ(rest)
    else:
        assert 1 <= valid.port <= 65535
        assert valid.log_level in {"debug", "info", "warning", "error"}


METHODS = st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS", "BREW", "HEAD"])


@seed(1)
@ANY
@given(
    path=st.text(alphabet=st.characters(codec="utf-8")),
    method=METHODS,
    accept=st.sampled_from(["*/*", "application/json", "application/problem+json", "text/plain", "q=;,,", ""]),
    status=st.sampled_from([400, 401, 403, 404, 405, 409, 413, 418, 422, 429, 500, 502, 503, 504, None]),
)
def test_an_error_is_problem_details(
    modules: dict[str, Any], path: str, method: str, accept: str, status: int | None
) -> None:
    app = modules["app"].create_app(modules["settings"].Settings.from_environ({}))

    def fail() -> None:
        if status is None:
            raise ValueError("canary")
        abort(status)

    app.before_request(fail)

    response = app.test_client().open(f"/{path}", method=method, headers={"Accept": accept, "Authorization": "canary"})

    assert response.status_code == (status or 500)
    assert response.content_type == "application/problem+json"
    assert ID.fullmatch(response.headers["X-Request-ID"])
    assert "canary" not in response.text
    if method != "HEAD":
        details = json.loads(response.text)
        assert (details["type"], details["status"]) == ("about:blank", status or 500)
        assert details["request_id"] == response.headers["X-Request-ID"]
        assert details["title"]
        assert details["detail"]
