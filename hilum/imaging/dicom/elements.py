"""The whole data set as a tree of elements with their values as bytes: what DICOM JSON and the tag panel are made from.
Reading only the attributes of the catalogue is far cheaper and done by ``header``."""

import struct
from functools import lru_cache
from typing import Final, NamedTuple

from pydicom.datadict import dictionary_VR, private_dictionary_VR

from hilum.imaging.dicom import attributes as a
from hilum.imaging.dicom.problems import Unreadable
from hilum.imaging.dicom.scanner import MAX_DEPTH, MAX_ELEMENTS, Doubt

ITEM: Final = 0xFFFEE000
_ITEM_END: Final = 0xFFFEE00D
_SEQUENCE_END: Final = 0xFFFEE0DD
_PIXEL_REPRESENTATION: Final = 0x00280103

_EXPLICIT: Final = struct.Struct("<HH2sH").unpack_from
_IMPLICIT: Final = struct.Struct("<HHI").unpack_from
_LENGTH: Final = struct.Struct("<I").unpack_from
_SHORT: Final = {vr: vr.decode() for vr in a.SHORT}
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
    try:
        return dictionary_VR(tag)
    except KeyError:
        return "UN"


@lru_cache(maxsize=16384)
def _private_vr(tag: int, creator: str) -> str:
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

    __slots__ = ("_count", "_data")

    def __init__(self, data: bytes) -> None:
        self._data: Final = data
        self._count: int = 0

    def read(self, start: int, end: int, *, implicit: bool) -> list[Element]:
        """The elements between two offsets.

        Raises
        ------
        Doubt
            When the bytes are not what the encoding promises.
        Unreadable
            When there are more elements, or deeper ones, than in any real file.
        """
        try:
            elements, reached = self._elements(start, end, Resolver(), 0, implicit=implicit, open_ended=False)
        except struct.error:
            raise Doubt(cut=True) from None
        if reached != end:
            raise Doubt(cut=reached > end)
        return elements

    def _elements(
        self, position: int, end: int, resolver: Resolver, depth: int, *, implicit: bool, open_ended: bool
    ) -> tuple[list[Element], int]:
        """Elements up to ``end``, or to the item's delimiter when it is open-ended; and the place reached."""
        data, elements = self._data, list[Element]()
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
                if not vr and tag != _ITEM_END:
                    vr = _LONG.get(code, "")
                    (length,) = _LENGTH(data, position + 8)
                    start = position + 12
                    if not vr:
                        raise Doubt
            if tag == _ITEM_END:
                if not open_ended:
                    raise Doubt
                return elements, position + 8
            if not vr:
                vr = resolver.vr(tag)
                if length == a.UNDEFINED and vr == "UN":
                    vr = "SQ"
            elif vr == "UN" and length != a.UNDEFINED:
                vr = resolver.vr(tag)
                if vr == "SQ":
                    raise Doubt  # its items may be in either encoding
            if vr == "SQ":
                items, position = self._items(start, length, end, resolver, depth, implicit=implicit)
                elements.append(Element(tag, vr, b"", items))
                continue
            if length == a.UNDEFINED:
                raise Doubt
            position = start + length
            if position > end:
                raise Doubt(cut=True)
            value = data[start:position]
            if tag == _PIXEL_REPRESENTATION or group & 1:
                resolver.note(tag, value)
            elements.append(Element(tag, vr, value, None))
        if open_ended:
            raise Doubt(cut=True)
        self._counted(len(elements))
        return elements, position

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
            open_ended = size == a.UNDEFINED
            stop = until if open_ended else position + size
            if stop > until:
                raise Doubt(cut=True)
            resolver = Resolver(signed=outer.signed)
            item, position = self._elements(
                position, stop, resolver, depth + 1, implicit=implicit, open_ended=open_ended
            )
            items.append(item)
            self._counted(1)
        if length == a.UNDEFINED:
            raise Doubt(cut=True)
        return items, position

    def _counted(self, elements: int) -> None:
        self._count += elements
        if self._count > MAX_ELEMENTS:
            raise Unreadable("too_deep", "The data set has more elements than any real one.")
