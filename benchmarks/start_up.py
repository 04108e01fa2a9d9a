"""Measure what compiled bytecode, layer order and the slim base are worth: `make bench-start`.

Everything is measured in one run, the variants in turn, and reported as medians and ratios; only ratios mean something
on another machine. Needs a Docker Engine.

    start -> first 200   from the start of the container's process (State.StartedAt) to the first answer, read-only
    code-only rebuild    `docker build` after an edit of app/views.py, against a build in which nothing changed
    size on disk         of the image, and above its base image
"""

import os
import re
import statistics
import tempfile
from collections.abc import Iterable
from pathlib import Path

from rich.progress import track
from rich.table import Table

from benchmarks import bench
from tools.questions import base_image

ROUNDS = 5
COMPILE_STDLIB = re.compile(r" && python -m compileall .* \"\$lib\" \\\n")


def leave_stdlib_uncompiled(project: Path) -> None:
    """Take the line that compiles the standard library out of the Dockerfile."""
    dockerfile = project / "Dockerfile"
    changed, count = COMPILE_STDLIB.subn("", dockerfile.read_text())
    if count != 1:
        raise SystemExit("the line that compiles the standard library is not where it was")
    dockerfile.write_text(changed)


def describe(values: Iterable[float]) -> str:
    """Return median and spread of seconds, in milliseconds."""
    milliseconds = sorted(1000 * value for value in values)
    return f"{statistics.median(milliseconds):.0f} ms ({milliseconds[0]:.0f} to {milliseconds[-1]:.0f})"


def variant(folder: Path, name: str, python_version: str) -> bench.Variant:
    """Bake the template into a folder of that name, after which its image is called."""
    project = bench.bake(folder, python_version).rename(folder / name)
    return bench.Variant("template", project, "Dockerfile", "app/views.py", ())


def measure(folder: Path, python_version: str) -> Table:
    """Build, start and rebuild below `folder`; return the table."""
    base = base_image(python_version)
    compiled, uncompiled = (variant(folder, name, python_version) for name in ("compiled", "uncompiled"))
    leave_stdlib_uncompiled(uncompiled.project)
    with bench.console.status("Building both images …"):
        bench.build(compiled, python_version)
        bench.build(uncompiled, python_version)

    ours: list[float] = []
    theirs: list[float] = []
    for _ in track(range(ROUNDS), "Starting containers", console=bench.console):
        for image, seconds in ((compiled, ours), (uncompiled, theirs)):
            with bench.started(image) as container:
                seconds.append(container.first_answer)

    nothing: list[float] = []
    edits: list[float] = []
    for _ in track(range(ROUNDS), "Rebuilding", console=bench.console):
        nothing.append(bench.build(compiled, python_version))
        edits.append(bench.rebuild(compiled, python_version, compiled.code))

    table = Table("Measure", "Result", "Compared with", "Result", "Difference", title=f"{ROUNDS} rounds, {base}")
    table.add_row(
        *("start -> first 200", describe(ours), "standard library uncompiled", describe(theirs)),
        f"x {statistics.median(ours) / statistics.median(theirs):.2f}",
    )
    longer = statistics.median(edits) - statistics.median(nothing)
    table.add_row(*("code-only rebuild", describe(edits), "no-op build", describe(nothing)), f"{1000 * longer:+.0f} ms")
    sizes = bench.size(compiled.tag), bench.size(base)
    shown = [f"{size / 1e6:.1f} MB" for size in sizes]
    table.add_row("size on disk", shown[0], "base image", shown[1], f"{(sizes[0] - sizes[1]) / 1e6:+.1f} MB")
    return table


def main() -> None:
    """Measure and print the table."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            table = measure(Path(folder), os.environ.get("PYTHONS", "3.14").split()[0])
        bench.console.print(table)
    finally:
        bench.remove_leftovers()


if __name__ == "__main__":
    main()
