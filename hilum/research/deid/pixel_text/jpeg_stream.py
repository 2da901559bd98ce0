"""The parts of a sequential Huffman JPEG stream (ITU-T T.81: baseline, and extended with 12 bits): tables, frame and
scans, each with its entropy-coded segments. Blocks are told apart and edited in ``jpeg_blocks``."""

import re
import struct
from dataclasses import dataclass, field
from typing import Final

MAX_BLOCKS: Final = 4_000_000
_SEQUENTIAL: Final = (0xC0, 0xC1)
_OTHER_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC0, 0xC1, 0xC4, 0xC8, 0xCC}
_MAX_MARKERS: Final = 4096
_MARKER: Final = re.compile(rb"\xff+[^\x00\xff]")


class NotEditable(Exception):
    """A stream of another kind, or a damaged one; says which."""


@dataclass(slots=True)
class Huffman:
    """A table of codes (annex C): how many there are of each length from 1, and their symbols in order."""

    kind: int
    counts: list[int]
    symbols: bytes

    def codes(self) -> dict[int, tuple[int, int]]:
        """The code of each symbol and its length in bits."""
        found: dict[int, tuple[int, int]] = {}
        code = place = 0
        for length, count in enumerate(self.counts, 1):
            for symbol in self.symbols[place : place + count]:
                found[symbol] = code, length
                code += 1
            place += count
            code <<= 1
        return found

    def extend(self, wanted: set[int]) -> None:
        """Give symbols codes that have none, behind the others, whose codes stay.

        Raises
        ------
        NotEditable
            When there is no room for them.
        """
        lacking = bytes(sorted(wanted - set(self.symbols)))
        if not lacking:
            return
        codes = self.codes()
        longest = max(length for _, length in codes.values())
        free = (1 << longest) - 1 - max(code for code, length in codes.values() if length == longest)
        for length in range(longest, 17):
            if (free << (length - longest)) - 1 >= len(lacking):  # all ones is no code
                self.counts[length - 1] += len(lacking)
                self.symbols += lacking
                return
        raise NotEditable("its code tables are full")

    def segment(self) -> bytes:
        """As in the stream."""
        return bytes((self.kind, *self.counts)) + self.symbols


@dataclass(frozen=True, slots=True)
class Component:
    """A component of the frame: how finely it is sampled across and down, and the quantizer of its means."""

    identifier: int
    across: int
    down: int
    table: int


@dataclass(slots=True)
class Scan:
    """A scan: its components with their tables for means and for the rest, and its entropy-coded segments."""

    header: bytes
    components: list[tuple[int, Huffman, Huffman]]
    restart: int
    segments: list[bytes]
    quantizers: list[int]


@dataclass(slots=True)
class Stream:
    """A whole stream; ``parts`` are its segments in order: bytes as they are, tables and scans that may change."""

    precision: int = 0
    rows: int = 0
    columns: int = 0
    components: list[Component] = field(default_factory=list[Component])
    parts: list[bytes | list[Huffman] | Scan] = field(default_factory=list[bytes | list[Huffman] | Scan])

    @property
    def across(self) -> int:
        """Blocks that a unit of all components has across where they are sampled finest."""
        return max(one.across for one in self.components)

    @property
    def down(self) -> int:
        """The same, down."""
        return max(one.down for one in self.components)

    def encoded(self) -> bytes:
        """The stream's bytes."""
        made: list[bytes] = [b"\xff\xd8"]
        for part in self.parts:
            if isinstance(part, bytes):
                made.append(part)
            elif isinstance(part, Scan):
                made.append(part.header)
                for number, segment in enumerate(part.segments):
                    if number:
                        made.append(bytes((0xFF, 0xD0 + (number - 1) % 8)))
                    made.append(segment.replace(b"\xff", b"\xff\x00"))
            else:
                body = b"".join(table.segment() for table in part)
                made.append(struct.pack(">BBH", 0xFF, 0xC4, len(body) + 2) + body)
        return b"".join((*made, b"\xff\xd9"))


def read_stream(data: bytes) -> Stream:
    """Part a stream.

    Raises
    ------
    NotEditable
        When it is no sequential Huffman stream, or damaged.
    """
    try:
        return _Parser(data).read()
    except (IndexError, KeyError, struct.error):
        raise NotEditable("it is damaged") from None


