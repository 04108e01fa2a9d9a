"""The scorecard of the container contract: what it says of an image, and of its rows."""

from pathlib import Path

import pytest

from tests.conftest import Bake, BakedProject, docker

JUDGE = """
from tests.container.scorecard import Scorecard
card = Scorecard("shop")
for row, status in zip(card.rows.values(), {statuses}, strict=True):
    row.status = status
print(card.verdict, card.summary())
"""


@pytest.mark.parametrize(
    ("statuses", "said"),
    [
        (["passed"] * 22, "passed shop: 22 of 22 rows passed"),
        (
            ["passed"] * 11 + ["not applicable"] * 9 + ["switched off"] * 2,
            "passed shop: 11 of 11 rows passed, 2 switched off, 9 not applicable",
        ),
        (["passed"] * 12 + ["failed"] * 10, "failed shop: 12 of 22 rows passed"),
        (
            ["passed"] * 10 + ["not applicable"] * 12,
            "incomplete shop: 10 of 10 rows passed, 12 not applicable: too little was asked to say that it passed",
        ),
        (
            ["passed"] * 21 + ["not run"],
            "incomplete shop: 21 of 21 rows passed, 1 not run: too little was asked to say that it passed",
        ),
        (["failed"] + ["not run"] * 21, "failed shop: 0 of 1 rows passed, 21 not run"),
    ],
    ids=["all", "half", "a failed row", "less than half", "one not run", "a failed row, others not run"],
)
def test_an_image_passes_that_was_asked_enough(project: BakedProject, statuses: list[str], said: str) -> None:
    assert project.run("python", "-c", JUDGE.format(statuses=statuses)).stdout == f"{said}\n"


def test_a_row_is_explained_without_an_engine(project: BakedProject) -> None:
    done = project.run("pytest", "tests/container", "--explain", "2", DOCKER_HOST="unix:///nowhere").stdout

    assert "Row 2: The command is in exec form, stopped by SIGTERM" in done
    assert "test_stop_signal_is_sigterm (tests/container/test_image.py)" in done
    assert "Fix: `STOPSIGNAL SIGTERM`." in done
    assert "Row 3" not in done
    assert "no tests ran" in done


def test_only_a_row_can_be_explained(project: BakedProject) -> None:
    with pytest.raises(AssertionError, match="--explain: invalid choice: 23"):
        project.run("pytest", "tests/container", "--explain", "23")


@pytest.mark.container
def test_a_failed_test_that_belongs_to_no_row_is_named(bake: Bake, engine: None) -> None:
    project = bake()
    (project.path / "tests/container/test_ours.py").write_text("def test_ours():\n    assert False, 'because'\n")

    with pytest.raises(AssertionError, match=r"FAILED tests/container/test_ours\.py::test_ours"):
        project.run("pytest", "tests/container/test_ours.py", "--scorecard")


@pytest.mark.container
def test_it_names_the_engine(project: BakedProject, engine: None, tmp_path: Path) -> None:
    cards = [tmp_path / "card.md", tmp_path / "card.json"]
    options = ["--scorecard", *(f"--scorecard-file={card}" for card in cards), "-p", "no:cacheprovider"]

    done = project.run("pytest", "tests/container/test_image.py::test_stop_signal_is_sigterm", *options).stdout

    named = f"Docker Engine {docker('version', '--format', '{{.Server.Version}}').strip()} with "
    for card in (done, *(card.read_text() for card in cards)):
        assert named in card


@pytest.mark.container
def test_a_failed_row_leads_to_its_explanation(bake: Bake, engine: None) -> None:
    project = bake()
    dockerfile = project.path / "Dockerfile"
    dockerfile.write_text(dockerfile.read_text().replace("STOPSIGNAL SIGTERM", "STOPSIGNAL SIGINT"))

    with pytest.raises(AssertionError, match="pytest tests/container --explain 2\n"):
        project.run("pytest", "tests/container/test_image.py::test_stop_signal_is_sigterm", "--scorecard")
