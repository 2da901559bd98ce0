"""A native instance as Explicit VR Little Endian (PS3.5 section A.2), the one syntax that every DICOMweb client reads:
from implicit VR, big endian or deflated, without touching what a pixel is worth. The header is made anew, the pixels
stream through. Decoding compressed pixels is not done here."""

import struct
from collections.abc import Iterator
from typing import BinaryIO, Final

from hilum.core.errors import NotAcceptable
from hilum.imaging.dicom.dataset import read_data_set, read_tail, read_tree
from hilum.imaging.dicom.elements import Element
from hilum.imaging.dicom.header import Header, PixelData
from hilum.imaging.dicomweb.accept import EXPLICIT_LITTLE

CHUNK: Final = 1 << 20
IMPLEMENTATION_CLASS_UID: Final = "2.25.120353406281467106293786482130571986021"
IMPLEMENTATION_VERSION: Final = "HILUM"

_LONG: Final = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"))
_PIXEL_TAGS: Final = {"PixelData": 0x7FE00010, "FloatPixelData": 0x7FE00008, "DoubleFloatPixelData": 0x7FE00009}
_UNDEFINED: Final = 0xFFFFFFFF


def explicit_file(file: BinaryIO, header: Header) -> Iterator[bytes]:
    """A native instance as a Part 10 file in Explicit VR Little Endian, in chunks.

    Parameters
    ----------
    file : BinaryIO
        The file, inflated if it was deflated.
    header : Header
        Its header.

    Raises
    ------
    Unreadable
        When the data set is damaged.
    NotAcceptable
        When its pixels are compressed.
    """
    pixel_data = header.pixel_data
    if pixel_data is not None and (pixel_data.encapsulated or pixel_data.length is None):
        raise NotAcceptable("The pixels are compressed; ask for them as they are with transfer-syntax=*.")
    data = read_data_set(file, header)
    tree = read_tree(data, header)
    yield b"\0" * 128 + b"DICM" + _meta(header) + b"".join(_elements(tree))
    if pixel_data is not None and pixel_data.length is not None:
        vr = pixel_vr(file, header)
        tag = _PIXEL_TAGS[pixel_data.keyword]
        padding = b"\0" * (pixel_data.length % 2)
        yield _start(tag, vr, pixel_data.length + len(padding))
        yield from native_pixels(file, header, pixel_data, 0, pixel_data.length)
        yield padding
        yield b"".join(_elements(read_tail(data, header)))


def native_pixels(file: BinaryIO, header: Header, pixel_data: PixelData, offset: int, length: int) -> Iterator[bytes]:
    """Bytes of native pixel data in little endian, in chunks.

    Parameters
    ----------
    file, header, pixel_data
        The instance.
    offset, length : int
        Of the stretch within the value, in bytes.
    """
    width = 1 if header.little_endian else _word_bytes(file, header)
    begin = offset - offset % width
    end = min(offset + length + -(offset + length) % width, pixel_data.length or 0)
    skip = offset - begin
    while begin < end:
        file.seek(pixel_data.offset + begin)
        chunk = file.read(min(CHUNK, end - begin))
        if not chunk:
            return
        begin += len(chunk)
        swapped = _swapped(chunk, width)[skip:]
        surplus = max(0, begin - (offset + length))
        yield swapped[: len(swapped) - surplus]
        skip = 0


def _word_bytes(file: BinaryIO, header: Header) -> int:
    """How many bytes make up the word that big endian turns round: a sample, or the word of OW around small ones."""
    bits = header.integer("BitsAllocated") or 16
    if bits > 8:
        return bits // 8
    return 2 if pixel_vr(file, header) == "OW" else 1


def _swapped(data: bytes, width: int) -> bytes:
    """Turn the bytes of each word of ``width`` bytes round; a rest that is no whole word stays."""
    if width == 1:
        return data
    whole = len(data) - len(data) % width
    turned = bytearray(data)
    for place in range(width):
        turned[place:whole:width] = data[width - 1 - place : whole : width]
    return bytes(turned)


def pixel_vr(file: BinaryIO, header: Header) -> str:
    """The value representation of native pixel data: as the file has it, OW where the VR is implicit (PS3.5 A.1)."""
    pixel_data = header.pixel_data
    if pixel_data is None or pixel_data.keyword != "PixelData":
        return "OD" if pixel_data is not None and pixel_data.keyword == "DoubleFloatPixelData" else "OF"
    if header.implicit_vr:
        return "OW"
    file.seek(pixel_data.offset - 8)  # tag, VR, two bytes in reserve and the length stand before the value
    return "OB" if file.read(2) == b"OB" else "OW"


def _meta(header: Header) -> bytes:
    """File Meta Information (PS3.10 section 7.1), of a file that Hilum has written."""
    elements = b"".join(
        _elements(
            [
                Element(0x00020001, "OB", b"\0\1", None),
                _uid(0x00020002, header.first("SOPClassUID") or header.first("MediaStorageSOPClassUID")),
                _uid(0x00020003, header.first("SOPInstanceUID") or header.first("MediaStorageSOPInstanceUID")),
                _uid(0x00020010, EXPLICIT_LITTLE),
                _uid(0x00020012, IMPLEMENTATION_CLASS_UID),
                Element(0x00020013, "SH", IMPLEMENTATION_VERSION.encode(), None),
            ]
        )
    )
    return _start(0x00020000, "UL", 4) + struct.pack("<I", len(elements)) + elements


def _uid(tag: int, uid: str) -> Element:
    return Element(tag, "UI", uid.encode("ascii"), None)


def _elements(elements: list[Element]) -> Iterator[bytes]:
    for tag, vr, value, items in elements:
        if tag & 0xFFFF == 0:
            continue  # group lengths are retired, and would be wrong
        if items is not None:
            yield _start(tag, "SQ", _UNDEFINED)
            for item in items:
                yield struct.pack("<HHI", 0xFFFE, 0xE000, _UNDEFINED)
                yield from _elements(item)
                yield struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
            yield struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
            continue
        padding = (b"\0" if vr in _LONG - {"UC", "UR", "UT"} or vr == "UI" else b" ") * (len(value) % 2)
        # What is too long for a short length field is written as PS3.5 section 6.2.2 (note 3) says: as UN.
        fitting = vr if vr in _LONG or len(value) + len(padding) <= 0xFFFF else "UN"
        yield _start(tag, fitting, len(value) + len(padding))
        yield value
        yield padding


def _start(tag: int, vr: str, length: int) -> bytes:
    code = vr.encode("ascii")
    if vr in _LONG:
        return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, code, 0, length)
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, code, length)
