"""The plot of `make rollout`: what became of the requests of each half second, and how long they took."""

from typing import Any

from matplotlib.figure import Figure

from tools.charts import Caption, timeline

# Seconds in which requests are counted together.
BIN = 0.5


def draw(results: dict[str, Any]) -> Figure:
    """Return the plot of a run's results."""
    on, of = results["machine"], results["versions"]
    caption = Caption(
        "Two replicas updated under load, then rolled back with one killed",
        ", ".join(map(summary, results["phases"])),
        f"{results['rate']} requests a second, one in five a POST;"
        " /readyz says 503 for some seconds before a replica stops\n"
        f"Measured {results['date']} on {on['cpus']} CPUs, {on['system']}, Docker {of['docker']},"
        f" HAProxy {of['haproxy']}, Python {of['python']}",
    )
    events = [event for phase in results["phases"] for event in phase["events"]]
    return timeline(caption, events, results["bins"], BIN)


def summary(phase: dict[str, Any]) -> str:
    """Return how many requests of a phase there were and how many failed."""
    requests, failed = (sum(kind[name] for kind in phase["kinds"].values()) for name in ("requests", "failed"))
    return f"{phase['title']}: {failed} of {requests} requests failed"
