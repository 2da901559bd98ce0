"""Which attributes QIDO-RS knows at each level, where the catalogue keeps them and how they are matched (PS3.18 section
10.6.3). Reading a request and asking the database is ``qido``'s."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, LiteralString, TypeAlias

from pydicom.datadict import keyword_for_tag, tag_for_keyword

from hilum.imaging.archive.further import REQUIRED, Choice, Further, Level
from hilum.imaging.dicom.paths import AttributePath

__all__ = ["ATTRIBUTES", "Attribute", "Kind", "Level", "Vocabulary", "is_known", "of_level", "vocabulary"]

Kind: TypeAlias = Literal[
    "text", "words", "name", "codes", "uid", "date", "time", "datetime", "integer", "number", "none"
]
"""How a key is matched: ``text`` with wildcards, ``words`` the same without regard to case, ``name`` as a person's,
``codes`` any of several, and ``none`` for what can be included but not searched by."""


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
    further : AttributePath or None
        Where it lies in the JSON of the column, for those of `hilum.imaging.archive.further`.
    codes : str
        For a person's name, the column of how it sounds.
    """

    keyword: str
    tag: str
    vr: str
    level: Level
    column: LiteralString
    kind: Kind
    given: Literal["always", "present", "asked"]
    further: AttributePath | None = None
    codes: LiteralString = ""


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
    return Attribute(keyword, f"{tag:08X}", vr, level, column, kind, given, None, _CODES.get(column, ""))


_CODES: Final[dict[LiteralString, LiteralString]] = {
    "st.patient_name_dicom": "st.patient_codes",
    "st.referring_physician_dicom": "st.physician_codes",
}
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
_FURTHER: Final[dict[Level, LiteralString]] = {
    Level.STUDY: "st.further",
    Level.SERIES: "se.further",
    Level.INSTANCE: "i.further",
}
_KINDS: Final[dict[str, Kind]] = {
    "UI": "uid", "DA": "date", "TM": "time", "DT": "datetime", "PN": "name", "DS": "number", "FD": "number",
    "FL": "number", **dict.fromkeys(("IS", "SL", "SS", "SV", "UL", "US", "UV"), "integer"),
    **dict.fromkeys(("LO", "LT", "ST", "UC", "UT"), "words"),
    **dict.fromkeys(("AT", "OB", "OD", "OF", "OL", "OV", "OW", "SQ"), "none"),
}  # fmt: skip
_PRIVATE: Final = re.compile(r"([0-9A-F]{3}[13579BDF])([1-9A-F][0-9A-F])([0-9A-F]{2})")
_RESERVED: Final = re.compile(r"([0-9A-F]{3}[13579BDF])00([1-9A-F][0-9A-F])")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Every attribute that one installation knows, by the names that it has.

    Attributes
    ----------
    named : mapping of str to Attribute
        By keyword and by tag; of sequence paths both wholly.
    further : tuple of Attribute
        Those that the catalogue has no column for.
    choice : Choice
        Where these come from.
    """

    named: Mapping[str, Attribute]
    further: tuple[Attribute, ...]
    choice: Choice

    def find(self, name: str) -> Attribute | None:
        """An attribute by its keyword, tag or path; None when none such is kept."""
        return self.named.get(name) or self.named.get(_by_tags(name))

    def below(self, name: str) -> list[Attribute]:
        """What is kept of a sequence that is named by itself."""
        tag = _by_tags(name)
        return [each for each in self.further if each.further is not None and each.further.key == tag]

    def private(self, tag: str, creators: Mapping[tuple[str, str], str]) -> list[Attribute]:
        """Those that a private tag may mean, given the creators that a request names by group and block."""
        match = _PRIVATE.fullmatch(tag.upper())
        if match is None:
            return []
        creator = creators.get((match[1], match[2]))
        meant = int(match[1] + "00" + match[3], 16)
        return [
            each
            for each in self.further
            if each.further is not None
            and each.further.creator
            and each.further.tags == (meant,)
            and creator in (None, each.further.creator)
        ]


def reserved_block(name: str) -> tuple[str, str] | None:
    """Group and block of the tag of a Private Creator element, as hexadecimal digits; None for any other name."""
    match = _RESERVED.fullmatch(name.upper())
    return (match[1], match[2]) if match else None


@lru_cache(maxsize=8)
def vocabulary(choice: Choice) -> Vocabulary:
    """All attributes, those of a choice included; what has a column of the catalogue is matched by that."""
    named = {name: one for one in ATTRIBUTES for name in (one.keyword, one.tag)}
    further = tuple(_of_choice(each) for each in choice.attributes if each.path.name not in named)
    for one in further:
        if one.further is not None and not one.further.creator:
            named |= {one.keyword: one, one.tag: one}
    return Vocabulary(named, further, choice)


def _of_choice(each: Further) -> Attribute:
    path = each.path
    kind = _KINDS.get(path.vr, "text")
    given = "present" if each.usual else "asked"
    return Attribute(path.keyword, path.name, path.vr, each.level, _FURTHER[each.level], kind, given, path)


def is_known(name: str) -> bool:
    """Whether PS3.6 has an attribute of this keyword, tag or path, whatever Hilum makes of it."""
    return all(_tag(part) is not None for part in name.split("."))


def of_level(level: Level) -> tuple[Attribute, ...]:
    """The attributes of a level that have a column."""
    return tuple(one for one in ATTRIBUTES if one.level == level)


def match_keys() -> Sequence[tuple[Level, str]]:
    """Every key that can be matched without a setting, with the level that it belongs to."""
    columns = [(one.level, one.keyword) for one in ATTRIBUTES if one.kind != "none"]
    return columns + [(each.level, each.path.keyword) for each in REQUIRED]


def _by_tags(name: str) -> str:
    """A name with each part of its path as a tag."""
    tags = [_tag(part) for part in name.split(".")]
    return ".".join(f"{tag:08X}" for tag in tags if tag is not None) if None not in tags else ""


@lru_cache(maxsize=4096)
def _tag(name: str) -> int | None:
    if len(name) == 8 and all(character in "0123456789abcdefABCDEF" for character in name):
        tag = int(name, 16)
        return tag if keyword_for_tag(tag) else None
    return tag_for_keyword(name)
