"""The jobs of the intake."""

from functools import partial

from hilum.core.jobs import Jobs
from hilum.imaging.archive.store import Archive
from hilum.imaging.intake import conflicts, local, uploads


def register(jobs: Jobs, archive: Archive) -> None:
    """Teach a process the jobs of this room."""
    jobs.add(uploads.KIND, partial(uploads.import_upload, archive))
    jobs.add(conflicts.KIND, partial(conflicts.retake, archive))
    jobs.add(local.KIND, partial(local.import_local, archive))
