"""Write into README.md and CHANGELOG.md what follows from the questions in cookiecutter.json: `make readme`.

That is the address of the template, the table of questions, the dialogue in a terminal, and the refusal of bad answers.
"""

import os
import re
import shlex
import subprocess
import sys

from scripts.dialogue import ANSWERS, record
from scripts.release import linked
from tools.questions import TEMPLATE, shorthand, table

ADDRESS = re.compile(r"(?<=^cookiecutter )(?:g[hl]|https):\S+", re.MULTILINE)
TABLE = re.compile(r"^[|] Question [|].*?\n(?=\n)", re.MULTILINE | re.DOTALL)
REFUSAL = re.compile(r"(?<=^```console\n)\$ (cookiecutter \. .*\n)[^`]*", re.MULTILINE)


class ReadmeError(Exception):
    """A document cannot be written; the message is one line that says what is missing where."""


def replaced(pattern: re.Pattern[str], new: str, text: str) -> str:
    """Return the text with what the pattern finds replaced; raise ReadmeError unless that is one place."""
    text, count = pattern.subn(lambda _: new, text)
    if count != 1:
        raise ReadmeError(f"README.md has {count} places for {new.splitlines()[0]!r}, not one")
    return text


def refusal(command: str) -> str:
    """Return the command with the lines that it prints."""
    done = subprocess.run(
        [sys.executable, "-m", *shlex.split(command)],
        cwd=TEMPLATE,
        env={**os.environ, "PWD": str(TEMPLATE), "COOKIECUTTER_CONFIG": os.devnull},
        capture_output=True,
        text=True,
        check=False,
    )
    refusal, way_out, rest = done.stderr.partition("This would work")
    return f"$ {command}\n{refusal}{way_out}" + "".join(rest.splitlines(keepends=True)[:2])


def written(readme: str) -> str:
    """Return README.md as the questions have it; raise ReadmeError if it cannot be made."""
    old, found = ADDRESS.search(readme), REFUSAL.search(readme)
    if not (old and found):
        raise ReadmeError("README.md has no command that bakes the template, or none that is refused")
    readme = readme.replace(f"cookiecutter {old[0]}", f"cookiecutter {shorthand()}")
    recording = re.compile(rf"(?<=^```console\n)\$ cookiecutter {re.escape(shorthand())}\n.*?(?=^```$)", re.M | re.S)
    readme = replaced(TABLE, table(), readme)
    readme = replaced(REFUSAL, refusal(found[1].strip()), readme)
    return replaced(recording, record(ANSWERS), readme)


def main() -> int:
    """Write the documents; return the exit code."""
    try:
        for name, rewrite in (("README.md", written), ("CHANGELOG.md", linked)):
            document = TEMPLATE / name
            document.write_text(rewrite(document.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")
    except ReadmeError as error:
        print(f"readme: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
