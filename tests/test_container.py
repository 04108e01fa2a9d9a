"""The promise of the template, typed literally: build, run, read the page."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import PYTHONS, TOOLS, Forge, docker, skip_or_fail, wait_for_page
from tests.readme import section
from tools.questions import CHOICES, QUESTIONS, shorthand

pytestmark = pytest.mark.container

TAG = "my-python-app"


@pytest.fixture
def port_5000(engine: None) -> None:
    """Skip, or in CI fail, where somebody else listens on the port that is to be used literally."""
    try:
        socket.create_server(("", 5000)).close()
    except OSError as error:
        skip_or_fail(f"port 5000 is not free: {error}")


@pytest.fixture
def literal_tag(engine: None) -> Iterator[None]:
    """Remove the literal tag afterwards, unless it was there before."""
    existed = docker("images", "--quiet", TAG) != ""
    yield
    if not existed:
        docker("image", "rm", "--force", TAG)


@pytest.mark.usefixtures("port_5000", "literal_tag")
def test_the_first_commands_of_the_readme_serve_the_page(forge: Forge, tmp_path: Path) -> None:
    readme = (forge.work_tree / "README.md").read_text(encoding="utf-8")
    bake, enter, build, run = section(readme, "Try it").partition("```sh\n")[2].partition("```")[0].splitlines()
    assert (bake, enter) == (f"cookiecutter {shorthand()}", "cd hello-service")
    path = f"{TOOLS}{os.pathsep}{os.environ['PATH']}"
    python = str(CHOICES["python_version"].index(PYTHONS[0]) + 1)
    lines = "".join(f"{python if question == 'python_version' else ''}\n" for question in QUESTIONS)
    for command in (bake, f"{enter} && {build}"):
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            input=lines,
            text=True,
            capture_output=True,
            check=False,
            env={**os.environ, "PATH": path},
        )
        assert done.returncode == 0, done.stdout + done.stderr
    literally = run.split()
    assert literally == ["docker", "run", "-p", "5000:5000", TAG]
    before = set(docker("ps", "--all", "--quiet").split())
    with subprocess.Popen(literally, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as running:
        try:
            assert wait_for_page(5000) == "<p>Hello, World!</p>"
        finally:
            running.send_signal(signal.SIGTERM)
            running.wait(timeout=20)
            for identity in set(docker("ps", "--all", "--quiet", "--filter", f"ancestor={TAG}").split()) - before:
                docker("rm", "--force", identity)
    assert running.returncode == 0
