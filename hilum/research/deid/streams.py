"""Pixel data as it is written into a de-identified file: the same samples, without what can hide beside them. Native
samples lose bytes behind the last frame and bits that no value uses; code streams lose comments, application segments
and what stands behind their end. Not one pixel is decoded here."""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

import numpy as np

from hilum.imaging.dicom import attributes as a
from hilum.imaging.dicom.dataset import PIXEL_TAGS
from hilum.imaging.dicom.explicit import native_pixels, pixel_vr
from hilum.imaging.dicom.frames import MAX_FRAGMENTS, native_frame, number_of_frames
from hilum.imaging.dicom.header import Header
from hilum.imaging.dicom.problems import Unreadable
from hilum.imaging.dicom.writer import UNDEFINED, element_start

OFFSET_TABLES: Final = frozenset((0x7FE00001, 0x7FE00002, 0x7FE00003))
_ITEM: Final = struct.Struct("<II")
_MARKER: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_LS_MARKER: Final = re.compile(rb"\xff[\x80-\xfe]")
# Application segments that decoding needs: JFIF, the colour transforms of JPEG-LS and of Adobe.
_NEEDED: Final = frozenset((0xE0, 0xE8, 0xEE))
_MAX_MARKERS: Final = 100_000


@dataclass(frozen=True, slots=True)
class PixelElement:
    """The Pixel Data element of the new file: its bytes, and whether offset tables before it still fit."""

    data: bytes
    same_fragments: bool


