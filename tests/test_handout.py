"""The handout of the workshop: what it says is true, what it points to exists, screens and paper show it well."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Environment, FileSystemLoader
from matplotlib.text import Text
from pypdf import PdfReader

from tests.browser import LOW_CONTRAST, Browser, running
from tests.conftest import TEMPLATE, skip_or_fail
from tools.baking import SERVICE
from workshop import page
from workshop.chapters import chapters
from workshop.charts import draw
from workshop.handout import CHARTS, MEASURES, SHEETS, HandoutError, Measure, changed, environment, fill
from workshop.ladder import rungs

WORKSHOP = TEMPLATE / "workshop"
RESULTS = WORKSHOP / "results/ladder.json"
# The frame and each chapter, by the names by which messages call them.
SOURCES = {
    name: (WORKSHOP / name).read_text(encoding="utf-8") for name in ("handout.md", *(c.file for c in chapters()))
}
SOURCE = "\n".join(SOURCES.values())
# What an author has written: the source without what Jinja puts in, and what stands in data.
WRITTEN = "\n".join(
    [
        *(value for text in SOURCES.values() for _, kind, value in Environment().lex(text) if kind == "data"),
        *(line for chapter in chapters() for line in (*chapter.objectives, *chapter.questions, *chapter.keys)),
    ]
)
CHAPTERS = [chapter.title.replace("'", "\N{RIGHT SINGLE QUOTATION MARK}") for chapter in chapters()]
MISTAKES = {
    *("no-second-stage", "dependencies-installed-at-every-edit", "the-wrong-working-directory", "root"),
    *("no-virtual-environment-or-one-that-was-moved", "no-dockerignore", "the-development-server", "shell-form"),
    *("a-health-check-that-calls-curl", "stale-pins-or-none"),
}
# What makes a number a measured one. Limits that the contract sets stand in its rows, which are generated as well.
UNITS = r"(?:[kKMG]i?B|ms|s|seconds?|minutes?|hours?|%|percent|times|fold|packages|layers|rows|rungs)"
WORDS = r"(?:two|three|four|five|six|seven|eight|nine|ten|twenty|hundred)"
# “twice as fast”, “a third of the size”: a number in words is one as well.
RATIOS = r"\b(?:twice|thrice|half|a (?:third|quarter|fifth|tenth)|\w+fold|\w+ times) (?:as|of|the|more|less)\b"


@dataclass
class Page(HTMLParser):
    """What a page holds that tests ask for."""

    html: str
    ids: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    text: str = ""

    def __post_init__(self) -> None:
        """Read the page."""
        super().__init__()
        self.feed(re.sub(r"<(style|script)>.*?</\1>", "", self.html, flags=re.DOTALL))

    def handle_starttag(self, _: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect anchors, links and what would be loaded."""
        for name, value in attrs:
            for wanted, found in (("id", self.ids), ("href", self.links), ("src", self.sources)):
                if name == wanted:
                    found.append(value or "")

    def handle_data(self, data: str) -> None:
        """Collect the text."""
        self.text += data


@pytest.fixture(scope="session")
def results() -> Path:
    if not RESULTS.exists():
        skip_or_fail("the handout needs workshop/results/ladder.json, which `make workshop` measures")
    return RESULTS


