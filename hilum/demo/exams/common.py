"""What every examination shares: the header of patient, study, series and equipment, and the shape in which an exam
hands over its images. The modules beside this one add what belongs to a modality; nothing here writes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np

from hilum.demo.dicom_writer import Header, Pixels, uid
from hilum.demo.people import Equipment, Misfit, Person, Protocol, Site, Story, Study

_LOSSLESS = ("explicit", "implicit", "deflated", "big_endian", "jpeg_lossless", "jpeg_ls", "jpeg2000", "htj2k", "rle")


@dataclass(frozen=True, slots=True)
class Series:
    """One series: what its images share, and each image's own header and pixels."""

    number: int
    modality: str
    description: str
    shared: Header
    images: Sequence[tuple[Header, Pixels]]
    syntax: str


@dataclass(frozen=True, slots=True)
class Exam:
    """A study with everything needed to take its pictures, and what its files will say wrongly."""

    study: Study
    person: Person
    site: Site
    protocol: Protocol
    equipment: dict[str, Equipment]
    misfit: Misfit | None
    rng: np.random.Generator = field(repr=False)
    noise: np.random.Generator = field(repr=False)

    @property
    def female(self) -> bool:
        """Whether the anatomy is drawn as a woman's."""
        return self.person.sex == "F"

    @property
    def study_uid(self) -> str:
        """Study Instance UID (0020,000D)."""
        return uid("study", self.study.key)

    @property
    def accession_number(self) -> str:
        """Accession Number (0008,0050): the site's prefix and the study's own digits."""
        return f"{self.site.prefix}{self.study.date[2:4]}{self.study.key[1:].zfill(5)}"

    def moment(self, seconds: float) -> tuple[str, str]:
        """DICOM date and time `seconds` after the study began."""
        start = datetime.strptime(self.study.date + self.study.time, "%Y%m%d%H%M%S")  # noqa: DTZ007 (DICOM times are local)
        when = start + timedelta(seconds=seconds)
        return when.strftime("%Y%m%d"), when.strftime("%H%M%S")


def exam_of(story: Story, study: Study, person: Person) -> Exam:
    """Gather a study's person, site and protocol.

    The anatomy's random numbers depend on the person alone, so that a follow-up shows the same body; the noise on the
    study.
    """
    protocol, site = story.protocols[study.protocol], story.sites[person.site]
    body, grain = (int(uid(word, name)[5:]) for word, name in (("anatomy", person.patient_id), ("noise", study.key)))
    rngs = np.random.default_rng(body), np.random.default_rng(grain)
    return Exam(study, person, site, protocol, story.equipment[site.key], story.misfits.get(study.key), *rngs)


def code(value: str, scheme: str, meaning: str) -> Header:
    """An item of a code sequence (PS3.3 8.8)."""
    return {"CodeValue": value, "CodingSchemeDesignator": scheme, "CodeMeaning": meaning}


def study_header(exam: Exam) -> Header:
    """Patient, General Study and Patient Study (PS3.3 C.7.1.1, C.7.2.1, C.7.2.2)."""
    person, study, site = exam.person, exam.study, exam.site
    age = int(study.date[:4]) - int(person.birth_date[:4]) - (study.date[4:] < person.birth_date[4:])
    pick = int(study.key[1:])
    charset: str | list[str] = person.charset
    if "\\" in person.charset:
        charset = person.charset.split("\\")
    return {
        "SpecificCharacterSet": charset,
        "PatientName": person.name,
        "PatientID": person.patient_id,
        "IssuerOfPatientID": site.prefix,
        "PatientBirthDate": person.birth_date,
        "PatientSex": person.sex,
        "PatientAge": f"{age:03d}Y",
        "PatientSize": person.height_cm / 100,
        "PatientWeight": person.weight_kg,
        "StudyInstanceUID": exam.study_uid,
        "StudyDate": study.date,
        "StudyTime": study.time,
        "AccessionNumber": exam.accession_number,
        "StudyID": str(1000 + pick),
        "StudyDescription": exam.protocol.description,
        "ReferringPhysicianName": site.referrers[pick % len(site.referrers)],
        "NameOfPhysiciansReadingStudy": site.radiologists[pick % len(site.radiologists)],
        "AdditionalPatientHistory": study.history,
        **(exam.misfit.header if exam.misfit else {}),
    }


