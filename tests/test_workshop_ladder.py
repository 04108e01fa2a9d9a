"""The ladder of the workshop: its rungs are what they say they are, and every claim about them has been measured.

The fast tests look at the files and at the results in the repository; those marked slow build the rungs and measure
them here. What `workshop/ladder/ladder.toml` claims is asserted of both.
"""

import difflib
import itertools
import json
import logging
import math
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benchmarks import measures
from tests.conftest import PYTHONS, TEMPLATE
from tools import engine as engine_of_tools
from tools.baking import bake
from tools.contract import Contract
from tools.engine import remove_leftovers, run
from workshop import charts, check, measure
from workshop.ladder import CANARY, LADDER, PLANTED, PORT, PYTHON, SERVICE, Rung, assemble, rungs

Result = dict[str, Any]

RUNGS = rungs()
OWN = [rung for rung in RUNGS if rung.bake is None]
BAKED = [rung for rung in RUNGS if rung.bake is not None]
RESULTS: Result = json.loads((measure.RESULTS / "ladder.json").read_text(encoding="utf-8"))
CARD = (TEMPLATE / "{{cookiecutter.project_slug}}/tests/container/scorecard.py").read_text(encoding="utf-8")
TITLES = dict(re.findall(r'^    (\d+): "(.+)",$', CARD, re.MULTILINE))


def label(rung: Rung) -> str:
    return rung.label


# ---- claims ----


@dataclass(frozen=True)
class Ratio:
    """A value is below a part of what it was on the rung before."""

    value: str
    below: float

    def check(self, before: Result, after: Result) -> None:
        """Assert it of the results of two rungs."""
        old, new = before[self.value], after[self.value]
        assert new < self.below * old, f"{self.value}: {new} after {old} is {new / old:.2f}, not below {self.below}"


@dataclass(frozen=True)
class Grows:
    """A value is more than so many times what it was on the rung before: the ladder also says what a rung costs."""

    value: str
    times: float

    def check(self, before: Result, after: Result) -> None:
        """Assert it of the results of two rungs."""
        old, new = before[self.value], after[self.value]
        assert new > self.times * old, f"{self.value}: {new} after {old} is {new / old:.2f}, not above {self.times}"


@dataclass(frozen=True)
class Green:
    """Rows of the contract fail, or cannot be asked, on the rung before, and pass on this one."""

    rows: tuple[int, ...]

    def check(self, before: Result, after: Result) -> None:
        """Assert it of the results of two rungs."""
        for row in map(str, self.rows):
            assert before["rows"][row]["status"] != "passed", f"row {row} passed before"
            assert after["rows"][row]["status"] == "passed", f"row {row}: {after['rows'][row]['reason']}"


@dataclass(frozen=True)
class Becomes:
    """A value that was something else is this."""

    value: str
    expected: object

    def check(self, before: Result, after: Result) -> None:
        """Assert it of the results of two rungs."""
        assert before[self.value] != self.expected, f"{self.value} was {self.expected!r} before"
        assert after[self.value] == self.expected, f"{self.value} is {after[self.value]!r}, not {self.expected!r}"


Assertion = Ratio | Grows | Green | Becomes

