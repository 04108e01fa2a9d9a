"""Charts of what was measured, drawn by matplotlib: one look for all, and the same file from the same numbers.

The colours are those of Okabe and Ito, which people with any kind of colour blindness can tell apart. No chart leaves
it to colours alone: values stand at their bars, verdicts are signs, failures are crosses.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

INK, SOFT = "#1a1a1a", "#595959"
GREY, SKY, BLUE, ORANGE = "#b9c0c7", "#56b4e9", "#0072b2", "#e69f00"
GREEN, PINK, RED, PALE = "#009e73", "#cc79a7", "#d55e00", "#eceff1"
# Of the parts of a bar, and of bars side by side, in this order.
PARTS = (GREY, SKY, BLUE, ORANGE, GREEN, PINK)
SIDE_BY_SIDE = (BLUE, GREY, SKY, ORANGE)
SIGNS = {"passed": ("\N{CHECK MARK}", BLUE, "white"), "failed": ("\N{BALLOT X}", ORANGE, INK)}
NO_SIGN = ("\N{EN DASH}", PALE, SOFT)
# In inches. A file has 72 points an inch as SVG, and 200 pixels as PNG.
WIDTH, MARGIN, LINE_HEIGHT = 9.6, 0.25, 0.2
# A bar this many times as long as the next is cut off, or the others could not be read.
OUTLIER = 2.5
# Where the axis of ratios ends; a longer bar is cut off.
HIGHEST_RATIO = 2.0

# Nothing depends on what a machine has set or installed.
matplotlib.rcdefaults()
matplotlib.rcParams.update(
    {
        "font.family": "DejaVu Sans",  # comes with matplotlib; in an SVG its letters are drawn
        "font.size": 10,
        "text.color": INK,
        "axes.edgecolor": SOFT,
        "axes.spines.bottom": False,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "xtick.bottom": False,
        "ytick.left": False,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "legend.frameon": False,
        "legend.borderaxespad": 0.2,
        "legend.borderpad": 0,
        "legend.columnspacing": 1.5,
        "legend.handlelength": 1.2,
        "legend.fontsize": 9,
        "legend.labelcolor": SOFT,
        # Names in an SVG are random otherwise.
        "svg.hashsalt": "charts",
    }
)


@dataclass(frozen=True)
class Caption:
    """What stands around a chart: its title, a line below it, and at the foot what was measured where."""

    title: str
    note: str
    source: str


@dataclass(frozen=True)
class Group:
    """A measure in a chart of ratios: for each variant its ratio to the baseline, and the measured value as text."""

    title: str
    values: Mapping[str, tuple[float, str]]
    more_is_better: bool


def save(figure: Figure, path: Path) -> None:
    """Write a chart as SVG and as PNG, without the date and the version of matplotlib."""
    title = figure.get_label()
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None, "Creator": None, "Title": title})
    figure.savefig(path.with_suffix(".png"), dpi=200, metadata={"Software": None, "Title": title})


def _figure(caption: Caption, height: float, panels: Sequence[float] = (1,)) -> tuple[Figure, list[Axes]]:
    """Return a figure with its caption, and panels of these relative heights on one x axis."""
    head, foot = 0.75, (caption.source.count("\n") + 2) * LINE_HEIGHT
    height += head + foot
    figure = Figure(figsize=(WIDTH, height), label=caption.title)
    figure.set_layout_engine("constrained", rect=(0, foot / height, 1, 1 - (head + foot) / height), w_pad=0.15)
    left, top = MARGIN / WIDTH, 1 - MARGIN / height
    figure.text(left, top, caption.title, size=15, weight="bold", va="top")
    figure.text(left, top - 0.3 / height, caption.note, size=9, color=SOFT, va="top")
    figure.text(left, 0.15 / height, caption.source, size=9, color=SOFT, va="bottom", linespacing=1.5)
    axes = figure.subplots(len(panels), sharex=True, height_ratios=list(panels), squeeze=False)[:, 0]
    return figure, list(axes)


def bars(
    caption: Caption, names: Sequence[str], parts: Mapping[str, Sequence[float]], labels: Sequence[tuple[str, str]]
) -> Figure:
    """Draw a bar for each name, made of parts, with its label at its end: a strong line and a soft one below."""
    figure, [axes] = _figure(caption, 0.4 * len(names) + 0.5)
    totals = [sum(values) for values in zip(*parts.values(), strict=True)]
    second, first = sorted([0.0, *totals])[-2:]
    end = 1.12 * second if 0 < OUTLIER * second < first else first
    below = [0.0] * len(names)
    for (part, values), colour in zip(parts.items(), PARTS, strict=False):
        # What cannot be seen needs no place in the legend.
        axes.barh(
            names, values, left=below, height=0.65, color=colour, label=part if max(values) >= end / 500 else None
        )
        below = [left + value for left, value in zip(below, values, strict=True)]
    for y, (total, (strong, soft)) in enumerate(zip(totals, labels, strict=True)):
        _label(axes, (min(total, end), y), strong, above=2 if soft else -4, weight="bold")
        _label(axes, (min(total, end), y), soft, above=-9, size=8, color=SOFT)
        if total > end:
            axes.text(0.9 * end, y, "/ /", size=20, weight="bold", color="white", ha="center", va="center")
    axes.set_xlim(0, end or 1)
    axes.set_xticks([])
    axes.invert_yaxis()
    axes.legend(loc="upper left", bbox_to_anchor=(0, 0), ncols=len(parts))
    return figure


def _label(axes: Axes, end: tuple[float, float], text: str, above: float, **look: Any) -> None:
    """Write a label right of the end of a bar."""
    axes.annotate(text, end, xytext=(5, above), textcoords="offset points", annotation_clip=False, **look)


def ratios(caption: Caption, groups: Sequence[Group]) -> Figure:
    """Draw for each group bars side by side: how many times the baseline they are."""
    lines = sum(len(group.values) + 1 for group in groups)
    figure, [axes] = _figure(caption, 0.19 * lines + 0.4)
    y, middles = 0, []
    for group in groups:
        middles.append(y + (len(group.values) - 1) / 2)
        for (variant, (ratio, measured)), colour in zip(group.values.items(), SIDE_BY_SIDE, strict=False):
            axes.barh(y, min(ratio, HIGHEST_RATIO), height=0.85, color=colour)
            arrow = "\N{RIGHTWARDS ARROW} " if ratio > HIGHEST_RATIO else ""
            _label(axes, (min(ratio, HIGHEST_RATIO), y), f"{arrow}{variant} {ratio:.2f} · {measured}", -3, size=8)
            y += 1
        y += 1
    axes.axvline(1, color=SOFT, linewidth=1)
    better = ("less is better", "more is better")
    axes.set_yticks(middles, [f"{group.title}\n{better[group.more_is_better]}" for group in groups])
    axes.set_xlim(0, HIGHEST_RATIO)
    axes.set_xticks([0, 0.5, 1, 1.5, 2])
    axes.set_ylim(y - 1, -1)
    return figure


def verdicts(
    caption: Caption, rows: Sequence[str], columns: Sequence[str], feet: Sequence[str], cells: Sequence[Sequence[str]]
) -> Figure:
    """Draw a table of signs: for each row the verdicts "passed", "failed" or anything else of all columns."""
    figure, [axes] = _figure(caption, 0.26 * len(rows) + 1.6)
    signs = [[SIGNS.get(cell, NO_SIGN) for cell in line] for line in cells]
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
    middles = [number + 0.5 for number in range(max(len(rows), len(columns)))]
    top.set_ticks(middles[: len(columns)], columns, rotation=55, ha="left", rotation_mode="anchor")
    top.tick_params(length=0)
    axes.set_xticks(middles[: len(columns)], feet)
    axes.set_yticks(middles[: len(rows)], rows)
    for each in (axes, top):
        each.spines[:].set_visible(False)
    axes.invert_yaxis()
    return figure


def timeline(
    caption: Caption, events: Sequence[Mapping[str, Any]], bins: Sequence[Mapping[str, Any]], width: float
) -> Figure:
    """Draw what was done to replicas, and for bins of this width what became of the requests due in them."""
    figure, [lanes, counts, times] = _figure(caption, 5.2, panels=(1, 3, 2))
    cross: dict[str, Any] = {"s": 80, "color": RED, "zorder": 3}
    for event in events:
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

    edges = [number * width for number in range(len(bins) + 1)]
    middles = [edge + width / 2 for edge in edges[:-1]]
    below = [0.0] * len(bins)
    for version, (name, colour) in {"1": ("answered by the old image", SKY), "2": ("by the new image", BLUE)}.items():
        above = [base + each["answered"][version] / width for base, each in zip(below, bins, strict=True)]
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
