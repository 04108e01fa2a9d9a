"""The workshop's exercises, and the command that checks them."""

import io
import os
import re
import secrets
import shlex
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.conftest import LABEL, PYTHONS, TEMPLATE, docker, free_port
from tests.readme import blocks
from tools.contract import Contract, ContractError, Lesson, baked
from tools.engine import LABEL as CONTRACT_LABEL
from tools.engine import DockerError
from workshop import check
from workshop.balancer import Balancer
from workshop.check import Judgement
from workshop.ladder import PYTHON
from workshop.mistakes import MISTAKES, START, Work, hints
from workshop.probes import PROBES
from workshop.progress import Progress

WORKSHOP = TEMPLATE / "workshop"
EXERCISES = sorted(path.parent.name for path in WORKSHOP.glob("exercises/*/exercise.toml"))
ONE, TWO, THREE, FOUR, FIVE, SIX, SEVEN, EIGHT, NINE = EXERCISES
KEYS = {"title", "seconds", "rows", "tests", "probes", "build"}


@pytest.fixture(scope="module")
def contract() -> Iterator[Contract]:
    """Return the contract of a fresh bake."""
    with baked() as contract:
        yield contract


@pytest.fixture(scope="module")
def hasty() -> Iterator[Contract]:
    """Return a contract that waits less long for what will not come."""
    with baked() as contract:
        for file in (contract.folder / "tests/container").glob("test_*.py"):
            text = file.read_text()
            file.write_text(
                text.replace('wait_until_health_is("unhealthy", 60)', 'wait_until_health_is("unhealthy", 12)')
            )
        yield contract


# ---- exercises ----


@pytest.mark.parametrize("name", EXERCISES)
def test_an_exercise_is_complete(name: str) -> None:
    exercise, solution = WORKSHOP / "exercises" / name, WORKSHOP / "solutions" / name
    told = check.exercise_in(exercise)
    task = (exercise / "task.md").read_text()

    assert told.keys() <= KEYS, f"unknown: {told.keys() - KEYS}"
    assert f": {told['title']}\n" in task
    assert f": {told['title']}\n" in (solution / "solution.md").read_text()
    assert f"workshop/check workshop/exercises/{name}" in task
    assert re.findall(r"^## (.*)$", task, re.MULTILINE) == ["See it", "Reach", "Hints, in order"]
    assert (exercise / "Dockerfile").exists()
    changed = [file.name for file in solution.iterdir() if file.name != "solution.md"]
    assert changed, "the solution changes nothing"
    for file in changed:
        before = exercise / file
        assert not before.exists() or before.read_text() != (solution / file).read_text(), f"{file} is no change"
    assert set(re.findall(r"\*\*(.*?)\.\*\*", (solution / "solution.md").read_text())) == {
        "Cause",
        "Cure",
        "What does not help",
    }


@pytest.mark.parametrize("name", EXERCISES)
def test_an_exercise_needs_what_the_kit_brings(name: str) -> None:
    """Its packages are those of the service's lock, and its base image is the one the kit has."""
    lock = (TEMPLATE / "{{cookiecutter.project_slug}}/requirements.txt").read_text()

    for requirement in (WORKSHOP / "exercises" / name / "requirements.txt").read_text().split():
        assert f"\n{requirement} \\\n" in lock
    for folder in ("exercises", "solutions"):
        file = WORKSHOP / folder / name / "Dockerfile"
        text = file.read_text() if file.exists() else f"FROM python:{PYTHON}-slim-trixie\n"
        stages = set(re.findall(r"^FROM \S+ AS (\S+)", text, re.MULTILINE))
        named = set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) - stages - {"scratch"}
        assert named == {f"python:{PYTHON}-slim-trixie"}


@pytest.mark.parametrize("name", EXERCISES)
def test_an_exercise_asks_for_what_there_is(name: str, contract: Contract) -> None:
    asked = check.exercise_in(WORKSHOP / "exercises" / name)

    of_the_image = {test.row for test in contract.select(asked["rows"], asked.get("tests", []))}
    assert of_the_image >= set(asked["rows"]) - check.OF_THE_FOLDER.keys()
    assert set(asked.get("probes", [])) <= PROBES.keys()
    with pytest.raises(ContractError, match="the contract has no test test_of_nothing"):
        contract.select(asked["rows"], ["test_of_nothing"])


