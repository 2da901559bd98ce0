"""What the archive does by itself every so often: revisions that are due are made, bytes of deleted studies go, records
beside the objects are written, and pictures that an earlier version made are removed. All of it may run at any time and
any number of times."""

from datetime import UTC, datetime, timedelta
from typing import Final

from hilum.core.jobs import Jobs
from hilum.imaging.archive.delete import purge
from hilum.imaging.archive.sidecar import mark_studies, record_changes
from hilum.imaging.archive.store import Archive
from hilum.imaging.archive.thumbnails import remove_outdated
from hilum.imaging.studies.revisions import revise_due

# Until the next time that a worker looks by itself.
_SOON: Final = timedelta(seconds=10)


def register(jobs: Jobs, archive: Archive) -> None:
    """Teach a process what is to be done every so often."""
    grace = timedelta(days=archive.settings.delete_grace_days)

    def revise() -> None:
        following = revise_due(archive.database, mark_studies)
        now = datetime.now(UTC)
        if following and now < following < now + _SOON:
            again(following)

    again = jobs.every("* * * * * */10", "hilum.revise", revise)
    jobs.every("* * * * * */10", "hilum.record", lambda: record_changes(archive.database, archive.blobs))
    jobs.every("* * * * * */30", "hilum.purge", lambda: purge(archive.database, archive.blobs, grace))
    jobs.every("23 * * * *", "hilum.tidy", lambda: remove_outdated(archive.blobs))
