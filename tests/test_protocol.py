"""HTTP that is malformed or ambiguous harms nobody: neither the service alone, nor behind the proxy it comes with."""

import json
import os
import re
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.conftest import LABEL, PYTHONS, docker
from tests.readme import edit
from tools.baking import bake

pytestmark = [pytest.mark.container, pytest.mark.slow]

# For a connection that the server does not close, and for logs to be written.
SECONDS = 30
# As shipped the proxy logs only what went wrong. Here it tells of each request, and which replica got it.
LOG_ALL = """--- haproxy.cfg
-    option dontlog-normal
+    log-format "%HM %HP %s"
"""
# The only errors of a server that a request can be the cause of: an unknown transfer coding, another version of HTTP.
REFUSALS = {501, 505}


@dataclass
class Server:
    """Where to send requests, and the containers of the service that may get them."""

    address: tuple[str, int]
    replicas: list[str]

    def send(self, raw: bytes) -> list[int]:
        """Send bytes and nothing more; return the status of each response until the server closes the connection."""
        received = b""
        with socket.create_connection(self.address, timeout=SECONDS) as connection, suppress(ConnectionError):
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            while more := connection.recv(65536):
                received += more
        return [int(status) for status in re.findall(rb"^HTTP/1\.[01] (\d{3}) ", received, re.MULTILINE)]

    def log(self) -> list[dict[str, str]]:
        """Return all lines of the replicas; raise ValueError where one is not JSON."""
        return [json.loads(line) for replica in self.replicas for line in docker("logs", replica).splitlines()]

    def processes(self) -> list[str]:
        """Return the numbers of the service's processes: others, where one of them has ended."""
        return [docker("top", replica, "-eo", "pid") for replica in self.replicas]


@dataclass
class Deployment:
    """A proxy that logs each request, with two replicas behind it."""

    proxy: str
    behind: Server
    alone: Server

    def proxied(self) -> Counter[str]:
        """Return how often the proxy sent what to a replica, as in "GET /path"."""
        lines = re.findall(r"^(\S+ \S+) web-[ab]$", docker("logs", self.proxy), re.MULTILINE)
        return Counter(lines)

    def handled(self) -> Counter[str]:
        """Return how often a replica handled what."""
        lines = self.behind.log()
        return Counter(f"{line['method']} {line['path']}" for line in lines if line["logger"] == "gunicorn.access")


