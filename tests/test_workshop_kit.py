"""The workshop's exercises, the command that checks them, and the kit that needs no network."""

import ast
import json
import os
import platform
import re
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import LABEL, PYTHONS, TEMPLATE, docker, skip_or_fail, snapshot
from tests.readme import blocks
from tools.contract import Clause, Contract, ContractError, Lesson, Verdict, baked
from tools.demo import page
from tools.engine import LABEL as CONTRACT_LABEL
from tools.questions import CONTEXT, base_image
from workshop import check, kit
from workshop.ladder import PYTHON

WORKSHOP = TEMPLATE / "workshop"
EXERCISES = sorted(path.parent.name for path in WORKSHOP.glob("exercises/*/exercise.toml"))
ONE, TWO, THREE = EXERCISES


@pytest.fixture(scope="module")
def contract() -> Iterator[Contract]:
    """Return the contract of a fresh bake."""
    with baked() as contract:
        yield contract


# ---- exercises ----


@pytest.mark.parametrize("name", EXERCISES)
def test_an_exercise_is_complete(name: str) -> None:
    title = check.exercise_in(WORKSHOP / "exercises" / name)["title"]

    assert f": {title}\n" in (WORKSHOP / "exercises" / name / "task.md").read_text()
    assert f": {title}\n" in (WORKSHOP / "solutions" / name / "solution.md").read_text()
    assert f"workshop/check workshop/exercises/{name}" in (WORKSHOP / "exercises" / name / "task.md").read_text()
    assert (WORKSHOP / "solutions" / name / "Dockerfile").exists()


@pytest.mark.parametrize("name", EXERCISES)
def test_an_exercise_needs_what_the_kit_brings(name: str) -> None:
    """Its packages are those of the service's lock, and its base image is the one the kit has."""
    lock = (TEMPLATE / "{{cookiecutter.project_slug}}/requirements.txt").read_text()

    for requirement in (WORKSHOP / "exercises" / name / "requirements.txt").read_text().split():
        assert f"\n{requirement} \\\n" in lock
    for folder in ("exercises", "solutions"):
        dockerfile = (WORKSHOP / folder / name / "Dockerfile").read_text()
        assert set(re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)) == {f"python:{PYTHON}-slim-trixie"}


@pytest.mark.parametrize("name", EXERCISES)
def test_an_exercise_asks_for_what_the_contract_has(name: str, contract: Contract) -> None:
    asked = check.exercise_in(WORKSHOP / "exercises" / name)

    of_the_image = {test.row for test in contract.select(asked["rows"], asked.get("tests", []))}
    assert of_the_image >= set(asked["rows"]) - check.OF_THE_FOLDER.keys()
    with pytest.raises(ContractError, match="the contract has no test test_of_nothing"):
        contract.select(asked["rows"], ["test_of_nothing"])


@dataclass(frozen=True)
class Attempt:
    """A way somebody may go about an exercise: what is changed in the solution, and which rows must be red then."""

    exercise: str
    red: list[int]
    changes: dict[str, tuple[str, str]] = field(default_factory=dict)
    left: Sequence[str] = ()  # files of the exercise that are not repaired at all
    saying: str = ""

    def lay_out(self, folder: Path) -> Path:
        """Copy the exercise, fix it in this way, and let it ask only for the red rows and one green row."""
        source = WORKSHOP / "exercises" / self.exercise
        shutil.copytree(source, folder)
        for file in (WORKSHOP / "solutions" / self.exercise).iterdir():
            if file.name not in self.left:
                shutil.copy2(file, folder)
        for name, (old, new) in self.changes.items():
            text = (folder / name).read_text()
            assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {name}"
            (folder / name).write_text(text.replace(old, new))
        asked = check.exercise_in(source)
        tests = [name for name in asked.get("tests", []) if 12 in self.red]
        rows = [row for row in self.red if row in asked["rows"]]
        assert len(rows) + len(tests) == len(self.red), "the exercise does not ask for these rows"
        (folder / "exercise.toml").write_text(
            f'title = "{asked["title"]}"\nrows = {[5, *rows]}\ntests = {json.dumps(tests)}\n'
        )
        return folder


