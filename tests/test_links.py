"""Every link in every Markdown file, of the template and of a service, leads to a file that is there or to a heading.

What lies in the network is not asked, as a test must not fail because of somebody else's server; its form is looked at.
"""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.anchors import anchors_plugin

from tests.conftest import TEMPLATE, Bake
from tools.questions import CHOICES, CONTEXT, REPOSITORY, VERSION

LOCAL = {"localhost", "127.0.0.1"}
# How the address of a file of this template begins in a service.
FILES = f"{REPOSITORY}/{CONTEXT['_blob']}/v{VERSION}/"
MARKDOWN = MarkdownIt("commonmark").enable(["table"]).use(anchors_plugin, max_level=6)


def _tokens(document: Path) -> Iterator[Token]:
    for block in MARKDOWN.parse(document.read_text(encoding="utf-8")):
        yield block
        yield from block.children or ()


def _anchors(document: Path) -> set[str]:
    """Return the anchors of all headings, by the rule of the forges."""
    return {str(token.attrs["id"]) for token in _tokens(document) if token.type == "heading_open"}


def _problems(document: Path) -> Iterator[str]:
    """Yield a line for each link that leads nowhere."""
    for token in _tokens(document):
        if token.type == "text" and (lost := re.search(r"\[[^]]+\]\[[^]]*\]", token.content)):
            yield f"{document.name}: {lost[0]} is defined nowhere"
        link = str(token.attrs.get("href") or token.attrs.get("src") or "")
        if not link:
            continue
        address = urlsplit(link)
        if link.startswith(FILES):
            target = TEMPLATE / unquote(address.path).removeprefix(urlsplit(FILES).path)
        elif address.scheme or address.netloc:
            named = re.fullmatch(r"([a-z0-9-]+\.)+[a-z]{2,}", address.hostname or "")
            if not (address.scheme == "https" and named) and address.hostname not in LOCAL:
                yield f"{document.name}: {link} is no https address"
            continue
        else:
            target = (document.parent / unquote(address.path)).resolve() if address.path else document
        if not target.exists():
            yield f"{document.name}: {link} does not exist"
        elif address.fragment and address.fragment not in _anchors(target):
            yield f"{document.name}: {target.name} has no heading #{address.fragment}"


def test_links_of_the_template_lead_somewhere() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "*.md"], cwd=TEMPLATE, capture_output=True, text=True, check=True
    ).stdout
    documents = [TEMPLATE / name for name in listed.splitlines() if not name.startswith("{{")]

    assert len(documents) > 10
    assert [problem for document in documents for problem in _problems(document)] == []


@pytest.mark.parametrize("ci", CHOICES["ci"])
def test_links_of_a_service_lead_somewhere(bake: Bake, ci: str) -> None:
    documents = list(bake(ci=ci, project_name="Shop [1]", description="a ] b").path.rglob("*.md"))

    assert {document.name for document in documents} == {"AGENTS.md", "CHANGELOG.md", "README.md", "SECURITY.md"}
    assert [problem for document in documents for problem in _problems(document)] == []


def test_links_of_a_service_for_kubernetes_lead_somewhere(bake: Bake) -> None:
    """Into its own folder, and to the pages of the template as they were when the service was made."""
    folder = bake(deploy="kubernetes").path
    documents = [folder / "README.md", folder / "kubernetes/README.md"]

    for document, least in zip(documents, (9, 1), strict=True):
        assert document.read_text(encoding="utf-8").count(f"({FILES}docs/") >= least
    assert [problem for document in documents for problem in _problems(document)] == []


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# One, two: `three`\n")
    document = tmp_path / "README.md"
    good = "[a](other.md#one-two-three) [b](#here-it-is) <https://example.org/x?y=1#z> <http://localhost:5000/> [c][d]"
    bad = f"[a](non.md) [i]({FILES}docs/non.md) [j]({FILES}docs/limits.md#non)"
    bad += " ![b](no.png) [c](other.md#four) [d](#there) <http://example.org> [e](https://exa_mple) [f][g]"
    document.write_text(f"## Here it is\n\n{good}\n\n{bad}\n\n`[h](no)`\n\n[d]: other.md\n")

    assert list(_problems(document)) == [
        "README.md: non.md does not exist",
        f"README.md: {FILES}docs/non.md does not exist",
        "README.md: limits.md has no heading #non",
        "README.md: no.png does not exist",
        "README.md: other.md has no heading #four",
        "README.md: README.md has no heading #there",
        "README.md: http://example.org is no https address",
        "README.md: https://exa_mple is no https address",
        "README.md: [f][g] is defined nowhere",
    ]


def test_a_decision_is_one_short_page_and_the_list_leads_to_it() -> None:
    """A heading and three paragraphs: what, why, what would change it."""
    folder = TEMPLATE / "docs/decisions"
    pages = {page.name for page in folder.glob("*.md")} - {"README.md"}

    for page in pages:
        blocks = (folder / page).read_text(encoding="utf-8").strip().split("\n\n")
        assert [block.startswith("# ") for block in blocks] == [True, False, False, False], page
    listed = re.findall(r"^- \[.*\]\((.*)\)$", (folder / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(pages)
