"""`make handout` makes slides too: from the chapters of the handout, with what their macros say in slides.jinja.

A heading begins a slide, and so does what no longer fits on one. On the slide stand lists, tables, code, charts, what
is quoted, and of each definition its first sentence. Paragraphs, whole definitions and what stands in an aside are the
notes of the speaker.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from markdown_it.token import Token

from workshop import charts, page
from workshop.handout import HERE, HandoutError, environment, fill

# The size of a slide, and what its title and its margins leave of the height, in pixels.
WIDTH, HEIGHT, ROOM = 1280, 720, 602
# Lines of code on one slide, and characters in one line of a title, of text, of code, and of what is quoted.
CODE_LINES, TITLE_WIDTH, TEXT_WIDTH, CODE_WIDTH, LEAD_WIDTH = 17, 60, 84, 100, 70
# Heights of a line, in pixels.
LINE, CODE_LINE, LEAD_LINE, ROW = 36, 25, 42, 44
# What fills so little of a slide is drawn so much larger. It may take more lines then, hence nearly the square.
LARGER = ((0.52, 1.3), (0.7, 1.15), (1, 1))
# Lines that are enough to see what changed in code, and in a list; an import or a remark is not what matters.
ENOUGH = {".py": CODE_LINES - 1, ".txt": 8}
ASIDE = re.compile(r"[+-]\s*(#|import |from .* import |\"\"\"|$)")
# Characters that a sentence needs to stand alone.
SHORT = 45
SENTENCE = re.compile(r"(?<=[.?!])\s+(?=[A-Z“*`])")
DEFINITIONS = ("<dl>", "</dl>")
SIGNS = {"passed": "✓", "failed": "✗"}


@dataclass(frozen=True)
class Block:
    """What is not torn apart: its HTML, its height, and the list or table that it is a part of."""

    html: str
    height: int
    around: tuple[str, str] = ("", "")


@dataclass
class Slide:
    """A slide: what begins it, its title, what is on it and what is said. What is sparse is drawn larger."""

    kind: str
    title: str
    blocks: list[Block] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    chapter: str = ""

    @property
    def height(self) -> int:
        """Return what its blocks take, the heads of its tables, and the second line of a long title."""
        heads = {block.around for block in self.blocks if "<thead" in block.around[0]}
        title = 46 * (lines(self.title, TITLE_WIDTH) - 1)
        return title + ROW * len(heads) + sum(block.height for block in self.blocks)

    @property
    def scale(self) -> float:
        """Return how much larger than usual it is drawn."""
        return next(scale for share, scale in LARGER if self.height <= share * ROOM or share == 1)

    @property
    def body(self) -> str:
        """Return what is on it below the title; parts of a list or a table stand in one."""
        runs = groupby(self.blocks, key=lambda block: block.around)
        return "".join(f"{start}{''.join(b.html for b in blocks)}{end}" for (start, end), blocks in runs)


# ---- what the source can say ----


def what_matters(lines: str, name: str) -> str:
    """Return the lines of a diff that a slide shows: if it is long, without context, and of a list the beginning."""
    split = lines.split("\n")
    if not name.endswith("Dockerfile"):
        enough = ENOUGH.get(Path(name).suffix, CODE_LINES - 1)
        changed = [line for line in split if line[:1] in "+-" and not ASIDE.match(line)]
        return "\n".join([*changed[:enough], "  …"] if len(split) > enough else split)
    split = [line for line in split if not re.match(r"  *#", line)]
    if len(split) <= CODE_LINES:
        return "\n".join(split)
    kept = [line if line[:1] in "+-" else "  …" for line in split]
    return "\n".join(line for line, before in zip(kept, ["", *kept], strict=False) if line != "  …" or before != line)


def instructions(dockerfile: str) -> str:
    """Return a Dockerfile without its remarks, and of each instruction the first line."""
    joined = re.sub(r"^ *#.*\n|^\n", "", dockerfile, flags=re.MULTILINE)
    joined = re.sub(r" *\\\n(?:.*\\\n)*.*", " …", joined)
    return re.sub(r"\n(?=FROM)", "\n\n", joined)


def bars(results: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a chart of bars: of each rung its name, its parts as percents and colours, what stands at its end."""
    parts, labels = {"sizes": charts.bars_of_sizes, "start": charts.bars_of_starts}[name](dict(results))
    colours = dict(zip(parts, charts.KINDS.values(), strict=False))
    totals = [sum(values) for values in zip(*parts.values(), strict=True)]
    end = charts.end_of_bars(totals)
    drawn = []
    for rung, total, (strong, soft), values in zip(
        charts.names(dict(results)), totals, labels, zip(*parts.values(), strict=True), strict=True
    ):
        scale = 100 / max(total, end)
        shares = [(round(scale * value, 2), colours[part]) for part, value in zip(parts, values, strict=True)]
        drawn.append({"name": rung, "parts": shares, "cut": total > end, "strong": strong, "soft": soft})
    legend = [(part, colours[part]) for part, values in parts.items() if max(values) >= end / 500]
    return {"bars": drawn, "legend": legend}


