"""The slides of the workshop: all that the handout teaches is on one, each fits, and can be read from the back row."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pypdf import PdfReader

from tests.browser import LOW_CONTRAST, Browser, running
from tests.conftest import TEMPLATE, skip_or_fail
from workshop import charts
from workshop.chapters import chapters
from workshop.handout import environment, exercises
from workshop.ladder import rungs
from workshop.slides import CODE_LINES, Deck, Slide, bars, instructions, paged, web_page, what_matters, written

RESULTS = TEMPLATE / "workshop/results/ladder.json"
# In pixels of a slide that is 1280 wide: on a canvas of two metres, letters of three centimetres.
LEGIBLE = 18

# What is cut off, stands on the footer, or is smaller than LEGIBLE; by the number of the slide.
FAULTS = """[...document.querySelectorAll('.slide')].flatMap((slide, index) => {
    const edge = slide.getBoundingClientRect(), foot = slide.querySelector('footer').getBoundingClientRect()
    return [...slide.querySelectorAll('h2, .body *')].flatMap(element => {
        const box = element.getBoundingClientRect(), size = parseFloat(getComputedStyle(element).fontSize)
        const text = [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim())
        return [
            box.bottom > foot.top + 1 && 'too low', box.right > edge.right - 20 && 'too wide',
            element.scrollWidth > element.clientWidth + 1 && element.clientWidth && 'cut off',
            text && size < LEGIBLE && 'too small'
        ].filter(Boolean).map(fault => [index + 1, fault, element.outerHTML.slice(0, 80)])
    })
})""".replace("LEGIBLE", str(LEGIBLE))


@pytest.fixture(scope="module")
def deck() -> list[Slide]:
    if not RESULTS.exists():
        skip_or_fail("the slides need workshop/results/ladder.json, which `make workshop` measures")
    return Deck(written(RESULTS)).slides


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, chromium: str) -> Path:
    """Make the slides as `make handout` does; return their folder."""
    folder = tmp_path_factory.mktemp("slides")
    command = [sys.executable, "-m", "workshop.slides", "--output", str(folder)]
    done = subprocess.run(command, cwd=TEMPLATE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def tab(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with running(chromium, tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module")
def address(made: Path) -> str:
    return (made / "slides.html").as_uri()


# ---- what is on them ----


def titles(deck: list[Slide], kind: str) -> list[str]:
    """Return the titles of the slides of a kind, as text."""
    return [re.sub(r" <small>.*|<[^>]+>", "", slide.title) for slide in deck if slide.kind == kind]


def test_every_chapter_that_is_taught_has_a_title_slide(deck: list[Slide]) -> None:
    taught = [chapter for chapter in chapters() if chapter.minutes]
    slides = [slide for slide in deck if slide.kind == "chapter"]

    assert titles(deck, "chapter")[:-1] == [chapter.title.replace("'", "’") for chapter in taught]  # noqa: RUF001
    for chapter, slide in zip(taught, slides, strict=False):
        assert all(f"{minutes} minutes of the" in slide.body for minutes in list(chapter.minutes.values())[:1])
        assert slide.body.count("<li>") == len(chapter.objectives), f"{chapter.title}: not all objectives"
        assert "".join(slide.notes).count("<li>") == len(chapter.questions), f"{chapter.title}: not all questions"
    for chapter in chapters():
        if not chapter.minutes:
            assert f"<li>{chapter.title}</li>" in slides[-1].body


def test_every_chapter_says_what_to_remember(deck: list[Slide]) -> None:
    for chapter in (chapter for chapter in chapters() if chapter.keys):
        title = f"To remember: {chapter.title}".replace("'", "’")  # noqa: RUF001
        [slide] = [slide for slide in deck if slide.title == title]
        assert slide.body.count("<li>") == len(chapter.keys)


def test_every_rung_has_its_change_and_its_numbers_on_slides(deck: list[Slide]) -> None:
    every: Any = environment(RESULTS).globals["rungs"]
    for rung, told in zip(rungs(), every, strict=True):
        own = [slide for slide in deck if f"{slide.title} <".partition(" <")[0] == told["title"]]
        assert own, f"no slide of rung {rung.number}"
        assert "<blockquote>" in own[0].body
        assert any('<pre class="code' in slide.body for slide in own), f"rung {rung.number} shows no file"
        assert len(re.sub(r"<[^>]+>", "", "".join(own[0].notes))) > 100, f"rung {rung.number} has nothing to say"
        if told["below"]:
            numbers = "".join(
                slide.body for slide in deck if slide.title.startswith(f"{told['title']}: before and now")
            )
            for _, _, now, _ in told["changes"]:
                assert f">{now}<" in numbers, f"rung {rung.number} does not say {now}"
            assert numbers.count("<li>") == len(rung.claims) + 1


def test_every_exercise_and_every_mistake_has_a_slide(deck: list[Slide]) -> None:
    shown = titles(deck, "content")
    for exercise in exercises():
        title = re.findall(r"^### (.*)", exercise["task"])[0]
        slides = [slide for slide in deck if slide.title.startswith(title)]
        assert any(f"workshop/check workshop/exercises/{exercise['name']}" in slide.body for slide in slides), title
        assert any("cd workshop/exercises" in re.sub(r"<[^>]+>", "", slide.body) for slide in slides), title
        assert any("Hints" in "".join(slide.notes) for slide in slides), title
    mistakes = re.findall(r"^### (.*)", (TEMPLATE / "workshop/chapters/mistakes.md").read_text(), re.MULTILINE)
    assert len(mistakes) > 10
    assert set(mistakes) <= set(shown)


def test_every_slide_has_a_title_something_on_it_and_notes(deck: list[Slide]) -> None:
    for number, slide in enumerate(deck, start=1):
        assert slide.title, number
        assert slide.body.strip(), f"slide {number}, {slide.title}, is empty"
        assert re.sub(r"<[^>]+>|\s", "", "".join(slide.notes)), f"slide {number}, {slide.title}, has no notes"


def test_nothing_of_jinja_and_no_link_is_left(deck: list[Slide]) -> None:
    html = web_page(deck)

    assert not re.search(r"\{%|\{\{ ?\w+[^.]", re.sub(r"<(pre|code|style|script)\b.*?</\1>", "", html, flags=re.DOTALL))
    assert not re.search(r"<(a|link|iframe|img)\b|<script \w|@import|url\(", html.lower())


def test_a_chart_of_bars_says_what_was_measured() -> None:
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    for name in ("sizes", "start"):
        drawn = bars(results, name)["bars"]
        assert [bar["name"] for bar in drawn] == charts.names(results)
        shares = [sum(width for width, _ in bar["parts"]) for bar in drawn]
        assert max(shares) == pytest.approx(100, abs=0.2)
    assert f"{results['rungs'][0]['bytes'] / 1e6:.0f} MB" == bars(results, "sizes")["bars"][0]["strong"]


def test_a_long_change_is_cut_to_what_matters() -> None:
    context = [f" line {number}" for number in range(CODE_LINES)]

    assert what_matters("\n".join([*context, "+USER 10001"]), "Dockerfile") == "  …\n+USER 10001"
    assert what_matters(" # why\n+USER 10001\n CMD x", "Dockerfile") == "+USER 10001\n CMD x"
    lock = "\n".join(f"+package-{number}==1" for number in range(30))
    assert what_matters(lock, "requirements.txt").splitlines()[-2:] == ["+package-7==1", "  …"]
    code = "+import os\n+# why\n" + "\n".join(f"+a = {number}" for number in range(30))
    assert what_matters(code, "app.py").splitlines()[0] == "+a = 0"
    assert instructions("# why\nFROM a\nRUN b \\\n && c\n\nCMD d\n") == "FROM a\nRUN b …\nCMD d\n"


def test_what_is_too_long_for_one_slide_goes_on_the_next() -> None:
    text = "# A\n\n> x\n\n### B\n\nSaid.\n\n" + "\n".join(f"- item {number}" for number in range(40))
    [_, *parts] = Deck(text).slides

    for number, part in enumerate(parts, start=1):
        assert part.title == f"B <small>{number}/{len(parts)}</small>"
    assert sum(part.body.count("<li>") for part in parts) == 40
    assert all("Said." in "".join(part.notes) for part in parts)
    assert paged(parts[0])[0].blocks == parts[0].blocks


# ---- how they look ----


def test_every_slide_fits_and_can_be_read_from_the_back_row(tab: Browser, address: str, deck: list[Slide]) -> None:
    tab.open(address, 1280, 720)

    assert tab.evaluate("document.querySelectorAll('.slide').length") == len(deck)
    sizes = "[...new Set([...document.querySelectorAll('.slide')].map(s => s.offsetWidth + 'x' + s.offsetHeight))]"
    assert tab.evaluate(sizes) == ["1280x720"], "not 16:9"
    assert tab.evaluate(FAULTS) == []
    # Were something too large, it would be seen.
    tab.evaluate("document.querySelectorAll('.slide')[4].querySelector('.body').style.fontSize = '4em'")
    assert {number for number, _, _ in tab.evaluate(FAULTS)} == {5}


def test_every_slide_has_contrast(tab: Browser, address: str) -> None:
    tab.open(address, 1280, 720)
    tab.evaluate("document.getElementById('notes').click()")

    assert tab.evaluate(LOW_CONTRAST) == []


def test_slides_fill_windows_of_other_shapes(tab: Browser, address: str) -> None:
    for width, height in ((1920, 1080), (1024, 768), (390, 844)):
        tab.open(address, width, height)
        assert tab.evaluate("document.documentElement.scrollWidth") == width
        shown = tab.evaluate("(s => [s.offsetWidth, s.offsetHeight])(document.querySelector('.slide'))")
        assert shown[0] == pytest.approx(min(width, height * 16 / 9), abs=2)
        assert shown[0] / shown[1] == pytest.approx(16 / 9, abs=0.02)


def test_keys_turn_the_slides_and_show_the_notes(tab: Browser, address: str) -> None:
    tab.open(address, 1280, 720)
    press = "dispatchEvent(new KeyboardEvent('keydown', {{key: '{}', cancelable: true}}))"
    top = "Math.round(document.getElementById('slide-{}').getBoundingClientRect().top)"
    notes = "document.querySelector('.notes').getBoundingClientRect().height"

    assert tab.evaluate(notes) == 0
    for key, slide in (("ArrowRight", 2), (" ", 3), ("ArrowLeft", 2), ("ArrowLeft", 1), ("ArrowLeft", 1)):
        tab.evaluate(press.format(key))
        assert tab.evaluate(top.format(slide)) == 0, f"{key!r} does not lead to slide {slide}"
    tab.evaluate(press.format("n"))
    assert tab.evaluate(notes) > 50
    tab.evaluate(press.format("n"))
    assert tab.evaluate(notes) == 0


def test_the_pdf_has_a_page_of_16_to_9_for_each_slide(made: Path, deck: list[Slide]) -> None:
    sheets = PdfReader(made / "slides.pdf").pages

    assert len(sheets) == len(deck)
    for number, (sheet, slide) in enumerate(zip(sheets, deck, strict=True), start=1):
        width, height = (float(side) for side in sheet.mediabox[2:])
        assert width / height == pytest.approx(16 / 9, abs=0.01)
        assert f"{number} / {len(deck)}" in sheet.extract_text(), slide.title


def test_the_notes_are_pages_to_print(made: Path, deck: list[Slide]) -> None:
    sheets = [sheet.extract_text() for sheet in PdfReader(made / "notes.pdf").pages]

    assert len(deck) <= len(sheets) < 1.3 * len(deck)
    for number, slide in enumerate(deck, start=1):
        [sheet] = [text for text in sheets if re.search(rf"\b{number} / {len(deck)}\b", text)]
        first = re.sub(r"<[^>]+>", "", "".join(slide.notes)).split()[0]
        assert first.strip("“&;quot") in sheet, f"the page of slide {number} does not begin its notes"


def test_without_results_one_line_says_what_to_do(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "workshop.slides", "--results", str(tmp_path / "none.json")]
    done = subprocess.run(command, cwd=TEMPLATE, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert done.stderr == f"slides: {tmp_path / 'none.json'} is not there; `make workshop` measures the ladder\n"
