"""A Part 10 file put together from metadata and bulk data, as PS3.18 section 10.5 lets them be sent apart: pixels
native or compressed, streamed, in Explicit VR Little Endian around them."""

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from hilum.imaging.dicom import attributes as a
from hilum.imaging.dicom.codestream import CodeStream, read_code_stream
from hilum.imaging.dicom.dataset import PIXEL_TAGS
from hilum.imaging.dicom.elements import Element
from hilum.imaging.dicom.from_json import JsonReader, sort_in
from hilum.imaging.dicom.problems import Unreadable
from hilum.imaging.dicom.uids import check_uid, is_compressed
from hilum.imaging.dicom.writer import UNDEFINED, element_bytes, element_start, meta_information

OCTETS: Final = "application/octet-stream"
MAX_IN_MEMORY: Final = 64 << 20
"""Of bulk data other than Pixel Data, all of an instance together; Pixel Data streams."""
HEAD: Final = 64 * 1024
MAX_FRAGMENT: Final = 0xFFFFFFFE

# The transfer syntax that a media type stands for when it names none (PS3.18 tables 8.7.3-3 to 8.7.3-5).
SYNTAXES: Final = {
    "image/jls": "1.2.840.10008.1.2.4.80",
    "image/jp2": "1.2.840.10008.1.2.4.90",
    "image/jpx": "1.2.840.10008.1.2.4.92",
    "image/jphc": "1.2.840.10008.1.2.4.201",
    "image/dicom-rle": "1.2.840.10008.1.2.5",
    "image/x-dicom-rle": "1.2.840.10008.1.2.5",
    "image/x-jls": "1.2.840.10008.1.2.4.80",
    "video/mpeg": "1.2.840.10008.1.2.4.100",
    "video/mpeg2": "1.2.840.10008.1.2.4.100",
    "video/mp4": "1.2.840.10008.1.2.4.102",
}
JPEG: Final = "image/jpeg"
MEDIA_TYPES: Final = (OCTETS, JPEG, *SYNTAXES)
_JPEG_BASELINE: Final = "1.2.840.10008.1.2.4.50"
_JPEG_EXTENDED: Final = "1.2.840.10008.1.2.4.51"
_JPEG_LOSSLESS: Final = "1.2.840.10008.1.2.4.70"
_PIXEL_TAG: Final = PIXEL_TAGS["PixelData"]
_SOP_CLASS: Final = 0x00080016
_SOP_INSTANCE: Final = 0x00080018
_ITEM: Final = struct.pack("<HH", 0xFFFE, 0xE000)
_SEQUENCE_END: Final = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


class Piece(Protocol):
    """Bytes that lie ready: the value of an element, or one frame of it."""

    @property
    def size(self) -> int:
        """How many."""
        ...

    def chunks(self) -> Iterator[bytes]:
        """All of them, in order."""
        ...


@dataclass(frozen=True, slots=True)
class Bulk:
    """What came for one BulkDataURI.

    Attributes
    ----------
    media_type : str
        In lower case.
    transfer_syntax_uid : str
        As its Content-Type says; empty when it does not.
    pieces : sequence of Piece
        The value; of compressed Pixel Data its frames in order.
    """

    media_type: str
    transfer_syntax_uid: str
    pieces: Sequence[Piece]


@dataclass(frozen=True, slots=True)
class _Pixels:
    """Pixel Data as its element is to be."""

    tag: int
    vr: str
    bulk: Bulk


@dataclass(frozen=True, slots=True)
class Assembled:
    """A file that is ready to be written.

    Attributes
    ----------
    chunks : iterator of bytes
        The file; the first chunk holds at least the file meta information.
    discarded : bool
        Whether attributes were left out that no data set in a file can have.
    """

    chunks: Iterator[bytes]
    discarded: bool


def assemble(model: object, find: Callable[[str], Bulk | None]) -> Assembled:
    """Put an instance together.

    Parameters
    ----------
    model : object
        Its metadata in the DICOM JSON Model.
    find : callable
        Gives what came for a BulkDataURI, None when nothing did.

    Raises
    ------
    Unreadable
        The metadata is none, bulk data is missing (``bulkdata``), or has a media type or transfer syntax that nothing
        can be made of (``transfer_syntax``).
    """
    left = MAX_IN_MEMORY

    def value(uri: str) -> bytes:
        nonlocal left
        pieces = _found(uri, find).pieces
        left -= sum(piece.size for piece in pieces)
        if left < 0:
            raise Unreadable(
                "bulkdata", f"Bulk data other than pixels is over {MAX_IN_MEMORY >> 20} MiB; send application/dicom."
            )
        return b"".join(chunk for piece in pieces for chunk in piece.chunks())

    reader = JsonReader(value)
    elements = reader.read(model)
    if len(reader.pixels) > 1:
        raise Unreadable("metadata", "The metadata has more than one kind of Pixel Data.")
    inline = next((element for element in elements if element.tag in PIXEL_TAGS.values()), None)
    pixels = next((_Pixels(tag, vr, _found(uri, find)) for tag, (vr, uri) in reader.pixels.items()), None)
    syntax = a.EXPLICIT_LITTLE
    if pixels is not None:
        syntax = _syntax(pixels.bulk, reader.transfer_syntax_uid)
        if is_compressed(syntax):
            elements = _described(elements, pixels.bulk, syntax)
    elif inline is not None and is_compressed(reader.transfer_syntax_uid):
        raise Unreadable("transfer_syntax", "Compressed pixels come as bulk data, not as InlineBinary.")
    return Assembled(_file(elements, pixels, syntax), bool(reader.discarded))


