"""The container contract: is this image fit for production? Each test's docstring says why it matters.

    pytest tests/container                  builds this project and judges the image
    pytest tests/container --image NAME     judges any image that exposes a port

Without an engine the tests are skipped, except in CI (the environment variable CI is set): there they fail.
"""

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.container import docker

HERE = Path(__file__).parent
SKIPPED = pytest.StashKey[str]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --image."""
    parser.addoption("--image", help="judge this image instead of building the project")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker that ties a test to its row of the contract."""
    config.addinivalue_line("markers", "row(number): the row of the container contract that the test belongs to")


@pytest.fixture(scope="session", autouse=True)
def engine(pytestconfig: pytest.Config) -> Iterator[None]:
    """Skip all tests here, or in CI fail them, if no engine answers; leave nothing behind."""
    if problem := docker.problem():
        message = f"container tests need a Docker Engine: {problem}"
        if os.environ.get("CI"):
            pytest.fail(message, pytrace=False)
        pytestconfig.stash[SKIPPED] = message
        pytest.skip(message)
    yield
    docker.remove_leftovers()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say once, not once a test, why the tests were skipped."""
    if message := config.stash.get(SKIPPED, None):
        terminalreporter.write_line(f"SKIPPED: {message}", yellow=True)


@pytest.fixture(scope="session")
def image(engine: None, pytestconfig: pytest.Config) -> Iterator[docker.Image]:
    """Return the image under test."""
    if name := pytestconfig.getoption("--image"):
        yield docker.Image(name)
        return
    options = [f"--build-arg={name}={value}" for name, value in docker.VERSION_ARGUMENTS.items()]
    yield docker.Image.build(f"container-contract:{os.getpid()}", *options)


@pytest.fixture(scope="session")
def own(pytestconfig: pytest.Config) -> None:
    """Skip a test that can only be asked of this project, not of a foreign image."""
    if pytestconfig.getoption("--image"):
        pytest.skip("not applicable to a foreign image: it needs the build context")


@pytest.fixture(scope="module")
def service(image: docker.Image) -> Iterator[docker.Container]:
    """Return a container that serves, for tests that only ask it questions."""
    with docker.started(image) as container:
        container.wait_until_serving()
        yield container


@pytest.fixture
def slow_service(image: docker.Image) -> Iterator[docker.Container]:
    """Return a serving container of its own, which has the slow page of injected/sitecustomize.py."""
    mount = f"type=bind,source={HERE / 'injected'},target=/contract,readonly"
    with docker.started(image, "--mount", mount, "--env", "PYTHONPATH=/contract") as container:
        container.wait_until_serving()
        yield container


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the log of every container a failed test used."""
    report = yield
    if report.failed and isinstance(item, pytest.Function):
        for name, value in item.funcargs.items():
            if isinstance(value, docker.Container):
                report.sections.append((f"log of the container of {name}", "\n".join(value.logs)))
    return report
