"""What a README says, for tests that do it."""

import re
from pathlib import Path

from tests.conftest import PYTHONS, TEMPLATE
from tools.questions import DEFAULTS, base_image

DEFAULT_SLUG = "hello-service"


def blocks(markdown: str, language: str) -> list[str]:
    """Return the content of all code blocks in a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", markdown, re.MULTILINE | re.DOTALL)


def commands(markdown: str) -> list[str]:
    """Return the commands of all sh blocks in order, continued lines joined."""
    return [line for block in blocks(markdown, "sh") for line in block.replace("\\\n", " ").splitlines()]


def page_of_docs(name: str, slug: str = DEFAULT_SLUG, port: str = DEFAULTS["port"]) -> str:
    """Return a page of docs/ as it reads for another service than the default one, on a Python whose base is here."""
    text = (TEMPLATE / f"docs/{name}.md").read_text(encoding="utf-8")
    text = re.sub(rf"\b{DEFAULTS['port']}\b", port, text.replace(DEFAULT_SLUG, slug))
    return re.sub(r"python:3[.]\d+-slim-\w+", base_image(PYTHONS[0]), text)


def section(markdown: str, title: str) -> str:
    """Return a section, up to the next heading of any level."""
    found = re.search(rf"^#+ {re.escape(title)}$.*?(?=^#+ |\Z)", markdown, re.MULTILINE | re.DOTALL)
    assert found, f"there is no section {title!r}"
    return found[0]


def edit(folder: Path, block: str) -> str:
    """Make the edit that a diff shows, whose parts are told apart by three dots; return the file it is in.

    A diff of a file that is not there makes it.
    """
    name, _, rest = block.removeprefix("--- ").partition("\n")
    path = folder / name
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    for part in rest.split("...\n"):
        lines = part.splitlines()
        old = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("+"))
        new = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("-"))
        found = text.count(old) if old or text else 1
        assert found == 1, f"{name} has this {found} times, not once:\n{old}"
        text = text.replace(old, new) if old else new
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return name
