"""Pictures of 8 bits a sample: their size, and PNG and JPEG files of them with the ICC profile of their colours. What
they show is for ``render``. The small PNG writer of our own is ten times faster than the usual ones."""

import struct
import zlib
from typing import Final

import imagecodecs
import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from hilum.core.errors import Invalid

Picture = NDArray[np.uint8]
"""Of shape (rows, columns), or (rows, columns, 3) for red, green and blue."""

MAX_SCALE: Final = 8
MAX_PIXELS: Final = 32 * 1024 * 1024
MAX_SIDE: Final = 32767
_MAX_THUMBNAIL: Final = 2048
_STRIP: Final = 64
_SQUARE: Final = 0.01  # pixels whose sides differ by less are square: spacings are rounded in files
JPEG_QUALITY: Final = 90
_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_ICC_PART: Final = 65519


def scaled(picture: Picture, scale: float = 1.0, aspect: float = 1.0) -> Picture:
    """Enlarge a picture, and make its pixels square: the longer side of a pixel is what grows, nothing is lost.

    Parameters
    ----------
    picture : ndarray of uint8
        Of shape (rows, columns) or (rows, columns, 3).
    scale : float
        1 to 8; between the pixels values are interpolated.
    aspect : float
        Height of a pixel of ``picture`` over its width (`image.ImageDescription.aspect`).

    Raises
    ------
    Invalid
        When the scale is out of its range, or the picture would have more than 32 Mi pixels.
    """
    if not 1 <= scale <= MAX_SCALE:
        raise Invalid(f"A picture is enlarged 1 to {MAX_SCALE} times.")
    height, width = squared(picture, aspect)
    if (height, width, scale) == (*picture.shape[:2], 1.0):
        return picture
    fitting = min(1.0, (MAX_PIXELS / (height * width)) ** 0.5, MAX_SIDE / max(height, width))
    if scale > 1 and (height * width * scale**2 > MAX_PIXELS or max(height, width) * scale > MAX_SIDE):
        raise Invalid(f"The picture would have more than {MAX_PIXELS >> 20} Mi pixels; ask for a smaller scale.")
    rows, columns = (max(1, round(length * scale * fitting)) for length in (height, width))
    return resized(picture, rows, columns)


def squared(picture: Picture, aspect: float) -> tuple[float, float]:
    """Height and width that make a picture's pixels square, in the smaller of their two sides."""
    tall, wide = (1.0, 1.0) if abs(aspect - 1) < _SQUARE else (max(aspect, 1.0), max(1 / aspect, 1.0))
    return picture.shape[0] * tall, picture.shape[1] * wide


