"""The plot of `make rollout`: what became of the requests of each half second, and how long they took."""

from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.chart import text
from workshop.charts import LINE, MARGIN, SOFT, WIDTH, frame, rectangle

BIN = 0.5
LEFT, RIGHT = 84, WIDTH - MARGIN
EVENTS, ANSWERS, LATENCY = 92, 190, 130
GAP = 34
COLOURS = {"1": "#56b4e9", "2": "#0072b2", "failed": "#d55e00"}
REPLACED, KILLED = "#ece6d2", "#d55e00"


def draw(results: dict[str, Any]) -> str:
    """Return the plot of a run's results as SVG."""
    events = [event for phase in results["phases"] for event in phase["events"]]
    on, of = results["machine"], results["versions"]
    counted = " · ".join(summary(phase) for phase in results["phases"])
    footer = [
        f"Measured {results['date']} on {on['cpus']} CPUs, {on['system']}, Docker {of['docker']},"
        f" HAProxy {of['haproxy']}, Python {of['python']}. /readyz says 503 for {results['drain_delay']} s before the end.",
    ]
    height = EVENTS + ANSWERS + GAP + LATENCY + GAP
    title = "Three replicas replaced under load, and once more with one killed"
    return frame(title, counted, height, plot(results["bins"], events), footer)


def summary(phase: dict[str, Any]) -> str:
    """Return how many requests of a phase there were and how many failed."""
    counts = {name: sum(kind[name] for kind in phase["kinds"].values()) for name in ("requests", "failed")}
    return f"{phase['title']}: {counts['requests']} requests, {counts['failed']} failed"


def plot(bins: Sequence[dict[str, Any]], events: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Return both panels on one axis of time, with the events behind them."""
    second = (RIGHT - LEFT) / (BIN * len(bins))
    top, bottom = EVENTS + 28, EVENTS + ANSWERS + GAP + LATENCY
    for event in events:
        yield from mark(event, second, top, bottom)
    yield from answers(bins, second, top, EVENTS + ANSWERS)
    yield from latencies(bins, second, EVENTS + ANSWERS + GAP, bottom)
    for seconds in range(0, int(BIN * len(bins)) + 1, 10):
        yield text(LEFT + seconds * second, bottom + 18, f"{seconds} s", "note middle")


def mark(event: dict[str, Any], second: float, top: float, bottom: float) -> Iterator[str]:
    """Return an event: a band from its begin to its end, or for a kill a line, with its name above."""
    x, width = LEFT + event["begin"] * second, (event["end"] - event["begin"]) * second
    name = event["replica"].removeprefix("replica-")
    if event["what"] == "killed":
        yield rectangle(x - 1, top - 10, 2.5, bottom - top + 10, KILLED)
        yield f'<g fill="{KILLED}">{text(x - 4, top - 14, f"{name} killed", "strong end")}</g>'
    else:
        yield rectangle(x, top - 6, width, bottom - top + 6, REPLACED)
        yield text(x + width / 2, top - 14, f"replica {name}", "note middle")


def answers(bins: Sequence[dict[str, Any]], second: float, top: float, bottom: float) -> Iterator[str]:
    """Return a column for each half second: what the old image answered, what the new one did, what failed."""
    most = max(sum(each["answered"].values()) + each["failed"] for each in bins)
    scale = (bottom - top - 8) / most
    yield from panel("answers in 0.5 s", [(0, "0"), (most, f"{most}")], bottom, scale)
    for number, each in enumerate(bins):
        y = bottom
        for name, count in (*each["answered"].items(), ("failed", each["failed"])):
            # A single failure must be seen: it is drawn at least this high.
            height = max(count * scale, 6.0 if name == "failed" and count else 0.0)
            y -= height
            if count:
                yield rectangle(LEFT + number * BIN * second + 0.4, y, BIN * second - 0.8, height, COLOURS[name])


def latencies(bins: Sequence[dict[str, Any]], second: float, top: float, bottom: float) -> Iterator[str]:
    """Return two lines: the median and the 99th percentile of each half second."""
    highest = max(each["p99"] for each in bins)
    step = next(step for step in (50, 100, 200, 500, 1000, 2000, 5000) if highest <= 5 * step)
    scale = (bottom - top) / highest
    ticks = [(value, f"{value} ms") for value in range(0, int(highest) + 1, step)]
    yield from panel("latency", ticks, bottom, scale)
    for name, colour, width in (("p99", "#e69f00", 1.5), ("p50", "#1a1a1a", 2)):
        points = " ".join(
            f"{LEFT + (number + 0.5) * BIN * second:.1f},{bottom - each[name] * scale:.1f}"
            for number, each in enumerate(bins)
        )
        yield f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width}"/>'


def panel(title: str, ticks: Sequence[tuple[float, str]], bottom: float, scale: float) -> Iterator[str]:
    """Return the title and the horizontal lines of a panel."""
    yield text(MARGIN, bottom - ticks[-1][0] * scale - 12, title, "strong")
    for value, label in ticks:
        y = bottom - value * scale
        yield f'<line x1="{LEFT}" x2="{RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{LINE if value else SOFT}"/>'
        yield text(LEFT - 6, y + 4, label, "note end")
