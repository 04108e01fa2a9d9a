"""Measure the service against two typical images and against a bare Flask application: `make bench`.

Everything is measured in one run, the variants in turn in every round, on one machine: medians and spread are reported,
and only ratios mean something elsewhere. Needs a Docker Engine; wrk, where it is installed, adds the throughput.

    template     the default answers, as they are baked
    two-stage    baselines/two-stage.Dockerfile, in the spirit of a blog post about small images
    one-stage    baselines/one-stage.Dockerfile, in the spirit of the shortest Dockerfile that works
    bare         the application of the baselines under the worker class of the template, with as many threads

All containers are hardened alike and run without health checks, so that none falls into a measurement. Load goes to a
published port of 127.0.0.1. What was made is removed at the end, except for the build cache, which carries no label.
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
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tools import engine
from tools.baking import SERVICE, bake
from tools.charts import Caption, Group, ratios, save
from tools.questions import base_image

HERE = Path(__file__).parent
PIN = re.compile(r"^([\w.-]+)==([\w.]+)", re.MULTILINE)

# A baseline cannot start without a directory to write to.
HARDENED = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--no-healthcheck")
WRITABLE = ("--tmpfs", "/tmp")
# Workers of the memory measure. Under load there is one for each core.
MEMORY_WORKERS = 4
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
# As in app/settings.py of the service.
THREADS = 16
NAMES = ("template", "two-stage", "one-stage", "bare")
REQUESTS_BEFORE_MEMORY = 200
PROBES = 5
# Runs in the container, so that the CPU time is that of the probe alone, without Docker's and without the server's.
TIME_PROBES = """
import resource, subprocess, sys
for _ in range(int(sys.argv[1])):
    subprocess.run(sys.argv[2:], check=True, stdout=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime)
"""

# In a file or a pipe rich would take 80 columns for the width of the world, and break the tables.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)


@dataclass(frozen=True)
class Measure:
    """What is measured, and how many of its SI units one of the unit shown is."""

    title: str
    unit: str
    scale: float = 1
    more_is_better: bool = False

    def number(self, value: float) -> str:
        """Return a value in the unit shown, to three digits."""
        shown = value / self.scale
        return f"{shown:.{2 if shown < 10 else 1 if shown < 100 else 0}f}"

    def show(self, value: float) -> str:
        """Return a value with its unit."""
        return f"{self.number(value)} {self.unit}"


START = Measure("start -> first 200", "ms", 1e-3)
PROBE = Measure("CPU of one health probe", "ms", 1e-3)
KEEP_ALIVE = Measure("throughput with keep-alive", "req/s", more_is_better=True)
CLOSE = Measure("throughput without keep-alive", "req/s", more_is_better=True)
PSS = Measure(f"memory of {MEMORY_WORKERS} workers (PSS)", "MB", 1e6)
WORKER_PSS = Measure("memory of one worker (PSS)", "MB", 1e6)
SIZE = Measure("image on disk", "MB", 1e6)
ON_TOP = Measure("image on disk, on top of its base", "MB", 1e6)
COMPRESSED = Measure("image compressed (gzip -6)", "MB", 1e6)
COLD = Measure("cold build", "s")
DEPENDENCIES = Measure("dependency rebuild", "s")
CODE = Measure("code-only rebuild", "s")
NO_OP = Measure("no-op build", "s")
MEASURES = (
    *(START, PROBE, PSS, WORKER_PSS, SIZE, ON_TOP, COMPRESSED, COLD, DEPENDENCIES, CODE, NO_OP),
    *(KEEP_ALIVE, CLOSE),
)


@dataclass(frozen=True)
class Variant:
    """An image, the files it is built from, and how it is run."""

    name: str
    project: Path
    dockerfile: str
    code: str
    run_options: tuple[str, ...] = WRITABLE

    @property
    def tag(self) -> str:
        """Return the name of its image."""
        return f"benchmark-{self.project.name}:{os.getpid()}"


# ---- the variants ----


def variants(folder: Path, python_version: str) -> tuple[Variant, Variant, Variant, Variant]:
    """Lay out what is built below `folder`: the template baked with its default answers, and the baselines."""
    template = Variant("template", bake(folder, {"python_version": python_version}), "Dockerfile", "app/views.py", ())
    two, one = (
        Variant(name, Path(shutil.copytree(HERE / "baselines", folder / name)), f"{name}.Dockerfile", "app.py")
        for name in ("two-stage", "one-stage")
    )
    threaded = f"GUNICORN_CMD_ARGS=--worker-class gthread --threads {THREADS}"
    bare = Variant("bare", two.project, two.dockerfile, two.code, (*WRITABLE, "--env", threaded))
    return template, two, one, bare


def pins(requirements: Path) -> dict[str, str]:
    """Return the versions that a requirements file pins."""
    return {name.lower(): version for name, version in PIN.findall(requirements.read_text())}


def build(variant: Variant, python_version: str, *options: str, edited: str = "") -> float:
    """Build the image, perhaps after an edit of a file of the project; return the seconds it took."""
    options = (*options, "--file", str(variant.project / variant.dockerfile))
    if variant.name != "template":
        options = (*options, "--build-arg", f"BASE_IMAGE={base_image(python_version)}")
    if edited:
        return engine.rebuild(variant.project, variant.tag, edited, *options)
    return engine.build(variant.project, variant.tag, *options)


# ---- running containers ----


def started(variant: Variant, workers: int | None = None) -> AbstractContextManager[tuple[engine.Container, float]]:
    """Run a hardened container, with its default number of workers or another; also tell the seconds of its start."""
    concurrency = ("--env", f"WEB_CONCURRENCY={workers}") if workers else ()
    return engine.started(variant.tag, *HARDENED, *variant.run_options, *concurrency)


def probe_cpu(image: str, container: engine.Container) -> float | None:
    """Return the CPU seconds of one run of the image's own HEALTHCHECK; None if it has none."""
    if not (check := engine.Image(image).config.get("Healthcheck")):
        return None
    probes = ("python3", "-c", TIME_PROBES, str(PROBES), *check["Test"][1:])
    return float(engine.output("exec", container.identity, *probes)) / PROBES


