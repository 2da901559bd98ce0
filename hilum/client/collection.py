"""A version of a data set as it lies in a folder or a zip: its manifest, its tables, its files by series, and a data
set of volumes in the form that ``torch.utils.data.DataLoader`` takes."""

import json
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, TypeAlias, cast

from hilum.client.volume import Volume, read_volume

Kind: TypeAlias = Literal["arrow", "pandas", "polars", "rows"]
Level: TypeAlias = Literal["studies", "series", "instances"]


def frame_of(table: Any, kind: Kind) -> Any:
    """A table of pyarrow as what a researcher works with.

    Parameters
    ----------
    table
        Of pyarrow.
    kind
        ``arrow`` (as it is), ``pandas``, ``polars`` (each where it is installed), or ``rows``: dicts.
    """
    if kind == "arrow":
        return table
    if kind == "rows":
        return table.to_pylist()
    if kind == "pandas":
        return table.to_pandas()
    return cast("Any", import_module("polars")).from_arrow(table)


class Collection(ABC):
    """Series with tables about them; what is read is read when it is asked for."""

    @abstractmethod
    def table(self, level: Level = "series", kind: Kind = "arrow") -> Any:
        """The rows of all studies, series or instances, as `frame_of` gives them."""

    @abstractmethod
    def files(self, series_instance_uid: str) -> Iterator[bytes]:
        """The DICOM files of a series; raises ``KeyError`` for one that is not there."""

    def series(self) -> list[str]:
        """The UIDs of all series."""
        return [str(row["SeriesInstanceUID"]) for row in self.table("series", "rows")]

    def volume(self, series_instance_uid: str) -> Volume:
        """A series as an array with spacing and orientation; raises ``KeyError``, and ``Unreadable`` without images."""
        return read_volume(self.files(series_instance_uid))

    def volumes(self, series: Sequence[str] | None = None) -> "VolumeDataset":
        """Series as a data set for training: all, or those named."""
        return VolumeDataset(self, self.series() if series is None else list(series))


class _Version(Collection):
    """A version of a data set, by its files."""

    @abstractmethod
    def names(self) -> Sequence[str]:
        """The paths of all files."""

    @abstractmethod
    def read(self, path: str) -> bytes:
        """A file, whole."""

    @cached_property
    def manifest(self) -> Mapping[str, Any]:
        """What the version tells of itself."""
        return json.loads(self.read("manifest.json"))

    def table(self, level: Level = "series", kind: Kind = "arrow") -> Any:
        """The rows of all studies, series or instances."""
        import pyarrow.parquet as parquet

        data = BytesIO(self.read(f"Metadata/{level}.parquet"))
        return frame_of(cast("Any", parquet).read_table(data), kind)

    def clinical(self, name: str, kind: Kind = "arrow") -> Any:
        """A table of the CDM, such as ``condition_occurrence``."""
        from pyarrow import csv

        return frame_of(cast("Any", csv).read_csv(BytesIO(self.read(f"OMOP/{name}.csv"))), kind)

    @cached_property
    def _paths(self) -> Mapping[str, Sequence[str]]:
        found: dict[str, list[str]] = {}
        for row in self.table("instances", "rows"):
            found.setdefault(row["SeriesInstanceUID"], []).append(row["path"])
        return found

    def files(self, series_instance_uid: str) -> Iterator[bytes]:
        """The DICOM files of a series, in their order."""
        paths = self._paths[series_instance_uid]
        if paths[0].endswith(".nii.gz"):
            raise KeyError(f"{paths[0]} is a volume already: read it with nibabel, or take the layout chorus or dicom")
        return map(self.read, paths)

    def __getstate__(self) -> dict[str, object]:
        """What another process needs to open the same."""
        return {name: value for name, value in self.__dict__.items() if name not in _OPENED}


_OPENED: Final = ("manifest", "_paths", "_zip")


class Opener(ABC):
    """What opens a zip, also in another process."""

    @abstractmethod
    def open(self) -> BinaryIO:
        """The zip as a file with seek."""


class Folder(_Version):
    """A version of a data set that was written to a folder."""

    def __init__(self, folder: str | Path) -> None:
        self._root: Final = Path(folder)

    def names(self) -> Sequence[str]:
        """The paths of all files."""
        return [*(str(file["path"]) for file in self.manifest["files"]), "manifest.json"]

    def read(self, path: str) -> bytes:
        """A file, whole."""
        return (self._root / path).read_bytes()


class Zip(_Version):
    """A version of a data set in a zip: a file, or what opens one (such as a server's, read in ranges)."""

    def __init__(self, source: str | Path | Opener) -> None:
        self._source: Final = source

    @cached_property
    def _zip(self) -> zipfile.ZipFile:
        if isinstance(self._source, (str, Path)):
            return zipfile.ZipFile(self._source)
        return zipfile.ZipFile(self._source.open())

    def names(self) -> Sequence[str]:
        """The paths of all files."""
        return self._zip.namelist()

    def read(self, path: str) -> bytes:
        """A file, whole."""
        return self._zip.read(path)


def open_dataset(path: str | Path) -> Folder | Zip:
    """Open a version of a data set where it lies.

    Parameters
    ----------
    path
        Of a folder that was exported, or of a zip.

    Raises
    ------
    FileNotFoundError
        There is nothing, or it is no version of a data set.
    """
    place = Path(path)
    if place.is_dir():
        if not (place / "manifest.json").is_file():
            raise FileNotFoundError(f"{place} has no manifest.json")
        return Folder(place)
    if not place.is_file():
        raise FileNotFoundError(str(place))
    return Zip(place)


class VolumeDataset:
    """Volumes by number, as ``torch.utils.data.Dataset`` is used: hand it to a ``DataLoader``, also with workers.

    Parameters
    ----------
    collection
        What the series are in.
    series
        Their UIDs.
    """

    def __init__(self, collection: Collection, series: Sequence[str]) -> None:
        self._collection: Final = collection
        self._series: Final = list(series)
        rows: list[dict[str, Any]] = collection.table("series", "rows")
        self._rows: Final = {str(row["SeriesInstanceUID"]): row for row in rows}

    def __len__(self) -> int:
        return len(self._series)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """A volume: ``array`` (float32), ``affine`` (4 x 4), ``spacing`` and the series' ``row`` of metadata."""
        uid = self._series[index]
        volume = self._collection.volume(uid)
        return {
            "array": volume.array, "affine": volume.affine, "spacing": volume.spacing, "series_instance_uid": uid,
            "row": self._rows[uid],
        }  # fmt: skip

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[index] for index in range(len(self)))
