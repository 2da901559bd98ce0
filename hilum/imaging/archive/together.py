"""Group commit: batches that several threads have ready at the same time become durable by one transaction, and each
thread is told what became of its own. Whoever comes while one transaction runs goes into the next."""

import threading
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import psycopg

from hilum.core.database import Transaction
from hilum.core.errors import HilumError, Invalid
from hilum.imaging.archive.arrivals import Outcome
from hilum.imaging.archive.delete import hold_objects
from hilum.imaging.archive.store import Archive, Batch

MAX_TOGETHER: Final = 64
LINGER_SECONDS: Final = 0.004
"""How long a transaction waits for batches that are being filled, so that they share it."""


@dataclass(slots=True)
class _Ticket:
    """A batch that waits, and what is to be told of it."""

    batch: Batch
    outcomes: list[Outcome] = field(default_factory=list[Outcome])
    error: BaseException | None = None
    done: bool = False


class Together:
    """Commits the batches of one archive. Every method may be called from any thread.

    Parameters
    ----------
    archive : Archive
        Where the batches go.

    Notes
    -----
    The first thread that finds no transaction running commits all that wait, its own included; the others sleep until
    that one ends. Flushing the objects goes on beside the statements: only the end of the transaction waits for it.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._waiting: list[_Ticket] = []
        self._filling = 0
        self._lock = threading.Condition()
        self._turn = threading.Lock()
        self._flushers = ThreadPoolExecutor(8, "flush")

    def close(self) -> None:
        """End the threads that flush; nothing may be committed any more."""
        self._flushers.shutdown()

    @contextmanager
    def filling(self) -> Generator[None]:
        """Say that a batch is being filled that is to be committed soon."""
        with self._lock:
            self._filling += 1
        try:
            yield
        finally:
            with self._lock:
                self._filling -= 1
                self._lock.notify_all()

    def commit(self, batch: Batch) -> list[Outcome]:
        """Make a batch durable; when this returns, everything in it is acknowledged.

        Returns
        -------
        list of Outcome
            One for each thing that was added to it. Names have to differ between the batches of all threads.

        Raises
        ------
        HilumError
            As of `Batch.commit`; nothing of the batch was kept.
        """
        batch.group.prepare()
        ticket = _Ticket(batch)
        with self._lock:
            self._waiting.append(ticket)
        with self._turn:
            if not ticket.done:
                with self._lock:
                    self._lock.wait_for(lambda: not self._filling, LINGER_SECONDS)
                    taken, self._waiting = self._waiting[:MAX_TOGETHER], self._waiting[MAX_TOGETHER:]
                    if ticket not in taken:
                        self._waiting.remove(ticket)
                        taken.append(ticket)
                self._commit(taken)
        if ticket.error is not None:
            raise ticket.error
        return ticket.outcomes

    def _commit(self, tickets: Sequence[_Ticket]) -> None:
        """Commit batches in one transaction; the error of the transaction is that of all of them."""
        try:
            with self._archive.database.transaction() as transaction:
                hold_objects(transaction)
                flushes = [self._flushers.submit(ticket.batch.group.commit) for ticket in tickets]
                try:
                    self._write(transaction, tickets, flushes)
                finally:
                    for flush in flushes:  # nobody else may use a group before
                        flush.exception()
        except BaseException as error:
            for ticket in tickets:
                ticket.error = ticket.error or error
            if not isinstance(error, Exception):
                raise
        finally:
            for ticket in tickets:
                ticket.done = True

    def _write(self, transaction: Transaction, tickets: Sequence[_Ticket], flushes: Sequence[Future[None]]) -> None:
        if len(tickets) == 1:
            tickets[0].outcomes = tickets[0].batch.catalogue(transaction)
            flushes[0].result()
            return
        try:
            with transaction.savepoint():
                for of_source in _by_source(tickets):
                    first, *others = of_source
                    told = first.batch.catalogue(transaction, [ticket.batch for ticket in others])
                    _share(of_source, told)
                for flush in flushes:
                    flush.result()
        except (HilumError, psycopg.DataError):
            self._one_by_one(transaction, tickets, flushes)

    def _one_by_one(
        self, transaction: Transaction, tickets: Sequence[_Ticket], flushes: Sequence[Future[None]]
    ) -> None:
        """One of several cannot be kept: it alone shall fail."""
        for ticket, flush in zip(tickets, flushes, strict=True):
            try:
                flush.result()
                with transaction.savepoint():
                    ticket.outcomes = ticket.batch.catalogue(transaction)
            except HilumError as error:
                ticket.error = error
            except psycopg.DataError as error:
                ticket.error = Invalid("It holds a value that the catalogue cannot hold.")
                ticket.error.__cause__ = error


def _by_source(tickets: Sequence[_Ticket]) -> list[list[_Ticket]]:
    found: dict[tuple[int, str, str], list[_Ticket]] = {}
    for ticket in tickets:
        found.setdefault((ticket.batch.source.id, ticket.batch.origin, ticket.batch.sender), []).append(ticket)
    return [found[key] for key in sorted(found)]


def _share(tickets: Sequence[_Ticket], outcomes: Sequence[Outcome]) -> None:
    """Give each ticket the outcomes of what is in its batch."""
    named = {name: ticket for ticket in tickets for name in ticket.batch.names}
    for ticket in tickets:
        ticket.outcomes = []
    for outcome in outcomes:
        named[outcome.name].outcomes.append(outcome)
