"""The data set of an instance as a tree, from its bytes: what stands before Pixel Data and what stands behind. The
forms it is told in are made by ``dicom_json`` and ``dicom_xml``; for the catalogue ``header`` is far cheaper."""

import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final

from hilum.imaging.dicom import attributes as a
from hilum.imaging.dicom import fallback
from hilum.imaging.dicom.elements import ITEM, Element, Reader
from hilum.imaging.dicom.header import Header, PixelData
from hilum.imaging.dicom.problems import Unreadable
from hilum.imaging.dicom.scanner import Doubt
from hilum.imaging.dicom.source import BufferSource
from hilum.imaging.dicom.text import CharacterSet

MAX_DATA_SET: Final = 256 * 1024 * 1024
MAX_TAIL: Final = 16 * 1024 * 1024
MAX_FRAGMENTS: Final = 20_000
"""Fragments passed over to find what stands behind them: signatures, next to never there, are not worth more."""
INLINE_MAX: Final = 1024
NUMBERS_INLINE_MAX: Final = 64 * 1024
"""Arrays of binary numbers above this size in bytes become bulk data too; below it, numbers are what clients want."""

CHARACTER_SET: Final = 0x00080005
AVAILABLE_TRANSFER_SYNTAX: Final = 0x00083002
PIXEL_TAGS: Final = {"FloatPixelData": 0x7FE00008, "DoubleFloatPixelData": 0x7FE00009, "PixelData": 0x7FE00010}
LEFT_OUT: Final = frozenset((ITEM, 0xFFFCFFFC))  # a stray item, Data Set Trailing Padding
BINARY: Final = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN"))
UNSPLIT: Final = frozenset(("LT", "ST", "UT", "UR"))
DECODED: Final = frozenset(vr.decode() for vr in a.CHARACTER_SET_VRS)
NUMBERS: Final = {vr.decode(): struct.Struct("<" + code) for vr, code in a.NUMBER_FORMATS.items()}
TRIMMED: Final = frozenset(("AE", "CS", "DS", "IS"))
_PADDING: Final = " \0"
_ITEM: Final = struct.Struct("<II").unpack


@dataclass(frozen=True, slots=True)
class DataSet:
    """The bytes of a file without its pixels.

    Attributes
    ----------
    head : bytes
        From the file's start at least to its Pixel Data.
    tail : bytes
        What stands behind Pixel Data.
    """

    head: bytes
    tail: bytes = b""


def read_data_set(file: BinaryIO, header: Header) -> DataSet:
    """Read a file but for its pixels.

    A deflated file must be passed as `source.inflated_file` gives it.

    Raises
    ------
    Unreadable
        When that is more than 256 MiB.
    """
    if header.header_length > MAX_DATA_SET:
        raise Unreadable("header_too_long", f"The data set is larger than the {MAX_DATA_SET >> 20} MiB that are read.")
    file.seek(0)
    return DataSet(file.read(header.header_length), _tail(file, header.pixel_data))


def read_tree(data: DataSet, header: Header) -> list[Element]:
    """All elements before Pixel Data, binary values little-endian.

    Raises
    ------
    Unreadable
        When the data set is damaged.
    """
    end = min(header.header_length, len(data.head))
    if header.syntax_source == "scanner":
        try:
            return Reader(data.head).read(header.data_set_offset, end, implicit=header.implicit_vr)
        except Doubt:
            pass
    start = header.data_set_offset if header.deflated else None
    return fallback.read_elements(BufferSource(data.head[:end]), start)


def read_tail(data: DataSet, header: Header) -> list[Element]:
    """The elements behind Pixel Data, such as digital signatures, as far as they can be understood."""
    if not data.tail:
        return []
    if header.little_endian:
        found = Reader(data.tail).read_some(0, len(data.tail), implicit=header.implicit_vr)
    else:
        try:
            found = fallback.read_elements(BufferSource(data.tail), 0, big_endian=True)
        except Unreadable:
            return []
    # In Implicit VR anything may pass for an element; what belongs here comes after Pixel Data in order, too.
    return [element for element in found if element.tag > PIXEL_TAGS["PixelData"]]


