"""A freshly baked project passes its own checks, as its owner would run them."""

import itertools
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import (
    LABEL,
    PYTHONS,
    TEMPLATE,
    Bake,
    BakedProject,
    docker,
    interpreter,
    make_environment,
)
from tests.recipes import JUDGED_ON
from tools.questions import CHOICES, base_image


def test_the_unit_tests_of_the_default_project_pass(project: BakedProject) -> None:
    """Formatters, linters and the type checker are in test_combinations.py."""
    project.run("pytest", "tests/unit")


@pytest.mark.slow
def test_a_test_that_hangs_fails(bake: Bake) -> None:
    project = bake()
    hang = "import threading\n\n\ndef test_hang() -> None:\n    threading.Event().wait()\n"
    (project.path / "tests/unit/test_hang.py").write_text(hang)

    with pytest.raises(AssertionError, match=r"Timeout \(>1\.0s\) from pytest-timeout"):
        project.run("pytest", "tests/unit/test_hang.py", "--override-ini=timeout=1")


def test_a_project_with_other_answers_passes(bake: Bake) -> None:
    text = 'it\'s "quoted" \\ $HOME \u00e9 \U0001f40d'
    project = bake(project_name=text, project_slug="shop", description=text, owner="acme/web", port="65535")

    for command in (["pytest", "tests/unit"], ["ruff", "check"], ["ruff", "format", "--check"], ["mypy"]):
        project.run(*command)


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.11", *sorted(CHOICES["python_version"])])
def test_the_unit_tests_pass_on_every_interpreter_of_this_machine(bake: Bake, tmp_path: Path, version: str) -> None:
    """3.11 is in no image of ours, but is enough to develop a service. Those in an image are asked by the next test."""
    if version in PYTHONS and "INTERPRETER" not in os.environ:
        pytest.skip(f"the unit tests run on Python {version} in an image")
    python = interpreter(version)
    assert python or version not in PYTHONS or "INTERPRETER" not in os.environ, "INTERPRETER is none of PYTHONS"
    if not python:
        pytest.skip(f"no interpreter of Python {version} here: no unit tests outside of an image")
    project = BakedProject(bake().path, make_environment(python, tmp_path / "environment"))

    assert project.run("python", "--version").stdout.startswith(f"Python {version}.")
    project.run("pytest", "tests/unit")


def test_an_interpreter_is_found_by_its_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    assert interpreter(version) is None

    monkeypatch.setenv("INTERPRETER", sys.executable)
    assert interpreter(version) == sys.executable
    assert interpreter("2.7") is None


@pytest.mark.container
@pytest.mark.slow
@pytest.mark.parametrize("python_version", PYTHONS)
def test_unit_tests_and_linters_pass_on_every_base_image(bake: Bake, image_tag: str, python_version: str) -> None:
    """In the stage of the Dockerfile that is there for it, by the command that it has; and with coverage, as in CI."""
    bake(python_version=python_version).build_image(image_tag, "--target", "test")

    assert docker("run", "--rm", image_tag, "python", "--version").startswith(f"Python {python_version}.")
    done = docker("run", "--rm", "--network", "none", image_tag)
    assert " passed" in done
    assert "All checks passed!" in done
    assert "Success: no issues found" in done
    measure = ["sh", "-ec", "coverage run -m pytest tests/unit; coverage report"]
    done = docker("run", "--rm", "--network", "none", "--env", "COVERAGE_FILE=/tmp/coverage", image_tag, *measure)
    assert "\nTOTAL " in done


VERSIONS = list(dict.fromkeys([*PYTHONS, *CHOICES["python_version"]]))
# The default Python is asked everything, on both kinds of image. The others are asked what they contain, but for those
# on which test_services.py asks everything of a service.
WHOLE = list(itertools.product(PYTHONS[:1], CHOICES["image"]))
IMAGES = [*WHOLE, *(pair for pair in itertools.product(VERSIONS[1:], CHOICES["image"]) if pair not in JUDGED_ON)]


@pytest.mark.container
@pytest.mark.parametrize(
    ("python_version", "image"), [IMAGES[0], *(pytest.param(*image, marks=pytest.mark.slow) for image in IMAGES[1:])]
)
def test_the_container_contract_holds(
    bake: Bake,
    proxy_image: None,
    tmp_path: Path,
    python_version: str,
    image: str,
    record_property: Callable[[str, object], None],
) -> None:
    if python_version not in PYTHONS:
        pytest.skip(f"no image of Python {python_version}: PYTHONS names {' '.join(PYTHONS)} only")
    project = bake(python_version=python_version, image=image, port="8080" if python_version != PYTHONS[0] else "5000")
    files = [tmp_path / "card.json", tmp_path / "card.md"]
    options = ["--scorecard", *(f"--scorecard-file={file}" for file in files), "-p", "no:cacheprovider"]
    if (python_version, image) in WHOLE:
        # Behind the proxy it is the same service, whatever it runs on: row 20 is asked once.
        first = (python_version, image) == IMAGES[0]
        asked = ["tests/container", "-n2", *([] if first else ["--ignore=tests/container/test_proxy.py"])]
        rows = 22 if first else 21
    else:
        asked, rows = ["tests/container/test_image.py", "tests/container/test_build.py"], 13

    done = project.run("pytest", *asked, *options, CI="true", COLUMNS="160")

    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
    assert f"hello-service: {rows} of {rows} rows passed" in done.stdout
    card = json.loads(files[0].read_text())
    assert (card["passed"], card["applicable"], len(card["rows"])) == (rows, rows, 22)
    record_property(f"Python {python_version}, {image}", card["rows"][9]["reason"])
    assert "| 9 | Code cannot be changed; no setuid file; nothing writable by all | passed |  |" in files[1].read_text()


@pytest.mark.container
def test_the_scorecard_judges_a_foreign_image(project: BakedProject, image_tag: str, tmp_path: Path) -> None:
    context = TEMPLATE / "benchmarks/baselines"
    options = [
        f"--label={LABEL}",
        f"--build-arg=BASE_IMAGE={base_image(PYTHONS[0])}",
        f"--file={context}/blog-post.Dockerfile",
    ]
    docker("build", "--tag", image_tag, *options, str(context))
    card = tmp_path / "card.json"
    judge = ["pytest", "tests/container/test_image.py", "tests/container/test_build.py", "-p", "no:cacheprovider"]

    with pytest.raises(AssertionError, match="exit code 1\n"):
        project.run(*judge, "--image", image_tag, "--scorecard", f"--scorecard-file={card}")

    rows = {row["number"]: row for row in json.loads(card.read_text())["rows"]}
    assert rows[1]["status"] == "failed"
    assert rows[1]["reason"] == "USER is root (none is set): it must be a number"
    assert rows[6]["reason"].startswith("build tools in the image: ['/usr/local/bin/pip")
    assert rows[7]["status"] == "not applicable"
    assert rows[10]["status"] == "passed"
    assert rows[13]["status"] == "not run"
