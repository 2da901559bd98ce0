"""A data set as the DICOM JSON Model (PS3.18 Annex F), made straight from the bytes in a fraction of a millisecond, and
as the rows of a tag panel. What stays out of it: the file meta information (but in the rows), group lengths, and
whatever stands after Pixel Data."""

import base64
import math
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO, Final

import msgspec
from pydicom.datadict import dictionary_description, keyword_for_tag, private_dictionary_description

from hilum.imaging.dicom import attributes as a
from hilum.imaging.dicom import fallback
from hilum.imaging.dicom.elements import ITEM, Element, Reader
from hilum.imaging.dicom.header import Header
from hilum.imaging.dicom.names import person_groups
from hilum.imaging.dicom.problems import Unreadable
from hilum.imaging.dicom.scanner import Doubt
from hilum.imaging.dicom.source import BufferSource
from hilum.imaging.dicom.text import DEFAULT, CharacterSet

MAX_DATA_SET: Final = 256 * 1024 * 1024
INLINE_MAX: Final = 1024
_NUMBERS_INLINE_MAX: Final = 64 * 1024
"""Arrays of binary numbers above this size in bytes become bulk data too; below it, numbers are what clients want."""

_PADDING: Final = " \0"
_CHARACTER_SET: Final = 0x00080005
_BINARY: Final = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN"))
_UNSPLIT: Final = frozenset(("LT", "ST", "UT", "UR"))
_DECODED: Final = frozenset(vr.decode() for vr in a.CHARACTER_SET_VRS)
_NUMBERS: Final = {vr.decode(): struct.Struct("<" + code) for vr, code in a.NUMBER_FORMATS.items()}
_TAG: Final = struct.Struct("<HH")
_AVAILABLE: Final = "00083002"
_LEFT_OUT: Final = frozenset((ITEM, 0xFFFCFFFC))  # a stray item, Data Set Trailing Padding
_PIXEL_TAGS: Final = {"FloatPixelData": 0x7FE00008, "DoubleFloatPixelData": 0x7FE00009, "PixelData": 0x7FE00010}
_SHOWN: Final = 256

Json = str | int | float | None | dict[str, "Json"] | list["Json"]


def read_data_set(file: BinaryIO, header: Header) -> bytes:
    """A file from its start to its Pixel Data: what `dataset_json`, `tags` and `bulkdata` work on.

    A deflated file must be passed as `source.inflated_file` gives it.

    Raises
    ------
    Unreadable
        When that is more than 256 MiB.
    """
    if header.header_length > MAX_DATA_SET:
        raise Unreadable("header_too_long", f"The data set is larger than the {MAX_DATA_SET >> 20} MiB that are read.")
    file.seek(0)
    return file.read(header.header_length)


def dataset_json(data: bytes, header: Header, bulkdata_url: str, inline_max: int = INLINE_MAX) -> bytes:
    """A data set as one object of the DICOM JSON Model, in UTF-8.

    Parameters
    ----------
    data : bytes
        The file from its start, at least to its Pixel Data (`read_data_set`).
    header : Header
        Its header.
    bulkdata_url : str
        Where bulk data is served: an element becomes ``{bulkdata_url}/{tag}``, a nested one
        ``{bulkdata_url}/{tag}/{item}/{tag}`` with items counted from 1 (`bulkdata` answers these).
    inline_max : int
        Size in bytes up to which binary values other than Pixel Data are given as InlineBinary.

    Raises
    ------
    Unreadable
        When the data set is damaged.
    """
    writer = _Writer(inline_max)
    found = writer.data_set(read_tree(data, header), DEFAULT, bulkdata_url)
    found[_AVAILABLE] = {"vr": "UI", "Value": [available_transfer_syntax(header)]}
    pixel_data = header.pixel_data
    if pixel_data is not None:
        tag = f"{_PIXEL_TAGS[pixel_data.keyword]:08X}"
        found[tag] = {"vr": pixel_data.vr, "BulkDataURI": f"{bulkdata_url}/{tag}"}
    return msgspec.json.encode(dict(sorted(found.items())))


def available_transfer_syntax(header: Header) -> str:
    """The transfer syntax in which frames are given (0008,3002): their own if compressed, else Explicit VR LE."""
    compressed = header.pixel_data is not None and header.pixel_data.encapsulated
    return header.transfer_syntax_uid if compressed else a.EXPLICIT_LITTLE


