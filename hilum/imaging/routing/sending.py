"""The work itself: lease what is due, send it, note what became of it, until nothing is due. Any number of processes do
it at once, each with a few threads, so that a destination that does not answer holds up no other, and no other job."""

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import structlog

from hilum.core.errors import Unavailable
from hilum.core.leased import Crew, Trade
from hilum.imaging.archive.store import Archive
from hilum.imaging.routing import cstore, queue, stow
from hilum.imaging.routing.destinations import Destination
from hilum.imaging.routing.queue import Item, Lease, Result
from hilum.imaging.routing.trouble import Refused, Unreachable

THREADS: Final = 4
_SETTLE_SECONDS: Final = 0.5
_GRACE_SECONDS: Final = 5.0

log = structlog.get_logger()


def senders(archive: Archive) -> Crew[Lease]:
    """The threads of one process that send."""
    database = archive.database
    trade = Trade(
        "routing.sender", lambda: queue.lease(database), lambda held: deliver(archive, held),
        lambda leases: queue.keep(database, leases), queue.HEARTBEAT_SECONDS,
    )  # fmt: skip
    return Crew(trade, THREADS, _GRACE_SECONDS)


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
