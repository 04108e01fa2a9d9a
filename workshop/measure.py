"""Build, judge and measure the rungs of the ladder: `make workshop`.

    python -m workshop.measure            all rungs that have not been measured as they are, on this machine
    python -m workshop.measure 3 5        only these, if they have not been
    python -m workshop.measure --again    even if they have been
    python -m workshop.measure --times    the same, but only what the clock tells: some minutes, on a quiet machine
    python -m workshop.measure --contract the same, but only the contract, when that has changed

Each rung is written to results/ladder.json as soon as it is done, so a run that was stopped goes on where it was. A
rung is measured anew when a file it is built from, the machine or a version has changed. Needs a Docker Engine.

What is measured, all in one go on one machine; only ratios mean something elsewhere. Starts and rebuilds are the
fastest of five: whatever else a machine does can only make them longer.

    bytes, compressed_bytes   the image on disk, and its layers each compressed by gzip -6, as a registry keeps them
    cold_build_seconds        `docker build --no-cache` with the base image there. A cache mount is no layer: what pip
                              has kept in one stays, which is what it is for. An index that forbids it to keep anything
                              leaves it empty, and leaves nothing in the layers of the first rungs either
    code_rebuild_seconds      `docker build` after an edit of the code
    start_ms                  from State.StartedAt to the first 200, in a read-only container without capabilities where
                              the service starts in one (`hardened` says so)
    probe_cpu_ms              CPU of one run of the image's own health check
    stop_seconds, exit_code   `docker stop` while nothing is served
    packages                  what trivy lists in the image
    leaked                    planted files (a password, the history, notes) that are in some layer
    can_change_its_code       whether the user of the service may write to it
    debugger                  whether the service answers for Werkzeug's debugger, which runs what it is sent
    refuses_forgery           whether the build ends when the files of the packages have other hashes than the lock says
    rows                      the container contract: tests/container of the service that the template bakes
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import bench, rollout
from tools import engine
from tools.baking import bake
from tools.contract import Contract
from tools.questions import base_image
from workshop import charts
from workshop.ladder import HERE, LOCK, PLANTED, PORT, PYTHON, Rung, assemble, rungs

RESULTS = HERE / "results"
ROUNDS = 5
SECONDS_TO_ANSWER = 20

# From the hardest to the softest; the first in which the service answers is used.
LIVES: Mapping[str, tuple[str, ...]] = {
    "read-only": bench.HARDENED,
    "read-only but for /tmp": (*bench.HARDENED, *bench.WRITABLE),
    "not at all": ("--no-healthcheck",),
}
OFFLINE = ("--quiet", "--offline-scan", "--skip-db-update", "--skip-java-db-update", "--skip-version-check")
# Of which kind a layer is, told by the instruction that made it. What is found first counts.
KINDS = (
    ("compiled standard library", re.compile(r"compileall")),
    ("packages", re.compile(r"pip install|COPY /venv")),
    ("Python and what it needs", re.compile(r"COPY /files")),
    ("code and context", re.compile(r"^(COPY|ADD) ")),
)
# Names of images and containers, and the label of a run.
PASSING = re.compile(r"workshop-[\w-]+:\d+|\b[0-9a-f]{12,64}\b|'benchmark': '\d+',? ?")
BASE_KIND, OTHER_KIND = "base image", "other"

INSTALLED = """
import importlib.metadata, json
print(json.dumps({d.name.lower(): d.version for d in importlib.metadata.distributions()}))
"""

console = bench.console
Result = dict[str, Any]


# ---- the machine ----


def base_images(version: str) -> dict[str, str]:
    """Return the names of the slim and of the full base image."""
    slim = base_image(version)
    return {"slim": slim, "full": slim.replace("-slim", "")}


def pulled(image: str) -> bool:
    """Pull an image; tell whether that worked within a quarter of an hour."""
    try:
        return not engine.run("pull", "--quiet", image, check=False, timeout=900).returncode
    except subprocess.TimeoutExpired:
        return False


def provide_base_images(version: str) -> list[str]:
    """Make sure that both base images are there; return the names of those that had to be made.

    A full image that cannot be pulled gets a stand-in under its name: the slim image with Debian's build tools. That
    is smaller than the official one, so that no rung is praised for more than it does; its label says what it is.
    """
    slim, full = base_images(version).values()
    for name in (slim, full):
        if engine.has(name) or pulled(name):
            continue
        if name == slim:
            raise SystemExit(f"{name} is not there and cannot be pulled; .ci/base-images can make it on Debian")
        with console.status(f"{name} cannot be pulled: a stand-in takes its name, made from Debian's packages …"):
            file = f"--file={HERE / 'full.Dockerfile'}"
            engine.run("build", "--quiet", "--tag", name, f"--build-arg=SLIM={slim}", file, str(HERE / "service"))
        return [name]
    return []


def machine() -> Result:
    """Return what the figures depend on."""
    cpuinfo = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.+)", cpuinfo.read_text()) if cpuinfo.exists() else None
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None
    # To whole GiB: a few pages more or less, from start to start, are the same machine.
    memory = round(memory / 2**30) * 2**30 if memory else None
    system = f"{platform.system()} {platform.machine()}" + (f", {model[1]}" if model else "")
    return {"cpus": bench.CORES, "memory_bytes": memory, "system": system}


def versions(version: str) -> Result:
    """Return the versions of what the rungs are built with and from."""
    names = base_images(version)
    labels = {kind: engine.Image(name).labels for kind, name in names.items()}
    told = {kind: "stand-in" if "Stand-in" in str(found) else "official" for kind, found in labels.items()}
    python = engine.output("run", "--rm", "--label", engine.LABEL, names["slim"], "python", "--version")
    lock = bench.pins(LOCK)
    return {
        "docker": engine.output("info", "--format", "{{.ServerVersion}}"),
        "python": python.removeprefix("Python "),
        "flask": lock["flask"],
        "gunicorn": lock["gunicorn"],
        "slim_image": f"{names['slim']} ({told['slim']})",
        "full_image": f"{names['full']} ({told['full']})",
    }


# ---- one rung ----


def tag(rung: Rung) -> str:
    """Return the name of the image of a rung."""
    return f"workshop-{rung.label}:{os.getpid()}"


def layers(image: str, bases: Sequence[str]) -> list[Result]:
    """Return the layers that are not empty, the lowest first: the instruction, the bytes on disk, the kind."""

    def history(name: str) -> list[tuple[str, int]]:
        printed = engine.output("history", "--no-trunc", "--human=false", "--format", "{{json .}}", name)
        lines = [json.loads(line) for line in printed.splitlines()]
        return [(line["CreatedBy"], int(line["Size"])) for line in reversed(lines)]

    steps = history(image)
    below = max((len(base) for base in map(history, bases) if steps[: len(base)] == base), default=0)
    found = []
    for number, (instruction, size) in enumerate(steps):
        text = re.sub(r"\s+", " ", instruction.removesuffix(" # buildkit").replace("RUN /bin/sh -c ", "RUN ")).strip()
        kind = next((kind for kind, pattern in KINDS if pattern.search(text)), OTHER_KIND)
        if size:
            shown = text if len(text) <= 120 else f"{text[:119]}…"
            found.append({"created_by": shown, "bytes": size, "kind": BASE_KIND if number < below else kind})
    return found


def leaked(image: str) -> list[str]:
    """Return the planted files that are in a layer of the image, even where a later layer hides them."""
    wanted = {content: name for name, content in PLANTED.items()}
    found = set()
    for layer in engine.Image(image).layers():
        for member in layer:
            if member.isfile() and member.size in map(len, wanted):
                content = layer.extractfile(member)
                found.add(wanted.get(content.read() if content else b""))
    return sorted(filter(None, found))


def packages(image: str) -> int | None:
    """Return the number of packages that trivy lists; None where its package has no program for this system."""
    trivy = shutil.which("trivy", path=str(Path(sys.executable).parent))
    if trivy is None:
        return None
    with tempfile.TemporaryDirectory() as cache:
        command = (trivy, "image", "--format", "cyclonedx", *OFFLINE, "--cache-dir", cache, image)
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        components = json.loads(done.stdout)["components"]
    return len([component for component in components if component["type"] == "library"])


def asked(image: str, program: str) -> str:
    """Return what a Python program prints in a container of the image."""
    command = ("run", "--rm", "--label", engine.LABEL, "--entrypoint", "python3", image, "-c", program)
    return engine.output(*command)


def installed(image: str) -> dict[str, str]:
    """Return the versions of Flask and gunicorn in the image, where they are in it."""
    found = json.loads(asked(image, INSTALLED))
    return {name: found[name] for name in ("flask", "gunicorn") if name in found}


def can_change_its_code(rung: Rung) -> bool:
    """Tell whether the user of the image may write to the code of its service."""
    return asked(tag(rung), f"import os; print(os.access({rung.code!r}, os.W_OK))") == "True"


def has_debugger(container: engine.Container) -> bool:
    """Tell whether the style sheet of Werkzeug's debugger is served, and with it the debugger."""
    response = container.request("/?__debugger__=yes&cmd=resource&f=style.css")
    return response.status == 200 and "css" in response.headers["Content-Type"]


