"""The development container of a service: a valid file, and a stage in which an editor can work."""

import json
from typing import Any

import pytest

from tests.conftest import LABEL, PYTHONS, Bake, BakedProject, docker

FILE = ".devcontainer/devcontainer.json"
# Of what a file with `build` may have, by schemas/devContainer.base.schema.json of https://github.com/devcontainers/spec.
KEYS: dict[str, type] = {
    "name": str,
    "build": dict,
    "remoteUser": str,
    "init": bool,
    "forwardPorts": list,
    "customizations": dict,
}
BUILD_KEYS: dict[str, type] = {"dockerfile": str, "context": str, "target": str, "args": dict}


def _told(project: BakedProject) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((project.path / FILE).read_text(encoding="utf-8"))
    return told


def test_the_file_has_the_keys_and_types_of_its_schema(bake: Bake) -> None:
    told = _told(bake())

    for keys, part in ((KEYS, told), (BUILD_KEYS, told["build"])):
        for key, value in part.items():
            assert isinstance(value, keys.get(key, type(None))), key
    assert "dockerfile" in told["build"], "the schema asks for it"
    assert all(type(port) is int and 0 <= port <= 65535 for port in told["forwardPorts"])


def test_it_names_what_is_there(bake: Bake) -> None:
    project = bake()
    told = _told(project)
    folder = (project.path / FILE).parent
    dockerfile = (folder / told["build"]["dockerfile"]).read_text(encoding="utf-8")
    settings = told["customizations"]["vscode"]["settings"]

    assert (folder / told["build"]["context"]).resolve() == project.path
    assert f" AS {told['build']['target']}\n" in dockerfile
    assert f"useradd --uid 10001 --create-home --shell /bin/bash {told['remoteUser']}\n" in dockerfile
    assert all((project.path / name).is_dir() for name in settings["python.testing.pytestArgs"])
    assert told["forwardPorts"] == [5000]


@pytest.mark.container
def test_an_editor_can_work_in_it(bake: Bake, engine: None, image_tag: str) -> None:
    """As an editor does it: the stage is built, the folder mounted, and all is run as the user that the file names."""
    project = bake(python_version=PYTHONS[0])
    told = _told(project)
    folder, build = (project.path / FILE).parent, told["build"]
    where = [f"--file={folder / build['dockerfile']}", f"--target={build['target']}", str(folder / build["context"])]
    docker("build", "--quiet", f"--label={LABEL}", f"--tag={image_tag}", *where)
    workspace = f"/workspaces/{project.path.name}"
    settings = told["customizations"]["vscode"]["settings"]

    def inside(*command: str) -> str:
        options = [f"--user={told['remoteUser']}", f"--volume={project.path}:{workspace}", f"--workdir={workspace}"]
        return docker("run", "--rm", "--init", "--network=none", *options, image_tag, *command)

    python = settings["python.defaultInterpreterPath"]
    assert " passed" in inside(python, "-m", "pytest", *settings["python.testing.pytestArgs"])
    assert "All checks passed!" in inside("ruff", "check")
    assert "no issues found" in inside(python, "-m", "mypy")
    # The server of an editor and its extensions go there.
    assert inside("sh", "-c", 'touch "$HOME/server" && id -un && pwd') == f"{told['remoteUser']}\n{workspace}"
