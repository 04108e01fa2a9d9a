"""Bake the template, and copy it: what every tool begins with."""

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from cookiecutter.main import cookiecutter

TEMPLATE = Path(__file__).parents[1]
# The service before it is baked. Files without an answer in them are used from there as they are.
SERVICE = TEMPLATE / "{{cookiecutter.project_slug}}"


def bake(folder: Path, answers: Mapping[str, str] | None = None, template: Path = TEMPLATE) -> Path:
    """Bake the default answers, except for those given, into a folder; return the project.

    Defaults of the user do not count. The hooks are left out: they check answers and print what to do next.
    """
    options = {"no_input": True, "default_config": True, "accept_hooks": False}
    return Path(cookiecutter(str(template), extra_context=dict(answers or {}), output_dir=str(folder), **options))


def files(project: Path) -> dict[str, bytes]:
    """Return the content of all files by their path, as Git would write it."""
    paths = sorted(path for path in project.rglob("*") if path.is_file())
    return {path.relative_to(project).as_posix(): path.read_bytes() for path in paths}


def copy_template(destination: Path) -> None:
    """Copy the work tree as it is, without what Git ignores."""
    command = ["git", "-C", str(TEMPLATE), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (TEMPLATE / name).is_file():
            (destination / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(TEMPLATE / name, destination / name)
