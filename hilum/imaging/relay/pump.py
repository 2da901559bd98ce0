"""One relayed association at one end: what its connection says goes into the stream, and what the stream brings goes
into the connection. When either breaks, both ends are told, and the peer by A-ABORT where that cannot be taken for
data."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import structlog

from hilum.imaging.dimse.pdu import abort_bytes
from hilum.imaging.dimse.problems import BY_PROVIDER, NOT_SPECIFIED
from hilum.imaging.relay import counts
from hilum.imaging.relay.boundary import Boundary
from hilum.imaging.relay.frames import CHUNK, Frame, Kind, Packet
from hilum.imaging.relay.stream import Stream

_FINISH_SECONDS: Final = 2.0
_RESET: Final = struct.pack("ii", 1, 0)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Ends:
    """Which association it is, and where its other end is.

    Attributes
    ----------
    id : UUID
        Made by the opener.
    channel, peer : str
        The channel, and the process at its other end.
    opener : bool
        Whether this end opened it.
    """

    id: UUID
    channel: str
    peer: str
    opener: bool


class Pump:
    """A relayed association at one end.

    Parameters
    ----------
    ends : Ends
        Which it is.
    connection : socket.socket
        The peer's, not blocking; `run` closes it.
    silence : float
        After so many seconds without a word from the other end it is aborted.
    post : callable
        Sends a message to the other end; what cannot be sent is as good as lost on the way.
    """

    def __init__(
        self, ends: Ends, connection: socket.socket, silence: float, post: Callable[[Ends, Frame], Awaitable[None]]
    ) -> None:
        self.ends: Final = ends
        self.ended_at: float = 0.0
        """When the connection was done with; what is repeated is still answered for a while. 0 before."""
        self._connection = connection
        self._post = post
        self._loop = asyncio.get_running_loop()
        self._stream = Stream(self._loop.time(), silence)
        self._boundary = Boundary()
        self._writing = False
        self._sent = counts.BYTES.labels("sent")
        self._received = counts.BYTES.labels("received")
        self._changed = asyncio.Event()
        with suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def run(self, first: bytes = b"") -> None:
        """Carry it to its end.

        Parameters
        ----------
        first : bytes
            What was read from the connection already.
        """
        moving = {asyncio.create_task(self._up(first)), asyncio.create_task(self._down())}
        broken = asyncio.create_task(self._until_broken())
        pending = set(moving)
        try:
            while pending and not self._stream.broken:
                done, _ = await asyncio.wait({*pending, broken}, return_when=asyncio.FIRST_COMPLETED)
                pending -= done
                if any(task.exception() for task in done):
                    await self.abort("connection_lost")
        except asyncio.CancelledError:
            await self.abort("stopping")
            raise
        finally:
            for task in (*moving, broken):
                task.cancel()
            await asyncio.gather(*moving, broken, return_exceptions=True)
            how = self._stream.broken or "ended"
            await self._close(how)
            counts.ENDED.labels("closed" if how == "ended" else "aborted").inc()
            self.ended_at = self._loop.time()
            log.info("relay.ended", association=str(self.ends.id), how=how)

    async def receive(self, packet: Packet) -> None:
        """Take a message of the other end."""
        answers = self._stream.receive(packet, self._loop.time())
        self._changed.set()
        for answer in answers:
            await self._send(answer)

    async def tick(self, *, again: bool = False) -> None:
        """Do what the time asks for."""
        if self._stream.finished:
            return
        for packet in self._stream.tick(self._loop.time(), again=again):
            await self._send(packet)
        if self._stream.broken:
            self._changed.set()

    def over(self, now: float, linger: float, silence: float) -> bool:
        """Whether nothing of it is left to be done or repeated: some seconds after its end, more if the other end does
        not know of that yet."""
        settled = self._stream.finished or bool(self._stream.broken)
        return bool(self.ended_at) and now - self.ended_at > linger + (0 if settled else silence)

    async def abort(self, reason: str) -> None:
        """End it from this side."""
        await self._send(self._stream.abort(reason))
        self._changed.set()

    async def _up(self, first: bytes) -> None:
        """From the connection to the other end, as fast as that takes it."""
        for start in range(0, len(first), CHUNK):
            await self._until(lambda: self._stream.room)
            self._sent.inc(len(first[start : start + CHUNK]))
            await self._send(self._stream.send(first[start : start + CHUNK], self._loop.time()))
        while True:
            await self._until(lambda: self._stream.room)
            data = await self._loop.sock_recv(self._connection, CHUNK)
            # Many senders wait for TCP's acknowledgement before they send on.
            self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            if not data:
                await self._send(self._stream.end(self._loop.time()))
                return
            self._sent.inc(len(data))
            await self._send(self._stream.send(data, self._loop.time()))

    async def _down(self) -> None:
        """From the other end to the connection; what that has taken is acknowledged."""
        while True:
            await self._until(lambda: self._stream.waiting() is not None)
            packet = self._stream.waiting()
            assert packet is not None
            if packet.kind == Kind.END:
                with suppress(OSError):  # the peer is gone, as it may when all is said
                    self._connection.shutdown(socket.SHUT_WR)
                await self._send(self._stream.taken(self._loop.time()))
                return
            self._writing = True
            await self._loop.sock_sendall(self._connection, packet.body)
            self._writing = False
            self._received.inc(len(packet.body))
            self._boundary.feed(packet.body)
            await self._send(self._stream.taken(self._loop.time()))

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def _until_broken(self) -> None:
        await self._until(lambda: bool(self._stream.broken))

    async def _send(self, packet: Packet) -> None:
        await self._post(self.ends, Frame(self.ends.id, self.ends.opener, packet))

    async def _close(self, how: str) -> None:
        with suppress(OSError, TimeoutError):
            if how == "ended":
                return self._connection.close()
            if self._writing or not self._boundary.whole:
                # Half a PDU is out: only a reset cannot be taken for the rest of it.
                self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                return self._connection.close()
            self._connection.send(abort_bytes(BY_PROVIDER, NOT_SPECIFIED))
            self._connection.shutdown(socket.SHUT_WR)
            async with asyncio.timeout(_FINISH_SECONDS):
                while await self._loop.sock_recv(self._connection, CHUNK):
                    pass
        self._connection.close()
        return None
