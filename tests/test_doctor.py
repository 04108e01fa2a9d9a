"""The doctor: a service made from the first release and aged by hand is told what it lacks, and how to be healed."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PYTHONS, TEMPLATE, TOOLS, BakedProject, Forge
from tests.test_update import change_the_template
from tools.questions import REPOSITORY, shorthand

NO_DOCKER = {"DOCKER_HOST": "unix:///no/such/socket"}
OLD_FLASK = (
    "flask==3.1.2 \\\n    --hash=sha256:ca1d8112ec8a6158cc29ea4858963350011b5c846a414cdb7a954aa9e967d03c\n    # via"
)
RELEASED = """\
Files that have changed in the template:
  .editorconfig
  README.md
  app/views.py
  gunicorn.conf.py
  requirements.in
"""
COMMANDS = """\
To update it, while its Git work tree is clean:
  cd {service}
  cruft link {repository} --checkout v0.1.0 --no-input --extra-context "$(cat .cookiecutter.json)"
  git add .cruft.json && git commit -m "Link to the template"
  cruft update --checkout main --skip-apply-ask
Then, to undo what was changed here; leave out what you want to keep:
  cd {template}
  {python} -m tools.doctor {service} --take .gitattributes Dockerfile SECURITY.md requirements.txt
"""


def _commands(forge: Forge, project: BakedProject) -> str:
    return COMMANDS.format(repository=REPOSITORY, service=project.path, template=forge.work_tree, python=sys.executable)


def _doctor(template: Path, *arguments: str | Path, **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "tools.doctor", *arguments],
        cwd=template,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        env={**os.environ, **environment},
        check=False,
    )
    return done.returncode, done.stdout


@pytest.fixture
def service(forge: Forge, tmp_path: Path) -> BakedProject:
    """Return a service that was made from the first release, kept in Git, with a page of its owner's."""
    here = BakedProject(tmp_path, TOOLS.parent)
    bake = ["cookiecutter", shorthand(), "--checkout", "v0.1.0", "--no-input"]
    here.run(*bake, "project_name=Shop", f"python_version={PYTHONS[0]}")
    project = BakedProject(tmp_path / "shop", TOOLS.parent)
    with (project.path / "app/views.py").open("a", encoding="utf-8") as views:
        views.write("\n\nOWN = True\n")
    for command in (["init"], ["add", "."], ["commit", "-m", "Add shop"]):
        project.run("git", *command)
    return project


