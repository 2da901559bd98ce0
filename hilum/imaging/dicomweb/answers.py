"""How this room answers: bytes that may be few or endless, in one part or many, with their length wherever it is known,
and JSON that may be wanted compressed."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

from fastapi import Request
from fastapi.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from hilum.core.http import SMALL, Read, stored
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
    size : int or None
        How many bytes those are; None when only making them tells.
    """

    content_type: str
    location: str
    chunks: Callable[[], Iterable[bytes]]
    size: int | None = None


def streamed(
    request: Request,
    chunks: Iterable[bytes],
    media_type: str,
    *,
    status: int = 200,
    headers: dict[str, str] | None = None,
    size: int | None = None,
) -> Response:
    """Answer with bytes as they come: at once when they are few, else as a stream of bounded memory.

    The first of them are read before anything is sent, so that what fails there still has its own status. HEAD reads
    no more than that, and nothing where the size is known.

    Parameters
    ----------
    request
        What was asked.
    chunks
        The bytes, in pieces of any size.
    media_type, status, headers
        Of the answer.
    size
        How many bytes there are, where that is known.
    """
    given = {"Cache-Control": PRIVATE, "Vary": "Accept"} | (headers or {})
    if size is not None:
        given["Content-Length"] = str(size)
        if request.method == "HEAD":
            return Response(status_code=status, headers=given, media_type=media_type)
    source = iter(chunks)
    held: list[bytes] = []
    length = 0
    for chunk in source:
        held.append(chunk)
        length += len(chunk)
        if length > SMALL:
            if request.method == "HEAD":
                return StreamingResponse((), status, given, media_type)
            return StreamingResponse(_blocks(chain(held, source)), status, given, media_type)
    return _Pieces(held, status, given, media_type)


class _Pieces(Response):
    """An answer that is held in pieces and sent so: to join the bytes of an image costs as much as to read them."""

    def __init__(self, pieces: Sequence[bytes], status: int, headers: dict[str, str], media_type: str) -> None:
        size = str(sum(map(len, pieces)))
        super().__init__(None, status, {"Content-Length": size} | headers, media_type)
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for piece in self._pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def in_parts(
    request: Request,
    media_type: str,
    parts: Iterable[Part],
    *,
    status: int = 200,
    headers: dict[str, str] | None = None,
) -> Response:
    """Answer with ``multipart/related`` parts of a media type, streamed one after the other.

    A list of parts that all know their sizes gives the answer its length.
    """
    boundary = multipart.new_boundary()

    def start(place: int, part: Part) -> bytes:
        return multipart.part_start(boundary, part.content_type, part.location, first=place == 0)

    def body() -> Iterator[bytes]:
        for place, part in enumerate(parts):
            yield start(place, part)
            yield from part.chunks()
        yield multipart.closing(boundary)

    size: int | None = None
    if isinstance(parts, Sequence):
        sizes = [None if part.size is None else len(start(place, part)) + part.size for place, part in enumerate(parts)]
        size = None if None in sizes else len(multipart.closing(boundary)) + sum(one or 0 for one in sizes)
    content_type = multipart.content_type(media_type, boundary)
    return streamed(request, body(), content_type, status=status, headers=headers, size=size)


def in_ranges(request: Request, etag: str, media_type: str, size: int, read: Read, *, status: int = 200) -> Response:
    """Answer with bytes that can be had in ranges, and conditionally.

    Parameters
    ----------
    request
        What was asked.
    etag
        Changes whenever the bytes do.
    media_type
        What they are.
    size
        How many there are.
    read
        Gives ``length`` bytes from ``offset``, whole or in pieces.
    status
        Of an answer with all of the bytes.
    """
    answer = stored(request, size=size, etag=etag, media_type=media_type, read=read)
    answer.headers["Vary"] = "Accept"
    if answer.status_code == 200:
        answer.status_code = status
    return answer


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
