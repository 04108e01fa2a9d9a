"""Workers follow the limits of the container, whichever cgroup version states them."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from app.capacity import MAX_WORKERS, default_workers
from app.settings import Settings
from tests.unit.required import NEEDED

MIB = 2**20
CONFIG = Settings.from_environ(
    {**NEEDED, "FIRST_WORKER_BYTES": str(56 * MIB), "WORKER_BYTES": str(16 * MIB), "METRICS": "off"}
)
UNLIMITED_V1 = str(0x7FFFFFFFFFFFF000)


@pytest.fixture(autouse=True)
def eight_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


def _cgroup(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


def _v1(root: Path, quota: str, memory: str) -> Path:
    return _cgroup(
        root,
        cpu__cpu_dot_cfs_quota_us=quota,
        cpu__cpu_dot_cfs_period_us="100000",
        memory__memory_dot_limit_in_bytes=memory,
    )


def _v2(root: Path, quota: str, memory: str) -> Path:
    return _cgroup(root, cpu_dot_max=f"{quota} 100000", memory_dot_max=memory)


@pytest.mark.parametrize(
    ("quota", "memory", "workers"),
    [
        pytest.param("max", "max", 9, id="no limit: one per CPU and one more"),
        pytest.param("400000", "max", 5, id="four CPUs"),
        pytest.param("350000", "max", 5, id="a started CPU counts"),
        pytest.param("50000", "max", 2, id="half a CPU"),
        pytest.param("1600000", "max", 9, id="a quota above the CPUs there are"),
        pytest.param("max", str(40 * MIB + 3 * 16 * MIB), 3, id="memory for three"),
        pytest.param("max", str(32 * MIB), 1, id="next to no memory: still one"),
    ],
)
@pytest.mark.parametrize("version", [1, 2])
def test_workers_follow_the_limits(tmp_path: Path, quota: str, memory: str, workers: int, version: int) -> None:
    if version == 1:
        root = _v1(tmp_path, quota.replace("max", "-1"), memory.replace("max", UNLIMITED_V1))
    else:
        root = _v2(tmp_path, quota, memory)

    assert default_workers(CONFIG, root) == workers


def test_larger_workers_are_fewer(tmp_path: Path) -> None:
    root = _v2(tmp_path, "max", str(256 * MIB))

    assert default_workers(replace(CONFIG, first_worker_bytes=100 * MIB, worker_bytes=50 * MIB), root) == 4
    assert default_workers(replace(CONFIG, first_worker_bytes=100 * MIB, worker_bytes=160 * MIB), root) == 1


def test_metrics_have_their_share_of_the_memory(tmp_path: Path) -> None:
    root = _v2(tmp_path, "max", str(40 * MIB + 3 * 16 * MIB))

    assert default_workers(replace(CONFIG, metrics="prometheus"), root) == 2


def test_a_large_machine_does_not_mean_a_large_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)

    assert default_workers(CONFIG, tmp_path) == MAX_WORKERS


@pytest.mark.parametrize(("counted", "workers"), [(4, 5), (None, 2)])
def test_where_no_process_can_be_bound_all_cpus_count(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, counted: int | None, workers: int
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: counted)

    assert default_workers(CONFIG, tmp_path) == workers
