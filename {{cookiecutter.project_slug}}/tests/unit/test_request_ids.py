"""Request ids: kept when well-formed, replaced when not."""

from collections.abc import Iterator

import pytest
from flask import Flask, Response, send_file
from flask.testing import FlaskClient
from werkzeug.wsgi import FileWrapper

from app import request_ids

pytestmark = pytest.mark.usefixtures("alone")

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture(autouse=True)
def outside() -> Iterator[None]:
    """Leave no request behind."""
    yield
    request_ids.leave()


@pytest.mark.parametrize("offered", ["a", "3f2b9c1e-0000-4000-8000-000000000000", "x" * 128])
def test_a_well_formed_id_comes_back(client: FlaskClient, offered: str) -> None:
    assert client.get("/nowhere", headers={"X-Request-ID": offered}).headers["X-Request-ID"] == offered


@pytest.mark.parametrize("offered", ["", "two words", "x" * 129, '{"level":"ERROR"}', "h\u00e9"])
def test_a_forged_id_is_replaced(client: FlaskClient, offered: str) -> None:
    given = client.get("/nowhere", headers={"X-Request-ID": offered}).headers.getlist("X-Request-ID")

    assert len(given) == 1
    assert given[0] != offered
    assert request_ids.WELL_FORMED.fullmatch(given[0])


@pytest.mark.parametrize("offered", ["a\n", "\u0663", "a,b"])
def test_what_no_test_client_sends_is_replaced_too(offered: str) -> None:
    given = request_ids.enter({"HTTP_X_REQUEST_ID": offered})

    assert given != offered
    assert request_ids.fields() == {"request_id": given}


def test_every_request_gets_another_id(client: FlaskClient) -> None:
    ids = {client.get("/nowhere").headers["X-Request-ID"] for _ in range(3)}

    assert len(ids) == 3


def test_the_view_knows_the_id_of_its_request(app: Flask, client: FlaskClient) -> None:
    app.add_url_rule("/whoami", view_func=lambda: str(request_ids.current()))

    assert client.get("/whoami", headers={"X-Request-ID": "me"}, buffered=True).text == "me"
    assert request_ids.current() is None


def test_a_stream_knows_the_id_of_its_request(app: Flask, client: FlaskClient) -> None:
    app.add_url_rule("/stream", view_func=lambda: (f"{request_ids.current()}" for _ in range(2)))

    assert client.get("/stream", headers={"X-Request-ID": "me"}, buffered=True).text == "meme"
    assert request_ids.current() is None


def test_a_request_ends_where_it_is_left() -> None:
    assert request_ids.enter({}) == request_ids.current()

    request_ids.leave()

    assert (request_ids.current(), request_ids.fields()) == (None, {})


@pytest.mark.parametrize(
    "traceparent", [f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00", f"01-{TRACE}-{SPAN}-01-what-comes-next"]
)
def test_the_trace_of_a_request_is_known(traceparent: str) -> None:
    request_ids.enter({"HTTP_X_REQUEST_ID": "me", "HTTP_TRACEPARENT": traceparent})

    assert request_ids.fields() == {"request_id": "me", "trace_id": TRACE, "span_id": SPAN}


@pytest.mark.parametrize(
    "traceparent",
    [
        pytest.param("", id="empty"),
        pytest.param(f"ff-{TRACE}-{SPAN}-01", id="version ff"),
        pytest.param(f"00-{'0' * 32}-{SPAN}-01", id="trace id of zeros"),
        pytest.param(f"00-{TRACE}-{'0' * 16}-01", id="span id of zeros"),
        pytest.param(f"00-{TRACE.upper()}-{SPAN}-01", id="upper case"),
        pytest.param(f"00-{TRACE}-{SPAN}-01-more", id="version 00 with more"),
        pytest.param(f"00-{TRACE}-{SPAN}-01-", id="version 00 with a hyphen more"),
        pytest.param(f"01-{TRACE}-{SPAN}-01.more", id="version 01 with more that is not set apart"),
        pytest.param(f"00-{TRACE}-{SPAN}", id="no flags"),
        pytest.param(f"00-{TRACE}-{SPAN}-01,00-{TRACE}-{SPAN}-01", id="two of them"),
        pytest.param(f"00-{TRACE}-{SPAN}-01\n", id="line end"),
    ],
)
def test_a_trace_that_is_not_well_formed_is_ignored(traceparent: str) -> None:
    request_ids.enter({"HTTP_X_REQUEST_ID": "me", "HTTP_TRACEPARENT": traceparent})

    assert request_ids.fields() == {"request_id": "me"}


def test_a_request_does_not_inherit_the_trace_of_the_one_before() -> None:
    request_ids.enter({"HTTP_TRACEPARENT": f"00-{TRACE}-{SPAN}-01"})
    request_ids.enter({"HTTP_X_REQUEST_ID": "me"})

    assert request_ids.fields() == {"request_id": "me"}


def test_a_request_lasts_until_its_response_is_closed(app: Flask, client: FlaskClient) -> None:
    seen: list[str | None] = []

    @app.get("/a-page")
    def page() -> Response:
        response = Response("")
        response.call_on_close(lambda: seen.append(request_ids.current()))
        return response

    app.add_url_rule("/a-file", view_func=lambda: send_file(__file__))
    wrapped = {"wsgi.file_wrapper": FileWrapper}
    for path, wrapper in [("/healthz", {}), ("/a-page", {}), ("/a-file", {}), ("/a-file", wrapped)]:
        client.get(path, headers={"X-Request-ID": "me"}, environ_overrides=wrapper, buffered=True)
        assert request_ids.current() is None
    assert seen == ["me"]
