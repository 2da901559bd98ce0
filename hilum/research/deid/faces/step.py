"""The face step of de-identification: of all files of a series at once, what of each frame goes. The same files come to
the same masks, whoever asks and however often, so that those of a series need not be made together."""

from collections.abc import Sequence
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hilum.core.errors import HilumError, Unavailable
from hilum.imaging.dicom.header import scan_file
from hilum.research.deid.faces.registration import locate, missing
from hilum.research.deid.faces.template import REMOVED, Template, template
from hilum.research.deid.faces.volume import (
    Opener,
    Plane,
    Point,
    Series,
    Stack,
    Unsuitable,
    fill_value,
    read_coarse,
    read_series,
    stacks,
)
from hilum.research.deid.pixels import Face, may_show_face

_BELOW_MM: Final = 60.0

Mask: TypeAlias = NDArray[np.bool_]


def find_faces(openers: Sequence[Opener]) -> list[Face | Unsuitable]:
    """What goes with the face of each file of a series.

    Parameters
    ----------
    openers
        Of all files of the series that there are, in any order.

    Returns
    -------
    list
        For each file what goes, or why that cannot be said.

    Raises
    ------
    Unavailable
        The files cannot be reached now.
    """
    if missing():
        return [Unsuitable(missing().rstrip("."))] * len(openers)
    found: list[Face | Unsuitable] = [Unsuitable("")] * len(openers)
    try:
        series = read_series(openers)
        for numbers, stack in stacks(series):
            for number, face in zip(numbers, _of_stack(series, numbers, stack), strict=True):
                found[number] = face
    except Unavailable:
        raise
    except Unsuitable as why:
        return [why] * len(openers)
    except (HilumError, OSError):
        return [Unsuitable("one of its files cannot be read")] * len(openers)
    except Exception as error:
        return [Unsuitable(f"its volume cannot be made ({type(error).__name__})")] * len(openers)
    return found


def face_unsure(why: Unsuitable) -> str:
    """The sentence of why an instance is quarantined (code ``face_unsure``)."""
    return f"The series may show a face that cannot be taken off: {why}."


def shows_face(openers: Sequence[Opener]) -> bool:
    """Whether a face could be made from any file of a series; of what cannot be read that is not said.

    Raises
    ------
    Unavailable
        The files cannot be reached now.
    """
    for opener in openers:
        try:
            with opener() as file:
                if may_show_face(scan_file(file)):
                    return True
        except Unavailable:
            raise
        except (HilumError, OSError):
            continue
    return False


def _of_stack(series: Series, numbers: Sequence[int], stack: Stack | Unsuitable) -> list[Face | Unsuitable]:
    if isinstance(stack, Unsuitable):
        return [stack] * len(numbers)
    try:
        coarse = read_coarse(series, stack)
        head = template()
        matrix = locate(coarse, stack.modality, head)
    except Unsuitable as why:
        return [why] * len(numbers)
    masks = {number: [b""] * len(series.frames[number]) for number in numbers}
    values = {number: [0] * len(series.frames[number]) for number in numbers}
    for planes in stack.places:
        mask = face_mask(stack, planes[0], matrix, head)
        packed = np.packbits(mask).tobytes() if mask is not None and mask.any() else b""
        for plane in planes:
            masks[plane.file][plane.frame] = packed
            values[plane.file][plane.frame] = fill_value(series.samples[plane.file], plane, coarse.lowest)
    return [Face(tuple(one or None for one in masks[number]), tuple(values[number])) for number in numbers]


def face_mask(stack: Stack, plane: Plane, matrix: Point, head: Template) -> Mask | None:
    """The samples of a plane that go, of shape (rows, columns); None where none does.

    Parameters
    ----------
    matrix
        From the template's mm to the patient's, 4 x 4.
    """
    to_index = np.linalg.inv(matrix @ head.matrix)
    lattice = stack.lattice
    turn = to_index[:3, :3]
    by_column = turn @ (np.array(lattice.along_row) * lattice.column_spacing)
    by_row = turn @ (np.array(lattice.along_column) * lattice.row_spacing)
    start = turn @ np.array(plane.position) + to_index[:3, 3]
    gone = (head.labels & REMOVED) > 0
    back, top = int(np.flatnonzero(gone.any(axis=(0, 2)))[-1]), int(np.flatnonzero(gone.any(axis=(1, 2)))[-1])
    bottom = -_BELOW_MM / head.spacing
    ends = np.array([(0, 0), (0, lattice.columns), (lattice.rows, 0), (lattice.rows, lattice.columns)])
    corners = start + ends[:, :1] * by_row + ends[:, 1:] * by_column
    if corners[:, 1].min() > back + 1 or corners[:, 2].min() > top + 1 or corners[:, 2].max() < bottom:
        return None
    rows, columns = np.arange(lattice.rows), np.arange(lattice.columns)

    def along(axis: int) -> NDArray[np.float32]:
        one = (rows * by_row[axis] + start[axis] + 0.5).astype(np.float32)
        return one[:, np.newaxis] + (columns * by_column[axis]).astype(np.float32)

    deep, high, wide = gone.shape
    up = along(2)
    at = np.clip(up, 0, deep - 1).astype(np.int32) * (high * wide)
    at += np.clip(along(1), 0, high - 1).astype(np.int32) * wide
    at += np.clip(along(0), 0, wide - 1).astype(np.int32)
    return gone.ravel()[at] & (up > bottom)
