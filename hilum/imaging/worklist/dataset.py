"""Data sets that come from outside, in the DICOM JSON Model (PS3.18 Annex F): read with bounds on size and depth, every
value checked against its representation, and brought into the one form in which workitems are kept. Which attributes a
workitem must have is for ``requirements``."""

import base64
import binascii
import math
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final, TypeAlias, cast

import msgspec
from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword

from hilum.imaging.dicom.names import parse_date, parse_datetime, parse_time
from hilum.imaging.dicom.uids import check_uid
from hilum.imaging.worklist.problems import bad

Element: TypeAlias = dict[str, object]
DataSet: TypeAlias = dict[str, Element]
"""Elements by their tag of eight hexadecimal digits, in order of the tags."""

MAX_DEPTH: Final = 16
MAX_TEXT: Final = 64 * 1024
_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}")
_TEXTS: Final = frozenset(("AE", "AS", "CS", "LO", "LT", "SH", "ST", "UC", "UR", "UT"))
_NUMBERS: Final = frozenset(("DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV"))
_INTEGERS: Final = _NUMBERS - {"DS", "FD", "FL"}
_BINARY: Final = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN"))
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]{1,20}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})(?:[eE][+-]?[0-9]{1,3})?")
_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_AE_TITLE: Final = re.compile(r"[\x20-\x5b\x5d-\x7e]{1,16}")

_CHECKS: Final[Mapping[str, Callable[[str], object]]] = {
    "UI": check_uid,
    "DA": parse_date,
    "DT": parse_datetime,
    "TM": parse_time,
    "AT": _TAG.fullmatch,
}


def read_json(body: bytes) -> DataSet:
    """Read one data set: a JSON object, or an array that holds nothing else.

    Elements of groups 0000 and 0002 are kept, for they may say which workitem is meant.

    Raises
    ------
    Refusal
        It is no JSON, no data set, too deep, or a value is none of its attribute.
    """
    try:
        found: object = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, ValueError):
        raise bad("The body is not JSON, or nested too deeply.") from None
    if isinstance(found, list):
        several = cast("list[object]", found)
        if len(several) != 1:
            raise bad("The body holds one data set: an object, or an array of one object.")
        found = several[0]
    return check_data_set(found)


def check_data_set(found: object, depth: int = 1) -> DataSet:
    """Check a decoded data set, and bring it into the form that is kept: tags in capitals and order, the dictionary's
    representation for each standard attribute, person names by their groups, no empty values but between others.

    Raises
    ------
    Refusal
        As of `read_json`.
    """
    if not isinstance(found, dict):
        raise bad("A data set is a JSON object with tags for names (PS3.18 section F.2).")
    if depth > MAX_DEPTH:
        raise bad(f"Sequences are nested at most {MAX_DEPTH} deep here.")
    checked: DataSet = {}
    for tag, element in cast("dict[str, object]", found).items():
        if not _TAG.fullmatch(tag):
            raise bad("A name in a data set is a tag of eight hexadecimal digits (PS3.18 section F.2.2).")
        checked[tag.upper()] = _element(tag.upper(), element, depth)
    return dict(sorted(checked.items()))


def tag_of(name: str) -> str | None:
    """The tag of a standard attribute as eight hexadecimal digits, by its keyword or tag; None when there is none."""
    tag = tag_for_keyword(name)
    if tag is not None:
        return f"{tag:08X}"
    if _TAG.fullmatch(name) and keyword_for_tag(int(name, 16)):
        return name.upper()
    return None


@lru_cache(maxsize=4096)
def representations(tag: str) -> tuple[str, ...]:
    """The value representations that the dictionary has for a tag; none for private and unknown ones."""
    try:
        return tuple(dictionary_VR(int(tag, 16)).split(" or "))
    except KeyError:
        return ()


def text_of(data: Mapping[str, Element], tag: str) -> str:
    """The first value of a text attribute, empty when there is none."""
    values = values_of(data, tag)
    return str(values[0]) if values and values[0] is not None else ""


def values_of(data: Mapping[str, Element], tag: str) -> list[object]:
    """All values of an attribute."""
    return cast("list[object]", data.get(tag, {}).get("Value", []))


def items_of(data: Mapping[str, Element], tag: str) -> list[DataSet]:
    """The items of a sequence."""
    return cast("list[DataSet]", values_of(data, tag))


def has_value(data: Mapping[str, Element], tag: str) -> bool:
    """Whether an attribute is there with a value."""
    return any(name in data.get(tag, {}) for name in ("Value", "InlineBinary"))