# Rung and sentence, and what must hold of the results of the rung before and of this one.
CLAIMS: dict[tuple[int, str], tuple[Assertion, ...]] = {
    (2, "The image is smaller than half of what it was."): (
        Ratio("bytes", 0.5),
        Ratio("compressed_bytes", 0.5),
        Green((10,)),
    ),
    (2, "A scanner sees less than half of the packages."): (Ratio("packages", 0.5),),
    (3, "A rebuild after a change of code is faster: it installs nothing."): (Ratio("code_rebuild_seconds", 0.5),),
    (4, "The image is safer: no password and no history is in it any more."): (Becomes("leaked", []),),
    (5, "The image is smaller by what pip left behind when it ran."): (
        Ratio("bytes", 1),
        Ratio("compressed_bytes", 1),
    ),
    (5, "The start is slower: the compiled standard library was part of that."): (Grows("start_cpu_ms", 1.5),),
    (6, "The image is safer: the service is not root, and cannot change its code."): (
        Green((1,)),
        Becomes("can_change_its_code", False),
    ),
    (7, "A stop is safer: the request in flight is answered, and the exit code is 0."): (
        Green((2, 16)),
        Becomes("exit_code", 0),
        Ratio("stop_seconds", 0.5),
    ),
    (7, "The service is safer: there is no debugger in it, and a health check that works."): (
        Becomes("debugger", False),
        Green((3, 15)),
    ),
    (8, "The build is safer: a file that is not what the lock says is refused."): (Becomes("refuses_forgery", True),),
    (9, "The start is faster: nothing is left to compile."): (Ratio("start_cpu_ms", 0.7), Green((8,))),
    (9, "A health probe is cheaper: it costs less than half of the CPU time."): (Ratio("probe_cpu_ms", 0.5),),
    (9, "The image is larger: the bytecode of the standard library has to lie somewhere."): (Grows("bytes", 1.05),),
    (10, "The image is safer: no pip, no setuid file, nothing that its user could change."): (Green((6, 9)),),
    (10, "The build is safer: two builds of one source give the same layers, and labels name the source."): (
        Becomes("reproducible", True),
        Green((4,)),
    ),
    (10, "A scanner sees fewer packages."): (Ratio("packages", 1),),
    (11, "The service is safer: it follows port, workers and memory that it is given, and serves on IPv6."): (
        Green((17, 18, 22)),
    ),
    (11, "A crash is cheaper: a worker that is killed takes only its requests along."): (Green((19,)),),
    (12, "A search is quicker: every line is JSON, and has the id of its request."): (Green((13,)),),
    (13, "The service is safer: bad requests get the right answers, and behind its proxy slow clients stop nobody."): (
        Green((12, 20)),
    ),
    (13, "The project is safer: its tests refuse whatever is shipped by mistake, or built in another way each time."): (
        Green((7, 11)),
    ),
    (13, "A health probe is cheaper: it costs less than two thirds of the CPU time."): (Ratio("probe_cpu_ms", 2 / 3),),
    (14, "The image is smaller than half of the one before."): (Ratio("bytes", 0.5), Ratio("compressed_bytes", 0.5)),
    (14, "A scanner sees less than half of the packages."): (Ratio("packages", 0.5),),
}
COMPARED = re.compile(
    r"\b(smaller|larger|faster|slower|safer|cheaper|lighter|quicker|sooner|better|less|fewer|more)\b", re.IGNORECASE
)


def test_every_claim_of_the_ladder_has_its_assertion() -> None:
    assert {(rung.number, sentence) for rung in RUNGS for sentence in rung.claims} == CLAIMS.keys()


@pytest.mark.parametrize("rung", RUNGS, ids=label)
def test_what_is_compared_is_a_claim(rung: Rung) -> None:
    assert not COMPARED.findall(f"{rung.title} {rung.idea}"), "say it among the claims, where it is put to the test"


@pytest.mark.parametrize(("number", "sentence"), CLAIMS)
def test_the_results_in_the_repository_bear_the_claim_out(number: int, sentence: str) -> None:
    measured = {rung["number"]: rung for rung in RESULTS["rungs"]}

    for assertion in CLAIMS[number, sentence]:
        assertion.check(measured[number - 1], measured[number])


# From the rung with all that a Dockerfile needs to the template, which has the rest.
STEPS_TO_THE_TEMPLATE = RUNGS[8:13]


@pytest.mark.parametrize("rung", STEPS_TO_THE_TEMPLATE, ids=label)
def test_a_step_to_the_template_gains_the_rows_that_it_claims_and_loses_none(rung: Rung) -> None:
    before, after = (
        {int(row) for row, verdict in RESULTS["rungs"][number - 1]["rows"].items() if verdict["status"] == "passed"}
        for number in (rung.number - 1, rung.number)
    )

    assert not before - after, f"{rung.label} no longer passes rows {sorted(before - after)}"
    assert after - before == claimed_rows(rung.number), f"{rung.label} gains rows {sorted(after - before)}"
    assert claimed_rows(rung.number), f"{rung.label} claims no row"


def test_the_steps_to_the_template_are_those_between_the_lock_and_it() -> None:
    assert [rung.name for rung in STEPS_TO_THE_TEMPLATE] == ["compiled", "sealed", "limits", "log", "template"]


