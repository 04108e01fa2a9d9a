"""Measure the service against four usual ways to build one, and how it grows, responds and is pulled: `make bench`.

Everything is measured in one run, in turn in every round, on one machine: only ratios mean something elsewhere. What is
compared stands in variants.py, what comes out and which ratios are wanted in comparison.py. Needs a Docker Engine. What
other programs add is left out where they are not installed: wrk the throughput, h2load the latency, docker-registry
the pulls.

Containers run as their image says, without health checks, so that none falls into a measurement. Load goes to a
published port of 127.0.0.1. What was made is removed at the end, except for the build cache, which carries no label.
"""

import argparse
import json
import os
import re
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import comparison, load, measures, pull, rollout, variants
from benchmarks.comparison import DIRECT, GROWTH, MEMORY_WORKERS, PROXIED, QUIET, Samples
from benchmarks.measures import CORES
from benchmarks.variants import Variant
from tools import engine
from tools.baking import SERVICE
from tools.charts import save_for_both_grounds
from tools.questions import base_image

HERE = Path(__file__).parent
# Starts of each image in a round, and the rounds in which builds are measured: the first ones.
STARTS, BUILD_ROUNDS = 2, 3
REQUESTS_BEFORE_MEMORY = 200
CAN_READ_MEMORY = hasattr(os, "geteuid") and os.geteuid() == 0 and Path("/proc/self/smaps_rollup").exists()
# How the template is told to leave its access log out.
WITHOUT_LOG = "--env=LOG_LEVEL=warning"
CLOSE = ("--header", "Connection: close")

Steps = Iterator[tuple[str, Callable[[], object]]]


def proportional_memory(container: engine.Container) -> float:
    """Return the MB (PSS) of all processes of the container, after some requests."""
    for _ in range(REQUESTS_BEFORE_MEMORY):
        if (status := container.request().status) != 200:
            raise SystemExit(f"the page has status {status}, so its memory says nothing")
    processes = engine.output("top", container.identity, "-eo", "pid").split()[1:]
    pages = [Path(f"/proc/{process}/smaps_rollup").read_text() for process in processes]
    return sum(int(re.findall(r"^Pss: +(\d+)", text, re.MULTILINE)[0]) for text in pages) * 1024 / 1e6


def workers(count: int) -> str:
    """Return the option of `docker run` for a number of workers."""
    return f"--env=WEB_CONCURRENCY={count}"


class Run:
    """One run: it builds the images, measures in each round what this machine can, and holds the samples."""

    def __init__(self, folder: Path, rounds: int, seconds: int, registry: str | None) -> None:
        """Lay out what is built below a folder; load is put on each image for so many seconds."""
        self.rounds, self.seconds, self.registry = rounds, seconds, registry
        python = measures.python_version()
        self.template, self.distroless = variants.template(folder, python)
        self.images = (self.template, *variants.baselines(folder, python))
        self.stored: dict[str, pull.Stored] = {}
        self.samples: Samples = defaultdict(lambda: defaultdict(list))

    def add(self, name: str, values: dict[str, float | None]) -> None:
        """Keep samples by the names of their measures, where there is something to measure."""
        for measure, value in values.items():
            if value is not None:
                self.samples[measure][name].append(value)

    def steps(self) -> Steps:
        """Return what there is to do: every round begins with another image, so that none always has the best place."""
        for image in self.images:
            yield f"{image.name}: first build", partial(self.prepare, image)
        if self.registry:
            yield "images into the registry", partial(self.push, self.registry)
        for number in range(self.rounds):
            turn = number % len(self.images)
            yield from self.round((*self.images[turn:], *self.images[:turn]), with_builds=number < BUILD_ROUNDS)

    def round(self, images: tuple[Variant, ...], with_builds: bool) -> Steps:
        """Return the steps of one round."""
        for image in images * STARTS:
            yield f"{image.name}: start", partial(self.start, image)
        for image in images if CAN_READ_MEMORY else ():
            if image.has_workers:
                yield f"{image.name}: memory", partial(self.remember, image)
        if shutil.which("wrk"):
            for image in images:
                yield f"{image.name}: throughput", partial(self.load, image, image.name)
            yield f"{QUIET}: throughput", partial(self.load, self.template, QUIET, WITHOUT_LOG)
            for count in GROWTH:
                yield f"{count} workers", partial(self.grow, count)
            if shutil.which("h2load"):
                yield DIRECT, self.respond
                yield PROXIED, self.respond_behind_the_proxy
        for name in self.pulled():
            yield f"{name}: pull and start", partial(self.pull, name)
        for image in images if with_builds else ():
            yield f"{image.name}: builds", partial(self.rebuild, image)

    def prepare(self, image: Variant) -> None:
        """Build the image, and take its sizes: they are the same in every round."""
        image.build()
        sizes = {comparison.SIZE: engine.size(image.tag), comparison.COMPRESSED: engine.compressed_size(image.tag)}
        self.add(image.name, {measure: size / 1e6 for measure, size in sizes.items()})

    def pulled(self) -> Iterable[str]:
        """Return the names of what is pulled: both kinds of image, in every compression."""
        kinds = ("slim", "distroless") if self.registry else ()
        return [f"{kind}, {compression}" for kind in kinds for compression in pull.COMPRESSIONS]

    def push(self, registry: str) -> None:
        """Put the images into the registry, and take their sizes there."""
        self.distroless.build()
        tags = {"slim": self.template.tag, "distroless": self.distroless.tag}
        for name in self.pulled():
            kind, compression = name.split(", ")
            self.stored[name] = pull.push(tags[kind], registry, kind, compression)
            self.add(name, {comparison.PULL_SIZE: self.stored[name].size / 1e6})

    def start(self, image: Variant) -> None:
        """Measure the start, and then the health probe of the running container."""
        with image.started() as (container, seconds):
            self.add(image.name, {comparison.START: 1000 * seconds, comparison.CPU: measures.cpu_used(container)})
            self.add(image.name, {comparison.PROBE: measures.probe_cpu(image.tag, container)})

    def remember(self, image: Variant) -> None:
        """Measure the memory."""
        with image.started(workers(MEMORY_WORKERS)) as (container, _):
            self.add(image.name, {comparison.PSS: proportional_memory(container)})

    def load(self, image: Variant, name: str, *options: str) -> None:
        """Measure the throughput."""
        with image.started(workers(CORES), *options) as (container, _):
            _, port = container.address
            self.add(name, {comparison.KEPT: load.throughput(port, self.seconds)})
            load.wait_for_ports()
            self.add(name, {comparison.CLOSED: load.throughput(port, self.seconds, *CLOSE)})

    def grow(self, count: int) -> None:
        """Measure throughput and memory of the template with a number of workers."""
        with self.template.started(workers(count)) as (container, _):
            rate = load.throughput(container.address[1], self.seconds)
            memory = proportional_memory(container) if CAN_READ_MEMORY else None
            self.add(str(count), {comparison.RATE: rate, comparison.MEMORY: memory})

    def respond(self) -> None:
        """Measure the latency of the template at half of its peak."""
        with self.template.started(workers(CORES)) as (container, _):
            self.add_latency(DIRECT, container.address[1])

    def respond_behind_the_proxy(self) -> None:
        """Measure the latency through the proxy of compose.proxy.yaml, at half of the peak there."""
        variables = {"PROXY_IMAGE": rollout.proxy_image()}
        with rollout.running(self.template.project, self.template.tag, "compose.proxy.yaml", **variables) as service:
            self.add_latency(PROXIED, service.container("proxy", 8080).address[1])

    def add_latency(self, name: str, port: int) -> None:
        """Find the peak at a port, and keep the latency at half of it."""
        rate = load.throughput(port, self.seconds) / 2
        values = {"requests a second": rate, **load.latency(port, rate, self.seconds)}
        self.add(name, {f"{comparison.LATENCY}{measure}": value for measure, value in values.items()})

    def pull(self, name: str) -> None:
        """Measure a cold start: pull and start."""
        pulled, started = (1000 * seconds for seconds in self.stored[name].cold_start())
        self.add(name, {comparison.PULL: pulled, comparison.RUN: started, comparison.BOTH: pulled + started})

    def rebuild(self, image: Variant) -> None:
        """Measure the builds."""
        self.add(image.name, {comparison.COLD: image.build_cold(), comparison.LOCK: image.rebuild_with_another_lock()})
        image.build()
        self.add(image.name, {comparison.CODE: image.rebuild(), comparison.NO_OP: image.build()})


