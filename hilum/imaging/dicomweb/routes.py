"""The addresses of DICOMweb, below ``/dicom-web`` for the source ``default`` and ``/sources/{key}/dicom-web`` for any.
They read the request, call one function of this room and hand on its answer."""

from collections.abc import Callable
from typing import Annotated, Final

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import Response

from hilum.core.http import base_url, matches
from hilum.imaging.archive.query import refuse_deleted
from hilum.imaging.archive.routes import TheArchive
from hilum.imaging.dicomweb import metadata, qido, stow, wado
from hilum.imaging.dicomweb.accept import DICOM_JSON, MediaRange, Offer, accepts_gzip, choose_or_refuse, parse_accept
from hilum.imaging.dicomweb.answers import PRIVATE, json_answer
from hilum.imaging.dicomweb.attributes import Level
from hilum.imaging.dicomweb.matching import parse_search
from hilum.imaging.dicomweb.resources import Target

_JSON: Final = (Offer(DICOM_JSON), Offer("application/json"))


def the_ranges(request: Request) -> list[MediaRange]:
    """Dependency: what the client accepts."""
    return parse_accept(request.headers.get("accept"), request.query_params.getlist("accept"))


def the_source(request: Request) -> str:
    """Dependency: the key of the source that the path names."""
    return request.path_params.get("key", "default")


def the_root(request: Request) -> str:
    """Dependency: the base URL of the service, as it stands in the URLs of answers."""
    base = base_url(request, request.app.state.settings.public_url)
    key = request.path_params.get("key")
    return f"{base}/sources/{key}/dicom-web" if key else f"{base}/dicom-web"


Ranges = Annotated[list[MediaRange], Depends(the_ranges)]
Source = Annotated[str, Depends(the_source)]
Root = Annotated[str, Depends(the_root)]


def _search(
    request: Request,
    archive: TheArchive,
    ranges: list[MediaRange],
    source: str,
    root: str,
    level: Level,
    study: str | None = None,
    series: str | None = None,
) -> Response:
    wanted = parse_search(level, request.query_params.multi_items(), study, series)
    media_type = choose_or_refuse(ranges, _JSON).media_type
    with archive.database.connect() as connection:
        page = qido.search(connection, source, wanted, root)
        if study and not page.count:
            refuse_deleted(connection, study, source)
    if not page.count:
        archive.source(source)  # nothing found, or no such source
    answer = json_answer(request, page.body, media_type, headers={"X-Total-Count": str(page.total)})
    remaining = page.total - wanted.offset - page.count
    warnings = list(wanted.warnings)
    if page.count and remaining > 0:
        warnings.append(f"There are {remaining} additional results that can be requested")
    for warning in warnings:
        answer.headers.append("Warning", f"299 {root}: {warning}")
    return answer


def search_studies(request: Request, archive: TheArchive, ranges: Ranges, source: Source, root: Root) -> Response:
    """Search for studies (PS3.18 section 10.6), latest first."""
    return _search(request, archive, ranges, source, root, Level.STUDY)


def search_series(request: Request, archive: TheArchive, ranges: Ranges, source: Source, root: Root) -> Response:
    """Search for series in all studies."""
    return _search(request, archive, ranges, source, root, Level.SERIES)


def search_instances(request: Request, archive: TheArchive, ranges: Ranges, source: Source, root: Root) -> Response:
    """Search for instances in all studies."""
    return _search(request, archive, ranges, source, root, Level.INSTANCE)


def search_study_series(
    request: Request, archive: TheArchive, ranges: Ranges, source: Source, root: Root, study: str
) -> Response:
    """Search for the series of a study."""
    return _search(request, archive, ranges, source, root, Level.SERIES, study)


def search_study_instances(
    request: Request, archive: TheArchive, ranges: Ranges, source: Source, root: Root, study: str
) -> Response:
    """Search for the instances of a study."""
    return _search(request, archive, ranges, source, root, Level.INSTANCE, study)


def search_series_instances(
    request: Request, archive: TheArchive, ranges: Ranges, source: Source, root: Root, study: str, series: str
) -> Response:
    """Search for the instances of a series."""
    return _search(request, archive, ranges, source, root, Level.INSTANCE, study, series)


def _metadata(request: Request, archive: TheArchive, ranges: list[MediaRange], root: str, target: Target) -> Response:
    media_type = choose_or_refuse(ranges, _JSON).media_type
    gzip = accepts_gzip(request.headers)
    wanted = metadata.look_up(archive, target, root)
    etag = wanted.etag + ("-gzip" if gzip else "")
    headers = {"ETag": f'"{etag}"', "Cache-Control": PRIVATE, "Vary": "Accept, Accept-Encoding"}
    if matches(request, etag):
        return Response(status_code=304, headers=headers)
    found = metadata.metadata(archive, wanted)
    status = 200
    if not found.complete:
        status = 206
        del headers["ETag"]
    if gzip:
        headers["Content-Encoding"] = "gzip"
    return Response(found.compressed if gzip else found.plain, status, headers, media_type)


def study_metadata(
    request: Request, archive: TheArchive, ranges: Ranges, source: Source, root: Root, study: str
) -> Response:
    """The attributes of all instances of a study, without bulk data."""
    return _metadata(request, archive, ranges, root, Target(source, study))


