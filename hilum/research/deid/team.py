"""Work on many files, spread over processes of this machine: each makes its own worker from the same setup and is given
one task after the other. They end with the process that leads them, even when that is killed; what is done with the
results is the leader's. One worker needs no process of its own."""

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import get_context
from types import TracebackType
from typing import Final, Generic, Self, TypeVar, cast

from hilum.core.errors import Unavailable
from hilum.core.supervise import die_with_parent

_AHEAD: Final = 3

_Setup = TypeVar("_Setup")
_Worker = TypeVar("_Worker")
_Task = TypeVar("_Task")
_Result = TypeVar("_Result")

_worker: object = None
"""Of a process of a team."""


class Team(Generic[_Worker]):
    """Workers of one kind, in as many processes.

    Parameters
    ----------
    count
        How many; one works in the process that leads.
    make
        Makes a worker: a class or a function of a module.
    setup
        What it is made from; it is sent to every process.
    """

    def __init__(self, count: int, make: Callable[[_Setup], _Worker], setup: _Setup) -> None:
        self.count: Final = count
        self._here: Final = make(setup) if count == 1 else None
        self._pool: Final = (
            ProcessPoolExecutor(count, get_context("spawn"), _begin, (os.getpid(), make, setup)) if count > 1 else None
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def spread(self, do: Callable[[_Worker, _Task], _Result], tasks: Iterable[_Task]) -> Iterator[_Result]:
        """Have tasks done; gives their results as they come, with never more than a few tasks under way.

        Parameters
        ----------
        do
            A method of the worker's class.
        tasks
            In the order in which they are begun.

        Raises
        ------
        Unavailable
            A process was ended from outside.
        """
        if self._pool is None:
            yield from (do(cast("_Worker", self._here), task) for task in tasks)
            return
        waiting: set[Future[_Result]] = set()
        try:
            for task in tasks:
                waiting.add(self._pool.submit(_do, do, task))
                if len(waiting) >= _AHEAD * self.count:
                    ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    yield from (one.result() for one in ready)
            while waiting:
                ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (one.result() for one in ready)
        except BrokenProcessPool:
            raise Unavailable(
                "A process of the run was ended from outside, perhaps for memory: start it again."
            ) from None
        finally:
            for one in waiting:
                one.cancel()


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0))


def pieces(items: Iterable[_Task], size: int) -> Iterator[list[_Task]]:
    """Items, so many at a time."""
    rest = iter(items)
    while piece := list(islice(rest, size)):
        yield piece


def _begin(leader: int, make: Callable[[_Setup], _Worker], setup: _Setup) -> None:
    """Make ready a process of a team."""
    global _worker
    die_with_parent()
    if os.getppid() != leader:
        raise SystemExit("The process that leads is gone.")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal, which reaches all: the leader ends the others
    _worker = make(setup)


def _do(do: Callable[[_Worker, _Task], _Result], task: _Task) -> _Result:
    return do(cast("_Worker", _worker), task)
