"""Replace every replica of the service under constant load, and count what is lost: `make rollout`.

The service runs by its own compose.proxy.yaml: HAProxy before two replicas. All the while requests come at a constant
rate, whatever becomes of them. Each takes 50 ms, so that every replica always has some in flight.

    update     each replica in turn is replaced by another image, built from edited code, as docs/one-host.md says
    roll back  each is replaced by the first image again, and one is killed outright before
    alone      a single container without a proxy is replaced, for comparison

Latency is counted from the moment at which a request was due, so none is hidden behind a slow one. Needs a Docker
Engine.
"""

import csv
import http.client
import json
import os
import re
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Self
from unittest.mock import patch

import numpy as np

from benchmarks import measures, timeline
from benchmarks.timeline import BIN
from tools import engine
from tools.baking import SERVICE, bake
from tools.charts import save_for_both_grounds
from tools.questions import base_image

HERE = Path(__file__).parent
REPLICAS = ("web-a", "web-b")
OLD, NEW = "1", "2"
REQUESTS = 10_000
# Seconds without any event, before a replacement and after a kill.
CALM = 2.0
# Starts containers, or replaces those there are, and waits until they are healthy.
UP = ("up", "--detach", "--wait")

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
        # Not by requests: where the proxy drops a kept connection it opens another, and hides that.
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
class Phase:
    """A part of a run: its events as they are stored, its requests, and how often the proxy had to send one again."""

    title: str
    events: Sequence[dict[str, Any]]
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
    if measures.provided(named):
        return str(named)
    engine.run("build", "--quiet", "--tag", "stand-in:haproxy", str(HERE / "proxy"))
    return "stand-in:haproxy"


@dataclass(frozen=True)
class Service:
    """A service as its owner runs it, by compose files of its project and what the variables say."""

    project: Path
    files: tuple[str, ...]
    variables: dict[str, str]

    def compose(self, *arguments: str, **variables: str) -> str:
        """Run docker compose; return what it prints."""
        files = [f"--file={self.project / file}" for file in self.files]
        name = f"--project-name=rollout-{os.getpid()}"
        with patch.dict(os.environ, {"IMAGE": "none", **self.variables, **variables}):
            return engine.output("compose", *files, name, *arguments)

    def container(self, service: str, port: int) -> engine.Container:
        """Return the container that a service of the compose file has now, for one of its ports."""
        return engine.Container(self.compose("ps", "--quiet", service), port)

    def retried(self) -> int:
        """Return how often the proxy has had to send a request again so far, to the same replica or to another."""
        lines = self.container("proxy", 8404).request("/;csv").body.decode().removeprefix("# ").splitlines()
        [counts] = [row for row in csv.DictReader(lines) if (row["pxname"], row["svname"]) == ("replicas", "BACKEND")]
        return int(counts["wretr"]) + int(counts["wredis"])


@contextmanager
def running(project: Path, image: str, *files: str, **variables: str) -> Iterator[Service]:
    """Run an image by compose files of its project, and remove all containers afterwards."""
    service = Service(project, files, {"HOST_IP": "127.0.0.1", "HOST_PORT": "0", **variables})
    try:
        service.compose(*UP, IMAGE=image)
        yield service
    finally:
        service.compose("down", "--timeout", "1")


# ---- what is measured ----


@dataclass(frozen=True)
class Run:
    """The load on replicas behind a proxy, and what is done to them meanwhile."""

    service: Service
    load: Load

    def do(self, what: str, replica: str, *command: str, **variables: str) -> dict[str, Any]:
        """Do something to a replica by docker compose; return what it was, and from when to when in seconds."""
        begin = self.load.now()
        self.service.compose(*command, replica, **variables)
        return {"replica": replica, "what": what, "begin": begin, "end": self.load.now()}

    def phase(
        self, title: str, image: str, killed: str = "", only: Sequence[str] = REPLICAS, requests: int = 0
    ) -> Phase:
        """Replace replicas in turn, one of them killed before, and go on until there have been that many requests."""
        first, retried = len(self.load.samples), self.service.retried()
        events = []
        time.sleep(CALM)
        for replica in only:
            if replica == killed:
                events.append(self.do("killed", replica, "kill"))
                time.sleep(CALM)
            # As docs/one-host.md says.
            events.append(self.do("replaced", replica, *UP, "--no-deps", IMAGE=image))
        while len(self.load.samples) - first < requests:
            time.sleep(0.1)
        return Phase(title, events, self.load.samples[first:], self.service.retried() - retried)


