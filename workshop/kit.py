"""The workshop in one archive, for rooms without internet.

    python -m workshop.kit pack        packs it (`make kit`): with a network, an engine, and the tooling installed
    python3 kit.py use ARCHIVE         uses it: needs Docker and Python, nothing else, and no network

Both need the same minor version of Python on the same kind of machine: that is what the wheels are for. `pack --python`
adds further versions. `use` is written for an old Python as well, so that it can say what it needs.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

OLDEST = (3, 11)
NAME = "workshop-kit"
PYTHON = "3.14"
PORT = 5000
SECONDS_TO_START = 60
FORMAT = 1
TEMPLATE = Path(__file__).absolute().parents[1]
SERVICE = "hello-service"

# Asked inside the container, because this process may not reach its port: without a network it has no loopback either.
PAGE = (
    "import http.client, os; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['PORT']), timeout=5);"
    " c.request('GET', '/'); print(c.getresponse().read().decode())"
)

README = """# The workshop, in one archive

Made for Python {pythons} on {system} {machine}, and a Docker Engine for {image_platform}. No network is needed:

```sh
tar -xf {archive} kit.py
python3 kit.py use {archive}
```

This unpacks everything into `{name}/`, checks each file by its SHA-256, loads the base images, makes the template's
virtual environment, bakes a service, builds it without a network, runs it, and says what to open.

| Folder | What it is |
|---|---|
| `handout/` | the handout |
| `template/` | the template with the workshop: ladder, exercises, `workshop/check` |
| `images/` | the base images: {images} |
| `wheels/` | Python packages for this machine: the template's tooling, and the service with its development tools |
| `wheelhouse/` | Python packages for the image |
"""


class KitError(Exception):
    """Something is missing or wrong; the message is one line that says what, and what to do."""


@contextmanager
def step(what: str) -> Iterator[None]:
    """Say what is done, then how long it took."""
    print(what, end=" … ", flush=True)
    began = time.monotonic()
    try:
        yield
    except BaseException:
        print("failed", flush=True)
        raise
    print(f"{time.monotonic() - began:.1f} s", flush=True)


def run(*command: str | Path, cwd: Path | None = None, text: str | None = None) -> str:
    """Return what a command prints; raise KitError with its last lines if it fails. No PIP_ variable reaches it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        input=text,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        last = "\n".join(done.stdout.strip().splitlines()[-15:])
        raise KitError(f"{shlex.quote(Path(str(command[0])).name)} {command[1]} failed: {last}")
    return done.stdout.strip()


def require_python() -> None:
    """Refuse a Python that the tooling cannot run on."""
    if sys.version_info < OLDEST:
        raise KitError(f"Python {OLDEST[0]}.{OLDEST[1]} or newer is needed, this is {platform.python_version()}")


def require_engine() -> str:
    """Return the platform of the engine, such as linux/amd64; refuse where none answers."""
    if not shutil.which("docker"):
        raise KitError("there is no docker command: install Docker, then try again")
    try:
        return run("docker", "version", "--format", "{{.Server.Os}}/{{.Server.Arch}}")
    except KitError as error:
        said = str(error).splitlines()[-1]
        raise KitError(f"the Docker Engine does not answer (is it running, and may you use it?): {said}") from error