def check_ae_title(text: str) -> str:
    """An AE title without the spaces around it, which do not count (PS3.5 section 6.2).

    Raises
    ------
    Refusal
        It is none.
    """
    if not _AE_TITLE.fullmatch(text) or not text.strip():
        raise bad("An AE title has 1 to 16 characters of ASCII, without backslash and control characters.")
    return text.strip()


def named(tag: str) -> str:
    """What an error calls an attribute."""
    keyword = keyword_for_tag(int(tag, 16))
    return f"{keyword} ({tag[:4]},{tag[4:]})" if keyword else f"({tag[:4]},{tag[4:]})"


def _element(tag: str, element: object, depth: int) -> Element:
    if not isinstance(element, dict):
        raise bad(f"{named(tag)} is an object with a vr and values (PS3.18 section F.2.2).")
    given = cast("dict[str, object]", element)
    if "BulkDataURI" in given:
        raise bad(f"{named(tag)} refers to bulk data, which a workitem does not have (PS3.18 section 11.1.3).")
    vr = _vr(tag, given.get("vr"))
    if vr in _BINARY:
        return _binary(tag, vr, given.get("InlineBinary"))
    values = given.get("Value")
    if values is None:
        return {"vr": vr}
    if not isinstance(values, list) or "InlineBinary" in given:
        raise bad(f"The Value of {named(tag)} is an array (PS3.18 section F.2.2).")
    kept = [_value(tag, vr, value, depth) for value in cast("list[object]", values)]
    if all(value is None for value in kept):
        return {"vr": vr}
    return {"vr": vr, "Value": kept}


def _vr(tag: str, given: object) -> str:
    """The dictionary's representation; what a client says counts for private attributes and where there is a choice."""
    known = representations(tag)
    if len(known) == 1:
        return known[0]
    if not isinstance(given, str) or given not in (known or {*_TEXTS, *_NUMBERS, *_BINARY, *_CHECKS, "PN", "SQ"}):
        raise bad(f"{named(tag)} needs its value representation as vr.")
    return given


def _binary(tag: str, vr: str, given: object) -> Element:
    if given is None or given == "":
        return {"vr": vr}
    if not isinstance(given, str):
        raise bad(f"The InlineBinary of {named(tag)} is a text in base64.")
    try:
        base64.b64decode(given, validate=True)
    except (binascii.Error, ValueError):
        raise bad(f"The InlineBinary of {named(tag)} is not base64.") from None
    return {"vr": vr, "InlineBinary": given}


def _value(tag: str, vr: str, value: object, depth: int) -> object:
    if vr == "SQ":
        return check_data_set(value if value is not None else {}, depth + 1)
    if value is None or value == "":
        return None
    if vr == "PN":
        return _name(tag, value)
    if vr in _NUMBERS:
        return _number(tag, vr, value)
    text = _text(tag, value)
    check = _CHECKS.get(vr)
    if check is not None:
        text = text.strip(" ")
        if not check(text):
            raise bad(f"A value of {named(tag)} is none of representation {vr} (PS3.5 section 6.2).")
    return text.strip(" ") if vr in ("AE", "CS") else text


def _text(tag: str, value: object) -> str:
    if not isinstance(value, str):
        raise bad(f"A value of {named(tag)} is a text.")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise bad(f"A value of {named(tag)} has half a surrogate pair.") from None
    if size > MAX_TEXT or "\0" in value:
        raise bad(f"A value of {named(tag)} has at most {MAX_TEXT} bytes, none of them NUL.")
    return value


def _name(tag: str, value: object) -> dict[str, str] | None:
    given = cast("dict[str, object]", value) if isinstance(value, dict) else {"Alphabetic": value}
    if not set(given) <= set(_GROUPS):
        raise bad(f"A value of {named(tag)} has the members Alphabetic, Ideographic and Phonetic.")
    return {group: _text(tag, given[group]) for group in _GROUPS if given.get(group)} or None


def _number(tag: str, vr: str, value: object) -> int | float:
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip(" ")):
        text = value.strip(" ")
        value = int(text) if text.lstrip("+-").isdecimal() else float(text)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise bad(f"A value of {named(tag)} is a number.")
    if vr in _INTEGERS and (value != int(value) or abs(value) >= 1 << 64):
        raise bad(f"A value of {named(tag)} is a whole number.")
    return int(value) if vr in _INTEGERS else value
