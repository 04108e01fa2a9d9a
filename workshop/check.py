"""Judge a Dockerfile by the container contract, and say what to fix next: `workshop/check FOLDER`.

The folder is built as it is. Two rows that an image alone cannot answer are asked of the folder: what is shipped by
mistake (row 7), and what a change of code builds again (row 11). Both work on copies; the folder stays as it is.

Exit code: 0 if every row that was asked is green, 1 if not, 2 if there is nothing to judge.
"""

import argparse
import os
import re
import shutil
import sys
import time
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from rich.console import Console
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


def exercise_in(folder: Path) -> dict[str, Any]:
    """Return what an exercise asks: title, rows of the contract, single tests of others; nothing if it is none."""
    file = folder / "exercise.toml"
    return tomllib.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def require_answer(image: engine.Image) -> None:
    """Run the image as plain `docker run` does; raise CheckError if nothing answers."""
    if not (image.ports or image.unexposed_port):
        raise CheckError(
            "the image does not say where its service listens: write `EXPOSE 5000` (your port) into the Dockerfile,"
            " or say --port 5000 here"
        )
    with engine.running(image, options=()) as container:
        try:
            container.wait_until_serving(SECONDS_TO_ANSWER)
        except engine.DockerError as error:
            why = (
                f"nothing answers on port {image.port} after {SECONDS_TO_ANSWER} s. Does the service listen there, and"
                " on 0.0.0.0? On 127.0.0.1 nobody outside its container can reach it"
                if container.state["Running"]
                else "the container has ended"
            )
            last = "\n".join(container.logs[-10:]) or "(it is empty)"
            raise CheckError(f"{why}. The end of its log:\n{last}") from error


def shipped_by_mistake(copy: Path, tag: str) -> str | None:
    """Build a copy with canaries in it; return None, or what was found in the layers and the history."""
    folders = {path.parent for path in copy.rglob("*.py") if path.parent != copy}
    for path in [*(copy / name for name in PLANTED), *(f / name for f in folders for name in PLANTED_IN_CODE)]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {CANARY} {path.relative_to(copy)}\n", encoding="utf-8")
    image = engine.Image.build(f"{tag}-canary", context=copy)
    caught = {"the history"} if CANARY in image.history else set()
    # A file that a later layer hides is in the layer all the same.
    for layer in image.layers():
        files = {member.name: layer.extractfile(member) for member in layer if member.isfile()}
        caught |= {f"/{name}" for name, file in files.items() if file and CANARY.encode() in file.read()}
    more = f" and {len(caught) - 5} more" if len(caught) > 5 else ""
    return f"shipped by mistake: {', '.join(sorted(caught)[:5])}{more}" if caught else None


def installed_anew(copy: Path, tag: str) -> str | None:
    """Build a copy in which the code has changed; return None, or what that built again."""
    paths = [path for path in copy.rglob("*.py") if path.name not in NEVER_CODE]
    code = [path for path in paths if "tests" not in path.relative_to(copy).parts]
    if not code:
        return "the folder has no Python code that could change"
    for path in code:
        with path.open("a", encoding="utf-8") as file:
            file.write(f"\n# {time.time_ns()}: new in every run, or the engine would know the layer\n")
    log = engine.Image.build_log(f"{tag}-changed", context=copy)
    if engine.Image(f"{tag}-changed").layer_digests == engine.Image(tag).layer_digests:
        return "a change of the code does not reach the image"
    steps = [step for step in re.findall(r"^(#\d+) \[[^]]*\] RUN (.*)$", log, re.MULTILINE) if INSTALLS.search(step[1])]
    if not steps:
        return "no step of the build installs packages: are they installed at every start?"
    repeated = [command for number, command in steps if not re.search(rf"^{number} CACHED$", log, re.MULTILINE)]
    return f"a change of code runs this again: {repeated[0][:120]}" if repeated else None


# Rows that are asked of a copy of the folder, with the test of the contract whose lesson they share.
OF_THE_FOLDER: dict[int, tuple[Callable[[Path, str], str | None], str]] = {
    7: (shipped_by_mistake, "test_nothing_but_the_service_is_shipped"),
    11: (installed_anew, "test_a_change_of_code_installs_nothing"),
}