def pixel_element(file: BinaryIO, header: Header, *, clear_unused: bool) -> PixelElement:
    """The Pixel Data element in Explicit VR Little Endian.

    Parameters
    ----------
    file, header
        The original, inflated if it was deflated.
    clear_unused
        Whether bits of a sample above High Bit are cleared: overlays were drawn into them once.

    Raises
    ------
    Unreadable
        When the pixel data is damaged or cut short.
    """
    pixel_data = header.pixel_data
    if pixel_data is None:
        raise Unreadable("no_pixel_data", "The instance has no pixel data.")
    if pixel_data.encapsulated:
        return _encapsulated(file, header)
    length = pixel_data.length or 0
    frames = native_frame(header)
    used = -(-frames.frame_bits * number_of_frames(header) // 8)
    if length < used:
        raise Unreadable("truncated", "The pixel data is shorter than its frames.")
    samples = b"".join(native_pixels(file, header, pixel_data, 0, min(length, used)))
    if len(samples) < min(length, used):
        raise Unreadable("truncated", "The file ends inside its pixel data.")
    if clear_unused:
        samples = _cleared(samples, header)
    padding = b"\0" * (len(samples) % 2)
    vr = pixel_vr(file, header)
    start = element_start(PIXEL_TAGS[pixel_data.keyword], vr, len(samples) + len(padding))
    return PixelElement(b"".join((start, samples, padding)), same_fragments=True)


def _cleared(samples: bytes, header: Header) -> bytes:
    """Samples whose bits above High Bit are zero, or repeat the sign where samples are signed."""
    allocated, stored = header.integer("BitsAllocated") or 0, header.integer("BitsStored") or 0
    high = header.integer("HighBit")
    high = stored - 1 if high is None else high
    if allocated not in (8, 16, 32) or not 0 < stored <= allocated or high + 1 >= allocated or high + 1 < stored:
        return samples
    values = np.frombuffer(samples, f"<u{allocated // 8}", len(samples) * 8 // allocated)
    ones = (1 << allocated) - 1
    mask = values.dtype.type((1 << (high + 1)) - 1)
    above = values & values.dtype.type(ones ^ int(mask))
    if not above.any():
        return samples
    new = values & mask
    if header.integer("PixelRepresentation") == 1:
        negative = (values >> values.dtype.type(high) & values.dtype.type(1)).astype(bool)
        new[negative] |= values.dtype.type(ones ^ int(mask))
    return new.tobytes() + samples[new.nbytes :]


def _encapsulated(file: BinaryIO, header: Header) -> PixelElement:
    pixel_data = header.pixel_data
    assert pixel_data is not None
    fragments = list(_fragments(file, pixel_data.offset))
    if len(fragments) < 2:
        raise Unreadable("frames", "The compressed pixel data holds no frame.")
    table, old = fragments[0], fragments[1:]
    new = [_stripped(fragment) for fragment in old]
    same = all(len(one) == len(other) for one, other in zip(old, new, strict=True))
    table = table if same or not table else _moved_table(table, old, new)
    parts = [element_start(PIXEL_TAGS[pixel_data.keyword], "OB", UNDEFINED)]
    for fragment in (table, *new):
        parts += (_ITEM.pack(a.ITEM, len(fragment)), fragment)
    parts.append(_ITEM.pack(a.SEQUENCE_END, 0))
    return PixelElement(b"".join(parts), same_fragments=same)


def _fragments(file: BinaryIO, position: int) -> Iterator[bytes]:
    """The items of encapsulated pixel data, the offset table first (PS3.5 section A.4)."""
    file.seek(position)
    for _ in range(MAX_FRAGMENTS):
        field = file.read(8)
        if len(field) < 8:
            break
        tag, length = _ITEM.unpack(field)
        if tag == a.SEQUENCE_END:
            return
        if tag != a.ITEM or length == UNDEFINED:
            break
        fragment = file.read(length)
        if len(fragment) < length:
            break
        yield fragment
    raise Unreadable("truncated", "The compressed pixel data is damaged or cut short.")


def _moved_table(table: bytes, old: list[bytes], new: list[bytes]) -> bytes:
    """The Basic Offset Table for fragments of other lengths; empty where it did not fit the old ones."""
    places: dict[int, int] = {}
    before = after = 0
    for one, other in zip(old, new, strict=True):
        places[before] = after
        before += 8 + len(one)
        after += 8 + len(other)
    offsets = struct.unpack(f"<{len(table) // 4}I", table[: len(table) // 4 * 4])
    if any(offset not in places for offset in offsets):
        return b""
    return struct.pack(f"<{len(offsets)}I", *(places[offset] for offset in offsets))


def _stripped(fragment: bytes) -> bytes:
    """A fragment without comments and foreign segments; of even length."""
    try:
        if fragment.startswith(b"\xff\xd8"):
            made = _jpeg(fragment)
        elif fragment.startswith(b"\xff\x4f\xff\x51"):
            made = _jpeg_2000(fragment)
        else:
            return fragment
    except (struct.error, IndexError):
        return fragment  # goes on in the next fragment; what it holds is searched for all the same
    return made + b"\0" * (len(made) % 2)


def _jpeg(stream: bytes) -> bytes:
    """JPEG and JPEG-LS up to End Of Image, with the segments that decoding needs (ITU-T T.81 annex B)."""
    parts = [stream[:2]]
    position, marker_pattern = 2, _MARKER
    for _ in range(_MAX_MARKERS):
        while stream[position] == 0xFF and stream[position + 1] == 0xFF:
            position += 1
        if stream[position] != 0xFF:
            return stream
        marker = stream[position + 1]
        if marker == 0xD9:
            return b"".join((*parts, stream[position : position + 2]))
        if marker == 0xF7:
            marker_pattern = _LS_MARKER
        (length,) = struct.unpack_from(">H", stream, position + 2)
        end = position + 2 + length
        if not (marker == 0xFE or (0xE0 <= marker <= 0xEF and marker not in _NEEDED)):
            parts.append(stream[position:end])
        if marker == 0xDA:
            found = marker_pattern.search(stream, end)
            if found is None:
                return b"".join((*parts, stream[end:]))
            parts.append(stream[end : found.start()])
            end = found.start()
        position = end
    return stream


def _jpeg_2000(stream: bytes) -> bytes:
    """A code stream without the comments of its main header (ISO/IEC 15444-1 annex A.9.2)."""
    parts = [stream[:2]]
    position = 2
    for _ in range(_MAX_MARKERS):
        marker, length = struct.unpack_from(">HH", stream, position)
        if marker == 0xFF90:  # the first tile
            break
        end = position + 2 + length
        if marker != 0xFF64:
            parts.append(stream[position:end])
        position = end
    end = stream.rfind(b"\xff\xd9")
    return b"".join((*parts, stream[position : end + 2 if end > position else None]))
