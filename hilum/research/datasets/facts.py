"""What is noted of each file that is made, read from its new bytes by pydicom, a reader that had no part in making it:
the attributes that CHoRUS lists, geometry and display. The metadata tables and the checks are made of it."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Final, Literal, TypeAlias, cast

from hilum.imaging.dicom.pydicom_setup import pydicom

Level: TypeAlias = Literal["study", "series", "instance"]
Type: TypeAlias = Literal["text", "integer", "number", "texts", "numbers"]
Value: TypeAlias = str | int | float | list[str] | list[float] | None

FIELDS: Final[Mapping[str, tuple[Level, Type]]] = {
    "PatientID": ("study", "text"),
    "PatientSex": ("study", "text"),
    "PatientAge": ("study", "text"),
    "PatientSize": ("study", "number"),
    "PatientWeight": ("study", "number"),
    "AccessionNumber": ("study", "text"),
    "StudyInstanceUID": ("study", "text"),
    "StudyDate": ("study", "text"),
    "StudyTime": ("study", "text"),
    "StudyDescription": ("study", "text"),
    "SeriesInstanceUID": ("series", "text"),
    "SeriesNumber": ("series", "integer"),
    "SeriesDate": ("series", "text"),
    "SeriesTime": ("series", "text"),
    "SeriesDescription": ("series", "text"),
    "Modality": ("series", "text"),
    "BodyPartExamined": ("series", "text"),
    "ImageLaterality": ("series", "text"),
    "Laterality": ("series", "text"),
    "ViewPosition": ("series", "text"),
    "PatientPosition": ("series", "text"),
    "Manufacturer": ("series", "text"),
    "ManufacturerModelName": ("series", "text"),
    "MagneticFieldStrength": ("series", "number"),
    "Radiopharmaceutical": ("series", "text"),
    "ContrastBolusAgent": ("series", "text"),
    "ContrastBolusRoute": ("series", "text"),
    "SliceThickness": ("series", "number"),
    "SpacingBetweenSlices": ("series", "number"),
    "ImagesInAcquisition": ("series", "integer"),
    "TransducerType": ("series", "text"),
    "TransducerFrequency": ("series", "number"),
    "ConvolutionKernel": ("series", "texts"),
    "ScanningSequence": ("series", "texts"),
    "SequenceVariant": ("series", "texts"),
    "ScanOptions": ("series", "texts"),
    "RepetitionTime": ("series", "number"),
    "EchoTime": ("series", "number"),
    "FlipAngle": ("series", "number"),
    "KVP": ("series", "number"),
    "FilterType": ("series", "text"),
    "FocalSpots": ("series", "numbers"),
    "FrameOfReferenceUID": ("series", "text"),
    "SOPInstanceUID": ("instance", "text"),
    "SOPClassUID": ("instance", "text"),
    "InstanceNumber": ("instance", "integer"),
    "AcquisitionDate": ("instance", "text"),
    "AcquisitionTime": ("instance", "text"),
    "ContentDate": ("instance", "text"),
    "ContentTime": ("instance", "text"),
    "ImageType": ("instance", "texts"),
    "NumberOfFrames": ("instance", "integer"),
    "Rows": ("instance", "integer"),
    "Columns": ("instance", "integer"),
    "SamplesPerPixel": ("instance", "integer"),
    "PhotometricInterpretation": ("instance", "text"),
    "BitsAllocated": ("instance", "integer"),
    "BitsStored": ("instance", "integer"),
    "HighBit": ("instance", "integer"),
    "PixelRepresentation": ("instance", "integer"),
    "PixelSpacing": ("instance", "numbers"),
    "ImagerPixelSpacing": ("instance", "numbers"),
    "ImagePositionPatient": ("instance", "numbers"),
    "ImageOrientationPatient": ("instance", "numbers"),
    "SliceLocation": ("instance", "number"),
    "WindowCenter": ("instance", "numbers"),
    "WindowWidth": ("instance", "numbers"),
    "RescaleIntercept": ("instance", "number"),
    "RescaleSlope": ("instance", "number"),
    "RescaleType": ("instance", "text"),
    "XRayTubeCurrent": ("instance", "number"),
    "Exposure": ("instance", "number"),
    "ExposureInuAs": ("instance", "number"),
    "ExposureTime": ("instance", "number"),
    "BurnedInAnnotation": ("instance", "text"),
    "RecognizableVisualFeatures": ("instance", "text"),
    "PatientIdentityRemoved": ("instance", "text"),
}
"""Keyword, of which level, and as what."""

SEARCHED: Final = (
    "PatientName", "PatientBirthDate", "StudyID", "TimezoneOffsetFromUTC", "ReferringPhysicianName", "InstitutionName",
    "StationName", "ProtocolName", "PerformedProcedureStepStartDate", "PerformedProcedureStepStartTime",
)  # fmt: skip
"""What a search over DICOMweb tells beside them; it is in no table."""
_LARGEST: Final = float(1 << 53)
BEFORE: Final = "DeidentifiedBefore"
"""The fact that an original was de-identified already, so that its dates may have stayed."""
WANTED: Final = (
    "StudyDescription", "SeriesDescription", "BodyPartExamined", "Manufacturer", "ManufacturerModelName", "StudyDate",
    "StudyTime", "SeriesNumber", "SliceThickness", "PixelSpacing", "ImagePositionPatient",
    "ImageOrientationPatient", "KVP", "MagneticFieldStrength", "RepetitionTime", "EchoTime", "ViewPosition",
    "ImageLaterality", "ContrastBolusAgent", "ContrastBolusRoute", "Radiopharmaceutical", "ConvolutionKernel",
)  # fmt: skip
"""Fields whose missingness a receiver asks for."""


def facts_of(data: bytes) -> dict[str, Value]:
    """What a file says of itself, without what it lacks.

    Parameters
    ----------
    data
        The file.

    Raises
    ------
    pydicom.errors.InvalidDicomError
        When pydicom does not read it.
    """
    found = pydicom.dcmread(  # pyright: ignore[reportUnknownMemberType]
        BytesIO(data), stop_before_pixels=True, specific_tags=[*FIELDS, *SEARCHED]
    )
    facts: dict[str, Value] = {}
    for keyword in (*FIELDS, *SEARCHED):
        value = _value(found.get(keyword), FIELDS[keyword][1] if keyword in FIELDS else "text")
        if value is not None:
            facts[keyword] = value
    facts["TransferSyntaxUID"] = str(found.file_meta.TransferSyntaxUID)
    return facts


def _value(given: object, kind: Type) -> Value:
    if given is None or given == "":
        return None
    several = (
        list(cast("Sequence[object]", given)) if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    )
    try:
        if kind == "text":
            return "\\".join(map(_plain, several))
        if kind == "texts":
            return [_plain(one) for one in several]
        numbers = [float(str(one)) for one in several if one is not None and str(one) != ""]
    except ValueError:
        return None
    if not numbers or not all(abs(number) < _LARGEST for number in numbers):  # also where one is no number
        return None
    if kind == "numbers":
        return numbers
    return int(numbers[0]) if kind == "integer" else numbers[0]


def _plain(value: object) -> str:
    """A text that a database takes."""
    return str(value).replace("\0", "").encode("utf-8", "replace").decode()
