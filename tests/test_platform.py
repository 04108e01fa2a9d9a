"""A fork of the template: docs/platform.md is done as it is printed, and what is forgotten is named in words."""

import itertools
import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import TEMPLATE, TOOLS, BakedProject, Forge
from tests.readme import blocks, edit, section
from tools.questions import CONTEXT, QUESTIONS, REPOSITORY, RULES

PAGE = (TEMPLATE / "docs/platform.md").read_text(encoding="utf-8")
SERVICE = TEMPLATE / "{{cookiecutter.project_slug}}"
OURS = "https://git.example.org/platform/flask-service"
PYTEST = "pytest -q -p no:cacheprovider"
# What tells that a fork has forgotten something.
GUARDS = (
    "tests/test_docs.py::test_the_questions_of_the_readme_are_those_that_are_asked",
    "tests/test_docs.py::test_every_command_of_the_other_documents_is_run_by_something",
    "tests/test_platform.py::test_an_answer_is_used",
    "tests/test_platform.py::test_base_image_and_repository_stand_in_one_place",
    "tests/test_release.py::test_the_changelog_is_in_the_form_it_names",
    "tests/test_versions.py::test_the_version_of_the_template_is_that_of_its_last_release",
)
ours = pytest.mark.skipif(REPOSITORY != "https://github.com/org/template", reason="this fork has taken the steps")


def edits(title: str, folder: Path) -> list[str]:
    """Make all edits of a section; return the files they are in."""
    return [edit(folder, block) for block in blocks(section(PAGE, title), "diff")]


