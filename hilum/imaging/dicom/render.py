"""Arrays to pictures: windows as PS3.3 C.11.2 defines them, thumbnails, and PNG by a small writer of our own, which is
ten times faster than the usual ones. Decoding is done by ``pixels``."""

import struct
from functools import lru_cache
from typing import Final

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from hilum.core.errors import Invalid
from hilum.imaging.dicom.pixels import ImageDescription, Pixels

Picture = NDArray[np.uint8]
Window = tuple[float, float]

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_MAX_THUMBNAIL: Final = 2048


def render(pixels: Pixels, image: ImageDescription, window: Window | None = None, *, invert: bool = False) -> Picture:
    """Show a decoded frame as 8-bit grey or red, green and blue.

    Stored values are rescaled, then windowed: by ``window``, else by the file's first window, else from the lowest to
    the highest value without pixel padding. MONOCHROME1 is shown with its lowest value white.

    Parameters
    ----------
    pixels : ndarray
        As `pixels.decode_frame` gives it.
    image : ImageDescription
        Of the same image.
    window : tuple of (float, float), optional
        Center and width, in values after rescale; used as the file's VOI LUT Function says (PS3.3 C.11.2.1.2). Ignored
        for colour.
    invert : bool
        Swap black and white.

    Returns
    -------
    ndarray of uint8
        Of shape (rows, columns), or (rows, columns, 3) for colour.

    Raises
    ------
    Invalid
        When the window is not a finite center and a positive width.
    """
    if pixels.ndim == 3:
        return _colour(pixels, image, invert=invert)
    inverse = invert != (image.photometric == "MONOCHROME1")
    function = image.voi_function
    if window is None and image.windows:
        window = image.windows[0]
    if window is None:
        window, function = full_window(pixels, image), "LINEAR_EXACT"
    center, width = window
    if not (np.isfinite(center) and np.isfinite(width) and width > 0):
        raise Invalid("A window needs a center and a width greater than 0.")
    if pixels.dtype.kind == "f" or pixels.dtype.itemsize > 2:
        values = pixels.astype(np.float64) * image.slope + image.intercept
        return _shades(values, center, width, function, inverse)
    bits = image.bits_stored if pixels.dtype.kind == "u" else pixels.dtype.itemsize * 8
    table = _table(pixels.dtype.str, max(bits, 1), image.slope, image.intercept, center, width, function, inverse)
    return table.take(pixels.view(f"u{pixels.dtype.itemsize}"))


def full_window(pixels: Pixels, image: ImageDescription) -> Window:
    """The window (for LINEAR_EXACT) from the lowest to the highest value after rescale, pixel padding left out."""
    values = pixels
    if image.padding is not None:
        low, high = image.padding
        kept = pixels[(pixels < low) | (pixels > high)]
        values = kept if kept.size else pixels
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
    if not values.size:
        return 0.5, 1.0
    ends = (float(values.min()) * image.slope + image.intercept, float(values.max()) * image.slope + image.intercept)
    low, high = min(ends), max(ends)
    return ((low + high) / 2, high - low) if high > low else (low + 0.5, 1.0)


def thumbnail(picture: Picture, size: int, aspect: float = 1.0) -> Picture:
    """Scale a picture down, by the mean over areas, to fit a square; never enlarged but for its pixels' aspect.

    Parameters
    ----------
    picture : ndarray of uint8
        Of shape (rows, columns) or (rows, columns, 3).
    size : int
        Side of the square in pixels, 1 to 2048.
    aspect : float
        Height of a pixel of ``picture`` over its width (`pixels.ImageDescription.aspect`).

    Raises
    ------
    Invalid
        When the size is out of its range.
    """
    if not 0 < size <= _MAX_THUMBNAIL:
        raise Invalid(f"A thumbnail is 1 to {_MAX_THUMBNAIL} pixels wide.")
    height, width = picture.shape[0] * aspect, float(picture.shape[1])
    scale = min(1.0, size / max(height, width))
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    scaled = _scaled(_scaled(picture.astype(np.float32), rows, 0), columns, 1)
    return np.floor(scaled + 0.5).astype(np.uint8)


def to_png(picture: Picture) -> bytes:
    """A picture as PNG, 8-bit grey or RGB, unfiltered and lightly deflated: smaller time for a few more bytes.

    Raises
    ------
    ValueError
        When the array is not of uint8 and of shape (rows, columns) or (rows, columns, 3).
    """
    if picture.dtype != np.uint8 or picture.ndim not in (2, 3) or (picture.ndim == 3 and picture.shape[2] != 3):
        raise ValueError("A picture is an array of uint8 of shape (rows, columns) or (rows, columns, 3)")
    rows, columns = picture.shape[:2]
    lines = np.zeros((rows, 1 + picture[0].size), np.uint8)  # each line begins with its filter, 0 for none
    lines[:, 1:] = picture.reshape(rows, -1)
    header = struct.pack(">IIBBBBB", columns, rows, 8, 2 if picture.ndim == 3 else 0, 0, 0, 0)
    body = isal_zlib.compress(lines.data, 1)  # pyright: ignore[reportUnknownMemberType]
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, body: bytes) -> bytes:
    checksum = isal_zlib.crc32(kind + body)  # pyright: ignore[reportUnknownMemberType]
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def _colour(pixels: Pixels, image: ImageDescription, *, invert: bool) -> Picture:
    bits = 8 if image.palette is not None else image.bits_stored
    shown = pixels.astype(np.uint8) if bits <= 8 else np.floor_divide(pixels, 1 << (bits - 8)).astype(np.uint8)
    return np.bitwise_not(shown) if invert else shown


@lru_cache(maxsize=64)
def _table(
    dtype: str, bits: int, slope: float, intercept: float, center: float, width: float, function: str, inverse: bool
) -> Picture:
    """The shade of every stored value, by its bits as an unsigned number."""
    stored = np.arange(1 << bits, dtype=f"u{np.dtype(dtype).itemsize}").view(dtype)
    return _shades(stored * np.float64(slope) + intercept, center, width, function, inverse)


def _shades(values: NDArray[np.float64], center: float, width: float, function: str, inverse: bool) -> Picture:
    """Values after rescale to 0..255 by a VOI function (PS3.3 C.11.2.1.2.1, C.11.2.1.3)."""
    if function == "SIGMOID":
        with np.errstate(over="ignore"):
            shades = 255.0 / (1.0 + np.exp(-4.0 * (values - center) / width))
    elif function == "LINEAR_EXACT":
        shades = ((values - center) / width + 0.5) * 255.0
    elif width > 1:
        shades = ((values - (center - 0.5)) / (width - 1.0) + 0.5) * 255.0
    else:
        shades = np.where(values <= center - 0.5, 0.0, 255.0)
    shades = np.clip(np.nan_to_num(shades), 0.0, 255.0)
    return np.floor((255.0 - shades if inverse else shades) + 0.5).astype(np.uint8)


def _scaled(values: NDArray[np.float32], length: int, axis: int) -> NDArray[np.float32]:
    """One axis to a new length: means over neighbours when it shrinks, the nearest value when it grows."""
    old = values.shape[axis]
    if length >= old:
        nearest: NDArray[np.float32] = np.take(values, np.arange(length) * old // length, axis)
        return nearest
    edges = np.arange(length) * old // length
    counts = np.diff(edges, append=old).reshape([-1 if one == axis else 1 for one in range(values.ndim)])
    sums: NDArray[np.float32] = np.add.reduceat(values, edges, axis)
    return sums / counts.astype(np.float32)
