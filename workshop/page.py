"""One Markdown text as one web page that needs no other file, and that page as PDF."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from mdit_py_plugins.anchors import anchors_plugin
from mdit_py_plugins.deflist import deflist_plugin
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pypdf import PdfReader

# Wide content scrolls in its own box, so that the page never does; one that takes the focus, for keyboards.
SCROLLS = '<div class="scroll" tabindex="0">'
# Lines of code that find a place on any page without leaving much of the one before empty.
SHORT = 18
HERE = Path(__file__).parent
# By name on PATH, and where the installers of Windows and macOS put them. CHROMIUM names another.
BROWSERS = (
    *("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge"),
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe",
)


def slug(title: str) -> str:
    """Return the anchor of a heading: the words of its title, whatever number stands before them."""
    return "-".join(re.findall(r"[a-z0-9]+", re.sub(r"^[\d.·\s]+", "", title.lower().replace("'", ""))))


def coloured(code: str, language: str, _: str) -> str:
    """Return a block of code as HTML with classes for its colours; a short one is not torn apart on paper."""
    formatter = HtmlFormatter(nowrap=True)
    length = "short" if code.count("\n") <= SHORT else "long"
    inner = highlight(code, get_lexer_by_name(language), formatter)
    return f'<pre class="code {language} {length}"><code>{inner}</code></pre>'


def parser() -> MarkdownIt:
    """Return CommonMark with tables, definition lists, anchors and typographic quotes."""
    markdown = MarkdownIt("commonmark", {"html": True, "typographer": True, "highlight": coloured})
    markdown.enable(["table", "replacements", "smartquotes"])
    return markdown.use(anchors_plugin, min_level=1, max_level=3, slug_func=slug).use(deflist_plugin)


def colours() -> str:
    """Return the colours of code, by day and by night; the style sheet of the page decides on the backgrounds."""
    day, night = (
        "\n".join(HtmlFormatter(style=style).get_token_style_defs(".code"))  # type: ignore[no-untyped-call]
        for style in ("default", "github-dark")
    )
    return f"{day}\n@media screen and (prefers-color-scheme: dark) {{\n{night}\n}}"


def jinja(**options: Any) -> Environment:
    """Return Jinja for the templates of this folder, in which a name that does not exist is an error."""
    return Environment(  # noqa: S701  Markdown is to hold HTML, and in the page markdown-it has escaped what must be
        loader=FileSystemLoader(HERE), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, **options
    )


@dataclass(frozen=True)
class Player:
    """What plays recordings in the page: a script, its style, and under which licences they are."""

    script: str
    style: str
    licences: str


def fetch_player() -> Player | None:
    """Return the player as npm provides it, by the hashes of its lock; say why if there is none."""
    if not (npm := shutil.which("npm")):
        print("No player in the page, only what was recorded, as text: there is no npm.")
        return None
    with tempfile.TemporaryDirectory() as folder:
        for name in ("package.json", "package-lock.json"):
            shutil.copy2(HERE / "player" / name, folder)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode != 0:
            why = next(iter(done.stderr.strip().splitlines()), "it says nothing")
            print(f"No player in the page, only what was recorded, as text: npm could not provide it ({why}).")
            return None
        modules = Path(folder) / "node_modules"
        bundle = modules / "asciinema-player/dist/bundle"
        script, style = (bundle / f"asciinema-player{end}" for end in (".min.js", ".css"))
        licences = [f"{path.parent.name}:\n\n{path.read_text(encoding='utf-8')}" for path in modules.glob("*/LICENSE*")]
        return Player(script.read_text(encoding="utf-8"), style.read_text(encoding="utf-8"), "\n".join(licences))


def web_page(
    text: str,
    pages: Mapping[str, int] | None = None,
    player: Player | None = None,
    recordings: Mapping[str, str] | None = None,
    *,
    contents: bool = True,
) -> str:
    """Return the page; with what plays its recordings, or for print with the page of each chapter in the contents."""
    body = parser().render(text).replace("<table>", f"{SCROLLS}<table>").replace("</table>", "</table></div>")
    head, *chapters = re.split(r'(?=<h2 id=")', body)
    return (
        jinja()
        .get_template("page.html.jinja")
        .render(
            title=re.findall(r"<h1[^>]*>(.*?)</h1>", head)[0],
            style=f"{colours()}\n{(HERE / 'style.css').read_text(encoding='utf-8')}",
            head=head,
            headings=re.findall(r'<h([23]) id="(.*?)">(.*?)</h', body),
            pages=pages,
            contents=contents,
            player=player,
            recordings=json.dumps(recordings or {}).replace("<", "\\u003c"),
            chapters=[(re.findall(r'id="(.*?)"', chapter)[0], chapter) for chapter in chapters],
        )
    )


def browser() -> str | None:
    """Return the Chromium, Chrome or Edge of this machine."""
    return next(filter(None, map(shutil.which, filter(None, (os.environ.get("CHROMIUM"), *BROWSERS)))), None)


def browser_options(profile: Path) -> list[str]:
    """Return what a browser is told so that it runs unseen, in a container too, and touches nobody's profile."""
    # For root, Chromium has no sandbox. The pages are our own.
    root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    return [
        *root,
        *("--headless", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars"),
        f"--user-data-dir={profile}",
    ]


def printed(program: str, html: str, destination: Path) -> PdfReader:
    """Print a page as its style sheet says; return the PDF."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "page.html"
        source.write_text(html, encoding="utf-8")
        command = [
            *(program, *browser_options(Path(folder) / "profile")),
            *("--no-pdf-header-footer", "--generate-pdf-document-outline", f"--print-to-pdf={destination}"),
            source.as_uri(),
        ]
        destination.unlink(missing_ok=True)
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode != 0 or not destination.exists():
            raise SystemExit(f"{program} could not print the page:\n{done.stderr}")
    return PdfReader(destination)


def pdf(program: str, text: str, destination: Path) -> None:
    """Print twice: only what is printed tells on which page a chapter stands, for the table of contents."""
    pages: dict[str, int] = {}
    for _ in range(2):
        reader = printed(program, web_page(text, pages), destination)
        pages = {
            name.removeprefix("/"): (reader.get_destination_page_number(target) or 0) + 1
            for name, target in reader.named_destinations.items()
        }