# ---- the rungs ----


def test_the_list_and_the_folders_agree() -> None:
    assert [rung.number for rung in RUNGS] == list(range(1, len(RUNGS) + 1))
    assert [rung.label for rung in OWN] == sorted(path.name for path in LADDER.iterdir() if path.is_dir())
    assert [rung for rung in RUNGS if rung.bake is None] == list(RUNGS[: len(OWN)]), "the template comes last"


@pytest.mark.parametrize("rung", OWN, ids=label)
def test_each_rung_brings_its_dockerfile_and_only_what_is_new(rung: Rung) -> None:
    names = {path.relative_to(rung.folder).as_posix() for path in rung.folder.rglob("*") if path.is_file()}

    assert "Dockerfile" in names
    assert names <= {"Dockerfile", ".dockerignore", "requirements.txt", "app.py", "gunicorn.conf.py"}
    assert rung.own_files().keys() >= {"app.py", "requirements.txt"}
    assert (".dockerignore" in names) == (rung.number >= 4)
    assert ("gunicorn.conf.py" in names) == (rung.number >= 11)
    shared = [name for name in names if (SERVICE / name).is_file()]
    assert not [name for name in shared if (SERVICE / name).read_bytes() == (rung.folder / name).read_bytes()]


def changed_lines(number: int) -> int:
    """Return how many lines of its files a rung adds and removes; comments, docstrings and empty lines aside."""
    old, new = (RUNGS[index].own_files() for index in (number - 2, number - 1))
    lines = [
        line
        for name in old.keys() | new.keys()
        for line in difflib.ndiff(old.get(name, b"").decode().splitlines(), new.get(name, b"").decode().splitlines())
    ]
    return len([line for line in lines if re.match(r'[-+] +(?!""")[^#\s]', line)])


@pytest.mark.parametrize("rung", OWN[1:], ids=label)
def test_a_rung_is_one_idea(rung: Rung) -> None:
    """Which fits on a page of the handout, with what is said of it."""
    assert 1 <= changed_lines(rung.number) < 30


def test_the_last_rung_is_the_template_itself(tmp_path: Path) -> None:
    last, bonus = BAKED

    def baked(**answers: str) -> dict[str, bytes]:
        project = bake(tmp_path / str(len(list(tmp_path.iterdir()))), answers)
        return {
            path.relative_to(project).as_posix(): path.read_bytes() for path in project.rglob("*") if path.is_file()
        }

    assert not last.folder.exists()
    assert last.files() == baked(python_version=PYTHON)
    assert last.files() == baked(), "the default Python is not the one of the ladder"
    assert bonus.files() == baked(image="distroless")


def test_a_lock_is_taken_from_the_template_and_stays() -> None:
    locked = [rung for rung in OWN if rung.lock]

    assert locked == OWN[7:]
    assert locked[0].name == "locked"
    for rung in locked:
        assert rung.files()["requirements.txt"] == BAKED[0].files()["requirements.txt"], rung.label


