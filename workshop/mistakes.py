"""Typical mistakes: what gives each of them away in a folder, and the hint for it.

A hint stands beside what the contract says of a row, and is given only where that row or probe is red: the same line
may be right elsewhere.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

# In place of a row: the image has no container that could be judged.
START = "start"


@dataclass(frozen=True)
class Work:
    """A folder as somebody has left it."""

    folder: Path

    def text(self, name: str) -> str:
        """Return the text of a file; "" if it is not there."""
        file = self.folder / name
        return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""

    @cached_property
    def instructions(self) -> list[tuple[str, str]]:
        """Return each instruction of the Dockerfile with what follows it, in one line."""
        lines = [line for line in self.text("Dockerfile").splitlines() if not line.lstrip().startswith("#")]
        joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
        return [(name.upper(), rest) for name, rest in re.findall(r"^\s*([A-Za-z]+)\s+(.*)$", joined, re.MULTILINE)]

    @cached_property
    def stage(self) -> list[tuple[str, str]]:
        """Return the instructions of the last stage: what is shipped."""
        names = [name for name, _ in self.instructions]
        last = len(names) - 1 - names[::-1].index("FROM") if "FROM" in names else 0
        return self.instructions[last:]

    def all(self, name: str) -> list[str]:
        """Return what follows each instruction of a kind, in the last stage."""
        return [rest for kind, rest in self.stage if kind == name]

    def last(self, name: str) -> str:
        """Return what follows the last instruction of a kind in the last stage; "" if there is none."""
        return (self.all(name) or [""])[-1]

    @property
    def command(self) -> str:
        """Return how the service is started: by the Dockerfile, its scripts and the configuration of gunicorn."""
        scripts = [file.read_text(encoding="utf-8", errors="replace") for file in sorted(self.folder.glob("*.sh"))]
        started = [self.last("ENTRYPOINT"), self.last("CMD"), *self.all("ENV"), *scripts, self.text("gunicorn.conf.py")]
        # A list in brackets reads like the words of a shell.
        return re.sub(r'[",\[\]]+\s*(?=[\s"]|$)', " ", "\n".join(started)).replace('"', " ")

    @property
    def workers(self) -> int:
        """Return the number of workers that the folder asks for; gunicorn starts one where nothing is said."""
        found = re.findall(r"(?:--workers[= ]+|-w[= ]+|\bworkers *= *|WEB_CONCURRENCY[= ]+)(\d+)", self.command)
        return int(found[-1]) if found else 1


@dataclass(frozen=True)
class Mistake:
    """A mistake that many make."""

    name: str
    # The rows and probes that it turns red.
    of: frozenset[str]
    # Is it this one? Given the folder, and what was seen.
    made: Callable[[Work, str], object]
    hint: str


def _shell_form(work: Work, _: str) -> bool:
    started = work.last("ENTRYPOINT") or work.last("CMD")
    return bool(started) and not started.startswith("[")


def _script_without_exec(work: Work, _: str) -> bool:
    started = f"{work.last('ENTRYPOINT')} {work.last('CMD')}"
    scripts = [file for file in work.folder.glob("*.sh") if file.name in started]
    return any(not re.search(r"^\s*exec\s", work.text(script.name), re.MULTILINE) for script in scripts)


def _removed_later(work: Work, _: str) -> bool:
    copied = False
    for name, rest in work.stage:
        copied |= name in {"COPY", "ADD"}
        if copied and name == "RUN" and re.search(r"(^|[;&\s])(rm|unlink|shred)\s", rest):
            return True
    return False


def _listed(work: Work, _: str) -> bool:
    lines = work.text(".dockerignore").split()
    return bool(lines) and not {"*", "**", "/*"} & set(lines)


def _copies_all(work: Work, _: str) -> bool:
    return any(re.match(r"(--\S+\s+)*\.\s", rest) for rest in work.all("COPY"))


def _code_before_packages(work: Work, _: str) -> bool:
    code = False
    for name, rest in work.stage:
        code |= name == "COPY" and bool(re.match(r"(--\S+\s+)*(\.\s|.*\.py\b)", rest))
        if code and name == "RUN" and re.search(r"\b(pip|uv)\b.*\binstall\b", rest):
            return True
    return False


def _given_away(work: Work, _: str) -> bool:
    return any("chown" in rest for rest in [*work.all("RUN"), *work.all("COPY")])


def _venv_off_the_path(work: Work, seen: str) -> bool:
    brought = any(re.search(r"--from=.*venv", rest) for rest in work.all("COPY"))
    return "not found" in seen and brought and not any("PATH" in rest for rest in work.all("ENV"))


def _port_only(work: Work, _: str) -> bool:
    check = work.last("HEALTHCHECK")
    return bool(re.search(r"create_connection|connect\(|\bnc\b|/dev/tcp", check)) and "http" not in check


def _graceful(work: Work, seen: str) -> bool:
    return bool(re.search(r"graceful.timeout", work.command)) and "200 to the end" in seen


def _short_drain(work: Work, seen: str) -> bool:
    return "lost" in seen and any("503" in file.read_text(encoding="utf-8") for file in work.folder.glob("*.py"))


def _ipv4_only(work: Work, _: str) -> bool:
    # What the command line says goes before the configuration.
    return any("0.0.0.0" in said and "::" not in said for said in (work.last("CMD"), work.command))


def _of(*names: object) -> frozenset[str]:
    return frozenset(map(str, names))


MISTAKES = (
    Mistake(
        "a command in shell form",
        _of(2, 16),
        _shell_form,
        "your CMD is in shell form, so `sh -c` is process 1 and your service its child. Write a list: CMD"
        ' ["./start.sh"]. Double quotes, no shell.',
    ),
    Mistake(
        "a script that does not exec",
        _of(2, 16),
        _script_without_exec,
        "the script starts the service as its child and waits for it: a signal ends at the script. Put `exec` before"
        " the last command, so that the service takes the place of the shell.",
    ),
    Mistake(
        "a user by name",
        _of(1),
        lambda work, seen: "must be a number" in seen and work.last("USER"),
        "Kubernetes cannot look a name up in your image: write the number, USER 10001:10001.",
    ),
    Mistake(
        "a health check that cannot fail",
        _of(3),
        lambda work, _: re.search(r"\|\|\s*(exit 0|true|:)", work.last("HEALTHCHECK")),
        "`|| exit 0` turns each failure into success. Let the exit code of the question itself be the answer.",
    ),
    Mistake(
        "a health check that only opens the port",
        _of(15),
        _port_only,
        "your health check only opens the port: the kernel takes the connection also while every worker hangs. Ask for"
        " a page, with a time-out: urllib.request.urlopen('http://…', timeout=2).",
    ),
    Mistake(
        "removed in a later layer",
        _of(7, "token"),
        _removed_later,
        "`RUN rm` writes only a note that the file is gone; the layer of its COPY still holds it. Do not let it in: a"
        " .dockerignore for what the build does not need, a secret mount for what it does.",
    ),
    Mistake(
        "a .dockerignore that lists what stays out",
        _of(7),
        _listed,
        "your .dockerignore names what must stay out, and tomorrow there is another thing. Begin it with a line `*`,"
        " and let in what the image needs: `!app.py`.",
    ),
    Mistake(
        "everything is copied",
        _of(7),
        _copies_all,
        "`COPY .` takes all that lies in the folder. Name the files, or write a .dockerignore that begins with `*`.",
    ),
    Mistake(
        "the code comes before the packages",
        _of(11),
        _code_before_packages,
        "the code is copied above `pip install`, so each edit runs it again; a cache mount only makes that faster."
        " First COPY requirements.txt and the installation, then COPY the code.",
    ),
    Mistake(
        "the code belongs to the service",
        _of(9),
        _given_away,
        "`chown` to the user of the service lets an intruder change the code. Leave all files to root: it is enough"
        " that the service can read them.",
    ),
    Mistake(
        "writable by everybody",
        _of(9),
        lambda work, _: any(re.search(r"chmod\b.*(777|666|[ao]\+\w*w)", rest) for rest in work.all("RUN")),
        "`chmod 777` lets everybody change the code. Remove the line, and the reason for it: what does the service"
        " write?",
    ),
    Mistake(
        "a virtual environment off the PATH",
        _of(START),
        _venv_off_the_path,
        "the packages are in a virtual environment that is not on the PATH. Write ENV PATH=/venv/bin:$PATH into the"
        " last stage, or name the program in full: /venv/bin/gunicorn.",
    ),
    Mistake(
        "two binds for one port",
        _of(START),
        lambda work, seen: "0.0.0.0:" in work.command and "::" in work.command and "in use" in seen,
        "`[::]` takes IPv4 as well, so the second bind finds its port taken. Bind to `[::]` alone.",
    ),
    Mistake(
        "one page for both questions",
        _of("readiness"),
        lambda _, seen: re.search(r"healthz says (\d+).*readyz says \1", seen),
        "liveness and readiness say the same here, so one of them lies. Without the database a restart helps nobody:"
        " /healthz is 200. And no request for prices can succeed: /readyz is 503.",
    ),
    Mistake(
        "a build argument for a secret",
        _of("token"),
        lambda work, seen: "history" in seen and any(name in {"ARG", "ENV"} for name, _ in work.instructions),
        "an ARG is no hiding place: the history records each RUN with the arguments it could read. Remove the ARG, and"
        " mount the secret: RUN --mount=type=secret,id=token.",
    ),
    Mistake(
        "more workers against a lack of memory",
        _of("memory"),
        lambda work, _: work.workers >= 3 and "preload" not in work.command,
        "each worker loads its own table, so more workers need more memory, not less. Load it before the fork"
        " (--preload), start two workers, and give them threads.",
    ),
    Mistake(
        "one worker",
        _of("memory"),
        lambda _, seen: "at least 2" in seen,
        "one worker fits, but when it dies nobody serves. Two fit as well, if they share the table: --preload.",
    ),
    Mistake(
        "IPv4 only",
        _of(22),
        _ipv4_only,
        "`0.0.0.0` is all addresses of IPv4 alone. `[::]` is all of IPv6, and on Linux it takes IPv4 too.",
    ),
    Mistake(
        "the shell is back",
        _of("shell"),
        lambda _, seen: "has a shell" in seen,
        "you kept more than the service needs. Keep the one folder that it opens, and remove /usr/bin as before.",
    ),
    Mistake(
        "a longer graceful time-out",
        _of("update"),
        _graceful,
        "a graceful time-out is for requests that are inside already; the door is closed at once all the same. Let"
        " /readyz say 503 first, and let some seconds pass before gunicorn hears of SIGTERM.",
    ),
    Mistake(
        "too short a drain",
        _of("update"),
        _short_drain,
        "the balancer hears of it too late: it looks twice, half a second apart. Serve on for more than that, such as"
        " 3 s.",
    ),
)


def hints(work: Work, red: str, seen: str) -> Iterator[str]:
    """Yield the hint for each mistake that is in the folder and explains why a row or a probe is red."""
    for mistake in MISTAKES:
        if red in mistake.of and mistake.made(work, seen):
            yield mistake.hint
