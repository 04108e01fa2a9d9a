"""Say what an older service lacks compared with today's template, and how to update it: `make doctor SERVICE=FOLDER`.

A copy of the service is put to today's contract; its files are compared with a fresh bake of its answers, and with one
by the release it was made from, if this clone has its tag. Without Docker no contract is asked. Only --take writes.

Exit code: 0 if nothing is lacking, 1 if something is, 2 if there is nothing to judge.
"""

import argparse
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from packaging.version import Version
from rich.console import Console

from tools import engine
from tools.baking import SERVICE, TEMPLATE, bake
from tools.contract import NOT_COPIED, STATIC, Contract, ContractError, Verdict
from tools.questions import REPOSITORY, RULES

ANSWERS = ".cookiecutter.json"
VERSION = "_template_version"
# Each lock, and the file that its owner writes.
LOCKS = {"requirements.txt": "requirements.in", "requirements-dev.txt": "requirements-dev.in"}
# What an owner writes anyway; everything else of the template is changed by who has a reason.
OWNERS = re.compile(r"app/|tests/unit/|README\.md$|pyproject\.toml$|requirements.*\.in$|\.cookiecutter\.json$")
# Stands above the settings of the service, whose tools may not be installed here.
PYTEST = "[pytest]\naddopts = --strict-markers --import-mode=importlib\npythonpath = .\n"

console = Console(highlight=False, markup=False, soft_wrap=True)


class DoctorError(Exception):
    """There is nothing to judge; the message says why, and what to do."""


@dataclass(frozen=True)
class Service:
    """A service that was made from this template, as its files say."""

    folder: Path
    answers: Mapping[str, str]
    version: str

    @classmethod
    def of(cls, folder: Path) -> "Service":
        """Read what a service records of its origin; raise DoctorError if that is not one of ours, or is none."""
        file = folder / ANSWERS
        if not file.is_file():
            hint = "name the folder of a service made from this template"
            raise DoctorError(f"there is no {ANSWERS} in {folder}: {hint}")
        try:
            recorded = json.loads(file.read_text(encoding="utf-8"))
            version = str(Version(recorded[VERSION]))
        except (ValueError, KeyError, TypeError) as error:
            raise DoctorError(f"{file} does not say from which version it was made ({error!r}): restore it") from error
        if Version(version) > Version(today()):
            raise DoctorError(f"it was made from {version}, and this is the template of {today()}: git pull here first")
        answers = {name: str(recorded[name]) for name in RULES if name in recorded}
        for name, value in answers.items():
            words, nearest = RULES[name]
            if nearest(value) != value:
                raise DoctorError(
                    f"its {name} {value!r} is not valid any more: write {nearest(value)!r} into {ANSWERS},"
                    f" or what else is {words}"
                )
        return cls(folder, answers, version)


@dataclass(frozen=True)
class Findings:
    """How the files of a service compare with today's template, by their names."""

    missing: list[str]
    older: list[str]
    changed_here: list[str]
    brought_by_update: list[str]


def today() -> str:
    """Return the version of this template."""
    version: str = json.loads((TEMPLATE / "cookiecutter.json").read_text(encoding="utf-8"))[VERSION]
    return version


def origin(service: Service, output: Path) -> Path | None:
    """Bake the answers of a service with the release it was made from; None where this clone does not have that."""
    clone = ["git", "-c", "advice.detachedHead=false", "clone", "--quiet", "--branch", f"v{service.version}"]
    done = subprocess.run([*clone, str(TEMPLATE), str(output / "template")], capture_output=True, check=False)
    return None if done.returncode else bake(output, service.answers, output / "template")


def files(folder: Path) -> dict[str, bytes]:
    """Return the content of all files by name."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def compare(service: Service, fresh: Mapping[str, bytes], made_from: Mapping[str, bytes]) -> Findings:
    """Compare a service with two bakes of its answers: by today's template, and by that which it was made from."""
    own = {
        name: (service.folder / name).read_bytes() for name in {*fresh, *made_from} if (service.folder / name).is_file()
    }
    kept = sorted(set(fresh) & set(made_from))
    return Findings(
        missing=sorted(set(fresh) - set(own)),
        older=[line for lock in LOCKS for line in older(lock, own.get(lock, b"").decode(), fresh[lock].decode())],
        changed_here=[name for name in kept if own.get(name) not in {made_from[name], fresh[name]}],
        brought_by_update=sorted(
            name for name in {*fresh, *made_from} if name != ANSWERS and made_from.get(name) != fresh.get(name)
        ),
    )


def older(lock: str, own: str, fresh: str) -> Iterator[str]:
    """Yield a line for each package that a lock pins to an older version than today's does."""
    pinned, todays = locked(own), locked(fresh)
    for name, version in pinned.items():
        if version < todays.get(name, version):
            yield f"{name} {version} in {lock}; today's is {todays[name]}"


def locked(text: str) -> dict[str, Version]:
    """Return the versions in a lock by the name of their package; the newest where platforms need different ones."""
    newest: dict[str, Version] = {}
    for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE):
        newest[name] = max(Version(version), newest.get(name, Version("0")))
    return newest


