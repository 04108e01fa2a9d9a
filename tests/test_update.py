"""A service takes in what changed in the template, by the commands of its README, and keeps what its owner changed."""

import json
from pathlib import Path

import pytest

from tests.conftest import TEMPLATE, TOOLS, Bake, BakedProject, Forge
from tests.readme import commands, section
from tools.questions import REPOSITORY, shorthand

ANSWERS = {"project_name": 'It\'s a "Shop" & more', "project_slug": "shop", "owner": "acme/web", "port": "8080"}
CREATE = {
    "cruft": ["cruft", "create", REPOSITORY, "--no-input", "--extra-context"],
    "cookiecutter": ["cookiecutter", shorthand(), "--no-input"],
}


def change_the_template(forge: Forge) -> None:
    """Release v0.2.0, in which files are changed, added and removed and a question's rule is wider."""
    service = forge.work_tree / "{{cookiecutter.project_slug}}"
    for name, old, new in (
        ("gunicorn.conf.py", '"""', '"""Changed. '),
        ("app/views.py", '"""', '"""Changed. '),
        ("README.md", "## Run it\n", "## Run this\n"),
        ("requirements.in", "\n", "\n# Changed.\n"),
    ):
        text = (service / name).read_text(encoding="utf-8")
        (service / name).write_text(text.replace(old, new, 1), encoding="utf-8")
    (service / "app/added.py").write_text('"""New in 0.2.0."""\n')
    (service / ".editorconfig").unlink()
    questions = forge.work_tree / "cookiecutter.json"
    questions.write_text(questions.read_text().replace('"_template_version": "0.1.0"', '"_template_version": "0.2.0"'))
    forge.publish("v0.2.0")


@pytest.mark.parametrize("tool", CREATE)
def test_an_update_equals_a_fresh_bake_and_keeps_what_the_owner_changed(
    forge: Forge, tmp_path: Path, tool: str
) -> None:
    answers = [json.dumps(ANSWERS)] if tool == "cruft" else [f"{name}={value}" for name, value in ANSWERS.items()]
    here, project = (BakedProject(folder, TOOLS.parent) for folder in (tmp_path, tmp_path / "shop"))
    here.run(*CREATE[tool], *answers)
    update = commands(section((project.path / "README.md").read_text(encoding="utf-8"), "Update it"))
    assert [command.split(" ")[:2] for command in update] == [["cruft", "link"], ["git", "add"], ["cruft", "update"]]
    for command in (["git", "init"], ["git", "add", "."], ["git", "commit", "-m", "Add shop"]):
        project.run(*command)
    with (project.path / "app/views.py").open("a", encoding="utf-8") as views:
        views.write("\n\nOWN = True\n")
    (project.path / "app/own.py").write_text('"""The owner\'s."""\n')
    for command in (["git", "add", "."], ["git", "commit", "-m", "Own work"]):
        project.run(*command)

    change_the_template(forge)
    for line in update if tool == "cookiecutter" else update[-1:]:
        project.run("bash", "-c", line)

    here.run(*CREATE["cookiecutter"], *(f"{name}={value}" for name, value in ANSWERS.items()), "-o", "fresh")
    updated = {name: content for name, content in project.files().items() if not name.startswith(".git/")}
    fresh = BakedProject(tmp_path / "fresh/shop", TOOLS.parent).files()
    assert updated["app/views.py"] == fresh["app/views.py"] + b"\n\nOWN = True\n"
    own = {"app/own.py", "app/views.py", ".cruft.json"}
    assert {name: content for name, content in updated.items() if name not in own} == {
        name: content for name, content in fresh.items() if name != "app/views.py"
    }
    assert b"Changed." in updated["gunicorn.conf.py"]
    assert "app/added.py" in updated
    assert ".editorconfig" not in updated
    assert json.loads(updated[".cookiecutter.json"])["_template_version"] == "0.2.0"


def test_the_recorded_answers_are_those_that_were_given(bake: Bake) -> None:
    recorded = json.loads((bake(**ANSWERS).path / ".cookiecutter.json").read_text(encoding="utf-8"))

    assert {name: recorded[name] for name in ANSWERS} == ANSWERS


def test_a_second_bake_over_a_service_replaces_what_was_edited(tmp_path: Path) -> None:
    """Cookiecutter skips what is there (-s) only if it renders it. So the documents send everybody to cruft."""
    here, project = (BakedProject(folder, TOOLS.parent) for folder in (tmp_path, tmp_path / "hello-service"))
    command = ["cookiecutter", str(TEMPLATE), "--no-input"]
    here.run(*command)
    rendered, copied, own = "compose.yaml", "app/views.py", "tests/unit/test_own.py"
    for name in (rendered, copied, own):
        with (project.path / name).open("a", encoding="utf-8") as file:
            file.write("# Own.\n")

    here.run(*command, "--overwrite-if-exists", "--skip-if-file-exists")

    files = project.files()
    kept = [name for name in (rendered, copied, own) if files.get(name, b"").endswith(b"# Own.\n")]
    assert kept == [rendered]
    assert own not in files, "a file that the template has not is removed"
    readme = files["README.md"].decode()
    assert "Do not bake over the service with `cookiecutter -f -s`: " in readme
    assert "\n`cookiecutter -f -s` " in (TEMPLATE / "docs/questions.md").read_text(encoding="utf-8")


def test_an_answer_is_changed_later(forge: Forge, tmp_path: Path) -> None:
    """By the recipe, one answer after the other; what comes out is what a bake with these answers is."""
    here, project = (BakedProject(folder, TOOLS.parent) for folder in (tmp_path, tmp_path / "hello-service"))
    here.run("cruft", "create", REPOSITORY, "--no-input")
    for command in (["git", "init"], ["git", "add", "."], ["git", "commit", "-m", "Add hello-service"]):
        project.run(*command)
    with (project.path / "app/views.py").open("a", encoding="utf-8") as views:
        views.write("\n\nOWN = True\n")
    project.run("git", "commit", "--all", "--message", "Own work")

    for line in commands((TEMPLATE / "docs/recipes/answers.md").read_text(encoding="utf-8")):
        project.run("bash", "-c", line)
        project.run("git", "add", ".")
        project.run("git", "commit", "-m", "Another answer")

    answers = {
        "project_name": "Web Shop",
        "project_slug": "web-shop",
        "python_version": "3.13",
        "image": "distroless",
        "ci": "gitlab",
        "deploy": "kubernetes",
    }
    here.run(*CREATE["cookiecutter"], *(f"{name}={value}" for name, value in answers.items()), "-o", "fresh")
    fresh = BakedProject(tmp_path / "fresh/web-shop", TOOLS.parent).files()
    fresh["app/views.py"] += b"\n\nOWN = True\n"
    changed = {name: content for name, content in project.files().items() if not name.startswith(".git/")}
    del changed[".cruft.json"]
    assert changed == fresh