def sha256(path: Path) -> str:
    """Return the sum of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for chunk in iter(lambda: file.read(1 << 20), b""):
            digest.update(chunk)
    return digest.hexdigest()


def layers_of(image: str) -> list[str]:
    """Return the digests of the layers of an image, uncompressed."""
    layers: list[str] = json.loads(run("docker", "image", "inspect", image))[0]["RootFS"]["Layers"]
    return layers


def exists(image: str) -> bool:
    """Tell whether the engine has an image."""
    done = subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=False)
    return done.returncode == 0


# ---- pack ----


def pack(options: argparse.Namespace) -> None:
    """Make the archive, and put kit.py beside it."""
    # Where the kit is used there is no such module, and nothing is packed.
    from tools.baking import copy_template  # noqa: PLC0415

    image_platform = require_engine()
    output: Path = options.output.absolute()
    bases = {f"python:{options.image_python}-slim-trixie": options.base or f"python:{options.image_python}-slim-trixie"}
    full = f"python:{options.image_python}-trixie"
    if exists(full) and not options.slim_only:
        bases[full] = full
    for base in bases.values():
        if not exists(base):
            raise KitError(f"the engine has no {base}: docker pull {base}")
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="kit-", dir=output.parent) as folder:
        kit = Path(folder)
        with step("Copying the template"):
            copy_template(kit / "template")
        shutil.copy2(kit / "template/workshop/kit.py", kit / "kit.py")
        with step("Adding the handout"):
            add_handout(options.handout or build_handout(), kit / "handout")
        with step("Fetching the packages of the image"):
            fetch_wheelhouse(kit, bases, options.image_python)
        pythons = [fetch_wheels(kit, python) for python in (sys.executable, *options.python)]
        with step(f"Saving {', '.join(bases)}"):
            images = save(bases, options.name, kit / "images/base.tar.gz")
        manifest = {
            "format": FORMAT,
            "name": options.name,
            "pythons": sorted(set(pythons)),
            "system": platform.system(),
            "machine": platform.machine(),
            "image_platform": image_platform,
            "image_python": options.image_python,
            "images": images,
        }
        readme = {**manifest, "pythons": " or ".join(manifest["pythons"]), "images": ", ".join(images)}
        (kit / "README.md").write_text(README.format(archive=output.name, **readme), encoding="utf-8")
        with step("Writing the archive"):
            write(kit, manifest, output)
    shutil.copy2(TEMPLATE / "workshop/kit.py", output.parent / "kit.py")
    print(f"{output}: {output.stat().st_size / 1e6:.0f} MB. Hand it out together with the kit.py beside it.")


def build_handout() -> Path:
    """Build the handout, unless that has been done; where it cannot be, its source in template/ is all there is."""
    built = TEMPLATE / "workshop/build"
    if not list(built.glob("handout.*")) and (TEMPLATE / "workshop/handout.py").exists():
        try:
            run(sys.executable, "-m", "workshop.handout", cwd=TEMPLATE)
        except KitError as error:
            print(f"it could not be built ({error}), so its source in template/ is all there is", end=" … ")
    return built


def add_handout(built: Path, destination: Path) -> None:
    """Add the handout, and the instructor's page."""
    destination.mkdir()
    for file in [*built.glob("handout.*"), *(TEMPLATE / "workshop").glob("instructor.md")]:
        shutil.copy2(file, destination / file.name)


def fetch_wheelhouse(kit: Path, bases: dict[str, str], image_python: str) -> None:
    """Let the service's own Dockerfile fetch what its lock names."""
    with tempfile.TemporaryDirectory(prefix="kit-") as folder:
        bake(Path(sys.executable), kit / "template", Path(folder), image_python)
        options = shlex.split(os.environ.get("DOCKER_BUILD_OPTIONS", ""))
        options += ["--target", "wheelhouse", "--output", str(kit / "wheelhouse"), *contexts(bases)]
        run("docker", "build", *options, Path(folder) / SERVICE)


def contexts(bases: dict[str, str]) -> list[str]:
    """Return the options that put images in the place of those that a Dockerfile names."""
    replaced = {usual: image for usual, image in bases.items() if usual != image}
    return [f"--build-context={usual}=docker-image://{image}" for usual, image in replaced.items()]