def proportional_memory(container: engine.Container) -> tuple[float, float]:
    """Return the bytes (PSS) of all processes of the container, and of one worker on average, after some requests."""
    for _ in range(REQUESTS_BEFORE_MEMORY):
        if (status := container.request().status) != 200:
            raise SystemExit(f"the page has status {status}, so its memory says nothing")
    processes = engine.output("top", container.identity, "-eo", "pid").split()[1:]
    pages = {
        process: 1024 * int(re.findall(r"^Pss: +(\d+)", Path(f"/proc/{process}/smaps_rollup").read_text(), re.M)[0])
        for process in processes
    }
    arbiter = pages[str(container.state["Pid"])]
    total = sum(pages.values())
    return total, (total - arbiter) / (len(pages) - 1)


def throughput(container: engine.Container, seconds: int, *headers: str) -> float:
    """Return the requests a second that wrk gets answered with 200 on 32 connections."""
    options = (*("-t2", "-c32", f"-d{seconds}s"), *(part for header in headers for part in ("-H", header)))
    command = ("wrk", *options, f"http://127.0.0.1:{container.address[1]}/")
    report = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in report:
        raise SystemExit(f"not every answer was a 200:\n{report}")
    return float(re.findall(r"Requests/sec: +([\d.]+)", report)[0])


# ---- one run ----


@dataclass(frozen=True)
class Options:
    """What is wanted, and what this machine can measure."""

    python_version: str
    rounds: int
    seconds: int
    memory: bool
    wrk: bool


