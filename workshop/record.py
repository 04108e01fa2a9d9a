"""Record the terminals of the ladder and of the exercises, from real runs: `make recordings`.

    python -m workshop.record           all sessions whose recording is not there, or has other commands
    python -m workshop.record NAME …    these, whatever is there

What is typed at a rung is told here; what is typed at an exercise stands below "See it" in its task, and its solution
is then judged by `workshop/check`. A recording is an asciicast (https://docs.asciinema.org/manual/asciicast/v2/) with
a marker at each command. Needs a Docker Engine, bash, and port 5000 free.
"""

import argparse
import json
import os
import re
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pexpect

from tools import engine
from tools.baking import TEMPLATE, copy_template
from workshop.casts import RECORDINGS, commands, header
from workshop.ladder import HERE, PORT, PYTHON, Rung, assemble, rungs
from workshop.measure import provide_base_images

COLUMNS, ROWS = 80, 24
# Seconds: what a command may take; how long a screen that does not change is shown; what is one change of it, of whole
# lines and of the rest of a line.
LIMIT, IDLE, CHANGE, REST = 900, 2.0, 0.1, 0.5
# In colours that no program uses, so that a prompt is told from output.
PROMPT, MORE = ("\x1b[1;35m$\x1b[0m ", "\x1b[1;35m>\x1b[0m ")
ENVIRONMENT = {
    "TERM": "xterm-256color",
    "BUILDKIT_PROGRESS": "plain",
    # Colours, but no animation, of which a recording would be full.
    "TTY_INTERACTIVE": "0",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    # What docker says about products, and about a folder that is no clone.
    "DOCKER_CLI_HINTS": "false",
    "BUILDX_GIT_INFO": "false",
}
# What only this machine says: where its packages come from.
LOCAL = re.compile(r"^(#\d+ [\d.]+ )?(Looking in (indexes|links):|.*\bfile:///).*\r\n", re.MULTILINE)

# What to look at while the container of a rung runs, by the name of the rung.
LOOKS = {
    "naive": ("docker exec hello ls -a", "docker exec hello id"),
    "slim": ("docker exec hello gcc --version",),
    "layers": ("echo '# a remark' >>app.py", "docker build -t hello:layers ."),
    "context": ("docker exec hello ls -a",),
    "stages": ("docker exec hello ls /venv/bin",),
    "user": ("docker exec hello id", "docker exec hello touch app.py"),
    "server": ("docker exec hello head -c 60 /proc/1/cmdline | tr '\\0' ' '; echo",),
    "locked": ("grep -c sha256 requirements.txt",),
    "compiled": ("docker exec hello ls __pycache__ /usr/local/lib/python3.14/json/__pycache__",),
    "sealed": (
        "docker exec hello pip --version",
        "docker inspect --format '{{json .Config.Labels}}' hello:sealed",
    ),
    "limits": (f"curl --silent --include http://localhost:{PORT}/healthz; echo",),
    "log": ("docker logs hello | grep status",),
    "template": ("docker exec hello touch app/views.py", "docker logs hello | grep status"),
    "distroless": ("docker exec hello sh",),
}


@dataclass(frozen=True)
class Session:
    """What is recorded: a name for the file, a title, the commands, and what lays out the folder they are typed in."""

    name: str
    title: str
    commands: tuple[str, ...]
    lay_out: Callable[[Path], Path] = field(compare=False)
    # What is removed afterwards.
    images: tuple[str, ...] = ()
    containers: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """Return where its recording is."""
        return RECORDINGS / f"{self.name}.cast"

    def told_by(self, cast: str) -> bool:
        """Tell whether a recording is of these commands, under this title."""
        return (commands(cast), header(cast)["title"]) == (self.commands, self.title)


def of_rung(rung: Rung) -> Session:
    """Return what is typed at a rung: build, run, ask, look, stop, exit code."""
    image = f"hello:{rung.name}"
    commands = (
        f"docker build -t {image} .",
        f"docker image ls {image}",
        f"docker run --detach --name hello -p {PORT}:{PORT} {image}",
        f"curl --silent --retry 9 --retry-all-errors http://localhost:{PORT}/; echo",
        *LOOKS.get(rung.name, ()),
        "time docker stop hello",
        "docker inspect --format 'exit code {{.State.ExitCode}}' hello",
        "docker rm hello",
    )
    return Session(
        f"rung-{rung.name}",
        f"Rung {rung.number}: {rung.title}",
        commands,
        lambda folder: assemble(rung, folder),
        (image,),
        ("hello",),
    )


def of_exercise(folder: Path) -> Iterator[Session]:
    """Return what an exercise shows, and what a check says of its solution."""
    task = (folder / "task.md").read_text(encoding="utf-8")
    [title] = re.findall(r"^# (.*)", task)
    [block] = re.findall(r"^## See it\n+```sh\n(.*?)^```", task, re.MULTILINE | re.DOTALL)
    images = tuple(sorted(set(re.findall(r"docker build .*?(?:-t|--tag)[ =](\S+)", block))))
    containers = tuple(sorted(set(re.findall(r"--name[ =](\S+)", block))))
    where = f"workshop/exercises/{folder.name}"
    see = tuple(block.replace("\\\n", "\\\0").replace("\n", "\1").replace("\0", "\n").strip("\1").split("\1"))
    yield Session(f"exercise-{folder.name}", title, see, template, images, containers)
    check = (f"cp -r workshop/solutions/{folder.name}/. {where}", f"workshop/check {where}")
    yield Session(f"solution-{folder.name}", f"{title}, solved", check, template)


