"""Small DICOM files for tests, made with pydicom."""

import io
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

ROOT = "2.25.7."


def uid(*parts: int) -> str:
    """A UID that the same numbers always give."""
    return ROOT + ".".join(str(part) for part in parts)


def ct(
    study: int = 1, series: int = 1, instance: int = 1, *, size: int = 8, seed: int = 0, **attributes: object
) -> bytes:
    """A CT slice as a file; attributes by keyword replace its own, None takes one away."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = uid(study, series, instance)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID = CTImageStorage
    ds.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    ds.StudyInstanceUID = uid(study)
    ds.SeriesInstanceUID = uid(study, series)
    ds.StudyDate, ds.StudyTime = "20240131", "101500"
    ds.Modality = "CT"
    ds.PatientName, ds.PatientID = f"Doe^Jane{study}", f"P{study}"
    ds.PatientBirthDate, ds.PatientSex = "19700101", "F"
    ds.AccessionNumber = f"A{study}"
    ds.StudyID = str(study)
    ds.StudyDescription = "CT chest"
    ds.ReferringPhysicianName = "Roe^Richard"
    ds.InstitutionName = "Saint Elsewhere"
    ds.BodyPartExamined = "CHEST"
    ds.SeriesNumber, ds.InstanceNumber = series, instance
    ds.SeriesDescription = "Axial"
    ds.SliceThickness = "2.5"
    ds.ImagePositionPatient = [0, 0, instance * 2.5]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing = [1, 1]
    ds.Rows = ds.Columns = size
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation, ds.SamplesPerPixel = 15, 1, 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.RescaleIntercept, ds.RescaleSlope = "-1024", "1"
    ds.WindowCenter, ds.WindowWidth = "40", "400"
    ds.PixelData = np.random.default_rng(seed + instance).integers(0, 2000, (size, size)).astype("<i2").tobytes()
    for keyword, value in attributes.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    return written(ds)


def written(ds: Dataset) -> bytes:
    """A data set as the bytes of its file."""
    file = io.BytesIO()
    pydicom.dcmwrite(file, ds, enforce_file_format=False)
    return file.getvalue()


def folder(path: Path, studies: int = 1, series: int = 1, instances: int = 3, **options: object) -> Path:
    """A folder of CT slices."""
    for s in range(1, studies + 1):
        for e in range(1, series + 1):
            place = path / f"study{s}" / f"series{e}"
            place.mkdir(parents=True)
            for i in range(1, instances + 1):
                (place / f"IM{i}").write_bytes(ct(s, e, i, **options))
    return path


__all__ = ["ct", "folder", "uid", "written"]
