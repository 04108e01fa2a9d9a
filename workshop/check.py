"""Judge a Dockerfile by the container contract, and say what to fix next: `workshop/check FOLDER`.

The folder is built as it is. Two rows that an image alone cannot answer are asked of the folder: what is shipped by
mistake (row 7), and what a change of code builds anew (row 11). Both work on copies; the folder stays as it is.

Exit code: 0 if every row that was asked is green, 1 if not, 2 if there is nothing to judge.
"""

import argparse
import json
import os
import re
import shutil
import sys
import tarfile
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tools import engine
from tools.contract import NOT_COPIED, STATIC, Clause, Contract, ContractError, Verdict, baked

SECONDS_TO_ANSWER = 20
STYLES = {"passed": "green", "failed": "bold red"}

# Where people keep what must not be shipped: in the folder, and beside the code in it.
CANARY = "c0ffee-canary-5e2d"
PLANTED = (
    *(".env", ".env.local", ".git/config", ".netrc", "id_rsa", "server.key", "notes.txt", "dump.sql"),
    *(".venv/bin/activate", ".pytest_cache/v/cache", "node_modules/a.js", "tests/test_canary.py"),
)
PLANTED_IN_CODE = (".env", "server.pem", "__pycache__/canary.pyc")

INSTALLS = re.compile(r"\b(pip3?|uv|poetry|pipenv|pdm|conda)\b.*\b(install|sync|download)\b")
NEVER_CODE = {"setup.py", "conftest.py"}

console = Console(highlight=False)


class CheckError(Exception):
    """There is nothing to judge; the message says why, and what to do."""


@dataclass(frozen=True)
class Exercise:
    """What an exercise asks: rows of the contract, and single tests of others."""

    title: str
    rows: frozenset[int]
    tests: frozenset[str]

    @classmethod
    def of(cls, folder: Path) -> "Exercise | None":
        """Return the exercise in a folder, if there is one."""
        file = folder / "exercise.toml"
        if not file.exists():
            return None
        told = tomllib.loads(file.read_text(encoding="utf-8"))
        return cls(told["title"], frozenset(told["rows"]), frozenset(told.get("tests", [])))


def port_of(image: engine.Image) -> int:
    """Return the port that an image exposes."""
    if not image.ports:
        raise CheckError(
            "the image does not say where its service listens: write `EXPOSE 5000` (your port) into the Dockerfile,"
            " or say --port 5000 here"
        )
    return image.port


def require_answer(image: engine.Image, port: int) -> None:
    """Run the image as plain `docker run` does; raise CheckError if nothing answers."""
    with engine.running(image, port=port, options=()) as container:
        try:
            container.wait_until_serving(SECONDS_TO_ANSWER)
        except engine.DockerError as error:
            why = (
                f"nothing answers on port {port} after {SECONDS_TO_ANSWER} s. Does the service listen there, and on"
                " 0.0.0.0? On 127.0.0.1 nobody outside its container can reach it"
                if container.state["Running"]
                else "the container has ended"
            )
            last = "\n".join(container.logs[-10:]) or "(it is empty)"
            raise CheckError(f"{why}. The end of its log:\n{last}") from error


@contextmanager
def copy_of(folder: Path) -> Iterator[Path]:
    """Return a copy of the folder, without what is large and must not be shipped anyway."""
    with TemporaryDirectory(prefix="check-") as parent:
        yield shutil.copytree(folder, Path(parent) / folder.resolve().name, ignore=NOT_COPIED, symlinks=True)


def shipped_by_mistake(folder: Path, tag: str) -> str | None:
    """Build a copy with canaries in it; return None, or what was found in the layers and the history."""
    with copy_of(folder) as copy:
        folders = {path.parent for path in copy.rglob("*.py") if path.parent != copy}
        for path in [*(copy / name for name in PLANTED), *(f / name for f in folders for name in PLANTED_IN_CODE)]:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"# {CANARY} {path.relative_to(copy)}\n", encoding="utf-8")
        image = engine.Image.build(tag, context=copy)
    caught = {name for layer in image.raw_layers() for name in canaries_in(layer)}
    if CANARY in image.history:
        caught.add("the history")
    names = sorted(caught)
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"shipped by mistake: {', '.join(names[:5])}{more}" if names else None


def canaries_in(layer: bytes) -> Iterator[str]:
    """Yield the names of the files that hold the canary, also of those that a later layer hides."""
    if CANARY.encode() not in layer:
        return
    with tarfile.open(fileobj=BytesIO(layer)) as archive:
        for member in archive:
            opened = archive.extractfile(member) if member.isfile() else None
            if opened and CANARY.encode() in opened.read():
                yield f"/{member.name}"


def installed_anew(folder: Path, tag: str) -> str | None:
    """Build a copy in which the code has changed; return None, or what that built anew."""
    with copy_of(folder) as copy:
        code = [
            path
            for path in copy.rglob("*.py")
            if path.name not in NEVER_CODE and "tests" not in path.relative_to(copy).parts
        ]
        if not code:
            return "the folder has no Python code that could change"
        before = engine.Image(tag).layer_digests
        for path in code:
            with path.open("a", encoding="utf-8") as file:
                file.write(f"\n# {time.time_ns()}: new in every run, or the engine would know the layer\n")
        log = engine.Image.build_log(f"{tag}-changed", context=copy)
    if engine.Image(f"{tag}-changed").layer_digests == before:
        return "a change of the code does not reach the image"
    steps = [step for step in re.findall(r"^(#\d+) \[[^]]*\] RUN (.*)$", log, re.MULTILINE) if INSTALLS.search(step[1])]
    if not steps:
        return "no step of the build installs packages: are they installed at every start?"
    anew = [command for number, command in steps if not re.search(rf"^{number} CACHED$", log, re.MULTILINE)]
    return f"a change of code runs this again: {anew[0][:120]}" if anew else None


