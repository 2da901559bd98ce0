"""The threads of a worker that fetch what is wanted: begun when there is something, ended when there is not, so that a
large study holds up no other work."""

import atexit
import threading
import time
from typing import Final
from uuid import UUID

import structlog

from hilum.core.errors import HilumError
from hilum.imaging.archive.store import Archive
from hilum.imaging.remote import copies
from hilum.imaging.remote.copies import Wanted
from hilum.imaging.remote.fetching import fetch

THREADS: Final = 3
_GRACE_SECONDS: Final = 3.0

log = structlog.get_logger()


class Fetchers:
    """The threads of one process."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._held: set[UUID] = set()
        self._stopping = threading.Event()
        atexit.register(self.stop)

    def begin(self) -> None:
        """See to it that what is due is being fetched, and return at once."""
        with self._lock:
            free = THREADS - len(self._threads)
        while free > 0 and not self._stopping.is_set() and (wanted := copies.lease(self._archive.database)):
            self._start(wanted)
            free -= 1

    def stop(self) -> None:
        """Begin nothing new, and wait a moment; what has not ended then is fetched again by somebody else."""
        self._stopping.set()
        deadline = time.monotonic() + _GRACE_SECONDS
        for thread in list(self._threads):
            thread.join(max(deadline - time.monotonic(), 0))

    def _start(self, wanted: Wanted) -> None:
        thread = threading.Thread(target=self._fetch, args=(wanted,), name="remote.fetcher", daemon=True)
        with self._lock:
            if not self._threads:
                threading.Thread(target=self._beat, name="remote.heartbeat", daemon=True).start()
            self._threads.add(thread)
            self._held.add(wanted.lease)
        thread.start()

    def _fetch(self, first: Wanted) -> None:
        wanted: Wanted | None = first
        try:
            while wanted is not None:
                self._held.add(wanted.lease)
                try:
                    fetch(self._archive, wanted)
                finally:
                    self._held.discard(wanted.lease)
                wanted = None if self._stopping.is_set() else copies.lease(self._archive.database)
        except Exception:
            log.exception("remote.fetcher.failed")  # its lease runs out, and the study is due again
        finally:
            with self._lock:
                self._threads.discard(threading.current_thread())

    def _beat(self) -> None:
        """Say that what is being fetched is in good hands, as long as there is somebody who fetches."""
        while True:
            time.sleep(copies.HEARTBEAT_SECONDS)
            with self._lock:
                if not self._threads:
                    return
                held = list(self._held)
            try:
                copies.keep(self._archive.database, held)
            except HilumError:
                log.warning("remote.heartbeat.failed")  # the next one may come through in time
