"""The default service starts and stops well with the gunicorn releases that its floor allows; needs the network.

An ordinary run tries the oldest and the newest, `make gunicorn` all. Each test looks from outside, by HTTP and signals.
A limit only ends the wait for what never comes: a busy machine turns no test red. The service is not process 1 here.
"""

import json
import math
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from http.client import HTTPConnection, HTTPException  # requests would hide which connection is new, kept or dropped
from pathlib import Path
from signal import SIGTERM

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.conftest import BIN, TEMPLATE, BakedProject, free_port, skip_or_fail
from tools.demo import page

# A step takes 3 s at most. gunicorn kills a worker after GRACE seconds and still ends with 0: LIMIT comes before that.
LIMIT, GRACE = 30, 60
# After SIGTERM gunicorn keeps a connection for 2 s: a client that the machine lets sleep for longer sends nothing.
KEPT_SECONDS, KEPT = 1.0, 20
CLOSE = {"Connection": "close"}
CLIENTS, IN_FLIGHT, ANSWERS_BEFORE_STOP = 20, 4, 200
# Long enough that a busy machine does not sleep through it.
DRAIN = 20
# SIGTERM at so many moments of a start, and a fifth more after it: other workers are just being forked.
START_MOMENTS = 20


def ask(connection: HTTPConnection, path: str = "/", **headers: str) -> int | Exception:
    """Return the status of a response, or what kept the request from it."""
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        response.read()
    except (OSError, HTTPException) as error:
        connection.close()
        return error
    return response.status


class Service:
    """A service that has been started."""

    def __init__(self, project: BakedProject, gunicorn: Path, variables: Mapping[str, int]) -> None:
        """Start it with a gunicorn from a folder, and with one worker: once that serves, all is ready."""
        self.port, self.log = free_port(), gunicorn / "log"
        settings = {"PYTHONPATH": gunicorn, "PORT": self.port, "WEB_CONCURRENCY": 1, "GRACEFUL_TIMEOUT": GRACE}
        environment = {name: str(value) for name, value in {**settings, **variables}.items()}
        command = [str(project.environment / BIN / "python"), "-m", "app"]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, cwd=project.path, env=environment, stdout=log, stderr=log)
        self.began, self.told = time.monotonic(), math.inf

    def connect(self) -> HTTPConnection:
        """Return a connection that opens with its first request."""
        return HTTPConnection("127.0.0.1", self.port, timeout=LIMIT)

    def wait_for(self, path: str, status: int) -> None:
        """Ask on new connections until the path has the status."""
        deadline = time.monotonic() + LIMIT
        while (seen := ask(self.connect(), path, **CLOSE)) != status:
            code, late = self.process.poll(), time.monotonic() > deadline
            assert code is None, self.red(f"exit code {code} before {path} had status {status}")
            assert not late, self.red(f"status {seen!r} of {path} after {LIMIT} s, not {status}")
            time.sleep(0.01)

    def stop(self) -> None:
        """Send SIGTERM."""
        self.told = time.monotonic()
        self.process.terminate()

    def red(self, problem: str) -> str:
        """Return a message that ends with the moment of SIGTERM, if it came, and the last log line."""
        stopped = f"; SIGTERM came {self.told - self.began:.2f} s after the start" if self.told < math.inf else ""
        return f"{problem}{stopped}; log: {(self.log.read_text().splitlines() or ['empty'])[-1]}"


Serving = Callable[..., AbstractContextManager[Service]]


@contextmanager
def serve(project: BakedProject, gunicorn: Path, *, wait: bool = True, **variables: int) -> Iterator[Service]:
    """Start the service; the block stops it, then it must end well, without a word of trouble in its log."""
    service = Service(project, gunicorn, variables)
    try:
        if wait:
            service.wait_for("/readyz", 200)
        yield service
        with suppress(subprocess.TimeoutExpired):
            service.process.wait(LIMIT)
        code = service.process.poll()
        assert code is not None, service.red(f"still running {LIMIT} s after SIGTERM")
        assert code in ({0} if wait else {0, -SIGTERM}), service.red(f"exit code {code} after SIGTERM")
        for line in service.log.read_text().splitlines() if code == 0 else []:
            fine = line.startswith("{") and json.loads(line)["level"] in {"DEBUG", "INFO"}
            assert fine, f"not JSON or above INFO in the log: {line}"
    finally:
        service.process.kill()  # its workers notice, and end as well
        service.process.wait()