def refuses_forgery(rung: Rung, context: Path) -> bool:
    """Tell whether a build ends, for that reason, where no file of a package has the hash that the lock names."""
    lock = context / "requirements.txt"
    genuine = lock.read_text()
    forged = re.sub(r"sha256:\w+", f"sha256:{'0' * 64}", genuine)
    if forged == genuine:
        return False  # no hash is named, so every file will do
    lock.write_text(forged)
    try:
        engine.Image.build_log(f"{tag(rung)}-forged", context=context)
    except engine.DockerError as error:
        return "DO NOT MATCH THE HASHES" in str(error)
    finally:
        lock.write_text(genuine)
    return False


def life(rung: Rung) -> str | None:
    """Return under which of the LIVES the service answers; None if under none."""
    for name in LIVES:
        with suppress(engine.DockerError), started(rung, name):
            return name
    return None


def started(rung: Rung, hardened: str) -> AbstractContextManager[tuple[engine.Container, float]]:
    """Run a container of the rung in one of the LIVES; also tell the seconds of its start."""
    return engine.started(tag(rung), *LIVES[hardened], port=PORT, seconds=SECONDS_TO_ANSWER)


def stop(rung: Rung, hardened: str) -> tuple[float, int]:
    """Return the seconds that `docker stop` takes, and the exit code."""
    with started(rung, hardened) as (container, _):
        time.sleep(1)  # all workers have started: a stop in the middle of a start is another subject
        return container.stop(), container.state["ExitCode"]


