"""Is this laptop ready for the workshop? `workshop/check --laptop`, to be run the day before.

Needs Python and nothing else: no package, no virtual environment, and no Docker, as it says what is wrong with that
too. It is written for an old Python as well, so that it can say what it needs. Prints one line for each thing, with
what to do where something is wrong. Exit code: 0 if all is well, 1 if not.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import re
import shutil
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

OLDEST_PYTHON = (3, 11)
# HEALTHCHECK --start-interval came with 25.0. 26.1 is the oldest that the template was tried with.
OLDEST_ENGINE, TRIED_ENGINE = (25, 0), (26, 1)
OLDEST_COMPOSE = (2, 24)
PORTS = (5000, 8080)
FREE_BYTES = 5 * 10**9
MEMORY_BYTES = 2 * 10**9
CLOCK_SECONDS = 60
SECONDS_TO_RESPOND = 8
WORKSHOP = Path(__file__).absolute().parent
REGISTRY, INDEX = "https://registry-1.docker.io/v2/", "https://pypi.org/simple/pip/"

OK, NOTE, FIX = "ok", "note", "FIX"
GIGABYTE = 10**9


def wanted_images() -> list[str]:
    """Return the images that the workshop builds on, the one that each exercise needs first."""
    files = ("exercises/01-my-machine/Dockerfile", "ladder/01-naive/Dockerfile")
    found = [re.search(r"^FROM (\S+)", (WORKSHOP / file).read_text(encoding="utf-8"), re.MULTILINE) for file in files]
    return [named[1] for named in found if named]


# ---- what is seen ----


@dataclass
class Seen:
    """What there is to know of this machine."""

    system: str = ""
    release: str = ""
    machine: str = ""
    python: tuple[int, ...] = ()
    can_make_environments: bool = True
    git: str = ""
    folder: Path = WORKSHOP
    carriage_returns: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)
    docker: bool = True
    # What docker said where its engine does not respond.
    refusal: str = ""
    context: str = ""
    info: dict[str, Any] = field(default_factory=dict)
    buildx: str = ""
    compose: str = ""
    # Those of the wanted images that are missing, and the archive of the kit if there is one.
    missing: list[str] = field(default_factory=list)
    kit: str = ""
    # What is wrong with the way to the registry and to the package index; "" if nothing is.
    registry: str = ""
    index: str = ""
    # Who listens where the workshop wants to; "" if nobody does.
    ports: dict[int, str] = field(default_factory=dict)
    free_bytes: int | None = None
    now: datetime | None = None

    @property
    def wsl(self) -> bool:
        """Tell whether this is Linux inside of Windows."""
        return "microsoft" in self.release.lower()

    @property
    def build_options(self) -> str:
        """Return the options of builds, by which the kit names its images."""
        return self.variables.get("DOCKER_BUILD_OPTIONS", "")

    @property
    def engine(self) -> str:
        """Return who made the engine run here, by what `docker info` and the name of the context give away."""
        told = (
            f"{self.info.get('OperatingSystem', '')} {self.info.get('Name', '')} {self.context} {self.refusal}".lower()
        )
        for name, sign in (
            ("OrbStack", "orbstack"),
            ("Colima", "colima"),
            ("Rancher Desktop", "rancher"),
            ("Podman", "podman"),
            ("Docker Desktop", "docker desktop|docker-desktop|desktop-linux|dockerdesktop|docker_engine"),
        ):
            if re.search(sign, told):
                return name
        return "Docker Desktop" if self.system in {"Darwin", "Windows"} else "Docker Engine"


def look() -> Seen:
    """Return what there is to know, within a few seconds."""
    seen = Seen(
        system=platform.system(),
        release=platform.release(),
        machine=platform.machine(),
        python=sys.version_info[:3],
        can_make_environments=bool(importlib.util.find_spec("ensurepip")),
        git=said("git", "--version")[1],
        variables=dict(os.environ),
        carriage_returns=b"\r\n" in (WORKSHOP / "check").read_bytes(),
        docker=bool(shutil.which("docker")),
    )
    with ThreadPoolExecutor() as pool:
        registry, index = pool.submit(problem_of, REGISTRY), pool.submit(problem_of, INDEX)
        if seen.docker:
            print("Asking Docker …", flush=True)
            look_at_the_engine(seen)
        print("Trying ports and network …", flush=True)
        seen.ports = {port: listener(port) for port in PORTS}
        seen.registry, seen.index = registry.result(), index.result()
    kits = [path for folder in (WORKSHOP / "build", Path.cwd()) for path in folder.glob("*kit*.zip")]
    seen.kit = str(kits[0]) if kits else ""
    return seen


def look_at_the_engine(seen: Seen) -> None:
    """Add what the engine says."""
    seen.context = said("docker", "context", "show")[1]
    code, told = said("docker", "info", "--format", "json")
    seen.now = datetime.now(timezone.utc)  # noqa: UP017 - an older Python must get as far as its own line
    # Warnings may stand before it.
    lines = [line for line in told.splitlines() if line.startswith("{")]
    found: dict[str, Any] = json.loads(lines[0]) if lines else {}
    if code or not found.get("ServerVersion"):
        # A new client prints JSON all the same, and why in it; an old one, or what stands in for it, prints the reason.
        seen.refusal = "; ".join(found.get("ServerErrors") or [told])
        return
    seen.info = found
    seen.buildx, seen.compose = (
        "" if code else told
        for code, told in (said("docker", "buildx", "version"), said("docker", "compose", "version", "--short"))
    )
    wanted = wanted_images()
    standing_in = dict(re.findall(r"--build-context[= ](\S+?)=docker-image://(\S+)", seen.build_options))
    seen.missing = [image for image in wanted if said("docker", "image", "inspect", standing_in.get(image, image))[0]]
    root = Path(found.get("DockerRootDir") or "/nowhere")
    if seen.engine == "Docker Engine" and not seen.wsl and root.exists():
        seen.free_bytes = shutil.disk_usage(root).free
    elif wanted[0] not in seen.missing:
        ask = "import shutil; print(shutil.disk_usage('/').free)"
        image = standing_in.get(wanted[0], wanted[0])
        free = re.search(
            r"^\d+$", said("docker", "run", "--rm", "--network=none", image, "python3", "-c", ask)[1], re.M
        )
        seen.free_bytes = int(free[0]) if free else None


def said(*command: str) -> tuple[int, str]:
    """Return the exit code of a command and what it printed; 1 and the reason if it cannot be run or does not end."""
    try:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            timeout=SECONDS_TO_RESPOND,
            check=False,
        )
    except FileNotFoundError:
        return 1, ""
    except (OSError, subprocess.TimeoutExpired) as error:
        return 1, str(error)
    return done.returncode, done.stdout.decode("utf-8", "replace").strip()


def problem_of(address: str) -> str:
    """Return what is wrong with the way to an address; "" if it responds, with whatever status."""
    try:
        urllib.request.urlopen(address, timeout=SECONDS_TO_RESPOND).close()  # noqa: S310 - two addresses of this file
    except urllib.error.HTTPError:
        return ""
    except urllib.error.URLError as error:
        return "certificate" if isinstance(error.reason, ssl.SSLCertVerificationError) else str(error.reason)
    except OSError as error:
        return str(error) or type(error).__name__
    return ""


def listener(port: int) -> str:
    """Return who listens on a port: the name that it gives as an HTTP server, or a word; "" if nobody does."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.settimeout(2)
            connection.sendall(b"HEAD / HTTP/1.0\r\n\r\n")
            named = re.search(rb"(?im)^server: *([^\r\n]+)", connection.recv(2000))
            return named[1].decode("latin-1").strip() if named else "some program"
    except ConnectionRefusedError:
        pass
    except OSError:
        return "some program"
    # It may listen on another address than loopback.
    with socket.socket() as mine:
        if os.name != "nt":
            mine.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            mine.bind(("", port))
        except OSError:
            return "some program"
    return ""