def _found(uri: str, find: Callable[[str], Bulk | None]) -> Bulk:
    found = find(uri)
    if found is None:
        raise Unreadable("bulkdata", "A BulkDataURI of the metadata has no part with this Content-Location.")
    return found


def _syntax(bulk: Bulk, said: str) -> str:
    """The transfer syntax of pixels by their part's Content-Type, else by the metadata, else by their media type."""
    named = bulk.transfer_syntax_uid or (said if is_compressed(said) and bulk.media_type != OCTETS else "")
    if bulk.media_type not in MEDIA_TYPES or (named and not check_uid(named)):
        raise Unreadable("transfer_syntax", f"Pixels come as one of {', '.join(MEDIA_TYPES)}.")
    if bulk.media_type == OCTETS and named in ("", a.EXPLICIT_LITTLE, a.IMPLICIT_LITTLE):
        return a.EXPLICIT_LITTLE
    if named and not is_compressed(named):
        raise Unreadable("transfer_syntax", "The transfer syntax of the bulk data is none of its media type.")
    if named or bulk.media_type != JPEG:
        return named or SYNTAXES[bulk.media_type]
    stream = _code_stream(bulk)
    if stream.kind == "jpeg-lossless":
        return _JPEG_LOSSLESS
    return _JPEG_BASELINE if stream.precision == 8 else _JPEG_EXTENDED


def _code_stream(bulk: Bulk) -> CodeStream:
    return read_code_stream(b"".join(_head(bulk.pieces[0].chunks())))


def _head(chunks: Iterable[bytes]) -> Iterator[bytes]:
    size = 0
    for chunk in chunks:
        yield chunk[: HEAD - size]
        size += len(chunk)
        if size >= HEAD:
            return


def _described(elements: list[Element], bulk: Bulk, syntax: str) -> list[Element]:
    """The elements with those of the Image Pixel Description Macro that the metadata may leave to the code stream."""
    known = {element.tag for element in elements}
    if known >= {0x00280002, 0x00280004, 0x00280010, 0x00280011, 0x00280100, 0x00280101, 0x00280102, 0x00280103}:
        return elements
    if not bulk.media_type.startswith("image/") or syntax == SYNTAXES["image/dicom-rle"]:
        raise Unreadable("metadata", "The metadata lacks Rows, Columns or others that describe the pixels.")
    stream = _code_stream(bulk)
    colour = (stream.components or 1) > 1
    mixed = "YBR_RCT" if stream.kind == "jpeg-2000" else "YBR_FULL_422"
    photometric = "MONOCHROME2" if not colour else "RGB" if stream.transformed is False else mixed
    numbers = {
        0x00280002: stream.components or 1,
        0x00280010: stream.rows,
        0x00280011: stream.columns,
        0x00280100: 8 if stream.precision <= 8 else 16,
        0x00280101: stream.precision,
        0x00280102: stream.precision - 1,
        0x00280103: int(bool(stream.signed)),
    } | ({0x00280006: 0} if colour else {})
    made = [Element(tag, "US", struct.pack("<H", number & 0xFFFF), None) for tag, number in numbers.items()]
    made.append(Element(0x00280004, "CS", photometric.encode(), None))
    return sort_in(elements, (element for element in made if element.tag not in known))


def _file(elements: list[Element], pixels: _Pixels | None, syntax: str) -> Iterator[bytes]:
    uids = {element.tag: element.value.decode("ascii", "ignore").strip("\0 ") for element in elements
            if element.tag in (_SOP_CLASS, _SOP_INSTANCE)}  # fmt: skip
    start = meta_information(uids.get(_SOP_CLASS, ""), uids.get(_SOP_INSTANCE, ""), syntax)
    before = [element for element in elements if pixels is None or element.tag < pixels.tag]
    yield start + b"".join(element_bytes(before))
    if pixels is None:
        return
    yield from _encapsulated(pixels.bulk) if is_compressed(syntax) else _native(pixels)
    yield b"".join(element_bytes(elements[len(before) :]))


def _native(pixels: _Pixels) -> Iterator[bytes]:
    size = sum(piece.size for piece in pixels.bulk.pieces)
    if size + size % 2 >= UNDEFINED:
        raise Unreadable("bulkdata", "Native pixels are at most 4 GiB long (PS3.5 section 7.1).")
    yield element_start(pixels.tag, pixels.vr, size + size % 2)
    for piece in pixels.bulk.pieces:
        yield from piece.chunks()
    yield b"\0" * (size % 2)


def _encapsulated(bulk: Bulk) -> Iterator[bytes]:
    """Compressed frames, a fragment each, behind an empty Basic Offset Table (PS3.5 section A.4)."""
    yield element_start(_PIXEL_TAG, "OB", UNDEFINED) + _ITEM + struct.pack("<I", 0)
    for piece in bulk.pieces:
        if piece.size + piece.size % 2 > MAX_FRAGMENT:
            raise Unreadable("bulkdata", "A frame is at most 4 GiB long (PS3.5 section A.4).")
        yield _ITEM + struct.pack("<I", piece.size + piece.size % 2)
        yield from piece.chunks()
        yield b"\0" * (piece.size % 2)
    yield _SEQUENCE_END
