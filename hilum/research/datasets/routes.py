"""REST of data sets: definitions, previews, versions with their manifest, zip and report, and whether a draft is
published."""

from typing import Annotated, cast

import sqlalchemy as sa
from fastapi import Depends, Path, Request
from fastapi.responses import JSONResponse, Response

from hilum.core.access import TheCaller
from hilum.core.http import PROBLEMS, Limit, Offset, Page, Router, refuse_unknown_parameters, stored
from hilum.core.routes import Job, TheJobs, show
from hilum.imaging.archive.routes import TheArchive
from hilum.imaging.archive.schemas import API
from hilum.imaging.archive.store import Archive
from hilum.research.datasets import delete, schemas, versions
from hilum.research.datasets.definition import Definition, profile_of, read_definition
from hilum.research.datasets.models import DatasetVersion
from hilum.research.datasets.preview import preview

router = Router(prefix=API, tags=["datasets"], dependencies=[Depends(refuse_unknown_parameters)], responses=PROBLEMS)


@router.get("/datasets")
def get_datasets(archive: TheArchive, limit: Limit = 20, offset: Offset = 0) -> Page[schemas.Dataset]:
    """Data sets, latest first."""
    with archive.database.connect() as connection:
        rows, total = versions.list_datasets(connection, limit=limit, offset=offset)
    return Page(items=[_dataset(row) for row in rows], total=total, limit=limit, offset=offset)


@router.post("/datasets", status_code=201)
def post_dataset(archive: TheArchive, caller: TheCaller, given: schemas.Definition) -> schemas.Dataset:
    """Define a data set; nothing is made of it yet."""
    number = versions.add_dataset(archive.database, _definition(archive, given), caller.name)
    return get_dataset(archive, str(number))


@router.post("/datasets/preview")
def post_preview(archive: TheArchive, given: schemas.PreviewIn) -> schemas.Preview:
    """What a version of a definition would be made of now, and what would be held back."""
    return schemas.Preview.model_validate(preview(archive.database, archive.settings, _definition(archive, given)))


@router.get("/datasets/{dataset}")
def get_dataset(archive: TheArchive, dataset: str) -> schemas.Dataset:
    """One data set, by number or name."""
    with archive.database.connect() as connection:
        return _dataset(versions.find_dataset(connection, dataset))


@router.put("/datasets/{dataset}")
def put_dataset(archive: TheArchive, dataset: str, given: schemas.Definition) -> schemas.Dataset:
    """Give a data set another definition, for its next versions."""
    with archive.database.connect() as connection:
        number = versions.find_dataset(connection, dataset)["id"]
    versions.change_dataset(archive.database, number, _definition(archive, given))
    return get_dataset(archive, str(number))


@router.delete("/datasets/{dataset}", status_code=204)
def delete_dataset(archive: TheArchive, caller: TheCaller, dataset: str) -> None:
    """Delete a data set with all of its versions, as they are deleted one by one."""
    with archive.database.connect() as connection:
        number = versions.find_dataset(connection, dataset)["id"]
    delete.delete_dataset(archive.database, archive.blobs, number, caller.name)


@router.get("/datasets/{dataset}/versions")
def get_versions(archive: TheArchive, dataset: str, limit: Limit = 20, offset: Offset = 0) -> Page[schemas.Version]:
    """The versions of a data set, latest first."""
    with archive.database.connect() as connection:
        number = versions.find_dataset(connection, dataset)["id"]
        rows, total = versions.list_versions(connection, number, limit=limit, offset=offset)
        items = [_version(connection, row) for row in rows]
    return Page(items=items, total=total, limit=limit, offset=offset)


@router.post("/datasets/{dataset}/versions", status_code=202)
def post_version(
    archive: TheArchive, jobs: TheJobs, caller: TheCaller, dataset: str, given: schemas.VersionIn | None = None
) -> Job:
    """Make a version: a job freezes what the definition selects now, de-identifies and checks it. It is published when
    all checks passed, unless a person is to decide."""
    with archive.database.connect() as connection:
        found = versions.find_dataset(connection, dataset)
    review = given is not None and given.review
    return show(jobs, versions.ask_for_version(archive.database, jobs, found, caller.name, review=review))


@router.get("/datasets/{dataset}/versions/{version}")
def get_version(archive: TheArchive, dataset: str, version: str) -> schemas.Version:
    """One version by its number; ``latest`` is the latest published one."""
    with archive.database.connect() as connection:
        return _version(connection, versions.named_version(connection, dataset, version))


@router.delete("/datasets/{dataset}/versions/{version}", status_code=204)
def delete_version(
    archive: TheArchive, caller: TheCaller, dataset: str, version: Annotated[int, Path(ge=1, lt=1 << 31)]
) -> None:
    """Delete a version: its files, and its part of the crosswalk. What other versions have in common with it stays, and
    so does who deleted it and when. Refused while it is being made or written out."""
    with archive.database.connect() as connection:
        number = versions.find_dataset(connection, dataset)["id"]
    delete.delete_version(archive.database, archive.blobs, number, version, caller.name)


@router.get("/datasets/{dataset}/versions/{version}/manifest", response_class=JSONResponse)
def get_manifest(request: Request, archive: TheArchive, dataset: str, version: str) -> Response:
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
def get_zip(request: Request, archive: TheArchive, dataset: str, version: str) -> Response:
    """A published version as one zip, streamed; a download that broke off goes on with Range."""
    from hilum.research.datasets.zipped import zip_answer

    row = _made(archive, dataset, version)
    versions.check_given_out(row)
    name = f"dataset-{row['dataset_id']}-version-{row['number']}.zip"
    return zip_answer(request, archive, row["id"], row["digest"], name)


@router.get("/datasets/{dataset}/versions/{version}/report")
def get_report(archive: TheArchive, dataset: str, version: str) -> schemas.Report:
    """The upload check list of a version."""
    return schemas.Report.model_validate(_made(archive, dataset, version)["report"])


@router.post("/datasets/{dataset}/versions/{version}/review")
def post_review(
    archive: TheArchive, caller: TheCaller, dataset: str, version: str, given: schemas.VersionDecision
) -> schemas.Version:
    """Publish a draft, or reject it; what failed a binding check cannot be published."""
    row = _made(archive, dataset, version)
    with archive.database.transaction() as sql:
        if given.decision == "publish":
            versions.publish(sql, row["id"], caller.name, given.note)
        else:
            versions.reject(sql, row["id"], caller.name, given.note)
    return get_version(archive, dataset, version)


def _definition(archive: Archive, given: schemas.Definition) -> Definition:
    found = read_definition(given.model_dump(mode="json", exclude_none=True))
    profile_of(found, archive.settings)
    return found


def _dataset(row: sa.RowMapping) -> schemas.Dataset:
    values = {name: row[name] for name in schemas.Dataset.model_fields}
    return schemas.Dataset.model_validate(values)


def _made(archive: Archive, dataset: str, version: str) -> sa.RowMapping:
    with archive.database.connect() as connection:
        return versions.made_version(connection, dataset, version)


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
