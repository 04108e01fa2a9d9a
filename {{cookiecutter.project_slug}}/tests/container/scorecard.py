"""The scorecard: what each row of the contract says of an image, as a table, as JSON and as Markdown."""

import inspect
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, cast, get_args

import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

ROWS = {
    1: "The user is a number and not root",
    2: "The command is in exec form, stopped by SIGTERM",
    3: "The health check works, and fails where nothing runs",
    4: "Labels say what the image is and where it comes from",
    5: "One port is exposed, and serves",
    6: "No pip, compiler, curl or wget; distroless has no shell",
    7: "Nothing that was not meant to be shipped, no secret",
    8: "All code is compiled, by hash, and can be loaded",
    9: "Code cannot be changed; no setuid file; nothing writable by all",
    10: "Size and layers are within budget",
    11: "A change of code installs nothing; builds are reproducible",
    12: "Good and bad requests get the right answers",
    13: "The log is clean, in JSON, with request ids",
    14: "Runs as any user, from any checkout, and without a network",
    15: "Becomes healthy soon, and unhealthy when it hangs",
    16: "A stop loses no request and is not delayed",
    17: "Port and workers come from the environment, checked",
    18: "Workers follow the limits; the smallest is enough",
    19: "A killed worker takes only its own requests along",
    20: "Behind its proxy, slow clients do not stop others being served",
    21: "Memory stays within budget under load",
    22: "Serves on an IPv6 network",
}

Status = Literal["passed", "failed", "switched off", "not applicable", "not run"]
STYLES = {"passed": "green", "failed": "bold red", "switched off": "yellow"}


@dataclass
class Row:
    """The verdict on one row so far, and the reason for it: for a row that passed, what was measured or left out."""

    number: int
    title: str
    status: Status = "not run"
    reason: str = ""


@dataclass(eq=False)
class Scorecard:
    """The verdicts of a session, by row. A plugin of pytest, so that it sees the reports of all processes of xdist."""

    image: str
    engine: str = ""
    rows: dict[int, Row] = field(default_factory=lambda: {n: Row(n, title) for n, title in ROWS.items()})

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Enter the result into the rows that the report names."""
        for row in cast(list[int], dict(report.user_properties).get("rows", [])):
            self.record(row, report)

    def record(self, number: int, report: pytest.TestReport) -> None:
        """Take in a phase of a test. One failure fails the row; skipped tests count only where no other was run.

        The reason of a skip begins with its status, such as "switched off: brings a model of 200 MB".
        """
        row = self.rows[number]
        if row.status == "failed":
            return
        if report.failed:
            row.status, row.reason = "failed", _reason(report)
        elif report.passed and report.when == "call":
            before = {"passed": row.reason, "switched off": f"in part switched off: {row.reason}"}.get(row.status, "")
            row.status, row.reason = "passed", str(dict(report.user_properties).get("measured", before))
        elif report.skipped:
            status, _, reason = _reason(report).partition(": ")
            if row.status == "passed":
                row.reason = f"in part switched off: {reason}" if status == "switched off" else row.reason
            elif status in get_args(Status):
                row.status, row.reason = cast(Status, status), reason

    @property
    def passed(self) -> int:
        """Return the number of rows that passed."""
        return sum(row.status == "passed" for row in self.rows.values())

    @property
    def applicable(self) -> int:
        """Return the number of rows that passed or failed."""
        return sum(row.status in {"passed", "failed"} for row in self.rows.values())

    @property
    def verdict(self) -> str:
        """Return "passed", "failed", or "incomplete" where a row was not asked, or fewer than half of them passed."""
        statuses = {row.status for row in self.rows.values()}
        if "failed" in statuses:
            return "failed"
        return "incomplete" if "not run" in statuses or 2 * self.passed < len(self.rows) else "passed"

    def summary(self) -> str:
        """Return in one line how many rows passed, and what became of those that could neither pass nor fail."""
        statuses = Counter(row.status for row in self.rows.values())
        others = [f"{statuses[name]} {name}" for name in get_args(Status)[2:] if statuses[name]]
        summary = ", ".join([f"{self.image}: {self.passed} of {self.applicable} rows passed", *others])
        return f"{summary}: too little was asked to say that it passed" if self.verdict == "incomplete" else summary

    def print(self) -> None:
        """Print the table to the terminal."""
        table = Table("Row", "The contract", "Verdict", "Reason", title=self.summary(), title_justify="left")
        table.caption, table.caption_justify = self.engine, "left"
        for row in self.rows.values():
            table.add_row(str(row.number), row.title, Text(row.status, STYLES.get(row.status, "dim")), Text(row.reason))
        console = Console()
        console.print(table)
        if failed := next((row.number for row in self.rows.values() if row.status == "failed"), None):
            console.print(f"Why a row matters, and how to fix it: pytest tests/container --explain {failed}")

    def write(self, path: Path) -> None:
        """Write the scorecard as JSON, or as Markdown if the name ends in .md."""
        path.write_text(self.as_markdown() if path.suffix == ".md" else self.as_json(), encoding="utf-8")

    def as_json(self) -> str:
        """Return the image, the engine, the verdict, the numbers of rows and what became of each."""
        rows = [asdict(row) for row in self.rows.values()]
        numbers = {"verdict": self.verdict, "passed": self.passed, "applicable": self.applicable}
        return json.dumps({"image": self.image, "engine": self.engine, **numbers, "rows": rows}, indent=2) + "\n"

    def as_markdown(self) -> str:
        """Return a heading and a table."""
        lines = [
            f"# {self.summary()}",
            "",
            self.engine,
            "",
            "| Row | The contract | Verdict | Reason |",
            "|---|---|---|---|",
        ]
        for row in self.rows.values():
            reason = row.reason.replace("|", "\\|")
            lines.append(f"| {row.number} | {row.title} | {row.status} | {reason} |")
        return "\n".join(lines) + "\n"


def explain(row: int, items: Iterable[pytest.Item]) -> Iterator[str]:
    """Yield what a row is about: the docstring of each of its tests, which says why it matters and how to fix it."""
    yield f"Row {row}: {ROWS[row]}"
    tests = {item.location[2].partition("[")[0]: item for item in items if row in rows_of(item)}
    for name, item in tests.items():
        yield f"\n  {name} ({item.location[0]})"
        docstring = inspect.getdoc(getattr(item, "obj", None)) or "It has no docstring."
        yield from (f"    {line}".rstrip() for line in docstring.splitlines())


def rows_of(item: pytest.Item) -> list[int]:
    """Return the rows that a test belongs to."""
    return [row.args[0] for row in item.iter_markers("row")]


def _reason(report: pytest.TestReport) -> str:
    """Return the first line of what the test said."""
    if isinstance(report.longrepr, tuple):  # a skip: file, line, message
        message = report.longrepr[2].removeprefix("Skipped: ")
    else:
        crash = getattr(report.longrepr, "reprcrash", None)
        message = crash.message if crash else str(report.longrepr)
    line = next(iter(message.strip().splitlines()), "")
    return re.sub(r"^(AssertionError|tests\.container\.[\w.]+): ", "", line)[:200]
