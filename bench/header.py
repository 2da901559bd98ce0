"""How long reading and telling a header takes, beside pydicom, on a CT of 512x512x16 bit with 121 elements made here.

Run ``python bench/header.py [--files N] [--rounds N]``; it prints CPU microseconds a file, medians of the rounds.
"""

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from hilum.imaging.dicom.dataset import DataSet
from hilum.imaging.dicom.dicom_json import dataset_json
from hilum.imaging.dicom.dicom_xml import dataset_xml
from hilum.imaging.dicom.header import scan, scan_file

WANTED = """
PatientName PatientID PatientBirthDate PatientSex StudyInstanceUID StudyDate StudyTime AccessionNumber StudyID
StudyDescription ReferringPhysicianName InstitutionName Modality SeriesInstanceUID SeriesNumber
SeriesDescription SeriesDate SeriesTime BodyPartExamined Manufacturer ManufacturerModelName SliceThickness
SOPClassUID SOPInstanceUID InstanceNumber NumberOfFrames Rows Columns BitsStored PixelSpacing
ImagePositionPatient ImageOrientationPatient WindowCenter WindowWidth RescaleSlope RescaleIntercept
"""
KEYWORDS = WANTED.split()


def ct(elements: int = 121) -> bytes:
    """A CT slice in Explicit VR Little Endian, its data set ``elements`` long, Pixel Data included."""
    data_set = Dataset()
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.826.0.1.3680043.8.498.1.1.1"
    data_set.file_meta = meta
    values: dict[str, object] = {
        "SpecificCharacterSet": "ISO_IR 100",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "StudyDate": "20240102",
        "SeriesDate": "20240102",
        "AcquisitionDate": "20240102",
        "ContentDate": "20240102",
        "StudyTime": "101112.000",
        "SeriesTime": "101113.000",
        "AcquisitionTime": "101114.000",
        "ContentTime": "101115.000",
        "AccessionNumber": "A0000001",
        "Modality": "CT",
        "Manufacturer": "MADE UP",
        "InstitutionName": "Nowhere General",
        "ReferringPhysicianName": "Doe^Jane",
        "StationName": "CT1",
        "StudyDescription": "CT CHEST WITHOUT CONTRAST",
        "SeriesDescription": "AXIAL 1.0",
        "ManufacturerModelName": "Model T",
        "PatientName": "Bench^Patient",
        "PatientID": "P000001",
        "PatientBirthDate": "19500101",
        "PatientSex": "F",
        "PatientAge": "074Y",
        "BodyPartExamined": "CHEST",
        "SliceThickness": "1.0",
        "KVP": "120",
        "ProtocolName": "CHEST",
        "ConvolutionKernel": "B30f",
        "StudyInstanceUID": "1.2.826.0.1.3680043.8.498.1",
        "SeriesInstanceUID": "1.2.826.0.1.3680043.8.498.1.1",
        "StudyID": "1",
        "SeriesNumber": 2,
        "AcquisitionNumber": 1,
        "InstanceNumber": 17,
        "ImagePositionPatient": [-180.0, -180.0, -100.5],
        "ImageOrientationPatient": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
        "FrameOfReferenceUID": "1.2.826.0.1.3680043.8.498.1.9",
        "SliceLocation": "-100.5",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": 512,
        "Columns": 512,
        "PixelSpacing": [0.703125, 0.703125],
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "WindowCenter": "40",
        "WindowWidth": "400",
        "RescaleIntercept": "-1024",
        "RescaleSlope": "1",
        "PixelData": bytes(512 * 512 * 2),
    }
    for keyword, value in values.items():
        setattr(data_set, keyword, value)
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "113100", "DCM", "Made up"
    data_set.ProcedureCodeSequence = [code]
    block = data_set.private_block(0x0019, "HILUM BENCH", create=True)
    for element in range(elements - len(data_set)):
        block.add_new(element, "LO" if element % 2 else "DS", f"{element}.5")
    data_set["PixelData"].VR = "OW"
    file = io.BytesIO()
    data_set.save_as(file, enforce_file_format=True)
    return file.getvalue()


def measure(function: Callable[[], object], times: int, rounds: int) -> float:
    """CPU microseconds a call, the median of the rounds."""
    figures: list[float] = []
    for _ in range(rounds):
        began = time.process_time()
        for _ in range(times):
            function()
        figures.append((time.process_time() - began) / times * 1e6)
    return statistics.median(figures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=300, help="calls a round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    data = ct()
    head = data[: 64 * 1024]
    header = scan(data)
    read = DataSet(data[: header.header_length])

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ct.dcm"
        path.write_bytes(data)

        def from_disk() -> object:
            with path.open("rb") as file:
                return scan_file(file)

        def with_pydicom() -> object:
            found = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(KEYWORDS))
            return [found.get(keyword) for keyword in KEYWORDS]

        rows: list[tuple[str, Callable[[], object]]] = [
            ("scan, 64 KiB in memory", lambda: scan(head, len(data))),
            ("scan_file, open and close", from_disk),
            ("DICOM JSON", lambda: dataset_json(read, header, "/bulkdata")),
            ("Native DICOM Model (XML)", lambda: dataset_xml(read, header, "/bulkdata")),
            ("pydicom, 36 tags, values read", with_pydicom),
            ("pydicom, DICOM JSON", lambda: pydicom.dcmread(path, stop_before_pixels=True).to_json()),
        ]
        for name, function in rows:
            times = options.files if "pydicom" not in name else max(options.files // 10, 1)
            print(f"{name:32s} {measure(function, times, options.rounds):8.1f} us a file")


if __name__ == "__main__":
    main()
