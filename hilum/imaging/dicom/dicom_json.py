"""A data set as the DICOM JSON Model (PS3.18 Annex F), made straight from the bytes in a fraction of a millisecond, and
as the rows of a tag panel. What stays out of it: the file meta information (but in the rows) and group lengths. The
same as XML is made by ``dicom_xml``."""

import base64
import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from json.encoder import encode_basestring as quoted
from struct import Struct
from typing import Final

from pydicom.datadict import dictionary_description, keyword_for_tag, private_dictionary_description

from hilum.imaging.dicom.dataset import (
    AVAILABLE_TRANSFER_SYNTAX,
    BINARY,
    CHARACTER_SET,
    INLINE_MAX,
    LEFT_OUT,
    MAX_DATA_SET,
    NUMBERS,
    NUMBERS_INLINE_MAX,
    PIXEL_TAGS,
    DataSet,
    available_transfer_syntax,
    bulkdata,
    read_data_set,
    read_tail,
    read_tree,
    split_text,
    whole_text,
)
from hilum.imaging.dicom.elements import Element, Reader
from hilum.imaging.dicom.header import Header
from hilum.imaging.dicom.names import person_groups
from hilum.imaging.dicom.scanner import Doubt
from hilum.imaging.dicom.text import DEFAULT, CharacterSet

__all__ = ["DataSet", "Tag", "bulkdata", "dataset_json", "elements_json", "read_data_set", "read_tree", "tags"]

_PADDING: Final = " \0"
_TAG: Final = Struct("<HH")
_ONE_TEXT: Final = frozenset(["AS", "DA", "DT", "LO", "LT", "SH", "ST", "TM", "UC", "UI", "UR", "UT"])
"""Representations whose single value needs no more than quotes."""
_SHOWN: Final = 256


