"""A set of DICOM files with identifiers planted everywhere they can hide; deterministic. What becomes of it is judged
by ``score``."""

from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    ExplicitVRLittleEndian,
)  # fmt: skip

CT, MR, PT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.128"
ROOT = "1.2.826.0.1.3680043.9.7777"


@dataclass
class Patient:
    patient_id: str
    names: list[str]
    birth: str
    person_id: str
    days: int
    charset: str = ""
    extra: list[str] = field(default_factory=list)


PATIENTS = [
    Patient("MRN00481516", ["Müller^Hans Peter"], "19610204", "10001001", -31, "ISO_IR 100"),
    Patient("TK-7700123", ["Yamada^Tarou=山田^太郎=やまだ^たろう"], "19750817", "10001002", -365, "\\ISO 2022 IR 87"),
    Patient("RU5550199", ["Кузнецов^Иван"], "19480521", "10001003", -730, "ISO_IR 192"),
    Patient("KR3141592", ["Hong^Gildong=洪^吉洞=홍^길동"], "19900101", "10001004", -1, "ISO_IR 192"),
    Patient("LI0000077", ["Li^Bo"], "20011231", "10001005", -200),
    Patient("HEAD000042", ["Long^Head"], "19550605", "10001006", -77),
    Patient("OLD9090909", ["Oldenburg^Wilhelmina"], "19240303", "10001007", -400),
    Patient("DEID000900", ["DEID000900"], "", "10001008", -50),
    Patient("GR44001239", ["Παπαδόπουλος^Γιώργος"], "19661128", "10001009", -13, "ISO_IR 126"),
    Patient("AR77889901", ["قباني^لنزار"], "19710310", "10001010", -89, "ISO_IR 127"),
    Patient("CN20180042", ["Wang^XiaoDong=王^小东"], "19831231", "10001011", -301, "GB18030"),
    Patient("OB-112-233", ["O'Brien-Smythe^Moira Quenby^J^^Jr"], "19520229", "10001012", -600),
    Patient("007321456", ["de la Cruz^José María"], "19990909", "10001013", -5, "ISO_IR 100"),
    Patient("ID.88.4521", ["Søndergård^Åse"], "19420704", "10001014", -128, "ISO_IR 192"),
]
THIRD = ["Featherstonehaugh", "Szczepanski", "Quattlebaum"]


@dataclass
class Planted:
    """A file of the set: where it lies, its data set, and what must become of it."""

    name: str
    patient: Patient
    number: int
    out: bool = True
    leaks: set[str] = field(default_factory=set)
    kept: dict[str, Any] = field(default_factory=dict)
    dates: dict[str, str] = field(default_factory=dict)
    data: bytes = b""
    pixels: bytes = b""
    unmoved: bool = False


