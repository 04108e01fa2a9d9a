"""The Makefile of a service: what each target runs, and that it works in a fresh folder."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import PYTHONS, TEMPLATE, Bake, BakedProject, docker, free_port, wait_for_page
from tests.readme import blocks

SOURCE = (TEMPLATE / "{{cookiecutter.project_slug}}/Makefile").read_text(encoding="utf-8")
TARGETS = re.findall(r"^([a-z]+):", SOURCE, re.MULTILINE)

LINT = [
    ".venv/bin/ruff check",
    ".venv/bin/ruff format --check",
    ".venv/bin/mypy",
    ".venv/bin/hadolint --failure-threshold style Dockerfile",
]
ZIZMOR = ".venv/bin/zizmor --offline --pedantic .github"
TEST = [".venv/bin/coverage run -m pytest tests/unit", ".venv/bin/coverage report"]
COMMANDS = {
    "run": ["docker build --tag hello-service .", "docker run --rm --publish 5000:5000  hello-service"],
    "dev": ["docker compose up --watch dev"],
    "test": TEST,
    "lint": [*LINT, ZIZMOR],
    "check": [*LINT, ZIZMOR, *TEST],
    "contract": ["CI=true .venv/bin/pytest tests/container --scorecard"],
    "hooks": [".venv/bin/pre-commit install"],
}
# Whose commands are seen at work below, but for help.
AT_WORK = {"help", "lock", "clean"}


def make(project: BakedProject, *arguments: str, **variables: str) -> str:
    """Run make as if no other one had started the tests, which would make it talk; return what it printed."""
    return project.run("make", *arguments, **{"MAKELEVEL": "", "MAKEFLAGS": "", **variables}).stdout


def dry_run(project: BakedProject, *arguments: str) -> list[str]:
    """Return the commands of a target in a folder whose environment has been made."""
    for name in ("bin/python", "installed"):
        (project.path / ".venv" / name).parent.mkdir(parents=True, exist_ok=True)
        (project.path / ".venv" / name).touch()
    return [line for line in make(project, "--dry-run", *arguments).splitlines() if line.strip()]


def test_help_comes_first_and_lists_every_target_with_a_comment(bake: Bake) -> None:
    project = bake()
    listed = make(project)

    assert make(project, "help") == listed
    assert re.findall(r"^make ([a-z]+) +\S+ .+$", listed, re.MULTILINE) == TARGETS
    assert len(listed.splitlines()) == len(TARGETS)
    assert re.findall(r"^\.PHONY: (.*)$", SOURCE, re.MULTILINE) == [" ".join(TARGETS)]
    assert {*COMMANDS, *AT_WORK} == set(TARGETS)


@pytest.mark.parametrize("target", COMMANDS)
def test_a_target_runs_its_commands(bake: Bake, target: str) -> None:
    assert dry_run(bake(ci="github"), target) == COMMANDS[target]


def test_what_a_service_has_not_is_not_checked(bake: Bake) -> None:
    assert dry_run(bake("gitlab", ci="gitlab", deploy="kubernetes"), "check") == [
        *LINT,
        *TEST,
        ".venv/bin/pytest tests/kubernetes",
    ]
    assert dry_run(bake("none", ci="none"), "check") == [*LINT, *TEST]


def test_run_takes_the_variables_of_env_and_another_port(bake: Bake) -> None:
    project = bake(project_slug="shop", port="8080")
    (project.path / ".env").write_text("THREADS=4\n")

    assert dry_run(project, "run", "HOST_PORT=9000") == [
        "docker build --tag shop .",
        "docker run --rm --publish 9000:8080 --env-file .env --env PORT=8080 shop",
    ]


def test_no_line_needs_a_newer_make_than_that_of_macos() -> None:
    """GNU make 3.81. What came later is taken for something else there, or fails."""
    later = r"^\.ONESHELL|^\w+ *(!=|:{2,3}=)|^(undefine|private|load) |&:|\$\((file|guile|let|intcmp) "

    assert not re.search(later, SOURCE, re.MULTILINE)


def test_documents_and_settings_name_targets_that_are_there(bake: Bake) -> None:
    project = bake()
    named: dict[str, set[str]] = {}
    for name in ("AGENTS.md", ".env.example", ".pre-commit-config.yaml", "pyproject.toml", "README.md", *LOCKED):
        text = (project.path / name).read_text(encoding="utf-8")
        named[name] = set(re.findall(r"`make ([a-z]+)", text))
        named[name] |= set(re.findall(r"^make ([a-z]+)", "\n".join(blocks(text, "sh")), re.MULTILINE))
        assert named[name] - {"doctor"} <= set(TARGETS), name
    assert {"help", "check", "contract", "lock"} <= named["AGENTS.md"]
    assert len((project.path / "AGENTS.md").read_text(encoding="utf-8").splitlines()) <= 40


def test_agents_are_told_of_files_that_are_there(bake: Bake) -> None:
    project = bake()
    text = (project.path / "AGENTS.md").read_text(encoding="utf-8")
    files = [name for name in re.findall(r"`([\w./-]+\.[a-z.]+|tests/\w+/|app/)`", text) if name[0] != "/"]
    made_later = {".venv", ".cruft.json"}

    assert len(files) > 5
    assert [name for name in files if name not in made_later and not (project.path / name).exists()] == []


LOCKED = ["requirements.in", "requirements-dev.in", "requirements-lint.in"]


def fake_uv(folder: Path, script: str) -> Path:
    """Put a program named uv into a folder, which writes its arguments into the file that it returns."""
    (folder / "bin").mkdir()
    uv = folder / "bin/uv"
    uv.write_text(f'#!/bin/sh\necho "uv $*" >>"{folder}/log"\n{script}\n')
    uv.chmod(0o755)
    return folder / "log"


def test_lock_runs_the_command_at_the_top_of_every_lock(
    bake: Bake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = bake()
    log = fake_uv(tmp_path, "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    make(project, "lock", "OPTIONS=--upgrade-package=flask --exclude-newer-package=flask=2030-01-01")

    heads = [(project.path / name).with_suffix(".txt").read_text(encoding="utf-8").splitlines()[1] for name in LOCKED]
    assert log.read_text().splitlines() == [
        head.removeprefix("#    ").replace("compile ", "compile --quiet ")
        + " --upgrade-package=flask --exclude-newer-package=flask=2030-01-01"
        for head in heads
    ]


def test_lock_ends_at_the_first_that_fails_and_says_what_it_needs(
    bake: Bake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = bake()
    with pytest.raises(AssertionError, match=r"make lock needs uv: https://"):
        make(project, "lock", PATH=str(tmp_path))

    log = fake_uv(tmp_path, "exit 3")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    with pytest.raises(AssertionError, match=r"exit code 2\n"):
        make(project, "lock")
    assert len(log.read_text().splitlines()) == 1


def test_clean_leaves_what_was_baked_and_what_is_the_owners(bake: Bake) -> None:
    project = bake()
    (project.path / ".env").write_text("THREADS=4\n")
    before = project.files()
    for name in (".venv/bin/python", ".coverage", ".mypy_cache/x", ".pytest_cache/x", ".ruff_cache/x"):
        (project.path / name).parent.mkdir(parents=True, exist_ok=True)
        (project.path / name).touch()
    (project.path / "app/__pycache__").mkdir()
    (project.path / "app/__pycache__/views.pyc").touch()
    make(project, "clean")

    assert project.files() == before


def test_an_older_python_is_refused_in_one_line(bake: Bake, tmp_path: Path) -> None:
    project = bake()
    old = tmp_path / "python3.9"
    old.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "import sys; sys.version_info = (3, 9); $2"\n')
    old.chmod(0o755)

    with pytest.raises(AssertionError, match=r"\n *Python 3\.11 or newer is needed: make PYTHON=\.\.\.\n"):
        make(project, "lint", f"PYTHON={old}")
    assert not (project.path / ".venv").exists()


@pytest.mark.slow
def test_check_makes_its_environment_and_passes_in_a_fresh_folder(made: tuple[BakedProject, str]) -> None:
    project, output = made
    for command in COMMANDS["check"]:
        assert f"\n{command}\n" in f"\n{output}", command
    for sign in ("All checks passed!", "files already formatted", "no issues found", "No findings to report"):
        assert sign in output
    assert re.search(r"\d+ passed", output)
    [reached] = re.findall(r"^TOTAL .* (\d+)%$", output, re.MULTILINE)
    assert int(reached) > 95, "a fresh service passes with room to spare"

    again = make(project, "test")
    assert "pip install" not in again, "it is made once"
    assert f" {reached}%\n" in again


@pytest.mark.slow
def test_test_fails_where_too_little_of_the_application_is_tested(made_copy: BakedProject) -> None:
    lines = "\n".join(f"    print({number})" for number in range(200))
    (made_copy.path / "app/untested.py").write_text(f"def untested() -> None:\n{lines}\n")

    with pytest.raises(AssertionError, match=r"total of \d+ is less than fail-under=90\n") as failure:
        make(made_copy, "test")
    assert "app/untested.py" in str(failure.value)
    assert not re.search(r"\d+ failed", str(failure.value))


# An edit that each linter must refuse, and what it says then.
REFUSED = {
    "ruff": ("app/views.py", "from flask", "import os\nfrom flask", "F401"),
    "ruff-format": ("app/views.py", "\n\n\n", "\n\n\n\n", "would be reformatted"),
    "mypy": ("app/views.py", "-> str:", "-> int:", "Incompatible return value"),
    "hadolint": ("Dockerfile", "FROM base AS code\n", "FROM base AS code\nRUN cd /tmp\n", "DL3003"),
    "zizmor": (
        ".github/workflows/ci.yaml",
        "run: make check",
        'run: make check "${{ github.event.pull_request.title }}"',
        "template-injection",
    ),
}
FAILING = {"unit tests": ("tests/unit/test_views.py", "World", "Moon", "1 failed")}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "old", "new", "complaint"), [*REFUSED.values(), *FAILING.values()], ids=[*REFUSED, *FAILING]
)
def test_check_fails_where_one_of_its_commands_does(
    made_copy: BakedProject, name: str, old: str, new: str, complaint: str
) -> None:
    file = made_copy.path / name
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")

    with pytest.raises(AssertionError, match=rf"exit code 2\n(.*\n)*.*{complaint}"):
        make(made_copy, "check")


@contextmanager
def serving(project: BakedProject, *command: str, **variables: str) -> Iterator[Path]:
    """Run make until it is interrupted as by Ctrl+C, which reaches all that it has started; yield its log."""
    log = project.path.parent / "make.log"
    environment = {**os.environ, **variables}
    with (
        log.open("wb") as output,
        subprocess.Popen(
            ["make", *command], cwd=project.path, env=environment, stdout=output, stderr=output, start_new_session=True
        ) as process,
    ):
        try:
            yield log
        finally:
            os.killpg(process.pid, signal.SIGINT)
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise


@pytest.mark.container
@pytest.mark.slow
def test_run_serves_with_the_variables_of_env_until_it_is_interrupted(bake: Bake, engine: None) -> None:
    project, port, name = bake(python_version=PYTHONS[0]), free_port(), f"template-test-make-{os.getpid()}"
    shutil.copy(project.path / ".env.example", project.path / ".env")
    with (project.path / ".env").open("a") as variables:
        variables.write("LOG_FORMAT=text\n")
    try:
        with serving(project, "run", f"NAME={name}", f"HOST_PORT={port}") as log:
            assert wait_for_page(port, seconds=600) == "<p>Hello, World!</p>"
            assert docker("ps", "--quiet", "--filter", f"ancestor={name}")
            assert "Starting gunicorn" in log.read_text()
            assert '"message": "Starting gunicorn' not in log.read_text(), "it did not read .env"
        assert not docker("ps", "--all", "--quiet", "--filter", f"ancestor={name}")
    finally:
        docker("image", "rm", "--force", name)


@pytest.mark.container
@pytest.mark.slow
def test_dev_serves_an_edit(bake: Bake, own_compose_project: None) -> None:
    project, port = bake(python_version=PYTHONS[0]), free_port()
    views = project.path / "app/views.py"
    try:
        with serving(project, "dev", HOST_PORT=str(port)):
            assert wait_for_page(port, seconds=600) == "<p>Hello, World!</p>"
            views.write_text(views.read_text().replace("World", "second world"))
            deadline = time.monotonic() + 60
            while wait_for_page(port) != "<p>Hello, second world!</p>":
                assert time.monotonic() < deadline, "the edit is not seen"
    finally:
        project.run("docker", "compose", "--profile", "dev", "down", "--volumes", "--timeout", "1")


@pytest.mark.container
@pytest.mark.slow
def test_contract_shows_its_scorecard(made_copy: BakedProject, engine: None) -> None:
    """The whole contract is in test_generated_suite.py; here, a part of it is enough."""
    done = make(made_copy, "contract", PYTEST_ADDOPTS="-k test_user_is_numeric_and_not_root", CI="true")

    assert re.search(r"hello-service: 1 of \d+ rows passed", done), done
