"""Thumbnails of WADO-RS (PS3.18 section 10.4.1.1.4): one small picture of a study, series, instance or frame, without
anything written into it. Where there is no image, a neutral picture says so."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Literal

from fastapi import Request
from fastapi.responses import Response

from hilum.core.errors import NotAcceptable, NotFound
from hilum.core.http import matches
from hilum.imaging.archive.query import Row
from hilum.imaging.archive.render import Look, series_thumbnail
from hilum.imaging.archive.store import Archive
from hilum.imaging.archive.thumbnails import VERSION
from hilum.imaging.dicom.viewport import Viewport
from hilum.imaging.dicomweb import renditions
from hilum.imaging.dicomweb.accept import MediaRange, Offer, choose_or_refuse
from hilum.imaging.dicomweb.answers import PRIVATE
from hilum.imaging.dicomweb.renditions import JPEG, PNG
from hilum.imaging.dicomweb.resources import Target, find_instances, parse_frames

_OFFERS: Final = (Offer(JPEG), Offer(PNG))
_KINDS: Final[dict[str, Literal["jpeg", "png"]]] = {JPEG: "jpeg", PNG: "png"}


def thumbnail(
    request: Request,
    archive: Archive,
    target: Target,
    ranges: Sequence[MediaRange],
    viewport: Viewport | None,
    listed: str | None = None,
) -> Response:
    """Answer with a small picture of what a path names.

    Parameters
    ----------
    request, archive, target, ranges
        As of `rendered.rendered`.
    viewport
        What it is to fit; None for the usual 256 pixels.
    listed
        Frame numbers, 1-based, of which the first is shown; None for the frame that stands for all.

    Raises
    ------
    BadRequest, NotFound, NotAcceptable
        As `rendered.rendered`.
    """
    numbers = None if listed is None else parse_frames(listed)
    with archive.database.connect() as connection:
        row = _representative(find_instances(connection, target))
    if numbers and max(numbers) > row["num_frames"]:
        raise NotFound(
            f"The last frame is {row['num_frames']}." if row["num_frames"] else "The instance has no frames."
        )
    media_type = choose_or_refuse(ranges, _OFFERS).media_type
    frame = numbers[0] if numbers else _representative_frame(archive, row)
    etag = f"{row['digest'][:32]}-{frame}-t{VERSION}-{_KINDS[media_type]}-{_size(viewport)}"
    headers = {"ETag": f'"{etag}"', "Cache-Control": PRIVATE, "Vary": "Accept"}
    if matches(request, etag):
        return Response(status_code=304, headers=headers)
    data = _fitting(archive, row, frame, media_type, viewport) if viewport else None
    if data is None:
        place = renditions.find_places(archive, row, [frame]).get(frame, ())
        data = series_thumbnail(archive.blobs, row, frame, place, _KINDS[media_type])
    return Response(data, 200, headers, media_type)


def _representative(rows: Sequence[Row]) -> Row:
    """The middle image of the first series that has any, else the first instance."""
    images = [row for row in rows if renditions.kind_of(row) == "image"]
    if not images:
        return rows[0]
    series = [row for row in images if row["series_instance_uid"] == images[0]["series_instance_uid"]]
    return series[(len(series) - 1) // 2]


def _representative_frame(archive: Archive, row: Row) -> int:
    try:
        return renditions.representative_frame(archive, row, (row["num_frames"] + 1) // 2)
    except NotAcceptable:
        return 1


def _fitting(archive: Archive, row: Row, frame: int, media_type: str, viewport: Viewport) -> bytes | None:
    """A frame as large as fits; None where there is no picture of it."""
    if renditions.kind_of(row) != "image":
        return None
    look = replace(Look(), viewport=viewport)
    try:
        return renditions.find_pictures(archive, row, [frame], look, media_type).one(frame)
    except NotAcceptable:
        return None


def _size(viewport: Viewport | None) -> str:
    return f"{viewport.width}x{viewport.height}" if viewport else "own"
