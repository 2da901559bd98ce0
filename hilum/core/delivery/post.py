"""HTTP POST to an address that a person configured, by ``hilum.core.outgoing``: no redirect is followed, and a whole
exchange has one time limit and reads little."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

import httpcore

from hilum.core.outgoing import Network
from hilum.core.trust import trusting

TOTAL_SECONDS: Final = 15.0
MOST_ANSWER_BYTES: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered: the status, and its Retry-After as it stands there."""

    status: int
    retry_after: str


class Post:
    """Sends to one address, over one connection that is kept open between requests; used by one thread at a time.

    Parameters
    ----------
    url
        Where to.
    authorities
        Certificates that are believed over TLS beside the system's; see `trusting`.
    seconds
        How long one exchange may take from its beginning to its end.
    """

    def __init__(self, url: str, authorities: Path | None = None, seconds: float = TOTAL_SECONDS) -> None:
        self._url = url
        self._seconds = seconds
        self._network = Network()
        self._pool = httpcore.ConnectionPool(
            ssl_context=trusting(authorities) if url.lower().startswith("https:") else None,
            max_connections=1,
            network_backend=self._network,
        )

    def __enter__(self) -> "Post":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._pool.close()

    def send(self, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send a body, and read the status of the answer.

        Raises
        ------
        Forbidden
            The name stands for addresses only to which nothing is sent.
        httpcore.ConnectError, httpcore.ConnectTimeout
            Nobody is there.
        httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError
            Somebody is, but did not answer in time, or no HTTP.
        """
        self._network.deadline = time.monotonic() + self._seconds
        fields = [(name.encode(), value.encode()) for name, value in headers.items()]
        with self._pool.stream("POST", self._url, headers=fields, content=body) as response:
            answer = Answer(response.status, _field(response.headers, b"retry-after"))
            # Read to its end, the connection can be used again; what is longer is cut off with it.
            read = 0
            for chunk in response.iter_stream():
                read += len(chunk)
                if read > MOST_ANSWER_BYTES:
                    break
        return answer


def _field(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in headers if key.lower() == name), "")