# ---- the contract ----


def judge(rung: Rung, folder: Path, version: str, *only: str) -> Result:
    """Run the contract, or only some of its modules and tests, on the image of a rung; return the scorecard.

    A rung that the template makes is judged as its owner would: in the project, which builds the image itself. Any
    other is a foreign image, and what only the project could tell is not applicable.
    """
    answers = {"python_version": version, **(rung.bake or {})}
    contract = Contract.of(bake(folder / f"contract-{rung.label}", answers))
    tests = [test for test in contract.tests.values() if not only or {test.module, test.name} & {*only}]
    variables = {"PYTHONPATH": str(HERE)}
    if rung.bake is None:
        image, port = tag(rung), PORT
    else:
        image, port = None, None
        variables |= {} if only else {"PROXY_IMAGE": rollout.proxy_image()}
    with patch.dict(os.environ, variables):
        return contract.judge(image, tests, port, plugins=("once",)).card


def rows(card: Result) -> dict[str, Result]:
    """Return the verdicts of a scorecard by the number of the row, without what is another in every run."""
    return {
        str(row["number"]): {
            "title": row["title"],
            "status": row["status"],
            "reason": PASSING.sub("…", row["reason"] if row["status"] != "passed" or row["number"] == 10 else ""),
        }
        for row in card["rows"]
    }


# ---- a run ----


