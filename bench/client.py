"""A plain client over one kept connection, the same for both sides, so that its own cost is the same too."""

import http.client
import json
import socket
import time
from collections.abc import Callable
from statistics import median, quantiles
from typing import Self

from bench.processes import Failed


def free_port() -> int:
    """A port of loopback that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Client:
    """Requests to one server over one connection, made anew when the server has closed it for having rested."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def request(
        self, method: str, path: str, body: bytes | None = None, accept: str = "*/*", expected: int = 200
    ) -> bytes:
        """Send one request, which is answered with the status that is expected, and return the body of its answer."""
        try:
            response = self._ask(method, path, body, accept)
        except ConnectionError:
            self._connection.close()
            response = self._ask(method, path, body, accept)
        content = response.read()
        if response.status != expected:
            raise Failed(f"{method} {path} answered {response.status}: {content[:500].decode(errors='replace')}")
        return content

    def _ask(self, method: str, path: str, body: bytes | None, accept: str) -> http.client.HTTPResponse:
        self._connection.request(method, path, body, {"Accept": accept})
        return self._connection.getresponse()

    def get_count(self, path: str, name: str) -> int:
        """Get a JSON object and return its number `name`."""
        return int(json.loads(self.request("GET", path, accept="application/json"))[name])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def answers(port: int, path: str) -> Callable[[], bool]:
    """Whether a GET of `path` is answered with 200 now."""

    def ready() -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    return ready


def latency_ms(request: Callable[[], object], most: int = 200, seconds: float = 5.0) -> tuple[float, float]:
    """Median and 95th percentile of a request in ms: 5 to warm up, then as many as fit in `seconds`, 20 to `most`."""
    for _ in range(5):
        request()
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < 20 or (len(times) < most and time.perf_counter() - began < seconds):
        start = time.perf_counter()
        request()
        times.append((time.perf_counter() - start) * 1000)
    return median(times), quantiles(times, n=20)[-1]
