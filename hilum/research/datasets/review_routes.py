"""REST of the review of pixels: instances of a version to look at, their pictures before and after, and decisions."""

from typing import Annotated, Any, Final

import sqlalchemy as sa
from fastapi import Depends, Query
from fastapi.responses import Response

from hilum.core.access import Caller, needs
from hilum.core.database import Row, Transaction
from hilum.core.http import PROBLEMS, Limit, Offset, Page, Router, refuse_unknown_parameters
from hilum.imaging.archive.routes import TheArchive
from hilum.imaging.archive.schemas import API
from hilum.research.datasets import review, schemas
from hilum.research.datasets.crosswalk import Look, note_look
from hilum.research.datasets.decisions import Decided, decide, frozen, undo
from hilum.research.datasets.review import Show, Shown
from hilum.research.datasets.site_key import site_keys
from hilum.research.datasets.versions import made_version
from hilum.research.deid.pixels import Box
from hilum.research.deid.seal import Seal

_REVIEW: Final = "/datasets/{dataset}/versions/{version}/review"
router = Router(prefix=API, tags=["datasets"], dependencies=[Depends(refuse_unknown_parameters)], responses=PROBLEMS)

TheReader = Annotated[Caller, Depends(needs("viewer", "editor", "admin"))]
TheEditor = Annotated[Caller, Depends(needs("editor", "admin"))]
Frame = Annotated[int, Query(ge=1, le=1 << 31, description="Of the instance, counted from 1.")]
_PNG: Final[dict[int | str, dict[str, Any]]] = {200: {"content": {"image/png": {}}}}


@router.get(_REVIEW)
def get_review(
    archive: TheArchive,
    caller: TheReader,
    dataset: str,
    version: str,
    show: Annotated[Show, Query(description="What is held back, or what a look at the pixels came to.")] = "held",
    code: Annotated[str | None, Query(max_length=64, description="Only what is held back for this reason.")] = None,
    limit: Limit = 20,
    offset: Offset = 0,
) -> Page[schemas.ReviewInstance]:
    """Instances of a version to look at, with what was found in their pixels and what was decided on them."""
    del caller
    with archive.database.transaction() as sql:
        found = made_version(sql.connection, dataset, version)
        rows, total = review.list_instances(sql, found, Shown(show, code), limit=limit, offset=offset)
    return Page(items=[_shown(row) for row in rows], total=total, limit=limit, offset=offset)


@router.get(f"{_REVIEW}/{{instance}}")
def get_review_instance(
    archive: TheArchive, caller: TheReader, dataset: str, version: str, instance: str
) -> schemas.ReviewInstance:
    """One instance, by its number or its new SOP Instance UID."""
    del caller
    with archive.database.transaction() as sql:
        return _shown(_found(sql, dataset, version, instance)[1])


@router.get(f"{_REVIEW}/{{instance}}/before.png", response_class=Response, responses=_PNG)
def get_before(
    archive: TheArchive, caller: TheReader, dataset: str, version: str, instance: str, frame: Frame = 1
) -> Response:
    """A frame of the original, which may identify somebody; that it was looked at is noted."""
    seal = Seal(site_keys(archive.database, archive.settings))
    with archive.database.transaction() as sql:
        found, row = _found(sql, dataset, version, instance)
        note_look(sql, seal, Look(caller.name, "before", str(row["sop"]), 1, found["id"]))
    return _png(review.before(archive, row, frame))


@router.get(f"{_REVIEW}/{{instance}}/after.png", response_class=Response, responses=_PNG)
def get_after(
    archive: TheArchive, caller: TheReader, dataset: str, version: str, instance: str, frame: Frame = 1
) -> Response:
    """The same frame as it leaves, by the decision that holds now."""
    del caller
    with archive.database.transaction() as sql:
        found, row = _found(sql, dataset, version, instance)
    return _png(review.after(archive, found, row, frame))


@router.post(f"{_REVIEW}/{{instance}}")
def post_decision(
    archive: TheArchive, caller: TheEditor, dataset: str, version: str, instance: str, given: schemas.PixelDecision
) -> schemas.ReviewInstance:
    """Decide on an instance, for the next versions of the data set; this one stays as it is."""
    boxes = tuple(Box(**box.model_dump()) for box in given.boxes)
    decided = Decided(given.decision, boxes)
    with archive.database.transaction() as sql:
        found, row = _found(sql, dataset, version, instance)
        decide(sql, found["dataset_id"], str(row["original"]), decided, caller.name)
        return _shown(_found(sql, dataset, version, instance)[1])


@router.delete(f"{_REVIEW}/{{instance}}")
def delete_decision(
    archive: TheArchive, caller: TheEditor, dataset: str, version: str, instance: str
) -> schemas.ReviewInstance:
    """Take the decision on an instance back; versions that were made with it stay as they are."""
    with archive.database.transaction() as sql:
        found, row = _found(sql, dataset, version, instance)
        undo(sql, found["dataset_id"], str(row["original"]), caller.name)
        return _shown(_found(sql, dataset, version, instance)[1])


def _found(sql: Transaction, dataset: str, version: str, instance: str) -> tuple[sa.RowMapping, Row]:
    found = made_version(sql.connection, dataset, version)
    return found, review.find_instance(sql, found, instance)


def _png(data: bytes) -> Response:
    return Response(data, 200, {"Cache-Control": "private, no-store"}, "image/png")


def _shown(row: Row) -> schemas.ReviewInstance:
    names = set(schemas.ReviewInstance.model_fields) - {"made_with", "decided"}
    made_with, decided = frozen(row["made_with"]), None
    if row["how"]:
        decided = {"decision": row["how"], "boxes": row["drawn"], "who": row["who"], "decided_at": row["decided_at"]}
    before = {"decision": made_with.how, "boxes": made_with.boxes} if made_with else None
    return schemas.ReviewInstance.model_validate(
        {**{name: row[name] for name in names}, "made_with": before, "decided": decided}
    )
