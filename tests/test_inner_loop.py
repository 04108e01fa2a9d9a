"""The inner loop: edit, see the answer, stop in a debugger, run the checks; with Docker and without.

How long an edit takes is printed, not judged: `pytest -rP tests/test_inner_loop.py` shows it.
"""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PYTHONS, Bake, BakedProject, docker, free_port
from tools.demo import page

SECONDS_TO_START = 120
SECONDS_TO_RELOAD = 20
GREETING = "<p>Hello, World!</p>"


@dataclass(frozen=True)
class Server:
    """A command that serves a project until it is stopped."""

    project: BakedProject
    process: subprocess.Popen[bytes]
    log: Path
    port: int

    def wait_for(self, seconds: float, arrived: Callable[[], bool]) -> float:
        """Wait until `arrived`; return how long that took."""
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            assert self.process.poll() is None, f"the server has ended:\n{self.log.read_text()}"
            with suppress(OSError):
                if arrived():
                    return time.monotonic() - began
            time.sleep(0.01)
        raise AssertionError(f"still waiting after {seconds} s:\n{self.log.read_text()}")

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace `old`, which must be there, in a file of the project."""
        path = self.project.path / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def shows(self, text: str) -> Callable[[], bool]:
        """Return whether the page has the text, as something to wait for."""
        return lambda: text in page(self.port)

    def edits_are_seen(self) -> None:
        """Edit a module, then add one."""
        # Two, as what a poll for changes costs depends on the moment. Each of another length: within one second Python
        # tells a changed module from what it compiled before by nothing but its size.
        for old, new in (("World", "a first"), ("a first", "the second")):
            self.edit("app/views.py", f"Hello, {old}!", f"Hello, {new}!")
            print(f"an edit: {self.wait_for(SECONDS_TO_RELOAD, self.shows(f'Hello, {new}!')):.2f} s")  # noqa: T201
        (self.project.path / "app/added.py").write_text('GREETING = "Hello, third!"\n')
        self.edit("app/views.py", "from flask", "from app.added import GREETING\nfrom flask")
        self.edit("app/views.py", '"<p>Hello, the second!</p>"', "GREETING")
        print(f"a new file: {self.wait_for(SECONDS_TO_RELOAD, self.shows('Hello, third!')):.2f} s")  # noqa: T201


@contextmanager
def serving(project: BakedProject, *command: str, port: int, **variables: str) -> Iterator[Server]:
    """Run a command that serves `project`, wait for its page, and interrupt it in the end, as Ctrl+C does."""
    log = project.path.parent / "server.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, cwd=project.path, env={**os.environ, **variables}, stdout=output, stderr=output
        ) as process,
    ):
        server = Server(project, process, log, port)
        try:
            server.wait_for(SECONDS_TO_START, server.shows(GREETING))
            yield server
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


@pytest.fixture
def composed(bake: Bake, engine: None) -> Iterator[BakedProject]:
    """Return a project whose name is its own, so that all that compose makes of it can be told apart and removed."""
    project = bake(project_slug=f"inner-loop-{os.getpid()}", python_version=PYTHONS[0])
    yield project
    project.run("docker", "compose", "--profile", "dev", "--profile", "test", "down", "--volumes", "--timeout", "1")
    label = f"label=com.docker.compose.project={project.path.name}"
    if images := docker("images", "--quiet", "--filter", label).split():
        docker("image", "rm", "--force", *set(images))


@contextmanager
def watched(project: BakedProject, *arguments: str, **variables: str) -> Iterator[Server]:
    """Run `docker compose up --watch` on a free port."""
    port = free_port()
    command = ("docker", "compose", "up", "--watch", *arguments)
    with serving(project, *command, port=port, HOST_PORT=str(port), **variables) as server:
        server.wait_for(SECONDS_TO_START, lambda: "Watch enabled" in server.log.read_text())
        yield server


def _host_config(service: str) -> dict[str, Any]:
    config: dict[str, Any] = json.loads(docker("container", "inspect", service))[0]["HostConfig"]
    return config


@pytest.mark.container
@pytest.mark.parametrize(
    ("service", "arguments", "lock"),
    [("web", ["--build"], "requirements.txt"), ("dev", ["dev"], "requirements-dev.txt")],
    ids=["web", "dev"],
)
def test_edits_are_seen_in_a_container(composed: BakedProject, service: str, arguments: list[str], lock: str) -> None:
    with watched(composed, *arguments) as server:
        server.edits_are_seen()
        [name] = docker("ps", "--format", "{{.Names}}", "--filter", f"name=^{composed.path.name}-").split()
        assert name == f"{composed.path.name}-{service}-1"
        assert _host_config(name)["ReadonlyRootfs"] is True

        rebuilds = server.log.read_text().count("Rebuilding service")
        server.edit(lock, "# ", "#  ")
        server.wait_for(
            SECONDS_TO_RELOAD, lambda: server.log.read_text().count(f'Rebuilding service "{service}"') > rebuilds
        )


@pytest.mark.container
def test_only_this_machine_reaches_the_development_server(composed: BakedProject) -> None:
    config = json.loads(composed.run("docker", "compose", "--profile", "dev", "config", "--format", "json").stdout)

    assert {port.get("host_ip") for port in config["services"]["dev"]["ports"]} == {"127.0.0.1"}


@pytest.mark.container
def test_unit_tests_and_linters_run_in_a_container(composed: BakedProject) -> None:
    checks = ("docker", "compose", "run", "--rm", "test")
    passed = composed.run(*checks).stdout
    for sign in (r"\d+ passed", "All checks passed!", r"\d+ files already formatted", "no issues found"):
        assert re.search(sign, passed), passed

    user = composed.run(*checks, "sh", "-c", "id -u; find /srv /venv -writable").stdout.splitlines()
    assert user[-1] == "10001", "the user of the tests must not be root, nor own what it tests"

    # What is tested is what is there now, not the image of the last time.
    views = composed.path / "app/views.py"
    greeting = views.read_text()
    for broken, complaint in (
        (greeting.replace("World", "Moon"), "1 failed"),
        (f'{greeting}\n\nLAST: int = "first"\n', "Incompatible types in assignment"),
    ):
        views.write_text(broken)
        with pytest.raises(AssertionError, match=rf"exit code 1\n(.*\n)*.*{complaint}"):
            composed.run(*checks)


class Debugger:
    """A client of the Debug Adapter Protocol, with just enough of it to stop at a line."""

    def __init__(self, port: int) -> None:
        """Connect."""
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=SECONDS_TO_RELOAD)
        self._stream = self._socket.makefile("rb")
        self._sent = 0

    def close(self) -> None:
        """Hang up."""
        self._stream.close()
        self._socket.close()

    def send(self, command: str, **arguments: Any) -> None:
        """Send a request."""
        self._sent += 1
        request = {"seq": self._sent, "type": "request", "command": command, "arguments": arguments}
        body = json.dumps(request).encode()
        self._socket.sendall(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))

    def wait_for(self, name: str) -> dict[str, Any]:
        """Return the body of the next event of this name, or of the response to the command of this name."""
        while True:
            headers = http.client.parse_headers(self._stream)
            message: dict[str, Any] = json.loads(self._stream.read(int(headers["Content-Length"])))
            assert message.get("success", True), message
            if name in (message.get("event"), message.get("command")):
                body: dict[str, Any] = message.get("body") or {}
                return body

    def attach(self, line: int | None = None, **to: Any) -> None:
        """Attach to the process that listens, or to one of its children; ask it to stop at a line of app/views.py."""
        self.send("initialize", adapterID="test")
        assert self.wait_for("initialize")["supportsConfigurationDoneRequest"] is True
        self.send("attach", **to)
        self.wait_for("initialized")
        if line:
            self.send("setBreakpoints", source={"path": "/srv/app/views.py"}, breakpoints=[{"line": line}])
            assert self.wait_for("setBreakpoints")["breakpoints"][0]["verified"] is True
        self.send("configurationDone")
        self.wait_for("configurationDone")


@pytest.mark.container
def test_a_debugger_stops_at_a_line(composed: BakedProject) -> None:
    debug_port = free_port()
    lines = (composed.path / "app/views.py").read_text().splitlines()
    [line] = [number for number, text in enumerate(lines, start=1) if GREETING in text]
    with watched(composed, "dev", DEBUG_PORT=str(debug_port)) as server:
        processes = [Debugger(debug_port)]
        processes[0].attach(subProcess=True)
        # A debugger is told of every child, and attaches to each over the same port. The one that serves is the
        # reloader's; another is a helper of Python's multiprocessing.
        name = ""
        while "flask" not in name:
            child = Debugger(debug_port)
            processes.append(child)
            child.attach(line, **processes[0].wait_for("debugpyAttach"))
            name = child.wait_for("process")["name"]

        address = ("127.0.0.1", server.port)
        with socket.create_connection(address, timeout=SECONDS_TO_RELOAD) as request:
            request.sendall(b"GET / HTTP/1.0\r\n\r\n")
            stopped = child.wait_for("stopped")
            assert stopped["reason"] == "breakpoint"
            child.send("continue", threadId=stopped["threadId"])
            assert GREETING.encode() in request.makefile("rb").read()
        for process in processes:
            process.close()


@pytest.mark.container
def test_nothing_of_the_test_stage_is_shipped_or_built(composed: BakedProject, image_tag: str) -> None:
    composed.build_image(image_tag)
    shipped = docker("run", "--rm", "--network=none", "--entrypoint=find", image_tag, "/venv", "/srv").split()
    assert "/venv/bin/gunicorn" in shipped
    development = re.compile(
        r"/venv/bin/(debugpy|mypy|pytest|ruff)|/srv/(tests|.*\.md|.*\.toml|.*\.txt)|.*/(debugpy|mypy|_pytest)"
    )
    assert not [path for path in shipped if development.fullmatch(path)]

    for name in ("requirements-dev.txt", "pyproject.toml", "README.md", "tests/unit/test_views.py"):
        path = composed.path / name
        path.write_text(f"{path.read_text()}# {time.time_ns()}\n")

    log = composed.build_image(image_tag)

    assert "[test " not in log
    steps = set(re.findall(r"^(#\d+) \[.* \d+/\d+\]", log, re.MULTILINE))
    built = [
        step for step in steps if f"\n{step} CACHED" not in log and "FROM" not in log.partition(f"{step} [")[2][:60]
    ]
    assert steps
    assert not built, f"a file that only tests use rebuilds the image:\n{log}"


def test_edits_are_seen_by_flask_run(bake: Bake) -> None:
    project = bake()
    port = free_port()
    command = (str(project.environment / "bin/flask"), "--app", "app", "run", "--debug", "--port", str(port))
    with serving(project, *command, port=port) as server:
        server.edits_are_seen()


def test_gunicorn_alone_serves(project: BakedProject) -> None:
    port = free_port()
    with serving(project, str(project.environment / "bin/gunicorn"), port=port, PORT=str(port)) as server:
        assert '"message": "Starting gunicorn' in server.log.read_text(), "gunicorn.conf.py was not read"
