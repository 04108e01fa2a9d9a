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
import re
import shutil
import statistics
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import measures
from benchmarks.measures import CORES, HARDENED, WRITABLE
from tools import engine
from tools.baking import SERVICE, bake
from tools.questions import base_image

HERE = Path(__file__).parent
# Workers of the memory measure. Under load there is one for each core.
MEMORY_WORKERS = 4
# As in app/settings.py of the service.
THREADS = 16
REQUESTS_BEFORE_MEMORY = 200
CAN_READ_MEMORY = hasattr(os, "geteuid") and os.geteuid() == 0 and Path("/proc/self/smaps_rollup").exists()
NAMES = ("template", "two-stage", "one-stage", "bare")

# Numbers by measure and by variant.
Samples = dict[str, dict[str, list[float]]]

# What is measured, in the units it is kept in. MB are those of the SI.
SIZE, ON_TOP = "image on disk (MB)", "image on disk, on top of its base (MB)"
COMPRESSED = "image compressed, gzip -6 (MB)"
START, PROBE = "start -> first 200 (ms)", "CPU of one health probe (ms)"
PSS = f"memory of {MEMORY_WORKERS} workers, PSS (MB)"
KEEP_ALIVE, CLOSE = "throughput with keep-alive (req/s)", "throughput without keep-alive (req/s)"
# The base image and the template's cache of pip are there, even for a cold build.
COLD, DEPENDENCIES = "cold build (s)", "rebuild after a change of dependencies (s)"
CODE, NO_OP = "rebuild after a change of code (s)", "rebuild after no change (s)"
# The highest ratios that the template may have.
TARGETS = {START: 0.4, PROBE: 0.07, PSS: 0.65}


@dataclass(frozen=True)
class Variant:
    """An image, the files it is built from, and how it is built and run."""

    name: str
    project: Path
    code: str
    build_options: tuple[str, ...] = ()
    run_options: tuple[str, ...] = ()

    @property
    def tag(self) -> str:
        """Return the name of its image."""
        return f"benchmark-{self.project.name}:{os.getpid()}"

    def build(self, *options: str) -> float:
        """Build the image; return the seconds it took."""
        return engine.build(self.project, self.tag, *self.build_options, *options)

    def rebuild(self, edited: str) -> float:
        """Build the image after an edit of a file of the project; return the seconds it took."""
        return engine.rebuild(self.project, self.tag, edited, *self.build_options)

    def started(self, *options: str) -> AbstractContextManager[tuple[engine.Container, float]]:
        """Run a hardened container; also tell the seconds of its start."""
        return engine.started(self.tag, *HARDENED, *self.run_options, *options)


def variants(folder: Path, python: str) -> tuple[Variant, ...]:
    """Lay out what is built below `folder`: the template baked with its default answers, and the baselines."""
    template = Variant("template", bake(folder, {"python_version": python}), "app/views.py")
    baselines = []
    for name in ("two-stage", "one-stage"):
        project = Path(shutil.copytree(HERE / "baselines", folder / name))
        options = (f"--file={project / name}.Dockerfile", f"--build-arg=BASE_IMAGE={base_image(python)}")
        baselines.append(Variant(name, project, "app.py", options, WRITABLE))
    # It runs the image of the first baseline.
    threaded = f"GUNICORN_CMD_ARGS=--worker-class gthread --threads {THREADS}"
    bare = Variant("bare", baselines[0].project, "app.py", run_options=(*WRITABLE, "--env", threaded))
    return template, *baselines, bare


def proportional_memory(container: engine.Container) -> float:
    """Return the MB (PSS) of all processes of the container, after some requests."""
    for _ in range(REQUESTS_BEFORE_MEMORY):
        if (status := container.request().status) != 200:
            raise SystemExit(f"the page has status {status}, so its memory says nothing")
    processes = engine.output("top", container.identity, "-eo", "pid").split()[1:]
    pages = [Path(f"/proc/{process}/smaps_rollup").read_text() for process in processes]
    return sum(int(re.findall(r"^Pss: +(\d+)", text, re.MULTILINE)[0]) for text in pages) * 1024 / 1e6


def throughput(container: engine.Container, seconds: int, *options: str) -> float:
    """Return the requests a second that wrk gets answered with 200 on 32 connections."""
    command = ("wrk", "-t2", "-c32", f"-d{seconds}s", *options, f"http://127.0.0.1:{container.address[1]}/")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"wrk failed with exit code {done.returncode}: {' '.join(done.stderr.split())}")
    if refused := re.search(r"Non-2xx.*", done.stdout):
        raise SystemExit(f"not every answer was a 200: {refused[0]}")
    return float(re.findall(r"Requests/sec: +([\d.]+)", done.stdout)[0])