def fetch_wheels(kit: Path, python: str) -> str:
    """Fetch the wheels of both locks of development tools for a Python; return its version."""
    version = run(python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])")
    with step(f"Fetching the packages for Python {version}"):
        for lock in locks(kit / "template"):
            command = ("download", "--quiet", "--require-hashes", "--only-binary", ":all:", "--dest", kit / "wheels")
            # Not by run(): to reach an index, pip may need the variables of this machine.
            done = subprocess.run(
                [python, "-m", "pip", *map(str, command), "-r", str(lock)], capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise KitError(f"pip download failed for {lock.name}: {done.stderr.strip().splitlines()[-1]}")
    return version


def locks(template: Path) -> list[Path]:
    """Return the lock of the template's tooling, and that of the service's."""
    return [template / "requirements.txt", template / "{{cookiecutter.project_slug}}/requirements-dev.txt"]


def save(bases: dict[str, str], name: str, file: Path) -> dict[str, dict[str, object]]:
    """Save the images under names of the kit's own, so that loading them replaces nothing; return what they are."""
    images = {usual: f"{name}/{usual}" for usual in bases}
    added = [image for image in images.values() if not exists(image)]
    for usual, image in images.items():
        run("docker", "tag", bases[usual], image)
    try:
        file.parent.mkdir()
        command = ["docker", "save", *images.values()]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as saved, gzip.open(file, "wb", 6) as packed:
            if saved.stdout:
                shutil.copyfileobj(saved.stdout, packed, 1 << 20)
        if saved.returncode:
            raise KitError("docker save failed")
        return {usual: {"as": image, "layers": layers_of(image)} for usual, image in images.items()}
    finally:
        for image in added:
            run("docker", "image", "rm", image)


def write(kit: Path, manifest: dict[str, object], output: Path) -> None:
    """Write the archive, the manifest first: whoever opens the archive can judge it before he reads the rest."""
    files = sorted(path for path in kit.rglob("*") if path.is_file())
    manifest["files"] = {path.relative_to(kit).as_posix(): sha256(path) for path in files}
    (kit / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    first = [kit / name for name in ("manifest.json", "README.md", "kit.py")]
    with tarfile.open(output, "w", format=tarfile.PAX_FORMAT) as archive:
        for path in [*first, *(path for path in files if path not in first)]:
            archive.add(path, path.relative_to(kit).as_posix())


# ---- use ----


def use(options: argparse.Namespace) -> None:
    """Unpack the archive and bring the service up."""
    manifest = read_manifest(options.archive)
    require_fit(manifest)
    kit = (options.into or Path(manifest["name"])).absolute()
    if kit.exists() and any(kit.iterdir()):
        raise KitError(f"{kit} is there already: remove it, or name another folder with --into")
    name, images = manifest["name"], {usual: image["as"] for usual, image in manifest["images"].items()}
    with step("Unpacking and checking"):
        unpack(options.archive, manifest["files"], kit)
    with step("Loading the base images"):
        run("docker", "load", "--input", kit / "images/base.tar.gz")
        for usual, image in manifest["images"].items():
            if layers_of(image["as"]) != image["layers"]:
                raise KitError(f"what the engine has loaded is not the {usual} of this archive")
            if not exists(usual):
                run("docker", "tag", image["as"], usual)
    template, service = kit / "template", kit / SERVICE
    python = make_environment(template, locks(template)[0], kit / "wheels")
    with step("Baking a service"):
        bake(python, template, kit, manifest["image_python"])
    make_environment(service, service / "requirements-dev.txt", kit / "wheels")
    with step("Building its image without a network"):
        build = ("docker", "build", "--network", "none", "--tag", f"{name}/{SERVICE}", *contexts(images))
        run(*build, f"--build-context=wheelhouse={kit / 'wheelhouse'}", service)
    with step("Preparing base images that bring their packages along"):
        offline = {usual: prepare_offline(image, name, kit / "wheelhouse") for usual, image in images.items()}
    with step("Starting it"):
        port = start(name, options.port)
    told = run("docker", "exec", f"{name}-{SERVICE}", "python", "-I", "-S", "-c", PAGE)
    print(f"\nThe service answers {told}\nOpen http://localhost:{port}/ in a browser. To stop it:")
    print(f"  docker rm --force {name}-{SERVICE}")
    for page in sorted((kit / "handout").glob("handout.*")):
        print(f"The handout: {page}")
    print("For builds without a network, of exercises and rungs alike:")
    print(f"  export DOCKER_BUILD_OPTIONS={shlex.quote(' '.join(contexts(offline)))}")
    print("  docker build $DOCKER_BUILD_OPTIONS .")
    print(f"  cd {shlex.quote(str(template))} && workshop/check workshop/exercises/01-my-machine")


def read_manifest(path: Path) -> dict[str, Any]:
    """Return what the archive says of itself."""
    if not path.is_file():
        raise KitError(f"there is no archive {path}")
    try:
        with tarfile.open(path, "r:") as archive:
            first = archive.next()
            opened = archive.extractfile(first) if first and first.name == "manifest.json" else None
            if opened is None:
                raise KitError(f"{path} is no archive of this workshop, or it is damaged: copy it again")
            manifest: dict[str, Any] = json.loads(opened.read().decode())
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise KitError(f"{path} is no archive of this workshop, or it is damaged: copy it again ({error})") from error
    if manifest.get("format") != FORMAT:
        raise KitError(f"{path} was made by another version of kit.py: take the one from the archive")
    return manifest


def require_fit(manifest: dict[str, Any]) -> None:
    """Refuse an archive that was made for another Python, another kind of machine, or another engine."""
    version = ".".join(map(str, sys.version_info[:2]))
    here, there = (platform.system(), platform.machine()), (manifest["system"], manifest["machine"])
    if here != there:
        raise KitError(
            f"this archive is for {' '.join(there)}, and this is {' '.join(here)}: pack one on such a machine"
        )
    if version not in manifest["pythons"]:
        pythons = " or ".join(manifest["pythons"])
        raise KitError(
            f"this archive is for Python {pythons}, and this is {version}: try python{manifest['pythons'][-1]}"
        )
    engine = require_engine()
    if engine != manifest["image_platform"]:
        raise KitError(f"this archive is for an engine on {manifest['image_platform']}, and this one is on {engine}")


def unpack(path: Path, sums: dict[str, str], kit: Path) -> None:
    """Write the files that the manifest names, each checked by its sum; refuse what is missing, changed or added."""
    missing = dict(sums)
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                if member.name == "manifest.json":
                    continue
                inside = PurePosixPath(member.name)
                expected = missing.pop(member.name, None)
                opened = archive.extractfile(member) if member.isreg() else None
                if expected is None or opened is None or inside.is_absolute() or ".." in inside.parts:
                    raise KitError(f"{path} is damaged: {member.name!r} does not belong into it; copy it again")
                file = kit / inside
                file.parent.mkdir(parents=True, exist_ok=True)
                with file.open("wb") as written:
                    shutil.copyfileobj(opened, written, 1 << 20)
                file.chmod(0o755 if member.mode & 0o100 else 0o644)
                if sha256(file) != expected:
                    raise KitError(f"{path} is damaged: {member.name} is not what was packed; copy it again")
    except (tarfile.TarError, EOFError) as error:
        raise KitError(f"{path} is damaged: {error}; copy it again") from error
    if missing:
        raise KitError(f"{path} is damaged: {min(missing)} is missing; copy it again")


def make_environment(folder: Path, lock: Path, wheels: Path) -> Path:
    """Make a virtual environment in a folder, from wheels alone; return its Python."""
    environment = folder / ".venv"
    python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    with step(f"Making the virtual environment of {folder.name}"):
        try:
            run(sys.executable, "-m", "venv", environment)
        except KitError as error:
            hint = "this Python cannot make a virtual environment (on Debian: apt-get install python3-venv)"
            raise KitError(f"{hint}: {str(error).splitlines()[-1]}") from error
        options = ("--isolated", "--quiet", "--disable-pip-version-check", "--no-index", "--find-links", wheels)
        run(python, "-m", "pip", "install", *options, "--require-hashes", "-r", lock)
    return python


def bake(python: Path, template: Path, folder: Path, image_python: str) -> None:
    """Bake the default answers, whatever the defaults of this user are."""
    options = ("--no-input", "--default-config", "--output-dir", folder, f"python_version={image_python}")
    run(python, "-m", "cookiecutter", template, *options)


def prepare_offline(base: str, name: str, wheelhouse: Path) -> str:
    """Make a base image whose pip takes its packages from a folder it brings along; return its name."""
    image = f"{name}/offline-{base.rpartition('/')[2]}"
    dockerfile = (
        f"FROM {base}\nCOPY . /opt/wheelhouse\n"
        "RUN printf '[global]\\nno-index = true\\nfind-links = /opt/wheelhouse\\n' >/etc/pip.conf\n"
    )
    with tempfile.TemporaryDirectory(prefix="kit-") as folder:
        file = Path(folder) / "Dockerfile"
        file.write_text(dockerfile, encoding="utf-8")
        run("docker", "build", "--network", "none", "--tag", image, "--file", file, wheelhouse)
    return image


def start(name: str, first: int) -> int:
    """Run the service on the first port that is free, and wait until it is healthy; return the port."""
    container = f"{name}-{SERVICE}"
    for port in range(first, first + 20):
        run("docker", "rm", "--force", container)
        try:
            run("docker", "run", "--detach", "--name", container, f"--publish={port}:{PORT}", f"{name}/{SERVICE}")
        except KitError as error:
            if not re.search(r"port is already allocated|address already in use|ports are not available", str(error)):
                raise
            continue
        break
    else:
        raise KitError(f"no port from {first} to {first + 19} is free: name another with --port")
    deadline = time.monotonic() + SECONDS_TO_START
    while run("docker", "inspect", "--format", "{{.State.Health.Status}}", container) != "healthy":
        if time.monotonic() > deadline:
            log = run("docker", "logs", container)
            raise KitError(f"the service is not healthy after {SECONDS_TO_START} s; its log: {log[-1000:]}")
        time.sleep(0.2)
    return port


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="kit.py", description="The workshop in one archive.")
    commands = parser.add_subparsers(dest="command")
    packing = commands.add_parser("pack", help="make the archive")
    packing.set_defaults(act=pack)
    archive = TEMPLATE / f"workshop/build/{NAME}.tar"
    packing.add_argument("--output", type=Path, default=archive, metavar="FILE", help="the archive to write")
    packing.add_argument("--name", default=NAME, help="what folder, images and container are called where it is used")
    packing.add_argument("--python", action="append", default=[], metavar="EXE", help="fetch wheels for it as well")
    packing.add_argument("--image-python", default=PYTHON, metavar="X.Y", help="the version of Python in the images")
    packing.add_argument("--base", metavar="IMAGE", help="take this one for the slim base image")
    packing.add_argument("--handout", type=Path, metavar="FOLDER", help="where it was built (default: build it)")
    packing.add_argument("--slim-only", action="store_true", help="leave the full image of the first rung out")
    using = commands.add_parser("use", help="use it, without a network")
    using.set_defaults(act=use)
    using.add_argument("archive", type=Path)
    using.add_argument("--into", type=Path, metavar="FOLDER", help="unpack there (default: named after the kit)")
    using.add_argument("--port", type=int, default=PORT, help="the first port to try")
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.error("say pack or use")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Pack or use; return the exit code."""
    try:
        require_python()
        options = parse(arguments)
        options.act(options)
    except KitError as error:
        print(f"kit: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
