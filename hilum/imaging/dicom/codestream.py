"""What a compressed frame says of itself before anything is decoded: its size, so that a bomb is refused, and how its
colours were stored. JPEG (all processes), JPEG-LS, JPEG 2000 with HTJ2K and JPEG XL; decoding is for ``pixels``."""

import struct
from dataclasses import dataclass
from typing import Final, Literal

from hilum.imaging.dicom.problems import Unreadable

Kind = Literal["jpeg", "jpeg-lossless", "jpeg-ls", "jpeg-2000", "jpeg-xl"]

_LOSSLESS: Final = frozenset((0xC3, 0xC7, 0xCB, 0xCF))
_NO_FRAME: Final = frozenset((0xC4, 0xC8, 0xCC))
_JPEG_LS: Final = 0xF7
_SIZ: Final = b"\xff\x4f\xff\x51"
_XL: Final = b"\xff\x0a"
_XL_BOXES: Final = b"\0\0\0\x0cJXL "
_XL_HEAD: Final = 64
_XL_RATIOS: Final = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_MAX_BOXES: Final = 64
_MAX_MARKERS: Final = 4096
_MAX_TILES: Final = 65535


@dataclass(frozen=True, slots=True)
class CodeStream:
    """The frame header of a code stream.

    Attributes
    ----------
    kind : str
        Which family of decoders it needs.
    rows, columns, precision : int
        Size; bits a sample.
    components : int or None
        Samples a pixel; None when only decoding tells (JPEG XL).
    signed : bool or None
        Whether the samples are signed; None when the stream has no word for it.
    transformed : bool or None
        Whether the decoder's colour transform applies (to YCbCr, or JPEG 2000's component transform); None when the
        stream does not tell.
    """

    kind: Kind
    rows: int
    columns: int
    components: int | None
    precision: int
    transformed: bool | None
    signed: bool | None = None


def read_code_stream(frame: bytes) -> CodeStream:
    """The frame header of a code stream.

    Raises
    ------
    Unreadable
        When the bytes are no code stream of a known kind, or end too early.
    """
    try:
        if frame.startswith(b"\xff\xd8"):
            return _jpeg(frame)
        start = frame.find(_SIZ, 0, 65536) if frame.startswith((_SIZ, b"\0\0\0\x0cjP  ")) else -1
        if start >= 0:
            return _jpeg_2000(frame, start)
        if frame.startswith((_XL, _XL_BOXES)):
            return _jpeg_xl(_xl_stream(frame))
    except (struct.error, IndexError):
        raise Unreadable("pixels", "The compressed frame ends inside its header.") from None
    raise Unreadable("pixels", "The compressed frame is of no kind that can be decoded.")


def _jpeg(frame: bytes) -> CodeStream:
    position, transformed = 2, None
    for _ in range(_MAX_MARKERS):
        while frame[position] == 0xFF and frame[position + 1] == 0xFF:  # fill bytes
            position += 1
        if frame[position] != 0xFF:
            break
        marker = frame[position + 1]
        (length,) = struct.unpack_from(">H", frame, position + 2)
        body = position + 4
        if (0xC0 <= marker <= 0xCF and marker not in _NO_FRAME) or marker == _JPEG_LS:
            precision, rows, columns, components = struct.unpack_from(">BHHB", frame, body)
            kind: Kind = "jpeg-ls" if marker == _JPEG_LS else "jpeg-lossless" if marker in _LOSSLESS else "jpeg"
            if transformed is None and frame[body + 6 : body + 15 : 3] == b"RGB":
                transformed = False
            return CodeStream(kind, rows, columns, components, precision, transformed)
        if marker == 0xE0 and frame[body : body + 5] == b"JFIF\0" and transformed is None:
            transformed = True
        if marker == 0xEE and frame[body : body + 5] == b"Adobe" and length >= 14:
            transformed = frame[body + 11] != 0
        position += 2 + length
    raise Unreadable("pixels", "The compressed frame is a damaged JPEG stream.")