@dataclass(frozen=True)
class House:
    """The fork of a house, and the folder in which its services are made."""

    fork: Path
    folder: Path

    def shell(self, script: str, folder: Path | None = None, *, succeeds: bool = True) -> str:
        """Run what a page has its reader type, with the tooling that is installed already; return what it printed."""
        script = re.sub(r"^make ", "make --old-file=.venv/installed ", script, flags=re.MULTILINE)
        done = subprocess.run(
            ["bash", "-ec", script],
            cwd=folder or self.fork,
            env={**os.environ, "PATH": f"{TOOLS}{os.pathsep}{os.environ['PATH']}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert (done.returncode == 0) == succeeds, f"{script}\n{done.stdout}"
        return done.stdout

    def bake(self, name: str) -> BakedProject:
        """Bake a service from the work tree of the fork, with default answers but for the name."""
        self.shell(f"cookiecutter '{self.fork}' --no-input project_name={name}", self.folder)
        return BakedProject(self.folder / name, TOOLS.parent)


@pytest.fixture
def house(forge: Forge, tmp_path: Path) -> House:
    """Return a house that has cloned the template and pushed it to its own forge, as the page says."""
    own = tmp_path / "own-forge"
    subprocess.run(["git", "init", "--quiet", "--bare", own], check=True)
    with Path(os.environ["GIT_CONFIG_GLOBAL"]).open("a", encoding="utf-8") as config:
        config.write(f'[url "{own.as_posix()}"]\ninsteadOf = {OURS}\n')
    house = House(tmp_path / "flask-service", tmp_path)
    [fork] = blocks(section(PAGE, "1. Fork"), "sh")
    house.shell(fork, tmp_path)
    (house.fork / ".venv").symlink_to(TOOLS.parent)
    (house.fork / ".git/info/exclude").write_text(".venv\n")
    return house


@ours
def test_the_steps_of_the_page_make_a_template_of_a_house(house: House) -> None:
    steps = re.findall(r"^## (\d\. .*)$", PAGE, re.MULTILINE)
    service = house.bake("orders")
    for command in ("git init --quiet", "git add .", "git commit --quiet -m Orders"):
        house.shell(command, service.path)
    with (service.path / "app/views.py").open("a", encoding="utf-8") as views:
        views.write("\n\nOWN = True\n")
    house.shell("git commit --quiet --all -m Own", service.path)

    edited = {title: edits(title, house.fork) for title in steps}
    [bump] = blocks(section(PAGE, "6. Bump"), "sh")
    lock = house.fork / SERVICE.name / "requirements.txt"
    before = lock.read_text(encoding="utf-8")
    assert f"{before.splitlines()[1].removeprefix('#').strip()} --upgrade-package flask\n" in bump
    house.shell(bump)
    [release] = blocks(section(PAGE, "7. Release"), "sh")
    house.shell(release)
    link, update = blocks(section(PAGE, "8. Update the services that exist"), "sh")
    house.shell(link + update, service.path)

    assert [len(edited[title]) for title in steps] == [1, 1, 1, 1, 1, 0, 1, 0, 0], "a step is an edit of one file"
    files = {name: content.decode() for name, content in service.files().items() if not name.startswith(".git/")}
    base = "registry.example.org/python:3.14-slim-trixie"
    assert f"FROM {base} AS upstream\n" in files["Dockerfile"]
    assert f'image.base.name="{base}"' in files["Dockerfile"]
    assert 'org.example.team="orders"' in files["Dockerfile"]
    assert f"cruft link {OURS} --checkout v0.2.0 " in files["README.md"]
    assert f"({OURS}/-/blob/v0.2.0/docs/limits.md)" in files["README.md"]
    assert files["app/views.py"].endswith("OWN = True\n")
    assert {line.split("==")[0] for line in re.findall(r"^\w\S+==", lock.read_text(), re.MULTILINE)} == {
        line.split("==")[0] for line in re.findall(r"^\w\S+==", before, re.MULTILINE)
    }
    assert ".github/workflows/ci.yaml" in files, "a service keeps its answers"
    fresh = house.bake("stock")
    assert (fresh.path / ".gitlab-ci.yml").exists()
    recorded = json.loads((fresh.path / ".cookiecutter.json").read_text(encoding="utf-8"))
    assert (recorded["owner"], recorded["team"], recorded["_template_version"]) == ("platform", "platform", "0.2.0")
    readme = (house.fork / "README.md").read_text(encoding="utf-8")
    assert f"\ncookiecutter {OURS}\n" in readme
    assert f"| `team` | `platform` | {RULES['owner'].words} |\n" in readme
    assert f"[Unreleased]: {OURS}/compare/v0.2.0...HEAD\n" in (house.fork / "CHANGELOG.md").read_text(encoding="utf-8")
    house.shell(f"{PYTEST} tests/test_links.py::test_links_of_the_template_lead_somewhere {' '.join(GUARDS)}")


@ours
def test_what_is_forgotten_is_named_in_words(house: House) -> None:
    edits("4. One more question", house.fork)
    for name, one_place, by_hand in (
        ("Dockerfile", "{{ cookiecutter.__base_image }}", "python:3.14-slim-bookworm"),
        ("README.md", "{{ cookiecutter._repository }}", REPOSITORY),
    ):
        path = house.fork / SERVICE.name / name
        path.write_text(path.read_text(encoding="utf-8").replace(one_place, by_hand, 1), encoding="utf-8")
    said = house.shell(f"{PYTEST} {' '.join(GUARDS)}", succeeds=False)

    for words in (
        "docs/questions.md is not what cookiecutter.json makes of it: make readme",
        "nothing in the service uses the answer to 'team'",
        "Dockerfile names a base image: {{ cookiecutter.__base_image }}",
        "README.md names the repository: {{ cookiecutter._repository }}",
    ):
        assert words in said


def _sources() -> list[tuple[str, str]]:
    """Return name and text of every file of the service, with the condition in its name."""
    return [
        (path.name, path.read_text(encoding="utf-8"))
        for path in sorted(SERVICE.rglob("*"))
        if path.is_file() and "cache" not in str(path.parent.relative_to(TEMPLATE))
    ]


@pytest.mark.parametrize("question", QUESTIONS)
def test_an_answer_is_used(question: str) -> None:
    """In a file or its name, or by a value that is made of it. The record of all answers does not count."""
    names = [question, *(name for name, value in CONTEXT.items() if f"cookiecutter.{question}" in str(value))]
    service = "".join(itertools.chain.from_iterable([(SERVICE.name, ""), *_sources()]))

    assert any(f"cookiecutter.{name}" in service for name in names), (
        f"nothing in the service uses the answer to {question!r}"
    )


def test_base_image_and_repository_stand_in_one_place() -> None:
    problems = []
    for name, text in _sources():
        if re.search(r"\bpython:(\d|\{)", text):
            problems.append(f"{name} names a base image: {{{{ cookiecutter.__base_image }}}}")
        if REPOSITORY in text:
            problems.append(f"{name} names the repository: {{{{ cookiecutter._repository }}}}")

    assert not problems, "\n".join(problems)
