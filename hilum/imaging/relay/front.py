"""Where relayed associations begin: connections are accepted, the A-ASSOCIATE-RQ is read for its AE titles, and the
rest is left to the relay. The same front takes a hospital's modalities, and inside what Hilum itself sends to an
edge."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import structlog

from hilum.imaging.dimse.pdu import (
    ASSOCIATE_RQ,
    MAX_PDU,
    AssociateRequest,
    abort_bytes,
    read_request,
    reject_bytes,
)
from hilum.imaging.dimse.problems import (
    BY_PROVIDER,
    INVALID_PARAMETER,
    UNEXPECTED_PDU,
    UNRECOGNIZED_PDU,
    Aborted,
    Rejected,
    Violation,
)
from hilum.imaging.relay import counts
from hilum.imaging.relay.carrier import Carrier, Refused
from hilum.imaging.relay.frames import Way
from hilum.imaging.relay.plain import plain

ARTIM_SECONDS: Final = 30.0
"""How long a connection may take to ask for an association (PS3.8 section 9.1.5)."""
_HEAD: Final = 6
_FINISH_SECONDS: Final = 2.0
_PAUSE_SECONDS: Final = 0.2
_REFUSED_AT_ONCE: Final = 16
# Result, source and reason of A-ASSOCIATE-RJ (PS3.8 section 9.3.4): transient but for a title that nobody has.
_BUSY: Final = (2, 3, 2)
_AWAY: Final = (2, 3, 1)
_ANSWERS: Final = {"limit": _BUSY, "stopping": _BUSY, "unknown_title": (1, 1, 7)}

log = structlog.get_logger()

Keep = Callable[[socket.socket, AssociateRequest], None]
"""Serves an association here, in the thread that it is called in, to its end."""


@dataclass(frozen=True, slots=True)
class Entrance:
    """Who may come in, and where that leads.

    Attributes
    ----------
    channel, way
        Who answers the associations.
    callers, titles : frozenset of str or None
        The calling and the called AE titles that are let through; None for any.
    limit : int
        Most associations at once.
    keep : callable or None
        What serves associations while nobody answers.
    keep_first : callable or None
        Tells of an association that it is served by ``keep`` in any case.
    tls : ssl.SSLContext or None
        With it connections are taken by TLS alone.
    """

    channel: str
    way: Way
    callers: frozenset[str] | None
    titles: frozenset[str] | None
    limit: int
    keep: Keep | None = None
    keep_first: Callable[[AssociateRequest], bool] | None = None
    tls: ssl.SSLContext | None = None


@dataclass(slots=True)
class Front:
    """Accepts connections on a listening socket, and relays the associations that they ask for."""

    listening: socket.socket
    carrier: Carrier
    entrance: Entrance
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set["asyncio.Task[None]"])
    _active: int = 0

    async def run(self) -> None:
        """Accept until the task is cancelled; what was accepted goes on."""
        loop = asyncio.get_running_loop()
        self.listening.setblocking(False)
        while True:
            try:
                connection, _ = await loop.sock_accept(self.listening)
            except OSError as error:  # too many open files, a connection that went before it was taken
                log.warning("relay.not_connected_in", errno=error.errno)
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            if len(self._tasks) >= self.entrance.limit + _REFUSED_AT_ONCE:
                counts.REJECTED.labels("too_many_connections").inc()
                connection.close()
                continue
            counts.CONNECTIONS.inc()
            connection.setblocking(False)
            task = loop.create_task(self._connected(connection))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """End what still is there."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, connection: socket.socket) -> None:
        if self.entrance.tls is None:
            return await self._serve(connection)
        try:
            async with plain(connection, self.entrance.tls) as unveiled:
                await self._serve(unveiled)
        except OSError as error:
            counts.REJECTED.labels("no_handshake").inc()
            log.warning("relay.no_handshake", error=type(error).__name__)
        finally:
            connection.close()

    async def _serve(self, connection: socket.socket) -> None:
        """Serve a connection to its end; nothing is raised."""
        try:
            async with asyncio.timeout(ARTIM_SECONDS):
                first, request = await _associate_request(connection)
            self._check(request)
            self._active += 1
            try:
                await self._lead(connection, first, request)
            finally:
                self._active -= 1
        except Rejected as error:
            counts.REJECTED.labels(error.what).inc()
            log.warning("relay.rejected", why=error.what)
            await _finish(connection, reject_bytes(*error.answer))
        except Violation as error:
            counts.REJECTED.labels(error.what).inc()
            log.warning("relay.violation", why=error.what)
            await _finish(connection, abort_bytes(BY_PROVIDER, error.reason))
        except (Aborted, OSError, TimeoutError):
            counts.REJECTED.labels("no_association").inc()
            log.info("relay.no_association")
        except Exception:
            log.exception("relay.failed")
        finally:
            connection.close()

    def _check(self, request: AssociateRequest) -> None:
        if self._active >= self.entrance.limit:
            raise Rejected("too_many_associations", *_BUSY)
        if self.entrance.titles is not None and request.called not in self.entrance.titles:
            raise Rejected("called_ae_title", 1, 1, 7)
        if not request.calling or (self.entrance.callers is not None and request.calling not in self.entrance.callers):
            raise Rejected("calling_ae_title", 1, 1, 3)

    async def _lead(self, connection: socket.socket, first: bytes, request: AssociateRequest) -> None:
        """Relay an association, or have it served here."""
        at = self.entrance
        if at.keep is not None and at.keep_first is not None and at.keep_first(request):
            return await _kept(at.keep, connection, request)
        try:
            pump = await self.carrier.open(at.channel, at.way, request.called, request.calling, connection)
        except Refused as error:
            if at.keep is not None and error.reason != "unknown_title":
                return await _kept(at.keep, connection, request)
            raise Rejected(error.reason, *_ANSWERS.get(error.reason, _AWAY)) from error
        return await pump.run(first)