def judge(folder: Path, contract: Contract, tests: Sequence[Clause], rows: frozenset[int], port: int | None) -> Verdict:
    """Build the folder and judge it; show what is going on."""
    tag = f"workshop-check:{os.getpid()}"
    with console.status("Building the image …") as status:
        try:
            engine.Image.build(tag, context=folder)
        except engine.DockerError as error:
            raise CheckError(f"the build fails. The end of its log:\n{engine.end_of(error)}") from error
        status.update("Waiting for the first answer …")
        require_answer(engine.Image(tag, port))
        # A row that has failed is told by its first failure: the plugin leaves the rest of it out.
        with patch.dict(os.environ, PYTHONPATH=str(Path(__file__).parent)):
            verdict = contract.judge(tag, tests, port, lambda done: status.update(f"Judging … {done}%"), ("once",))
        cards = {row["number"]: row for row in verdict.card["rows"]}
        for number in sorted(rows & OF_THE_FOLDER.keys()):
            status.update(f"Asking the folder for row {number} …")
            ask, name = OF_THE_FOLDER[number]
            with TemporaryDirectory(prefix="check-") as parent:
                # Without what is large and must not be shipped anyway.
                copy = shutil.copytree(folder, Path(parent) / folder.resolve().name, ignore=NOT_COPIED, symlinks=True)
                try:
                    problem = ask(copy, tag)
                except engine.DockerError as error:
                    problem = f"a copy of the folder does not build: {str(error).splitlines()[-1]}"
            cards[number] |= {"status": "failed" if problem else "passed", "reason": problem or ""}
            if problem:
                verdict.failed[number] = (contract.tests[name], problem)
    return verdict


def show(verdict: Verdict, title: str, repaired: str) -> None:
    """Print the scorecard and the next thing to fix, or else that all is repaired."""
    asked = [row for row in verdict.card["rows"] if row["status"] != "not run"]
    statuses = [row["status"] for row in asked]
    passed = statuses.count("passed")
    title = f"{title}: {passed} of {passed + statuses.count('failed')} rows passed"
    table = Table("Row", "The contract", "Verdict", "Reason", title=title, title_justify="left")
    for row in asked:
        style = STYLES.get(row["status"], "dim")
        table.add_row(str(row["number"]), row["title"], Text(row["status"], style), Text(row["reason"]))
    console.print(table)
    for number, (test, message) in sorted(verdict.failed.items())[:1]:
        (seen,) = (row["reason"] or message.partition("\n")[0] for row in asked if row["number"] == number)
        console.print(f"The next thing to fix: row {number}", style="bold yellow")
        for name, words in {"Seen": seen, "Why": test.lesson.why, "Fix": test.lesson.fix}.items():
            console.print(Text.assemble((f"{name + ':':6}", "bold"), words), style="yellow")
    if not verdict.failed:
        console.print(repaired, style="bold green")


def main(arguments: Sequence[str] | None = None) -> int:
    """Check a folder; return the exit code."""
    parser = argparse.ArgumentParser(prog="workshop/check", description="Judge a Dockerfile, and say what to fix next.")
    parser.add_argument("folder", type=Path, help="the folder with the Dockerfile")
    parser.add_argument("--port", type=int, help="the port the service listens on, if the image does not expose it")
    parser.add_argument("--fast", action="store_true", help="only rows 1 to 11, which need little time")
    options = parser.parse_args(arguments)
    folder: Path = options.folder
    try:
        if not (folder / "Dockerfile").is_file():
            raise CheckError(f"there is no Dockerfile in {folder}: name the folder that has yours")
        if why := engine.missing():
            raise CheckError(why)
        exercise = exercise_in(folder)
        try:
            with baked() as contract:
                rows = frozenset(exercise.get("rows", [test.row for test in contract.tests.values()]))
                tests = contract.select(rows, exercise.get("tests", []))
                if options.fast:
                    rows, tests = rows & STATIC, [test for test in tests if test.row in STATIC]
                verdict = judge(folder, contract, tests, rows, options.port)
        finally:
            engine.remove_leftovers()
    except (CheckError, ContractError) as error:
        console.print(Text(f"workshop/check: {error}", "red"))
        return 2
    repaired = "Repaired: the cause is gone. The folder solutions/ tells the whole story."
    show(verdict, exercise.get("title", folder.resolve().name), repaired if exercise else "Nothing to fix.")
    return 1 if verdict.failed else 0


if __name__ == "__main__":
    sys.exit(main())
