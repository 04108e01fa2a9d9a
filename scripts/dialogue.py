"""Record the dialogue of a bake in a real terminal and put it into README.md: `make dialogue`."""

import io
import json
import os
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pexpect

TEMPLATE = Path(__file__).parents[1]
README = TEMPLATE / "README.md"
# The block in the README that starts with the command is the recording.
RECORDING = re.compile(r"(?<=^```console\n)\$ cookiecutter gh:org/template\n.*?(?=^```$)", re.MULTILINE | re.DOTALL)
ANSWERS = {"project_name": "Stock Orders", "description": "Keeps what is ordered in stock.", "port": "8080"}
SECONDS = 30


def record(answers: Mapping[str, str]) -> str:
    """Answer the prompts as a person would, with Enter alone for what is not in `answers`; return what was shown.

    Raises pexpect's TIMEOUT or EOF if a prompt does not come.
    """
    asked = [name for name in json.loads((TEMPLATE / "cookiecutter.json").read_text("utf-8")) if name[0] != "_"]
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as folder:
        config = Path(home, "config.yaml")
        config.write_text(f'cookiecutters_dir: "{home}"\nreplay_dir: "{home}"\n')
        log = io.StringIO()
        terminal = pexpect.spawn(
            sys.executable,
            ["-m", "cookiecutter", str(TEMPLATE), "--config-file", str(config)],
            cwd=folder,
            env={**os.environ, "PWD": os.path.realpath(folder), "TERM": "xterm", "COLUMNS": "120", "PYTHONUTF8": "1"},
            dimensions=(50, 120),
            encoding="utf-8",
            timeout=SECONDS,
        )
        terminal.logfile_read = log
        for number, name in enumerate(asked, start=1):
            terminal.expect(rf"\[{number}/{len(asked)}\].*: ")
            terminal.sendline(answers.get(name, ""))
        terminal.expect(pexpect.EOF)
        terminal.close()
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", log.getvalue()).replace("\r\n", "\n")
    return "\n".join(["$ cookiecutter gh:org/template", *(line.rstrip() for line in shown.rstrip().splitlines()), ""])


def main() -> None:
    """Replace the recording in the README."""
    recording = record(ANSWERS)
    text, count = RECORDING.subn(lambda _: recording, README.read_text(encoding="utf-8"))
    if count != 1:
        raise SystemExit("README.md has no block that starts with $ cookiecutter gh:org/template")
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
