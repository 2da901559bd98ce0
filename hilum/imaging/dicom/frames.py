"""Where the bytes of each frame lie, compressed or not, and reading them. Decoding is for ``pixels``.

Frames are counted from 0 here, as Python does; DICOMweb's and the pages' frame numbers, from 1, are turned at the
doors. All offsets count from the start of the file; of a deflated file, from the start of `source.inflated_file`,
which is then the file to pass.
"""

import os
import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import BinaryIO, Final

from hilum.imaging.dicom import attributes as a
from hilum.imaging.dicom.header import Header, PixelData
from hilum.imaging.dicom.problems import Unreadable
from hilum.imaging.dicom.uids import is_video

MAX_FRAGMENTS: Final = 2_000_000
MAX_FRAME_BYTES: Final = 512 * 1024 * 1024

_ITEM: Final = struct.Struct("<II")
_FIRST_ITEMS: Final = 16
# What a frame's code stream begins with: JPEG and JPEG-LS, JPEG 2000 and HTJ2K, JPEG XL (bare, boxed).
_STREAM_STARTS: Final = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\xff\x0a", b"\x00\x00\x00\x0cJXL ")
_SAMPLES_PER_TWO_PIXELS: Final = {"YBR_FULL_422": 4, "YBR_PARTIAL_422": 4, "YBR_PARTIAL_420": 3}


@dataclass(frozen=True, slots=True)
class NativeFrames:
    """Uncompressed frames, one after the other and not aligned to bytes (PS3.5 section 8.1.1).

    Attributes
    ----------
    offset : int
        Of frame 0, in bytes from the start of the file.
    frame_bits : int
        Size of a frame in bits; a multiple of 8 but for 1-bit images.
    count : int
        How many whole frames there are, never more than the pixel data holds.
    """

    offset: int
    frame_bits: int
    count: int

    @property
    def frame_bytes(self) -> int:
        """Size in bytes of one frame read by itself, its last byte filled up with zero bits."""
        return (self.frame_bits + 7) // 8


def number_of_frames(header: Header) -> int:
    """How many frames the header claims; one where it says nothing or nonsense. Not to be trusted for sizes."""
    claimed = header.integer("NumberOfFrames")
    return claimed if claimed is not None and claimed > 0 else 1


