"""WADO-RS (PS3.18 section 10.4): whole instances, frames and bulk data, in the form that the client accepts. Instances
leave as stored, native ones always in Explicit VR Little Endian; frames are also decoded (``imaging.dicom``)."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain
from typing import BinaryIO, Final

from fastapi import Request
from fastapi.responses import Response

from hilum.core.blobs import Blobs
from hilum.core.errors import Gone, NotFound
from hilum.core.http import matches, stored
from hilum.imaging.archive.objects import opened, opened_instance, reader
from hilum.imaging.archive.query import Row
from hilum.imaging.archive.store import Archive
from hilum.imaging.dicom import dicom_json
from hilum.imaging.dicom.explicit import CHUNK, explicit_file, native_pixels
from hilum.imaging.dicom.frames import native_frame, read_frame
from hilum.imaging.dicom.header import Header
from hilum.imaging.dicom.image import describe_samples
from hilum.imaging.dicom.problems import Unreadable
from hilum.imaging.dicom.transcode import native_form
from hilum.imaging.dicom.uids import is_video
from hilum.imaging.dicomweb import multipart
from hilum.imaging.dicomweb.accept import DICOM, MediaRange, Offer, choose, choose_or_refuse
from hilum.imaging.dicomweb.answers import PRIVATE, streamed
from hilum.imaging.dicomweb.corrections import is_misread, needs_making
from hilum.imaging.dicomweb.problems import BadRequest
from hilum.imaging.dicomweb.resources import Target, find_instances, frame_places, instance_url
from hilum.imaging.dicomweb.syntaxes import bulkdata_offers, dicom_offers, frame_offers

MAX_FRAMES: Final = 10_000
_VERSION: Final = 2
"""Of the way frames are made: one more whenever they come out otherwise, so that nobody keeps an older one."""

_FRAMES: Final = re.compile(r"[0-9]{1,9}(?:,[0-9]{1,9})*")
_PATH: Final = re.compile(r"[0-9A-Fa-f]{8}(?:/[1-9][0-9]{0,8}/[0-9A-Fa-f]{8}){0,64}")
_PIXEL_TAGS: Final = {"7FE00010": "PixelData", "7FE00008": "FloatPixelData", "7FE00009": "DoubleFloatPixelData"}


@dataclass(frozen=True, slots=True)
class _Part:
    content_type: str
    location: str
    chunks: Callable[[], Iterable[bytes]]


def retrieve(request: Request, archive: Archive, target: Target, ranges: Sequence[MediaRange], root: str) -> Response:
    """Answer with the instances of a study or series, or with one instance (PS3.18 section 10.4.1.1).

    Instances that cannot be given in an accepted form, or whose bytes are gone, are left out: the status is then 206.

    Raises
    ------
    NotFound
        There is no such thing.
    NotAcceptable
        None of its instances can be given in an accepted form.
    Gone
        None of its instances is there any more.
    """
    with archive.database.connect() as connection:
        rows = find_instances(connection, target)
    single = target.instance is not None
    chosen: dict[str, Offer | None] = {}
    for syntax in {row["transfer_syntax_uid"] for row in rows}:
        chosen[syntax] = choose(ranges, dicom_offers(syntax, single=single))
    given = [(row, offer) for row in rows if (offer := chosen[row["transfer_syntax_uid"]])]
    if not given:
        choose_or_refuse(ranges, dicom_offers(rows[0]["transfer_syntax_uid"], single=single))
    given = [(row, offer) for row, offer in given if _is_there(archive.blobs, row)]
    if not given:
        raise Gone(f"The files of this {target.noun} were indexed in place and are no longer there.")
    row, offer = given[0]
    if not offer.multipart:
        return _single_instance(request, archive.blobs, row, offer)
    parts = (
        _Part(
            f"{DICOM}; transfer-syntax={offer.transfer_syntax}",
            instance_url(root, row),
            lambda row=row, offer=offer: _instance_bytes(archive.blobs, row, offer),
        )
        for row, offer in given
    )
    return _multipart(DICOM, parts, status=200 if len(given) == len(rows) else 206)


def frames(
    request: Request, archive: Archive, target: Target, listed: str, ranges: Sequence[MediaRange], root: str
) -> Response:
    """Answer with frames of an instance, in the order asked (PS3.18 section 10.4.1.2).

    Parameters
    ----------
    request, archive, target, ranges, root
        As of `retrieve`.
    listed : str
        Frame numbers, 1-based, with commas between them.

    Raises
    ------
    BadRequest
        The list is none of frame numbers.
    NotFound
        There is no such instance, it has no pixels, or no such frame.
    NotAcceptable
        The frames cannot be given in an accepted form.
    """
    numbers = _frame_numbers(listed)
    with archive.database.connect() as connection:
        (row,) = find_instances(connection, target)
        places = frame_places(connection, row["id"], numbers)
    count = row["num_frames"]
    if max(numbers) > count:
        raise NotFound(f"The last frame is {count}." if count else "The instance has no pixel data.")
    with opened_instance(archive.blobs, row) as (file, header):
        decoded = "no" if is_video(header.transfer_syntax_uid) else "rather" if is_misread(file, header) else "too"
    offers = frame_offers(row["transfer_syntax_uid"], single=len(numbers) == 1, decoded=decoded)
    offer = choose_or_refuse(ranges, offers)
    media_type = f"{offer.media_type}; transfer-syntax={offer.transfer_syntax}"
    etag = blake2b(f"{_VERSION} {row['digest']} {listed} {offer}".encode(), digest_size=16).hexdigest()
    headers = {"ETag": f'"{etag}"'}
    if matches(request, etag):
        return Response(status_code=304, headers=headers | {"Cache-Control": PRIVATE, "Vary": "Accept"})
    url = instance_url(root, row)
    found = _frames(archive.blobs, row, numbers, places, decoded=offer.transfer_syntax != row["transfer_syntax_uid"])
    found = chain([next(found)], found)  # what cannot be read at all is an error, not an answer that breaks off
    if not offer.multipart:
        return streamed(found, media_type, headers=headers | {"Content-Location": f"{url}/frames/{numbers[0]}"})
    parts = (_Part(media_type, f"{url}/frames/{number}", lambda: [next(found)]) for number in numbers)
    return _multipart(offer.media_type, parts, headers=headers)


def bulkdata(
    request: Request, archive: Archive, target: Target, path: str, ranges: Sequence[MediaRange], root: str
) -> Response:
    """Answer with the value of an element (PS3.18 section 10.4.1.5), in little endian.

    Compressed pixels come as their code streams, a part for each frame.

    Parameters
    ----------
    request, archive, target, ranges, root
        As of `retrieve`.
    path : str
        Tags, with item numbers between them, as they stand in the metadata's BulkDataURI.

    Raises
    ------
    NotFound
        There is no such element.
    NotAcceptable
        It cannot be given in an accepted form.
    """
    if not _PATH.fullmatch(path):
        raise NotFound("A bulk data path is made of tags, with item numbers between them.")
    with archive.database.connect() as connection:
        (row,) = find_instances(connection, target)
    url = f"{instance_url(root, row)}/bulkdata/{path}"
    if path.upper() in _PIXEL_TAGS:
        return _pixel_data(request, archive, row, _PIXEL_TAGS[path.upper()], ranges, url)
    offer = choose_or_refuse(ranges, bulkdata_offers("", parts=1))
    with opened_instance(archive.blobs, row) as (file, header):
        try:
            value = dicom_json.bulkdata(dicom_json.read_data_set(file, header), header, path.upper().split("/"))
        except LookupError as error:
            raise NotFound("There is no such element in the instance.") from error
    if offer.multipart:
        return _multipart(offer.media_type, [_Part(offer.media_type, url, lambda: [value])])
    return _ranged(request, row, offer.media_type, len(value), lambda at, length: value[at : at + length])


def _pixel_data(
    request: Request, archive: Archive, row: Row, keyword: str, ranges: Sequence[MediaRange], url: str
) -> Response:
    with opened_instance(archive.blobs, row) as (_, header):
        pixels = header.pixel_data
    if pixels is None or pixels.keyword != keyword:
        raise NotFound("The instance has no such pixel data.")
    if pixels.encapsulated:
        return _code_streams(archive, row, ranges, url)
    length = pixels.length or 0
    offer = choose_or_refuse(ranges, bulkdata_offers("", parts=1))
    plain = header.little_endian and not header.deflated
    if not offer.multipart and plain:
        read = reader(archive.blobs, row)
        return _ranged(request, row, offer.media_type, length, lambda at, size: read(pixels.offset + at, size))

    def value() -> Iterator[bytes]:
        with opened_instance(archive.blobs, row) as (file, _):
            yield from native_pixels(file, header, pixels, 0, length)

    if offer.multipart:
        return _multipart(offer.media_type, [_Part(offer.media_type, url, value)])
    return streamed(value(), offer.media_type)


def _code_streams(archive: Archive, row: Row, ranges: Sequence[MediaRange], url: str) -> Response:
    syntax = row["transfer_syntax_uid"]
    with archive.database.connect() as connection:
        places = frame_places(connection, row["id"], range(1, row["num_frames"] + 1))
    numbers = sorted(places)
    offer = choose_or_refuse(ranges, bulkdata_offers(syntax, parts=len(numbers)))
    media_type = f"{offer.media_type}; transfer-syntax={syntax}"
    found = _frames(archive.blobs, row, numbers, places)
    if not offer.multipart:
        return streamed(found, media_type)
    return _multipart(offer.media_type, (_Part(media_type, url, lambda: [next(found)]) for _ in numbers))


def _ranged(request: Request, row: Row, media_type: str, size: int, read: Callable[[int, int], bytes]) -> Response:
    answer = stored(request, size=size, etag=row["digest"], media_type=media_type, read=read)
    answer.headers["Vary"] = "Accept"
    return answer


def _frame_numbers(listed: str) -> list[int]:
    if not _FRAMES.fullmatch(listed):
        raise BadRequest("Frames are listed as whole numbers from 1, with commas between them.")
    numbers = [int(number) for number in listed.split(",")]
    if len(numbers) > MAX_FRAMES or min(numbers) < 1:
        raise BadRequest(f"Frames are counted from 1, and at most {MAX_FRAMES} are given at once.")
    return numbers


def _frames(
    blobs: Blobs, row: Row, numbers: Sequence[int], places: dict[int, tuple[int, int]], *, decoded: bool = False
) -> Iterator[bytes]:
    """The bytes of each frame; the file is opened once."""
    with opened_instance(blobs, row) as (file, header):
        for number in numbers:
            place = places.get(number)
            if place is not None:
                frame = read_frame(file, header, place, 0)
                yield native_form(frame, describe_samples(header))[0] if decoded else frame
            elif _is_made(header):
                yield native_form(read_frame(file, header, (), number - 1), describe_samples(header))[0]
            elif header.little_endian:
                yield read_frame(file, header, (), number - 1)
            else:
                yield _big_endian_frame(file, header, number - 1)


def _is_made(header: Header) -> bool:
    try:
        return needs_making(header, describe_samples(header))
    except Unreadable:
        return False  # of a kind that nothing here knows: as it lies, then


def _big_endian_frame(file: BinaryIO, header: Header, frame: int) -> bytes:
    native = native_frame(header, file.seek(0, os.SEEK_END))
    if frame >= native.count or header.pixel_data is None:
        raise NotFound(f"The last frame is {native.count}.")
    begin, shift = divmod(frame * native.frame_bits, 8)
    length = (shift + native.frame_bits + 7) // 8
    data = b"".join(native_pixels(file, header, header.pixel_data, begin, length))
    if native.frame_bits % 8 == 0:
        return data
    bits = int.from_bytes(data, "little") >> shift & ((1 << native.frame_bits) - 1)
    return bits.to_bytes(native.frame_bytes, "little")


def _single_instance(request: Request, blobs: Blobs, row: Row, offer: Offer) -> Response:
    media_type = f"{DICOM}; transfer-syntax={offer.transfer_syntax}"
    if offer.transfer_syntax == row["transfer_syntax_uid"]:
        return _ranged(request, row, media_type, row["size"], reader(blobs, row))
    return streamed(_instance_bytes(blobs, row, offer), media_type)


def _instance_bytes(blobs: Blobs, row: Row, offer: Offer) -> Iterator[bytes]:
    """An instance in one of the syntaxes that it can be given in: as it lies, else converted."""
    if offer.transfer_syntax != row["transfer_syntax_uid"]:
        with opened_instance(blobs, row) as (file, header):
            yield from explicit_file(file, header)
        return
    with opened(blobs, row) as file:
        while chunk := file.read(CHUNK):
            yield chunk


def _is_there(blobs: Blobs, row: Row) -> bool:
    if row["path"] is None:
        return True
    try:
        with opened(blobs, row):
            return True
    except Gone:
        return False


def _multipart(
    media_type: str, parts: Iterable[_Part], *, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    boundary = multipart.new_boundary()

    def body() -> Iterator[bytes]:
        for place, part in enumerate(parts):
            yield multipart.part_start(boundary, part.content_type, part.location, first=place == 0)
            yield from part.chunks()
        yield multipart.closing(boundary)

    return streamed(body(), multipart.content_type(media_type, boundary), status=status, headers=headers)
