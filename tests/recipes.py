"""The recipes of docs/recipes, and how a test follows them."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from tests.conftest import BIN, PYTHONS, TEMPLATE, TOOLS, Bake, BakedProject
from tests.readme import edit
from tools.questions import CHOICES

RECIPES = {path.stem: path.read_text(encoding="utf-8") for path in sorted((TEMPLATE / "docs/recipes").glob("*.md"))}
INDEX = RECIPES.pop("README")
BEFORE = re.compile(r"^After: \[.*\]\((.*)\.md\)$", re.MULTILINE)
# These need a service with a history, or another engine.
FOLLOWED_BY = {"answers": "tests/test_update.py", "podman": "tests/test_podman.py"}
KUBERNETES = "--- kubernetes/"
# Small real services, grown by recipes; tests/test_services.py judges each.
SERVICES = sorted((TEMPLATE / "tests/services").glob("*/README.md"))
# Where the whole contract is asked of each: a Python and a kind of image in turn.
JUDGED_ON = [(PYTHONS[n % len(PYTHONS)], CHOICES["image"][n % 2]) for n in range(len(SERVICES))]
SERVES = [
    "tests/container/test_service.py::test_the_page_is_served",
    "tests/container/test_service.py::test_a_clean_life_leaves_a_clean_log",
]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def named_by(service: Path) -> list[str]:
    """Return the recipes that the README of a service names as its own."""
    [names] = re.findall(r"^Recipes: (.*?)\n\n", service.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return re.findall(r"([\w-]+)\.md\)", names)


def with_all_before(names: Iterable[str]) -> str:
    """Return recipes with those that they say must be followed before, in order, each once."""
    found: list[str] = []
    for name in names:
        chain = [name]
        while before := BEFORE.search(RECIPES[chain[0]]):
            chain.insert(0, before[1])
        found += [one for one in chain if one not in found]
    return "\n".join(RECIPES[name] for name in found)


def follow(recipe: str, project: BakedProject) -> None:
    """Make the edits of a recipe and run its commands, in the order of the page."""
    for language, block in BLOCK.findall(recipe):
        if language == "diff":
            edit(project.path, block)
        else:
            assert language == "sh", f"nothing executes a block of {language}"
            shell(block, project)


def shell(script: str, project: BakedProject, **variables: str) -> None:
    """Run what a page has its reader type, with uv at hand."""
    # Of the tooling only uv: all else must come from the service.
    uv = project.path.parent / "uv"
    uv.mkdir(exist_ok=True)
    if not (uv / "uv").exists():
        (uv / "uv").symlink_to(shutil.which("uv", path=str(TOOLS)) or "")
    path = os.pathsep.join([str(uv), str(project.environment / BIN), os.environ["PATH"]])
    project.run("bash", "-ec", script, PATH=path, **variables)


def started_by(recipe: str, bake: Bake, **answers: str) -> BakedProject:
    """Return a fresh service, with a separate environment if the recipe installs something."""
    deploy = "kubernetes" if KUBERNETES in recipe else "compose"
    project = bake(**{"python_version": PYTHONS[0], "deploy": deploy, **answers})
    own = project.path / ".venv"
    if "pip install" not in recipe:
        own.symlink_to(project.environment)
    else:
        subprocess.run([sys.executable, "-m", "venv", own], check=True)
    return BakedProject(project.path, own)
