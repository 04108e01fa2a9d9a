"""Load on a port of this machine: as much as goes by wrk, and a constant rate by h2load."""

import re
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

CONNECTIONS = 32
# Closed connections whose ports are not free yet, at most, before a measurement that opens ten thousand more.
PORTS_IN_USE = 4000
# Requests a second on each connection of a constant rate. Few, so that a slow response holds up no other request.
RATE_PER_CONNECTION = 8
PERCENTILES = {"median (ms)": 50, "99 of 100 within (ms)": 99, "999 of 1000 within (ms)": 99.9}


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())
        raise SystemExit(f"{command[0]} failed with exit code {done.returncode}: {said}")
    return done.stdout


def throughput(port: int, seconds: int, *options: str) -> float:
    """Return the requests a second that wrk gets answered with 200."""
    load = ("-t2", f"-c{CONNECTIONS}", f"-d{seconds}s", *options)
    said = _output("wrk", *load, f"http://127.0.0.1:{port}/")
    if refused := re.search(r"Non-2xx.*", said):
        raise SystemExit(f"not every response was a 200: {refused[0]}")
    return float(re.findall(r"Requests/sec: +([\d.]+)", said)[0])


def wait_for_ports(seconds: float = 70) -> None:
    """Wait until most ports of this machine can be used again, where Linux keeps those of closed connections a minute.

    Engine and container talk at one address, whichever container it is. Beyond some 14,000 closed connections to it,
    Linux searches for a free port: a new one takes milliseconds, and the last to be measured would pay for all.
    """
    kernel = Path("/proc/sys/net/ipv4/tcp_tw_reuse"), Path("/proc/net/sockstat")
    if not all(file.exists() for file in kernel) or kernel[0].read_text().strip() == "1":
        return
    deadline = time.monotonic() + seconds
    while int(re.findall(r"tw (\d+)", kernel[1].read_text())[0]) > PORTS_IN_USE and time.monotonic() < deadline:
        time.sleep(1)


def latency(port: int, rate: float, seconds: int) -> dict[str, float]:
    """Return the percentiles of the latency in milliseconds under a constant rate of requests on kept connections.

    Requests are sent when they are due, whatever became of others, unless their own connection still waits for one.
    """
    connections = max(1, round(rate / RATE_PER_CONNECTION))
    requests = connections * RATE_PER_CONNECTION * seconds
    # The connections begin one after the other, so that their requests do not come all at once.
    each_millisecond = -(-connections * RATE_PER_CONNECTION // 1000)
    spread = (f"--rate={each_millisecond}", "--rate-period=1ms", f"--rps={RATE_PER_CONNECTION}")
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        load = ("--h1", f"--clients={connections}", f"--requests={requests}", *spread, f"--log-file={log}")
        _output("h2load", *load, f"http://127.0.0.1:{port}/")
        _, status, microseconds = np.loadtxt(log, ndmin=2).T
    if refused := requests - int(np.sum(status == 200)):
        raise SystemExit(f"not every response was a 200: {refused} of {requests}")
    values = np.percentile(microseconds / 1000, list(PERCENTILES.values()), method="inverted_cdf").tolist()
    return dict(zip(PERCENTILES, values, strict=True))
