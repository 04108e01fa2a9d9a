"""`workshop/check --laptop`: each line, good and bad, on the systems that people bring.

No such machine is here but Linux. What Docker says on the others is as people have reported it in public; the address
stands beside it.
"""

import ast
import http.server
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import urllib.error
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TEMPLATE, free_port
from workshop import laptop
from workshop.laptop import FIX, NOTE, OK, Line, Seen, report

WORKSHOP = TEMPLATE / "workshop"
NOW = datetime(2026, 11, 26, 17, 0, 0, tzinfo=UTC)
SLIM, FULL = laptop.wanted_images()


def info(**changes: Any) -> dict[str, Any]:
    """Return what `docker info --format json` says on a good Linux machine, as far as it is read; and the changes."""
    good = {
        "ServerVersion": "28.5.1",
        "OperatingSystem": "Ubuntu 24.04.3 LTS",
        "OSType": "linux",
        "Architecture": "x86_64",
        "Name": "laptop",
        "NCPU": 8,
        "MemTotal": 16 * 10**9,
        "SystemTime": NOW.isoformat(),
        "DockerRootDir": "/var/lib/docker",
    }
    return {**good, **changes}


LINUX = Seen(
    system="Linux",
    release="6.14.0-35-generic",
    machine="x86_64",
    python=(3, 14, 0),
    git="git version 2.51.0",
    folder=Path("/home/ann/template/workshop"),
    context="default",
    info=info(),
    buildx="github.com/docker/buildx v0.29.1 a32761a",
    compose="2.40.2",
    free_bytes=80 * 10**9,
    now=NOW,
)
# The kernel: github.com/MicrosoftDocs/WSL/issues/1584; the engine: github.com/docker/for-win/issues/13939
WSL = replace(
    LINUX,
    release="5.15.167.4-microsoft-standard-WSL2",
    info=info(OperatingSystem="Docker Desktop", Name="docker-desktop"),
)
MAC = replace(LINUX, system="Darwin", release="25.1.0", machine="arm64", folder=Path("/Users/ann/template/workshop"))
DESKTOP = replace(
    MAC,
    context="desktop-linux",
    info=info(OperatingSystem="Docker Desktop", Name="docker-desktop", Architecture="aarch64"),
)
# The context begins with colima: github.com/abiosoft/colima/issues/84
COLIMA = replace(MAC, context="colima", info=info(Name="colima", Architecture="aarch64"))
# Name and system: `docker info` as many repositories record it; the context: github.com/docker/compose/issues/11242
ORBSTACK = replace(
    MAC, context="orbstack", info=info(OperatingSystem="OrbStack", Name="orbstack", Architecture="aarch64")
)
WINDOWS = replace(
    LINUX,
    system="Windows",
    release="11",
    machine="AMD64",
    folder=Path("C:/Users/ann/template/workshop"),
    context="desktop-linux",
    info=info(OperatingSystem="Docker Desktop", Name="docker-desktop"),
)
MACHINES = {
    "Linux": (LINUX, "Docker Engine"),
    "WSL": (WSL, "Docker Desktop"),
    "Docker Desktop on a Mac": (DESKTOP, "Docker Desktop"),
    "Colima": (COLIMA, "Colima"),
    "OrbStack": (ORBSTACK, "OrbStack"),
    "Windows": (WINDOWS, "Docker Desktop"),
}


def line(seen: Seen, subject: str) -> Line:
    """Return the line about something."""
    (found,) = (line for line in report(seen) if line.subject == subject)
    return found


@pytest.mark.parametrize(("seen", "engine"), MACHINES.values(), ids=MACHINES)
def test_on_a_good_machine_each_line_is_good(seen: Seen, engine: str) -> None:
    lines = report(seen)

    assert {line.verdict for line in lines} == {OK}, [str(line) for line in lines]
    subjects = [line.subject for line in lines]
    assert subjects == [
        *("Python", "Git"),
        *(["WSL"] if seen is WSL else []),
        *("Docker", "Plugins", "Memory of the engine", "Disk of the engine", "Architecture", "Port 5000", "Port 8080"),
        *("Network", "Base images", "Clock"),
    ]
    assert line(seen, "Docker").text == f"{engine} 28.5.1"


def without_engine(seen: Seen, refusal: str, **changes: Any) -> Seen:
    """Return a machine whose engine does not respond, and what docker says then."""
    return replace(seen, info={}, refusal=refusal, **changes)


