"""The recordings of terminals: made from what the sources say, of nobody's machine, and played in the handout."""

import getpass
import json
import re
import shutil
import socket
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.browser import Browser, running
from tests.conftest import TEMPLATE, docker, skip_or_fail
from workshop import page
from workshop.casts import RECORDINGS, commands, events, header, plain, recordings
from workshop.handout import environment, fill
from workshop.ladder import Rung, rungs

if sys.platform == "win32":
    pytest.skip("sessions are typed into bash on a terminal, which pexpect opens", allow_module_level=True)

from workshop import record
from workshop.record import COLUMNS, IDLE, Log, Session, sessions

SESSIONS = {session.name: session for session in sessions()}
CASTS = recordings()
# What only one machine has, by what a recording could tell of it.
PRIVATE = {
    "the repository": re.escape(str(TEMPLATE)),
    "the home folder": rf"{re.escape(str(Path.home()))}/(?!\.cache/pip)",
    "a temporary folder": r"/(tmp|var/folders)/(record-|tmp\w{6,})",
    "the name of the machine": rf"\b{re.escape(socket.gethostname())}\b",
    "its user": rf"\b{re.escape(getpass.getuser())}@",
    "a package index": r"Looking in (indexes|links)|file:///|https?://[^/\s]*(:[^/\s]*)?@",
}


def test_every_session_is_recorded_and_nothing_else() -> None:
    assert list(CASTS) == sorted(SESSIONS), "make recordings"
    for rung in rungs():
        assert f"rung-{rung.name}" in CASTS
    for task in (TEMPLATE / "workshop/exercises").glob("*/task.md"):
        assert {f"exercise-{task.parent.name}", f"solution-{task.parent.name}"} <= CASTS.keys()


@pytest.mark.parametrize("name", CASTS)
def test_a_recording_is_an_asciicast(name: str) -> None:
    told, happened = header(CASTS[name]), events(CASTS[name])

    assert told == {"version": 2, "width": COLUMNS, "height": 24, "idle_time_limit": IDLE, "title": told["title"]}
    assert {kind for _, kind, _ in happened} == {"o", "m"}
    moments = [moment for moment, _, _ in happened]
    assert moments[0] == 0
    assert moments == sorted(moments), "time runs backwards"
    pauses = [after - before for before, after in pairwise(moments)]
    assert max(pauses) < IDLE + record.REST + 0.1, "somebody waits longer than is of use"
    assert len(CASTS[name].encode()) < 60_000


@pytest.mark.parametrize("name", CASTS)
def test_a_recording_is_of_the_commands_of_its_source(name: str) -> None:
    session = SESSIONS[name]

    assert commands(CASTS[name]) == session.commands, f"make recordings: the commands of {name} have changed"
    assert header(CASTS[name])["title"] == session.title, f"make recordings: the title of {name} has changed"
    typed = plain(CASTS[name])
    for command in session.commands:
        assert f"$ {command.splitlines()[0]}" in typed


@pytest.mark.parametrize("name", CASTS)
def test_a_recording_tells_nothing_of_a_machine(name: str) -> None:
    for what, pattern in PRIVATE.items():
        assert not re.search(pattern, plain(CASTS[name])), f"{name} tells {what}"


@pytest.mark.parametrize("rung", rungs(), ids=lambda rung: rung.label)
def test_a_recorded_rung_ran_as_it_was_measured(rung: Rung) -> None:
    text = plain(CASTS[f"rung-{rung.name}"])
    results = json.loads((TEMPLATE / "workshop/results/ladder.json").read_text(encoding="utf-8"))["rungs"]

    assert "Hello" in text
    measured = {result["name"]: result for result in results}.get(rung.name)
    assert measured, f"{rung.name} was not measured: make workshop"
    assert f"\nexit code {measured['exit_code']}\n" in text


@pytest.mark.parametrize("name", [name for name in CASTS if name.startswith("solution-")])
def test_a_recorded_solution_was_accepted(name: str) -> None:
    assert "Repaired" in plain(CASTS[name]), f"{name}: the check does not accept the solution"


