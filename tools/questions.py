"""The questions of the template: cookiecutter.json has their defaults and choices, the hook has their rules."""

import json
from pathlib import Path

from hooks.pre_gen_project import rule

TEMPLATE = Path(__file__).parents[1]
QUESTIONS: dict[str, str | list[str]] = {
    name: asked
    for name, asked in json.loads((TEMPLATE / "cookiecutter.json").read_text(encoding="utf-8")).items()
    if not name.startswith("_")
}
CHOICES = {name: asked for name, asked in QUESTIONS.items() if isinstance(asked, list)}
DEFAULTS = {name: asked[0] if isinstance(asked, list) else asked for name, asked in QUESTIONS.items()}
RULES = {name: rule(name, asked) for name, asked in QUESTIONS.items()}


def table() -> str:
    """Return the table of the questions for the README."""
    rows = ["| Question | Default | Rule |", "|---|---|---|"]
    for name, default in DEFAULTS.items():
        shown = f"`{default}`" if "{{" not in default else "from the name"
        rows.append(f"| `{name}` | {shown} | {RULES[name].words} |")
    return "\n".join([*rows, ""])
