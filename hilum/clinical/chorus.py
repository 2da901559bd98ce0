"""The form of a CHoRUS upload, for whoever writes or reads one: the columns and times of image_registry.csv, and the
folders person/Images/modality/accession/series/number.dcm. No database."""

import csv
import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

COLUMNS: Final = (
    "image_registry_id", "file_id", "proc_id", "person_id", "group_id", "visit_id", "datetime", "src_file", "trg_file",
)  # fmt: skip
"""The columns of image_registry, in the order of the CHoRUS Imaging SOP."""
IMAGES: Final = "Images"
RADIOGRAPHS: Final = frozenset(("CR", "DX"))
"""Modalities that the SOP's folders may gather under XR."""


@dataclass(frozen=True, slots=True)
class Folder:
    """What the folders of an image say: whose it is, and of which modality, accession and series. Of a path that is
    shorter or longer than the SOP's only the person is known."""

    person_id: str
    modality: str = ""
    accession: str = ""
    series: str = ""

    @property
    def path(self) -> str:
        """The folder below the root of the upload."""
        return f"{self.person_id}/{IMAGES}/{self.modality}/{self.accession}/{self.series}"

    @classmethod
    def of(cls, path: str) -> "Folder | None":
        """Read the path of a file below the root; None for one that is not below a person's Images."""
        parts = path.split("/")
        if len(parts) < 3 or parts[1].casefold() != IMAGES.casefold():
            return None
        return cls(parts[0], *parts[2:5]) if len(parts) == 6 else cls(parts[0])


def local_time(moment: datetime) -> str:
    """A local time as the SOP writes it, yyyy-MM-dd HH:mm:ss."""
    return moment.isoformat(" ", "seconds")


def write_csv(path: Path, rows: Iterable[Iterable[object]]) -> int:
    """Write an image_registry.csv whole or not at all; gives how many rows it has.

    Parameters
    ----------
    path
        Where; folders are made.
    rows
        Values in the order of ``COLUMNS``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    count = 0
    try:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            lines = csv.writer(file, lineterminator="\n")
            lines.writerow(COLUMNS)
            for row in rows:
                lines.writerow(row)
                count += 1
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return count
