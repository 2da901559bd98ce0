"""What one process of Hilum works with, put together: the rooms' services and the kinds of job that it knows. Shared by
the doors; it imports no web framework, so that a worker stays small."""

from dataclasses import dataclass

import structlog

from hilum.clinical.features import tasks as features_tasks
from hilum.clinical.fhir import tasks as fhir_tasks
from hilum.clinical.fhir import versions as fhir_versions
from hilum.clinical.linkage import tasks as linkage_tasks
from hilum.core.blobs import StorageRefused, open_blobs
from hilum.core.config import Settings
from hilum.core.database import Database
from hilum.core.delivery import Handlers, webhooks
from hilum.core.delivery import tasks as delivery_tasks
from hilum.core.delivery.consumer import Enrich, Group
from hilum.core.delivery.courier import Courier
from hilum.core.errors import Unavailable
from hilum.core.jobs import Jobs
from hilum.core.trust import trusting
from hilum.imaging.archive import tasks as archive_tasks
from hilum.imaging.archive.event_patients import naming_patients
from hilum.imaging.archive.further import chosen
from hilum.imaging.archive.store import Archive
from hilum.imaging.dicomweb import tasks as dicomweb_tasks
from hilum.imaging.dimse import tasks as dimse_tasks
from hilum.imaging.intake import tasks as intake_tasks
from hilum.imaging.remote import tasks as remote_tasks
from hilum.imaging.routing import matching as routing_matching
from hilum.imaging.routing import tasks as routing_tasks
from hilum.imaging.worklist import tasks as worklist_tasks
from hilum.research.datasets import tasks as dataset_tasks

log = structlog.get_logger()


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


def open_archive(settings: Settings, database: Database) -> Archive:
    """Open the archive with its objects; raises ``Invalid`` for a setting that it refuses."""
    chosen(tuple(settings.qido_attributes))
    blobs = open_blobs(settings)
    try:
        blobs.check()
    except StorageRefused:
        raise
    except Unavailable as error:  # it may come back; until then this process is not ready
        log.warning("objects.unavailable", reason=str(error))
    return Archive(database, blobs, settings)


def assemble(settings: Settings, database: Database, jobs: Jobs) -> Services:
    """Put the rooms together and teach the process their jobs.

    Raises
    ------
    Invalid
        A room refuses a setting.
    StorageRefused
        The bucket of the objects is missing, or refuses the credentials.
    """
    archive = open_archive(settings, database)
    archive_tasks.register(jobs, archive)
    intake_tasks.register(jobs, archive)
    dicomweb_tasks.register(jobs, archive)
    worklist_tasks.register(jobs, archive)
    dimse_tasks.register(jobs, archive)
    routing_tasks.register(jobs, archive)
    remote_tasks.register(jobs, archive)
    fhir_tasks.register(jobs, archive)
    dataset_tasks.register(jobs, archive)
    handlers = Handlers()
    fhir_versions.register(handlers, archive)
    linkage_tasks.register(handlers, jobs, archive)
    features_tasks.register(handlers, jobs, archive)
    routing_matching.register(handlers, database, archive.choice, lambda: jobs.wake(routing_tasks.SEND))
    delivery_tasks.register(jobs)
    if settings.outgoing_ca:
        trusting(settings.outgoing_ca)  # refused now rather than when something is to be sent
    enrich: Enrich = naming_patients(database) if settings.event_patient_data else list
    groups = [handlers.group(), webhooks.group(database, enrich, settings.outgoing_ca)]
    if settings.nats_url:
        groups += _over_nats(settings, database, enrich)
    courier = Courier(database, settings, groups)
    return Services(settings, database, archive, jobs, courier)