class Measurement:
    """The measurement of one rung, step by step."""

    def __init__(self, rung: Rung, folder: Path, version: str) -> None:
        """Lay out the build context below a folder."""
        self.rung, self.folder, self.version = rung, folder, version
        self.context = assemble(rung, folder, version)
        self.result: Result = {
            "number": rung.number,
            "name": rung.name,
            "title": rung.title,
            "idea": rung.idea,
            "own_digest": rung.own_digest(),
            "digest": rung.digest(),
        }

    def steps(self, only: str | None = None) -> tuple[tuple[str, Callable[[], None]], ...]:
        """Return what there is to do: all, or only the "times", which the clock tells, or the "contract"."""
        timed = (
            ("cold build", self.build),
            ("start and stop", self.start),
            ("rebuild after an edit", self.rebuild),
        )
        rest = (
            ("what is in it", self.look),
            ("a forged package", self.forge),
            ("the contract", self.judge),
        )
        again = (("build", self.image), ("the contract", self.judge))
        return {"times": timed, "contract": again}.get(only or "", (*timed, *rest))

    def image(self) -> None:
        """Build it with the cache, where it is not the build that is measured."""
        engine.build(self.context, tag(self.rung))

    def build(self) -> None:
        """Build it from nothing but the base image."""
        self.result["cold_build_seconds"] = round(engine.build(self.context, tag(self.rung), "--no-cache"), 2)

    def look(self) -> None:
        """Take sizes, layers, packages and leaks."""
        image, bases = tag(self.rung), base_images(self.version).values()
        self.result |= {
            "bytes": engine.size(image),
            "compressed_bytes": engine.compressed_size(image),
            "layers": layers(image, list(bases)),
            "packages": packages(image),
            "leaked": leaked(image),
            "installed": installed(image),
            "can_change_its_code": can_change_its_code(self.rung),
        }

    def start(self) -> None:
        """Measure starts, health probe and stop."""
        hardened = life(self.rung)
        self.result |= dict.fromkeys(("start_ms", "probe_cpu_ms", "stop_seconds", "exit_code", "debugger"))
        self.result["hardened"] = hardened
        if hardened is None:
            return
        starts = []
        for _ in range(ROUNDS):
            with started(self.rung, hardened) as (_container, seconds):
                starts.append(seconds)
        with started(self.rung, hardened) as (container, _seconds):
            probe = bench.probe_cpu(tag(self.rung), container)
            self.result["debugger"] = has_debugger(container)
        seconds, code = stop(self.rung, hardened)
        self.result |= {
            "start_ms": round(1000 * min(starts), 1),
            "probe_cpu_ms": None if probe is None else round(1000 * probe, 1),
            "stop_seconds": round(seconds, 2),
            "exit_code": code,
        }

    def rebuild(self) -> None:
        """Measure what an edit of the code costs."""
        seconds = [engine.rebuild(self.context, tag(self.rung), self.rung.code) for _ in range(ROUNDS)]
        self.result["code_rebuild_seconds"] = round(min(seconds), 2)

    def forge(self) -> None:
        """See whether packages with other hashes than those of the lock are refused."""
        self.result["refuses_forgery"] = refuses_forgery(self.rung, self.context)

    def judge(self) -> None:
        """Run the contract."""
        card = judge(self.rung, self.folder, self.version)
        self.result |= {"rows_passed": card["passed"], "rows_applicable": card["applicable"], "rows": rows(card)}


def known(facts: Result) -> dict[int, Result]:
    """Return what has been measured on this machine with these versions, by the number of the rung."""
    path = RESULTS / "ladder.json"
    if not path.exists():
        return {}
    before = json.loads(path.read_text(encoding="utf-8"))
    if any(before[name] != facts[name] for name in ("machine", "versions")):
        return {}
    return {entry["number"]: entry for entry in before["rungs"]}


def write(results: Result) -> None:
    """Write the results as JSON, as a table and as charts."""
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(results, indent=1, ensure_ascii=False) + "\n"
    (RESULTS / "ladder.json").write_text(text, encoding="utf-8")
    (RESULTS / "ladder.md").write_text(markdown(results), encoding="utf-8")
    charts.write(results, RESULTS)


COLUMNS: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("On disk (MB)", "bytes", lambda value: f"{value / 1e6:.1f}"),
    ("Compressed (MB)", "compressed_bytes", lambda value: f"{value / 1e6:.1f}"),
    ("Packages", "packages", str),
    ("Cold build (s)", "cold_build_seconds", lambda value: f"{value:.1f}"),
    ("After an edit (s)", "code_rebuild_seconds", lambda value: f"{value:.1f}"),
    ("Start (ms)", "start_ms", lambda value: f"{value:.0f}"),
    ("Probe (ms CPU)", "probe_cpu_ms", lambda value: f"{value:.0f}"),
    ("Stop (s)", "stop_seconds", lambda value: f"{value:.1f}"),
    ("Exit code", "exit_code", str),
    ("Hardened", "hardened", str),
    ("Leaked files", "leaked", lambda value: str(len(value))),
)


