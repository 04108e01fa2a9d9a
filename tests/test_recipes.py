"""docs/recipes: each page is followed as it is printed, on a fresh service, which must hold afterwards."""

import json
import time

import pytest

from tests.conftest import Bake, docker
from tests.recipes import (
    BEFORE,
    FOLLOWED_BY,
    INDEX,
    KUBERNETES,
    RECIPES,
    SERVES,
    SERVICES,
    follow,
    named_by,
    started_by,
    with_all_before,
)
from tests.test_kubernetes import OVERLAYS, VERSIONS, render, validate
from tools.questions import CHOICES

BUILDS = "--- Dockerfile\n"
DOCKER = "\ndocker "
# The others leave something to do, such as a database to run.
LEFT_OPEN = BEFORE.findall("\n".join(RECIPES.values()))
COMPLETE = [name for name in RECIPES if name not in {*LEFT_OPEN, *FOLLOWED_BY}]
# Their images are judged by tests/test_services.py, and by tests/test_telemetry.py.
JUDGED = {"telemetry-metrics", *(name for service in SERVICES for name in named_by(service))}
LOOKS = {
    "slim": ["tests/container/test_image.py", "tests/container/test_build.py"],
    "distroless": ["tests/container/test_image.py"],
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_fits_on_one_screen_and_is_in_the_index(name: str) -> None:
    assert len(RECIPES[name].splitlines()) <= 60
    assert f"({name}.md)" in INDEX


# A page whose commands need Docker is followed, and checked, by a service.
@pytest.mark.parametrize("name", [name for name in COMPLETE if DOCKER not in RECIPES[name] or name not in JUDGED])
def test_after_a_recipe_the_checks_of_the_service_pass(bake: Bake, kubectl: str, name: str) -> None:
    recipe = with_all_before([name])
    project = started_by(recipe, bake)
    follow(recipe, project)

    for command in (["ruff", "check"], ["ruff", "format", "--check"], ["mypy"], ["pytest", "-q", "tests/unit"]):
        project.run(*command)
    if KUBERNETES in recipe:
        project.run("pytest", "-q", "tests/kubernetes", CI="true")
        for overlay in OVERLAYS:
            (project.path / "rendered.yaml").write_text(render(project, overlay), encoding="utf-8")
            done = validate(project.path / "rendered.yaml", VERSIONS[0])
            assert done.returncode == 0, done.stdout + done.stderr


# What an edit of the Dockerfile can break in either kind of image is looked for; all others must serve.
@pytest.mark.slow
@pytest.mark.container
@pytest.mark.parametrize(
    ("name", "image"),
    [
        (name, image)
        for name in COMPLETE
        if KUBERNETES not in RECIPES[name] and name not in JUDGED
        for image in CHOICES["image"]
        if image == "slim" or BUILDS in with_all_before([name])
    ],
)
def test_after_a_recipe_the_image_holds(bake: Bake, engine: None, image: str, name: str) -> None:
    recipe = with_all_before([name])
    project = started_by(recipe, bake, image=image)
    follow(recipe, project)

    project.run("pytest", *SERVES, *(LOOKS[image] if BUILDS in recipe else []), "-p", "no:cacheprovider", CI="true")


@pytest.mark.slow
@pytest.mark.container
@pytest.mark.parametrize("image", CHOICES["image"])
def test_a_worker_is_healthy_and_stops_in_time(
    bake: Bake, own_compose_project: None, image_tag: str, monkeypatch: pytest.MonkeyPatch, image: str
) -> None:
    recipe = with_all_before(["workers"])
    project = started_by(recipe, bake, image=image)
    follow(recipe, project)
    project.build_image(image_tag)
    monkeypatch.setenv("IMAGE", image_tag)
    try:
        project.run("docker", "compose", "up", "--detach", "--no-build", "--wait")
        worker = project.run("docker", "compose", "ps", "--quiet", "worker").stdout.strip()
        assert docker("inspect", "--format", "{{.State.Health.Status}}", worker) == "healthy"
        old = "import os; open('/dev/shm/old', 'w'); os.utime('/dev/shm/old', (0, 0))"
        docker("exec", worker, "python", "-c", old)
        deadline = time.monotonic() + 30
        while not docker("logs", worker) and time.monotonic() < deadline:
            time.sleep(0.1)

        docker("stop", worker)
        assert docker("inspect", "--format", "{{.State.ExitCode}}", worker) == "0"
        [line] = map(json.loads, docker("logs", worker).splitlines())
        assert (line["message"], line["file"]) == ("removed", "old")
        project.run("docker", "compose", "run", "--rm", "--no-deps", "web", "python", "-m", "app.jobs")
    finally:
        project.run("docker", "compose", "down", "--volumes", "--timeout=1")


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