def test_every_probe_is_asked_and_teaches() -> None:
    asked = [
        name
        for exercise in EXERCISES
        for name in check.exercise_in(WORKSHOP / "exercises" / exercise).get("probes", [])
    ]

    assert sorted(asked) == sorted(PROBES)
    for probe in PROBES.values():
        assert probe.title, f"{probe.name} has no title"
        assert probe.lesson.why, f"{probe.name} does not say why it matters"
        assert probe.lesson.fix, f"{probe.name} does not say how to fix it"


@dataclass(frozen=True)
class Attempt:
    """A way somebody may go about an exercise: what is changed in the solution, and what must be red then."""

    exercise: str
    # Rows and probes; none where there is nothing to judge.
    red: list[int | str]
    changes: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    left: Sequence[str] = ()  # files of the exercise that are not repaired at all
    saying: str = ""
    # The mistake whose hint must be given.
    mistake: str = ""

    def lay_out(self, folder: Path) -> Path:
        """Copy the exercise, fix it in this way, and let it ask only for what is red, and for row 2."""
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
        rows = sorted({2, *(row for row in self.red if row in asked["rows"])})
        probes = asked.get("probes", []) if {*self.red} & {*asked.get("probes", [])} else []
        told = {**asked, "rows": rows, "tests": tests, "probes": probes}
        # Text, numbers and lists of them look the same in Python and in TOML.
        (folder / "exercise.toml").write_text("".join(f"{key} = {value!r}\n" for key, value in told.items()))
        return folder


PORT_ONLY = "import socket; socket.create_connection(('localhost', 5000)).close()"
ASKING = "import urllib.request; urllib.request.urlopen('http://localhost:5000/', timeout=2)"
CHECKED = f'CMD ["python", "-c", "{ASKING}"]'
CANNOT_FAIL = 'CMD ["sh", "-c", "curl --fail http://localhost:5000/ || exit 0"]'
INSTALL = "RUN pip install --no-cache-dir -r requirements.txt\n"
MOUNT = """RUN --mount=type=secret,id=token,required=true \\
    --mount=type=bind,source=fetch.py,target=/tmp/fetch.py \\
    python /tmp/fetch.py /run/secrets/token
"""
SLIMMED = """RUN find /usr/share -mindepth 1 -maxdepth 1 ! -name zoneinfo -exec rm -rf {} + \\
 && rm -rf /usr/bin /usr/sbin /var/lib/dpkg
"""