# Rows that are asked of the folder, with the test of the contract whose lesson they share.
OF_THE_FOLDER: dict[int, tuple[Callable[[Path, str], str | None], str]] = {
    7: (shipped_by_mistake, "test_nothing_but_the_service_is_shipped"),
    11: (installed_anew, "test_a_change_of_code_installs_nothing"),
}


def judge(folder: Path, contract: Contract, tests: Sequence[Clause], rows: frozenset[int], port: int | None) -> Verdict:
    """Build the folder and judge it; show what is going on."""
    tag = f"workshop-check:{os.getpid()}"
    with console.status("Building the image …"):
        try:
            image = engine.Image.build(tag, context=folder)
        except engine.DockerError as error:
            raise CheckError(f"the build fails. The end of its log:\n{engine.end_of(error)}") from error
    with console.status("Waiting for the first answer …"):
        require_answer(image, port or port_of(image))
    with console.status("Judging …") as status:
        verdict = contract.judge(tag, tests, port, lambda percent: status.update(f"Judging … {percent}%"))
        cards = {row["number"]: row for row in verdict.card["rows"]}
        for number, (ask, name) in OF_THE_FOLDER.items():
            if number not in rows:
                continue
            status.update(f"Asking the folder for row {number} …")
            try:
                problem = ask(folder, f"{tag}-{number}" if number == 7 else tag)
            except engine.DockerError as error:
                problem = f"a copy of the folder does not build: {str(error).splitlines()[-1]}"
            cards[number]["status"], cards[number]["reason"] = ("failed" if problem else "passed"), problem or ""
            if problem:
                verdict.failed[number] = (contract.tests[name], problem)
    statuses = [row["status"] for row in cards.values()]
    verdict.card |= {
        "image": folder.resolve().name,
        "passed": statuses.count("passed"),
        "applicable": statuses.count("passed") + statuses.count("failed"),
    }
    return verdict


def next_to_mend(verdict: Verdict) -> dict[str, Any] | None:
    """Return the lowest failed row, why it matters and how to fix it, or None if nothing failed."""
    for row in verdict.card["rows"]:
        if row["status"] == "failed":
            test, message = verdict.failed[row["number"]]
            seen = row["reason"] or message.partition("\n")[0]
            return {
                "row": row["number"],
                "title": row["title"],
                "seen": seen,
                "why": test.lesson.why,
                "mend": test.lesson.mend,
                "test": test.name,
            }
    return None


def show(verdict: Verdict, exercise: Exercise | None) -> None:
    """Print the scorecard and the next thing to fix."""
    card = verdict.card
    title = f"{exercise.title if exercise else card['image']}: {card['passed']} of {card['applicable']} rows passed"
    table = Table("Row", "The contract", "Verdict", "Reason", title=title, title_justify="left")
    for row in card["rows"]:
        if row["status"] != "not run":
            style = STYLES.get(row["status"], "dim")
            table.add_row(str(row["number"]), row["title"], Text(row["status"], style), Text(row["reason"]))
    console.print(table)
    if mend := next_to_mend(verdict):
        said = {"Seen": mend["seen"], "Why": mend["why"], "Fix": mend["mend"]}
        lines = [Text.assemble((f"{name + ':':6}", "bold"), text) for name, text in said.items()]
        text = Text("\n").join(lines)
        console.print(
            Panel(text, title=f"The next thing to fix: row {mend['row']}", title_align="left", style="yellow")
        )
    elif exercise:
        console.print("Repaired: the cause is gone. The folder solutions/ tells the whole story.", style="bold green")
    else:
        console.print("Nothing to fix.", style="bold green")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="workshop/check", description="Judge a Dockerfile, and say what to fix next.")
    parser.add_argument("folder", type=Path, help="the folder with the Dockerfile")
    parser.add_argument("--port", type=int, help="the port the service listens on, if the image does not expose it")
    parser.add_argument("--fast", action="store_true", help="only rows 1 to 11, which need little time")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the scorecard there as well")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Check a folder; return the exit code."""
    options = parse(arguments)
    folder: Path = options.folder
    try:
        if not (folder / "Dockerfile").is_file():
            raise CheckError(f"there is no Dockerfile in {folder}: name the folder that has yours")
        exercise = Exercise.of(folder)
        if why := engine.missing():
            raise CheckError(why)
        try:
            with baked() as contract:
                rows = exercise.rows if exercise else frozenset(test.row for test in contract.tests.values())
                tests = contract.select(rows, exercise.tests if exercise else ())
                if options.fast:
                    rows, tests = rows & STATIC, [test for test in tests if test.row in STATIC]
                verdict = judge(folder, contract, tests, rows, options.port)
        finally:
            engine.remove_leftovers()
    except (CheckError, ContractError) as error:
        console.print(Text(f"workshop/check: {error}", "red"))
        return 2
    show(verdict, exercise)
    if options.json:
        written = {**verdict.card, "next": next_to_mend(verdict)}
        options.json.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    return 1 if next_to_mend(verdict) else 0


if __name__ == "__main__":
    sys.exit(main())
