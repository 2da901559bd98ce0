"""What one process of Hilum works with, put together: the rooms' services and the kinds of job that it knows. Shared by
the doors; it imports no web framework, so that a worker stays small."""

from dataclasses import dataclass

from hilum.core.blobs import open_blobs
from hilum.core.config import Settings
from hilum.core.database import Database
from hilum.core.jobs import Jobs
from hilum.imaging.archive import tasks as archive_tasks
from hilum.imaging.archive.further import chosen
from hilum.imaging.archive.store import Archive
from hilum.imaging.dicomweb import tasks as dicomweb_tasks
from hilum.imaging.dimse import tasks as dimse_tasks
from hilum.imaging.intake import tasks as intake_tasks
from hilum.imaging.worklist import tasks as worklist_tasks


@dataclass(frozen=True, slots=True)
class Services:
    """The settings, the database, the archive and the jobs of this process."""

    settings: Settings
    database: Database
    archive: Archive
    jobs: Jobs


def assemble(settings: Settings, database: Database, jobs: Jobs) -> Services:
    """Put the rooms together and teach the process their jobs; raises ``Invalid`` for a setting that a room refuses."""
    chosen(tuple(settings.qido_attributes))
    blobs = open_blobs(settings.blobs_url, settings.data_path, settings.min_free_bytes)
    archive = Archive(database, blobs, settings)
    archive_tasks.register(jobs, archive)
    intake_tasks.register(jobs, archive)
    dicomweb_tasks.register(jobs, archive)
    worklist_tasks.register(jobs, archive)
    dimse_tasks.register(jobs, archive)
    return Services(settings, database, archive, jobs)
