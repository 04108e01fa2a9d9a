"""Write into the documents what follows from the questions in cookiecutter.json: `make readme`.

That is the address of the template, the table of questions, the dialogue in a terminal, and the refusal of bad answers.
"""

import os
import re
import shlex
import subprocess
import sys

from tools.dialogue import ANSWERS, record
from tools.questions import TEMPLATE, shorthand, table
from tools.release import linked

ADDRESS = re.compile(r"(?<=\bcookiecutter )(?:g[hl]|https):[^\s`]+")
TABLE = re.compile(r"^[|] Question [|].*?\n(?=\n)", re.MULTILINE | re.DOTALL)
RECORDING = re.compile(r"(?<=^```console\n)\$ cookiecutter (?:g[hl]|https):.*?(?=^```$)", re.MULTILINE | re.DOTALL)
REFUSAL = re.compile(r"(?<=^```console\n)\$ (cookiecutter \. .*\n)[^`]*", re.MULTILINE)


class ReadmeError(Exception):
    """A document cannot be written; the message is one line that says what is missing where."""


def replaced(pattern: re.Pattern[str], new: str, text: str) -> str:
    """Return the text with what the pattern finds replaced; raise ReadmeError unless that is one place."""
    text, count = pattern.subn(lambda _: new, text)
    if count != 1:
        raise ReadmeError(f"there are {count} places for {new.splitlines()[0]!r}, not one")
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


def addressed(text: str) -> str:
    """Return the text with the address of the template in its commands."""
    return ADDRESS.sub(shorthand(), text)


def readme(text: str) -> str:
    """Return README.md with the table of questions."""
    return replaced(TABLE, table(), addressed(text))


def questions(text: str) -> str:
    """Return docs/questions.md with the dialogue and the refusal."""
    found = REFUSAL.search(text)
    if not found:
        raise ReadmeError("docs/questions.md shows no command that is refused")
    text = replaced(REFUSAL, refusal(found[1].strip()), addressed(text))
    return replaced(RECORDING, record(ANSWERS), text)


DOCUMENTS = {"README.md": readme, "docs/questions.md": questions, "CHANGELOG.md": linked}


def main() -> int:
    """Write the documents; return the exit code."""
    try:
        for name, rewrite in DOCUMENTS.items():
            document = TEMPLATE / name
            document.write_text(rewrite(document.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")
    except ReadmeError as error:
        print(f"readme: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
