"""`make bench`: its results in the repository, what it makes of numbers, and, in the slow test, all of its images.

Most of it needs no engine.
"""

import json
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks import bench, comparison, load, measures, publish, pull, variants
from benchmarks.comparison import CPU, KEPT, PROBE, QUIET, START, TARGETS, Samples, Target
from benchmarks.variants import BASELINES, TEMPLATE_NAME
from tests.conftest import PYTHONS, TEMPLATE, skip_or_fail
from tools.engine import Container, has, output, remove_leftovers

CONTAINER = Container("none", 5000)
RESULTS: dict[str, Any] = json.loads((TEMPLATE / "benchmarks/bench.json").read_text(encoding="utf-8"))


# ---- the results in the repository ----


def test_the_documents_say_what_was_measured() -> None:
    for file, texts in publish.blocks().items():
        document = (TEMPLATE / file).read_text(encoding="utf-8")
        for name, text in texts.items():
            found = publish.block(name).findall(document)
            assert found == [f"\n{text}\n"], f"{file} says something else in its block {name!r}: run make figures"


def test_all_that_is_wanted_has_been_measured() -> None:
    samples: Samples = RESULTS["samples"]

    assert {target.measure for target in TARGETS if target.met(samples) is None} == set()
    assert samples[START].keys() == {TEMPLATE_NAME, *BASELINES}
    assert samples[KEPT].keys() == {TEMPLATE_NAME, *BASELINES, QUIET}
    assert list(samples[comparison.RATE]) == [str(count) for count in comparison.GROWTH]


def test_the_words_of_the_readme_hold() -> None:
    """It speaks of two thirds of the time and two fifths of the CPU time of the best of the four."""
    samples: Samples = RESULTS["samples"]

    for measure, claimed in ((START, 0.67), (CPU, 0.4)):
        target = next(target for target in TARGETS if target.measure == measure)
        assert statistics.median(target.ratios(samples)) < claimed, f"{measure}: the README claims too much"


def test_the_default_of_workers_rests_on_the_figures() -> None:
    """A worker for each core serves more than one alone, and each takes 7 MB."""
    rate, memory = (
        {int(name): statistics.median(values) for name, values in RESULTS["samples"][measure].items()}
        for measure in (comparison.RATE, comparison.MEMORY)
    )
    cores = RESULTS["machine"]["cpus"]
    assert rate[cores] > rate[1], "a worker for each core does not pay"
    assert round((memory[8] - memory[1]) / 7) == 7, "docs/figures.md names the memory of a worker"


# ---- what is made of numbers ----


def test_a_ratio_is_to_the_best_of_the_others_and_taken_in_each_round() -> None:
    samples = {START: {TEMPLATE_NAME: [50.0, 90.0, 60.0], "uv-venv": [100.0, 300.0, 120.0], "blog-post": [200.0] * 3}}
    target = Target(START, 0.5)

    assert target.best(samples) == "uv-venv"
    assert target.ratios(samples) == pytest.approx([0.5, 0.3, 0.5])
    assert target.met(samples)
    assert not Target(START, 0.49).met(samples)
    assert target.met({}) is None


def test_where_more_is_better_the_best_is_the_highest() -> None:
    samples = {KEPT: {TEMPLATE_NAME: [900.0], "uv-venv": [1000.0], "pip-system": [800.0], QUIET: [1500.0]}}
    target = Target(KEPT, 0.9, at_least=True)

    assert target.best(samples) == "uv-venv"
    assert target.met(samples)
    assert not Target(KEPT, 0.91, at_least=True).met(samples)


def test_the_targets_say_what_is_met_missed_and_not_measured() -> None:
    table = comparison.targets({START: {TEMPLATE_NAME: [55.0, 45.0], "pip-system": [100.0, 100.0]}, CPU: {}})

    assert f"| {START} | the best of the four: pip-system | 0.50 (0.45 to 0.55) | at most 0.55 | met |" in table
    assert f"| {CPU} | the best of the four |  | at most 0.38 | not measured |" in table


# ---- load ----


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo unable to connect >&2; exit 1", "wrk failed with exit code 1: unable to connect"),
        ("echo '  Non-2xx or 3xx responses: 12'", "not every response was a 200: Non-2xx or 3xx responses: 12"),
    ],
)
def test_a_load_that_fails_ends_with_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, message: str
) -> None:
    _program(tmp_path / "wrk", script, monkeypatch)

    with pytest.raises(SystemExit, match=f"^{message}$"):
        load.throughput(1, 1)


