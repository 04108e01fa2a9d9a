"""compose.yaml as it is shipped, brought up and taken down through pytest-docker."""

import http.client
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from pytest_docker import Services

from app.settings import Settings
from tests.container import docker

pytestmark = pytest.mark.usefixtures("own")


@pytest.fixture(scope="session")
def docker_compose_file() -> str:
    """Tell pytest-docker what to bring up."""
    return str(docker.PROJECT / "compose.yaml")


@pytest.fixture(scope="session")
def docker_compose_project_name() -> str:
    """Keep apart from a service that the developer has brought up by hand."""
    return f"container-contract-{os.getpid()}"


@pytest.fixture(scope="session")
def docker_setup() -> list[str]:
    """Leave the start to `web`: what goes wrong in pytest-docker's own set-up step is neither shown nor taken down."""
    return []


@pytest.fixture(scope="session")
def compose(docker_compose_file: str, docker_compose_project_name: str, image: docker.Image) -> Iterator[list[str]]:
    """Return the command line of docker compose for the image under test, on a free port."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("IMAGE", image.reference)
        environment.setenv("HOST_PORT", "0")
        yield ["compose", "--file", docker_compose_file, "--project-name", docker_compose_project_name]


@pytest.fixture(scope="session")
def web(compose: list[str], docker_services: Services, image: docker.Image) -> docker.Container:
    """Return the container of the service `web`, answering."""
    docker.run(*compose, "up", "--detach", "--no-build")
    container = docker.Container(docker.run(*compose, "ps", "--quiet", "web").stdout.strip(), image.port)

    def answers() -> bool:
        try:
            return container.request("/readyz", timeout=2).status == 200
        except (OSError, http.client.HTTPException):
            return False

    try:
        docker_services.wait_until_responsive(answers, timeout=30, pause=0.1)
    except Exception:
        pytest.fail("\n".join(["the service does not get ready; its log:", *container.logs]))
    return container


def _resolved(compose: list[str]) -> dict[str, Any]:
    resolved: dict[str, Any] = json.loads(docker.run(*compose, "config", "--format", "json").stdout)
    return resolved


def test_the_page_is_served(web: docker.Container, docker_services: Services) -> None:
    """`docker compose up` serves the page on the published port."""
    assert web.request("/").body == b"<p>Hello, World!</p>"
    assert web.address[1] == docker_services.port_for("web", web.service_port)


def test_nothing_is_writable_and_no_privilege_is_left(web: docker.Container) -> None:
    """What compose.yaml promises arrives at the engine. Mend: do not soften compose.yaml."""
    inspected = json.loads(docker.run("container", "inspect", web.identity).stdout)[0]["HostConfig"]

    assert inspected["ReadonlyRootfs"] is True
    assert inspected["CapDrop"] == ["ALL"]
    assert inspected["SecurityOpt"] == ["no-new-privileges:true"]
    assert inspected["Memory"] == 256 * 2**20
    assert inspected["PidsLimit"] == 256


@pytest.mark.row(16)
def test_the_grace_period_is_longer_than_a_stop_takes(compose: list[str]) -> None:
    """Who stops a service must wait longer than the service may take, or requests are cut off.

    Mend: stop_grace_period > DRAIN_DELAY + GRACEFUL_TIMEOUT.
    """
    config = Settings.from_environ({})
    grace = _resolved(compose)["services"]["web"]["stop_grace_period"]

    assert config.drain_delay + config.graceful_timeout < int(grace.removesuffix("s"))
