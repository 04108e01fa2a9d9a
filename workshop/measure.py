"""Build, judge and measure the rungs of the ladder: `make workshop`.

    python -m workshop.measure            all rungs that have not been measured as they are, on this machine
    python -m workshop.measure 3 5        only these, if they have not been
    python -m workshop.measure --again    even if they have been
    python -m workshop.measure --contract the same, but only the contract, when that has changed

Each rung is written to results/ladder.json as soon as it is done, so a run that was stopped goes on where it was. A
rung is measured again when a file it is built from, the machine or a version has changed. Needs a Docker Engine.

All is measured in one go on one machine; only ratios mean something elsewhere. Starts and rebuilds are the fastest of
five: whatever else a machine does can only make them longer. A cold build finds the base image there, and what pip has
kept in a cache mount, which is no layer. An index that forbids pip to keep anything leaves that empty, and leaves
nothing in the layers of the first rungs either.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks import measures, rollout
from tools import engine
from tools.baking import bake
from tools.charts import save
from tools.contract import Contract
from tools.questions import base_image
from workshop import charts
from workshop.ladder import HERE, PLANTED, PORT, Rung, assemble, rungs

RESULTS = HERE / "results"
ROUNDS = 5

# From the hardest to the softest; the first in which the service answers is used.
RESTRICTIONS: Mapping[str, tuple[str, ...]] = {
    "read-only": measures.HARDENED,
    "read-only but for /tmp": (*measures.HARDENED, *measures.WRITABLE),
    "not at all": measures.SILENT,
}
OFFLINE = ("--quiet", "--offline-scan", "--skip-db-update", "--skip-java-db-update", "--skip-version-check")
# Of which kind a layer is, told by the instruction that made it. What is found first counts.
KINDS = (
    ("compiled standard library", re.compile(r"compileall")),
    ("packages", re.compile(r"pip install|COPY /venv")),
    ("Python and what it needs", re.compile(r"COPY /files")),
    ("code and context", re.compile(r"^(COPY|ADD) ")),
)
# Runs in the container, and tells the seconds of CPU that all other processes have taken so far.
CPU_OF_THE_OTHERS = """
import glob, os
stats = set(glob.glob("/proc/[0-9]*/stat")) - {f"/proc/{os.getpid()}/stat"}
ticks = sum(int(time) for stat in stats for time in open(stat).read().rpartition(")")[2].split()[11:15])
print(ticks / os.sysconf("SC_CLK_TCK"))
"""
# Names of images and containers, and the label of a run.
PASSING = re.compile(r"workshop-[\w-]+:\d+|\b[0-9a-f]{12,64}\b|'container-contract': '\d+',? ?")

Result = dict[str, Any]
facts_line = measures.facts_line


def base_images(version: str) -> dict[str, str]:
    """Return the names of the slim and of the full base image, by how the results call them."""
    slim = base_image(version)
    return {"slim_image": slim, "full_image": slim.replace("-slim", "")}


def provide_base_images(version: str) -> list[str]:
    """Make sure that both base images are there; return the names of those that had to be made.

    A full image that cannot be pulled gets a stand-in under its name: the slim image with Debian's build tools. That
    is smaller than the official one, so that no rung is praised for more than it does; its label says what it is.
    """
    slim, full = base_images(version).values()
    if not measures.provided(slim):
        raise SystemExit(f"{slim} is not there and cannot be pulled; .ci/base-images can make it on Debian")
    if measures.provided(full):
        return []
    print(f"{full} cannot be pulled: a stand-in takes its name, made from Debian's packages", flush=True)
    file = f"--file={HERE / 'full.Dockerfile'}"
    engine.run("build", "--quiet", "--tag", full, f"--build-arg=SLIM={slim}", file, str(HERE / "service"))
    return [full]


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
        text = " ".join(instruction.removesuffix(" # buildkit").replace("RUN /bin/sh -c ", "RUN ").split())
        kind = next((kind for kind, pattern in KINDS if pattern.search(text)), "other")
        if size:
            shown = textwrap.shorten(text, 120, placeholder="…")
            found.append({"created_by": shown, "bytes": size, "kind": "base image" if number < below else kind})
    return found


def leaked(image: str) -> list[str]:
    """Return the planted files that are in a layer of the image, even where a later layer hides them."""
    layers = engine.Image(image).raw_layers()
    return sorted({name for layer in layers for name, content in PLANTED.items() if content in layer})


def packages(image: str) -> int | None:
    """Return the number of packages that trivy lists; None where its package has no program for this system."""
    trivy = shutil.which("trivy", path=str(Path(sys.executable).parent))
    if trivy is None:
        return None
    with tempfile.TemporaryDirectory() as cache:
        command = (trivy, "image", "--format", "cyclonedx", *OFFLINE, "--cache-dir", cache, image)
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return len([each for each in json.loads(done.stdout)["components"] if each["type"] == "library"])


def has_debugger(container: engine.Container) -> bool:
    """Tell whether the style sheet of Werkzeug's debugger, which runs what it is sent, is served."""
    response = container.request("/?__debugger__=yes&cmd=resource&f=style.css")
    return response.status == 200 and "css" in response.headers["Content-Type"]


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


