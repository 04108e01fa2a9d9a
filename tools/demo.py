"""Bake the default service into demo/, run it, and print its page: `make demo`. `make clean` removes all of it.

With Docker the service is built into an image and run as a container. Without, the same application is served by the
same gunicorn.conf.py from a virtual environment. Either way it goes on running, and the last lines say how to stop it.
"""

import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import requests

TEMPLATE = Path(__file__).parents[1]
DEMO = TEMPLATE / "demo"
PROJECT = DEMO / "hello-service"
# Of image and container. Not that of the service, as its owner may have an image of that name.
NAME = "hello-service-demo"
PORT = 5000
SECONDS_TO_START = 60


class DemoError(Exception):
    """A step went wrong; the message says which."""


def run(*command: str, cwd: Path = PROJECT) -> None:
    """Run a command with itself and its output in sight; raise DemoError if it fails."""
    print(f"$ {shlex.join(command)}", flush=True)
    if subprocess.run(command, cwd=cwd, check=False).returncode:
        raise DemoError(f"{command[0]} says above why")


def free_port() -> int:
    """Return the service's port, or the next that is free: on macOS, AirPlay takes 5000."""
    for port in range(PORT, PORT + 100):
        with suppress(OSError), socket.create_server(("", port)):
            return port
    raise DemoError(f"no port from {PORT} to {PORT + 99} is free")


def bake() -> None:
    """Bake the default answers, whatever the defaults of this user are, in place of an earlier demo."""
    shutil.rmtree(PROJECT, ignore_errors=True)
    options = ("--no-input", "--default-config", "--output-dir", str(DEMO))
    run(sys.executable, "-m", "cookiecutter", str(TEMPLATE), *options, cwd=TEMPLATE)


def engine_problem() -> str | None:
    """Return None if a Docker Engine answers, else why not."""
    if not shutil.which("docker"):
        return "there is no docker command"
    done = subprocess.run(["docker", "version"], capture_output=True, text=True, check=False)
    return done.stderr.strip().splitlines()[-1] if done.returncode else None


def certificate_options() -> list[str]:
    """Return the option that hands the build this user's own CA bundle, where there is one (as behind a proxy)."""
    bundle = os.environ.get("PIP_CERT") or os.environ.get("SSL_CERT_FILE")
    return ["--secret", f"id=ca,src={bundle}"] if bundle and Path(bundle).is_file() else []


def page(port: int, path: str = "/") -> str:
    """Return the body of a page; raise OSError while nothing answers."""
    with requests.Session() as session:
        # What the environment says of proxies is not for this machine.
        session.trust_env = False
        return session.get(f"http://127.0.0.1:{port}{path}", timeout=5).text


def wait_for_page(port: int, log: str) -> str:
    """Return the page once the service answers; raise DemoError, which names the log, if it does not."""
    deadline = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < deadline:
        with suppress(OSError):
            return page(port)
        time.sleep(0.1)
    raise DemoError(f"nothing answers on port {port} after {SECONDS_TO_START} s; why, this may say: {log}")


def serve_from_container(port: int) -> tuple[str, str]:
    """Build the image and run a container; return the commands that show its log and stop it."""
    run("docker", "build", "--tag", NAME, *certificate_options(), ".")
    run("docker", "run", "--detach", "--name", NAME, "--publish", f"{port}:{PORT}", NAME)
    return f"docker logs {NAME}", f"docker rm --force {NAME}"


def serve_from_environment(port: int) -> tuple[str, str]:
    """Make a virtual environment and start gunicorn in the background; return the commands as for a container."""
    python = str(PROJECT / ".venv/bin/python")
    run(sys.executable, "-m", "venv", ".venv")
    run(python, "-m", "pip", "install", "--require-hashes", "-r", "requirements.txt")
    log = PROJECT / "service.log"
    with log.open("w") as output:
        server = subprocess.Popen(
            [python, "-m", "app", "--pid", str(DEMO / "gunicorn.pid")],
            cwd=PROJECT,
            env={**os.environ, "PORT": str(port)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    return f"cat {shlex.quote(str(log))}", f"kill {server.pid}"


def main() -> int:
    """Run the demo; return the exit code."""
    try:
        bake()
        if problem := engine_problem():
            if os.name == "nt":
                raise DemoError(f"{problem}, and gunicorn does not run on Windows: install Docker Desktop")
            print(f"No Docker ({problem}): serving from a virtual environment instead.")
            port = free_port()
            log, stop = serve_from_environment(port)
        else:
            subprocess.run(["docker", "rm", "--force", NAME], capture_output=True, check=False)
            port = free_port()
            log, stop = serve_from_container(port)
        body = wait_for_page(port, log)
    except DemoError as error:
        print(f"The demo failed: {error}")
        return 1
    print(f"\nhttp://localhost:{port}/ says {body}\nTo stop it: {stop}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
