"""What this room does by itself: fetch what is wanted, give up copies that are kept no longer, and finish removals. All
of it may run at any time and in any number of workers."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from hilum.core.jobs import Jobs
from hilum.core.progress import Progress
from hilum.imaging.archive.store import Archive
from hilum.imaging.remote.demand import TASK
from hilum.imaging.remote.keeping import release_due
from hilum.imaging.remote.removal import finish_removals

if TYPE_CHECKING:
    from hilum.core.leased import Crew
    from hilum.imaging.remote.copies import Wanted

KIND = "index_from_dicomweb"
"""The job that indexes a source's remote archive."""


def register(jobs: Jobs, archive: Archive) -> None:
    """Teach a process what is to be done every so often, and its job."""
    jobs.add(KIND, lambda arguments, progress: _index(archive, arguments, progress))
    jobs.every("* * * * * */3", TASK, _Fetching(archive))
    jobs.every("* * * * * */30", "remote.release", lambda: release_due(archive.database))
    jobs.every("* * * * * */30", "remote.removals", lambda: finish_removals(archive.database))


class _Fetching:
    """Wakes the fetchers of this process; a worker that fetches nothing does without their libraries."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._fetchers: Crew[Wanted] | None = None

    def __call__(self) -> None:
        from hilum.imaging.remote.copies import is_anything_due

        if self._fetchers is None and is_anything_due(self._archive.database):
            from hilum.imaging.remote.fetching import fetchers

            self._fetchers = fetchers(self._archive)
        if self._fetchers is not None:
            self._fetchers.begin()


def _index(archive: Archive, arguments: Mapping[str, object], progress: Progress) -> None:
    from hilum.imaging.remote.indexing import run  # as above

    run(archive, arguments, progress)
