"""The container contract: is this image fit for production? Each test's docstring says why it matters.

    pytest tests/container                            builds this project and judges the image
    pytest tests/container -n 2                       the same in two processes, with pytest-xdist
    pytest tests/container --image NAME               judges any image of an HTTP service
    pytest tests/container --image NAME --scorecard   ends with a verdict on each row of the contract
    pytest tests/container --explain 9                says why row 9 matters, and how to fix it

What must be known of the service stands in pyproject.toml, `[tool.container-contract]`; for an image, options say it.
Without an engine the tests are skipped, except in CI (the environment variable CI is set): there they fail.
"""

import json
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.container import configuration, docker
from tests.container.configuration import Configuration
from tests.container.scorecard import ROWS, Scorecard, explain, rows_of

SCORECARD = pytest.StashKey[Scorecard]()
CONFIGURATION = pytest.StashKey[Configuration]()
PAGE_ROW = 12
HERE = Path(__file__).parent
NO_ENGINE = "container tests need a Docker Engine: "
# Of a test that hangs. On a busy machine with a slow index the builds of one take some minutes.
SECONDS = 1200


class PageError(AssertionError):
    """The page that proves that the service serves is not what was said of it: no container can be asked anything."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the contract."""
    group = parser.getgroup("container contract")
    group.addoption("--image", default=os.environ.get("CONTAINER_IMAGE"), help="judge this image (or CONTAINER_IMAGE)")
    group.addoption("--port", type=int, help="the port the service listens on, if the image does not expose it")
    configuration.add_options(group)
    group.addoption("--scorecard", action="store_true", help="end with a table: one line a row, in place of tracebacks")
    group.addoption(
        "--explain", type=int, choices=ROWS, metavar="ROW", help="run nothing: why a row matters, how to fix it"
    )
    group.addoption("--scorecard-file", type=Path, action="append", default=[], help="write it too: NAME.json, NAME.md")


def pytest_configure(config: pytest.Config) -> None:
    """Read the configuration, register the marker that ties a test to its row, and start a scorecard."""
    config.addinivalue_line("markers", "row(number): the row of the container contract that the test belongs to")
    name = config.getoption("--image")
    try:
        config.stash[CONFIGURATION] = configuration.told(config) if name else configuration.read()
    except configuration.ConfigurationError as error:
        raise pytest.UsageError(str(error)) from error
    config.stash[SCORECARD] = Scorecard(name or docker.PROJECT.name)
    config.pluginmanager.register(config.stash[SCORECARD])
    if config.getoption("--scorecard"):
        config.option.tbstyle, config.option.reportchars = "no", "fE"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what is switched off, with the reason; give a test the time of the builds it may be the first to need."""
    off = config.stash[CONFIGURATION].off
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(SECONDS))
        for name in (*map(str, rows_of(item)), item.name.partition("[")[0]):
            if name in off:
                item.add_marker(pytest.mark.skip(f"switched off: {off[name]}"))


def pytest_report_collectionfinish(config: pytest.Config, items: list[pytest.Item]) -> list[str]:
    """Explain a row, if asked to."""
    row = config.getoption("--explain")
    return list(explain(row, items)) if row else []


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Run nothing where a row is explained."""
    return True if session.config.getoption("--explain") else None


@pytest.fixture(scope="session", autouse=True)
def engine() -> Iterator[None]:
    """Skip all tests here, or in CI fail them, if no engine answers; leave nothing behind."""
    if problem := docker.problem():
        if os.environ.get("CI"):
            pytest.fail(NO_ENGINE + problem, pytrace=False)
        pytest.skip(NO_ENGINE + problem)
    yield
    docker.remove_leftovers()


@pytest.fixture(scope="session")
def told(pytestconfig: pytest.Config) -> Configuration:
    """Return what the contract knows of the service."""
    return pytestconfig.stash[CONFIGURATION]


@pytest.fixture(scope="session")
def built(engine: None, told: Configuration, pytestconfig: pytest.Config) -> docker.Image:
    """Return the image under test, for tests that look into it."""
    name, port = pytestconfig.getoption("--image"), pytestconfig.getoption("--port")
    if name:
        return docker.Image(name, port, told.page, told.run_options)
    image = docker.Image.build(f"container-contract:{os.getpid()}", *docker.VERSION_OPTIONS)
    return replace(image, page=told.page, needs=told.run_options)