@pytest.fixture(scope="module")
def deployment(proxy_image: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Return the service as compose.proxy.yaml runs it."""
    project = bake(tmp_path_factory.mktemp("protocol"), {"python_version": PYTHONS[0]})
    edit(project, LOG_ALL)
    name = f"template-test-protocol-{os.getpid()}"
    docker("build", "--label", LABEL, "--tag", name, str(project))

    def compose(*arguments: str) -> str:
        return docker("compose", f"--file={project}/compose.proxy.yaml", f"--project-name={name}", *arguments)

    with pytest.MonkeyPatch.context() as environment:
        for variable, value in {"IMAGE": name, "HOST_PORT": "0", "HOST_IP": "127.0.0.1"}.items():
            environment.setenv(variable, value)
        try:
            compose("up", "--detach", "--wait", "--no-build")
            replicas = [compose("ps", "--quiet", replica) for replica in ("web-a", "web-b")]
            published = compose("port", "proxy", "8080").rpartition(":")[2]
            [inside] = json.loads(docker("inspect", replicas[0]))[0]["NetworkSettings"]["Networks"].values()
            yield Deployment(
                compose("ps", "--quiet", "proxy"),
                behind=Server(("127.0.0.1", int(published)), replicas),
                alone=Server((inside["IPAddress"], 5000), replicas),
            )
        finally:
            compose("down", "--timeout", "1")
            docker("image", "rm", "--force", name)


HOST = b"Host: a\r\n"
# The request inside, which one of two servers might take for the body of another, and the other for a request.
INSIDE = b"GET /inside HTTP/1.1\r\nHost: a\r\nX-A: "
LENGTH = b"Content-Length: %d\r\n" % len(INSIDE)
AMBIGUOUS = {
    "both, length first": LENGTH + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + INSIDE,
    "both, chunked first": b"Transfer-Encoding: chunked\r\n" + LENGTH + b"\r\n0\r\n\r\n" + INSIDE,
    "a short length and chunked": b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n24\r\n"
    + INSIDE
    + b"\r\n0\r\n\r\n",
    "two lengths": b"Content-Length: 0\r\n" + LENGTH + b"\r\n" + INSIDE,
    "two lengths in one": b"Content-Length: 0, %d\r\n\r\n" % len(INSIDE) + INSIDE,
    "a length with a sign": b"Content-Length: +%d\r\n\r\n" % len(INSIDE) + INSIDE,
    "a length with a space": b"Content-Length : %d\r\n\r\n" % len(INSIDE) + INSIDE,
    "a length in hexadecimal": b"Content-Length: 0x24\r\n\r\n" + INSIDE,
    "a length in other digits": "Content-Length: \u0663\r\n\r\n".encode() + INSIDE,
    "a folded coding": b"Transfer-Encoding:\r\n chunked\r\n" + LENGTH + b"\r\n0\r\n\r\n" + INSIDE,
    "a folded length": b"X-A: a\r\n Content-Length: 0\r\n" + LENGTH + b"\r\n" + INSIDE,
    "a coding with a tab": b"Transfer-Encoding:\tchunked\r\n" + LENGTH + b"\r\n0\r\n\r\n" + INSIDE,
    "a coding with a vertical tab": b"Transfer-Encoding: \x0bchunked\r\n" + LENGTH + b"\r\n0\r\n\r\n" + INSIDE,
    "a coding with a space before its colon": b"Transfer-Encoding : chunked\r\n" + LENGTH + b"\r\n0\r\n\r\n" + INSIDE,
    "a coding in quotes": b'Transfer-Encoding: "chunked"\r\n' + LENGTH + b"\r\n0\r\n\r\n" + INSIDE,
    "a coding with an underscore": b"Transfer_Encoding: chunked\r\n" + LENGTH + b"\r\n0\r\n\r\n" + INSIDE,
    "chunked twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + INSIDE,
    "chunked, then identity": b"Transfer-Encoding: chunked, identity\r\n" + LENGTH + b"\r\n0\r\n\r\n" + INSIDE,
    "identity": b"Transfer-Encoding: identity\r\n" + LENGTH + b"\r\n" + INSIDE,
    "line feeds alone in the head": b"X-A: a\nContent-Length: 0\r\n" + LENGTH + b"\r\n" + INSIDE,
    "an empty line of a line feed": LENGTH + b"\n" + INSIDE,
    "a carriage return alone": b"X-A: a\rTransfer-Encoding: chunked\r\n" + LENGTH + b"\r\n0\r\n\r\n" + INSIDE,
    "a null byte": b"X-A: a\0\r\nTransfer-Encoding: chunked\0\r\n" + LENGTH + b"\r\n0\r\n\r\n" + INSIDE,
    "chunks that end in line feeds": b"Transfer-Encoding: chunked\r\n\r\n1\na\n0\n\n" + INSIDE,
    "a chunk size with a sign": b"Transfer-Encoding: chunked\r\n\r\n+1\r\na\r\n0\r\n\r\n" + INSIDE,
    "a chunk size in 0x": b"Transfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n" + INSIDE,
    "a chunk size beyond 64 bits": b"Transfer-Encoding: chunked\r\n\r\n10000000000000001\r\na\r\n0\r\n\r\n" + INSIDE,
    "a chunk that is longer than it says": b"Transfer-Encoding: chunked\r\n\r\n1\r\naaaa\r\n0\r\n\r\n" + INSIDE,
    "an extension with a line feed": b"Transfer-Encoding: chunked\r\n\r\n1;a\nb\r\na\r\n0\r\n\r\n" + INSIDE,
    "a length in the trailer": b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + LENGTH + b"\r\n" + INSIDE,
    "a body that nobody expects": b"\r\n" + INSIDE,
}


def test_no_replica_sees_a_request_that_the_proxy_did_not(deployment: Deployment) -> None:
    """A request inside of another one gets past what the proxy forbids, and its response goes to somebody else."""
    processes = deployment.behind.processes()
    for number, rest in enumerate(AMBIGUOUS.values()):
        for method in ("GET", "POST"):
            marked = rest.replace(b"/inside", b"/inside-%d" % number)
            statuses = deployment.behind.send(f"{method} /outside-{number} HTTP/1.1\r\n".encode() + HOST + marked)
            assert {status // 100 for status in statuses} <= {4, 5}, statuses
            assert {status for status in statuses if status >= 500} <= REFUSALS, (list(AMBIGUOUS)[number], statuses)
    for _ in range(4):  # one for each worker: a request that was left on a connection would come before it
        deployment.behind.send(b"GET /last HTTP/1.1\r\nHost: a\r\n\r\n")
    deadline = time.monotonic() + SECONDS
    while deployment.handled()["GET /last"] < 4 or deployment.proxied()["GET /last"] < 4:
        assert time.monotonic() < deadline, f"after {SECONDS} s: the last requests are in no log"
        time.sleep(0.1)

    proxied, handled = deployment.proxied(), deployment.handled()
    names = {f"/{kind}-{number}": name for number, name in enumerate(AMBIGUOUS) for kind in ("inside", "outside")}
    smuggled = {names.get(line.partition(" ")[2], line) for line in handled - proxied}

    assert not smuggled, f"handled by a replica, and unknown to the proxy: {smuggled}"
    assert sum(count for line, count in proxied.items() if "outside" in line) > 10, "hardly anything reached a replica"
    assert deployment.behind.processes() == processes, "a worker has ended"


def mostly(usual: bytes, *others: bytes) -> st.SearchStrategy[bytes]:
    """Return what is usual nine times of ten, so that a request is seldom wrong in all its parts."""
    return st.integers(0, 9).flatmap(lambda one: st.sampled_from(others) if one == 0 else st.just(usual))


NAMES = st.sampled_from(
    [b"Content-Length", b"Transfer-Encoding", b"Connection", b"Expect", b"Cookie", b"Range", b"Host", b"Accept", b"X-A"]
)
VALUES = st.sampled_from(
    [
        *(b"a", b"", b"0", b"5", b"-1", b"99999999999999999999", b"chunked", b"gzip, chunked", b"close"),
        *(b"keep-alive, upgrade", b"100-continue", b"bytes=0-", b"a" * 9000, b"\xff\xfe", b"\0", b"a\x0bb"),
    ]
)
HEADER = st.tuples(NAMES | st.binary(max_size=12), mostly(b": ", b":", b" : ", b"", b"\t:"), VALUES).map(b"".join)
METHOD = mostly(b"GET", b"POST", b"get", b"PRI", b"G\xc3\xa9T", b"", b"OPTIONS", b"CONNECT", b"TRACE")
TARGET = st.sampled_from(
    [b"/", b"*", b"//", b"/\xff", b"/%", b"/%00", b"http://a/", b"a:1", b"/?%", b"", b"/" + b"a" * 9000]
)
VERSION = mostly(b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9", b"HTTP/9.9", b"http/1.1", b"", b"HTTP/1.1 a")
REQUEST = st.builds(
    lambda space, line, headers, end, body: end.join([space.join(line), b"Host: a", *headers, b"", body]),
    mostly(b" ", b"  ", b"\t"),
    st.tuples(METHOD, TARGET | st.binary(max_size=3).map(b"/".__add__), VERSION),
    st.lists(HEADER, max_size=3),
    mostly(b"\r\n", b"\n", b"\r"),
    mostly(b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"zz\r\n") | st.binary(max_size=60),
)
ANY = settings(
    max_examples=600,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
seen: Counter[int] = Counter()


@pytest.mark.parametrize("how", ["alone", "behind"])
def test_malformed_requests_harm_nobody(deployment: Deployment, how: str) -> None:
    """No request is the service's fault, ends a worker, or leaves a line that a collector cannot read."""
    server: Server = getattr(deployment, how)
    processes, errors = server.processes(), [line for line in server.log() if line["level"] in {"ERROR", "CRITICAL"}]

    @seed(1)
    @ANY
    @given(raw=REQUEST)
    def send(raw: bytes) -> None:
        statuses = server.send(raw)
        seen.update(statuses)
        assert {status for status in statuses if status >= 500} <= REFUSALS, statuses

    seen.clear()
    send()

    assert sum(seen.values()) > 200, seen
    assert min(sum(count for status, count in seen.items() if status // 100 == kind) for kind in (2, 4)) > 5, seen
    assert server.processes() == processes, "a worker has ended"
    assert server.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") == [200]
    assert [line for line in server.log() if line["level"] in {"ERROR", "CRITICAL"}] == errors