PORT_ONLY = "import socket; socket.create_connection(('localhost', 5000)).close()"
ASKING = "import urllib.request; urllib.request.urlopen('http://localhost:5000/', timeout=2)"
GOOD_CHECK = (
    f'HEALTHCHECK --start-period=30s --start-interval=1s --timeout=3s \\\n    CMD ["python", "-c", "{ASKING}"]\n'
)
CANNOT_FAIL = 'HEALTHCHECK --start-interval=1s CMD ["sh", "-c", "curl --fail http://localhost:5000/ || exit 0"]\n'
WRITABLE = "RUN chmod -R 777 /srv\n"
GIVEN_AWAY = "RUN chown -R 10001 /srv && chmod a-x /usr/local/bin/pip*\nUSER 10001\n"

ATTEMPTS = {
    "1 removed by a later layer, a cache for pip": Attempt(
        ONE,
        [7, 11],
        {"Dockerfile": ("RUN pip", "RUN rm -rf .env .git\nRUN --mount=type=cache,target=/root/.cache/pip pip")},
        left=["Dockerfile", ".dockerignore"],
        saying="/srv/.env",
    ),
    "1 only .env kept out": Attempt(
        ONE,
        [7],
        {".dockerignore": ("*\n!requirements.txt\n!app.py\n", "**/.env*\n")},
        left=["Dockerfile"],
        saying="/srv/.git/config",
    ),
    "2 unrepaired": Attempt(TWO, [2, 3], left=["Dockerfile", "start.sh"]),
    "2 exec form alone": Attempt(TWO, [16], left=["start.sh"], saying="exit code 137|request in flight was lost"),
    "2 killed at once, a check that cannot fail": Attempt(
        TWO,
        [2, 3],
        {"Dockerfile": (f"SIGTERM\n{GOOD_CHECK}", f"SIGKILL\n{CANNOT_FAIL}")},
        saying="STOPSIGNAL is SIGKILL",
    ),
    "2 a check of the port": Attempt(TWO, [15], {"Dockerfile": (ASKING, PORT_ONLY)}, saying="not unhealthy"),
    "3 unrepaired": Attempt(THREE, [1, 6, 9, 12], left=["Dockerfile", "app.py"]),
    "3 everything given to the user, pip hidden": Attempt(
        THREE,
        [6, 9, 14],
        {
            "Dockerfile": (WRITABLE, GIVEN_AWAY),
        },
        left=["Dockerfile", "app.py"],
        saying="installers in the image",
    ),
    "3 a user by name": Attempt(
        THREE,
        [1, 9],
        {"Dockerfile": ("EXPOSE", "RUN useradd app\nUSER app\nEXPOSE")},
        left=["Dockerfile", "app.py"],
        saying="USER is app",
    ),
    "3 gunicorn still writes": Attempt(
        THREE, [12], {"Dockerfile": ('"--worker-tmp-dir", "/dev/shm", ', "")}, saying="No usable temporary directory"
    ),
}


