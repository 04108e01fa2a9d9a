"""What a README says, for tests that do it."""

import re


def blocks(markdown: str, language: str) -> list[str]:
    """Return the content of all code blocks in a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", markdown, re.MULTILINE | re.DOTALL)


def commands(markdown: str) -> list[str]:
    """Return the commands of all sh blocks in order, continued lines joined."""
    return [line for block in blocks(markdown, "sh") for line in block.replace("\\\n", " ").splitlines()]


def section(markdown: str, title: str) -> str:
    """Return a section, up to the next heading of any level."""
    found = re.search(rf"^#+ {re.escape(title)}$.*?(?=^#+ |\Z)", markdown, re.MULTILINE | re.DOTALL)
    assert found, f"there is no section {title!r}"
    return found[0]
