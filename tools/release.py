"""Release the template: `make release VERSION=0.2.0`.

Writes the version and the section of the changelog, commits, tags, and prints the command that publishes it. Nothing is
pushed, and nothing is changed where something is wrong.
"""

import datetime
import itertools
import re
import subprocess
import sys
from collections.abc import Sequence

import typer
from packaging.version import Version

from tools.questions import REPOSITORY, TEMPLATE
from tools.questions import VERSION as NAMED

VERSION = re.compile(r"(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*)){2}")
# Where the version stands besides the changelog.
PLACES = {
    "cookiecutter.json": r'(?<="_template_version": ")[^"]+',
    "pyproject.toml": r'(?<=^version = ")[^"]+',
}
UNRELEASED = "## [Unreleased]\n"


class ReleaseError(Exception):
    """The release cannot be made; the message is one line that says why, and what to do."""


def git(*arguments: str) -> str:
    """Return what Git prints; raise ReleaseError with the last line of what it complains about if it fails."""
    done = subprocess.run(["git", "-C", TEMPLATE, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines() or ["no reason given"]
        raise ReleaseError(f"git {arguments[0]} failed: {said[-1]}")
    return done.stdout.strip()


def links(releases: Sequence[str]) -> str:
    """Return the links at the end of a changelog with these releases, the newest first: each to what it changed."""
    if not releases:
        return f"[Unreleased]: {REPOSITORY}/commits/main\n"
    lines = [f"[Unreleased]: {REPOSITORY}/compare/v{releases[0]}...HEAD"]
    for version, before in itertools.pairwise(releases):
        lines.append(f"[{version}]: {REPOSITORY}/compare/v{before}...v{version}")
    return "\n".join([*lines, f"[{releases[-1]}]: {REPOSITORY}/releases/tag/v{releases[-1]}", ""])


def released(changelog: str, version: str) -> str:
    """Return the changelog with all that is under Unreleased as a release; raise ReleaseError if that is nothing."""
    unreleased = changelog.partition(UNRELEASED)[2].partition("\n## ")[0]
    if not re.search(r"^- ", unreleased, re.MULTILINE):
        raise ReleaseError("CHANGELOG.md has nothing under [Unreleased]: write there what changed, for who uses it")
    return linked(changelog.replace(UNRELEASED, f"{UNRELEASED}\n## [{version}] - {datetime.date.today()}\n", 1))


def linked(changelog: str) -> str:
    """Return the changelog with the links at its end that its releases and the address of the template call for."""
    text = re.sub(r"^\[[^]]+\]: \S+\n", "", changelog, flags=re.MULTILINE).rstrip()
    return f"{text}\n\n{links(versions(text))}"


def versions(changelog: str) -> list[str]:
    """Return the releases of a changelog, the newest first."""
    return re.findall(r"^## \[([0-9.]+)\] - ", changelog, re.MULTILINE)


def named() -> set[str]:
    """Return the releases that cookiecutter.json and README.md name: before the first release, none is there."""
    readme = (TEMPLATE / "README.md").read_text(encoding="utf-8")
    return {NAMED, *re.findall(r"--checkout v([0-9.]+)", readme)}


def check(version: str) -> None:
    """Raise ReleaseError unless the repository is ready for this version."""
    if not VERSION.fullmatch(version):
        raise ReleaseError(f"{version!r} is no version: use three numbers, for example 0.2.0")
    if (branch := git("branch", "--show-current")) != "main":
        raise ReleaseError(f"releases are made on main, this is {branch or 'no branch'}: git switch main")
    if changed := git("status", "--porcelain"):
        raise ReleaseError(f"the work tree is not clean: commit or remove {changed.split()[1]} first")
    tags = [tag[1:] for tag in git("tag", "--list", "v*").split() if VERSION.fullmatch(tag[1:])]
    if (last := max(tags, key=Version, default=None)) and Version(version) <= Version(last):
        raise ReleaseError(f"{version} is not greater than {last}, the last release")
    if not last and (other := named() - {version}):
        raise ReleaseError(f"the first release is {min(other)}, as README.md and cookiecutter.json say, not {version}")


def release(version: str) -> None:
    """Write, commit and tag; raise ReleaseError, with everything as it was, if a step fails."""
    check(version)
    written = {"CHANGELOG.md": released((TEMPLATE / "CHANGELOG.md").read_text(encoding="utf-8"), version)}
    for name, place in PLACES.items():
        text = (TEMPLATE / name).read_text(encoding="utf-8")
        written[name], count = re.subn(place, version, text, flags=re.MULTILINE)
        if count != 1:
            raise ReleaseError(f"{name} has {count} places for the version, not one")
    before = git("rev-parse", "HEAD")
    try:
        for name, text in written.items():
            (TEMPLATE / name).write_text(text, encoding="utf-8", newline="\n")
        git("commit", "--all", "--message", f"Release {version}")
        git("tag", "--annotate", f"v{version}", "--message", f"Release {version}")
    except BaseException:
        # Nothing is lost: the work tree was clean.
        git("reset", "--hard", before)
        raise


def main(version: str) -> None:
    """Release the template; a version is three numbers, for example 0.2.0."""
    try:
        release(version)
    except ReleaseError as error:
        sys.exit(f"release: {error}")
    print(f"v{version} is committed and tagged. Look at it with git show, then publish it:")
    print("  git push --follow-tags origin main")


if __name__ == "__main__":
    typer.run(main)
