"""`make handout`: the handout, from its source, the files of the ladder and what was measured on it.

The source, handout.md with chapters/, is made of Jinja templates and holds no measured number: `{{ naive.bytes }}` is
one, with its unit. A sentence that says that something became less takes a filter,
`{{ slim.bytes | less_than(naive.bytes) }}`, which stops the build if it did not.
"""

import argparse
import difflib
import json
import re
import sys
import traceback
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from jinja2 import Environment, TemplateError
from jinja2.filters import do_filesizeformat

from workshop import page
from workshop.casts import header, plain, recordings
from workshop.chapters import PLANS, chapters
from workshop.instructions import Explanation, explained
from workshop.ladder import Rung, rungs
from workshop.measure import facts_line
from workshop.quiz import questions

HERE = Path(__file__).parent
# What a table calls a change. Sizes and counts are the same in each run, times are not.
EXACT, NOISY = 0.01, 0.25
# The hashes of a lock: of each package only the first is printed, and of that only the beginning.
HASHES = re.compile(r"(--hash=sha256:\w{8})\w+(?: \\\n +--hash=\S+)*")
SPACE, MINUS, TIMES = "\N{NO-BREAK SPACE}", "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}"
# What participants fill in by hand, printed beside the handout.
SHEETS = ("worksheet", "feedback")
CHARTS = {
    "sizes": "Size of the image at each rung, layer by layer",
    "start": "Time from the start of the container to its first answer, at each rung",
    "scorecard": "Which rows of the contract each rung passes",
}


class HandoutError(Exception):
    """The handout cannot be made, and why."""


# ---- numbers ----


@dataclass(frozen=True)
class Measure:
    """A number of a rung: its name in the results, in words and in a few words, its unit (B is bytes), if any."""

    key: str
    title: str
    short: str
    unit: str
    threshold: float = NOISY

    def written(self, value: float) -> str:
        """Write a number with the digits that count, and its unit."""
        if self.unit == "B":
            return do_filesizeformat(value).replace(" ", SPACE)
        digits = f"{value:,.0f}" if value >= 100 or not self.unit else f"{value:.1f}" if value >= 1 else f"{value:.2g}"
        return f"{digits}{SPACE}{self.unit}" if self.unit else digits


class Number(float):
    """A measured number, written with its unit."""

    measure: Measure

    def __new__(cls, value: float, measure: Measure) -> Self:
        """Keep the measure."""
        number = super().__new__(cls, value)
        number.measure = measure
        return number

    def __str__(self) -> str:
        """Write it."""
        return self.measure.written(self)


MEASURES = (
    Measure("bytes", "size on disk", "on disk", "B", EXACT),
    Measure("compressed_bytes", "to pull, compressed", "to pull", "B", EXACT),
    Measure("cold_build_seconds", "first build", "build", "s"),
    Measure("code_rebuild_seconds", "rebuild after an edit", "rebuild", "s"),
    Measure("start_ms", "start to first answer", "start", "ms"),
    Measure("start_cpu_ms", "CPU time of a start", "start, CPU", "ms"),
    Measure("probe_cpu_ms", "CPU time of a health probe", "probe", "ms"),
    Measure("stop_seconds", "stop", "stop", "s"),
    Measure("packages", "packages a scanner sees", "packages", "", EXACT),
)


def measured(value: Any) -> Any:
    """Return a value that is there."""
    if value is None:
        raise HandoutError("this number was not measured")
    return value


def less_than(now: Number | None, then: Number | None, word: str = "less") -> str:
    """Write by how much a number is less than another, or fewer; a claim, so it must be."""
    now, then = measured(now), measured(then)
    if now >= then:
        raise HandoutError(f"{now} is not less than {then}")
    return f"{100 * (1 - now / then):.0f}{SPACE}% {word}"


def times(now: Number | None, then: Number | None) -> str:
    """Write how many times another a number is; a claim, so it must be more."""
    now, then = measured(now), measured(then)
    if now <= then:
        raise HandoutError(f"{now} is not more than {then}")
    return f"{now / then:.1f} times"


def changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, Number, Number, str]]:
    """Find what differs between two rungs by more than its threshold: measure, before, now, by how much."""
    for measure in MEASURES:
        old, new = then[measure.key], now[measure.key]
        if old is None or new is None or abs(new - old) <= measure.threshold * max(old, new):
            continue
        percent = f"{'+' if new > old else MINUS}{abs(100 * (new / old - 1)):.0f}{SPACE}%" if old else "new"
        # A measure that grew to many times what it was reads better as a factor.
        yield measure.title, old, new, f"{TIMES} {new / old:.1f}" if old and new >= 2 * old else percent


# ---- files ----


def language(name: str) -> str:
    """Return what a file is highlighted as."""
    kinds = {".py": "python", ".sh": "bash", ".toml": "toml", ".yaml": "yaml"}
    return "docker" if Path(name).name.endswith("Dockerfile") else kinds.get(Path(name).suffix, "text")


def dockerfile_first(name: str) -> tuple[bool, str]:
    """Sort names of files."""
    return name != "Dockerfile", name


def changed(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Return what changed: the name of each file, whether it is new, gone or changed, and the lines."""
    for name in sorted({*before, *after}, key=dockerfile_first):
        old, new = (HASHES.sub(r"\1…", files.get(name, "")).splitlines() for files in (before, after))
        # The line numbers of a diff are for programs; a person needs to see only that something is left out.
        lines = ["  …" if line.startswith("@@") else line for line in difflib.unified_diff(old, new, lineterm="", n=2)]
        kind = "new" if name not in before else "gone" if name not in after else "changed"
        if lines:
            yield name, kind, "\n".join(lines[2:]).removeprefix("  …\n")


def text_files(folder: Path) -> dict[str, str]:
    """Return the files of a folder that are no Markdown."""
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".md" and "__pycache__" not in path.parts
    }


def demoted(path: Path) -> str:
    """Return a page whose headings are two levels lower. What is a comment in a block of code is none."""
    parts = re.split(r"(^```.*?^```$)", path.read_text(encoding="utf-8").strip(), flags=re.MULTILINE | re.DOTALL)
    parts[::2] = [re.sub(r"^#", "###", part, flags=re.MULTILINE) for part in parts[::2]]
    return "".join(parts)


def exercises() -> Iterator[dict[str, Any]]:
    """Return each exercise: what it asks, what its solution says, and the files before and after."""
    for task in sorted((HERE / "exercises").glob("*/task.md")):
        solution = HERE / "solutions" / task.parent.name
        after = text_files(solution)
        # A solution holds only what it changes.
        before = {name: text for name, text in text_files(task.parent).items() if name in after}
        told = {"task": demoted(task), "solution": demoted(solution / "solution.md")}
        yield {**told, "name": task.parent.name, "before": before, "after": after}


# ---- what the source can say ----


def told(rung: Rung, result: Mapping[str, Any], below: dict[str, Any], new: Sequence[Explanation]) -> dict[str, Any]:
    """Return what the source can say of a rung, by name."""
    values = {measure: result[measure.key] for measure in MEASURES}
    numbers = {measure.key: None if value is None else Number(value, measure) for measure, value in values.items()}
    files = {name: content.decode() for name, content in rung.files().items()}
    names = sorted(files, key=dockerfile_first) if rung.bake is None else ["Dockerfile"]
    # What the template bakes has little in common with the rung below: its Dockerfile is printed as a whole.
    compared = below.get("baked") == (rung.bake is not None)
    return {
        **result,
        **numbers,
        "title": f"{rung.number} · {rung.title}",
        "idea": rung.idea,
        "claims": rung.claims,
        "rows": {int(number): row for number, row in result["rows"].items()},
        "passes": f"{result['rows_passed']}{SPACE}of{SPACE}{result['rows_applicable']}",
        "new": new,
        "below": below,
        "changes": list(changes(below, numbers)) if below else [],
        "baked": rung.bake is not None,
        "before": below["after"] if compared else {},
        "after": {name: files[name] for name in names},
    }


def environment(path: Path) -> Environment:
    """Return Jinja with all that the handout says without its author having written it."""
    results = json.loads(path.read_text(encoding="utf-8"))
    ladder = {rung.name: rung for rung in rungs()}
    if [result["name"] for result in results["rungs"]] != list(ladder):
        raise HandoutError(f"measured was another ladder than {', '.join(ladder)}: make workshop")
    new = explained(tuple(ladder.values()))
    by_name: dict[str, dict[str, Any]] = {}
    below: dict[str, Any] = {}
    for result in results["rungs"]:
        by_name[result["name"]] = below = told(ladder[result["name"]], result, below, new[result["name"]])

    jinja = page.jinja(finalize=measured)
    jinja.filters |= {"less_than": less_than, "times": times, "language": language}
    jinja.filters |= {"inline": page.parser().renderInline, "slug": page.slug}
    jinja.globals |= {
        **by_name,
        "rungs": list(by_name.values()),
        "measures": MEASURES,
        "chapters": chapters(),
        "plans": PLANS,
        "contract": {number: row["title"] for number, row in below["rows"].items()},
        "exercises": list(exercises()),
        "quiz": questions(),
        "charts": CHARTS,
        "recordings": recordings(),
        "header": header,
        "plain": plain,
        "machine": facts_line(results),
        "noise": f"{100 * NOISY:.0f}{SPACE}%",
        "changed": changed,
        # A chart as an address that is the chart itself, so that the page needs no other file.
        "picture": lambda name: (
            f"data:image/svg+xml;base64,{b64encode((path.parent / f'{name}.svg').read_bytes()).decode()}"
        ),
        "text": lambda name: (HERE / name).read_text(encoding="utf-8"),
    }
    return jinja


def fill(jinja: Environment, name: str = "handout.md") -> str:
    """Return the handout in Markdown; say in which line of which source there is something wrong."""
    try:
        return jinja.get_template(name).render()
    except (HandoutError, TemplateError, KeyError, TypeError) as error:
        # The innermost frame that is a text, not a macro: there an author can fix it.
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.endswith(".md")]
        file, line = (frames[-1].filename, frames[-1].lineno) if frames else (name, "?")
        file = Path(file).relative_to(HERE).as_posix() if Path(file).is_relative_to(HERE) else Path(file).name
        raise HandoutError(f"{file}, line {line}: {error}") from error


def main() -> int:
    """Make the page and the sheets, and their PDFs where there is a browser that prints them."""
    options = argparse.ArgumentParser(description="Make the handout.")
    options.add_argument("--results", type=Path, default=HERE / "results/ladder.json", help="what was measured")
    options.add_argument("--output", type=Path, default=HERE / "build", help="folder for the pages and their PDFs")
    arguments = options.parse_args()
    try:
        jinja = environment(arguments.results)
        text = fill(jinja)
        sheets = {name: page.web_page(fill(jinja, f"{name}.md"), contents=False) for name in SHEETS}
    except FileNotFoundError as error:
        sys.exit(f"handout: {error.filename} is not there; `make workshop` measures the ladder")
    except HandoutError as error:
        sys.exit(f"handout: {error}")

    arguments.output.mkdir(parents=True, exist_ok=True)
    pages = {"handout": page.web_page(text, player=page.fetch_player(), recordings=recordings()), **sheets}
    for name, html in pages.items():
        path = arguments.output / f"{name}.html"
        path.write_text(html, encoding="utf-8")
        print(f"{path}: {do_filesizeformat(path.stat().st_size)}")
    if program := page.browser():
        page.pdf(program, text, arguments.output / "handout.pdf")
        print(arguments.output / "handout.pdf")
        for name, html in sheets.items():
            page.printed(program, html, arguments.output / f"{name}.pdf")
            print(arguments.output / f"{name}.pdf")
    else:
        print("No PDF: that takes Chromium, Chrome or Edge; or print the page from any browser.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
