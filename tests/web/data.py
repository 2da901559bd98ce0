"""DICOM for the tests of the page: small studies for the list, and one study with everything that a viewer meets."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless

from tests.make import ct, uid, written

SLICES = 50
SIZE = 120
SPACING = 3.0
STUDY = 900
STACK, CINE, REPORT, NO_SPACING, BROKEN = 1, 2, 3, 4, 5
MODALITIES = ("CT", "MR", "DX")


def many_studies(folder: Path, count: int = 45) -> Path:
    """One slice each: CT, MR and DX in turn, one a month, every third of the knee."""
    folder.mkdir(parents=True)
    for n in range(1, count + 1):
        (folder / f"{n:03}.dcm").write_bytes(
            ct(
                n,
                1,
                1,
                Modality=MODALITIES[n % 3],
                StudyDate=f"{2020 + n // 12}{n % 12 + 1:02}15",
                BodyPartExamined="KNEE" if n % 3 == 0 else "CHEST",
                PatientName=f"Patient^N{n:03}",
                StudyDescription=f"Study number {n}",
            )
        )
    return folder


def slice_values(index: int) -> np.ndarray:
    """HU of a slice (rows, columns): air, a body of 40 HU, 100 HU in its left half on the screen, a bar that moves."""
    hu = np.full((SIZE, SIZE), -1000, np.int16)
    hu[20:100, 20:100] = 40
    hu[20:100, 20:60] = 100
    hu[24 + index : 28 + index, 70:95] = 1200
    return hu


def _common(**attributes: object) -> dict[str, object]:
    return {
        "PatientName": "Hallberg^Ida",
        "PatientID": "W900",
        "AccessionNumber": "W-2024-900",
        "StudyDescription": "CT thorax",
        **attributes,
    }


def _slice(series: int, number: int, index: int, **attributes: object) -> bytes:
    stored = (slice_values(index) + 1024).astype("<i2").tobytes()
    geometry: dict[str, object] = {
        "PixelSpacing": [SPACING, SPACING],
        "SliceLocation": str(index * 2.5),
        "ImagePositionPatient": [-180.0, -180.0, index * 2.5],
    }
    return ct(STUDY, series, number, size=SIZE, PixelData=stored, **_common(**geometry | attributes))


def _cine() -> bytes:
    frames = np.zeros((12, 48, 64, 3), np.uint8)
    for n in range(12):
        frames[n, :, 4 * n : 4 * n + 8] = (200, 120, 40)
    return ct(
        STUDY,
        CINE,
        1,
        Modality="US",
        SeriesDescription="Cine",
        NumberOfFrames=12,
        Rows=48,
        Columns=64,
        SamplesPerPixel=3,
        PhotometricInterpretation="RGB",
        PlanarConfiguration=0,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelRepresentation=0,
        PixelData=frames.tobytes(),
        FrameTime="40",
        ImagePositionPatient=None,
        ImageOrientationPatient=None,
        PixelSpacing=None,
        RescaleIntercept=None,
        RescaleSlope=None,
        WindowCenter=None,
        WindowWidth=None,
        **_common(),
    )


def _report() -> bytes:
    item = Dataset()
    item.ValueType, item.TextValue = "TEXT", "No nodule."
    nested = Dataset()
    nested.CodeValue, nested.CodingSchemeDesignator, nested.CodeMeaning = "121071", "DCM", "Finding"
    item.ConceptNameCodeSequence = [nested]
    pixels = dict.fromkeys(
        [
            "Rows",
            "Columns",
            "BitsAllocated",
            "BitsStored",
            "HighBit",
            "PixelRepresentation",
            "SamplesPerPixel",
            "PhotometricInterpretation",
            "PixelData",
            "PixelSpacing",
            "RescaleIntercept",
            "RescaleSlope",
            "WindowCenter",
            "WindowWidth",
            "ImagePositionPatient",
            "ImageOrientationPatient",
            "SliceThickness",
        ]
    )
    return ct(
        STUDY,
        REPORT,
        1,
        Modality="SR",
        SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11",
        SeriesDescription="Report",
        ContentSequence=[item],
        **pixels,
        **_common(),
    )


def rich_study(folder: Path) -> Path:
    """A CT stack in the wrong order, a cine, a report, slices without spacing, a stack with one that is broken."""
    folder.mkdir(parents=True)
    for index in range(SLICES):
        # The last slice comes first and has the lowest number: only the geometry tells the order.
        (folder / f"stack{index:03}.dcm").write_bytes(_slice(STACK, SLICES - index, index))
    (folder / "cine.dcm").write_bytes(_cine())
    (folder / "report.dcm").write_bytes(_report())
    for number in (1, 2):
        values = _slice(NO_SPACING, number, number, SeriesDescription="No spacing", PixelSpacing=None)
        (folder / f"nospacing{number}.dcm").write_bytes(values)
    for number in (1, 2, 3, 4):
        (folder / f"broken{number}.dcm").write_bytes(
            _undecodable(number) if number == 3 else _slice(BROKEN, number, number, SeriesDescription="One broken")
        )
    return folder


def _undecodable(number: int) -> bytes:
    """A slice that says JPEG 2000 and holds something else."""
    ds = pydicom.dcmread(io.BytesIO(_slice(BROKEN, number, number, SeriesDescription="One broken")))
    ds.file_meta.TransferSyntaxUID = JPEG2000Lossless
    ds.PixelData = encapsulate([b"this is no code stream" * 20])
    ds["PixelData"].VR = "OB"
    return written(ds)


def bundle(file: Path) -> Path:
    """A zip as a CD has it: two slices, a report as PDF, a note."""
    with zipfile.ZipFile(file, "w") as archive:
        for number in (1, 2):
            archive.writestr(
                f"DICOM/IM{number}", ct(950, 1, number, PatientName="Bundle^Bo", StudyDescription="From a CD")
            )
        archive.writestr("report.pdf", b"%PDF-1.4\n%%EOF\n")
        archive.writestr("readme.txt", b"Thank you.")
    return file


def study_uid(number: int) -> str:
    """Study Instance UID of a study made here."""
    return uid(number)


__all__ = ["bundle", "many_studies", "rich_study", "slice_values", "study_uid"]