class Run:
    """One run: it builds the variants, measures them in turn, and holds the samples."""

    def __init__(self, options: Options, folder: Path) -> None:
        """Lay out the variants below a folder."""
        self.options = options
        *self.images, self.bare = variants(folder, options.python_version)
        self.samples: dict[Measure, dict[str, list[float]]] = {}

    def add(self, measure: Measure, variant: Variant, value: float) -> None:
        """Keep a sample."""
        self.samples.setdefault(measure, {}).setdefault(variant.name, []).append(value)

    def steps(self) -> Iterator[tuple[str, Callable[[Variant], None], Variant]]:
        """Return what there is to do: every round begins with another image, so that none always has the best place."""
        for image in self.images:
            yield "first build", self.prepare, image
        for number in range(self.options.rounds):
            turn = number % len(self.images)
            images = (*self.images[turn:], *self.images[:turn])
            for image in images:
                yield "start, health probe", self.start, image
            for image in images if self.options.memory else ():
                yield "memory", self.remember, image
            for variant in (*images, self.bare) if self.options.wrk else ():
                yield "throughput", self.load, variant
            for image in images:
                yield "builds", self.rebuild, image

    def measure(self) -> None:
        """Do it all with a progress display."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        steps = list(self.steps())
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("", total=len(steps))
            for what, step, variant in steps:
                progress.update(task, description=f"{variant.name + ': ' + what:<30}")
                step(variant)
                progress.advance(task)

    def prepare(self, variant: Variant) -> None:
        """Build the image, and take its sizes: they are the same in every round."""
        build(variant, self.options.python_version)
        base = base_image(self.options.python_version)
        self.add(SIZE, variant, engine.size(variant.tag))
        self.add(ON_TOP, variant, engine.size(variant.tag) - engine.size(base))
        self.add(COMPRESSED, variant, engine.compressed_size(variant.tag))

    def start(self, variant: Variant) -> None:
        """Measure the start, and the health probe of the running container."""
        with started(variant) as (container, seconds):
            self.add(START, variant, seconds)
            self.add(PROBE, variant, probe_cpu(variant.tag, container) or 0)

    def remember(self, variant: Variant) -> None:
        """Measure the memory."""
        with started(variant, MEMORY_WORKERS) as (container, _):
            total, worker = proportional_memory(container)
        self.add(PSS, variant, total)
        self.add(WORKER_PSS, variant, worker)

    def load(self, variant: Variant) -> None:
        """Measure the throughput."""
        with started(variant, CORES) as (container, _):
            self.add(KEEP_ALIVE, variant, throughput(container, self.options.seconds))
            self.add(CLOSE, variant, throughput(container, self.options.seconds, "Connection: close"))

    def rebuild(self, variant: Variant) -> None:
        """Measure the builds."""
        version = self.options.python_version
        self.add(COLD, variant, build(variant, version, "--no-cache"))
        self.add(DEPENDENCIES, variant, build(variant, version, edited="requirements.txt"))
        self.add(CODE, variant, build(variant, version, edited=variant.code))
        self.add(NO_OP, variant, build(variant, version))


# ---- results ----


@dataclass(frozen=True)
class Target:
    """A limit that the template keeps to, and what was measured."""

    title: str
    measured: float
    limit: float
    unit: str = "x"
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Tell whether the limit is kept."""
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit

    def row(self) -> tuple[str, str, str, str]:
        """Return the target as a row of a table."""
        limit = f"{'≥' if self.at_least else '≤'} {self.limit:g} {self.unit}"
        return self.title, limit, f"{self.measured:.2f} {self.unit}", "met" if self.met else "missed"


class Results:
    """What came out of a run, in the forms that are written."""

    def __init__(self, run: Run) -> None:
        """Work out the medians."""
        self.samples = run.samples
        self.medians = {
            measure: {variant: median(values) for variant, values in by_variant.items()}
            for measure, by_variant in run.samples.items()
        }

    def ratio(self, measure: Measure, variant: str = "template", to: str = "two-stage") -> float:
        """Return how many times the median of one variant is that of another."""
        return self.medians[measure][variant] / self.medians[measure][to]

    def targets(self) -> list[Target]:
        """Return the targets whose measures were taken."""
        template = {measure: by_variant["template"] for measure, by_variant in self.medians.items()}
        targets = [
            Target("start -> first 200, to two-stage", self.ratio(START), 0.40),
            Target("CPU of one health probe, to two-stage", self.ratio(PROBE), 0.07),
            Target("code-only rebuild, longer than no-op", template[CODE] - template[NO_OP], 0.3, "s"),
            Target("image on disk, on top of its base", template[ON_TOP] / 1e6, 20, "MB"),
        ]
        if PSS in template:
            targets.append(Target(f"memory of {MEMORY_WORKERS} workers, to two-stage", self.ratio(PSS), 0.65))
        if KEEP_ALIVE in template:
            kept = "throughput with keep-alive, to bare application"
            targets.append(Target(kept, self.ratio(KEEP_ALIVE, to="bare"), 0.8, at_least=True))
        return targets

    def rows(self) -> Iterator[list[str]]:
        """Return the measures as rows of a table: the medians, and the spread where there is one."""
        for measure in filter(self.samples.__contains__, MEASURES):
            row = [measure.title]
            for variant in NAMES:
                values = self.samples[measure].get(variant, [])
                shown = measure.show(median(values)) if values else ""
                if len(values) > 1:
                    shown += f" ({measure.number(min(values))} to {measure.number(max(values))})"
                row.append(shown)
            yield [*row, f"{self.ratio(measure):.2f}"]

    def bars(self) -> Iterator[Group]:
        """Return the measures as groups of bars: ratios to the two-stage baseline."""
        for measure in filter(self.medians.__contains__, MEASURES):
            if measure is not ON_TOP:
                values = self.medians[measure]
                bars = {name: (self.ratio(measure, name), measure.show(value)) for name, value in values.items()}
                yield Group(measure.title, bars, measure.more_is_better)


