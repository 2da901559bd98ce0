"""Bulk data (PS3.18 section 10.4.1.5): the value of one element by its BulkDataURI, or all of what the metadata of an
instance, series or study leaves to such URIs. Compressed pixels come as their code streams, a part for each frame."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from fastapi import Request
from fastapi.responses import Response

from hilum.core.errors import Gone, NotFound
from hilum.imaging.archive.objects import opened_instance, reader
from hilum.imaging.archive.query import Row
from hilum.imaging.archive.store import Archive
from hilum.imaging.dicom.dataset import bulkdata_paths, element_value, read_data_set, read_tail, read_tree
from hilum.imaging.dicom.explicit import native_pixels
from hilum.imaging.dicom.header import Header, PixelData
from hilum.imaging.dicomweb.accept import OCTETS, MediaRange, Offer, choose_or_refuse
from hilum.imaging.dicomweb.answers import Part, in_parts, in_ranges
from hilum.imaging.dicomweb.made import frame_bytes
from hilum.imaging.dicomweb.resources import Target, find_instances, frame_places, instance_url
from hilum.imaging.dicomweb.syntaxes import bulkdata_offers

_PATH: Final = re.compile(r"[0-9A-Fa-f]{8}(?:/[1-9][0-9]{0,8}/[0-9A-Fa-f]{8}){0,64}")
_PIXEL_TAGS: Final = {"7FE00010": "PixelData", "7FE00008": "FloatPixelData", "7FE00009": "DoubleFloatPixelData"}
_AT_ONCE: Final = 1000


def bulkdata(
    request: Request, archive: Archive, target: Target, path: str, ranges: Sequence[MediaRange], root: str
) -> Response:
    """Answer with the value of an element, in little endian.

    Parameters
    ----------
    request, archive, target, ranges, root
        As of `wado.retrieve`.
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
        return _pixels(request, archive, row, _PIXEL_TAGS[path.upper()], ranges, url)
    offer = choose_or_refuse(ranges, bulkdata_offers("", parts=1))
    with opened_instance(archive.blobs, row) as (file, header):
        data = read_data_set(file, header)
        try:
            value = element_value([*read_tree(data, header), *read_tail(data, header)], path.upper().split("/"))
        except LookupError as error:
            raise NotFound("There is no such element in the instance.") from error
    return _one_value(request, row, offer, url, len(value), lambda at, length: value[at : at + length])


def all_bulkdata(
    request: Request, archive: Archive, target: Target, ranges: Sequence[MediaRange], root: str
) -> Response:
    """Answer with all bulk data of the instances that a path names, each under the URI that their metadata gives it.

    Instances whose bytes are gone are left out: the status is then 206.

    Parameters and errors as of `wado.retrieve`; ``NotFound`` also where there is no bulk data.
    """
    with archive.database.connect() as connection:
        rows = find_instances(connection, target)
    choose_or_refuse(ranges, [Offer(OCTETS, multipart=True)])
    there: list[tuple[Row, list[str]]] = []
    gone = 0
    for row in rows:
        try:
            with opened_instance(archive.blobs, row) as (file, header):
                data = read_data_set(file, header)
                paths = bulkdata_paths([*read_tree(data, header), *read_tail(data, header)])
        except Gone:
            gone += 1
            continue
        if paths or header.pixel_data:
            there.append((row, paths))
    if gone == len(rows):
        raise Gone(f"The files of this {target.noun} were indexed in place and are no longer there.")
    if not there:
        raise NotFound(f"The {target.noun} has no bulk data.")
    parts = (
        part for row, paths in there for part in _parts(archive, row, paths, f"{instance_url(root, row)}/bulkdata")
    )
    return in_parts(request, OCTETS, parts, status=206 if gone else 200)


