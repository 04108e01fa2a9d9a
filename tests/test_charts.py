"""The charts: those in the repository show what was measured, and everybody can read them."""

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backend_bases import RendererBase
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text

from benchmarks import comparison, timeline
from tests.conftest import TEMPLATE
from tools.charts import BLUE, DARK, RED, SKY, darkened, save
from workshop import charts

LADDER: dict[str, Any] = json.loads((TEMPLATE / "workshop/results/ladder.json").read_text(encoding="utf-8"))
ROLLOUT: dict[str, Any] = json.loads((TEMPLATE / "benchmarks/rollout.json").read_text(encoding="utf-8"))
BENCH: dict[str, Any] = json.loads((TEMPLATE / "benchmarks/bench.json").read_text(encoding="utf-8"))
FIGURES = {
    **{f"workshop/results/{name}": figure for name, figure in charts.draw(LADDER).items()},
    "benchmarks/rollout": timeline.draw(ROLLOUT),
    "benchmarks/bench": comparison.draw(BENCH),
}


def shapes(svg: Path) -> tuple[list[str], list[float]]:
    """Return what an SVG says without its numbers, and its numbers: their last digits depend on the processor."""
    text = re.sub(r"\b[pmC][0-9a-f_]{10,}\b", "name", svg.read_text(encoding="utf-8"))
    parts = re.split(r"(-?\d+(?:\.\d+)?)", text)
    return parts[::2], [float(number) for number in parts[1::2]]


@pytest.mark.parametrize("name", FIGURES)
def test_a_chart_in_the_repository_is_that_of_the_results(name: str, tmp_path: Path) -> None:
    save(FIGURES[name], tmp_path / "again")

    (words, numbers), (others, expected) = (shapes(path) for path in (tmp_path / "again.svg", TEMPLATE / f"{name}.svg"))
    assert words == others
    assert numbers == pytest.approx(expected, abs=0.01)
    # Of the plots in the README there is no PNG in the repository.
    if (png := TEMPLATE / f"{name}.png").exists():
        assert np.allclose(imread(tmp_path / "again.png"), imread(png), atol=0.05)


@pytest.mark.parametrize("name", ["benchmarks/rollout", "benchmarks/bench"])
def test_the_readme_shows_the_same_chart_on_a_dark_ground(name: str) -> None:
    readme = (TEMPLATE / "README.md").read_text(encoding="utf-8")
    dark, light = f"{name}-dark.svg", f"{name}.svg"

    assert re.search(f'<source media="[^"]+dark[^"]+" srcset="{dark}">\n *<img src="{light}"', readme)
    svg = (TEMPLATE / dark).read_text(encoding="utf-8")
    assert svg == darkened((TEMPLATE / light).read_text(encoding="utf-8")), f"{dark} is not {light} in other colours"
    assert set(re.findall("|".join(DARK), svg)) == set(), "this colour cannot be seen on a dark ground"


def test_a_chart_is_the_same_each_time_and_names_no_date(tmp_path: Path) -> None:
    for name in ("one", "two"):
        save(charts.start(LADDER), tmp_path / name)

    for suffix in (".svg", ".png"):
        one, two = ((tmp_path / name).with_suffix(suffix).read_bytes() for name in ("one", "two"))
        assert one == two
        assert not re.search(rb"dc:date|Matplotlib", one)


def overlaps(figure: Figure, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what is written over something else, or beyond the edge. Of slanted names the boxes tell nothing."""
    drawn: list[Text] = []
    draw = Text.draw

    def recorded(text: Text, renderer: RendererBase) -> None:
        drawn.append(text)
        draw(text, renderer)

    monkeypatch.setattr(Text, "draw", recorded)
    figure.draw_without_rendering()
    boxes = [
        (text.get_text(), text.get_window_extent())
        for text in drawn
        if text.get_visible() and text.get_text() and text.get_rotation() % 90 == 0
    ]
    assert len(boxes) > 10
    edge = figure.bbox
    beyond = [text for text, box in boxes if not edge.contains(*box.min) or not edge.contains(*box.max)]
    return beyond + [f"{one} / {two}" for (one, a), (two, b) in combinations(boxes, 2) if a.overlaps(b)]


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_of_a_chart_covers_another_or_runs_out_of_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert overlaps(FIGURES[name], monkeypatch) == []


def test_what_overlaps_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = charts.start(LADDER)
    figure.text(0.03, 0.98, "over the title", va="top")
    figure.text(0.97, 0.5, "beyond the edge")

    assert overlaps(figure, monkeypatch) == ["beyond the edge", "How long until the first answer? / over the title"]


# How the colour-blind see linear red, green and blue, after Machado and others (2009).
SIGHT = {
    "all colours": np.eye(3),
    "no red": [(0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)],
    "no green": [(0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)],
    "no blue": [(1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)],
}
TO_XYZ = [(0.4339, 0.3762, 0.1899), (0.2127, 0.7152, 0.0722), (0.0178, 0.1095, 0.8729)]


def seen(colour: str, sight: str) -> np.ndarray:
    """Return a colour as an eye sees it, in CIELAB: equal distances there look equally far apart."""
    channels = np.array(to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    xyz = np.array(TO_XYZ) @ np.clip(np.array(SIGHT[sight]) @ linear, 0, 1)
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array((116 * y - 16, 500 * (x - y), 200 * (y - z)))


def closest(colours: tuple[str, ...], sight: str) -> float:
    """Return how far apart the two colours are that look most alike."""
    return min(float(np.linalg.norm(seen(a, sight) - seen(b, sight))) for a, b in combinations(colours, 2))


@pytest.mark.parametrize("sight", SIGHT)
def test_the_colours_of_a_chart_can_be_told_apart(sight: str) -> None:
    signs = tuple(colour for _, colour, _ in (*charts.SIGNS.values(), charts.NO_SIGN))
    for colours in (tuple(charts.KINDS.values()), signs, (SKY, BLUE, RED)):
        assert closest(colours, sight) > 12, colours


def test_colours_that_are_alike_are_found() -> None:
    assert closest(("tab:red", "tab:green", "tab:blue"), "no green") < 12


def test_a_single_failure_can_be_seen_in_the_plot(tmp_path: Path) -> None:
    def crosses(bins: list[dict[str, Any]]) -> int:
        save(timeline.draw(ROLLOUT | {"bins": bins}), tmp_path / "plot")
        svg = (tmp_path / "plot.svg").read_text(encoding="utf-8")
        return svg.partition('<g id="failed"')[2].partition('<g id="')[0].count("<use ")

    bins = [{**each, "failed": 0} for each in ROLLOUT["bins"]]
    assert crosses(bins) == 0
    bins[-1]["failed"] = 1
    assert crosses(bins) == 1


def test_what_has_not_all_been_measured_is_drawn() -> None:
    """A run writes after each rung, and a rung may not start."""
    charts.draw(LADDER | {"rungs": LADDER["rungs"][:1]})
    figure = charts.start(LADDER | {"rungs": [{**LADDER["rungs"][0], "start_ms": None}]})

    assert "does not start" in [text.get_text() for text in figure.findobj(Text) if isinstance(text, Text)]
