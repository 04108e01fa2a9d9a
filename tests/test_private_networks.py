"""Builds in private networks, by the commands of docs/private-networks.md.

The network is made here: an index that asks for a password, behind TLS by an authority nobody knows, and a proxy that
asks for one as well.
"""

import base64
import gzip
import io
import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

import pytest
import trustme

from tests.conftest import LABEL, PYTHONS, TEMPLATE, BakedProject, docker, wait_for_page
from tests.readme import blocks, commands, page_of_docs
from tools.questions import base_image

pytestmark = pytest.mark.container

# The commands of the page, by what only one of them says.
CASES = {
    "index": "--secret id=pip",
    "proxy": "HTTPS_PROXY",
    "mirror": "docker-image://",
    "wheelhouse": "--target wheelhouse",
    "no network": "--network none",
}

# It is in every name and password, so nothing has them by chance: not the image, and not pip's cache of earlier runs.
TOKEN = secrets.token_hex(8)
USER, PASSWORD = f"reader-{TOKEN}", f"p@ss:{TOKEN}"
INDEX, PROXY = f"index-{TOKEN}.example.org", f"proxy-{TOKEN}.example.org"
CREDENTIALS = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


PAGE = page_of_docs("private-networks")
COMMANDS = commands(PAGE)


def test_every_command_of_the_page_is_run_here() -> None:
    found = [[case for case, mark in CASES.items() if mark in command] for command in COMMANDS]

    assert found == [[case] for case in CASES]


@dataclass(frozen=True)
class Server:
    """A server on this machine that containers reach, and what it has been asked."""

    port: int
    log_file: Path

    @property
    def log(self) -> list[str]:
        """Return a line for each request so far."""
        return self.log_file.read_text().splitlines()


