"""The floor of gunicorn: the service starts and stops well with the oldest release it allows, and with the newest."""

import pytest

from tests.conftest import BIN, BakedProject, skip_or_fail
from tools import gunicorn_releases


@pytest.mark.slow
def test_the_oldest_and_the_newest_release_that_the_floor_allows_are_green(
    pytestconfig: pytest.Config, capsys: pytest.CaptureFixture[str]
) -> None:
    code = gunicorn_releases.main(["--only", "oldest", "newest"])
    printed = capsys.readouterr().out
    if code == 2:
        skip_or_fail(pytestconfig, printed.strip())
    assert code == 0, printed


def test_the_floor_refuses_the_release_that_drops_kept_connections(
    project: BakedProject, pytestconfig: pytest.Config
) -> None:
    python = project.environment / BIN / "python"
    try:
        allowed = gunicorn_releases.allowed(python, project.path)
        problems = gunicorn_releases.examine(project.path, python, "27.0.0", ["kept connections"])
    except gunicorn_releases.NoReleaseError as error:
        skip_or_fail(pytestconfig, str(error))

    assert "27.0.0" not in allowed
    assert "requests dropped after SIGTERM" in problems["kept connections"], problems
