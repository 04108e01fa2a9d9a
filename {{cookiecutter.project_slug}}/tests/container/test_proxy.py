"""compose.proxy.yaml as it is shipped: two replicas of the service behind HAProxy."""

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.container import docker
from tests.container.configuration import Configuration
from tests.container.load import load

pytestmark = pytest.mark.usefixtures("project_only")

REPLICAS = ("web-a", "web-b")
# Not the default: the proxy and the replicas must agree on it.
PORT = "8181"


@pytest.fixture(scope="module")
def compose(image: docker.Image, told: Configuration, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Return the command line of docker compose, on a free port; the replicas also have the pages of injected/."""
    folder = Path(__file__).parent / "injected"
    injected = {"PYTHONPATH": "/contract", "CONTRACT_PAGE": image.page.path}
    shipped, needs = docker.PROJECT / "compose.proxy.yaml", tmp_path_factory.mktemp("proxy") / "needs.yaml"
    settings = {"IMAGE": image.reference, "HOST_IP": "127.0.0.1", "HOST_PORT": "0", "PORT": PORT}
    with pytest.MonkeyPatch.context() as environment:
        for name, value in settings.items():
            environment.setenv(name, value)
        services = docker.with_needs(shipped, image.reference, told.environment)
        for replica in REPLICAS:
            services[replica]["environment"] |= injected
            services[replica]["volumes"] = [f"{folder}:/contract:ro"]
        needs.write_text(json.dumps({"services": services}))
        files = ("--file", str(shipped), "--file", str(needs))
        yield ["compose", *files, "--project-name", f"container-contract-proxy-{os.getpid()}"]


@pytest.fixture(scope="module")
def proxy(compose: list[str], image: docker.Image) -> Iterator[docker.Container]:
    """Return the container of the proxy, with both replicas ready."""
    try:
        docker.run(*compose, "up", "--detach", "--wait")
        yield docker.Container(docker.run(*compose, "ps", "--quiet", "proxy").stdout.strip(), 8080, image.page)
    except docker.DockerError as error:
        pytest.fail(f"{error}\n{docker.run(*compose, 'logs', check=False).stdout}", pytrace=False)
    finally:
        docker.run(*compose, "down", "--timeout", "1", check=False)


def test_the_proxy_alone_can_be_reached(compose: list[str], proxy: docker.Container) -> None:
    """Who reaches a replica past the proxy can forge addresses and hold its threads. Fix: ports: !reset []."""
    assert proxy.page.problem(proxy.request()) is None
    for replica in REPLICAS:
        assert not docker.run("port", _container(compose, replica).identity).stdout, f"{replica} is published"
    assert docker.run("port", proxy.identity).stdout.startswith("8080/tcp -> ")
    assert len(docker.run("port", proxy.identity).stdout.splitlines()) == 1, "the proxy publishes more than one port"


def _container(compose: list[str], service: str) -> docker.Container:
    return docker.Container(docker.run(*compose, "ps", "--quiet", service).stdout.strip(), int(PORT))


@pytest.mark.usefixtures("proxy")
@pytest.mark.parametrize("service", ["proxy", *REPLICAS])
def test_nothing_of_the_host_is_shared(compose: list[str], service: str) -> None:
    """An attacker owns what a container shares with the host, and may write to what is not read-only.

    Fix: no pid, ipc, network_mode, devices or folder of the host, and read_only, cap_drop and no-new-privileges as they
    are.
    """
    container = _container(compose, service)
    given = container.inspected["HostConfig"]

    assert not container.shared, f"{service} shares with the host: {', '.join(container.shared)}"
    assert given["ReadonlyRootfs"], f"{service} can write to its file system"
    assert given["CapDrop"] == ["ALL"], f"{service} keeps capabilities"
    assert given["SecurityOpt"] == ["no-new-privileges:true"], f"{service} can gain privileges"
    for limit in ("Memory", "NanoCpus", "PidsLimit"):
        assert given[limit], f"{service} has no limit: {limit}"


def test_a_client_cannot_choose_its_address(proxy: docker.Container) -> None:
    """Rate limits, audits and links rely on it. Fix: the proxy sets the three headers, TRUSTED_HOPS is 1."""
    seen = proxy.request(
        "/contract/client",
        Host="shop.example",
        X_Forwarded_For="192.0.2.1",
        X_Forwarded_Proto="https",
        X_Forwarded_Host="evil.example",
    )
    address, scheme, host, _ = seen.body.decode().split()

    assert address != "192.0.2.1"
    networks = proxy.inspected["NetworkSettings"]["Networks"].values()
    assert address not in {network["IPAddress"] for network in networks}, "all clients have the address of the proxy"
    assert (scheme, host) == ("http", "shop.example")


POST = b"POST /contract/read HTTP/1.1\r\nHost: test\r\n"
HEAD = b"GET / HTTP/1.1\r\nHost: test\r\n"
# What a slow client sends at once, and what it sends then, piece by piece.
SLOW_CLIENTS = {
    "silent": (b"", b""),
    "half a header": (HEAD + b"X-Name: ", b"a"),
    "72 kB of headers": (HEAD + b"".join(b"X-%d: %s\r\n" % (n, b"a" * 8000) for n in range(9)) + b"X-Name: ", b"a"),
    "chunked": (POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
    "length": (POST + b"Content-Length: 100000\r\n\r\n", b"a"),
    "20 kB at once": (POST + b"Content-Length: 100000\r\n\r\n" + b"a" * 20_000, b"a"),
}


@pytest.mark.row(20)
@pytest.mark.parametrize(("first", "piece"), SLOW_CLIENTS.values(), ids=SLOW_CLIENTS)
def test_slow_clients_do_not_stop_others_being_served(
    proxy: docker.Container,
    first: bytes,
    piece: bytes,
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
) -> None:
    """Phones in tunnels and people of ill will send a byte a second; each must cost memory, not a thread.

    Fix: a proxy that buffers whole requests, with room for the largest: http-buffer-request and tune.bufsize.
    """
    alone = max(_seconds(proxy) for _ in range(20))
    beside = []
    with ExitStack() as stack:
        slow = [stack.enter_context(proxy.open_socket()) for _ in range(200)]
        for client in slow:
            client.sendall(first)
        for _ in range(10):
            time.sleep(0.1)
            for client in slow:
                with suppress(OSError):
                    client.send(piece)
            beside.append(_seconds(proxy))
        pending = [client for client in slow if not _responded(client)]
    kind = request.node.callspec.id
    record_property(f"slowest beside 200 slow clients, {kind}", f"{max(beside):.3f} s, {alone:.3f} s without them")

    assert len(pending) == len(slow), "the slow clients were turned away: this proves nothing"
    # A thread that waits for a slow client does so until the proxy's time-out of 30 s.
    assert max(beside) < alone + 5, f"beside 200 slow clients a request took {max(beside):.1f} s"


def _seconds(proxy: docker.Container) -> float:
    began = time.monotonic()
    assert proxy.request(timeout=30).status == proxy.page.status
    return time.monotonic() - began


def _responded(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        return client.recv(1) is not None
    except BlockingIOError:
        return False


def test_an_honest_slow_client_is_served(proxy: docker.Container) -> None:
    """A photo takes its time on a bad connection. Fix: timeout http-request must allow for it."""
    with proxy.open_socket() as client:
        client.sendall(POST + b"Content-Length: 60000\r\n\r\n")
        for _ in range(12):
            time.sleep(1)
            client.sendall(b"a" * 5000)
        assert client.recv(1000).startswith(b"HTTP/1.1 200 ")


def test_an_update_loses_nothing(
    compose: list[str],
    proxy: docker.Container,
    image: docker.Image,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    """A release at noon must not be noticed, not even by POST requests, which the proxy must not send twice.

    Fix: DRAIN_DELAY above what two health checks of the proxy take.
    """
    monkeypatch.setenv("IMAGE", f"{image.reference}-new")
    docker.run("tag", image.reference, f"{image.reference}-new")
    lost: list[str] = []
    rounds = 0
    with ThreadPoolExecutor(1) as pool:
        updated = pool.submit(_update, compose)
        while not updated.done():
            lost += load(proxy, requests=100, clients=4, method="POST", path="/contract/read")
            rounds += 1
    record_property("lost in an update", f"{len(lost)} of {100 * rounds}")

    assert updated.result() == [f"{image.reference}-new"] * 2
    assert lost == []


def _update(compose: list[str]) -> list[str]:
    for replica in REPLICAS:
        docker.run(*compose, "up", "--detach", "--no-deps", "--wait", replica)
    running = json.loads("[" + ",".join(docker.run(*compose, "ps", "--format", "json").stdout.splitlines()) + "]")
    return [container["Image"] for container in running if container["Service"] in REPLICAS]
