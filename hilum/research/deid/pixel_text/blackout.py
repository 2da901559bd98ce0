"""Boxes made black in the frames of a file, and nothing else changed: native samples in place, losslessly compressed
frames decoded and encoded anew in their own syntax, lossy JPEG in its blocks (``jpeg_blocks``). Other lossy frames are
stored without further loss; Lossy Image Compression goes on saying what they were."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from hilum.imaging.dicom import attributes as a
from hilum.imaging.dicom.codestream import read_code_stream
from hilum.imaging.dicom.dataset import PIXEL_TAGS, read_data_set, read_tree
from hilum.imaging.dicom.elements import Element
from hilum.imaging.dicom.encode import HTJ2K, JPEG_2000, JPEG_LS, RLE, SYNTAXES, encode_frame
from hilum.imaging.dicom.frames import frame_offsets, native_frame, read_frame
from hilum.imaging.dicom.header import Header
from hilum.imaging.dicom.image import PALETTE, ImageDescription
from hilum.imaging.dicom.native import HALVED, Pixels, native_bytes, native_samples, sample_bits
from hilum.imaging.dicom.pixels import stored_frame
from hilum.imaging.dicom.problems import Unreadable
from hilum.imaging.dicom.transcode import Samples, plain_frame
from hilum.imaging.dicom.writer import UNDEFINED, element_bytes, element_start, file_start
from hilum.research.deid.pixel_text.jpeg_blocks import NotEditable, blacken_blocks
from hilum.research.deid.pixels import Box

_JPEG: Final = frozenset(("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"))
_NATIVE_INSIDE: Final = frozenset(("1.2.840.10008.1.2.1.98", "1.2.840.10008.1.2.8.1"))
_NEAR_LOSSLESS: Final = "1.2.840.10008.1.2.4.81"
_HT_PROGRESSION: Final = frozenset(("1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203"))
_MIXED: Final = frozenset(("YBR_RCT", "YBR_ICT"))
_OFFSET_TABLES: Final = frozenset((0x7FE00001, 0x7FE00002))
_MAX_NATIVE: Final = 0xFFFFFFFE


class Refused(Exception):
    """A file whose boxes cannot be made black without a change elsewhere; says why."""


@dataclass(frozen=True, slots=True)
class Blackened:
    """A file with black boxes.

    Attributes
    ----------
    data
        The file.
    changed
        Elements of the data set that describe its samples otherwise than the original's.
    """

    data: bytes
    changed: tuple[Element, ...]


def blacken(file: BinaryIO, header: Header, image: ImageDescription, boxes: Sequence[Box]) -> Blackened:
    """Make boxes of a file black.

    Parameters
    ----------
    file, header
        The original, inflated if it was deflated.
    image
        Its description with the palette, of any frame.
    boxes
        What becomes black: white where low values are shown white.

    Raises
    ------
    Refused
        When that cannot be done without a change to other pixels.
    Unreadable
        When a frame that must be changed cannot be decoded.
    """
    offsets = frame_offsets(file, header) if header.pixel_data and header.pixel_data.encapsulated else ()
    count = len(offsets) - 1 if offsets else native_frame(header).count
    syntax = header.transfer_syntax_uid
    if not offsets or syntax not in _JPEG:
        syntax = lossless_syntax(syntax, compressed=bool(offsets))
    samples: Samples | None = None
    frames: list[bytes] = []
    for number in range(count):
        frame = read_frame(file, header, offsets, number)
        here = [box for box in boxes if box.frame in (None, number)]
        if (
            here
            or syntax not in (header.transfer_syntax_uid, a.EXPLICIT_LITTLE)
            or (offsets and syntax == a.EXPLICIT_LITTLE)
        ):
            frame, lies = _frame(frame, image, here, syntax, compressed=bool(offsets))
            if samples not in (None, lies):
                raise Refused("its frames differ in their colours")
            samples = lies or samples
        frames.append(frame)
    changed = tuple(samples.elements(image)) if samples is not None else ()
    return Blackened(rewritten(file, header, frames, syntax, changed), changed)


def lossless_syntax(syntax: str, *, compressed: bool) -> str:
    """The transfer syntax in which a file's changed frames lose nothing: its own where that has no loss."""
    if not compressed or syntax in _NATIVE_INSIDE:
        return a.EXPLICIT_LITTLE
    if syntax in SYNTAXES:
        return syntax
    if syntax == _NEAR_LOSSLESS:
        return JPEG_LS
    return HTJ2K if syntax in _HT_PROGRESSION else JPEG_2000