def series_header(
    exam: Exam, number: int, modality: str, sop_class: str, description: str, seconds: float = 0
) -> Header:
    """General Series and General Equipment (PS3.3 C.7.3.1, C.7.5.1) on top of the study's header."""
    date, time = exam.moment(seconds)
    machine, site = exam.equipment[modality], exam.site
    return study_header(exam) | {
        "SOPClassUID": sop_class,
        "SeriesInstanceUID": uid("series", exam.study.key, str(number)),
        "SeriesNumber": number,
        "Modality": modality,
        "SeriesDescription": description,
        "ProtocolName": exam.protocol.description,
        "BodyPartExamined": exam.protocol.body_part,
        "SeriesDate": date,
        "SeriesTime": time,
        "OperatorsName": site.operators[number % len(site.operators)],
        "Manufacturer": machine.manufacturer,
        "ManufacturerModelName": machine.model,
        "DeviceSerialNumber": machine.serial,
        "SoftwareVersions": machine.software,
        "StationName": machine.station,
        "InstitutionName": site.name,
        "InstitutionAddress": site.address,
        "InstitutionalDepartmentName": site.department,
    }


def image_header(exam: Exam, series: int, instance: int, seconds: float) -> Header:
    """General Image (PS3.3 C.7.6.1) of one instance, `seconds` after the study began."""
    date, time = exam.moment(seconds)
    return {
        "SOPInstanceUID": uid("instance", exam.study.key, str(series), str(instance)),
        "InstanceNumber": instance,
        "AcquisitionDate": date,
        "AcquisitionTime": time,
        "ContentDate": date,
        "ContentTime": time,
    }


def pixel_header(pixels: Pixels, syntax: str, bits: int, colour: bool = False, inverse: bool = False) -> Header:
    """Image Pixel (PS3.3 C.7.6.3) of (rows, columns) or (rows, columns, 3) arrays; `bits` are those really used.

    A code stream declares whole bytes, so that Bits Stored of an encapsulated image does too.
    """
    allocated = 8 * pixels.dtype.itemsize
    signed = pixels.dtype.kind == "i"
    stored = allocated if signed or syntax not in ("explicit", "implicit", "deflated", "big_endian") else bits
    photometric = "MONOCHROME1" if inverse else "MONOCHROME2"
    if colour:
        photometric = {"jpeg": "YBR_FULL_422", "jpeg2000": "YBR_RCT", "htj2k": "YBR_RCT"}.get(syntax, "RGB")
    rows, columns = pixels.shape[-3:-1] if colour else pixels.shape[-2:]
    header: Header = {
        "SamplesPerPixel": 3 if colour else 1,
        "PhotometricInterpretation": photometric,
        "Rows": rows,
        "Columns": columns,
        "BitsAllocated": allocated,
        "BitsStored": stored,
        "HighBit": stored - 1,
        "PixelRepresentation": int(signed),
    }
    if colour:
        header["PlanarConfiguration"] = 0
    if syntax not in _LOSSLESS:
        ratio = 9.5 if colour else 6.0
        header |= {
            "LossyImageCompression": "01",
            "LossyImageCompressionRatio": ratio,
            "LossyImageCompressionMethod": "ISO_10918_1",
        }
    return header


def plane_header(
    position: Sequence[float], orientation: Sequence[float], spacing: Sequence[float], thickness: float
) -> Header:
    """Image Plane (PS3.3 C.7.6.2): mm, the centre of the first pixel, row and column spacing."""
    normal = np.cross(orientation[:3], orientation[3:])
    return {
        "ImagePositionPatient": [round(float(part), 4) for part in position],
        "ImageOrientationPatient": list(orientation),
        "PixelSpacing": [round(float(part), 5) for part in spacing],
        "SliceThickness": thickness,
        "SliceLocation": round(float(np.dot(normal, position)), 4),
    }