@pytest.fixture(scope="session")
def handout(tmp_path_factory: pytest.TempPathFactory, results: Path) -> Path:
    """Make the handout as `make handout` does; return its folder."""
    folder = tmp_path_factory.mktemp("handout")
    command = [sys.executable, "-m", "workshop.handout", "--results", str(results), "--output", str(folder)]
    done = subprocess.run(command, cwd=TEMPLATE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def shown(handout: Path) -> Page:
    return Page((handout / "handout.html").read_text(encoding="utf-8"))


def doctored(results: Path, destination: Path, **numbers: Any) -> Path:
    """Write results in which some numbers are others, the same on all rungs; return where to."""
    changed = json.loads(results.read_text(encoding="utf-8"))
    for rung in changed["rungs"]:
        rung.update(numbers)
    path = destination / "ladder.json"
    path.write_text(json.dumps(changed), encoding="utf-8")
    for name in CHARTS:
        (destination / f"{name}.svg").write_bytes((results.parent / f"{name}.svg").read_bytes())
    return path


# ---- what it says ----


def test_the_chapters_are_there_and_nothing_of_jinja(shown: Page) -> None:
    # The templates of `docker inspect` have no space after their braces.
    assert not re.findall(r"\{\{ \w[^}]*\}\}|\{% ", shown.text)
    assert re.findall(r'<h2 id="[^"]+">(.*?)</h2>', shown.html) == CHAPTERS


def test_every_rung_of_the_ladder_is_told_and_every_chart_shown() -> None:
    assert re.findall(r"\{% call rung\((\w+)\) %\}", SOURCE) == [rung.name for rung in rungs()]
    assert re.findall(r'\{\{ chart\("(\w+)"\) \}\}', SOURCE) == list(CHARTS)


def numbers_in(text: str) -> list[str]:
    """Find numbers with units, in digits and in words, and ratios in words."""
    text = re.sub(r"\s+", " ", text)
    return [
        *re.findall(rf"(?<![\w.])\d[\d.,]*(?: |-)?{UNITS}\b|(?<![\w.])\d[\d.,]* ?[%\u00d7]", text),
        *re.findall(rf"\b{WORDS} {UNITS}\b|{RATIOS}", text, re.IGNORECASE),
    ]


def test_no_number_in_the_text_was_written_by_hand() -> None:
    assert numbers_in(WRITTEN) == [], "take it from the results, see workshop/handout.py"


@pytest.mark.parametrize(
    "sentence",
    [
        "It takes 128 MB.",
        "It starts in 200ms.",
        "It is 87 % smaller.",
        "A stop takes 10 s.",
        "It is three times faster.",
        "It is 3 times as fast.",
        "It is twice as fast.",
        "It takes a third of the time.",
        "Ten seconds later.",
    ],
)
def test_the_search_for_numbers_finds(sentence: str) -> None:
    assert numbers_in(sentence)


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.key)
def test_every_measured_number_comes_from_the_results(measure: Measure, results: Path, tmp_path: Path) -> None:
    jinja = environment(doctored(results, tmp_path, **{measure.key: 7654}))

    summary = jinja.from_string('{% from "macros.jinja" import summary %}{{ summary() }}').render()
    assert summary.count(measure.written(7654)) == len(rungs())


def place(text: str) -> str:
    """Return the first source with a text, and the line of it."""
    name, source = next((name, source) for name, source in SOURCES.items() if text in source)
    return f"{name}, line {1 + source[: source.index(text)].count(chr(10))}"


