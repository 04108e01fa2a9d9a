"""Replace every replica of the service under constant load, and count what is lost: `make rollout`.

Three replicas, each brought up by the compose.yaml of the service, stand behind HAProxy (proxy/haproxy.cfg), which
asks their /readyz. All the while requests come at a constant rate, whatever becomes of them. Each takes 50 ms,
so that every replica always has some in flight.

    update     each replica in turn is replaced by another image, built from edited code
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
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import resvg_py

from benchmarks import bench, timeline
from benchmarks.bench import LABEL, console, run
from benchmarks.timeline import BIN

HERE = Path(__file__).parent
REPLICAS = ("replica-1", "replica-2", "replica-3")
OLD, NEW = "1", "2"
# More than the proxy needs to notice: two health checks, half a second apart.
DRAIN_DELAY = 3
REQUESTS = 10_000
# Seconds without any event, before, between and after the replacements.
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
    return "{version}"
"""


@dataclass(frozen=True)
class Kind:
    """A kind of request: its method, whether its connection is kept, and how many there are a second."""

    title: str
    method: str
    kept: bool
    rate: int


KINDS = (
    Kind("GET, connection kept", "GET", True, 120),
    Kind("GET, new connection", "GET", False, 120),
    Kind("POST, connection kept", "POST", True, 60),
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
        answer = connection.getresponse()
        body = answer.read().decode()
    except (OSError, http.client.HTTPException) as error:
        return repr(error), "", ""
    if answer.status != 200:
        return f"status {answer.status}", "", ""
    return "", body, answer.headers.get("X-Replica", "")


@dataclass(frozen=True)
class Event:
    """What was done to a replica, and from when to when in seconds: until it was dead, or until the proxy used it."""

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
    project = bench.bake(folder, python_version)
    views = project / "app/views.py"
    code = views.read_text().replace("from flask", "import time\n\nfrom flask", 1)
    images = {}
    for version in (OLD, NEW):
        views.write_text(code + PAGE.format(version=version))
        images[version] = f"rollout-{os.getpid()}:{version}"
        run("docker", "build", "--quiet", "--label", LABEL, "--tag", images[version], str(project))
    return project, images


@dataclass(frozen=True)
class Service:
    """The service as its owner runs it, by compose.yaml; `more` is what is added to that."""

    project: Path
    name: str
    more: tuple[str, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)

    def compose(self, *arguments: str, **variables: str) -> str:
        """Run docker compose; return what it prints."""
        files = [f"--file={file}" for file in (self.project / "compose.yaml", *self.more)]
        return run("docker", "compose", *files, "--project-name", self.name, *arguments, **self.variables, **variables)

    def up(self, image: str) -> None:
        """Start the container, or replace the one there is, and wait until it is healthy."""
        self.compose("up", "--detach", "--no-build", "--wait", IMAGE=image)

    @property
    def container(self) -> str:
        """Return the identity of the container."""
        return self.compose("ps", "--quiet", "web", IMAGE="none")

    def down(self) -> None:
        """Remove the container."""
        self.compose("down", "--timeout", "1", IMAGE="none")


def published(container: str, port: int) -> int:
    """Return the port of this machine at which a port of the container is published."""
    return int(run("docker", "port", container, f"{port}/tcp").splitlines()[0].rsplit(":", 1)[1])


@dataclass(frozen=True)
class Cluster:
    """Replicas behind a proxy, the ports of the proxy for requests and for its statistics."""

    replicas: dict[str, Service]
    port: int
    statistics_port: int

    def statistics(self) -> dict[str, dict[str, str]]:
        """Return what the proxy says of each replica, and of all as BACKEND."""
        connection = http.client.HTTPConnection("127.0.0.1", self.statistics_port, timeout=5)
        connection.request("GET", "/;csv")
        lines = connection.getresponse().read().decode().removeprefix("# ").splitlines()
        connection.close()
        return {row["svname"]: row for row in csv.DictReader(lines) if row["pxname"] == "replicas"}

    def retried(self) -> int:
        """Return how often the proxy has had to send a request again so far, to the same replica or to another."""
        counts = self.statistics()["BACKEND"]
        return int(counts["wretr"]) + int(counts["wredis"])

    def wait_until_used(self, *replicas: str) -> None:
        """Wait until the proxy sends requests to all of them."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with suppress(OSError, http.client.HTTPException):
                statistics = self.statistics()
                if all(statistics[replica]["status"] == "UP" for replica in replicas):
                    return
            time.sleep(0.1)
        raise SystemExit(f"after 30 s the proxy does not use every one of {', '.join(replicas)}")

    def replace(self, replica: str, image: str, load: Load) -> Event:
        """Replace a replica, and wait until the proxy uses it."""
        begin = load.now()
        self.replicas[replica].up(image)
        self.wait_until_used(replica)
        return Event(replica, "replaced", begin, load.now())

    def kill(self, replica: str, load: Load) -> Event:
        """Kill the process of a replica outright: nothing that it was doing is finished."""
        container = self.replicas[replica].container
        begin = load.now()
        run("docker", "kill", "--signal", "KILL", container)
        return Event(replica, "killed", begin, load.now())


def proxy_image() -> str:
    """Return the name of the proxy's image."""
    return f"rollout-{os.getpid()}:proxy"


@contextmanager
def cluster(
    project: Path, image: str, drain_delay: int = DRAIN_DELAY, check: str = "/readyz", retries: int = 3
) -> Iterator[Cluster]:
    """Start replicas of an image and the proxy, and remove them afterwards."""
    name = f"rollout-{os.getpid()}"
    (project / ".env").write_text(f"DRAIN_DELAY={drain_delay}\n")
    run("docker", "build", "--quiet", "--label", LABEL, "--tag", proxy_image(), str(HERE / "proxy"))
    run("docker", "network", "create", "--label", LABEL, name)
    shared = {"HOST_PORT": "0", "NETWORK": name, "LABEL": LABEL}
    more = (str(HERE / "proxy/replica.yaml"),)
    services = {
        replica: Service(project, f"{name}-{replica}", more, {**shared, "REPLICA": replica}) for replica in REPLICAS
    }
    proxy = ""
    options = ["--env", f"CHECK={check}", "--env", f"RETRIES={retries}", "--read-only", "--cap-drop", "ALL"]
    options += ["--network", name, "--publish", "127.0.0.1::8080", "--publish", "127.0.0.1::8404"]
    try:
        for service in services.values():
            service.up(image)
        proxy = run("docker", "run", "--detach", "--label", LABEL, *options, proxy_image())
        found = Cluster(services, published(proxy, 8080), published(proxy, 8404))
        found.wait_until_used(*REPLICAS)
        yield found
    finally:
        for service in services.values():
            service.down()
        if proxy:
            run("docker", "rm", "--force", proxy)
        run("docker", "network", "rm", name)


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
            time.sleep(CALM)
        while len(self.load.samples) - first < requests:
            time.sleep(0.1)
        return Phase(title, events, self.load.samples[first:], self.replicas.retried() - retried)


def alone(project: Path, images: dict[str, str]) -> list[Sample]:
    """Replace the only container of the service, under its share of the load, without a proxy; return the requests."""
    service = Service(project, f"rollout-{os.getpid()}-alone", (), {"HOST_PORT": "0"})
    (project / ".env").write_text("")
    try:
        service.up(images[OLD])
        port = int(service.compose("port", "web", "5000", IMAGE=images[OLD]).rsplit(":", 1)[1])
        service.variables["HOST_PORT"] = str(port)
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
            measured.phase("roll back", images[OLD], killed=REPLICAS[1], requests=REQUESTS),
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
    """Return how many requests there were and how many failed, of each kind, and the latency."""
    kinds = {
        kind.title: {"requests": len(of_kind), "failed": sum(bool(sample.problem) for sample in of_kind)}
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
            "docker": run("docker", "info", "--format", "{{.ServerVersion}}"),
            "haproxy": proxy_version(),
            "python": python_version,
        },
        "rate": sum(kind.rate for kind in KINDS),
        "drain_delay": DRAIN_DELAY,
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
    printed = run("docker", "run", "--rm", "--label", LABEL, proxy_image(), "haproxy", "-v")
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
    svg = timeline.draw(results)
    (folder / "rollout.svg").write_text(svg, encoding="utf-8")
    png = resvg_py.svg_to_bytes(svg_string=svg, zoom=2, sans_serif_family="DejaVu Sans")
    (folder / "rollout.png").write_bytes(bytes(png))


def main() -> int:
    """Measure, print and write; return 1 if a request was lost that must not be."""
    parser = argparse.ArgumentParser(description="Replace every replica under load, and count what is lost.")
    parser.add_argument("--output", type=Path, default=HERE / "results", help="folder for the results")
    output = parser.parse_args().output
    python_version = os.environ.get("PYTHONS", "3.14").split()[0]
    try:
        with tempfile.TemporaryDirectory() as folder:
            with console.status("Building two images …"):
                built = build(Path(folder), python_version)
            with console.status("Replacing replicas under load …"):
                phases = measure(*built)
            with console.status("Replacing a container without a proxy …"):
                single = alone(*built)
        measured = results(phases, single, python_version)
    finally:
        bench.remove_leftovers()
    write(measured, output)
    print(table(measured), end="")
    console.print(f"Written: rollout.json, rollout.svg, rollout.png in {output}")
    return int(bool(phases[0].failed))


if __name__ == "__main__":
    sys.exit(main())