class _Parser:
    def __init__(self, data: bytes) -> None:
        self._data: Final = data
        self._stream: Final = Stream()
        self._quantizers: Final[dict[int, int]] = {}
        self._tables: Final[dict[int, Huffman]] = {}
        self._restart: int = 0

    def read(self) -> Stream:
        data, position = self._data, 2
        if not data.startswith(b"\xff\xd8"):
            raise NotEditable("it is no JPEG stream")
        for _ in range(_MAX_MARKERS):
            while data[position] == 0xFF and data[position + 1] == 0xFF:
                position += 1
            if data[position] != 0xFF:
                raise NotEditable("it is damaged")
            marker = data[position + 1]
            if marker == 0xD9:
                return self._checked()
            (length,) = struct.unpack_from(">H", data, position + 2)
            end = position + 2 + length
            body = data[position + 4 : end]
            if end > len(data) or length < 2:
                raise NotEditable("it is cut short")
            position = self._segment(marker, data[position:end], body, end)
        raise NotEditable("it has too many segments")

    def _checked(self) -> Stream:
        if not any(isinstance(part, Scan) for part in self._stream.parts):
            raise NotEditable("it holds no image")
        return self._stream

    def _segment(self, marker: int, whole: bytes, body: bytes, end: int) -> int:
        """Take in a segment; where the next one begins."""
        if marker in _OTHER_FRAMES:
            raise NotEditable("it is not sequential and Huffman-coded")
        if marker == 0xDC:
            raise NotEditable("its height is told late")
        if marker == 0xC4:
            self._stream.parts.append(self._huffman(body))
        elif marker == 0xDA:
            return self._scan(whole, body, end)
        else:
            self._stream.parts.append(whole)
        if marker == 0xDB:
            self._quantizer(body)
        elif marker == 0xDD:
            (self._restart,) = struct.unpack(">H", body)
        elif marker in _SEQUENTIAL:
            self._frame(body)
        return end

    def _quantizer(self, body: bytes) -> None:
        position = 0
        while position < len(body):
            kind = body[position]
            wide = kind >> 4
            first = struct.unpack_from(">H" if wide else ">B", body, position + 1)[0]
            self._quantizers[kind & 15] = max(1, first)
            position += 1 + 64 * (2 if wide else 1)

    def _huffman(self, body: bytes) -> list[Huffman]:
        found: list[Huffman] = []
        position = 0
        while position < len(body):
            counts = list(body[position + 1 : position + 17])
            symbols = body[position + 17 : position + 17 + sum(counts)]
            table = Huffman(body[position], counts, symbols)
            if len(counts) < 16 or len(symbols) < sum(counts) or not symbols or _overfull(counts):
                raise NotEditable("its code tables are damaged")
            self._tables[table.kind] = table
            found.append(table)
            position += 17 + sum(counts)
        return found

    def _frame(self, body: bytes) -> None:
        stream = self._stream
        if stream.components:
            raise NotEditable("it holds several frames")
        stream.precision, stream.rows, stream.columns, count = struct.unpack_from(">BHHB", body)
        for place in range(count):
            identifier, sampling, table = body[6 + 3 * place : 9 + 3 * place]
            component = Component(identifier, sampling >> 4, sampling & 15, table)
            if not (0 < component.across <= 4 and 0 < component.down <= 4):
                raise NotEditable("it is damaged")
            stream.components.append(component)
        if not stream.components or not stream.rows or not stream.columns or stream.precision not in (8, 12):
            raise NotEditable("it is damaged")
        if stream.rows * stream.columns // 64 * len(stream.components) > MAX_BLOCKS:
            raise NotEditable("it has too many blocks")

    def _scan(self, whole: bytes, body: bytes, end: int) -> int:
        count = body[0]
        places = {one.identifier: place for place, one in enumerate(self._stream.components)}
        components: list[tuple[int, Huffman, Huffman]] = []
        for number in range(count):
            identifier, tables = body[1 + 2 * number], body[2 + 2 * number]
            components.append((places[identifier], self._tables[tables >> 4], self._tables[0x10 | (tables & 15)]))
        if not components or tuple(body[1 + 2 * count : 4 + 2 * count]) != (0, 63, 0):
            raise NotEditable("it is not sequential")
        segments: list[bytes] = []
        begin = position = end
        while True:
            found = _MARKER.search(self._data, position)
            if found is None:
                raise NotEditable("it is cut short")
            position = found.end()
            marker = self._data[position - 1]
            segments.append(self._data[begin : found.start()].replace(b"\xff\x00", b"\xff"))
            begin = position
            if not 0xD0 <= marker <= 0xD7:
                break
        quantizers = [self._quantizers[self._stream.components[place].table] for place, _, _ in components]
        self._stream.parts.append(Scan(whole, components, self._restart, segments, quantizers))
        return position - 2


def _overfull(counts: list[int]) -> bool:
    return sum(count << (16 - length) for length, count in enumerate(counts, 1)) > 1 << 16
