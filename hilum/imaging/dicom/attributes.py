"""Which attributes the catalogue keeps of an instance, and the facts of the encoding (value representations, tags that
structure a data set) that every reader of this room shares. Reading itself is done by ``header`` and ``dicom_json``."""

from importlib.resources import files
from typing import Final

UNDEFINED: Final = 0xFFFFFFFF
"""The length that says: up to the delimiter (PS3.5 section 7.1.1)."""

# Value representations by the width of their length field in Explicit VR (PS3.5 section 7.1.2).
TEXT_SHORT: Final = frozenset(b"AE AS CS DA DS DT IS LO LT PN SH ST TM UI".split())
TEXT_LONG: Final = frozenset(b"UC UR UT".split())
TEXT: Final = TEXT_SHORT | TEXT_LONG
NAMELESS: Final = frozenset((b"??", b"  "))
"""What devices write that know no representation; UN would be right (PS3.5 section 6.2.2)."""
SHORT: Final = TEXT_SHORT | NAMELESS | frozenset(b"AT FD FL SL SS UL US".split())
UNKNOWN: Final = NAMELESS | {b"UN"}
LONG: Final = TEXT_LONG | frozenset(b"OB OD OF OL OV OW SQ SV UN UV".split())
CHARACTER_SET_VRS: Final = frozenset(b"LO LT PN SH ST UC UT".split())
"""Those whose text is subject to Specific Character Set (PS3.5 section 6.1.2.3); the rest is ASCII by definition."""

NUMBER_FORMATS: Final = {
    b"US": "H",
    b"SS": "h",
    b"UL": "I",
    b"SL": "i",
    b"FL": "f",
    b"FD": "d",
    b"UV": "Q",
    b"SV": "q",
}

_TOP_LEVEL: Final = """
    SpecificCharacterSet ImageType SOPClassUID SOPInstanceUID TimezoneOffsetFromUTC
    StudyDate SeriesDate AcquisitionDate ContentDate StudyTime SeriesTime AcquisitionTime ContentTime
    AccessionNumber Modality Manufacturer InstitutionName ReferringPhysicianName StationName
    StudyDescription SeriesDescription ManufacturerModelName
    PatientName PatientID IssuerOfPatientID PatientBirthDate PatientSex PatientAge
    ContrastBolusAgent BodyPartExamined ScanningSequence Radiopharmaceutical SliceThickness KVP RepetitionTime EchoTime
    MagneticFieldStrength SpacingBetweenSlices ProtocolName ContrastBolusRoute ImagerPixelSpacing
    EstimatedRadiographicMagnificationFactor ConvolutionKernel
    TransducerFrequency TransducerType ViewPosition
    StudyInstanceUID SeriesInstanceUID StudyID SeriesNumber AcquisitionNumber InstanceNumber
    ImagePositionPatient ImageOrientationPatient FrameOfReferenceUID Laterality ImageLaterality ImagesInAcquisition
    SliceLocation
    SamplesPerPixel PhotometricInterpretation PlanarConfiguration NumberOfFrames Rows Columns PixelSpacing
    PixelAspectRatio BitsAllocated BitsStored HighBit PixelRepresentation PixelPaddingValue PixelPaddingRangeLimit
    WindowCenter WindowWidth VOILUTFunction RescaleIntercept RescaleSlope RescaleType LossyImageCompression
    PerformedProcedureStepStartDate PerformedProcedureStepStartTime PresentationLUTShape
"""
_NESTED: Final = """
    Radiopharmaceutical SliceThickness SpacingBetweenSlices PixelSpacing ImagePositionPatient ImageOrientationPatient
    WindowCenter WindowWidth VOILUTFunction RescaleIntercept RescaleSlope RescaleType FrameLaterality
    CodeValue CodingSchemeDesignator CodeMeaning
"""

KEYWORDS: Final = tuple(_TOP_LEVEL.split())
"""The attributes of the top level that a ``Header`` carries, beside those of the file meta information."""

NESTED_KEYWORDS: Final = frozenset(_NESTED.split())
"""Those taken from a sequence (below) when the top level lacks them; the code is that of the Anatomic Region."""


def raw_tag(tag: int) -> int:
    """A tag as its four bytes read as one little-endian number, which is how the readers look tags up."""
    return (tag & 0xFFFF) << 16 | tag >> 16


# The lines of the data dictionary (PS3.6) for the attributes that are named here: so few are read in no time.
_LINES: Final = [
    line.split() for line in files("hilum.imaging.dicom").joinpath("dictionary.txt").read_text("ascii").splitlines()
]
_TAG: Final = {keyword: int(tag, 16) for tag, _, keyword in _LINES}
_VR: Final = {keyword: vr for _, vr, keyword in _LINES}


def _raw(keyword: str) -> int:
    return raw_tag(_TAG[keyword])


def _vr(keyword: str) -> bytes:
    return _VR[keyword][:2].encode()  # "US/SS": the sign is settled by Pixel Representation afterwards


WANTED: Final = {_raw(keyword): keyword for keyword in KEYWORDS}
NESTED: Final = {_raw(keyword): keyword for keyword in NESTED_KEYWORDS}
VR_OF: Final = {keyword: _vr(keyword) for keyword in dict.fromkeys((*KEYWORDS, *_NESTED.split()))}
META: Final = {
    _raw(keyword): keyword for keyword in ("MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID", "TransferSyntaxUID")
}

# Sequences whose first item may hold what the top level of an enhanced or nuclear-medicine object lacks.
SEQUENCES: Final = frozenset(
    _raw(keyword)
    for keyword in (
        "AnatomicRegionSequence",
        "RadiopharmaceuticalInformationSequence",
        "SharedFunctionalGroupsSequence",
        "PerFrameFunctionalGroupsSequence",
    )
)
ENTERED: Final = frozenset(
    _raw(keyword)
    for keyword in (
        "PixelMeasuresSequence",
        "PlanePositionSequence",
        "PlaneOrientationSequence",
        "FrameVOILUTSequence",
        "PixelValueTransformationSequence",
        "FrameAnatomySequence",
        "AnatomicRegionSequence",
    )
)

PIXEL_DATA: Final = {_raw(keyword): keyword for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")}
STRUCTURES: Final = frozenset(PIXEL_DATA) | SEQUENCES
ITEM: Final = raw_tag(0xFFFEE000)
ITEM_END: Final = raw_tag(0xFFFEE00D)
SEQUENCE_END: Final = raw_tag(0xFFFEE0DD)
ENDS: Final = frozenset((ITEM_END, SEQUENCE_END))

IMPLICIT_LITTLE: Final = "1.2.840.10008.1.2"
EXPLICIT_LITTLE: Final = "1.2.840.10008.1.2.1"
EXPLICIT_BIG: Final = "1.2.840.10008.1.2.2"
# The last two are JPIP Referenced Deflate and its HTJ2K form: a data set without pixels, deflated.
DEFLATED: Final = frozenset(("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"))
GE_BIG_ENDIAN_PIXELS: Final = "1.2.840.113619.5.2"
"""A private transfer syntax: Implicit VR Little Endian, but for the pixels."""
IMPLICIT: Final = frozenset((IMPLICIT_LITTLE, GE_BIG_ENDIAN_PIXELS))
