"""The Docker Engine, for all tools: the contract's own docker.py, and what only a tool needs beyond it."""

import gzip
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path

from tools.baking import SERVICE

# It holds no answer, so it is never rendered. Last on the path: nothing else in that folder gets in the way.
sys.path.append(str(SERVICE / "tests/container"))

from docker import LABEL, Container, DockerError, Image, problem, remove_leftovers, run
from docker import started as running

__all__ = ["LABEL", "Container", "DockerError", "Image", "problem", "remove_leftovers", "run", "running"]


def output(*arguments: str) -> str:
    """Return what a docker command prints; raise DockerError if it fails."""
    return run(*arguments).stdout.strip()


def missing() -> str | None:
    """Return None if an engine answers, else what is wrong and what to do."""
    if not shutil.which("docker"):
        return "there is no docker command: install Docker, then try again"
    said = problem()
    return said and f"the Docker Engine does not answer: {said} (is it running, and may you use it?)"


def end_of(error: DockerError) -> str:
    """Return the last lines of what docker printed."""
    return "\n".join(str(error).strip().splitlines()[-15:])


@contextmanager
def session() -> Iterator[None]:
    """Use the engine: end the program in words where there is none or where it fails, and remove what was made."""
    if why := missing():
        raise SystemExit(why)
    try:
        yield
    except DockerError as error:
        raise SystemExit(str(error)[-2000:]) from error
    finally:
        remove_leftovers()


def has(image: str) -> bool:
    """Tell whether the engine has an image."""
    return run("image", "inspect", image, check=False).returncode == 0


def build(context: Path, tag: str, *options: str) -> float:
    """Build an image; return the seconds it took. It is removed at the end of the session."""
    began = time.monotonic()
    run("build", "--quiet", "--label", LABEL, "--tag", tag, *options, str(context))
    return time.monotonic() - began


def rebuild(context: Path, tag: str, edited: str, *options: str) -> float:
    """Add a comment to a file of the build context and build the image; return the seconds the build took."""
    with (context / edited).open("a") as file:
        file.write(f"# edit {time.time_ns()}\n")
    return build(context, tag, *options)


@contextmanager
def started(
    image: str, *options: str, port: int = 5000, seconds: float = 60, from_process: bool = True
) -> Iterator[tuple[Container, float]]:
    """Run a container until its first 200; yield it, and the seconds that this took; remove it.

    They are counted from the start of its process, or else from that of `docker run`. Raises DockerError if the
    container ends or if there is no 200 in time.
    """
    began = datetime.now(UTC)
    identity = output("run", "--detach", "--label", LABEL, *options, "--publish", f"127.0.0.1::{port}", image)
    try:
        # Asked only now: what is sent before the container has its network waits a second to be sent again.
        container = Container(identity, port)
        responded = _first_response(container, seconds)
        if from_process:
            began = datetime.fromisoformat(output("inspect", "--format", "{{.State.StartedAt}}", identity))
        yield container, (responded - began).total_seconds()
    finally:
        run("rm", "--force", "--volumes", identity)


def _first_response(container: Container, seconds: float) -> datetime:
    """Ask every 2 ms; return the moment of the first 200."""
    deadline, asked = time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        try:
            if container.request(timeout=5).status == 200:
                return datetime.now(UTC)
        except (OSError, HTTPException):
            asked += 1
            if asked % 100 == 1 and not container.state["Running"]:
                break
        time.sleep(0.002)
    raise DockerError("\n".join([f"no 200 within {seconds:.0f} s; its log ends with:", *container.logs[-10:]]))


def size(image: str) -> int:
    """Return the bytes of an image on disk."""
    return Image(image).size


# Bytes by the digest of a layer: images on the same base share most of what takes long to compress.
_compressed: dict[str, int] = {}


def compressed_size(image: str) -> int:
    """Return the bytes of an image's layers, each compressed as by gzip -6, as a registry would store them."""
    digests = Image(image).layer_digests
    if not _compressed.keys() >= set(digests):
        for digest, layer in zip(digests, Image(image).raw_layers(), strict=True):
            if digest not in _compressed:
                _compressed[digest] = len(gzip.compress(layer, 6))
    return sum(_compressed[digest] for digest in digests)