@pytest.fixture
def bases(engine: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let builds take a base image that is there, if that is not the one the workshop names."""
    if PYTHONS[0] != PYTHON:
        usual, present = (f"python:{version}-slim-trixie" for version in (PYTHON, PYTHONS[0]))
        told = os.environ.get("DOCKER_BUILD_OPTIONS", "")
        monkeypatch.setenv("DOCKER_BUILD_OPTIONS", f"{told} --build-context {usual}=docker-image://{present}")


Checked = Callable[..., dict[str, Any]]


@pytest.fixture
def checked(bases: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Checked:
    """Return a function that checks a folder, and returns the scorecard, the exit code and what was printed."""
    show, shown = check.show, []

    def shown_once(verdict: Verdict, *titles: str) -> None:
        shown.append(verdict.card)
        show(verdict, *titles)

    monkeypatch.setattr(check, "show", shown_once)

    def result(folder: Path, *options: str) -> dict[str, Any]:
        code = check.main([str(folder), *options])
        printed = re.sub(r"[\s│]+", " ", capsys.readouterr().out)
        assert not docker("ps", "--all", "--quiet", "--filter", f"label={CONTRACT_LABEL}")
        assert not docker("images", "--quiet", "--filter", f"label={CONTRACT_LABEL}")
        return {"code": code, "printed": printed, **(shown.pop() if shown else {})}

    return result


def red(card: dict[str, Any]) -> list[int]:
    """Return the numbers of the rows that failed."""
    return [row["number"] for row in card["rows"] if row["status"] == "failed"]


def asked(card: dict[str, Any]) -> list[int]:
    """Return the numbers of the rows that were judged."""
    return [row["number"] for row in card["rows"] if row["status"] in {"passed", "failed"}]


@pytest.mark.container
@pytest.mark.slow
@pytest.mark.parametrize("attempt", ATTEMPTS.values(), ids=ATTEMPTS)
def test_an_exercise_stays_red_until_the_cause_is_gone(attempt: Attempt, checked: Checked, tmp_path: Path) -> None:
    card = checked(attempt.lay_out(tmp_path / "attempt"))

    assert (card["code"], red(card)) == (1, attempt.red)
    assert re.search(attempt.saying, " ".join(row["reason"] for row in card["rows"]))


@pytest.mark.container
@pytest.mark.parametrize("name", [ONE, *(pytest.param(name, marks=pytest.mark.slow) for name in EXERCISES[1:])])
def test_a_solution_is_recognised(name: str, checked: Checked, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(WORKSHOP / "exercises" / name, tmp_path / "exercise"))
    shutil.copytree(WORKSHOP / "solutions" / name, folder, dirs_exist_ok=True)
    exercise = check.exercise_in(folder)

    card = checked(folder)

    assert (red(card), card["code"]) == ([], 0)
    assert asked(card) == sorted({*exercise["rows"], *([12] if "tests" in exercise else [])})
    assert f"{exercise['title']}: {len(asked(card))} of {len(asked(card))} rows passed" in card["printed"]
    assert "Repaired: the cause is gone." in card["printed"]


SYMPTOMS = {
    ONE: [r"^API_TOKEN=", r"^#\d+ \[.*\] RUN pip install", r"Successfully installed"],
    TWO: [r"^real\s+0m1\d", r"^curl: \((52|56)\)", r"^137$", r"curl: not found\n0$"],
    THREE: [r"^uid=0", r"^-rwxrwxrwx.* app\.py$", r"^pip \d", r"No usable temporary directory found"],
}


@pytest.mark.container
@pytest.mark.slow
@pytest.mark.parametrize("name", EXERCISES)
def test_the_symptoms_are_what_the_task_says(name: str, bases: None, image_tag: str, tmp_path: Path) -> None:
    shutil.copytree(WORKSHOP / "exercises" / name, tmp_path / "workshop/exercises" / name)
    (script,) = blocks((WORKSHOP / "exercises" / name / "task.md").read_text(), "sh")
    own = image_tag.replace(":", "-")
    script = re.sub(rf"(?<![-\w]){name.partition('-')[2]}\b", own, script)
    options = shlex.split(os.environ.get("DOCKER_BUILD_OPTIONS", ""))
    build = shlex.join(["docker", "build", "--progress=plain", "--label", LABEL, *options])
    script = script.replace("docker build", build).replace("a remark", f"{secrets.token_hex(8)}, new to the engine")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    script = script.replace("-p 5000:", f"-p {port}:").replace("localhost:5000/report", f"localhost:{port}/report")
    try:
        done = subprocess.run(
            ["bash", "-c", f"exec 2>&1\n{script}"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
    finally:
        subprocess.run(["docker", "rm", "--force", own], capture_output=True, check=False)

    for symptom in SYMPTOMS[name]:
        assert re.search(symptom, done.stdout, re.MULTILINE), f"{symptom!r} is not in\n{done.stdout}"


# ---- check ----


def test_every_row_of_the_contract_says_why_and_how_to_mend(contract: Contract) -> None:
    assert {test.row for test in contract.tests.values()} == set(range(1, 23))
    asked = [*contract.select(), *(contract.tests[name] for _, name in check.OF_THE_FOLDER.values())]
    assert [test.name for test in asked if not (test.lesson.why and test.lesson.fix)] == []
    names = re.findall(r"^@pytest\.mark\.row.*?^def (\w+)", _source_of(contract), re.MULTILINE | re.DOTALL)
    assert sorted(contract.tests) == sorted(names), "two tests of a name, or one that was overlooked"


def _source_of(contract: Contract) -> str:
    return "\n".join(file.read_text() for file in (contract.folder / "tests/container").glob("test_*.py"))


def test_a_lesson_is_read_from_a_docstring() -> None:
    lesson = Lesson.parse("It matters.\n\nMore on\nthat. Fix: do this,\nand that.\n\nThe budget: 3.")

    assert lesson == Lesson("It matters. More on that. The budget: 3.", "do this, and that.")


def test_the_lowest_failed_row_is_mended_first(capsys: pytest.CaptureFixture[str]) -> None:
    tests = {row: Clause("test_image", f"test_{row}", row, Lesson(f"why {row}", f"fix {row}")) for row in (3, 9)}
    rows = [
        {"number": n, "title": "", "status": "failed" if n in tests else "passed", "reason": ""} for n in range(1, 12)
    ]

    check.show(Verdict({"rows": rows}, {9: (tests[9], "nine"), 3: (tests[3], "three\nmore")}), "mine", "Repaired.")

    printed = capsys.readouterr().out
    assert printed.startswith("mine: 9 of 11 rows passed ")
    assert printed.endswith("The next thing to fix: row 3\nSeen: three\nWhy:  why 3\nFix:  fix 3\n")


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Return what check says where there is nothing to judge, on one line."""
    assert check.main(arguments) == 2
    return " ".join(capsys.readouterr().out.split())


def test_a_folder_without_a_dockerfile_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "there is no Dockerfile in" in refused([str(tmp_path)], capsys)


def test_without_docker_it_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "Dockerfile").touch()
    with monkeypatch.context() as without:
        without.setenv("PATH", str(tmp_path))
        assert "there is no docker command: install Docker" in refused([str(tmp_path)], capsys)

    if shutil.which("docker"):
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
        assert "the Docker Engine does not answer: " in refused([str(tmp_path)], capsys)


