"""The relay beside a DICOM listener: answers the associations of its channels, and gives what Hilum itself sends to an
edge a way there. All of it runs in a thread of its own."""

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine, Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from hilum.core.config import Settings
from hilum.core.errors import Invalid
from hilum.core.nats import NatsOptions
from hilum.core.supervise import bind
from hilum.imaging.dimse.peers import parse_peers, parse_sources
from hilum.imaging.relay.carrier import Carrier, Door
from hilum.imaging.relay.frames import check_channel
from hilum.imaging.relay.front import Entrance, Front
from hilum.imaging.relay.targets import Targets, parse_targets

_DRAIN_SECONDS: Final = 5.0


@dataclass(slots=True)
class Inside:
    """The relay of one listener's process.

    Parameters
    ----------
    carrier : Carrier
        Its connection to the bus.
    outlets : list of tuple
        Listening sockets of loopback, each with who may use it for what.
    """

    carrier: Carrier
    outlets: list[tuple[socket.socket, Entrance]]
    own: Callable[[socket.socket], None] | None = None
    _loop: asyncio.AbstractEventLoop | None = None
    _thread: threading.Thread | None = None
    _ready: threading.Event = field(default_factory=threading.Event)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, connection: socket.socket) -> None:
        """Hand a relayed connection to the listener."""
        assert self.own is not None
        self.own(connection)

    def answer(self, own: Callable[[socket.socket], None]) -> None:
        """Begin; ``own`` takes the connections that are for Hilum."""
        self.own = own
        self._thread = threading.Thread(target=asyncio.run, args=(self._run(),), name="relay", daemon=True)
        self._thread.start()
        self._ready.wait()

    def leave(self) -> None:
        """Have no more associations opened here."""
        self._wait(self.carrier.leave())

    def close(self) -> None:
        """Wait a little for the associations that are left, and end."""
        self._wait(self.carrier.drain(_DRAIN_SECONDS))
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(_DRAIN_SECONDS)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        fronts = [Front(listening, self.carrier, entrance) for listening, entrance in self.outlets]
        tasks = [self._loop.create_task(work) for work in (self.carrier.run(), *(front.run() for front in fronts))]
        self._ready.set()
        await self._stop.wait()
        for front in fronts:
            await front.stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _wait(self, work: Coroutine[object, object, None]) -> None:
        if self._loop is None:
            work.close()
            return
        with suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(work, self._loop).result(2 * _DRAIN_SECONDS)


@contextmanager
def open_inside(settings: Settings) -> Generator[tuple[Inside | None, Settings]]:
    """Put the relay of a listener together: it, or None where no setting asks for one, and the settings with which the
    listener reaches peers behind a proxy. Leaving the block ends it.

    Raises
    ------
    Invalid
        A setting is none.
    """
    check_inside(settings)
    peers = parse_peers(settings.dicom_peers)
    away = {title: place.channel for title, place in peers.items() if place is not None and place.channel}
    if not settings.relay_channels and not away:
        yield None, settings
        return
    with ExitStack() as stack:
        sockets = {title: stack.enter_context(bind("127.0.0.1", 0)) for title in away}
        changed = [
            f"{title}=127.0.0.1:{sockets[title].getsockname()[1]}" if title in sockets else entry
            for title, entry in zip(peers, settings.dicom_peers, strict=True)
        ]
        callers = frozenset((settings.aet, *parse_sources(settings.dicom_sources)))
        outlets = [
            (one, Entrance(away[title], "out", callers, frozenset((title,)), settings.dicom_max_associations))
            for title, one in sockets.items()
        ]
        carrier = Carrier(
            NatsOptions.of(settings, "hilum dicom"),
            sorted({*settings.relay_channels, *away.values()}),
            (),
            settings.relay_silence_seconds,
            settings.dicom_max_associations,
        )
        inside = Inside(carrier, outlets)
        targets = Targets(parse_targets(settings.dicom_targets, "HILUM_DICOM_TARGETS"), inside.take)
        carrier.doors = [Door(channel, "in", targets.accept) for channel in settings.relay_channels]
        try:
            yield inside, settings.model_copy(update={"dicom_peers": changed})
        finally:
            inside.close()


def check_inside(settings: Settings) -> None:
    """Check what the settings say of the relay.

    Raises
    ------
    Invalid
        A setting is none, or NATS is not named.
    """
    for channel in settings.relay_channels:
        check_channel(channel)
    parse_targets(settings.dicom_targets, "HILUM_DICOM_TARGETS")
    away = any(place is not None and place.channel for place in parse_peers(settings.dicom_peers).values())
    if (settings.relay_channels or away) and not settings.nats_url:
        raise Invalid("A channel of the relay needs NATS: name it by --nats, or in HILUM_NATS_URL.")
