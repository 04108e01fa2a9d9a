"""The container contract of a freshly baked service, for images that somebody else has built.

The contract lives in the template and nowhere else: it is baked into a temporary folder and run from there.
"""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.etree import ElementTree

from tools.baking import bake

STATIC = frozenset(range(1, 12))
# What these modules ask, and tests with this mark, only the project of an image can answer; see workshop/check.py for
# rows 7 and 11.
OWN = "pytest.mark.usefixtures('own')"
# Of a project that is copied to be judged: large, and never shipped.
NOT_COPIED = shutil.ignore_patterns(".git", ".venv", "node_modules", "*_cache", "__pycache__")
OF_THE_PROJECT = {"test_build", "test_compose", "test_proxy"}


@dataclass(frozen=True)
class Lesson:
    """What the docstring of a test says: why it matters, and how to fix it."""

    why: str
    fix: str

    @classmethod
    def parse(cls, docstring: str) -> "Lesson":
        """Split a docstring at the word Fix. Another paragraph after it belongs to the reason."""
        text, _, rest = docstring.partition("Fix: ")
        fix, _, more = rest.partition("\n\n")
        return cls(*(re.sub(r"\s+", " ", part).strip() for part in (f"{text} {more}", fix)))


@dataclass(frozen=True)
class Clause:
    """A test of the contract."""

    module: str
    name: str
    row: int
    lesson: Lesson
    of_the_project: bool = False


@dataclass
class Verdict:
    """What the contract says of an image: the scorecard, and the first failed test of each row with what it saw."""

    card: dict[str, Any]
    failed: dict[int, tuple[Clause, str]] = field(default_factory=dict)


class ContractError(Exception):
    """The contract could not be run; the message says why."""


@dataclass(frozen=True)
class Contract:
    """The contract, baked into a folder, and its tests by name."""

    folder: Path
    tests: dict[str, Clause]

    @classmethod
    def of(cls, project: Path) -> "Contract":
        """Return the contract that a service carries."""
        return cls(project, dict(_tests(project / "tests/container")))

    def select(self, rows: Collection[int] | None = None, names: Collection[str] = ()) -> list[Clause]:
        """Return the tests of some rows, or of all, and those with the names, that a foreign image can be asked."""
        if unknown := set(names) - self.tests.keys():
            raise ContractError(f"the contract has no test {', '.join(sorted(unknown))}")
        return [
            test
            for test in self.tests.values()
            if not test.of_the_project
            if rows is None or test.row in rows or test.name in names
        ]

    def judge(
        self,
        image: str | None,
        tests: Collection[Clause],
        port: int | None = None,
        progress: Callable[[int], object] = int,
        plugins: Sequence[str] = (),
    ) -> Verdict:
        """Run tests on an image, or on what the folder builds; `progress` is told the percentage that is done."""
        if not tests:
            raise ContractError("there is nothing to ask of the image")
        card, report = self.folder / "card.json", self.folder / "report.xml"
        options = ["-p", "no:cacheprovider", "--verbose", "--tb=short"]
        # The older of the two formats, because the contract records properties of single tests.
        options += [f"--scorecard-file={card}", f"--junitxml={report}", "-o", "junit_family=xunit1"]
        options += [f"-p{plugin}" for plugin in plugins]
        options += [*([f"--image={image}"] if image else []), *([f"--port={port}"] if port else [])]
        nodes = [f"tests/container/{test.module}.py::{test.name}" for test in tests]
        for file in (card, report):
            file.unlink(missing_ok=True)
        command = [sys.executable, "-m", "pytest", *options, *nodes]
        foreign = ("PYTEST_", "CONTAINER_")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        output = ""
        with subprocess.Popen(
            command, cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as running:
            for line in running.stdout or ():
                output += line
                if done := re.search(r"\[ *(\d+)%\]$", line):
                    progress(int(done[1]))
        if running.returncode not in {0, 1} or not card.exists():
            raise ContractError(f"the contract did not run:\n{output}")
        return Verdict(json.loads(card.read_text(encoding="utf-8")), self._failures(report))

    def _failures(self, report: Path) -> dict[int, tuple[Clause, str]]:
        failed: dict[int, tuple[Clause, str]] = {}
        # Written by pytest a moment ago, on this machine.
        for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314
            test = self.tests[case.attrib["name"].partition("[")[0]]
            for problem in (*case.iter("failure"), *case.iter("error")):
                failed.setdefault(test.row, (test, problem.attrib.get("message", "")))
        return failed


@contextmanager
def baked() -> Iterator[Contract]:
    """Bake the default answers; remove them afterwards."""
    with TemporaryDirectory(prefix="contract-") as folder:
        yield Contract.of(bake(Path(folder)))


def _tests(folder: Path) -> Iterator[tuple[str, Clause]]:
    """Read the tests that belong to a row, without importing them."""
    for file in sorted(folder.glob("test_*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef):
                marks = [ast.unparse(decorator) for decorator in node.decorator_list]
                own = OWN in marks or file.stem in OF_THE_PROJECT
                for row in re.findall(r"pytest\.mark\.row\((\d+)\)", " ".join(marks)):
                    lesson = Lesson.parse(ast.get_docstring(node) or "")
                    yield node.name, Clause(file.stem, node.name, int(row), lesson, own)
