"""Bake projects through the real cookiecutter and work with what comes out."""

import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest
from cookiecutter.main import cookiecutter
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from benchmarks import rollout
from tools.baking import copy_template, files
from tools.demo import page
from tools.engine import run
from tools.questions import DEFAULTS, REPOSITORY, base_image
from workshop.page import browser

TEMPLATE = Path(__file__).parents[1]
# They run in the services that they are copied into.
collect_ignore_glob = ["services/*/files/*"]
# Where the programs of the tooling lie.
TOOLS = Path(sys.executable).parent

# Tests that stand alone, each with what it needs: both processes of `make test` take from them. All tests of any other
# file run in one process, and share what its fixtures build.
SPREAD = {"contract_configuration", "generated_suite", "image", "recipes", "sabotage", "services", "workshop_exercises"}
# These publish the ports that a reader would, so they share a process.
LITERAL_PORTS = {"container", "docs", "inner_loop"}

# Every image that the tests build carries it, so that each can be found and removed.
LABEL = f"template-test={os.getpid()}"

# The base images the container tests use. CI names what it has; a user's engine can pull what is missing.
PYTHONS = os.environ.get("PYTHONS", DEFAULTS["python_version"]).split()

# Where an environment keeps its programs.
BIN = "Scripts" if os.name == "nt" else "bin"


@dataclass(frozen=True)
class BakedProject:
    """A generated service, and verbs for what its owner would do with it."""

    path: Path
    environment: Path

    def files(self) -> dict[str, bytes]:
        """Return the content of every file by its path, as Git would write it."""
        return files(self.path)

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the project with its virtual environment active; assert that it succeeds."""
        path = f"{self.environment / BIN}{os.pathsep}{os.environ['PATH']}"
        # Windows would look the program up on the PATH of this process, not on that of the new one.
        program = shutil.which(command[0], path=path) or command[0]
        done = subprocess.run(
            [program, *command[1:]],
            cwd=self.path,
            env={**os.environ, "PATH": path, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == 0, f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}"
        return done

    def build_image(self, reference: str, *options: str) -> str:
        """Build the image with plain progress lines and return them."""
        options = ("--progress", "plain", "--label", LABEL, "--tag", reference, *options)
        return self.run("docker", "build", *options, ".").stdout


Bake = Callable[..., BakedProject]


@pytest.fixture(scope="session", autouse=True)
def own_user_configuration(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Run without the user's defaults and replay files of cookiecutter, and leave them untouched.

    cookiecutter leaves each hook it has rendered in the folder for temporary files; here that is one of pytest's.
    """
    home = tmp_path_factory.mktemp("cookiecutter")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("COOKIECUTTER_CONFIG", str(user_configuration(home)))
        environment.setenv("TMPDIR", str(home))
        environment.setattr(tempfile, "tempdir", str(home))
        yield


# Docker 26 can crash when several builds run at once: its BuildKit meets a nil pointer.
ONE_BUILD_AT_A_TIME = """#!/bin/sh
case " $* " in
*" build "* | *" --build "* | *" compose "*" run "*) exec flock --no-fork "{lock}" "{docker}" "$@" ;;
*) exec "{docker}" "$@" ;;
esac
"""


