"""The charts of the ladder, drawn from results/ladder.json as SVG, and the same as PNG.

    sizes       bytes on disk by kind of layer, a bar for each rung
    start       from the start of the process to the first 200, a bar for each rung
    scorecard   rungs by rows of the contract; shape and colour both tell the verdict

The colours are those of Okabe and Ito, which people with any kind of colour blindness can tell apart.
"""

from collections.abc import Callable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

import resvg_py

from benchmarks.chart import text

Result = dict[str, Any]

WIDTH, MARGIN = 960, 24
BAR, STEP = 26, 40
LEFT, RIGHT, TOP = 190, 190, 112
FONT = "'DejaVu Sans', Verdana, 'Noto Sans', Arial, sans-serif"
INK, SOFT, LINE = "#1a1a1a", "#595959", "#d9d9d9"
STYLE = (
    f"text {{ font: 14px {FONT}; fill: {INK}; stroke: #fff; stroke-width: 3px; paint-order: stroke }}"
    f" .title {{ font-size: 20px; font-weight: bold }} .note {{ font-size: 12px; fill: {SOFT} }}"
    " .strong { font-weight: bold } .end { text-anchor: end } .middle { text-anchor: middle }"
)
KINDS = {
    "base image": "#b9c0c7",
    "Python and what it needs": "#56b4e9",
    "compiled standard library": "#0072b2",
    "packages": "#e69f00",
    "code and context": "#009e73",
    "other": "#cc79a7",
}
PASSED, FAILED, OTHER = "#0072b2", "#e69f00", "#eceff1"
LEGEND = {"passed": "passed", "failed": "failed", "not applicable": "cannot be asked of this image"}
# A bar this many times as long as the next is cut off, or the others could not be read.
OUTLIER = 2.5


def draw(results: Result) -> dict[str, str]:
    """Return the charts as SVG, by name."""
    return {"sizes": sizes(results), "start": start(results), "scorecard": scorecard(results)}


def write(results: Result, folder: Path) -> None:
    """Write the charts into a folder: as SVG, and as PNG of twice the size."""
    for name, svg in draw(results).items():
        (folder / f"{name}.svg").write_text(svg, encoding="utf-8")
        png = resvg_py.svg_to_bytes(svg_string=svg, zoom=2, sans_serif_family="DejaVu Sans")
        (folder / f"{name}.png").write_bytes(bytes(png))


# ---- pieces ----


def frame(title: str, subtitle: str, height: float, body: Iterator[str], footer: Sequence[str]) -> str:
    """Return a chart: title, subtitle, body and footer on white."""
    height += 18 * len(footer) + MARGIN
    lines = [text(MARGIN, 38, title, "title"), text(MARGIN, 62, subtitle, "note"), *body]
    lines += [text(MARGIN, height - 18 * n - MARGIN / 2, line, "note") for n, line in enumerate(reversed(footer))]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}"'
        f' height="{height:.0f}" role="img">\n<title>{escape(title)}</title>\n<style>{STYLE}</style>\n'
        f'<rect width="{WIDTH}" height="{height:.0f}" fill="#fff"/>\n' + "\n".join(lines) + "\n</svg>\n"
    )


def rectangle(x: float, y: float, width: float, height: float, colour: str) -> str:
    """Return a rectangle."""
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'


def cut(x: float, y: float) -> str:
    """Return a white zigzag through a bar, which tells that the bar is longer than it is drawn."""
    points = " ".join(f"{x + (6 if n % 2 else -6):.1f},{y - 4 + n * (BAR + 8) / 4:.1f}" for n in range(5))
    return f'<polyline points="{points}" fill="none" stroke="#fff" stroke-width="6"/>'


def names(results: Result) -> Iterator[tuple[float, Result]]:
    """Return the upper edge of the bar of each rung, and the rung."""
    for number, rung in enumerate(results["rungs"]):
        yield TOP + STEP * number, rung


