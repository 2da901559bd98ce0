"""A data set as the Native DICOM Model (PS3.19 section A.1), made straight from the bytes. What stays out of it: the
file meta information and group lengths."""

import base64
import math
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from struct import Struct
from types import MappingProxyType
from typing import Final

from pydicom.datadict import keyword_for_tag

from hilum.imaging.dicom.dataset import (
    AVAILABLE_TRANSFER_SYNTAX,
    BINARY,
    CHARACTER_SET,
    INLINE_MAX,
    LEFT_OUT,
    NUMBERS,
    NUMBERS_INLINE_MAX,
    PIXEL_TAGS,
    TRIMMED,
    DataSet,
    available_transfer_syntax,
    read_tail,
    read_tree,
    split_text,
    whole_text,
)
from hilum.imaging.dicom.elements import Element
from hilum.imaging.dicom.from_json import JsonReader
from hilum.imaging.dicom.header import Header
from hilum.imaging.dicom.names import person_groups
from hilum.imaging.dicom.text import DEFAULT, CharacterSet

_HEAD: Final = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<NativeDicomModel xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM" xml:space="preserve">'
)
_END: Final = "</NativeDicomModel>"
_ONE_TEXT: Final = frozenset(
    ["AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "SH", "ST", "TM", "UC", "UI", "UR", "UT"]
)
_COMPONENTS: Final = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
_TAG: Final = Struct("<HH")
# What XML 1.0 cannot carry, not even escaped (its section 2.2), what it gives a meaning, and what its readers change.
_SPECIAL: Final = re.compile('[&<>"\r\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]')
_ESCAPED: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;"}


def dataset_xml(
    data: DataSet,
    header: Header,
    bulkdata_url: str,
    inline_max: int = INLINE_MAX,
    changes: Mapping[int, tuple[str, Sequence[str]]] = MappingProxyType({}),
) -> bytes:
    """A data set as a document of the Native DICOM Model, in UTF-8.

    Characters that XML cannot carry, such as ESC, become U+FFFD. The tag of a private attribute has the form
    ``gggg00ee`` and the creator of its block stands beside it; one whose block nobody reserved keeps its tag.

    Parameters
    ----------
    data, header, bulkdata_url, inline_max
        As of `dicom_json.dataset_json`; the bulk data is that which it names, too.
    changes : mapping of int to (str, sequence of str)
        Value representation and values that some elements are to have in the place of their own, by tag.

    Raises
    ------
    Unreadable
        When the data set is damaged.
    """
    writer = _Writer(inline_max)
    elements = [*read_tree(data, header), *read_tail(data, header)]
    found = writer.attributes(elements, DEFAULT, bulkdata_url)
    found[AVAILABLE_TRANSFER_SYNTAX] = _attribute(
        AVAILABLE_TRANSFER_SYNTAX, "UI", "", _values([available_transfer_syntax(header)])
    )
    pixel_data = header.pixel_data
    if pixel_data is not None:
        tag = PIXEL_TAGS[pixel_data.keyword]
        found[tag] = _attribute(tag, pixel_data.vr, "", _bulk(f"{bulkdata_url}/{tag:08X}"))
    for tag, (vr, values) in changes.items():
        found[tag] = _attribute(tag, vr, "", _values(list(values)))
    return f"{_HEAD}{_joined(found)}{_END}".encode()


def model_xml(model: object) -> bytes:
    """An object of the DICOM JSON Model that is no file, such as an answer, as a document of the Native DICOM Model."""
    elements = JsonReader(lambda _: b"", of_file=False).read(model)
    return f"{_HEAD}{_joined(_Writer(INLINE_MAX).attributes(elements, DEFAULT, ''))}{_END}".encode()


def _joined(attributes: dict[int, str]) -> str:
    return "".join([attributes[tag] for tag in sorted(attributes)])


class _Writer:
    """Elements to the attributes of the model."""

    __slots__ = ("_inline_max",)

    def __init__(self, inline_max: int) -> None:
        self._inline_max: Final = inline_max

    def attributes(self, elements: list[Element], characters: CharacterSet, url: str) -> dict[int, str]:
        """The text of each attribute by its tag; of an element that is there twice the last one counts."""
        found: dict[int, str] = {}
        creators: dict[int, str] = {}
        for tag, vr, value, items in elements:
            if not tag & 0xFFFF or tag in LEFT_OUT:
                continue
            if tag & 0x1FF00 == 0x10000 and tag & 0xFF >= 0x10 and items is None:
                creators[tag & 0xFFFF0000 | (tag & 0xFF) << 8] = whole_text("LO", value, characters).strip(" \0")
            if tag == CHARACTER_SET and value:
                characters = CharacterSet(value.decode("latin-1"))
            creator = creators.get(tag & 0xFFFFFF00, "") if creators and tag & 0x10000 else ""
            if vr in _ONE_TEXT and value.isascii() and b"\\" not in value and b"\x1b" not in value:  # most are such
                text = value.decode("ascii").strip(" \0") if vr in TRIMMED else value.decode("ascii").rstrip(" \0")
                content = f'<Value number="1">{_escaped(text)}</Value>' if text else ""
            elif items:
                content = self._items(items, characters, f"{url}/{tag:08X}")
            else:
                content = self._content(vr, value, characters, f"{url}/{tag:08X}") if value else ""
            found[tag] = _attribute(tag, vr, creator, content)
        return found

    def _items(self, items: list[list[Element]], characters: CharacterSet, place: str) -> str:
        parts = (_joined(self.attributes(item, characters, f"{place}/{n}")) for n, item in enumerate(items, 1))
        return "".join([f'<Item number="{n}">{part}</Item>' for n, part in enumerate(parts, 1)])

    def _content(self, vr: str, value: bytes, characters: CharacterSet, place: str) -> str:
        if vr in BINARY:
            return self._binary(value, place, self._inline_max)
        if vr in NUMBERS or vr == "AT":
            one = NUMBERS.get(vr, _TAG)
            if len(value) % one.size or len(value) > NUMBERS_INLINE_MAX:
                return self._binary(value, place, max(self._inline_max, NUMBERS_INLINE_MAX))
            return _values(_numbers(one, value))
        parts = split_text(vr, whole_text(vr, value, characters))
        return _names(parts) if vr == "PN" else _values(parts)

    def _binary(self, value: bytes, place: str, inline_max: int) -> str:
        if len(value) > inline_max:
            return _bulk(place)
        return f"<InlineBinary>{base64.b64encode(value).decode('ascii')}</InlineBinary>"


def _attribute(tag: int, vr: str, creator: str, content: str) -> str:
    start = _start(tag & 0xFFFF00FF if creator else tag, vr, creator)
    return f"{start}>{content}</DicomAttribute>" if content else f"{start}/>"


@lru_cache(maxsize=16384)
def _start(tag: int, vr: str, creator: str) -> str:
    keyword = "" if creator else keyword_for_tag(tag)
    named = f' keyword="{keyword}"' if keyword else ""
    made = f' privateCreator="{_escaped(creator)}"' if creator else ""
    return f'<DicomAttribute tag="{tag:08X}" vr="{vr}"{named}{made}'


def _bulk(url: str) -> str:
    return f'<BulkData uri="{_escaped(url)}"/>'


def _values(values: list[str]) -> str:
    """Values with their numbers, which know no gap; nothing when all are empty."""
    if not any(values):
        return ""
    return "".join([_numbered("Value", number, _escaped(value)) for number, value in enumerate(values, 1)])


def _names(values: list[str]) -> str:
    names = [_groups(value) for value in values]
    if not any(names):
        return ""
    return "".join([_numbered("PersonName", number, name) for number, name in enumerate(names, 1)])


def _numbered(element: str, number: int, content: str) -> str:
    start = f'<{element} number="{number}"'
    return f"{start}>{content}</{element}>" if content else f"{start}/>"


def _groups(value: str) -> str:
    found: list[str] = []
    for group, name in person_groups(value).items():
        parts = zip(_COMPONENTS, name.split("^"), strict=False)
        components = "".join([f"<{one}>{_escaped(part.strip())}</{one}>" for one, part in parts if part.strip()])
        if components:
            found.append(f"<{group}>{components}</{group}>")
    return "".join(found)


def _numbers(one: Struct, value: bytes) -> list[str]:
    if one is _TAG:
        return [f"{group:04X}{element:04X}" for group, element in _TAG.iter_unpack(value)]
    return [_number(number) for (number,) in one.iter_unpack(value)]


def _number(number: int | float) -> str:
    if isinstance(number, int) or math.isfinite(number):
        return repr(number)
    return "NaN" if math.isnan(number) else "INF" if number > 0 else "-INF"


def _escaped(text: str) -> str:
    if _SPECIAL.search(text) is None:
        return text
    return _SPECIAL.sub(_replaced, text)


def _replaced(match: re.Match[str]) -> str:
    return _ESCAPED.get(match[0], "\ufffd")
