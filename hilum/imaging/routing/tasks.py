"""What forwarding does by itself: send what is due, and forget what was sent long ago. All of it may run at any time
and in any number of workers."""

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from hilum.core.jobs import Jobs
from hilum.imaging.archive.store import Archive

if TYPE_CHECKING:
    from hilum.core.leased import Crew
    from hilum.imaging.routing.queue import Lease

SEND: Final = "routing.send"


def register(jobs: Jobs, archive: Archive) -> None:
    """Teach a process what is to be done every so often."""
    keep = timedelta(days=archive.settings.forwarded_keep_days)
    grace = timedelta(days=archive.settings.delete_grace_days)
    jobs.every("* * * * * */2", SEND, _Sending(archive))
    jobs.every("41 * * * *", "routing.tidy", lambda: _forget(archive, keep, grace))


class _Sending:
    """Wakes the senders of this process; a worker that forwards nothing does without their libraries."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._senders: Crew[Lease] | None = None

    def __call__(self) -> None:
        from hilum.imaging.routing.queue import is_anything_due

        if self._senders is None and is_anything_due(self._archive.database):
            from hilum.imaging.routing.sending import senders

            self._senders = senders(self._archive)
        if self._senders is not None:
            self._senders.begin()


def _forget(archive: Archive, sent: timedelta, deleted: timedelta) -> None:
    from hilum.imaging.routing.queue import forget

    forget(archive.database, sent, deleted)
