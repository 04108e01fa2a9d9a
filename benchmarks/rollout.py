"""Replace every replica of the service under constant load, and count what is lost: `make rollout`.

The service runs by its own compose.proxy.yaml: HAProxy before two replicas. All the while requests come at a constant
rate, whatever becomes of them. Each takes 50 ms, so that every replica always has some in flight.

    update     each replica in turn is replaced by another image, built from edited code, as the service's README says
    roll back  each is replaced by the first image again, and one is killed outright before
    alone      a single container without a proxy is replaced, for comparison

Latency is counted from the moment at which a request was due, so none is hidden behind a slow one. Needs a Docker
Engine.
"""

import argparse
import csv
import http.client
import json
import math
import os
import platform
import re
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Self
from unittest.mock import patch

from benchmarks import bench, timeline
from benchmarks.bench import console
from benchmarks.timeline import BIN
from tools import engine
from tools.baking import SERVICE, bake
from tools.charts import save

HERE = Path(__file__).parent
REPLICAS = ("web-a", "web-b")
OLD, NEW = "1", "2"
REQUESTS = 10_000
# Seconds without any event, before a replacement and after a kill.
CALM = 2.0


TITLES = {
    "update": "every replica, by a new image",
    "roll back": "every replica, back again; one was killed",
    "alone": "a single container without a proxy",
}

PAGE = """

@blueprint.route("/work", methods=["GET", "POST"])
def work() -> str:
    time.sleep(0.05)
    return "{version} " + os.environ.get("REPLICA", "alone")
"""


@dataclass(frozen=True)
class Kind:
    """A kind of request: its method, whether its connection is kept, and how many there are a second."""

    title: str
    method: str
    kept: bool
    rate: int


KINDS = (
    Kind("GET, connection kept", "GET", True, 80),
    Kind("GET, new connection", "GET", False, 80),
    Kind("POST, connection kept", "POST", True, 40),
)
# Each client sends a request every 0.2 s, if the last one has been answered by then.
PERIOD = 0.2


@dataclass(frozen=True, slots=True)
class Sample:
    """A request: when it was due, sent and over, in seconds since the load began; and what came of it."""

    kind: Kind
    due: float
    sent: float
    over: float
    problem: str
    version: str
    replica: str

    @property
    def cut_off(self) -> bool:
        """Tell whether the response had begun: gunicorn sends head and body apart, and no head can be taken back."""
        return self.problem.startswith("IncompleteRead")


class Load:
    """Clients that send requests at a constant rate to a port of this machine, until the end of the `with` block."""

    def __init__(self, port: int, share: float = 1) -> None:
        """Get the clients ready; with a share below 1, that part of them."""
        self.port = port
        self.samples: list[Sample] = []
        self.began = time.monotonic()
        self._ended = threading.Event()
        self._clients = [
            threading.Thread(target=self._send, args=(kind, number / kind.rate / share))
            for kind in KINDS
            for number in range(round(kind.rate * PERIOD * share))
        ]

    def __enter__(self) -> Self:
        """Begin."""
        self.began = time.monotonic()
        for client in self._clients:
            client.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Let every client finish its request."""
        self._ended.set()
        for client in self._clients:
            client.join()

    def now(self) -> float:
        """Return the seconds since the load began."""
        return time.monotonic() - self.began

    def _send(self, kind: Kind, due: float) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        while not self._ended.wait(max(0.0, due - self.now())):
            sent = self.now()
            problem, version, replica = ask(connection, kind)
            self.samples.append(Sample(kind, due, sent, self.now(), problem, version, replica))
            if problem or not kind.kept:
                connection.close()
            due += PERIOD
        connection.close()


def ask(connection: http.client.HTTPConnection, kind: Kind) -> tuple[str, str, str]:
    """Send one request; return what went wrong, if anything, and the version and replica that answered."""
    try:
        connection.request(kind.method, "/work", headers={} if kind.kept else {"Connection": "close"})
        response = connection.getresponse()
        version, _, replica = response.read().decode().partition(" ")
    except (OSError, http.client.HTTPException) as error:
        return repr(error), "", ""
    return ("", version, replica) if response.status == 200 else (f"status {response.status}", "", "")


@dataclass(frozen=True)
class Event:
    """What was done to a replica, and from when to when in seconds: until the command was done."""

    replica: str
    what: str
    begin: float
    end: float


@dataclass(frozen=True)
class Phase:
    """A part of a run: its events, its requests, and how often the proxy had to send one again."""

    title: str
    events: Sequence[Event]
    samples: Sequence[Sample]
    retried: int

    @property
    def failed(self) -> list[Sample]:
        """Return the requests that were not answered with 200."""
        return [sample for sample in self.samples if sample.problem]


# ---- images and containers ----


def build(folder: Path, python_version: str) -> tuple[Path, dict[str, str]]:
    """Bake the service below a folder, and build two images of it from different code; return both by version."""
    project = bake(folder, {"python_version": python_version})
    views = project / "app/views.py"
    code = views.read_text().replace("from flask", "import os\nimport time\n\nfrom flask", 1)
    images = {}
    for version in (OLD, NEW):
        views.write_text(code + PAGE.format(version=version))
        images[version] = f"rollout-{os.getpid()}:{version}"
        engine.build(project, images[version])
    return project, images


def proxy_image() -> str:
    """Return the image of the proxy: PROXY_IMAGE, or what a service names, or Debian's where no registry answers."""
    if told := os.environ.get("PROXY_IMAGE"):
        return told
    compose = (SERVICE / "compose.proxy.yaml").read_text(encoding="utf-8")
    [named] = re.findall(r"\$\{PROXY_IMAGE:-(.+?)\}", compose)
    if not engine.run("pull", "--quiet", named, check=False).returncode:
        return str(named)
    engine.run("build", "--quiet", "--tag", "stand-in:haproxy", str(HERE / "proxy"))
    return "stand-in:haproxy"