class Run:
    """One run: it builds the variants, measures in each round what this machine can, and holds the samples."""

    def __init__(self, folder: Path, rounds: int, seconds: int) -> None:
        """Lay out the variants below a folder; load is put on each for so many seconds."""
        self.rounds, self.seconds = rounds, seconds
        *self.images, self.bare = variants(folder, measures.python_version())
        self.samples: Samples = defaultdict(lambda: defaultdict(list))

    def add(self, variant: Variant, values: dict[str, float | None]) -> None:
        """Keep samples by the names of their measures, where there is something to measure."""
        for measure, value in values.items():
            if value is not None:
                self.samples[measure][variant.name].append(value)

    def steps(self) -> Iterator[tuple[str, Callable[[], None]]]:
        """Return what there is to do: every round begins with another image, so that none always has the best place."""
        for image in self.images:
            yield f"{image.name}: first build", partial(self.prepare, image)
        for number in range(self.rounds):
            turn = number % len(self.images)
            images = (*self.images[turn:], *self.images[:turn])
            for image in images:
                yield f"{image.name}: start, health probe", partial(self.start, image)
            for image in images if CAN_READ_MEMORY else ():
                yield f"{image.name}: memory", partial(self.remember, image)
            for variant in (*images, self.bare) if shutil.which("wrk") else ():
                yield f"{variant.name}: throughput", partial(self.load, variant)
            for image in images:
                yield f"{image.name}: builds", partial(self.rebuild, image)

    def prepare(self, variant: Variant) -> None:
        """Build the image, and take its sizes: they are the same in every round."""
        variant.build()
        size, base = (engine.size(image) / 1e6 for image in (variant.tag, base_image(measures.python_version())))
        compressed = engine.compressed_size(variant.tag) / 1e6
        self.add(variant, {SIZE: size, ON_TOP: size - base, COMPRESSED: compressed})

    def start(self, variant: Variant) -> None:
        """Measure the start, and the health probe of the running container."""
        with variant.started() as (container, seconds):
            self.add(variant, {START: 1000 * seconds, PROBE: measures.probe_cpu(variant.tag, container)})

    def remember(self, variant: Variant) -> None:
        """Measure the memory."""
        with variant.started(f"--env=WEB_CONCURRENCY={MEMORY_WORKERS}") as (container, _):
            self.add(variant, {PSS: proportional_memory(container)})

    def load(self, variant: Variant) -> None:
        """Measure the throughput."""
        with variant.started(f"--env=WEB_CONCURRENCY={CORES}") as (container, _):
            self.add(variant, {KEEP_ALIVE: throughput(container, self.seconds)})
            self.add(variant, {CLOSE: throughput(container, self.seconds, "--header", "Connection: close")})

    def rebuild(self, variant: Variant) -> None:
        """Measure the builds."""
        self.add(variant, {COLD: variant.build("--no-cache"), DEPENDENCIES: variant.rebuild("requirements.txt")})
        self.add(variant, {CODE: variant.rebuild(variant.code), NO_OP: variant.build()})


# ---- results ----


def cell(values: list[float]) -> str:
    """Return median and spread to three digits, as far as there are any."""
    median, low, high = (
        f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f}"
        for value in (statistics.median(values), min(values), max(values))
    )
    return f"{median} ({low} to {high})" if len(values) > 1 else median


def report(samples: Samples) -> str:
    """Return the measures as a table in Markdown; the ratio is that of the template to the baseline of two stages."""
    rows = []
    for measure, by_variant in samples.items():
        ratio = statistics.median(by_variant["template"]) / statistics.median(by_variant["two-stage"])
        target = f" (target: {TARGETS[measure]})" if measure in TARGETS else ""
        cells = [cell(by_variant[name]) if name in by_variant else "" for name in NAMES]
        rows.append((measure, *cells, f"{ratio:.2f}{target}"))
    return measures.markdown(("Median (min to max)", *NAMES, "ratio"), rows)


def main() -> None:
    """Measure, print the table, and write it and all samples into results/."""
    parser = argparse.ArgumentParser(description="Measure the service against two typical images.")
    parser.add_argument("--rounds", type=int, default=5, choices=range(1, 51), metavar="N", help="default: 5")
    parser.add_argument("--quick", action="store_true", help="two rounds with short load, to see that it works")
    chosen = parser.parse_args()
    lock = measures.pins(SERVICE / "requirements.txt")
    if not measures.pins(HERE / "baselines/requirements.txt").items() <= lock.items():
        raise SystemExit("baselines/requirements.txt and the lock of the service name different versions")
    if not CAN_READ_MEMORY:
        print("Memory is left out: only root on the engine's own machine can read the PSS of a container.")
    if not shutil.which("wrk"):
        print("Throughput is left out: there is no wrk (apt-get install wrk, brew install wrk).")
    with engine.session(), tempfile.TemporaryDirectory() as folder:
        # A build leaves the base image in its cache only; its size and version are asked for by name.
        measures.provided(base := base_image(measures.python_version()))
        run = Run(Path(folder), *((2, 1) if chosen.quick else (chosen.rounds, 3)))
        measures.work_off(list(run.steps()))
        facts = measures.facts(slim_image=base)
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    (results / "results.json").write_text(json.dumps({**facts, "samples": run.samples}, indent=1) + "\n")
    how = f"{run.rounds} rounds; wrk on 32 connections for {run.seconds} s, {CORES} workers a container."
    text = f"# Measured by `make bench`\n\n{measures.facts_line(facts)} {how}\n\n{report(run.samples)}"
    (results / "results.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
