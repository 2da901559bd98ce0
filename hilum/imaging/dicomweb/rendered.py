"""Rendered resources of WADO-RS (PS3.18 section 10.4.1.1.3 and .4): a frame, an instance, a series or a study as people
can see it, and thumbnails of them. The bytes are made in ``renditions``."""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import chain
from typing import Final

import structlog
from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from hilum.core.errors import HilumError, NotAcceptable, NotFound, TooLarge
from hilum.core.http import matches, stored
from hilum.imaging.archive.query import Row
from hilum.imaging.archive.render import Look
from hilum.imaging.archive.store import Archive
from hilum.imaging.archive.thumbnails import VERSION
from hilum.imaging.dicomweb import renditions
from hilum.imaging.dicomweb.accept import MediaRange, Offer, choose, choose_or_refuse
from hilum.imaging.dicomweb.answers import PRIVATE, Part, in_parts
from hilum.imaging.dicomweb.renditions import GIF, HTML, TEXT
from hilum.imaging.dicomweb.resources import Target, find_instances, instance_url, parse_frames

MAX_PICTURES: Final = 2000
PAGE_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; sandbox; frame-ancestors 'self'"
DOCUMENT_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; object-src 'self'; frame-ancestors 'self'"
"""Of a document that the browser's own reader shows, which a sandbox would keep from starting."""

log = structlog.get_logger()


def rendered(
    request: Request,
    archive: Archive,
    target: Target,
    ranges: Sequence[MediaRange],
    root: str,
    look: Look,
    listed: str | None = None,
) -> Response:
    """Answer with what a path names as people can see it.

    Parameters
    ----------
    request
        What was asked.
    archive
        Where it is kept.
    target
        A study or series, of which every instance is a part, or an instance.
    ranges
        What the client accepts.
    root
        Base URL of the service.
    look
        How the client wants to see it.
    listed
        Frame numbers, 1-based, with commas between them; None for the instance itself.

    Raises
    ------
    BadRequest
        A parameter or the list of frames is malformed.
    NotFound
        There is no such thing.
    NotAcceptable
        It cannot be shown, or not so.
    TooLarge
        It is too much to be rendered at once.
    """
    numbers = None if listed is None else parse_frames(listed)
    with archive.database.connect() as connection:
        rows = find_instances(connection, target)
    if target.instance is None:
        return _several(request, archive, rows, ranges, look, root)
    return one(request, archive, rows[0], ranges, look, numbers, instance_url(root, rows[0]))


def one(
    request: Request,
    archive: Archive,
    row: Row,
    ranges: Sequence[MediaRange],
    look: Look,
    numbers: Sequence[int] | None,
    url: str,
) -> Response:
    """Answer with an instance, or some of its frames (1-based), as people can see them.

    Parameters and errors are those of `rendered`, but for ``url``, which is that of the instance; empty where the
    answer names no place of its own.
    """
    kind = renditions.kind_of(row)
    if numbers is not None and kind != "image":
        raise NotFound("The instance has no frames that can be shown one by one.")
    if numbers is not None and max(numbers) > row["num_frames"]:
        raise NotFound(f"The last frame is {row['num_frames']}.")
    shown = numbers or range(1, row["num_frames"] + 1)
    offer = choose_or_refuse(ranges, _offers_of_one(archive, row, numbers))
    etag = _etag([row], numbers, look, [offer])
    headers = {"ETag": f'"{etag}"', "Cache-Control": PRIVATE, "Vary": "Accept"}
    if matches(request, etag):
        return Response(status_code=304, headers=headers)
    if offer.multipart:
        _check_amount(1 if offer.media_type == GIF else len(shown))
        parts = _begun(_parts(archive, row, offer, look, shown, url))
        return in_parts(request, offer.media_type, parts, headers=headers)
    if kind == "image":
        return _picture(archive, row, offer.media_type, look, numbers, url, headers)
    return _alone(request, archive, row, kind, offer, etag)


def _offers_of_one(archive: Archive, row: Row, numbers: Sequence[int] | None) -> list[Offer]:
    found = renditions.offers(archive, row, single=True, several=True)
    if numbers is not None and len(numbers) > 1:  # several frames are one answer only as a film or as parts
        return [offer for offer in found if offer.multipart or offer.media_type == GIF]
    return found


def _picture(
    archive: Archive,
    row: Row,
    media_type: str,
    look: Look,
    numbers: Sequence[int] | None,
    url: str,
    headers: dict[str, str],
) -> Response:
    if media_type == GIF:
        every = numbers or range(1, row["num_frames"] + 1)
        film = renditions.find_pictures(archive, row, every, look, GIF).film()
        return StreamingResponse(film, 200, headers, GIF)
    number = numbers[0] if numbers else renditions.representative_frame(archive, row)
    data = renditions.find_pictures(archive, row, [number], look, media_type).one(number)
    if url:
        headers = headers | {"Content-Location": f"{url}/frames/{number}/rendered"}
    return Response(data, 200, headers, media_type)


