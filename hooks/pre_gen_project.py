"""Refuse answers from which no working service can be made: say what was wrong, the rule, and what would work.

Answers are data: they arrive as one string literal of JSON text and are never part of the source. Whatever they hold,
this file parses. It can be imported before it is rendered, too: the tests and the README's table take RULES from here.
"""

import itertools
import json
import os
import re
import shlex
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping

# Windows reserves these names for devices, whatever their case and extension.
DEVICE_NAMES = {"con", "prn", "aux", "nul", *(f"{name}{digit}" for name in ("com", "lpt") for digit in range(1, 10))}
# Docker pulls no image named "scratch"; uv and Poetry refuse a project that is named like what it depends on; the
# namespace "default" and all that begin with "kube-" are Kubernetes' own.
TAKEN_NAMES = {"scratch", "flask", "gunicorn", "default"}
# cookiecutter evaluates these in answers from the command line, and again whenever a project is updated.
TEMPLATE_SYNTAX = re.compile("[{](?=[%#{])")
# Options of cookiecutter's command line whose value is the next word.
OPTIONS_WITH_VALUE = {"-c", "--checkout", "--directory", "-o", "--output-dir", "--config-file", "--replay-file"}


class Rule:
    """What an answer must be, in words and in code, and how to make a valid one out of a bad one."""

    def __init__(
        self, words: str, holds: Callable[[str], bool], suggest: Callable[[str], str], choices: tuple[str, ...] = ()
    ) -> None:
        """Keep them. Written out, because a bake would wait for the modules that could write it."""
        self.words, self.holds, self.suggest, self.choices = words, holds, suggest, choices


def is_text(value: str) -> bool:
    """Accept one line of visible text. Control and direction marks would break out of, or disguise, what shows it."""
    whole = value.strip() == value and value.isprintable() and not TEMPLATE_SYNTAX.search(value)
    return whole and 1 <= len(value) <= 200


def text(value: str) -> str:
    """Return the value on one line, without what cannot be seen and with braces kept apart."""
    visible = "".join(character if character.isprintable() else " " for character in value)
    return TEMPLATE_SYNTAX.sub("{ ", " ".join(visible.split()))[:200].strip() or "Hello Service"


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


def is_namespace(value: str) -> bool:
    """Accept the path components of an image reference (github.com/distribution/reference, without tag and digest)."""
    component = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
    return re.fullmatch(rf"{component}(/{component})*", value) is not None and len(value) <= 128


def is_port(value: str) -> bool:
    """Accept what a process without privileges may listen on everywhere."""
    return re.fullmatch(r"[1-9][0-9]{3,4}", value) is not None and 1024 <= int(value) <= 65535


def similar(value: str, choices: Iterable[str]) -> str | None:
    """Return the choice that looks most like the value, if one does."""
    import difflib  # noqa: PLC0415 - a bake without an error shall not wait for it

    return next(iter(difflib.get_close_matches(value.lower(), choices, n=1)), None)


def one_of(*choices: str) -> Rule:
    """Return the rule of an answer that is one of a few; the nearest is suggested, else the first."""

    def suggest(value: str) -> str:
        return next(filter(value.startswith, choices), None) or similar(value, choices) or choices[0]

    return Rule(f"one of {', '.join(choices)}", choices.__contains__, suggest, choices)


ANY_TEXT = Rule(
    "1 to 200 printable characters on one line; no space at either end, no '{' before '{', '%' or '#'", is_text, text
)
RULES = {
    "project_name": ANY_TEXT,
    "project_slug": Rule(
        "a-z, 0-9 and single hyphens, a letter first, at most 63 characters; "
        "no device name of Windows, not scratch, flask, gunicorn, default or kube-*",
        is_slug,
        slug,
    ),
    "description": ANY_TEXT,
    "owner": Rule("a-z and 0-9, joined by single '.', '_', '-' or '/', at most 128 characters", is_namespace, slug),
    "python_version": one_of("3.14", "3.13", "3.12", "3.15"),
    "port": Rule("a whole number from 1024 to 65535", is_port, lambda _: "5000"),
    "image": one_of("slim", "distroless"),
    "ci": one_of("github", "gitlab", "none"),
    "deploy": one_of("compose", "kubernetes"),
}


