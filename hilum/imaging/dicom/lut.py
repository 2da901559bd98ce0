"""Lookup tables as files carry them: for modality and VOI values (PS3.3 C.11.1.1, C.11.2.1.1) and palettes of colours,
plain or segmented (C.7.6.3.1.5, C.7.9.2). When they are applied is for ``voi`` and ``pixels`` to say."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hilum.imaging.dicom.elements import Element
from hilum.imaging.dicom.problems import Unreadable

MAX_ENTRIES: Final = 65536

_PALETTE_DESCRIPTOR: Final = 0x00281101
_PALETTE_DATA: Final = 0x00281201
_PALETTE_SEGMENTS: Final = 0x00281221
_LUT_DESCRIPTOR: Final = 0x00283002
_LUT_DATA: Final = 0x00283006


@dataclass(frozen=True, slots=True)
class Lut:
    """A modality or VOI lookup table; hashable, so that what is made from it can be kept.

    Attributes
    ----------
    first : int
        The value that the first entry is for; lower values take it too, and higher ones than the last take the last.
    bits : int
        How many bits an entry has: the highest output is ``2 ** bits - 1``.
    entries : bytes
        16-bit numbers in little endian.
    """

    first: int
    bits: int
    entries: bytes

    def apply(self, values: NDArray[np.generic]) -> NDArray[np.float64]:
        """The entry for each value, of the same shape; a NaN takes the first entry."""
        table = np.frombuffer(self.entries, "<u2").astype(np.float64)
        index = np.clip(np.nan_to_num(values.astype(np.float64)) - self.first, 0, len(table) - 1)
        return table[index.astype(np.int64)]


@dataclass(frozen=True, slots=True)
class Palette:
    """A palette (PS3.3 C.7.6.3.1.6): 8-bit ``colours`` of shape (entries, 3), the first for stored value ``first``."""

    first: int
    colours: NDArray[np.uint8]

    def apply(self, pixels: NDArray[np.generic]) -> NDArray[np.uint8]:
        """Red, green and blue of each stored value, in one more dimension."""
        index = np.clip(pixels.astype(np.int64) - self.first, 0, len(self.colours) - 1)
        return self.colours[index]


def read_lut(sequence: Element | None, *, signed: bool) -> Lut | None:
    """The table in the first item of a Modality or VOI LUT Sequence; None when there is none that can be used.

    Parameters
    ----------
    sequence : Element or None
        The sequence.
    signed : bool
        Whether the values that go in may be negative, which settles a first value written as unsigned.
    """
    if sequence is None or not sequence.items:
        return None
    item = {element.tag: element for element in sequence.items[0]}
    found = _descriptor(item.get(_LUT_DESCRIPTOR), signed=signed)
    data = item.get(_LUT_DATA)
    if found is None or data is None:
        return None
    entries, first, bits = found
    table = _entries(data.value, entries)
    if table is None or not 0 < bits <= 16:
        return None
    return Lut(first, bits, table.astype("<u2").tobytes())


def read_palette(elements: Mapping[int, Element], *, signed: bool) -> Palette:
    """The palette of a PALETTE COLOR image, as 8-bit colours.

    Raises
    ------
    Unreadable
        When there is none, or its tables are damaged.
    """
    tables: list[NDArray[np.uint16]] = []
    firsts: set[int] = set()
    wide = 8
    for channel in range(3):
        found = _descriptor(elements.get(_PALETTE_DESCRIPTOR + channel), signed=signed)
        plain, segments = elements.get(_PALETTE_DATA + channel), elements.get(_PALETTE_SEGMENTS + channel)
        if found is None or (plain is None and segments is None):
            raise Unreadable("pixels", "The palette of the image is missing.")
        entries, first, bits = found
        table = _entries(plain.value, entries) if plain is not None and plain.value else None
        if table is None and segments is not None:
            table = _unsegmented(segments.value, bits)[:entries]
        if table is None or not len(table):
            raise Unreadable("pixels", "The palette of the image is cut short.")
        tables.append(table)
        firsts.add(first)
        wide = max(wide, bits)
    if len(firsts) != 1 or len({len(table) for table in tables}) != 1:
        raise Unreadable("pixels", "The palette of the image is damaged: its three tables differ in size.")
    words = np.stack(tables, axis=1)
    if wide > 8 and words.max() > 0xFF:  # some devices say 16 bits and use 8
        words >>= 8
    return Palette(firsts.pop(), words.astype(np.uint8))


def _descriptor(element: Element | None, *, signed: bool) -> tuple[int, int, int] | None:
    """Number of entries (0 stands for 65536), first value, bits an entry."""
    if element is None or len(element.value) != 6:
        return None
    entries, first, bits = struct.unpack("<HhH" if signed or element.vr == "SS" else "<3H", element.value)
    return entries or MAX_ENTRIES, first, bits


def _entries(data: bytes, entries: int) -> NDArray[np.uint16] | None:
    """A table as words; entries of 8 bits may lie in bytes or in words (PS3.3 C.7.6.3.1.6)."""
    if len(data) >= 2 * entries:
        return np.frombuffer(data, "<u2", entries).astype(np.uint16)
    if len(data) >= entries:
        return np.frombuffer(data, np.uint8, entries).astype(np.uint16)
    return None


def _unsegmented(data: bytes, bits: int) -> NDArray[np.uint16]:
    """A segmented table as a plain one (PS3.3 C.7.9.2)."""
    words = np.frombuffer(data[: len(data) // 2 * 2], "<u2") if bits > 8 else np.frombuffer(data, np.uint8)
    table: list[int] = []
    try:
        _expand([int(word) for word in words], 0, None, table, 2 if bits > 8 else 1)
    except (IndexError, ValueError):
        raise Unreadable("pixels", "The palette of the image is damaged: its segments do not fit.") from None
    return np.array(table, np.uint16)


def _expand(words: list[int], position: int, segments: int | None, table: list[int], width: int) -> None:
    """Append the segments from ``position`` on: all of them, or as many as an indirect segment asks for."""
    read = 0
    while position + 1 < len(words) and read != segments:
        kind, length = words[position], words[position + 1]
        position += 2
        if kind == 0:
            table.extend(words[position : position + length])
            position += length
        elif kind == 1:
            begin, end = table[-1], words[position]
            # To the nearest whole number, halves up, without the noise of floating point.
            table.extend(begin + (2 * (end - begin) * step + length) // (2 * length) for step in range(1, length + 1))
            position += 1
        elif kind == 2 and segments is None:  # repeats earlier segments, by their offset in bytes
            parts = words[position : position + 4 // width]
            offset = int.from_bytes(b"".join(part.to_bytes(width, "little") for part in parts), "little")
            _expand(words, offset // width, length, table, width)
            position += 4 // width
        else:
            raise ValueError(kind)
        read += 1
        if len(table) > MAX_ENTRIES:
            raise ValueError(len(table))
