"""Liveness and readiness, answered before the application: none of its rules can refuse a probe.

/healthz says that the process lives: restart the container where it fails.
/readyz says that it wants traffic: take the container out of the load balancer where it fails.
"""

import logging
import mmap
from collections.abc import Callable
from concurrent.futures import Future, wait
from threading import Thread

from flask import Flask

PATHS = frozenset({"/healthz", "/readyz"})
# Less than the time-out of any probe, which must get a response and not silence.
CHECK_SECONDS = 1

_log = logging.getLogger(__name__)
# Anonymous memory is shared with every process forked after this line, so one byte tells all workers.
_draining = mmap.mmap(-1, 1)
_checks: dict[str, Callable[[], object]] = {}
_running: dict[str, Future[object]] = {}


def start_draining() -> None:
    """Make /readyz respond with 503 in this process and in all workers forked from it."""
    _draining[0] = 1


def draining() -> bool:
    """Tell whether the service is about to stop."""
    return bool(_draining[0])


def add_check(name: str, check: Callable[[], object]) -> None:
    """Make readiness depend on `check`, which raises an exception while traffic is unwelcome.

    Every probe calls it, in the context of the application. What has not ended within a second has failed, and is not
    called again until it has ended.
    """
    _checks[name] = check


def probe(path: str, app: Flask) -> tuple[dict[str, object], int]:
    """Return body and status for a path in PATHS."""
    if path == "/healthz":
        return {"status": "ok"}, 200
    if draining():
        return {"status": "draining"}, 503
    for name, check in _checks.items():
        if name not in _running or _running[name].done():
            _running[name] = _start(check, app)
    wait(_running.values(), CHECK_SECONDS)
    failed = [name for name in _checks if _failed(name, _running[name])]
    return ({"status": "not ready", "failed": failed}, 503) if failed else ({"status": "ready"}, 200)


def _start(check: Callable[[], object], app: Flask) -> "Future[object]":
    """Run a check in a thread that nothing waits for: neither a probe nor the end of the process."""
    future: Future[object] = Future()

    def run() -> None:
        try:
            with app.app_context():
                future.set_result(check())
        except BaseException as error:
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    return future


def _failed(name: str, check: "Future[object]") -> bool:
    error = check.exception() if check.done() else TimeoutError(f"no result after {CHECK_SECONDS} s")
    if error:
        _log.warning("readiness check failed: %s", name, exc_info=error)
    return error is not None
