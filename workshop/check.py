"""Judge a Dockerfile by the container contract, and say what to fix next: `workshop/check FOLDER`.

The folder is built as it is. Two rows that an image alone cannot answer are asked of the folder: what is shipped by
mistake (row 7), and what a change of code builds again (row 11). Both work on copies; the folder stays as it is. What
an exercise asks beyond the rows of the contract is in probes.py, the hints for typical mistakes in mistakes.py.

Exit code: 0 if all that was asked is green, 1 if not, 2 if there is nothing to judge.
"""

import argparse
import os
import re
import shutil
import sys
import time
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tools import engine
from tools.contract import NOT_COPIED, STATIC, Contract, ContractError, Lesson, Verdict, baked
from workshop.mistakes import START, Work, hints
from workshop.probes import PROBES, Asked, holding
from workshop.progress import Progress

SECONDS_TO_ANSWER = 20
# About what a check takes on two processors: all rows, and rows 1 to 11.
SECONDS_ALL, SECONDS_FAST = 240, 40
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

# The row of the contract that the page belongs to.
PAGE_ROW = 12

console = Console(highlight=False)


class CheckError(Exception):
    """There is nothing to judge; the message says why, and what to do."""


@dataclass(frozen=True)
class Exercise:
    """What an exercise asks, or what is asked of any other folder."""

    folder: Path
    title: str
    # About how long its check takes.
    seconds: int
    rows: frozenset[int]
    # Single tests of other rows, probes, and options of the build.
    tests: Sequence[str] = ()
    probes: Sequence[str] = ()
    build: Sequence[str] = ()

    def build_options(self, folder: Path) -> list[str]:
        """Return the options of the build of a folder: this one or a copy."""
        return [option.replace("src=", f"src={folder.resolve()}/") for option in self.build]


def exercise_in(folder: Path) -> dict[str, Any]:
    """Return what exercise.toml says; nothing if the folder is no exercise."""
    file = folder / "exercise.toml"
    return tomllib.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


@dataclass(frozen=True)
class Finding:
    """What was seen where something is red, and what can be learned from it."""

    seen: str
    lesson: Lesson


