"""The part of a picture that someone wants to see, and the size to see it in (PS3.18 section 8.3.5.1.3): cut out,
turned over, scaled to fit. What the picture shows is for ``render``."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from hilum.core.errors import Invalid
from hilum.imaging.dicom.picture import MAX_PIXELS, MAX_SIDE, Picture, resized, scaled, squared


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle of a picture.

    Attributes
    ----------
    left, top : float
        Its upper left corner.
    width, height : float or None
        Its size; None reaches to the edge of the picture.
    relative : bool
        Whether all of them are parts of the picture's size (0 to 1), not pixels.
    """

    left: float = 0.0
    top: float = 0.0
    width: float | None = None
    height: float | None = None
    relative: bool = False


@dataclass(frozen=True, slots=True)
class Viewport:
    """Where a picture is to be shown.

    Attributes
    ----------
    width, height : int or None
        Of the viewport in pixels; the picture is made as large as fits. None does not limit it.
    region : Region or None
        What of the picture is shown; None shows it all.
    mirrored, flipped : bool
        Whether left and right, or top and bottom, change places.
    """

    width: int | None = None
    height: int | None = None
    region: Region | None = None
    mirrored: bool = False
    flipped: bool = False


def fitted(picture: Picture, viewport: Viewport, aspect: float = 1.0) -> Picture:
    """Show a picture in a viewport: the region cut out, turned over, then as large as fits, its pixels made square.

    Parameters
    ----------
    picture : ndarray of uint8
        Of shape (rows, columns) or (rows, columns, 3).
    viewport : Viewport
        Where it is to be shown.
    aspect : float
        Height of a pixel of ``picture`` over its width (`image.ImageDescription.aspect`).

    Raises
    ------
    Invalid
        When the region lies outside of the picture, or what is asked for has more than 32 Mi pixels.
    """
    if viewport.region is not None:
        picture = _cut(picture, viewport.region)
    if viewport.mirrored:
        picture = picture[:, ::-1]
    if viewport.flipped:
        picture = picture[::-1]
    if viewport.width is None and viewport.height is None:
        return np.ascontiguousarray(scaled(picture, 1.0, aspect))
    height, width = squared(picture, aspect)
    scale = min((limit / side for limit, side in ((viewport.width, width), (viewport.height, height)) if limit))
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    if rows * columns > MAX_PIXELS or max(rows, columns) > MAX_SIDE:
        raise Invalid(f"The picture would have more than {MAX_PIXELS >> 20} Mi pixels; ask for a smaller viewport.")
    return np.ascontiguousarray(resized(picture, rows, columns))


_TOLERANCE: Final = 1e-6


def _cut(picture: Picture, region: Region) -> Picture:
    rows, columns = picture.shape[:2]
    across, down = (columns, rows) if region.relative else (1, 1)
    left, right = _between(region.left * across, None if region.width is None else region.width * across, columns)
    top, bottom = _between(region.top * down, None if region.height is None else region.height * down, rows)
    return picture[top:bottom, left:right]


def _between(start: float, length: float | None, size: int) -> tuple[int, int]:
    """First and last index (exclusive) of a stretch in whole pixels, what lies beyond the edge left out."""
    end = size if length is None else min(start + length, size)
    if not (0 <= start < size and end - start > _TOLERANCE):
        raise Invalid("The region lies outside of the image.")
    first = min(round(start), size - 1)
    return first, max(first + 1, round(end))
