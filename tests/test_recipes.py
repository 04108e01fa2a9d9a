"""docs/recipes: each page is followed as it is printed, on a fresh service, which must hold afterwards."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.conftest import BIN, PYTHONS, TEMPLATE, TOOLS, Bake, BakedProject, docker
from tests.readme import edit
from tests.test_kubernetes import OVERLAYS, VERSIONS, render, validate
from tools.engine import run
from tools.questions import CHOICES, base_image

RECIPES = {path.stem: path.read_text(encoding="utf-8") for path in sorted((TEMPLATE / "docs/recipes").glob("*.md"))}
INDEX = RECIPES.pop("README")
BUILDS = "--- Dockerfile\n"
DOCKER = "\ndocker "
KUBERNETES = "--- kubernetes/"
BEFORE = re.compile(r"^After: \[.*\]\((.*)\.md\)$", re.MULTILINE)
# The others leave something to do, such as a database to run.
COMPLETE = [name for name in RECIPES if name not in BEFORE.findall("\n".join(RECIPES.values()))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SERVES = [
    "tests/container/test_service.py::test_the_page_is_served",
    "tests/container/test_service.py::test_a_clean_life_leaves_a_clean_log",
]
CHECKS = (["ruff", "check"], ["ruff", "format", "--check"], ["mypy"], ["pytest", "-q", "tests/unit"])
LOOKS = {
    "slim": ["tests/container/test_image.py", "tests/container/test_build.py"],
    "distroless": ["tests/container/test_image.py"],
}


def with_all_before(name: str) -> str:
    """Return a recipe with those that it says must be followed before, in order."""
    before = BEFORE.search(RECIPES[name])
    return (with_all_before(before[1]) if before else "") + RECIPES[name]


def follow(recipe: str, project: BakedProject) -> None:
    """Make the edits of a recipe and run its commands, in the order of the page."""
    for language, block in BLOCK.findall(recipe):
        if language == "diff":
            edit(project.path, block)
        else:
            assert language == "sh", f"nothing executes a block of {language}"
            shell(block, project)


def shell(script: str, project: BakedProject) -> None:
    """Run what a page has its reader type, with uv at hand."""
    # Of the tooling only uv: all else must come from the service.
    uv = project.path.parent / "uv"
    uv.mkdir(exist_ok=True)
    if not (uv / "uv").exists():
        (uv / "uv").symlink_to(shutil.which("uv", path=str(TOOLS)) or "")
    project.run(
        "bash", "-ec", script, PATH=os.pathsep.join([str(uv), str(project.environment / BIN), os.environ["PATH"]])
    )


def started_by(recipe: str, bake: Bake, image: str = "slim") -> BakedProject:
    """Return a fresh service, with an environment of its own if the recipe installs something."""
    deploy = "kubernetes" if KUBERNETES in recipe else "compose"
    project = bake(python_version=PYTHONS[0], image=image, deploy=deploy)
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


@pytest.mark.parametrize("name", [name for name in COMPLETE if DOCKER not in RECIPES[name]])
def test_after_a_recipe_the_checks_of_the_service_pass(bake: Bake, kubectl: str, name: str) -> None:
    recipe = with_all_before(name)
    project = started_by(recipe, bake)
    follow(recipe, project)

    for command in CHECKS:
        project.run(*command)
    if KUBERNETES in recipe:
        project.run("pytest", "-q", "tests/kubernetes", CI="true")
        for overlay in OVERLAYS:
            (project.path / "rendered.yaml").write_text(render(project, overlay), encoding="utf-8")
            done = validate(project.path / "rendered.yaml", VERSIONS[0])
            assert done.returncode == 0, done.stdout + done.stderr


# What an edit of the Dockerfile can break in either kind of image is looked for; all others must serve. The checks
# above are left to here where commands of the page need Docker.
@pytest.mark.slow
@pytest.mark.container
@pytest.mark.parametrize(
    ("name", "image"),
    [
        (name, image)
        for name in COMPLETE
        if KUBERNETES not in RECIPES[name]
        for image in CHOICES["image"]
        if image == "slim" or BUILDS in with_all_before(name)
    ],
)
def test_after_a_recipe_the_image_holds(bake: Bake, databases: None, compose: None, image: str, name: str) -> None:
    recipe = with_all_before(name)
    project = started_by(recipe, bake, image)
    try:
        follow(recipe, project)
    finally:
        project.run("docker", "compose", "--profile=*", "down", "--volumes", "--timeout=1")

    for command in CHECKS if DOCKER in RECIPES[name] else ():
        project.run(*command)
    project.run("pytest", *(LOOKS[image] if BUILDS in recipe else []), *SERVES, "-p", "no:cacheprovider", CI="true")


@pytest.fixture
def compose(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what a page starts by compose apart from a service that somebody has brought up by hand."""
    monkeypatch.setenv("COMPOSE_PROJECT_NAME", f"template-recipe-{os.getpid()}")


@pytest.fixture(scope="session")
def databases(engine: None) -> Iterator[None]:
    """Have services find the image of PostgreSQL, also where no registry answers."""
    stand_in = "stand-in:postgresql"
    with pytest.MonkeyPatch.context() as environment:
        if run("pull", "--quiet", "postgres:17-alpine", check=False).returncode:
            file = TEMPLATE / "tests/stand_ins/postgresql.Dockerfile"
            base = f"--build-arg=BASE={base_image(PYTHONS[0])}"
            docker("build", "--quiet", "--tag", stand_in, base, f"--file={file}", str(file.parent))
            environment.setenv("DATABASE_IMAGE", stand_in)
        yield


@pytest.mark.slow
@pytest.mark.container
@pytest.mark.parametrize("image", CHOICES["image"])
def test_a_worker_is_healthy_and_stops_in_time(
    bake: Bake, compose: None, image_tag: str, monkeypatch: pytest.MonkeyPatch, image: str
) -> None:
    recipe = with_all_before("workers")
    project = started_by(recipe, bake, image)
    follow(recipe, project)
    project.build_image(image_tag)
    monkeypatch.setenv("IMAGE", image_tag)
    monkeypatch.setenv("HOST_PORT", "0")
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
