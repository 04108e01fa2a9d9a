"""`python -m app.exporter` serves the metrics of all workers on METRICS_PORT, until its standard input ends.

A separate process: it responds while every thread of the service is busy, and too many scrapes take no thread from it.
"""

import glob
import os
import shutil
import socket
import sys
import threading
from http.server import ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry, MetricsHandler
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from app import logs, settings

MAX_CONNECTIONS = 20
PAUSE_SECONDS = 5


class _Collector(MultiProcessCollector):
    def collect(self) -> Any:
        """Forget what workers that have ended were doing. What they have counted stays."""
        names = glob.glob("gauge_live*_*.db", root_dir=os.environ["PROMETHEUS_MULTIPROC_DIR"])
        for pid in {name[name.rindex("_") + 1 : -len(".db")] for name in names}:
            try:
                os.kill(int(pid), 0)
            except ProcessLookupError:
                mark_process_dead(pid)
        return super().collect()  # type: ignore[no-untyped-call]


class _Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET

    def verify_request(self, *_: Any) -> bool:
        """Refuse connections over the limit: each is a thread, and the container may have only so many."""
        return threading.active_count() < MAX_CONNECTIONS


def main() -> None:
    """Serve until the service has ended."""
    config = settings.load()
    logs.start(config)
    registry = CollectorRegistry(support_collectors_without_names=True)
    _Collector(registry)  # type: ignore[no-untyped-call]
    socket.setdefaulttimeout(PAUSE_SECONDS)
    with _Server(("", config.metrics_port), MetricsHandler.factory(registry)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sys.stdin.buffer.read()
    shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"], ignore_errors=True)


if __name__ == "__main__":
    main()
