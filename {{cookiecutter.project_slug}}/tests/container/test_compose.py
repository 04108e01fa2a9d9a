"""compose.yaml as it is shipped, brought up and taken down through pytest-docker."""

import http.client
import json
import os
import time
from collections.abc import Iterator
from dataclasses import fields
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


PROMISED = {
    "ReadonlyRootfs": True,
    "Privileged": False,
    "CapAdd": None,
    "CapDrop": ["ALL"],
    "SecurityOpt": ["no-new-privileges:true"],
    "NanoCpus": 10**9,
    "Memory": 256 * 2**20,
    "MemoryReservation": 64 * 2**20,
    "PidsLimit": 256,
    "RestartPolicy": {"Name": "unless-stopped", "MaximumRetryCount": 0},
    "Init": True,
    "LogConfig": {
        "Type": "json-file",
        "Config": {"mode": "non-blocking", "max-buffer-size": "4m", "max-size": "10m", "max-file": "3"},
    },
}


@pytest.mark.parametrize(("option", "value"), PROMISED.items(), ids=PROMISED)
def test_what_compose_promises_is_in_force(web: docker.Container, option: str, value: object) -> None:
    """An option that compose ignores, or takes for another, is found in production only.

    Fix: do not soften compose.yaml; if a limit must be another one, change it here as well.
    """
    inspected = json.loads(docker.run("container", "inspect", web.identity).stdout)[0]["HostConfig"]

    assert inspected[option] == value, f"{option} of the running container is {inspected[option]!r}, not {value!r}"


# What the kernel says of process 1, and what becomes of a file where nearly every image lets its user write.
LOOK_INSIDE = """
status = dict(line.split(":\\t", 1) for line in open("/proc/1/status").read().splitlines() if ":\\t" in line)
print("uid", status["Uid"].split()[0], "capabilities", int(status["CapEff"], 16), int(status["CapBnd"], 16))
print("no new privileges", status["NoNewPrivs"])
try:
    open("/tmp/file", "w")
except OSError as error:
    print(error.strerror)
"""


def test_the_kernel_enforces_it(web: docker.Container) -> None:
    """What the engine was asked for is not yet what holds: look from the inside."""
    seen = docker.run("exec", web.identity, "python3", "-I", "-S", "-c", LOOK_INSIDE).stdout.splitlines()

    assert seen == ["uid 10001 capabilities 0 0", "no new privileges 1", "Read-only file system"]
    assert web.wait_for_workers(2) == 2, "the workers do not follow the CPU limit"


def test_it_starts_again_after_its_process_has_ended(web: docker.Container) -> None:
    """A service that crashed at night must not wait for the morning. Fix: restart: unless-stopped."""
    before = web.state["StartedAt"]
    web.signal("SIGTERM", [web.main_process()])

    deadline = time.monotonic() + 20
    while web.state["StartedAt"] == before or not web.state["Running"]:
        assert time.monotonic() < deadline, "the container was not started again"
        time.sleep(0.1)
    del web.address  # a port that the engine was left to choose is another one after each start
    web.wait_until_serving()


def test_another_port_is_one_variable(compose: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """PORT in `.env` moves the service: what is published must follow it. Fix: ${PORT:-…} wherever compose names it."""
    monkeypatch.setenv("PORT", "8181")
    command = [*compose[:-1], f"{compose[-1]}-port"]
    try:
        docker.run(*command, "up", "--detach", "--no-build", "--wait")
        container = docker.Container(docker.run(*command, "ps", "--quiet", "web").stdout.strip(), 8181)
        assert container.request("/").status == 200
    finally:
        docker.run(*command, "down", "--timeout", "1")


@pytest.mark.row(16)
def test_the_grace_period_is_longer_than_a_stop_takes(compose: list[str]) -> None:
    """Who stops a service must wait longer than the service may take, or requests are cut off.

    Fix: stop_grace_period > DRAIN_DELAY + GRACEFUL_TIMEOUT.
    """
    default = {item.name: item.metadata["default"] for item in fields(Settings)}
    grace = _resolved(compose)["services"]["web"]["stop_grace_period"]

    assert default["drain_delay"] + default["graceful_timeout"] < int(grace.removesuffix("s"))
