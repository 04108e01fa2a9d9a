"""What all benchmarks share: what is asked of any image, what the figures depend on, and how both are shown."""

import json
import os
import platform
import re
import subprocess
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.progress import Progress

from tools import engine
from tools.baking import SERVICE
from tools.questions import DEFAULTS

# Without its health check, so that none falls into a measurement.
SILENT = ("--no-healthcheck",)
HARDENED = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", *SILENT)
# What others than the template need to start with a read-only root.
WRITABLE = ("--tmpfs", "/tmp")
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
PROBES = 5
# Runs in the container, so that the CPU time is that of the probe alone, without Docker's and without the server's.
TIME_PROBES = """
import resource, subprocess, sys
for _ in range(int(sys.argv[1])):
    subprocess.run(sys.argv[2:], check=True, stdout=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime)
"""


def python_version() -> str:
    """Return the Python to build on: the first in PYTHONS, or the default answer."""
    return os.environ.get("PYTHONS", DEFAULTS["python_version"]).split()[0]


def provided(image: str) -> bool:
    """Tell whether an image is there, or can be pulled within an hour."""
    return engine.has(image) or engine.run("pull", "--quiet", image, check=False, timeout=3600).returncode == 0


def probe_cpu(image: str, container: engine.Container) -> float | None:
    """Return the milliseconds of CPU that one run of the image's own HEALTHCHECK takes; None if it has none."""
    kind, *check = (engine.Image(image).config.get("Healthcheck") or {}).get("Test") or ["NONE"]
    if kind == "NONE":
        return None
    probes = ("python3", "-c", TIME_PROBES, str(PROBES), *check)
    return 1000 * float(engine.output("exec", container.identity, *probes)) / PROBES


def cpu_used(container: engine.Container) -> float:
    """Return the milliseconds of CPU that the container has used so far, as the engine reads them from its cgroup."""
    request = f"GET /containers/{container.identity}/stats?stream=false&one-shot=true HTTP/1.0\r\n\r\n"
    command = ("docker", "system", "dial-stdio")
    said = subprocess.run(command, input=request.encode(), capture_output=True, check=True, timeout=60).stdout
    nanoseconds = json.loads(said.partition(b"\r\n\r\n")[2])["cpu_stats"]["cpu_usage"]["total_usage"]
    return float(nanoseconds / 1e6)


def pins(requirements: Path) -> dict[str, str]:
    """Return the versions that a requirements file pins."""
    return dict(re.findall(r"^([\w.-]+)==([\w.]+)", requirements.read_text().lower(), re.MULTILINE))


def machine() -> dict[str, Any]:
    """Return what of the machine the figures depend on."""
    cpuinfo = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.+)", cpuinfo.read_text()) if cpuinfo.exists() else None
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None
    # To whole GiB: a few pages more or less, from start to start, are the same machine.
    memory = round(memory / 2**30) * 2**30 if memory else None
    system = f"{platform.system()} {platform.machine()}" + (f", {model[1]}" if model else "")
    return {"cpus": CORES, "memory_bytes": memory, "system": system}


def facts(**bases: str) -> dict[str, Any]:
    """Return date, machine and versions, those of base images by a name that ends in "_image": the first has Python."""
    lock = pins(SERVICE / "requirements.txt")
    python = engine.output("run", "--rm", "--label", engine.LABEL, next(iter(bases.values())), "python", "--version")
    versions = {
        "docker": engine.output("info", "--format", "{{.ServerVersion}}"),
        "python": python.removeprefix("Python "),
        "flask": lock["flask"],
        "gunicorn": lock["gunicorn"],
    }
    for name, image in bases.items():
        versions[name] = f"{image} ({'stand-in' if 'Stand-in' in str(engine.Image(image).labels) else 'official'})"
    return {"machine": machine(), "date": f"{datetime.now(UTC):%Y-%m-%d}", "versions": versions}


def facts_line(facts: dict[str, Any]) -> str:
    """Return in one line when, on what and with what was measured: date, machine and versions."""
    on, of = facts["machine"], facts["versions"]
    memory = f"{on['memory_bytes'] / 2**30:.0f} GiB, " if on["memory_bytes"] else ""
    return (
        f"{facts['date']} on {on['cpus']} CPUs, {memory}{on['system']}, Docker {of['docker']}, "
        f"Python {of['python']}, Flask {of['flask']}, gunicorn {of['gunicorn']}; "
        f"base images: {', '.join(image for name, image in of.items() if name.endswith('_image'))}."
    )


def work_off(steps: Sequence[tuple[str, Callable[[], object]]]) -> None:
    """Take one step after the other, each named by the progress display."""
    with Progress() as progress:
        task = progress.add_task("", total=len(steps))
        for what, step in steps:
            progress.update(task, description=f"{what:<38}")
            step()
            progress.advance(task)


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    return "".join(f"| {' | '.join(row)} |\n" for row in (header, ["---"] * len(header), *rows))
