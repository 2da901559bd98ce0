"""The files that the benchmark imports: made here once, deterministic, and kept in a folder under the temporary one.

Headers are like a scanner's (121 elements); pixels are noise, so that no layer below gains by compressing them, or,
where they are to be looked at, a body in air with the noise of a scanner.
Patients are invented. What is measured with the files is for the scenarios to say.
"""

import os
import shutil
import stat
import sys
import tempfile
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

NUM_ELEMENTS = 121
VERSION = 1


@dataclass(frozen=True, slots=True)
class Corpus:
    """CT files: `studies`, `series` in each, `instances` in each of those, `edge` x `edge` pixels of 16 bits; `body`
    shows one."""

    name: str
    studies: int
    series: int
    instances: int
    edge: int
    body: bool = False

    @property
    def num_instances(self) -> int:
        return self.studies * self.series * self.instances

    @property
    def num_bytes(self) -> int:
        return self.num_instances * (self.edge * self.edge * 2 + 4096)


def uid(*parts: object) -> str:
    """A UUID-derived UID (PS3.5 section B.2) that is the same for the same parts."""
    digest = blake2b("/".join(map(str, parts)).encode(), digest_size=16, person=b"hilum-bench").digest()
    return f"2.25.{int.from_bytes(digest, 'big')}"


def home() -> Path:
    """The folder in which the bench keeps what it makes for later runs."""
    found = Path(tempfile.gettempdir()) / f"hilum-bench-corpus-{os.getuid()}"
    found.mkdir(mode=0o700, exist_ok=True)
    status = found.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise SystemExit(f"{found} belongs to someone else; remove it or set TMPDIR.")
    return found


def ensure(corpus: Corpus) -> Path:
    """Make the corpus where it is not there yet, and return its folder."""
    kept = home()
    shape = f"v{VERSION}-{corpus.studies}x{corpus.series}x{corpus.instances}-{corpus.edge}{'-body' * corpus.body}"
    folder = kept / f"{corpus.name}-{shape}"
    if folder.is_dir():
        return folder
    if shutil.disk_usage(kept).free < 2 * corpus.num_bytes:
        raise SystemExit(f"{kept} has no room for {corpus.num_bytes // 1_000_000} MB of benchmark files; set TMPDIR.")
    print(f"making {corpus.num_instances} files in {folder}", file=sys.stderr)
    unfinished = Path(tempfile.mkdtemp(prefix="making-", dir=kept))
    for study in range(corpus.studies):
        for series in range(corpus.series):
            _write_series(corpus, unfinished, study, series)
    unfinished.rename(folder)
    return folder


def _write_series(corpus: Corpus, root: Path, study: int, series: int) -> None:
    folder = root / f"study-{study:05}" / f"series-{series + 1:03}"
    folder.mkdir(parents=True)
    dataset = _header(corpus, study, series)
    for index in range(corpus.instances):
        dataset.SOPInstanceUID = UID(uid(corpus.name, study, series, index))
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.InstanceNumber = index + 1
        dataset.ImagePositionPatient = [-180.0, -180.0, 2.5 * index]
        dataset.SliceLocation = 2.5 * index
        dataset.XRayTubeCurrent = 180 + index
        noise = np.random.default_rng([study, series, index])
        dataset.PixelData = _body(corpus.edge, noise) if corpus.body else noise.bytes(corpus.edge * corpus.edge * 2)
        dcmwrite(folder / f"{index + 1:05}.dcm", dataset, enforce_file_format=True)


def _body(edge: int, noise: np.random.Generator) -> bytes:
    """Stored values: an ellipse of soft tissue (40 HU), in it lungs (-800), around it air, all with 12 HU of noise."""
    down, across = np.mgrid[-1 : 1 : edge * 1j, -1 : 1 : edge * 1j]
    units = np.full((edge, edge), -1000.0)
    units[(across / 0.9) ** 2 + (down / 0.65) ** 2 < 1] = 40
    for side in (-0.4, 0.4):
        units[((across - side) / 0.3) ** 2 + (down / 0.45) ** 2 < 1] = -800
    return (units + noise.normal(0, 12, units.shape)).astype("<i2").tobytes()


def _code(value: str, scheme: str, meaning: str) -> Sequence:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return Sequence([item])


def _header(corpus: Corpus, study: int, series: int) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for keyword, value in (_PATIENT | _STUDY | _SERIES | _IMAGE).items():
        setattr(dataset, keyword, value)
    year, day = 2015 + study % 10, f"{study % 12 + 1:02}{study % 28 + 1:02}"
    dataset.PatientName = f"Bench^Person{study:05}"
    dataset.PatientID = f"BENCH-{study:05}"
    dataset.AccessionNumber = f"A{study:07}"
    dataset.StudyInstanceUID = uid(corpus.name, study)
    dataset.StudyID = str(study)
    dataset.SeriesInstanceUID = uid(corpus.name, study, series)
    dataset.SeriesNumber = series + 1
    dataset.FrameOfReferenceUID = uid(corpus.name, study, "frame of reference")
    for keyword in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "InstanceCreationDate"):
        setattr(dataset, keyword, f"{year}{day}")
    dataset.ProcedureCodeSequence = _code("24627-2", "LN", "CT Chest")
    dataset.AnatomicRegionSequence = _code("51185008", "SCT", "Thorax")
    dataset.Rows = dataset.Columns = corpus.edge
    dataset.InstanceNumber, dataset.SliceLocation, dataset.ImagePositionPatient = 1, 0.0, [0.0, 0.0, 0.0]
    dataset.SOPInstanceUID, dataset.PixelData = uid("placeholder"), b""
    dataset["PixelData"].VR = "OW"
    if len(dataset) != NUM_ELEMENTS:
        raise AssertionError(f"the header has {len(dataset)} elements, not {NUM_ELEMENTS}")
    return dataset


