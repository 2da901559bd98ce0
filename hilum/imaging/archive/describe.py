"""From a scanned header to the rows of the catalogue: which attribute fills which column of patient, study, series and
instance. The only place that knows; the writer and the queries go by column names."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, time
from typing import Final, TypeAlias

from hilum.imaging.archive.identity import Known, Patient
from hilum.imaging.dicom.frames import native_frame, number_of_frames
from hilum.imaging.dicom.header import Header, Identity
from hilum.imaging.dicom.names import person_name
from hilum.imaging.dicom.uids import is_video

Values: TypeAlias = dict[str, object]

MAX_VIDEO_FRAMES: Final = 10_000_000
NO_PATIENT: Final = "no_patient_id"


@dataclass(frozen=True, slots=True)
class Above:
    """The values that an instance gives to the levels above it."""

    patient: Values
    study: Values
    series: Values


def object_key(source: str, identity: Identity, digest: str) -> str:
    """Name the object of an instance: a folder a study and series, the digest as the file's name."""
    return f"{source}/{identity.study_instance_uid}/{identity.series_instance_uid}/{digest}.dcm"


def describe_above(header: Header, known: Known, patient: Patient) -> Above:
    """Make the rows of patient, study and series from one instance's header; who they are was settled before."""
    study, series = _study(header), _series(header)
    uid = study["study_instance_uid"] = known.identity.study_instance_uid
    series["series_instance_uid"] = known.identity.series_instance_uid
    study["patient_id"] = patient.patient_id
    study["derived"], series["derived"] = known.study_derived, known.series_derived
    study["quarantine"] = "" if patient else NO_PATIENT
    return Above(_patient(header) | patient_key(patient, uid), study, series)


def patient_key(patient: Patient, study_instance_uid: str) -> Values:
    """What tells a patient's row from the others of its source; a patient without identifier is that of one study."""
    key = f"id:{patient.patient_id}\x1f{patient.issuer}" if patient else f"study:{study_instance_uid}"
    return {"key": key, "patient_id": patient.patient_id, "issuer_of_patient_id": patient.issuer}


def count_frames(header: Header, size: int, frame_offsets: Sequence[int] | None) -> int:
    """Count the frames that an instance really holds, whatever it claims; 0 when it is no image.

    Parameters
    ----------
    header
        Its header.
    size
        Of its file, in bytes.
    frame_offsets
        Where its frames lie when they are encapsulated; one more than there are frames.

    Raises
    ------
    Unreadable
        The header does not say how large a frame is.
    """
    if header.pixel_data is None:
        return 0
    if is_video(header.transfer_syntax_uid):
        return min(number_of_frames(header), MAX_VIDEO_FRAMES)
    if frame_offsets is not None:
        return len(frame_offsets) - 1
    return native_frame(header, size).count


def _patient(header: Header) -> Values:
    return {
        "patient_name_dicom": header.text("PatientName"),
        "birth_date": _day(header.date("PatientBirthDate")),
        "sex": header.first("PatientSex"),
    }


def _study(header: Header) -> Values:
    return {
        "study_date": _day(header.date("StudyDate")),
        "study_time": _clock(header.time("StudyTime")),
        "timezone_offset": header.first("TimezoneOffsetFromUTC"),
        "study_id": header.text("StudyID"),
        "accession_number": header.text("AccessionNumber"),
        "study_description": header.text("StudyDescription"),
        "body_part": header.first("BodyPartExamined").upper(),
        "patient_name": person_name(header.text("PatientName")),
        "patient_name_dicom": header.text("PatientName"),
        "patient_birth_date": _day(header.date("PatientBirthDate")),
        "patient_sex": header.first("PatientSex"),
        "physician": person_name(header.first("ReferringPhysicianName")),
        "referring_physician_dicom": header.text("ReferringPhysicianName"),
        "facility": header.text("InstitutionName"),
        "manufacturer": header.text("Manufacturer"),
        "model": header.text("ManufacturerModelName"),
        "magnetic_field_strength": header.number("MagneticFieldStrength"),
        "radiopharmaceutical": header.text("Radiopharmaceutical"),
        "contrast_bolus_agent": header.text("ContrastBolusAgent"),
        "contrast_bolus_route": header.text("ContrastBolusRoute"),
    }


