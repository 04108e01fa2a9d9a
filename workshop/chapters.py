"""The chapters of the handout, as chapters/chapters.toml lists them, for programs that make pages or slides of them."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

CHAPTERS = Path(__file__).parent / "chapters"
# The plans of instructor.md, and how long each takes.
PLANS = {"lecture": "lecture", "day": "full day", "kubernetes": "half day on Kubernetes"}
LASTS = {"lecture": 90, "day": 240, "kubernetes": 180}


@dataclass(frozen=True)
class Chapter:
    """A chapter: its minutes by plan, what it is to teach, what it answers, what to remember; all in Markdown."""

    name: str
    title: str
    minutes: Mapping[str, int] = field(default_factory=dict, hash=False)
    objectives: tuple[str, ...] = ()
    questions: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()

    @property
    def file(self) -> str:
        """Return the file of its text, relative to workshop/."""
        return f"{CHAPTERS.name}/{self.name}.md"


def chapters() -> tuple[Chapter, ...]:
    """Return the chapters in order."""
    listed = tomllib.loads((CHAPTERS / "chapters.toml").read_text(encoding="utf-8"))["chapter"]
    lists = ("objectives", "questions", "keys")
    return tuple(Chapter(**{**entry, **{name: tuple(entry.get(name, ())) for name in lists}}) for entry in listed)
