"""Value fields to Python values, alike for the fast scanner and for pydicom's reading: text without its padding, binary
numbers as numbers."""

from struct import Struct
from typing import Final

from hilum.imaging.dicom import attributes as a
from hilum.imaging.dicom.text import CharacterSet

Number = int | float
Value = str | int | float | tuple[int | float, ...]

_NUMBERS: Final = {
    order: {vr: Struct(order + letter) for vr, letter in a.NUMBER_FORMATS.items()} for order in ("<", ">")
}
_CHARACTER_SET_KEYWORDS: Final = tuple(
    (keyword, vr.decode()) for keyword, vr in a.VR_OF.items() if vr in a.CHARACTER_SET_VRS
)


def numbers(vr: bytes, value: bytes, *, little_endian: bool = True) -> tuple[Number, ...] | None:
    """The numbers of a binary value field, or None when its length does not fit its value representation."""
    one = _NUMBERS["<" if little_endian else ">"].get(vr)
    if one is None or len(value) % one.size:
        return None
    return tuple(number for (number,) in one.iter_unpack(value))


def convert(vr: bytes, value: bytes, *, little_endian: bool = True) -> Value | None:
    """The value of a header: text as Latin-1 for now (see `decode_texts`), one number, or several as a tuple.

    None when the value is empty or its representation cannot be kept in a header.
    """
    if vr in a.TEXT:
        return value.decode("latin-1").rstrip(" \0") or None
    found = numbers(vr, value, little_endian=little_endian)
    if not found:
        return None
    return found[0] if len(found) == 1 else found


def decode_texts(values: dict[str, Value]) -> None:
    """Decode, in place, the texts that were taken as Latin-1 by the character set that stands among them."""
    declared = values.get("SpecificCharacterSet", "")
    if not isinstance(declared, str) or declared == "ISO_IR 100":
        return  # they are Latin-1
    characters: CharacterSet | None = None
    for keyword, vr in _CHARACTER_SET_KEYWORDS:
        value = values.get(keyword)
        if isinstance(value, str) and not (value.isascii() and "\x1b" not in value):
            characters = characters or CharacterSet(declared)
            values[keyword] = characters.decode(value.encode("latin-1"), vr).rstrip(" \0")


def settle_sign(values: dict[str, Value], *, declared: bool) -> None:
    """Give Pixel Padding Value its sign where the file does not (Implicit VR: "US or SS", PS3.6), in place."""
    if declared or values.get("PixelRepresentation") != 1:
        return
    for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        value = values.get(keyword)
        if isinstance(value, int) and value > 0x7FFF:
            values[keyword] = value - 0x10000
