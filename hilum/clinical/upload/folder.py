"""What lies in the folder of an upload: persons with Images, the registry, and the tables of the CDM. Nothing outside
the folder is looked at, whatever links say, and no file is opened here."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hilum.clinical.chorus import IMAGES
from hilum.core.errors import Invalid

REGISTRY_NAMES: Final = ("image_registry.csv", "registry.csv")
OMOP: Final = "omop"
_BESIDE: Final = (OMOP, "metadata")
_LONGEST_ID: Final = 18


@dataclass(frozen=True, slots=True)
class Upload:
    """The folder of an upload.

    Attributes
    ----------
    root
        The folder, resolved.
    images
        The Images of each person whose folder has a number for its name.
    registry
        image_registry.csv, or None.
    tables
        The files of ``OMOP/`` by table.
    unknown
        Folders with Images whose name is no person_id.
    """

    root: Path
    images: tuple[Path, ...]
    registry: Path | None
    tables: dict[str, Path]
    unknown: tuple[str, ...]


def find_upload(folder: Path) -> Upload:
    """Find the parts of an upload.

    Raises
    ------
    Invalid
        There is no such folder, no image in the layout, or more than one registry.
    """
    if not folder.is_dir():
        raise Invalid(f"There is no folder {folder}.")
    root = folder.resolve()
    images: list[Path] = []
    unknown: list[str] = []
    beside: list[Path] = [root]
    for path in _inside(root, root):
        if not path.is_dir():
            continue
        if path.name.casefold() in _BESIDE:
            beside.append(path)
        found = [each for each in _inside(path, root) if each.name.casefold() == IMAGES.casefold() and each.is_dir()]
        if found and not is_person(path.name):
            unknown.append(path.name)
        elif found:
            images += found
    if not images:
        raise Invalid(f"{folder} is no upload in the CHoRUS layout: it has no folder PERSON_ID/{IMAGES}.")
    tables = {
        path.stem.casefold(): path
        for place in beside
        if place.name.casefold() == OMOP
        for path in _inside(place, root)
        if path.suffix.casefold() == ".csv" and path.is_file()
    }
    registry = _registry(beside, root)
    names = [Path(name).stem for name in REGISTRY_NAMES]
    return Upload(root, tuple(images), registry, {k: v for k, v in tables.items() if k not in names}, tuple(unknown))


def is_person(name: str) -> bool:
    """Whether a text is the person_id of a CDM."""
    return name.isascii() and name.isdecimal() and len(name) <= _LONGEST_ID


def _registry(places: list[Path], root: Path) -> Path | None:
    found = [
        path for place in places for path in _inside(place, root)
        if path.name.casefold() in REGISTRY_NAMES and path.is_file()
    ]  # fmt: skip
    if len(found) > 1:
        shown = ", ".join(str(path.relative_to(root)) for path in found)
        raise Invalid(f"The upload has more than one registry ({shown}): keep the right one.")
    return found[0] if found else None


def _inside(folder: Path, root: Path) -> Iterator[Path]:
    """What is in a folder, in order, without links that lead out of the upload."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries)
    for name in names:
        path = folder / name
        real = path.resolve() if path.is_symlink() else path
        if real == path or root in real.parents:
            yield path
