"""When a request is ready for a thread. What becomes of slow clients is row 20 of the container contract."""

import pytest

pytest.importorskip("fcntl", reason="gunicorn does not run on Windows")
from app import worker

POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "complete"),
    [
        pytest.param(b"", False, id="nothing"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n", False, id="half of the headers"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", True, id="no body"),
        pytest.param(POST % 3 + b"ab", False, id="half of the body"),
        pytest.param(POST % 3 + b"abc", True, id="the body"),
        pytest.param(POST % 0, True, id="an empty body"),
        pytest.param((POST % 3).replace(b"Content-Length", b"content-length") + b"ab", False, id="lower case"),
        pytest.param(POST % 65537, True, id="a long body is for the thread"),
        pytest.param(POST % (10**9), True, id="an oversize body too: the answer does not wait for it"),
        pytest.param(b"x" * 65535, False, id="long headers"),
        pytest.param(b"x" * 65536, True, id="headers that are too long are for the thread to refuse"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\nContent-Length: 9\r\n", True, id="a body is no header"),
    ],
)
def test_a_request_is_complete(data: bytes, complete: bool) -> None:
    assert worker.is_complete(data) is complete
