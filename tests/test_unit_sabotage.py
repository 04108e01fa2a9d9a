"""The unit tests of the service can fail: each edit of a bake must turn its test red for the stated reason."""

import re
import tomllib
from pathlib import Path

import pytest
from cookiecutter.main import cookiecutter

from tests.conftest import PYTHONS, TEMPLATE, BakedProject
from tests.test_sabotage import Sabotage

SABOTAGES = [
    pytest.param(Sabotage(test=test, **edit), id=name)
    for test, edits in tomllib.loads((TEMPLATE / "tests/unit_sabotages.toml").read_text(encoding="utf-8")).items()
    for name, edit in edits.items()
]


@pytest.fixture(scope="module")
def baked(tmp_path_factory: pytest.TempPathFactory, service_environment: Path) -> dict[str, BakedProject]:
    """Return a service for each forge. What a test edits, it takes back."""
    return {
        ci: BakedProject(
            Path(
                cookiecutter(
                    str(TEMPLATE),
                    no_input=True,
                    extra_context={"ci": ci, "python_version": PYTHONS[0]},
                    output_dir=str(tmp_path_factory.mktemp(ci)),
                )
            ),
            service_environment,
        )
        for ci in ("github", "gitlab")
    }


@pytest.mark.slow
@pytest.mark.parametrize("sabotage", SABOTAGES)
def test_the_unit_tests_turn_red(baked: dict[str, BakedProject], sabotage: Sabotage) -> None:
    project = baked["gitlab" if sabotage.file == ".gitlab-ci.yml" else "github"]
    file = project.path / sabotage.file
    before = file.read_bytes()
    sabotage.apply(project.path)
    try:
        with pytest.raises(AssertionError) as failure:
            project.run("pytest", f"tests/unit/{sabotage.test}", "-q", "-p", "no:cacheprovider")
    finally:
        file.write_bytes(before)

    report = str(failure.value)
    assert "exit code 1\n" in report, report
    assert re.search(rf"FAILED tests/unit/{re.escape(sabotage.test)}", report), report
    assert sabotage.reason in report, report