def markdown(results: Result) -> str:
    """Return the table of the results, with all that they depend on."""
    header = ["Rung", *(title for title, _, _ in COLUMNS), "Contract"]
    table = []
    for rung in results["rungs"]:
        cells = ["-" if rung[name] is None else show(rung[name]) for _, name, show in COLUMNS]
        rows = f"{rung['rows_passed']} of {rung['rows_applicable']}"
        table.append([f"{rung['number']:02} {rung['title']}", *cells, rows])
    return (
        f"# Measured by `make workshop`\n\n{facts_line(results)}\n\n{bench.markdown(header, table)}\n"
        "Start: from the start of the container's process to the first 200. Probe: the image's own health check. "
        "Contract: rows passed of those that apply; a foreign image cannot be asked all of them. "
        "A dash stands where there is nothing to measure.\n"
    )


def facts_line(results: Result) -> str:
    """Return in one line when, on what and with what was measured."""
    on, of = results["machine"], results["versions"]
    memory = f"{on['memory_bytes'] / 2**30:.0f} GiB, " if on["memory_bytes"] else ""
    return (
        f"{results['date']} on {on['cpus']} CPUs, {memory}{on['system']}, Docker {of['docker']}, "
        f"Python {of['python']}, Flask {of['flask']}, gunicorn {of['gunicorn']}; "
        f"base images: {of['slim_image']}, {of['full_image']}."
    )


def measure(chosen: Sequence[int], version: str, *, again: bool = False, only: str | None = None) -> Result:
    """Measure the chosen rungs that need it, write after each, and return all results.

    With `again` all of them need it. With `only` as well, but where the rest is known only "times" or "contract".
    """
    facts: Result = {
        "machine": machine(),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "versions": versions(version),
    }
    ladder = {rung.number: rung for rung in rungs()}
    done = {
        number: entry
        for number, entry in known(facts).items()
        if number in ladder and entry["digest"] == ladder[number].digest()
    }
    wanted = [ladder[number] for number in chosen if again or only or number not in done]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with tempfile.TemporaryDirectory() as folder, Progress(*columns, console=console) as progress:
        measurements = [Measurement(rung, Path(folder), version) for rung in wanted]
        known_rest = {rung.number: done[rung.number] for rung in wanted if only and rung.number in done}
        steps = [each.steps(only if each.rung.number in known_rest else None) for each in measurements]
        task = progress.add_task("", total=sum(map(len, steps)))
        for rung, measurement, todo in zip(wanted, measurements, steps, strict=True):
            for what, step in todo:
                progress.update(task, description=f"{f'{rung.label}: {what}':<38}")
                step()
                progress.advance(task)
            done[rung.number] = {**known_rest.get(rung.number, {}), **measurement.result}
            write({**facts, "rungs": [done[number] for number in sorted(done)]})
            engine.run("image", "rm", "--force", tag(rung))
    # Titles and ideas are no part of what was measured, and may have been reworded.
    for number, entry in done.items():
        entry |= {name: getattr(ladder[number], name) for name in ("name", "title", "idea")}
    return {**facts, "rungs": [done[number] for number in sorted(done)]}


def arguments(numbers: Sequence[int]) -> argparse.Namespace:
    """Return the command line, read."""
    parser = argparse.ArgumentParser(description="Build, judge and measure the rungs of the ladder.")
    parser.add_argument(
        "rung", nargs="*", type=int, choices=[[], *numbers], metavar="N", help="only these (default: all)"
    )
    parser.add_argument("--again", action="store_true", help="measure even what has been measured as it is")
    only = parser.add_mutually_exclusive_group()
    for name, what in (("times", "what the clock tells"), ("contract", "the contract")):
        only.add_argument(f"--{name}", dest="only", action="store_const", const=name, help=f"the same, but only {what}")
    return parser.parse_args()


def main() -> int:
    """Measure, and say where the results are."""
    numbers = [rung.number for rung in rungs()]
    chosen = arguments(numbers)
    version = os.environ.get("PYTHONS", PYTHON).split()[0]
    with engine.session():
        provide_base_images(version)
        results = measure(chosen.rung or numbers, version, again=chosen.again, only=chosen.only)
    write(results)
    header = ("Rung", *(title for title, _, _ in COLUMNS), "Contract")
    table = [line.strip("| \n").split(" | ") for line in markdown(results).splitlines() if line.startswith("| ")]
    bench.show("The ladder", header, table[2:])
    console.print("Written: results/ladder.json, ladder.md and charts in workshop/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
