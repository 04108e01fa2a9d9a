"""tests/services: real services, small ones, each grown from a bake by recipes, and judged by its own contract."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import PYTHONS, Bake, BakedProject
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


# Each service is asked everything on one kind of image, in turn; on the other, whether it serves and what it contains.
LOOKED_AT = ["tests/container/test_image.py", *SERVES]


@pytest.mark.parametrize("readme", SERVICES, ids=lambda readme: readme.parent.name)
def test_a_real_service_holds_its_contract(
    bake: Bake,
    proxy_image: None,
    database_image: None,
    own_compose_project: None,
    readme: Path,
    record_property: Callable[[str, object], None],
) -> None:
    turn = SERVICES.index(readme) % 2
    kinds = CHOICES["image"][turn], CHOICES["image"][1 - turn]
    project = grown(readme, bake, image=kinds[0], python_version=PYTHONS[min(turn, len(PYTHONS) - 1)])

    for command in (["ruff", "check"], ["ruff", "format", "--check"], ["mypy"], ["pytest", "tests/unit"]):
        project.run(*command)
    options = ["--scorecard", "-p", "no:cacheprovider"]
    done = project.run("pytest", "tests/container", *options, CI="true", COLUMNS="160")
    dockerfile = project.path / "Dockerfile"
    edit = f"ARG RUNTIME={kinds[0]}\n", f"ARG RUNTIME={kinds[1]}\n"
    dockerfile.write_text(dockerfile.read_text().replace(*edit))
    project.run("pytest", *LOOKED_AT, *options, CI="true")

    [passed] = re.findall(r"hello-service: (\d+ of \d+ rows passed)", done.stdout)
    said = f"{passed}, {changed(readme)} lines changed beyond the recipes"
    record_property(f"{readme.parent.name}, {kinds[0]}", said)
