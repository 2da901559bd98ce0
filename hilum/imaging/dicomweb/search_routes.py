"""The addresses of QIDO-RS (PS3.18 section 10.6)."""

from collections.abc import Callable
from typing import Final

import msgspec
import sqlalchemy as sa
from fastapi import Request
from fastapi.responses import Response

from hilum.imaging.archive.query import refuse_deleted
from hilum.imaging.archive.reindex import pending
from hilum.imaging.archive.routes import TheArchive
from hilum.imaging.dicom.dicom_xml import model_xml
from hilum.imaging.dicomweb import qido
from hilum.imaging.dicomweb.accept import DICOM_XML, MediaRange, Offer, choose_or_refuse
from hilum.imaging.dicomweb.answers import json_answer
from hilum.imaging.dicomweb.attributes import Level, vocabulary
from hilum.imaging.dicomweb.doors import JSON_OFFERS, SERIES, Door, Ranges, Root, Source, holdings_of
from hilum.imaging.dicomweb.multipart import closing, content_type, new_boundary, part_start
from hilum.imaging.dicomweb.searching import PARAMETERS, Search, parse_search

_OFFERS: Final = (*JSON_OFFERS, Offer(DICOM_XML, multipart=True))


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
    wanted = parse_search(level, request.query_params.multi_items(), vocabulary(archive.choice), study, series)
    offer = choose_or_refuse(ranges, _OFFERS)
    holdings = holdings_of(request)
    with archive.database.connect() as connection:
        if holdings is not None:
            page = qido.search(connection, source, wanted, root, holdings.tables)
        else:
            page = qido.search(connection, source, wanted, root)
            if study and not page.objects:
                refuse_deleted(connection, study, source, series)
        warnings = _remaining(wanted, page)
        if wanted.matches_further and holdings is None:
            warnings += _unread(connection, source, wanted)
    if not page.objects and holdings is None:
        archive.source(source)  # nothing found, or no such source
    body, media_type = _written(page, offer)
    answer = json_answer(request, body, media_type, headers={"X-Total-Count": str(page.total)})
    for warning in warnings:
        answer.headers.append("Warning", f"299 {root}: {warning}")
    return answer


def _remaining(wanted: Search, page: qido.Page) -> list[str]:
    """That there are results of further pages (PS3.18 section 8.3.4.4)."""
    remaining = page.total - wanted.offset - len(page.objects)
    if not page.objects or remaining <= 0:
        return []
    return [f"There are {remaining} additional results that can be requested"]


def _unread(connection: sa.Connection, source: str, wanted: Search) -> list[str]:
    """That there are studies that were not read yet for what is searched by."""
    studies = pending(connection, wanted.vocabulary.choice, source)
    if not studies:
        return []
    return [f"{studies} studies have not been indexed for these attributes yet; run hilum reindex"]


def _written(page: qido.Page, offer: Offer) -> tuple[bytes, str]:
    """The results as one array of JSON, or as parts of XML, one each (PS3.18 section 8.7.3.4)."""
    if not offer.multipart:
        return b"[" + b",".join(page.objects) + b"]", offer.media_type
    boundary = new_boundary()
    pieces: list[bytes] = []
    for number, one in enumerate(page.objects):
        pieces += [part_start(boundary, DICOM_XML, first=number == 0), model_xml(msgspec.json.decode(one))]
    end = closing(boundary)
    return b"".join([*pieces, end]) if pieces else end.lstrip(), content_type(DICOM_XML, boundary)


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


def _door(path: str, endpoint: Callable[..., Response]) -> Door:
    return Door("GET", path, endpoint, _OFFERS, query=PARAMETERS)


DOORS: Final = (
    _door("/studies", search_studies),
    _door("/series", search_series),
    _door("/instances", search_instances),
    _door("/studies/{study}/series", search_study_series),
    _door("/studies/{study}/instances", search_study_instances),
    _door(f"{SERIES}/instances", search_series_instances),
)