def name(rung: Result) -> str:
    """Return the short name of a rung."""
    return f"{rung['number']} {rung['name']}"


def longest(values: Sequence[float]) -> float:
    """Return where the axis ends: at the greatest value that is no outlier."""
    first, second = sorted(values)[-1], sorted(values)[-2] if len(values) > 1 else 0
    return second * 1.12 if second and first > OUTLIER * second else first


def scale(end: float, unit: float, height: float, label: Callable[[float], str]) -> Iterator[str]:
    """Return thin vertical lines at round values, with the value above each."""
    step = next(step for exponent in range(9) for step in (10**exponent, 2 * 10**exponent, 5 * 10**exponent)
                if end / step <= 6)  # fmt: skip
    value: float = 0
    while value <= end:
        x = LEFT + value * unit
        yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 10}" y2="{height - 6:.1f}" stroke="{LINE}"/>'
        yield text(x, TOP - 16, label(value), "note middle")
        value += step


def source(results: Result) -> list[str]:
    """Return in two lines when, on what and with what was measured."""
    on, of = results["machine"], results["versions"]
    return [
        f"Measured {results['date']} on {on['cpus']} CPUs, {on['system']}, Docker {of['docker']}",
        f"Python {of['python']}, Flask {of['flask']}, gunicorn {of['gunicorn']}; "
        f"base images: {of['slim_image']}, {of['full_image']}",
    ]


# ---- the charts ----


def sizes(results: Result) -> str:
    """Return the chart of sizes, in MB."""
    totals = {rung["number"]: sum(layer["bytes"] for layer in rung["layers"]) / 1e6 for rung in results["rungs"]}
    end = longest(list(totals.values()))
    unit = (WIDTH - LEFT - RIGHT) / end
    # What is less than a pixel wide needs no place in the legend.
    seen = {layer["kind"] for rung in results["rungs"] for layer in rung["layers"] if layer["bytes"] * unit > 1e6}
    used = [kind for kind in KINDS if kind in seen]
    height = TOP + STEP * len(totals)

    def body() -> Iterator[str]:
        x: float = MARGIN
        yield from scale(end, unit, height, lambda value: f"{value:.0f} MB")
        for kind in used:
            yield rectangle(x, height + 14, 14, 14, KINDS[kind])
            yield text(x + 20, height + 26, kind, "note")
            x += 44 + 7 * len(kind)
        for y, rung in names(results):
            yield text(LEFT - 12, y + 18, name(rung), "end")
            yield from stack(rung, y, end, unit)
            shown = min(totals[rung["number"]], end)
            if totals[rung["number"]] > end:
                yield cut(LEFT + 0.9 * end * unit, y)
            total, compressed = totals[rung["number"]], rung["compressed_bytes"] / 1e6
            yield text(LEFT + shown * unit + 8, y + 13, f"{total:.0f} MB", "strong")
            yield text(LEFT + shown * unit + 8, y + 26, f"{compressed:.0f} MB to pull", "note")

    subtitle = "On disk, by what is in the layers; below each number what a registry sends. A bar with a gap is longer."
    return frame("How large is the image?", subtitle, height + 44, body(), source(results))


def stack(rung: Result, y: float, end: float, unit: float) -> Iterator[str]:
    """Return the layers of a rung beside each other, those of one kind together, the base first."""
    begin = 0.0
    for kind, colour in KINDS.items():
        size = sum(layer["bytes"] for layer in rung["layers"] if layer["kind"] == kind) / 1e6
        shown = max(0.0, min(begin + size, end) - begin)
        if shown:
            yield rectangle(LEFT + begin * unit, y, shown * unit, BAR, colour)
        begin += size


