"""What one process of Hilum works with, put together: the rooms' services and the kinds of job that it knows. Shared by
the doors; it imports no web framework, so that a worker stays small."""

from dataclasses import dataclass

from hilum.core.blobs import open_blobs
from hilum.core.config import Settings
from hilum.core.database import Database
from hilum.core.delivery import Handlers, webhooks
from hilum.core.delivery import tasks as delivery_tasks
from hilum.core.delivery.consumer import Enrich, Group
from hilum.core.delivery.courier import Courier
from hilum.core.jobs import Jobs
from hilum.imaging.archive import tasks as archive_tasks
from hilum.imaging.archive.event_patients import naming_patients
from hilum.imaging.archive.further import chosen
from hilum.imaging.archive.store import Archive
from hilum.imaging.dicomweb import tasks as dicomweb_tasks
from hilum.imaging.intake import tasks as intake_tasks
from hilum.imaging.worklist import tasks as worklist_tasks


@dataclass(frozen=True, slots=True)
class Services:
    """The settings, the database, the archive, the jobs and the courier of events of this process."""

    settings: Settings
    database: Database
    archive: Archive
    jobs: Jobs
    courier: Courier


def _over_nats(settings: Settings, database: Database, enrich: Enrich) -> list[Group]:
    from hilum.core.delivery.jetstream import Publisher  # here, for most have no NATS
    from hilum.core.delivery.mailboxes import SitePost
    from hilum.core.nats import Link, NatsOptions

    link = Link(NatsOptions.of(settings))
    publisher = Publisher(link, settings.base_url, enrich)
    return [publisher.group(), SitePost(database, link, settings.base_url, enrich).group()]


def assemble(settings: Settings, database: Database, jobs: Jobs) -> Services:
    """Put the rooms together and teach the process their jobs; raises ``Invalid`` for a setting that a room refuses."""
    chosen(tuple(settings.qido_attributes))
    blobs = open_blobs(settings.blobs_url, settings.data_path, settings.min_free_bytes)
    archive = Archive(database, blobs, settings)
    archive_tasks.register(jobs, archive)
    intake_tasks.register(jobs, archive)
    dicomweb_tasks.register(jobs, archive)
    worklist_tasks.register(jobs, archive)
    handlers = Handlers()
    delivery_tasks.register(jobs)
    enrich: Enrich = naming_patients(database) if settings.event_patient_data else list
    groups = [handlers.group(), webhooks.group(database, enrich)]
    if settings.nats_url:
        groups += _over_nats(settings, database, enrich)
    courier = Courier(database, settings, groups)
    return Services(settings, database, archive, jobs, courier)