def available_transfer_syntax(header: Header) -> str:
    """The transfer syntax in which frames are given (0008,3002): their own if compressed, else Explicit VR LE."""
    compressed = header.pixel_data is not None and header.pixel_data.encapsulated
    return header.transfer_syntax_uid if compressed else a.EXPLICIT_LITTLE


def bulkdata(data: DataSet, header: Header, path: Sequence[str]) -> bytes:
    """The little-endian bytes of an element by the path of its BulkDataURI, Pixel Data excepted.

    Parameters
    ----------
    path : sequence of str
        Tags as eight hexadecimal digits with item numbers (from 1) between them.

    Raises
    ------
    LookupError
        When there is no such element.
    """
    return element_value([*read_tree(data, header), *read_tail(data, header)], path)


def element_value(elements: Sequence[Element], path: Sequence[str]) -> bytes:
    """The bytes of an element of a tree; path and errors as of `bulkdata`."""
    try:
        numbers = [int(part, 16 if index % 2 == 0 else 10) for index, part in enumerate(path)]
        for tag, item in zip(numbers[::2], numbers[1::2], strict=False):
            items = next(element.items for element in elements if element.tag == tag) or []
            elements = items[item - 1] if item > 0 else []
        found = [element for element in elements if element.tag == numbers[-1] and len(numbers) % 2]
        return found[-1].value  # of one that is there twice the last counts, as in the header
    except (ValueError, StopIteration, IndexError):
        raise LookupError("There is no such bulk data in the instance.") from None


def bulkdata_paths(elements: Sequence[Element], above: str = "") -> list[str]:
    """The paths of what the JSON and XML models leave to BulkDataURIs, Pixel Data excepted, in the order of the tree.

    Parameters
    ----------
    elements : sequence of Element
        A tree.
    above : str
        What stands before the tags.
    """
    found: dict[int, list[str]] = {}
    for element in elements:
        if not element.tag & 0xFFFF or element.tag in LEFT_OUT:
            continue
        path = f"{above}{element.tag:08X}"
        if element.items is not None:
            within = enumerate(element.items, 1)
            found[element.tag] = [one for number, item in within for one in bulkdata_paths(item, f"{path}/{number}/")]
        else:
            found[element.tag] = [path] if _is_bulk(element) else []
    return [path for paths in found.values() for path in paths]


def _is_bulk(element: Element) -> bool:
    if element.vr in BINARY:
        return len(element.value) > INLINE_MAX
    return (element.vr in NUMBERS or element.vr == "AT") and len(element.value) > NUMBERS_INLINE_MAX


def whole_text(vr: str, value: bytes, characters: CharacterSet) -> str:
    """The text of a value field, its values still parted by backslashes, without its padding."""
    plain = vr not in DECODED or (value.isascii() and b"\x1b" not in value)
    return (value.decode("latin-1") if plain else characters.decode(value, vr)).rstrip(_PADDING)


def split_text(vr: str, text: str) -> list[str]:
    """Each value of a text without the padding that its representation lets be (PS3.5 section 6.2)."""
    if vr in UNSPLIT:
        return [text]
    parts = text.split("\\") if "\\" in text else [text]
    if vr in TRIMMED:
        return [part.strip(_PADDING) for part in parts]
    return [part.rstrip(_PADDING) for part in parts]


def _tail(file: BinaryIO, pixel_data: PixelData | None) -> bytes:
    if pixel_data is None:
        return b""
    size = file.seek(0, os.SEEK_END)
    length = pixel_data.length
    end = _fragments_end(file, pixel_data.offset, size) if length is None else pixel_data.offset + length
    if end is None or not 8 <= size - end <= MAX_TAIL:
        return b""
    file.seek(end)
    return file.read(size - end)


def _fragments_end(file: BinaryIO, position: int, size: int) -> int | None:
    """Where compressed pixels end, their delimiter included; None where that cannot be said."""
    for _ in range(MAX_FRAGMENTS):
        if position + 8 > size:
            return None
        file.seek(position)
        raw, length = _ITEM(file.read(8))
        if raw == a.SEQUENCE_END:
            return position + 8
        if raw != a.ITEM or length == a.UNDEFINED:
            return None
        position += 8 + length
    return None
