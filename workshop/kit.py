"""The workshop in one archive, for rooms without internet.

    python -m workshop.kit pack        packs it (`make kit`): with a network, an engine, and the tooling installed
    python3 kit.py use ARCHIVE         uses it: needs Docker and Python, nothing else, and no network

Both need the same minor version of Python on the same kind of machine: that is what the wheels are for. `pack --python`
adds further versions. `use` is written for an old Python as well, so that it can say what it needs.

The archive is a zip file, which has a checksum for each of its files and ends with their list: one that was copied in
part, or differs in a byte, is found out when it is unpacked.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from pathlib import Path
from typing import Any

OLDEST = (3, 11)
PORT = 5000
SECONDS_TO_START = 60
TEMPLATE = Path(__file__).absolute().parents[1]
SERVICE = "hello-service"
# What `make handout` makes, and how it is called where the kit is used. Recordings are in the page of the handout.
PAGES = {
    "handout": "The handout",
    "slides": "The slides",
    "worksheet": "The worksheet",
    "feedback": "The feedback sheet",
}
LOCKS = ("requirements.txt", "{{cookiecutter.project_slug}}/requirements-dev.txt")
# The pip in it takes packages from a folder that it brings along.
OFFLINE = """FROM {}
COPY . /opt/wheelhouse
RUN printf '[global]\\nno-index = true\\nfind-links = /opt/wheelhouse\\n' >/etc/pip.conf
"""


class KitError(Exception):
    """Something is missing or wrong; the message is one line that says what, and what to do."""


def say(what: str) -> None:
    """Say what is going on."""
    print(what, flush=True)


def run(*command: str | Path, text: str | None = None) -> str:
    """Return what a command prints; raise KitError with its last lines if it fails."""
    words = [str(part) for part in command]
    done = subprocess.run(words, input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        last = "\n".join(done.stdout.strip().splitlines()[-15:])
        raise KitError(f"{Path(words[0]).name} {shlex.join(words[1:3])} failed: {last}")
    return done.stdout.strip()


def engine() -> str:
    """Return the platform of the engine, such as linux/amd64; refuse where none answers."""
    if not shutil.which("docker"):
        raise KitError("there is no docker command: install Docker, then try again")
    try:
        return run("docker", "version", "--format", "{{.Server.Os}}/{{.Server.Arch}}")
    except KitError as error:
        said = str(error).splitlines()[-1]
        raise KitError(f"the Docker Engine does not answer (is it running, and may you use it?): {said}") from error


def here() -> dict[str, str]:
    """Return what an archive is made for, as it is here."""
    version = ".".join(map(str, sys.version_info[:2]))
    return {"a machine with": f"{platform.system()} {platform.machine()}", "Python": version, "an engine on": engine()}


def contexts(images: dict[str, str]) -> list[str]:
    """Return the options that put images in the place of those that a Dockerfile names."""
    return [f"--build-context={named}=docker-image://{image}" for named, image in images.items()]


# ---- pack ----


def pack(options: argparse.Namespace) -> None:
    """Make the archive, and put kit.py beside it. Folder, images and container will be called after it."""
    # Where the kit is used there are no such modules, and nothing is packed.
    from tools.baking import bake, copy_template  # noqa: PLC0415

    made_for = {what: [value] for what, value in here().items()}
    output: Path = options.output.absolute()
    bases, name = base_images(), re.sub("[^a-z0-9]+", "-", output.stem.lower())
    # What stands beside it in this folder is the last archive.
    pages = [path for path in (TEMPLATE / "workshop/build").glob("*") if path.suffix in {".html", ".pdf"}]
    missing = sorted(PAGES.keys() - {path.stem for path in pages})
    if missing:
        raise KitError(f"there is no {' and no '.join(missing)} yet: make handout")
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="kit-", dir=output.parent) as folder:
        kit = Path(folder)
        copy_template(kit / "template")
        (kit / "pages").mkdir()
        for path in pages:
            shutil.copy2(path, kit / "pages")
        say("Fetching the packages of the image …")
        with tempfile.TemporaryDirectory(prefix="kit-") as project:
            # The service's own Dockerfile fetches what its lock names.
            build = ["docker", "build", *shlex.split(os.environ.get("DOCKER_BUILD_OPTIONS", ""))]
            run(*build, "--target=wheelhouse", f"--output={kit / 'wheelhouse'}", bake(Path(project)))
        made_for["Python"] = [fetch_wheels(kit, python) for python in (sys.executable, *options.python)]
        say(f"Saving {', '.join(bases)} …")
        images = save(bases, name, kit / "images.tar")
        manifest = {"name": name, "made_for": made_for, "images": images}
        (kit / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        say("Writing the archive …")
        write(kit, output)
    shutil.copy2(TEMPLATE / "workshop/kit.py", output.parent)
    say(f"{output}: {output.stat().st_size / 1e6:.0f} MB. Hand it out together with the kit.py beside it:")
    say(f"  python3 kit.py use {output.name}")


def base_images() -> dict[str, str]:
    """Return what the Dockerfiles of service, rungs and exercises name, and the image that stands for it."""
    from tools.questions import base_image  # noqa: PLC0415
    from workshop.ladder import PYTHON  # noqa: PLC0415

    own, slim, full = base_image(PYTHON), f"python:{PYTHON}-slim-trixie", f"python:{PYTHON}-trixie"
    if not exists(own):
        raise KitError(f"the engine has no {own}: docker pull {own}")
    # The workshop keeps the official images, also in a house that has its own; where only that is there, it must do.
    # The full one is as large as all else, and only the first rung needs it.
    return {own: own, slim: slim if exists(slim) else own, **({full: full} if exists(full) else {})}


def exists(image: str) -> bool:
    """Tell whether the engine has an image."""
    done = subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=False)
    return done.returncode == 0


def fetch_wheels(kit: Path, python: str) -> str:
    """Fetch the wheels of both locks of development tools for a Python; return its version."""
    version = run(python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])")
    say(f"Fetching the packages for Python {version} …")
    for lock in LOCKS:
        options = ("--quiet", "--require-hashes", "--only-binary=:all:", "--dest", kit / "wheels")
        run(python, "-m", "pip", "download", *options, "-r", kit / "template" / lock)
    return version


def save(bases: dict[str, str], name: str, file: Path) -> dict[str, str]:
    """Save images under names of the kit's own, so that loading them replaces nothing; return these names."""
    images = {named: f"{name}:{re.sub('[^a-z0-9.]+', '-', image)}" for named, image in bases.items()}
    for named, image in images.items():
        run("docker", "tag", bases[named], image)
    try:
        run("docker", "save", "--output", file, *set(images.values()))
    finally:
        run("docker", "image", "rm", *set(images.values()))
    return images