NOBODY = "Cannot connect to the Docker daemon at unix://{}. Is the docker daemon running?"
BAD = {
    # ---- Python, Git, WSL ----
    "an old Python": (replace(LINUX, python=(3, 9, 6)), "Python", "3.9.6 is too old", "Install 3.11 or newer"),
    "no ensurepip": (
        replace(LINUX, can_make_environments=False),
        "Python",
        "cannot make virtual environments",
        "python3-venv",
    ),
    "no Git on Linux": (replace(LINUX, git=""), "Git", "there is none", "apt-get install git"),
    # What a Mac says whose developer tools are missing has no version in it.
    "no Git on a Mac": (
        replace(DESKTOP, git="xcode-select: note: No developer tools were found"),
        "Git",
        "there is none",
        "xcode-select --install",
    ),
    "line ends of Windows": (replace(WSL, carriage_returns=True), "Git", "Windows line ends", "core.autocrlf input"),
    # The kernel of version 1 has a capital letter: github.com/paulirish/git-open/pull/158
    "WSL 1": (replace(WSL, release="4.4.0-19041-Microsoft"), "WSL", "version 1", "wsl --set-version"),
    # ---- engine ----
    "no docker on Linux": (
        replace(LINUX, docker=False, info={}),
        "Docker",
        "no docker command",
        "Install Docker Engine",
    ),
    "no docker on a Mac": (
        replace(MAC, docker=False, info={}),
        "Docker",
        "no docker command",
        "Docker Desktop, OrbStack or Colima",
    ),
    # github.com/microsoft/WSL/issues/9949
    "no integration with WSL 2": (
        without_engine(
            WSL,
            "The command 'docker' could not be found in this WSL 2 distro.\n"
            "We recommend to activate the WSL integration in Docker Desktop settings.",
        ),
        "Docker",
        "no docker command",
        "WSL integration",
    ),
    "stopped on Linux": (
        without_engine(LINUX, NOBODY.format("/var/run/docker.sock")),
        "Docker",
        "does not respond",
        "systemctl start docker",
    ),
    "stopped in WSL": (
        without_engine(WSL, NOBODY.format("/var/run/docker.sock")),
        "Docker",
        "does not respond",
        "Start Docker Desktop in Windows",
    ),
    # github.com/tomsik68/docker-xampp/issues/63
    "not in the group docker": (
        without_engine(
            LINUX,
            "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: "
            "dial unix /var/run/docker.sock: connect: permission denied",
        ),
        "Docker",
        "you may not use the engine",
        "usermod -aG docker",
    ),
    "Docker Desktop stopped on a Mac": (
        without_engine(DESKTOP, NOBODY.format("/Users/ann/.docker/run/docker.sock")),
        "Docker",
        "does not respond",
        "Start Docker Desktop",
    ),
    # github.com/abiosoft/colima/issues/94
    "Colima stopped": (
        without_engine(COLIMA, NOBODY.format("/Users/ann/.colima/default/docker.sock"), context="default"),
        "Docker",
        "does not respond",
        "colima start",
    ),
    # github.com/docker/compose/issues/11242
    "OrbStack stopped": (
        without_engine(
            ORBSTACK,
            'error during connect: Get "http://%2FUsers%2Fann%2F.orbstack%2Frun%2Fdocker.sock/v1.24/info": EOF',
        ),
        "Docker",
        "does not respond",
        "orb start",
    ),
    # github.com/docker/for-win/issues/14975
    "Docker Desktop stopped in Windows": (
        without_engine(
            WINDOWS,
            'error during connect: Get "http://%2F%2F.%2Fpipe%2FdockerDesktopLinuxEngine/v1.51/version": open '
            "//./pipe/dockerDesktopLinuxEngine: The system cannot find the file specified.",
            context="",
        ),
        "Docker",
        "does not respond",
        "Start Docker Desktop",
    ),
    "another host": (
        without_engine(LINUX, "dial tcp 10.0.0.7:2375: i/o timeout", variables={"DOCKER_HOST": "tcp://10.0.0.7:2375"}),
        "Docker",
        "nobody responds at DOCKER_HOST=tcp://10.0.0.7:2375",
        "unset DOCKER_HOST",
    ),
    # github.com/podman-container-tools/podman/issues/22439
    "Podman": (
        without_engine(LINUX, "Cannot connect to Podman. Please verify your connection to the Linux system"),
        "Docker",
        "does not respond",
        "Docker's own engine",
    ),
    # unknown flag: start-interval: github.com/docker/cli/issues/4486
    "an old engine": (replace(LINUX, info=info(ServerVersion="24.0.9")), "Docker", "24.0.9 is too old", "26.1"),
    "containers of Windows": (
        replace(WINDOWS, info={**WINDOWS.info, "OSType": "windows"}),
        "Docker",
        "runs containers of windows",
        "Switch to Linux containers",
    ),
    "no buildx": (replace(COLIMA, buildx=""), "Plugins", "docker has no buildx", "brew install docker-buildx"),
    "neither plugin": (
        replace(LINUX, buildx="", compose=""),
        "Plugins",
        "no buildx and no compose",
        "docker-buildx docker-compose-plugin",
    ),
    "an old compose": (replace(LINUX, compose="2.20.0"), "Plugins", "compose is too old", "2.24"),
    # ---- what the engine has ----
    "little memory on Linux": (
        replace(LINUX, info=info(MemTotal=10**9)),
        "Memory of the engine",
        "1.0 GB",
        "bring another machine",
    ),
    "little memory in WSL": (
        replace(WSL, info={**WSL.info, "MemTotal": 10**9}),
        "Memory of the engine",
        "not enough",
        ".wslconfig",
    ),
    "little memory with Colima": (
        replace(COLIMA, info={**COLIMA.info, "MemTotal": 10**9}),
        "Memory of the engine",
        "not enough",
        "colima start --memory 4",
    ),
    "little memory with OrbStack": (
        replace(ORBSTACK, info={**ORBSTACK.info, "MemTotal": 10**9}),
        "Memory of the engine",
        "not enough",
        "orb config set memory_mib",
    ),
    "little memory with Docker Desktop": (
        replace(DESKTOP, info={**DESKTOP.info, "MemTotal": 10**9}),
        "Memory of the engine",
        "not enough",
        "Settings, Resources",
    ),
    "little disk": (replace(LINUX, free_bytes=2 * 10**9), "Disk of the engine", "2 GB free", "docker system prune"),
    "a Python for another processor": (
        replace(DESKTOP, machine="x86_64"),
        "Architecture",
        "this Python says x86_64, the engine aarch64",
        "Install a Python for aarch64",
    ),
    # colima start --arch x86_64: github.com/navapbc/template-application-flask/pull/158
    "an engine for another processor": (
        replace(COLIMA, info={**COLIMA.info, "Architecture": "x86_64"}),
        "Architecture",
        "the engine x86_64",
        "colima delete",
    ),
    "another platform chosen": (
        replace(DESKTOP, variables={"DOCKER_DEFAULT_PLATFORM": "linux/amd64"}),
        "Architecture",
        "amd64 on aarch64: slow",
        "unset DOCKER_DEFAULT_PLATFORM",
    ),
    # After sleep: github.com/docker/for-mac/issues/17
    "a clock that slept": (
        replace(DESKTOP, info={**DESKTOP.info, "SystemTime": (NOW - timedelta(minutes=36)).isoformat()}),
        "Clock",
        "-2160 s off",
        "Restart Docker Desktop",
    ),
    # ---- ports ----
    # github.com/remy/nodemon/issues/1849
    "AirPlay": (
        replace(DESKTOP, ports={5000: "AirTunes/870.14.1"}),
        "Port 5000",
        "taken by AirTunes/870.14.1",
        "switch AirPlay Receiver off",
    ),
    "a port that is taken on Linux": (
        replace(LINUX, ports={8080: "Jetty(12.0.1)"}),
        "Port 8080",
        "taken by Jetty",
        "sudo ss -ltnp sport = :8080",
    ),
    "a port that is taken in Windows": (
        replace(WINDOWS, ports={5000: "some program"}),
        "Port 5000",
        "taken",
        "netstat",
    ),
    # ---- network ----
    # github.com/docker/for-win/issues/8529
    "a proxy that signs": (replace(LINUX, index="certificate"), "Network", "no trusted certificate", "A proxy signs"),
    "a proxy for the own service too": (
        replace(LINUX, variables={"HTTPS_PROXY": "http://proxy:3128"}),
        "Network",
        "HTTPS_PROXY is set",
        "export NO_PROXY=localhost,127.0.0.1",
    ),
    "no network": (
        replace(LINUX, index="timed out", registry="timed out", missing=[SLIM, FULL]),
        "Network",
        "the package index and the registry cannot be reached (timed out)",
        "Bring the kit",
    ),
    "no index": (replace(LINUX, index="timed out"), "Network", "the package index cannot be reached", "Bring the kit"),
    "no images": (
        replace(LINUX, missing=[SLIM, FULL]),
        "Base images",
        "not here",
        f"docker pull {SLIM} && docker pull",
    ),
    "no images and no registry": (
        replace(LINUX, missing=[SLIM], registry="timed out"),
        "Base images",
        "not here",
        "Bring the kit",
    ),
}


