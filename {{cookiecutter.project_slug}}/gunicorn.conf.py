"""How gunicorn serves the application. What an operator may change is in app/settings.py."""

import gc
import os
import signal
from typing import Any

from app import capacity, health, logs, settings, worker

environment = settings.load()

wsgi_app = "app:create_app()"
bind = [f"0.0.0.0:{environment.port}"]

# Threads overlap waiting, processes overlap computing and outlive each other's crashes. Loading the application once,
# before the fork, saves every further worker its import and lets it share the memory.
worker_class = worker.Worker
workers = environment.web_concurrency or capacity.default_workers()
threads = environment.threads
preload_app = True

timeout = environment.timeout
graceful_timeout = environment.graceful_timeout
keepalive = environment.keep_alive

# Memory, not disk: the heartbeat file would block on a busy disk, and has no place on a read-only one.
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None
# The control socket wants a writable home directory, and nothing here uses it.
control_socket_disable = True
# app/security.py alone decides which proxies are trusted.
forwarded_allow_ips = ""

logger_class = logs.GunicornLogger
logconfig_dict = logs.configuration(environment.log_level, environment.log_format)

if environment.metrics == "prometheus":
    # Only here, and all of it: without metrics there is nothing to import, to run or to wait for.
    from app.metrics import child_exit, on_exit, post_fork, post_request, pre_fork, pre_request  # noqa: F401

    bind.append(f"0.0.0.0:{environment.metrics_port}")
    workers = 1 + (environment.web_concurrency or capacity.default_workers(besides=1))


def when_ready(server: Any) -> None:
    """Prepare the fork of the workers, and put the drain in front of gunicorn's own graceful stop.

    On SIGTERM /readyz turns 503 at once, and for DRAIN_DELAY seconds all else goes on as before, so that load
    balancers notice in time. A second SIGTERM cuts the wait short.
    """
    # What has been loaded by now stays. Without this, the first full collection in a worker would touch all of it, and
    # with that copy every page the workers share.
    gc.freeze()

    stop = server.handle_term

    def handle_term() -> None:
        first = not health.draining()
        health.start_draining()
        if first and environment.drain_delay:
            signal.alarm(environment.drain_delay)
        else:
            stop()

    signal.signal(signal.SIGALRM, lambda *_: server.signal(signal.SIGTERM, None))
    server.handle_term = handle_term

    # A worker that is told to stop before it has handlers of its own would never hear of it, and the service would stop
    # by GRACEFUL_TIMEOUT and SIGKILL. So the signal waits during the fork, here and in the worker until it is ready.
    spawn = server.spawn_worker

    def spawn_worker() -> Any:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            return spawn()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    server.spawn_worker = spawn_worker


def post_worker_init(_: Any) -> None:
    """Let a worker hear SIGTERM, now that it has its handlers."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
