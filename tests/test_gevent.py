"""WORKER_CLASS=gevent, as its README row says: one more word in requirements.in, and the lock."""

import http.client
import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.conftest import PYTHONS, TOOLS, Bake, docker, free_port, wait_for_page

CLIENTS = 100

pytestmark = [pytest.mark.container, pytest.mark.slow]

STREAM = """

@blueprint.get("/stream")
def stream() -> Iterator[str]:
    yield "first"
    time.sleep(3)
    yield "last"
"""


@pytest.fixture
def port(bake: Bake, image_tag: str) -> Iterator[int]:
    """Return the port of a service with one worker of gevent and a page that streams."""
    project = bake(python_version=PYTHONS[0])
    requirements = project.path / "requirements.in"
    requirements.write_text(requirements.read_text().replace("gunicorn>=", "gunicorn[gevent]>="))
    [command] = re.findall(r"#   (uv pip compile .+)", requirements.read_text())
    subprocess.run([TOOLS / "uv", *command.split()[1:]], cwd=project.path, check=True, capture_output=True)
    views = project.path / "app/views.py"
    code = views.read_text().replace("from flask", "import time\nfrom collections.abc import Iterator\n\nfrom flask", 1)
    views.write_text(code + STREAM)
    project.build_image(image_tag)
    found = free_port()
    options = ("--env=WORKER_CLASS=gevent", "--env=WEB_CONCURRENCY=1", "--env=THREADS=1", "--read-only")
    identity = docker("run", "--detach", f"--publish=127.0.0.1:{found}:5000", *options, image_tag)
    try:
        wait_for_page(found)
        yield found
        docker("stop", identity)
        lines = [json.loads(line) for line in docker("logs", identity).splitlines()]
        assert docker("inspect", "--format", "{{.State.ExitCode}}", identity) == "0"
        assert [line for line in lines if line["level"] not in {"INFO", "DEBUG"}] == []
    finally:
        docker("rm", "--force", identity)


def test_streams_and_slow_clients_hold_no_thread(port: int) -> None:
    with ExitStack() as stack:
        streams = []
        for _ in range(CLIENTS):
            streams.append(http.client.HTTPConnection("127.0.0.1", port, timeout=30))
            stack.callback(streams[-1].close)
            streams[-1].request("GET", "/stream")
            slow = stack.enter_context(socket.create_connection(("127.0.0.1", port), 30))
            slow.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
        began = time.monotonic()
        page = wait_for_page(port)
        responses = [stream.getresponse() for stream in streams]
        first = {response.read(5) for response in responses}
        bodies = {response.read() for response in responses}
        seconds = time.monotonic() - began

    assert page == "<p>Hello, World!</p>"
    assert (first, bodies) == ({b"first"}, {b"last"})
    assert seconds < 3 * CLIENTS / 2, "the streams came one after the other"