def failure(results: Path, tmp_path: Path, **numbers: Any) -> str:
    """Make the handout of results in which some numbers are others; return why it cannot be made."""
    command = [sys.executable, "-m", "workshop.handout", "--results", str(doctored(results, tmp_path, **numbers))]
    done = subprocess.run(command, cwd=TEMPLATE, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    return done.stderr


def test_a_number_that_was_not_measured_fails_in_one_line(results: Path, tmp_path: Path) -> None:
    where = place("{{ naive.stop_seconds }}")

    told = failure(results, tmp_path, stop_seconds=None)
    assert told == f"handout: {where}: this number was not measured\n"


def test_a_name_that_does_not_exist_fails_in_one_line(results: Path, tmp_path: Path) -> None:
    jinja = environment(results)
    assert isinstance(jinja.loader, FileSystemLoader)
    jinja.loader.searchpath.append(str(tmp_path))
    (tmp_path / "wrong.md").write_text("All is well.\n\nIt takes {{ naive.bites }}.\n")

    with pytest.raises(HandoutError, match=r"wrong.md, line 3: .* no attribute 'bites'"):
        fill(jinja, "wrong.md")


def test_only_packages_may_be_missing_as_not_every_system_has_the_scanner(results: Path, tmp_path: Path) -> None:
    assert "packages to report" in fill(environment(results))
    text = fill(environment(doctored(results, tmp_path, packages=None)))

    assert "packages to report" not in text
    # In code the word is one of Python's.
    assert "None" not in re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


CLAIM = re.compile(r"\{\{ (\w+)\.(\w+) \| (less_than|times)\(\w+\.(\w+)(?:, \"fewer\")?\) \}\}")


def test_a_claim_that_is_not_true_stops_the_build(results: Path, tmp_path: Path) -> None:
    claims = list(CLAIM.finditer(SOURCE))
    assert len(claims) == len(re.findall("less_than|times\\(", SOURCE)) >= 6

    for claim in claims:
        _, key, verb, other = claim.groups()
        assert key == other, f"{claim[0]} compares different measures"
        jinja = environment(doctored(results, tmp_path, **{key: 5}))
        broken = "more" if verb == "times" else "less"
        with pytest.raises(HandoutError, match=rf"is not {broken} than"):
            jinja.from_string(f"It takes {claim[0]}.").render()


def test_a_false_claim_is_one_line_that_says_where(results: Path, tmp_path: Path) -> None:
    told = failure(results, tmp_path, bytes=5_000_000)

    assert told == f"handout: {place('{{ slim.bytes |')}: 5.0\u00a0MB is not less than 5.0\u00a0MB\n"


def test_a_diff_shows_what_is_new_and_no_more(results: Path) -> None:
    every: Any = environment(results).globals["rungs"]
    told = {rung["name"]: rung for rung in every}
    files = {name: list(changed(rung["before"], rung["after"])) for name, rung in told.items()}

    assert not told["naive"]["before"], "the first rung is printed as it is"
    [(name, kind, lines)] = files["slim"]
    assert (name, kind) == ("Dockerfile", "changed")
    assert re.findall(r"^[-+].*", lines, re.MULTILINE) == ["-FROM python:3.14-trixie", "+FROM python:3.14-slim-trixie"]
    assert [(name, kind) for name, kind, _ in files["context"]] == [(".dockerignore", "new")]
    [_, (_, _, lock)] = files["locked"]
    hashes = re.findall(r"--hash=sha256:(\S+)", lock)
    assert len(hashes) == len(re.findall("==", (SERVICE / "requirements.txt").read_text(encoding="utf-8")))
    assert {len(shown) for shown in hashes} == {9}
    assert (told["template"]["before"], list(told["template"]["after"])) == ({}, ["Dockerfile"])
    [(_, _, lines)] = files["distroless"]
    assert "-ARG RUNTIME=slim\n+ARG RUNTIME=distroless\n" in lines


def test_rows_of_the_contract_are_cited_by_their_words(shown: Page) -> None:
    path = SERVICE / "tests/container/scorecard.py"
    spec = importlib.util.spec_from_file_location("scorecard", path)
    assert spec
    assert spec.loader
    scorecard = importlib.util.module_from_spec(spec)
    sys.modules["scorecard"] = scorecard
    spec.loader.exec_module(scorecard)
    every: Any = environment(RESULTS).globals["contract"]
    assert every == scorecard.ROWS, "`make workshop` judges the rungs by the contract as it is"

    cited = re.findall(r'<a href="#row-(\d+)">row (\d+)</a> “(.*?)”', shown.html)
    assert len(cited) > 25
    for anchor, number, words in cited:
        assert anchor == number
        assert words == scorecard.ROWS[int(number)]
    assert not re.search(r"\brows? \d", WRITTEN), "a row is cited by hand"


def test_each_mistake_has_symptom_cause_cure_and_a_row() -> None:
    _, *mistakes = re.split(r"^### ", SOURCES["chapters/mistakes.md"], flags=re.MULTILINE)
    titles = {page.slug(mistake.partition("\n")[0]) for mistake in mistakes}

    assert titles >= MISTAKES, MISTAKES - titles
    for mistake in mistakes:
        terms = re.findall(r"^(\S.*)\n: ", mistake, re.MULTILINE)
        assert terms == ["Symptom", "Cause", "Cure", "Caught by"], mistake
        assert re.search(r"^Caught by\n: (\{\{ row\(\d+\) \}\}(; )?)+$", mistake, re.MULTILINE), mistake


def test_links_and_anchors_resolve(shown: Page) -> None:
    assert [name for name, count in Counter(shown.ids).items() if count > 1] == []
    assert len(shown.links) > 50
    for link in shown.links:
        assert link.startswith("#"), f"{link} leads out of the page"
        assert link[1:] in shown.ids, link
    for number in range(1, 23):
        assert f"row-{number}" in shown.ids


def test_the_page_needs_no_other_file(shown: Page) -> None:
    assert len(shown.sources) == len(CHARTS)
    assert all(source.startswith("data:image/svg+xml;base64,") for source in shown.sources)
    # The one script is the player; tests/test_recordings.py looks on while it plays.
    others, players = re.subn(r"<script>.*?</script>", "", shown.html, flags=re.DOTALL)
    assert players <= 1
    assert not re.search(r"<(script|link|iframe)\b|@import|url\(", others)


# ---- how it looks ----


@pytest.fixture(scope="module")
def tab(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with running(chromium, tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module")
def address(handout: Path) -> str:
    return (handout / "handout.html").as_uri()


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_overflows(width: int, tab: Browser, address: str) -> None:
    tab.open(address, width)

    assert tab.evaluate("innerWidth") == width
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    # Nor is anything cut off at the edge, unless it is in a box that scrolls.
    cut = """[...document.querySelectorAll('body *')].filter(element =>
        !element.closest('.scroll, pre') && element.getBoundingClientRect().right > innerWidth + 1
    ).map(element => element.outerHTML.slice(0, 100))"""
    assert tab.evaluate(cut) == []


def test_a_phone_shows_text_and_charts_at_a_size_that_can_be_read(tab: Browser, address: str, results: Path) -> None:
    tab.open(address, 390, 844)

    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    small = """[...document.querySelectorAll('body *')].filter(element =>
        [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim()) &&
        parseFloat(getComputedStyle(element).fontSize) < 10
    ).map(element => element.outerHTML.slice(0, 100))"""
    assert tab.evaluate(small) == []
    # What is written in a chart is drawn: its points become pixels by what the picture is scaled.
    scales = tab.evaluate("[...document.images].map(image => [image.clientWidth / image.naturalWidth, image.alt])")
    drawn = draw(json.loads(results.read_text(encoding="utf-8")))
    for scale, alternative in scales:
        [name] = [name for name, words in CHARTS.items() if words == alternative]
        smallest = min(text.get_fontsize() for text in drawn[name].findobj(Text) if text.get_text().strip())
        assert scale * smallest * 96 / 72 >= 10, f"{name}: its smallest text has {scale * smallest * 96 / 72:.1f} px"
    # What is wider than the phone says so, and keeps its first column in sight.
    hints = """[...document.querySelectorAll('.scroll')].filter(box => box.scrollWidth > box.clientWidth + 1)
        .map(box => [getComputedStyle(box, '::before').content, box.querySelector('img') ? 'sticky' :
            getComputedStyle(box.querySelector('td, th')).position])"""
    wide = tab.evaluate(hints)
    assert len(wide) > len(CHARTS)
    assert {tuple(hint) for hint in wide} == {('"Swipe sideways \N{RIGHTWARDS ARROW}"', "sticky")}


def test_all_charts_are_shown(tab: Browser, address: str) -> None:
    tab.open(address)
    sizes = "[...document.images].map(image => [image.naturalWidth, image.clientWidth, image.clientHeight, image.alt])"
    images = tab.evaluate(sizes)

    assert len(images) == len(CHARTS)
    for natural, width, height, alternative in images:
        assert natural > 0
        assert width > 400
        assert height > 100
        assert alternative in CHARTS.values()


def test_the_night_has_colours_of_its_own_and_all_can_be_read(tab: Browser, address: str) -> None:
    colours = {}
    for dark in (False, True):
        tab.open(address, dark=dark)
        colours[dark] = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        # 4.5 is what the Web Content Accessibility Guidelines ask of text.
        assert (dark, tab.evaluate(LOW_CONTRAST)) == (dark, [])

    assert colours[False] == "rgb(255, 255, 255)"
    assert colours[True] != colours[False]


def test_a_link_leads_to_its_chapter(tab: Browser, address: str) -> None:
    for width in (360, 1280):
        tab.open(address, width)
        for target in ("common-mistakes", "row-7"):
            tab.evaluate(f"""(document.documentElement.style.scrollBehavior = 'auto',
                document.querySelector('a[href="#{target}"]').click())""")
            assert tab.evaluate("location.hash") == f"#{target}"
            top = tab.evaluate(f"document.getElementById('{target}').getBoundingClientRect().top")
            assert -1 < top < 100, f"{target} is at {top}"


@pytest.fixture(scope="module")
def printed(chromium: str, handout: Path) -> PdfReader:
    return PdfReader(handout / "handout.pdf")


def test_each_page_of_the_pdf_has_its_number(printed: PdfReader) -> None:
    count = len(printed.pages)
    [title] = re.findall(r"^# (.*)$", SOURCE, re.MULTILINE)

    assert 15 < count < 90
    for number, sheet in enumerate(printed.pages, start=1):
        text = sheet.extract_text()
        assert f"{number} of {count}" in text
        assert title in text, "the title at the foot of the pages is another"
        assert [round(float(side)) for side in sheet.mediabox[2:]] == [595, 842], "not A4"


def test_the_contents_of_the_pdf_name_the_pages(printed: PdfReader) -> None:
    bookmarks = [
        (entry.title, (printed.get_destination_page_number(entry) or 0) + 1) for entry in flat(printed.outline)
    ]
    chapters = {title: number for title, number in bookmarks if title in CHAPTERS}
    [contents] = [text for sheet in printed.pages if "\nContents\n" in f"\n{(text := sheet.extract_text())}"]

    assert list(chapters) == CHAPTERS
    for title, number in chapters.items():
        assert title in printed.pages[number - 1].extract_text()
        assert re.search(rf"^{re.escape(title)}\s*{number}$", contents, re.MULTILINE), (title, number, contents)


def flat(outline: Any) -> Iterator[Any]:
    """Walk through nested bookmarks."""
    for entry in outline:
        if isinstance(entry, list):
            yield from flat(entry)
        else:
            yield entry


def test_without_a_browser_there_is_a_page_and_a_line_that_says_so(results: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "workshop.handout", "--results", str(results), "--output", str(tmp_path)]
    environment = {**os.environ, "PATH": "", "CHROMIUM": ""}
    if sys.platform != "linux":
        pytest.skip("elsewhere browsers are not found by PATH alone")
    done = subprocess.run(command, cwd=TEMPLATE, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "No PDF: that takes Chromium" in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.html" for name in ("handout", *SHEETS)}


def test_without_results_one_line_says_what_to_do(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "workshop.handout", "--results", str(tmp_path / "none.json")]
    done = subprocess.run(command, cwd=TEMPLATE, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert done.stderr == f"handout: {tmp_path / 'none.json'} is not there; `make workshop` measures the ladder\n"


# ---- the exhibit ----


@pytest.fixture(scope="module")
def old_environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the exhibit as its own Dockerfile would; skip where the index has its old packages no longer."""
    environment = tmp_path_factory.mktemp("exhibit") / "venv"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    python = environment / ("Scripts" if os.name == "nt" else "bin") / "python"
    command = [str(python), "-m", "pip", "install", "--quiet", "-r", str(WORKSHOP / "exhibit/requirements.txt")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "No matching distribution found" in done.stderr:
        # Not skip_or_fail: that an index drops what is years old is no fault of ours, in CI neither.
        pytest.skip("the package index no longer has the packages of workshop/exhibit")
    assert done.returncode == 0, done.stderr
    return python


def test_the_exhibit_does_not_start_for_the_reason_given(old_environment: Path) -> None:
    done = imported(old_environment)
    reason = (WORKSHOP / "exhibit/error.txt").read_text(encoding="utf-8").strip()

    assert done.returncode == 1, "it starts"
    assert done.stderr.splitlines()[-1].startswith(reason), done.stderr


def test_the_exhibit_starts_on_the_lock_of_the_template(service_environment: Path) -> None:
    done = imported(service_environment / ("Scripts" if os.name == "nt" else "bin") / "python")

    assert done.stdout == "Hello from a container!\n", done.stderr


def imported(python: Path) -> subprocess.CompletedProcess[str]:
    """Import the exhibit as its start would, and ask for its page."""
    script = "import app; print(app.app.test_client().get('/').get_json()['message'])"
    command = [str(python), "-B", "-c", script]
    return subprocess.run(command, cwd=WORKSHOP / "exhibit", capture_output=True, text=True, timeout=60, check=False)


# ---- the other pages ----


@pytest.mark.parametrize("name", ["README.md", "instructor.md"])
def test_links_of_the_pages_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", (WORKSHOP / name).read_text(encoding="utf-8")):
        assert (WORKSHOP / target).exists() or target.startswith("build/"), f"{name} links to {target}"


@pytest.mark.parametrize("name", ["README.md", "instructor.md"])
def test_commands_of_the_pages_exist(name: str) -> None:
    text = (WORKSHOP / name).read_text(encoding="utf-8")
    makefile = (TEMPLATE / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^make ([a-z-]+)|`make ([a-z-]+)`", text, re.MULTILINE)

    assert targets
    for target in filter(None, (target for pair in targets for target in pair)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"there is no `make {target}`"
    for script in re.findall(r"workshop/(?:check|quiz|\w+\.py)", text):
        assert (TEMPLATE / script).exists(), script