def series_metadata(
    request: Request, archive: TheArchive, ranges: Ranges, source: Source, root: Root, study: str, series: str
) -> Response:
    """The attributes of all instances of a series, without bulk data."""
    return _metadata(request, archive, ranges, root, Target(source, study, series))


def instance_metadata(
    request: Request,
    archive: TheArchive,
    ranges: Ranges,
    source: Source,
    root: Root,
    study: str,
    series: str,
    instance: str,
) -> Response:
    """The attributes of an instance, without bulk data."""
    return _metadata(request, archive, ranges, root, Target(source, study, series, instance))


def retrieve_study(
    request: Request, archive: TheArchive, ranges: Ranges, source: Source, root: Root, study: str
) -> Response:
    """All instances of a study (PS3.18 section 10.4)."""
    return wado.retrieve(request, archive, Target(source, study), ranges, root)


def retrieve_series(
    request: Request, archive: TheArchive, ranges: Ranges, source: Source, root: Root, study: str, series: str
) -> Response:
    """All instances of a series."""
    return wado.retrieve(request, archive, Target(source, study, series), ranges, root)


def retrieve_instance(
    request: Request,
    archive: TheArchive,
    ranges: Ranges,
    source: Source,
    root: Root,
    study: str,
    series: str,
    instance: str,
) -> Response:
    """One instance."""
    return wado.retrieve(request, archive, Target(source, study, series, instance), ranges, root)


def retrieve_frames(
    request: Request,
    archive: TheArchive,
    ranges: Ranges,
    source: Source,
    root: Root,
    study: str,
    series: str,
    instance: str,
    frames: str,
) -> Response:
    """Frames of an instance by their numbers, counted from 1."""
    return wado.frames(request, archive, Target(source, study, series, instance), frames, ranges, root)


def retrieve_bulkdata(
    request: Request,
    archive: TheArchive,
    ranges: Ranges,
    source: Source,
    root: Root,
    study: str,
    series: str,
    instance: str,
    path: str,
) -> Response:
    """The value of one element, as the metadata's BulkDataURI names it."""
    return wado.bulkdata(request, archive, Target(source, study, series, instance), path, ranges, root)


async def store_instances(
    request: Request, archive: TheArchive, ranges: Ranges, source: Source, root: Root
) -> Response:
    """Store instances of any study (PS3.18 section 10.5)."""
    return await _store(request, archive, ranges, source, root, None)


async def store_in_study(
    request: Request, archive: TheArchive, ranges: Ranges, source: Source, root: Root, study: str
) -> Response:
    """Store instances of one study; those of another are refused."""
    return await _store(request, archive, ranges, source, root, study)


async def _store(
    request: Request, archive: TheArchive, ranges: list[MediaRange], source: str, root: str, study: str | None
) -> Response:
    media_type = choose_or_refuse(ranges, _JSON).media_type
    stored = await stow.store(request, archive, source, study, root)
    return Response(stored.body, stored.status, {"Cache-Control": "no-store"}, media_type)


_SERIES: Final = "/studies/{study}/series/{series}"
_INSTANCE: Final = "/studies/{study}/series/{series}/instances/{instance}"
_METHODS: Final = ("POST", "PUT", "PATCH", "DELETE")
_STORING: Final = (("/studies", store_instances), ("/studies/{study}", store_in_study))
_READING: Final = (
    ("/studies", search_studies),
    ("/series", search_series),
    ("/instances", search_instances),
    ("/studies/{study}/series", search_study_series),
    ("/studies/{study}/instances", search_study_instances),
    (f"{_SERIES}/instances", search_series_instances),
    ("/studies/{study}/metadata", study_metadata),
    (f"{_SERIES}/metadata", series_metadata),
    (f"{_INSTANCE}/metadata", instance_metadata),
    ("/studies/{study}", retrieve_study),
    (_SERIES, retrieve_series),
    (_INSTANCE, retrieve_instance),
    (f"{_INSTANCE}/frames/{{frames}}", retrieve_frames),
    (f"{_INSTANCE}/bulkdata/{{path:path}}", retrieve_bulkdata),
)


def _router(prefix: str) -> APIRouter:
    router = APIRouter(prefix=prefix, tags=["DICOMweb"])
    for path, endpoint in _STORING:
        router.add_api_route(path, endpoint, methods=["POST"], response_class=Response)
    for path, endpoint in _READING:
        router.add_api_route(path, endpoint, methods=["GET"], response_class=Response)
        router.add_api_route(path, endpoint, methods=["HEAD"], response_class=Response, include_in_schema=False)
    for path in dict.fromkeys(path for path, _ in (*_STORING, *_READING)):
        allowed = ["GET", "HEAD", *(["POST"] if path in dict(_STORING) else [])]
        others = [method for method in _METHODS if method not in allowed]
        router.add_api_route(path, _refusal(allowed), methods=others, include_in_schema=False)
    return router


def _refusal(allowed: list[str]) -> Callable[[], Response]:
    """An endpoint that names all the methods of its address: the framework would name those of one route."""

    def refuse() -> Response:
        raise HTTPException(405, headers={"Allow": ", ".join(allowed)})

    return refuse


routers: Final = [_router("/dicom-web"), _router("/sources/{key}/dicom-web")]
