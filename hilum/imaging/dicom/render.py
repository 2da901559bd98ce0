"""Decoded frames to pictures: shades by ``voi``, colours as they are, overlays drawn on top. Decoding is done by
``pixels``; sizes and file formats are for ``picture``."""

from collections.abc import Sequence

import numpy as np

from hilum.imaging.dicom.image import ImageDescription
from hilum.imaging.dicom.native import Pixels
from hilum.imaging.dicom.overlay import Overlay, draw
from hilum.imaging.dicom.picture import Picture
from hilum.imaging.dicom.voi import Window, grey


def render(
    pixels: Pixels,
    image: ImageDescription,
    window: Window | None = None,
    *,
    invert: bool = False,
    overlays: Sequence[Overlay] = (),
) -> Picture:
    """Show a decoded frame as 8-bit grey or red, green and blue.

    Stored values are rescaled, or go through the modality table; then they are windowed: by ``window``, else by the
    file's first window, else by its first VOI table, else from the lowest to the highest value without pixel padding.
    MONOCHROME1 is shown with its lowest value white.

    Parameters
    ----------
    pixels : ndarray
        As `pixels.decode_frame` gives it.
    image : ImageDescription
        Of the same frame.
    window : tuple of (float, float), optional
        Center and width, in values after rescale; used as the file's VOI LUT Function says (PS3.3 C.11.2.1.2). Ignored
        for colour.
    invert : bool
        Swap black and white.
    overlays : sequence of Overlay
        Drawn in white.

    Returns
    -------
    ndarray of uint8
        Of shape (rows, columns), or (rows, columns, 3) for colour.

    Raises
    ------
    Invalid
        When the window is not a finite center and a positive width.
    """
    picture = _colour(pixels, image, invert=invert) if pixels.ndim == 3 else grey(pixels, image, window, invert=invert)
    return draw(picture, overlays) if overlays else picture


def _colour(pixels: Pixels, image: ImageDescription, *, invert: bool) -> Picture:
    bits = 8 if image.palette is not None else image.bits_stored
    if bits < 8:
        shown = (pixels * (255 // ((1 << bits) - 1))).astype(np.uint8)
    elif bits == 8:
        shown = pixels.astype(np.uint8)
    else:
        shown = np.right_shift(pixels.astype(np.uint64), np.uint64(bits - 8)).astype(np.uint8)
    return np.bitwise_not(shown) if invert else shown
