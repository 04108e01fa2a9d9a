"""METRICS=prometheus, as a scraper sees it. No row of the contract: it is this service's own, and off by default."""

import http.client
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.settings import Settings
from tests.container import docker
from tests.container.configuration import Configuration
from tests.container.load import load

pytestmark = pytest.mark.usefixtures("project_only")

SERVICE_PORT = Settings.__dataclass_fields__["port"].metadata["default"]
PORT = 9464 if SERVICE_PORT != 9464 else 9465
ON = ("--env", "METRICS=prometheus", "--env", f"METRICS_PORT={PORT}", "--publish", f"127.0.0.1::{PORT}")
WORKERS = 3


class Scraped:
    """What a scrape has found: samples by their name and the values of their labels."""

    def __init__(self, container: docker.Container) -> None:
        """Scrape, as Prometheus would."""
        response = docker.Container(container.identity, PORT).request("/metrics")
        assert response.status == 200, response.body
        families = text_string_to_metric_families(response.body.decode())
        self.samples = [sample for family in families for sample in family.samples]
        self.page = {"method": "GET", "route": self._route(str(container.page.status))}

    def _route(self, status: str) -> str:
        """Return the route of the page, from the first request for it."""
        found = {
            sample.labels["route"]
            for sample in self.samples
            if sample.name == "http_requests_total" and sample.labels["status"] == status
        }
        return next(iter(found - {"unmatched"}), "")

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of all samples of a name that have these labels."""
        return sum(
            sample.value for sample in self.samples if sample.name == name if labels.items() <= sample.labels.items()
        )

    @property
    def answered(self) -> float:
        """Return the number of requests for the page that have been served."""
        return self.total("http_requests_total", **self.page)

    @property
    def in_flight(self) -> float:
        """Return the number of requests that are being answered."""
        return self.total("http_requests_in_flight")


@contextmanager
def started(image: docker.Image, *options: str, workers: int = WORKERS) -> Iterator[docker.Container]:
    """Run a container with metrics and the pages of injected/sitecustomize.py; wait until all of it serves."""
    options = (*ON, *image.with_contract_pages, *options)
    with docker.started(image, "--env", f"WEB_CONCURRENCY={workers}", *options) as container:
        container.wait_until_serving()
        assert container.wait_for_workers(workers + 1) == workers + 1, "one more process than workers, for the metrics"
        wait_until(lambda: can_be_scraped(container), "no metrics are served")
        yield container


def wait_until(holds: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Wait for something; fail saying what, where it does not come."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"after {seconds} s: {what}"
        time.sleep(0.05)


def python(container: docker.Container, program: str) -> str:
    """Run a program of Python in the container; return what it prints."""
    return docker.run("exec", container.identity, "python3", "-I", "-c", program).stdout


# A worker may end between two looks, and one that has just been killed has no command any more.
COMMANDS = """
for number in {}:
    try:
        print(number, open("/proc/%d/cmdline" % number).read().replace(chr(0), " "))
    except OSError:
        pass
