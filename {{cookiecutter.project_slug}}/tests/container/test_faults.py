"""The contract, rows 19 and 21: what a service must bear. Row 20, slow clients, is in test_proxy.py."""

import http.client
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest

from tests.container import docker
from tests.container.configuration import Configuration
from tests.container.load import load

MIB = 2**20


@pytest.mark.row(19)
def test_a_killed_worker_takes_only_its_own_requests_along(slow_service: docker.Container) -> None:
    """A worker dies of a bug in a C extension or for lack of memory; that must not be the end of the others.

    Fix: more than one worker, under a process that starts a new one.
    """
    with ExitStack() as stack:
        slow_service.wait_for_workers(2)
        deadline = time.monotonic() + 30
        workers: list[int] = []
        while len(set(workers)) < 2 and time.monotonic() < deadline:  # one that has just been forked takes none yet
            stack.close()
            connections = [stack.enter_context(_kept_open(slow_service)) for _ in range(50)]
            with ThreadPoolExecutor(50) as clients:  # at once, so that more than one worker gets some of them
                workers = [int(answer) for answer in clients.map(lambda c: _ask(c, "/contract/worker"), connections)]
        assert len(set(workers)) > 1, "a single worker holds every request: whatever kills it takes all of them along"
        victim = workers[0]
        with ThreadPoolExecutor(50) as clients:
            answers = [clients.submit(_ask, connection, "/contract/sleep?2") for connection in connections]
            time.sleep(0.2)
            slow_service.signal("SIGKILL", [victim])
        lost = [worker for worker, answer in zip(workers, answers, strict=True) if answer.exception()]

    assert set(lost) <= {victim}, f"requests of other workers were lost: {lost}"
    assert lost, "the worker was not killed: this proves nothing"
    assert slow_service.state["Running"]
    slow_service.wait_until_serving()
    assert load(slow_service, requests=200, clients=10) == [], "the service did not recover"


@contextmanager
def _kept_open(container: docker.Container) -> Iterator[http.client.HTTPConnection]:
    connection = container.connect()
    try:
        yield connection
    finally:
        connection.close()


def _ask(connection: http.client.HTTPConnection, path: str) -> bytes:
    """Send a request on a connection that is kept, and therefore stays with its worker."""
    connection.auto_open = 0 if connection.sock else 1
    connection.request("GET", path)
    response = connection.getresponse()
    assert response.status == 200, response.status
    return response.read()


@pytest.mark.row(21)
def test_memory_after_load_stays_within_budget(image: docker.Image, told: Configuration) -> None:
    """What grows with every request ends in a kill at night. The budget: what app/settings.py says, and an end.

    Threads and caches grow up at their own pace, a leak grows with every round of requests: so one round in which
    memory grows by no more than 350 bytes a request is enough.

    Fix: look for caches without bound and for what each request leaves behind; `gc.freeze()` before the fork.
    """
    requests, rounds = 2000, 6
    with docker.started(image, "--env", "WEB_CONCURRENCY=2") as container:
        container.wait_until_serving()
        further = max(0, len(container.workers()) - 1)
        budget = told.budget.first_worker_bytes + further * told.budget.worker_bytes
        used: list[int] = []
        while len(used) < rounds and (len(used) < 2 or used[-1] - used[-2] > 350 * requests):
            assert load(container, requests=requests, clients=10) == []
            used.append(container.memory())

    assert used[-1] <= budget, f"{used[-1] / MIB:.0f} MiB in use, the budget is {budget / MIB:.0f}"
    assert used[-1] - used[-2] <= 350 * requests, (
        f"memory grew in each of {rounds} rounds of {requests} requests: {[round(n / MIB, 1) for n in used]} MiB"
    )
