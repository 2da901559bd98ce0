"""Blocks of a JPEG image made black in the coded stream: every other block keeps its coefficients to the last bit.
Codes are read only as far as it takes to know where a block ends and what its mean is (ITU-T T.81 annex F); where the
block before one is now black, the difference of their means is written anew, all else is copied."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hilum.research.deid.pixel_text.jpeg_stream import Huffman, NotEditable, Scan, Stream, read_stream
from hilum.research.deid.pixels import Box

__all__ = ["NotEditable", "blacken_blocks"]

_EOB: Final = 0
_COPY: Final = -1


def blacken_blocks(frame: bytes, boxes: Sequence[Box], *, white: bool = False, rgb: bool = False) -> bytes:
    """A JPEG frame whose blocks that a box touches are black.

    Parameters
    ----------
    frame
        The stream of a frame, baseline or extended sequential.
    boxes
        In pixels; blocks are those of the coarsest component, so that up to 15 pixels around a box go with it.
    white
        Whether the highest value is shown black.
    rgb
        Whether the components are red, green and blue rather than luminance and two of colour.

    Raises
    ------
    NotEditable
        When the stream is of another kind, damaged, or its code tables are full.
    """
    stream = read_stream(frame)
    if not stream.components:
        raise NotEditable("it is damaged")
    hit = _units(stream, boxes)
    for part in stream.parts:
        if isinstance(part, Scan):
            try:
                _ScanEditor(stream, part, hit, _means(stream, part, white=white, rgb=rgb)).edit()
            except IndexError:
                raise NotEditable("it is damaged") from None
    return stream.encoded()


def _units(stream: Stream, boxes: Sequence[Box]) -> NDArray[np.bool_]:
    """Which units of blocks (MCUs of an interleaved scan) are touched, by row and column of units."""
    tall, wide = 8 * stream.down, 8 * stream.across
    hit = np.zeros((-(-stream.rows // tall), -(-stream.columns // wide)), bool)
    for box in boxes:
        if box.rows > 0 and box.columns > 0:
            hit[
                box.row // tall : (box.row + box.rows - 1) // tall + 1,
                box.column // wide : (box.column + box.columns - 1) // wide + 1,
            ] = True
    return hit


def _means(stream: Stream, scan: Scan, *, white: bool, rgb: bool) -> list[int]:
    """The quantized mean of a black block, for each component of a scan; beyond black, so that rounding stays black."""
    half = 1 << (stream.precision - 1)
    found: list[int] = []
    for (place, _, _), quantizer in zip(scan.components, scan.quantizers, strict=True):
        if place and not rgb:
            found.append(0)
        elif white:
            found.append(-(-(half - 1) * 8 // quantizer))
        else:
            found.append((-half * 8) // quantizer)
    return found


class _ScanEditor:
    """Rewrites the segments of one scan."""

    def __init__(self, stream: Stream, scan: Scan, hit: NDArray[np.bool_], means: Sequence[int]) -> None:
        self._stream: Final = stream
        self._scan: Final = scan
        self._hit: Final = hit
        self._means: Final = means

    def edit(self) -> None:
        order, touched = self._order()
        units = touched.size
        restart = self._scan.restart or units
        segments = self._scan.segments
        if len(segments) < -(-units // restart):
            raise NotEditable("it is cut short")
        tables = [_decoding(mean, rest) for _, mean, rest in self._scan.components]
        written: list[tuple[bytes, list[tuple[int, int, int]]]] = []
        for number, begin in enumerate(range(0, units, restart)):
            here = touched[begin : begin + restart].tolist()
            written.append((segments[number], self._segment(segments[number], order, here, tables)))
        wanted = self._wanted(item for _, items in written for item in items)
        for (_, mean, rest), (means, rests) in zip(self._scan.components, wanted, strict=True):
            mean.extend(means)
            rest.extend(rests)
        codes = [(mean.codes(), rest.codes()) for _, mean, rest in self._scan.components]
        self._scan.segments = [_joined(data, items, codes) for data, items in written]

    def _order(self) -> tuple[list[int], NDArray[np.bool_]]:
        """Which component each block of a unit of this scan is of, and which units go black, in their order."""
        stream, scan = self._stream, self._scan
        if len(scan.components) > 1:
            order = [
                number
                for number, (place, _, _) in enumerate(scan.components)
                for _ in range(stream.components[place].across * stream.components[place].down)
            ]
            return order, self._hit.ravel()
        component = stream.components[scan.components[0][0]]
        rows = -(-stream.rows * component.down // (8 * stream.down))
        columns = -(-stream.columns * component.across // (8 * stream.across))
        down = np.minimum(np.arange(rows) // component.down, self._hit.shape[0] - 1)
        across = np.minimum(np.arange(columns) // component.across, self._hit.shape[1] - 1)
        return [0], self._hit[np.ix_(down, across)].ravel()

    def _segment(
        self, data: bytes, order: Sequence[int], touched: Sequence[bool], tables: Sequence[tuple[list[int], list[int]]],
    ) -> list[tuple[int, int, int]]:  # fmt: skip
        """What a segment is now made of: (`_COPY`, first bit, last bit), (component, 0, step of mean), (…, 1, 0)."""
        peeks, total = _peeks(data)
        position = 0
        old, new = [0] * len(tables), [0] * len(tables)
        items: list[tuple[int, int, int]] = []
        copied = 0
        for black in touched:
            for component in order:
                means, rests = tables[component]
                begin = position
                entry = means[(peeks[position >> 3] >> (16 - (position & 7))) & 0xFFFF]
                size = entry >> 8
                position += entry & 0xFF
                if entry == 0:
                    raise NotEditable("it is damaged")
                if size:
                    value = (peeks[position >> 3] >> (32 - (position & 7) - size)) & ((1 << size) - 1)
                    position += size
                    mean = old[component] + (value if value >> (size - 1) else value - (1 << size) + 1)
                else:
                    mean = old[component]
                middle, place = position, 1
                while place < 64:
                    entry = rests[(peeks[position >> 3] >> (16 - (position & 7))) & 0xFFFF]
                    if entry == 0:
                        raise NotEditable("it is damaged")
                    position += entry & 0xFF
                    place += entry >> 8
                if position > total:
                    raise NotEditable("it is cut short")
                wanted = self._means[component] if black else mean
                if black or new[component] != old[component]:
                    if copied < begin:
                        items.append((_COPY, copied, begin))
                    items.append((component, 0, wanted - new[component]))
                    if black:
                        items.append((component, 1, _EOB))
                    copied = position if black else middle
                old[component], new[component] = mean, wanted
        if copied < position:
            items.append((_COPY, copied, position))
        return items

    def _wanted(self, items: Iterator[tuple[int, int, int]]) -> list[tuple[set[int], set[int]]]:
        """The symbols that each component's tables must have codes for."""
        found: list[tuple[set[int], set[int]]] = [(set(), set()) for _ in self._scan.components]
        for component, kind, value in items:
            if component != _COPY:
                found[component][kind].add(value if kind else abs(value).bit_length())
        return found


