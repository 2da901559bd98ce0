"""The whole data set as a tree of elements with their values as bytes: what DICOM JSON and the tag panel are made from.
Reading only the attributes of the catalogue is far cheaper and done by ``header``."""

import struct
from contextlib import suppress
from functools import lru_cache
from typing import Final, NamedTuple

from hilum.imaging.dicom import attributes as a
from hilum.imaging.dicom.problems import Unreadable
from hilum.imaging.dicom.scanner import MAX_DEPTH, Doubt

ITEM: Final = 0xFFFEE000
_ITEM_END: Final = 0xFFFEE00D
_SEQUENCE_END: Final = 0xFFFEE0DD
_ENDS: Final = frozenset((_ITEM_END, _SEQUENCE_END))
_PIXEL_REPRESENTATION: Final = 0x00280103
MAX_TREE: Final = 1_500_000
"""Elements and items of a data set at most: with 100,000 frames described one by one there are not more."""

_EXPLICIT: Final = struct.Struct("<HH2sH").unpack_from
_IMPLICIT: Final = struct.Struct("<HHI").unpack_from
_LENGTH: Final = struct.Struct("<I").unpack_from
_SHORT: Final = {vr: "UN" if vr in a.NAMELESS else vr.decode() for vr in a.SHORT}
_LONG: Final = {vr: vr.decode() for vr in a.LONG}


class Element(NamedTuple):
    """One element: its tag, its value representation, and either its value's bytes (little-endian) or its items."""

    tag: int
    vr: str
    value: bytes
    items: "list[list[Element]] | None"


class Resolver:
    """The value representations that a data set in Implicit VR leaves to the dictionaries, in one list of elements.

    Parameters
    ----------
    signed : bool
        Whether the data set around it has signed pixels, which settles "US or SS".
    """

    __slots__ = ("_creators", "signed")

    def __init__(self, *, signed: bool = False) -> None:
        self.signed: bool = signed
        self._creators: dict[int, str] = {}

    def note(self, tag: int, value: bytes) -> None:
        """Take in an element that later ones depend on: Pixel Representation, or the creator of a private block."""
        if tag == _PIXEL_REPRESENTATION:
            self.signed = value[:1] == b"\1"
        elif tag & 0x1FF00 == 0x10000 and tag & 0xFF >= 0x10:
            block = tag & 0xFFFF0000 | (tag & 0xFF) << 8
            self._creators[block] = value.decode("latin-1").strip(" \0")

    def vr(self, tag: int) -> str:
        """The representation by the dictionaries; UN where they know none."""
        if tag & 0x10000:
            if tag & 0xFF00 == 0 and tag & 0xFF >= 0x10:
                return "LO"
            creator = self._creators.get(tag & 0xFFFFFF00)
            vr = _private_vr(tag, creator) if creator else "UN"
        else:
            vr = _public_vr(tag)
        if vr == "US or SS":
            return "SS" if self.signed else "US"
        return "OW" if len(vr) > 2 else vr  # "OB or OW" and the like (PS3.5 section 8 and annex A)


@lru_cache(maxsize=16384)
def _public_vr(tag: int) -> str:
    if tag & 0xFFFF == 0:
        return "UL"  # a group length
    from pydicom.datadict import dictionary_VR

    try:
        return dictionary_VR(tag)
    except KeyError:
        return "UN"


@lru_cache(maxsize=16384)
def _private_vr(tag: int, creator: str) -> str:
    from pydicom.datadict import private_dictionary_VR

    try:
        return private_dictionary_VR(tag, creator)
    except KeyError:
        return "UN"


