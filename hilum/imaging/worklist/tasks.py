"""What the worklist does by itself every so often: workitems that ended long ago go. It may run at any time and any
number of times."""

from datetime import timedelta

from hilum.core.jobs import Jobs
from hilum.imaging.archive.store import Archive
from hilum.imaging.worklist.workitems import forget


def register(jobs: Jobs, archive: Archive) -> None:
    """Teach a process what is to be done every so often."""
    keep = timedelta(days=archive.settings.worklist_keep_days)
    jobs.every("* * * * * */30", "hilum.worklist", lambda: forget(archive.database, keep))
