"""The instances in the body of a STOW-RS request (PS3.18 section 10.5.1): files one by one as they stream in, or
metadata with bulk data, which waits in temporary storage until all of it has come. What becomes of them is for
``stow``."""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Final, cast

import msgspec

from hilum.core.blobs import BlobItem, Blobs
from hilum.core.errors import TooLarge, Unsupported
from hilum.imaging.dicom.assemble import OCTETS, Bulk, assemble
from hilum.imaging.dicom.from_xml import read_native_model
from hilum.imaging.dicom.problems import Unreadable
from hilum.imaging.dicomweb import multipart
from hilum.imaging.dicomweb.accept import DICOM, DICOM_JSON, DICOM_XML, RELATED, parse_media_type
from hilum.imaging.dicomweb.problems import BadRequest

MAX_METADATA: Final = 64 << 20
MAX_NODES: Final = 1_500_000
"""Of one part of metadata: objects and arrays, or tags; each takes more memory than it has bytes."""
_CHUNK: Final = 1 << 20
_FRAMES: Final = "/frames/"
_TAKEN: Final = (
    'Send multipart/related; type="application/dicom" (or application/dicom+json, application/dicom+xml with bulk '
    "data), or one instance as application/dicom."
)

Blocks = Iterator[bytes]


@dataclass(frozen=True, slots=True)
class Form:
    """How a body is to be read.

    Attributes
    ----------
    media_type : str
        ``application/dicom``, ``application/dicom+json`` or ``application/dicom+xml``.
    boundary : bytes or None
        Of the parts; None when the body is no multipart.
    """

    media_type: str
    boundary: bytes | None


@dataclass(frozen=True, slots=True)
class Body:
    """One instance that arrives.

    Attributes
    ----------
    chunks : iterator of bytes
        Its file, to be used before the next body is asked for.
    uids : tuple of str
        SOP Class and SOP Instance UID as its metadata says; empty for a file.
    problem : Unreadable or None
        Why there is no file.
    discarded : bool
        Whether attributes of its metadata were left out.
    """

    chunks: Iterator[bytes]
    uids: tuple[str, str] = ("", "")
    problem: Unreadable | None = None
    discarded: bool = False


def read_form(headers: Mapping[str, str]) -> Form:
    """How the header fields say that the body is to be read.

    Raises
    ------
    BadRequest
        A multipart body has no boundary.
    Unsupported
        The media type is none that can be stored.
    """
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Unsupported("Send the body without a content coding.")
    given = headers.get("content-type", "")
    if not given:
        raise Unsupported(_TAKEN)
    media_type, parameters = parse_media_type(given)
    if media_type in (DICOM, DICOM_JSON, DICOM_XML):
        return Form(media_type, None)
    wanted = parameters.get("type", DICOM).strip().lower()
    if media_type != RELATED or wanted not in (DICOM, DICOM_JSON, DICOM_XML):
        raise Unsupported(_TAKEN)
    return Form(wanted, multipart.check_boundary(parameters.get("boundary")))


def read_bodies(form: Form, blocks: Blocks, blobs: Blobs, max_bytes: int) -> Generator[Body]:
    """Read the instances of a body.

    Parameters
    ----------
    form : Form
        See `read_form`.
    blocks : iterator of bytes
        The body, in blocks of any size.
    blobs : Blobs
        Whose temporary storage bulk data waits in.
    max_bytes : int
        Of bulk data in one part.

    Raises
    ------
    BadRequest
        The body is no multipart body, ends early, or its metadata is neither JSON nor XML.
    TooLarge
        Metadata or bulk data is over its limit.
    """
    if form.media_type != DICOM:
        yield from _described(form, blocks, blobs, max_bytes)
    elif form.boundary is None:
        first = next(blocks, b"")
        if first:
            yield Body(chain([first], blocks))
    else:
        for part in multipart.read_parts(blocks, form.boundary):
            yield Body(part.chunks)


@dataclass(frozen=True, slots=True)
class _Stretch:
    """A part of bulk data where it waits."""

    item: BlobItem
    offset: int
    size: int

    def chunks(self) -> Iterator[bytes]:
        with self.item.reader() as file:
            file.seek(self.offset)
            left = self.size
            while left > 0 and (chunk := file.read(min(_CHUNK, left))):
                left -= len(chunk)
                yield chunk


