"""A balancer and its clients in one small program, for the exercise on updates: counts the requests that are lost.

    python3 workshop/balancer.py 5001 5002 --seconds 10

Sends requests to the replicas at these ports in turn, and asks each for /readyz every half second. A replica that did
not respond with status 200 twice in a row gets nothing more. No request is sent twice: nobody can know whether the
service has begun to carry it out.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import threading
import time

CLIENTS = 4
SECONDS_BETWEEN_LOOKS = 0.5
LOOKS = 2


class Balancer:
    """Sends requests from the moment it is entered until it is left."""

    def __init__(self, *ports: int) -> None:
        """Begin with the replicas at some ports of this machine, which must be ready."""
        self.failed_looks = dict.fromkeys(ports, 0)
        self.said_503: set[int] = set()
        self.sent = 0
        self.lost: list[str] = []
        self._turn = itertools.count()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._client) for _ in range(CLIENTS)]
        for port in ports:
            self._threads.append(threading.Thread(target=self._look, args=(port,)))

    def __enter__(self) -> Balancer:
        """Begin to send."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop sending, and wait for what is in flight."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def add(self, port: int) -> None:
        """Send to one more replica, which must be ready."""
        self.failed_looks[port] = 0
        thread = threading.Thread(target=self._look, args=(port,))
        self._threads.append(thread)
        thread.start()

    def wait_for(self, requests: int, seconds: float = 60) -> None:
        """Wait until so many more requests have been sent; raise TimeoutError."""
        deadline, enough = time.monotonic() + seconds, self.sent + requests
        while self.sent < enough:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{requests} requests were not sent within {seconds:.0f} s")
            time.sleep(0.05)

    def _look(self, port: int) -> None:
        while self.failed_looks[port] < LOOKS and not self._over.wait(SECONDS_BETWEEN_LOOKS):
            status = ask(port, "/readyz")
            if status == "503":
                self.said_503.add(port)
            self.failed_looks[port] = 0 if status == "200" else self.failed_looks[port] + 1

    def _client(self) -> None:
        while not self._over.wait(0.01):
            ready = [port for port, failed in list(self.failed_looks.items()) if failed < LOOKS]
            port = ready[next(self._turn) % len(ready)] if ready else None
            seen = ask(port, "/") if port else "no replica is ready"
            with self._lock:
                self.sent += 1
                if seen != "200":
                    self.lost.append(seen)


def ask(port: int, path: str) -> str:
    """Return the status of a page, or what became of the request instead."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        return str(connection.getresponse().status)
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    finally:
        connection.close()


def main() -> None:
    """Send for some seconds; print what was lost."""
    parser = argparse.ArgumentParser(description="Balance requests over replicas, and count those that are lost.")
    parser.add_argument("ports", type=int, nargs="+")
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    with Balancer(*options.ports) as balancer:
        time.sleep(options.seconds)
    kinds = ", ".join(f"{balancer.lost.count(kind)} {kind}" for kind in sorted(set(balancer.lost)))
    print(f"{balancer.sent} requests, {len(balancer.lost)} lost{f': {kinds}' if kinds else ''}")


if __name__ == "__main__":
    main()
