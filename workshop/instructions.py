"""The instructions of Dockerfiles: which ones a file uses, and at which rung each is explained."""

import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from workshop.ladder import Rung

EXPLANATIONS = Path(__file__).parent / "instructions.toml"
# What continues on the next line, and the comments that may stand between.
CONTINUED = re.compile(r"\\\n(?:\s*#.*\n)*")
# A flag, and its value where that makes it another thing.
FLAG = re.compile(r"--(?:mount=type=\w+|network=\w+|[a-z-]+)")


@dataclass(frozen=True)
class Explanation:
    """What an instruction does, what it does not, and what goes wrong without it; in Markdown."""

    name: str
    does: str
    does_not: str
    without: str
    beside: str = ""

    @property
    def title(self) -> str:
        """Return the name in Markdown, with what is typed as code."""
        typed, form, words = self.name.partition(" in ")
        return f"`{typed}`{form}{words}"

    @property
    def anchor(self) -> str:
        """Return the name of its place in the page."""
        return "-".join(["instruction", *re.findall(r"[a-z]+", self.name.lower())])


def explanations() -> dict[str, Explanation]:
    """Return what instructions.toml says, by the names that `used` finds."""
    listed = tomllib.loads(EXPLANATIONS.read_text(encoding="utf-8"))
    return {name: Explanation(name, **entry) for name, entry in listed.items()}


def used(dockerfile: str) -> Iterator[str]:
    """Find the instructions of a Dockerfile: forms of a command, and flags that mean something else, by themselves."""
    lines = [line for line in CONTINUED.sub("", dockerfile).splitlines() if line.strip() and not line.startswith("#")]
    for keyword, _, rest in (line.partition(" ") for line in lines):
        if keyword in {"CMD", "ENTRYPOINT"}:
            yield f"{keyword} in {'exec' if rest.lstrip().startswith('[') else 'shell'} form"
            continue
        yield keyword
        if keyword == "FROM":
            yield from (
                name for name, sign in (("FROM scratch", r"^scratch\b"), ("AS", r" AS ")) if re.search(sign, rest)
            )
        elif keyword != "HEALTHCHECK":
            # Flags come first; what follows belongs to the command.
            flags = re.match(r"(?:\s*--\S+)*", rest)
            yield from (f"{keyword} {flag}" for flag in FLAG.findall(flags[0] if flags else ""))


def explained(ladder: Sequence[Rung]) -> dict[str, list[Explanation]]:
    """Return by the name of the rung what is explained there, which is where it is used first."""
    known, seen = explanations(), set[str]()
    places: dict[str, list[Explanation]] = {}
    for rung in ladder:
        files = rung.files()
        found = {*used(files["Dockerfile"].decode()), *({".dockerignore"} & files.keys())} - seen
        seen |= found
        places[rung.name] = [it for it in known.values() if it.name in found or it.beside in found]
    return places
