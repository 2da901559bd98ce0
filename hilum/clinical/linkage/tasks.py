"""When studies are linked: after each event that may change what they are tied to, and as a job where a mapping table
or the CDM has changed. All of it may run twice."""

from collections.abc import Mapping
from typing import Final, cast

from hilum.clinical.cdm.cdm import LINKED, find_cdm
from hilum.clinical.linkage.bulk import KIND, link_all
from hilum.clinical.linkage.orders import read_orders
from hilum.clinical.linkage.settle import Manner, settle
from hilum.core.delivery import Handlers
from hilum.core.errors import NotFound
from hilum.core.jobs import Jobs
from hilum.core.progress import Progress
from hilum.imaging.archive.store import Archive
from hilum.imaging.studies import steps

TYPES: Final = (
    "hilum.study.revised.v1",
    "hilum.study.edited.v1",
    "hilum.study.deleted.v1",
    "hilum.study.restored.v1",
    "hilum.study.indexed.v1",
)
"""The events after which a study may be tied to something else. What linking itself tells of is not among them: it is
done where it is decided, with all that follows."""


def register(handlers: Handlers, jobs: Jobs, archive: Archive) -> None:
    """Have this room told of what changes studies, and teach the process its jobs."""
    manner = Manner.of(archive.settings)
    handlers.on("linkage", TYPES, lambda event: handle(archive, manner, event))

    def run(arguments: Mapping[str, object], progress: Progress) -> None:
        link_all(archive, str(arguments["source"]), manner, progress)

    jobs.add(KIND, run)


def handle(archive: Archive, manner: Manner, event: Mapping[str, object]) -> None:
    """Bring the links of an event's study up to date, if its source has a CDM."""
    source = str(event["source"]).rpartition("/")[2]
    uid = str(cast("Mapping[str, object]", event["data"])["study_instance_uid"])
    with archive.database.transaction() as sql:
        try:
            cdm = find_cdm(sql, source)
        except NotFound:  # the source has been removed since
            return
        if cdm is None:
            return
        query = "select id from hilum.study where source_id = %s and study_instance_uid = %s"
        studies = [cast("int", row["id"]) for row in sql.rows(query, (cdm.source_id, uid))]
        revisions = steps.revisions_of(sql, studies)
    if studies:
        read_orders(archive, studies)
        with archive.database.transaction() as sql:
            settle(sql, cdm, studies, manner)
        with archive.database.transaction() as sql:
            steps.finish(sql, LINKED, revisions)
