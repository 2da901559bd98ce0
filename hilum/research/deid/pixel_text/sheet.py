"""Small pieces of a picture laid out on sheets of one size, so that a network looks only at what matters, and the way
back from places on a sheet to the picture. Pieces that stand upright are laid on their side."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from hilum.imaging.dicom.picture import Picture

SIDE: Final = 640
_GAP: Final = 12
_OVERLAP: Final = 48
_UPRIGHT: Final = 1.8


@dataclass(frozen=True, slots=True)
class Patch:
    """A rectangle of a picture (ends not included), and how much it is enlarged on the sheet."""

    top: int
    left: int
    bottom: int
    right: int
    scale: float

    @property
    def turned(self) -> bool:
        """Whether it is laid on its side: a line that runs up or down."""
        return self.bottom - self.top > _UPRIGHT * (self.right - self.left)


@dataclass(frozen=True, slots=True)
class _Placed:
    patch: Patch
    row: int
    column: int
    rows: int
    columns: int


@dataclass(frozen=True, slots=True)
class Sheet:
    """A picture of shape (rows, columns, 3) with patches on it."""

    picture: Picture
    placed: tuple[_Placed, ...]

    def back(self, top: int, left: int, bottom: int, right: int) -> Iterator[tuple[int, int, int, int, bool]]:
        """What a rectangle of the sheet is in the picture: top, left, bottom, right, and whether it was turned."""
        for one in self.placed:
            begin, end = max(top, one.row) - one.row, min(bottom, one.row + one.rows) - one.row
            first, last = max(left, one.column) - one.column, min(right, one.column + one.columns) - one.column
            if end - begin < 3 or last - first < 3:
                continue
            patch = one.patch
            if patch.turned:  # by a quarter, clockwise: what was left is up, what was up is right
                begin, end, first, last = one.columns - last, one.columns - first, begin, end
            scale = patch.scale
            yield (
                patch.top + int(begin / scale), patch.left + int(first / scale),
                min(patch.bottom, patch.top + int(np.ceil(end / scale))),
                min(patch.right, patch.left + int(np.ceil(last / scale))), patch.turned,
            )  # fmt: skip


def pack(piece: Callable[[int, int, int, int], Picture], patches: Sequence[Patch]) -> Iterator[Sheet]:
    """Lay patches of a picture on sheets, the tallest first, in rows from the top.

    Parameters
    ----------
    piece
        The piece of the picture between top, left, bottom and right, of shape (rows, columns, 3).
    patches
        What to lay out.
    """
    waiting = sorted((piece for patch in patches for piece in _pieces(patch)), key=lambda one: -_size(one)[0])
    while waiting:
        placed, waiting = _one_sheet(waiting)
        height = max(one.row + one.rows for one in placed)
        width = max(one.column + one.columns for one in placed)
        sheet = np.zeros((height, width, 3), np.uint8)
        for one in placed:
            sheet[one.row : one.row + one.rows, one.column : one.column + one.columns] = _cut(piece, one)
        yield Sheet(sheet, tuple(placed))


def _one_sheet(waiting: list[Patch]) -> tuple[list[_Placed], list[Patch]]:
    placed: list[_Placed] = []
    left: list[Patch] = []
    shelves: list[list[int]] = []  # top, height, next column
    bottom = 0
    for patch in waiting:
        rows, columns = _size(patch)
        shelf = next((one for one in shelves if rows <= one[1] and one[2] + columns <= SIDE), None)
        if shelf is None and bottom + rows <= SIDE:
            shelf = [bottom, rows, 0]
            shelves.append(shelf)
            bottom += rows + _GAP
        if shelf is None:
            left.append(patch)
            continue
        placed.append(_Placed(patch, shelf[0], shelf[2], rows, columns))
        shelf[2] += columns + _GAP
    return placed, left


def _size(patch: Patch) -> tuple[int, int]:
    """Rows and columns on the sheet."""
    rows, columns = round((patch.bottom - patch.top) * patch.scale), round((patch.right - patch.left) * patch.scale)
    return (columns, rows) if patch.turned else (rows, columns)


def _pieces(patch: Patch) -> Iterator[Patch]:
    """A patch in parts that fit on a sheet and overlap by a line's height."""
    most = int(SIDE / patch.scale)
    for top, bottom in spans(patch.top, patch.bottom, most):
        for left, right in spans(patch.left, patch.right, most):
            yield Patch(top, left, bottom, right, patch.scale)


def spans(begin: int, end: int, most: int) -> Iterator[tuple[int, int]]:
    """A stretch in parts of a length that overlap by a line's height."""
    if end - begin <= most:
        yield begin, end
        return
    overlap = min(_OVERLAP, most // 4)
    count = -(-(end - begin - overlap) // (most - overlap))
    step = (end - begin - most) / (count - 1)
    for number in range(count):
        first = begin + round(number * step)
        yield first, min(end, first + most)


def _cut(cut: Callable[[int, int, int, int], Picture], one: _Placed) -> Picture:
    import cv2

    patch = one.patch
    piece = cut(patch.top, patch.left, patch.bottom, patch.right)
    if patch.turned:
        piece = np.ascontiguousarray(np.rot90(piece, -1))
    if piece.shape[:2] == (one.rows, one.columns):
        return piece
    return cv2.resize(piece, (one.columns, one.rows), interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)
