"""The directory of a medium (PS3.10 section 8, PS3.3 annex F): which files it names, in its order, and where they
really lie, for media are read and copied under file systems that write names in their own way."""

import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MAX_BYTES: Final = 128 << 20
_COMPONENT: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class BadDirectory(Exception):
    """A DICOMDIR cannot be read."""


def named_files(path: str) -> list[tuple[str, ...]]:
    """The files that a DICOMDIR names, in its order, each as the names of its folders and its own.

    Raises
    ------
    BadDirectory
        It is damaged, or larger than any medium needs.
    """
    from hilum.imaging.dicom.pydicom_setup import pydicom

    try:
        status = Path(path).stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
            raise BadDirectory
        data = pydicom.dcmread(  # pyright: ignore[reportUnknownMemberType]
            path, specific_tags=["DirectoryRecordSequence", "ReferencedFileID"], force=True
        )
        records = cast("Sequence[Dataset]", data.get("DirectoryRecordSequence", ()))
        return [named for record in records if (named := _named(record))]
    except PermissionError:
        raise
    except Exception as error:  # pydicom meets damage in many ways
        raise BadDirectory from error


def _named(record: "Dataset") -> tuple[str, ...]:
    value: object = record.get("ReferencedFileID")
    parts = (value,) if isinstance(value, str) else tuple(cast("Sequence[object]", value or ()))
    names = tuple(str(part).strip() for part in parts)
    safe = all(_COMPONENT.fullmatch(name) and name.strip(".") for name in names)
    return names if safe else ()


class Places:
    """Finds named files below a folder, whatever the case of their names, or a version number at their end."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._listed: dict[str, dict[str, str]] = {}

    def find(self, names: Sequence[str]) -> str | None:
        """The path of a file, or None when there is none."""
        path = self._folder
        for name in names:
            found = self._names(path).get(_plain(name))
            if found is None:
                return None
            path = f"{path}/{found}"
        return path

    def _names(self, folder: str) -> dict[str, str]:
        if folder not in self._listed:
            self._listed[folder] = dict(_listed(folder))
        return self._listed[folder]


def _listed(folder: str) -> Iterator[tuple[str, str]]:
    try:
        for name in os.listdir(folder):  # noqa: PTH208 - as the walk does
            yield _plain(name), name
    except OSError:
        return


def _plain(name: str) -> str:
    return name.partition(";")[0].rstrip(".").upper()