@pytest.mark.parametrize(("seen", "subject", "text", "cure"), BAD.values(), ids=BAD)
def test_what_is_wrong_is_one_line_with_its_cure(seen: Seen, subject: str, text: str, cure: str) -> None:
    found = line(seen, subject)

    assert found.verdict == FIX, str(found)
    assert text in found.text, str(found)
    assert cure in found.cure, str(found)
    assert "\n" not in str(found)


NOTES = {
    "a folder of Windows": (replace(WSL, folder=Path("/mnt/c/template/workshop")), "Git", "Clone below ~"),
    "an engine that was not tried": (
        replace(LINUX, info=info(ServerVersion="25.0.3")),
        "Docker",
        "the oldest that was tried",
    ),
    "a disk that is not known": (replace(COLIMA, free_bytes=None), "Disk of the engine", "docker system df"),
    "the kit is at hand": (
        replace(LINUX, index="timed out", registry="timed out", missing=[SLIM, FULL], kit="workshop-kit.zip"),
        "Network",
        "enough for the workshop",
    ),
    "the images are in the kit": (replace(LINUX, missing=[SLIM], kit="workshop-kit.zip"), "Base images", "kit.py use"),
    "only the large image is missing": (replace(LINUX, missing=[FULL]), "Base images", "only the first rung"),
    "the registry alone is away": (replace(LINUX, registry="timed out"), "Network", "enough for the workshop"),
    "a further certificate": (replace(LINUX, variables={"SSL_CERT_FILE": "/ca.pem"}), "Network", "private-networks.md"),
}