def template(folder: Path) -> Path:
    """Lay out this repository with its tools."""
    root = folder / "template"
    copy_template(root)
    (root / ".venv").symlink_to(TEMPLATE / ".venv", target_is_directory=True)
    return root


def sessions() -> list[Session]:
    """Return all sessions: of each rung, and two of each exercise."""
    exercises = sorted(path.parent for path in HERE.glob("exercises/*/task.md"))
    return [*map(of_rung, rungs()), *(session for folder in exercises for session in of_exercise(folder))]


# ---- a recording ----


@dataclass
class Log:
    """What appears on a terminal, and when; pexpect writes into it."""

    events: list[tuple[float, str, str]] = field(default_factory=list)

    def mark(self, command: str) -> None:
        """Say which command follows."""
        self.events.append((time.monotonic(), "m", command))

    def write(self, text: str) -> None:
        """Take what appeared."""
        self.events.append((time.monotonic(), "o", text))

    def flush(self) -> None:
        """Do nothing: nothing is held back."""

    def cast(self, title: str, hidden: Sequence[str]) -> str:
        """Return it as asciicast: still screens cut short, in few events, without what only this machine says."""
        joined: list[list[float | str]] = []
        clock, last = 0.0, self.events[0][0]
        for moment, kind, text in self.events:
            clock, last = clock + min(moment - last, IDLE), moment
            # What comes at once is one change of the screen, and so is the rest of a line, if it comes soon.
            if joined and kind == joined[-1][1] == "o":
                before = str(joined[-1][2])
                if clock - float(joined[-1][0]) < (CHANGE if before.endswith(("\n", PROMPT, MORE)) else REST):
                    joined[-1][2] = before + text
                    continue
            joined.append([round(clock, 2), kind, text])
        lines = [json.dumps({"version": 2, "width": COLUMNS, "height": ROWS, "idle_time_limit": IDLE, "title": title})]
        for event in joined:
            text = LOCAL.sub("", str(event[2]))
            for path in hidden:
                text = text.replace(path, "…")
            lines += [json.dumps([event[0], event[1], text], ensure_ascii=False)] if text else []
        return "\n".join(lines) + "\n"


def record(session: Session) -> str:
    """Run a session in a shell of its own and return its recording; afterwards nothing of it is left."""
    log = Log()
    with tempfile.TemporaryDirectory(prefix="record-") as parent:
        folder = session.lay_out(Path(parent).resolve())
        for path in folder.rglob("requirements.txt"):
            # Or the engine would know the layers, and the recording would show no installation.
            path.write_text(f"{path.read_text()}# {time.time_ns()}\n")
        shell = pexpect.spawn(
            *("bash", ["--norc", "--noprofile", "--noediting"]),
            cwd=str(folder),
            env={**os.environ, **ENVIRONMENT, "TMPDIR": parent, "PS1": PROMPT, "PS2": MORE, "HISTFILE": ""},
            dimensions=(ROWS, COLUMNS),
            encoding="utf-8",
            timeout=LIMIT,
        )
        try:
            shell.expect_exact(PROMPT)
            log.write(PROMPT)
            shell.logfile_read = log
            for command in session.commands:
                log.mark(command)
                for line in command.split("\n"):
                    # Time to read what came before, and what is typed.
                    shell.delaybeforesend = IDLE / 2
                    shell.sendline(line)
                    shell.expect_exact([PROMPT, MORE])
        except pexpect.TIMEOUT as error:
            raise SystemExit(f"{session.name}: no prompt within {LIMIT} s after {command!r}") from error
        finally:
            shell.close(force=True)
            clean(session)
        return log.cast(session.title, (str(folder), parent, str(TEMPLATE), socket.gethostname()))


def clean(session: Session) -> None:
    """Remove the containers and images of a session."""
    for kind, names in (("container", session.containers), ("image", session.images)):
        for name in names:
            with suppress(engine.DockerError):
                engine.run(kind, "rm", "--force", name)


def main() -> int:
    """Record what is asked for."""
    parser = argparse.ArgumentParser(description="Record the terminals of the workshop.")
    parser.add_argument("names", nargs="*", help="of sessions; without any, those that are not there as they should be")
    names = parser.parse_args().names
    every = {session.name: session for session in sessions()}
    if wrong := set(names) - every.keys():
        sys.exit(f"there is no session {', '.join(sorted(wrong))}, only {', '.join(every)}")
    if not shutil.which("bash"):
        sys.exit("sessions are typed into bash, and there is none")
    RECORDINGS.mkdir(parents=True, exist_ok=True)
    for path in set(RECORDINGS.glob("*.cast")) - {session.path for session in every.values()}:
        path.unlink()
    with engine.session():
        stand_ins = provide_base_images(PYTHON)
        try:
            for session in [every[name] for name in names] or every.values():
                if names or not session.path.exists() or not session.told_by(session.path.read_text(encoding="utf-8")):
                    print(f"{session.name} …", flush=True)
                    session.path.write_text(record(session), encoding="utf-8")
        finally:
            for image in stand_ins:
                engine.run("image", "rm", image, check=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
