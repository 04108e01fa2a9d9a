"""Replicas behind a proxy are replaced under load, and nothing is lost; one is killed, and only what it was doing is.

The fast tests look at the results in the repository; those marked slow do it.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks import rollout
from tests.conftest import PYTHONS, TEMPLATE
from tools.engine import remove_leftovers

BENCHMARKS = TEMPLATE / "benchmarks"
MARK_DOWN = "    default-server observe layer4 error-limit 1 on-error mark-down\n"
RESULTS: dict[str, Any] = json.loads((BENCHMARKS / "rollout.json").read_text(encoding="utf-8"))


# ---- the results in the repository ----


def test_the_page_and_the_plot_say_what_was_measured() -> None:
    page = (TEMPLATE / "docs/figures.md").read_text(encoding="utf-8")
    on, of = RESULTS["machine"], RESULTS["versions"]

    assert rollout.table(RESULTS) in page
    assert f"{RESULTS['rate']} requests a second" in page
    assert (on["cpus"], of["docker"][:4], of["python"][:4]) == (2, "26.1", "3.14"), (
        "the page names machine and versions"
    )


def test_the_results_bear_the_claims_out() -> None:
    update, back = RESULTS["phases"]
    for phase in (update, back):
        assert sum(kind["requests"] for kind in phase["kinds"].values()) >= rollout.REQUESTS
    assert {kind["failed"] for kind in update["kinds"].values()} == {0}
    assert update["retried"] == 0
    for kind in rollout.KINDS:
        counts = back["kinds"][kind.title]
        assert kind.method == "POST" or counts["failed"] == counts["cut off"]
    assert back["retried"] > 0
    assert 0.5 < RESULTS["alone"]["gap"] < 2.5, "docs/one-host.md speaks of one or two seconds"


# ---- the real thing ----


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, engine: None) -> Iterator[tuple[Path, dict[str, str]]]:
    """Return a service and two images of it, built from different code."""
    yield rollout.build(tmp_path_factory.mktemp("rollout"), PYTHONS[0])
    remove_leftovers()


@pytest.fixture(scope="module")
def phases(built: tuple[Path, dict[str, str]]) -> tuple[rollout.Phase, rollout.Phase]:
    """Return what became of the requests during an update, and while it was taken back and one replica killed."""
    return rollout.measure(*built)


@pytest.mark.container
@pytest.mark.slow
def test_an_update_loses_nothing(
    phases: tuple[rollout.Phase, rollout.Phase], record_property: Callable[[str, object], None]
) -> None:
    update, _ = phases
    record_property("requests during an update", len(update.samples))

    assert len(update.samples) >= 10_000
    assert not update.failed, update.failed[:3]
    assert update.retried == 0, "the proxy had to save requests by sending them again"
    for kind in rollout.KINDS:
        answered = {(sample.replica, sample.version) for sample in update.samples if sample.kind == kind}
        assert answered == {(replica, version) for replica in rollout.REPLICAS for version in ("1", "2")}, kind.title
    last = max(event["end"] for event in update.events)
    assert {sample.version for sample in update.samples if sample.sent > last} == {"2"}


@pytest.mark.container
@pytest.mark.slow
def test_a_killed_replica_takes_only_requests_along_that_cannot_be_sent_twice(
    phases: tuple[rollout.Phase, rollout.Phase], record_property: Callable[[str, object], None]
) -> None:
    _, back = phases
    [killed] = [event for event in back.events if event["what"] == "killed"]
    record_property("lost with the killed replica", f"{len(back.failed)} of {len(back.samples)} requests")

    assert len(back.samples) >= 10_000
    assert back.retried > 0, "no request was in flight: this proves nothing"
    for sample in back.failed:
        assert sample.kind.method == "POST" or sample.cut_off, sample
        assert sample.sent <= killed["end"], f"sent after the kill, and lost: {sample}"
        assert sample.over >= killed["begin"], f"lost before the kill: {sample}"
    last = max(event["end"] for event in back.events)
    assert {sample.version for sample in back.samples if sample.sent > last} == {"1"}


@contextmanager
def edited(file: Path, edits: dict[str, str]) -> Iterator[None]:
    """Replace texts in a file, each of which must stand there once, until the end of the `with` block."""
    shipped = text = file.read_text()
    for old, new in edits.items():
        assert shipped.count(old) == 1, f"{old} stands {shipped.count(old)} times in {file.name}"
        text = text.replace(old, new)
    file.write_text(text)
    try:
        yield
    finally:
        file.write_text(shipped)


@pytest.mark.container
@pytest.mark.slow
@pytest.mark.parametrize(
    ("drain_delay", "check"),
    [pytest.param("0", "/readyz", id="no drain"), pytest.param("3", "/healthz", id="liveness asked")],
)
def test_without_a_drain_that_the_proxy_is_told_of_requests_are_lost(
    built: tuple[Path, dict[str, str]], drain_delay: str, check: str
) -> None:
    """The load can tell: what keeps requests from being lost is taken away, and the retries that would hide it."""
    project, images = built
    with (
        edited(project / "haproxy.cfg", {"/readyz": check, "retries 3": "retries 0", MARK_DOWN: ""}),
        rollout.loaded(project, images["1"], DRAIN_DELAY=drain_delay) as run,
    ):
        phase = run.phase("sabotage", images["2"], only=rollout.REPLICAS[:1])

    assert {"GET", "POST"} <= {sample.kind.method for sample in phase.failed}, f"{len(phase.failed)} requests were lost"


@pytest.mark.container
@pytest.mark.slow
def test_where_a_replica_has_died_requests_wait_for_the_other(built: tuple[Path, dict[str, str]]) -> None:
    """The dead one looks free and the other is full, as on a busy host: each retry would go to the dead one again."""
    project, images = built
    replica, _ = rollout.REPLICAS
    with edited(project / "haproxy.cfg", {"maxconn 28": "maxconn 12"}), rollout.loaded(project, images["1"]) as run:
        phase = run.phase("killed", images["1"], killed=replica, only=[replica])

    assert phase.retried > 0, "no request was in flight: this proves nothing"
    assert [sample for sample in phase.failed if sample.kind.method == "GET" and not sample.cut_off] == []


@pytest.mark.container
@pytest.mark.slow
def test_without_a_proxy_there_is_a_gap(built: tuple[Path, dict[str, str]]) -> None:
    """The page on one host admits one or two seconds; CI may be slower."""
    assert 0.3 < rollout.gap(rollout.alone(*built)) < 5
