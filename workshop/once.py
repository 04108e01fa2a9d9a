"""A plugin of pytest: leave a row of the contract alone once it has failed, as no other test can turn it green.

It saves a foreign image about a third of the time, most of it spent on waiting for answers that do not come.
"""

from collections.abc import Generator

import pytest

FAILED = pytest.StashKey[set[int]]()


def rows(item: pytest.Item) -> set[int]:
    """Return the rows of the contract that a test belongs to."""
    return {marker.args[0] for marker in item.iter_markers("row")}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test of nothing but failed rows."""
    if rows(item) and rows(item) <= item.config.stash.setdefault(FAILED, set()):
        pytest.skip("the row has failed already")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep in mind which rows have failed."""
    report = yield
    if report.failed:
        item.config.stash.setdefault(FAILED, set()).update(rows(item))
    return report