@dataclass(frozen=True)
class Service:
    """A service as its owner runs it, by a compose file of its project and what the variables say."""

    project: Path
    files: tuple[str, ...]
    variables: dict[str, str] = field(default_factory=dict)

    def compose(self, *arguments: str, image: str = "none") -> str:
        """Run docker compose; return what it prints."""
        files = [f"--file={self.project / file}" for file in self.files]
        name = f"--project-name=rollout-{os.getpid()}"
        with patch.dict(os.environ, IMAGE=image, **self.variables):
            return engine.output("compose", *files, name, *arguments)

    def up(self, image: str, *options: str) -> None:
        """Start containers, or replace those there are, and wait until they are healthy."""
        self.compose("up", "--detach", "--wait", *options, image=image)

    def port(self, service: str, port: int) -> int:
        """Return the port of this machine at which a port of a container is published."""
        return int(self.compose("port", service, str(port)).rsplit(":", 1)[1])

    def down(self) -> None:
        """Remove the containers."""
        self.compose("down", "--timeout", "1")


@dataclass(frozen=True)
class Cluster:
    """Replicas behind a proxy, the ports of the proxy for requests and for its statistics."""

    service: Service
    port: int
    statistics_port: int

    def retried(self) -> int:
        """Return how often the proxy has had to send a request again so far, to the same replica or to another."""
        connection = http.client.HTTPConnection("127.0.0.1", self.statistics_port, timeout=5)
        connection.request("GET", "/;csv")
        lines = connection.getresponse().read().decode().removeprefix("# ").splitlines()
        connection.close()
        [counts] = [row for row in csv.DictReader(lines) if (row["pxname"], row["svname"]) == ("replicas", "BACKEND")]
        return int(counts["wretr"]) + int(counts["wredis"])

    def replace(self, replica: str, image: str, load: Load) -> Event:
        """Replace a replica by the command of the service's README."""
        begin = load.now()
        self.service.up(image, "--no-deps", replica)
        return Event(replica, "replaced", begin, load.now())

    def kill(self, replica: str, load: Load) -> Event:
        """Kill a replica outright: nothing that it was doing is finished."""
        begin = load.now()
        self.service.compose("kill", replica)
        return Event(replica, "killed", begin, load.now())


@contextmanager
def cluster(project: Path, image: str, **variables: str) -> Iterator[Cluster]:
    """Start replicas of an image and the proxy, and remove them afterwards."""
    files = ("compose.proxy.yaml", str(HERE / "proxy/watched.yaml"))
    address = {"HOST_IP": "127.0.0.1", "HOST_PORT": "0"}
    service = Service(
        project, files, {**address, "PROXY_IMAGE": proxy_image(), "WATCHED": str(HERE / "proxy"), **variables}
    )
    try:
        service.up(image)
        yield Cluster(service, service.port("proxy", 8080), service.port("proxy", 8404))
    finally:
        service.down()


# ---- what is measured ----


@dataclass(frozen=True)
class Run:
    """The load on a cluster, and what is done to the cluster meanwhile."""

    replicas: Cluster
    load: Load

    def phase(
        self, title: str, image: str, killed: str = "", only: Sequence[str] = REPLICAS, requests: int = 0
    ) -> Phase:
        """Replace replicas in turn, one of them killed before, and go on until there have been that many requests."""
        first, retried = len(self.load.samples), self.replicas.retried()
        events = []
        time.sleep(CALM)
        for replica in only:
            if replica == killed:
                events.append(self.replicas.kill(replica, self.load))
                time.sleep(CALM)
            events.append(self.replicas.replace(replica, image, self.load))
        while len(self.load.samples) - first < requests:
            time.sleep(0.1)
        return Phase(title, events, self.load.samples[first:], self.replicas.retried() - retried)


def alone(project: Path, images: dict[str, str]) -> list[Sample]:
    """Replace the only container of the service, under its share of the load, without a proxy; return the requests."""
    service = Service(project, ("compose.yaml",), {"HOST_IP": "127.0.0.1", "HOST_PORT": "0"})
    try:
        service.up(images[OLD])
        # The same port for the next container.
        service.variables["HOST_PORT"] = str(port := service.port("web", 5000))
        with Load(port, share=1 / len(REPLICAS)) as load:
            time.sleep(CALM)
            service.up(images[NEW])
            time.sleep(CALM)
        return load.samples
    finally:
        service.down()


