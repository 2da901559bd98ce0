"""How this room answers: bytes that may be few or endless, JSON that may be wanted compressed."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Final

from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from hilum.core.http import SMALL
from hilum.imaging.dicomweb import gzip, multipart
from hilum.imaging.dicomweb.accept import accepts_gzip

PRIVATE: Final = "private, no-cache"
_WORTH_COMPRESSING: Final = 1024
_BLOCK: Final = 256 << 10


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a multipart answer.

    Attributes
    ----------
    content_type, location : str
        Its header fields.
    chunks : callable
        Gives its bytes, in pieces; called once, when the part's turn has come.
    """

    content_type: str
    location: str
    chunks: Callable[[], Iterable[bytes]]


def in_parts(
    request: Request,
    media_type: str,
    parts: Iterable[Part],
    *,
    status: int = 200,
    headers: dict[str, str] | None = None,
) -> Response:
    """Answer with ``multipart/related`` parts of a media type, streamed one after the other."""
    del request
    boundary = multipart.new_boundary()

    def body() -> Iterator[bytes]:
        for place, part in enumerate(parts):
            yield multipart.part_start(boundary, part.content_type, part.location, first=place == 0)
            yield from part.chunks()
        yield multipart.closing(boundary)

    return streamed(body(), multipart.content_type(media_type, boundary), status=status, headers=headers)


def streamed(
    chunks: Iterable[bytes], media_type: str, *, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """Answer with bytes as they come: at once when they are few, else as a stream of bounded memory.

    The first of them are read before anything is sent, so that what fails there still has its own status.
    """
    given = {"Cache-Control": PRIVATE, "Vary": "Accept"} | (headers or {})
    source = iter(chunks)
    held: list[bytes] = []
    size = 0
    for chunk in source:
        held.append(chunk)
        size += len(chunk)
        if size > SMALL:
            return StreamingResponse(_blocks(chain(held, source)), status, given, media_type)
    return Response(b"".join(held), status, given, media_type)


def json_answer(
    request: Request, body: bytes, media_type: str, *, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """Answer with JSON, compressed for those who take it so."""
    given = {"Cache-Control": PRIVATE, "Vary": "Accept, Accept-Encoding"} | (headers or {})
    if len(body) >= _WORTH_COMPRESSING and accepts_gzip(request.headers):
        given["Content-Encoding"] = "gzip"
        body = gzip.compress(body)
    return Response(body, status, given, media_type)


def _blocks(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Join small pieces, for each that is sent costs a turn of the event loop."""
    held: list[bytes] = []
    size = 0
    for chunk in chunks:
        held.append(chunk)
        size += len(chunk)
        if size >= _BLOCK:
            yield b"".join(held)
            held, size = [], 0
    yield b"".join(held)
