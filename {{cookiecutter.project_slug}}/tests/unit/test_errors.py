"""Errors are problem details, or HTML for those who ask for it; no failure of a view reaches the server."""

import errno
import sys
from collections.abc import Iterator

import pytest
from flask import Flask, Response, abort
from flask.testing import FlaskClient
from werkzeug.exceptions import HTTPException, NotFound

from app import errors

pytestmark = pytest.mark.usefixtures("alone")

TRACE = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}


def test_not_found_is_a_problem(client: FlaskClient) -> None:
    response = client.get("/nowhere", headers={"X-Request-ID": "abc-1", **TRACE})

    assert response.status_code == 404
    assert response.mimetype == "application/problem+json"
    assert response.json == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": NotFound.description,
        "request_id": "abc-1",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "span_id": "b7ad6b7169203331",
    }


def test_a_page_for_a_browser_has_the_ids_too(client: FlaskClient) -> None:
    response = client.get("/nowhere", headers={"X-Request-ID": "abc-1", "Accept": "text/html", **TRACE})

    assert response.mimetype == "text/html"
    assert response.text.endswith(
        "<p>request_id: <code>abc-1</code>\n"
        "<p>trace_id: <code>0af7651916cd43dd8448eb211c80319c</code>\n"
        "<p>span_id: <code>b7ad6b7169203331</code>\n"
    )


def test_wrong_method_keeps_its_allow_header(app: Flask, client: FlaskClient) -> None:
    app.get("/reads", endpoint="reads")(lambda: "")

    response = client.post("/reads")

    assert response.status_code == 405
    assert response.json is not None
    assert response.json["title"] == "Method Not Allowed"
    assert "GET" in response.headers["Allow"]


@pytest.mark.parametrize(
    ("accept", "mimetype"),
    [
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html"),
        ("*/*", "application/problem+json"),
        ("application/json", "application/problem+json"),
        ("application/json,text/html;q=0.5", "application/problem+json"),
        ("application/problem+json,text/html;q=0.5", "application/problem+json"),
        ("", "application/problem+json"),
    ],
)
def test_html_only_for_those_who_prefer_it(client: FlaskClient, accept: str, mimetype: str) -> None:
    assert client.get("/nowhere", headers={"Accept": accept}).mimetype == mimetype


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("the password is hunter2"),
        BlockingIOError(11, "Resource temporarily unavailable: hunter2"),
        TimeoutError("hunter2"),
        SystemExit("hunter2"),
        SystemExit(3),
        SystemExit(4),
        KeyboardInterrupt("hunter2"),
        BaseException("hunter2"),
    ],
    ids=repr,
)
def test_whatever_a_view_raises_is_logged_and_not_told(
    app: Flask, client: FlaskClient, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    @app.get("/broken")
    def broken() -> str:
        raise error

    response = client.get("/broken", headers={"X-Request-ID": "abc"})

    assert response.status_code == 500
    assert response.mimetype == "application/problem+json"
    assert response.json is not None
    assert response.json["request_id"] == response.headers["X-Request-ID"] == "abc"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "hunter2" not in response.text
    assert [type(record.exc_info[1]) for record in caplog.records if record.exc_info] == [type(error)]
    assert "Exception on /broken [GET]" in caplog.messages


def test_the_debugger_of_flask_run_sees_the_exception_itself(app: Flask, client: FlaskClient) -> None:
    app.add_url_rule("/broken", view_func=lambda: f"{1 / 0}")
    app.debug = True

    with pytest.raises(ZeroDivisionError):
        client.get("/broken", environ_overrides={"werkzeug.debug.preserve_context": str})


def test_tests_of_the_application_see_the_exception_itself(app: Flask, client: FlaskClient) -> None:
    app.add_url_rule("/broken", view_func=lambda: sys.exit(3))
    app.testing = True

    with pytest.raises(SystemExit):
        client.get("/broken")


def test_a_stream_that_fails_before_its_first_byte_is_an_error(
    app: Flask, client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    closed: list[str] = []

    @app.get("/stream")
    def stream() -> Response:
        def pieces() -> Iterator[str]:
            raise RuntimeError("hunter2")
            yield ""

        response = Response(pieces())
        response.call_on_close(lambda: closed.append("closed"))
        return response

    response = client.get("/stream", headers={"X-Request-ID": "abc"})

    assert (response.status_code, response.mimetype) == (500, "application/problem+json")
    assert response.headers.getlist("X-Request-ID") == ["abc"]
    assert caplog.text.count("RuntimeError: hunter2") == 1
    assert closed == ["closed"]


@pytest.mark.parametrize("error", [RuntimeError("hunter2"), SystemExit(3)], ids=repr)
def test_a_stream_that_fails_later_is_cut_off(
    app: Flask, client: FlaskClient, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    @app.get("/stream")
    def stream() -> Iterator[str]:
        yield "a"
        raise error

    with pytest.raises(BrokenPipeError) as lost:  # to the server: the connection is lost
        client.get("/stream", buffered=True)
    assert (lost.value.errno, lost.value.strerror) == (errno.EPIPE, "the response has failed")
    assert [type(record.exc_info[1]) for record in caplog.records if record.exc_info] == [type(error)]


def test_a_stream_is_sent_as_it_comes_and_closed_once(app: Flask, client: FlaskClient) -> None:
    steps: list[str] = []

    @app.get("/stream")
    def stream() -> Response:
        def pieces() -> Iterator[str]:
            for piece in "abc":
                steps.append(piece)
                yield piece

        response = Response(pieces())
        response.call_on_close(lambda: steps.append("closed"))
        return response

    with client.get("/stream", buffered=False) as response:
        assert steps == ["a"], "only the first piece is there before the head is sent"
        assert b"".join(response.response) == b"abc"  # type: ignore[arg-type]
    assert steps == ["a", "b", "c", "closed"]


def test_a_response_made_by_the_view_is_left_alone(app: Flask, client: FlaskClient) -> None:
    @app.get("/teapot")
    def teapot() -> str:
        abort(Response("short and stout", status=418))

    response = client.get("/teapot")

    assert (response.status_code, response.text) == (418, "short and stout")
    made = HTTPException(response=Response("short and stout", status=418))
    assert errors.response(made, client.get("/").request.environ).data == b"short and stout"


def test_a_redirect_is_no_error(app: Flask, client: FlaskClient) -> None:
    app.add_url_rule("/folder/", view_func=lambda: "")

    response = client.get("/folder")

    assert (response.status_code, response.mimetype) == (308, "text/html")