def bulkdata(data: bytes, header: Header, path: Sequence[str]) -> bytes:
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
    elements = read_tree(data, header)
    try:
        numbers = [int(part, 16 if index % 2 == 0 else 10) for index, part in enumerate(path)]
        for tag, item in zip(numbers[::2], numbers[1::2], strict=False):
            items = next(element.items for element in elements if element.tag == tag) or []
            elements = items[item - 1] if item > 0 else []
        found = next(element for element in elements if element.tag == numbers[-1] and len(numbers) % 2)
    except (ValueError, StopIteration, IndexError):
        raise LookupError("There is no such bulk data in the instance.") from None
    return found.value


def read_tree(data: bytes, header: Header) -> list[Element]:
    """All elements before Pixel Data. Parameters and errors as of `dataset_json`."""
    end = min(header.header_length, len(data))
    if header.syntax_source == "scanner":
        try:
            return Reader(data).read(header.data_set_offset, end, implicit=header.implicit_vr)
        except Doubt:
            pass
    start = header.data_set_offset if header.deflated else None
    return fallback.read_elements(BufferSource(data[:end]), start)


class _Writer:
    """Elements to the objects of the DICOM JSON Model."""

    __slots__ = ("_inline_max",)

    def __init__(self, inline_max: int) -> None:
        self._inline_max: Final = inline_max

    def data_set(self, elements: list[Element], characters: CharacterSet, url: str) -> dict[str, Json]:
        found: dict[str, Json] = {}
        for tag, vr, value, items in elements:
            if tag & 0xFFFF == 0 or tag in _LEFT_OUT:
                continue
            key = f"{tag:08X}"
            if items is not None:
                sequence: list[Json] = [
                    self.data_set(item, characters, f"{url}/{key}/{number}") for number, item in enumerate(items, 1)
                ]
                found[key] = {"vr": vr, "Value": sequence} if sequence else {"vr": vr}
            elif not value:
                found[key] = {"vr": vr}
            elif vr in _BINARY:
                found[key] = self._binary(vr, value, f"{url}/{key}", self._inline_max)
            elif vr in _NUMBERS or vr == "AT":
                found[key] = self._numbers(vr, value, f"{url}/{key}")
            else:
                values = _texts(vr, value, characters)
                if tag == _CHARACTER_SET:
                    characters = CharacterSet(value.decode("latin-1"))
                found[key] = {"vr": vr, "Value": values} if values else {"vr": vr}
        return found

    def _binary(self, vr: str, value: bytes, url: str, inline_max: int) -> Json:
        if len(value) > inline_max:
            return {"vr": vr, "BulkDataURI": url}
        return {"vr": vr, "InlineBinary": base64.b64encode(value).decode("ascii")}

    def _numbers(self, vr: str, value: bytes, url: str) -> Json:
        if vr == "AT" and len(value) % 4 == 0:
            tags: list[Json] = [f"{group:04X}{element:04X}" for group, element in _TAG.iter_unpack(value)]
            return {"vr": vr, "Value": tags}
        one = _NUMBERS.get(vr)
        if one is None or len(value) % one.size or len(value) > _NUMBERS_INLINE_MAX:
            return self._binary(vr, value, url, max(self._inline_max, _NUMBERS_INLINE_MAX))
        numbers: list[Json] = [_finite(number) for (number,) in one.iter_unpack(value)]
        return {"vr": vr, "Value": numbers}


def _finite(number: int | float) -> int | float | str:
    """JSON has no infinities: PS3.18 F.2.3 writes them, and what is no number, as text."""
    if isinstance(number, int) or math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "inf" if number > 0 else "-inf"


def _texts(vr: str, value: bytes, characters: CharacterSet) -> list[Json]:
    """The values of a text: an empty one among several is null, an empty whole no value at all (PS3.18 F.2.5)."""
    decoded = characters.decode(value, vr) if vr in _DECODED else value.decode("latin-1")
    decoded = decoded.rstrip(_PADDING)
    if not decoded:
        return []
    if vr in _UNSPLIT:
        return [decoded]
    parts = decoded.split("\\") if "\\" in decoded else [decoded]
    if vr == "PN":
        values: list[Json] = [dict(person_groups(part)) or None for part in parts]
    elif vr in ("IS", "DS"):
        values = [_number(vr, part.strip(_PADDING)) for part in parts]
    elif vr in ("AE", "CS"):
        values = [part.strip(_PADDING) or None for part in parts]
    else:
        values = [part.rstrip(_PADDING) or None for part in parts]
    return values if any(one is not None for one in values) else []


