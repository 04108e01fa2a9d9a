"""Other people's yardsticks, run as they are; hadolint is in test_combinations.py, as it needs no engine."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import PYTHONS, TEMPLATE, BakedProject, docker
from tools.questions import base_image

pytestmark = pytest.mark.container


@pytest.fixture(scope="module")
def image(project: BakedProject, engine: None) -> Iterator[str]:
    """Return the default image, built by the two words of the README."""
    tag = "template-test:yardsticks"
    project.build_image(tag)
    yield tag
    docker("image", "rm", "--force", tag)


def test_container_structure_test(image: str, project: BakedProject) -> None:
    tool = Path(sys.executable).with_name("container-structure-test")
    checks = str(TEMPLATE / "tests/container-structure.yaml")
    report = project.run(str(tool), "test", "--image", image, "--config", checks)

    assert re.search(r"Passes:\s+9\b", report.stdout), report.stdout
    assert re.search(r"Failures:\s+0\b", report.stdout), report.stdout


def test_gunicorn_accepts_its_configuration(image: str) -> None:
    assert docker("run", "--rm", image, "python", "-m", "app", "--check-config") == ""
    assert docker("run", "--rm", image, "gunicorn", "--check-config") == ""


def _own_history(image: str) -> list[str]:
    """Return the instructions of our Dockerfile as the image remembers them, those of the base image left out."""

    def history(name: str) -> list[str]:
        lines = docker("history", "--no-trunc", "--format", "json", name).splitlines()
        return [json.loads(line)["CreatedBy"] for line in lines]

    return history(image)[: -len(history(base_image(PYTHONS[0])))]


def test_cis_docker_benchmark_section_4(image: str) -> None:
    """The items of section 4 that docker-bench-security automates, for what this Dockerfile adds to its base.

    4.5 (content trust) is a setting of the engine; 4.8 (setuid) and 4.10 (secrets) are rows 9 and 7 of the contract.
    """
    config = json.loads(docker("image", "inspect", image))[0]["Config"]
    history = _own_history(image)

    assert len(history) > 10
    assert config["User"] not in {"", "root", "0"}, "4.1: a user for the container has been created"
    assert config["Healthcheck"]["Test"], "4.6: HEALTHCHECK instructions have been added"
    assert not [line for line in history if "update" in line], "4.7: update instructions are not used alone"
    assert not [line for line in history if line.startswith("ADD ")], "4.9: COPY is used instead of ADD"
