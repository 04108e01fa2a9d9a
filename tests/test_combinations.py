"""Every combination of choices, baked and put before formatters, type checkers, linters and schemas."""

import hashlib
import itertools
import json
import os
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from hooks.pre_gen_project import DEVICE_NAMES
from tests.conftest import TOOLS, Bake, BakedProject
from tests.test_bake import files_of
from tools.questions import CHOICES

COMBINATIONS = [dict(zip(CHOICES, values, strict=True)) for values in itertools.product(*CHOICES.values())]
# The README of a service fits on three screens, in the order in which things are done.
README_LINES = 180
TASKS = [f"{verb} it" for verb in ("Run", "Change", "Test", "Configure", "Observe", "Deploy", "Update")]
YAML_STYLE = (
    "{extends: default, rules: {document-start: disable, truthy: {check-keys: false}, line-length: {max: 120},"
    " braces: {max-spaces-inside: 1}}}"
)

# What each check looks at: it need not run again for a combination in which these files are the same.
CHECKS: dict[str, tuple[str, list[str]]] = {
    "formatting": (r"\.(py|toml)$", ["ruff", "format", "--check", "--no-cache"]),
    "ruff": (r"\.(py|toml)$", ["ruff", "check", "--no-cache"]),
    "types": (r"\.(py|toml|txt)$", ["mypy", "--cache-dir=/dev/null"]),
    "hadolint": (r"Dockerfile", [str(TOOLS / "hadolint"), "--failure-threshold", "style", "Dockerfile"]),
    "yamllint": (r"\.ya?ml$", [str(TOOLS / "yamllint"), "--strict", "-d", YAML_STYLE, "."]),
    "compose": (
        r"compose\.yaml$",
        [str(TOOLS / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", "compose.yaml"],
    ),
}


if os.name == "nt":
    del CHECKS["hadolint"]  # it is not published for Windows


@pytest.fixture(scope="module")
def passed() -> set[str]:
    """Return what was checked already: name of the check and digest of what it looked at."""
    return set()


def _digest(project: BakedProject, pattern: str) -> str:
    files = {name: content for name, content in project.files().items() if re.search(pattern, name)}
    assert files, pattern
    return hashlib.sha256(repr(files).encode()).hexdigest()


class ComposeLoader(yaml.SafeLoader):
    """Reads compose.proxy.yaml, which takes away parts of what it extends by `!reset`; check-jsonschema cannot."""


ComposeLoader.add_constructor("!reset", lambda *_: None)

PARSERS: dict[str, Callable[[str], object]] = {
    ".toml": tomllib.loads,
    ".json": json.loads,
    ".yaml": lambda text: list(yaml.load_all(text, ComposeLoader)),
    ".yml": yaml.safe_load,
}


@pytest.mark.parametrize("answers", COMBINATIONS, ids=lambda answers: "-".join(answers.values()))
def test_a_combination_is_complete_and_clean(bake: Bake, answers: dict[str, str], passed: set[str]) -> None:
    project = bake(**answers)
    files = project.files()

    assert set(files) == files_of(**answers)
    assert not [path for path in project.path.rglob("*") if path.is_dir() and not any(path.iterdir())], "empty folders"
    for name, content in files.items():
        text = content.decode("utf-8")
        assert not re.search(r"\{\{|\{%|\{#", text) or "workflows" in name, f"{name}: template language is left"
        assert not re.search(r"[ \t\r]$", text, re.MULTILINE), f"{name}: white space at the end of a line"
        assert re.search(r"[^\n]\n\Z", text), f"{name}: ends with one line feed"
        assert len(f"{project.path.name}/{name}") < 150, f"{name}: too long for paths on Windows"
        for part in name.split("/"):
            assert re.fullmatch(r"[\w.-]*[\w-]", part), f"{name}: not a file name on Windows"
            assert part.split(".")[0].lower() not in DEVICE_NAMES, f"{name}: a device on Windows"
        if parse := PARSERS.get(Path(name).suffix):
            parse(text)

    readme = files["README.md"].decode("utf-8")
    assert len(readme.splitlines()) <= README_LINES, "move what is longer to docs/"
    assert re.findall(r"^## (.*)$", readme, re.MULTILINE) == TASKS

    for check, (pattern, command) in CHECKS.items():
        seen = f"{check} {_digest(project, pattern)}"
        if seen not in passed:
            project.run(*command)
            passed.add(seen)
    assert project.files().keys() == files.keys(), "a check left something behind"


def test_a_combination_is_told_apart_by_its_answers(bake: Bake) -> None:
    baked = [
        hash(frozenset(bake(f"out{number}", **answers).files().items())) for number, answers in enumerate(COMBINATIONS)
    ]

    assert len(set(baked)) == len(COMBINATIONS), "a choice that nothing acts on"