class Measurement:
    """The measurement of one rung, step by step."""

    def __init__(self, rung: Rung, folder: Path, version: str) -> None:
        """Lay out the build context below a folder."""
        self.rung, self.folder, self.version = rung, folder, version
        self.tag = f"workshop-{rung.label}:{os.getpid()}"
        self.context = assemble(rung, folder, version)
        self.result: Result = {**named(rung), "own_digest": rung.own_digest(), "digest": rung.digest()}

    def steps(self, only_contract: bool) -> tuple[tuple[str, Callable[[], object]], ...]:
        """Return what there is to do."""
        if only_contract:
            return ("build", partial(engine.build, self.context, self.tag)), ("the contract", self.judge)
        return (
            ("cold build", self.build),
            ("the same again", self.repeat),
            ("start and stop", self.start),
            ("rebuild after an edit", self.rebuild),
            ("what is in it", self.look),
            ("a forged package", self.forge),
            ("the contract", self.judge),
        )

    def build(self) -> None:
        """Build it from nothing but the base image."""
        self.result["cold_build_seconds"] = round(engine.build(self.context, self.tag, "--no-cache"), 2)

    def repeat(self) -> None:
        """See whether the same source, checked out at another time, gives the same layers."""
        again = f"{self.tag}-again"
        engine.build(assemble(self.rung, self.folder / "again", self.version), again, "--no-cache")
        first, second = (engine.Image(image).layer_digests for image in (self.tag, again))
        self.result["reproducible"] = first == second
        engine.run("image", "rm", "--force", again)

    def started(self, restriction: str) -> AbstractContextManager[tuple[engine.Container, float]]:
        """Run a container under one of the RESTRICTIONS; also tell the seconds of its start."""
        return engine.started(self.tag, *RESTRICTIONS[restriction], port=PORT, seconds=20)

    def restriction(self) -> str | None:
        """Return under which of the RESTRICTIONS the service answers; None if under none."""
        for name in RESTRICTIONS:
            with suppress(engine.DockerError), self.started(name):
                return name
        return None

    def start(self) -> None:
        """Measure starts, health probe and stop."""
        missing = ("start_ms", "start_cpu_ms", "probe_cpu_ms", "stop_seconds", "exit_code", "debugger")
        self.result |= dict.fromkeys(missing)
        self.result["hardened"] = restriction = self.restriction()
        if restriction is None:
            return
        starts = []
        for _ in range(ROUNDS):
            with self.started(restriction) as (_container, seconds):
                starts.append(seconds)
        with self.started(restriction) as (container, _seconds):
            time.sleep(1)  # all workers have started: a stop in the middle of a start is another subject
            start = engine.output("exec", container.identity, "python3", "-c", CPU_OF_THE_OTHERS)
            probe = measures.probe_cpu(self.tag, container)
            debugger = has_debugger(container)
            self.result |= {
                "start_ms": round(1000 * min(starts), 1),
                "start_cpu_ms": round(1000 * float(start)),
                "probe_cpu_ms": None if probe is None else round(probe, 1),
                "debugger": debugger,
                "stop_seconds": round(container.stop(), 2),
                "exit_code": container.state["ExitCode"],
            }

    def rebuild(self) -> None:
        """Measure what an edit of the code costs."""
        seconds = [engine.rebuild(self.context, self.tag, self.rung.code) for _ in range(ROUNDS)]
        self.result["code_rebuild_seconds"] = round(min(seconds), 2)

    def look(self) -> None:
        """Take sizes, layers, packages and leaks, and ask whether the user may write to the code of the service."""
        writes = f"import os; print(os.access({self.rung.code!r}, os.W_OK))"
        python = ("run", "--rm", "--label", engine.LABEL, "--entrypoint", "python3", self.tag, "-c")
        self.result |= {
            "bytes": engine.size(self.tag),
            "compressed_bytes": engine.compressed_size(self.tag),
            "layers": layers(self.tag, list(base_images(self.version).values())),
            "packages": packages(self.tag),
            "leaked": leaked(self.tag),
            "can_change_its_code": engine.output(*python, writes) == "True",
        }

    def forge(self) -> None:
        """See whether a build ends, for that reason, where no file of a package has the hash that the lock names."""
        lock = self.context / "requirements.txt"
        forged, hashes = re.subn(r"sha256:\w+", f"sha256:{'0' * 64}", lock.read_text())
        self.result["refuses_forgery"] = False
        if not hashes:
            return  # every file will do
        # Nothing else is built from this folder afterwards.
        lock.write_text(forged)
        try:
            engine.Image.build_log(f"{self.tag}-forged", context=self.context)
        except engine.DockerError as error:
            self.result["refuses_forgery"] = "DO NOT MATCH THE HASHES" in str(error)

    def judge(self, *only: str) -> None:
        """Run the contract on the image, or only some of its modules and tests.

        A rung that the template makes is judged as its owner would: in the project, which builds the image itself. Any
        other is a foreign image, and what only the project could tell is not applicable.
        """
        answers = {"python_version": self.version, **(self.rung.bake or {})}
        contract = Contract.of(bake(self.folder / f"contract-{self.rung.label}", answers))
        tests = [test for test in contract.tests.values() if not only or {test.module, test.name} & {*only}]
        image, port = (self.tag, PORT) if self.rung.bake is None else (None, None)
        proxied = image is None and any(test.module == "test_proxy" for test in tests)
        variables = {"PYTHONPATH": str(HERE), **({"PROXY_IMAGE": rollout.proxy_image()} if proxied else {})}
        with patch.dict(os.environ, variables):
            card = contract.judge(image, tests, port, plugins=("once",)).card
        self.result |= {"rows_passed": card["passed"], "rows_applicable": card["applicable"], "rows": rows(card)}


