"""The work itself: lease what is due, send it, note what became of it, until nothing is due. Any number of processes do
it at once, each with a few threads, so that a destination that does not answer holds up no other, and no other job."""

import atexit
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Final
from uuid import UUID

import structlog

from hilum.core.errors import HilumError, Unavailable
from hilum.imaging.archive.store import Archive
from hilum.imaging.routing import cstore, queue, stow
from hilum.imaging.routing.destinations import Destination
from hilum.imaging.routing.queue import Item, Lease, Result
from hilum.imaging.routing.trouble import Refused, Unreachable

THREADS: Final = 4
_SETTLE_SECONDS: Final = 0.5
_GRACE_SECONDS: Final = 5.0

log = structlog.get_logger()


class Senders:
    """The threads of one process that send. They begin when there is something to do and end when there is not; when
    the process is told to end, they are given a moment to finish what they have in hand."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._held: set[UUID] = set()
        self._stopping = threading.Event()
        atexit.register(self.stop)

    def begin(self) -> None:
        """See to it that what is due is being sent, and return at once."""
        with self._lock:
            free = THREADS - len(self._threads)
        if free and (first := queue.lease(self._archive.database)):
            self._start(first)
            for _ in range(free - 1):
                self._start(None)

    def stop(self) -> None:
        """Begin nothing new, and wait a moment for what has begun."""
        self._stopping.set()
        deadline = time.monotonic() + _GRACE_SECONDS
        for thread in list(self._threads):
            thread.join(max(deadline - time.monotonic(), 0))

    def _start(self, held: Lease | None) -> None:
        thread = threading.Thread(target=self._send, args=(held,), name="routing.sender", daemon=True)
        with self._lock:
            if not self._threads:
                threading.Thread(target=self._beat, name="routing.heartbeat", daemon=True).start()
            self._threads.add(thread)
            if held:
                self._held.add(held.id)
        thread.start()

    def _send(self, held: Lease | None) -> None:
        try:
            while held := held or queue.lease(self._archive.database):
                self._held.add(held.id)
                try:
                    deliver(self._archive, held)
                finally:
                    self._held.discard(held.id)
                held = None
                if self._stopping.is_set():
                    return
        except Exception:
            log.exception("routing.sender.failed")  # its lease runs out, and what it held is due again
        finally:
            with self._lock:
                self._threads.discard(threading.current_thread())

    def _beat(self) -> None:
        """Say that what is being sent is in good hands, as long as there is somebody who sends."""
        while True:
            time.sleep(queue.HEARTBEAT_SECONDS)
            with self._lock:
                if not self._threads:
                    return
                held = list(self._held)
            try:
                queue.keep(self._archive.database, held)
            except HilumError:
                log.warning("routing.heartbeat.failed")  # the next one may come through in time


def deliver(archive: Archive, held: Lease) -> None:
    """Send what is leased, and note what became of it."""
    database, destination = archive.database, held.destination
    told: dict[int, Result] = {}
    try:
        with _noting(archive, held) as note:
            for result in _results(archive, destination, held.items):
                told[result.item.id] = result
                note(result)
    except Unreachable as error:
        _left(archive, held, told, uncertain=False)
        _trouble(archive, destination, str(error), error.after)
    except Refused as error:
        _refused(archive, held, told, error)
    except Unavailable:
        _left(archive, held, told, uncertain=False)
        log.warning("routing.archive.unavailable")
        raise
    else:
        _left(archive, held, told, uncertain=False)
        halted = next((result for result in told.values() if result.halt), None)
        if halted is not None:
            _trouble(archive, destination, halted.error)
        elif any(result.sent for result in told.values()):
            queue.answered(database, destination)
        else:
            queue.shrink(database, destination)


def _results(archive: Archive, destination: Destination, items: Sequence[Item]) -> Iterator[Result]:
    send = stow.send if destination.kind == "stow" else cstore.send
    return send(archive, destination, items)


class _Notes:
    """Results on their way into the database, a few at a time."""

    def __init__(self, archive: Archive, held: Lease) -> None:
        self._archive = archive
        self._held = held
        self._waiting: list[Result] = []
        self._since = time.monotonic()

    def __call__(self, result: Result) -> None:
        self._waiting.append(result)
        if time.monotonic() - self._since >= _SETTLE_SECONDS:
            self.flush()

    def flush(self) -> None:
        if self._waiting:
            queue.settle(self._archive.database, self._held, self._waiting)
        self._waiting = []
        self._since = time.monotonic()


@contextmanager
def _noting(archive: Archive, held: Lease) -> Generator[_Notes]:
    notes = _Notes(archive, held)
    try:
        yield notes
    finally:
        notes.flush()


def _left(archive: Archive, held: Lease, told: dict[int, Result], *, uncertain: bool) -> None:
    """Put back what nothing is known of."""
    rest = [item for item in held.items if item.id not in told]
    if rest:
        queue.release(archive.database, held, rest, uncertain=uncertain)


def _refused(archive: Archive, held: Lease, told: dict[int, Result], error: Refused) -> None:
    """Blame the instance if it was alone; of several each is tried alone."""
    if len(held.items) == 1 and not told:
        (item,) = held.items
        result = Result(item, sent=False, permanent=error.permanent, uncertain=error.uncertain, error=str(error))
        queue.settle(archive.database, held, [result])
    else:
        _left(archive, held, told, uncertain=error.uncertain)
    if error.permanent:
        queue.shrink(archive.database, held.destination)
    else:
        _trouble(archive, held.destination, str(error))


def _trouble(archive: Archive, destination: Destination, sentence: str, after: float = 0.0) -> None:
    queue.failed(archive.database, destination, sentence, after)
    log.warning("routing.destination.failed", destination=destination.id, failures=destination.failures + 1)