def test_the_latency_is_that_of_all_requests(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """16 requests on two connections: their microseconds are 1000, 2000, ... 16000."""
    _program(tmp_path / "h2load", _h2load(200), monkeypatch)

    assert load.latency(1, rate=16, seconds=1) == {
        "median (ms)": 8,
        "99 of 100 within (ms)": 16,
        "999 of 1000 within (ms)": 16,
    }


def test_a_constant_load_that_is_refused_ends_with_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _program(tmp_path / "h2load", _h2load(503), monkeypatch)

    with pytest.raises(SystemExit, match=r"^not every response was a 200: 16 of 16$"):
        load.latency(1, rate=16, seconds=1)


def _h2load(status: int) -> str:
    return f"""for option; do case $option in --log-file=*) log=${{option#*=}};; esac; done
    for number in $(seq 16); do echo "0 {status} ${{number}}000"; done >"$log" """


def _program(path: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:/usr/bin:/bin")


# ---- images ----


@pytest.mark.parametrize("probe", [None, 17.0])
def test_an_image_without_health_check_has_no_probe(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, probe: float | None
) -> None:
    @contextmanager
    def started(*_: str, **__: object) -> Iterator[tuple[Container, float]]:
        yield CONTAINER, 0.25

    monkeypatch.setattr("tools.engine.started", started)
    monkeypatch.setattr(measures, "probe_cpu", lambda *_: probe)
    monkeypatch.setattr(measures, "cpu_used", lambda *_: 125.0)
    run = bench.Run(tmp_path, rounds=1, seconds=1, registry=None)
    for image in run.images:
        run.start(image)

    assert run.samples[START][TEMPLATE_NAME] == [250]
    assert run.samples[CPU][TEMPLATE_NAME] == [125]
    assert run.samples.get(PROBE, {}).get(TEMPLATE_NAME) == (probe and [probe])
    assert (f"| {PROBE} |" in comparison.compared(run.samples)) == bool(probe)


def test_every_round_begins_with_another_image(tmp_path: Path) -> None:
    run = bench.Run(tmp_path, rounds=3, seconds=1, registry=None)
    started = [what.removesuffix(": start") for what, _ in run.steps() if what.endswith(": start")]
    a_round = len(run.images) * bench.STARTS

    assert started[::a_round] == [image.name for image in run.images][:3]
    assert len(started) == 3 * a_round


def test_a_lock_with_one_package_more_is_put_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    locks: list[str] = []

    def build(context: Path, *_: str) -> float:
        locks.append((context / "requirements.txt").read_text())
        return 1.0

    monkeypatch.setattr("tools.engine.build", build)
    template, _ = variants.template(tmp_path, PYTHONS[0])
    for image in (template, *variants.baselines(tmp_path, PYTHONS[0])):
        before = (image.project / "requirements.txt").read_text()
        image.rebuild_with_another_lock()
        assert (image.project / "requirements.txt").read_text() == before
        added = locks.pop().removeprefix(before)
        assert added.startswith(f"{variants.ADDED}=="), image.name
        assert ("--hash=sha256:" in added) == (image is template), image.name


def test_a_layer_that_is_marked_has_one_file_more(tmp_path: Path) -> None:
    empty = bytes(10240)

    assert pull.marked(empty, "a mark") != pull.marked(empty, "another mark")
    assert b".benchmark" in pull.marked(empty, "a mark")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory, engine: None) -> Iterator[tuple[variants.Variant, ...]]:
    """Return all images that are measured, built."""
    folder = tmp_path_factory.mktemp("bench")
    built = (*variants.template(folder, PYTHONS[0]), *variants.baselines(folder, PYTHONS[0]))
    for image in built:
        image.build()
    yield built
    remove_leftovers()


def processes(container: Container) -> int:
    """Return how many processes a container has, of whatever parents: one image has a shell before gunicorn."""
    return len(output("top", container.identity, "-eo", "pid").split()) - 1


@pytest.mark.container
@pytest.mark.slow
def test_all_images_are_built_and_serve_the_same_page(images: tuple[variants.Variant, ...]) -> None:
    assert [image.name for image in images] == [TEMPLATE_NAME, "distroless", *BASELINES]
    for image in images:
        with image.started("--env=WEB_CONCURRENCY=2") as (container, _):
            response = container.request()
            assert (response.status, response.body) == (200, b"<p>Hello, World!</p>"), image.name
            assert measures.cpu_used(container) > 20, f"{image.name}: these must be milliseconds"
            if image.has_workers:
                deadline = time.monotonic() + 60
                while processes(container) < 3 and time.monotonic() < deadline:
                    time.sleep(0.1)
                assert processes(container) >= 3, f"{image.name} does not heed WEB_CONCURRENCY"


@pytest.mark.container
@pytest.mark.slow
def test_an_image_is_pulled_and_started(images: tuple[variants.Variant, ...]) -> None:
    if not pull.possible():
        skip_or_fail("images are pulled from docker-registry, which is not here")
    distroless = images[1]
    with pull.registry() as address:
        stored = [pull.push(distroless.tag, address, "distroless", name) for name in pull.COMPRESSIONS]
        for image in stored:
            pulled, started = image.cold_start()
            assert pulled > 0, image.reference
            assert started > 0, image.reference
            assert not has(image.reference), f"{image.reference} would not be pulled again"
    assert len({image.size for image in stored}) == len(stored)