class Set:
    """The whole set."""

    def __init__(self) -> None:
        self.files: list[Planted] = []
        self.uids: set[str] = set()

    def add(self, planted: Planted, ds: Dataset, syntax: str = ExplicitVRLittleEndian, **how: Any) -> Planted:
        planted.data = part10(ds, syntax, **how)
        for element in ds.iterall():
            if element.VR == "UI":
                values = (
                    element.value if isinstance(element.value, (list, pydicom.multival.MultiValue)) else [element.value]
                )
                self.uids |= {str(v) for v in values if v and not str(v).startswith("1.2.840.10008.")}
        self.files.append(planted)
        return planted

    def write(self, folder: Path) -> None:
        for number, one in enumerate(self.files):
            path = folder / f"{one.patient.patient_id}" / f"{number:03d}-{one.name}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(one.data)
        (folder / "notes.txt").write_text("not an image")

    def write_maps(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        people = [f"{p.patient_id},{p.person_id},{p.days}" for p in PATIENTS]
        (folder / "Personal_map.csv").write_text("\n".join(["PatientID,person_id,Days_Shifted", *people]) + "\n")
        images = [f"{p.patient_id},{accession(p)},{5000 + n}" for n, p in enumerate(PATIENTS)]
        (folder / "Image_map.csv").write_text(
            "\n".join(["PatientID,AccessionNumber,image_occurence_id", *images]) + "\n"
        )
        known = [f"{p.patient_id},phone,(617) 555-01{n:02d}" for n, p in enumerate(PATIENTS)]
        known += [f'{p.patient_id},text,"{n + 12} Wisteria Lane, Springfield"' for n, p in enumerate(PATIENTS)]
        (folder / "known_identifiers.csv").write_text("\n".join(["PatientID,kind,value", *known]) + "\n", "utf-8")


def accession(patient: Patient) -> str:
    return f"ACC{patient.person_id[-3:]}8844"


def part10(ds: Dataset, syntax: str, *, preamble: bytes = bytes(128), trailing: bytes = b"", meta: str = "") -> bytes:
    file_meta = FileMetaDataset()
    file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    file_meta.TransferSyntaxUID = syntax
    file_meta.ImplementationClassUID = ROOT + ".99"
    if meta:
        file_meta.SourceApplicationEntityTitle = meta[:16]
        file_meta.PrivateInformationCreatorUID = ROOT + ".98"
        file_meta.PrivateInformation = meta.encode()
    ds.file_meta = file_meta
    ds.preamble = preamble
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue() + trailing


def base(patient: Patient, number: int, sop_class: str, modality: str, series: int = 1) -> Dataset:
    ds = Dataset()
    if patient.charset:
        ds.SpecificCharacterSet = patient.charset.split("\\") if "\\" in patient.charset else patient.charset
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, uid(patient, series, number)
    ds.StudyInstanceUID, ds.SeriesInstanceUID = uid(patient), uid(patient, series)
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = patient.names[0], patient.patient_id, patient.birth
    ds.PatientSex, ds.PatientWeight, ds.PatientSize = "F", "70.5", "1.72"
    ds.AccessionNumber, ds.Modality, ds.StudyID = accession(patient), modality, "ST12345"
    ds.StudyDate, ds.StudyTime = "20180310", "081500"
    ds.SeriesDate, ds.SeriesTime = "20180310", "082000.123"
    ds.AcquisitionDate, ds.AcquisitionTime = "20180310", "082130"
    ds.ContentDate, ds.ContentTime = "20180310", "082131"
    ds.ReferringPhysicianName = f"{THIRD[0]}^Alistair"
    ds.InstitutionName, ds.InstitutionAddress = "Saint Bartleby Hospital", "1 Bartleby Plaza"
    ds.Manufacturer, ds.ManufacturerModelName = "ACME MEDICAL SYSTEMS", "Scanner 64"
    ds.StationName, ds.DeviceSerialNumber = "BARTCT01", "SN77788899"
    ds.OperatorsName = f"{THIRD[1]}^Kasia"
    ds.StudyDescription, ds.SeriesDescription = "CT CHEST W/O CONTRAST", "Axial 5.0 Br40"
    ds.SeriesNumber, ds.InstanceNumber, ds.AcquisitionNumber = series, number, number
    ds.PatientAddress, ds.PatientTelephoneNumbers = "99 Evergreen Terrace", "617-555-9876"
    return ds


def uid(patient: Patient, *parts: int) -> str:
    return ".".join((ROOT, patient.person_id, *map(str, parts)))


def image(ds: Dataset, rng: np.random.Generator, bits: int = 12) -> bytes:
    ds.Rows = ds.Columns = 16
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, bits, bits - 1, 0
    ds.PixelSpacing, ds.SliceThickness = ["0.7", "0.7"], "5.0"
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [-100, -100, 12.5], [1, 0, 0, 0, 1, 0]
    ds.SliceLocation, ds.FrameOfReferenceUID = "12.5", ds.StudyInstanceUID + ".77"
    ds.WindowCenter, ds.WindowWidth = "40", "400"
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "-1024", "1", "HU"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.BodyPartExamined, ds.PositionReferenceIndicator = "CHEST", ""
    pixels = rng.integers(0, 1 << bits, (16, 16), dtype=np.uint16)
    ds.PixelData = pixels.tobytes()
    ds["PixelData"].VR = "OW"
    return ds.PixelData


SOP_KEEP = {
    "KVP": "120", "XRayTubeCurrent": "170", "Exposure": "85", "ExposureInuAs": "85000", "ExposureTime": "500",
    "FocalSpots": "1.2", "FilterType": "BOWTIE", "FilterThicknessMinimum": "0.5", "FilterThicknessMaximum": "0.9",
    "ConvolutionKernel": "Br40d", "ScanningSequence": "SE", "SequenceVariant": "SK", "ScanOptions": "FS",
    "RepetitionTime": "500", "EchoTime": "12", "MagneticFieldStrength": "1.5", "FlipAngle": "90",
    "SpacingBetweenSlices": "5.0",
}  # fmt: skip
"""Of the 38 attributes that the CHoRUS SOP keeps, those that `base` and `image` do not set."""
KEEP_LIST = """
    Modality Manufacturer InstanceNumber ImagePositionPatient ImageOrientationPatient SliceLocation Rows
    Columns PixelSpacing SliceThickness SpacingBetweenSlices PhotometricInterpretation BitsAllocated
    BitsStored HighBit PixelRepresentation WindowCenter WindowWidth RescaleIntercept RescaleSlope
    RescaleType KVP XRayTubeCurrent Exposure ExposureInuAs ExposureTime FocalSpots FilterType
    FilterThicknessMinimum FilterThicknessMaximum ConvolutionKernel ScanningSequence SequenceVariant
    ScanOptions RepetitionTime EchoTime MagneticFieldStrength FlipAngle
""".split()  # noqa: SIM905 - easier to read


def common(ds: Dataset, planted: Planted) -> None:
    """What every output must keep and move."""
    for keyword in (
        "Modality", "Manufacturer", "ManufacturerModelName", "SeriesNumber", "InstanceNumber", "AcquisitionNumber",
        "StudyTime", "SeriesTime", "PatientSex", "PatientWeight", "PatientSize",
    ):  # fmt: skip
        if keyword in ds:
            planted.kept[keyword] = ds[keyword].value
    for keyword in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
        if keyword in ds:
            planted.dates[keyword] = ds[keyword].value
    patient = planted.patient
    if patient.patient_id != "DEID000900":
        for group in patient.names[0].split("="):
            planted.leaks |= {part for part in group.replace("^", " ").split() if len(part) > 2 or not part.isascii()}
            planted.leaks.add(group)
        planted.leaks |= {patient.patient_id, accession(patient)}
    if patient.names[0] == "Long^Head":
        planted.leaks -= {"Long", "Head"}
    planted.leaks |= {*THIRD, "Bartleby", "BARTCT01", "SN77788899", "Evergreen", "555-9876", "Wisteria", "ST12345"}


def item(**values: Any) -> Dataset:
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, Sequence(value) if isinstance(value, list) and keyword.endswith("Sequence") else value)
    return ds


def concept(code: str, meaning: str, scheme: str = "DCM") -> Dataset:
    return item(CodeValue=code, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def content(kind: str, named: Dataset | None, **values: Any) -> Dataset:
    made = item(RelationshipType="CONTAINS", ValueType=kind, **values)
    if named is not None:
        made.ConceptNameCodeSequence = [named]
    return made
