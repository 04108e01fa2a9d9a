"""The contract, rows 12 to 16: what a running service must do, in a container that may do next to nothing."""

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.container import docker

MIB = 2**20
UTC_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(Z|\+00:00)"


@pytest.mark.row(12)
def test_the_page_is_served(service: docker.Container) -> None:
    """The service does what it is for, on a read-only file system, without capabilities and without a tmpfs.

    Mend: write nothing at start; what must be written belongs to a volume.
    """
    response = service.request("/")

    assert response.status == 200


@pytest.mark.row(12)
@pytest.mark.usefixtures("own")
def test_the_page_says_hello(service: docker.Container) -> None:
    """The first page of the service. Yours has replaced it? Then replace this test."""
    assert service.request("/").body == b"<p>Hello, World!</p>"


@pytest.mark.row(12)
@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/no/such/page", 404), ("DELETE", "/", 405)])
def test_client_errors_are_told_as_such(service: docker.Container, method: str, path: str, status: int) -> None:
    """A client's mistake is not a server error: 5xx would page someone at night. Mend: no catch-all route."""
    response = service.request(path, method)

    assert response.status == status
    assert b"Traceback" not in response.body


@pytest.mark.row(12)
@pytest.mark.usefixtures("own")
def test_errors_are_problem_details(service: docker.Container) -> None:
    """API clients parse errors; one shape for all of them is RFC 9457. Mend: app/errors.py."""
    response = service.request("/no/such/page", X_Request_ID="abc")

    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json["status"] == 404
    assert response.json["request_id"] == "abc"


@pytest.mark.row(12)
def test_an_oversize_body_is_refused(service: docker.Container) -> None:
    """Without a limit one client can fill the memory. The answer must come before the body does.

    Mend: MAX_CONTENT_LENGTH, and a check of Content-Length before any view runs.
    """
    head = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % (1024 * MIB)

    assert service.send(head).split(b"\r\n")[0].split()[1:2] == [b"413"]


@pytest.mark.row(12)
@pytest.mark.parametrize(
    ("raw", "statuses"),
    [
        pytest.param(b"GARBAGE\r\n\r\n", {b"400"}, id="request line"),
        pytest.param(b"GET / HTTP/9.9\r\n\r\n", {b"400", b"505"}, id="version"),
        pytest.param(b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", {b"400"}, id="header name"),
        pytest.param(b"GET /%s HTTP/1.1\r\nHost: a\r\n\r\n" % (b"x" * 20_000), {b"400", b"414"}, id="long path"),
        pytest.param(b"GET / HTTP/1.1\r\nX: %s\r\n\r\n" % (b"x" * 20_000), {b"400", b"431"}, id="long header"),
    ],
)
def test_malformed_requests_are_refused(service: docker.Container, raw: bytes, statuses: set[bytes]) -> None:
    """Whoever speaks bad HTTP gets a 4xx, no traceback, and the next client is served. Mend: keep gunicorn's limits."""
    answer = service.send(raw)

    assert answer.startswith(b"HTTP/1."), answer[:200]
    assert answer.split()[1] in statuses, answer[:200]
    assert b"Traceback" not in answer
    assert service.request("/").status == 200


@pytest.mark.row(13)
def test_a_clean_life_leaves_a_clean_log(image: docker.Image) -> None:
    """A log that cries at every start trains people to ignore it; a line that is not JSON is lost to every query.

    Mend: no control socket, heartbeat in /dev/shm, one formatter for all loggers on stdout.
    """
    with docker.started(image) as container:
        container.wait_until_serving()
        for path in ("/", "/no/such/page", "/healthz", "/readyz"):
            container.request(path)
        time.sleep(2)  # what a server starts in the background fails a moment later
        container.stop()
        lines = container.logs

    assert lines, "the log is empty"
    for line in lines:
        assert _is_json_object(line), f"this line is not a JSON object: {line}"
        entry = json.loads(line)
        assert entry.keys() >= {"time", "level", "logger", "message", "request_id"}, f"a field is missing: {line}"
        assert re.fullmatch(UTC_TIME, entry["time"]), f"time is not UTC: {line}"
        assert entry["level"] in {"DEBUG", "INFO"}, f"a clean life has nothing to complain about: {line}"


def _is_json_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _access_lines(service: docker.Container) -> list[dict[str, object]]:
    return [entry for line in service.logs if _is_json_object(line) and "path" in (entry := json.loads(line))]


@pytest.mark.row(13)
def test_a_request_can_be_followed_by_its_id(service: docker.Container) -> None:
    """The id a proxy or client gave must stand in the response and in the log, or nobody finds the line.

    Mend: take X-Request-ID into the log and give it back.
    """
    identity = f"contract-{time.time_ns()}"

    assert service.request("/?secret=1", X_Request_ID=identity).headers["X-Request-ID"] == identity
    lines = [line for line in _access_lines(service) if line["request_id"] == identity]
    assert len(lines) == 1, f"{len(lines)} access lines with the id {identity}"
    assert (lines[0]["method"], lines[0]["path"], lines[0]["status"]) == ("GET", "/", 200)
    assert isinstance(lines[0]["duration_ms"], float)


@pytest.mark.row(13)
@pytest.mark.parametrize("forged", ["a b", 'x","level":"ERROR', "x" * 1000, ""])
def test_a_forged_request_id_is_replaced(service: docker.Container, forged: str) -> None:
    """An id is client input: unchecked, it forges log lines and fills disks. Mend: replace what is not well-formed."""
    given = service.request("/", X_Request_ID=forged).headers["X-Request-ID"]

    assert given, "the response carries no X-Request-ID"
    assert given != forged
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,128}", given)


@pytest.mark.row(13)
def test_probes_are_not_logged(service: docker.Container) -> None:
    """Probes come every few seconds and bury the lines that matter. Mend: leave their paths out of the access log."""
    service.request("/healthz")
    service.request("/readyz")

    assert not [line for line in _access_lines(service) if line["path"] in {"/healthz", "/readyz"}]


@pytest.mark.row(16)
def test_a_stop_lets_requests_in_flight_finish(slow_service: docker.Container) -> None:
    """Every deployment stops containers; what they are just serving must not be lost.

    Mend: exec form, STOPSIGNAL SIGTERM, a graceful time-out below the grace period of whoever stops it.
    """
    with ThreadPoolExecutor() as client:
        answer = client.submit(slow_service.request, "/contract/sleep?3", timeout=20)
        time.sleep(0.5)
        seconds = slow_service.stop()

    assert answer.exception() is None, f"the request in flight was lost: {answer.exception()!r}"
    assert answer.result().status == 200, f"the request in flight got a {answer.result().status}"
    assert slow_service.state["ExitCode"] == 0, f"exit code {slow_service.state['ExitCode']}"
    assert 2 < seconds < 9, f"the stop took {seconds:.1f} s"


@pytest.mark.row(16)
def test_idle_connections_do_not_delay_a_stop(image: docker.Image) -> None:
    """Clients and balancers keep connections open for minutes; a stop that waits for them ends in SIGKILL.

    Mend: a server that closes idle connections on SIGTERM.
    """
    with docker.started(image) as container:
        container.wait_until_serving()
        connections = [container.connect() for _ in range(5)]
        for connection in connections:
            connection.request("GET", "/")
            connection.getresponse().read()

        seconds = container.stop()
        for connection in connections:
            connection.close()

        assert container.state["ExitCode"] == 0
        assert seconds < 6, f"the stop took {seconds:.1f} s"
