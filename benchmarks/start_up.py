"""Measure what compiled bytecode, layer order and the slim base are worth: `make bench-start`.

Everything is measured in one run, the variants in turn, and reported as medians and ratios; only ratios mean something
on another machine. Needs a Docker Engine.

    start -> first 200   from the start of the container's process (State.StartedAt) to the first answer, read-only
    code-only rebuild    `docker build` after an edit of app/views.py, against a build in which nothing changed
    size on disk         of the image, and above its base image
"""

import http.client
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

TEMPLATE = Path(__file__).parents[1]
ROUNDS = 5
HARDENED = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
COMPILE_STDLIB = re.compile(r" && python -m compileall .* \"\$lib\" \\\n")

console = Console()


def run(*command: str) -> str:
    """Return what the command prints; raise CalledProcessError if it fails."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def build(project: Path, tag: str) -> float:
    """Build the image; return the seconds it took."""
    began = time.monotonic()
    run("docker", "build", "--quiet", "--tag", tag, str(project))
    return time.monotonic() - began


def bake(folder: Path, python_version: str) -> Path:
    """Bake the default answers on that Python into a folder of their own."""
    options = ("--no-input", "--default-config", "--output-dir", str(folder))
    run(sys.executable, "-m", "cookiecutter", str(TEMPLATE), *options, f"python_version={python_version}")
    return folder / "hello-service"


def leave_stdlib_uncompiled(project: Path) -> None:
    """Take the line that compiles the standard library out of the Dockerfile."""
    dockerfile = project / "Dockerfile"
    changed, count = COMPILE_STDLIB.subn("", dockerfile.read_text())
    if count != 1:
        raise SystemExit("the line that compiles the standard library is not where it was")
    dockerfile.write_text(changed)


def first_answer(tag: str) -> float:
    """Start a hardened container; return the seconds from the start of its process to its first 200."""
    identity = run("docker", "run", "--detach", "--publish", "127.0.0.1::5000", *HARDENED, tag)
    try:
        port = int(run("docker", "port", identity, "5000/tcp").rsplit(":", 1)[1])
        deadline = time.monotonic() + 60
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            try:
                connection.request("GET", "/")
                if connection.getresponse().status == 200:
                    break
            except (OSError, http.client.HTTPException):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.002)
            finally:
                connection.close()
        answered = datetime.now(UTC)
        state = json.loads(run("docker", "inspect", identity))[0]["State"]
        # The engine writes nanoseconds, which datetime cannot read.
        started = datetime.fromisoformat(re.sub(r"(\.\d{6})\d*Z", r"\1+00:00", state["StartedAt"]))
        return (answered - started).total_seconds()
    finally:
        run("docker", "rm", "--force", identity)


def size(image: str) -> int:
    """Return the bytes of the image on disk."""
    return int(json.loads(run("docker", "image", "inspect", image))[0]["Size"])


def describe(values: Iterable[float]) -> str:
    """Return median and spread of seconds, in milliseconds."""
    milliseconds = sorted(1000 * value for value in values)
    return f"{statistics.median(milliseconds):.0f} ms ({milliseconds[0]:.0f} to {milliseconds[-1]:.0f})"


def main() -> None:
    """Measure and print the table."""
    python_version = os.environ.get("PYTHONS", "3.14").split()[0]
    base = f"python:{python_version}-slim-trixie"
    with tempfile.TemporaryDirectory() as folder:
        project = bake(Path(folder) / "compiled", python_version)
        uncompiled = bake(Path(folder) / "uncompiled", python_version)
        leave_stdlib_uncompiled(uncompiled)
        tags = {"compiled": "template-bench:compiled", "uncompiled": "template-bench:uncompiled"}
        with console.status("Building both images …"):
            build(project, tags["compiled"])
            build(uncompiled, tags["uncompiled"])

        starts: dict[str, list[float]] = {name: [] for name in tags}
        for _ in track(range(ROUNDS), "Starting containers", console=console):
            for name, tag in tags.items():
                starts[name].append(first_answer(tag))

        builds: dict[str, list[float]] = {"no-op": [], "code-only": []}
        views = project / "app/views.py"
        for number in track(range(ROUNDS), "Rebuilding", console=console):
            builds["no-op"].append(build(project, tags["compiled"]))
            views.write_text(f"{views.read_text()}\n# edit {number} {time.time_ns()}\n")
            builds["code-only"].append(build(project, tags["compiled"]))

    ratio = statistics.median(starts["compiled"]) / statistics.median(starts["uncompiled"])
    longer = statistics.median(builds["code-only"]) - statistics.median(builds["no-op"])
    table = Table("Measure", "Result", "Compared with", "Result", "Difference", title=f"{ROUNDS} rounds, {base}")
    table.add_row(
        *("start -> first 200", describe(starts["compiled"])),
        *("standard library uncompiled", describe(starts["uncompiled"]), f"x {ratio:.2f}"),
    )
    table.add_row(
        *("code-only rebuild", describe(builds["code-only"])),
        *("no-op build", describe(builds["no-op"]), f"{1000 * longer:+.0f} ms"),
    )
    ours, theirs = size(tags["compiled"]), size(base)
    table.add_row(
        *("size on disk", f"{ours / 1e6:.1f} MB"),
        *("base image", f"{theirs / 1e6:.1f} MB", f"{(ours - theirs) / 1e6:+.1f} MB"),
    )
    console.print(table)
    run("docker", "image", "rm", "--force", *tags.values())


if __name__ == "__main__":
    main()
