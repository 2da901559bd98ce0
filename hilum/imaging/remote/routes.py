"""REST of sources and their remote archives: what is known of them, indexing, and copies of images."""

import time
from dataclasses import asdict
from typing import Annotated, Final, LiteralString, cast

from fastapi import APIRouter, Depends, Query, Response

from hilum.core.database import Row
from hilum.core.errors import Conflict, HilumError, NotFound
from hilum.core.http import PROBLEMS, refuse_unknown_parameters
from hilum.core.routes import Job, TheJobs, show
from hilum.imaging.archive import query
from hilum.imaging.archive.curation import WHO
from hilum.imaging.archive.routes import TheArchive
from hilum.imaging.archive.schemas import API
from hilum.imaging.archive.sources import add_source
from hilum.imaging.archive.store import Archive
from hilum.imaging.remote import copies, keeping, schemas
from hilum.imaging.remote.client import DicomWeb
from hilum.imaging.remote.demand import TASK
from hilum.imaging.remote.fetching import services_of
from hilum.imaging.remote.indexing import index_series
from hilum.imaging.remote.removal import remove_source, restore_source
from hilum.imaging.remote.servers import Credentials, change_server, find_server, login_of, note_root
from hilum.imaging.remote.tasks import KIND

router = APIRouter(prefix=API, tags=["sources"], dependencies=[Depends(refuse_unknown_parameters)], responses=PROBLEMS)
Of = Annotated[str | None, Query(description="Key of the source, where a UID lies in several.")]

_TEST_SECONDS: Final = 10.0


@router.get("/sources")
def get_sources(archive: TheArchive) -> list[schemas.SourceSummary]:
    """Every source with its number of studies."""
    return _sources(archive)


@router.post("/sources", status_code=201)
def add(archive: TheArchive, given: schemas.SourceIn) -> schemas.SourceSummary:
    """Add a source."""
    if _sources(archive, given.key):
        raise Conflict(f"There is a source '{given.key}' already.")
    add_source(archive.database, given.key, given.name or given.key)
    change_server(archive.database, given.key, given.changes())
    return get_source(archive, given.key)


@router.get("/sources/{key}")
def get_source(archive: TheArchive, key: str) -> schemas.SourceSummary:
    """One source."""
    found = _sources(archive, key)
    if not found:
        raise NotFound(f"There is no source '{key}'.")
    return found[0]


@router.patch("/sources/{key}")
def patch_source(archive: TheArchive, key: str, change: schemas.SourceChange) -> schemas.SourceSummary:
    """Change a source."""
    change_server(archive.database, key, change.changes())
    return get_source(archive, key)


@router.delete("/sources/{key}")
def delete_source(
    archive: TheArchive,
    key: str,
    forget: Annotated[bool, Query(description="Also where studies are known from its remote archive.")] = False,
) -> schemas.SourceRemoved:
    """Remove a source that holds no images, with what is known from its remote archive. Its credentials are forgotten
    at once, its studies once the grace of deleted ones has passed (HILUM_DELETE_GRACE_DAYS)."""
    return schemas.SourceRemoved(key=key, studies=remove_source(archive.database, key, WHO, forget=forget))


@router.post("/sources/{key}/restore")
def restore(archive: TheArchive, key: str) -> schemas.SourceSummary:
    """Bring a removed source back, with its studies if the grace has not passed; it needs its credentials again."""
    restore_source(archive.database, key, WHO)
    return get_source(archive, key)


@router.post("/sources/{key}/test")
def test_source(archive: TheArchive, key: str) -> schemas.SourceTest:
    """Ask the remote archive of a source for a study, and tell which services answered. Nothing is kept of it."""
    server = find_server(archive.database, key)
    begun = time.perf_counter()
    services: list[str] = []
    message = "It answers."
    with DicomWeb(server, archive.settings.outgoing_ca, _TEST_SECONDS) as client:
        try:
            services = services_of(client)
            note_root(archive.database, server, client.root)
        except HilumError as error:
            message = str(error)
    if services == ["QIDO-RS"]:
        message = "It answers, and has nothing yet by which WADO-RS could be tried."
    spent = round((time.perf_counter() - begun) * 1000, 1)
    return schemas.SourceTest(ok=bool(services), message=message, services=services, milliseconds=spent)