def dataset_json(data: DataSet, header: Header, bulkdata_url: str, inline_max: int = INLINE_MAX) -> bytes:
    """A data set as one object of the DICOM JSON Model, in UTF-8.

    Specific Character Set stays what the file says (PS3.18 F.2.2, note 3): it tells how the file is encoded, not the
    JSON, and what texts inside of InlineBinary are.

    Parameters
    ----------
    data : DataSet
        The file without its pixels (`read_data_set`).
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
    elements = read_tree(data, header)
    elements.extend(read_tail(data, header))
    found = writer.members(elements, DEFAULT, bulkdata_url)
    syntax = quoted(available_transfer_syntax(header))
    found[AVAILABLE_TRANSFER_SYNTAX] = f'{_start(AVAILABLE_TRANSFER_SYNTAX, "UI")},"Value":[{syntax}]}}'
    pixel_data = header.pixel_data
    if pixel_data is not None:
        tag = PIXEL_TAGS[pixel_data.keyword]
        found[tag] = f'{_start(tag, pixel_data.vr)},"BulkDataURI":{quoted(f"{bulkdata_url}/{tag:08X}")}}}'
    return _object(found).encode()


def elements_json(elements: list[Element], characters: CharacterSet) -> bytes:
    """Some elements as one object of the DICOM JSON Model; binary values stand in it whatever their size.

    Parameters
    ----------
    elements : list of Element
        What to write.
    characters : CharacterSet
        How their texts are encoded, unless they say so themselves.
    """
    return _object(_Writer(MAX_DATA_SET).members(elements, characters, "")).encode()


def _object(members: dict[int, str]) -> str:
    return "{" + ",".join([members[tag] for tag in sorted(members)]) + "}"


@lru_cache(maxsize=16384)
def _start(tag: int, vr: str) -> str:
    return f'"{tag:08X}":{{"vr":"{vr}"'


class _Writer:
    """Elements to the members of an object of the DICOM JSON Model."""

    __slots__ = ("_inline_max",)

    def __init__(self, inline_max: int) -> None:
        self._inline_max: Final = inline_max

    def members(self, elements: list[Element], characters: CharacterSet, url: str) -> dict[int, str]:
        """The text of each member by its tag; of an element that is there twice the last one counts."""
        found: dict[int, str] = {}
        for tag, vr, value, items in elements:
            if not tag & 0xFFFF or tag in LEFT_OUT:
                continue
            start = _start(tag, vr)
            if items is not None:
                within = f"{url}/{tag:08X}"
                sequence = [
                    _object(self.members(item, characters, f"{within}/{number}"))
                    for number, item in enumerate(items, 1)
                ]
                found[tag] = f'{start},"Value":[{",".join(sequence)}]}}' if sequence else start + "}"
            elif not value:
                found[tag] = start + "}"
            elif vr in BINARY:
                found[tag] = self._binary(start, value, url, tag, self._inline_max)
            elif vr in NUMBERS or vr == "AT":
                found[tag] = self._numbers(start, vr, value, url, tag)
            else:
                if tag == CHARACTER_SET:
                    characters = CharacterSet(value.decode("latin-1"))
                if value.isascii() and b"\x1b" not in value:  # `whole_text`, without a call for most
                    text = value.decode("ascii").rstrip(_PADDING)
                else:
                    text = whole_text(vr, value, characters)
                if vr in _ONE_TEXT and "\\" not in text:
                    found[tag] = f'{start},"Value":[{quoted(text)}]}}' if text else start + "}"
                else:
                    found[tag] = _texts(start, vr, text)
        return found

    def _binary(self, start: str, value: bytes, url: str, tag: int, inline_max: int) -> str:
        if len(value) > inline_max:
            return f'{start},"BulkDataURI":{quoted(f"{url}/{tag:08X}")}}}'
        return f'{start},"InlineBinary":"{base64.b64encode(value).decode("ascii")}"}}'

    def _numbers(self, start: str, vr: str, value: bytes, url: str, tag: int) -> str:
        one = NUMBERS.get(vr, _TAG)
        if len(value) % one.size or len(value) > NUMBERS_INLINE_MAX:
            return self._binary(start, value, url, tag, max(self._inline_max, NUMBERS_INLINE_MAX))
        if one is _TAG:
            numbers = [f'"{group:04X}{element:04X}"' for group, element in _TAG.iter_unpack(value)]
        elif vr in ("FD", "FL"):
            numbers = [_finite(number) for (number,) in one.iter_unpack(value)]
        else:
            numbers = [str(number) for (number,) in one.iter_unpack(value)]
        return f'{start},"Value":[{",".join(numbers)}]}}'


def _finite(number: float) -> str:
    """JSON has no infinities: PS3.18 F.2.3 writes them, and what is no number, as text."""
    if math.isfinite(number):
        return repr(number)
    return '"NaN"' if math.isnan(number) else '"inf"' if number > 0 else '"-inf"'


def _texts(start: str, vr: str, text: str) -> str:
    """The values of a text: an empty one among several is null, an empty whole no value at all (PS3.18 F.2.5)."""
    if vr == "DS" or vr == "IS":
        values = [_number(vr, part) for part in text.split("\\")]
    elif vr == "PN":
        values = [_name(part) for part in split_text(vr, text)]
    else:
        values = [quoted(part) if part else "null" for part in split_text(vr, text)]
    if values.count("null") == len(values):
        return start + "}"
    return f'{start},"Value":[{",".join(values)}]}}'


def _name(value: str) -> str:
    groups = [f'"{group}":{quoted(name)}' for group, name in person_groups(value).items()]
    return "{" + ",".join(groups) + "}" if groups else "null"


def _number(vr: str, text: str) -> str:
    """A number string as a number; the text itself where it is none, or none that JSON can hold (PS3.18 F.2.3.1)."""
    text = text.strip(_PADDING)
    if len(text) <= 64 and "_" not in text:
        try:
            if vr == "IS":
                return str(int(text))
            number = float(text)
            if number - number == 0:  # finite
                return repr(number)
        except ValueError:
            pass
    return quoted(text) if text else "null"


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


def tags(data: DataSet, header: Header, limit: int = 20_000) -> list[Tag]:
    """The rows of the tag panel: file meta information, data set, Pixel Data by its length; at most ``limit`` rows.

    Parameters and errors as of `dataset_json`.
    """
    return list(islice(_rows(data, header), limit))


def _rows(data: DataSet, header: Header) -> Iterator[Tag]:
    head = data.head
    if head[128:132] == b"DICM" and header.syntax_source == "scanner":
        with suppress(Doubt):  # rows for those who can be told; the header was understood without
            yield from _rows_of(Reader(head).read(132, header.data_set_offset, implicit=False), DEFAULT, 0)
    yield from _rows_of(read_tree(data, header), DEFAULT, 0)
    pixel_data = header.pixel_data
    if pixel_data is not None:
        length = "compressed" if pixel_data.encapsulated else f"{pixel_data.length} bytes"
        yield _row(PIXEL_TAGS[pixel_data.keyword], pixel_data.vr, length, 0, "")
        yield from _rows_of(read_tail(data, header), DEFAULT, 0)


def _rows_of(elements: list[Element], characters: CharacterSet, depth: int) -> Iterator[Tag]:
    creators: dict[int, str] = {}
    for tag, vr, value, items in elements:
        if tag == CHARACTER_SET:
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
    return Tag(f"{tag >> 16:04X},{tag & 0xFFFF:04X}", keyword_for_tag(tag), vr, _described(tag, creator), shown, depth)


def _described(tag: int, creator: str) -> str:
    try:
        if tag & 0x10000:
            if tag & 0xFF00 == 0:
                return "Private Creator"
            return private_dictionary_description(tag, creator)
        return dictionary_description(tag)
    except KeyError:
        return "Group Length" if tag & 0xFFFF == 0 else "Private" if tag & 0x10000 else "Unknown"


def _shown(vr: str, value: bytes, characters: CharacterSet) -> str:
    if vr in BINARY:
        return f"{len(value)} bytes" if value else ""
    if vr in NUMBERS:
        one = NUMBERS[vr]
        numbers = [
            str(number) for (number,) in islice(one.iter_unpack(value[: len(value) // one.size * one.size]), _SHOWN)
        ]
        return "\\".join(numbers)
    if vr == "AT":
        return "\\".join(
            f"{group:04X},{element:04X}" for group, element in _TAG.iter_unpack(value[: len(value) // 4 * 4])
        )
    value = value[: 4 * _SHOWN]
    return whole_text(vr, value, characters)