@contextmanager
def _serving(command: Sequence[str | Path], port_file: Path, log_file: Path) -> Iterator[Server]:
    """Run a server that writes its port into a file, and what it is asked into another."""
    with log_file.open("w") as log:
        server = subprocess.Popen([sys.executable, *command], stdout=log, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 20
        while not (port_file.exists() and (port := re.match(r"(\d+)\n", port_file.read_text()))):
            assert server.poll() is None, log_file.read_text()
            assert time.monotonic() < deadline, f"no port: {log_file.read_text()}"
            time.sleep(0.05)
        yield Server(int(port[1]), log_file)
    finally:
        server.terminate()
        server.wait(timeout=20)


@dataclass(frozen=True)
class Network:
    """The generated service in a private network, on the machine of somebody who may use its index."""

    project: BakedProject
    home: Path
    index: Server
    authority: Path

    def build(self, case: str, tag: str, *options: str, instead: dict[str, str] | None = None, **variables: str) -> str:
        """Run a command of the page with further options; return the log of the build.

        `instead` has what stands in for parts of the command, each of which must be there.
        """
        command = re.sub(r"-t \S+", f"-t {tag}", COMMANDS[list(CASES).index(case)])
        for old, new in (instead or {}).items():
            assert old in command, f"{old!r} is not in {command!r}"
            command = command.replace(old, new)
        # In a new home Docker's command would not find its plug-ins.
        docker_config = os.environ.get("DOCKER_CONFIG", str(Path.home() / ".docker"))
        added = shlex.join(["docker", "build", "--progress=plain", f"--label={LABEL}", *options])
        command = command.replace("docker build", added, 1)
        variables = {"HOME": str(self.home), "DOCKER_CONFIG": docker_config, **variables}
        return self.project.run("bash", "-c", command, **variables).stdout

    def build_from_index(self, tag: str, *options: str) -> str:
        """Build as the page says where the index is private; fetch the packages even if the engine has them."""
        bundle = {"src=/etc/ssl/certs/ca-certificates.crt": f"src={self.authority}"}
        return self.build("index", tag, "--no-cache-filter=wheels", HOST_OF_INDEX, *options, instead=bundle)

    def write_pip_conf(self, credentials: str, host: str) -> Path:
        """Write the file of the page, for another host; one attempt is enough to see what fails."""
        [example] = blocks(PAGE, "ini")
        assert "//user:password@index.example.org/" in example
        path = self.home / ".config/pip/pip.conf"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(example.replace("user:password@index.example.org", credentials + host) + "retries = 0\n")
        return path


HOST_OF_INDEX = f"--add-host={INDEX}:host-gateway"
GIVEN = f"{USER}:{quote(PASSWORD)}@"


@pytest.fixture(scope="module")
def network(engine: None, project: BakedProject, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """Start an index that has what the lock names, for the image's Python and platform."""
    folder = tmp_path_factory.mktemp("network")
    project = replace(project, path=Path(shutil.copytree(project.path, folder / "project")))
    [wheelhouse] = [command for command in COMMANDS if CASES["wheelhouse"] in command]
    project.run("bash", "-c", wheelhouse)

    authority = trustme.CA(organization_name=f"Authority {TOKEN}")
    authority.cert_pem.write_to_path(folder / "authority.pem")
    certificate = folder / "server.pem"
    authority.issue_cert(INDEX, "localhost").private_key_and_cert_chain_pem.write_to_path(certificate)
    log = folder / "index.log"
    command: list[str | Path] = [
        TEMPLATE / "tests/private_index.py",
        project.path / "wheelhouse",
        certificate,
        USER,
        PASSWORD,
    ]
    with _serving(command, port_file=log, log_file=log) as index:
        yield Network(project, folder / "home", index, folder / "authority.pem")


def _found(image: str, needles: set[bytes]) -> set[bytes]:
    """Return those of the needles that are anywhere in an image: its layers, its history, its configuration."""
    saved = subprocess.run(["docker", "save", image], capture_output=True, check=True).stdout
    found = set()
    with tarfile.open(fileobj=io.BytesIO(saved)) as archive:
        for member in filter(tarfile.TarInfo.isfile, archive):
            opened = archive.extractfile(member)
            assert opened is not None
            content = opened.read()
            # An engine with containerd's image store saves its layers compressed.
            content = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
            found |= {needle for needle in needles if needle in content}
    return found


def test_a_private_index_leaves_no_trace(network: Network, image_tag: str) -> None:
    network.write_pip_conf(GIVEN, f"{INDEX}:{network.index.port}")
    network.build_from_index(image_tag)

    wheels = [path.name for path in (network.project.path / "wheelhouse").iterdir()]
    assert len(wheels) > 5
    for wheel in wheels:
        assert f"200 /packages/{wheel} Basic {CREDENTIALS}" in network.index.log

    # The authority bears the token as its name; in a bundle that name is not to be read, but any line tells.
    traces = {TOKEN.encode(), CREDENTIALS.encode(), network.authority.read_bytes().splitlines()[5]}
    shipped = {b"Hello, World!", b"org.opencontainers.image.title", b"COPY /venv /venv"}
    assert _found(image_tag, traces | shipped) == shipped

    # Who pushes the cache of a build pushes this stage too.
    log = network.build_from_index(f"{image_tag}-wheels", "--target=wheels")
    assert "Successfully downloaded blinker" in log
    assert _found(f"{image_tag}-wheels", {*traces, b"pip download"}) == {b"pip download"}


@pytest.mark.parametrize(
    ("credentials", "reason"),
    [
        pytest.param("", "401 Client Error: Unauthorized", id="no password"),
        pytest.param(f"{USER}:wrong@", "403 Client Error: Forbidden", id="wrong password"),
    ],
)
def test_an_index_that_refuses_is_heard(network: Network, image_tag: str, credentials: str, reason: str) -> None:
    network.write_pip_conf(credentials, f"{INDEX}:{network.index.port}")

    with pytest.raises(AssertionError, match=rf"Could not fetch URL https://.*: {reason} for url"):
        network.build_from_index(image_tag)


def test_an_unknown_authority_is_not_believed(network: Network, image_tag: str, tmp_path: Path) -> None:
    network.write_pip_conf(GIVEN, f"{INDEX}:{network.index.port}")
    stranger = tmp_path / "stranger.pem"
    trustme.CA().cert_pem.write_to_path(stranger)

    with pytest.raises(AssertionError, match=r"problem confirming the ssl certificate: .*CERTIFICATE_VERIFY_FAILED"):
        replace(network, authority=stranger).build_from_index(image_tag)


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Server]:
    """Start a proxy that asks for the password."""
    port_file, log_file = tmp_path / "port", tmp_path / "log"
    # On all addresses, one process, a port of the system's choice.
    options = ["--hostname=0.0.0.0", "--num-acceptors=1", "--num-workers=1", "--port=0", f"--port-file={port_file}"]
    with _serving(["-m", "proxy", *options, f"--basic-auth={USER}:{PASSWORD}"], port_file, log_file) as server:
        yield server


def test_a_proxy_leaves_no_trace(network: Network, image_tag: str, proxy: Server) -> None:
    # The name leads a build to itself: only through the proxy does it reach the index.
    pip_conf = network.write_pip_conf(GIVEN, f"localhost:{network.index.port}")
    options = (
        "--no-cache-filter=wheels",
        f"--add-host={PROXY}:host-gateway",
        f"--secret=id=pip,src={pip_conf}",
        f"--secret=id=ca,src={network.authority}",
    )

    with pytest.raises(AssertionError, match="407 Proxy Authentication Required"):
        network.build("proxy", image_tag, *options, HTTPS_PROXY=f"http://{PROXY}:{proxy.port}")
    network.build("proxy", image_tag, *options, HTTPS_PROXY=f"http://{GIVEN}{PROXY}:{proxy.port}")

    assert f"CONNECT localhost:{network.index.port}" in "\n".join(proxy.log)
    shipped = {b"Hello, World!", b"COPY /venv /venv"}
    assert _found(image_tag, {TOKEN.encode(), CREDENTIALS.encode(), *shipped}) == shipped


@pytest.fixture
def mirror(image_tag: str) -> str:
    """Return the host of a mirror that has the base image, with a label by which it is known again."""
    host = f"mirror-{TOKEN}.example.org"
    base = base_image(PYTHONS[0])
    docker("build", f"--tag={host}/{base}", f"--label={LABEL}", "-", text=f"FROM {base}\nLABEL mirrored=yes\n")
    return host


def test_the_base_image_comes_from_a_mirror(network: Network, image_tag: str, mirror: str) -> None:
    network.build("mirror", image_tag, instead={"mirror.example.org": mirror})

    assert docker("image", "inspect", "--format", "{{ .Config.Labels.mirrored }}", image_tag) == "yes"


@pytest.fixture
def run(image_tag: str) -> Iterator[Callable[[], int]]:
    """Return a function that runs the image and returns its port; remove the container afterwards."""
    containers = []

    def started() -> int:
        containers.append(docker("run", "--detach", "--publish-all", image_tag))
        return int(docker("port", containers[-1], "5000/tcp").splitlines()[0].rsplit(":", 1)[1])

    yield started
    for container in containers:
        docker("rm", "--force", container)


def test_a_build_without_network_takes_the_wheelhouse(network: Network, image_tag: str, run: Callable[[], int]) -> None:
    log = network.build("no network", image_tag, "--no-cache-filter=builder")
    assert "Looking in links: /wheelhouse" in log
    assert "pip download" not in log

    assert wait_for_page(run()) == "<p>Hello, World!</p>"


def test_a_wheel_that_was_tampered_with_is_refused(network: Network, image_tag: str, tmp_path: Path) -> None:
    tampered = Path(shutil.copytree(network.project.path / "wheelhouse", tmp_path / "wheelhouse"))
    [wheel] = tampered.glob("blinker-*.whl")
    wheel.write_bytes(wheel.read_bytes() + b"\0")

    with pytest.raises(AssertionError, match="THESE PACKAGES DO NOT MATCH THE HASHES"):
        network.build("no network", image_tag, instead={"wheelhouse=wheelhouse": f"wheelhouse={tampered}"})
