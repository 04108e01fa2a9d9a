"""A small load: many clients at once, each on a connection that it keeps."""

import http.client
from concurrent.futures import ThreadPoolExecutor

from tests.container import docker


def load(container: docker.Container, requests: int, clients: int, method: str = "GET", path: str = "") -> list[str]:
    """Send requests for the page, or another path, from `clients` connections, `requests` in all.

    Return what went wrong, one entry a lost request.
    """
    with ThreadPoolExecutor(clients) as pool:
        lost = pool.map(lambda _: _client(container, requests // clients, method, path), range(clients))
        return [problem for problems in lost for problem in problems]


def _client(container: docker.Container, requests: int, method: str, path: str) -> list[str]:
    lost = []
    expected = 200 if path else container.page.status
    connection = container.connect()
    for _ in range(requests):
        try:
            connection.request(method, path or container.page.path)
            response = connection.getresponse()
            response.read()
            if response.status != expected:
                lost.append(f"status {response.status}")
        except (OSError, http.client.HTTPException) as error:
            lost.append(repr(error))
            connection.close()  # the next request opens a new one
    connection.close()
    return lost
