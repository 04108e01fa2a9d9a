"""The doctor: a service made from the first release and then edited learns what is missing, and how to fix it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PYTHONS, TEMPLATE, TOOLS, BakedProject, Forge
from tests.test_update import change_the_template
from tools import doctor
from tools.baking import bake
from tools.questions import REPOSITORY, VERSION, shorthand

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
UPDATE = """\
To update it, while its Git work tree is clean:
  cd {service}
  cruft link {repository} --checkout {made_from} --no-input --extra-context "$(cat .cookiecutter.json)"
  git add .cruft.json && git commit -m "Link to the template"
  cruft update --checkout main --skip-apply-ask
"""
THEN = """\
Then, for a lock with packages of your own, the command at the top of its .in file, with --upgrade; and for
each FILE that was changed here and should not be:
  touch FILE && cruft diff | git apply --include=FILE
"""


def _commands(project: BakedProject, made_from: str = "v0.1.0") -> str:
    return UPDATE.format(repository=REPOSITORY, service=project.path, made_from=made_from) + THEN


def _doctor(template: Path, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tools.doctor", *arguments]
    variables = {**os.environ, **environment}
    return subprocess.run(
        command, cwd=template, capture_output=True, text=True, encoding="utf-8", env=variables, check=False
    )


def _git(forge: Forge, *arguments: str) -> str:
    command = ["git", "-C", str(forge.work_tree), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


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


def _heal(project: BakedProject, output: str, *undone: str) -> None:
    """Run the commands that the doctor printed, the last one for each file that is to be as in the template."""
    *commands, undo = re.findall(r"^  (.*)$", output.partition("To update it")[2], re.MULTILINE)
    assert len(commands) == 4
    project.run("bash", "-ec", "\n".join([*commands, *(undo.replace("FILE", name) for name in undone)]))


def test_it_names_what_is_behind_and_its_commands_mend_that(forge: Forge, service: BakedProject) -> None:
    assert _doctor(forge.work_tree, service.path, **NO_DOCKER).returncode == 0
    _age(service)
    change_the_template(forge)
    before = service.files()

    done = _doctor(forge.work_tree, service.path, **NO_DOCKER)

    first, rest = done.stdout.split("\n", 1)
    assert first.startswith("No contract, only a comparison: the Docker Engine does not answer: ")
    assert rest == (
        "shop was made from v0.1.0 of the template; today's is v0.2.0.\n"
        "Files it lacks:\n  .gitattributes\n  SECURITY.md\n  app/added.py\n"
        "Packages that are behind:\n  flask 3.1.2 in requirements.txt; today's is 3.1.3\n"
        f"{RELEASED}Files that were changed here:\n  Dockerfile\n  app/views.py\n  requirements.txt\n"
        f"{_commands(service)}"
    )
    assert done.stderr == "Comparing with the template …\n"
    assert done.returncode == 1
    assert service.files() == before, "the doctor looks, it does not touch"

    _heal(service, done.stdout, ".gitattributes", "Dockerfile", "SECURITY.md", "requirements.txt")

    done = _doctor(forge.work_tree, service.path, **NO_DOCKER)
    assert done.stdout.split("\n", 1)[1] == (
        "shop was made from v0.2.0 of the template; today's is v0.2.0.\n"
        "Files that were changed here:\n  app/views.py\nNothing is lacking.\n"
    )
    assert done.returncode == 0
    assert "OWN = True" in (service.path / "app/views.py").read_text()


def test_between_releases_and_without_tags_it_finds_the_commit_that_a_service_was_made_from(
    forge: Forge, service: BakedProject, tmp_path: Path
) -> None:
    for name in ("first", "second"):
        with (forge.work_tree / "{{cookiecutter.project_slug}}/gunicorn.conf.py").open("a") as file:
            file.write(f"# The {name} change.\n")
        forge.publish(name)
    commits = dict(zip(("second", "first", "v0.1.0"), _git(forge, "log", "--format=%h").split(), strict=True))
    _git(forge, "tag", "--delete", *commits)
    age = (
        "Files that have changed in the template:\n  gunicorn.conf.py\nFiles that were changed here:\n  app/views.py\n"
    )

    old = _doctor(forge.work_tree, service.path, **NO_DOCKER).stdout
    # As if the service had been made from the first of two commits that record one version, and then edited.
    with (service.path / "gunicorn.conf.py").open("a") as file:
        file.write("# The first change.\n")
    later = _doctor(forge.work_tree, service.path, **NO_DOCKER).stdout

    for output, made_from in ((old, commits["v0.1.0"]), (later, commits["first"])):
        assert output.split("\n", 1)[1] == (
            f"shop was made from {made_from} of the template; today's is {commits['second']}.\n"
            f"{age}{_commands(service, made_from)}"
        )


@pytest.mark.parametrize(("known", "made_from"), [(True, "v0.2.0"), (False, "v0.1.0")], ids=["known", "unknown"])
def test_the_link_says_what_a_service_was_made_from_if_this_clone_has_that(
    forge: Forge, service: BakedProject, known: bool, made_from: str
) -> None:
    """A house that began with a copy of the template has none of the commits that its first services name."""
    change_the_template(forge)
    commit = _git(forge, "rev-parse", "HEAD") if known else "0" * 39 + "1"
    (service.path / ".cruft.json").write_text(json.dumps({"commit": commit}))

    output = _doctor(forge.work_tree, service.path, **NO_DOCKER).stdout

    assert f"\nshop was made from {made_from} of the template; today's is v0.2.0.\n" in output
    assert "\n  cruft update " in output
    assert "cruft link" not in output


@pytest.mark.container
@pytest.mark.slow
def test_it_names_the_rows_that_fail_and_its_commands_mend_them(
    forge: Forge, service: BakedProject, engine: None
) -> None:
    _age(service)

    done = _doctor(forge.work_tree, service.path, "--fast")

    output = done.stdout
    assert done.returncode == 1
    assert "Today's contract: 9 of 11 rows passed.\n" in output, output
    assert re.findall(r"^  row (\d+): ", output, re.MULTILINE) == ["1", "2"]
    assert "    Seen: USER is root: it must be a number\n" in output
    assert "    Fix:  `USER 10001:10001`.\n" in output
    assert "    Seen: the command is in shell form: ['/bin/sh', '-c', 'python -m app']\n" in output
    assert _commands(service) in output
    told = done.stderr.splitlines()
    assert told[:2] == ["Comparing with the template …", "Building the image …"]
    percents = [int(line.removeprefix("Judging … ").removesuffix("%")) for line in told[2:]]
    assert percents == sorted(set(percents)), "each once"
    assert percents[-1] == 100

    _heal(service, output, ".gitattributes", "Dockerfile", "SECURITY.md", "requirements.txt")

    done = _doctor(forge.work_tree, service.path, "--fast")
    assert "Today's contract: 11 of 11 rows passed.\n" in done.stdout, done.stdout
    assert done.stdout.endswith("Nothing is lacking.\n")
    assert done.returncode == 0


@pytest.mark.parametrize(("settings", "path"), [("", "."), ("import nothing_like_it\n", "{fresh}")], ids=["own", "old"])
def test_where_the_tests_cannot_read_its_settings_no_bad_value_of_them_is_asked(
    service: BakedProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], settings: str, path: str
) -> None:
    """The whole contract could not be collected, or waited a minute for each setting that the service does not know."""
    asked: list[str] = []
    monkeypatch.setattr("tools.engine.build", lambda *_: 0.0)
    monkeypatch.setattr("tools.engine.remove_leftovers", lambda: None)
    monkeypatch.setattr("tools.contract.Contract.judge", lambda *told, **_: asked.extend(t.name for t in told[2]))
    fresh = bake(service.path.parent / "fresh")
    with (service.path / "app/settings.py").open("a") as file:
        file.write(settings)

    doctor.judge(service.path, fresh, fast=False)

    said = "Today's tests cannot read its settings (app/settings.py): no bad value of them is asked.\n"
    assert capsys.readouterr().err == said * bool(settings) + "Building the image …\n"
    assert ("test_bad_values_end_the_container_with_one_clear_line_each" in asked) is not bool(settings)
    assert len(asked) > 50
    assert (service.path / "pytest.ini").read_text().endswith(f"\npythonpath = {path.format(fresh=fresh)} .\n")
    assert (service.path / "tests/unit/required.py").is_file()


@pytest.mark.container
def test_an_image_that_does_not_build_is_said_so(forge: Forge, service: BakedProject, engine: None) -> None:
    (service.path / "Dockerfile").write_text("FROM scratch\nCOPY nothing /\n")

    done = _doctor(forge.work_tree, service.path)

    assert done.returncode == 2
    assert done.stdout.startswith("doctor: its image does not build, so there is no verdict:\n")
    assert '"/nothing": not found' in done.stdout


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
            f"it was made from 9.0.0, and this is the template of {VERSION}: git pull here first",
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

    done = _doctor(TEMPLATE, folder)

    assert done.returncode == 2
    assert done.stdout.startswith(f"doctor: {message.format(folder=folder)}")
    assert done.stdout.count("\n") == 1


def test_make_doctor_is_the_same(forge: Forge, service: BakedProject) -> None:
    (forge.work_tree / ".venv").symlink_to(TOOLS.parent)
    # As if setup had been done, which it was in the template that this one is a copy of.
    make = ["make", "-C", str(forge.work_tree), "--old-file=setup", "doctor", f"SERVICE={service.path}"]

    assert "\nNothing is lacking.\n" in service.run(*make, **NO_DOCKER).stdout


def test_make_asks_for_the_service() -> None:
    done = subprocess.run(["make", "doctor"], cwd=TEMPLATE, capture_output=True, text=True, check=False)

    assert done.returncode != 0
    assert "name the folder of the service: make doctor SERVICE=../my-service" in done.stderr
