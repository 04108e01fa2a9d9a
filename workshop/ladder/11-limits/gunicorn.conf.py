"""How gunicorn serves. https://gunicorn.org/reference/settings/ explains each name."""

import math
import os
import socket
from pathlib import Path


def limit(*names: str) -> float:
    """Return what the cgroup, of version 2 or 1, allows; infinity where there is no limit."""
    files = [Path("/sys/fs/cgroup", name) for name in names]
    values = [file.read_text().split()[0] for file in files if file.exists()]
    return next((int(value) for value in values if value.isdigit()), math.inf)


# A worker for each CPU and one that stands in, if memory allows it: the first takes
# 56 MiB, each further one 16 that it does not share.
cpus = min(limit("cpu.max", "cpu/cpu.cfs_quota_us") / 100_000, os.process_cpu_count() or 1)
fitting = 1 + (limit("memory.max", "memory/memory.limit_in_bytes") / 2**20 - 56) / 16
workers = int(os.environ.get("WEB_CONCURRENCY") or max(1, min(math.ceil(cpus) + 1, fitting)))
preload_app = True
threads = 16

bind = f"{'[::]' if socket.has_dualstack_ipv6() else '0.0.0.0'}:{os.environ['PORT']}"
# Docker kills what has not stopped within 10 s.
graceful_timeout = 7
control_socket_disable = True
