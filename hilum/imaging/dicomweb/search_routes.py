"""The addresses of QIDO-RS (PS3.18 section 10.6)."""

from typing import Final

from fastapi import Request
from fastapi.responses import Response

from hilum.imaging.archive.query import refuse_deleted
from hilum.imaging.archive.routes import TheArchive
from hilum.imaging.dicomweb import qido
from hilum.imaging.dicomweb.accept import MediaRange, choose_or_refuse
from hilum.imaging.dicomweb.answers import json_answer
from hilum.imaging.dicomweb.attributes import Level
from hilum.imaging.dicomweb.doors import JSON_OFFERS, SERIES, Door, Ranges, Root, Source
from hilum.imaging.dicomweb.matching import parse_search


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
    media_type = choose_or_refuse(ranges, JSON_OFFERS).media_type
    with archive.database.connect() as connection:
        page = qido.search(connection, source, wanted, root)
        if study and not page.count:
            refuse_deleted(connection, study, source, series)
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


DOORS: Final = (
    Door("GET", "/studies", search_studies),
    Door("GET", "/series", search_series),
    Door("GET", "/instances", search_instances),
    Door("GET", "/studies/{study}/series", search_study_series),
    Door("GET", "/studies/{study}/instances", search_study_instances),
    Door("GET", f"{SERIES}/instances", search_series_instances),
)
