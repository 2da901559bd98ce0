"""Which attributes QIDO-RS knows at each level, where the catalogue keeps them and how they are matched (PS3.18 section
10.6.3). Reading a request and asking the database is ``qido``'s."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Literal, LiteralString, TypeAlias

from pydicom.datadict import keyword_for_tag, tag_for_keyword

Kind: TypeAlias = Literal["text", "words", "name", "codes", "uid", "date", "time", "integer", "none"]
"""How a key is matched: ``text`` with wildcards, ``words`` the same without regard to case, ``name`` as a person's,
``codes`` any of several, and ``none`` for what can be included but not searched by."""


class Level(IntEnum):
    """A level of the hierarchy, from the top."""

    STUDY = 1
    SERIES = 2
    INSTANCE = 3


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of one level.

    Attributes
    ----------
    keyword, tag, vr : str
        As PS3.6 has them; the tag as eight hexadecimal digits.
    level : Level
        Where it lives.
    column : str
        What gives its value in SQL: a column of ``study`` (st), ``series`` (se) or ``instance`` (i).
    kind : Kind
        How it is matched.
    given : {"always", "present", "asked"}
        Whether an answer holds it always, when it has a value, or only when it is asked for.
    """

    keyword: str
    tag: str
    vr: str
    level: Level
    column: LiteralString
    kind: Kind
    given: Literal["always", "present", "asked"]


def _attribute(
    level: Level,
    keyword: str,
    vr: str,
    column: LiteralString,
    kind: Kind,
    given: Literal["always", "present", "asked"] = "asked",
) -> Attribute:
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    return Attribute(keyword, f"{tag:08X}", vr, level, column, kind, given)


# A study's answer lies ready in study_json; here stands what it can be searched by.
_STUDY: Final[tuple[tuple[str, str, LiteralString, Kind], ...]] = (
    ("StudyDate", "DA", "st.study_date", "date"),
    ("StudyTime", "TM", "st.study_time", "time"),
    ("AccessionNumber", "SH", "st.accession_number", "text"),
    ("ModalitiesInStudy", "CS", "st.modalities", "codes"),
    ("InstitutionName", "LO", "st.facility", "words"),
    ("ReferringPhysicianName", "PN", "st.referring_physician_dicom", "name"),
    ("TimezoneOffsetFromUTC", "SH", "st.timezone_offset", "text"),
    ("StudyDescription", "LO", "st.study_description", "words"),
    ("PatientName", "PN", "st.patient_name_dicom", "name"),
    ("PatientID", "LO", "st.patient_id", "text"),
    ("PatientBirthDate", "DA", "st.patient_birth_date", "date"),
    ("PatientSex", "CS", "st.patient_sex", "text"),
    ("StudyInstanceUID", "UI", "st.study_instance_uid", "uid"),
    ("StudyID", "SH", "st.study_id", "text"),
    ("NumberOfStudyRelatedSeries", "IS", "st.num_series", "integer"),
    ("NumberOfStudyRelatedInstances", "IS", "st.num_instances", "integer"),
)
_SERIES: Final[tuple[tuple[str, str, LiteralString, Kind, Literal["always", "present", "asked"]], ...]] = (
    ("SeriesDate", "DA", "se.series_date", "date", "asked"),
    ("SeriesTime", "TM", "se.series_time", "time", "asked"),
    ("Modality", "CS", "se.modality", "text", "always"),
    ("Manufacturer", "LO", "se.manufacturer", "words", "asked"),
    ("SeriesDescription", "LO", "se.series_description", "words", "present"),
    ("StationName", "SH", "se.station_name", "text", "asked"),
    ("ManufacturerModelName", "LO", "se.model", "words", "asked"),
    ("BodyPartExamined", "CS", "se.body_part", "text", "asked"),
    ("ScanningSequence", "CS", "se.scanning_sequence", "none", "asked"),
    ("SliceThickness", "DS", "se.slice_thickness", "none", "asked"),
    ("KVP", "DS", "se.kvp", "none", "asked"),
    ("RepetitionTime", "DS", "se.repetition_time", "none", "asked"),
    ("EchoTime", "DS", "se.echo_time", "none", "asked"),
    ("SpacingBetweenSlices", "DS", "se.spacing_between_slices", "none", "asked"),
    ("ProtocolName", "LO", "se.protocol_name", "words", "asked"),
    ("ConvolutionKernel", "SH", "se.convolution_kernel", "none", "asked"),
    ("ViewPosition", "CS", "se.view_position", "text", "asked"),
    ("SeriesInstanceUID", "UI", "se.series_instance_uid", "uid", "always"),
    ("SeriesNumber", "IS", "se.series_number", "integer", "always"),
    ("FrameOfReferenceUID", "UI", "se.frame_of_reference_uid", "uid", "asked"),
    ("Laterality", "CS", "se.laterality", "text", "asked"),
    ("NumberOfSeriesRelatedInstances", "IS", "se.num_instances", "integer", "always"),
    ("PerformedProcedureStepStartDate", "DA", "se.procedure_step_date", "date", "present"),
    ("PerformedProcedureStepStartTime", "TM", "se.procedure_step_time", "time", "present"),
)
_INSTANCE: Final[tuple[tuple[str, str, LiteralString, Kind, Literal["always", "present", "asked"]], ...]] = (
    ("SOPClassUID", "UI", "i.sop_class_uid", "uid", "always"),
    ("SOPInstanceUID", "UI", "i.sop_instance_uid", "uid", "always"),
    ("AvailableTransferSyntaxUID", "UI", "i.transfer_syntax_uid", "none", "always"),
    ("InstanceNumber", "IS", "i.instance_number", "integer", "always"),
    ("ImagePositionPatient", "DS", "i.image_position", "none", "asked"),
    ("ImageOrientationPatient", "DS", "i.image_orientation", "none", "asked"),
    ("SliceLocation", "DS", "i.slice_location", "none", "asked"),
    ("NumberOfFrames", "IS", "nullif(greatest(i.num_frames, 1), 1)", "none", "present"),
    ("Rows", "US", "i.rows", "integer", "present"),
    ("Columns", "US", "i.columns", "integer", "present"),
    ("BitsAllocated", "US", "i.bits_allocated", "integer", "present"),
)

ATTRIBUTES: Final = (
    *(_attribute(Level.STUDY, *row, "always") for row in _STUDY),
    *(_attribute(Level.SERIES, *row) for row in _SERIES),
    *(_attribute(Level.INSTANCE, *row) for row in _INSTANCE),
)
_BY_NAME: Final = {name: one for one in ATTRIBUTES for name in (one.keyword, one.tag)}


def find_attribute(name: str) -> Attribute | None:
    """An attribute by its keyword or its tag of eight hexadecimal digits; None when the catalogue has none such."""
    return _BY_NAME.get(name) or _BY_NAME.get(name.upper())


def is_known(name: str) -> bool:
    """Whether PS3.6 has an attribute of this keyword or tag, whatever Hilum makes of it."""
    return tag_for_keyword(name) is not None or bool(len(name) == 8 and _hexadecimal(name) and keyword_for_tag(name))


def _hexadecimal(text: str) -> bool:
    return all(character in "0123456789abcdefABCDEF" for character in text)


def of_level(level: Level) -> tuple[Attribute, ...]:
    """The attributes of a level."""
    return tuple(one for one in ATTRIBUTES if one.level == level)