def named(rung: Rung) -> Result:
    """Return what results repeat of the list of the rungs, for those who read only them."""
    return {name: getattr(rung, name) for name in ("number", "name", "title", "idea")}


def known(facts: Result) -> dict[int, Result]:
    """Return what has been measured of the rungs as they are, on this machine with these versions, by number."""
    path = RESULTS / "ladder.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {**facts, "rungs": []}
    if any(before[name] != facts[name] for name in ("machine", "versions")):
        return {}
    entries = {entry["name"]: entry for entry in before["rungs"]}
    # Numbers, titles and ideas are no part of what was measured: a rung may have moved or been reworded. What an older
    # version has written may lack a column.
    return {
        rung.number: {**entry, **named(rung)}
        for rung in rungs()
        if (entry := entries.get(rung.name)) and entry["digest"] == rung.digest()
        if entry.keys() >= {name for _, name, _ in COLUMNS}
    }


def write(results: Result) -> None:
    """Write the results as JSON, as a table and as charts."""
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(results, indent=1, ensure_ascii=False) + "\n"
    (RESULTS / "ladder.json").write_text(text, encoding="utf-8")
    (RESULTS / "ladder.md").write_text(markdown(results), encoding="utf-8")
    for name, figure in charts.draw(results).items():
        save(figure, RESULTS / name)


