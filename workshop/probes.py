"""What an exercise asks for and no row of the contract does: `probes` in exercise.toml names functions of this file.

Each returns None, or what it saw instead of what it should have. Its docstring says in its first line what is asked
for, then why that matters, and how to fix it, as the docstrings of the contract do.
"""

import re
import time
import tomllib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from tools import engine
from tools.contract import Lesson
from workshop.balancer import Balancer

SECONDS_TO_START = 60


@dataclass(frozen=True)
class Asked:
    """An image that an exercise has been built into, and the folder it was built from."""

    image: engine.Image
    folder: Path


@dataclass(frozen=True)
class Probe:
    """A question that an exercise asks of an image."""

    ask: Callable[[Asked], str | None]

    @property
    def name(self) -> str:
        """Return the name by which an exercise asks."""
        return self.ask.__name__

    @property
    def title(self) -> str:
        """Return what is asked for, in one line."""
        return (self.ask.__doc__ or "").partition("\n")[0].rstrip(".")

    @property
    def lesson(self) -> Lesson:
        """Return why it matters, and how to fix what is found."""
        return Lesson.parse((self.ask.__doc__ or "").partition("\n")[2])


# ---- 4: health and readiness ----

LISTEN = """
import socket, time
with socket.create_server(("127.0.0.1", 5432)):
    time.sleep(600)
"""


def readiness(asked: Asked) -> str | None:
    """Tell the truth about the database in /healthz and /readyz.

    Liveness asks for a restart, which brings no database back; readiness asks for requests, which fail without one.

    Fix: let /healthz ask nothing but the process, and /readyz, each time, what a request needs.
    """
    with engine.running(asked.image, "--health-interval=1s", "--health-retries=1", options=()) as container:
        container.wait_until_serving(SECONDS_TO_START)
        healthz, readyz = (container.request(path).status for path in ("/healthz", "/readyz"))
        if (healthz, readyz) != (200, 503):
            return f"without the database /healthz says {healthz}, not 200, and /readyz says {readyz}, not 503"
        try:
            container.wait_until_health_is("healthy", 30)
        except engine.DockerError as error:
            return f"without the database, {error}"
        for arguments, wanted, when in (
            (("--detach", container.identity, "python3", "-c", LISTEN), 200, "with the database back"),
            ((container.identity, "python3", "-c", END_LISTENER), 503, "with the database gone again"),
        ):
            engine.run("exec", *arguments)
            deadline = time.monotonic() + 30
            while (status := container.request("/readyz").status) != wanted:
                if time.monotonic() > deadline:
                    return f"{when}, /readyz says {status} for 30 s, not {wanted}"
                time.sleep(0.1)
    return None


END_LISTENER = """
import os, signal
for number in filter(str.isdigit, os.listdir("/proc")):
    with open(f"/proc/{number}/cmdline") as words:
        if "create_server" in words.read() and int(number) != os.getpid():
            os.kill(int(number), signal.SIGKILL)
"""


# ---- 5: the token of a build ----

TOKEN = "price-token-4711"  # noqa: S105 - it opens nothing


def token(asked: Asked) -> str | None:
    """Leave the token of the build nowhere in the image.

    Who can pull an image can read each of its layers, its history and its variables, for as long as it exists.

    Fix: `RUN --mount=type=secret,id=token` shows the file to one step and leaves it nowhere.
    """
    found = [f"/{name} in layer {number}" for number, name in holding(asked.image, TOKEN.encode())]
    found += ["the history of the build"] if TOKEN in asked.image.history else []
    found += ["a variable of the image"] if any(TOKEN in pair for pair in asked.image.config.get("Env") or ()) else []
    return f"the token of the build stands in {', '.join(found)}" if found else None


def holding(image: engine.Image, text: bytes) -> list[tuple[int, str]]:
    """Return the files that hold a text, each with the number of its layer; also those that a later layer hides."""
    found = []
    for number, layer in enumerate(image.layers(), start=1):
        files = ((member.name, layer.extractfile(member)) for member in layer if member.isfile())
        found += [(number, name) for name, file in files if file and text in file.read()]
    return found


# ---- 6: memory ----

LIMIT = "128m"
# Of either version of cgroups.
KILLS = """
import re
for name in ("memory.events", "memory/memory.oom_control"):
    try:
        with open("/sys/fs/cgroup/" + name) as file:
            print(*re.findall(r"^oom_kill ([0-9]+)$", file.read(), re.MULTILINE))
            break
    except FileNotFoundError:
        pass
"""
TABLE = "import app; print(len(app.TABLE))"
TABLE_BYTES = 2**25


