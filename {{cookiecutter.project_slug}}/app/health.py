"""Liveness and readiness.

/healthz says that the process lives: restart the container where it fails.
/readyz says that it wants traffic: take the container out of the load balancer where it fails.
"""

import mmap
from collections.abc import Callable

from flask import Blueprint, Flask, current_app

blueprint = Blueprint("health", __name__)

PATHS = frozenset({"/healthz", "/readyz"})

# Anonymous memory is shared with every process forked after this line, so gunicorn's arbiter can tell all its workers
# with one byte that the service is going away.
_draining = mmap.mmap(-1, 1)


def start_draining() -> None:
    """Make /readyz answer 503 in this process and in all workers forked from it."""
    _draining[0] = 1


def draining() -> bool:
    """Tell whether the service is on its way out."""
    return bool(_draining[0])


def add_check(app: Flask, name: str, check: Callable[[], object]) -> None:
    """Make the readiness of `app` depend on `check`, which raises an exception while traffic is unwelcome.

    Every probe calls it: keep it quick, and let it time out within a second.
    """
    app.extensions.setdefault("readiness", {})[name] = check


@blueprint.get("/healthz")
def healthz() -> dict[str, str]:
    """Answer 200 as long as a worker can answer at all."""
    return {"status": "ok"}


@blueprint.get("/readyz")
def readyz() -> tuple[dict[str, object], int]:
    """Answer 200, or 503 while draining or while one of the checks of `add_check` fails."""
    if draining():
        return {"status": "draining"}, 503
    failed = []
    for name, check in current_app.extensions.get("readiness", {}).items():
        try:
            check()
        except Exception:
            current_app.logger.warning("readiness check failed: %s", name, exc_info=True)
            failed.append(name)
    if failed:
        return {"status": "not ready", "failed": failed}, 503
    return {"status": "ready"}, 200