def _frame(
    frame: bytes, image: ImageDescription, boxes: Sequence[Box], syntax: str, *, compressed: bool
) -> tuple[bytes, Samples | None]:
    """A frame with black boxes, and how its samples lie where that has changed."""
    if syntax in _JPEG:
        try:
            transformed = image.photometric.startswith("YBR") or read_code_stream(frame).transformed is True
            made = blacken_blocks(frame, boxes, white=image.inverse, rgb=image.samples == 3 and not transformed)
        except NotEditable as problem:
            raise Refused(f"its JPEG blocks cannot be edited: {problem}") from None
        return made + b"\0" * (len(made) % 2), None
    if not compressed:
        return _native(frame, image, boxes), None
    same = syntax == image.transfer_syntax_uid
    pixels, photometric = stored_frame(frame, image) if same else plain_frame(frame, image)
    pixels = pixels.copy()
    _paint(pixels, boxes, _black(pixels, image, photometric))
    if syntax == a.EXPLICIT_LITTLE:
        if image.bits_allocated == 1:
            raise Refused("its single bits are compressed")
        return native_bytes(pixels, bits_allocated=sample_bits(image), planar=image.planar), Samples(
            photometric, image.planar, sample_bits(image)
        )
    mixed = photometric == "RGB" and syntax in (JPEG_2000, HTJ2K) and (not same or image.photometric in _MIXED)
    try:
        made = encode_frame(pixels, syntax, bits_stored=image.bits_stored, colours_mix=mixed)
    except ValueError as problem:
        raise Refused(f"they have no form in their transfer syntax ({problem})") from None
    told = "YBR_RCT" if mixed else photometric
    if same and told == image.photometric and syntax != RLE:
        return made, None
    return made, Samples(told, syntax == RLE and image.samples > 1, sample_bits(image))


def _native(frame: bytes, image: ImageDescription, boxes: Sequence[Box]) -> bytes:
    if image.bits_allocated not in (1, 8, 16, 32, 64) or (image.bits_allocated == 1 and image.rows * image.columns % 8):
        raise Refused("its samples are packed")
    if image.samples > 1 and image.photometric in HALVED:
        return _pairs(frame, image, boxes)
    pixels = native_samples(frame, image).copy()
    shift = 0 if pixels.dtype.kind == "f" else image.high_bit + 1 - image.bits_stored
    black = np.asarray(_black(stored_frame(frame, image)[0], image, image.photometric))
    if pixels.dtype.kind != "f":
        black = (black.astype(np.int64) & ((1 << image.bits_stored) - 1)) << max(0, shift)
    _paint(pixels, boxes, black.astype(pixels.dtype))
    return native_bytes(pixels, bits_allocated=image.bits_allocated, planar=image.planar)


def _pairs(frame: bytes, image: ImageDescription, boxes: Sequence[Box]) -> bytes:
    """Y Y Cb Cr for each two pixels of a row: whole pairs go black."""
    kind = np.dtype(f"<u{image.bits_allocated // 8}")
    pairs = np.frombuffer(frame, kind, 2 * image.rows * image.columns).reshape(image.rows, -1, 4).copy()
    dark, middle, _ = _dark(image.photometric, image.bits_stored)
    for box in boxes:
        pairs[box.row : box.row + box.rows, box.column // 2 : (box.column + box.columns + 1) // 2] = (
            dark, dark, middle, middle,
        )  # fmt: skip
    return pairs.tobytes()


