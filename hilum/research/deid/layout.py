"""Where a file lies in what is shared: the CHoRUS layout, person/Images/modality/accession/series/number.dcm, in which
every folder says what a tag in the file says."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Final, Protocol

from hilum.clinical.chorus import RADIOGRAPHS, Folder

_MODALITY: Final = re.compile(r"[A-Z0-9]{1,16}", re.ASCII)


class Placed(Protocol):
    """What a file's place is made of."""

    @property
    def person_id(self) -> str: ...
    @property
    def modality(self) -> str: ...
    @property
    def accession(self) -> str: ...
    @property
    def series(self) -> str: ...
    @property
    def number(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Layout:
    """The CHoRUS layout; ``xr`` gathers CR and DX under XR, as the SOP's text has it."""

    xr: bool = False

    def targets(self, row: Placed) -> Iterator[str]:
        """Paths for a file, the first of which that is free is its own; others are for numbers that are there twice."""
        modality = row.modality if _MODALITY.fullmatch(row.modality) else "OT"
        if self.xr and modality in RADIOGRAPHS:
            modality = "XR"
        stem = f"{Folder(row.person_id, modality, row.accession, row.series).path}/{row.number:03d}"
        yield f"{stem}.dcm"
        for number in count(2):
            yield f"{stem}_{number}.dcm"
