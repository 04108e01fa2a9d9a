"""compose.yaml as it is shipped, brought up and taken down through pytest-docker."""

import http.client
import json
import math
import os
import time
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest
from pytest_docker import Services

from app.settings import Settings
from tests.container import docker
from tests.container.configuration import Configuration

pytestmark = pytest.mark.usefixtures("project_only")


@pytest.fixture(scope="session")
def docker_compose_file(
    told: Configuration, image: docker.Image, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[str]]:
    """Tell pytest-docker what to bring up, and what the service needs to be told beyond what the file says."""
    shipped = docker.PROJECT / "compose.yaml"
    needs = tmp_path_factory.mktemp("compose") / "needs.yaml"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("IMAGE", image.reference)
        environment.setenv("HOST_PORT", "0")
        needs.write_text(json.dumps({"services": docker.with_needs(shipped, image.reference, told.environment)}))
        yield [str(shipped), str(needs)]


@pytest.fixture(scope="session")
def docker_compose_project_name() -> str:
    """Keep apart from a service that the developer has brought up by hand."""
    return f"container-contract-{os.getpid()}"


@pytest.fixture(scope="session")
def docker_setup() -> list[str]:
    """Leave the start to `web`: what goes wrong in pytest-docker's own set-up step is neither shown nor taken down."""
    return []


@pytest.fixture(scope="session")
def compose(docker_compose_file: list[str], docker_compose_project_name: str) -> list[str]:
    """Return the command line of docker compose for the image under test, on a free port."""
    files = [option for file in docker_compose_file for option in ("--file", file)]
    return ["compose", *files, "--project-name", docker_compose_project_name]


@pytest.fixture(scope="session")
def web(compose: list[str], docker_services: Services, image: docker.Image) -> docker.Container:
    """Return the container of the service `web`, answering."""
    docker.run(*compose, "up", "--detach", "--no-build")
    container = docker.Container(docker.run(*compose, "ps", "--quiet", "web").stdout.strip(), image.port, image.page)

    def answers() -> bool:
        try:
            return container.request("/readyz", timeout=10).status == 200
        except (OSError, http.client.HTTPException):
            return False

    try:
        docker_services.wait_until_responsive(answers, timeout=60, pause=0.1)
    except Exception:
        pytest.fail("\n".join(["the service does not get ready; its log:", *container.logs]))
    return container


def _resolved(compose: list[str]) -> dict[str, Any]:
    resolved: dict[str, Any] = json.loads(docker.run(*compose, "config", "--format", "json").stdout)
    return resolved


def test_the_page_is_served(web: docker.Container, docker_services: Services) -> None:
    """`docker compose up` serves the page on the published port."""
    assert web.page.problem(web.request()) is None
    assert web.address[1] == docker_services.port_for("web", web.service_port)