def _series(header: Header) -> Values:
    return {
        "series_number": _int32(header.integer("SeriesNumber")),
        "series_description": header.text("SeriesDescription"),
        "series_date": _day(header.date("SeriesDate")),
        "series_time": _clock(header.time("SeriesTime")),
        "modality": header.first("Modality").upper(),
        "body_part": header.first("BodyPartExamined").upper(),
        "anatomic_region": _region(header),
        "laterality": header.first("ImageLaterality") or header.first("FrameLaterality") or header.first("Laterality"),
        "view_position": header.first("ViewPosition"),
        "protocol_name": header.text("ProtocolName"),
        "manufacturer": header.text("Manufacturer"),
        "model": header.text("ManufacturerModelName"),
        "station_name": header.text("StationName"),
        "slice_thickness": header.number("SliceThickness"),
        "spacing_between_slices": header.number("SpacingBetweenSlices"),
        "images_in_acquisition": _int32(header.integer("ImagesInAcquisition")),
        "transducer_type": header.text("TransducerType"),
        "transducer_frequency": header.text("TransducerFrequency"),
        "kvp": header.number("KVP"),
        "convolution_kernel": header.text("ConvolutionKernel"),
        "scanning_sequence": header.text("ScanningSequence"),
        "repetition_time": header.number("RepetitionTime"),
        "echo_time": header.number("EchoTime"),
        "procedure_step_date": _day(header.date("PerformedProcedureStepStartDate")),
        "procedure_step_time": _clock(header.time("PerformedProcedureStepStartTime")),
        "frame_of_reference_uid": header.first("FrameOfReferenceUID"),
        "rows": _int32(header.integer("Rows")),
        "columns": _int32(header.integer("Columns")),
    }


def describe_instance(header: Header) -> Values:
    """Make what an instance's row takes from its header."""
    position = header.floats("ImagePositionPatient")
    orientation = header.floats("ImageOrientationPatient")
    pixels = header.pixel_data
    return {
        "transfer_syntax_uid": header.transfer_syntax_uid,
        "instance_number": _int32(header.integer("InstanceNumber")),
        "rows": _int32(header.integer("Rows")),
        "columns": _int32(header.integer("Columns")),
        "bits_allocated": _int32(header.integer("BitsAllocated")),
        "slice_location": header.number("SliceLocation"),
        "image_position": position if len(position) == 3 else None,
        "image_orientation": orientation if len(orientation) == 6 else None,
        "depth": _depth(position, orientation),
        "header_length": header.header_length,
        "pixel_offset": pixels.offset if pixels else None,
        "pixel_length": pixels.length if pixels else None,
    }


def _depth(position: Sequence[float], orientation: Sequence[float]) -> float | None:
    """How far along its own normal a slice lies, in mm: the geometric order of a series (PS3.3 C.7.6.2.1.1)."""
    if len(position) != 3 or len(orientation) != 6:
        return None
    rx, ry, rz, cx, cy, cz = orientation
    normal = (ry * cz - rz * cy, rz * cx - rx * cz, rx * cy - ry * cx)
    return sum(p * n for p, n in zip(position, normal, strict=True))


def _region(header: Header) -> str:
    """The code, its scheme and its meaning of the Anatomic Region (PS3.3 table 10-5), parted by ``^``; or nothing."""
    code, scheme = header.first("CodeValue"), header.first("CodingSchemeDesignator")
    return "^".join((code, scheme, header.text("CodeMeaning"))) if code and scheme and "^" not in code + scheme else ""


def _int32(value: int | None) -> int | None:
    return value if value is not None and -(2**31) <= value < 2**31 else None


def _day(value: date | None) -> str | None:
    return value.isoformat() if value else None


def _clock(value: time | None) -> str | None:
    return value.isoformat() if value else None
