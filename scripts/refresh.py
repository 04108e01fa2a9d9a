"""Bring everything that is pinned up to date, and print what changed: `make refresh`.

What came out within the last seven days is left for later: by then most poisoned releases have been found. Nothing goes
back either: a younger version that somebody took over by hand stays. What cannot be asked is kept and named, and the
exit code is 1.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from packaging.version import Version
from rich.console import Console
from rich.table import Table

from scripts.pins import (
    ACTION,
    END_OF_LIFE,
    IMAGE,
    LOCKED,
    LOCKS,
    NPM_LOCK,
    REQUIRED,
    TEMPLATE,
    Pin,
    Publishers,
    Tree,
    UnknownError,
    UnreachableError,
    cycles,
    debian_choice,
    debian_release,
    locked,
    midnight,
    npm_locked,
    offered_pythons,
    older,
    oldest_python,
    pins,
    python_choices,
    version_of,
)

COOLDOWN = timedelta(days=7)


class Change(NamedTuple):
    """A row of the table: what was and what is; empty where there was, or is, nothing."""

    kind: str
    name: str
    old: str
    new: str


class Plan(NamedTuple):
    """What a refresh would do, and what kept it from doing more."""

    tree: Tree
    changes: list[Change]
    problems: list[str]


class Asking(NamedTuple):
    """What each part of a refresh works with."""

    tree: Tree
    publishers: Publishers
    today: date
    problems: list[str]


def end_of_life(asking: Asking) -> list[Change]:
    """Take over which Pythons and Debians there are, and until when."""
    rows = {
        "python": asking.publishers.cycles("python", "name", asking.today),
        "debian": asking.publishers.cycles("debian", "codename", asking.today),
    }
    text = ",\n".join(
        f'  "{product}": [\n'
        + ",\n".join(
            f'    {{"cycle": "{row.cycle}", "released": "{row.released}", "ends": "{row.ends}"}}' for row in table
        )
        + "\n  ]"
        for product, table in rows.items()
    )
    old = {(product, row) for product in rows for row in cycles(asking.tree, product)}
    new = {(product, row) for product, table in rows.items() for row in table}
    asking.tree.put(END_OF_LIFE, f"{{\n{text}\n}}\n")
    before = {(product, row.cycle): str(row.ends) for product, row in old}
    after = {(product, row.cycle): str(row.ends) for product, row in new}
    return [
        Change("end of life", " ".join(key), before.get(key, ""), after.get(key, ""))
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]


def pythons(asking: Asking) -> list[Change]:
    """Offer the Pythons that the table of ends of life gives, in the questions, the documents and the tags."""
    tree = asking.tree
    old, new = offered_pythons(tree), python_choices(tree, asking.today)
    if old == new:
        return []
    oldest, youngest = oldest_python(tree), [max(choices, key=Version) for choices in (old, new)]
    quoted = [", ".join(f'"{version}"' for version in choices) for choices in (old, new)]
    replacements = {
        quoted[0]: quoted[1],
        ", ".join(old): ", ".join(new),
        " ".join(old): " ".join(new),
        f"{oldest} to {youngest[0]}": f"{oldest} to {youngest[1]}",
        old[0]: new[0],
    }
    # After "Python" in prose stands the one that something was measured with; before a dot, a patch release.
    known = "|".join(map(re.escape, replacements))
    pattern = re.compile(rf"(?<![\d.])(?<!and Python )(?:{known})(?!\.?\d)")
    for path, text in tree.files():
        tree.put(path, pattern.sub(lambda found: replacements[found[0]], text))
    return [Change("Python", "choices, the default first", ", ".join(old), ", ".join(new))]


def debian(asking: Asking) -> list[Change]:
    """Build on the Debian that the table of ends of life gives, wherever its name stands in a tag."""
    old, new = debian_release(asking.tree), debian_choice(asking.tree, asking.today)
    if old == new:
        return []
    for path, text in asking.tree.files():
        asking.tree.put(path, re.sub(rf"\b{old}\b", new, text))
    return [Change("Debian", "base images", old, new)]


def locks(asking: Asking) -> list[Change]:
    """Lock what Python needs anew, by the command in the head of each lock; lists of a few versions follow."""
    tree = asking.tree
    before = {lock: tree.text(lock) for lock in LOCKS}
    with tempfile.TemporaryDirectory() as folder:
        for path in tree.paths:
            if re.search(r"(^|/)(requirements[^/]*|pyproject\.toml)$", path):
                target = Path(folder, path)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(tree.text(path), encoding="utf-8")
        for lock in LOCKS:
            tree.put(lock, relock(Path(folder, lock), asking))

    versions = locked(tree.text(LOCKS[0]))
    for path, text in tree.files():
        tree.put(path, REQUIRED.sub(lambda found: follow(found, versions), text))
    changes = []
    for lock, text in before.items():
        changes += differences("package", locked(text), locked(tree.text(lock)), lock)
        blocks, now = (
            {block["name"]: block[0].partition("# via")[0] for block in LOCKED.finditer(text)}
            for text in (text, tree.text(lock))
        )
        changes += [
            Change("files", name, locked(text)[name], f"{locked(text)[name]}, more or fewer files")
            for name in blocks
            if name in now and locked(text)[name] == locked(tree.text(lock))[name] and blocks[name] != now[name]
        ]
    return changes


def relock(lock: Path, asking: Asking) -> str:
    """Return what uv makes of a lock, without what is younger than the cooldown.

    A younger version that is locked already may stay, so nothing goes back. Raises UnreachableError with what uv says.
    """
    latest = midnight(asking.today - COOLDOWN)
    old = lock.read_text(encoding="utf-8")
    command = old.splitlines()[1].strip("# ")
    words = [str(Path(sys.executable).parent / "uv"), *shlex.split(command)[1:], "--upgrade", "--no-emit-index-url"]
    words += ["--custom-compile-command", command, "--exclude-newer", f"{latest:%FT%TZ}"]
    pinned = [Pin("package", found["name"], found["version"]) for found in LOCKED.finditer(old)]
    with ThreadPoolExecutor(8) as threads:
        releases = list(threads.map(asking.publishers.releases, pinned))
    for pin, known in zip(pinned, releases, strict=True):
        release = known.get(Version(pin.version))
        if release and release.published >= latest:
            words.append(f"--exclude-newer-package={pin.name}={release.complete + timedelta(seconds=1):%FT%TZ}")
    environment = {**os.environ, "UV_DEFAULT_INDEX": asking.publishers.url(asking.publishers.index)}
    done = subprocess.run(words, cwd=lock.parent, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr[done.stderr.find("error: ") :]
        raise UnreachableError(f"uv: {' '.join(said.removeprefix('error: ').split())[:300]}")
    return lock.read_text(encoding="utf-8")


def follow(required: re.Match[str], versions: dict[str, str]) -> str:
    """Return a requirement with the version that the service's lock has, if it has one."""
    version = versions.get(required["name"].lower(), required["version"])
    return f"{required['name']}=={version}"


