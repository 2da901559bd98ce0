"""What answers relayed associations: a process's own DICOM listener, or an application entity at a configured
address."""

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from hilum.core.errors import Invalid
from hilum.imaging.dimse.peers import Place, parse_peers
from hilum.imaging.relay.carrier import Refused
from hilum.imaging.relay.frames import Opening

CONNECT_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Targets:
    """Where associations lead, by called AE title.

    Attributes
    ----------
    places : mapping of str to Place
        Application entities elsewhere.
    own : callable or None
        Takes the connections of all other titles; without it those are refused.
    """

    places: Mapping[str, Place]
    own: Callable[[socket.socket], None] | None = None

    async def accept(self, opening: Opening) -> socket.socket:
        """Connect an association; raises ``Refused`` where that cannot be."""
        place = self.places.get(opening.called)
        if place is not None:
            return await _connected(place)
        if self.own is None:
            raise Refused("unknown_title")
        mine, other = connected_pair()
        self.own(other)
        mine.setblocking(False)
        return mine


def parse_targets(entries: Sequence[str], setting: str) -> Mapping[str, Place]:
    """Read ``TITLE=host:port``.

    Raises
    ------
    Invalid
        An entry is of no such form, or a title is listed twice.
    """
    places = {title: place for title, place in parse_peers(entries).items() if place is not None}
    if len(places) != len(entries) or any(place.tls or place.channel for place in places.values()):
        raise Invalid(f"{setting} lists AE titles with where each listens, TITLE=host:port.")
    return places


def connected_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a TCP connection within this process; a DICOM listener asks for TCP's own options."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        mine = socket.create_connection(door.getsockname())
        while True:
            other, address = door.accept()
            if address == mine.getsockname():
                return mine, other
            other.close()  # somebody else's who was faster


async def _connected(place: Place) -> socket.socket:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            for family, kind, protocol, _, address in await loop.getaddrinfo(
                place.host, place.port, type=socket.SOCK_STREAM
            ):
                connection = socket.socket(family, kind, protocol)
                connection.setblocking(False)
                try:
                    await loop.sock_connect(connection, address)
                except BaseException as error:
                    connection.close()
                    if not isinstance(error, OSError):
                        raise
                else:
                    return connection
    except (OSError, TimeoutError) as error:
        raise Refused("unreachable") from error
    raise Refused("unreachable")
