"""REST of the archive: statistics, the study list, one study, its instances, headers, thumbnails and stored bytes."""

from datetime import date
from typing import Annotated, Literal

import sqlalchemy as sa
from fastapi import Depends, Query, Request
from fastapi.responses import Response, StreamingResponse

from hilum.core.errors import NotFound
from hilum.core.http import PROBLEMS, Limit, Offset, Page, Router, matches, refuse_unknown_parameters, stored
from hilum.imaging.archive import query, schemas, views
from hilum.imaging.archive.absent import NotHere, brought
from hilum.imaging.archive.convert import converted
from hilum.imaging.archive.edit import version_of
from hilum.imaging.archive.objects import opened_instance, reader
from hilum.imaging.archive.query import StudyFilter
from hilum.imaging.archive.render import Look, frame_picture, frame_window, series_thumbnail, thumbnail_etag
from hilum.imaging.archive.store import Archive
from hilum.imaging.dicom.dicom_json import read_data_set, tags
from hilum.imaging.dicom.picture import MAX_SCALE
from hilum.imaging.studies import steps

router = Router(
    prefix=schemas.API, tags=["archive"], dependencies=[Depends(refuse_unknown_parameters)], responses=PROBLEMS
)


async def the_archive(request: Request) -> Archive:
    """Dependency: the archive that this application serves."""
    return request.app.state.archive


TheArchive = Annotated[Archive, Depends(the_archive)]
Of = Annotated[str | None, Query(description="Key of the source, where a UID lies in several.")]


@router.get("/stats")
def get_statistics(archive: TheArchive) -> schemas.Statistics:
    """Counts over the whole archive."""
    with archive.database.connect() as connection:
        return schemas.Statistics.model_validate(query.statistics(connection))


@router.get("/studies", response_model=Page[schemas.Study])
def get_studies(
    archive: TheArchive,
    source: str | None = None,
    modality: Annotated[list[str] | None, Query(description="Any of the study's; XR is CR or DX.")] = None,
    person_id: int | None = None,
    patient_id: str | None = None,
    body_part: Annotated[str | None, Query(description="With synonyms: brain finds head.")] = None,
    date_from: date | None = None,
    date_to: date | None = None,
    status: Literal["indexed", "processed", "error"] | None = None,
    availability: Literal["local", "remote"] | None = None,
    report_status: Literal["placeholder", "attached", "queued"] | None = None,
    accession_number: str | None = None,
    q: Annotated[str | None, Query(max_length=200, description="Words that must all occur.")] = None,
    sort: Annotated[str, Query(description=f"One of {', '.join(query.STUDY_SORTS)}.")] = "-study_date",
    limit: Limit = 20,
    offset: Offset = 0,
) -> Response:
    """Studies that match all the filters."""
    wanted = StudyFilter(
        source, modality or (), person_id, patient_id, body_part, date_from, date_to, status, availability,
        report_status, accession_number, q,
    )  # fmt: skip
    with archive.database.connect() as connection:
        rows, total = query.list_studies(connection, wanted, sort=sort, limit=limit, offset=offset)
    page = Page[schemas.Study](items=[views.study(row) for row in rows], total=total, limit=limit, offset=offset)
    return Response(page.model_dump_json(), media_type="application/json")  # valid already; once is enough


@router.get("/studies/{study}")
def get_study(archive: TheArchive, response: Response, study: str, source: Of = None) -> schemas.StudyDetail:
    """One study with its series, by Hilum's id or Study Instance UID; its ETag is for ``If-Match``."""
    return show_study(archive, response, study, source)


def show_study(archive: Archive, response: Response, study: str, source: str | None) -> schemas.StudyDetail:
    """Give a study as clients see it, and its version in the answer's ETag."""
    with archive.database.connect() as connection:
        row = query.find_study(connection, study, source)
        series = [views.series(each, row) for each in query.study_series(connection, row["id"])]
        files = [views.bundle_file(each, row["id"]) for each in query.bundle_files(connection, row["id"])]
        origins = query.study_origins(connection, row["id"])
        num_features = query.study_features(connection, row["id"])
        awaits = steps.awaited(connection, row["id"])
    response.headers["ETag"] = f'"{version_of(row)}"'
    return views.study_detail(row, series, files, origins, num_features, awaits)


