"""Carries relayed associations over NATS: keeps the connection, opens associations and answers those that are opened,
and hands each message to the association it belongs to. Everything here runs in one event loop."""

# pyright: reportUnknownMemberType=false

import asyncio
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID, uuid4

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from hilum.core.errors import Unavailable
from hilum.core.nats import NatsOptions, close, connect
from hilum.imaging.relay import counts
from hilum.imaging.relay import frames as f
from hilum.imaging.relay.frames import Frame, Kind, NotRelay, Opening, OtherVersion, Packet, Refusal, Way
from hilum.imaging.relay.pump import Ends, Pump

OPEN_SECONDS: Final = 15.0
_TICK_SECONDS: Final = 0.2
_HEALTH_SECONDS: Final = 5.0
_LONG_SECONDS: Final = 600
_AGAIN_SECONDS: Final = 0.5
_LINGER_SECONDS: Final = 10.0
_TELL_SECONDS: Final = 10.0
_REASONS: Final = frozenset(("limit", "stopping", "unknown_title", "unreachable", "version"))
_LOST: Final = (NatsError, OSError, TimeoutError)

log = structlog.get_logger()

Accept = Callable[[Opening], Awaitable[socket.socket]]
"""Connects an association that is opened to where it belongs; raises `Refused`."""


