"""The DICOM JSON Model (PS3.18 Annex F) back into elements, their values as bytes in little endian and UTF-8. Pixel
Data that lies elsewhere, and what becomes of the elements, is for ``assemble``."""

import base64
import binascii
import math
import re
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeAlias, cast

from hilum.imaging.dicom.dataset import (
    AVAILABLE_TRANSFER_SYNTAX,
    BINARY,
    CHARACTER_SET,
    DECODED,
    LEFT_OUT,
    NUMBERS,
    PIXEL_TAGS,
    TRIMMED,
    UNSPLIT,
)
from hilum.imaging.dicom.elements import Element
from hilum.imaging.dicom.problems import Unreadable

Model: TypeAlias = Mapping[str, object]

MAX_DEPTH: Final = 32
MAX_ELEMENTS: Final = 1_500_000
UTF_8: Final = Element(CHARACTER_SET, "CS", b"ISO_IR 192", None)

_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}")
_TEXT: Final = DECODED | UNSPLIT | TRIMMED | {"AS", "DA", "DT", "PN", "TM", "UC", "UI"}
_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_DS_LENGTH: Final = 16
_PIXELS: Final = frozenset(PIXEL_TAGS.values())


class JsonReader:
    """Objects of the model to elements.

    Parameters
    ----------
    bulk : callable
        Gives the bytes that a BulkDataURI names; raises ``Unreadable`` when it cannot.
    of_file : bool
        Whether what is read is to be the data set of a file, which has neither command nor file meta elements.

    Attributes
    ----------
    pixels : dict of int to tuple
        Tags of Pixel Data at the top level with VR and BulkDataURI of each; these elements are left out.
    transfer_syntax_uid : str
        What file meta information among the attributes says, or empty.
    discarded : set of int
        Tags that a data set in a file cannot have and that were left out.
    """

    def __init__(self, bulk: Callable[[str], bytes], *, of_file: bool = True) -> None:
        self.pixels: dict[int, tuple[str, str]] = {}
        self.transfer_syntax_uid: str = ""
        self.discarded: set[int] = set()
        self._bulk = bulk
        self._of_file = of_file
        self._left = MAX_ELEMENTS
        self._ascii = True

    def read(self, model: object) -> list[Element]:
        """The elements of a data set, by tag.

        Raises
        ------
        Unreadable
            It is not an object of the model; the sentence names the attribute.
        """
        found = self._elements(model, 0)
        if not self._ascii:
            found = sort_in(found, [UTF_8])
        return found

    def _elements(self, model: object, depth: int) -> list[Element]:
        if not isinstance(model, dict) or depth > MAX_DEPTH:
            raise _problem("A data set in DICOM JSON is an object of attributes, nested at most 32 deep.")
        found: list[Element] = []
        for name, attribute in cast("dict[object, object]", model).items():
            if not isinstance(name, str) or not _TAG.fullmatch(name) or not isinstance(attribute, dict):
                raise _problem("An attribute in DICOM JSON is named by its tag, of eight hexadecimal digits.")
            tag = int(name, 16)
            self._left -= 1
            if self._left < 0:
                raise _problem("The metadata has more attributes than any real data set.")
            element = self._element(tag, cast("Model", attribute), depth)
            if element is not None:
                found.append(element)
        return sort_in((), found)

    def _element(self, tag: int, attribute: Model, depth: int) -> Element | None:
        vr = attribute.get("vr", "UN")
        if not isinstance(vr, str) or (vr not in _TEXT | BINARY and vr not in NUMBERS and vr not in ("SQ", "AT")):
            raise _problem(f"({tag:08X}) has no value representation that DICOM knows.")
        if (
            (self._of_file and (tag >> 16 <= 0x0002 or tag == AVAILABLE_TRANSFER_SYNTAX))
            or tag & 0xFFFF == 0
            or tag in LEFT_OUT
        ):
            self._discard(tag, attribute)
            return None
        if vr == "SQ":
            items = [self._elements(item or {}, depth + 1) for item in _values(tag, attribute)]
            return Element(tag, vr, b"", items)
        uri = attribute.get("BulkDataURI")
        if isinstance(uri, str):
            if tag in _PIXELS and depth == 0:
                self.pixels[tag] = vr, uri
                return None
            return Element(tag, vr, self._bulk(uri), None)
        if "InlineBinary" in attribute:
            return Element(tag, vr, _inline(tag, attribute["InlineBinary"]), None)
        value = self._value(tag, vr, _values(tag, attribute))
        return UTF_8 if tag == CHARACTER_SET and value else Element(tag, vr, value, None)

    def _discard(self, tag: int, attribute: Model) -> None:
        if tag == 0x00020010:
            self.transfer_syntax_uid = str(next(iter(_values(tag, attribute)), "") or "")
        elif tag != AVAILABLE_TRANSFER_SYNTAX and tag & 0xFFFF:
            self.discarded.add(tag)

    def _value(self, tag: int, vr: str, values: Sequence[object]) -> bytes:
        if vr in _TEXT:
            text = "\\".join(_text(tag, vr, value) for value in values)
            self._ascii = self._ascii and text.isascii()
            return text.encode("utf-8", "replace")
        try:
            if vr == "AT":
                return b"".join(struct.pack("<HH", int(str(v)[:4], 16), int(str(v)[4:], 16)) for v in values)
            if vr in NUMBERS:
                number = _real if vr in ("FL", "FD") else _whole
                return b"".join(NUMBERS[vr].pack(number(value)) for value in values)
        except (ValueError, TypeError, OverflowError, struct.error):
            raise _problem(f"({tag:08X}) has a value that its representation {vr} cannot hold.") from None
        if values:
            raise _problem(f"({tag:08X}) is binary, and has neither InlineBinary nor BulkDataURI.")
        return b""


def _values(tag: int, attribute: Model) -> Sequence[object]:
    values = attribute.get("Value", ())
    if not isinstance(values, (list, tuple)):
        raise _problem(f"({tag:08X}) has a Value that is no array.")
    return cast("Sequence[object]", values)


def _inline(tag: int, text: object) -> bytes:
    try:
        return base64.b64decode(str(text).encode("ascii"), validate=False)
    except (binascii.Error, UnicodeEncodeError):
        raise _problem(f"({tag:08X}) has an InlineBinary that is not base64.") from None


def _text(tag: int, vr: str, value: object) -> str:
    if value is None:
        return ""
    if vr == "PN" and isinstance(value, dict):
        groups = cast("dict[str, object]", value)
        return "=".join(str(groups.get(group) or "") for group in _GROUPS).rstrip("=")
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise _problem(f"({tag:08X}) has a value that is no text.")
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _problem(f"({tag:08X}) has a value that is no number.")
        return _decimal(value) if vr == "DS" else repr(int(value) if value.is_integer() else value)
    return str(value)


def _decimal(value: float) -> str:
    """A number as a decimal string of at most 16 characters (PS3.5 section 6.2)."""
    text = repr(value)
    digits = _DS_LENGTH
    while len(text) > _DS_LENGTH:
        digits -= 1
        text = f"{value:.{digits}g}"
    return text


def _real(value: object) -> float:
    return float(cast("str | float", value))


def _whole(value: object) -> int:
    return int(cast("str | int", value))


def _problem(sentence: str) -> Unreadable:
    return Unreadable("metadata", sentence)


def sort_in(elements: Iterable[Element], more: Iterable[Element]) -> list[Element]:
    """Elements with others in the place of those of the same tag, by tag."""
    found = {element.tag: element for element in elements}
    found.update((element.tag, element) for element in more)
    return [found[tag] for tag in sorted(found)]
