"""A native instance as Explicit VR Little Endian (PS3.5 section A.2), the one syntax that every DICOMweb client reads:
from implicit VR, big endian or deflated, without touching what a pixel is worth. The header is made anew, the pixels
stream through. Decoding compressed pixels is not done here."""

from collections.abc import Iterator
from typing import BinaryIO, Final

from hilum.core.errors import NotAcceptable
from hilum.imaging.dicom import attributes as a
from hilum.imaging.dicom.dataset import PIXEL_TAGS, read_data_set, read_tail, read_tree
from hilum.imaging.dicom.header import Header, PixelData
from hilum.imaging.dicom.writer import element_bytes, element_start, file_start

CHUNK: Final = 1 << 20


def explicit_file(file: BinaryIO, header: Header, *, implicit: bool = False) -> Iterator[bytes]:
    """A native instance as a Part 10 file in Explicit VR Little Endian, in chunks.

    Parameters
    ----------
    file : BinaryIO
        The file, inflated if it was deflated.
    header : Header
        Its header.
    implicit : bool
        Whether to write Implicit VR instead, which is all that some DIMSE peers take.

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
    syntax = a.IMPLICIT_LITTLE if implicit else a.EXPLICIT_LITTLE
    yield file_start(header, syntax) + b"".join(element_bytes(read_tree(data, header), implicit=implicit))
    if pixel_data is not None and pixel_data.length is not None:
        vr = pixel_vr(file, header)
        tag = PIXEL_TAGS[pixel_data.keyword]
        padding = b"\0" * (pixel_data.length % 2)
        yield element_start(tag, vr, pixel_data.length + len(padding), implicit=implicit)
        yield from native_pixels(file, header, pixel_data, 0, pixel_data.length)
        yield padding
        yield b"".join(element_bytes(read_tail(data, header), implicit=implicit))


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
