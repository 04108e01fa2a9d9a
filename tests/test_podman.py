"""docs/recipes/podman.md, followed on a machine with Debian's Podman, which is a container here."""

import re
import shlex
from collections.abc import Callable, Iterator

import pytest

from tests.conftest import LABEL, PYTHONS, TEMPLATE, Bake, docker
from tests.readme import blocks, edit
from tools.questions import base_image

RECIPE = (TEMPLATE / "docs/recipes/podman.md").read_text(encoding="utf-8")
# What only systemd can do: tell it of the start, name files after the unit.
OF_SYSTEMD = ("--cidfile=", "--cgroups=", "--sdnotify=")
GENERATOR = "QUADLET_UNIT_DIRS=$PWD /usr/lib/systemd/system-generators/podman-system-generator --dryrun"
ASK = "import urllib.request; print(urllib.request.urlopen('http://localhost:5000/').read().decode())"

Machine = Callable[[str], str]


@pytest.fixture
def machine(bake: Bake, image_tag: str) -> Iterator[Machine]:
    """Return a function that runs a script on a machine with Podman, in the folder of a service, and what it prints."""
    project = bake(python_version=PYTHONS[0])
    edit(project.path, blocks(RECIPE, "diff")[0])
    folder = TEMPLATE / "tests/stand_ins"
    # The one of Python 3.13 is Debian 13's own.
    base = f"--build-arg=BASE={base_image('3.13' if '3.13' in PYTHONS else PYTHONS[0])}"
    options = ["--label", LABEL, "--tag", image_tag, base, f"--file={folder}/podman.Dockerfile"]
    docker("build", "--quiet", *options, str(folder))
    mounts = ["--volume", f"{project.path}:/service", "--workdir", "/service", "--tmpfs", "/var/lib/containers:exec"]
    identity = docker("run", "--detach", "--privileged", *mounts, image_tag, "sleep", "infinity")
    try:
        saved = project.path / "base.tar"
        docker("save", "--output", str(saved), base_image(PYTHONS[0]))
        docker("exec", identity, "podman", "load", "--quiet", "--input", saved.name)
        yield lambda script: docker("exec", identity, "timeout", "300", "bash", "-ec", script)
    finally:
        docker("rm", "--force", "--volumes", identity)


@pytest.mark.container
@pytest.mark.slow
def test_podman_builds_and_runs_the_service(machine: Machine) -> None:
    build, _ = blocks(RECIPE, "sh")[0].splitlines()
    machine(build)
    assert "healthcheck.py" in machine("podman image inspect hello-service --format '{{.HealthCheck.Test}}'")

    [start] = re.findall(r"^ExecStart=(.*)$", machine(GENERATOR), re.MULTILINE)
    command = [word for word in shlex.split(start.replace("%N", "unit")) if not word.startswith(OF_SYSTEMD)]
    machine(shlex.join(command))
    machine("until podman healthcheck run systemd-unit; do sleep 0.2; done")

    assert machine(f'python3 -c "{ASK}"') == "<p>Hello, World!</p>"
    assert machine("podman inspect systemd-unit --format '{{.HostConfig.ReadonlyRootfs}}'") == "true"
    machine("podman stop --time 30 systemd-unit && podman wait --ignore systemd-unit")
