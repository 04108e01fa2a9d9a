"""A freshly baked project passes its own checks, as its owner would run them."""

import pytest

from tests.conftest import PYTHONS, TEMPLATE, Bake, BakedProject

CHECKS = {
    "unit tests": ["pytest", "tests/unit"],
    "ruff": ["ruff", "check"],
    "formatting": ["ruff", "format", "--check"],
    "types": ["mypy"],
}


@pytest.mark.parametrize("command", CHECKS.values(), ids=CHECKS)
def test_the_default_project_passes(project: BakedProject, command: list[str]) -> None:
    project.run(*command)


def test_a_project_with_other_answers_passes(bake: Bake) -> None:
    text = 'it\'s "quoted" \\ $HOME \u00e9 \U0001f40d'
    project = bake(project_name=text, project_slug="shop", description=text, owner="acme/web", port="65535")

    for command in CHECKS.values():
        project.run(*command)


def test_formatting_a_fresh_bake_changes_nothing(bake: Bake) -> None:
    project = bake()
    before = project.files()
    project.run("ruff", "format", "--no-cache")

    assert project.files() == before


def test_hadolint_has_no_findings(project: BakedProject) -> None:
    assert project.run(str(TEMPLATE / ".venv/bin/hadolint"), "Dockerfile").stdout == ""


@pytest.mark.container
@pytest.mark.parametrize("python_version", PYTHONS)
def test_the_container_contract_holds(bake: Bake, engine: None, python_version: str) -> None:
    project = bake(python_version=python_version, port="8080" if python_version != PYTHONS[0] else "5000")

    done = project.run("pytest", "tests/container", "--strict-markers", "-p", "no:cacheprovider", CI="true")

    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
