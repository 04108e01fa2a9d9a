"""The rungs of the ladder, as ladder.toml lists them: what each is made of.

`python -m workshop.ladder RUNG FOLDER` lays one out, to build and to measure it by hand.
"""

import argparse
import functools
import hashlib
import random
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tools import baking

HERE = Path(__file__).parent
SERVICE = HERE / "service"
LADDER = HERE / "ladder"
LOCK = baking.SERVICE / "requirements.txt"

PORT = 5000
# The Python that the Dockerfiles name. Where a machine has only the base image of another, that takes its place.
PYTHON = "3.14"

# What lies about in a project folder and must not be shipped. The history is as large as that of a small project.
CANARY = "c0ffee-canary-of-the-ladder"
PLANTED: Mapping[str, bytes] = {
    ".env": f"DATABASE_PASSWORD={CANARY}\n".encode(),
    ".git/config": f"[remote]\nurl = https://user:{CANARY}@git.example/shop.git\n".encode(),
    ".git/objects/pack/pack-1.pack": random.Random(0).randbytes(3_000_000),  # noqa: S311  the same bytes each time
    "notes.md": f"Ask Kim for the key, it is {CANARY}\n".encode(),
}


@dataclass(frozen=True)
class Rung:
    """One rung, as ladder.toml has it. `bake` are the answers of a rung that the template makes, else None."""

    number: int
    name: str
    title: str
    idea: str
    claims: tuple[str, ...]
    lock: bool = False
    bake: Mapping[str, str] | None = field(default=None, hash=False)

    @property
    def label(self) -> str:
        """Return number and name, as the folder has them: 03-layers."""
        return f"{self.number:02}-{self.name}"

    @property
    def folder(self) -> Path:
        """Return the folder with what the rung adds to the service; a rung that the template makes has none."""
        return LADDER / self.label

    @property
    def code(self) -> str:
        """Return the file of the service that somebody edits all day."""
        return "app.py" if self.bake is None else "app/views.py"

    def own_files(self) -> dict[str, bytes]:
        """Return what this repository holds for the rung, by path; for a rung that the template makes, nothing."""
        if self.bake is not None:
            return {}
        folders = (SERVICE, self.folder)
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for folder in folders
            for path in sorted(folder.rglob("*"))
            if path.is_file() and "__pycache__" not in path.parts
        }

    def files(self, python_version: str = PYTHON) -> dict[str, bytes]:
        """Return all files of the rung by path, on a version of Python, without what is planted."""
        if self.bake is not None:
            return dict(baked(tuple(sorted({"python_version": python_version, **self.bake}.items()))))
        files = {**self.own_files(), **({"requirements.txt": LOCK.read_bytes()} if self.lock else {})}
        text = files["Dockerfile"].decode()
        return {**files, "Dockerfile": text.replace(f"python:{PYTHON}-", f"python:{python_version}-").encode()}

    def own_digest(self) -> str:
        """Return a digest of what this repository holds for the rung."""
        return digest(self.own_files())

    def digest(self) -> str:
        """Return a digest of all that the rung is built from, what it takes from the template included."""
        return digest(self.files())


def digest(files: Mapping[str, bytes]) -> str:
    """Return a digest of names and contents, the same in every order."""
    lines = "".join(f"{name} {hashlib.sha256(files[name]).hexdigest()}\n" for name in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


def rungs() -> tuple[Rung, ...]:
    """Return the rungs in order."""
    listed = tomllib.loads((LADDER / "ladder.toml").read_text(encoding="utf-8"))["rung"]
    return tuple(Rung(**{**entry, "claims": tuple(entry["claims"])}) for entry in listed)


@functools.cache
def baked(answers: tuple[tuple[str, str], ...]) -> dict[str, bytes]:
    """Return the files that the template bakes for some answers, by path; bake them only once."""
    with tempfile.TemporaryDirectory() as folder:
        project = baking.bake(Path(folder), dict(answers))
        return {
            path.relative_to(project).as_posix(): path.read_bytes()
            for path in sorted(project.rglob("*"))
            if path.is_file()
        }


def assemble(rung: Rung, folder: Path, python_version: str = PYTHON) -> Path:
    """Lay out the build context of a rung below `folder`, planted files included; return where."""
    return lay_out(rung, folder / rung.label, python_version)


def lay_out(rung: Rung, context: Path, python_version: str = PYTHON) -> Path:
    """Lay out the build context of a rung in a folder; return the folder."""
    for name, content in {**rung.files(python_version), **PLANTED}.items():
        path = context / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return context


def main(arguments: Sequence[str] | None = None) -> int:
    """Lay out a rung in a folder that is not there yet."""
    ladder = {rung.name: rung for rung in rungs()}
    parser = argparse.ArgumentParser(prog="workshop.ladder", description="Lay out a rung of the ladder.")
    parser.add_argument("rung", choices=ladder)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args(arguments)
    if options.folder.exists():
        parser.error(f"{options.folder} is there already, with another rung perhaps: remove it, or name another folder")
    print(lay_out(ladder[options.rung], options.folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