@pytest.mark.parametrize(("seen", "subject", "cure"), NOTES.values(), ids=NOTES)
def test_what_need_not_be_fixed_is_a_note(seen: Seen, subject: str, cure: str) -> None:
    found = line(seen, subject)

    assert found.verdict == NOTE, str(found)
    assert cure in found.cure, str(found)


def test_each_line_has_been_seen_bad() -> None:
    assert {subject for _, subject, *_ in BAD.values()} == {line.subject for line in report(WSL)}


def test_without_an_engine_nothing_is_said_of_it() -> None:
    assert [line.subject for line in report(without_engine(LINUX, "x"))] == [
        *("Python", "Git", "Docker", "Port 5000", "Port 8080", "Network")
    ]


# ---- what is seen ----


@pytest.fixture
def fake_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a file: the command docker prints what is in it, and ends with the code in its first line."""
    told = tmp_path / "told"
    command = tmp_path / "bin/docker"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\n[ "$1" = info ] || exit 1\ntail -n +2 {told}\nexit "$(head -1 {told})"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(command.parent), prepend=os.pathsep)
    return told


def test_what_docker_says_is_read_whatever_stands_before_it(fake_docker: Path) -> None:
    fake_docker.write_text(f"0\nWARNING: No swap limit support\n{json.dumps(info())}\n")
    seen = Seen(system="Linux")
    laptop.look_at_the_engine(seen)

    assert seen.info["ServerVersion"] == "28.5.1"
    assert (seen.buildx, seen.compose, seen.missing) == ("", "", [SLIM, FULL])


@pytest.mark.parametrize(
    "told",
    [
        # A client of 2023 and later, and one before it; also what stands in for docker in WSL.
        pytest.param(json.dumps({"ServerErrors": [NOBODY.format("/x")], "ClientInfo": {}}), id="JSON"),
        pytest.param(NOBODY.format("/x"), id="text"),
    ],
)
def test_why_the_engine_does_not_respond_is_kept(fake_docker: Path, told: str) -> None:
    fake_docker.write_text(f"1\n{told}\n")
    seen = Seen(system="Linux")
    laptop.look_at_the_engine(seen)

    assert (seen.info, seen.refusal) == ({}, NOBODY.format("/x"))


class AirTunes(http.server.BaseHTTPRequestHandler):
    """Says what macOS says at port 5000."""

    server_version, sys_version = "AirTunes/870.14.1", ""

    def do_HEAD(self) -> None:
        """Refuse."""
        self.send_response(403)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_who_listens_on_a_port_is_named() -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), AirTunes) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert laptop.listener(server.server_address[1]) == "AirTunes/870.14.1"
        server.shutdown()


def test_a_port_without_http_is_taken_and_one_without_a_listener_is_free() -> None:
    with socket.create_server(("", 0)) as server:
        assert laptop.listener(server.getsockname()[1]) == "some program"
    assert laptop.listener(free_port()) == ""


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (None, ""),
        (urllib.error.HTTPError("x", 401, "Unauthorized", {}, None), ""),  # type: ignore[arg-type]
        (urllib.error.URLError(ssl.SSLCertVerificationError("self-signed certificate")), "certificate"),
        (urllib.error.URLError("timed out"), "timed out"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_the_way_to_an_address_is_tried(error: Exception | None, problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Response:
        def close(self) -> None:
            """Do nothing."""

    def urlopen(*_: object, **__: object) -> Response:
        if error:
            raise error
        return Response()

    monkeypatch.setattr(laptop.urllib.request, "urlopen", urlopen)  # type: ignore[attr-defined]

    assert laptop.problem_of("https://example.org/") == problem


def test_a_command_that_hangs_or_is_missing_is_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(laptop, "SECONDS_TO_RESPOND", 0.2)

    assert laptop.said("no-such-command") == (1, "")
    code, told = laptop.said(sys.executable, "-c", "import time; time.sleep(60)")
    assert code == 1
    assert "timed out" in told


# ---- the command ----


def test_an_old_python_is_told_what_is_needed() -> None:
    """Its grammar must let it read the program that far: Python 3.7 had the last change that matters."""
    ast.parse((WORKSHOP / "laptop.py").read_text(), feature_version=(3, 7))
    run = f"runpy.run_path({str(WORKSHOP / 'laptop.py')!r}, run_name='__main__')"
    as_if = f"import runpy, sys; sys.version_info = (3, 9, 6, 'final', 0); {run}"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", as_if], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout == "FIX  Python: 3.9.6 is too old. Install 3.11 or newer, then: make setup PYTHON=python3.14\n"


def test_the_command_needs_no_tooling(tmp_path: Path) -> None:
    """It is for the day before: there is a Python, and nothing has been installed."""
    shutil.copytree(WORKSHOP, tmp_path / "workshop", ignore=shutil.ignore_patterns("build"))
    (tmp_path / "bin").mkdir()
    for program in ("sh", "dirname", "git"):
        (tmp_path / "bin" / program).symlink_to(shutil.which(program) or pytest.fail(f"there is no {program}"))
    (tmp_path / "bin/python3").write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n')
    (tmp_path / "bin/python3").chmod(0o755)
    done = subprocess.run(
        [tmp_path / "workshop/check", "--laptop"],
        env={"PATH": str(tmp_path / "bin")},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (1, "")
    assert "FIX  Docker: there is no docker command. Install" in done.stdout
    assert re.search(r"^\d+ things to fix, then run this again\.$", done.stdout, re.MULTILINE)

    (tmp_path / "bin/python3").unlink()
    done = subprocess.run(
        [tmp_path / "workshop/check", "--laptop"],
        env={"PATH": str(tmp_path / "bin")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "FIX  Python: there is none" in done.stderr


@pytest.mark.container
def test_it_runs_here(engine: None) -> None:
    """Ports, disk, network and images are what they are here; the engine responds, and all is said."""
    done = subprocess.run([WORKSHOP / "check", "--laptop"], capture_output=True, text=True, check=False)

    *_, last = done.stdout.splitlines()
    assert last.startswith("Ready" if done.returncode == 0 else f"{done.stdout.count('FIX  ')} things to fix")
    assert re.search(r"^(ok|note) +Docker: .* \d+\.\d+", done.stdout, re.MULTILINE), done.stdout
    assert re.search(r"^ok +Clock: ", done.stdout, re.MULTILINE), done.stdout
    assert re.search(r"^\w+ +Disk of the engine: \d+ GB free", done.stdout, re.MULTILINE), done.stdout
    assert re.search(r"^\w+ +Architecture: \w+", done.stdout, re.MULTILINE), done.stdout
