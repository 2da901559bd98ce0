"""What takes groups of files side by side. Threads serve a process that does other things too; a command has processes
of its own, which do not wait for one another's interpreter: small files are then imported several times as fast."""

import gc
import multiprocessing
import os
import signal
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache
from multiprocessing.util import Finalize
from typing import Final

from hilum.core.blobs import open_blobs
from hilum.core.config import Settings
from hilum.core.database import Database
from hilum.core.supervise import die_with_parent
from hilum.imaging.archive.store import Archive
from hilum.imaging.intake.group import Taken, take_group
from hilum.imaging.intake.manner import Manner
from hilum.imaging.intake.walk import Found

THREADS: Final = 2
MOST_PROCESSES: Final = 8

_settings: Settings | None = None


class Lanes:
    """Threads or processes, each with one group of files at a time and one more waiting for it."""

    def __init__(self, executor: Executor, count: int, *, apart: bool) -> None:
        self.count = count
        self._executor = executor
        self._apart = apart

    def take(self, archive: Archive, manner: Manner, groups: Iterator[list[Found]]) -> Iterator[Taken]:
        """Have groups of files taken; yields what became of each, in no promised order."""
        running: set[Future[Taken]] = set()
        try:
            for group in groups:
                running.add(self._submit(archive, manner, group))
                if len(running) >= self.count * 2:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        finally:
            for future in running:
                future.cancel()
            wait(running)

    def _submit(self, archive: Archive, manner: Manner, group: Sequence[Found]) -> Future[Taken]:
        if self._apart:
            url = archive.database.url.render_as_string(hide_password=False)
            return self._executor.submit(_take_apart, url, manner, group)
        return self._executor.submit(take_group, archive, manner, group)


@contextmanager
def thread_lanes() -> Generator[Lanes]:
    """Lanes in this process."""
    with ThreadPoolExecutor(THREADS, "import") as executor:
        yield Lanes(executor, THREADS, apart=False)


@contextmanager
def process_lanes(settings: Settings) -> Generator[Lanes]:
    """Lanes in processes of their own. They are forked here and now, so this process must not have begun threads or
    opened a database yet; they end with it, however it ends."""
    gc.freeze()  # what is loaded stays: the lanes' collector need not look at it, nor copy its pages
    count = min(MOST_PROCESSES, (os.cpu_count() or 1) + 1)
    executor = ProcessPoolExecutor(count, multiprocessing.get_context("fork"), _begin, (settings,))
    with executor:
        executor.submit(os.getpid).result()  # all of them are forked at the first submission
        yield Lanes(executor, count, apart=True)


def _begin(settings: Settings) -> None:
    global _settings
    # The command's own handler raises, which a pool's process would take for the failure of a group, and go on.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C reaches the whole group; the command ends its lanes
    die_with_parent()
    _settings = settings


@cache
def _archive(url: str) -> Archive:
    assert _settings is not None
    blobs = open_blobs(_settings)
    Finalize(blobs, blobs.close, exitpriority=1)  # a forked process ends without running exit handlers
    return Archive(Database(url, pool_size=1), blobs, _settings)


def _take_apart(url: str, manner: Manner, group: Sequence[Found]) -> Taken:
    return take_group(_archive(url), manner, group)
