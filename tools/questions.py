"""What cookiecutter.json says, the one place for defaults, choices, address and base image; the hook has the rules."""

import json
from pathlib import Path
from typing import Any

from hooks.pre_gen_project import rule

TEMPLATE = Path(__file__).parents[1]
CONTEXT: dict[str, Any] = json.loads((TEMPLATE / "cookiecutter.json").read_text(encoding="utf-8"))
QUESTIONS: dict[str, str | list[str]] = {name: asked for name, asked in CONTEXT.items() if not name.startswith("_")}
CHOICES = {name: asked for name, asked in QUESTIONS.items() if isinstance(asked, list)}
DEFAULTS = {name: asked[0] if isinstance(asked, list) else asked for name, asked in QUESTIONS.items()}
# Where the template lies, for cookiecutter, cruft and the links of the changelog; and its last release.
REPOSITORY: str = CONTEXT["_repository"]
VERSION: str = CONTEXT["_template_version"]
RULES = {name: rule(name, asked) for name, asked in QUESTIONS.items()}


def base_image(python: str) -> str:
    """Return the name of the base image that has this version of Python."""
    return str(CONTEXT["__base_image"]).replace("{{ cookiecutter.python_version }}", python)


def shorthand() -> str:
    """Return the address as it is typed: cookiecutter has an abbreviation for GitHub and one for GitLab."""
    return REPOSITORY.replace("https://github.com/", "gh:").replace("https://gitlab.com/", "gl:")


def table() -> str:
    """Return the table of the questions for the README."""
    rows = ["| Question | Default | Rule |", "|---|---|---|"]
    for name, default in DEFAULTS.items():
        shown = f"`{default}`" if "{{" not in default else "from the name"
        rows.append(f"| `{name}` | {shown} | {RULES[name].words} |")
    return "\n".join([*rows, ""])