class Reader:
    """Reads a data set in Little Endian from a buffer; anything unexpected raises `Doubt`, as in the scanner.

    Parameters
    ----------
    data : bytes
        The file, at least as far as it is read.
    """

    __slots__ = ("_data", "_left")

    def __init__(self, data: bytes) -> None:
        self._data: Final = data
        self._left: int = MAX_TREE

    def read(self, start: int, end: int, *, implicit: bool) -> list[Element]:
        """The elements between two offsets.

        Raises
        ------
        Doubt
            When the bytes are not what the encoding promises.
        Unreadable
            When there are more elements, or deeper ones, than in any real file.
        """
        elements: list[Element] = []
        try:
            reached = self._elements(elements, start, end, Resolver(), 0, implicit=implicit, open_ended=False)
        except struct.error:
            raise Doubt(cut=True) from None
        if reached != end:
            raise Doubt(cut=reached > end)
        return elements

    def read_some(self, start: int, end: int, *, implicit: bool) -> list[Element]:
        """The elements between two offsets as far as they can be understood; errors as of `read` but for Doubt."""
        elements: list[Element] = []
        with suppress(struct.error, Doubt):
            self._elements(elements, start, end, Resolver(), 0, implicit=implicit, open_ended=False)
        return elements

    def _elements(
        self,
        elements: list[Element],
        position: int,
        end: int,
        resolver: Resolver,
        depth: int,
        *,
        implicit: bool,
        open_ended: bool,
    ) -> int:
        """Take elements up to ``end``, or to the item's delimiter when it is open-ended; the place reached."""
        data = self._data
        while position < end:
            if implicit:
                group, number, length = _IMPLICIT(data, position)
                tag = group << 16 | number
                vr, start = "", position + 8
            else:
                group, number, code, length = _EXPLICIT(data, position)
                tag = group << 16 | number
                start = position + 8
                vr = _SHORT.get(code, "")
                if not vr and tag not in _ENDS:
                    vr = _LONG.get(code, "")
                    (length,) = _LENGTH(data, position + 8)
                    start = position + 12
                    if not vr:
                        raise Doubt
            self._left -= 1
            if self._left < 0:
                raise Unreadable("too_deep", "The data set has more elements than any real one.")
            if tag in _ENDS:
                position += 8
                if tag == _ITEM_END and open_ended:
                    return position
                continue  # the end of nothing: some write them after sequences of defined length
            if not vr or vr == "UN":
                unknown, vr = bool(vr), resolver.vr(tag)
                if vr == "UN" and length == a.UNDEFINED:
                    vr = "SQ"
                if unknown and vr == "SQ":
                    element, position = self._unknown(tag, start, length, end, resolver, depth)
                    elements.append(element)
                    continue
            if vr == "SQ":
                items, position = self._items(start, length, end, resolver, depth, implicit=implicit)
                elements.append(Element(tag, vr, b"", items))
                continue
            if length == a.UNDEFINED:
                if vr not in ("OB", "OW"):
                    raise Doubt
                position = self._fragments(start, end)
                elements.append(Element(tag, vr, data[start : position - 8], None))
                continue
            position = start + length
            if position > end:
                raise Doubt(cut=True)
            value = data[start:position]
            if tag == _PIXEL_REPRESENTATION or group & 1:
                resolver.note(tag, value)
            elements.append(Element(tag, vr, value, None))
        if open_ended:
            raise Doubt(cut=True)
        return position

    def _unknown(
        self, tag: int, start: int, length: int, end: int, resolver: Resolver, depth: int
    ) -> tuple[Element, int]:
        """A sequence that was written as UN: in Implicit VR (PS3.5 section 6.2.2), by some writers in Explicit VR."""
        for implicit in (True, False):
            try:
                items, position = self._items(start, length, end, resolver, depth, implicit=implicit)
                return Element(tag, "SQ", b"", items), position
            except (Doubt, struct.error):
                continue
        if length == a.UNDEFINED or start + length > end:
            raise Doubt
        return Element(tag, "UN", self._data[start : start + length], None), start + length

    def _items(
        self, position: int, length: int, end: int, outer: Resolver, depth: int, *, implicit: bool
    ) -> tuple[list[list[Element]], int]:
        """The items of a sequence whose value begins here, and where it ends."""
        if depth >= MAX_DEPTH:
            raise Unreadable("too_deep", "The data set nests more sequences than any real one.")
        until = end if length == a.UNDEFINED else position + length
        if until > end:
            raise Doubt(cut=True)
        items: list[list[Element]] = []
        while position < until:
            group, number, size = _IMPLICIT(self._data, position)
            tag = group << 16 | number
            position += 8
            if tag == _SEQUENCE_END and length == a.UNDEFINED:
                return items, position
            if tag != ITEM:
                raise Doubt
            self._left -= 1
            if self._left < 0:
                raise Unreadable("too_deep", "The data set has more items than any real one.")
            open_ended = size == a.UNDEFINED
            stop = until if open_ended else position + size
            if stop > until:
                raise Doubt(cut=True)
            resolver = Resolver(signed=outer.signed)
            item: list[Element] = []
            position = self._elements(
                item, position, stop, resolver, depth + 1, implicit=implicit, open_ended=open_ended
            )
            if position > stop:
                raise Doubt(cut=True)
            items.append(item)
        if length == a.UNDEFINED:
            raise Doubt(cut=True)
        return items, position

    def _fragments(self, position: int, end: int) -> int:
        """Pass over compressed pixels inside an item, such as those of an icon; where they end."""
        while position < end:
            group, number, size = _IMPLICIT(self._data, position)
            tag = group << 16 | number
            position += 8
            if tag == _SEQUENCE_END:
                return position
            if tag != ITEM or size == a.UNDEFINED:
                raise Doubt
            position += size
        raise Doubt(cut=True)