# ---- what it means ----


@dataclass(frozen=True)
class Line:
    """One line of the report."""

    subject: str
    verdict: str
    text: str
    cure: str = ""

    def __str__(self) -> str:
        """Return it as it is printed."""
        return f"{self.verdict:5}{self.subject}: {self.text}{f'. {self.cure}' if self.cure else ''}"


def version(text: str) -> tuple[int, ...]:
    """Return the first numbers of a version."""
    found = re.search(r"\d+(?:\.\d+)+", text)
    return tuple(map(int, found[0].split("."))) if found else ()


def dotted(numbers: tuple[int, ...]) -> str:
    """Return a version as it is written."""
    return ".".join(map(str, numbers))


INSTALL = {
    "Darwin": "Install Docker Desktop, OrbStack or Colima, and start it",
    "Windows": "Install Docker Desktop, and start it",
}
START = {
    "Docker Desktop": "Start Docker Desktop and wait until it says that the engine runs",
    "Colima": "colima start",
    "OrbStack": "orb start, or open OrbStack",
    "Rancher Desktop": "Start Rancher Desktop, with dockerd as its container engine",
    "Podman": "podman machine start; the workshop needs Docker's own engine, so better use that",
    "Docker Engine": "sudo systemctl start docker",
}
RESTART = {
    "Docker Desktop": "Restart Docker Desktop",
    "Colima": "colima restart",
    "OrbStack": "orb restart docker",
    "Rancher Desktop": "Restart Rancher Desktop",
    "Podman": "podman machine stop && podman machine start",
    "Docker Engine": "Set the clock: sudo timedatectl set-ntp true",
}
MORE_MEMORY = {
    "Docker Desktop": "Docker Desktop, Settings, Resources: give it 4 GB",
    "Colima": "colima stop && colima start --memory 4",
    "OrbStack": "orb config set memory_mib 4096 && orb stop",
    "Rancher Desktop": "Rancher Desktop, Preferences, Virtual Machine: give it 4 GB",
    "Podman": "podman machine set --memory 4096",
    "Docker Engine": "Close what you do not need, or bring another machine",
}
MORE_DISK = "Remove what you no longer need: docker system df shows it, docker system prune removes it"
WSL_MEMORY = "Write memory=4GB below [wsl2] into .wslconfig in your Windows home, then wsl --shutdown"
USE_KIT = "Bring the kit of your instructor (python3 kit.py use workshop-kit.zip), or ask for it"