"""


def workers(container: docker.Container) -> list[int]:
    """Return the workers by their numbers inside the container, without the exporter."""
    printed = python(container, COMMANDS.format(container.workers()))
    processes = [line.split(maxsplit=1) for line in printed.splitlines()]
    return [int(number) for number, *command in processes if command and "app.exporter" not in command[0]]


def files(container: docker.Container) -> set[str]:
    """Return the names of the files in which the workers count."""
    return set(python(container, "import glob; print(*glob.glob('/dev/shm/metrics-*/*'))").split())


def test_the_requests_of_all_workers_are_added_up(image: docker.Image) -> None:
    """Who scrapes one worker sees a third of the truth, and another third the next time.

    Fix: app/metrics.py, where workers get their files and who adds them up.
    """
    with started(image) as container:
        before = Scraped(container).answered
        assert load(container, requests=900, clients=30) == []
        wait_until(lambda: Scraped(container).answered == before + 900, f"{Scraped(container).answered} of 900")
        found = Scraped(container)
        counting = [name for name in files(container) if "/counter_" in name]

    assert len(counting) > 1, f"a single worker has answered all requests, which proves nothing: {counting}"
    assert found.total("http_request_duration_seconds_count", **found.page) == found.answered
    assert found.total("http_request_duration_seconds_bucket", **found.page, le="+Inf") == found.answered
    assert 0 < found.total("http_request_duration_seconds_sum", **found.page) < 900
    assert found.in_flight == 0


def test_no_count_goes_backwards_where_workers_are_killed(image: docker.Image) -> None:
    """A counter that falls is read as a restart, and every rate and alert built on it is wrong for a while.

    Fix: keep what a worker has counted, forget only what it was doing (app/exporter.py).
    """
    with started(image) as container, ThreadPoolExecutor(5) as clients:
        assert load(container, requests=600, clients=30) == []
        wait_until(lambda: Scraped(container).answered >= 600, "not all requests are counted")
        for _ in range(5):
            clients.submit(container.request, "/contract/sleep?20", timeout=30)
        wait_until(lambda: Scraped(container).in_flight == 5, "five requests are being answered")
        before = Scraped(container).answered

        victims = workers(container)
        container.signal("SIGKILL", victims)
        wait_until(lambda: len(set(workers(container)) - set(victims)) == WORKERS, "not all workers are back")

        assert Scraped(container).in_flight == 0, "what a killed worker was answering is still in flight"
        assert Scraped(container).answered == before
        assert load(container, requests=600, clients=30) == []
        wait_until(lambda: Scraped(container).answered == before + 600, "a new worker does not go on counting")


# Every hook that gunicorn documents, as an owner would add it.
HOOKS = {
    "on_starting": 1, "on_reload": 1, "when_ready": 1, "pre_fork": 2, "post_fork": 2, "post_worker_init": 1,
    "worker_int": 1, "worker_abort": 1, "pre_exec": 1, "pre_request": 2, "post_request": 4, "child_exit": 2,
    "worker_exit": 2, "nworkers_changed": 3, "on_exit": 1,
}  # fmt: skip


def test_hooks_of_the_owner_do_not_switch_metrics_off(tmp_path: Path, image: docker.Image) -> None:
    """SQLAlchemy and OpenTelemetry ask for hooks of gunicorn; a second one of the same name replaces the first, unseen.

    Fix: take no hook for the service itself.
    """
    context = docker.copy_of_project(tmp_path)
    with (context / "gunicorn.conf.py").open("a") as conf:
        for name, count in HOOKS.items():
            conf.write(f"\n\ndef {name}({', '.join(f'_{number}' for number in range(count))}): pass\n")
    with started(image.variant("hooks", context=context)) as container:
        before = Scraped(container).answered
        container.request()
        wait_until(lambda: Scraped(container).answered == before + 1, "not counted")


def test_clients_cannot_add_series(image: docker.Image) -> None:
    """A label with whatever clients send fills the memory of the service, and of Prometheus.

    Fix: patterns instead of paths, and known methods only.
    """
    with started(image) as container:
        for number in range(100):
            container.request(f"/no/such/page/{number}?{number}", method=f"VERB{number}")
        wait_until(lambda: Scraped(container).total("http_requests_total", route="unmatched") == 100, "not counted")
        found = Scraped(container)

    series = {tuple(one.labels.values()) for one in found.samples if one.name == "http_requests_total"}
    assert series == {("GET", found.page["route"], str(image.page.status)), ("other", "unmatched", "404")}


# For some seconds, as a connection that finds no place in the queue is tried again after one.
MOST_THREADS = """
import glob, time
most = 0
for _ in range(40):
    most = max(most, *(len(glob.glob("/proc/%d/task/*" % number)) for number in {}))
    time.sleep(0.1)
