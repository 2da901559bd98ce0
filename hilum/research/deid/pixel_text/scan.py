"""Where text is in a decoded frame. The whole is looked at small, which finds large and blurred letters; what has edges
sharper than its surroundings is looked at closely, each place stretched to its own contrast, so that letters of a few
grey levels are found, too. Whether what is found may stay is for ``reading``."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hilum.imaging.dicom.image import ImageDescription
from hilum.imaging.dicom.native import Pixels
from hilum.imaging.dicom.picture import Picture
from hilum.imaging.dicom.render import render
from hilum.research.deid.pixel_text.detector import Line, find_lines
from hilum.research.deid.pixel_text.sheet import Patch, Sheet, pack

_WHOLE: Final = 512
_LEAST: Final = 320
_TINY: Final = 400
_SMALL: Final = 1100
_LARGEST: Final = 0.25
_CELL: Final = 8
_STROKE: Final = 7
_LEAST_STEP: Final = 2
_FLAT: Final = 10
_MOSTLY: Final = 0.55
_OF_CONTRAST: Final = 0.5
_OUTLIER: Final = 2.5
_SHORT: Final = 8
_DENSE: Final = 0.5
_MIN_SCORE: Final = 0.45
_SAME_LINE: Final = 0.6

Grey = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Spot:
    """A line of text in a frame: first and last row and column (ends not included), sureness, and which way it runs."""

    top: int
    left: int
    bottom: int
    right: int
    score: float
    upright: bool = True

    @property
    def area(self) -> int:
        """In pixels."""
        return max(0, self.bottom - self.top) * max(0, self.right - self.left)


@dataclass(frozen=True, slots=True)
class Views:
    """A frame as pictures: as it is shown, and with each place's own contrast; shapes (rows, columns, 3)."""

    shown: Picture
    local: Picture
    sharp: NDArray[np.bool_]


def views(pixels: Pixels, image: ImageDescription) -> Views:
    """The pictures of a frame in which text is looked for.

    Parameters
    ----------
    pixels : ndarray
        As `pixels.decode_frame` gives it.
    image : ImageDescription
        Of the frame.
    """
    shown = render(pixels, image)
    layers = [pixels[..., one] for one in range(3)] if pixels.ndim == 3 else [pixels]
    local, sharp = _local([_sixteen(layer) for layer in layers])
    return Views(_coloured(shown), _coloured(local), sharp)


def find_text(seen: Views, only: NDArray[np.bool_] | None = None) -> list[Spot]:
    """Lines of text in a frame, of which one may be found in parts.

    Parameters
    ----------
    seen
        The frame.
    only
        Cells to look at closely, in place of all that are sharp; the whole is then not looked at.
    """
    found = _whole(seen.shown) if only is None else []
    rows, columns = seen.shown.shape[:2]
    scale = 2.0 if max(rows, columns) <= _TINY else 1.5 if max(rows, columns) <= _SMALL else 1.0
    patches = _patches(seen.sharp if only is None else only, rows, columns, scale)
    for sheet in pack(seen.local, patches):
        found += _on_sheet(sheet, find_lines(sheet.picture), rows, columns)
    return merged([one for one in found if one.score >= _MIN_SCORE and not _is_frame(one, rows, columns)])


def _is_frame(spot: Spot, rows: int, columns: int) -> bool:
    """Whether a spot is the outline of a body or of the picture: no line is that high and that wide."""
    return min((spot.bottom - spot.top) / rows, (spot.right - spot.left) / columns) > _LARGEST


def merged(spots: Sequence[Spot]) -> list[Spot]:
    """The spots without those that lie, all or nearly, within another of about their height."""
    kept: list[Spot] = []
    for one in sorted(spots, key=lambda spot: -spot.area):
        if not any(_within(one, other) for other in kept):
            kept.append(one)
    return sorted(kept, key=lambda spot: (spot.top, spot.left))


