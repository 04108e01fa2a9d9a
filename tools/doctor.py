"""Say what an older service lacks compared with today's template, and how to update it: `make doctor SERVICE=FOLDER`.

A copy of the service is put to today's contract, and its files are compared with two bakes of its answers: by today's
template, and by the commit that it was made from. Without Docker no contract is asked. Nothing is written.
Exit code: 0 if nothing is lacking, 1 if something is, 2 if there is nothing to judge.
"""

import json
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import typer
from git import Blob, Commit, GitError, Repo, Tree
from packaging.version import Version

from tools import engine
from tools.baking import SERVICE, TEMPLATE, bake, files
from tools.contract import NOT_COPIED, STATIC, Contract, ContractError, Verdict
from tools.questions import REPOSITORY, RULES, VERSION

ANSWERS, LINK, PINS = ".cookiecutter.json", ".cruft.json", r"^([\w.-]+)==([^\s;]+)"
say = partial(typer.echo, err=True)


def recorded(folder: Path) -> dict[str, str]:
    """Return the answers that a service was made from; raise ContractError if today's template cannot be."""
    if not (file := folder / ANSWERS).is_file():
        raise ContractError(f"there is no {ANSWERS} in {folder}: name the folder of a service made from this template")
    try:
        answers = {name: str(value) for name, value in json.loads(file.read_text(encoding="utf-8")).items()}
        version = Version(answers.pop("_template_version"))
    except (ValueError, KeyError, AttributeError) as error:
        raise ContractError(f"{file} does not say from which version it was made ({error!r}): restore it") from error
    if version > Version(VERSION):
        raise ContractError(f"it was made from {version}, and this is the template of {VERSION}: git pull here first")
    for name in answers.keys() & RULES.keys():
        if (valid := RULES[name].nearest(answers[name])) != answers[name]:
            hint = f"write {valid!r} into {ANSWERS}, or what else is {RULES[name].words}"
            raise ContractError(f"its {name} {answers[name]!r} is not valid any more: {hint}")
    return answers


def origin(service: Path, template: Repo) -> Commit:
    """Return the commit of a service's link, else that which explains most of its lines and has the fewest others."""
    with suppress(OSError, ValueError, GitError):
        return template.commit(json.loads((service / LINK).read_text(encoding="utf-8"))["commit"])
    # Its version does not tell: all commits between two releases have the same.
    own = {line for content in files(service).values() for line in content.splitlines()}

    @cache
    def unlike(tree: Tree) -> tuple[int, int]:
        blobs = (item for item in tree.traverse() if isinstance(item, Blob))
        lines = {line for blob in blobs for line in blob.data_stream.read().splitlines()}
        return len(own - lines), len(lines - own)

    commits = (commit for commit in template.iter_commits() if SERVICE.name in commit.tree)
    return min(commits, key=lambda commit: unlike(commit.tree[SERVICE.name]))


def behind(lock: str, own: dict[str, bytes], today: dict[str, bytes]) -> set[str]:
    """Return a line for each package that a lock pins to an older version than today's does."""
    old, new = (dict(re.findall(PINS, found.get(lock, b"").decode(), re.MULTILINE)) for found in (own, today))
    names = {name for name in old.keys() & new.keys() if Version(old[name]) < Version(new[name])}
    return {f"{name} {old[name]} in {lock}; today's is {new[name]}" for name in names}


