"""`make handout`: the handout, from its source, the files of the ladder and what was measured on it.

The source, handout.md, holds no measured number. Where one belongs stands a placeholder, {{ verb argument … }}; each
verb is a method of `Facts`. A sentence that says that something became less holds one, too, which stops the build if it
did not.
"""

import argparse
import ast
import difflib
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from workshop import page
from workshop.ladder import Rung, rungs

HERE = Path(__file__).parent
TEMPLATE = HERE.parent
SERVICE = TEMPLATE / "{{cookiecutter.project_slug}}"
PLACEHOLDER = re.compile(r"\{\{ (\w+)((?: [^ {}]+)*) \}\}")
# What a table calls a change. Sizes and counts are the same in each run, times are not.
EXACT, NOISY = 0.01, 0.25
# The hashes of a lock: of each package only the first is printed, and of that only the beginning.
HASHES = re.compile(r"(--hash=sha256:\w{8})\w+(?: \\\n +--hash=\S+)*")

SPACE, MINUS, TIMES, DASH = "\N{NO-BREAK SPACE}", "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}", "\N{EN DASH}"


class HandoutError(Exception):
    """The handout cannot be made, and why."""


@dataclass(frozen=True)
class Measure:
    """A number of a rung: its name in the results, in words and in a few words, and how it is written."""

    key: str
    title: str
    short: str
    written: Callable[[float], str]
    threshold: float = NOISY