@dataclass
class Judgement:
    """The rows of the contract and the probes of the exercise with their verdicts, and what is red by its name."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    failed: dict[str, Finding] = field(default_factory=dict)
    # Rows that are asked once the rest is green.
    later: frozenset[int] = frozenset()

    def silent(self, rows: frozenset[int]) -> str:
        """Return which of some rows could not be judged here, and why; "" if there are none."""
        told = (row for row in self.rows if row["number"] in rows and row["status"] == "not applicable")
        return "; ".join(f"row {row['number']}, {row['reason']}" for row in told)

    def add(self, number: int | str, title: str, problem: str | None, lesson: Lesson) -> None:
        """Write down the verdict on a row or a probe: a problem, or None if it is green."""
        verdict = {"status": "failed" if problem else "passed", "reason": problem or ""}
        known = [row for row in self.rows if row["number"] == number]
        if known:
            known[0].update(verdict)
        else:
            self.rows.append({"number": number, "title": title, **verdict})
        if problem:
            self.failed[str(number)] = Finding(problem, lesson)


def require_answer(image: engine.Image, work: Work) -> tuple[int, str]:
    """Run the image as plain `docker run` does; return the status of its page and the end of its log.

    Raise CheckError if nothing answers.
    """
    if not (image.ports or image.unexposed_port):
        raise CheckError(
            "the image does not say where its service listens: write `EXPOSE 5000` (your port) into the Dockerfile,"
            " or say --port 5000 here"
        )
    try:
        with engine.running(image, options=()) as container:
            try:
                container.wait_until_serving(SECONDS_TO_ANSWER)
                return container.request().status, _end(container)
            except engine.DockerError as error:
                why = (
                    f"nothing answers on port {image.port} after {SECONDS_TO_ANSWER} s. Does the service listen there,"
                    " and on 0.0.0.0? On 127.0.0.1 nobody outside its container can reach it"
                    if container.state["Running"]
                    else "the container has ended"
                )
                raise CheckError(_with_hints(f"{why}. The end of its log:\n{_end(container)}", work)) from error
    except engine.DockerError as error:
        raise CheckError(_with_hints(f"the container does not start: {_reason(error)}", work)) from error


def _reason(error: Exception) -> str:
    """Return the line that says what is wrong: docker may end with advice on its own options."""
    lines = [line for line in str(error).splitlines() if line.strip() and not re.match(r"(Run|See) 'docker", line)]
    return lines[-1] if lines else type(error).__name__


def _end(container: engine.Container) -> str:
    return "\n".join(container.logs[-10:]) or "(it is empty)"


def _with_hints(message: str, work: Work) -> str:
    return "\n".join([message, *(f"Hint: {hint}" for hint in hints(work, START, message))])


def page_problem(status: int, log: str) -> tuple[str, Lesson] | None:
    """Return None if the page is served, else what was seen and what to do about it."""
    if status == 200:
        return None
    if status >= 500:
        return f"/ has status {status}\nThe end of its log:\n{log}", Lesson(
            f"Status {status} means that the service was reached and has failed: a client can do nothing about it.",
            "read the log above from its end: the last line of a traceback names the exception. Is there none? Then"
            ' call the page in the running container: docker exec NAME python -c "from app import …".',
        )
    return f"/ has status {status}, not 200", Lesson(
        "The page / proves that the service serves. A service whose first page is another one is not what this checks.",
        "let / respond with 200 and some text.",
    )


def shipped_by_mistake(copy: Path, tag: str, options: Sequence[str] = ()) -> str | None:
    """Build a copy with canaries in it; return None, or what was found in the layers and the history."""
    folders = {path.parent for path in copy.rglob("*.py") if path.parent != copy}
    for path in [*(copy / name for name in PLANTED), *(f / name for f in folders for name in PLANTED_IN_CODE)]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {CANARY} {path.relative_to(copy)}\n", encoding="utf-8")
    image = engine.Image.build(f"{tag}-canary", *options, context=copy)
    caught = {"the history"} if CANARY in image.history else set()
    caught |= {f"/{name}" for _, name in holding(image, CANARY.encode())}
    more = f" and {len(caught) - 5} more" if len(caught) > 5 else ""
    what = f"{', '.join(sorted(caught)[:5])}{more}"
    return f"planted by this check, as people leave such files lying about, and shipped: {what}" if caught else None


def installed_anew(copy: Path, tag: str, options: Sequence[str] = ()) -> str | None:
    """Build a copy in which the code has changed; return None, or what that built again."""
    paths = [path for path in copy.rglob("*.py") if path.name not in NEVER_CODE]
    code = [path for path in paths if "tests" not in path.relative_to(copy).parts]
    if not code:
        return "the folder has no Python code that could change"
    for path in code:
        with path.open("a", encoding="utf-8") as file:
            file.write(f"\n# {time.time_ns()}: new in every run, or the engine would know the layer\n")
    log = engine.Image.build_log(f"{tag}-changed", *options, context=copy)
    if engine.Image(f"{tag}-changed").layer_digests == engine.Image(tag).layer_digests:
        return "a change of the code does not reach the image"
    steps = [step for step in re.findall(r"^(#\d+) \[[^]]*\] RUN (.*)$", log, re.MULTILINE) if INSTALLS.search(step[1])]
    if not steps:
        return "no step of the build installs packages: are they installed at every start?"
    repeated = [command for number, command in steps if not re.search(rf"^{number} CACHED$", log, re.MULTILINE)]
    return f"a change of code runs this again: {repeated[0][:120]}" if repeated else None


# Rows that are asked of a copy of the folder, with the test of the contract whose lesson they share.
OF_THE_FOLDER: dict[int, tuple[Callable[[Path, str, Sequence[str]], str | None], str]] = {
    7: (shipped_by_mistake, "test_nothing_but_the_service_is_shipped"),
    11: (installed_anew, "test_a_change_of_code_installs_nothing"),
}


def judge(exercise: Exercise, contract: Contract, port: int | None, progress: Progress) -> Judgement:
    """Build the folder and judge it; show what is going on."""
    folder, tag = exercise.folder, f"workshop-check:{os.getpid()}"
    progress.step("Building the image …")
    try:
        engine.Image.build(tag, *exercise.build_options(folder), context=folder)
    except engine.DockerError as error:
        raise CheckError(f"the build fails. The end of its log:\n{engine.end_of(error)}") from error
    progress.step("Waiting for the first response …")
    problem = page_problem(*require_answer(engine.Image(tag, port), Work(folder)))
    judgement = Judgement()
    if problem:
        judgement.add(PAGE_ROW, "Good and bad requests get the right answers", *problem)
    for probe in (PROBES[name] for name in exercise.probes):
        progress.step(f"Trying: {probe.title} …")
        seen = asked(probe.ask, Asked(engine.Image(tag, port), folder))
        judgement.add(probe.name, probe.title, seen, probe.lesson)
    # What is red has a cause, and each row that the cause touches would say it again, some after a minute.
    if judgement.failed:
        judgement.later = exercise.rows
        return judgement
    verdict = ask_the_contract(exercise, contract, engine.Image(tag, port), progress)
    judgement.rows[:0] = verdict.card["rows"]
    for number, (test, message) in sorted(verdict.failed.items()):
        (reason,) = (row["reason"] for row in judgement.rows if row["number"] == number)
        judgement.failed[str(number)] = Finding(reason or message.partition("\n")[0], test.lesson)
    for number in sorted(exercise.rows & OF_THE_FOLDER.keys()):
        progress.step(f"Asking the folder for row {number} …")
        ask, name = OF_THE_FOLDER[number]
        with TemporaryDirectory(prefix="check-") as parent:
            # Without what is large and must not be shipped anyway.
            copy = shutil.copytree(folder, Path(parent) / folder.resolve().name, ignore=NOT_COPIED, symlinks=True)
            seen = asked(ask, copy, tag, exercise.build_options(copy))
        judgement.add(number, "", seen, contract.tests[name].lesson)
    return judgement


def ask_the_contract(exercise: Exercise, contract: Contract, image: engine.Image, progress: Progress) -> Verdict:
    """Run the tests of the contract on an image."""
    progress.step("Asking the contract …")
    # A row that has failed is told by its first failure: the plugin leaves the rest of it out.
    with patch.dict(os.environ, PYTHONPATH=str(Path(__file__).parent)):
        return contract.judge(
            image.reference,
            contract.select(exercise.rows, exercise.tests),
            image.unexposed_port,
            lambda done: progress.detail(f"Asking the contract … {done}%"),
            ("once",),
        )


def asked(ask: Callable[..., str | None], *given: object) -> str | None:
    """Return what a question finds wrong; that it could not be asked is wrong as well."""
    try:
        return ask(*given)
    except (engine.DockerError, OSError, HTTPException) as error:
        return f"it could not be tried: {_reason(error)}"


def show(judgement: Judgement, title: str, repaired: str, work: Work) -> None:
    """Print the scorecard and the next thing to fix, or else that all is repaired."""
    shown = [row for row in judgement.rows if row["status"] != "not run"]
    statuses = [row["status"] for row in shown]
    passed = statuses.count("passed")
    title = f"{title}: {passed} of {passed + statuses.count('failed')} rows passed"
    table = Table("Row", "What is asked", "Verdict", "Reason", title=title, title_justify="left")
    for row in shown:
        style = STYLES.get(row["status"], "dim")
        reason = row["reason"].partition("\n")[0]
        table.add_row(str(row["number"]), row["title"], Text(row["status"], style), Text(reason))
    console.print(table)
    # The lowest row first, probes after all rows.
    first = sorted(judgement.failed.items(), key=lambda item: (not item[0].isdigit(), item[0].zfill(2)))[:1]
    for name, finding in first:
        what = f"row {name}" if name.isdigit() else name
        console.print(f"The next thing to fix: {what}", style="bold yellow")
        said = {"Seen": finding.seen, "Why": finding.lesson.why, "Fix": finding.lesson.fix}
        for word, words in [*said.items(), *(("Hint", hint) for hint in hints(work, name, finding.seen))]:
            console.print(Text.assemble((f"{word + ':':6}", "bold"), words), style="yellow")
    if judgement.later:
        console.print(f"Asked when that is green: row {', '.join(map(str, sorted(judgement.later)))}", style="dim")
    elif not judgement.failed:
        console.print(repaired, style="bold green")


def exercise_of(folder: Path, contract: Contract, fast: bool) -> Exercise:
    """Return what is asked of a folder: what its exercise.toml says, or all rows."""
    told = exercise_in(folder)
    exercise = Exercise(
        folder,
        told.get("title", folder.resolve().name),
        told.get("seconds", SECONDS_FAST if fast else SECONDS_ALL),
        frozenset(told.get("rows", [test.row for test in contract.tests.values()])),
        told.get("tests", ()),
        told.get("probes", ()),
        told.get("build", ()),
    )
    return replace(exercise, rows=exercise.rows & STATIC, tests=(), probes=()) if fast else exercise


def main(arguments: Sequence[str] | None = None) -> int:
    """Check a folder; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="workshop/check",
        description="Judge a Dockerfile, and say what to fix next.",
        epilog="workshop/check --laptop, the day before: is this machine ready?",
    )
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
        try:
            with baked() as contract:
                exercise = exercise_of(folder, contract, options.fast)
                console.print(f"This takes about {exercise.seconds} s, and a minute more where packages are fetched.")
                with Progress(console) as progress:
                    judgement = judge(exercise, contract, options.port, progress)
        finally:
            engine.remove_leftovers()
    except (CheckError, ContractError) as error:
        console.print(Text(f"workshop/check: {error}", "red"))
        return 2
    last, silent = "Nothing to fix.", ""
    if exercise_in(folder):
        silent = judgement.silent(exercise.rows)
        last = "Repaired: the cause is gone. The folder solutions/ tells the whole story."
    if silent:
        last = f"Nothing is red, but this could not be judged here: {silent}"
    show(judgement, exercise.title, last, Work(folder))
    return 1 if judgement.failed or silent else 0


if __name__ == "__main__":
    sys.exit(main())
