"""docs/recipes: each page is followed as it is printed, on a fresh service, which must hold afterwards."""

import pytest

from tests.conftest import Bake
from tests.recipes import BEFORE, INDEX, RECIPES, follow, started_by, with_all_before
from tools.questions import CHOICES

BUILDS, COMPOSE = "--- Dockerfile\n", "--- compose"
# The others leave something to do, such as a database to run.
COMPLETE = [name for name in RECIPES if name not in BEFORE.findall("\n".join(RECIPES.values()))]
# This one is about a service that has a history; tests/test_update.py follows it.
COMPLETE.remove("answers")
SERVES = [
    "tests/container/test_service.py::test_the_page_is_served",
    "tests/container/test_service.py::test_a_clean_life_leaves_a_clean_log",
]
BEHIND_THE_PROXY = "tests/container/test_proxy.py::test_the_proxy_alone_can_be_reached"
LOOKS = {
    "slim": ["tests/container/test_image.py", "tests/container/test_build.py"],
    "distroless": ["tests/container/test_image.py"],
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_fits_on_one_screen_and_is_in_the_index(name: str) -> None:
    assert len(RECIPES[name].splitlines()) <= 60
    assert f"({name}.md)" in INDEX


@pytest.mark.parametrize("name", [name for name in COMPLETE if "\ndocker " not in RECIPES[name]])
def test_after_a_recipe_the_checks_of_the_service_pass(bake: Bake, name: str) -> None:
    recipe = with_all_before([name])
    project = started_by(recipe, bake)
    follow(recipe, project)

    for command in (["ruff", "check"], ["ruff", "format", "--check"], ["mypy"], ["pytest", "-q", "tests/unit"]):
        project.run(*command)


# What an edit of the Dockerfile can break in either kind of image is looked for; all others must serve.
@pytest.mark.slow
@pytest.mark.container
@pytest.mark.parametrize(
    ("name", "image"),
    [
        (name, image)
        for name in COMPLETE
        for image in CHOICES["image"]
        if image == "slim" or BUILDS in with_all_before([name])
    ],
)
def test_after_a_recipe_the_image_holds(
    bake: Bake, database_image: None, proxy_image: None, image: str, name: str
) -> None:
    recipe = with_all_before([name])
    project = started_by(recipe, bake, image=image)
    follow(recipe, project)

    tests = [*SERVES, *(LOOKS[image] if BUILDS in recipe else []), *([BEHIND_THE_PROXY] if COMPOSE in recipe else [])]
    project.run("pytest", *tests, "-p", "no:cacheprovider", CI="true")


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
