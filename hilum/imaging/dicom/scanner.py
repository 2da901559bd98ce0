"""The walk over a data set in Explicit or Implicit VR Little Endian, in plain Python and as fast as that goes: values
of wanted attributes are sliced out, everything else is passed over by its length. Anything unexpected raises `Doubt`;
the walk itself decides nothing about broken files."""

import struct
from typing import Final

from hilum.imaging.dicom import attributes as a
from hilum.imaging.dicom.problems import Unreadable
from hilum.imaging.dicom.source import Source
from hilum.imaging.dicom.values import Value, convert

FIRST_WINDOW: Final = 16 * 1024
WINDOW: Final = 128 * 1024
NESTED_BYTES: Final = 64 * 1024
"""How much of a wanted sequence is looked at: enough for its first item."""
MAX_DEPTH: Final = 64
MAX_ELEMENTS: Final = 4_000_000
"""Nested elements walked at most in a header (some two seconds); contours of a radiotherapy structure stay below."""
MAX_WINDOWS: Final = 256
"""Windows walked at most outside of nested structures: 32 MiB of header that is not passed over."""

MAX_PADDING: Final = 1 << 20
"""Bytes behind a data set that are looked at for being nothing but padding."""
_PADDING: Final = b"\0 \xff"

_EXPLICIT: Final = struct.Struct("<I2sH").unpack_from
_IMPLICIT: Final = struct.Struct("<II").unpack_from
_LENGTH: Final = struct.Struct("<I").unpack_from

Found = tuple[str, str, int, int | None]
"""Pixel Data as found: its keyword, value representation, the offset of its value and its length."""

# What the stack of open nested structures holds: whether it is a sequence or an item, and its encoding.
_IN_ITEM: Final = 1
_IN_IMPLICIT: Final = 2


class Doubt(Exception):
    """The bytes are not what the transfer syntax promises: pydicom shall look at them.

    ``cut`` tells that they seem to end too early.
    """

    def __init__(self, *, cut: bool = False) -> None:
        super().__init__()
        self.cut: Final = cut


