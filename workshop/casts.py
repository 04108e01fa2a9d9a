"""What the recordings of terminals hold that `make recordings` made: asciicasts of version 2, a header and events."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RECORDINGS = Path(__file__).parent / "results/recordings"
# What a terminal is told beside the text: colours, and to go back to the beginning of a line.
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


def header(cast: str) -> dict[str, Any]:
    """Return title, size and version."""
    read: dict[str, Any] = json.loads(cast.partition("\n")[0])
    return read


def events(cast: str) -> list[tuple[float, str, str]]:
    """Return moment, kind and text of each event: o is output, m a marker with the command that follows."""
    return [(moment, kind, text) for moment, kind, text in map(json.loads, cast.splitlines()[1:])]


def commands(cast: str) -> tuple[str, ...]:
    """Return what was typed."""
    return tuple(text for _, kind, text in events(cast) if kind == "m")


def plain(cast: str) -> str:
    """Return the text that was on the terminal, without colours."""
    text = CONTROL.sub("", "".join(text for _, kind, text in events(cast) if kind == "o"))
    return text.removesuffix("$ ").rstrip()


def recordings(folder: Path = RECORDINGS) -> Mapping[str, str]:
    """Return all recordings by name."""
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.cast"))}
