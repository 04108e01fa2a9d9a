"""Every place that names Python versions, or that of the template, names the same ones."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import TEMPLATE, Bake
from tools.questions import CHOICES, VERSION, base_image
from tools.release import versions

SERVICE = TEMPLATE / "{{cookiecutter.project_slug}}"
PYTHONS = CHOICES["python_version"]
DEFAULT = PYTHONS[0]
# Enough to develop a service and to bake one; no image has it.
OLDEST = "3.11"
NEWEST = max(PYTHONS, key=lambda version: int(version.partition(".")[2]))


def _text(name: str) -> str:
    return (TEMPLATE / name).read_text(encoding="utf-8")


def _toml(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


# What must stand in which file, word for word.
NAMED = {
    "README.md": [
        f"| `python_version` | `{DEFAULT}` | one of {', '.join(PYTHONS)} |",
        f"It needs Python {OLDEST} or newer",
    ],
    "docs/what-you-get.md": [f"one lock with hashes for Python {OLDEST} to {NEWEST} on Linux, macOS and Windows"],
    "docs/look-inside.md": [f"python:{DEFAULT}-slim-"],
    "docs/private-networks.md": [f"python:{DEFAULT}-slim-"],
    ".ci/base-images": [f"${{PYTHONS:-{' '.join(PYTHONS)}}}"],
    ".ci/run": [f"for version in {' '.join(PYTHONS)}; do"],
    "Makefile": [f"Python {OLDEST} or newer", "sys.version_info < (3, 11)"],
    "workshop/kit.py": ["OLDEST = (3, 11)"],
    "workshop/ladder.py": [f'PYTHON = "{DEFAULT}"'],
    "pyproject.toml": [f"--python-version={OLDEST} "],
    "requirements-demo.txt": [f"--python-version={OLDEST} "],
    "requirements.txt": [f"--python-version={OLDEST} "],
    f"{SERVICE.name}/requirements.in": [f"--python-version={OLDEST} "],
    f"{SERVICE.name}/requirements-dev.in": [f"--python-version={OLDEST} "],
    f"{SERVICE.name}/requirements-lint.in": [f"--python-version={OLDEST} "],
    f"{SERVICE.name}/requirements.txt": [f"--python-version={OLDEST} "],
    f"{SERVICE.name}/requirements-dev.txt": [f"--python-version={OLDEST} "],
    f"{SERVICE.name}/requirements-lint.txt": [f"--python-version={OLDEST} "],
    f"{SERVICE.name}/Makefile": [f"Python {OLDEST} or newer", "sys.version_info < (3, 11)"],
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


@pytest.mark.parametrize("version", PYTHONS)
def test_an_answer_is_the_only_python_that_a_service_names(bake: Bake, version: str) -> None:
    """In its Dockerfile, its workflows and its pipeline; elsewhere only the oldest that is enough."""
    for ci in CHOICES["ci"]:
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
        assert base_image(version) in files["Dockerfile"].decode()


def test_benchmarks_and_workshop_build_on_the_default_python_and_the_debian_of_a_service() -> None:
    """But for the exhibit, which is old on purpose, and what was built or measured."""
    debian = base_image(DEFAULT).rpartition("-")[2]
    named: set[str] = set()
    for folder in ("benchmarks", "workshop"):
        for path in (TEMPLATE / folder).rglob("*"):
            if path.is_file() and not {"build", "exhibit", "results"} & set(path.parts):
                text = path.read_bytes().decode(errors="replace")
                named.update(re.findall(r"\bpython:3[\w.-]+", text))

    assert named == {f"python:{DEFAULT}-{debian}", f"python:{DEFAULT}-slim-{debian}"}


def test_the_workflow_names_every_python_and_tooling_runs_on_the_default() -> None:
    jobs = yaml.safe_load(_text(".github/workflows/ci.yaml"))["jobs"]
    tooling = {
        step["with"]["python-version"] for job in jobs.values() for step in job["steps"] if "setup-python" in str(step)
    }

    assert tooling == {DEFAULT, "${{ matrix.python }}"}
    assert jobs["suite"]["env"]["PYTHONS"] == DEFAULT
    assert [job["strategy"]["matrix"]["python"] for job in jobs.values() if "strategy" in job] == [PYTHONS, PYTHONS]


def test_the_version_of_the_template_is_that_of_its_last_release() -> None:
    assert _toml(TEMPLATE / "pyproject.toml")["project"]["version"] == VERSION
    assert versions(_text("CHANGELOG.md"))[:1] in ([VERSION], []), "none before the first"


def test_a_service_records_the_version_it_was_made_from(bake: Bake) -> None:
    files = bake().files()
    assert json.loads(files[".cookiecutter.json"])["_template_version"] == VERSION
    assert f"--checkout v{VERSION} " in files["README.md"].decode()
