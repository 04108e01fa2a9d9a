"""Every place that names Python versions, or that of the template, names the same ones."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from hooks.pre_gen_project import RULES
from scripts.release import versions
from tests.conftest import TEMPLATE, Bake

SERVICE = TEMPLATE / "{{cookiecutter.project_slug}}"
CHOICES = list(RULES["python_version"].choices)
DEFAULT = CHOICES[0]
# Enough to develop a service and to bake one; no image has it.
OLDEST = "3.11"
NEWEST = max(CHOICES, key=lambda version: int(version.partition(".")[2]))
QUESTIONS = json.loads((TEMPLATE / "cookiecutter.json").read_text(encoding="utf-8"))


def _text(name: str) -> str:
    return (TEMPLATE / name).read_text(encoding="utf-8")


def _toml(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


# What must stand in which file, word for word.
NAMED = {
    "cookiecutter.json": [
        f'"python_version": "{DEFAULT}"',
        f"Python version of the image ({', '.join(CHOICES[:-1])} or {CHOICES[-1]})",
    ],
    "README.md": [
        f"| `python_version` | `{DEFAULT}` | one of {', '.join(CHOICES)} |",
        f"one lock with hashes for Python {OLDEST} to {NEWEST} on Linux, macOS and Windows",
        f"`python:{DEFAULT}-slim-trixie`",
        f"All you need is Python {OLDEST} or newer",
    ],
    ".ci/base-images": [f"${{PYTHONS:-{' '.join(CHOICES)}}}"],
    ".ci/run": [f"for version in {' '.join(CHOICES)}; do"],
    "Makefile": [f"Python {OLDEST} or newer", "sys.version_info < (3, 11)"],
    "tests/conftest.py": [f'os.environ.get("PYTHONS", "{DEFAULT}")'],
    "workshop/kit.py": [f'PYTHON = "{DEFAULT}"', "OLDEST = (3, 11)"],
    "pyproject.toml": [f"--python-version {OLDEST} "],
    "requirements.txt": [f"--python-version {OLDEST} "],
    "requirements-demo.txt": [f"--python-version {OLDEST} "],
    f"{SERVICE.name}/requirements.in": [f"--python-version {OLDEST} "],
    f"{SERVICE.name}/requirements-dev.in": [f"--python-version {OLDEST} "],
    f"{SERVICE.name}/requirements.txt": [f"--python-version {OLDEST} "],
    f"{SERVICE.name}/requirements-dev.txt": [f"--python-version {OLDEST} "],
    f"{SERVICE.name}/README.md": [f"Python {OLDEST} or newer is enough"],
}


@pytest.mark.parametrize("name", NAMED)
def test_the_versions_of_python_are_named_alike(name: str) -> None:
    for words in NAMED[name]:
        assert words in _text(name), f"{name} does not say {words!r}"


def test_no_lock_or_command_is_made_for_another_python() -> None:
    for name in NAMED:
        assert set(re.findall(r"--python-version[ =]([\d.]+)", _text(name))) <= {OLDEST}, name


@pytest.mark.parametrize("folder", [TEMPLATE, SERVICE], ids=["template", "service"])
def test_tools_and_packages_are_told_of_the_oldest_python(folder: Path) -> None:
    if folder == SERVICE:
        text = re.sub(r"\{\{.*?\}\}", "x", (folder / "pyproject.toml").read_text(encoding="utf-8"))
        project = tomllib.loads(text)
    else:
        project = _toml(folder / "pyproject.toml")

    assert project["project"]["requires-python"] == f">={OLDEST}"
    assert project["tool"]["ruff"]["target-version"] == f"py{OLDEST.replace('.', '')}"


@pytest.mark.parametrize("version", CHOICES)
def test_an_answer_is_the_only_python_that_a_service_names(bake: Bake, version: str) -> None:
    """In its Dockerfile, its workflows and its pipeline; elsewhere only the oldest that is enough."""
    for ci in RULES["ci"].choices:
        files = bake(f"out-{ci}", python_version=version, ci=ci).files()
        for name, content in files.items():
            if re.search(r"requirements|\.py$|^distroless", name):
                continue
            # A version of Python, not the end of another number and not the beginning of a longer one.
            found = set(
                re.findall(r"(?i)python[-_ :\"']*(?:version)?[-_ :=\"']*(3\.\d+)(?![\d.]*\d*-)", content.decode())
            )
            found |= set(re.findall(r"python:(3\.\d+)", content.decode()))
            assert found <= {version, OLDEST}, name
        assert f"python:{version}-slim-trixie" in files["Dockerfile"].decode()


def test_the_workflow_names_every_python_and_tooling_runs_on_the_default() -> None:
    jobs = yaml.safe_load(_text(".github/workflows/ci.yaml"))["jobs"]
    tooling = {
        step["with"]["python-version"] for job in jobs.values() for step in job["steps"] if "setup-python" in str(step)
    }

    assert tooling == {DEFAULT, "${{ matrix.python }}"}
    assert jobs["suite"]["env"]["PYTHONS"] == DEFAULT
    assert [job["strategy"]["matrix"]["python"] for job in jobs.values() if "strategy" in job] == [CHOICES, CHOICES]


def test_the_version_of_the_template_is_that_of_its_last_release() -> None:
    version = QUESTIONS["_template_version"]

    assert _toml(TEMPLATE / "pyproject.toml")["project"]["version"] == version
    assert versions(_text("CHANGELOG.md"))[:1] in ([version], []), "none before the first"


def test_a_service_records_the_version_it_was_made_from(bake: Bake) -> None:
    files = bake().files()
    version = QUESTIONS["_template_version"]

    assert json.loads(files[".cookiecutter.json"])["_template_version"] == version
    assert f"--checkout v{version} " in files["README.md"].decode()
