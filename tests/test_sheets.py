"""The worksheet and the feedback sheet: they name every rung and chapter, fit on paper, and their commands work."""

import os
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.browser import running
from tests.conftest import LABEL, PYTHONS, TEMPLATE, docker, free_port
from tests.readme import blocks
from workshop import ladder, page
from workshop.chapters import chapters
from workshop.handout import SHEETS, environment, fill
from workshop.ladder import PYTHON, rungs

WORKSHOP = TEMPLATE / "workshop"
MEASURED = ("Size, MB", "Rebuild, s", "Start, s", "Stop, s", "Exit code", "Rows")
# Both sides of one sheet of paper; what is handed in has one.
PAGES = {"worksheet": 2, "feedback": 1}


@pytest.fixture(scope="module")
def sheets() -> dict[str, str]:
    """Return the sheets as web pages, as `make handout` makes them."""
    jinja = environment(WORKSHOP / "results/ladder.json")
    return {name: page.web_page(fill(jinja, f"{name}.md"), contents=False) for name in SHEETS}


def test_the_worksheet_has_a_guess_and_a_cell_for_each_measure_of_each_rung(sheets: dict[str, str]) -> None:
    assert re.findall(r"<th>([^<]+)</th>", sheets["worksheet"])[1:7] == list(MEASURED)
    bodies = re.findall(r"<tbody>\n(<tr><th rowspan.*?)</tbody>", sheets["worksheet"], re.DOTALL)

    assert len(bodies) == len(rungs())
    for rung, body in zip(rungs(), bodies, strict=True):
        assert f">{rung.number} · {rung.title}</th>" in body
        assert re.findall(r"<td>(\w+)</td>((?:<td></td>)+)", body) == [
            (row, "<td></td>" * len(MEASURED)) for row in ("guess", "seen")
        ]
    assert "What will you change in your own Dockerfile?" in sheets["worksheet"]


def test_the_feedback_sheet_asks_about_every_chapter_that_is_taught(sheets: dict[str, str]) -> None:
    inline = page.parser().renderInline
    taught = [str(inline(chapter.title)) for chapter in chapters() if chapter.minutes]

    assert re.findall(r'<th scope="row">(.*?)</th>', sheets["feedback"]) == taught
    assert sheets["feedback"].count('<td><span class="box"></span></td>') == 5 * len(taught)
    for question in ("change on Monday", "unclear", "pace", "useful", "exercise", "miss"):
        assert re.search(rf"<h2[^>]*>[^<]*{question}", sheets["feedback"]), question


@pytest.mark.parametrize("name", SHEETS)
def test_a_sheet_has_no_contents_and_needs_no_other_file(name: str, sheets: dict[str, str]) -> None:
    assert "<nav" not in sheets[name]
    assert not re.search(r"<(script|link|iframe|img)\b|@import|url\(|\{[{%]", sheets[name].replace("{{.State", ""))