def _paint(pixels: Pixels, boxes: Sequence[Box], black: NDArray[np.generic] | Sequence[float]) -> None:
    for box in boxes:
        pixels[box.row : box.row + box.rows, box.column : box.column + box.columns] = black


def _black(pixels: Pixels, image: ImageDescription, photometric: str) -> list[float]:
    """The stored value of black: the lowest of the frame, the highest where that is shown black."""
    if pixels.ndim == 3:
        return _dark(photometric, image.bits_stored)
    if image.photometric == PALETTE and image.palette is not None:
        values = np.unique(pixels)
        return [int(values[image.palette.apply(values).sum(axis=1, dtype=np.int32).argmin()])]
    if pixels.dtype.kind == "u" and not image.inverse:
        return [0]
    finite = pixels[np.isfinite(pixels)] if pixels.dtype.kind == "f" else pixels
    if not finite.size:
        return [0]
    extreme = finite.max() if image.inverse else finite.min()
    return [float(extreme) if finite.dtype.kind == "f" else int(extreme)]


def _dark(photometric: str, bits: int) -> list[float]:
    if not photometric.startswith("YBR"):
        return [0, 0, 0]
    middle = 1 << (bits - 1)
    return [16 << (bits - 8) if photometric.startswith("YBR_PARTIAL") else 0, middle, middle]


def rewritten(
    file: BinaryIO, header: Header, frames: Sequence[bytes], syntax: str, changed: Sequence[Element]
) -> bytes:
    """A file with other frames, in a transfer syntax that they are in, and with the elements that describe them."""
    found = {
        element.tag: element
        for element in read_tree(read_data_set(file, header), header)
        if element.tag not in _OFFSET_TABLES
    }
    found.update((element.tag, element) for element in changed)
    head = file_start(header, syntax) + b"".join(element_bytes([found[tag] for tag in sorted(found)]))
    return b"".join((head, *_pixel_data(header, frames, syntax)))


def _pixel_data(header: Header, frames: Sequence[bytes], syntax: str) -> Iterator[bytes]:
    pixel_data = header.pixel_data
    assert pixel_data is not None
    tag = PIXEL_TAGS[pixel_data.keyword]
    if syntax == a.EXPLICIT_LITTLE:
        length = sum(map(len, frames))
        if length > _MAX_NATIVE:
            raise Refused("it would be longer than uncompressed pixels can be")
        bits = header.integer("BitsAllocated") or 8
        vr = {"FloatPixelData": "OF", "DoubleFloatPixelData": "OD"}.get(
            pixel_data.keyword, "OB" if bits <= 8 and pixel_data.vr == "OB" else "OW"
        )
        yield element_start(tag, vr, length + length % 2)
        yield from frames
        yield b"\0" * (length % 2)
        return
    yield element_start(tag, "OB", UNDEFINED)
    yield _item(b"")
    for frame in frames:
        yield _item(frame + b"\0" * (len(frame) % 2))
    yield (0xE0DDFFFE).to_bytes(4, "little") + bytes(4)


def _item(data: bytes) -> bytes:
    return (0xE000FFFE).to_bytes(4, "little") + len(data).to_bytes(4, "little") + data


def within(box: Box, image: ImageDescription) -> Box:
    """The part of a box that lies in an image; of whole pairs where pixels share their colour."""
    top, left = min(max(box.row, 0), image.rows), min(max(box.column, 0), image.columns)
    bottom, right = min(max(box.row + box.rows, 0), image.rows), min(max(box.column + box.columns, 0), image.columns)
    if image.photometric in HALVED:
        left, right = left - left % 2, right + right % 2
    return replace(box, row=top, column=left, rows=max(0, bottom - top), columns=max(0, right - left))


__all__ = ["Blackened", "Refused", "Unreadable", "blacken", "lossless_syntax", "rewritten", "within"]
