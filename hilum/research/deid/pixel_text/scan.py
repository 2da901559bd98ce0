"""Where text is in a decoded frame. The whole is looked at small, which finds large and blurred letters; what has edges
sharper than its surroundings is looked at closely, each place stretched to its own contrast, so that letters of a few
grey levels are found, too. Whether what is found may stay is for ``reading``."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from hilum.imaging.dicom.image import ImageDescription
from hilum.imaging.dicom.native import Pixels
from hilum.imaging.dicom.picture import Picture
from hilum.imaging.dicom.render import render
from hilum.research.deid.pixel_text.detector import Line, find_lines
from hilum.research.deid.pixel_text.sheet import SIDE, Patch, Sheet, pack, spans

_WHOLE: Final = 512
_LEAST: Final = 320
_TINY: Final = 400
_SMALL: Final = 1100
_LARGEST: Final = 0.4
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
_SURELY: Final = 0.6
_BUSY: Final = 0.15
_LEAST_BUSY: Final = 0.02
_TILE: Final = 1024
_AROUND: Final = 12
_TALL: Final = 32
_CLOSEST: Final = 4.0
_COVERED: Final = 0.5
_ALIKE: Final = 0.4
_NEAR: Final = 15

Grey = NDArray[np.uint8]
_Whole = TypeVar("_Whole", np.uint8, np.uint16)


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


class Views:
    """A frame as pictures: as it is shown, and with each place's own contrast.

    Parameters
    ----------
    pixels : ndarray
        As `pixels.decode_frame` gives it.
    image : ImageDescription
        Of the frame.
    """

    def __init__(self, pixels: Pixels, image: ImageDescription) -> None:
        self._shown: Final = render(pixels, image)
        layers = [pixels[..., one] for one in range(3)] if pixels.ndim == 3 else [pixels]
        self._layers: Final = [_sixteen(layer) for layer in layers]
        self.rows: Final = int(pixels.shape[0])
        self.columns: Final = int(pixels.shape[1])
        padded = [_padded(layer) for layer in self._layers]
        self._lows: Final = [_cells(layer, np.minimum) for layer in padded]
        self._highs: Final = [_cells(layer, np.maximum) for layer in padded]
        thin = _padded(_strokes(self._layers))
        peak, usual = _peaks(thin)
        self.sharp: Final = _sharp(thin, peak, usual, _contrast(self._lows, self._highs))
        self.busy: Final = usual >= max(1.0, _BUSY * _reach(self._lows, self._highs))
        self.textured: Final = float(self.busy.mean()) >= _LEAST_BUSY
        self._bright: Picture | None = None

    def whole(self, rows: int, columns: int) -> Picture:
        """The frame as it is shown, in another size, of shape (rows, columns, 3)."""
        import cv2

        way = cv2.INTER_AREA if rows < self.rows else cv2.INTER_LINEAR
        return _coloured(cv2.resize(self._shown, (columns, rows), interpolation=way).astype(np.uint8, copy=False))

    def shown(self, top: int, left: int, bottom: int, right: int) -> Picture:
        """A piece of the frame as it is shown."""
        return _coloured(self._shown[max(0, top) : bottom, max(0, left) : right])

    def bright(self, top: int, left: int, bottom: int, right: int) -> Picture:
        """A piece of the frame of which only that is left which is brighter than most of what is near."""
        import cv2

        if self._bright is None:
            grey = self._shown if self._shown.ndim == 2 else self._shown.max(axis=2)
            self._bright = cv2.subtract(grey, cv2.medianBlur(grey, _NEAR)).astype(np.uint8, copy=False)
        return _coloured(self._bright[max(0, top) : bottom, max(0, left) : right])

    def local(self, top: int, left: int, bottom: int, right: int) -> Picture:
        """A piece of the frame, each place stretched to the contrast of what is near."""
        top, left = max(0, top), max(0, left)
        begin, first = top // _CELL, left // _CELL
        cells = slice(begin, -(-bottom // _CELL)), slice(first, -(-right // _CELL))
        down, across = top - begin * _CELL, left - first * _CELL
        piece = slice(top, bottom), slice(left, right)
        shown = [
            _stretched(layer[piece], *_limits(low, high, cells), down, across)
            for layer, low, high in zip(self._layers, self._lows, self._highs, strict=True)
        ]
        return np.stack(shown, axis=2) if len(shown) == 3 else _coloured(shown[0])


def find_text(seen: Views, only: NDArray[np.bool_] | None = None) -> list[Spot]:
    """Lines of text in a frame, of which one may be found in parts.

    Parameters
    ----------
    seen
        The frame.
    only
        Cells to look at closely, in place of all that are sharp; the whole is then not looked at.
    """
    found = [*_whole(seen), *_within_texture(seen)] if only is None else []
    rows, columns = seen.rows, seen.columns
    scale = _scale(rows, columns)
    patches = _patches(seen.sharp if only is None else only, rows, columns, scale)
    for sheet in pack(seen.local, patches):
        found += _on_sheet(sheet, find_lines(sheet.picture), rows, columns)
    return merged([one for one in found if one.score >= _MIN_SCORE and not _is_frame(one, rows, columns)])


def around(seen: Views, spot: Spot) -> Iterator[Spot]:
    """Lines that are found where a spot is when it is looked at with what is around it, as it is shown and in its own
    contrast. Texture that was cut out looks like letters; in its surroundings it does not."""
    import cv2

    margin = max(_AROUND, min(spot.bottom - spot.top, spot.right - spot.left))
    top, left = max(0, spot.top - margin), max(0, spot.left - margin)
    bottom, right = min(seen.rows, spot.bottom + margin), min(seen.columns, spot.right + margin)
    wanted = max(1.0, _TALL / max(1, min(spot.bottom - spot.top, spot.right - spot.left)))
    scale = min(_CLOSEST, wanted, SIDE / max(bottom - top, right - left))
    tall, wide = max(_CELL, round((bottom - top) * scale)), max(_CELL, round((right - left) * scale))
    for cut in (seen.shown, seen.local, seen.bright)[: 3 if seen.textured else 2]:
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        piece = cv2.resize(cut(top, left, bottom, right), (wide, tall), interpolation=way).astype(np.uint8, copy=False)
        lines = find_lines(piece if spot.upright else np.ascontiguousarray(np.rot90(piece, -1)))
        for line in lines:
            if not spot.upright:  # turned by a quarter, clockwise: what was left is up, what was up is right
                line = Line(tall - line.right, line.top, tall - line.left, line.bottom, line.score)
            found = _moved(_spot(line, 1 / scale, 1 / scale, seen.rows, seen.columns), top, left, upright=spot.upright)
            if _shared(found, spot) >= _COVERED * min(found.area, spot.area) and not _is_frame(
                found, seen.rows, seen.columns
            ):
                yield found


def alike(one: Spot, other: Spot) -> bool:
    """Whether two spots are about the same place."""
    return _shared(one, other) >= _ALIKE * max(one.area, other.area)


def _moved(spot: Spot, down: int, across: int, *, upright: bool) -> Spot:
    return Spot(spot.top + down, spot.left + across, spot.bottom + down, spot.right + across, spot.score, upright)


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
    if _shared(one, other) <= 0.8 * one.area:
        return False
    tall, wide = (
        (one.bottom - one.top) / (other.bottom - other.top),
        (one.right - one.left) / (other.right - other.left),
    )
    return (
        max(tall, wide) > _SAME_LINE if other.upright != one.upright else (tall if one.upright else wide) > _SAME_LINE
    )


def _shared(one: Spot, other: Spot) -> int:
    """What two spots have in common, in pixels."""
    height = min(one.bottom, other.bottom) - max(one.top, other.top)
    width = min(one.right, other.right) - max(one.left, other.left)
    return height * width if height > 0 and width > 0 else 0


def _scale(rows: int, columns: int) -> float:
    """How much what is looked at closely is enlarged."""
    return 2.0 if max(rows, columns) <= _TINY else 1.5 if max(rows, columns) <= _SMALL else 1.0


def _within_texture(seen: Views) -> list[Spot]:
    """Lines on ground as strong as letters, as speckle is, of which no stroke stands out: all of it looked at closely,
    without its ground."""
    import cv2

    if not seen.textured:
        return []
    scale = _scale(seen.rows, seen.columns)
    down, across = (np.flatnonzero(seen.busy.any(axis=axis)) * _CELL for axis in (1, 0))
    ends = min(seen.rows, int(down[-1]) + _CELL), min(seen.columns, int(across[-1]) + _CELL)
    found: list[Spot] = []
    for top, bottom in spans(int(down[0]), ends[0], int(_TILE / scale)):
        for left, right in spans(int(across[0]), ends[1], int(_TILE / scale)):
            size = round((right - left) * scale), round((bottom - top) * scale)
            piece = cv2.resize(seen.bright(top, left, bottom, right), size, interpolation=cv2.INTER_LINEAR)
            spots = (
                _spot(line, 1 / scale, 1 / scale, bottom - top, right - left)
                for line in find_lines(piece.astype(np.uint8, copy=False))
                if line.score >= _SURELY
            )
            found += [_moved(one, top, left, upright=one.upright) for one in spots]
    return found


def _whole(seen: Views) -> list[Spot]:
    rows, columns = seen.rows, seen.columns
    longer = max(rows, columns)
    scale = min(1.0, _WHOLE / longer) if longer >= _LEAST else _LEAST / longer
    tall, wide = max(1, round(rows * scale)), max(1, round(columns * scale))
    lines = find_lines(seen.whole(tall, wide))
    return [_spot(line, rows / tall, columns / wide, rows, columns) for line in lines]


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


def _contrast(lows: list[NDArray[np.uint16]], highs: list[NDArray[np.uint16]]) -> NDArray[np.uint16]:
    """How far values reach in and next to each cell, of the layer where that is most."""
    import cv2

    near = np.ones((3, 3), np.uint8)
    found = [cv2.dilate(high, near) - cv2.erode(low, near) for low, high in zip(lows, highs, strict=True)]
    return np.max(found, axis=0)


def _limits(
    low: NDArray[np.uint16], high: NDArray[np.uint16], cells: tuple[slice, slice]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """For some cells the lowest value near each, and how far values reach from there."""
    import cv2

    wider = np.ones((5, 5), np.uint8)
    wide = tuple(slice(max(0, one.start - 2), one.stop + 2) for one in cells)
    inner = tuple(
        slice(one.start - outer.start, one.stop - outer.start) for one, outer in zip(cells, wide, strict=True)
    )
    begin = cv2.erode(low[wide], wider)[inner].astype(np.float32)
    end = cv2.dilate(high[wide], wider)[inner].astype(np.float32)
    return begin, np.maximum(end - begin, 4.0)


def _peaks(thin: NDArray[np.uint16]) -> tuple[NDArray[np.uint16], NDArray[np.float32]]:
    """For each cell how far strokes stand out in and next to it, and how far they usually do all around."""
    import cv2

    peak = cv2.dilate(_cells(thin, np.maximum), np.ones((3, 3), np.uint8)).astype(np.uint16, copy=False)
    return peak, cv2.medianBlur(cv2.medianBlur(peak, 5), 5).astype(np.float32)


def _reach(lows: list[NDArray[np.uint16]], highs: list[NDArray[np.uint16]]) -> float:
    """How far the values of a frame reach, but for the most extreme cells."""
    return max(
        float(np.percentile(high, 99)) - float(np.percentile(low, 1)) for low, high in zip(lows, highs, strict=True)
    )


def _sharp(
    thin: NDArray[np.uint16], peak: NDArray[np.uint16], usual: NDArray[np.float32], contrast: NDArray[np.uint16]
) -> NDArray[np.bool_]:
    """Which cells may hold letters: thin strokes make up their contrast, on plain ground or far above all around."""
    import cv2

    least = np.repeat(np.repeat(peak // _FLAT, _CELL, axis=1), _CELL, axis=0)
    plain = _cells((thin <= least).view(np.uint8), np.add)
    flat = cv2.blur(plain.astype(np.float32), (3, 3)).astype(np.float32, copy=False) / np.float32(_CELL * _CELL)
    return (peak >= _LEAST_STEP) & (peak >= contrast * _OF_CONTRAST) & ((flat >= _MOSTLY) | (peak >= _OUTLIER * usual))


def _stretched(
    layer: NDArray[np.uint16], low: NDArray[np.float32], wide: NDArray[np.float32], down: int, across: int
) -> Grey:
    import cv2

    here = slice(down, down + layer.shape[0]), slice(across, across + layer.shape[1])
    size = low.shape[1] * _CELL, low.shape[0] * _CELL
    begin = cv2.resize(low, size, interpolation=cv2.INTER_LINEAR)[here]
    gain = cv2.resize(np.float32(255.0) / wide, size, interpolation=cv2.INTER_LINEAR)[here]
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


def _cells(values: NDArray[_Whole], how: np.ufunc) -> NDArray[_Whole]:
    """One value for each cell of 8 x 8: down first, which is the faster way."""
    rows, columns = values.shape
    lines = how.reduce(values.reshape(rows // _CELL, _CELL, columns), axis=1, dtype=values.dtype)
    return how.reduce(lines.reshape(rows // _CELL, columns // _CELL, _CELL), axis=2, dtype=values.dtype)


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