def findings(rung: Rung, folder: Path) -> set[str]:
    """Return the rules of hadolint that a rung breaks."""
    (folder / "Dockerfile").write_bytes(rung.files()["Dockerfile"])
    command = [str(Path(sys.executable).with_name("hadolint")), "--format", "json", "Dockerfile"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return {finding["code"] for finding in json.loads(done.stdout)}


def test_the_linter_finds_less_from_rung_to_rung_and_nothing_in_the_end(tmp_path: Path) -> None:
    found = [findings(rung, tmp_path) for rung in RUNGS]

    assert {"DL3025", "DL3042"} <= found[0]
    assert all(after <= before for before, after in itertools.pairwise(found)), found
    assert [rules for rules, rung in zip(found, RUNGS, strict=True) if rung.bake is not None] == [set(), set()]


# ---- what is built, and what is shown ----


def test_what_lies_about_in_a_project_is_in_the_build_context(tmp_path: Path) -> None:
    for rung in (RUNGS[0], BAKED[0]):
        context = assemble(rung, tmp_path)

        assert {name: (context / name).read_bytes() for name in PLANTED} == PLANTED
        for name, content in rung.files().items():
            assert (context / name).read_bytes() == content
    assert all(CANARY.encode() in content for content in PLANTED.values() if len(content) < 1000)


def test_another_python_takes_the_place_of_the_one_in_the_dockerfile(tmp_path: Path) -> None:
    for rung in (OWN[0], OWN[-1], BAKED[0]):
        dockerfile = (assemble(rung, tmp_path, "3.13") / "Dockerfile").read_text()

        assert "FROM python:3.13-" in dockerfile
        assert "3.14" not in dockerfile


# ---- the results in the repository ----

VALUES = {
    *("bytes", "compressed_bytes", "cold_build_seconds", "code_rebuild_seconds", "start_ms", "start_cpu_ms"),
    *("probe_cpu_ms", "stop_seconds", "exit_code", "packages", "rows_passed", "rows_applicable"),
}


def test_the_results_say_when_on_what_and_with_what_they_were_measured() -> None:
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", RESULTS["date"])
    assert RESULTS["machine"].keys() == {"cpus", "memory_bytes", "system"}
    assert RESULTS["versions"].keys() == {"docker", "python", "flask", "gunicorn", "slim_image", "full_image"}
    assert all(RESULTS["versions"].values())


def test_the_results_are_complete() -> None:
    assert [rung["number"] for rung in RESULTS["rungs"]] == [rung.number for rung in RUNGS]
    for rung, result in zip(RUNGS, RESULTS["rungs"], strict=True):
        assert (result["name"], result["title"], result["idea"]) == (rung.name, rung.title, rung.idea)
        numbers = {name: result[name] for name in VALUES}
        if rung.number < 7:
            assert numbers.pop("probe_cpu_ms") is None, "there is a figure for a health check that is not there"
        assert all(isinstance(value, int | float) and value >= 0 for value in numbers.values()), numbers
        assert {row: content["title"] for row, content in result["rows"].items()} == TITLES
        states = [content["status"] for content in result["rows"].values()]
        assert set(states) <= {"passed", "failed", "not applicable"}
        assert states.count("passed") == result["rows_passed"]
        assert states.count("passed") + states.count("failed") == result["rows_applicable"]
        assert abs(sum(layer["bytes"] for layer in result["layers"]) - result["bytes"]) < 0.01 * result["bytes"]
        assert {layer["kind"] for layer in result["layers"]} <= set(charts.KINDS)


@pytest.mark.parametrize("rung", OWN, ids=label)
def test_the_results_are_those_of_the_rung_as_it_is(rung: Rung) -> None:
    """Was it changed? Then `make workshop` measures it again.

    What rungs take from the template is left out: an update of a dependency must not wait for a measurement. Of that,
    the slow tests below assert the claims live.
    """
    assert RESULTS["rungs"][rung.number - 1]["own_digest"] == rung.own_digest()


def test_the_scorecard_of_the_last_rung_is_that_of_the_template() -> None:
    """Which is 22 of 22 rows, as tests/test_generated_suite.py asserts of every kind of image."""
    for result in RESULTS["rungs"][-len(BAKED) :]:
        assert {row: content["status"] for row, content in result["rows"].items()} == dict.fromkeys(TITLES, "passed")
        assert (result["rows_passed"], result["rows_applicable"]) == (22, 22)


def test_what_only_a_project_tells_is_not_asked_of_a_foreign_image() -> None:
    for result in RESULTS["rungs"][: len(OWN)]:
        assert {result["rows"][row]["status"] for row in ("7", "11", "20")} == {"not applicable"}


def test_the_results_name_nothing_of_the_machine_but_what_they_depend_on() -> None:
    text = (measure.RESULTS / "ladder.json").read_text(encoding="utf-8")

    assert not re.findall(r"/tmp/tmp\w+|/root/\S+|/home/\S+|workshop-\d+|\b[0-9a-f]{64}\b", text)


def test_the_table_is_that_of_the_results() -> None:
    assert (measure.RESULTS / "ladder.md").read_text(encoding="utf-8") == measure.markdown(RESULTS)


# ---- a run that was stopped goes on ----


@dataclass(frozen=True)
class Remembered:
    """Stands in for a measurement: there is nothing to do, and what comes out is known."""

    rung: Rung
    result: Result
    tag: str = ""

    def steps(self, only_contract: bool) -> tuple[tuple[str, Callable[[], None]], ...]:
        """Return nothing; or rather, where only the contract is wanted, what would be another result."""
        return (("the contract", lambda: self.result.update(rows_passed="asked")),) if only_contract else ()


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """Return the list of rungs that were measured, which in truth none is."""
    measured: list[int] = []
    known = {entry["number"]: entry for entry in RESULTS["rungs"]}

    def measurement(rung: Rung, *_: object) -> Remembered:
        measured.append(rung.number)
        return Remembered(rung, {**known[rung.number], "digest": rung.digest()})

    monkeypatch.setattr(measure, "RESULTS", tmp_path)
    monkeypatch.setattr(measure, "Measurement", measurement)
    # They are drawn after each rung, which takes a second; what is in them is in tests/test_charts.py.
    monkeypatch.setattr(charts, "draw", lambda _: {})
    monkeypatch.setattr(
        measures, "facts", lambda **_: {name: RESULTS[name] for name in ("machine", "date", "versions")}
    )
    monkeypatch.setattr(engine_of_tools, "run", lambda *_: "")
    return measured


def test_only_what_has_changed_is_measured(measured: list[int], tmp_path: Path) -> None:
    numbers = [rung.number for rung in RUNGS]
    measure.measure([2, 3], PYTHON)
    assert [entry["number"] for entry in json.loads((tmp_path / "ladder.json").read_text())["rungs"]] == [2, 3]
    measure.measure(numbers, PYTHON)
    assert measured == [2, 3, 1, *numbers[3:]]
    assert json.loads((tmp_path / "ladder.json").read_text())["rungs"][0]["number"] == 1

    measured.clear()
    measure.measure(numbers, PYTHON)
    assert measured == []
    measure.measure([4], PYTHON, again=True)
    assert measured == [4]

    measured.clear()
    rest = measure.measure([5], PYTHON, contract=True)["rungs"][4]
    assert measured == [5]
    assert rest["rows"] == RESULTS["rungs"][4]["rows"]
    assert rest["rows_passed"] == "asked", "the contract was not asked"

    old = json.loads((tmp_path / "ladder.json").read_text())
    old["rungs"][4]["digest"] = "another"
    (tmp_path / "ladder.json").write_text(json.dumps(old))
    measure.measure(numbers, PYTHON)
    assert measured == [5, 5]


def test_a_rung_that_has_moved_is_not_measured_again(measured: list[int], tmp_path: Path) -> None:
    measure.measure([1, 2, 3], PYTHON)
    written = json.loads((tmp_path / "ladder.json").read_text())
    for entry in written["rungs"]:
        entry.update(number=entry["number"] + 5, title="another")
    (tmp_path / "ladder.json").write_text(json.dumps(written))

    results = measure.measure([1, 2, 3], PYTHON)

    assert measured == [1, 2, 3], "a rung was measured twice"
    assert [(entry["number"], entry["title"]) for entry in results["rungs"]] == [
        (rung.number, rung.title) for rung in RUNGS[:3]
    ]


def test_a_rung_whose_results_lack_a_column_is_measured_again(measured: list[int], tmp_path: Path) -> None:
    measure.measure([1, 2], PYTHON)
    written = json.loads((tmp_path / "ladder.json").read_text())
    del written["rungs"][0]["reproducible"]
    (tmp_path / "ladder.json").write_text(json.dumps(written))

    measure.measure([1, 2], PYTHON)

    assert measured == [1, 2, 1]


@pytest.mark.parametrize("fact", ["machine", "versions"])
def test_nothing_of_another_machine_is_kept(measured: list[int], monkeypatch: pytest.MonkeyPatch, fact: str) -> None:
    measure.measure([1, 2], PYTHON)
    facts = measures.facts()
    facts[fact] = {**facts[fact], "system": "another", "docker": "another"}
    monkeypatch.setattr(measures, "facts", lambda **_: facts)

    results = measure.measure([2], PYTHON)

    assert measured == [1, 2, 2]
    assert [entry["number"] for entry in results["rungs"]] == [2]


# ---- the rungs, built here ----

# The tests of the contract that the claims speak of, where a row has others that take long; of other rows, all tests.
RUNNING = {
    11: "test_two_builds_of_one_source_give_the_same_layers",
    12: "test_an_oversize_body_is_refused",
    15: "test_it_becomes_healthy_soon",
    16: "test_a_stop_lets_requests_in_flight_finish",
}
# What claims compare, by the step of a measurement that tells it, in their order.
STEPS = {
    "repeat": {"reproducible"},
    "start": {"start_ms", "start_cpu_ms", "probe_cpu_ms", "stop_seconds", "exit_code", "debugger"},
    "rebuild": {"code_rebuild_seconds"},
    "look": {"bytes", "compressed_bytes", "packages", "leaked", "can_change_its_code"},
    "forge": {"refuses_forgery"},
}
# What takes long in a step, and is left out where no claim needs it: nothing compares with what is not a number.
LONG: dict[str, tuple[object, str]] = {
    "stop_seconds": (engine_of_tools.Container, "stop"),
    "compressed_bytes": (engine_of_tools, "compressed_size"),
    "packages": (measure, "packages"),
    "leaked": (measure, "leaked"),
}
SIZES = re.compile(r"([\d.]+) MB on disk, ([\d.]+) MB compressed")


def claimed_rows(number: int) -> set[int]:
    """Return the rows of the contract that the claims on a rung name."""
    assertions = [each for (rung, _), these in CLAIMS.items() if rung == number for each in these]
    return {row for each in assertions if isinstance(each, Green) for row in each.rows}


def claimed(number: int) -> tuple[set[str], set[int]]:
    """Return the values and the rows of the contract that the claims on a rung, or on the next, ask of it."""
    assertions = [each for (rung, _), these in CLAIMS.items() if rung in {number, number + 1} for each in these]
    values = {each.value for each in assertions if not isinstance(each, Green)}
    return values, claimed_rows(number) | claimed_rows(number + 1)


def names_of(rung: Rung, rows: set[int], folder: Path) -> list[str]:
    """Return the names of all tests of some rows but for the long ones, and of no other row."""
    tests = [test for test in Contract.of(bake(folder / f"tests-{rung.label}")).tests.values() if test.row in rows]
    return [test.name for test in tests if RUNNING.get(test.row, test.name) == test.name]


def shortened(measurement: measure.Measurement, values: set[str]) -> None:
    """Take the steps of a measurement that tell some values, without what takes long and tells others."""
    with pytest.MonkeyPatch.context() as shorter:
        # A build that installs takes ten times as long as one that does not: the faster of two tells that.
        shorter.setattr(measure, "ROUNDS", 2 if "code_rebuild_seconds" in values else measure.ROUNDS)
        for value, (owner, name) in LONG.items():
            if value not in values:
                shorter.setattr(owner, name, lambda *_: math.nan)
        for step, told in STEPS.items():
            if told & values:
                getattr(measurement, step)()


@pytest.fixture(scope="module")
def live(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Result]]:
    """Build every rung and measure what claims ask of it; builds may use the engine's cache."""
    folder = tmp_path_factory.mktemp("ladder")
    made = measure.provide_base_images(PYTHONS[0])
    results = {}
    try:
        for rung in RUNGS:
            values, rows = claimed(rung.number)
            measurement = measure.Measurement(rung, folder, PYTHONS[0])
            if "reproducible" in values:
                # What the cache has of another build would be the same by chance, or another.
                measurement.build()
            else:
                engine_of_tools.build(measurement.context, measurement.tag)
            result, sizes = measurement.result, dict[str, Any]()
            with engine_of_tools.started(measurement.tag, port=PORT) as (container, _seconds):
                result["page"] = container.request().body
            if rows:
                measurement.judge(*names_of(rung, rows, folder))
            if 10 in rows and (told := SIZES.match(result["rows"]["10"]["reason"])):
                # The contract has just compressed all layers, which is what takes long.
                sizes = {"bytes": float(told[1]), "compressed_bytes": float(told[2])}
            shortened(measurement, values - sizes.keys())
            results[rung.number] = result | sizes
            run("image", "rm", "--force", measurement.tag)
        yield results
    finally:
        remove_leftovers()
        for image in made:
            run("image", "rm", image)