def test_still_screens_are_cut_short_and_names_of_folders_are_hidden() -> None:
    log = Log()
    log.events = [(100, "m", "ls"), (101, "o", "ls\r\n/tmp/x/a\r\n"), (161, "o", "#1 0.1 Looking in links: /here\r\n")]
    log.events += [(161.01, "o", "do"), (161.4, "o", "ne\r\n"), (162, "o", "Wait "), (170, "o", "on\r\n")]

    assert events(log.cast("A title", ["/tmp/x"])) == [
        *((0, "m", "ls"), (1, "o", "ls\r\n…/a\r\n"), (3, "o", "done\r\n")),
        *((4, "o", "Wait "), (6, "o", "on\r\n")),
    ]


def test_an_exercise_is_recorded_as_its_task_says(tmp_path: Path) -> None:
    (tmp_path / "01-x").mkdir()
    block = "cd there\ndocker build -t image .\ndocker run --name it \\\n    image\n"
    (tmp_path / "01-x/task.md").write_text(f"# Exercise 1: X\n\n## See it\n\n```sh\n{block}```\n")

    see, solved = record.of_exercise(tmp_path / "01-x")
    assert see.commands == ("cd there", "docker build -t image .", "docker run --name it \\\n    image")
    assert (see.images, see.containers) == (("image",), ("it",))
    assert solved.commands[-1] == "workshop/check workshop/exercises/01-x"


def test_what_is_typed_is_recorded_and_a_command_that_hangs_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = ("cd deeper", "pwd", "echo \\\n    'two lines'", "false; echo $?")
    session = Session("x", "X", typed, lambda folder: (folder / "deeper").mkdir() or folder)  # type: ignore[func-returns-value]
    cast = record.record(session)

    assert commands(cast) == typed
    assert plain(cast).splitlines() == [
        *("$ cd deeper", "$ pwd", "…/deeper"),
        *("$ echo \\", ">     'two lines'", "two lines", "$ false; echo $?", "1"),
    ]
    monkeypatch.setattr(record, "LIMIT", 2)
    with pytest.raises(SystemExit, match=r"x: no prompt within 2 s after 'cat'"):
        record.record(Session("x", "X", ("cat",), lambda folder: folder))


@pytest.mark.container
def test_a_recording_can_be_made_again() -> None:
    """Of the exercise that publishes no port, so that nothing else on this machine gets in the way."""
    if not shutil.which("docker"):
        skip_or_fail("a recording needs the docker command")
    session = SESSIONS["exercise-03-root-only"]
    cast = record.record(session)

    assert commands(cast) == session.commands
    for what, pattern in PRIVATE.items():
        assert not re.search(pattern, plain(cast)), f"it tells {what}"
    for certain in ("uid=0(root)", "-rwxrwxrwx", "pip 2", "FileNotFoundError"):
        assert certain in plain(cast)
        assert certain in plain(CASTS[session.name])
    assert not docker("image", "ls", "--quiet", *session.images), "an image is left"


# ---- the player ----


@pytest.fixture(scope="module")
def player() -> page.Player:
    if not shutil.which("npm"):
        skip_or_fail("the player comes from npm, which is not there")
    provided = page.fetch_player()
    assert provided, "npm cannot provide the player"
    return provided


