"""Record the dialogue of a bake in a real terminal; tools/readme.py puts it into README.md."""

import io
import os
import re
import sys
import tempfile
from collections.abc import Mapping

import pexpect

from tools.questions import QUESTIONS, TEMPLATE, shorthand

ANSWERS = {"project_name": "Stock Orders", "description": "Keeps what is ordered in stock.", "port": "8080"}
SECONDS = 30


def record(answers: Mapping[str, str]) -> str:
    """Answer the prompts as a person would, with Enter alone for what is not in `answers`; return what was shown.

    Raises pexpect's TIMEOUT or EOF if a prompt does not come.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = io.StringIO()
        # The home too: cookiecutter keeps the answers there.
        here = {"HOME": folder, "PWD": os.path.realpath(folder)}
        terminal = pexpect.spawn(
            sys.executable,
            ["-m", "cookiecutter", str(TEMPLATE), "--default-config"],
            cwd=folder,
            env={**os.environ, **here, "TERM": "xterm", "COLUMNS": "120", "PYTHONUTF8": "1"},
            dimensions=(50, 120),
            encoding="utf-8",
            timeout=SECONDS,
        )
        terminal.logfile_read = log
        for number, name in enumerate(QUESTIONS, start=1):
            # Each ends with its default in brackets, which may be coloured.
            terminal.expect(rf"\[{number}/{len(QUESTIONS)}\].*\)\S*: $")
            terminal.sendline(answers.get(name, ""))
        terminal.expect(pexpect.EOF)
        terminal.close()
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", log.getvalue()).replace("\r\n", "\n")
    return "\n".join([f"$ cookiecutter {shorthand()}", *(line.rstrip() for line in shown.rstrip().splitlines()), ""])