class Refused(Exception):
    """An association cannot be opened: ``limit``, ``stopping``, ``unknown_title``, ``unreachable``, ``version``,
    ``refused`` for what else the other end may say; or ``no_answer``, when nobody takes it at all."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason: Final = reason


@dataclass(frozen=True, slots=True)
class Door:
    """Associations that are answered here: those that are opened on a channel in a direction."""

    channel: str
    way: Way
    accept: Accept


@dataclass(slots=True)
class Carrier:
    """The associations of a process, and its connection to NATS.

    Parameters
    ----------
    options : NatsOptions
        Where NATS is.
    channels : sequence of str
        The channels that it works on.
    doors : sequence of Door
        What is answered.
    silence : float
        After so many seconds without a word from its other end an association is aborted.
    limit : int
        Most associations at once that others open.
    """

    options: NatsOptions
    channels: Sequence[str]
    doors: Sequence[Door]
    silence: float
    limit: int
    _peer: str = field(default_factory=lambda: uuid4().hex)
    _pumps: dict[UUID, Pump] = field(default_factory=dict[UUID, Pump])
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set["asyncio.Task[None]"])
    _opening: set[UUID] = field(default_factory=set[UUID])
    _ignored: "Counter[str]" = field(default_factory=Counter[str])
    _client: Client | None = None
    _answering: list[Subscription] = field(default_factory=list[Subscription])
    _stopping: bool = False

    @property
    def connected(self) -> bool:
        """Whether NATS is there."""
        return self._client is not None and self._client.is_connected

    @property
    def active(self) -> int:
        """How many associations there are."""
        return sum(1 for pump in list(self._pumps.values()) if not pump.ended_at)

    async def run(self) -> None:
        """Keep the connection until the task is cancelled; then abort what is left."""
        ticking = asyncio.create_task(self._tick())
        try:
            while True:
                await self._hold()
                await asyncio.sleep(_AGAIN_SECONDS)
        finally:
            ticking.cancel()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            if self._client is not None:
                await close(self._client)

    async def leave(self) -> None:
        """Have no more associations opened here."""
        self._stopping = True
        for subscription in self._answering:
            with suppress(*_LOST):
                await subscription.unsubscribe()
        self._answering.clear()

    async def drain(self, seconds: float) -> None:
        """Take no more, and wait for what there is; what is left then is aborted."""
        await self.leave()
        deadline = asyncio.get_running_loop().time() + seconds
        while self.active and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(_TICK_SECONDS / 2)
        for pump in list(self._pumps.values()):
            if not pump.ended_at:
                await pump.abort("stopping")

    async def open(self, channel: str, way: Way, called: str, calling: str, connection: socket.socket) -> Pump:
        """Open an association; the caller is to run what it is given.

        Parameters
        ----------
        channel, way
            Who is to answer.
        called, calling : str
            AE titles.
        connection : socket.socket
            The peer's, not blocking.

        Raises
        ------
        Refused
            Nobody takes it.
        """
        for _ in range(2):
            association = uuid4()
            try:
                answer = await self._ask(channel, way, association, Opening(self._peer, called, calling))
            except Refused as error:
                if error.reason in ("limit", "stopping"):  # another of the group may take it
                    continue
                raise
            pump = Pump(Ends(association, channel, answer.peer, True), connection, self.silence, self._post)
            self._pumps[association] = pump
            counts.ASSOCIATIONS.labels("relayed").inc()
            log.info("relay.opened", association=str(association), channel=channel, way=way)
            return pump
        raise Refused("limit")

    async def _ask(self, channel: str, way: Way, association: UUID, opening: Opening) -> Opening:
        client = self._client
        if client is None:
            raise Refused("no_answer")
        data = f.frame_bytes(Frame(association, True, f.opening_packet(Kind.OPEN, opening)))
        try:
            answer = await client.request(f.open_subject(channel, way), data, timeout=OPEN_SECONDS)
            frame = f.read_frame(answer.data)
            if frame.association != association or frame.from_opener:
                raise NotRelay("foreign")
            if frame.packet.kind == Kind.REFUSE:
                reason = f.read_refusal(frame.packet)
                raise Refused(reason if reason in _REASONS else "refused")
            if frame.packet.kind != Kind.ACCEPT:
                raise NotRelay("foreign")
            return f.read_opening(frame.packet)
        except NotRelay as error:
            self._ignore(error)
            raise Refused("no_answer") from error
        except (NoRespondersError, *_LOST) as error:
            raise Refused("no_answer") from error

    async def _hold(self) -> None:
        """One connection, from its beginning until it is lost."""
        client = None
        try:
            client = await connect(self.options)
            if client.max_payload < f.LONGEST:
                raise Unavailable(f"It takes too short messages: set max_payload to {f.LONGEST} or more.")
            for channel in self.channels:
                await client.subscribe(f.peer_subject(channel, self._peer), cb=self._arrived)
            for door in () if self._stopping else self.doors:
                subject = f.open_subject(door.channel, door.way)
                self._answering.append(await client.subscribe(subject, f.QUEUE, cb=self._opener(door)))
            await client.flush(int(_HEALTH_SECONDS))
            self._client = client
            log.info("relay.connected")
            for pump in list(self._pumps.values()):
                await pump.tick(again=True)
            while client.is_connected:
                await self._rest(client)
                await _check(client)
        except Unavailable as error:
            log.warning("relay.not_connected", reason=str(error))
        except _LOST as error:
            log.warning("relay.lost", error=type(error).__name__)
        finally:
            self._client = None
            self._answering.clear()
            if client is not None:
                await close(client)

    async def _rest(self, client: Client) -> None:
        """Pass the time until the connection is to be looked at again."""
        until = asyncio.get_running_loop().time() + _HEALTH_SECONDS
        while client.is_connected and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(_TICK_SECONDS)

    def _opener(self, door: Door) -> Callable[[Msg], Awaitable[None]]:
        async def opened(message: Msg) -> None:
            self._start(self._answer(door, message))

        return opened

    def _start(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, door: Door, message: Msg) -> None:
        """Answer an opening, and carry the association if it is accepted."""
        try:
            frame = f.read_frame(message.data)
            known = frame.association in self._pumps or frame.association in self._opening
            if frame.packet.kind != Kind.OPEN or not frame.from_opener or known:
                raise NotRelay("foreign")
            opening = f.read_opening(frame.packet)
        except OtherVersion as error:
            self._ignore(error)
            return await self._reply(message, Frame(UUID(int=0), False, _refusal("version")))
        except NotRelay as error:
            self._ignore(error)
            return None
        self._opening.add(frame.association)
        try:
            connection = await self._admit(door, opening)
        except Refused as error:
            counts.REJECTED.labels(error.reason).inc()
            log.warning("relay.refused", association=str(frame.association), why=error.reason)
            return await self._reply(message, Frame(frame.association, False, _refusal(error.reason)))
        finally:
            self._opening.discard(frame.association)
        pump = Pump(Ends(frame.association, door.channel, opening.peer, False), connection, self.silence, self._post)
        self._pumps[frame.association] = pump
        counts.ASSOCIATIONS.labels("answered").inc()
        log.info("relay.accepted", association=str(frame.association), channel=door.channel, way=door.way)
        accept = f.opening_packet(Kind.ACCEPT, Opening(self._peer))
        await self._reply(message, Frame(frame.association, False, accept))
        await pump.run()
        return None

    async def _admit(self, door: Door, opening: Opening) -> socket.socket:
        if self._stopping:
            raise Refused("stopping")
        if self.active + len(self._opening) > self.limit:
            raise Refused("limit")
        return await door.accept(opening)

    async def _reply(self, message: Msg, frame: Frame) -> None:
        if message.reply:
            await self._publish(message.reply, frame)

    async def _arrived(self, message: Msg) -> None:
        """Hand a message to its association; what belongs to none is counted and forgotten."""
        try:
            frame = f.read_frame(message.data)
        except NotRelay as error:
            self._ignore(error)
            return
        pump = self._pumps.get(frame.association)
        if pump is None or frame.from_opener == pump.ends.opener:
            self._ignore(NotRelay("unknown_association"))
            return
        await pump.receive(frame.packet)

    def _ignore(self, error: NotRelay) -> None:
        self._ignored[str(error)] += 1
        counts.IGNORED.labels(str(error)).inc()

    async def _post(self, ends: Ends, frame: Frame) -> None:
        await self._publish(f.peer_subject(ends.channel, ends.peer), frame)

    async def _publish(self, subject: str, frame: Frame) -> None:
        client = self._client
        if client is not None:
            with suppress(*_LOST):  # as lost as on the way: the stream repeats it
                await client.publish(subject, f.frame_bytes(frame))

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        told, tell_at = 0, loop.time()
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            now = loop.time()
            for pump in list(self._pumps.values()):
                if pump.over(now, _LINGER_SECONDS, self.silence):
                    del self._pumps[pump.ends.id]
                else:
                    await pump.tick()
            if self._ignored.total() != told and now >= tell_at:
                told, tell_at = self._ignored.total(), now + _TELL_SECONDS
                log.warning("relay.ignored", **self._ignored)


async def _check(client: Client) -> None:
    """Ask whether the server is there; raises ``TimeoutError`` when for some time nothing at all comes from it. Behind
    much that is sent over a slow link its answer may take long."""
    asking = asyncio.create_task(client.flush(_LONG_SECONDS))
    try:
        while not asking.done():
            heard = client.stats["in_msgs"]
            await asyncio.wait((asking,), timeout=_HEALTH_SECONDS)
            if not asking.done() and client.stats["in_msgs"] == heard:
                raise TimeoutError
        await asking
    finally:
        asking.cancel()


def _refusal(reason: str) -> Packet:
    return f.opening_packet(Kind.REFUSE, Refusal(reason))
