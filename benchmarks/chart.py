"""The chart of the benchmarks: groups of bars as ratios to the two-stage baseline, as one SVG."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

COLOURS = {"template": "#0b6e4f", "two-stage": "#8d99ae", "one-stage": "#cfd5df", "bare": "#e09f3e"}
WIDTH, LEFT, RIGHT = 900, 250, 130
BAR, GAP, TOP, BOTTOM = 13, 14, 70, 56
# The axis ends here; a longer bar is cut off, and its label says how long it would be.
LONGEST = 2.0
UNIT = (WIDTH - LEFT - RIGHT) / LONGEST


@dataclass(frozen=True)
class Bars:
    """A measure: for each variant its ratio to the baseline, and the measured value as text."""

    title: str
    values: Mapping[str, tuple[float, str]]
    more_is_better: bool


def draw(groups: Sequence[Bars], variants: Sequence[str], footer: Sequence[str]) -> str:
    """Return the chart."""
    height = TOP + sum(len(group.values) * BAR + GAP for group in groups) + BOTTOM
    lines = [*legend(variants), *axis(height), *bars(groups)]
    lines += [text(20, height - 12 - 16 * n, line, "note") for n, line in enumerate(reversed(footer))]
    style = (
        "text { font: 12px system-ui, sans-serif; fill: #222; stroke: #fff; stroke-width: 3px; paint-order: stroke }"
        " .title { font-size: 16px; font-weight: 600 } .note { font-size: 11px; fill: #666 }"
        " .end { text-anchor: end } .middle { text-anchor: middle }"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">\n'
        f"<title>Benchmarks as ratios to the two-stage baseline</title>\n<style>{style}</style>\n"
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>\n' + "\n".join(lines) + "\n</svg>\n"
    )


def text(x: float, y: float, content: str, style: str = "") -> str:
    """Return a line of text that begins, ends or has its middle at a point."""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{style}">{escape(content)}</text>'


def bar(x: float, y: float, width: float, variant: str) -> str:
    """Return a rectangle in the colour of a variant."""
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{BAR - 2}" fill="{COLOURS[variant]}"/>'


def legend(variants: Sequence[str]) -> Iterator[str]:
    """Return the title and the names of the variants in their colours."""
    yield text(20, 28, "Ratios to the two-stage baseline", "title")
    for number, variant in enumerate(variants):
        x = WIDTH - RIGHT - 100 * (len(variants) - number) + 60
        yield bar(x, 18, 12, variant)
        yield text(x + 18, 28, variant)


def axis(height: float) -> Iterator[str]:
    """Return the lines of the scale; that of the baseline is stronger."""
    for ratio in (0, 0.5, 1, 1.5, LONGEST):
        x, colour = LEFT + ratio * UNIT, "#666" if ratio == 1 else "#ddd"
        yield text(x, TOP - 18, f"{ratio:g}", "note middle")
        yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 12}" y2="{height - BOTTOM}" stroke="{colour}"/>'


def bars(groups: Sequence[Bars]) -> Iterator[str]:
    """Return the bars with their values, and the titles of their groups."""
    y = float(TOP)
    for group in groups:
        yield text(LEFT - 10, y + 10, group.title, "end")
        yield text(LEFT - 10, y + 10 + BAR, f"{'more' if group.more_is_better else 'less'} is better", "note end")
        for variant, (ratio, label) in group.values.items():
            width = min(ratio, LONGEST) * UNIT
            yield bar(LEFT, y, width, variant)
            cut = "→ " if ratio > LONGEST else ""
            yield text(LEFT + width + 6, y + 10, f"{cut}{ratio:.2f} · {label}", "note")
            y += BAR
        y += GAP
