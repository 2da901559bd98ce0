"""Overlay planes (PS3.3 C.9.2): one bit a pixel in the groups 6000 to 601E, or, in older files, in a bit of the samples
that no value uses. They are read only where someone asks to see them."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from hilum.imaging.dicom.dicom_json import read_data_set, read_tree
from hilum.imaging.dicom.elements import Element
from hilum.imaging.dicom.header import Header
from hilum.imaging.dicom.image import ImageDescription
from hilum.imaging.dicom.picture import Picture
from hilum.imaging.dicom.uids import is_compressed

_ROWS, _COLUMNS, _FRAMES, _ORIGIN, _FRAME_ORIGIN = 0x0010, 0x0011, 0x0015, 0x0050, 0x0051
_BITS, _POSITION, _DATA = 0x0100, 0x0102, 0x3000
_WHITE: Final = 255


@dataclass(frozen=True, slots=True)
class Overlay:
    """One overlay plane of one frame.

    Attributes
    ----------
    row, column : int
        Where its upper left pixel lies in the image, from 0; may be outside of it.
    bits : ndarray of bool
        Of shape (rows, columns), true where something is drawn.
    """

    row: int
    column: int
    bits: NDArray[np.bool_]


def read_overlays(
    file: BinaryIO, header: Header, image: ImageDescription, frame: bytes, number: int = 0
) -> list[Overlay]:
    """The overlay planes of a frame; what is damaged in them is left out.

    Parameters
    ----------
    file, header
        The instance, as of `image.describe`.
    image : ImageDescription
        Of the frame.
    frame : bytes
        The frame as `frames.read_frame` gives it, in which the older kind of overlay hides.
    number : int
        Which frame, from 0.
    """
    found = {element.tag: element for element in read_tree(read_data_set(file, header), header)}
    planes: list[Overlay] = []
    for group in range(0x6000, 0x6020, 2):
        plane = {tag & 0xFFFF: element for tag, element in found.items() if tag >> 16 == group}
        overlay = _overlay(plane, image, frame, number) if plane else None
        if overlay is not None:
            planes.append(overlay)
    return planes


def draw(picture: Picture, overlays: Sequence[Overlay]) -> Picture:
    """A copy of a picture, of the image's own size, with overlays in white."""
    drawn = picture.copy()
    for overlay in overlays:
        top, left = max(0, overlay.row), max(0, overlay.column)
        bits = overlay.bits[top - overlay.row :, left - overlay.column :]
        target = drawn[top : top + bits.shape[0], left : left + bits.shape[1]]
        target[bits[: target.shape[0], : target.shape[1]]] = _WHITE
    return drawn


def _overlay(plane: Mapping[int, Element], image: ImageDescription, frame: bytes, number: int) -> Overlay | None:
    row, column = _shorts(plane.get(_ORIGIN), signed=True) or (1, 1)
    data = plane.get(_DATA)
    position = _one(plane.get(_POSITION), 0)
    if data is None or not data.value:
        bits = _embedded(frame, image, position) if _one(plane.get(_BITS), 1) > 1 and position else None
        return None if bits is None else Overlay(row - 1, column - 1, bits)
    rows, columns = _one(plane.get(_ROWS), image.rows), _one(plane.get(_COLUMNS), image.columns)
    frames, first = max(1, _count(plane.get(_FRAMES))), _one(plane.get(_FRAME_ORIGIN), 1)
    index = number if frames == 1 and _FRAME_ORIGIN not in plane else number - (first - 1)
    index = 0 if frames == 1 and _FRAME_ORIGIN not in plane else index
    size = rows * columns
    if not size or not 0 <= index < frames or (index + 1) * size > 8 * len(data.value):
        return None
    begin = index * size
    packed = np.frombuffer(data.value, np.uint8)[begin // 8 : (begin + size + 7) // 8]
    bits = np.unpackbits(packed, bitorder="little")[begin % 8 : begin % 8 + size]
    return Overlay(row - 1, column - 1, bits.reshape(rows, columns).astype(bool))


def _embedded(frame: bytes, image: ImageDescription, position: int) -> NDArray[np.bool_] | None:
    """The bits at one place of uncompressed samples (retired in 2004, PS3.5 section 8.1.2)."""
    count, bits = image.rows * image.columns, image.bits_allocated
    if is_compressed(image.transfer_syntax_uid) or image.samples != 1 or bits not in (8, 16, 32) or position >= bits:
        return None
    if len(frame) < count * bits // 8:
        return None
    samples = np.frombuffer(frame, f"<u{bits // 8}", count)
    return (samples >> samples.dtype.type(position) & samples.dtype.type(1)).reshape(image.rows, image.columns) > 0


def _shorts(element: Element | None, *, signed: bool) -> tuple[int, int] | None:
    if element is None or len(element.value) != 4:
        return None
    row, column = struct.unpack("<2h" if signed else "<2H", element.value)
    return row, column


def _one(element: Element | None, default: int) -> int:
    return int.from_bytes(element.value, "little") if element is not None and len(element.value) == 2 else default


def _count(element: Element | None) -> int:
    text = "" if element is None else element.value.decode("latin-1").strip(" \0")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 7 else 1
