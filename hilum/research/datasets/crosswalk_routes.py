"""REST of the crosswalk, for those alone who may know who is who: looked up both ways, given to the site as CSV, and
who has looked."""

from collections.abc import Iterator
from itertools import chain
from typing import Annotated

from fastapi import Depends, Query
from fastapi.responses import Response, StreamingResponse

from hilum.core.access import Caller, needs
from hilum.core.errors import Invalid
from hilum.core.http import PROBLEMS, Limit, Offset, Page, Router, refuse_unknown_parameters
from hilum.imaging.archive.routes import TheArchive
from hilum.imaging.archive.schemas import API
from hilum.imaging.archive.store import Archive
from hilum.research.datasets import schemas
from hilum.research.datasets.crosswalk import Question, csv_of, list_looks, look_up
from hilum.research.datasets.versions import made_version

router = Router(prefix=API, tags=["datasets"], dependencies=[Depends(refuse_unknown_parameters)], responses=PROBLEMS)

TheAdmin = Annotated[Caller, Depends(needs("admin"))]
Old = Annotated[str, Query(max_length=256, description="PatientID, accession number or UID of an original.")]
New = Annotated[str, Query(max_length=256, description="person_id, accession, UID or path of a shared file.")]


@router.get("/crosswalk")
def get_crosswalk(
    archive: TheArchive,
    caller: TheAdmin,
    response: Response,
    old: Old = "",
    new: New = "",
    dataset: Annotated[str, Query(max_length=80, description="Number or name of a data set, with its version.")] = "",
    version: Annotated[str, Query(max_length=20, description="Number of a version of it.")] = "",
    limit: Limit = 20,
    offset: Offset = 0,
) -> Page[schemas.CrosswalkEntry]:
    """What became of an original, or what a shared file was made of; each look is noted. POST takes it as JSON."""
    asked = schemas.CrosswalkQuestion(old=old, new=new, dataset=dataset, version=version, limit=limit, offset=offset)
    return post_crosswalk(archive, caller, response, asked)


@router.post("/crosswalk")
def post_crosswalk(
    archive: TheArchive, caller: TheAdmin, response: Response, given: schemas.CrosswalkQuestion
) -> Page[schemas.CrosswalkEntry]:
    """The same, with the value in the body, so that it stands in no address and in no proxy's log."""
    question = Question(given.old, given.new, _version(archive, given.dataset, given.version))
    limit, offset = given.limit, given.offset
    entries, total = look_up(archive.database, archive.settings, question, caller.name, limit=limit, offset=offset)
    response.headers["Cache-Control"] = "private, no-store"
    items = [schemas.CrosswalkEntry.model_validate(entry) for entry in entries]
    return Page(items=items, total=total, limit=limit, offset=offset)


@router.get("/crosswalk/looks")
def get_looks(archive: TheArchive, caller: TheAdmin, limit: Limit = 20, offset: Offset = 0) -> Page[schemas.Look]:
    """Who looked into the crosswalk or at an original picture, latest first; not what for."""
    del caller
    with archive.database.transaction() as sql:
        rows, total = list_looks(sql, limit=limit, offset=offset)
    return Page(items=[schemas.Look.model_validate(row) for row in rows], total=total, limit=limit, offset=offset)


@router.get(
    "/datasets/{dataset}/versions/{version}/crosswalk",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/csv": {}}}},
)
def get_version_crosswalk(
    archive: TheArchive, caller: TheAdmin, dataset: str, version: str, old: Old = "", new: New = ""
) -> StreamingResponse:
    """The crosswalk of a version as CSV, a row for each attribute: all of it, or what a value finds; it is noted."""
    with archive.database.connect() as connection:
        row = made_version(connection, dataset, version)
    lines = csv_of(archive.database, archive.settings, Question(old, new, row["id"]), caller.name)
    first = next(lines)
    name = f"crosswalk-dataset-{row['dataset_id']}-version-{row['number']}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "private, no-store"}
    return StreamingResponse(_encoded(chain([first], lines)), 200, headers, "text/csv; charset=utf-8")


def _encoded(lines: Iterator[str]) -> Iterator[bytes]:
    for piece in lines:
        yield piece.encode()


def _version(archive: Archive, dataset: str, version: str) -> int | None:
    if not dataset and not version:
        return None
    if not dataset or not version:
        raise Invalid("Name a data set and one of its versions, or neither.")
    with archive.database.connect() as connection:
        return made_version(connection, dataset, version)["id"]