def differences(kind: str, old: dict[str, str], new: dict[str, str], where: str) -> list[Change]:
    """Return a row for each package whose version is another than it was, or that came or went."""
    return [
        Change(kind, name, old.get(name, f"not in {where}"), new.get(name, f"not in {where}"))
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]


def npm(asking: Asking) -> list[Change]:
    """Lock what Node needs anew. All of it stays as it is while any of it is younger than the cooldown."""
    if not shutil.which("npm"):
        raise UnreachableError("there is no npm command")
    tree, manifest = asking.tree, str(Path(NPM_LOCK).with_name("package.json"))
    names = json.loads(tree.text(manifest))["dependencies"]
    with tempfile.TemporaryDirectory() as above:
        # npm writes the name of the folder into the lock.
        folder = Path(above, Path(NPM_LOCK).parent.name)
        folder.mkdir()
        (folder / "package.json").write_text(tree.text(manifest), encoding="utf-8")
        options = (
            "--package-lock-only --ignore-scripts --no-audit --no-fund --save-exact --omit-lockfile-registry-resolved"
        )
        command = ["npm", "install", *options.split(), f"--before={midnight(asking.today - COOLDOWN):%FT%TZ}"]
        done = subprocess.run(
            [*command, *(f"{name}@latest" for name in names)],
            cwd=folder,
            env={**os.environ, "npm_config_registry": asking.publishers.url(asking.publishers.npm_registry)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise UnreachableError(f"npm: {' '.join(done.stderr.replace('npm error', '').split())[:300]}")
        old, new = tree.text(NPM_LOCK), (folder / "package-lock.json").read_text(encoding="utf-8")
        if older(npm_locked(old), npm_locked(new)):
            return []
        tree.put(NPM_LOCK, new)
        tree.put(manifest, (folder / "package.json").read_text(encoding="utf-8"))
    return differences("npm", npm_locked(old), npm_locked(new), "the lock")


def actions(asking: Asking) -> list[Change]:
    """Take the newest release of each action, by the commit it names."""
    return tagged(asking, "action", ACTION, "{name}{path}@{digest}  # {tag}")


def images(asking: Asking) -> list[Change]:
    """Take the newest version of each tool that is an image, by its digest."""
    return tagged(asking, "image", IMAGE, "{name}:{tag}@{digest}")


def tagged(asking: Asking, kind: str, pattern: re.Pattern[str], form: str) -> list[Change]:
    """Take the newest of each that is pinned by tag and digest; what its publisher does not know stays as it is."""
    changes = []
    for pin in (pin for pin in pins(asking.tree) if pin.kind == kind):
        try:
            new = newest(pin, asking)
        except UnknownError as problem:
            asking.problems.append(f"{pin.name} {pin.version}: {problem}")
            continue
        if new == pin:
            continue
        for path, text in asking.tree.files():

            def renewed(found: re.Match[str], pin: Pin = pin, new: Pin = new) -> str:
                if (found["name"], found["digest"]) != (pin.name, pin.digest):
                    return found[0]
                return form.format(**{**found.groupdict(), "tag": new.version, "digest": new.digest})

            asking.tree.put(path, pattern.sub(renewed, text))
        changes.append(Change(kind, pin.name, str(pin), str(new)))
    return changes


def newest(pin: Pin, asking: Asking) -> Pin:
    """Return the pin of the newest version that is out for long enough, the pin itself if there is none.

    An action's tag that names another commit than it did is a problem: that is how poisoned ones were spread. Images
    are built anew under the same name, so there it is not. Raises UnreachableError or UnknownError.
    """
    current, latest = version_of(pin.version), midnight(asking.today - COOLDOWN)
    releases = asking.publishers.releases(pin)
    if pin.kind == "action" and current in releases:
        commit = asking.publishers.digest(pin, releases[current])
        if commit != pin.digest:
            raise UnknownError(f"this tag names commit {commit[:7]} now, not {pin.digest[:7]}; find out why")
    allowed = [version for version, release in releases.items() if release.published < latest]
    if not allowed or not current or max(allowed) <= current:
        return pin
    release = releases[max(allowed)]
    return pin._replace(version=release.tag, digest=asking.publishers.digest(pin, release))


PARTS: dict[str, Callable[[Asking], list[Change]]] = {
    "table of ends of life": end_of_life,
    "Python": pythons,
    "Debian": debian,
    "locks": locks,
    "npm lock": npm,
    "actions": actions,
    "images": images,
}


def plan(tree: Tree, publishers: Publishers, today: date) -> Plan:
    """Work out a refresh without writing anything. Of each part all is done, or nothing and there is a problem."""
    changes: list[Change] = []
    problems: list[str] = []
    for name, part in PARTS.items():
        branch = tree.branch()
        try:
            found = part(Asking(branch, publishers, today, problems))
        except (UnreachableError, UnknownError) as problem:
            problems.append(f"{name}: {problem}")
        else:
            tree, changes = branch, changes + found
    return Plan(tree, list(dict.fromkeys(changes)), problems)


def console() -> Console:
    """Return where to print: in a log or a file, on lines that are long enough for a table."""
    return Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 120)


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return what reads the options that a refresh and a look at the ages have in common."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument(
        "--today",
        type=date.fromisoformat,
        default=datetime.now(UTC).date(),
        metavar="YYYY-MM-DD",
        help="default: UTC's",
    )
    options.add_argument(
        "--through",
        metavar="URL",
        help="ask URL/HOST/PATH in place of https://HOST/PATH: a mirror, or recorded answers",
    )
    options.add_argument("--root", type=Path, default=TEMPLATE, metavar="FOLDER", help="default: this repository")
    return options


def main() -> int:
    """Refresh; return 1 if something could not be."""
    options = parser(__doc__).parse_args()
    output = console()
    with output.status("Asking the publishers, uv and npm …"):
        tree, changes, problems = plan(Tree(options.root), Publishers(options.through), options.today)
    tree.write()
    if changes:
        table = Table("", "Pin", "Old", "New")
        for change in changes:
            table.add_row(*change)
        output.print(table)
    elif tree.changed:
        output.print(f"No version changed, but {', '.join(tree.changed)} did.")
    elif not problems:
        output.print("Everything is up to date.")
    else:
        output.print("All that could be asked is up to date.")
    for problem in problems:
        output.print(f"Not refreshed: {problem}", soft_wrap=True)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
