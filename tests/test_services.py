"""tests/services: small real services, each grown from a bake by recipes, and judged by the whole contract."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Bake, BakedProject
from tests.readme import edit
from tests.recipes import JUDGED_ON, SERVES, SERVICES, follow, named_by, started_by, with_all_before
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


SERVED = ["tests/container/test_image.py", *SERVES]


@pytest.mark.parametrize("number", range(len(SERVICES)), ids=[readme.parent.name for readme in SERVICES])
def test_a_real_service_holds_its_contract(
    bake: Bake,
    database_image: None,
    proxy_image: None,
    own_compose_project: None,
    number: int,
    record_property: Callable[[str, object], None],
) -> None:
    """Everything is asked on one Python and one kind of image; on the other kind, whether it serves."""
    readme, (version, kind) = SERVICES[number], JUDGED_ON[number]
    [other] = {*CHOICES["image"]} - {kind}
    project = grown(readme, bake, python_version=version, image=kind)

    for command in (["ruff", "check"], ["ruff", "format", "--check"], ["mypy"], ["pytest", "tests/unit"]):
        project.run(*command)
    options = ["-n2", "--scorecard", "-p", "no:cacheprovider"]
    done = project.run("pytest", "tests/container", *options, CI="true")
    assert "hello-service: 22 of 22 rows passed" in done.stdout
    edit(project.path, f"--- Dockerfile\n-ARG RUNTIME={kind}\n+ARG RUNTIME={other}\n")
    project.run("pytest", *SERVED, *options, CI="true")

    record_property(f"{readme.parent.name}: lines changed beyond the recipes", changed(readme))
