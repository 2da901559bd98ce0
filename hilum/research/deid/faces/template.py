"""The template: a head, and in it what is brain, what is face and what goes. Where it comes from and what was done to
it is told in ``data/faces.md``; ``scripts/face-template`` writes it."""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from io import BytesIO
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

REMOVED: Final = 1
"""What is taken away: the face and what is before it."""
BRAIN: Final = 2
MATCHED: Final = 4
"""What is compared with a patient's head: the skull with what is in it and around it, and the face down to the nose."""
SKIN: Final = 8
"""The surface of the face."""
HEAD: Final = 16
AIR: Final = 32
"""A shell of air around the skull."""

Labels: TypeAlias = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Template:
    """The template's head.

    Attributes
    ----------
    head
        uint8 of shape (slices, rows, columns), from foot to head, front to back and right to left.
    labels
        Bits of the same shape: `REMOVED`, `BRAIN`, `MATCHED`, `SKIN`, `HEAD`, `AIR`.
    spacing
        In mm, the same in all directions.
    origin
        Of the first voxel, column, row, slice, in mm (LPS).
    """

    head: Labels
    labels: Labels
    spacing: float
    origin: NDArray[np.float64]

    @property
    def matrix(self) -> NDArray[np.float64]:
        """4 x 4, from (column, row, slice, 1) to mm."""
        found = np.diag([self.spacing] * 3 + [1.0])
        found[:3, 3] = self.origin
        return found

    def points(self, label: int, every: int = 1) -> NDArray[np.float64]:
        """The voxels with a label, each ``every``-th in each direction, in mm, of shape (number, 3)."""
        index = np.argwhere(self.labels[::every, ::every, ::every] & label)[:, ::-1] * every
        return index * self.spacing + self.origin


@cache
def template() -> Template:
    """The template, read once a process."""
    data = (files("hilum.research.deid") / "data" / "faces.npz").read_bytes()
    with np.load(BytesIO(data), allow_pickle=False) as found:
        return Template(found["head"], found["labels"], float(found["spacing"]), found["origin"].astype(np.float64))
