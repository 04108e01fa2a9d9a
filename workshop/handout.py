"""`make handout`: the handout, from its source, the files of the ladder and what was measured on it.

The source, handout.md, is a Jinja template and holds no measured number: `{{ naive.bytes }}` is one, with its unit. A
sentence that says that something became less takes a filter, `{{ slim.bytes | less_than(naive.bytes) }}`, which stops
the build if it did not.
"""

import argparse
import ast
import difflib
import json
import re
import sys
import traceback
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from jinja2 import Environment, TemplateError

from workshop import page
from workshop.ladder import Rung, rungs
from workshop.measure import facts_line

HERE = Path(__file__).parent
TEMPLATE = HERE.parent
SERVICE = TEMPLATE / "{{cookiecutter.project_slug}}"
# What a table calls a change. Sizes and counts are the same in each run, times are not.
EXACT, NOISY = 0.01, 0.25
# The hashes of a lock: of each package only the first is printed, and of that only the beginning.
HASHES = re.compile(r"(--hash=sha256:\w{8})\w+(?: \\\n +--hash=\S+)*")
SPACE, MINUS, TIMES = "\N{NO-BREAK SPACE}", "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}"
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
    """A number of a rung: its name in the results, in words and in a few words, and how it is written."""

    key: str
    title: str
    short: str
    written: Callable[[float], str]
    threshold: float = NOISY


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


def digits(value: float) -> str:
    """Write a number with the digits that count."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def size(value: float) -> str:
    """Write bytes."""
    return f"{value / 1e9:.2f}{SPACE}GB" if value >= 1e9 else f"{digits(value / 1e6)}{SPACE}MB"


def unit(name: str) -> Callable[[float], str]:
    """Return a function that writes a number with its unit."""
    return lambda value: f"{digits(value)}{SPACE}{name}"


MEASURES = (
    Measure("bytes", "size on disk", "on disk", size, EXACT),
    Measure("compressed_bytes", "to pull, compressed", "to pull", size, EXACT),
    Measure("cold_build_seconds", "first build", "build", unit("s")),
    Measure("code_rebuild_seconds", "rebuild after an edit", "rebuild", unit("s")),
    Measure("start_ms", "start to first answer", "start", unit("ms")),
    Measure("probe_cpu_ms", "CPU time of a health probe", "probe", unit("ms")),
    Measure("stop_seconds", "stop", "stop", unit("s")),
    Measure("packages", "packages a scanner sees", "packages", lambda value: f"{value:.0f}", EXACT),
)


def measured(value: Any) -> Any:
    """Return a value that is there."""
    if value is None:
        raise HandoutError("this number was not measured")
    return value


def less_than(now: Number | None, then: Number | None) -> str:
    """Write by how much a number is less than another; a claim, so it must be."""
    now, then = measured(now), measured(then)
    if now >= then:
        raise HandoutError(f"{now} is not less than {then}")
    return f"{100 * (1 - now / then):.0f}{SPACE}% less"


def fewer_than(now: Number | None, then: Number | None) -> str:
    """Write the same of what is counted."""
    return less_than(now, then).replace("less", "fewer")


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
        yield {**told, "before": before, "after": after}


# ---- what the source can say ----


def contract_rows() -> dict[int, str]:
    """Return the rows of the contract, read from the scorecard of the service without running it."""
    tree = ast.parse((SERVICE / "tests/container/scorecard.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "ROWS":
            rows: dict[int, str] = ast.literal_eval(node.value)
            return rows
    raise HandoutError("the scorecard of the service has no ROWS")


def told(rung: Rung, result: Mapping[str, Any], below: dict[str, Any] | None) -> dict[str, Any]:
    """Return what the source can say of a rung, by name."""
    numbers = {
        measure.key: None if result[measure.key] is None else Number(result[measure.key], measure)
        for measure in MEASURES
    }
    files = {name: content.decode() for name, content in rung.files().items()}
    after = {name: files[name] for name in sorted(files, key=dockerfile_first)}
    if rung.bake is not None:
        after = {"Dockerfile": files["Dockerfile"]}
    # What the template bakes has little in common with the rung below: its Dockerfile is printed as a whole.
    compared = below is not None and below["baked"] == (rung.bake is not None)
    return {
        **result,
        **numbers,
        "title": f"{rung.number} · {rung.title}",
        "idea": rung.idea,
        "claims": rung.claims,
        "passes": f"{result['rows_passed']}{SPACE}of{SPACE}{result['rows_applicable']}",
        "below": below,
        "changes": list(changes(below, numbers)) if below else [],
        "baked": rung.bake is not None,
        "before": below["after"] if below and compared else {},
        "after": after,
    }


def spans(numbers: list[int]) -> str:
    """Write numbers with those in a row drawn together."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    drawn = (f"{part[0]} to {part[-1]}" if len(part) > 2 else ", ".join(map(str, part)) for part in parts)
    return ", ".join(drawn) or "none"