@router.post("/studies/index-from-dicomweb", status_code=202)
def post_index(archive: TheArchive, jobs: TheJobs, wanted: schemas.DicomWebIndex) -> Job:
    """Index the studies of a source's remote archive: they become known with availability ``remote``."""
    archive.source(wanted.source)
    find_server(archive.database, wanted.source)
    arguments = {
        "limit": wanted.limit, "modality": wanted.modality or "", "everything": wanted.all, "series": wanted.series,
    }  # fmt: skip
    with archive.database.transaction() as sql:
        job_id = jobs.defer(sql, KIND, "Indexing of a remote archive", wanted.source, **arguments)
    return show(jobs, job_id)


@router.post("/studies/{study}/index-series")
def post_series(archive: TheArchive, study: str, source: Of = None) -> schemas.SeriesCounts:
    """Ask the remote archive for the series of one study that lies there."""
    return schemas.SeriesCounts(**asdict(index_series(archive, _study(archive, study, source))))


@router.get("/studies/{study}/copy")
def get_copy(archive: TheArchive, study: str, source: Of = None) -> schemas.StudyCopy:
    """Where the copy of a study from the remote archive stands."""
    study_id = _study(archive, study, source)
    with archive.database.transaction() as sql:
        return schemas.StudyCopy(**asdict(copies.find_copy(sql, study_id)))


@router.post("/studies/{study}/copy", status_code=202)
def post_copy(archive: TheArchive, jobs: TheJobs, study: str, source: Of = None) -> schemas.StudyCopy:
    """Have the images of a remote study fetched."""
    study_id = _study(archive, study, source)
    with archive.database.transaction() as sql:
        found = copies.want(sql, study_id)
    jobs.wake(TASK)
    return schemas.StudyCopy(**asdict(found))


@router.delete("/studies/{study}/copy", status_code=204)
def delete_copy(archive: TheArchive, study: str, source: Of = None) -> Response:
    """Give up the copy of a study: it is remote again, and what is known of it stays."""
    keeping.release(archive.database, _study(archive, study, source))
    return Response(status_code=204)


def _study(archive: Archive, study: str, source: str | None) -> int:
    with archive.database.connect() as connection:
        return query.find_study(connection, study, source)["id"]


def _sources(archive: Archive, key: str | None = None) -> list[schemas.SourceSummary]:
    with archive.database.transaction() as sql:
        rows = sql.rows(_SOURCES, {"key": key})
    held = copies.held_by_source(archive.database)
    return [_summary(row, held.get(cast("int", row["id"]), {})) for row in rows]


def _summary(row: Row, held: Row) -> schemas.SourceSummary:
    shown = {name: row[name] for name in row if name != "id"}
    shown["dicomweb_credentials"] = login_of(cast("Credentials", row["dicomweb_credentials"]))
    shown["copies"] = schemas.Copies.model_validate({name: held[name] for name in held if name != "source_id"})
    return schemas.SourceSummary.model_validate(shown)


_SOURCES: Final[LiteralString] = """
  select s.id, s.key, s.name, s.cdm_schema, s.vocabulary_schema, s.imaging_schema, s.results_schema, s.cdm_attached,
    s.intake_profile, s.dicomweb_url, s.dicomweb_credentials, s.dicomweb_ca, s.remote_fetch as fetch,
    s.remote_modalities as fetch_modalities, s.remote_keep_days as keep_days, s.remote_keep_bytes as keep_bytes,
    (select count(*) from hilum.study t where t.source_id = s.id and t.deleted_at is null) as studies
  from hilum.source s where s.key = coalesce(%(key)s::text, s.key) and not s.removed order by s.key
"""