def _within(one: Spot, other: Spot) -> bool:
    height = min(one.bottom, other.bottom) - max(one.top, other.top)
    width = min(one.right, other.right) - max(one.left, other.left)
    if height <= 0 or width <= 0 or height * width <= 0.8 * one.area:
        return False
    tall, wide = (
        (one.bottom - one.top) / (other.bottom - other.top),
        (one.right - one.left) / (other.right - other.left),
    )
    return (
        max(tall, wide) > _SAME_LINE if other.upright != one.upright else (tall if one.upright else wide) > _SAME_LINE
    )


def _whole(shown: Picture) -> list[Spot]:
    import cv2

    rows, columns = shown.shape[:2]
    scale = min(1.0, _WHOLE / max(rows, columns)) if max(rows, columns) >= _LEAST else _LEAST / max(rows, columns)
    size = max(1, round(columns * scale)), max(1, round(rows * scale))
    small = cv2.resize(shown, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    return [
        _spot(line, rows / size[1], columns / size[0], rows, columns)
        for line in find_lines(small.astype(np.uint8, copy=False))
    ]


def _spot(line: Line, tall: float, wide: float, rows: int, columns: int) -> Spot:
    top, bottom = int(line.top * tall), min(rows, int(np.ceil(line.bottom * tall)))
    left, right = int(line.left * wide), min(columns, int(np.ceil(line.right * wide)))
    return Spot(top, left, bottom, right, line.score, upright=bottom - top <= 1.5 * (right - left))


def _on_sheet(sheet: Sheet, lines: list[Line], rows: int, columns: int) -> list[Spot]:
    found: list[Spot] = []
    for line in lines:
        for top, left, bottom, right, turned in sheet.back(line.top, line.left, line.bottom, line.right):
            spot = Spot(top, left, min(bottom, rows), min(right, columns), line.score, upright=not turned)
            found.append(spot)
    return found


def _sixteen(pixels: Pixels) -> NDArray[np.uint16]:
    """Grey values of any kind in 16 bits, their steps kept where they fit."""
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint16)
    if pixels.dtype.kind in "ui" and pixels.dtype.itemsize <= 2:
        low = int(pixels.min())
        return (pixels.astype(np.int32) - low).astype(np.uint16)
    values = np.nan_to_num(pixels.astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    return ((values - low) * (65535.0 / (high - low) if high > low else 0.0)).astype(np.uint16)


def _local(layers: list[NDArray[np.uint16]]) -> tuple[Picture, NDArray[np.bool_]]:
    """A frame with each place's own contrast, and in which cells of 8 x 8 pixels edges are sharper than around."""
    import cv2

    near = np.ones((3, 3), np.uint8)
    cells = [_cells(_padded(layer)) for layer in layers]
    lows, highs = [one.min(axis=(1, 3)) for one in cells], [one.max(axis=(1, 3)) for one in cells]
    contrast = np.max(
        [cv2.dilate(high, near) - cv2.erode(low, near) for low, high in zip(lows, highs, strict=True)], axis=0
    )
    sharp = _sharp(_cells(_padded(_strokes(layers))), contrast)
    shown: list[Grey] = []
    wider = np.ones((5, 5), np.uint8)
    for layer, low, high in zip(layers, lows, highs, strict=True):
        low, high = cv2.erode(low, wider).astype(np.float32), cv2.dilate(high, wider).astype(np.float32)
        shown.append(_stretched(layer, low, np.maximum(high - low, 4.0)))
    return (np.stack(shown, axis=2) if len(shown) == 3 else shown[0]), sharp


def _sharp(thin: NDArray[np.uint16], contrast: NDArray[np.uint16]) -> NDArray[np.bool_]:
    """Which cells may hold letters: thin strokes make up their contrast, on plain ground or far above all around."""
    import cv2

    peak = cv2.dilate(thin.max(axis=(1, 3)), np.ones((3, 3), np.uint8)).astype(np.uint16, copy=False)
    plain = thin <= (peak // _FLAT)[:, np.newaxis, :, np.newaxis]
    flat = cv2.blur(np.asarray(plain.mean(axis=(1, 3), dtype=np.float32)), (3, 3)).astype(np.float32, copy=False)
    usual = cv2.medianBlur(cv2.medianBlur(peak, 5), 5).astype(np.float32)
    return (peak >= _LEAST_STEP) & (peak >= contrast * _OF_CONTRAST) & ((flat >= _MOSTLY) | (peak >= _OUTLIER * usual))


def _stretched(layer: NDArray[np.uint16], low: NDArray[np.float32], wide: NDArray[np.float32]) -> Grey:
    import cv2

    rows, columns = layer.shape
    size = low.shape[1] * _CELL, low.shape[0] * _CELL
    begin = cv2.resize(low, size, interpolation=cv2.INTER_LINEAR)[:rows, :columns]
    gain = cv2.resize(255.0 / wide, size, interpolation=cv2.INTER_LINEAR)[:rows, :columns]
    return np.clip((layer - begin) * gain, 0, 255).astype(np.uint8)


def _strokes(layers: list[NDArray[np.uint16]]) -> NDArray[np.uint16]:
    """How far a pixel stands out of what is around it as a thin stroke, bright or dark, but not as an edge does."""
    import cv2

    found = np.zeros(layers[0].shape, np.uint16)
    kernel = np.ones((_STROKE, _STROKE), np.uint8)
    for layer in layers:
        for way in (cv2.MORPH_TOPHAT, cv2.MORPH_BLACKHAT):
            found = np.maximum(found, cv2.morphologyEx(layer, way, kernel))
    return found


def _padded(values: NDArray[np.uint16]) -> NDArray[np.uint16]:
    rows, columns = values.shape
    return np.pad(values, ((0, -rows % _CELL), (0, -columns % _CELL)), mode="edge")


def _cells(values: NDArray[np.uint16]) -> NDArray[np.uint16]:
    rows, columns = values.shape
    return values.reshape(rows // _CELL, _CELL, columns // _CELL, _CELL)


def _patches(sharp: NDArray[np.bool_], rows: int, columns: int, scale: float) -> list[Patch]:
    """Rectangles around connected sharp cells, in pixels, to be looked at closely."""
    import cv2

    joined = cv2.dilate(sharp.astype(np.uint8), np.ones((3, 3), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(joined)
    found: list[Patch] = []
    for label in range(1, count):
        left, top, width, height, _ = (int(one) for one in stats[label])
        inside = labels[top : top + height, left : left + width] == label
        for above, before, below, behind in _dense(inside):
            found.append(
                Patch(
                    (top + above) * _CELL, (left + before) * _CELL, min(rows, (top + below) * _CELL),
                    min(columns, (left + behind) * _CELL), scale,
                )
            )  # fmt: skip
    return found


def _dense(cells: NDArray[np.bool_]) -> Iterator[tuple[int, int, int, int]]:
    """Rectangles that hold all cells that are set and not too many others: top, left, bottom, right."""
    rows, columns = np.flatnonzero(cells.any(axis=1)), np.flatnonzero(cells.any(axis=0))
    if not rows.size:
        return
    top, left, bottom, right = int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
    inside = cells[top:bottom, left:right]
    if max(inside.shape) <= _SHORT or inside.mean() >= _DENSE:
        yield top, left, bottom, right
        return
    axis = int(inside.shape[1] > inside.shape[0])
    middle = inside.shape[axis] // 2
    first, second = np.split(inside, [middle], axis=axis)
    for part, down, across in ((first, 0, 0), (second, middle * (1 - axis), middle * axis)):
        for above, before, below, behind in _dense(part):
            yield top + down + above, left + across + before, top + down + below, left + across + behind


def _coloured(picture: Picture) -> Picture:
    return picture if picture.ndim == 3 else np.repeat(picture[:, :, np.newaxis], 3, axis=2)
