"""How all charts look, drawn by matplotlib: one palette and one frame, and the same file from the same numbers.

The colours are those of Okabe and Ito, which people with any kind of colour blindness can tell apart. No chart leaves
it to colours alone: values stand at their bars, verdicts are signs, failures are crosses.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, SOFT = "#1a1a1a", "#595959"
GREY, SKY, BLUE, ORANGE = "#b9c0c7", "#56b4e9", "#0072b2", "#e69f00"
GREEN, PINK, RED, PALE = "#009e73", "#cc79a7", "#d55e00", "#eceff1"
# In inches. A file has 72 points an inch as SVG, and 200 pixels as PNG.
WIDTH, MARGIN, LINE_HEIGHT = 9.6, 0.25, 0.2

# Nothing depends on what a machine has set or installed: the font comes with matplotlib, and is drawn in an SVG.
matplotlib.rcdefaults()
matplotlib.rc("font", family="DejaVu Sans", size=10)
matplotlib.rc("text", color=INK)
matplotlib.rc("axes", edgecolor=SOFT)
matplotlib.rc("axes.spines", bottom=False, right=False, top=False)
matplotlib.rc("xtick", bottom=False, labelcolor=INK)
matplotlib.rc("ytick", left=False, labelcolor=INK)
matplotlib.rc("legend", frameon=False, borderaxespad=0.2, borderpad=0, columnspacing=1.5, handlelength=1.2)
matplotlib.rc("legend", fontsize=9, labelcolor=SOFT)
# Names in an SVG are random otherwise.
matplotlib.rc("svg", hashsalt="charts")


def frame(
    title: str, note: str, source: str, height: float, panels: Sequence[float] = (1,)
) -> tuple[Figure, list[Axes]]:
    """Return a figure and its panels, of these relative heights on one x axis, which take `height` inches.

    Around them stand a title, a line below it, and at the foot what was measured where.
    """
    head, foot = 0.75, (source.count("\n") + 2) * LINE_HEIGHT
    height += head + foot
    figure = Figure(figsize=(WIDTH, height), label=title)
    figure.set_layout_engine("constrained", rect=(0, foot / height, 1, 1 - (head + foot) / height), w_pad=0.15)
    left, top = MARGIN / WIDTH, 1 - MARGIN / height
    figure.text(left, top, title, size=15, weight="bold", va="top")
    figure.text(left, top - 0.3 / height, note, size=9, color=SOFT, va="top")
    figure.text(left, 0.15 / height, source, size=9, color=SOFT, va="bottom", linespacing=1.5)
    axes = figure.subplots(len(panels), sharex=True, height_ratios=list(panels), squeeze=False)[:, 0]
    return figure, list(axes)


# For pages with a dark ground.
DARK = {"#ffffff": "#0d1117", INK: "#f0f3f6", SOFT: "#9ea7b3", PALE: "#21262d"}


def darkened(svg: str) -> str:
    """Return a chart, as SVG, in colours that can be seen on a dark ground. What names no colour is black."""
    svg = svg.replace("<svg ", f'<svg fill="{DARK[INK]}" ', 1)
    return re.sub("|".join(DARK), lambda colour: DARK[colour[0]], svg)


def save(figure: Figure, path: Path) -> None:
    """Write a chart as SVG and as PNG, without the date and the version of matplotlib."""
    title = figure.get_label()
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None, "Creator": None, "Title": title})
    figure.savefig(path.with_suffix(".png"), dpi=200, metadata={"Software": None, "Title": title})


def save_for_both_grounds(figure: Figure, path: Path) -> None:
    """Write a chart as `save` does, and once more as SVG for a dark ground, with -dark in its name."""
    save(figure, path)
    dark = darkened(path.with_suffix(".svg").read_text(encoding="utf-8"))
    path.with_name(f"{path.name}-dark.svg").write_text(dark, encoding="utf-8")