def _number(vr: str, text: str) -> Json:
    """A number string as a number; the text itself where it is none, or none that JSON can hold (PS3.18 F.2.3.1)."""
    if not text:
        return None
    if len(text) > 64 or "_" in text:
        return text
    try:
        if vr == "IS":
            return int(text)
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text


@dataclass(frozen=True, slots=True)
class Tag:
    """One row of the tag panel.

    Attributes
    ----------
    tag : str
        As ``gggg,eeee``.
    keyword : str
        The DICOM keyword; empty for private tags.
    vr : str
        Value representation; empty for the row of an item.
    name : str
        What the dictionaries call it.
    value : str
        At most 256 characters; binary values by their length.
    depth : int
        0 at the top level, one more inside each sequence.
    """

    tag: str
    keyword: str
    vr: str
    name: str
    value: str
    depth: int


def tags(data: bytes, header: Header, limit: int = 20_000) -> list[Tag]:
    """The rows of the tag panel: file meta information, data set, Pixel Data by its length; at most ``limit`` rows.

    Parameters and errors as of `dataset_json`.
    """
    return list(islice(_rows(data, header), limit))


def _rows(data: bytes, header: Header) -> Iterator[Tag]:
    if data[128:132] == b"DICM" and header.syntax_source == "scanner":
        with suppress(Doubt):  # rows for those who can be told; the header was understood without
            yield from _rows_of(Reader(data).read(132, header.data_set_offset, implicit=False), DEFAULT, 0)
    yield from _rows_of(read_tree(data, header), DEFAULT, 0)
    pixel_data = header.pixel_data
    if pixel_data is not None:
        length = "compressed" if pixel_data.encapsulated else f"{pixel_data.length} bytes"
        yield _row(_PIXEL_TAGS[pixel_data.keyword], pixel_data.vr, length, 0, "")


def _rows_of(elements: list[Element], characters: CharacterSet, depth: int) -> Iterator[Tag]:
    creators: dict[int, str] = {}
    for tag, vr, value, items in elements:
        if tag == _CHARACTER_SET:
            characters = CharacterSet(value.decode("latin-1"))
        if tag & 0x1FF00 == 0x10000:
            creators[tag & 0xFFFF0000 | (tag & 0xFF) << 8] = value.decode("latin-1").strip(_PADDING)
        creator = creators.get(tag & 0xFFFFFF00, "")
        if items is None:
            yield _row(tag, vr, _shown(vr, value, characters), depth, creator)
            continue
        yield _row(tag, vr, f"{len(items)} item{'' if len(items) == 1 else 's'}", depth, creator)
        for number, item in enumerate(items, 1):
            yield Tag("FFFE,E000", "Item", "", f"Item {number}", "", depth + 1)
            yield from _rows_of(item, characters, depth + 1)


def _row(tag: int, vr: str, value: str, depth: int, creator: str) -> Tag:
    shown = value if len(value) <= _SHOWN else value[: _SHOWN - 1] + "…"
    return Tag(f"{tag >> 16:04X},{tag & 0xFFFF:04X}", keyword_for_tag(tag), vr, _name(tag, creator), shown, depth)


def _name(tag: int, creator: str) -> str:
    try:
        if tag & 0x10000:
            if tag & 0xFF00 == 0:
                return "Private Creator"
            return private_dictionary_description(tag, creator)
        return dictionary_description(tag)
    except KeyError:
        return "Group Length" if tag & 0xFFFF == 0 else "Private" if tag & 0x10000 else "Unknown"


def _shown(vr: str, value: bytes, characters: CharacterSet) -> str:
    if vr in _BINARY:
        return f"{len(value)} bytes" if value else ""
    if vr in _NUMBERS:
        one = _NUMBERS[vr]
        numbers = [
            str(number) for (number,) in islice(one.iter_unpack(value[: len(value) // one.size * one.size]), _SHOWN)
        ]
        return "\\".join(numbers)
    if vr == "AT":
        return "\\".join(
            f"{group:04X},{element:04X}" for group, element in _TAG.iter_unpack(value[: len(value) // 4 * 4])
        )
    value = value[: 4 * _SHOWN]
    decoded = characters.decode(value, vr) if vr in _DECODED else value.decode("latin-1")
    return decoded.rstrip(_PADDING)
