"""REST of a study's revisions: what there are and what each holds, that a study is complete, how many instances to
expect."""

from datetime import datetime
from typing import Annotated, Final, Literal, cast

import msgspec
from fastapi import APIRouter, Depends, Path
from fastapi.responses import Response
from pydantic import Field

from hilum.core.errors import Gone, Invalid, NotFound
from hilum.core.http import PROBLEMS, Limit, Model, Offset, Page, refuse_unknown_parameters
from hilum.imaging.archive import query, schemas
from hilum.imaging.archive.arrivals import SourceRef
from hilum.imaging.archive.routes import Of, TheArchive, show_study
from hilum.imaging.archive.sidecar import mark_studies
from hilum.imaging.archive.store import Archive
from hilum.imaging.dicom.uids import check_uid
from hilum.imaging.studies.manifest import changes_document, series_document
from hilum.imaging.studies.revisions import (
    await_instances,
    changes_by_series,
    complete,
    get_revision,
    list_revisions,
)

router = APIRouter(
    prefix=f"{schemas.API}/studies",
    tags=["revisions"],
    dependencies=[Depends(refuse_unknown_parameters)],
    responses=PROBLEMS,
)

MOST_EXPECTED: Final = 10_000_000
Number = Annotated[int, Path(ge=1, le=2**31, description="Of the revision, from 1.")]


class RevisionCounts(Model):
    """A revision of a study: what it consisted of when it was complete."""

    number: int = Field(description="From 1, without gaps.")
    reason: Literal["quiet", "expected", "manual", "deleted"] = Field(
        description="No instance came for a while; all came that were expected; a person completed or restored it; "
        "something was deleted."
    )
    made_at: datetime
    num_series: int
    num_instances: int
    num_images: int
    num_added: int
    num_removed: int
    num_replaced: int


class Changes(Model):
    """Instances that differ from the revision before, as ``<Series Instance UID>/<SOP Instance UID>``."""

    added: list[str]
    removed: list[str]
    replaced: list[str]


class ManifestInstance(Model):
    """A SOP instance of a revision."""

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    instance_number: int | None
    num_frames: int
    digest: str = Field(description="blake3:<hex> of the stored bytes.")
    size: int


class ManifestSeries(Model):
    """A series of a revision."""

    series_instance_uid: str
    modality: str
    series_number: int | None
    num_instances: int
    instances: list[ManifestInstance]


class RevisionDetail(RevisionCounts):
    """A revision with its whole manifest."""

    source: str
    study_instance_uid: str
    changes: Changes
    series: list[ManifestSeries]


class SeriesChanges(Model):
    """How much of a series differs from the revision before."""

    series_instance_uid: str
    modality: str
    series_number: int | None
    added: int
    removed: int
    replaced: int


class Expectation(Model):
    """How many instances a study will have."""

    instances: Annotated[int, Field(ge=1, le=MOST_EXPECTED)]


class Expected(Model):
    """What is expected of a study, and what of it has come."""

    source: str
    study_instance_uid: str
    instances: int
    num_instances: int
    revision: int = Field(description="Of the latest revision; 0 when there is none yet.")


@router.get("/{study}/revisions")
def get_revisions(
    archive: TheArchive, study: str, source: Of = None, limit: Limit = 100, offset: Offset = 0
) -> Page[RevisionCounts]:
    """The revisions of a study, latest first; also those from before it was deleted and stored again."""
    with archive.database.connect() as connection:
        row = query.find_study(connection, study, source)
        found, total = list_revisions(connection, row["id"], limit=limit, offset=offset)
    items = [RevisionCounts.model_validate(each) for each in found]
    return Page(items=items, total=total, limit=limit, offset=offset)


@router.get("/{study}/revisions/{number}", response_model=RevisionDetail)
def get_manifest(archive: TheArchive, study: str, number: Number, source: Of = None) -> Response:
    """One revision: every series and instance, and what had changed against the revision before."""
    with archive.database.connect() as connection:
        revision = get_revision(connection, query.find_study(connection, study, source)["id"], number)
    changes = revision.changes
    document = {
        "number": revision.number,
        "reason": revision.reason,
        "made_at": revision.made_at,
        "num_series": revision.num_series,
        "num_instances": revision.num_instances,
        "num_images": revision.num_images,
        "num_added": len(changes.added),
        "num_removed": len(changes.removed),
        "num_replaced": len(changes.replaced),
        "source": revision.source,
        "study_instance_uid": revision.study_instance_uid,
        "changes": changes_document(changes),
        "series": [series_document(series) for series in revision.series],
    }
    return Response(msgspec.json.encode(document), media_type="application/json")


@router.get("/{study}/revisions/{number}/changes")
def get_changes(archive: TheArchive, study: str, number: Number, source: Of = None) -> list[SeriesChanges]:
    """How much of each series differs from the revision before; series without a change are left out."""
    with archive.database.connect() as connection:
        row = query.find_study(connection, study, source)
        found = changes_by_series(connection, row["id"], number)
    return [SeriesChanges.model_validate(each) for each in found]


@router.post("/{study}/complete")
def complete_study(archive: TheArchive, response: Response, study: str, source: Of = None) -> schemas.StudyDetail:
    """Say that a study is complete: if anything has changed, its revision is made at once."""
    with archive.database.connect() as connection:
        study_id = cast("int", query.find_study(connection, study, source)["id"])
    with archive.database.transaction() as sql:
        complete(sql, study_id)
        mark_studies(sql, [study_id])
    return show_study(archive, response, str(study_id), None)


@router.put("/{study_uid}/expected")
def expect_instances(archive: TheArchive, study_uid: str, body: Expectation, source: Of = None) -> Expected:
    """Say how many instances a study will have, perhaps before the first has come; once they are there, its revision is
    made at once."""
    ref, uid = _place(archive, study_uid, source)
    with archive.database.transaction() as sql:
        standing = await_instances(sql, ref.id, uid, body.instances)
        if standing.study_id is not None:
            mark_studies(sql, [standing.study_id])
    return Expected(
        source=ref.key,
        study_instance_uid=uid,
        instances=body.instances,
        num_instances=standing.num_instances,
        revision=standing.revision,
    )


def _place(archive: Archive, study_uid: str, source: str | None) -> tuple[SourceRef, str]:
    """Where a study is or will be: that of an unknown UID is in the source that is named, else in the default one."""
    try:
        with archive.database.connect() as connection:
            row = query.find_study(connection, study_uid, source)
    except (NotFound, Gone):
        if study_uid.isdecimal():
            raise
        if not check_uid(study_uid):
            text = "A study is expected by its Study Instance UID, which this is not (PS3.5 section 9)."
            raise Invalid(text) from None
        return archive.source(source or "default"), study_uid
    return SourceRef(row["source_id"], row["source_key"]), row["study_instance_uid"]