def _peeks(data: bytes) -> tuple[list[int], int]:
    """For each byte the 32 bits that begin with it, and how many bits there are."""
    padded = np.frombuffer(data + bytes(8), np.uint8).astype(np.uint32)
    joined = padded[:-3] << 24 | padded[1:-2] << 16 | padded[2:-1] << 8 | padded[3:]
    return joined.tolist(), 8 * len(data)


def _decoding(means: Huffman, rests: Huffman) -> tuple[list[int], list[int]]:
    """For each 16 bits that can be next: bits to pass over, and above them the size of a mean or how many places.

    A mean's own bits are not passed over, those of another coefficient are; 0 is no code.
    """
    first, second = [0] * 65536, [0] * 65536
    for symbol, (code, length) in means.codes().items():
        if symbol > 15:
            raise NotEditable("its code tables are damaged")
        _fill(first, code, length, symbol << 8 | length)
    for symbol, (code, length) in rests.codes().items():
        run, size = symbol >> 4, symbol & 15
        places = 64 if symbol == _EOB else run + 1
        _fill(second, code, length, places << 8 | (length + size))
    return first, second


def _fill(table: list[int], code: int, length: int, entry: int) -> None:
    begin, count = code << (16 - length), 1 << (16 - length)
    table[begin : begin + count] = [entry] * count


def _joined(
    data: bytes,
    items: Sequence[tuple[int, int, int]],
    codes: Sequence[tuple[dict[int, tuple[int, int]], dict[int, tuple[int, int]]]],
) -> bytes:
    """The bits of a segment, filled up with ones (annex F.1.2.3)."""
    if len(items) == 1 and items[0][0] == _COPY and items[0][1] == 0 and items[0][2] > 8 * len(data) - 8:
        return data
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    pieces: list[NDArray[np.uint8]] = []
    for component, first, second in items:
        if component == _COPY:
            pieces.append(bits[first:second])
            continue
        table = codes[component][first]
        if first:
            code, length = table[second]
        else:
            size = abs(second).bit_length()
            code, length = table[size]
            extra = second if second >= 0 else second + (1 << size) - 1
            code, length = code << size | extra, length + size
        pieces.append(np.array([code >> place & 1 for place in range(length - 1, -1, -1)], np.uint8))
    whole = np.concatenate(pieces) if pieces else np.zeros(0, np.uint8)
    filled = np.concatenate((whole, np.ones(-len(whole) % 8, np.uint8)))
    return np.packbits(filled).tobytes()