@pytest.mark.slow
@pytest.mark.container
@pytest.mark.parametrize(("number", "sentence"), CLAIMS)
def test_the_rungs_built_here_bear_the_claim_out(live: dict[int, Result], number: int, sentence: str) -> None:
    for assertion in CLAIMS[number, sentence]:
        assertion.check(live[number - 1], live[number])


@pytest.mark.slow
@pytest.mark.container
@pytest.mark.parametrize("rung", RUNGS, ids=label)
def test_every_rung_serves_the_same_page(live: dict[int, Result], rung: Rung) -> None:
    assert live[rung.number]["page"] == b"<p>Hello, World!</p>"


@pytest.mark.slow
@pytest.mark.container
def test_the_check_judges_the_folder_of_a_rung(
    engine: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With rows 7 and 11, which an image alone does not tell."""
    sealed, limits = (rung for rung in RUNGS if rung.name in {"sealed", "limits"})
    for rung in (sealed, limits):
        assert check.main([str(assemble(rung, tmp_path, PYTHONS[0])), "--fast"]) == 0, capsys.readouterr().out
        assert "11 of 11 rows passed" in capsys.readouterr().out


# ---- the settings of gunicorn on the rungs that have a file of them ----

CONFIGURED = [rung for rung in OWN if "gunicorn.conf.py" in rung.own_files()]


def configured(rung: Rung, cgroup: Path, **variables: str) -> dict[str, Any]:
    """Return the settings that the file makes of a cgroup, on a machine with eight CPUs."""
    text = rung.own_files()["gunicorn.conf.py"].decode()
    assert text.count('"/sys/fs/cgroup"') == 1
    names: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        # Not there before Python 3.13.
        patch.setattr("os.process_cpu_count", lambda: 8, raising=False)
        for name in ("PORT", "WEB_CONCURRENCY"):
            patch.delenv(name, raising=False)
        for name, value in {"PORT": "5000", **variables}.items():
            patch.setenv(name, value)
        exec(compile(text.replace('"/sys/fs/cgroup"', repr(str(cgroup))), rung.label, "exec"), names)
    return names


@pytest.mark.parametrize("rung", CONFIGURED, ids=label)
@pytest.mark.parametrize(
    ("files", "workers"),
    [
        ({}, 9),
        ({"cpu.max": "max 100000", "memory.max": "max"}, 9),
        ({"cpu.max": "150000 100000", "memory.max": "max"}, 3),
        ({"cpu.max": "200000 100000", "memory.max": str(64 * 2**20)}, 1),
        ({"cpu.max": "max 100000", "memory.max": str(72 * 2**20)}, 2),
        ({"cpu.max": "max 100000", "memory.max": str(10 * 2**20)}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1", "memory/memory.limit_in_bytes": "9223372036854771712"}, 9),
        ({"cpu/cpu.cfs_quota_us": "100000", "memory/memory.limit_in_bytes": str(2**30)}, 2),
        ({"memory/memory.limit_in_bytes": str(64 * 2**20)}, 1),
    ],
)
def test_workers_follow_the_limits_of_the_cgroup(
    rung: Rung, tmp_path: Path, files: dict[str, str], workers: int
) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{content}\n")

    assert configured(rung, tmp_path)["workers"] == workers
    assert configured(rung, tmp_path, WEB_CONCURRENCY="5")["workers"] == 5, "the operator has the last word"


def test_a_line_of_the_log_is_one_json_object_whatever_is_in_it(tmp_path: Path) -> None:
    last = CONFIGURED[-1]
    settings = configured(last, tmp_path)
    formatter = settings["Json"]()
    try:
        raise ValueError('a "quoted"\nline')
    except ValueError:
        record = logging.LogRecord("app", logging.ERROR, __file__, 1, "failed: %s", ("\N{SNOWMAN}",), sys.exc_info())

    line = formatter.format(record)

    assert "\n" not in line
    told = json.loads(line)
    assert told["message"].startswith("failed: \N{SNOWMAN}\nTraceback")
    assert told["message"].endswith('ValueError: a "quoted"\nline')
    assert (told["level"], told["logger"], told["request_id"]) == ("ERROR", "app", None)
    assert settings["logconfig_dict"]["formatters"]["generic"]["()"] is settings["Json"]