@contextmanager
def loaded(project: Path, image: str, **variables: str) -> Iterator[Run]:
    """Run replicas of an image behind the proxy, under load."""
    files = ("compose.proxy.yaml", str(HERE / "proxy/watched.yaml"))
    variables |= {"PROXY_IMAGE": proxy_image(), "WATCHED": str(HERE / "proxy")}
    with running(project, image, *files, **variables) as it, Load(it.container("proxy", 8080).address[1]) as load:
        yield Run(it, load)


def measure(project: Path, images: dict[str, str]) -> tuple[Phase, Phase]:
    """Replace every replica by the new image, and again by the old one after one was killed; return both phases."""
    with loaded(project, images[OLD]) as run:
        return (
            run.phase("update", images[NEW], requests=REQUESTS),
            run.phase("roll back", images[OLD], killed=REPLICAS[0], requests=REQUESTS),
        )


def alone(project: Path, images: dict[str, str]) -> list[Sample]:
    """Replace the only container of the service, under its share of the load, without a proxy; return the requests."""
    with running(project, images[OLD], "compose.yaml") as service:
        port = service.container("web", 5000).address[1]
        with Load(port, share=1 / len(REPLICAS)) as load:
            time.sleep(CALM)
            service.compose(*UP, IMAGE=images[NEW], HOST_PORT=str(port))
            time.sleep(CALM)
        return load.samples


def gap(samples: Sequence[Sample]) -> float:
    """Return the longest time in seconds in which no request was answered."""
    answered = sorted(sample.over for sample in samples if not sample.problem)
    return max(after - before for before, after in pairwise(answered))


# ---- results ----


def latency(samples: Sequence[Sample]) -> dict[str, float]:
    """Return median and 99th percentile of what was answered, in milliseconds from the moment it was due."""
    values = [1000 * (sample.over - sample.due) for sample in samples if not sample.problem]
    if not values:
        return {}
    median, high = np.percentile(values, (50, 99), method="inverted_cdf").round(1).tolist()
    return {"p50": median, "p99": high}


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
    by_bin: dict[int, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_bin[int(sample.due / BIN)].append(sample)
    # The last one was cut short by the end of the load.
    return [
        {
            "answered": {version: sum(sample.version == version for sample in group) for version in (OLD, NEW)},
            "failed": sum(bool(sample.problem) for sample in group),
            **latency(group),
        }
        for _, group in sorted(by_bin.items())[:-1]
    ]


def results(phases: Sequence[Phase], single: Sequence[Sample]) -> dict[str, Any]:
    """Return all that is kept of a run: no single request, but what became of those of each half second."""
    facts = measures.facts(slim_image=base_image(measures.python_version()))
    proxy = engine.output("run", "--rm", "--label", engine.LABEL, proxy_image(), "haproxy", "-v").split()[2]
    facts["versions"]["haproxy"] = proxy.partition("-")[0]
    return {
        **facts,
        "rate": sum(kind.rate for kind in KINDS),
        "phases": [
            {"title": phase.title, "retried": phase.retried, "events": phase.events, **summary(phase.samples)}
            for phase in phases
        ],
        "alone": {"title": "alone", "gap": round(gap(single), 2), **summary(single)},
        "bins": bins([sample for phase in phases for sample in phase.samples]),
    }


def table(results: dict[str, Any]) -> str:
    """Return the numbers of a run as a table in Markdown."""
    header = ("Replaced under load", "Failed", "Sent again by the proxy", "Median", "99 of 100 within")
    rows = []
    for part in (*results["phases"], results["alone"]):
        requests, failed = (sum(kind[count] for kind in part["kinds"].values()) for count in ("requests", "failed"))
        gap = f", none answered for {part['gap']:.1f} s" if "gap" in part else ""
        counts = (f"{failed} of {requests}{gap}", str(part.get("retried", "")))
        rows.append((TITLES[part["title"]], *counts, f"{part['p50']:.0f} ms", f"{part['p99']:.0f} ms"))
    return measures.markdown(header, rows)


def main() -> int:
    """Measure, print, and write numbers and plot into results/; return 1 if a request was lost that must not be."""
    with engine.session(), tempfile.TemporaryDirectory() as folder:
        print("Building two images, then replacing replicas under load: some minutes", flush=True)
        built = build(Path(folder), measures.python_version())
        phases = measure(*built)
        measured = results(phases, alone(*built))
    output = HERE / "results"
    output.mkdir(exist_ok=True)
    (output / "rollout.json").write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    save_for_both_grounds(timeline.draw(measured), output / "rollout")
    print(table(measured), end="")
    print(f"Written: rollout.json, rollout.svg, rollout-dark.svg, rollout.png in {output}")
    return int(bool(phases[0].failed))


if __name__ == "__main__":
    raise SystemExit(main())