def _age(project: BakedProject) -> None:
    """Do what is done to services in years, by hand, and commit it."""
    dockerfile = project.path / "Dockerfile"
    text = dockerfile.read_text(encoding="utf-8")
    for old, new in (
        ("USER 10001:10001\nSTOP", "USER root\nSTOP"),
        ('CMD ["python", "-m", "app"]', "CMD python -m app"),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    dockerfile.write_text(text, encoding="utf-8")
    lock = project.path / "requirements.txt"
    text, count = re.subn(r"flask==[^#]*# via", lambda _: OLD_FLASK, lock.read_text(encoding="utf-8"))
    assert count == 1
    lock.write_text(text, encoding="utf-8")
    for name in (".gitattributes", "SECURITY.md"):
        (project.path / name).unlink()
    project.run("git", "commit", "--all", "--message", "Age")


def _heal(project: BakedProject, output: str) -> None:
    """Run the commands that the doctor printed."""
    commands = re.findall(r"^  (.*)$", output.partition("To update it")[2], re.MULTILINE)
    assert len(commands) == 6
    project.run("bash", "-ec", "\n".join(commands))


def test_it_names_what_is_behind_and_its_commands_mend_that(forge: Forge, service: BakedProject) -> None:
    assert _doctor(forge.work_tree, service.path, **NO_DOCKER)[0] == 0
    _age(service)
    change_the_template(forge)
    before = service.files()

    code, output = _doctor(forge.work_tree, service.path, **NO_DOCKER)

    first, rest = output.split("\n", 1)
    assert first.startswith("No contract, only a comparison: the Docker Engine does not answer: ")
    assert rest == (
        "shop was made from version 0.1.0 of the template; today's is 0.2.0.\n"
        "Files it lacks:\n  .gitattributes\n  SECURITY.md\n  app/added.py\n"
        "Packages that are behind:\n  flask 3.1.2 in requirements.txt; today's is 3.1.3\n"
        f"{RELEASED}Files that were changed here:\n  Dockerfile\n  app/views.py\n  requirements.txt\n"
        f"{_commands(forge, service)}"
    )
    assert code == 1
    assert service.files() == before, "the doctor looks, it does not touch"

    _heal(service, output)

    code, output = _doctor(forge.work_tree, service.path, **NO_DOCKER)
    assert output.split("\n", 1)[1] == (
        "shop was made from version 0.2.0 of the template; today's is 0.2.0.\n"
        "Files that were changed here:\n  app/views.py\nNothing is lacking.\n"
    )
    assert code == 0
    assert "OWN = True" in (service.path / "app/views.py").read_text()


@pytest.mark.container
@pytest.mark.slow
def test_it_names_the_rows_that_fail_and_its_commands_mend_them(
    forge: Forge, service: BakedProject, engine: None
) -> None:
    _age(service)

    code, output = _doctor(forge.work_tree, service.path, "--fast")

    assert code == 1
    assert "Today's contract: 9 of 11 rows passed.\n" in output
    assert re.findall(r"^  row (\d+): ", output, re.MULTILINE) == ["1", "2"]
    assert "    Seen: USER is root: it must be a number\n" in output
    assert "    Fix:  `USER 10001:10001`.\n" in output
    assert "    Seen: the command is in shell form: ['/bin/sh', '-c', 'python -m app']\n" in output
    assert _commands(forge, service) in output

    _heal(service, output)

    code, output = _doctor(forge.work_tree, service.path, "--fast")
    assert "Today's contract: 11 of 11 rows passed.\n" in output
    assert output.endswith("Nothing is lacking.\n")
    assert code == 0


@pytest.mark.container
def test_an_image_that_does_not_build_is_said_so(forge: Forge, service: BakedProject, engine: None) -> None:
    (service.path / "Dockerfile").write_text("FROM scratch\nCOPY nothing /\n")

    code, output = _doctor(forge.work_tree, service.path)

    assert code == 2
    assert output.startswith("doctor: its image does not build, so the contract cannot be asked. The end:\n")
    assert '"/nothing": not found' in output


def test_a_lock_that_its_owner_writes_is_made_anew_and_not_replaced(forge: Forge, service: BakedProject) -> None:
    _age(service)
    for name in ("requirements.in", "requirements.txt"):
        with (service.path / name).open("a", encoding="utf-8") as file:
            file.write("# One of our own.\n")

    _, output = _doctor(forge.work_tree, service.path, **NO_DOCKER)

    assert re.search(r" --take .* SECURITY.md$", output, re.MULTILINE), "not requirements.txt"
    assert (
        "  uv pip compile --universal --python-version=3.11 --generate-hashes requirements.in"
        " --output-file=requirements.txt --upgrade\n"
    ) in output


@pytest.mark.parametrize(
    ("recorded", "message"),
    [
        (None, "there is no .cookiecutter.json in {folder}: name the folder of a service made from this template"),
        ("{", "{folder}/.cookiecutter.json does not say from which version it was made (JSONDecodeError("),
        (
            "{}",
            "{folder}/.cookiecutter.json does not say from which version it was made (KeyError('_template_version')",
        ),
        (
            {"_template_version": "9.0.0"},
            "it was made from 9.0.0, and this is the template of 0.1.0: git pull here first",
        ),
        (
            {"port": "80"},
            "its port '80' is not valid any more: write '5000' into .cookiecutter.json, or what else is a",
        ),
    ],
    ids=["none", "no JSON", "no version", "newer", "refused"],
)
def test_what_cannot_be_judged_is_said_so(tmp_path: Path, recorded: str | dict[str, str] | None, message: str) -> None:
    folder = tmp_path / "service"
    folder.mkdir()
    if recorded is not None:
        text = recorded if isinstance(recorded, str) else json.dumps({"_template_version": "0.1.0", **recorded})
        (folder / ".cookiecutter.json").write_text(text)

    code, output = _doctor(TEMPLATE, folder)

    assert code == 2
    assert output.startswith(f"doctor: {message.format(folder=folder)}")
    assert output.count("\n") == 1


def test_a_file_that_the_template_does_not_have_cannot_be_taken(forge: Forge, service: BakedProject) -> None:
    code, output = _doctor(forge.work_tree, service.path, "--take", "Dockerfil")

    assert (code, output) == (2, "doctor: today's template has no Dockerfil: take what the doctor has named\n")


def test_make_doctor_is_the_same(forge: Forge, service: BakedProject) -> None:
    (forge.work_tree / ".venv").symlink_to(TOOLS.parent)
    # As if setup had been done, which it was in the template that this one is a copy of.
    make = ["make", "-C", str(forge.work_tree), "--old-file=setup", "doctor", f"SERVICE={service.path}"]

    assert "\nNothing is lacking.\n" in service.run(*make, **NO_DOCKER).stdout


def test_make_asks_for_the_service() -> None:
    done = subprocess.run(["make", "doctor"], cwd=TEMPLATE, capture_output=True, text=True, check=False)

    assert done.returncode != 0
    assert "name the folder of the service: make doctor SERVICE=../my-service" in done.stderr