@pytest.fixture(scope="session")
def beside(told: Configuration, built: docker.Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the network of the services that must run beside the one under test, while they do; "" without any."""
    if not told.services:
        yield ""
        return
    shipped, needs = docker.PROJECT / "compose.yaml", tmp_path_factory.mktemp("beside") / "needs.yaml"
    project = f"container-contract-beside-{os.getpid()}"
    compose = ("compose", f"--file={shipped}", f"--file={needs}", f"--project-name={project}")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("IMAGE", built.reference)
        needs.write_text(json.dumps({"services": docker.with_needs(shipped, built.reference, told.environment)}))
        try:
            docker.run(*compose, "up", "--detach", "--no-build", *told.services)
            docker.wait_for_services(*compose)
            yield docker.network_of(docker.run(*compose, "ps", "--all", "--quiet", told.services[0]).stdout.strip())
        except docker.DockerError as error:
            log = docker.run(*compose, "logs", check=False).stdout
            raise PageError(f"what must run beside the service does not: {error}\n{log}") from error
        finally:
            docker.run(*compose, "down", "--volumes", "--timeout", "1", check=False)


@pytest.fixture(scope="session")
def image(built: docker.Image, beside: str, pytestconfig: pytest.Config) -> docker.Image:
    """Return the image under test, for tests that run it; raise PageError if its page is not served."""
    needed = replace(built, needs=(f"--network={beside}", *built.needs)) if beside else built
    if problem := needed.page_problem:
        how = "--page, --status, --text" if pytestconfig.getoption("--image") else "page in [tool.container-contract]"
        hint = f" (if another page proves that the service serves, say so: {how})"
        raise PageError(problem + hint * problem.startswith(built.page.path))
    return needed


@pytest.fixture(scope="session")
def project_only(pytestconfig: pytest.Config) -> None:
    """Skip a test that can only be asked of this project, not of a foreign image."""
    if pytestconfig.getoption("--image"):
        pytest.skip("not applicable: a foreign image does not tell; this needs the project it is built from")


@pytest.fixture(scope="module")
def service(image: docker.Image) -> Iterator[docker.Container]:
    """Return a container that serves, for tests that only ask it questions."""
    with docker.started(image) as container:
        container.wait_until_serving()
        yield container


@contextmanager
def _with_contract_pages(image: docker.Image, *options: str) -> Iterator[docker.Container]:
    with docker.started(image, *image.with_contract_pages, *options) as container:
        container.wait_until_serving()
        if container.request("/contract/worker").status != 200:
            pytest.skip("not applicable: only a Flask application can be given a slow page from outside")
        yield container


@pytest.fixture
def slow_service(image: docker.Image) -> Iterator[docker.Container]:
    """Return a container for one test that serves and has the pages of injected/sitecustomize.py."""
    with _with_contract_pages(image) as container:
        yield container


@pytest.fixture(scope="module")
def talkative(image: docker.Image) -> Iterator[docker.Container]:
    """Return a container with the same pages that is told to show all it knows, for tests that only ask questions."""
    with _with_contract_pages(image, "--env=LOG_LEVEL=debug", "--env=FLASK_DEBUG=1") as container:
        yield container


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Name the rows of the test to the scorecard; show the log of every container a failed test used.

    That the page is not served fails one test. To say it for each of the others as well would hide all else.
    """
    report = yield
    rows = rows_of(item)
    if call.excinfo and call.excinfo.errisinstance(PageError):
        if item.config.stash[SCORECARD].rows[PAGE_ROW].status == "failed":
            report.outcome, report.longrepr = "skipped", (str(item.path), 0, f"Skipped: not run: see row {PAGE_ROW}")
        else:
            rows = [PAGE_ROW]
    report.user_properties.append(("rows", rows))
    if report.failed and isinstance(item, pytest.Function):
        for name, value in item.funcargs.items():
            if isinstance(value, docker.Container):
                report.sections.append((f"log of the container of {name}", "\n".join(value.logs)))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say once, not once a test, why the tests were skipped; print and write the scorecard."""
    skipped = [report.longrepr for report in terminalreporter.stats.get("skipped", [])]
    if message := next((str(reason) for *_, reason in skipped if NO_ENGINE in str(reason)), None):
        terminalreporter.write_line(f"SKIPPED: {message.removeprefix('Skipped: ')}", yellow=True)
        return
    card, files = config.stash[SCORECARD], config.getoption("--scorecard-file")
    if files or config.getoption("--scorecard"):
        card.engine = docker.problem() or docker.engine()
    if config.getoption("--scorecard"):
        card.print()
    for path in files:
        card.write(path)