print(most)
"""


def test_slow_scrapers_hurt_nobody(image: docker.Image) -> None:
    """A client that reaches the port can open connections and send nothing; the service must not notice.

    Fix: few connections at once, each with a time-out, in a separate process (app/exporter.py).
    """
    with started(image) as container, ExitStack() as stack:
        exporter = docker.Container(container.identity, PORT)
        for _ in range(200):
            stack.enter_context(exporter.open_socket()).sendall(b"GET /metrics HTTP/1.1\r\nX-Slow: ")
        assert container.request().status == image.page.status
        most = int(python(container, MOST_THREADS.format(container.workers())))
        assert most < 50, f"each slow scraper holds a thread: {most}"
        wait_until(lambda: can_be_scraped(container), "slow scrapers are never sent away")


def can_be_scraped(container: docker.Container) -> bool:
    """Tell whether the exporter responds."""
    try:
        Scraped(container)
    except (OSError, http.client.HTTPException):
        return False
    return True


def test_metrics_are_there_while_the_workers_hang(image: docker.Image) -> None:
    """A service is looked at when it hangs. Fix: serve the metrics from a separate process."""
    with ThreadPoolExecutor() as clients, started(image, workers=1) as container:
        clients.submit(container.request, "/contract/sleep?60", timeout=70)
        wait_until(lambda: Scraped(container).in_flight == 1, "a request is being answered")
        container.signal("SIGSTOP", workers(container))
        assert Scraped(container).in_flight == 1


def test_metrics_change_neither_life_nor_stop(image: docker.Image, told: Configuration) -> None:
    """Read-only, as any user, in the memory of one more worker, with a clean log, and ended at once."""
    memory = str(told.budget.smallest_limit + told.budget.worker_bytes)
    limits = ("--user", "1234567:0", "--memory", memory, "--memory-swap", memory)
    with docker.started(image, *ON, *limits, "--env", "GRACEFUL_TIMEOUT=60") as container:
        container.wait_until_serving()
        assert container.wait_for_workers(2) == 2
        assert load(container, requests=1000, clients=10) == []
        wait_until(lambda: Scraped(container).answered >= 1000, "not all requests are counted")
        container.request("/healthz")
        assert Scraped(container).total("http_requests_total", route="/healthz") == 0
        container.stop()
        state, lines = container.state, container.logs

    assert (state["ExitCode"], state["OOMKilled"]) == (0, False)
    assert not [line for line in lines if '"level": "INFO"' not in line]
    assert not [line for line in lines if "/metrics" in line], "scrapes are logged"


@pytest.mark.parametrize("options", [(), ON], ids=["off", "prometheus"])
def test_without_metrics_there_is_nothing_of_them(image: docker.Image, options: tuple[str, ...]) -> None:
    """Who does not ask for metrics does not pay for them: no import in any process, no process, no port, no file.

    That all of it is found where metrics are on shows that this test can see it. Fix: app/__main__.py.
    """
    trace = ("--env", "PYTHONPROFILEIMPORTTIME=1", "--env", f"WEB_CONCURRENCY={WORKERS}")
    connect = f"import socket; print(socket.socket().connect_ex(('127.0.0.1', {PORT})))"
    with docker.started(image, *trace, *options) as container:
        container.wait_until_serving()
        processes = container.wait_for_workers(WORKERS)
        connected = python(container, connect).split() == ["0"]
        written = files(container)
        imported = [line for line in container.logs if "prometheus_client" in line]

    on = options == ON
    assert (processes, connected, bool(written), bool(imported)) == (WORKERS + on, on, on, on)


def test_metrics_need_a_port_of_their_own(image: docker.Image) -> None:
    """Two listeners on one port are a mistake that must be named. Fix: app/settings.py."""
    variables = ("--env=METRICS=prometheus", f"--env=METRICS_PORT={SERVICE_PORT}")
    done = image.run_to_end(*image.needs, *variables, check=False)

    (line,) = (done.stdout + done.stderr).splitlines()
    assert line == f"METRICS_PORT='{SERVICE_PORT}' is not valid: it must be another than PORT, for example {PORT}"
    assert done.returncode == 1