def native_frame(header: Header, size: int | None = None) -> NativeFrames:
    """Where the frames of uncompressed pixel data lie.

    Parameters
    ----------
    header : Header
        Of an image that is not encapsulated.
    size : int, optional
        Size of the file in bytes; frames that a truncated file lacks are then not counted.

    Raises
    ------
    Unreadable
        When there is no such pixel data, or the header does not say how large a frame is.
    """
    pixel_data = _pixel_data(header)
    if pixel_data.encapsulated or pixel_data.length is None:
        raise Unreadable("frames", "The pixel data is compressed: its frames have no fixed size.")
    frame_bits = _frame_bits(header, pixel_data)
    length = pixel_data.length if size is None else max(0, min(pixel_data.length, size - pixel_data.offset))
    return NativeFrames(pixel_data.offset, frame_bits, min(number_of_frames(header), length * 8 // frame_bits))


def frame_offsets(file: BinaryIO, header: Header) -> tuple[int, ...]:
    """Where each frame of encapsulated pixel data lies (PS3.5 section A.4).

    The items are walked, which no table can lie about; an offset table only tells which of them make up a frame when
    there are more items than frames, and is not believed when it does not fit them.

    Parameters
    ----------
    file : BinaryIO
        The file, seekable.
    header : Header
        Its header.

    Returns
    -------
    tuple of int
        One offset more than there are frames: of the first item (its tag) of each frame, and of the end of the last.

    Raises
    ------
    Unreadable
        When the items are damaged or cut short, or nothing tells which of them belong to which frame.
    """
    pixel_data = _pixel_data(header)
    if not pixel_data.encapsulated:
        raise Unreadable("frames", "The pixel data is not compressed: it has no fragments.")
    items, end = _items(file, pixel_data)
    table, fragments = items[0], [item for item in items[1:] if item[1]]
    frames = number_of_frames(header)
    if not fragments:
        raise Unreadable("frames", "The compressed pixel data holds no frame.")
    if is_video(header.transfer_syntax_uid) or frames == 1:
        return fragments[0][0], end
    starts = [offset for offset, _ in fragments]
    if frames < len(fragments):
        starts = (
            _by_table(_basic_table(file, table), items[1:], frames)
            or _by_table(_extended_table(file, header, frames), items[1:], frames)
            or _by_stream(file, fragments, frames)
        )
    if frames != len(starts):
        raise Unreadable("frames", f"The file claims {frames} frames, but its {len(fragments)} fragments do not fit.")
    return *starts, end


def read_frame(file: BinaryIO, header: Header, offsets: Sequence[int], frame: int) -> bytes:
    """The bytes of one frame: the code stream of a compressed one, without item headers, or the native samples.

    Native samples come in little-endian order whatever the file's, frames of 1-bit images begin in a byte of their own.

    Parameters
    ----------
    file : BinaryIO
        The file, seekable.
    header : Header
        Its header.
    offsets : sequence of int
        What `frame_offsets` returned; empty for native pixel data.
    frame : int
        Which frame, from 0.

    Raises
    ------
    Unreadable
        When there is no such frame, it is cut short, or larger than 512 MiB.
    """
    if offsets:
        return _read_encapsulated(file, offsets, frame)
    native = native_frame(header, file.seek(0, os.SEEK_END))
    if not 0 <= frame < native.count:
        raise Unreadable("frames", f"There is no frame {frame + 1}: the file has {native.count}.")
    width = _word(header)
    begin, shift = divmod(frame * native.frame_bits, 8 * width)
    length = -(-(shift + native.frame_bits) // (8 * width)) * width
    data = _read(file, native.offset + begin * width, length)
    if width > 1:
        data = _byteswapped(data, width)
    whole = length * 8 == native.frame_bits
    return data if whole else _cut(data, shift, native.frame_bits)


def first_bytes(file: BinaryIO, header: Header, limit: int) -> bytes:
    """Up to ``limit`` bytes of the first fragment of encapsulated pixel data that is not empty.

    Raises
    ------
    Unreadable
        When there is none.
    """
    pixel_data = _pixel_data(header)
    position = pixel_data.offset
    for _ in range(_FIRST_ITEMS):
        file.seek(position)
        start = file.read(8)
        if len(start) < 8:
            break
        tag, length = _ITEM.unpack(start)
        if tag != a.ITEM or length == a.UNDEFINED:
            break
        if length and position > pixel_data.offset:  # the first item is the offset table
            return file.read(min(length, limit))
        position += 8 + length
    raise Unreadable("frames", "The compressed pixel data holds no frame.")


def pixel_data_problem(header: Header, size: int) -> str | None:
    """A sentence on why the pixel data cannot be whole, from the header and the file's size alone, or None.

    Compressed pixel data is only looked at as far as its start; `frame_offsets` finds what else is wrong with it.
    """
    pixel_data = header.pixel_data
    if pixel_data is None:
        return None
    if pixel_data.encapsulated:
        return (
            "The pixel data is cut short: the file ends before its first frame."
            if size < pixel_data.offset + 16
            else None
        )
    if pixel_data.length is None:
        return "The pixel data has no length."
    try:
        expected = number_of_frames(header) * _frame_bits(header, pixel_data)
    except Unreadable as problem:
        return str(problem)
    there = min(pixel_data.length, size - pixel_data.offset)
    if there * 8 < expected:
        return f"The pixel data is cut short: {max(0, there)} of {(expected + 7) // 8} bytes are there."
    return None


def _pixel_data(header: Header) -> PixelData:
    if header.pixel_data is None:
        raise Unreadable("no_pixel_data", "The instance has no pixel data.")
    return header.pixel_data


def _frame_bits(header: Header, pixel_data: PixelData) -> int:
    rows, columns = header.integer("Rows") or 0, header.integer("Columns") or 0
    samples = header.integer("SamplesPerPixel") or 1
    default = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}.get(pixel_data.keyword, 0)
    bits = header.integer("BitsAllocated") or default
    if not (0 < rows <= 0xFFFF and 0 < columns <= 0xFFFF and 0 < samples <= 0xFF and 0 < bits <= 64):
        raise Unreadable("frames", "The header does not say how large a frame is (Rows, Columns, Bits Allocated).")
    halves = _SAMPLES_PER_TWO_PIXELS.get(header.first("PhotometricInterpretation"), 0) if samples == 3 else 0
    return rows * columns * bits * (halves or 2 * samples) // 2


def _read(file: BinaryIO, offset: int, length: int) -> bytes:
    if length > MAX_FRAME_BYTES:
        raise Unreadable("frames", f"A frame of more than {MAX_FRAME_BYTES >> 20} MiB is not read.")
    file.seek(offset)
    data = file.read(length)
    if len(data) < length:
        raise Unreadable("truncated", "The file ends inside its pixel data.")
    return data


def _cut(data: bytes, shift: int, bits: int) -> bytes:
    """Bits ``shift`` and on, least significant first (PS3.5 section 8.1.1), moved to a byte of their own."""
    if shift % 8 == 0 and bits % 8 == 0:
        return data[shift // 8 : (shift + bits) // 8]
    number = int.from_bytes(data, "little") >> shift & ((1 << bits) - 1)
    return number.to_bytes((bits + 7) // 8, "little")


def _word(header: Header) -> int:
    """The width in bytes of what must be swapped to make native pixels little-endian; 1 when nothing must.

    Big-endian OW is swapped in words even where samples are bytes (PS3.5 section 7.3 and annex D).
    """
    pixel_data = _pixel_data(header)
    if header.little_endian and header.transfer_syntax_uid != a.GE_BIG_ENDIAN_PIXELS:
        return 1
    if pixel_data.vr == "OB":
        return 1
    default = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}.get(pixel_data.keyword, 8)
    return max(2, (header.integer("BitsAllocated") or default) // 8)


def _byteswapped(data: bytes, width: int) -> bytes:
    words: array[int] = array({2: "H", 4: "I", 8: "Q"}.get(width, "H"), data)
    words.byteswap()
    return words.tobytes()


def _items(file: BinaryIO, pixel_data: PixelData) -> tuple[list[tuple[int, int]], int]:
    """Offset (of the tag) and length of each item, the offset table first, and where the last one ends."""
    size = file.seek(0, os.SEEK_END)
    limit = size if pixel_data.length is None else min(size, pixel_data.offset + pixel_data.length)
    items: list[tuple[int, int]] = []
    position = pixel_data.offset
    while position + 8 <= limit:
        file.seek(position)
        tag, length = _ITEM.unpack(file.read(8))
        if tag == a.SEQUENCE_END:
            break
        if tag != a.ITEM or length == a.UNDEFINED:
            raise Unreadable("frames", "The compressed pixel data is damaged: a fragment has no item tag.")
        if position + 8 + length > limit:
            raise Unreadable("truncated", "The file ends inside its pixel data.")
        items.append((position, length))
        if len(items) > MAX_FRAGMENTS:
            raise Unreadable("frames", f"The pixel data has more than {MAX_FRAGMENTS} fragments.")
        position += 8 + length
    if not items:
        raise Unreadable("frames", "The compressed pixel data is damaged: it has no offset table item.")
    return items, position


def _basic_table(file: BinaryIO, table: tuple[int, int]) -> tuple[int, ...]:
    """The Basic Offset Table (PS3.5 section A.4), empty where it is left empty."""
    offset, length = table
    if not length or length % 4 or length > 4 * MAX_FRAGMENTS:
        return ()
    return struct.unpack(f"<{length // 4}I", _read(file, offset + 8, length))


def _extended_table(file: BinaryIO, header: Header, frames: int) -> tuple[int, ...]:
    """The Extended Offset Table (7FE0,0001), which with its lengths (7FE0,0002) stands right before Pixel Data."""
    length = 8 * frames
    begin = header.header_length - 2 * (12 + length)
    if begin < 0 or frames > MAX_FRAGMENTS:
        return ()
    field = struct.pack("<HH2sHI", 0x7FE0, 0x0001, b"OV", 0, length)
    data = _read(file, begin, 12 + length)
    return struct.unpack(f"<{frames}Q", data[12:]) if data.startswith(field) else ()


def _by_table(table: tuple[int, ...], items: list[tuple[int, int]], frames: int) -> list[int]:
    """The frames' offsets by a table (relative to the first fragment), or none when it does not fit the items."""
    if len(table) != frames or table[0] != 0 or any(one >= other for one, other in pairwise(table)):
        return []
    first = items[0][0]
    starts = [first + offset for offset in table]
    return starts if {offset for offset, _ in items}.issuperset(starts) else []


def _by_stream(file: BinaryIO, fragments: list[tuple[int, int]], frames: int) -> list[int]:
    """The frames' offsets by the fragments that begin a code stream, or none when their number is not the frames'."""
    starts: list[int] = []
    for offset, _ in fragments:
        file.seek(offset + 8)
        if file.read(8).startswith(_STREAM_STARTS):
            starts.append(offset)
    return starts if len(starts) == frames and starts[0] == fragments[0][0] else []


def _read_encapsulated(file: BinaryIO, offsets: Sequence[int], frame: int) -> bytes:
    if not 0 <= frame < len(offsets) - 1:
        raise Unreadable("frames", f"There is no frame {frame + 1}: the file has {len(offsets) - 1}.")
    data = memoryview(_read(file, offsets[frame], offsets[frame + 1] - offsets[frame]))
    fragments: list[memoryview] = []
    position = 0
    while position + 8 <= len(data):
        tag, length = _ITEM.unpack_from(data, position)
        if tag != a.ITEM or position + 8 + length > len(data):
            raise Unreadable("frames", "The compressed pixel data is damaged: a fragment has no item tag.")
        fragments.append(data[position + 8 : position + 8 + length])
        position += 8 + length
    return b"".join(fragments)
