"""What a fork of the template changes in one place, cookiecutter.json: its address, its base image, its defaults."""

import json
from pathlib import Path
from typing import Any

TEMPLATE = Path(__file__).parents[1]
QUESTIONS: dict[str, Any] = json.loads((TEMPLATE / "cookiecutter.json").read_text(encoding="utf-8"))
ASKED = [name for name in QUESTIONS if not name.startswith("_")]
# Where the template lies, for cookiecutter, cruft and the links of the changelog.
REPOSITORY: str = QUESTIONS["_repository"]


def default(question: str) -> str:
    """Return the default of a question; that of a menu is its first choice."""
    value = QUESTIONS[question]
    return str(value[0] if isinstance(value, list) else value)


def base_image(python: str) -> str:
    """Return the name of the base image that has this version of Python."""
    return str(QUESTIONS["__base_image"]).replace("{{ cookiecutter.python_version }}", python)


def shorthand(repository: str = REPOSITORY) -> str:
    """Return the address as it is typed: cookiecutter has an abbreviation for GitHub and one for GitLab."""
    for host, abbreviation in (("https://github.com/", "gh:"), ("https://gitlab.com/", "gl:")):
        if repository.startswith(host):
            return abbreviation + repository.removeprefix(host)
    return repository