def written(path: Path) -> str:
    """Return the slides in Markdown: the handout's environment, in which the macros of the slides take precedence."""
    jinja, results = environment(path), json.loads(path.read_text(encoding="utf-8"))
    jinja.filters |= {"what_matters": what_matters, "instructions": instructions}
    frame = (HERE / "handout.md").read_text(encoding="utf-8")
    title, lead = re.findall(r"^# (.*)\n\n((?:.+\n)+)", frame, re.MULTILINE)[0]
    jinja.globals |= {
        "title": title,
        "lead": lead,
        "bars": lambda name: bars(results, name),
        "signs": SIGNS,
        "quiz": (HERE / "quiz").exists(),
    }
    for name in ("macros.jinja", "slides.jinja"):
        module = jinja.get_template(name).make_module()
        jinja.globals |= {macro: call for macro, call in vars(module).items() if not macro.startswith("_")}
    return fill(jinja, "slides.md")


# ---- from Markdown to slides ----


def groups(tokens: Sequence[Token]) -> Iterator[list[Token]]:
    """Return the tokens of each block, one after the other."""
    group: list[Token] = []
    for token in tokens:
        group.append(token)
        if token.level == 0 and token.nesting <= 0:
            yield group
            group = []


def children(group: Sequence[Token]) -> Iterator[list[Token]]:
    """Return the tokens of each block in a block."""
    return groups([_raised(token) for token in group[1:-1]])


def _raised(token: Token) -> Token:
    return token.copy(level=token.level - 1)


def beginning(text: str) -> str:
    """Return the first sentence of a text, and more where that says little."""
    first, *more = SENTENCE.split(text.replace("\n", " "))
    while more and len(first) < SHORT:
        first = f"{first} {more.pop(0)}"
    return first