def python(seen: Seen) -> Line:
    """Judge the Python that runs this."""
    told, oldest = dotted(seen.python), dotted(OLDEST_PYTHON)
    if seen.python < OLDEST_PYTHON:
        return Line(
            "Python", FIX, f"{told} is too old", f"Install {oldest} or newer, then: make setup PYTHON=python3.14"
        )
    if not seen.can_make_environments:
        return Line("Python", FIX, f"{told} cannot make virtual environments", "sudo apt-get install python3-venv")
    return Line("Python", OK, told)


def git(seen: Seen) -> Line:
    """Judge Git, and what it did to the ends of lines."""
    if not version(seen.git):
        cures = {"Darwin": "xcode-select --install", "Windows": "winget install Git.Git"}
        return Line("Git", FIX, "there is none", cures.get(seen.system, "sudo apt-get install git"))
    if seen.carriage_returns:
        cure = "git config --global core.autocrlf input, and clone again"
        return Line(
            "Git", FIX, "it has written Windows line ends, and scripts with these do not start in a container", cure
        )
    if seen.wsl and str(seen.folder).startswith("/mnt/"):
        return Line(
            "Git", NOTE, f"{seen.folder} is a folder of Windows, which is slow from here", "Clone below ~ instead"
        )
    return Line("Git", OK, dotted(version(seen.git)))


def wsl(seen: Seen) -> Line | None:
    """Judge which WSL this is: version 1 has no Linux kernel, and with it no Docker."""
    if not seen.wsl:
        return None
    # Version 1 calls itself 4.4.0-19041-Microsoft, version 2 5.15.90.1-microsoft-standard-WSL2.
    if "WSL2" in seen.release or "microsoft-standard" in seen.release:
        return Line("WSL", OK, "version 2")
    return Line(
        "WSL", FIX, "version 1 cannot run containers", "In PowerShell: wsl --set-version Ubuntu 2 (wsl -l names yours)"
    )


def engine(seen: Seen) -> Line:
    """Judge whether an engine responds that is new enough, and runs containers of Linux."""
    integrate = "Docker Desktop, Settings, Resources, WSL integration: switch it on for this distribution"
    if not seen.docker or "could not be found in this WSL" in seen.refusal:
        cure = (
            integrate if seen.wsl else INSTALL.get(seen.system, "Install Docker Engine: docs.docker.com/engine/install")
        )
        return Line("Docker", FIX, "there is no docker command", cure)
    if not seen.info:
        return Line("Docker", FIX, *refused(seen))
    return usable(seen)


def usable(seen: Seen) -> Line:
    """Judge whether the engine that responds can do what the workshop needs."""
    told, its = f"{seen.engine} {seen.info['ServerVersion']}", version(seen.info["ServerVersion"])
    if seen.info.get("OSType") != "linux":
        cure = "Choose Switch to Linux containers in the menu of Docker Desktop"
        return Line("Docker", FIX, f"{told} runs containers of {seen.info.get('OSType')}", cure)
    if seen.engine == "Podman":
        return Line("Docker", FIX, f"{told} does not build all that the workshop does", "Use Docker's own engine")
    if its < OLDEST_ENGINE:
        cure = f"Update it to {dotted(TRIED_ENGINE)} or newer: health checks need --start-interval"
        return Line("Docker", FIX, f"{told} is too old", cure)
    if its < TRIED_ENGINE:
        return Line("Docker", NOTE, told, f"{dotted(TRIED_ENGINE)} is the oldest that was tried: update it")
    return Line("Docker", OK, told)


