"""The charts of the ladder: what is in results/ladder.json."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from benchmarks.measures import facts_line
from tools.charts import BLUE, GREEN, GREY, INK, ORANGE, PALE, PINK, SKY, SOFT, frame

Result = dict[str, Any]

# The kinds of layers, and their colours.
KINDS = {
    "base image": GREY,
    "Python and what it needs": SKY,
    "compiled standard library": BLUE,
    "packages": ORANGE,
    "code and context": GREEN,
    "other": PINK,
}
SIGNS = {"passed": ("\N{CHECK MARK}", BLUE, "white"), "failed": ("\N{BALLOT X}", ORANGE, INK)}
NO_SIGN = ("\N{EN DASH}", PALE, SOFT)
# A bar this many times as long as the next is cut off, or the others could not be read.
OUTLIER = 2.5


def draw(results: Result) -> dict[str, Figure]:
    """Return the charts by name."""
    return {"sizes": sizes(results), "start": start(results), "scorecard": scorecard(results)}


def names(results: Result) -> list[str]:
    """Return the short names of the rungs."""
    return [f"{rung['number']} {rung['name']}" for rung in results["rungs"]]


def source(results: Result) -> str:
    """Return what stands at the foot of a chart: when, on what and with what was measured."""
    return textwrap.fill(f"Measured {facts_line(results)}", 115)


Bars = tuple[dict[str, list[float]], list[tuple[str, str]]]


def bars_of_sizes(results: Result) -> Bars:
    """Return the bytes of each kind of layers, by rung, and what stands at the end of each bar."""
    parts = {
        kind: [sum(layer["bytes"] for layer in rung["layers"] if layer["kind"] == kind) for rung in results["rungs"]]
        for kind in KINDS
    }
    labels = [
        (f"{rung['bytes'] / 1e6:.0f} MB", f"{rung['compressed_bytes'] / 1e6:.0f} MB to pull")
        for rung in results["rungs"]
    ]
    return parts, labels


def sizes(results: Result) -> Figure:
    """Draw the sizes."""
    note = "On disk, by what is in the layers; below each number what a registry sends. A bar with a gap is longer."
    return bars(results, ("How large is the image?", note), *bars_of_sizes(results))


def bars_of_starts(results: Result) -> Bars:
    """Return the times of start, by whether all code was compiled (row 8), and what stands at the end of each bar."""
    times = [(rung["start_ms"], rung["rows"]["8"]["status"] == "passed") for rung in results["rungs"]]
    parts = {
        "something is compiled at every start": [0 if compiled else time or 0 for time, compiled in times],
        "all code was compiled when the image was built": [time or 0 if compiled else 0 for time, compiled in times],
    }
    return parts, [("does not start" if time is None else f"{time:.0f} ms", "") for time, _ in times]


def start(results: Result) -> Figure:
    """Draw the times of start."""
    note = "From the start of the process to the first answer, in a container that cannot write to its image."
    return bars(results, ("How long until the first answer?", note), *bars_of_starts(results))


def end_of_bars(totals: Sequence[float]) -> float:
    """Return where the longest bar ends; one that is much longer than all others is cut off there."""
    second, first = sorted([0.0, *totals])[-2:]
    return 1.12 * second if 0 < OUTLIER * second < first else first


def bars(
    results: Result, head: tuple[str, str], parts: Mapping[str, Sequence[float]], labels: Sequence[tuple[str, str]]
) -> Figure:
    """Draw a bar for each rung, made of parts, with its label at its end: a strong line and a soft one below."""
    rungs = names(results)
    figure, [axes] = frame(*head, source(results), 0.4 * len(rungs) + 0.5)
    totals = [sum(values) for values in zip(*parts.values(), strict=True)]
    end = end_of_bars(totals)
    below = [0.0] * len(rungs)
    for (part, values), colour in zip(parts.items(), KINDS.values(), strict=False):
        # What cannot be seen needs no place in the legend.
        shown = part if max(values) >= end / 500 else None
        axes.barh(rungs, values, left=below, height=0.65, color=colour, label=shown)
        below = [left + value for left, value in zip(below, values, strict=True)]
    for y, (total, (strong, soft)) in enumerate(zip(totals, labels, strict=True)):
        place: dict[str, Any] = {"xy": (min(total, end), y), "textcoords": "offset points", "annotation_clip": False}
        axes.annotate(strong, xytext=(5, 2 if soft else -4), weight="bold", **place)
        axes.annotate(soft, xytext=(5, -9), size=8, color=SOFT, **place)
        if total > end:
            axes.text(0.9 * end, y, "/ /", size=20, weight="bold", color="white", ha="center", va="center")
    axes.set_xlim(0, end or 1)
    axes.set_xticks([])
    axes.invert_yaxis()
    axes.legend(loc="upper left", bbox_to_anchor=(0, 0), ncols=len(parts))
    return figure


def scorecard(results: Result) -> Figure:
    """Draw the verdicts: a sign for each row of the contract and each rung."""
    rungs, rows = results["rungs"], results["rungs"][0]["rows"]
    note = (
        "The container contract, asked of every rung: \N{CHECK MARK} passed, \N{BALLOT X} failed,"
        " \N{EN DASH} cannot be asked of this image. At the foot: how many rows passed."
    )
    figure, [axes] = frame("What is the image fit for?", note, source(results), 0.26 * len(rows) + 1.6)
    signs = [[SIGNS.get(rung["rows"][row]["status"], NO_SIGN) for rung in rungs] for row in rows]
    kinds = [*SIGNS.values(), NO_SIGN]
    axes.pcolormesh(
        [[kinds.index(sign) for sign in line] for line in signs],
        cmap=ListedColormap([colour for _, colour, _ in kinds]),
        vmin=-0.5,
        vmax=len(kinds) - 0.5,
        edgecolors="white",
        linewidth=2,
    )
    for y, line in enumerate(signs):
        for x, (sign, _, ink) in enumerate(line):
            axes.text(x + 0.5, y + 0.5, sign, size=12, color=ink, ha="center", va="center")
    top = axes.secondary_xaxis("top")
    columns, lines = ([number + 0.5 for number in range(len(things))] for things in (rungs, rows))
    top.set_ticks(columns, names(results), rotation=55, ha="left", rotation_mode="anchor")
    top.tick_params(length=0)
    axes.set_xticks(columns, [f"{rung['rows_passed']}\n/{rung['rows_applicable']}" for rung in rungs])
    axes.set_yticks(lines, [f"{row['title']} {number:>3}" for number, row in rows.items()])
    for each in (axes, top):
        each.spines[:].set_visible(False)
    axes.invert_yaxis()
    return figure