def environment(path: Path) -> Environment:
    """Return Jinja with all that the handout says without its author having written it."""
    results = json.loads(path.read_text(encoding="utf-8"))
    ladder = {rung.name: rung for rung in rungs()}
    if [result["name"] for result in results["rungs"]] != list(ladder):
        raise HandoutError(f"measured was another ladder than {', '.join(ladder)}: make workshop")
    by_name: dict[str, dict[str, Any]] = {}
    below = None
    for result in results["rungs"]:
        by_name[result["name"]] = below = told(ladder[result["name"]], result, below)

    def passed_by(row: int) -> str:
        passed = [rung["number"] for rung in by_name.values() if rung["rows"][str(row)]["status"] == "passed"]
        return spans(passed)

    jinja = page.jinja(finalize=measured)
    jinja.filters |= {"less_than": less_than, "fewer_than": fewer_than, "times": times}
    jinja.filters |= {"language": language, "passed_by": passed_by}
    jinja.globals |= {
        **by_name,
        "rungs": list(by_name.values()),
        "measures": MEASURES,
        "contract": contract_rows(),
        "exercises": list(exercises()),
        "charts": CHARTS,
        "machine": facts_line(results),
        "noise": f"{100 * NOISY:.0f}{SPACE}%",
        "changed": changed,
        "picture": lambda name: picture(path.parent / f"{name}.svg"),
        "text": lambda name: (HERE / name).read_text(encoding="utf-8"),
    }
    return jinja


def picture(svg: Path) -> str:
    """Return a chart as an address that is the chart itself, so that the page needs no other file."""
    return f"data:image/svg+xml;base64,{b64encode(svg.read_bytes()).decode()}"


def fill(jinja: Environment, name: str = "handout.md") -> str:
    """Return the handout in Markdown; say in which line of its source there is something wrong."""
    try:
        return jinja.get_template(name).render()
    except (HandoutError, TemplateError, KeyError, TypeError) as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename.endswith(name)]
        raise HandoutError(f"{name}, line {lines[-1] if lines else '?'}: {error}") from error


def main() -> int:
    """Make the page, and the PDF where there is a browser that prints it."""
    options = argparse.ArgumentParser(description="Make the handout.")
    options.add_argument(
        "--results", type=Path, default=HERE / "results/ladder.json", help="what make workshop measured"
    )
    options.add_argument("--output", type=Path, default=HERE / "build", help="folder for handout.html and handout.pdf")
    arguments = options.parse_args()
    try:
        text = fill(environment(arguments.results))
    except FileNotFoundError as error:
        sys.exit(f"handout: {error.filename} is not there; `make workshop` measures the ladder")
    except HandoutError as error:
        sys.exit(f"handout: {error}")

    arguments.output.mkdir(parents=True, exist_ok=True)
    html = arguments.output / "handout.html"
    html.write_text(page.web_page(text), encoding="utf-8")
    print(html)
    if program := page.browser():
        page.pdf(program, text, arguments.output / "handout.pdf")
        print(arguments.output / "handout.pdf")
    else:
        print("No PDF: that takes Chromium, Chrome or Edge; or print the page from any browser.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
