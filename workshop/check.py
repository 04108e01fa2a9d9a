"""Judge a Dockerfile by the container contract, and say what to fix next: `workshop/check FOLDER`.

The folder is built as it is. Two rows that an image alone cannot answer are asked of the folder: what is shipped by
mistake (row 7), and what a change of code builds anew (row 11). Both work on copies; the folder stays as it is.

Exit code: 0 if every row that was asked is green, 1 if not, 2 if there is nothing to judge.
"""

import argparse
import gzip
import http.client
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from workshop.contract import STATIC, Clause, Contract, ContractError, Verdict, baked

LABEL = f"workshop-check={os.getpid()}"
SECONDS_TO_ANSWER = 20
STYLES = {"passed": "green", "failed": "bold red"}

# Where people keep what must not be shipped: in the folder, and beside the code in it.
CANARY = "c0ffee-canary-5e2d"
PLANTED = (
    *(".env", ".env.local", ".git/config", ".netrc", "id_rsa", "server.key", "notes.txt", "dump.sql"),
    *(".venv/bin/activate", ".pytest_cache/v/cache", "node_modules/a.js", "tests/test_canary.py"),
)
PLANTED_IN_CODE = (".env", "server.pem", "__pycache__/canary.pyc")
NOT_COPIED = shutil.ignore_patterns(".git", ".venv", "node_modules", "*_cache", "__pycache__")

INSTALLS = re.compile(r"\b(pip3?|uv|poetry|pipenv|pdm|conda)\b.*\b(install|sync|download)\b")
NEVER_CODE = {"setup.py", "conftest.py"}

console = Console(highlight=False)


class CheckError(Exception):
    """There is nothing to judge; the message says why, and what to do."""


class BuildError(Exception):
    """A build failed; the message has the last lines of its log."""


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


def docker(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run docker; raise CheckError with what it said if it fails and `check` is set."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise CheckError(f"docker {shlex.join(arguments)}: {done.stderr.strip()}")
    return done


def require_engine() -> None:
    """Raise CheckError where no Docker Engine answers."""
    if not shutil.which("docker"):
        raise CheckError("there is no docker command: install Docker, then try again")
    done = docker("version", check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["docker version failed"])[-1]
        raise CheckError(f"the Docker Engine does not answer: {said}\nIs it running, and may you use it?")


def build(folder: Path, tag: str) -> str:
    """Build a folder; return the log. DOCKER_BUILD_OPTIONS adds options, as in the contract."""
    options = ("--progress", "plain", "--label", LABEL, *shlex.split(os.environ.get("DOCKER_BUILD_OPTIONS", "")))
    done = docker("build", "--tag", tag, *options, str(folder), check=False)
    log = done.stdout + done.stderr
    if done.returncode:
        raise BuildError("\n".join(log.strip().splitlines()[-15:]))
    return log


def remove_own() -> None:
    """Remove the containers and images of this run."""
    if containers := docker("ps", "--all", "--quiet", "--filter", f"label={LABEL}", check=False).stdout.split():
        docker("rm", "--force", "--volumes", *containers, check=False)
    if images := docker("images", "--quiet", "--filter", f"label={LABEL}", check=False).stdout.split():
        docker("image", "rm", "--force", *set(images), check=False)


def port_of(image: str) -> int:
    """Return the port that an image exposes."""
    exposed = json.loads(docker("image", "inspect", image).stdout)[0]["Config"].get("ExposedPorts") or {}
    if not exposed:
        raise CheckError(
            "the image does not say where its service listens: write `EXPOSE 5000` (your port) into the Dockerfile,"
            " or say --port 5000 here"
        )
    return int(sorted(exposed)[0].split("/")[0])


def require_answer(image: str, port: int) -> None:
    """Run the image as plain `docker run` does; raise CheckError if nothing answers."""
    container = docker("run", "--detach", "--label", LABEL, "--publish", f"127.0.0.1::{port}", image).stdout.strip()
    try:
        deadline = time.monotonic() + SECONDS_TO_ANSWER
        while time.monotonic() < deadline:
            published = docker("port", container, f"{port}/tcp", check=False).stdout.split()
            if not published:
                break
            with suppress(OSError, http.client.HTTPException):
                address = ("127.0.0.1", int(published[0].rsplit(":", 1)[1]))
                with closing(http.client.HTTPConnection(*address, timeout=2)) as connection:
                    connection.request("GET", "/")
                    connection.getresponse()
                return
            time.sleep(0.1)
        running = docker("inspect", "--format", "{{.State.Running}}", container).stdout.strip() == "true"
        logs = docker("logs", container)
        last = "\n".join((logs.stdout + logs.stderr).strip().splitlines()[-10:]) or "(it is empty)"
        why = (
            f"nothing answers on port {port} after {SECONDS_TO_ANSWER} s. Does the service listen there, and on"
            " 0.0.0.0? On 127.0.0.1 nobody outside its container can reach it"
            if running
            else "the container has ended"
        )
        raise CheckError(f"{why}. The end of its log:\n{last}")
    finally:
        docker("rm", "--force", "--volumes", container, check=False)


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
        build(copy, tag)
    caught = {name for layer in layers(tag) for name in canaries_in(layer)}
    if CANARY in docker("history", "--no-trunc", tag).stdout:
        caught.add("the history")
    names = sorted(caught)
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"shipped by mistake: {', '.join(names[:5])}{more}" if names else None


def layers(image: str) -> Iterator[bytes]:
    """Yield every layer of an image as the bytes of a tar archive."""
    saved = subprocess.run(["docker", "save", image], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=BytesIO(saved)) as archive:
        for name in json.load(archive.extractfile("manifest.json") or BytesIO())[0]["Layers"]:
            content = (archive.extractfile(name) or BytesIO()).read()
            # An engine with containerd's image store saves its layers compressed.
            yield gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content


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
        before = docker("image", "inspect", "--format", "{{.RootFS.Layers}}", tag).stdout
        for path in code:
            with path.open("a", encoding="utf-8") as file:
                file.write(f"\n# {time.time_ns()}: new in every run, or the engine would know the layer\n")
        log = build(copy, f"{tag}-changed")
    if docker("image", "inspect", "--format", "{{.RootFS.Layers}}", f"{tag}-changed").stdout == before:
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
            build(folder, tag)
        except BuildError as error:
            raise CheckError(f"the build fails. The end of its log:\n{error}") from error
    with console.status("Waiting for the first answer …"):
        require_answer(tag, port or port_of(tag))
    with console.status("Judging …") as status:
        verdict = contract.judge(tag, tests, port, lambda percent: status.update(f"Judging … {percent}%"))
        cards = {row["number"]: row for row in verdict.card["rows"]}
        for number, (ask, name) in OF_THE_FOLDER.items():
            if number not in rows:
                continue
            status.update(f"Asking the folder for row {number} …")
            try:
                problem = ask(folder, f"{tag}-{number}" if number == 7 else tag)
            except BuildError as error:
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
        require_engine()
        try:
            with baked() as contract:
                rows = exercise.rows if exercise else frozenset(test.row for test in contract.tests.values())
                tests = contract.select(rows, exercise.tests if exercise else ())
                if options.fast:
                    rows, tests = rows & STATIC, [test for test in tests if test.row in STATIC]
                verdict = judge(folder, contract, tests, rows, options.port)
        finally:
            remove_own()
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