def answers_as_given(context: dict[str, object], before_rendering: dict[str, object]) -> dict[str, str]:
    """Return the answers; those with template syntax in them as they were before cookiecutter evaluated them.

    The slug is left out of that: its default is an expression, and no value of one could break its rule unseen.
    """
    answers = {}
    for name in RULES:
        given = str(before_rendering.get(name, ""))
        evaluated = name != "project_slug" and TEMPLATE_SYNTAX.search(given)
        answers[name] = given if evaluated else str(context[name])
    return answers


def command_line() -> list[str]:
    """Return the words of the command that runs this hook, if the system shows them (Linux does)."""
    try:
        with open(f"/proc/{os.getppid()}/cmdline", encoding="utf-8", errors="surrogateescape") as words:
            return words.read().split("\0")
    except OSError:
        return []


def unknown_answers(words: list[str], known: set[str]) -> Iterator[tuple[str, str]]:
    """Yield name and value of each answer on cookiecutter's command line that is to no question: it ignores them."""
    is_tool = re.compile(r"cookiecutter(-script)?([.]\w+)?").fullmatch
    start = next((place for place, word in enumerate(words) if is_tool(os.path.basename(word))), len(words))
    for before, word in itertools.pairwise(words[start:]):
        name, equals, value = word.partition("=")
        if equals and name.isidentifier() and name not in known and before not in OPTIONS_WITH_VALUE:
            yield name, value


def quoted(word: str, windows: bool) -> str | None:
    """Return the word as the user's shell must read it; None if the shells of Windows disagree on how to quote it."""
    if not windows:
        return shlex.quote(word)
    if re.search(r'["%$`^!]', word):
        return None
    return word if re.fullmatch(r"[\w.:/\\=-]+", word) else f'"{word}"'


def way_out(context: Mapping[str, object], answers: dict[str, str], windows: bool = os.name == "nt") -> Iterator[str]:
    """Yield the command that bakes with these answers without asking, and what else there is to do."""
    words = ["cookiecutter", str(context.get("_template", "."))]
    if context.get("_checkout"):
        words += ["--checkout", str(context["_checkout"])]
    if context.get("_output_dir", os.environ.get("PWD")) != os.environ.get("PWD"):
        words += ["--output-dir", str(context["_output_dir"])]
    words.append("--no-input")
    pairs = {name: quoted(f"{name}={value}", windows) for name, value in answers.items()}
    yield "This would work:"
    yield "  " + " ".join(filter(None, [*(quoted(word, windows) for word in words), *pairs.values()]))
    if missing := [name for name, pair in pairs.items() if pair is None]:
        yield f"To be added by hand, as the shells of Windows differ in how they quote it: {', '.join(missing)}"

    parent, output = (os.path.realpath(str(path)) for path in (os.pardir, context.get("_output_dir", os.pardir)))
    if not output.startswith(parent):
        yield f"cookiecutter made the directory {parent} before it asked this template; remove it if it is empty."


def main() -> int:
    """Print what is wrong and a command that would work; return the exit code that tells cookiecutter to stop."""
    context = json.loads({{cookiecutter | tojson | tojson}})  # type: ignore[arg-type, name-defined]
    before_rendering = json.loads({{_cookiecutter | default({}) | tojson | tojson}})  # type: ignore[arg-type, name-defined]
    answers = answers_as_given(context, before_rendering)
    problems = []

    words = command_line()
    for name, value in unknown_answers(words, set(context)):
        meant = similar(name, RULES)
        hint = f"did you mean {meant}?" if meant else f"the questions are {', '.join(RULES)}."
        problems.append(f"ERROR: there is no question {name!r}; {hint}")
        if meant:
            answers[meant] = value
        if meant == "project_name" and not any(word.startswith("project_slug=") for word in words):
            answers["project_slug"] = slug(value)
    for name, rule in RULES.items():
        if not rule.holds(answers[name]):
            suggestion = rule.suggest(answers[name])
            problems.append(
                f"ERROR: {name} {answers[name][:80]!r} is not valid: use {rule.words}, for example {suggestion!r}."
            )
            answers[name] = suggestion

    if problems:
        print(*problems, *way_out(context, answers), sep="\n", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
