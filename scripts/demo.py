"""Bake the default service into demo/, run it, and print its page: `make demo`.

With Docker the service is built into an image and run as a container. Without, the same application is served by the
same gunicorn.conf.py from a virtual environment. Either way it goes on running, and the last lines say how to stop it.
"""

import http.client
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rich.console import Console

TEMPLATE = Path(__file__).parents[1]
DEMO = TEMPLATE / "demo"
NAME = "hello-service"
PORT = 5000
SECONDS_TO_START = 60

console = Console(highlight=False)


class DemoError(Exception):
    """A step went wrong; the message says which and what it printed."""


@contextmanager
def step(what: str) -> Iterator[None]:
    """Show that something is going on, then how long it took."""
    began = time.monotonic()
    with console.status(f"{what} …"):
        yield
    console.print(f"{what}: {time.monotonic() - began:.1f} s")


def run(*command: str, cwd: Path = TEMPLATE) -> str:
    """Return what the command prints; raise DemoError with it if the command fails."""
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise DemoError(f"{' '.join(command)}\n{done.stdout}")
    return done.stdout.strip()


def free_port() -> int:
    """Return the service's port, or the next that is free: on macOS, AirPlay takes 5000."""
    for port in range(PORT, PORT + 100):
        with suppress(OSError), socket.create_server(("", port)):
            return port
    raise DemoError(f"no port from {PORT} to {PORT + 99} is free")


def bake() -> Path:
    """Bake the default answers, whatever the defaults of this user are, in place of an earlier demo."""
    shutil.rmtree(DEMO / NAME, ignore_errors=True)
    options = ("--no-input", "--default-config", "--output-dir", str(DEMO))
    run(sys.executable, "-m", "cookiecutter", str(TEMPLATE), *options)
    return DEMO / NAME


def engine_problem() -> str | None:
    """Return None if a Docker Engine answers, else why not."""
    try:
        run("docker", "version")
    except FileNotFoundError:
        return "there is no docker command"
    except DemoError as error:
        return str(error).splitlines()[-1]
    return None


def certificate_options() -> list[str]:
    """Return the option that hands the build this user's own CA bundle, where there is one (as behind a proxy)."""
    bundle = os.environ.get("PIP_CERT") or os.environ.get("SSL_CERT_FILE")
    return ["--secret", f"id=ca,src={bundle}"] if bundle and Path(bundle).is_file() else []


def page(port: int) -> str:
    """Return the body of GET /; raise OSError or HTTPException while nothing answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def wait_for(answers: Callable[[], bool], log: Callable[[], str]) -> None:
    """Wait until the service answers; raise DemoError with its log if it does not."""
    deadline = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < deadline:
        with suppress(OSError, http.client.HTTPException):
            if answers():
                return
        time.sleep(0.1)
    raise DemoError(f"the service is not healthy after {SECONDS_TO_START} s; its log:\n{log()}")


def serve_from_container(project: Path, port: int) -> str:
    """Build the image and run a container; return the command that stops it."""
    with step("Building the image"):
        run("docker", "build", "--tag", NAME, *certificate_options(), ".", cwd=project)
    with step("Starting the container"):
        run("docker", "run", "--detach", "--name", f"{NAME}-demo", "--publish", f"{port}:{PORT}", NAME)
        wait_for(
            lambda: run("docker", "inspect", "--format", "{{.State.Health.Status}}", f"{NAME}-demo") == "healthy",
            lambda: run("docker", "logs", f"{NAME}-demo"),
        )
    return f"docker rm --force {NAME}-demo"


def serve_from_environment(project: Path, port: int) -> str:
    """Make a virtual environment and start gunicorn in the background; return the command that stops it."""
    python = project / ".venv/bin/python"
    with step("Making a virtual environment"):
        run(sys.executable, "-m", "venv", ".venv", cwd=project)
        run(str(python), "-m", "pip", "install", "--require-hashes", "-r", "requirements.txt", cwd=project)
    log = project / "service.log"
    with step("Starting gunicorn"), log.open("w") as output:
        server = subprocess.Popen(
            [python, "-m", "app"],
            cwd=project,
            env={**os.environ, "PORT": str(port)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        wait_for(lambda: bool(page(port)), log.read_text)
    return f"kill {server.pid}"


def main() -> int:
    """Run the demo; return the exit code."""
    try:
        with step("Baking the default answers into demo/"):
            project = bake()
        if problem := engine_problem():
            if os.name == "nt":
                raise DemoError(f"{problem}, and gunicorn does not run on Windows: install Docker Desktop")
            console.print(f"No Docker ({problem}): serving from a virtual environment instead.")
            port = free_port()
            stop = serve_from_environment(project, port)
        else:
            run("docker", "rm", "--force", f"{NAME}-demo")
            port = free_port()
            stop = serve_from_container(project, port)
        body = page(port)
    except DemoError as error:
        console.print(f"The demo failed: {error}", markup=False)
        return 1
    console.print(f"\nhttp://localhost:{port}/ says {body}", markup=False)
    console.print(f"To stop it: {stop}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
