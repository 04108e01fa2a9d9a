"""tests/services: real services, small ones, each grown from a bake by recipes, and judged on both kinds of image."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Bake, BakedProject
from tests.readme import edit
from tests.recipes import SERVES, SERVICES, follow, named_by, started_by, with_all_before
from tools.questions import CHOICES

# What a fresh service has for its owner to replace: it speaks of hello world.
REPLACED = {"tests/unit/test_views.py"}

pytestmark = [pytest.mark.container, pytest.mark.slow]


def grown(readme: Path, bake: Bake, **answers: str) -> BakedProject:
    """Bake a service, follow its recipes, add its own files and make the edits of its README."""
    text = readme.read_text(encoding="utf-8")
    recipes = with_all_before(named_by(readme))
    project = started_by(recipes + text, bake, **answers)
    follow(recipes, project)
    own = readme.parent / "files"
    overwritten = {path.relative_to(own).as_posix() for path in own.rglob("*") if path.is_file()} & set(project.files())
    assert overwritten <= REPLACED
    shutil.copytree(own, project.path, dirs_exist_ok=True)
    follow(text, project)
    return project


def changed(readme: Path) -> int:
    """Return how many lines a service changes beyond its recipes and its own files."""
    return len(re.findall(r"^[+-](?!-- )", readme.read_text(encoding="utf-8"), re.MULTILINE))


LOOKED_AT = ["tests/container/test_image.py", *SERVES]


@pytest.mark.parametrize("readme", SERVICES, ids=lambda readme: readme.parent.name)
def test_a_real_service_holds_its_contract(
    bake: Bake,
    database_image: None,
    own_compose_project: None,
    readme: Path,
    record_property: Callable[[str, object], None],
) -> None:
    slim, distroless = CHOICES["image"]
    project = grown(readme, bake, image=slim)

    for command in (["ruff", "check"], ["ruff", "format", "--check"], ["mypy"], ["pytest", "tests/unit"]):
        project.run(*command)
    options = ["--scorecard", "-p", "no:cacheprovider"]
    project.run("pytest", *LOOKED_AT, *options, CI="true")
    edit(project.path, f"--- Dockerfile\n-ARG RUNTIME={slim}\n+ARG RUNTIME={distroless}\n")
    project.run("pytest", *LOOKED_AT, *options, CI="true")

    record_property(f"{readme.parent.name}: lines changed beyond the recipes", changed(readme))