def machine(options: Options) -> dict[str, str]:
    """Return what the figures depend on."""
    cpuinfo = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.+)", cpuinfo.read_text()) if cpuinfo.exists() else None
    versions = pins(HERE / "baselines/requirements.txt")
    base = base_image(options.python_version)
    python = engine.output("run", "--rm", "--label", engine.LABEL, base, "python", "--version")
    return {
        "Date": f"{datetime.now(UTC):%Y-%m-%d}",
        "Machine": f"{CORES} cores, {model[1] if model else platform.machine()}, {platform.platform()}",
        "Docker": engine.output("info", "--format", "{{.ServerVersion}}, {{.Driver}}"),
        "Versions": f"{python} ({base}), Flask {versions['flask']}, gunicorn {versions['gunicorn']}",
        "Rounds": str(options.rounds),
        "Load": f"wrk, 32 connections for {options.seconds} s through a published port, {CORES} workers a container"
        if options.wrk
        else "not measured",
        "Cold build": "--no-cache, but base image and the template's cache of pip are there",
    }


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    return "".join(f"| {' | '.join(row)} |\n" for row in (header, ["---"] * len(header), *rows))


def show(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table."""
    table = Table(*header, title=title, title_justify="left", box=box.SIMPLE)
    for row in rows:
        table.add_row(*row)
    console.print(table)


def report(results: Results, facts: dict[str, str], output: Path) -> None:
    """Print the tables, and write them with the chart and all samples into a folder."""
    header = ("Median (min to max)", *NAMES, "ratio")
    target_header = ("Target", "Limit", "Measured", "")
    targets = [target.row() for target in results.targets()]
    show("Measures", header, results.rows())
    show("Targets", target_header, targets)

    output.mkdir(parents=True, exist_ok=True)
    samples = {measure.title: by_variant for measure, by_variant in results.samples.items()}
    content = {"facts": facts, "samples": samples, "targets": targets}
    (output / "results.json").write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    lines = "".join(f"- {name}: {value}\n" for name, value in facts.items())
    tables = f"{markdown(header, results.rows())}\n{markdown(target_header, targets)}"
    (output / "results.md").write_text(f"# Measured by `make bench`\n\n{lines}\n{tables}\n![Chart](chart.svg)\n")
    note = "Each bar with its ratio, and what was measured. An arrow: the bar is longer."
    source = f"{facts['Machine']} · Docker {facts['Docker']}\n{facts['Versions']} · {facts['Date']}"
    caption = Caption("Ratios to the two-stage baseline", note, source)
    save(ratios(caption, list(results.bars())), output / "chart")
    console.print(f"Written: results.md, results.json, chart.svg, chart.png in {output}")


def arguments() -> argparse.Namespace:
    """Return the command line, read."""
    parser = argparse.ArgumentParser(description="Measure the service against two typical images.")
    parser.add_argument(
        "--rounds", type=int, default=5, choices=range(1, 51), metavar="N", help="how often to measure (default: 5)"
    )
    parser.add_argument("--quick", action="store_true", help="two rounds with short load, to see that it works")
    parser.add_argument("--output", type=Path, default=HERE / "results", help="folder for the results")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is missed")
    return parser.parse_args()


def main() -> int:
    """Measure, report, and return the exit code."""
    chosen = arguments()
    service = pins(SERVICE / "requirements.txt")
    if not pins(HERE / "baselines/requirements.txt").items() <= service.items():
        raise SystemExit("baselines/requirements.txt and the lock of the service name different versions")
    options = Options(
        python_version=os.environ.get("PYTHONS", "3.14").split()[0],
        rounds=2 if chosen.quick else chosen.rounds,
        seconds=1 if chosen.quick else 3,
        memory=hasattr(os, "geteuid") and os.geteuid() == 0 and Path("/proc/self/smaps_rollup").exists(),
        wrk=shutil.which("wrk") is not None,
    )
    if not options.memory:
        console.print("Memory is left out: only root on the engine's own machine can read the PSS of a container.")
    if not options.wrk:
        console.print("Throughput is left out: there is no wrk (apt-get install wrk, brew install wrk).")
    with engine.session(), tempfile.TemporaryDirectory() as folder:
        # A build leaves the base image in its cache only; its size and version are asked for by name.
        if not engine.has(base := base_image(options.python_version)):
            engine.run("pull", "--quiet", base)
        measured = Run(options, Path(folder))
        measured.measure()
        facts = machine(options)
    results = Results(measured)
    report(results, facts, chosen.output)
    return int(chosen.check and not all(target.met for target in results.targets()))


if __name__ == "__main__":
    sys.exit(main())
