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
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import LABEL, PYTHONS, TEMPLATE, docker, skip_or_fail
from tests.readme import blocks
from tools.contract import Clause, Contract, ContractError, Lesson, Verdict, baked
from tools.demo import page
from tools.engine import LABEL as CONTRACT_LABEL
from workshop import check, kit

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
    told = check.Exercise.of(WORKSHOP / "exercises" / name)

    assert told
    assert f": {told.title}\n" in (WORKSHOP / "exercises" / name / "task.md").read_text()
    assert f": {told.title}\n" in (WORKSHOP / "solutions" / name / "solution.md").read_text()
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
        assert set(re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)) == {f"python:{kit.PYTHON}-slim-trixie"}


@pytest.mark.parametrize("name", EXERCISES)
def test_an_exercise_asks_for_what_the_contract_has(name: str, contract: Contract) -> None:
    asked = check.Exercise.of(WORKSHOP / "exercises" / name)

    assert asked
    of_the_image = {test.row for test in contract.select(asked.rows, asked.tests)}
    assert of_the_image >= asked.rows - check.OF_THE_FOLDER.keys()
    with pytest.raises(ContractError, match="the contract has no test test_of_nothing"):
        contract.select(asked.rows, ["test_of_nothing"])


@dataclass(frozen=True)
class Attempt:
    """A way somebody may go about an exercise: what is changed in the solution, and which rows must be red then."""

    exercise: str
    red: list[int]
    changes: dict[str, tuple[str, str]] = field(default_factory=dict)
    left: Sequence[str] = ()  # files of the exercise that are not repaired at all
    saying: str = ""

    def lay_out(self, folder: Path) -> Path:
        """Copy the exercise, mend it in this way, and let it ask for the red rows, and one that is green, alone."""
        source = WORKSHOP / "exercises" / self.exercise
        shutil.copytree(source, folder)
        for file in (WORKSHOP / "solutions" / self.exercise).iterdir():
            if file.name not in self.left:
                shutil.copy2(file, folder)
        for name, (old, new) in self.changes.items():
            text = (folder / name).read_text()
            assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {name}"
            (folder / name).write_text(text.replace(old, new))
        asked = check.Exercise.of(source)
        assert asked
        tests = [name for name in asked.tests if 12 in self.red]
        rows = [row for row in self.red if row in asked.rows]
        assert len(rows) + len(tests) == len(self.red), "the exercise does not ask for these rows"
        (folder / "exercise.toml").write_text(
            f'title = "{asked.title}"\nrows = {[5, *rows]}\ntests = {json.dumps(tests)}\n'
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
    if PYTHONS[0] != kit.PYTHON:
        usual, present = (f"python:{version}-slim-trixie" for version in (kit.PYTHON, PYTHONS[0]))
        told = os.environ.get("DOCKER_BUILD_OPTIONS", "")
        monkeypatch.setenv("DOCKER_BUILD_OPTIONS", f"{told} --build-context {usual}=docker-image://{present}")


Checked = Callable[..., dict[str, Any]]


@pytest.fixture
def checked(bases: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Checked:
    """Return a function that checks a folder, and returns the scorecard, the exit code and what was printed."""

    def result(folder: Path, *options: str) -> dict[str, Any]:
        card = tmp_path / "card.json"
        code = check.main([str(folder), "--json", str(card), *options])
        printed = re.sub(r"[\s│]+", " ", capsys.readouterr().out)
        assert not docker("ps", "--all", "--quiet", "--filter", f"label={CONTRACT_LABEL}")
        assert not docker("images", "--quiet", "--filter", f"label={CONTRACT_LABEL}")
        return {"code": code, "printed": printed, **(json.loads(card.read_text()) if card.exists() else {})}

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
    exercise = check.Exercise.of(folder)
    assert exercise

    card = checked(folder)

    assert (red(card), card["code"], card["next"]) == ([], 0, None)
    assert asked(card) == sorted(exercise.rows | ({12} if exercise.tests else set()))
    assert f"{exercise.title}: {len(asked(card))} of {len(asked(card))} rows passed" in card["printed"]
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
    assert [test.name for test in asked if not (test.lesson.why and test.lesson.mend)] == []
    names = re.findall(r"^@pytest\.mark\.row.*?^def (\w+)", _source_of(contract), re.MULTILINE | re.DOTALL)
    assert sorted(contract.tests) == sorted(names), "two tests of a name, or one that was overlooked"


def _source_of(contract: Contract) -> str:
    return "\n".join(file.read_text() for file in (contract.folder / "tests/container").glob("test_*.py"))


def test_a_lesson_is_read_from_a_docstring() -> None:
    lesson = Lesson.parse("It matters.\n\nMore on\nthat. Fix: do this,\nand that.\n\nThe budget: 3.")

    assert lesson == Lesson("It matters. More on that. The budget: 3.", "do this, and that.")


def test_the_lowest_failed_row_is_mended_first() -> None:
    tests = {row: Clause("test_image", f"test_{row}", row, Lesson(f"why {row}", f"mend {row}")) for row in (3, 9)}
    rows = [
        {"number": n, "title": "", "status": "failed" if n in tests else "passed", "reason": ""} for n in range(1, 12)
    ]

    mend = check.next_to_mend(Verdict({"rows": rows}, {9: (tests[9], "nine"), 3: (tests[3], "three\nmore")}))

    assert mend == {"row": 3, "title": "", "seen": "three", "why": "why 3", "mend": "mend 3", "test": "test_3"}


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
    (tmp_path / "Dockerfile").write_text(f"FROM python:{kit.PYTHON}-slim-trixie\n{instructions}")
    monkeypatch.setattr(check, "SECONDS_TO_ANSWER", 2)

    result = checked(tmp_path)

    assert (result["code"], "rows" in result) == (2, False)
    assert re.search(message, result["printed"])


@pytest.mark.container
def test_any_folder_is_judged_and_told_what_to_fix(checked: Checked, tmp_path: Path) -> None:
    """One that has no port, no code and no packages, so not every row applies; the static rows are enough here."""
    (tmp_path / "Dockerfile").write_text(
        f'FROM python:{kit.PYTHON}-slim-trixie\nUSER 10001\nCMD ["python3", "-c", "{SERVER.format("")}"]\n'
    )

    card = checked(tmp_path, "--fast", "--port", "5000")

    rows = {row["number"]: row["status"] for row in card["rows"]}
    assert [rows[number] for number in (2, 3, 7, 10, 12)] == ["passed", "failed", "passed", "passed", "not run"]
    assert " MB on disk, " in card["rows"][9]["reason"]
    assert card["next"]["row"] == 3
    assert "The next thing to fix: row 3" in card["printed"]
    assert "Seen: HEALTHCHECK must be there, in exec form" in card["printed"]
    assert "Why: Without a health check nobody notices" in card["printed"]
    assert "Fix: a HEALTHCHECK in exec form" in card["printed"]


# ---- kit ----


def manifest(**changes: object) -> dict[str, Any]:
    """Return a manifest that fits here, but for the changes."""
    return {
        "format": kit.FORMAT,
        "name": "workshop-kit",
        "pythons": [".".join(map(str, sys.version_info[:2]))],
        "system": platform.system(),
        "machine": platform.machine(),
        "image_platform": "linux/amd64",
        "images": {},
        **changes,
    }


@pytest.fixture
def archive(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes an archive of two small files."""

    def written(**changes: object) -> Path:
        folder = tmp_path / "content"
        for name in ("README.md", "kit.py", "wheels/a.whl"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(f"what {name} holds\n" * 99)
        kit.write(folder, manifest(**changes), tmp_path / "kit.tar")
        return tmp_path / "kit.tar"

    return written


@pytest.fixture
def fake_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a docker command first that only says where its engine runs."""
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin/docker"
    command.write_text("#!/bin/sh\necho linux/amd64\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")


def said_by_use(archive: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one line that `use` ends with."""
    assert kit.main(["use", str(archive), "--into", str(archive.parent / "used")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    return str(line)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"machine": "s390x"}, r"this archive is for \w+ s390x, and this is ", id="machine"),
        pytest.param({"pythons": ["3.9"]}, r"is for Python 3\.9, and this is 3\.\d+: try python3\.9", id="Python"),
        pytest.param({"image_platform": "linux/s390x"}, "an engine on linux/s390x, and this one is on ", id="engine"),
        pytest.param({"format": 0}, "was made by another version of kit.py", id="format"),
    ],
)
def test_an_archive_for_another_machine_is_refused(
    archive: Callable[..., Path],
    fake_engine: None,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, object],
    message: str,
) -> None:
    assert re.match(f"kit: .*{message}", said_by_use(archive(**changes), capsys))


def rewritten(archive: Path, dropped: str = "", added: str = "") -> None:
    """Write an archive anew, without a member, or with one more."""
    with tarfile.open(archive) as old:
        members = {member: old.extractfile(member) for member in old if member.name != dropped}
        copy = BytesIO()
        with tarfile.open(fileobj=copy, mode="w") as new:
            for member, content in members.items():
                new.addfile(member, content)
            if added:
                new.addfile(tarfile.TarInfo(added))
    archive.write_bytes(copy.getvalue())


def test_a_damaged_archive_is_refused(
    archive: Callable[..., Path], fake_engine: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = archive()
    whole = path.read_bytes()

    def said() -> str:
        shutil.rmtree(tmp_path / "used", ignore_errors=True)
        line = said_by_use(path, capsys)
        assert "copy it again" in line
        return line

    path.write_bytes(whole[: len(whole) // 2])
    assert "damaged" in said()
    path.write_bytes(b"a page that says 404")
    assert "no archive of this workshop" in said()
    path.write_bytes(whole.replace(b"what wheels/a.whl holds", b"what wheels/a.whl hides", 1))
    assert "wheels/a.whl is not what was packed" in said()
    path.write_bytes(whole)
    rewritten(path, dropped="kit.py")
    assert "kit.py is missing" in said()
    path.write_bytes(whole)
    rewritten(path, added="one-more")
    assert "'one-more' does not belong into it" in said()
    path.write_bytes(whole)
    rewritten(path, added="../outside")
    assert "'../outside' does not belong into it" in said()
    assert not (tmp_path / "outside").exists()


def test_a_folder_that_is_there_is_left_alone(
    archive: Callable[..., Path], fake_engine: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used/mine").touch()

    assert "is there already: remove it, or name another folder with --into" in said_by_use(archive(), capsys)


def test_an_archive_needs_docker(
    archive: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert said_by_use(archive(), capsys) == "kit: there is no docker command: install Docker, then try again"


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


@pytest.mark.container
@pytest.mark.slow
def test_the_kit_works_without_a_network(
    image_tag: str, tmp_path: Path, request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> None:
    alone = ["unshare", "--map-root-user", "--net"]
    if not shutil.which("unshare") or subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        skip_or_fail(request.config, "this system cannot take the network away from a process")
    token, name, base = secrets.token_hex(8), f"workshop-test-{os.getpid()}", f"{image_tag}-base"
    usual = f"python:{PYTHONS[0]}-slim-trixie"
    docker(
        "build", f"--tag={base}", f"--label={LABEL}", "-", text=f"FROM {usual}\nLABEL kit={token}\nRUN touch /{token}\n"
    )
    (tmp_path / "handout.html").write_text("<p>The handout</p>")
    archive = tmp_path / "kit.tar"
    options = ["--name", name, "--base", base, "--image-python", PYTHONS[0], "--slim-only", "--handout", str(tmp_path)]
    began = time.monotonic()
    packed = subprocess.run(
        [sys.executable, "-m", "workshop.kit", "pack", "--output", str(archive), *options],
        cwd=TEMPLATE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert packed.returncode == 0, packed.stdout + packed.stderr
    record_property("kit", f"{archive.stat().st_size / 1e6:.0f} MB, packed in {time.monotonic() - began:.0f} s")

    # From here on the base image is nowhere but in the archive.
    docker("image", "rm", base)
    assert not [image for image in (base, f"{name}/{usual}") if kit.exists(image)]
    container = f"{name}-{kit.SERVICE}"
    began = time.monotonic()
    try:
        used = subprocess.run(
            [*alone, sys.executable, "-I", "-S", tmp_path / "kit.py", "use", "kit.tar", "--port", "5600"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert used.returncode == 0, used.stdout + used.stderr
        record_property("use", f"{time.monotonic() - began:.0f} s")
        port = int(docker("port", container, "5000/tcp").splitlines()[0].rsplit(":", 1)[1])
        assert page(port) == "<p>Hello, World!</p>"
    finally:
        subprocess.run(["docker", "rm", "--force", container], capture_output=True, check=False)

    assert "The service answers <p>Hello, World!</p>" in used.stdout
    assert f"Open http://localhost:{port}/" in used.stdout
    assert f"The handout: {tmp_path / name}/handout/handout.html" in used.stdout
    assert docker("image", "inspect", "--format", "{{.Config.Labels.kit}}", f"{name}/{kit.SERVICE}") == token
    for environment in ("template", kit.SERVICE):
        subprocess.run(
            [tmp_path / name / environment / ".venv/bin/pytest", "--version"], check=True, capture_output=True
        )

    # An exercise as well: its pip takes what the base image brings along.
    told = re.search(r"export DOCKER_BUILD_OPTIONS=(.*)", used.stdout)
    assert told
    (build_options,) = shlex.split(told[1])
    build_options = build_options.replace(usual, f"python:{kit.PYTHON}-slim-trixie", 1)
    command = ["build", "--network=none", "--no-cache", f"--label={LABEL}", f"--tag={image_tag}"]
    docker(*command, *shlex.split(build_options), str(tmp_path / name / "template/workshop/exercises" / ONE))
    assert docker("run", "--rm", "--entrypoint=flask", image_tag, "--version").startswith(f"Python {PYTHONS[0]}")