def write(kit: Path, output: Path) -> None:
    """Write the archive. What an engine has unpacked may be dated before 1980, as no zip file can be."""
    with zipfile.ZipFile(output, "w", strict_timestamps=False) as archive:
        for path in sorted(path for path in kit.rglob("*") if path.is_file()):
            how = zipfile.ZIP_STORED if path.suffix == ".whl" else zipfile.ZIP_DEFLATED  # wheels are zip files already
            archive.write(path, path.relative_to(kit), how)


# ---- use ----


def use(options: argparse.Namespace) -> None:
    """Unpack the archive and bring the service up."""
    kit, images = unpack(options.archive)
    name, template, service = kit.name, kit / "template", kit / SERVICE
    say("Loading the base images …")
    run("docker", "load", "--input", kit / "images.tar")
    (kit / "images.tar").unlink()
    python = make_environment(template, template / LOCKS[0], kit / "wheels")
    say("Baking a service …")
    # The default answers, whatever the defaults of this user are.
    run(python, "-m", "cookiecutter", template, "--no-input", "--default-config", "--output-dir", kit)
    make_environment(service, template / LOCKS[1], kit / "wheels")
    say("Building its image without a network …")
    build = ("docker", "build", "--network=none")
    wheelhouse = f"--build-context=wheelhouse={kit / 'wheelhouse'}"
    run(*build, f"--tag={name}:{SERVICE}", *contexts(images), wheelhouse, service)
    say("Preparing base images that bring their packages along …")
    offline = {named: image.replace(":", ":offline-") for named, image in images.items()}
    for named, image in offline.items():
        run(*build, f"--tag={image}", "--file=-", kit / "wheelhouse", text=OFFLINE.format(images[named]))
    say("Starting it …")
    print(f"\nThe service answers at http://{start(name)}/\nOpen it in a browser. To stop it:")
    print(f"  docker rm --force {name}")
    for page in sorted((kit / "pages").iterdir(), key=lambda page: ([*PAGES, page.stem].index(page.stem), page)):
        print(f"{PAGES.get(page.stem, page.stem.capitalize())}: {page}")
    print(f"The quiz: {template / 'workshop/quiz'}")
    print("For builds without a network, of exercises and rungs alike:")
    print(f"  export DOCKER_BUILD_OPTIONS={shlex.quote(' '.join(contexts(offline)))}")
    print("  docker build $DOCKER_BUILD_OPTIONS .")
    print(f"  cd {shlex.quote(str(template))} && workshop/check workshop/exercises/01-my-machine")