def digits(value: float) -> str:
    """Write a number with the digits that count."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def size(value: float) -> str:
    """Write bytes."""
    return f"{value / 1e9:.2f}{SPACE}GB" if value >= 1e9 else f"{digits(value / 1e6)}{SPACE}MB"


def unit(name: str) -> Callable[[float], str]:
    """Return a function that writes a number with its unit."""
    return lambda value: f"{digits(value)}{SPACE}{name}"


MEASURES = {
    measure.key: measure
    for measure in (
        Measure("bytes", "size on disk", "on disk", size, EXACT),
        Measure("compressed_bytes", "to pull, compressed", "to pull", size, EXACT),
        Measure("cold_build_seconds", "first build", "build", unit("s")),
        Measure("code_rebuild_seconds", "rebuild after an edit", "rebuild", unit("s")),
        Measure("start_ms", "start to first answer", "start", unit("ms")),
        Measure("probe_cpu_ms", "CPU time of a health probe", "probe", unit("ms")),
        Measure("stop_seconds", "stop", "stop", unit("s")),
        Measure("packages", "packages a scanner sees", "packages", lambda value: f"{value:.0f}", EXACT),
    )
}
UNKNOWN = "not measured"
CLAIMED = "Claimed, and held against the numbers by a test:"
CHARTS = {
    "sizes": "Size of the image at each rung, layer by layer",
    "start": "Time from the start of the container to its first answer, at each rung",
    "scorecard": "Which rows of the contract each rung passes",
}


def contract_rows() -> dict[int, str]:
    """Return the rows of the contract, read from the scorecard of the service without running it."""
    tree = ast.parse((SERVICE / "tests/container/scorecard.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "ROWS":
            rows: dict[int, str] = ast.literal_eval(node.value)
            return rows
    raise HandoutError("the scorecard of the service has no ROWS")


def demoted(markdown: str, levels: int = 2) -> str:
    """Return a text whose headings are so many levels lower. What is a comment in a block of code is none."""
    parts = re.split(r"(^```.*?^```$)", markdown.strip(), flags=re.MULTILINE | re.DOTALL)
    parts[::2] = [re.sub(r"^#", "#" * (levels + 1), part, flags=re.MULTILINE) for part in parts[::2]]
    return "".join(parts)


def fence(language: str, code: str) -> str:
    """Return a block of code."""
    return f"```{language}\n{code.rstrip()}\n```"


def language_of(name: str) -> str:
    """Return what a file is highlighted as."""
    kinds = {".py": "python", ".sh": "bash", ".toml": "toml", ".yaml": "yaml"}
    return "docker" if Path(name).name.endswith("Dockerfile") else kinds.get(Path(name).suffix, "text")


def printed(name: str, text: str) -> str:
    """Return a file with its name above it."""
    return f'<p class="file"><code>{escape(name)}</code></p>\n\n{fence(language_of(name), text)}'


def difference(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """Return what changed from file to file; the Dockerfile first."""
    blocks = []
    for name in sorted({*before, *after}, key=lambda name: (name != "Dockerfile", name)):
        old, new = (HASHES.sub(r"\1…", files.get(name, "")).splitlines() for files in (before, after))
        lines = list(difflib.unified_diff(old, new, lineterm="", n=2))[2:]
        if not lines:
            continue
        kind = "new" if name not in before else "gone" if name not in after else "changed"
        # The line numbers of a diff are for programs; a person needs to see only that something is left out.
        kept = ["  …" if line.startswith("@@") else line for line in lines]
        kept = kept[1:] if kept[0] == "  …" else kept
        blocks.append(f'<p class="file"><code>{escape(name)}</code> {kind}</p>\n\n{fence("diff", chr(10).join(kept))}')
    return "\n\n".join(blocks)


@cache
def text_of(rung: Rung) -> dict[str, str]:
    """Return the files of a rung."""
    return {name: content.decode() for name, content in rung.files().items()}


class Facts:
    """All that the handout says without its author having written it."""

    def __init__(self, results: Path, workshop: Path = HERE) -> None:
        """Read the results and the ladder they were measured on."""
        self.folder = results.parent
        self.workshop = workshop
        self.results: dict[str, Any] = json.loads(results.read_text(encoding="utf-8"))
        self.rungs: dict[str, dict[str, Any]] = {rung["name"]: rung for rung in self.results["rungs"]}
        self.ladder: dict[str, Rung] = {rung.name: rung for rung in rungs()}
        if list(self.rungs) != list(self.ladder):
            raise HandoutError(f"measured were {list(self.rungs)}, the ladder has {list(self.ladder)}: make workshop")
        self.contract = contract_rows()
        self.used: set[str] = set()

    def fill(self, text: str) -> str:
        """Replace all placeholders."""

        def replaced(found: re.Match[str]) -> str:
            verb, arguments = found[1], found[2].split()
            method = getattr(self, f"do_{verb}", None)
            if method is None:
                raise HandoutError(f"{found[0]}: there is no {verb}")
            self.used.add(f"{verb} {' '.join(arguments)}".strip())
            try:
                return str(method(*arguments))
            except (HandoutError, KeyError, TypeError, ValueError, OSError) as error:
                raise HandoutError(f"{found[0]}: {error}") from error

        return PLACEHOLDER.sub(replaced, text)

    # ---- what was measured ----

    def value(self, key: str, rung: str) -> float | None:
        """Return a number, if it could be measured."""
        number = self.rungs[rung][MEASURES[key].key]
        return None if number is None else float(number)

    def do_value(self, key: str, rung: str) -> str:
        """Write a number."""
        number = self.value(key, rung)
        return UNKNOWN if number is None else MEASURES[key].written(number)

    def do_less(self, key: str, rung: str, than: str) -> str:
        """Write by how much a number is less than that of another rung; a claim, so it must be."""
        now, then = self.value(key, rung), self.value(key, than)
        if now is None or then is None:
            return f"less ({UNKNOWN} on this machine)"
        if now >= then:
            raise HandoutError(f"{rung} has {now}, {than} has {then}: that is not less")
        return f"{100 * (1 - now / then):.0f}{SPACE}% less"

    def do_fewer(self, key: str, rung: str, than: str) -> str:
        """Write the same of what is counted."""
        return self.do_less(key, rung, than).replace("less", "fewer", 1)

    def do_times(self, key: str, rung: str, than: str) -> str:
        """Write how many times that of another rung a number is; a claim, so it must be more."""
        now, then = self.value(key, rung), self.value(key, than)
        if now is None or then is None:
            return f"several times ({UNKNOWN} on this machine)"
        if now <= then:
            raise HandoutError(f"{rung} has {now}, {than} has {then}: that is not more")
        return f"{now / then:.1f} times"

    def do_rows(self, rung: str) -> str:
        """Write how many rows of the contract a rung passes, of those that apply to it."""
        return f"{self.rungs[rung]['rows_passed']}{SPACE}of{SPACE}{self.rungs[rung]['rows_applicable']}"

    def do_exit(self, rung: str) -> str:
        """Write the exit code of a stop."""
        code = self.rungs[rung]["exit_code"]
        return UNKNOWN if code is None else f"exit code {code}"

    def do_threshold(self) -> str:
        """Write by how much times must differ to be told."""
        return f"{100 * NOISY:.0f}{SPACE}%"

    def do_machine(self) -> str:
        """Say where, when and with which versions all was measured."""
        machine, versions = self.results["machine"], self.results["versions"]
        names = {"docker": "Docker", "python": "Python", "flask": "Flask", "gunicorn": "gunicorn"}
        software = ", ".join(f"{title} {versions[name]}" for name, title in names.items())
        bases = ", ".join(versions[name] for name in ("slim_image", "full_image") if name in versions)
        software += f"; base images: {bases}" if bases else ""
        memory = f"{machine['memory_bytes'] / 1e9:.0f}{SPACE}GB of memory"
        return f"{self.results['date']}: {machine['cpus']} CPUs, {memory}, {machine['system']}, {software}"

    def changes(self, rung: str) -> Iterator[tuple[str, str, str, str]]:
        """Find what changed from the rung below by more than its threshold: measure, before, now, by how much."""
        below = self.below(rung)
        for key, measure in MEASURES.items():
            then, now = self.value(key, below), self.value(key, rung)
            if then is None or now is None or abs(now - then) <= measure.threshold * max(then, now):
                continue
            percent = f"{'+' if now > then else MINUS}{abs(100 * (now / then - 1)):.0f}{SPACE}%" if then else "new"
            # A measure that grew to many times what it was reads better as a factor.
            change = f"{TIMES} {now / then:.1f}" if then and now >= 2 * then else percent
            yield measure.title, measure.written(then), measure.written(now), change

    def do_gains(self, rung: str) -> str:
        """Tabulate what changed from the rung below, and name the rows of the contract that changed sides."""
        below = self.below(rung)
        parts = []
        if rows := list(self.changes(rung)):
            parts.append(page.table(("Measured", "Before", "Now", "Change"), rows))
        parts.append(f"Rows of the contract: {self.do_rows(below)} before, {self.do_rows(rung)} now.")
        codes = [self.rungs[name]["exit_code"] for name in (below, rung)]
        if codes[0] != codes[1] and None not in codes:
            parts.append(f"Exit code of a stop: {codes[0]} before, {codes[1]} now.")
        for word, status in (("Now passed", "passed"), ("No longer passed", "failed")):
            rows_now = [
                number
                for number in self.contract
                if self.status(rung, number) == status != self.status(below, number)
                and self.status(below, number) in {"passed", "failed"}
            ]
            if rows_now:
                parts.append(f"{word}: {'; '.join(map(self.do_row, map(str, rows_now)))}.")
        return "\n\n".join(parts)

    def do_summary(self) -> str:
        """Tabulate all rungs and measures."""
        titles = ("Rung", *(measure.short for measure in MEASURES.values()), "rows")
        rows = [
            (self.do_title(name), *(self.do_value(key, name) for key in MEASURES), self.do_rows(name))
            for name in self.rungs
        ]
        rows = [tuple(DASH if cell == UNKNOWN else cell for cell in row) for row in rows]
        return page.table(titles, rows)

    def do_chart(self, name: str) -> str:
        """Show a chart."""
        return page.picture(self.folder / f"{name}.svg", CHARTS[name])

    # ---- the contract ----

    def status(self, rung: str, number: int) -> str:
        """Return the verdict on a row."""
        row: dict[str, str] = self.rungs[rung]["rows"].get(str(number), {})
        return row.get("status", "not run")

    def do_row(self, number: str) -> str:
        """Cite a row of the contract, by number and words."""
        return f"[row {number}](#row-{number}) “{self.contract[int(number)]}”"

    def do_contract(self) -> str:
        """Tabulate the rows of the contract and the rungs that pass them."""
        lines = ["| Row | What it asks | Passed by rungs |", "|---:|---|---|"]
        for number, title in self.contract.items():
            passing = [rung["number"] for name, rung in self.rungs.items() if self.status(name, number) == "passed"]
            lines.append(f'| <span id="row-{number}">{number}</span> | {title} | {spans(passing)} |')
        return "\n".join(lines)

    # ---- the ladder ----

    def below(self, rung: str) -> str:
        """Return the rung below."""
        names = list(self.ladder)
        if names.index(rung) == 0:
            raise HandoutError("nothing is below the first rung")
        return names[names.index(rung) - 1]

    def do_title(self, rung: str) -> str:
        """Write number and title of a rung."""
        return f"{self.ladder[rung].number} · {self.ladder[rung].title}"

    def do_idea(self, rung: str) -> str:
        """Write the idea of a rung, in the words of the ladder."""
        return self.ladder[rung].idea

    def do_claims(self, rung: str) -> str:
        """List what a rung claims; the tests of the ladder hold each against the numbers."""
        return f'<p class="claims">{CLAIMED}</p>\n\n' + "\n".join(f"- {claim}" for claim in self.ladder[rung].claims)

    def do_files(self, rung: str) -> str:
        """Print all files of a rung, the Dockerfile first."""
        files = sorted(text_of(self.ladder[rung]).items(), key=lambda item: (item[0] != "Dockerfile", item[0]))
        return "\n\n".join(printed(name, text) for name, text in files)

    def do_baked(self, rung: str, name: str) -> str:
        """Print one file of a rung."""
        return printed(name, text_of(self.ladder[rung])[name])

    def do_diff(self, rung: str) -> str:
        """Print what changed from the rung below; of what the template makes, in the Dockerfile."""
        before, after = (text_of(self.ladder[name]) for name in (self.below(rung), rung))
        if self.ladder[rung].bake is not None:
            before, after = ({"Dockerfile": files["Dockerfile"]} for files in (before, after))
        return difference(before, after)

    # ---- other files of the workshop ----

    def do_file(self, name: str) -> str:
        """Print a file of the workshop."""
        return printed(Path(name).name, (self.workshop / name).read_text(encoding="utf-8"))

    def do_line(self, name: str) -> str:
        """Print the one line of a file of the workshop."""
        return (self.workshop / name).read_text(encoding="utf-8").strip()

    def exercises(self) -> list[Path]:
        """Return the folders of the exercises."""
        found = sorted(path.parent for path in (self.workshop / "exercises").glob("[0-9][0-9]-*/task.md"))
        if not found:
            raise HandoutError("there are no exercises")
        return found

    def do_exercises(self) -> str:
        """Print what each exercise asks."""
        return "\n\n".join(demoted((folder / "task.md").read_text(encoding="utf-8")) for folder in self.exercises())

    def do_solutions(self) -> str:
        """Print what each solution changes, and why."""
        parts = []
        for folder in self.exercises():
            solution = self.workshop / "solutions" / folder.name
            parts.append(demoted((solution / "solution.md").read_text(encoding="utf-8")))
            before, after = (text_files(path) for path in (folder, solution))
            # A solution holds only what it changes.
            parts.append(difference({name: before[name] for name in before if name in after}, after))
        return "\n\n".join(parts)


def text_files(folder: Path) -> dict[str, str]:
    """Return the files of a folder that are no Markdown."""
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".md" and "__pycache__" not in path.parts
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


def main() -> int:
    """Make the page, and the PDF where there is a browser that prints it."""
    options = argparse.ArgumentParser(description="Make the handout.")
    options.add_argument(
        "--results", type=Path, default=HERE / "results/ladder.json", help="what make workshop measured"
    )
    options.add_argument("--output", type=Path, default=HERE / "build", help="folder for handout.html and handout.pdf")
    arguments = options.parse_args()
    try:
        text = Facts(arguments.results).fill((HERE / "handout.md").read_text(encoding="utf-8"))
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