def lines(text: str, width: int) -> int:
    """Return how many lines a text takes."""
    return max(1, -(-len(re.sub(r"<[^>]+>|\]\([^)]*\)|[`*[]", "", text)) // width))


def unlinked(html: str) -> str:
    """Return HTML without links: what they lead to is in the handout."""
    return re.sub(r"</?a\b[^>]*>", "", html)


class Deck:
    """The slides of a text."""

    def __init__(self, text: str) -> None:
        """Read the text."""
        self.markdown = page.parser()
        self.slides: list[Slide] = []
        self.chapter = ""
        self.aside = False
        for group in groups(self.markdown.parse(text)):
            self.take(group)
        self.slides = [part for slide in settled(self.slides) for part in paged(slide)]

    def html(self, tokens: Sequence[Token]) -> str:
        """Render tokens."""
        return unlinked(str(self.markdown.renderer.render(tokens, self.markdown.options, {})))

    def inline(self, text: str) -> str:
        """Render a line of Markdown."""
        return unlinked(str(self.markdown.renderInline(text)))

    def take(self, group: list[Token]) -> None:
        """Put a block where it belongs."""
        first, content = group[0], group[1].content if len(group) > 1 else group[0].content
        if first.type == "html_block" and content.strip() in ("<aside>", "</aside>"):
            self.aside = content.strip() == "<aside>"
        elif first.type == "heading_open" and first.tag in ("h1", "h2", "h3") and not self.aside:
            if first.tag != "h3":
                self.chapter = self.inline(content)
            kind = {"h1": "cover", "h2": "chapter", "h3": "content"}[first.tag]
            self.slides.append(Slide(kind, self.inline(content), chapter=self.chapter))
        elif self.aside or first.type == "paragraph_open" or 'class="source"' in content:
            self.slides[-1].notes.append(self.html(group))
        else:
            self.slides[-1].blocks += self.blocks(group, first.type, content)

    def blocks(self, group: list[Token], kind: str, content: str) -> Iterator[Block]:
        """Return what of a block is on the slide."""
        match kind:
            case "blockquote_open":
                text = "".join(token.content for token in group)
                yield Block(self.html(group), 24 + LEAD_LINE * lines(text, LEAD_WIDTH))
            case "bullet_list_open" | "ordered_list_open":
                tag = group[0].tag
                for item in children(group):
                    text = "".join(token.content for token in item)
                    yield Block(self.html(item), 12 + LINE * lines(text, TEXT_WIDTH), (f"<{tag}>", f"</{tag}>"))
            case "dl_open":
                yield from self.definitions(group)
            case "fence":
                yield from self.code(group[0])
            case "table_open":
                head, body = (list(part) for part in children(group))
                table = (f'<div class="table"><table>{self.html(head)}<tbody>', "</tbody></table></div>")
                for row in children(body):
                    cells = [token.content for token in row if token.type == "inline"]
                    # The longest cell of a row gets at least a third of the width.
                    tall = max(lines(cell, TEXT_WIDTH // 3) for cell in cells)
                    yield Block(self.html(row), ROW + 32 * (tall - 1), table)
            case "heading_open":
                yield Block(self.html(group), LINE + 18)
            case "html_block":
                rows = content.count("<tr>") * 39 + content.count('class="track"') * 36
                yield Block(content, rows + LINE)
            case _:
                yield Block(self.html(group), LINE)

    def definitions(self, group: list[Token]) -> Iterator[Block]:
        """Return each term with the first sentence of its definition; the whole of it is for the speaker."""
        self.slides[-1].notes.append(self.html(group))
        term, length = "", 0
        for part in children(group):
            text = next(token.content for token in part if token.type == "inline")
            if part[0].type == "dt_open":
                term, length = f"<dt>{self.inline(text)}</dt>", lines(text, TEXT_WIDTH)
                continue
            short = beginning(text)
            height = 14 + LINE * (length + lines(short, TEXT_WIDTH))
            yield Block(f"{term}<dd>{self.inline(short)}</dd>", height, DEFINITIONS)

    def code(self, fence: Token) -> Iterator[Block]:
        """Return code in pieces that fit on a slide."""
        piece: list[str] = []
        for line in [*fence.content.rstrip("\n").split("\n"), None]:
            count = sum(lines(kept, CODE_WIDTH) for kept in piece)
            if line is None or count + lines(line, CODE_WIDTH) > CODE_LINES:
                text = "\n".join(piece).strip("\n")
                yield Block(self.html([fence.copy(content=f"{text}\n")]), 32 + CODE_LINE * count)
                piece = []
            piece.append(line or "")


def batched(blocks: Sequence[Block], count: int) -> list[Sequence[Block]]:
    """Return the blocks in so many parts that are about as long as each other."""
    size = -(-len(blocks) // count)
    return [blocks[start : start + size] for start in range(0, len(blocks), size)]


def settled(slides: Sequence[Slide]) -> list[Slide]:
    """Return the slides without those that hold nothing but notes, which the slide before takes, or the next."""
    kept: list[Slide] = []
    waiting: list[str] = []
    for slide, following in zip(slides, [*slides[1:], None], strict=True):
        slide.notes[:0], waiting = waiting, []
        if slide.blocks or slide.kind != "content":
            kept.append(slide)
        elif following and following.title.startswith(slide.title):
            waiting = slide.notes
        elif kept[-1].kind == "chapter":
            kept[-1].notes += slide.notes
        else:
            text = beginning(re.sub(r"<[^>]+>", "", "".join(slide.notes[:1])).strip())
            slide.blocks.append(Block(f"<blockquote>{text}</blockquote>", LEAD_LINE * lines(text, LEAD_WIDTH)))
            kept.append(slide)
    return kept


def paged(slide: Slide) -> list[Slide]:
    """Return a slide as it is, or as many as its blocks need; each has notes."""
    parts: list[list[Block]] = [[]]
    for block in slide.blocks:
        used = replace(slide, blocks=parts[-1]).height
        if parts[-1] and used + block.height > ROOM:
            # What has a heading of its own is not torn apart, and the name of a file stays with the file.
            heads = [index for index, placed in enumerate(parts[-1]) if index and placed.html.startswith("<h4")]
            if parts[-1][-1].html.startswith('<p class="file'):
                heads.append(len(parts[-1]) - 1)
            moved = parts[-1][heads[-1] :] if heads else []
            parts[-1] = parts[-1][: len(parts[-1]) - len(moved)]
            parts.append(moved)
        parts[-1].append(block)
    parts = [part for part in parts if part] or [[]]
    if {block.around for block in slide.blocks} == {DEFINITIONS}:
        # Where there are only definitions, each slide has as many as the next.
        even = [list(part) for part in batched(slide.blocks, len(parts))]
        parts = even if all(replace(slide, blocks=part).height <= ROOM for part in even) else parts
    if len(parts) == 1:
        return [replace(slide, blocks=parts[0])]
    return [
        replace(slide, blocks=part, title=f"{slide.title} <small>{number}/{len(parts)}</small>")
        for number, part in enumerate(parts, start=1)
    ]


# ---- files ----


def web_page(slides: Sequence[Slide], paper: str = "slides") -> str:
    """Return all slides as one page; for print as slides, or as pages of a slide and its notes."""
    return (
        page.jinja()
        .get_template("slides.html.jinja")
        .render(
            title=re.sub(r"<[^>]+>", "", slides[0].title),
            style=f"{page.colours()}\n{(HERE / 'slides.css').read_text(encoding='utf-8')}",
            slides=slides,
            paper=paper,
        )
    )


def main() -> int:
    """Make the slides, and with a browser the PDFs of the slides and of the notes."""
    options = argparse.ArgumentParser(description="Make the slides.")
    options.add_argument("--results", type=Path, default=HERE / "results/ladder.json", help="what was measured")
    options.add_argument("--output", type=Path, default=HERE / "build", help="folder for slides.html and the PDFs")
    arguments = options.parse_args()
    try:
        slides = Deck(written(arguments.results)).slides
    except FileNotFoundError as error:
        sys.exit(f"slides: {error.filename} is not there; `make workshop` measures the ladder")
    except HandoutError as error:
        sys.exit(f"slides: {error}")

    arguments.output.mkdir(parents=True, exist_ok=True)
    html = arguments.output / "slides.html"
    html.write_text(web_page(slides), encoding="utf-8")
    print(f"{html}: {len(slides)} slides")
    if program := page.browser():
        for name in ("slides", "notes"):
            pdf = arguments.output / f"{name}.pdf"
            page.printed(program, web_page(slides, name), pdf)
            print(pdf)
    return 0


if __name__ == "__main__":
    sys.exit(main())
