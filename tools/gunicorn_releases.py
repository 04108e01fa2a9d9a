"""Serve the default service with every gunicorn release that its floor allows: `make gunicorn` (needs the network).

A service relies on how gunicorn starts and stops. Each check looks at that from outside, by HTTP and signals. A limit
only ends the wait for what never comes: a busy machine turns no check red. The service is not process 1 here.
"""

import argparse
import json
import math
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from signal import SIGTERM
from socket import create_server

from packaging.requirements import Requirement
from packaging.version import Version
from rich.console import Console
from rich.table import Table

from tools.baking import bake

PAGE = b"<p>Hello, World!</p>"
# A step takes 3 s at most. gunicorn kills a worker after GRACE seconds and still ends with 0: LIMIT comes before that.
LIMIT, GRACE = 30, 60
# After SIGTERM gunicorn keeps a connection for 2 s: a client that the machine lets sleep for longer sends nothing.
KEPT_SECONDS, KEPT = 1.0, 20
CLIENTS, IN_FLIGHT, ANSWERS_BEFORE_STOP = 20, 4, 200
# A busy machine may sleep through the first drain, but not through the second.
DRAINS = (2, 20)
# SIGTERM at so many moments of a start, and a fifth more after it: other workers are just being forked.
START_MOMENTS = 20


class NoReleaseError(Exception):
    """There is no release to try, or pip cannot install it; the message says why."""


class RedError(Exception):
    """A check failed; the message says why."""


def ask(connection: HTTPConnection, path: str = "/", *, keep: bool = True) -> tuple[int, bytes]:
    """Return status and body of a response."""
    connection.request("GET", path, headers={} if keep else {"Connection": "close"})
    response = connection.getresponse()
    return response.status, response.read()


def failure(connection: HTTPConnection, *, keep: bool = True) -> Exception | None:
    """Return what kept a request from its response, if anything did."""
    try:
        ask(connection, keep=keep)
    except (OSError, HTTPException) as error:
        return error
    return None


