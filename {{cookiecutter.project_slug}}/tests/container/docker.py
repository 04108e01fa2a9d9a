"""The engine, through its command line: images and containers as the contract asks about them."""

import gzip
import http.client
import io
import json
import os
import posixpath
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PROJECT = Path(__file__).parents[2]

# Every image built here and every container carries it, so that whatever becomes of a test, the end of the session
# finds and removes them all.
LABEL = f"container-contract={os.getpid()}"

# More pages and programs, from outside: an image is judged as it is.
INJECTED = f"type=bind,source={Path(__file__).parent / 'injected'},target=/contract,readonly"

# What the project's own image is built with.
VERSION_ARGUMENTS = {"VERSION": "1.2.3", "REVISION": "0123abc", "CREATED": "2026-01-02T03:04:05Z"}

VERSION_OPTIONS = tuple(f"--build-arg={name}={value}" for name, value in VERSION_ARGUMENTS.items())

# How the service must be able to run: nothing writable, no privileges, bounded memory and processes.
HARDENED = (
    *("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
    *("--memory", "256m", "--pids-limit", "256"),
)


# Prints the service, which is process 1 of the container or the child of an init, and the processes whose parent it is.
# There may be no ps, and no shell to run it.
LIST_WORKERS = """
import os
parents, names = {}, {}
for number in filter(str.isdigit, os.listdir("/proc")):
    try:
        with open(f"/proc/{number}/stat") as stat:
            head, _, tail = stat.read().rpartition(")")
    except (FileNotFoundError, ProcessLookupError):
        continue
    names[number], parents[number] = head.partition("(")[2], tail.split()[1]
service = "1"
if names["1"] in {"docker-init", "tini", "dumb-init", "catatonit"}:
    service = min((number for number, parent in parents.items() if parent == "1"), key=int, default="1")
print(service, *(number for number, parent in parents.items() if parent == service))
"""


class DockerError(AssertionError):
    """A docker command failed where it must not."""


def run(*arguments: str, check: bool = True, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    """Run `docker` with the arguments; raise DockerError with its output if it fails and `check` is set."""
    command = ["docker", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    if check and done.returncode:
        raise DockerError(f"{shlex.join(command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def problem() -> str | None:
    """Return None if an engine answers, else one line that says why not."""
    try:
        done = run("version", check=False, timeout=20)
    except FileNotFoundError:
        return "there is no docker command"
    except subprocess.TimeoutExpired:
        return "the Docker Engine did not answer within 20 s"
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or ["docker version failed"])[-1]


def engine() -> str:
    """Return what runs containers here and keeps images, such as "Docker Engine 26.1.5 with overlay2"."""
    version, info = (json.loads(run(command, "--format", "json").stdout) for command in ("version", "info"))
    if "Server" not in version:  # podman under the name of docker
        return run("--version").stdout.strip()
    name = version["Server"]["Components"][0]["Name"]
    return f"{'Docker Engine' if name == 'Engine' else name} {version['Server']['Version']} with {info['Driver']}"


def runtime() -> str:
    """Return which image the project's Dockerfile builds, slim or distroless: its default, or what the options say."""
    told = f"{(PROJECT / 'Dockerfile').read_text()}\n{os.environ.get('DOCKER_BUILD_OPTIONS', '')}"
    return str(re.findall(r"\bRUNTIME=(\w+)", told)[-1])


def copy_of_project(folder: Path) -> Path:
    """Copy the project into a folder, for a test that edits it, without what tools leave in it; return the copy."""
    ignored = shutil.ignore_patterns(".venv", ".git", "*_cache", "__pycache__")
    return Path(shutil.copytree(PROJECT, folder / "project", ignore=ignored))


@dataclass(frozen=True)
class Page:
    """A page, and how it must be served; a redirect is not followed."""

    path: str = "/"
    status: int = 200
    text: str = ""

    def problem(self, response: "Response") -> str | None:
        """Return None if it was served as it must be, else one line that says what came instead."""
        if response.status != self.status:
            return f"{self.path} has status {response.status}, not {self.status}"
        return None if self.text.encode() in response.body else f"{self.path} does not contain {self.text!r}"


@dataclass(frozen=True)
class Image:
    """An image that the engine has, and what must be known to run it.

    These are the port of its service where it exposes none, the page that proves that it serves, and the options of
    `docker run` without which it cannot do its work.
    """

    reference: str
    unexposed_port: int | None = None
    page: Page = Page()
    needs: tuple[str, ...] = ()

    @classmethod
    def build(cls, reference: str, *options: str, context: Path = PROJECT) -> "Image":
        """Build the project in `context`, with `docker build` options."""
        cls.build_log(reference, *options, context=context)
        return cls(reference)

    def variant(self, name: str, *options: str, context: Path) -> "Image":
        """Build an edited copy of the project; what must be known to run it is the same."""
        reference = f"container-contract-{name}:{os.getpid()}"
        self.build_log(reference, *options, context=context)
        return replace(self, reference=reference)

    @staticmethod
    def build_log(reference: str, *options: str, context: Path = PROJECT) -> str:
        """Build the project in `context`; return the engine's plain progress lines.

        The environment variable DOCKER_BUILD_OPTIONS adds options, such as `--secret id=ca,src=…` where TLS to the
        package index is re-signed.
        """
        options = (*shlex.split(os.environ.get("DOCKER_BUILD_OPTIONS", "")), *options)
        done = run("build", "--progress", "plain", "--tag", reference, "--label", LABEL, *options, str(context))
        return done.stdout + done.stderr

    @cached_property
    def _inspected(self) -> dict[str, Any]:
        inspected: list[dict[str, Any]] = json.loads(run("image", "inspect", self.reference).stdout)
        return inspected[0]

    @property
    def config(self) -> dict[str, Any]:
        """Return what the image says about running it: User, Cmd, Env, Labels, Healthcheck and so on."""
        config: dict[str, Any] = self._inspected["Config"]
        return config

    @property
    def labels(self) -> dict[str, str]:
        """Return the labels."""
        return self.config.get("Labels") or {}

    @property
    def command(self) -> list[str]:
        """Return the whole command line: entry point and arguments."""
        return [*(self.config.get("Entrypoint") or []), *(self.config.get("Cmd") or [])]

    @property
    def ports(self) -> list[str]:
        """Return the exposed ports, such as 5000/tcp."""
        return sorted(self.config.get("ExposedPorts") or {})

    @property
    def port(self) -> int:
        """Return the port the service listens on: the one given, or the first that is exposed."""
        if self.unexposed_port:
            return self.unexposed_port
        if not self.ports:
            raise DockerError("the image exposes no port: name the one of its service with --port")
        return int(self.ports[0].split("/")[0])

    @cached_property
    def options(self) -> tuple[str, ...]:
        """Return the hardest options under which the service answers at all: a foreign image may need a softer life.

        Row 12 insists on HARDENED; all others are asked under these, so that each speaks of its subject only.
        """
        for options in (HARDENED, (*HARDENED, "--tmpfs", "/tmp")):
            with suppress(DockerError), started(self, options=options) as container:
                container.wait_until_serving()
                return options
        return ()

    @cached_property
    def page_problem(self) -> str | None:
        """Return None if the page is served as it must be, else one line that says what came instead."""
        try:
            with started(self) as container:
                container.wait_until_serving()
                response = container.request()
        except DockerError as error:
            return str(error).splitlines()[0]
        return self.page.problem(response)

    @property
    def with_contract_pages(self) -> tuple[str, ...]:
        """Return the options of `docker run` that add the pages of injected/sitecustomize.py."""
        variables = {"PYTHONPATH": "/contract", "CONTRACT_PAGE": self.page.path}
        return ("--mount", INJECTED, *(f"--env={name}={value}" for name, value in variables.items()))

    @property
    def size(self) -> int:
        """Return the bytes of all layers on disk."""
        return int(self._inspected["Size"])

    @property
    def layer_digests(self) -> list[str]:
        """Return the digest of every layer, uncompressed, the lowest first."""
        digests: list[str] = self._inspected["RootFS"]["Layers"]
        return digests

    @cached_property
    def history(self) -> str:
        """Return every line of the build that the image remembers."""
        return run("history", "--no-trunc", "--format", "json", self.reference).stdout

    @cached_property
    def files(self) -> dict[str, tarfile.TarInfo]:
        """Return the file system a container sees, by absolute path."""
        identity = run("create", "--label", LABEL, self.reference).stdout.strip()
        try:
            exported = subprocess.run(["docker", "export", identity], capture_output=True, check=True).stdout
        finally:
            run("rm", "--force", identity)
        with tarfile.open(fileobj=io.BytesIO(exported)) as archive:
            return {f"/{member.name}": member for member in archive}

    def is_executable(self, path: str) -> bool:
        """Tell whether `path`, or what it links to in the end, is a file that somebody may execute."""
        while (file := self.files.get(path)) and file.issym():
            path = posixpath.normpath(posixpath.join(posixpath.dirname(path), file.linkname))
        return file is not None and file.isfile() and bool(file.mode & 0o111)

    def raw_layers(self) -> Iterator[bytes]:
        """Yield every layer as the bytes of a tar archive, the lowest first."""
        saved = subprocess.run(["docker", "save", self.reference], capture_output=True, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(saved)) as archive:
            manifest = json.load(archive.extractfile("manifest.json") or io.BytesIO())
            for name in manifest[0]["Layers"]:
                layer = archive.extractfile(name)
                assert layer is not None, f"the saved image has no layer {name}"
                yield decompressed(layer.read())

    def layers(self) -> Iterator[tarfile.TarFile]:
        """Yield every layer, opened; files that later layers hide are still in it."""
        yield from map(opened, self.raw_layers())

    def run_to_end(
        self, *options: str, arguments: Sequence[str] = (), check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a container that must end by itself, and remove it; raise DockerError if it has not after a minute.

        Or if it fails and `check` is set. One that has not ended is removed at the end of the session.
        """
        command = ("run", "--rm", "--label", LABEL, *options, self.reference, *arguments)
        try:
            return run(*command, check=check, timeout=60)
        except subprocess.TimeoutExpired as error:
            raise DockerError(f"{shlex.join(('docker', *command))}: it must end, but runs after 60 s") from error

    def run_injected(self, script: str) -> Any:
        """Run a script of the folder injected/ in the image; return what it prints, which is JSON."""
        options = ("--mount", INJECTED, "--entrypoint", "python3")
        return json.loads(self.run_to_end(*options, arguments=[f"/contract/{script}"]).stdout)


def decompressed(layer: bytes) -> bytes:
    """Return a layer as the archive it is: an engine with containerd's image store saves layers as they were pulled."""
    if layer.startswith(b"\x1f\x8b"):
        return gzip.decompress(layer)
    return zstd.decompress(layer) if layer.startswith(b"\x28\xb5\x2f\xfd") else layer


def opened(layer: bytes) -> tarfile.TarFile:
    """Return a layer as the archive it is."""
    return tarfile.open(fileobj=io.BytesIO(layer))


@dataclass
class Response:
    """An answer of the service."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        """Return the body, parsed."""
        return json.loads(self.body)


@dataclass
class Container:
    """A container that has been started and will be removed."""

    identity: str
    service_port: int
    page: Page = Page()

    @cached_property
    def address(self) -> tuple[str, int]:
        """Return host and port at which the service can be reached from here; raise an OSError if there is none."""
        published = run("port", self.identity, f"{self.service_port}/tcp", check=False).stdout.splitlines()
        if not published:
            raise ConnectionRefusedError("no port is published: the container has ended")
        return "127.0.0.1", int(published[0].rsplit(":", 1)[1])

    @property
    def inspected(self) -> dict[str, Any]:
        """Return all that the engine says of the container."""
        inspected: list[dict[str, Any]] = json.loads(run("container", "inspect", self.identity).stdout)
        return inspected[0]

    @property
    def state(self) -> dict[str, Any]:
        """Return Running, ExitCode, OOMKilled, Health and so on."""
        state: dict[str, Any] = self.inspected["State"]
        return state

    @property
    def shared(self) -> list[str]:
        """Return what the container has of the host or of other containers: namespaces, devices, files, privileges.

        Volumes are its own, and so are files of the project that it can only read.
        """
        inspected = self.inspected
        given = inspected["HostConfig"]
        # Not CgroupnsMode: on a host with cgroup version 1 that is always the host's.
        modes = {name: given.get(name) or "" for name in ("PidMode", "IpcMode", "NetworkMode", "UTSMode", "UsernsMode")}
        more = ("Privileged", "CapAdd", "Devices", "DeviceRequests", "DeviceCgroupRules", "VolumesFrom", "GroupAdd")
        return [
            *(f"{name}={mode}" for name, mode in modes.items() if mode.startswith(("host", "container:"))),
            *(f"{name}={given[name]}" for name in more if given.get(name)),
            *(
                f"{mount['Source']} as {mount['Destination']}"
                for mount in inspected["Mounts"]
                if mount["Type"] == "bind" and (mount["RW"] or not Path(mount["Source"]).is_relative_to(PROJECT))
            ),
        ]

    def workers(self) -> list[int]:
        """Return the processes that the service has started, by their numbers inside the container."""
        return [int(number) for number in self._python(LIST_WORKERS).split()[1:]]

    def main_process(self) -> int:
        """Return the first process of the service, by its number inside the container: 1, or more under an init."""
        return int(self._python(LIST_WORKERS).split()[0])

    def wait_for_workers(self, count: int, seconds: float = 60) -> int:
        """Wait until there are `count` workers, and a moment to see whether there will be more; return their number."""
        deadline = time.monotonic() + seconds
        while len(self.workers()) < count and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(0.5)
        return len(self.workers())

    def signal(self, name: str, processes: list[int]) -> None:
        """Send a signal to processes of the container; refuse where their numbers may be those of others."""
        mode = self.inspected["HostConfig"]["PidMode"]
        if mode not in {"", "private"}:
            raise DockerError(f"PidMode is {mode}: {name} would reach processes outside of the container; remove pid")
        self._python(f"import os, signal; [os.kill(number, signal.{name}) for number in {processes}]")

    def _python(self, program: str) -> str:
        return run("exec", self.identity, "python3", "-I", "-S", "-c", program).stdout

    def memory(self) -> int:
        """Return the bytes of memory in use, as `docker stats` counts them."""
        usage = json.loads(run("stats", "--no-stream", "--format", "json", self.identity).stdout)["MemUsage"]
        number, unit = re.split(r"(?<=[0-9])(?=[A-Z])", usage.split(" / ")[0])
        return int(float(number) * {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}[unit])

    def serves_over_ipv6(self) -> bool:
        """Tell whether there is an HTTP response at the container's own address of IPv6."""
        (network,) = self.inspected["NetworkSettings"]["Networks"].values()
        target = (network["GlobalIPv6Address"], self.service_port)
        connect = "import socket; s = socket.socket(socket.AF_INET6); s.settimeout(5)"
        ask = f"error = s.connect_ex({target!r}); error or s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')"
        show = "print(error or s.recv(5).decode())"
        return self._python(f"{connect}; {ask}; {show}").strip() == "HTTP/"

    def open_socket(self) -> socket.socket:
        """Return a connection that has sent nothing yet. Close it."""
        return socket.create_connection(self.address, timeout=30)

    @property
    def logs(self) -> list[str]:
        """Return the lines written so far to stdout and stderr, or the engine's word that the container has gone."""
        done = run("logs", self.identity, check=False)
        return (done.stdout + done.stderr).splitlines()

    def connect(self, timeout: float = 30) -> http.client.HTTPConnection:
        """Return a connection that can be kept alive. Close it."""
        return http.client.HTTPConnection(*self.address, timeout=timeout)

    def request(self, path: str = "", method: str = "GET", timeout: float = 30, **headers: str) -> Response:
        """Send one request on a new connection, for the page of the service unless another path is named.

        An underscore in a header's name stands for a hyphen.
        """
        connection = self.connect(timeout)
        path = path or self.page.path
        try:
            connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            return Response(response.status, response.headers, response.read())
        finally:
            connection.close()

    def send(self, raw: bytes, timeout: float = 30, end: bool = False) -> bytes:
        """Send bytes that need not be HTTP; return all that comes back until the service closes the connection.

        With `end`, the client says that no more will come.
        """
        with socket.create_connection(self.address, timeout) as connection:
            received = b""
            with suppress(ConnectionResetError, BrokenPipeError):  # what arrived before is the response
                connection.sendall(raw)
                if end:
                    connection.shutdown(socket.SHUT_WR)
                while chunk := connection.recv(65536):
                    received += chunk
            return received

    def wait_until_serving(self, seconds: float = 60) -> None:
        """Wait for the first response; raise DockerError with the logs if the container ends or stays silent."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                self.request(timeout=10)
            except (OSError, http.client.HTTPException):
                if not self.state["Running"]:
                    break
                time.sleep(0.05)
            else:
                return
        logs = self.logs
        raise DockerError("\n".join([f"the service does not answer; its log ends with: {' '.join(logs[-1:])}", *logs]))

    def wait_until_health_is(self, status: str, seconds: float) -> None:
        """Wait until Docker's health check says `status`."""
        deadline = time.monotonic() + seconds
        while (health := self.state.get("Health") or {"Status": "unknown: there is no health check"})[
            "Status"
        ] != status:
            if time.monotonic() > deadline or "Log" not in health:
                probes = [probe["Output"].strip() for probe in health.get("Log") or []]
                raise DockerError(
                    f"after {seconds:.0f} s health is {health['Status']}, not {status}; last probe: {probes[-1:]}"
                )
            time.sleep(0.1)

    def stop(self) -> float:
        """Stop the container the way Docker does by default: SIGTERM, 10 s of grace, SIGKILL. Return the seconds."""
        began = time.monotonic()
        run("stop", self.identity)
        return time.monotonic() - began


@contextmanager
def started(
    image: Image, *more: str, port: int | None = None, published: bool = True, options: tuple[str, ...] | None = None
) -> Iterator[Container]:
    """Run a container of the image under its hardest options, or those given, and some more; remove it afterwards.

    The port of its service, or the one given, is published on loopback. A network among the options takes the place of
    the one that the image needs.
    """
    port = port or image.port
    options = image.options if options is None else options
    publish = ("--publish", f"127.0.0.1::{port}") if published else ()
    needs = [option for option in image.needs if "--network" not in more or not option.startswith("--network=")]
    command = ("run", "--detach", "--label", LABEL, *publish, *options, *needs, *more, image.reference)
    identity = run(*command).stdout.strip()
    try:
        yield Container(identity, port, image.page)
    finally:
        run("rm", "--force", "--volumes", identity, check=False)


def network_of(identity: str) -> str:
    """Return the name of a network that a container is in."""
    return str(next(iter(Container(identity, 0).inspected["NetworkSettings"]["Networks"])))


def with_needs(file: Path, reference: str, environment: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return the services of a compose file that run an image, each with the variables that the file does not give it.

    As `{"web": {"environment": {…}}}`, for a second file; IMAGE must name the image.
    """
    services = json.loads(run("compose", "--file", str(file), "config", "--format", "json").stdout)["services"]
    given = {name: (service.get("environment") or {}).keys() for name, service in services.items()}
    return {
        name: {"environment": {key: environment[key] for key in environment if not {key, f"{key}_FILE"} & given[name]}}
        for name, service in services.items()
        if service.get("image") == reference
    }


def wait_for_services(*compose: str, seconds: float = 120) -> None:
    """Wait until each container of a compose project runs and is healthy, or has ended well, as a migration does."""
    deadline = time.monotonic() + seconds
    while True:
        lines = run(*compose, "ps", "--all", "--format", "json").stdout.splitlines()
        states = {state["Service"]: state for state in map(json.loads, lines)}
        ended = [name for name, state in states.items() if state["State"] == "exited" and state["ExitCode"]]
        waiting = [
            name
            for name, state in states.items()
            if state["State"] not in {"running", "exited"} or state["Health"] in {"starting", "unhealthy"}
        ]
        if ended or (waiting and time.monotonic() > deadline):
            problem = f"{', '.join(ended)} ended with an error" if ended else f"{', '.join(waiting)}: not ready"
            raise DockerError(problem)
        if not waiting:
            return
        time.sleep(0.2)


def remove_leftovers() -> None:
    """Remove all containers and images of this session."""
    if containers := run("ps", "--all", "--quiet", "--filter", f"label={LABEL}", check=False).stdout.split():
        run("rm", "--force", "--volumes", *containers, check=False)
    if images := run("images", "--quiet", "--filter", f"label={LABEL}", check=False).stdout.split():
        run("image", "rm", "--force", *set(images), check=False)
