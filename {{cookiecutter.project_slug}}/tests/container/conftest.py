"""The container contract: is this image fit for production? Each test's docstring says why it matters.

    pytest tests/container                            builds this project and judges the image
    pytest tests/container --image NAME               judges any image of an HTTP service
    pytest tests/container --image NAME --scorecard   ends with a verdict on each row of the contract

Without an engine the tests are skipped, except in CI (the environment variable CI is set): there they fail.
"""

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.container import docker
from tests.container.scorecard import Scorecard

SKIPPED = pytest.StashKey[str]()
SCORECARD = pytest.StashKey[Scorecard]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the contract."""
    group = parser.getgroup("container contract")
    group.addoption("--image", default=os.environ.get("CONTAINER_IMAGE"), help="judge this image (or CONTAINER_IMAGE)")
    group.addoption("--port", type=int, help="the port the service listens on, if the image does not expose it")
    group.addoption("--scorecard", action="store_true", help="end with a table: one line a row, in place of tracebacks")
    group.addoption("--scorecard-file", type=Path, action="append", default=[], help="write it too: NAME.json, NAME.md")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker that ties a test to its row of the contract, and start a scorecard."""
    config.addinivalue_line("markers", "row(number): the row of the container contract that the test belongs to")
    config.stash[SCORECARD] = Scorecard(config.getoption("--image") or docker.PROJECT.name)
    if config.getoption("--scorecard"):
        config.option.tbstyle, config.option.reportchars = "no", "N"


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


@pytest.fixture(scope="session")
def image(engine: None, pytestconfig: pytest.Config) -> docker.Image:
    """Return the image under test."""
    name, port = pytestconfig.getoption("--image"), pytestconfig.getoption("--port")
    if name:
        return docker.Image(name, port)
    return docker.Image.build(f"container-contract:{os.getpid()}", *docker.VERSION_OPTIONS)


@pytest.fixture(scope="session")
def own(pytestconfig: pytest.Config) -> None:
    """Skip a test that can only be asked of this project, not of a foreign image."""
    if pytestconfig.getoption("--image"):
        pytest.skip("not applicable: a foreign image does not tell; this needs the project it is built from")


@pytest.fixture(scope="module")
def service(image: docker.Image) -> Iterator[docker.Container]:
    """Return a container that serves, for tests that only ask it questions."""
    with docker.started(image) as container:
        container.wait_until_serving()
        yield container


@pytest.fixture
def slow_service(image: docker.Image) -> Iterator[docker.Container]:
    """Return a serving container of its own, which has the pages of injected/sitecustomize.py."""
    with docker.started(image, "--mount", docker.INJECTED, "--env", "PYTHONPATH=/contract") as container:
        container.wait_until_serving()
        if container.request("/contract/worker").status != 200:
            pytest.skip("not applicable: only a Flask application can be given a slow page from outside")
        yield container


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Enter the result into the scorecard; show the log of every container a failed test used."""
    report = yield
    for row in item.iter_markers("row"):
        item.config.stash[SCORECARD].record(row.args[0], report)
    if report.failed and isinstance(item, pytest.Function):
        for name, value in item.funcargs.items():
            if isinstance(value, docker.Container):
                report.sections.append((f"log of the container of {name}", "\n".join(value.logs)))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say once, not once a test, why the tests were skipped; print and write the scorecard."""
    if message := config.stash.get(SKIPPED, None):
        terminalreporter.write_line(f"SKIPPED: {message}", yellow=True)
        return
    if config.getoption("--scorecard"):
        config.stash[SCORECARD].print()
    for path in config.getoption("--scorecard-file"):
        config.stash[SCORECARD].write(path)
