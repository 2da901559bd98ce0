"""The tree of a medium: a DICOMDIR (PS3.3 annex F, PS3.10) and files under the names that it gives them, as any viewer
opens a CD."""

from collections.abc import Iterable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Final

from pydicom.fileset import FileInstance, FileSet
from pydicom.uid import UID

from hilum.core.blobs import Blobs
from hilum.imaging.dicom.pydicom_setup import pydicom
from hilum.research.datasets.contents import SetInstance

NAME: Final = "DICOMDIR"
_HEAD: Final = 1 << 20
# What the records of a DICOMDIR must have (PS3.3 F.5), and de-identified files may lack.
_NEEDED: Final = ("PatientID", "PatientName", "StudyDate", "StudyTime", "StudyID", "SeriesNumber", "InstanceNumber")
_FOLDERS: Final = {"PT": 1, "ST": 2, "SE": 3}


def write_dicomdir(
    instances: Iterable[SetInstance], blobs: Blobs, uid: str, folder: Path
) -> tuple[list[SetInstance], list[SetInstance]]:
    """Write the DICOMDIR of instances into a folder.

    Parameters
    ----------
    instances
        What it lists, in order.
    blobs
        Where their bytes are.
    uid
        Of the file set.
    folder
        An empty one, which has the DICOMDIR afterwards.

    Returns
    -------
    tuple of lists
        The instances with their paths as ``target``, and those of kinds that no DICOMDIR lists.
    """
    media = FileSet()
    media.UID = UID(uid)
    listed: list[tuple[SetInstance, FileInstance]] = []
    others: list[SetInstance] = []
    for one in instances:
        try:
            listed.append((one, media.add(_header(blobs, one))))  # pyright: ignore[reportUnknownMemberType]
        except (ValueError, NotImplementedError):
            others.append(one)
    found = [replace(one, target=Path(str(entry.FileID)).as_posix()) for one, entry in listed]
    written = folder / "media"
    written.mkdir()
    media.write(written)  # pyright: ignore[reportUnknownMemberType]
    (written / NAME).replace(folder / NAME)
    return found, others


def _header(blobs: Blobs, one: SetInstance) -> pydicom.Dataset:
    """The header of an instance, with what a record needs."""
    head = BytesIO(blobs.read(one.blob_key, 0, min(one.size, _HEAD)))
    try:
        ds = _read(head)
    except (EOFError, ValueError):  # a header larger than most
        ds = _read(BytesIO(blobs.read(one.blob_key, 0, one.size)))
    for keyword in _NEEDED:
        if keyword not in ds:
            setattr(ds, keyword, None)
    if not ds.get("PatientID"):
        ds.PatientID = one.person_id
    if ds.get("SeriesNumber") is None:
        ds.SeriesNumber = 0
    if ds.get("InstanceNumber") is None:
        ds.InstanceNumber = one.number
    if not ds.get("StudyID"):
        ds.StudyID = one.accession
    if not ds.get("StudyDate"):
        ds.StudyDate = one.datetime[:10].replace("-", "") or "19000101"
    if not ds.get("StudyTime"):
        ds.StudyTime = "000000"
    return ds


def _read(file: BytesIO) -> pydicom.Dataset:
    return pydicom.dcmread(file, stop_before_pixels=True)  # pyright: ignore[reportUnknownMemberType]
