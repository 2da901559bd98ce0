"""REST of data sets: definitions, previews, versions with their manifest, zip and report, decisions, the crosswalk."""

from typing import Annotated, cast

import sqlalchemy as sa
from fastapi import Depends, Path, Query, Request
from fastapi.responses import JSONResponse, Response

from hilum.core.http import PROBLEMS, Limit, Offset, Page, Router, refuse_unknown_parameters, stored
from hilum.core.routes import Job, TheJobs, show
from hilum.imaging.archive.curation import WHO
from hilum.imaging.archive.routes import TheArchive
from hilum.imaging.archive.schemas import API
from hilum.imaging.archive.store import Archive
from hilum.research.datasets import delete, schemas, versions
from hilum.research.datasets.crosswalk import Question, look_up
from hilum.research.datasets.definition import Definition, profile_of, read_definition
from hilum.research.datasets.models import DatasetInstance, DatasetVersion
from hilum.research.datasets.preview import preview

router = Router(prefix=API, tags=["datasets"], dependencies=[Depends(refuse_unknown_parameters)], responses=PROBLEMS)

Which = Annotated[str, "Number of a data set, or its name."]


@router.get("/datasets")
def get_datasets(archive: TheArchive, limit: Limit = 20, offset: Offset = 0) -> Page[schemas.Dataset]:
    """Data sets, latest first."""
    with archive.database.connect() as connection:
        rows, total = versions.list_datasets(connection, limit=limit, offset=offset)
    return Page(items=[_dataset(row) for row in rows], total=total, limit=limit, offset=offset)


@router.post("/datasets", status_code=201)
def post_dataset(archive: TheArchive, given: schemas.Definition) -> schemas.Dataset:
    """Define a data set; nothing is made of it yet."""
    number = versions.add_dataset(archive.database, _definition(archive, given), WHO)
    return get_dataset(archive, str(number))


@router.post("/datasets/preview")
def post_preview(archive: TheArchive, given: schemas.PreviewIn) -> schemas.Preview:
    """What a version of a definition would be made of now, and what would be held back."""
    return schemas.Preview.model_validate(preview(archive.database, archive.settings, _definition(archive, given)))


@router.get("/datasets/{dataset}")
def get_dataset(archive: TheArchive, dataset: Which) -> schemas.Dataset:
    """One data set, by number or name."""
    with archive.database.connect() as connection:
        return _dataset(versions.find_dataset(connection, dataset))


@router.put("/datasets/{dataset}")
def put_dataset(archive: TheArchive, dataset: Which, given: schemas.Definition) -> schemas.Dataset:
    """Give a data set another definition, for its next versions."""
    with archive.database.connect() as connection:
        number = versions.find_dataset(connection, dataset)["id"]
    versions.change_dataset(archive.database, number, _definition(archive, given))
    return get_dataset(archive, str(number))


@router.delete("/datasets/{dataset}", status_code=204)
def delete_dataset(archive: TheArchive, dataset: Which) -> None:
    """Delete a data set with all of its versions, as they are deleted one by one."""
    with archive.database.connect() as connection:
        number = versions.find_dataset(connection, dataset)["id"]
    delete.delete_dataset(archive.database, archive.blobs, number, WHO)


@router.get("/datasets/{dataset}/versions")
def get_versions(archive: TheArchive, dataset: Which, limit: Limit = 20, offset: Offset = 0) -> Page[schemas.Version]:
    """The versions of a data set, latest first."""
    with archive.database.connect() as connection:
        number = versions.find_dataset(connection, dataset)["id"]
        rows, total = versions.list_versions(connection, number, limit=limit, offset=offset)
        items = [_version(connection, row) for row in rows]
    return Page(items=items, total=total, limit=limit, offset=offset)


@router.post("/datasets/{dataset}/versions", status_code=202)
def post_version(archive: TheArchive, jobs: TheJobs, dataset: Which, given: schemas.VersionIn | None = None) -> Job:
    """Make a version: a job freezes what the definition selects now, de-identifies and checks it. It is published when
    all checks passed, unless a person is to decide."""
    with archive.database.connect() as connection:
        found = versions.find_dataset(connection, dataset)
    review = given is not None and given.review
    return show(jobs, versions.ask_for_version(archive.database, jobs, found, WHO, review=review))


@router.get("/datasets/{dataset}/versions/{version}")
def get_version(archive: TheArchive, dataset: Which, version: str) -> schemas.Version:
    """One version by its number; ``latest`` is the latest published one."""
    with archive.database.connect() as connection:
        return _version(connection, _find(connection, dataset, version))


@router.delete("/datasets/{dataset}/versions/{version}", status_code=204)
def delete_version(archive: TheArchive, dataset: Which, version: Annotated[int, Path(ge=1, lt=1 << 31)]) -> None:
    """Delete a version: its files, and its part of the crosswalk. What other versions have in common with it stays, and
    so does who deleted it and when. Refused while it is being made or written out."""
    with archive.database.connect() as connection:
        number = versions.find_dataset(connection, dataset)["id"]
    delete.delete_version(archive.database, archive.blobs, number, version, WHO)


@router.get("/datasets/{dataset}/versions/{version}/manifest", response_class=JSONResponse)
def get_manifest(request: Request, archive: TheArchive, dataset: Which, version: str) -> Response:
    """The manifest: every file with its digest, revisions of studies, profile and software, counts, licence."""
    row = _made(archive, dataset, version)
    with archive.database.transaction() as sql:
        (file,) = sql.rows(
            "select size, blob_key from hilum.dataset_file where version_id = %s and path = 'manifest.json'",
            (row["id"],),
        )
    read = archive.blobs.reader(str(file["blob_key"]))
    return stored(request, size=cast("int", file["size"]), etag=row["digest"], media_type="application/json", read=read)


