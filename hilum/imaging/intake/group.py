"""A group of files on its way in: what one lane of an import does, wherever the lane runs."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hilum.core.errors import TooLarge
from hilum.imaging.archive.catalogue import SourceRef, Written
from hilum.imaging.archive.store import Archive
from hilum.imaging.dicom.header import NotDicom
from hilum.imaging.intake.bundle import is_zip_head
from hilum.imaging.intake.walk import Found


@dataclass(frozen=True, slots=True)
class Manner:
    """How files are to be taken: into which source, copied or indexed where they lie, under which origin."""

    source: SourceRef
    in_place: bool
    origin: str


@dataclass(slots=True)
class Taken:
    """What became of a group: what was written, what was left out by code and name, and which of them are zips."""

    written: Written = field(default_factory=Written)
    skipped: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    zips: list[str] = field(default_factory=list[str])


def take_group(archive: Archive, manner: Manner, group: Sequence[Found]) -> Taken:
    """Take a group of files; when this returns, what it says is durable."""
    result = Taken()
    with archive.batch(manner.source, manner.origin) as batch:
        for file in group:
            try:
                if manner.in_place:
                    batch.index(file.path, os.path.abspath(file.path))  # noqa: PTH100 - a million of these are made
                else:
                    batch.add_file(file.path)
            except NotDicom as error:
                if _is_zip(file.path):
                    result.zips.append(file.path)
                else:
                    result.skipped.append((error.code, file.path))
            except TooLarge:
                result.skipped.append(("too_large", file.path))
            except PermissionError:
                result.skipped.append(("permission", file.path))
            except FileNotFoundError:
                result.skipped.append(("missing", file.path))
        if len(batch):
            result.written = batch.commit()
            result.written.refused.clear()  # they are set aside by now, and large
    return result


def _is_zip(path: str) -> bool:
    with Path(path).open("rb") as file:
        return is_zip_head(file.read(4))
