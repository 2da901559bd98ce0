"""The bodies of the worklist's requests and answers: one data set as JSON or XML comes in, bounded in size; data sets
go out in the form that the client likes best."""

from collections.abc import Sequence
from typing import Final

import msgspec
from fastapi import Request
from fastapi.responses import Response
from starlette.requests import ClientDisconnect

from hilum.core.errors import TooLarge, Unsupported
from hilum.imaging.dicom.dicom_xml import model_xml
from hilum.imaging.dicom.from_xml import read_native_model
from hilum.imaging.dicom.problems import Unreadable
from hilum.imaging.dicomweb import multipart
from hilum.imaging.dicomweb.accept import (
    DICOM_JSON,
    DICOM_XML,
    RELATED,
    MediaRange,
    Offer,
    choose_or_refuse,
    parse_media_type,
)
from hilum.imaging.dicomweb.answers import json_answer
from hilum.imaging.worklist.dataset import DataSet, check_data_set, read_json
from hilum.imaging.worklist.problems import bad

MAX_BODY: Final = 1 << 20
OFFERS: Final = (
    Offer(DICOM_JSON),
    Offer("application/json"),
    Offer(DICOM_XML, multipart=True),
    Offer(DICOM_XML),
)
_SEVERAL: Final = OFFERS[:-1]
_JSON_TYPES: Final = (DICOM_JSON, "application/json")
_TAKEN: Final = (
    f'Send one data set as {DICOM_JSON}, {DICOM_XML} or multipart/related; type="{DICOM_XML}", without content coding.'
)
_encode = msgspec.json.Encoder().encode


async def read_data_set(request: Request, *, optional: bool = False) -> DataSet:
    """The data set of a request.

    Parameters
    ----------
    request : Request
        Its body is read to the end, or to the limit.
    optional : bool
        Whether there may be none: an empty body is an empty data set.

    Raises
    ------
    Unsupported
        The media type is none that is taken.
    TooLarge
        The body has more than 1 MiB.
    Refusal, BadRequest
        It holds no data set.
    """
    body = await _body(request)
    if optional and not body.strip():
        return {}
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Unsupported(_TAKEN)
    media_type, parameters = parse_media_type(request.headers.get("content-type") or DICOM_JSON)
    if media_type == RELATED:
        media_type = parameters.get("type", DICOM_XML).strip().lower()
        body = _part(body, multipart.check_boundary(parameters.get("boundary")))
    if media_type in _JSON_TYPES:
        return read_json(body)
    if media_type == DICOM_XML:
        return read_xml(body)
    raise Unsupported(_TAKEN)


def give_data_set(request: Request, ranges: Sequence[MediaRange], data: DataSet) -> Response:
    """Answer with one data set."""
    offer = choose_or_refuse(ranges, OFFERS)
    if offer.media_type == DICOM_XML and not offer.multipart:
        return Response(model_xml(data), 200, {"Cache-Control": "no-store"}, DICOM_XML)
    return _give(request, offer, [data])


def give_data_sets(request: Request, ranges: Sequence[MediaRange], found: Sequence[DataSet]) -> Response:
    """Answer with any number of data sets, also with none."""
    return _give(request, choose_or_refuse(ranges, _SEVERAL), found)


def check_acceptable(ranges: Sequence[MediaRange]) -> None:
    """Refuse a search whose answer could not be given, before it is made.

    Raises
    ------
    NotAcceptable
        Naming what can be had.
    """
    choose_or_refuse(ranges, _SEVERAL)


def _give(request: Request, offer: Offer, found: Sequence[DataSet]) -> Response:
    fresh = {"Cache-Control": "no-store"}
    if not offer.multipart:
        return json_answer(request, _encode(list(found)), offer.media_type, headers=fresh)
    boundary = multipart.new_boundary()
    pieces: list[bytes] = []
    for place, data in enumerate(found):
        pieces += [multipart.part_start(boundary, DICOM_XML, first=not place), model_xml(data)]
    body = b"".join([*pieces, multipart.closing(boundary)])
    return Response(body, 200, fresh, multipart.content_type(DICOM_XML, boundary))


def read_xml(body: bytes) -> DataSet:
    """Read one data set of the Native DICOM Model; raises ``Refusal`` when it is none, as `dataset.read_json`."""
    try:
        return check_data_set(read_native_model(body))
    except Unreadable as error:
        raise bad(str(error)) from error


async def _body(request: Request) -> bytes:
    sentence = f"The data set of a workitem has at most {MAX_BODY >> 20} MiB here."
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > MAX_BODY:
        raise TooLarge(sentence)
    pieces: list[bytes] = []
    size = 0
    try:
        async for piece in request.stream():
            size += len(piece)
            if size > MAX_BODY:
                raise TooLarge(sentence)
            pieces.append(piece)
    except ClientDisconnect:
        raise bad("The connection ended before the request did.") from None
    return b"".join(pieces)


def _part(body: bytes, boundary: bytes) -> bytes:
    """The only part of a multipart body."""
    found = [b"".join(part.chunks) for part in multipart.read_parts(iter([body]), boundary)]
    if len(found) != 1:
        raise bad("A multipart request holds one part: the workitem.")
    return found[0]
