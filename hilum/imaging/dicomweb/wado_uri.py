"""WADO-URI (PS3.18 chapter 9): one instance by the three UIDs in a query, as the file itself or as people can see it.
Rendering is shared with WADO-RS (``rendered``)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from fastapi import Request
from fastapi.responses import Response
from starlette.datastructures import QueryParams

from hilum.core.errors import NotAcceptable, NotFound
from hilum.imaging.archive import query
from hilum.imaging.archive.absent import refuse_absent
from hilum.imaging.archive.models import Series, Study
from hilum.imaging.archive.query import Row
from hilum.imaging.archive.render import Look
from hilum.imaging.archive.routes import instance_file
from hilum.imaging.archive.store import Archive
from hilum.imaging.dicom.picture import MAX_SIDE
from hilum.imaging.dicom.uids import check_uid, is_video
from hilum.imaging.dicom.viewport import Region, Viewport
from hilum.imaging.dicomweb import renditions
from hilum.imaging.dicomweb.accept import (
    DICOM,
    EXPLICIT_LITTLE,
    MediaRange,
    Offer,
    choose_or_refuse,
    parse_accept,
)
from hilum.imaging.dicomweb.looks import check_annotation, check_charset, check_window, decimals, once, parse_quality
from hilum.imaging.dicomweb.problems import BadRequest
from hilum.imaging.dicomweb.rendered import one
from hilum.imaging.dicomweb.syntaxes import EXPLICIT_BIG, IMPLICIT_LITTLE

UIDS: Final = ("studyUID", "seriesUID", "objectUID")
OF_IMAGES: Final = (
    "annotation", "columns", "frameNumber", "imageQuality", "presentationSeriesUID", "presentationUID", "region",
    "rows", "windowCenter", "windowWidth",
)  # fmt: skip
PARAMETERS: Final = (
    "requestType", *UIDS, "contentType", "charset", "anonymize", "transferSyntax", *OF_IMAGES, "source",
)  # fmt: skip
_FILE: Final = Offer(DICOM)
_BARRED: Final = (IMPLICIT_LITTLE, EXPLICIT_BIG)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request, its parameters checked.

    Attributes
    ----------
    study, series, instance : str
        The UIDs.
    source : str or None
        Key of the source, where the instance lies in several.
    transfer_syntax : str
        Of the file; ``*`` is the one it is stored in.
    frame : int or None
        1-based.
    of_images : bool
        Whether a parameter was given that is for pictures only.
    """

    study: str
    series: str
    instance: str
    source: str | None
    ranges: Sequence[MediaRange]
    transfer_syntax: str
    look: Look
    frame: int | None
    of_images: bool


def retrieve(request: Request, archive: Archive) -> Response:
    """Answer a request of WADO-URI.

    Raises
    ------
    BadRequest
        A parameter is missing, malformed, or does not go with the others.
    NotFound
        There is no such instance in this series and study.
    NotAcceptable
        It cannot be given as asked.
    """
    asked = _parse(request.query_params, request.headers.get("accept"))
    row = _find(archive, asked)
    offers = _offers(archive, row, asked)
    offer = choose_or_refuse(asked.ranges, offers)
    if offer == _FILE:
        if asked.of_images:
            raise BadRequest(f"With {DICOM} none of {', '.join(OF_IMAGES)} may stand.")
        return _file(request, archive, row, asked.transfer_syntax)
    numbers = None if asked.frame is None else [asked.frame]
    if numbers and (renditions.kind_of(row) != "image" or numbers[0] > row["num_frames"]):
        raise BadRequest("The instance has no frame of this number.")
    return one(request, archive, row, [MediaRange(offer.media_type, False, "", 1)], asked.look, numbers, "")


def _parse(parameters: QueryParams, accept: str | None) -> _Asked:
    if once(parameters, "requestType") != "WADO":
        raise BadRequest("The parameter requestType is missing or is not WADO.")
    study, series, instance = (_uid(parameters, name) for name in UIDS)
    check_charset(once(parameters, "charset"))
    if once(parameters, "anonymize") is not None:
        raise NotAcceptable("Instances are not de-identified on their way out; leave out the parameter anonymize.")
    wanted = once(parameters, "contentType")
    return _Asked(
        study,
        series,
        instance,
        once(parameters, "source"),
        parse_accept(wanted if wanted is not None else accept),
        _transfer_syntax(once(parameters, "transferSyntax")),
        _look(parameters),
        _whole(parameters, "frameNumber"),
        any(name in parameters for name in OF_IMAGES),
    )


