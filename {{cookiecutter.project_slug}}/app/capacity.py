"""How many worker processes fit into this container."""

import math
import os
from pathlib import Path

from app.settings import Settings

MAX_WORKERS = 12


def default_workers(config: Settings, root: Path = Path("/")) -> int:
    """Return one worker per CPU of the quota and one more, as long as the memory limit allows; at least one.

    One more, because one that is killed or stuck must not take the whole service with it. The exporter of metrics takes
    as much as a worker. Limits come from the cgroup, version 2 or 1, below `root`: `os.cpu_count` and
    `os.process_cpu_count` do not see them.
    """
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = min(math.ceil(min(_cpu_quota(root), cpus)) + 1, MAX_WORKERS)
    further = (_memory_limit(root) - config.first_worker_bytes) / config.worker_bytes
    fitting = 1 + further - (config.metrics == "prometheus")
    return int(max(1, min(wanted, fitting)))


def _cpu_quota(root: Path) -> float:
    """Return the CPUs this container may use at once, or infinity where nothing limits it."""
    quota, period = [*_read(root, "cpu.max").split(), "", ""][:2]
    if not quota:
        quota, period = _read(root, "cpu/cpu.cfs_quota_us"), _read(root, "cpu/cpu.cfs_period_us")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else math.inf


def _memory_limit(root: Path) -> float:
    """Return the bytes of memory this container may use, or infinity where nothing limits it."""
    limit = _read(root, "memory.max") or _read(root, "memory/memory.limit_in_bytes")
    return int(limit) if limit.isdigit() else math.inf


def _read(root: Path, name: str) -> str:
    try:
        return (root / "sys/fs/cgroup" / name).read_text().strip()
    except OSError:
        return ""