async def _kept(keep: Keep, connection: socket.socket, request: AssociateRequest) -> None:
    """Have an association served here, in a thread of its own, and wait for its end."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    def serve() -> None:
        try:
            keep(connection, request)
        finally:
            with suppress(RuntimeError):  # the loop is gone, as at the end of the process
                loop.call_soon_threadsafe(ended.set)

    connection.setblocking(True)
    threading.Thread(target=serve, name="keep", daemon=True).start()
    try:
        await ended.wait()
    except asyncio.CancelledError:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        raise


async def _associate_request(connection: socket.socket) -> tuple[bytes, AssociateRequest]:
    """Read an A-ASSOCIATE-RQ and nothing behind it: its bytes, and what they say."""
    head = await _exactly(connection, _HEAD)
    length = int.from_bytes(head[2:], "big")
    if head[0] != ASSOCIATE_RQ:
        raise Violation("no_association", UNEXPECTED_PDU if 1 <= head[0] <= 7 else UNRECOGNIZED_PDU)
    if length > MAX_PDU:
        raise Violation("pdu_too_long", INVALID_PARAMETER)
    body = await _exactly(connection, length)
    return head + body, read_request(body)


async def _exactly(connection: socket.socket, count: int) -> bytes:
    loop = asyncio.get_running_loop()
    parts: list[bytes] = []
    while count:
        part = await loop.sock_recv(connection, count)
        if not part:
            raise Aborted("connection_closed")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


async def _finish(connection: socket.socket, last: bytes) -> None:
    """Say a last PDU, and let the peer close the connection."""
    loop = asyncio.get_running_loop()
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(_FINISH_SECONDS):
            await loop.sock_sendall(connection, last)
            connection.shutdown(socket.SHUT_WR)
            while await loop.sock_recv(connection, MAX_PDU):
                pass