ATTEMPTS = {
    "1 unrepaired": Attempt(ONE, [7, 11], left=["Dockerfile", ".dockerignore"], mistake="everything is copied"),
    "1 removed by a later layer, a cache for pip": Attempt(
        ONE,
        [7, 11],
        {"Dockerfile": ("RUN pip", "RUN rm -rf .env .git\nRUN --mount=type=cache,target=/root/.cache/pip pip")},
        left=["Dockerfile", ".dockerignore"],
        saying=r"planted by this check, .*/srv/\.env",
        mistake="removed in a later layer",
    ),
    "1 only .env kept out": Attempt(
        ONE,
        [7],
        {".dockerignore": ("*\n!requirements.txt\n!app.py\n", "**/.env*\n")},
        left=["Dockerfile"],
        saying=r"/srv/\.git/config",
        mistake="a .dockerignore that lists what stays out",
    ),
    "1 the order left, a cache for pip": Attempt(
        ONE,
        [11],
        {"Dockerfile": ("RUN pip", "RUN --mount=type=cache,target=/root/.cache/pip pip")},
        left=["Dockerfile"],
        saying="a change of code runs this again: ",
        mistake="the code comes before the packages",
    ),
    "2 unrepaired": Attempt(TWO, [2, 3], left=["Dockerfile", "start.sh"], mistake="a command in shell form"),
    "2 exec form alone": Attempt(
        TWO,
        [16],
        left=["start.sh"],
        saying="exit code 137|request in flight was lost",
        mistake="a script that does not exec",
    ),
    "2 killed at once": Attempt(TWO, [2], {"Dockerfile": ("SIGTERM", "SIGKILL")}, saying="STOPSIGNAL is SIGKILL"),
    "2 a check that cannot fail": Attempt(
        TWO, [3], {"Dockerfile": (CHECKED, CANNOT_FAIL)}, mistake="a health check that cannot fail"
    ),
    "2 a check of the port": Attempt(
        TWO,
        [15],
        {"Dockerfile": (ASKING, PORT_ONLY)},
        saying="not unhealthy",
        mistake="a health check that only opens the port",
    ),
    "3 unrepaired": Attempt(THREE, [1, 6, 9, 12], left=["Dockerfile", "app.py"], saying=r"root \(none is set\)"),
    "3 the code given to the user": Attempt(
        THREE,
        [9, 14],
        {"Dockerfile": ("COPY app.py .\n", "COPY app.py .\nRUN chown -R 10001 /srv\n")},
        left=["app.py"],
        saying="the service could change",
        mistake="the code belongs to the service",
    ),
    "3 everything writable": Attempt(
        THREE,
        [9],
        {"Dockerfile": ("COPY app.py .\n", "COPY app.py .\nRUN chmod -R 777 /srv\n")},
        mistake="writable by everybody",
    ),
    "3 a user by name": Attempt(
        THREE,
        [1],
        {"Dockerfile": ("USER 10001:10001", "RUN useradd app\nUSER app")},
        saying="USER is app",
        mistake="a user by name",
    ),
    "3 gunicorn still writes": Attempt(
        THREE, [12], {"Dockerfile": ('"--worker-tmp-dir", "/dev/shm", ', "")}, saying="No usable temporary directory"
    ),
    "3 a virtual environment off the path": Attempt(
        THREE, [], {"Dockerfile": ("ENV PATH=/venv/bin:$PATH\n", "")}, mistake="a virtual environment off the PATH"
    ),
    "4 unrepaired": Attempt(
        FOUR, ["readiness"], left=["app.py"], saying="/healthz says 503, not 200, and /readyz says 200, not 503"
    ),
    "4 both pages ask the same": Attempt(
        FOUR,
        ["readiness"],
        {"app.py": ('readiness."""\n', 'readiness."""\n    healthz()\n')},
        left=["app.py"],
        saying="/healthz says 503, not 200, and /readyz says 503",
        mistake="one page for both questions",
    ),
    "5 unrepaired": Attempt(
        FIVE,
        ["token"],
        left=["Dockerfile"],
        saying=r"/srv/token\.txt in layer \d+, the history",
        mistake="removed in a later layer",
    ),
    "5 the argument alone": Attempt(
        FIVE,
        ["token"],
        {"Dockerfile": (MOUNT, "ARG PRICES_TOKEN\nCOPY fetch.py .\nRUN python fetch.py\n")},
        saying="stands in the history of the build",
        mistake="a build argument for a secret",
    ),
    "6 more workers": Attempt(
        SIX,
        ["memory"],
        {"Dockerfile": ('"--workers", "4"', '"--workers", "8"')},
        left=["Dockerfile"],
        mistake="more workers against a lack of memory",
    ),
    "6 one worker": Attempt(
        SIX, ["memory"], {"Dockerfile": ('"--workers", "4", ', "")}, left=["Dockerfile"], mistake="one worker"
    ),
    "7 unrepaired": Attempt(
        SEVEN, [22], left=["Dockerfile"], saying="nothing listens on the address of IPv6", mistake="IPv4 only"
    ),
    "7 two binds": Attempt(
        SEVEN,
        [],
        {"Dockerfile": ('"0.0.0.0:5000"', '"0.0.0.0:5000", "--bind", "[::]:5000"')},
        left=["Dockerfile"],
        mistake="two binds for one port",
    ),
    "8 unrepaired": Attempt(
        EIGHT,
        [12, "answer", "failures_logged"],
        left=["Dockerfile", "app.py", "answer.toml"],
        saying=r"/ has status 500",
    ),
    "8 the shell is back": Attempt(EIGHT, ["shell"], {"Dockerfile": (SLIMMED, "")}, mistake="the shell is back"),
    "9 unrepaired": Attempt(
        NINE, ["update"], left=["Dockerfile", "app.py"], saying=r"requests were lost .* /readyz said 200 to the end"
    ),
    "9 a longer graceful time-out": Attempt(
        NINE,
        ["update"],
        {"Dockerfile": ('"--threads", "8"', '"--threads", "8", "--graceful-timeout", "60"')},
        left=["Dockerfile", "app.py"],
        mistake="a longer graceful time-out",
    ),
    "9 too short a drain": Attempt(
        NINE,
        ["update"],
        {"gunicorn.conf.py": ("signal.alarm(DRAIN_SECONDS)", "signal.setitimer(signal.ITIMER_REAL, 0.2)")},
        mistake="too short a drain",
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
def checked(
    bases: None, contract: Contract, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Checked:
    """Return a function that checks a folder, and returns the rows, the exit code and what was printed."""
    show, shown = check.show, []

    def shown_once(judgement: Judgement, title: str, repaired: str, work: Work) -> None:
        shown.append(judgement.rows)
        show(judgement, title, repaired, work)

    monkeypatch.setattr(check, "show", shown_once)

    def result(folder: Path, *options: str, by: Contract = contract) -> dict[str, Any]:
        monkeypatch.setattr(check, "baked", lambda: nullcontext(by))
        code = check.main([str(folder), *options])
        printed = re.sub(r"[\s│]+", " ", capsys.readouterr().out)
        assert not docker("ps", "--all", "--quiet", "--filter", f"label={CONTRACT_LABEL}")
        assert not docker("images", "--quiet", "--filter", f"label={CONTRACT_LABEL}")
        return {"code": code, "printed": printed, "rows": shown.pop() if shown else []}

    return result


def red(card: dict[str, Any]) -> list[int | str]:
    """Return the rows and probes that failed."""
    return [row["number"] for row in card["rows"] if row["status"] == "failed"]


def asked(card: dict[str, Any]) -> list[int | str]:
    """Return the rows and probes that were judged."""
    return [row["number"] for row in card["rows"] if row["status"] in {"passed", "failed"}]


def hint_of(name: str) -> str:
    """Return the hint for a mistake."""
    (hint,) = (mistake.hint for mistake in MISTAKES if mistake.name == name)
    return hint


@pytest.mark.container
@pytest.mark.slow
@pytest.mark.parametrize("attempt", ATTEMPTS.values(), ids=ATTEMPTS)
def test_a_wrong_answer_is_red_and_gets_the_hint_for_its_mistake(
    attempt: Attempt, checked: Checked, hasty: Contract, tmp_path: Path
) -> None:
    card = checked(attempt.lay_out(tmp_path / "attempt"), by=hasty)

    assert (card["code"], red(card)) == (1 if attempt.red else 2, attempt.red), card["printed"]
    assert re.search(attempt.saying, " ".join(row["reason"] for row in card["rows"])), card["printed"]
    if attempt.mistake:
        assert f"Hint: {hint_of(attempt.mistake)}" in card["printed"]


def test_each_mistake_is_tried() -> None:
    tried = {attempt.mistake for attempt in ATTEMPTS.values()} - {""}

    assert len(MISTAKES) >= 10
    assert {mistake.name for mistake in MISTAKES} == tried
    for name in EXERCISES:
        number = name.partition("-")[0].lstrip("0")
        assert any(attempt.exercise == name for attempt in ATTEMPTS.values()), f"exercise {number} has no wrong answer"


@pytest.mark.parametrize("name", EXERCISES)
def test_a_solution_gets_no_hint(name: str, tmp_path: Path) -> None:
    """A hint that a right answer gets as well would send people away from it."""
    folder = Path(shutil.copytree(WORKSHOP / "exercises" / name, tmp_path / "exercise"))
    shutil.copytree(WORKSHOP / "solutions" / name, folder, dirs_exist_ok=True)
    asked = check.exercise_in(folder)

    for red in map(str, [START, *asked["rows"], *asked.get("probes", [])]):
        assert list(hints(Work(folder), red, "")) == [], f"hints for {red}"


@pytest.mark.container
@pytest.mark.parametrize("name", [ONE, *(pytest.param(name, marks=pytest.mark.slow) for name in EXERCISES[1:])])
def test_a_solution_is_recognised(
    name: str, checked: Checked, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    folder = Path(shutil.copytree(WORKSHOP / "exercises" / name, tmp_path / "exercise"))
    shutil.copytree(WORKSHOP / "solutions" / name, folder, dirs_exist_ok=True)
    exercise, began = check.exercise_in(folder), time.monotonic()

    card = checked(folder)

    record_property(f"check of {name}", f"{time.monotonic() - began:.0f} s, announced: {exercise['seconds']} s")
    assert (red(card), card["code"]) == ([], 0), card["printed"]
    judged = [*sorted({*exercise["rows"], *([12] if "tests" in exercise else [])}), *exercise.get("probes", [])]
    assert asked(card) == judged
    assert f"{exercise['title']}: {len(judged)} of {len(judged)} rows passed" in card["printed"]
    assert "Repaired: the cause is gone." in card["printed"]
    assert f"This takes about {exercise['seconds']} s" in card["printed"]
    assert "Building the image …" in card["printed"]


SYMPTOMS = {
    ONE: [r"^API_TOKEN=", r"^#\d+ \[.*\] RUN pip install", r"Successfully installed"],
    TWO: [r"^real\s+0m1\d", r"^curl: \((52|56)\)", r"^137$", r"curl: not found\n0$"],
    THREE: [r"^uid=0", r"^-rwxrwxrwx.* app\.py$", r"^pip \d", r"No usable temporary directory found"],
    FOUR: [r"^/prices 503\n/readyz 200\n/healthz 503\nunhealthy$"],
    FIVE: [r"^app\.py\nprices\.json\nrequirements\.txt$", r"^price-token-4711$", r"(.*/blobs/sha256/\w+\n){2}"],
    SIX: [r"was sent SIGKILL! Perhaps out of memory\?$", r"^running: true, OOMKilled: true$", r" / 128MiB$"],
    SEVEN: [r"^healthy\n.*Connection refused>\n", r"local_address.*\n(?!.*:1388 )"],
    EIGHT: [
        r"^Something went wrong\. \(500\)\n0\n",
        r'"sh": executable file not found',
        r"'app\.py'",
        r"^ZONE=Europe/Paris$",
    ],
    NINE: [r"^\d+ requests, [1-9]\d* lost: ", r"^0$"],
}
STARTED = re.compile(r"^(docker run --detach --name (\S+) (?:.*\\\n)*.*); (sleep \d+)$", re.MULTILINE)
UNTIL_IT_LISTENS = r"for n in $(seq 60); do docker logs \2 2>&1 | grep -q Listening && break; sleep 1; done"
PUBLISHED = re.compile(r"-p (\d+):5000")


@pytest.mark.container
@pytest.mark.slow
@pytest.mark.parametrize("name", EXERCISES)
def test_the_symptoms_are_what_the_task_says(name: str, bases: None, image_tag: str, tmp_path: Path) -> None:
    shutil.copytree(WORKSHOP / "exercises" / name, tmp_path / "workshop/exercises" / name)
    shutil.copy2(WORKSHOP / "balancer.py", tmp_path / "workshop")
    (script,) = blocks((WORKSHOP / "exercises" / name / "task.md").read_text(), "sh")
    own = image_tag.replace(":", "-")
    script = re.sub(rf"(?<![-\w]){name.partition('-')[2]}\b", own, script)
    # A reader's machine has nothing else to do.
    script = STARTED.sub(rf"\1; {UNTIL_IT_LISTENS}; \3", script)
    options = shlex.split(os.environ.get("DOCKER_BUILD_OPTIONS", ""))
    build = shlex.join(["docker", "build", "--progress=plain", "--label", LABEL, *options])
    script = script.replace("docker build", build).replace("a remark", f"{secrets.token_hex(8)}, new to the engine")
    # Not the ports of a reader, nor the network of one.
    for port in dict.fromkeys(PUBLISHED.findall(script)):
        script = re.sub(rf"(-p |localhost:|[ ]){port}\b", rf"\g<1>{free_port()}", script)
    script = script.replace("fd00:c0de:7:", f"fd00:c0de:{os.getpid() % 65536:x}:")
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
        names = [own, f"{own}-a", f"{own}-b"]
        subprocess.run(["docker", "rm", "--force", *names], capture_output=True, check=False)
        subprocess.run(["docker", "network", "rm", f"{own}-network"], capture_output=True, check=False)

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


def test_the_first_failed_row_is_fixed_first(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    judgement = Judgement(later=frozenset({12}))
    for row in (*range(4, 12), *range(1, 4)):
        problem = f"seen {row}\nmore" if row in {3, 9} else None
        judgement.add(row, "", problem, Lesson(f"why {row}", f"fix {row}"))

    check.show(judgement, "mine", "Repaired.", Work(tmp_path))

    printed = capsys.readouterr().out
    assert printed.startswith("mine: 9 of 11 rows passed ")
    told = "Seen: seen 3\nmore\nWhy:  why 3\nFix:  fix 3\nAsked when that is green: row 12\n"
    assert printed.endswith(f"The next thing to fix: row 3\n{told}")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (DockerError("docker run: exit code 1\nno space left\n\nRun 'docker run --help' for more"), "no space left"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_what_cannot_be_tried_is_red_and_says_why(error: Exception, said: str) -> None:
    def ask() -> str | None:
        raise error

    assert check.asked(ask) == f"it could not be tried: {said}"


def test_a_row_that_cannot_be_judged_here_is_not_called_repaired() -> None:
    judgement = Judgement([{"number": 22, "title": "", "status": "not applicable", "reason": "there is no IPv6"}])

    assert judgement.silent(frozenset({5, 22})) == "row 22, there is no IPv6"
    assert judgement.silent(frozenset({5})) == ""


def test_a_failing_page_is_told_by_its_log_and_status() -> None:
    """The advice of row 5, one EXPOSE line, would be of no use to who has a traceback."""
    assert check.page_problem(200, "") is None

    seen, lesson = check.page_problem(500, "Traceback\nKeyError: 'ZONE'") or pytest.fail("500 is no problem")
    assert seen == "/ has status 500\nThe end of its log:\nTraceback\nKeyError: 'ZONE'"
    assert "docker exec" in lesson.fix
    assert "EXPOSE" not in f"{seen}{lesson}"

    seen, lesson = check.page_problem(404, "") or pytest.fail("404 is no problem")
    assert (seen, lesson.fix) == ("/ has status 404, not 200", "let / respond with 200 and some text.")


def test_progress_is_told_on_a_pipe_and_never_silent_for_long() -> None:
    """A line for each step, and another one while a step takes long."""
    out = io.StringIO()
    with Progress(Console(file=out), silence=0.05) as progress:
        progress.step("Building …")
        deadline = time.monotonic() + 30
        while "Building … 0 s" not in out.getvalue():
            assert time.monotonic() < deadline, f"nothing is said of a long step: {out.getvalue()!r}"
            time.sleep(0.01)
        progress.detail("Building … 50%")
        while "Building … 50% 0 s" not in out.getvalue():
            assert time.monotonic() < deadline, f"nothing is said of how far it is: {out.getvalue()!r}"
            time.sleep(0.01)
        progress.step("Judging …")

    assert out.getvalue().startswith("Building …\n")
    assert out.getvalue().endswith("Judging …\n") or "Judging … 0 s\n" in out.getvalue()


def test_progress_on_a_terminal_moves_in_one_line() -> None:
    out = io.StringIO()
    with Progress(Console(file=out, force_terminal=True)) as progress:
        progress.step("Building …")
        progress.step("Judging …")
        progress.detail("Judging … 50%")

    assert "Judging … 50%" in out.getvalue()
    assert "Judging …\n" not in out.getvalue()


class Replica(BaseHTTPRequestHandler):
    """A replica whose status is set by the test."""

    status = 200

    def do_GET(self) -> None:
        """Respond with the status of the server's class."""
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def replicas() -> Iterator[list[ThreadingHTTPServer]]:
    """Return two replicas that serve."""
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Replica) for _ in range(2)]
    for server in servers:
        server.status = 200  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield servers
    for server in servers:
        server.shutdown()
        server.server_close()


def test_the_balancer_sends_nothing_to_a_replica_that_is_not_ready(replicas: list[ThreadingHTTPServer]) -> None:
    ports = [server.server_address[1] for server in replicas]
    with Balancer(*ports) as balancer:
        balancer.wait_for(20)
        assert balancer.lost == []
        replicas[0].status = 503  # type: ignore[attr-defined]
        deadline = time.monotonic() + 30
        while balancer.failed_looks[ports[0]] < 2:
            assert time.monotonic() < deadline, "the balancer does not notice that a replica is not ready"
            time.sleep(0.05)
        balancer.wait_for(8)  # what was in flight
        lost = len(balancer.lost)
        balancer.wait_for(30)

    assert lost, "the pages failed as well, and none of them was counted"
    assert len(balancer.lost) == lost, "the replica that is not ready gets requests"
    assert balancer.said_503 == {ports[0]}


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

    assert (result["code"], result["rows"]) == (2, [])
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
    assert "This takes about 40 s" in card["printed"]
    assert "The next thing to fix: row 3" in card["printed"]
    assert "Seen: HEALTHCHECK must be there, in exec form" in card["printed"]
    assert "Why: Without a health check nobody notices" in card["printed"]
    assert "Fix: a HEALTHCHECK in exec form" in card["printed"]
