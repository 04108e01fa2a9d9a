"""The contract, rows 12 to 18: what a running service must do, in a container that may do next to nothing."""

import http.client
import json
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields

import pytest

from app.settings import Settings
from tests.container import docker
from tests.container.configuration import Configuration
from tests.container.load import load
from tests.unit.required import accepted

MIB = 2**20
UTC_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(Z|\+00:00)"


@pytest.mark.row(12)
def test_the_page_is_served(image: docker.Image) -> None:
    """The service does what it is for, on a read-only file system, without capabilities and without a tmpfs.

    Fix: write nothing at start (gunicorn: worker_tmp_dir in /dev/shm); what must be written belongs to a volume.
    """
    with docker.started(image, options=docker.HARDENED) as container:
        container.wait_until_serving()
        assert container.request().status == image.page.status


@pytest.mark.row(12)
@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/no/such/page", 404), ("TRACE", "", 405)])
def test_client_errors_are_told_as_such(service: docker.Container, method: str, path: str, status: int) -> None:
    """A client's mistake is not a server error: 5xx would page someone at night. Fix: no catch-all route."""
    response = service.request(path, method)

    assert response.status == status
    assert b"Traceback" not in response.body


SECURE = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": ".+", "Content-Security-Policy": "default-src .+"}


@pytest.mark.row(12)
@pytest.mark.usefixtures("project_only")
def test_a_failure_is_told_and_nothing_else_of_it(talkative: docker.Container) -> None:
    """What an exception says is for the log: in a page it shows an intruder paths, code and secrets.

    So it is with FLASK_DEBUG=1 and LOG_LEVEL=debug, and the page has all its headers. Fix: app/middleware.py,
    app/errors.py.
    """
    response = talkative.request("/contract/exit?x", Accept="text/html")

    assert response.status == 500
    shown = re.search(rb"Traceback|ValueError|sitecustomize|__debugger__|EVALEX", response.body)
    assert not shown, f"the page shows what has failed, and where: {shown and shown[0]!r}"
    for name, value in SECURE.items():
        assert re.fullmatch(value, response.headers.get(name, "")), f"a response with status 500 lacks {name}"


@pytest.mark.row(12)
@pytest.mark.usefixtures("project_only")
def test_errors_are_problem_details(service: docker.Container) -> None:
    """API clients parse errors; one shape for all of them is RFC 9457. Fix: app/errors.py."""
    response = service.request("/no/such/page", X_Request_ID="abc")

    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json["status"] == 404
    assert response.json["request_id"] == "abc"


@pytest.mark.row(12)
def test_an_oversize_body_is_refused(service: docker.Container) -> None:
    """Without a limit one client can fill the memory. The answer must come before the body does.

    Fix: MAX_CONTENT_LENGTH, and a check of Content-Length before any view runs.
    """
    head = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % (1024 * MIB)

    assert service.send(head).split(b"\r\n")[0].split()[1:2] == [b"413"]


FORGED = b"""GET /contract/client HTTP/1.0
Host: shop.example
X-Forwarded-For: 192.0.2.1, 192.0.2.2
X-Forwarded-Host: far.example, near.example
X-Forwarded-Port: 1, 1
X-Forwarded-Prefix: /forged, /forged
X-Forwarded-Proto: %s
X-Real-IP: 192.0.2.3
Forwarded: for=192.0.2.4;host=evil.example;proto=https
SCRIPT_NAME: /contract
REMOTE_ADDR: 192.0.2.5

""".replace(b"\n", b"\r\n")