def test_without_its_tools_the_command_names_the_remedy(tmp_path: Path) -> None:
    command = tmp_path / "workshop/check"
    command.parent.mkdir()
    shutil.copy2(WORKSHOP / "check", command)

    done = subprocess.run([command, "."], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (2, "")
    assert "run make setup first" in done.stderr


SERVER = "import http.server as s; s.ThreadingHTTPServer(('{}', 5000), s.SimpleHTTPRequestHandler).serve_forever()"
NOTHING_TO_JUDGE = {
    "build fails": ("RUN echo the reason >&2 && false\n", r"the build fails\. .*the reason"),
    "no port": (f'CMD ["python3", "-c", "{SERVER.format("")}"]\n', r"write `EXPOSE 5000` .* or say --port 5000"),
    "ends": ('EXPOSE 5000\nCMD ["python3", "-c", "print(40 + 2)"]\n', r"the container has ended\. .*log: 42"),
    "loopback": (
        f'EXPOSE 5000\nCMD ["python3", "-c", "{SERVER.format("127.0.0.1")}"]\n',
        r"nothing answers on port 5000 .*on 0\.0\.0\.0\? .*\(it is empty\)",
    ),
}


@pytest.mark.container
@pytest.mark.parametrize(("instructions", "message"), NOTHING_TO_JUDGE.values(), ids=NOTHING_TO_JUDGE)
def test_where_there_is_nothing_to_judge_it_says_what_to_do(
    checked: Checked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instructions: str, message: str
) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM python:{PYTHON}-slim-trixie\n{instructions}")
    monkeypatch.setattr(check, "SECONDS_TO_ANSWER", 2)

    result = checked(tmp_path)

    assert (result["code"], "rows" in result) == (2, False)
    assert re.search(message, result["printed"])


@pytest.mark.container
def test_any_folder_is_judged_and_told_what_to_fix(checked: Checked, tmp_path: Path) -> None:
    """One that has no port, no code and no packages, so not every row applies; the static rows are enough here."""
    (tmp_path / "Dockerfile").write_text(
        f'FROM python:{PYTHON}-slim-trixie\nUSER 10001\nCMD ["python3", "-c", "{SERVER.format("")}"]\n'
    )

    card = checked(tmp_path, "--fast", "--port", "5000")

    rows = {row["number"]: row["status"] for row in card["rows"]}
    assert [rows[number] for number in (2, 3, 7, 10, 12)] == ["passed", "failed", "passed", "passed", "not run"]
    assert " MB on disk, " in card["rows"][9]["reason"]
    assert "The next thing to fix: row 3" in card["printed"]
    assert "Seen: HEALTHCHECK must be there, in exec form" in card["printed"]
    assert "Why: Without a health check nobody notices" in card["printed"]
    assert "Fix: a HEALTHCHECK in exec form" in card["printed"]


# ---- kit ----


def made_for(**changes: str) -> dict[str, list[str]]:
    """Return what an archive that fits here is made for, but for the changes."""
    version = ".".join(map(str, sys.version_info[:2]))
    fits = {"a machine with": f"{platform.system()} {platform.machine()}", "Python": version}
    return {what: [value] for what, value in {**fits, "an engine on": "linux/amd64", **changes}.items()}


@pytest.fixture
def archive(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes an archive of two small files."""

    def written(**changes: str) -> Path:
        folder = tmp_path / "content"
        (folder / "wheels").mkdir(parents=True, exist_ok=True)
        (folder / "wheels/a.whl").write_bytes(secrets.token_bytes(9999))
        told = {"name": "the-kit", "made_for": made_for(**changes), "images": {}}
        (folder / "manifest.json").write_text(json.dumps(told))
        kit.write(folder, tmp_path / "kit.zip")
        return tmp_path / "kit.zip"

    return written


@pytest.fixture
def fake_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a docker command first that only says where its engine runs."""
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin/docker"
    command.write_text("#!/bin/sh\necho linux/amd64\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")


@pytest.fixture
def said_by_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[Path], str]:
    """Return a function that uses an archive, and returns the one line that this ends with."""
    monkeypatch.chdir(tmp_path)

    def said(archive: Path) -> str:
        assert kit.main(["use", str(archive)]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        return str(line)

    return said


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"a machine with": "Linux s390x"}, r"a machine with Linux s390x, not \w+ ", id="machine"),
        pytest.param({"Python": "3.9"}, r"Python 3\.9, not 3\.\d+: use that, or pack one for this", id="Python"),
        pytest.param({"an engine on": "linux/s390x"}, "an engine on linux/s390x, not linux/amd64: ", id="engine"),
    ],
)
def test_an_archive_for_another_machine_is_refused(
    archive: Callable[..., Path],
    fake_engine: None,
    said_by_use: Callable[[Path], str],
    changes: dict[str, str],
    message: str,
) -> None:
    assert re.match(f"kit: this archive is for {message}", said_by_use(archive(**changes)))