def _jpeg_2000(frame: bytes, start: int) -> CodeStream:
    """Sizes of the SIZ segment and the component transform of the COD segment (ISO/IEC 15444-1 annex A)."""
    length, _, x, y, x0, y0, tx, ty, tx0, ty0, components, depth = struct.unpack_from(">HH8IHB", frame, start + 4)
    if not (tx0 <= x0 < x and ty0 <= y0 < y and tx0 + tx > x0 and ty0 + ty > y0):
        raise Unreadable("pixels", "The compressed frame is damaged: its tiles do not cover the image.")
    if -(-(x - tx0) // tx) * -(-(y - ty0) // ty) > _MAX_TILES:
        raise Unreadable("pixels", "The compressed frame has more tiles than the standard allows.")
    transformed, position = None, start + 4 + length
    for _ in range(_MAX_MARKERS):
        marker, length = struct.unpack_from(">HH", frame, position)
        if marker == 0xFF52:
            transformed = frame[position + 8] == 1
        if marker in (0xFF52, 0xFF90):
            break
        position += 2 + length
    return CodeStream("jpeg-2000", y - y0, x - x0, components, (depth & 0x7F) + 1, transformed, depth > 0x7F)


def _xl_stream(frame: bytes) -> bytes:
    """The start of the code stream, bare or in the first box that holds a part of it (ISO/IEC 18181-2)."""
    position = 0
    if frame.startswith(_XL):
        return frame[:_XL_HEAD]
    for _ in range(_MAX_BOXES):
        length, kind = struct.unpack_from(">I4s", frame, position)
        if kind in (b"jxlc", b"jxlp"):
            begin = position + (16 if length == 1 else 8) + (4 if kind == b"jxlp" else 0)
            return frame[begin : begin + _XL_HEAD]
        if length < 8:
            break
        position += length
    raise Unreadable("pixels", "The compressed frame is a damaged JPEG XL stream.")


def _jpeg_xl(stream: bytes) -> CodeStream:
    """Size and depth of a JPEG XL image (ISO/IEC 18181-1 annex D); what no DICOM frame has is refused."""
    bits = _Bits(stream[2:])
    rows, columns = _xl_size(bits)
    precision, extra = 8, 0
    if not bits.take(1):  # all default
        if bits.take(1):  # extra fields
            bits.take(3)
            if bits.take(1):
                _xl_size(bits)
            if bits.take(1) or bits.take(1):
                raise Unreadable("pixels", "The compressed frame is an animation, or has a preview.")
        if bits.take(1):
            raise Unreadable("pixels", "The compressed frame holds floating point samples, which are not decoded.")
        precision = bits.choice((0, 8), (0, 10), (0, 12), (6, 1))
        bits.take(1)
        extra = bits.choice((0, 0), (0, 1), (4, 2), (12, 1))
    if extra:
        raise Unreadable("pixels", "The compressed frame has other channels than those of its image.")
    return CodeStream("jpeg-xl", rows, columns, None, precision, None, signed=False)


def _xl_size(bits: "_Bits") -> tuple[int, int]:
    small = bits.take(1)
    rows = _xl_length(bits, small)
    ratio = bits.take(3)
    if not ratio:
        return rows, _xl_length(bits, small)
    above, below = _XL_RATIOS[ratio - 1]
    return rows, rows * above // below


def _xl_length(bits: "_Bits", small: int) -> int:
    return 8 * (bits.take(5) + 1) if small else bits.choice((9, 1), (13, 1), (18, 1), (30, 1))


class _Bits:
    """Numbers of some bits each, lowest bit first; raises IndexError behind the end."""

    __slots__ = ("_left", "_number")

    def __init__(self, data: bytes) -> None:
        self._number: int = int.from_bytes(data, "little")
        self._left: int = 8 * len(data)

    def take(self, count: int) -> int:
        if count > self._left:
            raise IndexError
        found = self._number & ((1 << count) - 1)
        self._number >>= count
        self._left -= count
        return found

    def choice(self, *ways: tuple[int, int]) -> int:
        """A number in one of four widths, each with what is added to it."""
        width, base = ways[self.take(2)]
        return base + self.take(width)