def left_out() -> Iterator[str]:
    """Yield in a line each what cannot be measured here, and why."""
    if not CAN_READ_MEMORY:
        yield "Memory is left out: only root on the engine's own machine can read the PSS of a container."
    if not shutil.which("wrk"):
        yield "Throughput, workers and latency are left out: there is no wrk (apt-get install wrk, brew install wrk)."
    if not shutil.which("h2load"):
        yield "Latency is left out: there is no h2load (apt-get install nghttp2-client, brew install nghttp2)."
    if not pull.possible():
        yield "Pulls are left out: there is no docker-registry (apt-get install docker-registry)."


def measured(rounds: int, seconds: int) -> dict[str, Any]:
    """Measure; return the results."""
    before = round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None
    # A build leaves the base image in its cache only; its version is asked for by name.
    measures.provided(base := base_image(measures.python_version()))
    here = pull.registry() if pull.possible() else nullcontext(None)
    with tempfile.TemporaryDirectory() as folder, here as registry:
        run = Run(Path(folder), rounds, seconds, registry)
        measures.work_off(list(run.steps()))
    facts = measures.facts(slim_image=base)
    facts["machine"]["load"] = before
    rounded = {
        measure: {name: [float(f"{value:.4g}") for value in values] for name, values in by_name.items()}
        for measure, by_name in run.samples.items()
    }
    return {**facts, "rounds": rounds, "samples": rounded}


def main() -> None:
    """Measure, print the tables, and write them, all samples and the chart into results/."""
    parser = argparse.ArgumentParser(description="Measure the service against four usual ways to build one.")
    parser.add_argument("--rounds", type=int, default=5, choices=range(1, 51), metavar="N", help="default: 5")
    parser.add_argument("--quick", action="store_true", help="one round with short load, to see that it works")
    chosen = parser.parse_args()
    lock = measures.pins(SERVICE / "requirements.txt")
    if not measures.pins(variants.FOLDER / "requirements.txt").items() <= lock.items():
        raise SystemExit("baselines/requirements.txt and the lock of the service name different versions")
    for line in left_out():
        print(line)
    with engine.session():
        results = measured(*((1, 1) if chosen.quick else (chosen.rounds, 3)))
    folder = HERE / "results"
    folder.mkdir(exist_ok=True)
    (folder / "bench.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (folder / "bench.md").write_text(comparison.report(results), encoding="utf-8")
    save_for_both_grounds(comparison.draw(results), folder / "bench")
    print(comparison.report(results))


if __name__ == "__main__":
    main()