@dataclass(frozen=True)
class Service:
    """A service that has been started."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def connect(self) -> HTTPConnection:
        """Return a connection that opens with its first request."""
        return HTTPConnection("127.0.0.1", self.port, timeout=LIMIT)

    def wait_for(self, path: str, status: int) -> bytes:
        """Ask on new connections until the path has the status; return the body."""
        deadline, seen, body = time.monotonic() + LIMIT, 0, b""
        while seen != status:
            if self.process.poll() is not None:
                raise self.red(f"exit code {self.process.returncode} before {path} had status {status}")
            if time.monotonic() > deadline:
                raise self.red(f"status {seen or 'none'} of {path} after {LIMIT} s, not {status}")
            try:
                seen, body = ask(self.connect(), path, keep=False)
            except (OSError, HTTPException):
                time.sleep(0.01)
        return body

    def ends(self, codes: set[int]) -> None:
        """Wait for the end, which must come with one of the codes and without a word of trouble in the log."""
        try:
            code = self.process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            raise self.red(f"still running {LIMIT} s after SIGTERM") from None
        if code not in codes:
            raise self.red(f"exit code {code} after SIGTERM")
        for line in self.log.read_text().splitlines() if code == 0 else []:
            if not (line.startswith("{") and json.loads(line)["level"] in {"DEBUG", "INFO"}):
                raise RedError(f"not JSON or above INFO in the log: {line}")

    def red(self, problem: str) -> RedError:
        """Return an error that ends with the last log line."""
        return RedError(f"{problem}; log: {(self.log.read_text().splitlines() or ['empty'])[-1]}")


@dataclass(frozen=True)
class Candidate:
    """A baked service, a Python with its lock, and the folder of a gunicorn that takes the place of the locked one."""

    project: Path
    python: Path
    gunicorn: Path

    @contextmanager
    def serving(self, *, wait: bool = True, **variables: int) -> Iterator[Service]:
        """Start the service; the block sends SIGTERM, then it must end. One worker: once it serves, all is ready."""
        with create_server(("127.0.0.1", 0)) as listener:
            port: int = listener.getsockname()[1]
        settings = {"PYTHONPATH": self.gunicorn, "PORT": port, "WEB_CONCURRENCY": 1, "GRACEFUL_TIMEOUT": GRACE}
        environment = {name: str(value) for name, value in (settings | variables).items()}
        with tempfile.NamedTemporaryFile() as log:
            command = [str(self.python), "-m", "app"]
            process = subprocess.Popen(command, cwd=self.project, env=environment, stdout=log, stderr=log)
            try:
                service = Service(process, port, Path(log.name))
                if wait:
                    service.wait_for("/readyz", 200)
                yield service
                service.ends({0} if wait else {0, -SIGTERM})
            finally:
                process.kill()  # its workers notice, and end as well
                process.wait()


def check_start(candidate: Candidate) -> None:
    """Serve the page; log nothing but JSON, and nothing above INFO (as in all checks)."""
    with candidate.serving() as service:
        if (page := service.wait_for("/", 200)) != PAGE:
            raise RedError(f"the page is {page!r}")
        service.process.terminate()


def check_kept_connections(candidate: Candidate) -> None:
    """Respond to what clients send on kept connections after SIGTERM: they cannot know of it."""
    with candidate.serving() as service:
        connections = [service.connect() for _ in range(KEPT)]
        for connection in connections:
            ask(connection)
        service.process.terminate()
        told, results = time.monotonic(), list[Exception | None]()
        for number, connection in enumerate(connections):
            time.sleep(max(0, told + number * KEPT_SECONDS / KEPT - time.monotonic()))
            if time.monotonic() < told + KEPT_SECONDS:
                results.append(failure(connection))
            connection.close()
        if lost := [*filter(None, results)]:
            raise RedError(f"{len(lost)} of {len(results)} requests dropped after SIGTERM, for example: {lost[-1]!r}")


def check_load(candidate: Candidate) -> None:
    """Lose no request that has been taken, while clients with new and with kept connections go on."""
    told, answers, lost = math.inf, 0, list[Exception]()

    def client(connection: HTTPConnection, keep: bool) -> None:
        nonlocal answers
        while time.monotonic() < told + KEPT_SECONDS and not lost:
            new = connection.sock is None
            if error := failure(connection, keep=keep):
                # Who has only just connected is turned away when the listener closes: DRAIN_DELAY is for those.
                if not (new and told < math.inf and isinstance(error, ConnectionError)):
                    lost.append(error)
                break
            answers += 1
            time.sleep(0.02)
        connection.close()

    with candidate.serving() as service:
        taken = [service.connect() for _ in range(IN_FLIGHT)]
        for connection in taken:
            ask(connection)
        with ThreadPoolExecutor(CLIENTS) as pool:
            clients = [pool.submit(client, service.connect(), number % 2 == 0) for number in range(CLIENTS)]
            deadline = time.monotonic() + LIMIT
            while answers < ANSWERS_BEFORE_STOP and time.monotonic() < deadline:
                time.sleep(0.01)
            for connection in taken:
                connection.sock.sendall(b"GET / HTTP/1.1\r\nBegun: ")  # the next request is the rest of this one
            told = time.monotonic()
            service.process.terminate()
            time.sleep(KEPT_SECONDS / 2)
            lost += filter(None, map(failure, taken))
        for done in clients:
            done.result()
        if lost or answers < ANSWERS_BEFORE_STOP:
            raise service.red(f"{answers} requests answered, {len(lost)} lost, for example: {lost[-1:]}")


def check_drain(candidate: Candidate) -> None:
    """Be not ready but serve for DRAIN_DELAY, then end."""
    for delay in DRAINS:
        try:
            with candidate.serving(DRAIN_DELAY=delay) as service:
                told = time.monotonic()
                service.process.terminate()
                service.wait_for("/readyz", 503)
                service.wait_for("/", 200)
            if (took := time.monotonic() - told) < delay:
                raise RedError(f"ended {took:.1f} s after SIGTERM with DRAIN_DELAY={delay}")
            return
        except RedError:
            if delay == DRAINS[-1]:
                raise


def check_early_stop(candidate: Candidate) -> None:
    """End at SIGTERM from the first moment: by the signal itself before there is a handler, else with 0."""
    began = time.monotonic()
    with candidate.serving() as service:
        start = time.monotonic() - began
        service.process.terminate()
    for moment in range(START_MOMENTS * 6 // 5):
        seconds = start * moment / START_MOMENTS
        try:
            with candidate.serving(wait=False, WEB_CONCURRENCY=2) as service:
                time.sleep(seconds)
                service.process.terminate()
        except RedError as error:
            raise RedError(f"SIGTERM {seconds:.2f} s after the start: {error}") from None


def check_second_signal(candidate: Candidate) -> None:
    """Cut the drain short at a second SIGTERM."""
    with candidate.serving(DRAIN_DELAY=2 * LIMIT) as service:
        service.process.terminate()
        service.wait_for("/readyz", 503)
        service.process.terminate()


CHECKS = {
    "start": check_start,
    "kept connections": check_kept_connections,
    "load": check_load,
    "drain": check_drain,
    "early stop": check_early_stop,
    "second SIGTERM": check_second_signal,
}


def pip(python: Path, *arguments: str | Path) -> str:
    """Return what pip prints."""
    done = subprocess.run([python, "-m", "pip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoReleaseError(f"pip {arguments[0]} says: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout


def allowed(python: Path, project: Path) -> list[str]:
    """Return the releases that the floor allows, the oldest first."""
    [floor] = re.findall(r"^gunicorn\b.*", (project / "requirements.in").read_text(), re.MULTILINE)
    [listed] = re.findall(r"^Available versions: (.*)", pip(python, "index", "versions", "gunicorn"), re.MULTILINE)
    if not (found := sorted(Requirement(floor).specifier.filter(listed.split(", ")), key=Version)):
        raise NoReleaseError(f"no release satisfies {floor}: {listed}")
    return found


def examine(project: Path, python: Path, release: str, checks: Iterable[str] = CHECKS) -> dict[str, str]:
    """Try a release; return what is wrong by name of the check, nothing where it is green."""
    problems = {}
    with tempfile.TemporaryDirectory() as folder:
        pip(python, "install", "--quiet", "--no-deps", "--target", folder, f"gunicorn=={release}")
        for name in checks:
            try:
                CHECKS[name](Candidate(project, python, Path(folder)))
                problems[name] = ""
            except (RedError, OSError, HTTPException) as error:
                problems[name] = f"gunicorn {release}, {name}: {error}"
    return problems


def main(arguments: list[str] | None = None) -> int:
    """Try the releases; return 0, 1 if a check is red, or 2 if there is nothing to try."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="RELEASE", help="oldest, newest, or a version")
    only = parser.parse_args(arguments).only
    console, table, messages = Console(highlight=False, soft_wrap=True), Table("gunicorn", *CHECKS), list[str]()
    with tempfile.TemporaryDirectory() as folder:
        project = bake(Path(folder))
        python = Path(folder, "venv/bin/python")
        subprocess.run([sys.executable, "-m", "venv", python.parents[1]], check=True)
        try:
            found = allowed(python, project)
            pip(python, "install", "--quiet", "--require-hashes", "-r", project / "requirements.txt")
            named = {"oldest": found[0], "newest": found[-1]}
            for release in dict.fromkeys(named.get(name, name) for name in only or found):
                problems = examine(project, python, release)
                table.add_row(release, *("red" if problem else "green" for problem in problems.values()))
                messages += filter(None, problems.values())
        except NoReleaseError as error:
            console.print(f"No release of gunicorn can be tried: {error}", markup=False)
            return 2
    console.print(table, *messages, sep="\n", markup=False)
    return 1 if messages else 0


if __name__ == "__main__":
    sys.exit(main())