def start(results: Result) -> str:
    """Return the chart of start-up times, in ms."""
    times = {rung["number"]: rung["start_ms"] for rung in results["rungs"]}
    end = longest([value for value in times.values() if value is not None])
    unit = (WIDTH - LEFT - RIGHT) / end
    height = TOP + STEP * len(times)

    def body() -> Iterator[str]:
        yield from scale(end, unit, height, lambda value: f"{value:.0f} ms")
        for y, rung in names(results):
            yield text(LEFT - 12, y + 18, name(rung), "end")
            value = times[rung["number"]]
            if value is None:
                yield text(LEFT + 8, y + 18, "does not start", "strong")
                continue
            shown = min(value, end)
            made = "compiled standard library" if compiled(rung) else "base image"
            yield rectangle(LEFT, y, shown * unit, BAR, KINDS[made])
            if value > end:
                yield cut(LEFT + 0.9 * end * unit, y)
            yield text(LEFT + shown * unit + 8, y + 18, f"{value:.0f} ms", "strong")
        for x, made, meaning in (
            (MARGIN, "base image", "something is compiled at every start"),
            (MARGIN + 320, "compiled standard library", "all code was compiled when the image was built"),
        ):
            yield rectangle(x, height + 14, 14, 14, KINDS[made])
            yield text(x + 20, height + 26, meaning, "note")

    subtitle = "From the start of the process to the first answer, in a container that cannot write to its image."
    return frame("How long until the first answer?", subtitle, height + 44, body(), source(results))


def compiled(rung: Result) -> bool:
    """Tell whether row 8 of the contract, all code compiled, passed."""
    return bool(rung["rows"]["8"]["status"] == "passed")


def scorecard(results: Result) -> str:
    """Return the heat map: a column for each rung, a line for each row of the contract."""
    rungs = results["rungs"]
    left, top, cell, line = 478, 170, 43, 26
    rows = rungs[0]["rows"]
    bottom = top + line * len(rows)

    def body() -> Iterator[str]:
        for column, rung in enumerate(rungs):
            x = left + cell * column
            middle = x + cell / 2
            yield (f'<text transform="translate({middle + 5:.1f} {top - 12}) rotate(-55)">{escape(name(rung))}</text>')
            for number, row in enumerate(rung["rows"].values()):
                yield from verdict(x, top + line * number, cell - 3, line - 3, row["status"])
            yield text(middle - 1.5, bottom + 22, str(rung["rows_passed"]), "middle strong")
            yield text(middle - 1.5, bottom + 38, f"of {rung['rows_applicable']}", "middle note")
        for number, (row, content) in enumerate(rows.items()):
            y = top + line * number + 16
            yield text(MARGIN + 20, y, row, "end note")
            yield f'<text x="{MARGIN + 30}" y="{y}" style="font-size: 13px">{escape(content["title"])}</text>'
        yield text(left - 14, bottom + 22, "rows passed", "end strong")
        for number, (status, meaning) in enumerate(LEGEND.items()):
            yield from verdict(MARGIN + 140 * number, bottom + 54, cell - 3, line - 3, status)
            yield text(MARGIN + 140 * number + cell + 4, bottom + 71, meaning, "note")

    subtitle = "The container contract, asked of every rung."
    return frame("What is the image fit for?", subtitle, bottom + 88, body(), source(results))


def verdict(x: float, y: float, width: float, height: float, status: str) -> Iterator[str]:
    """Return a cell: a tick on blue, a cross on orange, or a dash on grey."""
    middle, centre = x + width / 2, y + height / 2
    marks = {
        "passed": (PASSED, "#fff", f"M{middle - 6:.1f} {centre:.1f}l4 5l8 -10"),
        "failed": (FAILED, INK, f"M{middle - 5:.1f} {centre - 5:.1f}l10 10m0 -10l-10 10"),
    }
    colour, ink, path = marks.get(status, (OTHER, SOFT, f"M{middle - 4:.1f} {centre:.1f}h8"))
    yield rectangle(x, y, width, height, colour)
    yield f'<path d="{path}" fill="none" stroke="{ink}" stroke-width="2.4" stroke-linecap="round"/>'