def judge(copy: Path, fresh: Path, *, fast: bool) -> Verdict:
    """Put a copy of a service to the contract of a fresh bake, which it takes; raise ContractError if it cannot be."""
    shutil.rmtree(copy / "tests", ignore_errors=True)
    shutil.move(fresh / "tests", copy)
    read = subprocess.call([sys.executable, "-m", "tests.unit.required"], cwd=copy, stderr=subprocess.DEVNULL) == 0
    if not read:
        say("Today's tests cannot read its settings (app/settings.py): no bad value of them is asked.")
    # Stands above the settings of pytest in the service, whose tools may not be installed here.
    ini = f"[pytest]\naddopts = --import-mode=importlib\npythonpath = {'.' if read else fresh} .\n"
    (copy / "pytest.ini").write_text(ini, encoding="utf-8")
    asked = Contract.of(copy)
    tests = [t for t in asked.tests.values() if (t.row in STATIC or not fast) and (read or "bad_value" not in t.name)]
    tell = cache(lambda tenth: say(f"Judging … {10 * tenth}%"))  # each once
    say("Building the image …")
    try:
        engine.build(copy, "doctor:built")
        return asked.judge(None, tests, progress=lambda percent: tell(percent // 10))
    except engine.DockerError as error:
        raise ContractError(f"its image does not build, so there is no verdict:\n{engine.end_of(error)}") from error
    finally:
        engine.remove_leftovers()


def examine(folder: Path, temporary: Path, *, fast: bool) -> int:
    """Print what a service lacks; return the exit code. Raise ContractError if there is nothing to judge."""
    answers, template = recorded(folder), Repo(TEMPLATE)
    say("Comparing with the template …")
    copy = shutil.copytree(folder, temporary / "copy" / folder.name, ignore=NOT_COPIED, symlinks=True)
    made_from, today = (template.git.describe(c, tags=True, always=True) for c in (origin(copy, template), "HEAD"))
    template.clone(temporary / "template").git.checkout(made_from)
    fresh = bake(temporary / "today", answers)
    own, new, old = map(files, (copy, fresh, bake(temporary / "old", answers, temporary / "template")))
    lacking = {
        "New questions, answered by their default in this comparison": RULES.keys() - answers.keys(),
        "Files it lacks": new.keys() - own.keys(),
        "Packages that are behind": {line for name in new if name.endswith(".txt") for line in behind(name, own, new)},
        "Files that have changed in the template": {n for n in own if old.get(n) != new.get(n) != own[n]} - {ANSWERS},
    }
    edited = {name for name in own.keys() & old.keys() if own[name] not in {old[name], new.get(name)}}
    verdict = None if (why := engine.missing()) else judge(copy, fresh, fast=fast)
    if verdict:
        print(f"Today's contract: {verdict.card['passed']} of {verdict.card['applicable']} rows passed.")
        for row in (row for row in verdict.card["rows"] if row["status"] == "failed"):
            lesson = verdict.failed[row["number"]][0].lesson
            typer.secho(f"  row {row['number']}: {row['title']}", fg="red", bold=True)
            print(f"    Seen: {row['reason']}", f"    Why:  {lesson.why}", f"    Fix:  {lesson.fix}", sep="\n")
    else:
        typer.secho(f"No contract, only a comparison: {why}", fg="yellow")
    print(f"{folder.name} was made from {made_from} of the template; today's is {today}.")
    for title, lines in {**lacking, "Files that were changed here": edited}.items():
        if lines:
            print(f"{title}:", *sorted(lines), sep="\n  ")
    if not (verdict and verdict.failed) and not any(lacking.values()):
        typer.secho("Nothing is lacking.", fg="green", bold=True)
        return 0
    print("To update it, while its Git work tree is clean:", f"cd {shlex.quote(str(folder))}", sep="\n  ")
    if LINK not in own:
        print(f'  cruft link {REPOSITORY} --checkout {made_from} --no-input --extra-context "$(cat {ANSWERS})"')
        print(f'  git add {LINK} && git commit -m "Link to the template"')
    print("  cruft update --checkout main --skip-apply-ask")
    print("Then, for a lock with packages of your own, the command at the top of its .in file, with --upgrade; and for")
    print("each FILE that was changed here and should not be:\n  touch FILE && cruft diff | git apply --include=FILE")
    return 1


def main(folder: Path, fast: bool = False) -> None:
    """Say what a service lacks; --fast asks only rows 1 to 11 of the contract, which need little time."""
    try:
        with TemporaryDirectory(prefix="doctor-") as temporary:
            sys.exit(examine(folder.resolve(), Path(temporary), fast=fast))
    except (ContractError, GitError) as error:
        typer.secho(f"doctor: {error}", fg="red")
        sys.exit(2)


if __name__ == "__main__":
    typer.run(main)