@pytest.fixture(scope="session", autouse=True)
def one_build_at_a_time(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where tests run beside others, have each build of an image wait for those of the others."""
    real = shutil.which("docker")
    if not (real and "PYTEST_XDIST_WORKER" in os.environ and shutil.which("flock")):
        yield
        return
    folder = tmp_path_factory.mktemp("docker")
    command = folder / "docker"
    lock = tmp_path_factory.getbasetemp().parent / "build.lock"
    command.write_text(ONE_BUILD_AT_A_TIME.format(lock=lock, docker=real))
    command.chmod(0o755)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PATH", str(folder), prepend=os.pathsep)
        yield


def user_configuration(home: Path) -> Path:
    """Write a configuration by which cookiecutter keeps what it downloads and replays in `home`; return its path."""
    config = home / "config.yaml"
    config.write_text(f'cookiecutters_dir: "{home.as_posix()}"\nreplay_dir: "{home.as_posix()}"\n')
    return config


@pytest.fixture(scope="session")
def service_environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a virtual environment with the locked development requirements, the same for every variant."""
    return make_environment(sys.executable, tmp_path_factory.mktemp("environment") / "venv")


def make_environment(python: str, path: Path) -> Path:
    """Install the locked development requirements of a service for an interpreter; return where to."""
    subprocess.run([python, "-m", "venv", path], check=True)
    lock = TEMPLATE / "{{cookiecutter.project_slug}}/requirements-dev.txt"
    pip = [str(path / BIN / "python"), "-m", "pip"]
    subprocess.run([*pip, "install", "--quiet", "--require-hashes", "-r", lock], check=True)
    return path


def interpreter(version: str) -> str | None:
    """Return a Python of a version such as 3.13: the one INTERPRETER names, one on the PATH, or one of pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    named = (os.environ.get("INTERPRETER"), shutil.which(f"python{version}"))
    for found in (*filter(None, named), *map(str, pyenv.glob(f"{version}.*/bin/python"))):
        # pyenv puts a command of every version on the PATH, but only that of the chosen version works.
        asked = subprocess.run([found, "--version"], capture_output=True, text=True, check=False)
        if asked.stdout.startswith(f"Python {version}."):
            return found
    return None


@pytest.fixture
def bake(tmp_path: Path, service_environment: Path) -> Bake:
    """Return a function that bakes the template with the answers it is given, and the defaults for the others."""

    def baked(output: str = "out", **answers: str) -> BakedProject:
        path = cookiecutter(str(TEMPLATE), no_input=True, extra_context=answers, output_dir=str(tmp_path / output))
        return BakedProject(Path(path), service_environment)

    return baked


def snapshot(destination: Path) -> Path:
    """Copy the work tree as it is, without what Git ignores; return where to."""
    copy_template(destination)
    return destination


@dataclass(frozen=True)
class Forge:
    """The template as Git finds it at its address, except that it lies on this disk."""

    work_tree: Path

    def publish(self, tag: str) -> None:
        """Commit the work tree and push it, with a tag."""
        for command in (["add", "."], ["commit", "-m", tag], ["tag", tag], ["push", "--tags", "origin", "main"]):
            subprocess.run(["git", *command], cwd=self.work_tree, check=True, capture_output=True)


@pytest.fixture
def forge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Forge:
    """Return a forge that holds the template as it is, tagged v0.1.0. Git and all that use it go there."""
    # A separate folder: cookiecutter asks what to do with a download that another test has left.
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    monkeypatch.setenv("COOKIECUTTER_CONFIG", str(user_configuration(downloads)))
    remote = tmp_path / "forge"
    owner, _, name = REPOSITORY.rpartition("/")
    config = tmp_path / "gitconfig"
    config.write_text(
        f"[user]\nname = A\nemail = a@example.org\n[init]\ndefaultBranch = main\n"
        f'[url "{remote.as_posix()}/"]\ninsteadOf = {owner}/\n'
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    work_tree = snapshot(tmp_path / "template")
    for command in (
        ["init", "--bare", str(remote / f"{name}.git")],
        ["init", str(work_tree)],
        ["-C", str(work_tree), "remote", "add", "origin", REPOSITORY],
    ):
        subprocess.run(["git", *command], check=True, capture_output=True)
    forge = Forge(work_tree)
    forge.publish("v0.1.0")
    return forge


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory, service_environment: Path) -> BakedProject:
    """Return the default project, on a Python whose base image is there. Leave it as it is."""
    path = cookiecutter(
        str(TEMPLATE),
        no_input=True,
        extra_context={"python_version": PYTHONS[0]},
        output_dir=str(tmp_path_factory.mktemp("default")),
    )
    return BakedProject(Path(path), service_environment)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[BakedProject, str]:
    """Return a fresh service after its first `make check`, and what that printed. Leave it as it is."""
    folder, answers = tmp_path_factory.mktemp("made"), {"python_version": PYTHONS[0]}
    path = Path(cookiecutter(str(TEMPLATE), no_input=True, extra_context=answers, output_dir=str(folder)))
    project = BakedProject(path, path / ".venv")
    return project, project.run("make", "check", f"PYTHON={sys.executable}").stdout


@pytest.fixture
def made_copy(made: tuple[BakedProject, str], tmp_path: Path) -> BakedProject:
    """Return a copy of that service to work on, which shares its environment."""
    project, _ = made
    path = shutil.copytree(project.path, tmp_path / "copy/hello-service", ignore=shutil.ignore_patterns(".venv"))
    (path / ".venv").symlink_to(project.environment)
    return BakedProject(path, project.environment)


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the kubectl of the tooling, and have it found by programs too, without the rest of the tooling."""
    found = shutil.which("kubectl", path=str(TOOLS))
    assert found, "the lock of the tooling has it for every system"
    folder = tmp_path / "kubectl"
    folder.mkdir()
    (folder / Path(found).name).symlink_to(found)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return found


@pytest.fixture(scope="session")
def engine() -> None:
    """Skip, or in CI fail, a test that needs Docker where there is none."""
    if not shutil.which("docker"):
        problem = "there is no docker command"
    else:
        done = subprocess.run(["docker", "version"], capture_output=True, text=True, timeout=20, check=False)
        if done.returncode == 0:
            return
        problem = done.stderr.strip().splitlines()[-1]
    skip_or_fail(f"container tests need a Docker Engine: {problem}")


def skip_or_fail(message: str) -> NoReturn:
    """Skip a test for which this machine lacks something; fail it in CI."""
    if os.environ.get("CI"):
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


def pytest_configure() -> None:
    """Let what tests start hear an interrupt: a shell that runs pytest in the background has all of it ignore that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer what CI always does, and what it never does."""
    parser.addoption("--slow", action="store_true", help="run the slow groups as well, as CI does")
    parser.addoption("--all-gunicorn-releases", action="store_true", help="try every gunicorn that the floor allows")


def without_slow(config: pytest.Config) -> bool:
    """Tell whether the slow groups are left to CI."""
    return not (config.getoption("--slow") or os.environ.get("CI"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the slow groups to CI and to who asks for them."""
    if without_slow(config):
        slow = [item for item in items if item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]
    # The longest first of those that stand alone, or one process would wait for the other at the end.
    items.sort(key=lambda item: item.path.stem != "test_services")


class Scheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Has one process run all tests of a file, but for files whose tests stand alone.

    The marks of `--dist loadgroup` go unseen: it writes them into test ids, which pytest 9.2 does not let it.
    """

    def _split_scope(self, nodeid: str) -> str:
        module = Path(nodeid.partition("::")[0]).stem.removeprefix("test_")
        return nodeid if module in SPREAD else "literal ports" if module in LITERAL_PORTS else module


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    """Say how tests are shared between the processes of `pytest -n 2`."""
    return Scheduling(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what each group took and what was measured; say once, not once a test, why tests were skipped."""
    seconds: dict[str, float] = {}
    for report in itertools.chain(*terminalreporter.stats.values()):
        if isinstance(report, pytest.TestReport):
            group = report.nodeid.partition("::")[0]
            seconds[group] = seconds.get(group, 0) + report.duration
            for name, value in report.user_properties if report.when == "call" else ():
                terminalreporter.write_line(f"{name}: {value}")
    for group, total in seconds.items():
        terminalreporter.write_line(f"{total:7.1f} s  {group}")
    # What pytest reports of a skip is where it was, and why.
    reasons = {report.longrepr[2].removeprefix("Skipped: ") for report in terminalreporter.stats.get("skipped", ())}
    for reason in sorted(reasons):
        terminalreporter.write_line(f"SKIPPED: {reason}", yellow=True)
    if without_slow(terminalreporter.config):
        terminalreporter.write_line("LEFT OUT: the slow tests; pytest -n 2 --slow runs them too", yellow=True)


def free_port() -> int:
    """Return a port of this machine that nobody listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def wait_for_page(port: int, seconds: float = 30) -> str:
    """Ask until something answers; return its page."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return page(port)
        except OSError:
            assert time.monotonic() < deadline, f"nothing answers on port {port} after {seconds} s"
            time.sleep(0.05)


def docker(*arguments: str, text: str | None = None) -> str:
    """Run docker with `text` as its input, assert that it succeeds, and return what it printed."""
    command = ["docker", *arguments]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


@pytest.fixture(scope="session")
def chromium() -> str:
    """Return the program in which pages are looked at."""
    if os.name == "nt":
        pytest.skip("on Windows Chromium offers no pipe to speak through")
    if (program := browser()) is None:
        skip_or_fail("pages are looked at in a browser: there is no Chromium, Chrome or Edge")
    return program


@pytest.fixture(scope="session")
def proxy_image(engine: None) -> Iterator[None]:
    """Have services find the image of HAProxy, also where no registry answers."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PROXY_IMAGE", rollout.proxy_image())
        yield


@pytest.fixture(scope="session")
def database_image(engine: None) -> Iterator[None]:
    """Have services find the image of PostgreSQL, also where no registry answers."""
    stand_in = "stand-in:postgresql"
    with pytest.MonkeyPatch.context() as environment:
        if run("pull", "--quiet", "postgres:17-alpine", check=False).returncode:
            file = TEMPLATE / "tests/stand_ins/postgresql.Dockerfile"
            base = f"--build-arg=BASE={base_image(PYTHONS[0])}"
            docker("build", "--quiet", "--tag", stand_in, base, f"--file={file}", str(file.parent))
            environment.setenv("DATABASE_IMAGE", stand_in)
        yield


@pytest.fixture
def own_compose_project(engine: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep what compose starts and builds apart from a service that somebody runs, and from that of another test."""
    name = f"template-test-{os.getpid()}"
    monkeypatch.setenv("COMPOSE_PROJECT_NAME", name)
    monkeypatch.setenv("IMAGE", f"template-test-compose:{os.getpid()}")
    monkeypatch.setenv("HOST_PORT", "0")
    yield
    if images := docker("images", "--quiet", "--filter", f"label=com.docker.compose.project={name}").split():
        docker("image", "rm", "--force", *set(images))


@pytest.fixture
def image_tag(engine: None) -> Iterator[str]:
    """Return a tag for an image of the test's own; remove what was built, tagged or not, afterwards."""
    yield f"template-test:{os.getpid()}"
    if images := docker("images", "--quiet", "--filter", f"label={LABEL}").split():
        docker("image", "rm", "--force", *set(images))