@router.head("/datasets/{dataset}/versions/{version}/zip", include_in_schema=False)
@router.get(
    "/datasets/{dataset}/versions/{version}/zip",
    response_class=Response,
    responses={200: {"content": {"application/zip": {}}}},
)
def get_zip(request: Request, archive: TheArchive, dataset: Which, version: str) -> Response:
    """A published version as one zip, streamed; a download that broke off goes on with Range."""
    from hilum.research.datasets.zipped import zip_answer

    row = _made(archive, dataset, version)
    versions.check_given_out(row)
    name = f"dataset-{row['dataset_id']}-version-{row['number']}.zip"
    return zip_answer(request, archive, row["id"], row["digest"], name)


@router.get("/datasets/{dataset}/versions/{version}/report")
def get_report(archive: TheArchive, dataset: Which, version: str) -> schemas.Report:
    """The upload check list of a version."""
    return schemas.Report.model_validate(_made(archive, dataset, version)["report"])


@router.get("/datasets/{dataset}/versions/{version}/review")
def get_review(
    archive: TheArchive,
    dataset: Which,
    version: str,
    code: Annotated[str | None, Query(max_length=64, description="Only what is held back for this reason.")] = None,
    limit: Limit = 20,
    offset: Offset = 0,
) -> Page[schemas.HeldInstance]:
    """Instances that are held back, with the reason."""
    with archive.database.connect() as connection:
        found = _find(connection, dataset, version)
        held = sa.select(DatasetInstance.__table__).where(
            DatasetInstance.version_id == found["id"], DatasetInstance.state == "held"
        )
        held = held.where(DatasetInstance.code == code) if code else held
        total = connection.scalar(sa.select(sa.func.count()).select_from(held.subquery())) or 0
        rows = connection.execute(held.order_by(DatasetInstance.id).limit(limit).offset(offset)).mappings().all()
    items = [schemas.HeldInstance.model_validate({name: row[name] for name in _HELD}) for row in rows]
    return Page(items=items, total=total, limit=limit, offset=offset)


@router.post("/datasets/{dataset}/versions/{version}/review")
def post_review(archive: TheArchive, dataset: Which, version: str, given: schemas.VersionDecision) -> schemas.Version:
    """Publish a draft, or reject it; what failed a binding check cannot be published."""
    row = _made(archive, dataset, version)
    with archive.database.transaction() as sql:
        if given.decision == "publish":
            versions.publish(sql, row["id"], WHO, given.note)
        else:
            versions.reject(sql, row["id"], WHO, given.note)
    return get_version(archive, dataset, version)


@router.get("/crosswalk")
def get_crosswalk(
    archive: TheArchive,
    old: Annotated[str, Query(max_length=256, description="PatientID, accession number or UID of an original.")] = "",
    new: Annotated[str, Query(max_length=256, description="person_id, accession, UID or path of a shared file.")] = "",
    limit: Limit = 20,
    offset: Offset = 0,
) -> Page[schemas.CrosswalkEntry]:
    """What became of an original, or what a shared file was made of; each look is noted."""
    entries, total = look_up(archive.database, archive.settings, Question(old, new), WHO, limit=limit, offset=offset)
    items = [schemas.CrosswalkEntry.model_validate(entry) for entry in entries]
    return Page(items=items, total=total, limit=limit, offset=offset)


_HELD = tuple(schemas.HeldInstance.model_fields)


def _definition(archive: Archive, given: schemas.Definition) -> Definition:
    found = read_definition(given.model_dump(mode="json", exclude_none=True))
    profile_of(found, archive.settings)
    return found


def _dataset(row: sa.RowMapping) -> schemas.Dataset:
    values = {name: row[name] for name in schemas.Dataset.model_fields}
    return schemas.Dataset.model_validate(values)


def _find(connection: sa.Connection, dataset: str, version: str) -> sa.RowMapping:
    return versions.find_version(connection, versions.find_dataset(connection, dataset)["id"], version)


def _made(archive: Archive, dataset: str, version: str) -> sa.RowMapping:
    """A version that is there as a whole."""
    with archive.database.connect() as connection:
        row = _find(connection, dataset, version)
    versions.check_there(row)
    return row


def _version(connection: sa.Connection, row: sa.RowMapping) -> schemas.Version:
    same = None
    if row["digest"]:
        same = connection.scalar(
            sa.select(sa.func.min(DatasetVersion.number)).where(
                DatasetVersion.dataset_id == row["dataset_id"], DatasetVersion.digest == row["digest"],
                DatasetVersion.number < row["number"],
            )
        )  # fmt: skip
    held = [schemas.HeldBack.model_validate(one) for one in versions.held_back(connection, row)]
    return schemas.Version(
        dataset_id=row["dataset_id"], version=row["number"], state=cast("schemas.State", row["state"]),
        counts=row["counts"], held_back=held, digest=f"blake3:{row['digest']}" if row["digest"] else "",
        size=row["size"], same_as=same, review=row["review"], job_id=row["job_id"], made_by=row["made_by"],
        created_at=row["created_at"], published_at=row["published_at"], decided_by=row["decided_by"],
        note=row["note"], deleted_at=row["deleted_at"], deleted_by=row["deleted_by"],
    )  # fmt: skip