@pytest.fixture(scope="module")
def played(player: page.Player, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("played") / "handout.html"
    text = fill(environment(TEMPLATE / "workshop/results/ladder.json"))
    path.write_text(page.web_page(text, player=player, recordings=CASTS), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if (program := page.browser()) is None:
        skip_or_fail("the player is looked at in a browser: there is no Chromium, Chrome or Edge")
    with running(program, tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def test_the_lock_of_the_player_names_all_by_hash() -> None:
    folder = TEMPLATE / "workshop/player"
    wanted = json.loads((folder / "package.json").read_text(encoding="utf-8"))["dependencies"]
    packages = json.loads((folder / "package-lock.json").read_text(encoding="utf-8"))["packages"]

    assert packages.pop("")["dependencies"] == wanted
    assert packages["node_modules/asciinema-player"]["version"] == wanted["asciinema-player"]
    assert all(package["integrity"].startswith("sha512-") for package in packages.values())


def test_the_page_has_one_script_and_the_licences_of_what_is_in_it(played: Path, player: page.Player) -> None:
    html = played.read_text(encoding="utf-8")

    assert re.findall(r"<script\b[^>]*>", html) == ["<script>"]
    assert html.count("</script") == 1
    assert "Apache License" in player.licences
    assert player.licences in html
    assert len(html.encode()) < 3_000_000, "the page is too large to be sent around"


def test_every_recording_is_in_the_page(played: Path) -> None:
    html = played.read_text(encoding="utf-8")

    for name, cast in CASTS.items():
        assert html.count(f'<details class="recording" id="{name}">') == 1, name
        last = commands(cast)[-1].splitlines()[0]
        # A line of JSON in a string of JSON.
        inner = json.dumps(json.dumps(last, ensure_ascii=False)[1:-1])[1:-1]
        assert inner.replace("<", "\\u003c") in html, f"the player has no {name}"


START = """(async () => {
    const box = document.getElementById('NAME')
    box.querySelector('summary').click()
    const wait = (what, test) => new Promise((done, fail) => {
        const end = Date.now() + 20000
        const look = () => test() ? done() : Date.now() > end ? fail(what) : setTimeout(look, 50)
        look()
    })
    await wait('no player', () => box.querySelector('.ap-overlay-start'))
    box.querySelector('.ap-overlay-start').click()
    await wait('nothing is played', () => box.querySelector('.ap-term-text').textContent.includes('TEXT'))
    return performance.getEntriesByType('resource').map(entry => entry.name).filter(name => !/^(data|blob):/.test(name))
})()"""


def test_a_recording_is_played_and_nothing_is_loaded(tab: Browser, played: Path) -> None:
    tab.open(played.as_uri())

    name = "rung-slim"
    assert tab.evaluate(START.replace("NAME", name).replace("TEXT", "docker build -t hello:slim")) == []
    assert tab.evaluate(f"document.querySelector('#{name} > pre').hidden")


def test_without_a_player_the_text_is_there(tab: Browser, tmp_path: Path) -> None:
    path = tmp_path / "handout.html"
    path.write_text(page.web_page(fill(environment(TEMPLATE / "workshop/results/ladder.json"))), encoding="utf-8")
    tab.open(path.as_uri())
    tab.evaluate("document.querySelector('#rung-slim summary').click()")

    assert tab.evaluate("document.scripts.length") == 0
    assert tab.evaluate("document.querySelector('#rung-slim pre').innerText").strip() == plain(CASTS["rung-slim"])
    assert tab.evaluate("document.querySelector('#rung-slim pre').getBoundingClientRect().height") > 300


def test_without_npm_one_line_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", "")
    assert page.fetch_player() is None

    assert capsys.readouterr().out == "No player in the page, only what was recorded, as text: there is no npm.\n"


def test_npm_without_a_network_is_one_line_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    if not shutil.which("npm"):
        skip_or_fail("this asks npm, which is not there")
    monkeypatch.setenv("npm_config_cache", str(tmp_path))
    monkeypatch.setenv("npm_config_offline", "true")
    assert page.fetch_player() is None

    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith("No player in the page, only what was recorded, as text: npm could not provide it (npm ")


# ---- a phone ----


def test_a_phone_shows_a_recording_at_a_size_that_can_be_read(tab: Browser, played: Path) -> None:
    tab.open(played.as_uri(), 390, 844)
    tab.evaluate(START.replace("NAME", "rung-slim").replace("TEXT", "docker build -t hello:slim"))

    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    box, inner, size = tab.evaluate("""(box => [
        box.clientWidth, box.scrollWidth, parseFloat(getComputedStyle(box.querySelector('.ap-term-text')).fontSize)
    ])(document.querySelector('#rung-slim .scroll'))""")
    assert size >= 10
    assert inner > box, "it is cut off instead of being scrolled"


def test_recordings_are_small_all_together() -> None:
    assert sum(path.stat().st_size for path in RECORDINGS.glob("*.cast")) < 1_000_000