def unpack(path: Path) -> tuple[Path, dict[str, str]]:
    """Unpack an archive that fits; return the folder, and the names of its base images by what Dockerfiles name."""
    if not path.is_file():
        raise KitError(f"there is no archive {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            manifest: dict[str, Any] = json.loads(archive.read("manifest.json"))
            for what, value in here().items():
                if value not in manifest["made_for"][what]:
                    fit = " or ".join(manifest["made_for"][what])
                    raise KitError(f"this archive is for {what} {fit}, not {value}: use that, or pack one for this")
            kit = Path(manifest["name"]).absolute()
            if kit.exists():
                raise KitError(f"{kit} is there already: remove it, or go to another folder")
            say("Unpacking …")
            for member in archive.infolist():
                Path(archive.extract(member, kit)).chmod(member.external_attr >> 16 & 0o777)
    except (zipfile.BadZipFile, zlib.error, KeyError, ValueError, EOFError) as error:
        raise KitError(f"{path} is damaged, or no archive of this workshop: copy it again ({error})") from error
    except OSError as error:
        raise KitError(f"{path} cannot be unpacked: {error}") from error
    return kit, manifest["images"]


def make_environment(folder: Path, lock: Path, wheels: Path) -> Path:
    """Make a virtual environment in a folder, from wheels alone; return its Python."""
    environment = folder / ".venv"
    python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    say(f"Making the virtual environment of {folder.name} …")
    try:
        run(sys.executable, "-m", "venv", environment)
    except KitError as error:
        hint = "this Python cannot make a virtual environment (on Debian: apt-get install python3-venv)"
        raise KitError(f"{hint}: {str(error).splitlines()[-1]}") from error
    options = ("--isolated", "--quiet", "--disable-pip-version-check", "--no-index", "--find-links", wheels)
    # Of a hundred packages some are used today: Python compiles those when it does.
    run(python, "-m", "pip", "install", *options, "--no-compile", "--require-hashes", "-r", lock)
    return python


def start(name: str) -> str:
    """Run the service on a port that is free, for this machine alone; return its address once it is healthy."""
    run("docker", "rm", "--force", name)
    run("docker", "run", "--detach", f"--name={name}", f"--publish=127.0.0.1::{PORT}", f"{name}:{SERVICE}")
    deadline = time.monotonic() + SECONDS_TO_START
    while run("docker", "inspect", "--format", "{{.State.Health.Status}}", name) != "healthy":
        if time.monotonic() > deadline:
            log = run("docker", "logs", name)
            raise KitError(f"the service is not healthy after {SECONDS_TO_START} s; its log: {log[-1000:]}")
        time.sleep(0.2)
    return run("docker", "port", name, str(PORT))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="kit.py", description="The workshop in one archive.")
    commands = parser.add_subparsers(required=True)
    packing = commands.add_parser("pack", help="make the archive")
    packing.set_defaults(act=pack)
    archive = TEMPLATE / "workshop/build/workshop-kit.zip"
    packing.add_argument("--output", type=Path, default=archive, metavar="FILE", help="the archive to write")
    packing.add_argument("--python", action="append", default=[], metavar="EXE", help="fetch wheels for it as well")
    using = commands.add_parser("use", help="use it, without a network")
    using.set_defaults(act=use)
    using.add_argument("archive", type=Path)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Pack or use; return the exit code."""
    try:
        if sys.version_info < OLDEST:
            raise KitError(f"Python {OLDEST[0]}.{OLDEST[1]} or newer is needed, this is {platform.python_version()}")
        options = parse(arguments)
        options.act(options)
    except KitError as error:
        print(f"kit: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
