"""The plot of `make rollout`: what became of the requests of each half second, and how long they took."""

import textwrap
from math import nan
from typing import Any

from matplotlib.figure import Figure

from tools.charts import BLUE, GREY, INK, ORANGE, RED, SKY, frame

# Seconds in which requests are counted together.
BIN = 0.5


def draw(results: dict[str, Any]) -> Figure:
    """Return the plot of a run's results: what was done to replicas, and what became of the requests of each bin."""
    on, of, bins = results["machine"], results["versions"], results["bins"]
    where = f"{results['date']} on {on['cpus']} CPUs, {on['system']}, Docker {of['docker']}"
    measured = f"Measured {where}, HAProxy {of['haproxy']}, Python {of['python']}"
    figure, [lanes, counts, times] = frame(
        "Two replicas updated under load, then rolled back with one killed",
        ", ".join(map(summary, results["phases"])),
        f"{results['rate']} requests a second, one in five a POST;"
        " /readyz says 503 for some seconds before a replica stops\n" + textwrap.fill(measured, 115),
        height=5.2,
        panels=(1, 3, 2),
    )
    cross: dict[str, Any] = {"s": 80, "color": RED, "zorder": 3}
    for event in (event for phase in results["phases"] for event in phase["events"]):
        begin, end, replica = event["begin"], event["end"], event["replica"]
        if event["what"] == "replaced":
            lanes.barh(replica, end - begin, left=begin, height=0.6, color=GREY)
        else:
            lanes.scatter(begin, replica, marker="P", **cross)
            lanes.annotate(event["what"], (begin, replica), (-9, -4), textcoords="offset points", ha="right")
            for axes in (counts, times):
                axes.axvline(begin, color=RED, linewidth=1.5)
    lanes.invert_yaxis()
    lanes.set_ylabel("replaced")

    edges = [number * BIN for number in range(len(bins) + 1)]
    middles = [edge + BIN / 2 for edge in edges[:-1]]
    below = [0.0] * len(bins)
    for version, (name, colour) in {"1": ("answered by the old image", SKY), "2": ("by the new image", BLUE)}.items():
        above = [base + each["answered"][version] / BIN for base, each in zip(below, bins, strict=True)]
        counts.stairs(above, edges, baseline=below, fill=True, color=colour, label=name)
        below = above
    # A cross, as a column of one request in thousands could not be seen.
    lost = [number for number, each in enumerate(bins) if each["failed"]]
    places = [middles[number] for number in lost], [below[number] for number in lost]
    counts.scatter(*places, marker="X", label="failed", gid="failed", **cross)
    counts.set_ylabel("requests a second")
    # Where nothing was answered there is no latency.
    times.plot(middles, [each.get("p50", nan) for each in bins], color=INK, label="latency: median")
    times.plot(middles, [each.get("p99", nan) for each in bins], "--", color=ORANGE, label="99 of 100 within")
    times.set_ylabel("ms")
    times.set_ylim(0)
    times.set_xlim(0, edges[-1])
    times.xaxis.set_major_formatter("{x:.0f} s")
    for axes in (counts, times):
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    return figure


def summary(phase: dict[str, Any]) -> str:
    """Return how many requests of a phase there were and how many failed."""
    requests, failed = (sum(kind[name] for kind in phase["kinds"].values()) for name in ("requests", "failed"))
    return f"{phase['title']}: {failed} of {requests} requests failed"
