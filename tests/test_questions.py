"""The questions: good answers arrive, bad ones are refused in words that help, text stays text."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import TEMPLATE, Bake

QUESTIONS = json.loads((TEMPLATE / "cookiecutter.json").read_text(encoding="utf-8"))


def _cookiecutter(output: Path, *answers: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cookiecutter", str(TEMPLATE), "--no-input", "--output-dir", str(output), *answers]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "500"})


def test_every_question_has_a_label() -> None:
    asked = {name for name in QUESTIONS if not name.startswith("_")}

    assert asked == set(QUESTIONS["__prompts__"])


def test_the_slug_follows_the_name(bake: Bake) -> None:
    assert bake(project_name="Stock & Orders, 2nd try").path.name == "stock-orders-2nd-try"


SLUG_RULE = "use a-z, 0-9 and single hyphens, a letter first, at most 63 characters, no device name of Windows"
TEXT_RULE = "use 1 to 200 printable characters on one line"
OWNER_RULE = "use a-z and 0-9, joined by single '.', '_', '-' or '/', at most 128 characters"
VERSION_RULE = "use one of 3.14, 3.13, 3.12, 3.15"
PORT_RULE = "use a whole number from 1024 to 65535"


@pytest.mark.parametrize(
    ("name", "value", "shown", "rule", "example"),
    [
        ("project_slug", "My_Service", "'My_Service'", SLUG_RULE, "'my-service'"),
        ("project_slug", "9lives", "'9lives'", SLUG_RULE, "'service-9lives'"),
        ("project_slug", "a--b", "'a--b'", SLUG_RULE, "'a-b'"),
        ("project_slug", "a-", "'a-'", SLUG_RULE, "'a'"),
        ("project_slug", "nul", "'nul'", SLUG_RULE, "'service-nul'"),
        ("project_slug", "x" * 64, f"'{'x' * 64}'", SLUG_RULE, f"'{'x' * 63}'"),
        ("project_slug", "dienst-\u00e9", r"'dienst-\xe9'", SLUG_RULE, "'dienst'"),
        ("project_name", "two\nlines", r"'two\nlines'", TEXT_RULE, "'two lines'"),
        ("description", " ", "' '", TEXT_RULE, "'Hello Service'"),
        ("owner", "My Org", "'My Org'", OWNER_RULE, "'my-org'"),
        ("python_version", "2.7", "'2.7'", VERSION_RULE, "'3.14'"),
        ("python_version", "3.13.5", "'3.13.5'", VERSION_RULE, "'3.13'"),
        ("port", "80", "'80'", PORT_RULE, "'5000'"),
        ("port", "65536", "'65536'", PORT_RULE, "'5000'"),
        ("port", "http", "'http'", PORT_RULE, "'5000'"),
        ("port", "0x1F90", "'0x1F90'", PORT_RULE, "'5000'"),
    ],
)
def test_a_bad_answer_is_refused(tmp_path: Path, name: str, value: str, shown: str, rule: str, example: str) -> None:
    answers = {"project_slug": "shop", name: value}
    done = _cookiecutter(tmp_path, *(f"{key}={answer}" for key, answer in answers.items()))

    assert done.returncode != 0
    assert done.stderr.splitlines()[0] == f"ERROR: {name} {shown} is not valid: {rule}, for example {example}."
    assert list(tmp_path.iterdir()) == [], "something half-made stayed behind"


def test_the_example_of_every_refusal_is_a_good_answer(tmp_path: Path) -> None:
    bad = {"project_slug": "Con", "owner": "My Org!", "python_version": "3.13.5", "port": "99999", "description": "\t"}
    refused = _cookiecutter(tmp_path, *(f"{name}={value}" for name, value in bad.items()))
    examples = re.findall(r"^ERROR: (\w+) .*, for example '(.*)'\.$", refused.stderr, re.MULTILINE)

    assert dict(examples).keys() == bad.keys(), "all bad answers are reported at once"
    done = _cookiecutter(tmp_path, *(f"{name}={value}" for name, value in examples))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "text", ['it\'s "quoted"', "back\\slash", "$HOME ${PATH} `id`", "# : - [x] <b>", "\u00e9\u4e16\U0001f40d"]
)
def test_free_text_arrives_as_it_was_given(bake: Bake, text: str) -> None:
    project = bake(project_name=text, project_slug="shop", description=text)

    assert (
        tomllib.loads((project.path / "pyproject.toml").read_text(encoding="utf-8"))["project"]["description"] == text
    )
    readme = (project.path / "README.md").read_text(encoding="utf-8").splitlines()
    assert readme[0] == f"# {text}"
    assert readme[2] == text


def test_free_text_is_never_code(bake: Bake, tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    attack = f'"); open({str(marker)!r}, "w"); ("'

    bake(project_name=attack, project_slug="shop", description=attack)

    assert not marker.exists()


def test_the_next_steps_are_printed(tmp_path: Path) -> None:
    done = _cookiecutter(tmp_path, "project_name=Shop", "port=8080")

    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "",
        "shop is ready. Next:",
        f"  cd {tmp_path / 'shop'}",
        "  docker build -t shop .",
        "  docker run --rm -p 8080:8080 shop",
        "Then open http://localhost:8080/",
    ]