@pytest.mark.parametrize("name", SHEETS)
def test_a_sheet_fits_on_its_paper(name: str, sheets: dict[str, str], chromium: str, tmp_path: Path) -> None:
    reader = page.printed(chromium, sheets[name], tmp_path / f"{name}.pdf")

    assert len(reader.pages) == PAGES[name]
    for number, side in enumerate(reader.pages, start=1):
        assert [round(float(length)) for length in side.mediabox[2:]] == [595, 842], "not A4"
        assert f"{number} of {PAGES[name]}" in side.extract_text()
    if name == "worksheet":
        front, back = (re.sub(r"\s+", " ", side.extract_text()) for side in reader.pages)
        for rung in rungs():
            assert rung.title in front, f"{rung.title} is not on the side with the table"
        assert back.index("How to measure") < back.index("your own Dockerfile")
        # No command is broken into two lines.
        for command in blocks((WORKSHOP / "worksheet.md").read_text(encoding="utf-8"), "sh")[0].splitlines()[2:]:
            plain = re.sub(r"\{% \w+ %\}", "", command)
            assert plain in reader.pages[1].extract_text(), f"broken: {plain}"


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("name", SHEETS)
def test_nothing_overflows(name: str, width: int, sheets: dict[str, str], chromium: str, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(sheets[name], encoding="utf-8")
    with running(chromium, tmp_path / "profile") as tab:
        tab.open((tmp_path / "page.html").as_uri(), width)
        assert tab.evaluate("document.documentElement.scrollWidth") == width
        cut = """[...document.querySelectorAll('body *')].filter(element =>
            !element.closest('.scroll, pre') && element.getBoundingClientRect().right > innerWidth + 1
        ).map(element => element.outerHTML.slice(0, 100))"""
        assert tab.evaluate(cut) == []


@pytest.mark.parametrize("name", SHEETS)
def test_nothing_is_wider_than_the_paper(name: str, sheets: dict[str, str], chromium: str, tmp_path: Path) -> None:
    """A browser would make all of it smaller, until it fits."""
    (tmp_path / "page.html").write_text(sheets[name], encoding="utf-8")
    [margin] = re.findall(r"@page sheet \{ margin: \d+mm (\d+)mm", sheets[name])
    width = int((210 - 2 * int(margin)) / 25.4 * 96)
    with running(chromium, tmp_path / "profile") as tab:
        tab.open((tmp_path / "page.html").as_uri(), width)
        tab.call("Emulation.setEmulatedMedia", media="print")
        wide = """[...document.querySelectorAll('body *')].filter(element =>
            element.getBoundingClientRect().right > innerWidth + 1
        ).map(element => element.outerHTML.slice(0, 100))"""
        assert tab.evaluate("innerWidth") == width
        assert tab.evaluate(wide) == []


# ---- how to measure ----


def commands(sheet: str) -> str:
    """Return the commands of the worksheet as a reader sees them."""
    [block] = re.findall(r'<pre class="code sh .*?</pre>', sheet, re.DOTALL)
    text = re.sub(r"<[^>]+>", "", block)
    for entity, sign in {"&quot;": '"', "&#39;": "'", "&gt;": ">", "&lt;": "<", "&amp;": "&"}.items():
        text = text.replace(entity, sign)
    return text


def test_a_rung_is_laid_out_in_a_new_folder_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ladder.main(["context", str(tmp_path / "rung")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'rung'}\n"
    assert {path.name for path in (tmp_path / "rung").iterdir()} >= {"Dockerfile", ".dockerignore", "app.py", ".env"}

    with pytest.raises(SystemExit):
        ladder.main(["slim", str(tmp_path / "rung")])
    assert "is there already" in capsys.readouterr().err


def test_every_rung_can_be_named(sheets: dict[str, str]) -> None:
    told = re.findall(r"in the place of .*?</p>", sheets["worksheet"], re.DOTALL)[0]
    assert re.findall(r"<code>(\w+)</code>", told)[1:] == [rung.name for rung in rungs()]


@pytest.mark.container
def test_the_commands_of_the_worksheet_measure(
    sheets: dict[str, str], engine: None, image_tag: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    own, folder, port = image_tag.replace(":", "-"), tmp_path / "rung", free_port()
    options = shlex.split(os.environ.get("DOCKER_BUILD_OPTIONS", ""))
    if PYTHONS[0] != PYTHON:
        usual, present = (f"python:{version}-slim-trixie" for version in (PYTHON, PYTHONS[0]))
        options += ["--build-context", f"{usual}=docker-image://{present}"]
    script = commands(sheets["worksheet"]).replace("workshop.ladder slim", "workshop.ladder server")
    script = re.sub(r"(?<=\s)hello(?=\s)", own, script).replace("/tmp/rung", str(folder)).replace("8080", str(port))
    # The static rows are enough to see that a rung can be judged; what a check says is tested where checks are.
    script = script.replace("workshop/check ", "workshop/check --fast ")
    settings = {**os.environ, "DOCKER_BUILD_OPTIONS": shlex.join([*options, "--label", LABEL, "--progress=plain"])}
    try:
        done = subprocess.run(
            ["bash", "-xc", f"exec 2>&1\n{script}"],
            cwd=TEMPLATE,
            env=settings,
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )
    finally:
        subprocess.run(["docker", "rm", "--force", own], capture_output=True, check=False)
    record_property("worksheet", " ".join(re.findall(r"^real\s+(\S+)", done.stdout, re.MULTILINE)))

    assert len(re.findall(r"^real\s", done.stdout, re.MULTILINE)) == 3, done.stdout
    assert re.search(rf"^{own} +latest .*MB$", done.stdout, re.MULTILINE), done.stdout
    assert "Hello, World!" in done.stdout
    assert re.search(r"^0$", done.stdout, re.MULTILINE), f"no exit code in\n{done.stdout}"
    assert re.search(r"rung: \d+ of \d+ rows passed", done.stdout), done.stdout
    assert not folder.exists()
    docker("image", "rm", "--force", own)