def thumbnail(picture: Picture, size: int, aspect: float = 1.0) -> Picture:
    """Scale a picture down, by the mean over areas, to fit a square; never enlarged but for its pixels' aspect.

    Parameters
    ----------
    picture : ndarray of uint8
        Of shape (rows, columns) or (rows, columns, 3).
    size : int
        Side of the square in pixels, 1 to 2048.
    aspect : float
        Height of a pixel of ``picture`` over its width (`image.ImageDescription.aspect`).

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
    return resized(picture, rows, columns)


def to_png(picture: Picture, icc: bytes = b"") -> bytes:
    """A picture as PNG, 8-bit grey or RGB, unfiltered and lightly deflated: smaller time for a few more bytes.

    Parameters
    ----------
    picture : ndarray of uint8
        Of shape (rows, columns) or (rows, columns, 3).
    icc : bytes
        The profile of its colours; left out of a grey picture, which it would not fit.

    Raises
    ------
    ValueError
        When the array is not of uint8 and of shape (rows, columns) or (rows, columns, 3).
    """
    _check(picture)
    rows, columns = picture.shape[:2]
    lines = np.zeros((rows, 1 + picture[0].size), np.uint8)  # each line begins with its filter, 0 for none
    lines[:, 1:] = picture.reshape(rows, -1)
    header = struct.pack(">IIBBBBB", columns, rows, 8, 2 if picture.ndim == 3 else 0, 0, 0, 0)
    profile = _chunk(b"iCCP", b"ICC\0\0" + zlib.compress(icc)) if icc and picture.ndim == 3 else b""
    body = isal_zlib.compress(lines.data, 1)  # pyright: ignore[reportUnknownMemberType]
    return _SIGNATURE + _chunk(b"IHDR", header) + profile + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def to_jpeg(picture: Picture, icc: bytes = b"", quality: int = JPEG_QUALITY) -> bytes:
    """A picture as baseline JPEG of a quality from 1 to 100, with full colour; else as `to_png`.

    Raises
    ------
    Invalid
        When it is too large for the format.
    """
    _check(picture)
    if max(picture.shape[:2]) > 65500:
        raise Invalid("The picture is too large for JPEG; ask for PNG.")
    colour = picture.ndim == 3
    data = bytes(
        imagecodecs.jpeg8_encode(np.ascontiguousarray(picture), level=quality, subsampling="444" if colour else None)
    )
    parts = [icc[begin : begin + _ICC_PART] for begin in range(0, len(icc), _ICC_PART)] if colour else []
    segments = (
        b"\xff\xe2" + struct.pack(">H", len(part) + 16) + b"ICC_PROFILE\0" + bytes((number, len(parts))) + part
        for number, part in enumerate(parts, 1)
    )
    begin = 4 + int.from_bytes(data[4:6], "big") if data[2:4] == b"\xff\xe0" else 2  # JFIF's segment comes first
    return data[:begin] + b"".join(segments) + data[begin:]


def to_srgb(picture: Picture, icc: bytes) -> tuple[Picture, bytes]:
    """The colours of a picture in sRGB, and its profile; as they are where their own profile is damaged.

    Parameters
    ----------
    picture : ndarray of uint8
        Of shape (rows, columns, 3).
    icc : bytes
        The profile of its colours.
    """
    srgb = bytes(imagecodecs.cms_profile("srgb"))
    try:
        return imagecodecs.cms_transform(np.ascontiguousarray(picture), icc, srgb, colorspace="rgb"), srgb
    except imagecodecs.CmsError:
        return picture, icc


def _check(picture: Picture) -> None:
    if picture.dtype != np.uint8 or picture.ndim not in (2, 3) or (picture.ndim == 3 and picture.shape[2] != 3):
        raise ValueError("A picture is an array of uint8 of shape (rows, columns) or (rows, columns, 3)")


def _chunk(kind: bytes, body: bytes) -> bytes:
    checksum = isal_zlib.crc32(kind + body)  # pyright: ignore[reportUnknownMemberType]
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def _rounded(values: NDArray[np.float32] | NDArray[np.float64]) -> Picture:
    return np.floor(values + 0.5).astype(np.uint8)


def resized(picture: Picture, rows: int, columns: int) -> Picture:
    """A picture of another size: means over neighbours where it shrinks, straight lines between them where it grows.

    Parameters
    ----------
    picture : ndarray of uint8
        Of shape (rows, columns) or (rows, columns, 3).
    rows, columns : int
        The new size.
    """
    for axis, length in ((0, rows), (1, columns)):
        if length < picture.shape[axis]:
            picture = _rounded(_means(picture, length, axis))
    return picture if picture.shape[:2] == (rows, columns) else _grown(picture, rows, columns)


def _means(values: Picture, length: int, axis: int) -> NDArray[np.float32]:
    old = values.shape[axis]
    edges = np.arange(length) * old // length
    counts = np.diff(edges, append=old).reshape([-1 if one == axis else 1 for one in range(values.ndim)])
    sums: NDArray[np.float32] = np.add.reduceat(values, edges, axis, dtype=np.float32)
    return sums / counts.astype(np.float32)


def _grown(picture: Picture, rows: int, columns: int) -> Picture:
    grown = np.empty((rows, columns, *picture.shape[2:]), np.uint8)
    ones = (1,) * (picture.ndim - 2)
    above, below, down = _places(picture.shape[0], rows)
    left, right, across = _places(picture.shape[1], columns)
    across = across.reshape(1, -1, *ones)
    for begin in range(0, rows, _STRIP):
        strip = slice(begin, begin + _STRIP)
        share = down[strip].reshape(-1, 1, *ones)
        lines = picture[above[strip]] * (1 - share) + picture[below[strip]] * share
        grown[strip] = _rounded(lines[:, left] * (1 - across) + lines[:, right] * across)
    return grown


def _places(old: int, new: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """For each new place the two old ones that it lies between, and its distance from the first."""
    places = np.clip((np.arange(new) + 0.5) * (old / new) - 0.5, 0, old - 1)
    first = np.floor(places).astype(np.int64)
    return first, np.minimum(first + 1, old - 1), (places - first).astype(np.float32)