def _parts(archive: Archive, row: Row, paths: Sequence[str], url: str) -> Iterator[Part]:
    with opened_instance(archive.blobs, row) as (file, header):
        data = read_data_set(file, header)
        elements = [*read_tree(data, header), *read_tail(data, header)]
        for path in paths:
            value = element_value(elements, path.split("/"))
            yield Part(OCTETS, f"{url}/{path}", lambda value=value: [value])
        pixels = header.pixel_data
        if pixels is None:
            return
        url = f"{url}/{next(tag for tag, keyword in _PIXEL_TAGS.items() if keyword == pixels.keyword)}"
        if not pixels.encapsulated:
            yield Part(OCTETS, url, lambda: native_pixels(file, header, pixels, 0, pixels.length or 0))
            return
    content_type = f"{OCTETS}; transfer-syntax={row['transfer_syntax_uid']}"
    for frame in _code_streams(archive, row):
        yield Part(content_type, url, lambda frame=frame: [frame])


def _pixels(
    request: Request, archive: Archive, row: Row, keyword: str, ranges: Sequence[MediaRange], url: str
) -> Response:
    with opened_instance(archive.blobs, row) as (file, header):
        pixels = header.pixel_data
        if pixels is None or pixels.keyword != keyword:
            raise NotFound("The instance has no such pixel data.")
        if pixels.encapsulated:
            return _compressed(request, archive, row, ranges, url)
        length = max(0, min(pixels.length or 0, file.seek(0, os.SEEK_END) - pixels.offset))
        offer = choose_or_refuse(ranges, bulkdata_offers("", parts=1))
        if header.deflated:  # inflated once, and not again for each stretch
            value = b"".join(native_pixels(file, header, pixels, 0, length))
            return _one_value(request, row, offer, url, len(value), lambda at, size: value[at : at + size])
    if header.little_endian:
        read = reader(archive.blobs, row)
        return _one_value(request, row, offer, url, length, lambda at, size: read(pixels.offset + at, size))
    return _one_value(
        request, row, offer, url, length, lambda at, size: _turned(archive, row, header, pixels, at, size)
    )


def _turned(archive: Archive, row: Row, header: Header, pixels: PixelData, offset: int, length: int) -> bytes:
    """A stretch of big-endian pixels in little endian."""
    with opened_instance(archive.blobs, row) as (file, _):
        return b"".join(native_pixels(file, header, pixels, offset, length))


def _compressed(request: Request, archive: Archive, row: Row, ranges: Sequence[MediaRange], url: str) -> Response:
    syntax, count = row["transfer_syntax_uid"], row["num_frames"]
    offer = choose_or_refuse(ranges, bulkdata_offers(syntax, parts=count))
    media_type = f"{offer.media_type}; transfer-syntax={syntax}"
    found = _code_streams(archive, row)
    if not offer.multipart:
        value = next(found)
        return in_ranges(request, row["digest"], media_type, len(value), lambda at, length: value[at : at + length])
    return in_parts(request, offer.media_type, (Part(media_type, url, lambda one=one: [one]) for one in found))


def _code_streams(archive: Archive, row: Row) -> Iterator[bytes]:
    count = row["num_frames"]
    for start in range(1, count + 1, _AT_ONCE):
        numbers = range(start, min(start + _AT_ONCE, count + 1))
        with archive.database.connect() as connection:
            places = frame_places(connection, row["id"], numbers[0], numbers[-1])
        with opened_instance(archive.blobs, row) as (file, header):
            yield from frame_bytes(file, header, numbers, places, row["transfer_syntax_uid"])


def _one_value(
    request: Request, row: Row, offer: Offer, url: str, size: int, read: Callable[[int, int], bytes]
) -> Response:
    """One value: alone, in ranges, or as the only part; what it is made of is read in stretches."""
    if not offer.multipart:
        return in_ranges(request, row["digest"], offer.media_type, size, read)
    step = 1 << 20
    part = Part(
        offer.media_type, url, lambda: (read(at, min(step, size - at)) for at in range(0, size, step)), size
    )  # fmt: skip
    return in_parts(request, offer.media_type, [part])
