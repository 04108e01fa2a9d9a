"""How gunicorn serves the application. What an operator may change is in app/settings.py.

Settings and server hooks of yours may be added: nothing here needs a hook. https://gunicorn.org/reference/settings/
"""

import atexit
import gc
import logging
import os
import signal
import socket
import sys
from functools import cache
from typing import Any

from app import access_log, capacity, health, logs, settings

environment = settings.load()
with_metrics = environment.metrics == "prometheus"
if with_metrics and "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
    sys.exit("METRICS=prometheus needs a service that is started by `python -m app`")

wsgi_app = "app:create_app()"
# One socket for IPv6 and IPv4, where the kernel has both.
bind = f"{'[::]' if socket.has_dualstack_ipv6() else '0.0.0.0'}:{environment.port}"

# Threads overlap waiting, processes overlap computing and outlive each other's crashes. Loading the application once,
# before the fork, saves every further worker its import and lets it share the memory. gevent must come before it.
worker_class = environment.worker_class
workers = environment.web_concurrency or capacity.default_workers(environment)
threads = environment.threads
preload_app = worker_class == "gthread"

timeout = environment.timeout
graceful_timeout = environment.graceful_timeout
keepalive = environment.keep_alive

# The control socket wants a writable home directory, and nothing here uses it.
control_socket_disable = True
# app/security.py alone decides which proxies are trusted.
forwarded_allow_ips = ""

logger_class = access_log.GunicornLogger
logconfig_dict = logs.configuration(environment.log_level, environment.log_format)
logs.capture()


@cache  # gunicorn reads this file again on SIGHUP
def prepare_the_fork(arbiter: int) -> None:
    """Have memory and signals of the arbiter in order whenever it forks a worker."""

    def before() -> None:
        if os.getpid() == arbiter:
            # What has been loaded by now stays. Without this, the first full collection in a worker would touch all of
            # it, and with that copy every page that the workers share. app/__main__.py has switched collection off.
            gc.freeze()
            gc.enable()
            # A worker that is told to stop before it has handlers would not hear of it, and end by SIGKILL.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            if environment.drain_delay:
                prepare_the_drain(arbiter, environment.drain_delay)

    def in_arbiter() -> None:
        if os.getpid() == arbiter:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    def in_worker() -> None:
        if os.getppid() == arbiter:
            signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    os.register_at_fork(before=before, after_in_parent=in_arbiter, after_in_child=in_worker)


@cache
def prepare_the_drain(arbiter: int, seconds: int) -> None:
    """Put the drain before the handler that gunicorn has set: /readyz says 503 at once, and all else goes on.

    A second SIGTERM cuts the wait short.
    """
    stop: Any = signal.getsignal(signal.SIGTERM)
    if not callable(stop):
        os.write(2, b"DRAIN_DELAY cannot work: this release of gunicorn does not handle SIGTERM\n")
        os._exit(1)

    def begin(number: int, frame: Any) -> None:
        if os.getpid() != arbiter or health.draining():
            stop(number, frame)
        else:
            health.start_draining()
            signal.alarm(seconds)

    signal.signal(signal.SIGTERM, begin)
    signal.signal(signal.SIGALRM, lambda _, frame: stop(signal.SIGTERM, frame))


@cache
def prepare_the_end(arbiter: int) -> None:
    """Have a worker that stops leave at once, after all that was to be done at its end.

    Taking its objects apart would copy all memory that the workers share. As they stop together, the service would need
    that much for each of them, and at its limit the kernel would kill requests in flight.
    """

    def leave() -> None:
        # A worker that could not start has to end by itself: its exit code tells gunicorn to give up.
        worker = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
        if os.getpid() != arbiter and getattr(worker, "booted", False):
            logging.shutdown()
            os._exit(0)

    # What is registered first is called last.
    atexit.register(leave)


prepare_the_fork(os.getpid())
prepare_the_end(os.getpid())
