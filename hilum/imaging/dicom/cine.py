"""How the frames of a multi-frame image are to be shown as a film (PS3.3 section C.7.6.5): how long each, and which one
stands for all (section C.7.6.6)."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO, Final

from hilum.imaging.dicom.dataset import read_data_set, read_tree
from hilum.imaging.dicom.elements import Element
from hilum.imaging.dicom.header import Header

DEFAULT_MS: Final = 100.0
_SHORTEST, _LONGEST = 1.0, 10_000.0
_RATES: Final = (0x00082144, 0x00180040)  # Recommended Display Frame Rate, Cine Rate
_TIMES: Final = (0x00181063, 0x00181065)  # Frame Time, Frame Time Vector
_REPRESENTATIVE: Final = 0x00286010


@dataclass(frozen=True, slots=True)
class Cine:
    """The film that the frames of an image make.

    Attributes
    ----------
    frame_ms : float
        How long each frame is shown, in milliseconds.
    representative : int or None
        The frame that stands for all, 1-based; None where the file names none.
    """

    frame_ms: float = DEFAULT_MS
    representative: int | None = None


def read_cine(file: BinaryIO, header: Header) -> Cine:
    """Read what the header says of the film; what is missing or nonsense has its default.

    Raises
    ------
    Unreadable
        When the data set is damaged.
    """
    found = {element.tag: element for element in read_tree(read_data_set(file, header), header)}
    rate = next((number for tag in _RATES if (number := _number(found, tag)) > 0), 0.0)
    time = 1000 / rate if rate else next((number for tag in _TIMES if (number := _number(found, tag)) > 0), DEFAULT_MS)
    representative = found.get(_REPRESENTATIVE)
    number = struct.unpack("<H", representative.value)[0] if representative and len(representative.value) == 2 else 0
    return Cine(min(max(time, _SHORTEST), _LONGEST), number or None)


def _number(found: Mapping[int, Element], tag: int) -> float:
    """A number of text; the largest where there are several, for the first of Frame Time Vector is 0."""
    element = found.get(tag)
    try:
        return max(float(part) for part in element.value.decode("latin-1").strip(" \0").split("\\")) if element else 0.0
    except ValueError:
        return 0.0