@dataclass(slots=True)
class _Arrived:
    """What came for one location: its media type, and its stretches by their frame number."""

    media_type: str
    transfer_syntax_uid: str
    stretches: list[tuple[int, _Stretch]] = field(default_factory=list[tuple[int, _Stretch]])

    def bulk(self) -> Bulk:
        ordered = [stretch for _, stretch in sorted(self.stretches, key=lambda one: one[0])]
        return Bulk(self.media_type, self.transfer_syntax_uid, ordered)


@dataclass(slots=True)
class _Store:
    """The parts of a body that holds metadata and bulk data."""

    media_type: str
    item: BlobItem
    max_bytes: int
    metadata: list[object] = field(default_factory=list[object])
    bulk: dict[str, _Arrived] = field(default_factory=dict[str, _Arrived])
    _left: int = MAX_METADATA

    def take(self, headers: Mapping[str, str], chunks: Iterable[bytes]) -> None:
        location = headers.get("content-location", "").strip()
        media_type, parameters = parse_media_type(
            headers.get("content-type") or (OCTETS if location else self.media_type)
        )
        if media_type == self.media_type:
            self._take_metadata(chunks)
        else:
            self._take_bulk(location, media_type, parameters.get("transfer-syntax", "").strip(), chunks)

    def _take_metadata(self, chunks: Iterable[bytes]) -> None:
        pieces: list[bytes] = []
        for chunk in chunks:
            self._left -= len(chunk)
            if self._left < 0:
                raise TooLarge(f"Metadata of more than {MAX_METADATA >> 20} MiB is not taken in one request.")
            pieces.append(chunk)
        document = b"".join(pieces)
        if sum(document.count(mark) for mark in (b"<", b"{", b"[")) > MAX_NODES:
            raise TooLarge(f"Metadata of more than {MAX_NODES} elements is not taken; send application/dicom.")
        try:
            if self.media_type == DICOM_XML:
                self.metadata.append(read_native_model(document))
                return
            found = msgspec.json.decode(document)
        except Unreadable as error:
            raise BadRequest(str(error)) from error
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise BadRequest("The metadata is not the JSON that its Content-Type names.") from error
        self.metadata.extend(cast("list[object]", found) if isinstance(found, list) else [found])

    def _take_bulk(self, location: str, media_type: str, syntax: str, chunks: Iterable[bytes]) -> None:
        offset = self.item.size
        for chunk in chunks:
            self.item.write(chunk)
            if self.item.size - offset > self.max_bytes:
                raise TooLarge(f"Bulk data is larger than HILUM_MAX_INSTANCE_BYTES ({self.max_bytes} bytes).")
        size = self.item.size - offset
        base, separator, number = location.rpartition(_FRAMES)
        framed = bool(separator) and number.isascii() and number.isdecimal() and len(number) < 10
        place = base if framed else location
        arrived = self.bulk.setdefault(place, _Arrived(media_type, syntax))
        frame = int(number) if framed else len(arrived.stretches) + 1
        arrived.stretches.append((frame, _Stretch(self.item, offset, size)))

    def find(self, uri: str) -> Bulk | None:
        found = self.bulk.get(uri)
        return found.bulk() if found else None


def _described(form: Form, blocks: Blocks, blobs: Blobs, max_bytes: int) -> Generator[Body]:
    with blobs.group() as group:
        store = _Store(form.media_type, group.create(), max_bytes)
        if form.boundary is None:
            store.take({}, blocks)
        else:
            for part in multipart.read_parts(blocks, form.boundary):
                store.take(part.headers, part.chunks)
        for model in store.metadata:
            yield _assembled(model, store.find)


def _assembled(model: object, find: Callable[[str], Bulk | None]) -> Body:
    uids = _uid(model, "00080016"), _uid(model, "00080018")
    try:
        found = assemble(model, find)
    except Unreadable as problem:
        return Body(iter(()), uids, problem)
    return Body(found.chunks, uids, None, found.discarded)


def _uid(model: object, tag: str) -> str:
    """A UID of metadata that may be anything."""
    attribute = cast("Mapping[str, object]", model).get(tag) if isinstance(model, dict) else None
    values = cast("Mapping[str, object]", attribute).get("Value") if isinstance(attribute, dict) else None
    return str(cast("list[object]", values)[0]) if isinstance(values, list) and values else ""
