"""What `make bench` compares: the template's default service, and baselines built in the ways that are usual today.

    uv-venv     uv fills a virtual environment in the builder and compiles it; the runtime gets a copy; gunicorn
    pip-system  one stage; pip installs into the system's Python; a user without rights; gunicorn
    uv-runtime  the image that runs has uv and curl as well; gunicorn
    blog-post   a virtual environment from a builder; Flask's own server, as root

They serve the smallest application, from the same base image, with the same versions of Flask and gunicorn. Each runs
as its image says.
"""

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import measures
from benchmarks.measures import SILENT
from tools import engine
from tools.baking import SERVICE, TEMPLATE, bake
from tools.questions import base_image

FOLDER = Path(__file__).parent / "baselines"
TEMPLATE_NAME = "template"
ON_GUNICORN = ("uv-venv", "pip-system", "uv-runtime")
BASELINES = (*ON_GUNICORN, "blog-post")
# What a cold build does again: all but what stands in for the image that uv is published in.
STAGES = ("builder", "runtime")
# A package that no other needs, with its hashes, out of another lock of the service.
ADDED = "iniconfig"


@dataclass(frozen=True)
class Variant:
    """An image, the files it is built from, and how it is built."""

    name: str
    project: Path
    code: str
    build_options: tuple[str, ...] = ()
    cold_options: tuple[str, ...] = ("--no-cache",)

    @property
    def tag(self) -> str:
        """Return the name of its image."""
        return f"benchmark-{self.name}:{os.getpid()}"

    @property
    def has_workers(self) -> bool:
        """Tell whether it runs gunicorn, which takes the number of workers from WEB_CONCURRENCY."""
        return self.name != "blog-post"

    def build(self, *options: str) -> float:
        """Build the image; return the seconds it took."""
        return engine.build(self.project, self.tag, *self.build_options, *options)

    def build_cold(self) -> float:
        """Build the image without its layers in the cache; return the seconds. Caches of packages stay as they are."""
        return self.build(*self.cold_options)

    def rebuild(self) -> float:
        """Build the image after an edit of its code; return the seconds."""
        return engine.rebuild(self.project, self.tag, self.code, *self.build_options)

    def rebuild_with_another_lock(self) -> float:
        """Build the image with one package more in its lock; return the seconds."""
        lock = self.project / "requirements.txt"
        before = lock.read_text()
        lock.write_text(f"{before}{added_package(hashed='--hash' in before)}# {time.time_ns()}\n")
        try:
            return self.build()
        finally:
            lock.write_text(before)

    @contextmanager
    def started(self, *options: str) -> Iterator[tuple[engine.Container, float]]:
        """Run a container without health checks; also tell the seconds from `docker run` to its first 200."""
        with engine.started(self.tag, *SILENT, *options, from_process=False) as (container, seconds):
            yield container, seconds


def added_package(hashed: bool) -> str:
    """Return the line of a requirements file that adds a package, with its hashes or without."""
    lock = (SERVICE / "requirements-dev.txt").read_text(encoding="utf-8")
    [entry] = re.findall(rf"^{ADDED}==.*(?:\n +--hash=.*)*", lock, re.MULTILINE)
    return f"{entry if hashed else entry.split()[0]}\n"


def template(folder: Path, python: str) -> tuple[Variant, Variant]:
    """Bake the default service below a folder; return it with its image of either kind, slim first."""
    project = bake(folder, {"python_version": python})
    slim = Variant(TEMPLATE_NAME, project, "app/views.py")
    return slim, Variant("distroless", project, slim.code, ("--build-arg=RUNTIME=distroless",))


def baselines(folder: Path, python: str) -> tuple[Variant, ...]:
    """Copy what the baselines are built from below a folder, for each on its own; return them."""
    arguments = {"BASE_IMAGE": base_image(python), "UV_VERSION": measures.pins(TEMPLATE / "requirements.txt")["uv"]}
    return tuple(
        Variant(
            name,
            project := Path(shutil.copytree(FOLDER, folder / name)),
            "app.py",
            (f"--file={project / name}.Dockerfile", *(f"--build-arg={key}={arguments[key]}" for key in arguments)),
            tuple(f"--no-cache-filter={stage}" for stage in STAGES),
        )
        for name in BASELINES
    )
