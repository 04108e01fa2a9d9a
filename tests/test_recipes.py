"""docs/recipes: each page is followed as it is printed, on a fresh service, which must hold afterwards."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.conftest import BIN, PYTHONS, TEMPLATE, TOOLS, Bake, BakedProject
from tests.readme import edit
from tools.questions import CHOICES

RECIPES = {path.stem: path.read_text(encoding="utf-8") for path in sorted((TEMPLATE / "docs/recipes").glob("*.md"))}
INDEX = RECIPES.pop("README")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# What a recipe can break in the image. All rows are asked of the services in tests/services.
ASKED = [
    *("tests/container/test_image.py", "tests/container/test_build.py"),
    "tests/container/test_service.py::test_the_page_is_served",
    "tests/container/test_service.py::test_a_clean_life_leaves_a_clean_log",
]


def with_all_before(name: str) -> str:
    """Return a recipe with those that it says must be followed before, in order."""
    before = re.search(r"^After: \[.*\]\((.*)\.md\)$", RECIPES[name], re.MULTILINE)
    return (with_all_before(before[1]) if before else "") + RECIPES[name]


def follow(recipe: str, project: BakedProject) -> None:
    """Make the edits of a recipe and run its commands, in the order of the page."""
    for language, block in BLOCK.findall(recipe):
        if language == "diff":
            edit(project.path, block)
        else:
            assert language == "sh", f"nothing executes a block of {language}"
            shell(block, project)


def shell(script: str, project: BakedProject) -> str:
    """Run what a page has its reader type, with uv at hand; return what it printed."""
    # Of the tooling only uv: all else must come from the service.
    uv = project.path.parent / "uv"
    uv.mkdir(exist_ok=True)
    if not (uv / "uv").exists():
        (uv / "uv").symlink_to(shutil.which("uv", path=str(TOOLS)) or "")
    path = os.pathsep.join([str(uv), str(project.path / ".venv" / BIN), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-ec", script],
        cwd=project.path,
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}"
    return done.stdout


def started_by(recipe: str, bake: Bake, image: str = "slim") -> BakedProject:
    """Return a fresh service, with an environment of its own if the recipe installs something."""
    project = bake(python_version=PYTHONS[0], image=image)
    own = project.path / ".venv"
    if "pip install" not in recipe:
        own.symlink_to(project.environment)
    else:
        subprocess.run([sys.executable, "-m", "venv", own], check=True)
    return BakedProject(project.path, own)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_fits_on_one_screen_and_is_in_the_index(name: str) -> None:
    assert len(RECIPES[name].splitlines()) <= 60
    assert f"({name}.md)" in INDEX


@pytest.mark.parametrize("name", [name for name in RECIPES if "docker " not in RECIPES[name]])
def test_after_a_recipe_the_checks_of_the_service_pass(bake: Bake, name: str) -> None:
    recipe = with_all_before(name)
    project = started_by(recipe, bake)
    follow(recipe, project)

    for command in (["ruff", "check"], ["ruff", "format", "--check"], ["mypy"], ["pytest", "-q", "tests/unit"]):
        project.run(*command)


@pytest.mark.slow
@pytest.mark.container
@pytest.mark.parametrize("image", CHOICES["image"])
@pytest.mark.parametrize("name", RECIPES)
def test_after_a_recipe_the_image_holds(bake: Bake, engine: None, image: str, name: str) -> None:
    recipe = with_all_before(name)
    project = started_by(recipe, bake, image)
    follow(recipe, project)

    project.run("pytest", *ASKED, "-p", "no:cacheprovider", CI="true")


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("```diff\n--- app/views.py\n-no such line\n```\n", r"app/views\.py has this 0 times, not once:\nno such line"),
        ("```sh\npytest --no-such-option\n```\n", "unrecognized arguments: --no-such-option"),
        ("```python\nprint()\n```\n", "nothing executes a block of python"),
    ],
    ids=["diff", "sh", "python"],
)
def test_a_block_that_does_not_work_is_seen(bake: Bake, broken: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        follow(broken, started_by(broken, bake))
