"""Sends the reports that wait to the subscribers whose WebSockets this process holds (PS3.18 sections 8.10.4, 8.10.5,
11.13). PostgreSQL wakes it; every few seconds it looks by itself. Of several sockets of one subscriber, in whichever
processes, the latest is served.

The promise: reports wait in the database, are sent in order, and are noted one by one once they have been handed to the
connection. A client that reconnects with the Message ID of the last report it has seen (``?after=``) is told each one
exactly once, whatever was killed. One that does not is told what is not noted: what lay unread in the buffers of a
connection that broke is lost with it, and should the server have been killed, the report that was just being handed
over may come twice."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, LiteralString, TypeVar, cast
from uuid import UUID, uuid4

import anyio
import anyio.to_thread
import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect

from hilum.core.database import Database
from hilum.core.errors import HilumError, Unavailable
from hilum.core.notices import listen
from hilum.imaging.archive.arrivals import SourceRef
from hilum.imaging.worklist.reports import CHANNEL, MESSAGE_IDS, message, message_id
from hilum.imaging.worklist.subscriptions import find_subscriber

T = TypeVar("T")
log = structlog.get_logger()

MAX_SOCKETS: Final = 500
SEND_SECONDS: Final = 10.0
POLL_SECONDS: Final = 5.0
_AT_ONCE: Final = 50
_THREADS: Final = 8
_REPLACED: Final = 4001
_TRY_AGAIN: Final = 1013


@dataclass(frozen=True, slots=True)
class _Socket:
    """A connection that is served: whose, and the mark by which the database knows the latest one."""

    subscriber: int
    mark: UUID


class Courier:
    """Serves the WebSockets of one process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._bells: defaultdict[int, set[asyncio.Event]] = defaultdict(set)
        self._open = 0
        self._listening: asyncio.Task[None] | None = None
        self._threads = anyio.CapacityLimiter(_THREADS)

    async def serve(self, websocket: WebSocket, source: SourceRef, ae_title: str, after: int | None) -> None:
        """Accept a connection, and tell its subscriber what waits and what comes, until either side ends it.

        Parameters
        ----------
        websocket : WebSocket
            Not yet accepted.
        source : SourceRef
            Whose worklist.
        ae_title : str
            The subscriber.
        after : int, optional
            Message ID of the last report that the client has seen; 0 for none.

        Raises
        ------
        Unavailable
            This process has as many sockets as it may.
        """
        if self._open >= MAX_SOCKETS:
            raise Unavailable(f"There are {MAX_SOCKETS} notification connections, which is the most: try again later.")
        self._open += 1
        try:
            socket = await self._work(lambda: _take_over(self._database, source, ae_title, after))
            await websocket.accept()
            await self._attend(websocket, socket)
        finally:
            self._open -= 1
            if not self._open and self._listening is not None:
                self._listening.cancel()
                self._listening = None

    async def _attend(self, websocket: WebSocket, socket: _Socket) -> None:
        """Send, until the client is gone: the one who reads ends the one who sends, and the other way round."""
        bell = asyncio.Event()
        self._bells[socket.subscriber].add(bell)
        if self._listening is None:
            self._listening = asyncio.create_task(listen(self._database, CHANNEL, self._ring))
        try:
            async with anyio.create_task_group() as group:

                async def read() -> None:
                    while (await websocket.receive())["type"] != "websocket.disconnect":
                        pass  # clients have nothing to say
                    group.cancel_scope.cancel()

                group.start_soon(read)
                await self._send(websocket, socket, bell)
                group.cancel_scope.cancel()
        finally:
            self._bells[socket.subscriber].discard(bell)
            if not self._bells[socket.subscriber]:
                del self._bells[socket.subscriber]

    async def _send(self, websocket: WebSocket, socket: _Socket, bell: asyncio.Event) -> None:
        try:
            while True:
                bell.clear()
                waiting = await self._work(lambda: _waiting(self._database, socket))
                if waiting is None:
                    await websocket.close(_REPLACED, "Another connection of this AE title has taken over.")
                    return
                for number, body in waiting:
                    with anyio.fail_after(SEND_SECONDS):
                        await websocket.send_text(message(number, body))
                    await self._work(lambda number=number: _note(self._database, socket, number))
                if not waiting:
                    with anyio.move_on_after(POLL_SECONDS):
                        await bell.wait()
        except TimeoutError:
            log.info("worklist.slow_reader", subscriber=socket.subscriber)  # it is served again when it comes back
        except WebSocketDisconnect:
            pass
        except HilumError:
            await websocket.close(_TRY_AGAIN, "The worklist cannot be reached now.")

    def _ring(self, payload: str) -> None:
        """Ring the bells of those for whom reports have come, or all."""
        whose = map(int, payload.split(",")) if payload else list(self._bells)
        for subscriber in whose:
            for bell in self._bells.get(subscriber, ()):
                bell.set()

    async def _work(self, work: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(work, limiter=self._threads)


def _take_over(database: Database, source: SourceRef, ae_title: str, after: int | None) -> _Socket:
    """Make a new connection the one that is served, from behind what its client has seen."""
    with database.transaction() as sql:
        subscriber = find_subscriber(sql, source, ae_title)
        mark = uuid4()
        row = sql.rows(
            "update hilum.worklist_subscriber set connection = %s where id = %s returning last_number",
            (mark, subscriber),
        )[0]
        if after is not None:
            seen = _number(after, cast("int", row["last_number"]))
            sql.rows(
                "update hilum.worklist_report set sent_at = case when number <= %(seen)s then now() end "
                "where subscriber_id = %(subscriber)s and (sent_at is null) = (number <= %(seen)s)",
                {"seen": seen, "subscriber": subscriber},
            )
    return _Socket(subscriber, mark)


def _number(after: int, last: int) -> int:
    """The number of the latest report of a Message ID; 0 when there was none."""
    if not after or not last:
        return 0
    return max(last - (message_id(last) - after) % MESSAGE_IDS, 0)


def _waiting(database: Database, socket: _Socket) -> list[tuple[int, str]] | None:
    """The next reports of a subscriber; None when another connection has taken over."""
    with database.connect() as connection:
        rows = connection.exec_driver_sql(_WAITING, {"id": socket.subscriber, "mark": socket.mark, "most": _AT_ONCE})
        found = rows.all()
    if not found:
        return None
    return [(row[0], row[1]) for row in found if row[0] is not None]


def _note(database: Database, socket: _Socket, number: int) -> None:
    """Note that a report has been sent, unless another connection has taken over: its client may not have seen it."""
    with database.transaction() as sql:
        # The lock makes this and `_take_over` follow one another.
        mine: LiteralString = "select 1 from hilum.worklist_subscriber where id = %s and connection = %s for share"
        if sql.rows(mine, (socket.subscriber, socket.mark)):
            sql.rows(
                "update hilum.worklist_report set sent_at = now() where subscriber_id = %s and number = %s",
                (socket.subscriber, number),
            )


_WAITING: Final[LiteralString] = """
  select r.number, r.body from hilum.worklist_subscriber s
  left join hilum.worklist_report r on r.subscriber_id = s.id and r.sent_at is null
  where s.id = %(id)s and s.connection = %(mark)s order by r.number limit %(most)s
"""