def _alone(request: Request, archive: Archive, row: Row, kind: renditions.Kind, offer: Offer, etag: str) -> Response:
    """An answer of stored or short bytes, which may be asked for in ranges."""
    media_type = _content_type(offer.media_type)
    if kind == "video":
        stream = renditions.find_video(archive, row)
        read = renditions.video_reader(archive, row, stream)
        answer = stored(request, size=stream.size, etag=etag, media_type=media_type, read=read)
    else:
        data = _text_or_document(archive, row, offer.media_type)
        answer = stored(
            request, size=len(data), etag=etag, media_type=media_type, read=lambda at, length: data[at : at + length]
        )
        policy = DOCUMENT_POLICY if offer.media_type == renditions.PDF else PAGE_POLICY
        viewers = archive.settings.cors_origins.replace(",", " ")  # they may also show it within their own pages
        answer.headers["Content-Security-Policy"] = f"{policy} {viewers}".rstrip()
    answer.headers["Vary"] = "Accept"
    return answer


def _several(
    request: Request, archive: Archive, rows: Sequence[Row], ranges: Sequence[MediaRange], look: Look, root: str
) -> Response:
    """The instances of a study or series, each as one part or more; those that cannot be shown are left out (206)."""
    chosen: list[tuple[Row, Offer]] = []
    possible: dict[Offer, None] = {}
    for row in rows:
        types = _types_of_one(archive, row)
        possible.update(dict.fromkeys(types))
        offer = choose(ranges, types)
        if offer is not None:
            chosen.append((row, offer))
    if not chosen:
        if not possible:
            raise NotAcceptable("None of its instances has a rendered form.")
        choose_or_refuse(ranges, list(possible))
    _check_amount(sum(row["num_frames"] or 1 for row, offer in chosen if offer.media_type != GIF))
    etag = _etag([row for row, _ in chosen], None, look, [offer for _, offer in chosen])
    headers = {"ETag": f'"{etag}"', "Cache-Control": PRIVATE, "Vary": "Accept"}
    if matches(request, etag):
        return Response(status_code=304, headers=headers)
    parts = _begun(part for row, offer in chosen for part in _readable(archive, row, offer, look, root))
    status = 200 if len(chosen) == len(rows) else 206
    return in_parts(request, chosen[0][1].media_type, parts, status=status, headers=headers)


def _types_of_one(archive: Archive, row: Row) -> list[Offer]:
    try:
        return renditions.offers(archive, row, single=False, several=True)
    except HilumError:
        return []


def _readable(archive: Archive, row: Row, offer: Offer, look: Look, root: str) -> Iterator[Part]:
    """The parts of an instance; one of many that cannot be shown does not end the answer."""
    frames = range(1, row["num_frames"] + 1)
    try:
        yield from _parts(archive, row, offer, look, frames, instance_url(root, row))
    except HilumError as error:
        log.warning("rendered.left_out", instance=row["id"], problem=type(error).__name__)


def _parts(archive: Archive, row: Row, offer: Offer, look: Look, numbers: Sequence[int], url: str) -> Iterator[Part]:
    kind, media_type = renditions.kind_of(row), offer.media_type
    if kind != "image":
        data = renditions.video_chunks(archive, row) if kind == "video" else None
        whole = [_text_or_document(archive, row, media_type)] if data is None else data
        yield Part(_content_type(media_type), f"{url}/rendered", lambda: whole)
        return
    pictures = renditions.find_pictures(archive, row, numbers, look, media_type)
    if media_type == GIF:
        film = pictures.film()
        yield Part(GIF, f"{url}/rendered", lambda: film)
        return
    for number in numbers:
        picture = pictures.one(number)
        yield Part(media_type, f"{url}/frames/{number}/rendered", lambda picture=picture: [picture])


def _begun(parts: Iterable[Part]) -> Iterator[Part]:
    """Make the first part now, so that what cannot be shown at all is an error and not an empty answer."""
    found = iter(parts)
    first = next(found, None)
    if first is None:
        raise NotAcceptable("None of its instances can be rendered.")
    return chain([first], found)


def _text_or_document(archive: Archive, row: Row, media_type: str) -> bytes:
    if media_type in (HTML, TEXT):
        return renditions.report(archive, row, media_type)
    return renditions.document(archive, row)


def _content_type(media_type: str) -> str:
    return f"{media_type}; charset=utf-8" if media_type in (HTML, TEXT) else media_type


def _check_amount(pictures: int) -> None:
    if pictures > MAX_PICTURES:
        raise TooLarge(f"At most {MAX_PICTURES} frames are rendered at once; ask for a series, an instance or frames.")


def _etag(rows: Sequence[Row], numbers: Sequence[int] | None, look: Look, offers: Sequence[Offer]) -> str:
    named = f"{VERSION} {numbers} {look.key} {offers} {[row['digest'] for row in rows]}"
    return blake2b(named.encode(), digest_size=16).hexdigest()