def test_a_damaged_archive_is_refused(
    archive: Callable[..., Path], fake_engine: None, said_by_use: Callable[[Path], str]
) -> None:
    path = archive()
    whole = path.read_bytes()
    middle = len(whole) // 2  # of what is in the wheel

    for damaged in (
        whole[:middle],
        whole[:-1],
        whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        b"a page that says 404",
    ):
        shutil.rmtree(path.parent / "the-kit", ignore_errors=True)
        path.write_bytes(damaged)
        assert "is damaged, or no archive of this workshop: copy it again (" in said_by_use(path)
    with zipfile.ZipFile(path, "w") as another:
        another.writestr("holiday.jpg", b"")
    assert "no archive of this workshop" in said_by_use(path)
    path.unlink()
    assert "there is no archive " in said_by_use(path)


def test_what_is_packed_comes_out_with_its_mode_whatever_its_date(
    archive: Callable[..., Path], fake_engine: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, mode in (("check", 0o755), ("README", 0o644)):
        file = tmp_path / "content/of" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
        file.chmod(mode)
        os.utime(file, (0, 0))

    folder, images = kit.unpack(archive())

    assert (folder, images) == (tmp_path / "the-kit", {})
    for name, mode in (("check", 0o755), ("README", 0o644)):
        assert (folder / "of" / name).read_text() == name
        assert (folder / "of" / name).stat().st_mode & 0o777 == mode


def test_a_folder_that_is_there_is_left_alone(
    archive: Callable[..., Path], fake_engine: None, said_by_use: Callable[[Path], str], tmp_path: Path
) -> None:
    (tmp_path / "the-kit").mkdir()

    assert "is there already: remove it, or go to another folder" in said_by_use(archive())
    assert not list((tmp_path / "the-kit").iterdir())


def test_an_archive_needs_docker(
    archive: Callable[..., Path], said_by_use: Callable[[Path], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert said_by_use(archive()) == "kit: there is no docker command: install Docker, then try again"


def test_a_kit_is_not_packed_without_its_pages(
    fake_engine: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(kit, "TEMPLATE", tmp_path)

    said = "kit: there is no feedback and no handout and no slides and no worksheet yet: make handout\n"
    assert (kit.main(["pack"]), capsys.readouterr().err) == (1, said)

    (tmp_path / "workshop/build").mkdir(parents=True)
    for name in ("feedback.html", "handout.html", "worksheet.html", "worksheet.pdf"):
        (tmp_path / "workshop/build" / name).touch()
    assert (kit.main(["pack"]), capsys.readouterr().err) == (1, "kit: there is no slides yet: make handout\n")
    assert re.search(r"^kit: handout$", (TEMPLATE / "Makefile").read_text(), re.MULTILINE)


def test_the_kit_packs_what_dockerfiles_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of a house that has its own base image, too; the workshop keeps the official ones where they are there."""
    slim, full, own = f"python:{PYTHON}-slim-trixie", f"python:{PYTHON}-trixie", f"example.org/python:{PYTHON}"
    there: set[str] = set()
    monkeypatch.setattr(kit, "exists", there.__contains__)
    monkeypatch.setitem(CONTEXT, "__base_image", slim.replace(PYTHON, "{{ cookiecutter.python_version }}"))
    with pytest.raises(kit.KitError, match=f"the engine has no {slim}: docker pull {slim}"):
        kit.base_images()
    there |= {slim, full}
    assert kit.base_images() == {slim: slim, full: full}

    monkeypatch.setitem(CONTEXT, "__base_image", own.replace(PYTHON, "{{ cookiecutter.python_version }}"))
    with pytest.raises(kit.KitError, match=f"the engine has no {own}: docker pull {own}"):
        kit.base_images()
    there |= {own}
    assert kit.base_images() == {own: own, slim: slim, full: full}
    there -= {slim, full}
    assert kit.base_images() == {own: own, slim: own}


def test_an_old_python_is_told_what_is_needed() -> None:
    """Its grammar must let it read the program that far: Python 3.7 had the last change that matters."""
    source = (WORKSHOP / "kit.py").read_text()
    run = f"runpy.run_path({str(WORKSHOP / 'kit.py')!r}, run_name='__main__')"
    as_if = f"import runpy, sys; sys.version_info = (3, 9, 0, 'final', 0); {run}"

    ast.parse(source, feature_version=(3, 7))
    command = [sys.executable, "-I", "-S", "-c", as_if, "use", "a"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert re.fullmatch(r"kit: Python 3\.11 or newer is needed, this is .*\n", done.stderr)


def _all_is_there_and_runs(folder: Path, pages: Sequence[str], said: str, alone: Sequence[str]) -> None:
    """Assert that a kit has what it says where it says, and that quiz and check run without a network."""
    assert sorted(path.name for path in (folder / "pages").iterdir()) == sorted(pages)
    for title, file in re.findall(r"^(The .*|Notes): (/.*)$", said, re.MULTILINE):
        assert Path(file).is_file(), f"{title} is not at {file}"
    for title, file in (
        *((title, f"pages/{name}.html") for name, title in kit.PAGES.items()),
        ("Notes", "pages/notes.pdf"),
        ("The quiz", "template/workshop/quiz"),
    ):
        assert f"\n{title}: {folder / file}\n" in said
    assert (folder / "pages/slides.html").read_text() == "what slides.html says"
    for kind in ("exercises/*/task.md", "solutions/*/solution.md", "results/recordings/*.cast", "ladder/*/Dockerfile"):
        carried, there = (
            {p.relative_to(root / "workshop") for p in (root / "workshop").glob(kind)}
            for root in (folder / "template", TEMPLATE)
        )
        assert carried == there != set(), f"the kit does not carry workshop/{kind}"
    template = folder / "template"
    command = [*alone, str(template / "workshop/quiz")]
    asked = subprocess.run(command, input="b\nd\n", capture_output=True, text=True, timeout=60, check=False)
    assert (asked.returncode, asked.stderr) == (0, "")
    assert "\nScore: 2 of 2 so far.\n" in asked.stdout
    if "--laptop" in (template / "workshop/check.py").read_text():
        command = [*alone, str(template / "workshop/check"), "--laptop"]
        ready = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert "Docker" in ready.stdout, ready.stdout + ready.stderr


@pytest.mark.container
@pytest.mark.slow
def test_the_kit_works_without_a_network(
    image_tag: str, tmp_path: Path, request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> None:
    alone = ["unshare", "--map-root-user", "--net"]
    if not shutil.which("unshare") or subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        skip_or_fail("this system cannot take the network away from a process")
    # The fork of a house that has its own base image.
    fork, room, token = snapshot(tmp_path / "fork"), tmp_path / "room", secrets.token_hex(8)
    name = f"workshop-test-{os.getpid()}"
    base = f"example.org/{name}:3.14-base"
    cookiecutter = fork / "cookiecutter.json"
    cookiecutter.write_text(cookiecutter.read_text().replace(CONTEXT["__base_image"], base))
    subprocess.run(["git", "init", "--quiet", fork], check=True)
    (fork / "workshop/build").mkdir()
    pages = [*(f"{name}.html" for name in kit.PAGES), "notes.pdf"]
    for file in (*pages, "an-older-kit.zip"):
        (fork / "workshop/build" / file).write_text(f"what {file} says")
    text = f"FROM {base_image(PYTHONS[0])}\nLABEL kit={token}\nRUN touch /{token}\n"
    docker("build", f"--tag={base}", f"--label={LABEL}", "-", text=text)
    # The full image is as large as all else, and packed in the same way.
    full = f"python:{PYTHON}-trixie"
    without = f"exists = kit.exists; kit.exists = lambda image: image != {full!r} and exists(image)"
    pack = f"from workshop import kit; {without}; raise SystemExit(kit.main())"
    began = time.monotonic()
    command = [sys.executable, "-c", pack, "pack", "--output", str(room / f"{name}.zip")]
    packed = subprocess.run(command, cwd=fork, capture_output=True, text=True, check=False)
    assert packed.returncode == 0, packed.stdout + packed.stderr
    size = (room / f"{name}.zip").stat().st_size
    record_property("kit", f"{size / 1e6:.0f} MB, packed in {time.monotonic() - began:.0f} s")

    # From here on the base image is nowhere but in the archive.
    docker("image", "rm", base)
    assert not docker("images", "--quiet", name)
    began = time.monotonic()
    try:
        command = [*alone, sys.executable, "-I", "-S", str(room / "kit.py"), "use", f"{name}.zip"]
        used = subprocess.run(command, cwd=room, capture_output=True, text=True, check=False)
        assert used.returncode == 0, used.stdout + used.stderr
        record_property("use", f"{time.monotonic() - began:.0f} s")
        address = re.search(r"^The service answers at http://127\.0\.0\.1:(\d+)/$", used.stdout, re.MULTILINE)
        assert address
        assert page(int(address[1])) == "<p>Hello, World!</p>"
        _all_is_there_and_runs(room / name, pages, used.stdout, alone)
        service = f"{name}:{kit.SERVICE}"
        assert docker("image", "inspect", "--format", "{{.Config.Labels.kit}}", service) == token
        for environment in ("template", kit.SERVICE):
            pytest_there = room / name / environment / ".venv/bin/pytest"
            subprocess.run([pytest_there, "--version"], check=True, capture_output=True)

        # An exercise as well: its pip takes what the base image brings along.
        told = re.search(r"export DOCKER_BUILD_OPTIONS=(.*)", used.stdout)
        assert told
        (build_options,) = shlex.split(told[1])
        command = ["build", "--network=none", "--no-cache", f"--label={LABEL}", f"--tag={image_tag}"]
        docker(*command, *shlex.split(build_options), str(room / name / "template/workshop/exercises" / ONE))
        version = docker("run", "--rm", "--entrypoint=flask", image_tag, "--version")
        assert version.startswith(f"Python {PYTHONS[0]}")
    finally:
        subprocess.run(["docker", "rm", "--force", name], capture_output=True, check=False)
        # By name: one of them is the official image under another name.
        for image in docker("images", "--format", "{{.Repository}}:{{.Tag}}", name).split():
            docker("image", "rm", "--force", image)
