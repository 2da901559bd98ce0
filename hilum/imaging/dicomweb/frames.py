"""Frames by their numbers, and the pixel data of whole instances (PS3.18 sections 10.4.1.2 and 10.4.1.6): as they are
stored, decoded, or encoded anew without loss, as the client accepts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import chain
from typing import BinaryIO, Final

from fastapi import Request
from fastapi.responses import Response

from hilum.core.errors import Gone, NotAcceptable, NotFound
from hilum.core.http import matches
from hilum.core.recent import Recent
from hilum.imaging.archive.objects import opened_instance
from hilum.imaging.archive.query import Row
from hilum.imaging.archive.store import Archive
from hilum.imaging.dicom.header import Header
from hilum.imaging.dicom.transcode import frame_forms
from hilum.imaging.dicomweb.accept import EXPLICIT_LITTLE, MediaRange, Offer, choose, choose_or_refuse, refusal
from hilum.imaging.dicomweb.answers import PRIVATE, Part, in_parts, in_ranges
from hilum.imaging.dicomweb.corrections import is_misread
from hilum.imaging.dicomweb.made import frame_bytes
from hilum.imaging.dicomweb.resources import (
    Place,
    Target,
    find_frames,
    find_instances,
    frame_places,
    instance_url,
    parse_frames,
)
from hilum.imaging.dicomweb.syntaxes import frame_offers

_VERSION: Final = 3
"""Of the way frames are made: one more whenever they come out otherwise, so that nobody keeps an older one."""
_AT_ONCE: Final = 1000
_OFFERS: Final = Recent[tuple[str, bool], Sequence[Offer]](1000)
"""By digest of an instance, and whether one frame is asked for."""


@dataclass(frozen=True, slots=True)
class _Chosen:
    row: Row
    offer: Offer

    @property
    def content_type(self) -> str:
        return f"{self.offer.media_type}; transfer-syntax={self.offer.transfer_syntax}"


def frames(
    request: Request, archive: Archive, target: Target, listed: str, ranges: Sequence[MediaRange], root: str
) -> Response:
    """Answer with frames of an instance, in the order asked (PS3.18 section 10.4.1.2).

    Parameters
    ----------
    request, archive, target, ranges, root
        As of `wado.retrieve`.
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
    numbers = parse_frames(listed)
    with archive.database.connect() as connection:
        row, places = find_frames(connection, target, numbers)
    count = row["num_frames"]
    if max(numbers) > count:
        raise NotFound(f"The last frame is {count}." if count else "The instance has no pixel data.")
    with opened_instance(archive.blobs, row) as (file, header):
        offers = _offers(file, header, row["digest"], single=len(numbers) == 1)
        chosen = _Chosen(row, choose_or_refuse(ranges, offers))
        # What cannot be read at all is an error, not an answer that breaks off.
        first = next(frame_bytes(file, header, numbers[:1], places, chosen.offer.transfer_syntax))
    etag = blake2b(f"{_VERSION} {row['digest']} {listed} {chosen.offer}".encode(), digest_size=16).hexdigest()
    headers = {"ETag": f'"{etag}"'}
    if matches(request, etag):
        return Response(status_code=304, headers=headers | {"Cache-Control": PRIVATE, "Vary": "Accept"})
    url = instance_url(root, row)
    if not chosen.offer.multipart:
        answer = in_ranges(
            request, etag, chosen.content_type, len(first), lambda at, length: first[at : at + length]
        )  # fmt: skip
        answer.headers["Content-Location"] = f"{url}/frames/{numbers[0]}"
        return answer
    found = chain([first], _read(archive, row, numbers[1:], places, chosen.offer.transfer_syntax))
    parts = [Part(chosen.content_type, f"{url}/frames/{number}", lambda: [next(found)]) for number in numbers]
    return in_parts(request, chosen.offer.media_type, parts, headers=headers)


def pixel_data(request: Request, archive: Archive, target: Target, ranges: Sequence[MediaRange], root: str) -> Response:
    """Answer with the pixel data of all instances that a path names, a part for each frame (PS3.18 section 10.4.1.6).

    Instances without pixels are passed over; where some cannot be given in an accepted form, the status is 206.

    Parameters and errors as of `wado.retrieve`; ``NotFound`` also where nothing has pixels.
    """
    with archive.database.connect() as connection:
        rows = [row for row in find_instances(connection, target) if row["num_frames"]]
    if not rows:
        raise NotFound(f"The {target.noun} has no pixel data.")
    alone = len(rows) == 1 and rows[0]["num_frames"] == 1
    chosen: list[_Chosen] = []
    refused: list[Offer] = []
    gone = 0
    for row in rows:
        try:
            with opened_instance(archive.blobs, row) as (file, header):
                offers = _offers(file, header, row["digest"], single=alone)
        except Gone:
            gone += 1
            continue
        offer = choose(ranges, [one for one in offers if alone or one.multipart])
        if offer:
            chosen.append(_Chosen(row, offer))
        else:
            refused.extend(offers)
    if not chosen:
        if gone:
            raise Gone(f"The files of this {target.noun} were indexed in place and are no longer there.")
        raise NotAcceptable(refusal(refused))
    if not chosen[0].offer.multipart:
        return frames(request, archive, _target_of(target, chosen[0].row), "1", ranges, root)
    media_types = {one.offer.media_type for one in chosen}
    status = 200 if len(chosen) == len(rows) else 206
    return in_parts(
        request, min(media_types) if len(media_types) == 1 else "*/*", _all_frames(archive, chosen, root), status=status
    )


def _all_frames(archive: Archive, chosen: Sequence[_Chosen], root: str) -> Iterator[Part]:
    for one in chosen:
        url = instance_url(root, one.row)
        for start in range(1, one.row["num_frames"] + 1, _AT_ONCE):
            numbers = range(start, min(start + _AT_ONCE, one.row["num_frames"] + 1))
            with archive.database.connect() as connection:
                places = frame_places(connection, one.row["id"], numbers[0], numbers[-1])
            found = _read(archive, one.row, numbers, places, one.offer.transfer_syntax)
            for number in numbers:
                data = next(found)
                yield Part(one.content_type, f"{url}/frames/{number}", lambda data=data: [data])


def _read(
    archive: Archive, row: Row, numbers: Sequence[int], places: Mapping[int, Place], syntax: str
) -> Iterator[bytes]:
    with opened_instance(archive.blobs, row) as (file, header):
        yield from frame_bytes(file, header, numbers, places, syntax)


def _offers(file: BinaryIO, header: Header, digest: str, *, single: bool) -> Sequence[Offer]:
    offers = _OFFERS.get((digest, single))
    if offers is None:
        rather_decoded = is_misread(file, header)
        made = frame_forms(file, header) or ((EXPLICIT_LITTLE,) if rather_decoded else ())
        offers = frame_offers(header.transfer_syntax_uid, single=single, made=made, rather_decoded=rather_decoded)
        _OFFERS.add((digest, single), offers)
    return offers


def _target_of(target: Target, row: Row) -> Target:
    uids = {
        "study": row["study_instance_uid"],
        "series": row["series_instance_uid"],
        "instance": row["sop_instance_uid"],
    }
    return replace(target, **uids)
