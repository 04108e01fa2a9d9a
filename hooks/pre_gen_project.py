"""Refuse answers from which no working service can be made: say what was wrong, the rule, and what would work.

Answers are data: they arrive as one string literal of JSON text and are never part of the source. The file can be
imported before it is rendered, too: tests, doctor and README take the rules from here.
"""

import json
import os
import re
import shlex
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

# Windows reserves these names for devices, whatever their case and extension.
DEVICE_NAMES = {"con", "prn", "aux", "nul", *(f"{name}{digit}" for name in ("com", "lpt") for digit in range(1, 10))}
# Docker pulls no "scratch", uv locks no project named like what it needs; "default" and "kube-*" are Kubernetes' own.
TAKEN_NAMES = {"scratch", "flask", "gunicorn", "default"}
# cookiecutter evaluates these in answers from the command line, and again whenever a project is updated.
TEMPLATE_SYNTAX = re.compile("[{](?=[%#{])")


class Rule(NamedTuple):
    """What an answer must be in words, and what makes a valid answer of any: it returns a valid one as it is."""

    words: str
    nearest: Callable[[str], str]


def text(value: str) -> str:
    """Return one line of visible text. Control and direction marks would break out of, or disguise, what shows it."""
    visible = "".join(character if character.isprintable() else " " for character in value)
    return TEMPLATE_SYNTAX.sub("{ ", visible.strip())[:200].strip() or "Hello Service"


def is_slug(value: str) -> bool:
    """Accept what is at once a Docker image name, a DNS-1035 label (so a DNS-1123 one) and a file name on Windows."""
    shape = re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", value)
    taken = value in DEVICE_NAMES | TAKEN_NAMES or value.startswith("kube-")
    return shape is not None and len(value) <= 63 and not taken


def slug(value: str) -> str:
    """Return the slug nearest to the value."""
    ascii_only = unicodedata.normalize("NFKD", value).encode("ascii", "ignore").decode()
    words = re.findall(r"[a-z0-9]+", ascii_only.lower())
    candidates = ("-".join(words), "-".join(["service", *words]), "hello-service")
    return next(filter(is_slug, (candidate[:63].strip("-") for candidate in candidates)))


def name(value: str) -> str:
    """Return path components of an image reference (github.com/distribution/reference, without tag and digest)."""
    component = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
    valid = re.fullmatch(rf"{component}(/{component})*", value) and len(value) <= 128
    return value if valid else slug(value)


def port(value: str) -> str:
    """Return what a process without privileges may listen on everywhere."""
    valid = re.fullmatch(r"[1-9][0-9]{3,4}", value) and 1024 <= int(value) <= 65535
    return value if valid else "5000"


TEXT = Rule("1 to 200 printable characters on one line; no space at either end, no '{' before '{', '%' or '#'", text)
NAME = Rule("a-z and 0-9, joined by single '.', '_', '-' or '/', at most 128 characters", name)
RULES = {
    "project_name": TEXT,
    "project_slug": Rule(
        "a-z, 0-9 and single hyphens, a letter first, at most 63 characters; "
        "no device name of Windows, not scratch, flask, gunicorn, default or kube-*",
        slug,
    ),
    "description": TEXT,
    "port": Rule("a whole number from 1024 to 65535", port),
}


def rule(question: str, asked: object) -> Rule:
    """Return the rule of a question, asked with these choices or this default; that of a new one is NAME."""
    if isinstance(asked, list):
        return Rule(f"one of {', '.join(asked)}", lambda value: value if value in asked else asked[0])
    return RULES.get(question, NAME)


def questions(context: Mapping[str, object]) -> dict[str, object]:
    """Return the questions with their choices, which cookiecutter does not check in a replay. cruft replays nothing."""
    asked = context
    file = os.path.join(os.environ.get("PWD", ""), str(context.get("_repo_dir")), "cookiecutter.json")
    if os.path.isfile(file):
        with open(file, encoding="utf-8") as opened:
            asked = json.load(opened)
    return {question: asked[question] for question in asked if question in context and not question.startswith("_")}


def way_out(context: Mapping[str, object], answers: Mapping[str, str]) -> Iterator[str]:
    """Yield the command that bakes with these answers without asking, and what else there is to do."""
    here = os.environ.get("PWD")
    words = ["cookiecutter", str(context.get("_template", "."))]
    words += ["--checkout", str(context["_checkout"])] if context.get("_checkout") else []
    words += ["--output-dir", str(context["_output_dir"])] if context.get("_output_dir", here) != here else []
    yield "This would work, in a POSIX shell:"
    yield "  " + shlex.join([*words, "--no-input", *(f"{question}={answer}" for question, answer in answers.items())])

    parent, output = (os.path.realpath(str(path)) for path in (os.pardir, context.get("_output_dir", os.pardir)))
    if not output.startswith(parent):
        yield f"cookiecutter made the directory {parent} before it asked this template; remove it if it is empty."


def main() -> None:
    """Let the answers pass, or have cookiecutter stop: print what is wrong and a command that would work."""
    context = json.loads({{cookiecutter | tojson | tojson}})  # type: ignore[arg-type, name-defined]
    before_rendering = json.loads({{_cookiecutter | default({}) | tojson | tojson}})  # type: ignore[arg-type, name-defined]
    answers, problems = {}, []
    for question, asked in questions(context).items():
        words, nearest = rule(question, asked)
        # What cookiecutter would evaluate is judged as it was given; the slug's default is meant to be evaluated.
        given = str(before_rendering.get(question, ""))
        evaluated = question != "project_slug" and TEMPLATE_SYNTAX.search(given)
        answer = given if evaluated else str(context[question])
        answers[question] = nearest(answer)
        if answers[question] != answer:
            example = f"use {words}, for example {answers[question]!r}"
            problems.append(f"ERROR: {question} {answer[:80]!r} is not valid: {example}.")
    if problems:
        sys.exit("\n".join([*problems, *way_out(context, answers)]))


if __name__ == "__main__":
    main()