def judge(service: Service, fresh: Path, output: Path, *, fast: bool) -> Verdict:
    """Put a copy of the service to today's contract; raise DoctorError if it does not build."""
    copy = shutil.copytree(service.folder, output / service.folder.resolve().name, ignore=NOT_COPIED, symlinks=True)
    shutil.rmtree(copy / "tests", ignore_errors=True)
    shutil.copytree(fresh / "tests/container", copy / "tests/container")
    (copy / "pytest.ini").write_text(PYTEST, encoding="utf-8")
    contract = Contract.of(copy)
    tests = [test for test in contract.tests.values() if test.row in STATIC or not fast]
    with console.status("Building the image …") as status:
        try:
            engine.build(copy, "doctor:built")
        except engine.DockerError as error:
            end = engine.end_of(error)
            raise DoctorError(f"its image does not build, so the contract cannot be asked. The end:\n{end}") from error
        finally:
            engine.remove_leftovers()
        return contract.judge(None, tests, progress=lambda percent: status.update(f"Judging … {percent}%"))


def updates(service: Service, findings: Findings) -> Iterator[str]:
    """Yield the commands that bring in what has changed in the template: those of the README of every service."""
    yield shlex.join(["cd", str(service.folder.resolve())])
    readme = (SERVICE / "README.md").read_text(encoding="utf-8")
    for line in re.findall(r"^(?:cruft|git add \.cruft).*$", readme, re.MULTILINE):
        if line.startswith("cruft update") or not (service.folder / ".cruft.json").exists():
            here = line.replace("{{ cookiecutter._repository }}", REPOSITORY)
            yield here.replace("{{ cookiecutter._template_version }}", service.version)
    for lock in owned_locks(findings):
        source = (service.folder / LOCKS[lock]).read_text(encoding="utf-8")
        yield from (
            f"{command} --upgrade" for command in re.findall(r"^#\s+(uv pip compile .*)$", source, re.MULTILINE)
        )


def owned_locks(findings: Findings) -> list[str]:
    """Return the locks that hold packages of the owner's: they are made anew, not replaced."""
    return [lock for lock, source in LOCKS.items() if {lock, source} <= {*findings.changed_here}]


def take(service: Service, findings: Findings) -> list[str]:
    """Return the command that undoes what was changed in files that an owner seldom has a reason to change, if any."""
    kept = owned_locks(findings)
    names = [name for name in findings.changed_here if not OWNERS.match(name) and name not in kept]
    command = [sys.executable, "-m", "tools.doctor", str(service.folder.resolve()), "--take", *names]
    return [shlex.join(["cd", str(TEMPLATE)]), shlex.join(command)] if names else []


def report(service: Service, findings: Findings, verdict: Verdict | None) -> bool:
    """Print what was found; return whether something is lacking."""
    name = service.folder.resolve().name
    console.print(f"{name} was made from version {service.version} of the template; today's is {today()}.")
    new = [question for question in RULES if question not in service.answers]
    failed = [row for row in verdict.card["rows"] if row["status"] == "failed"] if verdict else []
    if verdict:
        console.print(f"Today's contract: {verdict.card['passed']} of {verdict.card['applicable']} rows passed.")
        for row in failed:
            lesson = verdict.failed[row["number"]][0].lesson
            console.print(f"  row {row['number']}: {row['title']}", style="bold red")
            console.print(f"    Seen: {row['reason']}", f"    Why:  {lesson.why}", f"    Fix:  {lesson.mend}", sep="\n")
    lists = {
        "New questions, answered by their default in this comparison": new,
        "Files it lacks": findings.missing,
        "Packages that are behind": findings.older,
        "Files that have changed in the template": [n for n in findings.brought_by_update if n not in findings.missing],
        "Files that were changed here": [n for n in findings.changed_here if n not in findings.missing],
    }
    for title, lines in lists.items():
        if lines:
            console.print(f"{title}:", *lines, sep="\n  ")
    lacking = bool(failed or findings.missing or findings.older or findings.brought_by_update)
    if not lacking:
        console.print("Nothing is lacking.", style="bold green")
        return False
    console.print("To update it, while its Git work tree is clean:", *updates(service, findings), sep="\n  ")
    if undo := take(service, findings):
        console.print("Then, to undo what was changed here; leave out what you want to keep:", *undo, sep="\n  ")
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Examine a service; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.doctor", description="Say what an older service lacks.")
    parser.add_argument("folder", type=Path, help="the folder of the service")
    parser.add_argument("--fast", action="store_true", help="only rows 1 to 11 of the contract, which need little time")
    parser.add_argument("--take", nargs="+", default=[], metavar="FILE", help="replace these files by today's, no more")
    options = parser.parse_args(arguments)
    verdict = None
    try:
        service = Service.of(options.folder)
        with TemporaryDirectory(prefix="doctor-") as folder:
            fresh = bake(Path(folder, "fresh"), service.answers)
            for name in options.take:
                if name not in files(fresh):
                    raise DoctorError(f"today's template has no {name}: take what the doctor has named")
                (service.folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(fresh / name, service.folder / name)
            if options.take:
                return 0
            made_from = origin(service, Path(folder, "origin")) or fresh
            findings = compare(service, files(fresh), files(made_from))
            if why := engine.missing():
                console.print(f"No contract, only a comparison: {why}", style="yellow")
            else:
                verdict = judge(service, fresh, Path(folder, "copy"), fast=options.fast)
    except (DoctorError, ContractError) as error:
        console.print(f"doctor: {error}", style="red")
        return 2
    return int(report(service, findings, verdict))


if __name__ == "__main__":
    sys.exit(main())