def memory(asked: Asked) -> str | None:
    """Serve within 128 MiB, and have nothing killed.

    The limit counts all processes together; where it is passed the kernel kills one, with the requests it has.

    Fix: load once, before the fork (`--preload`), and no more workers than fit: threads cost little.
    """
    with engine.running(asked.image, f"--memory={LIMIT}", f"--memory-swap={LIMIT}", options=()) as container:
        container.wait_until_serving(SECONDS_TO_START)
        sent, lost = load(container)
        if lost:
            killed = ", and the kernel has killed for lack of memory" if container.state["OOMKilled"] else ""
            return f"with --memory={LIMIT} {len(lost)} of {sent} requests were lost: {lost[0]}{killed}"
        workers = container.wait_for_workers(2, 15)
        kills = engine.output("exec", container.identity, "python3", "-I", "-S", "-c", KILLS)
    if kills not in {"0", ""}:
        return f"with --memory={LIMIT} the kernel killed a process {kills} times"
    if workers < 2:
        return f"there are {workers} workers: at least 2 must serve"
    size = asked.image.run_to_end("--entrypoint=python3", arguments=["-c", TABLE]).stdout.strip()
    return None if int(size) >= TABLE_BYTES else f"the table has {size} bytes, not {TABLE_BYTES}"


def load(container: engine.Container, requests: int = 200, clients: int = 4) -> tuple[int, list[str]]:
    """Send requests, and give up after a few that are lost; return how many were sent, and what became of those."""
    lost: list[str] = []

    def client(_: int) -> int:
        for sent in range(requests // clients):
            if len(lost) > clients:
                return sent
            try:
                seen = str(container.request(timeout=10).status)
            except (OSError, HTTPException) as error:
                seen = type(error).__name__
            lost.extend([seen] * (seen != "200"))
        return requests // clients

    with ThreadPoolExecutor(clients) as pool:
        return sum(pool.map(client, range(clients))), lost


# ---- 8: no shell ----

ANSWERS = {"exception": "ZoneInfoNotFoundError", "missing": "/usr/share/zoneinfo"}


def answer(asked: Asked) -> str | None:
    """Name the cause in answer.toml.

    A guess that makes the symptom go away is not a cause. Fix: call the page in the running container, and look.
    """
    try:
        given = tomllib.loads((asked.folder / "answer.toml").read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        return f"answer.toml cannot be read: {error}"
    wrong = [f"{key} = {str(given.get(key, ''))!r}" for key, right in ANSWERS.items() if given.get(key) != right]
    return f"in answer.toml this is not what the container shows: {', '.join(wrong)}" if wrong else None


SHELL = re.compile(r"(/usr)?(/local)?/s?bin/((ba|da|z|a|k)?sh|busybox)")


def shell(asked: Asked) -> str | None:
    """Have no shell in the image.

    A shell is the first thing that an intruder asks for. Fix: keep the shell out, and bring your tools along.
    """
    found = [path for path in asked.image.files if SHELL.fullmatch(path) and asked.image.is_executable(path)]
    return f"the image has a shell: {', '.join(sorted(found))}" if found else None


def failures_logged(asked: Asked) -> str | None:
    """Log a failure, and tell the client nothing of it.

    What is logged nowhere is found by luck. What a client sees is for the client: no path, no name of a class.

    Fix: `app.logger.exception("…")` in the error handler.
    """
    with engine.running(asked.image, "--env=ZONE=No/Where", options=()) as container:
        container.wait_until_serving(SECONDS_TO_START)
        response = container.request()
        log = "\n".join(container.logs)
    if response.status != 500:
        return f"with ZONE=No/Where the page has status {response.status}, not 500: a failure is hidden"
    if re.search(rb"Traceback|ZoneInfo|app\.py", response.body):
        return "with ZONE=No/Where the page shows the client what has failed"
    told = "Traceback" in log and "ZoneInfoNotFoundError" in log
    return None if told else "with ZONE=No/Where the page fails, and there is no traceback in the log"


# ---- 9: an update ----


def update(asked: Asked) -> str | None:
    """Lose no request while one replica after the other stops.

    A balancer hears of a stop later than the service, and cannot send a request twice.

    Fix: on SIGTERM let /readyz say 503, serve on for some seconds, and only then stop.
    """
    with ExitStack() as stack:
        a, b = (replica(asked, stack) for _ in range(2))
        balancer = stack.enter_context(Balancer(a.address[1], b.address[1]))
        balancer.wait_for(50)
        for old in (a, b):
            balancer.add(replica(asked, stack).address[1])
            port = old.address[1]
            old.stop()
            if code := old.state["ExitCode"]:
                return f"a replica ended with exit code {code}{': it was killed after 10 s' if code == 137 else ''}"
            balancer.wait_for(50)
            if balancer.lost:
                how = "after /readyz had said 503" if port in balancer.said_503 else "/readyz said 200 to the end"
                lost = f"{len(balancer.lost)} of {balancer.sent} requests were lost ({balancer.lost[0]})"
                return f"{lost} while a replica stopped; {how}"
    return None


def replica(asked: Asked, stack: ExitStack) -> engine.Container:
    """Start a container and wait until it is ready."""
    container = stack.enter_context(engine.running(asked.image, options=()))
    container.wait_until_serving(SECONDS_TO_START)
    deadline = time.monotonic() + SECONDS_TO_START
    while (seen := container.request("/readyz").status) != 200:
        if time.monotonic() > deadline:
            raise engine.DockerError(f"/readyz says {seen} for {SECONDS_TO_START} s, not 200")
        time.sleep(0.1)
    return container


PROBES = {ask.__name__: Probe(ask) for ask in (readiness, token, memory, answer, shell, failures_logged, update)}
