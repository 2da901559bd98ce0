"""Threads of one process that lease work and do it: begun when there is something to do, ended when there is not, so
that slow work holds up no other. Any number of processes do it at once. What the work is, and where leases are noted,
is for the rooms that use this."""

import atexit
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar
from uuid import UUID

import structlog

from hilum.core.errors import HilumError

log = structlog.get_logger()


class Leased(Protocol):
    """Something to do that is leased."""

    @property
    def lease(self) -> UUID: ...


_Work = TypeVar("_Work", bound=Leased)


@dataclass(frozen=True, slots=True)
class Trade(Generic[_Work]):
    """What threads do.

    Attributes
    ----------
    name
        Of the threads, also in the log.
    take
        Leases what is due next; None when nothing is.
    do
        Does it, and notes what became of it.
    keep
        Says that the holders of leases live.
    heartbeat_seconds
        How often to say so; leases last for a multiple of it.
    """

    name: str
    take: Callable[[], _Work | None]
    do: Callable[[_Work], None]
    keep: Callable[[Sequence[UUID]], None]
    heartbeat_seconds: float


class Crew(Generic[_Work]):
    """The threads of one process; when it is told to end, they are given a moment to finish what they have in hand.

    Parameters
    ----------
    trade
        What they do.
    size
        How many there are at the most.
    grace_seconds
        The moment.
    """

    def __init__(self, trade: Trade[_Work], size: int, grace_seconds: float) -> None:
        self._trade: Final = trade
        self._size: Final = size
        self._grace: Final = grace_seconds
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._held: set[UUID] = set()
        self._stopping = threading.Event()
        atexit.register(self.stop)

    def begin(self) -> None:
        """See to it that what is due is being done, and return at once."""
        with self._lock:
            free = self._size - len(self._threads)
        while free > 0 and not self._stopping.is_set() and (work := self._trade.take()):
            self._start(work)
            free -= 1

    def stop(self) -> None:
        """Begin nothing new, and wait a moment; what has not ended then is done again by somebody else."""
        self._stopping.set()
        deadline = time.monotonic() + self._grace
        for thread in list(self._threads):
            thread.join(max(deadline - time.monotonic(), 0))

    def _start(self, work: _Work) -> None:
        name = self._trade.name
        thread = threading.Thread(target=self._run, args=(work,), name=name, daemon=True)
        with self._lock:
            if not self._threads:
                threading.Thread(target=self._beat, name=f"{name}.heartbeat", daemon=True).start()
            self._threads.add(thread)
            self._held.add(work.lease)
        thread.start()

    def _run(self, first: _Work) -> None:
        work: _Work | None = first
        try:
            while work is not None:
                self._held.add(work.lease)
                try:
                    self._trade.do(work)
                finally:
                    self._held.discard(work.lease)
                work = None if self._stopping.is_set() else self._trade.take()
        except Exception:
            log.exception("crew.failed", trade=self._trade.name)  # its lease runs out, and what it held is due again
        finally:
            with self._lock:
                self._threads.discard(threading.current_thread())

    def _beat(self) -> None:
        """Say that what is being done is in good hands, as long as there is somebody who does it."""
        while True:
            time.sleep(self._trade.heartbeat_seconds)
            with self._lock:
                if not self._threads:
                    return
                held = list(self._held)
            try:
                self._trade.keep(held)
            except HilumError:
                log.warning("crew.heartbeat.failed", trade=self._trade.name)  # the next one may come through in time