def pip(*arguments: str) -> str:
    """Return what pip prints; where it fails, the test is skipped, or fails in CI."""
    done = subprocess.run([sys.executable, "-m", "pip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        skip_or_fail(f"No gunicorn to try: pip {arguments[0]} says: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout


def allowed() -> list[str]:
    """Return the releases that the floor allows, the oldest first."""
    requirements = (TEMPLATE / "{{cookiecutter.project_slug}}/requirements.in").read_text(encoding="utf-8")
    [floor] = re.findall(r"^gunicorn\b.*", requirements, re.MULTILINE)
    [listed] = re.findall(r"^Available versions: (.*)", pip("index", "versions", "gunicorn"), re.MULTILINE)
    found = sorted(Requirement(floor).specifier.filter(listed.split(", ")), key=Version)
    assert found, f"no release satisfies {floor}: {listed}"
    return found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Try all releases if the option asks for them, else, in the slow group, two."""
    if "serving" in metafunc.fixturenames and not metafunc.definition.get_closest_marker("parametrize"):
        every = metafunc.config.getoption("--all-gunicorn-releases")
        two = [pytest.param(end, marks=pytest.mark.slow) for end in ("oldest", "newest")]
        metafunc.parametrize("serving", allowed() if every else two, indirect=True, scope="module")


@pytest.fixture(scope="module")
def serving(request: pytest.FixtureRequest, project: BakedProject, tmp_path_factory: pytest.TempPathFactory) -> Serving:
    """Install a release beside the environment, to take the place of the locked one; return what starts a service."""
    found, end = allowed(), request.param
    if end == "newest" and len(found) == 1:
        pytest.skip(f"the floor allows one release, {found[0]}, which is tried as the oldest")
    release = {"oldest": found[0], "newest": found[-1]}.get(end, end)
    folder = tmp_path_factory.mktemp(f"gunicorn-{release}-")
    pip("install", "--quiet", "--no-deps", "--target", str(folder), f"gunicorn=={release}")
    return partial(serve, project, folder)


def test_start(serving: Serving) -> None:
    """Serve the page; log nothing but JSON, and nothing above INFO (as in all tests)."""
    with serving() as service:
        assert page(service.port) == "<p>Hello, World!</p>"
        service.stop()


def test_kept_connections(serving: Serving) -> None:
    """Respond to what clients send on kept connections after SIGTERM: they cannot know of it."""
    with serving() as service:
        connections = [service.connect() for _ in range(KEPT)]
        assert [ask(connection) for connection in connections] == [200] * KEPT
        service.stop()
        results = []
        for number, connection in enumerate(connections):
            time.sleep(max(0, service.told + number * KEPT_SECONDS / KEPT - time.monotonic()))
            if time.monotonic() < service.told + KEPT_SECONDS:
                results.append(ask(connection))
            connection.close()
        lost = [result for result in results if result != 200]
        assert not lost, f"{len(lost)} of {len(results)} requests dropped after SIGTERM, for example: {lost[-1]!r}"


def test_load(serving: Serving) -> None:
    """Lose no request that has been taken, while clients with new and with kept connections go on."""
    answers, lost, deadline = 0, list[int | Exception](), time.monotonic() + 2 * LIMIT

    def client(service: Service, headers: Mapping[str, str]) -> None:
        nonlocal answers
        connection = service.connect()
        while time.monotonic() < min(service.told + KEPT_SECONDS, deadline) and not lost:
            new = connection.sock is None
            if (result := ask(connection, **headers)) != 200:
                # Who has only just connected is turned away when the listener closes: DRAIN_DELAY is for those.
                if not (new and service.told < math.inf and isinstance(result, ConnectionError)):
                    lost.append(result)
                break
            answers += 1
            time.sleep(0.02)
        connection.close()

    with serving() as service:
        taken = [service.connect() for _ in range(IN_FLIGHT)]
        assert [ask(connection) for connection in taken] == [200] * IN_FLIGHT
        with ThreadPoolExecutor(CLIENTS) as pool:
            clients = pool.map(client, [service] * CLIENTS, [CLOSE, {}] * (CLIENTS // 2))
            while answers < ANSWERS_BEFORE_STOP and time.monotonic() < deadline:
                time.sleep(0.01)
            for connection in taken:
                connection.sock.sendall(b"GET / HTTP/1.1\r\nBegun: ")  # the next request is the rest of this one
            service.stop()
            time.sleep(KEPT_SECONDS / 2)
            lost += [result for result in map(ask, taken) if result != 200]
            list(clients)  # raises what a client did not expect
        problem = f"{answers} requests answered, {len(lost)} lost, for example: {lost[-1:]}"
        assert answers >= ANSWERS_BEFORE_STOP and not lost, service.red(problem)  # noqa: PT018 - one message


def test_drain(serving: Serving) -> None:
    """Be not ready but serve for DRAIN_DELAY, then end."""
    with serving(DRAIN_DELAY=DRAIN) as service:
        service.stop()
        service.wait_for("/readyz", 503)
        service.wait_for("/", 200)
    took = time.monotonic() - service.told
    assert took >= DRAIN, f"ended {took:.1f} s after SIGTERM with DRAIN_DELAY={DRAIN}"


def test_early_stop(serving: Serving) -> None:
    """End at SIGTERM from the first moment: by the signal itself before there is a handler, else with 0."""
    with serving() as service:
        service.stop()
    for moment in range(START_MOMENTS * 6 // 5):
        with serving(wait=False, WEB_CONCURRENCY=2) as early:
            time.sleep((service.told - service.began) * moment / START_MOMENTS)
            early.stop()


def test_second_signal(serving: Serving) -> None:
    """Cut the drain short at a second SIGTERM."""
    with serving(DRAIN_DELAY=2 * LIMIT) as service:
        service.stop()
        service.wait_for("/readyz", 503)
        service.stop()


@pytest.mark.parametrize("serving", ["27.0.0"], indirect=True)
def test_the_floor_refuses_the_release_that_drops_kept_connections(serving: Serving) -> None:
    assert "27.0.0" not in allowed()
    with pytest.raises(AssertionError, match=r"of \d+ requests dropped after SIGTERM, for example: "):
        test_kept_connections(serving)