COLUMNS: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("On disk (MB)", "bytes", lambda value: f"{value / 1e6:.1f}"),
    ("Compressed (MB)", "compressed_bytes", lambda value: f"{value / 1e6:.1f}"),
    ("Packages", "packages", str),
    ("Cold build (s)", "cold_build_seconds", lambda value: f"{value:.1f}"),
    ("After an edit (s)", "code_rebuild_seconds", lambda value: f"{value:.1f}"),
    ("Start (ms)", "start_ms", lambda value: f"{value:.0f}"),
    ("Start (ms CPU)", "start_cpu_ms", lambda value: f"{value:.0f}"),
    ("Probe (ms CPU)", "probe_cpu_ms", lambda value: f"{value:.0f}"),
    ("Stop (s)", "stop_seconds", lambda value: f"{value:.1f}"),
    ("Exit code", "exit_code", str),
    ("Same again", "reproducible", lambda value: "yes" if value else "no"),
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
        f"# Measured by `make workshop`\n\n{facts_line(results)}\n\n{measures.markdown(header, table)}\n"
        "Start: from the start of the container's process to the first 200; in CPU, of all processes until all run. "
        "Probe: the image's own health check. Same again: a second build gives the same layers. "
        "Contract: rows passed of those that apply; a foreign image cannot be asked all of them. "
        "A dash stands where there is nothing to measure.\n"
    )


def measure(chosen: Sequence[int], version: str, *, again: bool = False, contract: bool = False) -> Result:
    """Measure the chosen rungs that need it, write after each, and return all results.

    With `again` all of them need it. With `contract` as well, but that alone where the rest is known.
    """
    facts = measures.facts(**base_images(version))
    done = known(facts)

    def results() -> Result:
        return {**facts, "rungs": [done[number] for number in sorted(done)]}

    def keep(measurement: Measurement) -> None:
        rung = measurement.rung
        done[rung.number] = {**(done.get(rung.number, {}) if contract else {}), **measurement.result}
        write(results())
        engine.run("image", "rm", "--force", measurement.tag)

    steps: list[tuple[str, Callable[[], object]]] = []
    with tempfile.TemporaryDirectory() as folder:
        for rung in rungs():
            if rung.number in chosen and (again or contract or rung.number not in done):
                measurement = Measurement(rung, Path(folder), version)
                todo = measurement.steps(only_contract=contract and rung.number in done)
                steps += [(f"{rung.label}: {what}", step) for what, step in todo]
                steps.append((f"{rung.label}: written", partial(keep, measurement)))
        measures.work_off(steps)
    return results()


def main() -> None:
    """Measure, print the table, and write it with all else."""
    numbers = [rung.number for rung in rungs()]
    parser = argparse.ArgumentParser(description="Build, judge and measure the rungs of the ladder.")
    parser.add_argument("rung", nargs="*", type=int, choices=[[], *numbers], metavar="N", help="only these")
    parser.add_argument("--again", action="store_true", help="measure even what has been measured as it is")
    parser.add_argument("--contract", action="store_true", help="the same, but only the contract")
    chosen = parser.parse_args()
    version = measures.python_version()
    with engine.session():
        provide_base_images(version)
        results = measure(chosen.rung or numbers, version, again=chosen.again, contract=chosen.contract)
    write(results)
    print(markdown(results), end="")


if __name__ == "__main__":
    main()
