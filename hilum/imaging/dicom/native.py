"""Samples as they lie in uncompressed pixel data (PS3.5 section 8), from bytes to arrays and back: whole bytes, single
bits, packed bits, planes or pixels, and pairs that share their colour."""

from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from hilum.imaging.dicom.image import FLOAT_BITS, ImageDescription
from hilum.imaging.dicom.problems import Unreadable

Pixels = NDArray[np.integer | np.floating]
HALVED: Final = frozenset(("YBR_FULL_422", "YBR_PARTIAL_422"))
"""Photometric interpretations whose pixels share their colour in pairs where they are not compressed."""

_Number = TypeVar("_Number", bound=np.integer | np.floating)


def sample_bits(image: ImageDescription) -> int:
    """How many bits a sample has once it is in an array: 8, 16, 32 or 64."""
    return next(width for width in (8, 16, 32, 64) if image.bits_allocated <= width)


def native_samples(frame: bytes, image: ImageDescription) -> Pixels:
    """The samples of an uncompressed frame, in little endian, as `frames.read_frame` gives it.

    Returns
    -------
    ndarray
        Of shape (rows, columns) or (rows, columns, samples), unsigned (with what stands above Bits Stored) or float.

    Raises
    ------
    Unreadable
        When the frame is cut short, or its photometric interpretation has no uncompressed form.
    """
    if image.samples > 1 and image.photometric == "YBR_PARTIAL_420":
        raise Unreadable("pixels", "Uncompressed YBR_PARTIAL_420 images are not decoded: the standard has none.")
    if image.samples > 1 and image.photometric in HALVED:
        return _upsampled(_values(frame, image, 2 * image.rows * image.columns), image)
    values = _values(frame, image, image.rows * image.columns * image.samples)
    if image.samples == 1:
        return values.reshape(image.rows, image.columns)
    if image.planar:
        return values.reshape(image.samples, image.rows, image.columns).transpose(1, 2, 0)
    return values.reshape(image.rows, image.columns, image.samples)


def native_bytes(pixels: Pixels, *, bits_allocated: int, planar: bool = False) -> bytes:
    """A frame's samples as uncompressed pixel data in little endian; single bits are packed, a frame to itself.

    Parameters
    ----------
    pixels : ndarray
        Of shape (rows, columns) or (rows, columns, samples).
    bits_allocated : int
        1, 8, 16, 32 or 64.
    planar : bool
        Whether the samples of colour lie plane by plane (Planar Configuration 1).
    """
    if pixels.ndim == 3 and planar:
        pixels = pixels.transpose(2, 0, 1)
    if bits_allocated == 1:
        return np.packbits(pixels.ravel().astype(np.uint8), bitorder="little").tobytes()
    return np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<")).tobytes()


def _values(frame: bytes, image: ImageDescription, count: int) -> Pixels:
    bits = image.bits_allocated
    if image.keyword in FLOAT_BITS:
        return _array(frame, np.dtype("<f4" if bits == 32 else "<f8"), count)
    if bits % 8 == 0:
        return _array(frame, np.dtype(f"<u{bits // 8}"), count)
    packed = _array(frame, np.dtype(np.uint8), (count * bits + 7) // 8)
    single = np.unpackbits(packed, count=count * bits, bitorder="little")
    if bits == 1:
        return single
    # Packed words (retired): a sample goes on where the one before it ended, lowest bits first.
    padded = np.zeros((count, sample_bits(image)), np.uint8)
    padded[:, :bits] = single.reshape(count, bits)
    return np.packbits(padded, axis=1, bitorder="little").view(f"<u{sample_bits(image) // 8}").ravel()


def _array(frame: bytes, dtype: np.dtype[_Number], count: int) -> NDArray[_Number]:
    if len(frame) < count * dtype.itemsize:
        raise Unreadable(
            "truncated", f"The frame is cut short: {len(frame)} of {count * dtype.itemsize} bytes are there."
        )
    return np.frombuffer(frame, dtype, count)


def _upsampled(values: Pixels, image: ImageDescription) -> Pixels:
    """Y Y Cb Cr for each two pixels of a row, to Y Cb Cr for each (PS3.3 C.7.6.3.1.2)."""
    if image.columns % 2:
        raise Unreadable("pixels", "An image of this photometric interpretation has an even number of columns.")
    pairs = values.reshape(image.rows, image.columns // 2, 4)
    full = np.empty((image.rows, image.columns, 3), values.dtype)
    full[:, :, 0] = pairs[:, :, :2].reshape(image.rows, image.columns)
    full[:, :, 1:] = pairs[:, :, 2:].repeat(2, axis=1)
    return full
