"""The change feed as server-sent events (WHATWG HTML section 9.2): the same events as ``GET /events``, each under its
``sequence`` as id, so that a client that comes back with ``Last-Event-ID`` goes on where it was, whatever was killed.

A connection holds no database connection: PostgreSQL wakes the process once for all of them, each reads a small page in
a thread, and a client that does not take it in time is let go. A process that stops ends its streams at once; their
clients come back to another."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import anyio
import anyio.to_thread
import msgspec
import structlog
from starlette.types import Receive, Send

from hilum.core.database import Database
from hilum.core.errors import HilumError, Unavailable
from hilum.core.events import CHANNEL, last_event, read_events
from hilum.core.notices import listen

T = TypeVar("T")
log = structlog.get_logger()

MAX_STREAMS: Final = 100
SEND_SECONDS: Final = 30.0
KEEP_ALIVE_SECONDS: Final = 15.0
_AT_ONCE: Final = 100
_PAGE_BYTES: Final = 256 << 10
_CHUNK: Final = 64 << 10
_THREADS: Final = 4
# Where many write at once, a page tells of more than one of them.
_GATHER_SECONDS: Final = 0.02
_HEADERS: Final = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client wants of the feed: events of these types (empty: all) behind a cursor (None: from now on), with
    this address in them."""

    after: int | None
    types: tuple[str, ...]
    base_url: str


@dataclass(frozen=True, slots=True)
class _Page:
    """A stretch of the feed as it is sent, and the cursor behind it."""

    text: bytes
    next: int


class Feed:
    """Serves the streams of one process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._bells: set[asyncio.Event] = set()
        self._listening: asyncio.Task[None] | None = None
        self._reads: dict[tuple[object, ...], asyncio.Task[_Page]] = {}
        self._threads = anyio.CapacityLimiter(_THREADS)
        self._closed = False

    def close(self) -> None:
        """End all streams; called within the event loop when the process is told to stop."""
        self._closed = True
        self._ring("")

    async def serve(self, wish: Wish, receive: Receive, send: Send) -> None:
        """Answer a request with what the feed has and what comes, until either side ends it.

        Raises
        ------
        Unavailable
            This process has as many streams as it may, or the database cannot be reached.
        """
        if self._closed:
            raise Unavailable("This process of the server is ending: try again in a moment.")
        if len(self._bells) >= MAX_STREAMS:
            raise Unavailable(f"There are {MAX_STREAMS} streams of events, which is the most: try again later.")
        bell = asyncio.Event()
        self._bells.add(bell)
        try:
            if self._listening is None:
                self._listening = asyncio.create_task(listen(self._database, CHANNEL, self._ring))
            cursor = await self._run(self._head) if wish.after is None else wish.after
            async with anyio.create_task_group() as group:

                async def watch() -> None:
                    while (await receive())["type"] != "http.disconnect":
                        pass
                    group.cancel_scope.cancel()

                group.start_soon(watch)
                await self._send(wish, cursor, bell, send)
                group.cancel_scope.cancel()
        finally:
            self._bells.discard(bell)
            if not self._bells and self._listening is not None:
                self._listening.cancel()
                self._listening = None

    async def _send(self, wish: Wish, cursor: int, bell: asyncio.Event, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        text, told = b"retry: 2000\n\n", cursor
        try:
            while not self._closed:
                await _write(send, text)
                bell.clear()
                page = await self._page(cursor, wish)
                cursor = page.next
                text = page.text or await _rest(bell, cursor if cursor != told else None)
                told = cursor if text else told
        except TimeoutError:
            log.info("feed.slow_reader")  # it comes back with the id that it saw last
            return
        except HilumError:
            log.info("feed.interrupted")
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _page(self, after: int, wish: Wish) -> _Page:
        """Read on; streams that stand at the same place share what is read."""
        key = after, wish.types, wish.base_url
        if key not in self._reads:
            task = asyncio.create_task(self._run(lambda: self._read(after, wish)))
            task.add_done_callback(lambda _: self._reads.pop(key))
            self._reads[key] = task
        return await asyncio.shield(self._reads[key])

    def _read(self, after: int, wish: Wish) -> _Page:
        with self._database.connect() as connection:
            head = last_event(connection)
            events = read_events(
                connection, wish.base_url, after=after, limit=_AT_ONCE, types=wish.types, most_bytes=_PAGE_BYTES
            )
        if not events:
            return _Page(b"", max(after, head))  # what lies between is of other types
        parts = (b"id: %s\ndata: %s\n\n" % (str(e["sequence"]).encode(), msgspec.json.encode(e)) for e in events)
        return _Page(b"".join(parts), int(str(events[-1]["sequence"])))

    def _head(self) -> int:
        with self._database.connect() as connection:
            return last_event(connection)

    def _ring(self, payload: str) -> None:
        del payload
        for bell in self._bells:
            bell.set()

    async def _run(self, work: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(work, limiter=self._threads)


async def _rest(bell: asyncio.Event, moved: int | None) -> bytes:
    """Wait until there may be more; gives what keeps the connection alive if nothing comes. A cursor that has moved
    past events of other types is told then, so that a client that comes back need not begin before them."""
    with anyio.move_on_after(KEEP_ALIVE_SECONDS):
        await bell.wait()
        await asyncio.sleep(_GATHER_SECONDS)
        return b""
    return b": keep-alive\n\n" if moved is None else b"id: %d\n: keep-alive\n\n" % moved


async def _write(send: Send, text: bytes) -> None:
    with anyio.fail_after(SEND_SECONDS):
        for begin in range(0, len(text), _CHUNK):
            await send({"type": "http.response.body", "body": text[begin : begin + _CHUNK], "more_body": True})