def gap(samples: Sequence[Sample]) -> float:
    """Return the longest time in seconds in which no request was answered."""
    answered = sorted(sample.over for sample in samples if not sample.problem)
    return max(after - before for before, after in pairwise(answered))


def measure(project: Path, images: dict[str, str]) -> tuple[Phase, Phase]:
    """Replace every replica by the new image, and again by the old one after one was killed; return both phases."""
    with cluster(project, images[OLD]) as replicas, Load(replicas.port) as load:
        measured = Run(replicas, load)
        return (
            measured.phase("update", images[NEW], requests=REQUESTS),
            measured.phase("roll back", images[OLD], killed=REPLICAS[0], requests=REQUESTS),
        )


# ---- results ----


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that a share of the values does not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def latency(samples: Sequence[Sample]) -> dict[str, float]:
    """Return median and 99th percentile of what was answered, in milliseconds from the moment it was due."""
    values = [1000 * (sample.over - sample.due) for sample in samples if not sample.problem]
    return {f"p{round(100 * share)}": round(percentile(values, share), 1) for share in (0.5, 0.99)} if values else {}


def summary(samples: Sequence[Sample]) -> dict[str, Any]:
    """Return how many requests there were and how many failed or were cut off, of each kind, and the latency."""
    kinds = {
        kind.title: {
            "requests": len(of_kind),
            "failed": sum(bool(sample.problem) for sample in of_kind),
            "cut off": sum(sample.cut_off for sample in of_kind),
        }
        for kind in KINDS
        if (of_kind := [sample for sample in samples if sample.kind == kind])
    }
    return {"kinds": kinds, **latency(samples)}


def bins(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """Return for each half second what became of the requests due in it: answered by version, failed, latency."""
    by_bin: dict[int, list[Sample]] = {}
    for sample in samples:
        by_bin.setdefault(int(sample.due / BIN), []).append(sample)
    # The last one was cut short by the end of the load.
    return [
        {
            "answered": {version: sum(sample.version == version for sample in group) for version in (OLD, NEW)},
            "failed": sum(bool(sample.problem) for sample in group),
            **latency(group),
        }
        for _, group in sorted(by_bin.items())[:-1]
    ]


def results(phases: Sequence[Phase], single: Sequence[Sample], python_version: str) -> dict[str, Any]:
    """Return all that is kept of a run: no single request, but what became of those of each half second."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": {"cpus": bench.CORES, "system": platform.system()},
        "versions": {
            "docker": engine.output("info", "--format", "{{.ServerVersion}}"),
            "haproxy": proxy_version(),
            "python": python_version,
        },
        "rate": sum(kind.rate for kind in KINDS),
        "phases": [
            {
                "title": phase.title,
                "retried": phase.retried,
                "events": [asdict(event) for event in phase.events],
                **summary(phase.samples),
            }
            for phase in phases
        ],
        "alone": {"title": "alone", "gap": round(gap(single), 2), **summary(single)},
        "bins": bins([sample for phase in phases for sample in phase.samples]),
    }


def proxy_version() -> str:
    """Return the version of HAProxy in the proxy's image."""
    printed = engine.output("run", "--rm", proxy_image(), "haproxy", "-v")
    return printed.split()[2].partition("-")[0]


def table(results: dict[str, Any]) -> str:
    """Return the numbers of a run as a table in Markdown."""
    header = ("Replaced under load", "Failed", "Sent again by the proxy", "Median", "99 of 100 within")
    rows = []
    for part in (*results["phases"], results["alone"]):
        requests, failed = (sum(kind[count] for kind in part["kinds"].values()) for count in ("requests", "failed"))
        gap = f", none answered for {part['gap']:.1f} s" if "gap" in part else ""
        counts = (f"{failed} of {requests}{gap}", str(part.get("retried", "")))
        rows.append((TITLES[part["title"]], *counts, f"{part['p50']:.0f} ms", f"{part['p99']:.0f} ms"))
    return bench.markdown(header, rows)


def write(results: dict[str, Any], folder: Path) -> None:
    """Write the numbers, and the plot as SVG and as PNG, into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rollout.json").write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    save(timeline.draw(results), folder / "rollout")


def main() -> int:
    """Measure, print and write; return 1 if a request was lost that must not be."""
    parser = argparse.ArgumentParser(description="Replace every replica under load, and count what is lost.")
    parser.add_argument("--output", type=Path, default=HERE / "results", help="folder for the results")
    output = parser.parse_args().output
    python_version = os.environ.get("PYTHONS", "3.14").split()[0]
    with engine.session(), tempfile.TemporaryDirectory() as folder:
        with console.status("Building two images …"):
            built = build(Path(folder), python_version)
        with console.status("Replacing replicas under load …"):
            phases = measure(*built)
        with console.status("Replacing a container without a proxy …"):
            single = alone(*built)
        measured = results(phases, single, python_version)
    write(measured, output)
    print(table(measured), end="")
    console.print(f"Written: rollout.json, rollout.svg, rollout.png in {output}")
    return int(bool(phases[0].failed))


if __name__ == "__main__":
    sys.exit(main())