@router.get("/studies/{study}/instances")
def get_instances(
    archive: TheArchive,
    study: str,
    source: Of = None,
    series: str | None = None,
    sort: Annotated[str, Query(description=f"One of {', '.join(query.INSTANCE_SORTS)}.")] = "geometry",
    limit: Limit = 100,
    offset: Offset = 0,
) -> Page[schemas.Instance]:
    """Instances of a study, or of one of its series."""
    with archive.database.connect() as connection:
        row = query.find_study(connection, study, source)
        series_id = query.find_series(connection, row["id"], series)["id"] if series else None
        rows, total = query.study_instances(connection, row["id"], series_id, sort=sort, limit=limit, offset=offset)
    items = [views.instance(each, row["source_key"]) for each in rows]
    return Page(items=items, total=total, limit=limit, offset=offset)


@router.get("/studies/{study}/series/{series}/thumbnail", response_class=Response)
def get_thumbnail(
    request: Request,
    archive: TheArchive,
    study: str,
    series: str,
    source: Of = None,
    v: Annotated[int | None, Query(description="Version of the series, so that a browser asks anew.")] = None,
) -> Response:
    """A picture of the series: its middle frame as PNG, at most 256 pixels wide and high, or a word on why not."""
    del v
    with archive.database.connect() as connection:
        row = query.find_study(connection, study, source)
        found = query.find_series(connection, row["id"], series)
        if found["num_images"]:
            middle, frame = query.find_frame(connection, found["id"], (found["num_images"] + 1) // 2)
        else:
            instances, _ = query.study_instances(connection, row["id"], found["id"], limit=1)
            if not instances:
                raise NotFound("The series lies in the remote archive only.")
            middle, frame = instances[0], 1
        place = query.frame_place(connection, middle["id"], frame)
    etag = thumbnail_etag(middle, frame)
    if matches(request, etag):
        return _unchanged(etag)
    png = series_thumbnail(archive.blobs, middle, frame, place)
    return stored(request, size=len(png), etag=etag, media_type="image/png", read=lambda o, n: png[o : o + n])


@router.head("/studies/{study}/series/{series}/frames/{frame}", include_in_schema=False)
@router.get("/studies/{study}/series/{series}/frames/{frame}", response_class=Response)
@brought
def get_frame(
    request: Request,
    archive: TheArchive,
    study: str,
    series: str,
    frame: int,
    source: Of = None,
    center: Annotated[float | None, Query(description="Of the window, after rescale; else the file's own.")] = None,
    width: Annotated[float | None, Query(description="Of the window; else the file's own.")] = None,
    invert: Annotated[bool, Query(description="Swap black and white.")] = False,
    scale: Annotated[float, Query(ge=1, le=MAX_SCALE, description="Times the image's size.")] = 1,
    overlays: Annotated[bool, Query(description="Draw the overlay planes of the file.")] = False,
    format: Annotated[Literal["png", "jpeg"], Query(description="Of the picture.")] = "png",  # noqa: A002
) -> Response:
    """A frame as a picture, windowed as PS3.3 says; frames are counted from 1 in geometric order."""
    look = Look(center, width, invert, scale, overlays, format)
    with archive.database.connect() as connection:
        instance, number = _frame(connection, study, series, frame, source)
        place = query.frame_place(connection, instance["id"], number)
    etag = look.etag(instance, number)
    if matches(request, etag):
        return _unchanged(etag)
    data = frame_picture(archive.blobs, instance, number, place, look)
    return stored(request, size=len(data), etag=etag, media_type=f"image/{format}", read=lambda o, n: data[o : o + n])


@router.get("/studies/{study}/series/{series}/frames/{frame}/window")
@brought
def get_window(
    request: Request, archive: TheArchive, study: str, series: str, frame: int, source: Of = None
) -> schemas.Window | None:
    """The file's own center and width for a frame, after rescale; null where it has none."""
    del request
    with archive.database.connect() as connection:
        instance, number = _frame(connection, study, series, frame, source)
    window = frame_window(archive.blobs, instance, number)
    return None if window is None else schemas.Window(center=window[0], width=window[1])


@router.get("/studies/{study}/series/{series}/frames/{frame}/tags")
@brought
def get_tags(
    request: Request,
    archive: TheArchive,
    study: str,
    series: str,
    frame: int,
    source: Of = None,
    q: Annotated[str | None, Query(max_length=200, description="In tag, keyword, name or value.")] = None,
) -> schemas.Tags:
    """The header of the instance that holds a frame; frames are counted from 1 in geometric order."""
    del request
    with archive.database.connect() as connection:
        instance, _ = _frame(connection, study, series, frame, source)
    return _tags(archive, instance, q)


@router.get("/studies/{study}/instances/{sop_instance_uid}/tags")
def get_instance_tags(
    archive: TheArchive,
    study: str,
    sop_instance_uid: str,
    source: Of = None,
    q: Annotated[str | None, Query(max_length=200, description="In tag, keyword, name or value.")] = None,
) -> schemas.Tags:
    """The header of one instance, also of one without pixels."""
    with archive.database.connect() as connection:
        row = query.find_study(connection, study, source)
        instance = query.find_instance(connection, sop_instance_uid, row["source_key"])
    if instance["study_id"] != row["id"]:
        raise NotFound("There is no such instance in this study.")
    return _tags(archive, instance, q)


def _frame(connection: sa.Connection, study: str, series: str, frame: int, source: str | None) -> tuple[query.Row, int]:
    row = query.find_study(connection, study, source)
    if row["availability"] == "remote":
        raise NotHere(row["id"])
    found = query.find_series(connection, row["id"], series)
    return query.find_frame(connection, found["id"], frame)


def _unchanged(etag: str) -> Response:
    return Response(status_code=304, headers={"ETag": f'"{etag}"', "Cache-Control": "private, no-cache"})


def _tags(archive: Archive, instance: query.Row, q: str | None) -> schemas.Tags:
    with opened_instance(archive.blobs, instance) as (file, header):
        rows = tags(read_data_set(file, header), header)
    if q:
        word = q.casefold().replace("(", "").replace(")", "")
        rows = [row for row in rows if word in f"{row.tag} {row.keyword} {row.name} {row.value}".casefold()]
    return schemas.Tags(items=[schemas.Tag.model_validate(row) for row in rows], total=len(rows))


@router.get("/studies/{study}/bundle-files")
def get_bundle_files(archive: TheArchive, study: str, source: Of = None) -> list[schemas.BundleFile]:
    """The files that came with the study in its zip."""
    with archive.database.connect() as connection:
        row = query.find_study(connection, study, source)
        return [views.bundle_file(each, row["id"]) for each in query.bundle_files(connection, row["id"])]


@router.head("/studies/{study}/bundle-files/{name:path}", include_in_schema=False)
@router.get("/studies/{study}/bundle-files/{name:path}", response_class=Response)
def get_bundle_file(request: Request, archive: TheArchive, study: str, name: str, source: Of = None) -> Response:
    """One file that came with the study, by name or id; always as a download, for it may be anything."""
    with archive.database.connect() as connection:
        row = query.find_study(connection, study, source)
        files = query.bundle_files(connection, row["id"])
    found = next((file for file in files if name in (file["name"], str(file["id"]))), None)
    if found is None:
        raise NotFound("No such file came with this study.")
    return _file(request, archive, found, "application/octet-stream", found["name"].rsplit("/", 1)[-1])


@router.get("/studies/{study}/replaced")
def get_replaced(
    archive: TheArchive, study: str, source: Of = None, limit: Limit = 100, offset: Offset = 0
) -> Page[schemas.Replaced]:
    """What the study's instances were before corrections replaced them, latest first."""
    with archive.database.connect() as connection:
        row = query.find_study(connection, study, source)
        rows, total = query.replaced_instances(connection, row["id"], limit=limit, offset=offset)
    return Page(items=[views.replaced(each, row["id"]) for each in rows], total=total, limit=limit, offset=offset)


@router.head("/studies/{study}/replaced/{number}/file", include_in_schema=False)
@router.get("/studies/{study}/replaced/{number}/file", response_class=Response)
def get_replaced_file(request: Request, archive: TheArchive, study: str, number: int, source: Of = None) -> Response:
    """The earlier bytes of an instance (``application/dicom``)."""
    with archive.database.connect() as connection:
        row = query.find_study(connection, study, source)
        rows, _ = query.replaced_instances(connection, row["id"])
    found = next((each for each in rows if each["id"] == number), None)
    if found is None:
        raise NotFound("No instance of this study was replaced under this number.")
    return _file(request, archive, found, "application/dicom", f"{found['sop_instance_uid']}.dcm")


@router.get("/set-aside")
def get_set_aside(
    archive: TheArchive, source: str | None = None, limit: Limit = 20, offset: Offset = 0
) -> Page[schemas.SetAside]:
    """Files that could not be catalogued, with the reason, latest first."""
    with archive.database.connect() as connection:
        rows, total = query.list_set_aside(connection, source, limit=limit, offset=offset)
    return Page(items=[views.set_aside(row) for row in rows], total=total, limit=limit, offset=offset)


@router.head("/set-aside/{number}/file", include_in_schema=False)
@router.get("/set-aside/{number}/file", response_class=Response)
def get_set_aside_file(request: Request, archive: TheArchive, number: int) -> Response:
    """The bytes of a file that was set aside."""
    with archive.database.connect() as connection:
        row = query.find_set_aside(connection, number)
    return _file(request, archive, row, "application/octet-stream", f"set-aside-{number}")


@router.head("/wado/{sop_instance_uid}", include_in_schema=False)
@router.get("/wado/{sop_instance_uid}", response_class=Response)
def get_instance(
    request: Request,
    archive: TheArchive,
    sop_instance_uid: str,
    source: Of = None,
    transfer_syntax: Annotated[
        str | None, Query(alias="transferSyntax", description="To convert it to; a UID.")
    ] = None,
) -> Response:
    """An instance as it is stored (``application/dicom``), or converted to another transfer syntax."""
    with archive.database.connect() as connection:
        row = query.find_instance(connection, sop_instance_uid, source)
    if transfer_syntax is None:
        return _file(request, archive, row, "application/dicom", f"{sop_instance_uid}.dcm")
    return instance_file(request, archive, row, transfer_syntax)


def instance_file(request: Request, archive: Archive, row: query.Row, transfer_syntax_uid: str) -> Response:
    """Answer with an instance in a transfer syntax; raises ``NotAcceptable`` when it cannot be given in it."""
    media_type = f"application/dicom; transfer-syntax={transfer_syntax_uid}"
    if transfer_syntax_uid == row["transfer_syntax_uid"]:
        return _file(request, archive, row, media_type)
    etag = f"{row['digest']}-{transfer_syntax_uid}"
    if matches(request, etag):
        return _unchanged(etag)
    headers = {"ETag": f'"{etag}"', "Cache-Control": "private, no-cache"}
    return StreamingResponse(converted(archive, row, transfer_syntax_uid), 200, headers, media_type)


def _file(request: Request, archive: Archive, row: query.Row, media_type: str, name: str | None = None) -> Response:
    read = reader(archive.blobs, row)
    return stored(request, size=row["size"], etag=row["digest"], media_type=media_type, read=read, filename=name)