def refused(seen: Seen) -> tuple[str, str]:
    """Return why the engine does not respond, and what to do."""
    if "permission denied" in seen.refusal.lower():
        return "you may not use the engine", "sudo usermod -aG docker $USER, then log out and in again"
    if "DOCKER_HOST" in seen.variables:
        return (
            f"nobody responds at DOCKER_HOST={seen.variables['DOCKER_HOST']}",
            "unset DOCKER_HOST, or start the engine there",
        )
    start = START[seen.engine]
    if seen.wsl and seen.engine == "Docker Engine":
        start = "Start Docker Desktop in Windows, or here: sudo service docker start"
    return "the engine does not respond", start


def tools(seen: Seen) -> Line | None:
    """Judge the two plugins of docker."""
    if not seen.info:
        return None
    lacking = [name for name, told in (("buildx", seen.buildx), ("compose", seen.compose)) if not version(told)]
    if lacking:
        packages = " ".join(f"docker-{name}" for name in lacking)
        cure = f"brew install {packages}" if seen.system == "Darwin" else f"Install the packages {packages}-plugin"
        return Line("Plugins", FIX, f"docker has no {' and no '.join(lacking)}", cure)
    told = f"buildx {dotted(version(seen.buildx))}, compose {dotted(version(seen.compose))}"
    if version(seen.compose) < OLDEST_COMPOSE:
        return Line("Plugins", FIX, f"{told}: compose is too old", f"Update it to {dotted(OLDEST_COMPOSE)} or newer")
    return Line("Plugins", OK, told)


def memory(seen: Seen) -> Line | None:
    """Judge the memory that the engine has, which is seldom that of the machine."""
    if not seen.info:
        return None
    told = f"{seen.info.get('MemTotal', 0) / GIGABYTE:.1f} GB, {seen.info.get('NCPU', '?')} processors"
    if seen.info.get("MemTotal", 0) < MEMORY_BYTES:
        cure = WSL_MEMORY if seen.wsl or seen.system == "Windows" else MORE_MEMORY[seen.engine]
        return Line("Memory of the engine", FIX, f"{told} is not enough", cure)
    return Line("Memory of the engine", OK, told)


def disk(seen: Seen) -> Line | None:
    """Judge the disk that the engine has."""
    if not seen.info:
        return None
    if seen.free_bytes is None:
        return Line("Disk of the engine", NOTE, "not known until a base image is here", "docker system df")
    told = f"{seen.free_bytes / GIGABYTE:.0f} GB free"
    if seen.free_bytes < FREE_BYTES:
        return Line("Disk of the engine", FIX, f"{told}, {FREE_BYTES / GIGABYTE:.0f} are needed", MORE_DISK)
    return Line("Disk of the engine", OK, told)


NAMES = {"amd64": "x86_64", "arm64": "aarch64"}


def architecture(seen: Seen) -> Line | None:
    """Judge whether containers run on the processor itself."""
    if not seen.info:
        return None
    mine, its = (NAMES.get(name.lower(), name) for name in (seen.machine, seen.info.get("Architecture", "")))
    chosen = seen.variables.get("DOCKER_DEFAULT_PLATFORM", "").split("/")[-1]
    if chosen and NAMES.get(chosen, chosen) != its:
        return Line("Architecture", FIX, f"builds are for {chosen} on {its}: slow", "unset DOCKER_DEFAULT_PLATFORM")
    if mine != its:
        cures = {"x86_64": f"Install a Python for {its}: this one is translated, and so will be what it starts"}
        cure = cures.get(mine, "Choose an engine for your processor; with Colima: colima delete && colima start")
        return Line("Architecture", FIX, f"this Python says {mine}, the engine {its}", cure)
    return Line("Architecture", OK, its)


def port(seen: Seen, number: int) -> Line:
    """Judge a port that the workshop publishes."""
    who, subject = seen.ports.get(number, ""), f"Port {number}"
    if not who:
        return Line(subject, OK, "free")
    if seen.system == "Darwin" and ("AirTunes" in who or number == 5000):
        cure = "System Settings, General, AirDrop & Handoff: switch AirPlay Receiver off"
        return Line(subject, FIX, f"taken by {who}, on a Mac mostly the AirPlay Receiver", cure)
    show = {"Windows": f"netstat -ano | findstr {number}", "Darwin": f"lsof -i tcp:{number}"}
    cure = f"Stop it; docker ps or {show.get(seen.system, f'sudo ss -ltnp sport = :{number}')} names it"
    return Line(subject, FIX, f"taken by {who}", cure)


