"""On SIGTERM: first be no longer ready, and stop only when the balancer has heard of it."""

import signal
from pathlib import Path

DRAINING = Path("/dev/shm/draining")
# More than the two looks, half a second apart, after which the balancer sends nothing more.
DRAIN_SECONDS = 3


def when_ready(_):
    """Put the drain before the handler that gunicorn has set."""
    stop = signal.getsignal(signal.SIGTERM)

    def drain(*_):
        DRAINING.touch()
        signal.alarm(DRAIN_SECONDS)

    signal.signal(signal.SIGTERM, drain)
    signal.signal(signal.SIGALRM, lambda _, frame: stop(signal.SIGTERM, frame))