class Scan:
    """One walk, resumable window by window, and what it found.

    Parameters
    ----------
    source : Source
        The file.
    start : int
        Offset of the data set's first element.
    implicit : bool
        Whether the data set is in Implicit VR.

    Attributes
    ----------
    values : dict of str to Value
        By keyword, text still as Latin-1.
    nested : dict of str to Value
        By keyword, from the first items of the wanted sequences.
    pixel_data : tuple or None
        Keyword, value representation, offset of the value, its length (None: undefined).
    end : int
        Offset of the Pixel Data element or of the end of the data set.
    """

    __slots__ = (
        "_elements",
        "_ended",
        "_implicit",
        "_source",
        "_stack",
        "_windows",
        "end",
        "nested",
        "pixel_data",
        "values",
    )

    def __init__(self, source: Source, start: int, *, implicit: bool) -> None:
        self.values: dict[str, Value] = {}
        self.nested: dict[str, Value] = {}
        self.pixel_data: Found | None = None
        self.end: int = start
        self._source: Final = source
        self._implicit: Final = implicit
        self._stack: list[int] = []
        self._elements: int = 0
        self._windows: int = 0
        self._ended: bool = False

    def run(self, window: bytes, base: int = 0) -> None:
        """Walk until Pixel Data or the end; ``window`` is what was read of the file already, from offset ``base`` on.

        Raises
        ------
        Doubt
            For bytes that this walk does not understand.
        Truncated
            When the source is partial and ends first.
        Unreadable
            For structures too deep or too many.
        """
        source, reached = self._source, self.end
        while True:
            began = reached
            reached = base + self._window(window, reached - base, base)
            if self.pixel_data is not None or self._ended or (reached == source.size and not self._stack):
                self.end = reached
                return
            if reached > source.size:
                raise Doubt(cut=True)
            if reached == began == base:
                source.more(reached)
                if self._stack or not self._padded(reached):
                    raise Doubt(cut=True)
                self.end = reached
                return
            base = reached
            window = source.read(base, WINDOW)

    def _window(self, window: bytes, position: int, base: int) -> int:
        """Walk as far as this window goes; the place, within the window or beyond it, where to go on."""
        if self._stack:
            position = self._skip(window, position)
            if self._stack:
                return position
        self._windows += 1
        if self._windows > MAX_WINDOWS:
            raise Unreadable("header_too_long", "The header is longer than any real one.")
        if self._implicit:
            return self._walk_implicit(window, position, base)
        return self._walk_explicit(window, position, base)

    def _padded(self, place: int) -> bool:
        """Whether nothing follows but padding, which some write up to a block's end; the walk then ends there."""
        length = self._source.size - place
        if not self.values or not 0 < length <= MAX_PADDING:
            return False
        rest = self._source.read(place, length)
        if len(rest) < length:
            self._source.more(place + length)
        self._ended = rest[0] in _PADDING and rest.count(rest[:1]) == length
        return self._ended

    def _walk_explicit(self, window: bytes, position: int, base: int) -> int:
        header, short, texts, values, wanted = _EXPLICIT, a.SHORT, a.TEXT, self.values, a.WANTED.get
        text = window.decode("latin-1")  # once for all values: slicing text is half the price of decoding slices
        keyword, start, vr = None, position, b""
        try:
            while True:
                raw, vr, length = header(window, position)
                if vr in short:
                    start = position + 8
                    keyword = wanted(raw)
                elif vr in a.LONG:
                    (length,) = _LENGTH(window, position + 8)
                    start = position + 12
                    if raw in a.STRUCTURES and self._structure(window, raw, vr, start, length, base):
                        return position
                    if length == a.UNDEFINED:
                        self._stack.append(_encoding(window, start) if vr == b"UN" else 0)
                        keyword = None
                        position = self._skip(window, start)
                        if self._stack:
                            return position
                        continue
                    keyword = wanted(raw) if length <= NESTED_BYTES else None
                elif raw in a.ENDS:  # of nothing: some write them after sequences of defined length
                    position += 8
                    continue
                elif self._padded(base + position):
                    return position
                else:
                    raise Doubt
                if keyword is not None:
                    if vr in texts:
                        value = text[start : start + length].rstrip(" \0")
                        if value:
                            values[keyword] = value
                    else:
                        self._number(keyword, vr, window[start : start + length])
                position = start + length
        except struct.error:
            if keyword is not None and position > len(window):  # this value was cut: read it again in the next window
                values.pop(keyword, None)
                return start - (8 if vr in short else 12)
            return position

    def _walk_implicit(self, window: bytes, position: int, base: int) -> int:
        header, values, wanted = _IMPLICIT, self.values, a.WANTED.get
        keyword, start = None, position
        try:
            while True:
                raw, length = header(window, position)
                start = position + 8
                if raw in a.STRUCTURES and self._structure(window, raw, b"OW", start, length, base):
                    return position
                if length == a.UNDEFINED:
                    self._stack.append(_IN_IMPLICIT)
                    keyword = None
                    position = self._skip(window, start)
                    if self._stack:
                        return position
                    continue
                keyword = wanted(raw) if length <= NESTED_BYTES else None
                if keyword is not None:
                    self._number(keyword, b"UN", window[start : start + length])
                position = start + length
        except struct.error:
            if keyword is not None and position > len(window):
                values.pop(keyword, None)
                return start - 8
            return position

    def _number(self, keyword: str, vr: bytes, field: bytes) -> None:
        """Keep a value that is not plainly text; where the file names no representation the dictionary's holds."""
        value = convert(a.VR_OF[keyword] if vr in a.UNKNOWN else vr, field)
        if value is not None:
            self.values[keyword] = value

    def _structure(self, window: bytes, raw: int, vr: bytes, start: int, length: int, base: int) -> bool:
        """Take note of Pixel Data or of a wanted sequence; true when this window's walk ends at the element."""
        keyword = a.PIXEL_DATA.get(raw)
        if keyword is not None:
            self.pixel_data = (keyword, vr.decode(), base + start, None if length == a.UNDEFINED else length)
            return True
        end = start + min(length, NESTED_BYTES)
        if end > len(window) and base + len(window) < self._source.size:
            return True  # the next window begins here and holds enough of it
        self._collect(window, start, min(end, len(window)), implicit=self._implicit or vr == b"UN")
        return False

    def _collect(self, window: bytes, position: int, end: int, *, implicit: bool) -> None:
        """Take what is wanted from the first item of a sequence, going only into the sequences that may hold it."""
        depth = 0
        try:
            while position + 8 <= end and depth >= 0:
                raw, length = _IMPLICIT(window, position)
                start, vr = position + 8, b"UN"
                if raw & 0xFFFF == 0xFFFE:  # items are entered, ends passed
                    depth -= raw == a.SEQUENCE_END
                    position = start
                    continue
                if not implicit:
                    vr, length, start = _explicit_field(window, position)
                if raw in a.ENTERED:
                    implicit = implicit or vr == b"UN"
                    depth += length == a.UNDEFINED
                    position = start
                elif length == a.UNDEFINED:
                    stack = [_IN_IMPLICIT if implicit or vr == b"UN" else 0]
                    position = self._skip(window[:end], start, stack)
                    if stack:
                        return
                else:
                    keyword = a.NESTED.get(raw)
                    position = start + length
                    if keyword is not None and position <= end and keyword not in self.nested:
                        value = convert(a.VR_OF[keyword] if vr in a.UNKNOWN else vr, window[start:position])
                        if value is not None:
                            self.nested[keyword] = value
        except struct.error:
            return

    def _skip(self, window: bytes, position: int, stack: list[int] | None = None) -> int:
        """Pass over open nested structures until the stack is empty or the window ends; the place reached."""
        stack = self._stack if stack is None else stack
        elements = self._elements
        try:
            while stack:
                inside = stack[-1]
                raw, length = _IMPLICIT(window, position)
                elements += 1
                if not inside & _IN_ITEM:
                    if raw == a.ITEM:
                        position += 8
                        if length == a.UNDEFINED:
                            stack.append(inside | _IN_ITEM)
                        else:
                            position += length
                    elif raw == a.SEQUENCE_END:
                        position += 8
                        stack.pop()
                    else:
                        raise Doubt
                elif raw == a.ITEM_END:
                    position += 8
                    stack.pop()
                else:
                    start, within = position + 8, inside & _IN_IMPLICIT
                    if not within:
                        vr, length, start = _explicit_field(window, position)
                        if length == a.UNDEFINED and vr == b"UN":
                            within = _encoding(window, start)
                    position = start
                    if length == a.UNDEFINED:
                        stack.append(within)
                    else:
                        position += length
                if len(stack) > MAX_DEPTH or elements > MAX_ELEMENTS:
                    raise Unreadable("too_deep", "The header nests more sequences or items than any real one.")
        except struct.error:
            pass
        self._elements = elements
        return position


def _encoding(window: bytes, start: int) -> int:
    """How the items of an unknown sequence are encoded: in Implicit VR (PS3.5 section 6.2.2), unless they seem not."""
    first = window[start + 8 : start + 14]
    if len(first) < 6:
        raise struct.error
    if first[4:] in a.SHORT or first[4:] in a.LONG:
        raise Doubt
    return _IN_IMPLICIT


def _explicit_field(window: bytes, position: int) -> tuple[bytes, int, int]:
    """Value representation, length and start of the value of an element in Explicit VR."""
    _, vr, length = _EXPLICIT(window, position)
    if vr in a.SHORT:
        return vr, length, position + 8
    if vr not in a.LONG:
        raise Doubt
    (length,) = _LENGTH(window, position + 8)
    return vr, length, position + 12
