"""Refuse answers from which no working service can be made; say what was wrong, the rule, and a value that works.

Answers are data: they arrive as one string literal of JSON text and are never part of the source. Whatever they hold,
this file parses.
"""

import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass

ANSWERS: dict[str, str] = json.loads({{cookiecutter | tojson | tojson}})  # type: ignore[arg-type, name-defined]
PYTHON_VERSIONS: list[str] = json.loads({{cookiecutter._python_versions | tojson | tojson}})  # type: ignore[arg-type, name-defined]

# Windows reserves these names for devices, whatever their case and extension.
DEVICE_NAMES = {"con", "prn", "aux", "nul", *(f"{name}{digit}" for name in ("com", "lpt") for digit in range(1, 10))}


@dataclass(frozen=True)
class Rule:
    """What an answer must be, in words and in code, and how to make a valid one out of a bad one."""

    words: str
    holds: Callable[[str], bool]
    suggest: Callable[[str], str]


def is_plain_text(value: str) -> bool:
    """Accept one line of visible text. Control characters would break out of the files the text is shown in."""
    return len(value.strip()) > 0 and len(value) <= 200 and value.isprintable()


def is_slug(value: str) -> bool:
    """Accept what is at once a Docker image name, a DNS-1035 label and a file name on Windows."""
    return (
        re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", value) is not None
        and len(value) <= 63
        and value not in DEVICE_NAMES
    )


def is_namespace(value: str) -> bool:
    """Accept the path components of an image reference (distribution/reference, without tag and digest)."""
    component = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
    return re.fullmatch(rf"{component}(/{component})*", value) is not None and len(value) <= 128


def is_port(value: str) -> bool:
    """Accept what a process without privileges may listen on everywhere."""
    return re.fullmatch(r"[1-9][0-9]{3,4}", value) is not None and 1024 <= int(value) <= 65535


def plain_text(value: str) -> str:
    """Return the value on one line, without what cannot be seen."""
    visible = "".join(character if character.isprintable() else " " for character in value)
    return " ".join(visible.split())[:200] or "Hello Service"


def slug(value: str) -> str:
    """Return the slug nearest to the value."""
    words = re.findall(r"[a-z0-9]+", value.lower())
    candidate = "-".join(words)[:63].strip("-")
    if is_slug(candidate):
        return candidate
    candidate = f"service-{candidate}"[:63].strip("-")
    return candidate if words and is_slug(candidate) else "hello-service"


RULES = {
    "project_name": Rule("use 1 to 200 printable characters on one line", is_plain_text, plain_text),
    "project_slug": Rule(
        "use a-z, 0-9 and single hyphens, a letter first, at most 63 characters, no device name of Windows",
        is_slug,
        slug,
    ),
    "description": Rule("use 1 to 200 printable characters on one line", is_plain_text, plain_text),
    "owner": Rule(
        "use a-z and 0-9, joined by single '.', '_', '-' or '/', at most 128 characters",
        is_namespace,
        slug,
    ),
    "python_version": Rule(
        f"use one of {', '.join(PYTHON_VERSIONS)}",
        PYTHON_VERSIONS.__contains__,
        lambda value: next((known for known in PYTHON_VERSIONS if value.startswith(f"{known}.")), PYTHON_VERSIONS[0]),
    ),
    "port": Rule("use a whole number from 1024 to 65535", is_port, lambda _: "5000"),
}


def main() -> int:
    """Print one line per bad answer; return the exit code that makes cookiecutter keep or drop the project."""
    problems = [
        f"ERROR: {name} {ANSWERS[name][:80]!a} is not valid: {rule.words}, for example {rule.suggest(ANSWERS[name])!a}."
        for name, rule in RULES.items()
        if not rule.holds(ANSWERS[name])
    ]
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
