"""The plot of `make rollout`: what became of the requests of each half second, and how long they took."""

from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.chart import text
from workshop.charts import INK, LINE, MARGIN, SOFT, WIDTH, frame, rectangle

# Seconds in which requests are counted together.
BIN = 0.5
LEFT, RIGHT = 84, WIDTH - MARGIN
NAMES, ANSWERS_TOP, ANSWERS, LATENCY_TOP, LATENCY, HEIGHT = 146, 178, 350, 412, 530, 556
OLD, NEW, FAILED = "#56b4e9", "#0072b2", "#d55e00"
MEDIAN, SLOWEST = INK, "#e69f00"
REPLACED = "#ece6d2"


def draw(results: dict[str, Any]) -> str:
    """Return the plot of a run's results as SVG."""
    on, of = results["machine"], results["versions"]
    footer = [
        f"{results['rate']} requests a second, one in five a POST;"
        " /readyz says 503 for some seconds before a replica stops",
        f"Measured {results['date']} on {on['cpus']} CPUs, {on['system']}, Docker {of['docker']},"
        f" HAProxy {of['haproxy']}, Python {of['python']}",
    ]
    subtitle = ", ".join(map(summary, results["phases"]))
    title = "Two replicas updated under load, then rolled back with one killed"
    return frame(title, subtitle, HEIGHT, body(results), footer)


def summary(phase: dict[str, Any]) -> str:
    """Return how many requests of a phase there were and how many failed."""
    requests, failed = (sum(kind[name] for kind in phase["kinds"].values()) for name in ("requests", "failed"))
    return f"{phase['title']}: {failed} of {requests} requests failed"


def body(results: dict[str, Any]) -> Iterator[str]:
    """Return both panels on one axis of time: behind them when a replica was replaced, above them what was killed."""
    bins, events = results["bins"], [event for phase in results["phases"] for event in phase["events"]]
    second = (RIGHT - LEFT) / (BIN * len(bins))
    replaced = [event for event in events if event["what"] == "replaced"]
    for event in replaced:
        x, width = LEFT + event["begin"] * second, (event["end"] - event["begin"]) * second
        yield rectangle(x, NAMES + 8, width, LATENCY - NAMES - 8, REPLACED)
        yield text(x + width / 2, NAMES, event["replica"], "note middle")
    yield from answers(bins, second, results["rate"] * BIN)
    yield from latencies(bins, second)
    for event in events:
        # Over the columns, too, it can be seen where a replacement begins and ends.
        for moment in (event["begin"], event["end"]) if event in replaced else ():
            yield line(LEFT + moment * second, ANSWERS_TOP, ANSWERS, "#fff", 'stroke-dasharray="3 3"')
    for event in events:
        if event not in replaced:
            x = LEFT + event["begin"] * second
            yield line(x, NAMES - 14, LATENCY, FAILED, 'stroke-width="3"')
            yield text(x, NAMES - 20, f"{event['replica']} killed", "strong middle")
    for seconds in range(0, int(BIN * len(bins)) + 1, 10):
        yield text(LEFT + seconds * second, LATENCY + 18, f"{seconds} s", "note middle")
    yield from legend(92, (("answered by the old image", OLD), ("by the new image", NEW), ("failed", FAILED)))
    yield from legend(LATENCY_TOP - 24, (("latency: median", MEDIAN), ("99 of 100 within", SLOWEST)))


def legend(y: float, names: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Return names in a row, each behind its colour."""
    x = float(LEFT)
    for name, colour in names:
        yield rectangle(x, y - 10, 12, 12, colour)
        yield text(x + 18, y, name, "note")
        x += 56 + 6.4 * len(name)


def line(x: float, top: float, bottom: float, colour: str, more: str) -> str:
    """Return a vertical line."""
    return f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}" stroke="{colour}" {more}/>'


def answers(bins: Sequence[dict[str, Any]], second: float, expected: float) -> Iterator[str]:
    """Return a column for each half second: what the old image answered, what the new one did, what failed."""
    scale = (ANSWERS - ANSWERS_TOP) / expected
    yield from grid([(0, "0"), (expected, f"{expected / BIN:g} / s")], ANSWERS, scale)
    for number, each in enumerate(bins):
        y = float(ANSWERS)
        counts = [*each["answered"].values(), each["failed"]]
        for count, colour in zip(counts, (OLD, NEW, FAILED), strict=True):
            if count:
                # A single failure must be seen.
                height = max(count * scale, 10.0 if colour == FAILED else 0.0)
                y -= height
                yield rectangle(LEFT + number * BIN * second, y, BIN * second + 0.4, height, colour)


def latencies(bins: Sequence[dict[str, Any]], second: float) -> Iterator[str]:
    """Return two lines: the median and the 99th percentile of each half second, in which something was answered."""
    highest = max(each.get("p99", 0.0) for each in bins)
    step = next(step for step in (50, 100, 200, 500, 1000, 2000, 5000) if highest <= 5 * step)
    scale = (LATENCY - LATENCY_TOP) / highest
    yield from grid([(value, f"{value} ms") for value in range(0, int(highest) + 1, step)], LATENCY, scale)
    for name, colour in (("p99", SLOWEST), ("p50", MEDIAN)):
        points = " ".join(
            f"{LEFT + (number + 0.5) * BIN * second:.1f},{LATENCY - each[name] * scale:.1f}"
            for number, each in enumerate(bins)
            if name in each
        )
        yield f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'


def grid(ticks: Sequence[tuple[float, str]], bottom: float, scale: float) -> Iterator[str]:
    """Return the horizontal lines of a panel, each with its label."""
    for value, label in ticks:
        y = bottom - value * scale
        yield f'<line x1="{LEFT}" x2="{RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{LINE if value else SOFT}"/>'
        yield text(LEFT - 6, y + 4, label, "note end")