PROMISED = {
    "ReadonlyRootfs": True,
    "Privileged": False,
    "CapAdd": None,
    "CapDrop": ["ALL"],
    "SecurityOpt": ["no-new-privileges:true"],
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

    Fix: do not soften compose.yaml.
    """
    given = web.inspected["HostConfig"][option]

    assert given == value, f"{option} of the running container is {given!r}, not {value!r}"


def test_nothing_of_the_host_is_shared(web: docker.Container) -> None:
    """An attacker owns what the container shares; with the engine's socket or the host's processes, the host.

    Fix: no pid, ipc, network_mode, devices or folder of the host in compose.yaml; a volume instead.
    """
    assert not web.shared, f"the service shares with the host: {', '.join(web.shared)}"


def test_only_its_port_is_published(web: docker.Container) -> None:
    """Another port that is published is another way in, past whatever stands in front. Fix: ports in compose.yaml."""
    published = [port for port, host in web.inspected["NetworkSettings"]["Ports"].items() if host]

    assert published == [f"{web.service_port}/tcp"], f"published: {', '.join(published)}"


def test_its_environment_is_what_is_meant(web: docker.Container, image: docker.Image, told: Configuration) -> None:
    """What compose.yaml sets, `.env` can no more; TRUSTED_HOPS or FLASK_DEBUG there is a hole in every installation.

    Fix: what a place needs goes to its `.env`; what the service cannot do without, to `environment` in
    [tool.container-contract] as well.
    """
    file = docker.PROJECT / ".env"
    meant = {"PORT", *told.environment, *(f"{name}_FILE" for name in told.environment)}
    meant |= {line.partition("=")[0].strip() for line in (file.read_text().splitlines() if file.exists() else ())}
    given = set(web.inspected["Config"]["Env"]) - set(image.config["Env"])
    more = sorted(variable for variable in given if variable.partition("=")[0] not in meant)

    assert not more, f"compose.yaml sets what nothing says that the service needs: {', '.join(more)}"


def test_every_resource_has_a_limit(web: docker.Container, compose: list[str], told: Configuration) -> None:
    """A service without limits takes the whole host along. Fix: deploy.resources in compose.yaml."""
    resources = _resolved(compose)["services"]["web"].get("deploy", {}).get("resources", {})
    limits, given = resources.get("limits", {}), web.inspected["HostConfig"]
    missing = [name for name in ("cpus", "memory", "pids") if name not in limits]
    assert not missing, f"no limit for: {', '.join(missing)}"

    assert given["NanoCpus"] == float(limits["cpus"]) * 10**9 > 0
    assert given["PidsLimit"] == limits["pids"] > 0
    assert given["Memory"] == int(limits["memory"]) >= told.budget.smallest_limit, "less than one worker needs"
    assert given["MemoryReservation"] == int(resources.get("reservations", {}).get("memory", 0)) > 0, (
        "nothing is reserved"
    )


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


def test_the_kernel_enforces_it(web: docker.Container, told: Configuration) -> None:
    """What the engine was asked for is not yet what holds: look from the inside."""
    seen = docker.run("exec", web.identity, "python3", "-I", "-S", "-c", LOOK_INSIDE).stdout.splitlines()

    assert seen == ["uid 10001 capabilities 0 0", "no new privileges 1", "Read-only file system"]
    cpus, memory = math.ceil(web.inspected["HostConfig"]["NanoCpus"] / 10**9), web.inspected["HostConfig"]["Memory"]
    fitting = 1 + (memory - told.budget.first_worker_bytes) // told.budget.worker_bytes
    expected = max(1, min(cpus + 1, (os.cpu_count() or 1) + 1, fitting))
    assert web.wait_for_workers(expected) == expected, "the workers do not follow the limits"


def test_it_starts_again_after_its_process_has_ended(web: docker.Container) -> None:
    """A service that crashed at night must not wait for the morning. Fix: restart: unless-stopped."""
    before = web.state["StartedAt"]
    web.signal("SIGTERM", [web.main_process()])

    deadline = time.monotonic() + 60
    while web.state["StartedAt"] == before or not web.state["Running"]:
        assert time.monotonic() < deadline, "the container was not started again"
        time.sleep(0.1)
    del web.address  # a port that the engine was left to choose is another one after each start
    web.wait_until_serving()


def test_another_port_is_one_variable(compose: list[str], image: docker.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    """PORT in `.env` moves the service: what is published must follow it. Fix: ${PORT:-…} wherever compose names it."""
    monkeypatch.setenv("PORT", "8181")
    command = [*compose[:-1], f"{compose[-1]}-port"]
    try:
        docker.run(*command, "up", "--detach", "--no-build", "--wait")
        container = docker.Container(docker.run(*command, "ps", "--quiet", "web").stdout.strip(), 8181, image.page)
        assert container.request().status == image.page.status
    finally:
        docker.run(*command, "down", "--timeout", "1")


@pytest.mark.row(16)
def test_the_grace_period_is_longer_than_a_stop_takes(compose: list[str]) -> None:
    """Who stops a service must wait longer than the service may take, or requests are cut off.

    Fix: stop_grace_period > DRAIN_DELAY + GRACEFUL_TIMEOUT.
    """
    web = _resolved(compose)["services"]["web"]
    default = {item.name.upper(): item.metadata["default"] for item in fields(Settings)}
    takes = {**default, **(web.get("environment") or {})}
    grace = web["stop_grace_period"]

    assert int(takes["DRAIN_DELAY"]) + int(takes["GRACEFUL_TIMEOUT"]) < int(grace.removesuffix("s"))
