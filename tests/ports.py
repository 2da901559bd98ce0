"""Ports for servers of tests, which take theirs a while after they were told it.

They lie below those that the kernel gives to connections, which would take one away in that while, and above those
that servers are known by; each process of a run has a share of its own, and gives none twice."""

import itertools
import os
import secrets
import socket
from collections.abc import Iterator
from typing import Final

FIRST: Final = 12_000
AFTER_LAST: Final = 32_000


def _share() -> range:
    """The ports of this process: of all, as many as of the other workers of pytest-xdist."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    every = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    size = (AFTER_LAST - FIRST) // every
    first = FIRST + number % every * size  # one that came in the place of another has a higher number
    return range(first, first + size)


def _ports() -> Iterator[int]:
    share = _share()
    begin = secrets.randbelow(len(share))  # beside another run on the same machine
    return itertools.cycle((*share[begin:], *share[:begin]))


_NEXT: Final = _ports()


def free_port() -> int:
    """A port that nobody listens on, and nobody else is given."""
    for port in itertools.islice(_NEXT, AFTER_LAST - FIRST):
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return port
    raise OSError("there is no free port")
