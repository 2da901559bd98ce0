"""From stored values to shades of grey (PS3.3 C.11.1, C.11.2): rescale or modality table, then window or VOI table,
then the inversion that MONOCHROME1 or the presentation LUT shape asks for."""

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hilum.core.errors import Invalid
from hilum.imaging.dicom.image import ImageDescription
from hilum.imaging.dicom.lut import Lut
from hilum.imaging.dicom.native import Pixels

Shades = NDArray[np.uint8]
Window = tuple[float, float]

MAX_WINDOW: Final = 1e15
_FUNCTIONS: Final = frozenset(("LINEAR", "LINEAR_EXACT", "SIGMOID"))


def own_window(image: ImageDescription) -> Window | None:
    """The file's own first center and width, or None."""
    return image.windows[0] if image.windows else None


def asked_window(pixels: Pixels, image: ImageDescription, center: float | None, width: float | None) -> Window | None:
    """The window that someone asks for, of whom only one of the two needs to be named.

    What is not named is the file's own, else that of all values. None when neither is named.

    Raises
    ------
    Invalid
        When the center is no finite number, or the width no positive one; nothing beyond 1e15 is a window.
    """
    if center is None and width is None:
        return None
    if center is None or width is None:
        own = own_window(image) or full_window(pixels, image)
        center, width = own[0] if center is None else center, own[1] if width is None else width
    return _checked((center, width))


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
    if image.modality_lut is not None:
        values = image.modality_lut.apply(np.unique(values))
        ends = (float(values.min()), float(values.max()))
    else:
        ends = tuple(float(end) * image.slope + image.intercept for end in (values.min(), values.max()))
    low, high = min(ends), max(ends)
    return ((low + high) / 2, high - low) if high > low else (low + 0.5, 1.0)


def grey(pixels: Pixels, image: ImageDescription, window: Window | None, *, invert: bool) -> Shades:
    """Show stored values as shades of grey.

    Parameters
    ----------
    pixels : ndarray
        Stored values of shape (rows, columns).
    image : ImageDescription
        Of the same frame.
    window : tuple of (float, float) or None
        Center and width after rescale, for the file's own VOI LUT Function. Without one the file's first window holds,
        else its VOI table, else all values are shown but padding.
    invert : bool
        Swap black and white. What is no number (NaN) stays black.

    Raises
    ------
    Invalid
        As `asked_window`.
    """
    inverse = invert != image.inverse
    function = image.voi_function if image.voi_function in _FUNCTIONS else "LINEAR"
    window, lut = own_window(image) if window is None else _checked(window), None
    if window is None:
        lut = image.voi_lut
    if window is None and lut is None:
        window, function = full_window(pixels, image), "LINEAR_EXACT"
    way = lut if window is None else (*window, function)
    assert way is not None
    if pixels.dtype.kind == "f" or pixels.dtype.itemsize > 2:
        values = image.modality_lut.apply(pixels) if image.modality_lut else _rescaled(pixels, image)
        return _shades(values, way, inverse=inverse)
    bits = image.bits_stored if pixels.dtype.kind == "u" else pixels.dtype.itemsize * 8
    table = _table(pixels.dtype.str, max(bits, 1), image.slope, image.intercept, image.modality_lut, way, inverse)
    return table.take(pixels.view(f"u{pixels.dtype.itemsize}"))


def _checked(window: Window) -> Window:
    center, width = window
    if not (abs(center) <= MAX_WINDOW and 0 < width <= MAX_WINDOW):
        raise Invalid("A window needs a finite center and a width greater than 0.")
    return window


def _rescaled(values: Pixels, image: ImageDescription) -> NDArray[np.float64]:
    return values.astype(np.float64) * image.slope + image.intercept


@lru_cache(maxsize=64)
def _table(
    dtype: str,
    bits: int,
    slope: float,
    intercept: float,
    modality: Lut | None,
    way: Lut | tuple[float, float, str],
    inverse: bool,
) -> Shades:
    """The shade of every stored value, by its bits as an unsigned number."""
    stored = np.arange(1 << bits, dtype=f"u{np.dtype(dtype).itemsize}").view(dtype)
    values = modality.apply(stored) if modality else stored * np.float64(slope) + intercept
    return _shades(values, way, inverse=inverse)


def _shades(values: NDArray[np.float64], way: Lut | tuple[float, float, str], *, inverse: bool) -> Shades:
    """Values after rescale to 0..255 by a VOI table or function (PS3.3 C.11.2.1.1 to C.11.2.1.3)."""
    with np.errstate(over="ignore", invalid="ignore"):
        if isinstance(way, Lut):
            shades = way.apply(values) * (255.0 / ((1 << way.bits) - 1))
        else:
            shades = _windowed(values, *way)
        shades = np.clip(shades, 0.0, 255.0)
        shown = np.floor((255.0 - shades if inverse else shades) + 0.5)
    return np.where(np.isnan(values), 0.0, np.nan_to_num(shown)).astype(np.uint8)


def _windowed(values: NDArray[np.float64], center: float, width: float, function: str) -> NDArray[np.float64]:
    if function == "SIGMOID":
        return 255.0 / (1.0 + np.exp(-4.0 * (values - center) / width))
    if function == "LINEAR_EXACT":
        return ((values - center) / width + 0.5) * 255.0
    if width > 1:
        return ((values - (center - 0.5)) / (width - 1.0) + 0.5) * 255.0
    return np.where(values <= center - 0.5, 0.0, 255.0)
