"""``multipart/related`` bodies (RFC 2387, RFC 2046 section 5.1), read as they stream in and written as they stream out.
What a part means is for ``stow`` and ``wado``."""

import re
import secrets
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

from hilum.imaging.dicomweb.problems import BadRequest

MAX_PREAMBLE: Final = 64 * 1024
MAX_BOUNDARY: Final = 70
MAX_HEADERS: Final = 32
MAX_HEADER_BYTES: Final = 8 * 1024
FIRST_CHUNK: Final = 4096

# RFC 2046 section 5.1.1, bchars; a boundary does not end with a space.
_BOUNDARY: Final = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")


@dataclass(frozen=True, slots=True)
class Part:
    """One part that is arriving.

    Attributes
    ----------
    headers : dict of str to str
        By lower-case name.
    chunks : iterator of bytes
        Its body, to be used before the next part is asked for; the first chunk is at least 4 KiB, or all there is.
    """

    headers: dict[str, str]
    chunks: Iterator[bytes]


def check_boundary(boundary: str | None) -> bytes:
    """The boundary parameter as bytes.

    Raises
    ------
    BadRequest
        It is missing or is none.
    """
    if not boundary:
        raise BadRequest("The Content-Type of a multipart request names its boundary.")
    if not _BOUNDARY.fullmatch(boundary):
        raise BadRequest(f"A boundary has 1 to {MAX_BOUNDARY} characters of those that RFC 2046 allows.")
    return boundary.encode("ascii")


def read_parts(blocks: Iterator[bytes], boundary: bytes) -> Iterator[Part]:
    """Read the parts of a body, holding no more of it than the block that has just come.

    What of a part was not used is passed over. A body without any part gives none.

    Parameters
    ----------
    blocks : iterator of bytes
        The body, in blocks of any size.
    boundary : bytes
        See `check_boundary`.

    Raises
    ------
    BadRequest
        The body is no multipart body, or ends before its closing boundary.
    """
    reader = _Reader(blocks, boundary)
    while (headers := reader.next_part()) is not None:
        part = Part(headers, _with_a_long_start(reader.body()))
        yield part
        for _ in part.chunks:
            pass


class _Reader:
    """The parser's callbacks made into a queue: headers at the start of a part, bytes within, None at its end."""

    def __init__(self, blocks: Iterator[bytes], boundary: bytes) -> None:
        self._blocks = blocks
        self._queue: deque[dict[str, str] | bytes | None] = deque()
        self._headers: dict[str, str] = {}
        self._name = self._value = b""
        self._ended = False
        self._body = _after_preamble(blocks, boundary)
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._data,
                "on_part_end": self._part_end,
                "on_end": self._end,
            },
            max_header_count=MAX_HEADERS,
            max_header_size=MAX_HEADER_BYTES,
        )

    def next_part(self) -> dict[str, str] | None:
        """The headers of the next part, None after the last."""
        item = self._next()
        return item if isinstance(item, dict) else None

    def body(self) -> Iterator[bytes]:
        """The bytes of the part that has begun."""
        while isinstance(item := self._next(), bytes):
            yield item

    def _next(self) -> dict[str, str] | bytes | None:
        while not self._queue:
            if self._ended:
                # Whatever stands behind the closing boundary is to be passed over, but read: the client still sends.
                for _ in self._body:
                    pass
                return None
            block = next(self._body, None)
            if block is None:
                raise BadRequest("The body ends before the closing boundary of its parts.")
            try:
                self._parser.write(block)
            except FormParserError as error:
                raise BadRequest("The body is not a well-formed multipart body.") from error
        return self._queue.popleft()

    def _begin(self) -> None:
        self._headers = {}

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._name.decode("latin-1").strip().lower()] = self._value.decode("latin-1").strip()
        self._name = self._value = b""

    def _headers_finished(self) -> None:
        self._queue.append(self._headers)

    def _data(self, data: bytes, start: int, end: int) -> None:
        if end > start:
            self._queue.append(data[start:end])

    def _part_end(self) -> None:
        self._queue.append(None)

    def _end(self) -> None:
        self._ended = True


def _after_preamble(blocks: Iterator[bytes], boundary: bytes) -> Iterator[bytes]:
    """Drop the text that may stand before the first boundary, which the parser does not know."""
    delimiter = b"--" + boundary
    held = b""
    for block in blocks:
        held += block
        place = 0 if held.startswith(delimiter) else held.find(b"\r\n" + delimiter)
        if place >= 0:
            yield held[place:].removeprefix(b"\r\n")
            break
        if len(held) > MAX_PREAMBLE:
            raise BadRequest("The body does not begin with the boundary that its Content-Type names.")
    else:
        raise BadRequest("The body does not hold the boundary that its Content-Type names.")
    yield from blocks


def _with_a_long_start(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Join the first chunks until they tell what they are: a part's start may be cut anywhere."""
    start = b""
    for chunk in chunks:
        start += chunk
        if len(start) >= FIRST_CHUNK:
            break
    if start:
        yield start
    yield from chunks


def new_boundary() -> str:
    """A boundary that occurs in no body."""
    return secrets.token_hex(16)


def part_start(boundary: str, content_type: str, location: str = "", *, first: bool) -> bytes:
    """The delimiter and the header fields before a part's bytes; the first one begins the body.

    Clients look for ``Content-Type:`` in exactly this spelling.
    """
    place = f"Content-Location: {location}\r\n" if location else ""
    line = "" if first else "\r\n"
    return f"{line}--{boundary}\r\nContent-Type: {content_type}\r\n{place}\r\n".encode("latin-1")


def closing(boundary: str) -> bytes:
    """The delimiter after the last part."""
    return f"\r\n--{boundary}--\r\n".encode("ascii")


def content_type(media_type: str, boundary: str) -> str:
    """The Content-Type of a whole body."""
    return f'multipart/related; type="{media_type}"; boundary={boundary}'