def network(seen: Seen) -> Line:
    """Judge the way to packages and images, and what stands in it."""
    proxies = sorted(name for name in seen.variables if name.lower() in {"http_proxy", "https_proxy"})
    behind = f", through {', '.join(proxies)}" if proxies else ""
    if "certificate" in {seen.registry, seen.index}:
        cure = f"A proxy signs what it has read, or a Mac lacks Install Certificates.command. {USE_KIT}"
        return Line("Network", NOTE if seen.kit else FIX, f"no trusted certificate of a public site{behind}", cure)
    direct = seen.variables.get("NO_PROXY", seen.variables.get("no_proxy", ""))
    if proxies and not {"localhost", "127.0.0.1"} <= set(re.split(r"[, ]+", direct)):
        cure = "export NO_PROXY=localhost,127.0.0.1 and no_proxy likewise, or curl asks the proxy for your service"
        return Line("Network", FIX, f"{', '.join(proxies)} is set, and nothing says what is local", cure)
    if seen.index or seen.registry:
        return without(seen)
    further = sorted({"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT"} & set(seen.variables))
    if further:
        cure = f"A build does not know it: see docs/private-networks.md. {USE_KIT}"
        return Line("Network", NOTE, f"{', '.join(further)} names a certificate of your network{behind}", cure)
    return Line("Network", OK, f"index and registry respond{behind}")


def without(seen: Seen) -> Line:
    """Judge whether what is here is enough without the index or the registry."""
    ways = {"the package index": seen.index, "the registry": seen.registry}
    lacking = {name: problem for name, problem in ways.items() if problem}
    words = f"{' and '.join(lacking)} cannot be reached ({next(iter(lacking.values()))})"
    if seen.kit or (not seen.missing and (not seen.index or seen.build_options)):
        return Line("Network", NOTE, words, "What is here is enough for the workshop")
    return Line("Network", FIX, words, USE_KIT)


def images(seen: Seen) -> Line | None:
    """Judge whether the base images are here already: twenty people who pull them at once take all morning."""
    if not seen.info:
        return None
    wanted = wanted_images()
    if wanted[0] in seen.missing:
        pull = " && ".join(f"docker pull {image}" for image in seen.missing)
        if seen.kit:
            return Line("Base images", NOTE, "not here, but in the kit", f"python3 kit.py use {seen.kit}")
        return Line("Base images", FIX, f"{', '.join(seen.missing)} not here", USE_KIT if seen.registry else pull)
    if seen.missing:
        cure = f"docker pull {seen.missing[0]} (1 GB), or look on: only the first rung of the ladder needs it"
        return Line("Base images", NOTE, f"{wanted[0]} is here, {seen.missing[0]} is not", cure)
    return Line("Base images", OK, ", ".join(wanted))


def clock(seen: Seen) -> Line | None:
    """Judge the clock of the engine: where it is a virtual machine it may have slept longer than the laptop."""
    if not seen.info or not seen.now:
        return None
    try:
        apart = (datetime.fromisoformat(str(seen.info["SystemTime"])) - seen.now).total_seconds()
    except (KeyError, ValueError):
        return None
    if abs(apart) > CLOCK_SECONDS:
        cure = f"{RESTART[seen.engine]}: certificates and logs rely on it"
        return Line("Clock", FIX, f"the engine's is {apart:+.0f} s off", cure)
    return Line("Clock", OK, "that of the engine agrees")


LINES: list[Callable[[Seen], Line | None]] = [
    *(python, git, wsl, engine, tools, memory, disk, architecture),
    *(lambda seen, number=number: port(seen, number) for number in PORTS),
    *(network, images, clock),
]


def report(seen: Seen) -> list[Line]:
    """Return the lines, each about one thing."""
    return [line for judge in LINES for line in [judge(seen)] if line]


def main() -> int:
    """Look, and report; return the exit code."""
    if sys.version_info < OLDEST_PYTHON:
        print(python(Seen(python=sys.version_info[:3])))
        return 1
    print("This takes at most half a minute.", flush=True)
    lines = report(look())
    print(*lines, sep="\n")
    wrong = sum(line.verdict == FIX for line in lines)
    print(f"\n{wrong} things to fix, then run this again." if wrong else "\nReady: see you tomorrow.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