def _look(parameters: QueryParams) -> Look:
    check_annotation(once(parameters, "annotation"))
    for name in ("presentationUID", "presentationSeriesUID"):
        if once(parameters, name) is not None:
            raise NotAcceptable("Presentation states are not applied; leave out presentationUID and its series.")
    center, width = (_number(parameters, name) for name in ("windowCenter", "windowWidth"))
    if (center is None) != (width is None):
        raise BadRequest("The parameters windowCenter and windowWidth stand together or not at all.")
    if center is not None and width is not None:
        check_window(center, width, "LINEAR_EXACT")
    rows, columns = (_whole(parameters, name) for name in ("rows", "columns"))
    region = _region(once(parameters, "region"))
    viewport = Viewport(columns, rows, region) if rows or columns or region else None
    return Look(
        center, width, viewport=viewport, quality=parse_quality(once(parameters, "imageQuality"), "imageQuality")
    )


def _uid(parameters: QueryParams, name: str) -> str:
    value = once(parameters, name)
    if not value or not check_uid(value):
        raise BadRequest(f"The parameter {name} is missing or is not a UID.")
    return value


def _whole(parameters: QueryParams, name: str) -> int | None:
    value = once(parameters, name)
    if value is None:
        return None
    if not (value.isascii() and value.isdigit() and len(value) < 10 and int(value) > 0):
        raise BadRequest(f"The parameter {name} is a whole number from 1.")
    if name in ("rows", "columns") and int(value) > MAX_SIDE:
        raise BadRequest(f"The parameter {name} is at most {MAX_SIDE}.")
    return int(value)


def _number(parameters: QueryParams, name: str) -> float | None:
    value = once(parameters, name)
    if value is None:
        return None
    (number, *more) = decimals(value, name)
    if number is None or more:
        raise BadRequest(f"The parameter {name} is one decimal number.")
    return number


def _region(value: str | None) -> Region | None:
    if value is None:
        return None
    found = [number for number in decimals(value, "region") if number is not None]
    if len(found) != 4 or not (0 <= found[0] < found[2] <= 1 and 0 <= found[1] < found[3] <= 1):
        raise BadRequest("A region is left,top,right,bottom as parts of the image's size, from 0.0 to 1.0.")
    return Region(found[0], found[1], found[2] - found[0], found[3] - found[1], relative=True)


def _transfer_syntax(value: str | None) -> str:
    if value is None:
        return EXPLICIT_LITTLE
    if value in _BARRED:
        raise NotAcceptable("Neither Implicit VR nor Explicit VR Big Endian is given (PS3.18 section 9.1.2.2.4).")
    if value != "*" and not check_uid(value):
        raise BadRequest("The parameter transferSyntax is not a UID.")
    return value


def _find(archive: Archive, asked: _Asked) -> Row:
    """The instance, with the UIDs of its series and study.

    Raises
    ------
    NotFound, Gone, Conflict
        As `query.find_instance`; also when it does not belong where the request puts it.
    NotHere
        Its study lies in the remote archive.
    """
    with archive.database.connect() as connection:
        try:
            row = query.find_instance(connection, asked.instance, asked.source)
        except NotFound:
            refuse_absent(connection, asked.source or "default", asked.study)
            raise
        belongs = connection.execute(
            sa.select(Series.series_instance_uid, Study.study_instance_uid)
            .join(Study, Study.id == Series.study_id)
            .where(Series.id == row["series_id"])
        ).one()
    if tuple(belongs) != (asked.series, asked.study):
        raise NotFound("There is no such instance in this series of this study.")
    return row


def _offers(archive: Archive, row: Row, asked: _Asked) -> list[Offer]:
    """The forms of an instance, the usual one first: what is to be seen of a picture or a text, else the file."""
    seen = [Offer(media_type) for media_type in renditions.media_types(archive, row)]
    kind = renditions.kind_of(row)
    rather_seen = kind in ("report", "document") or (kind == "image" and (row["num_frames"] == 1 or asked.of_images))
    return [*seen, _FILE] if rather_seen else [_FILE, *seen]


def _file(request: Request, archive: Archive, row: Row, wanted: str) -> Response:
    own: str = row["transfer_syntax_uid"]
    # A video has no uncompressed form, so its own is the usual one.
    syntax = own if wanted == "*" or (wanted == EXPLICIT_LITTLE and is_video(own)) else wanted
    return instance_file(request, archive, row, EXPLICIT_LITTLE if syntax in _BARRED else syntax)
