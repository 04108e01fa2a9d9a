"""`make bench`, without what only an engine can do: a load that fails, and an image without a health check."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks import bench, measures
from tools import engine

CONTAINER = engine.Container("none", 5000)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo unable to connect >&2; exit 1", "wrk failed with exit code 1: unable to connect"),
        ("echo '  Non-2xx or 3xx responses: 12'", "not every answer was a 200: Non-2xx or 3xx responses: 12"),
    ],
)
def test_a_load_that_fails_ends_with_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, message: str
) -> None:
    (tmp_path / "wrk").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "wrk").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setitem(CONTAINER.__dict__, "address", ("127.0.0.1", 1))

    with pytest.raises(SystemExit, match=f"^{message}$"):
        bench.throughput(CONTAINER, 1)


@pytest.mark.parametrize("probe", [None, 17.0])
def test_an_image_without_health_check_has_no_probe(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, probe: float | None
) -> None:
    @contextmanager
    def started(*_: str) -> Iterator[tuple[engine.Container, float]]:
        yield CONTAINER, 0.25

    monkeypatch.setattr(engine, "started", started)
    monkeypatch.setattr(measures, "probe_cpu", lambda *_: probe)
    run = bench.Run(tmp_path, rounds=1, seconds=1)
    for image in run.images:
        run.start(image)

    template, *_ = run.images
    assert run.samples[bench.START][template.name] == [250]
    assert run.samples.get(bench.PROBE, {}).get(template.name) == (probe and [probe])
    assert (f"| {bench.PROBE} |" in bench.report(run.samples)) == bool(probe)