@pytest.mark.row(12)
@pytest.mark.usefixtures("project_only")
@pytest.mark.parametrize(
    ("hops", "proto", "seen"),
    [
        (0, b"https", r"(?!192\.0\.2\.)\S+ http shop\.example /"),
        (1, b"http, https", r"192\.0\.2\.2 https near\.example /"),
        (2, b"https, http", r"192\.0\.2\.1 https far\.example /"),
    ],
    ids=["no proxy", "one proxy", "two proxies"],
)
def test_as_many_proxies_are_believed_as_there_are(image: docker.Image, hops: int, proto: bytes, seen: str) -> None:
    """Rate limits, audits and links rely on what a proxy says of a client; a client can say the same of itself.

    Fix: TRUSTED_HOPS alone decides (app/security.py), and gunicorn itself trusts nobody (forwarded_allow_ips = "").
    """
    with docker.started(image, *image.with_contract_pages, f"--env=TRUSTED_HOPS={hops}") as container:
        container.wait_until_serving()
        told = container.send(FORGED % proto).partition(b"\r\n\r\n")[2].decode()

    assert re.fullmatch(seen, told), f"with TRUSTED_HOPS={hops}, views see the client as: {told[:100]}"


READ = b"POST /contract/read HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"


@pytest.mark.row(12)
def test_an_oversize_chunked_body_is_refused_and_not_cut(talkative: docker.Container) -> None:
    """A limit that cuts makes a broken file out of a large one, and nobody hears of it.

    Fix: count what is read, and respond with 413 where it is too much (app/bodies.py).
    """
    chunks = b"100000\r\n%s\r\n" % bytes(MIB) * 8 + b"0\r\n\r\n"

    assert talkative.send(READ + b"Transfer-Encoding: chunked\r\n\r\n" + chunks).split()[1:2] == [b"413"]


@pytest.mark.row(12)
def test_a_client_that_is_still_sending_gets_the_refusal(image: docker.Image) -> None:
    """A server that closes the connection meanwhile resets it, and the client sees that instead of the 413.

    Fix: go on reading for a while after the response (app/bodies.py).
    """
    with docker.started(image) as container:
        container.wait_until_serving()
        head = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % (8 * MIB)
        answers = [container.send(head + bytes(8 * MIB)).split()[1:2] for _ in range(20)]

    assert answers == [[b"413"]] * 20