_PATIENT: dict[str, object] = {
    "PatientBirthDate": "19560412",
    "PatientSex": "F",
    "PatientAge": "063Y",
    "PatientSize": "1.67",
    "PatientWeight": "71",
    "PatientComments": "synthetic",
    "EthnicGroup": "",
    "PregnancyStatus": 4,
    "PatientIdentityRemoved": "YES",
    "DeidentificationMethod": "never had an identity",
    "IssuerOfPatientID": "BENCH",
    "AdditionalPatientHistory": "",
    "SmokingStatus": "UNKNOWN",
}
_STUDY: dict[str, object] = {
    "SpecificCharacterSet": "ISO_IR 192",
    "StudyTime": "101112.000000",
    "StudyDescription": "CT chest without contrast",
    "ReferringPhysicianName": "Referrer^Rita",
    "NameOfPhysiciansReadingStudy": "Reader^Robin",
    "PhysiciansOfRecord": "Record^Ray",
    "InstitutionName": "Benchmark Hospital",
    "InstitutionAddress": "1 Loopback Lane",
    "InstitutionalDepartmentName": "Radiology",
    "AdmittingDiagnosesDescription": "",
    "CurrentPatientLocation": "OUT",
    "RequestingService": "Pulmonology",
    "RequestingPhysician": "Referrer^Rita",
    "RequestedProcedureDescription": "CT chest",
    "RequestedProcedureID": "RP1",
    "RequestedProcedurePriority": "ROUTINE",
    "ReasonForTheRequestedProcedure": "follow-up",
    "ScheduledProcedureStepDescription": "CT chest",
    "PerformedProcedureStepStartDate": "20190101",
    "PerformedProcedureStepStartTime": "101112",
    "PerformedProcedureStepID": "PPS1",
    "PerformedProcedureStepDescription": "CT chest",
}
_SERIES: dict[str, object] = {
    "SOPClassUID": CTImageStorage,
    "Modality": "CT",
    "Manufacturer": "Bench",
    "ManufacturerModelName": "Sixty-four",
    "StationName": "CT01",
    "DeviceSerialNumber": "0001",
    "SoftwareVersions": "1.0",
    "SeriesTime": "101115.000000",
    "SeriesDescription": "Axial 2.5 mm",
    "ProtocolName": "Chest routine",
    "BodyPartExamined": "CHEST",
    "PatientPosition": "HFS",
    "Laterality": "",
    "OperatorsName": "Operator^Olga",
    "PerformingPhysicianName": "",
    "ScanOptions": "HELICAL MODE",
    "ContrastBolusAgent": "",
    "KVP": "120",
    "DataCollectionDiameter": "500",
    "ReconstructionDiameter": "360",
    "DistanceSourceToDetector": "949",
    "DistanceSourceToPatient": "541",
    "GantryDetectorTilt": "0",
    "TableHeight": "160",
    "RotationDirection": "CW",
    "ExposureTime": "500",
    "XRayTubeCurrent": 180,
    "Exposure": "90",
    "FilterType": "BODY FILTER",
    "GeneratorPower": "24000",
    "FocalSpots": ["0.7"],
    "ConvolutionKernel": "STANDARD",
    "RevolutionTime": 0.5,
    "SingleCollimationWidth": 0.625,
    "TotalCollimationWidth": 40.0,
    "TableSpeed": 78.75,
    "TableFeedPerRotation": 39.375,
    "SpiralPitchFactor": 0.984375,
    "CTDIvol": 6.4,
    "SliceThickness": "2.5",
    "SpacingBetweenSlices": "2.5",
    "PositionReferenceIndicator": "SN",
    "DateOfLastCalibration": "20190101",
    "TimeOfLastCalibration": "060000",
}
_IMAGE: dict[str, object] = {
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
    "InstanceCreationTime": "101116.000000",
    "AcquisitionTime": "101115.500000",
    "ContentTime": "101116.000000",
    "AcquisitionNumber": 1,
    "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
    "ImageComments": "",
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "PixelSpacing": [0.703125, 0.703125],
    "BitsAllocated": 16,
    "BitsStored": 16,
    "HighBit": 15,
    "PixelRepresentation": 1,
    "WindowCenter": "40",
    "WindowWidth": "400",
    "RescaleIntercept": "0",
    "RescaleSlope": "1",
    "RescaleType": "HU",
    "LossyImageCompression": "00",
}