@pytest.mark.row(12)
@pytest.mark.parametrize(
    "rest",
    [
        pytest.param(b"Content-Length: 1000\r\n\r\nhello", id="plain"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", id="chunked"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloXX", id="malformed chunk"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\nfive\r\nhello", id="malformed size"),
    ],
)
def test_a_body_that_ends_early_is_not_taken_for_whole(talkative: docker.Container, rest: bytes) -> None:
    """A connection that breaks in an upload must not become half a document in a database, nor an alarm at night.

    Fix: compare what came with what was announced, and respond with 400 (app/bodies.py).
    """
    before = len(talkative.logs)
    assert talkative.send(READ + rest, end=True).split()[1:2] == [b"400"]
    errors = [line for line in talkative.logs[before:] if '"ERROR"' in line or "Traceback" in line]
    assert not errors, f"the client's fault is logged as the service's: {errors[:1]}"


@pytest.mark.row(12)
def test_a_client_that_asks_before_it_sends_gets_an_answer(talkative: docker.Container) -> None:
    """With a large body, curl and many libraries send `Expect: 100-continue` and wait. Fix: keep gunicorn's parser."""
    with talkative.open_socket() as connection:
        connection.sendall(READ + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        answer = connection.recv(1000)
        assert answer.startswith(b"HTTP/1.1 "), answer
        if answer.startswith(b"HTTP/1.1 100 "):
            connection.sendall(b"hello")
            assert connection.recv(1000).split()[1:2] == [b"200"]


@pytest.mark.row(12)
def test_a_view_cannot_end_its_worker(slow_service: docker.Container) -> None:
    """sys.exit in a library takes every other request of its worker along, or with code 3 all of gunicorn.

    Fix: treat whatever a view raises as a 500, and log it (app/middleware.py).
    """
    before = set(slow_service.workers())
    for code in (1, 3, 4):
        assert slow_service.request(f"/contract/exit?{code}").status == 500
    assert before <= set(slow_service.workers()), "a worker has ended"


@pytest.mark.row(12)
def test_a_temporary_file_has_a_place(talkative: docker.Container) -> None:
    """Flask keeps large uploads in temporary files, and fails where there is no place for one.

    Fix: TMPDIR=/dev/shm, or a tmpfs.
    """
    assert talkative.request("/contract/temporary").status == 200


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
    """Bad HTTP gets a 4xx, no traceback, and the next client is served. Fix: keep gunicorn's limits."""
    answer = service.send(raw)

    assert answer.startswith(b"HTTP/1."), answer[:200]
    assert answer.split()[1] in statuses, answer[:200]
    assert b"Traceback" not in answer
    assert service.request().status == service.page.status


@pytest.mark.row(13)
def test_a_clean_life_leaves_a_clean_log(image: docker.Image) -> None:
    """A log that cries at every start trains people to ignore it; a line that is not JSON is lost to every query.

    Fix: no control socket, heartbeat in /dev/shm, one formatter for all loggers on stdout.
    """
    with docker.started(image) as container:
        container.wait_until_serving()
        for path in ("", "/no/such/page", "/healthz", "/readyz"):
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
    time.sleep(0.5)  # a server may hold its access lines back for a moment
    return [entry for line in service.logs if _is_json_object(line) and "path" in (entry := json.loads(line))]


@pytest.mark.row(13)
def test_a_request_can_be_followed_by_its_id(service: docker.Container) -> None:
    """The id a proxy or client gave must stand in the response and in the log, or nobody finds the line.

    Fix: take X-Request-ID into the log and give it back.
    """
    identity = f"contract-{time.time_ns()}"

    assert service.request(f"{service.page.path}?secret=1", X_Request_ID=identity).headers["X-Request-ID"] == identity
    lines = [line for line in _access_lines(service) if line["request_id"] == identity]
    assert len(lines) == 1, f"{len(lines)} access lines with the id {identity}"
    assert (lines[0]["method"], lines[0]["path"], lines[0]["status"]) == ("GET", service.page.path, service.page.status)
    assert isinstance(lines[0]["duration_ms"], float)


FIELDS = {"time", "level", "logger", "message", "request_id", "method", "path", "status", "duration_ms"}


@pytest.mark.row(13)
@pytest.mark.usefixtures("project_only")
@pytest.mark.parametrize("path", ["", "/no/such/page", "/contract/exit?3"])
def test_every_request_has_one_line_with_exactly_these_fields(talkative: docker.Container, path: str) -> None:
    """Alarms and bills count lines; a field more is a promise, or somebody's address. Fix: app/access_log.py."""
    identity = f"line-{time.time_ns()}"
    status = talkative.request(path, X_Request_ID=identity).status
    lines = [line for line in _access_lines(talkative) if line["request_id"] == identity]

    assert len(lines) == 1, f"{len(lines)} access lines of a request with status {status}"
    assert lines[0].keys() == FIELDS, f"fields too many or too few: {sorted(lines[0].keys() ^ FIELDS)}"
    assert (lines[0]["path"], lines[0]["status"]) == (path.partition("?")[0] or talkative.page.path, status)


@pytest.mark.row(13)
@pytest.mark.usefixtures("project_only")
def test_no_line_holds_what_a_client_keeps_secret(talkative: docker.Container) -> None:
    """Logs are read by many and kept for long. At LOG_LEVEL=debug too, they hold no query, password or cookie.

    Fix: log names and numbers, not whole requests, headers or bodies.
    """
    canary = f"canary-{time.time_ns()}"
    for path in (talkative.page.path, "/no/such/page", "/contract/client", "/contract/exit", "/healthz"):
        secret = {"Authorization": f"Bearer {canary}", "Cookie": f"session={canary}", "X_API_Key": canary}
        talkative.request(f"{path}?3&token={canary}", method="GET", timeout=30, **secret)
    body = f"password={canary}".encode()
    form = b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n" % len(body)
    talkative.send(READ + form + body)
    talkative.send(f"GET /?{canary} HTTP/9.9\r\nCookie: {canary}\r\n\r\n".encode())
    time.sleep(0.5)  # a server may hold its lines back for a moment

    lines = talkative.logs
    assert any('"DEBUG"' in line for line in lines), "LOG_LEVEL=debug has no effect"
    shown = [line for line in lines if canary in line]
    assert not shown, f"what a client keeps secret is in the log: {shown[:1]}"


@pytest.mark.row(13)
@pytest.mark.parametrize("forged", ["a b", 'x","level":"ERROR', "x" * 1000, ""])
def test_a_forged_request_id_is_replaced(service: docker.Container, forged: str) -> None:
    """An id is client input: unchecked, it forges log lines and fills disks. Fix: replace what is not well-formed."""
    given = service.request(X_Request_ID=forged).headers["X-Request-ID"]

    assert given, "the response carries no X-Request-ID"
    assert given != forged
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,128}", given)


@pytest.mark.row(13)
def test_probes_are_not_logged(service: docker.Container) -> None:
    """Probes come every few seconds and bury the lines that matter. Fix: leave their paths out of the access log."""
    service.request("/healthz")
    service.request("/readyz")

    assert not [line for line in _access_lines(service) if line["path"] in {"/healthz", "/readyz"}]


@pytest.mark.row(14)
def test_it_runs_as_any_user(image: docker.Image) -> None:
    """OpenShift gives every project another user id, with group 0, and no entry in /etc/passwd.

    Fix: make files readable by all; do not look the user up, do not need a home.
    """
    with docker.started(image, "--user", "1234567:0") as container:
        container.wait_until_serving()


@pytest.mark.row(14)
def test_it_runs_without_a_network(image: docker.Image) -> None:
    """A service that fetches something at start fails when the network does, on all nodes at once.

    Fix: bring everything along in the image. (The health check probes from inside.)
    """
    with docker.started(image, "--network", "none", "--health-interval", "1s", published=False) as container:
        container.wait_until_health_is("healthy", 60)


@pytest.mark.row(22)
def test_it_serves_on_ipv6(image: docker.Image) -> None:
    """In a cluster that has IPv6 only, a service that binds 0.0.0.0 is never ready.

    Fix: bind to [::] where the kernel has IPv6, which takes IPv4 as well.
    """
    network = f"container-contract-{os.getpid()}"
    subnet = f"fd{os.getpid() % 256:02x}:{os.getpid() // 256 % 65536:x}:c0de::/64"
    create = ("network", "create", "--label", docker.LABEL, "--ipv6", "--subnet", subnet, network)
    created = docker.run(*create, check=False)
    if created.returncode:
        pytest.skip(f"not applicable: this engine has no IPv6: {created.stderr.strip()}")
    try:
        with docker.started(image, "--network", network, "--health-interval", "1s") as container:
            container.wait_until_serving()
            assert container.serves_over_ipv6(), "nothing listens on the address of IPv6"
    finally:
        docker.run("network", "rm", network, check=False)


@pytest.mark.row(15)
def test_it_becomes_healthy_soon(image: docker.Image) -> None:
    """A rollout, a restart and `depends_on` wait for the health check; with the default interval alone it is 30 s.

    Soon is 10 s, or on a busy machine what twenty bare starts of Python take. Fix: `--start-period=30s
    --start-interval=1s`, and a start that has nothing to compile.
    """
    check = image.config.get("Healthcheck") or {}
    # In nanoseconds; the second has a default of 30 s, the first counts in a start period only.
    in_start_period = check.get("StartPeriod") and check.get("StartInterval")
    first = (in_start_period or check.get("Interval") or 30 * 10**9) / 10**9
    assert not check or first <= 5, f"the first probe comes {first:g} s after the start"
    began = time.monotonic()
    image.run_to_end("--entrypoint", "python3", arguments=["-c", ""], check=False)
    bare = time.monotonic() - began
    with docker.started(image) as container:
        container.wait_until_health_is("healthy", max(10, 20 * bare))


@pytest.mark.row(15)
def test_it_becomes_unhealthy_when_its_workers_hang(image: docker.Image) -> None:
    """A check that asks only whether the port is open never notices that nobody answers behind it.

    Fix: a health check that waits for an answer of the application, with a time-out.
    """
    options = ("--health-interval", "1s", "--health-timeout", "3s", "--health-retries", "1")
    with docker.started(image, *options) as container:
        container.wait_until_health_is("healthy", 60)
        workers = container.workers()
        if not workers:
            pytest.skip("not applicable: there is no worker process that could hang while another lives")
        container.signal("SIGSTOP", workers)
        container.wait_until_health_is("unhealthy", 60)


@pytest.mark.row(16)
def test_a_stop_lets_requests_in_flight_finish(slow_service: docker.Container) -> None:
    """Every deployment stops containers; what they are just serving must not be lost.

    Fix: exec form, STOPSIGNAL SIGTERM, a graceful time-out below the grace period of the platform.
    """
    with ThreadPoolExecutor() as client:
        answer = client.submit(slow_service.request, "/contract/sleep?5", timeout=90)
        deadline = time.monotonic() + 60
        while "contract: asleep" not in slow_service.logs and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not answer.done(), "the request had ended before the stop: this proves nothing"
        slow_service.stop()

    assert answer.exception() is None, f"the request in flight was lost: {answer.exception()!r}"
    assert answer.result().status == 200, f"the request in flight got a {answer.result().status}"
    assert slow_service.state["ExitCode"] == 0, f"exit code {slow_service.state['ExitCode']}"


@pytest.mark.row(16)
@pytest.mark.parametrize("seconds", [0, 0.1, 0.2, 0.4, 0.8])
def test_a_stop_in_the_first_second_is_obeyed(image: docker.Image, seconds: float) -> None:
    """Process 1 ignores a signal that it has no handler for; a rollout that is taken back then waits for SIGKILL.

    With an init, as in compose.yaml, no moment is too early. Fix: no shell before the service; let workers that are
    told to stop before they listen hear of it.
    """
    with docker.started(image, "--init", published=False) as container:
        time.sleep(seconds)
        container.stop()
        assert container.state["ExitCode"] != 137, "it was killed: SIGTERM went unheard"


@pytest.mark.row(16)
@pytest.mark.usefixtures("project_only")
def test_sigterm_has_a_handler_before_anything_is_loaded(image: docker.Image) -> None:
    """Without an init nothing but a handler hears SIGTERM, and loading takes a while. Fix: app/__main__.py."""
    # What is imported and not used may not be there: see app/__init__.py.
    use = "import app.__main__ as main, signal, sys; main"
    program = f"{use}; print(callable(signal.getsignal(15)), 'flask' in sys.modules)"
    done = image.run_to_end("--entrypoint", "python3", arguments=["-c", program])
    assert done.stdout.split() == ["True", "False"]


@pytest.mark.row(16)
def test_idle_connections_do_not_delay_a_stop(image: docker.Image) -> None:
    """Clients and balancers keep connections open for minutes; a stop that waits for them ends in SIGKILL.

    Fix: a server that closes idle connections on SIGTERM.
    """
    # With a grace period beyond Docker's 10 s, a stop that waits ends in SIGKILL.
    with docker.started(image, "--env", "GRACEFUL_TIMEOUT=60") as container:
        container.wait_until_serving()
        time.sleep(1)  # all workers have started: a stop in the middle of a start is another subject
        connections = [container.connect() for _ in range(5)]
        for connection in connections:
            connection.request("GET", image.page.path)
            connection.getresponse().read()

        container.stop()
        for connection in connections:
            connection.close()

        assert container.state["ExitCode"] == 0, f"exit code {container.state['ExitCode']}: 137 is SIGKILL"


@pytest.mark.row(16)
@pytest.mark.usefixtures("project_only")
def test_a_stop_takes_no_more_memory_than_the_service(image: docker.Image) -> None:
    """Workers share memory until one takes its objects apart; if all do, a service near its limit is killed instead.

    Fix: let workers leave without that (gunicorn.conf.py).
    """
    with docker.started(image, "--env", "WEB_CONCURRENCY=3", "--no-healthcheck") as container:
        container.wait_until_serving()
        assert load(container, requests=300, clients=10) == []
        limit = str(container.memory() + 8 * MIB)
        docker.run("update", "--memory", limit, "--memory-swap", limit, container.identity)
        container.stop()

        assert not container.state["OOMKilled"], f"the kernel killed a process for lack of memory: {limit} bytes"
        assert container.state["ExitCode"] == 0


@pytest.mark.row(16)
@pytest.mark.usefixtures("project_only")
def test_readiness_ends_before_the_service_does(image: docker.Image) -> None:
    """A balancer goes on sending for a while after SIGTERM; it must be told first, and served meanwhile.

    Fix: on SIGTERM answer /readyz with 503, and stop only after DRAIN_DELAY seconds.
    """
    delay = 6
    with docker.started(image, "--env", f"DRAIN_DELAY={delay}") as container:
        container.wait_until_serving()
        began = time.monotonic()
        docker.run("kill", "--signal", "SIGTERM", container.identity)
        try:
            while container.request("/readyz").status != 503:
                assert time.monotonic() - began < delay, "/readyz does not say that the service is going away"
        except (OSError, http.client.HTTPException) as error:
            pytest.fail(f"the service stopped before /readyz said that it would: {error}")
        assert container.request().status == image.page.status, "requests are refused, which a balancer may still send"
        assert container.request("/healthz").status == 200, "the process lives, and should not be restarted"

        docker.run("wait", container.identity, timeout=delay + 20)
        assert container.state["ExitCode"] == 0
        assert time.monotonic() - began > delay, "the service stopped before DRAIN_DELAY had passed"


@pytest.mark.row(17)
def test_the_port_is_taken_from_the_environment(image: docker.Image) -> None:
    """Platforms tell a service where to listen. Fix: bind to 0.0.0.0 and the port in PORT."""
    with docker.started(image, "--env", "PORT=7654", port=7654) as container:
        container.wait_until_serving()


@pytest.mark.row(17)
@pytest.mark.parametrize("count", [1, 3])
def test_the_number_of_workers_is_taken_from_the_environment(image: docker.Image, count: int) -> None:
    """The operator knows the machine, the image does not. Fix: workers from WEB_CONCURRENCY."""
    with docker.started(image, "--env", f"WEB_CONCURRENCY={count}") as container:
        container.wait_until_serving()
        assert container.wait_for_workers(count) == count


@pytest.mark.row(17)
@pytest.mark.usefixtures("project_only")
def test_a_setting_has_its_effect(image: docker.Image) -> None:
    """A setting that is read, checked and then ignored is found at night.

    Fix: gunicorn.conf.py, app/middleware.py and app/logs.py; nothing may overrule them.
    """
    told = {"GRACEFUL_TIMEOUT": "1", "TIMEOUT": "2", "KEEP_ALIVE": "1", "WEB_CONCURRENCY": "1"}
    told |= {"MAX_BODY_BYTES": "10", "LOG_LEVEL": "warning", "LOG_FORMAT": "text"}
    variables = [f"--env={name}={value}" for name, value in told.items()]
    printed = image.run_to_end(*image.needs, *variables, arguments=[*image.command, "--print-config"]).stdout
    settings = {"GRACEFUL_TIMEOUT": "graceful_timeout", "TIMEOUT": "timeout", "KEEP_ALIVE": "keepalive"}
    for name, setting in settings.items():
        (value,) = re.findall(rf"^{setting} += (\d+)$", printed, re.MULTILINE)
        assert value == told[name], f"{name}={told[name]} has no effect: gunicorn has {value}"

    with docker.started(image, *image.with_contract_pages, *variables) as container, ThreadPoolExecutor() as client:
        container.wait_until_serving()
        for size, status in ((10, b"200"), (11, b"413")):
            answer = container.send(READ + b"Content-Length: %d\r\n\r\n" % size + bytes(size))
            assert answer.split()[1:2] == [status], f"MAX_BODY_BYTES=10: {answer[:20]!r} to a body of {size} bytes"

        shown = [line for line in container.logs if re.search(r"\b(DEBUG|INFO)\b", line)]
        assert not shown, f"LOG_LEVEL=warning: {shown[:1]}"

        with container.open_socket() as connection:
            connection.settimeout(30)
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            try:
                while connection.recv(1000):
                    pass
            except TimeoutError:
                pytest.fail("KEEP_ALIVE=1: a connection that is idle is still open after 30 s")

        stuck = set(container.workers())
        container.signal("SIGSTOP", list(stuck))
        deadline = time.monotonic() + 60
        while stuck & set(container.workers()):
            assert time.monotonic() < deadline, "TIMEOUT=2: a worker that shows no life is not replaced within 60 s"
            time.sleep(0.1)
        container.wait_until_serving()

        lines = container.logs
        assert lines, "LOG_LEVEL=warning: that a worker was replaced is not logged"
        assert not any(map(_is_json_object, lines)), "LOG_FORMAT=text: lines are still JSON"

        slow = client.submit(container.request, "/contract/sleep?5", timeout=90)
        deadline = time.monotonic() + 60
        while "contract: asleep" not in container.logs:
            assert time.monotonic() < deadline, "the request is not in flight after 60 s: this proves nothing"
            time.sleep(0.05)
        container.stop()

    assert slow.exception(), "GRACEFUL_TIMEOUT=1: a request was waited for until its end, for 5 s"


def _bad_values() -> dict[str, str]:
    """Return a value for each variable that breaks its rule, unless there is none."""
    return {
        item.name.upper(): value
        for item in fields(Settings)
        for value in [bad for bad in ("", "x\ny") if not accepted(item, bad)][:1]
    }


@pytest.mark.row(17)
@pytest.mark.usefixtures("project_only")
def test_bad_values_end_the_container_with_one_clear_line_each(image: docker.Image) -> None:
    """A typing error must not wait for the first request that meets it, nor hide in a traceback.

    Fix: read all variables at start (app/settings.py).
    """
    bad = _bad_values()
    done = image.run_to_end(*(f"--env={name}={value}" for name, value in bad.items()), check=False)

    assert done.returncode == 1, f"the container ends with exit code {done.returncode}"
    lines = (done.stdout + done.stderr).splitlines()
    assert all(re.fullmatch(r"[A-Z_]+(=.*)? is (not valid|missing): it must be .+", line) for line in lines), lines
    for name, value in bad.items():
        said = [line for line in lines if re.match(f"{name}[= ]", line)]
        assert len(said) == 1, f"{name}={value!r} is accepted, or has more than one line: {said}"


@pytest.mark.row(17)
@pytest.mark.usefixtures("project_only")
def test_a_container_without_a_place_for_temporary_files_says_so(image: docker.Image) -> None:
    """The heartbeat of the workers needs one. Fix: app/settings.py."""
    done = image.run_to_end(*image.needs, "--read-only", "--ipc", "none", check=False)

    (line,) = (done.stdout + done.stderr).splitlines()
    assert line.startswith("No directory for temporary files can be written to: "), line
    assert done.returncode == 1


@pytest.mark.row(18)
@pytest.mark.parametrize("limits", [("--cpus", "1"), ("--cpus", "2"), ("--memory", "smallest")], ids=" ".join)
@pytest.mark.usefixtures("project_only")
def test_workers_follow_the_limits(image: docker.Image, told: Configuration, limits: tuple[str, str]) -> None:
    """More workers than CPUs only wait for each other, more than fit into the memory are killed by the kernel.

    Fix: read the limits of the cgroup, not the machine's (app/capacity.py).
    """
    option, value = limits
    expected = {"1": 2, "2": min(2, os.cpu_count() or 1) + 1, "smallest": 1}[value]
    with docker.started(image, option, value.replace("smallest", str(told.budget.smallest_limit))) as container:
        container.wait_until_serving()
        assert container.wait_for_workers(expected) == expected


@pytest.mark.row(18)
def test_the_smallest_memory_limit_is_enough(image: docker.Image, told: Configuration) -> None:
    """A limit that is too small shows only under load, as workers that vanish.

    The smallest is what app/settings.py says of one worker, and half of a further one: 64 MiB. Fix: fewer workers, less
    that each of them loads, or other numbers there.
    """
    limit = str(told.budget.smallest_limit)
    with docker.started(image, "--memory", limit, "--memory-swap", limit) as container:
        container.wait_until_serving()
        failures = load(container, requests=3000, clients=10)
        state = container.state

    assert failures == [], f"{len(failures)} requests were lost, such as {failures[:3]}"
    assert not state["OOMKilled"], "the kernel killed a process for lack of memory"
    assert state["Running"]
