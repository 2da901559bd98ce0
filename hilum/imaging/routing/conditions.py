"""What a rule asks of an instance: its source, modality, sender, station, and any attribute of the catalogue by a
regular expression. Expressions are matched by RE2, in time linear in the text, so that none can hang a worker."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Protocol, TypeAlias, cast

import re2  # pyright: ignore[reportMissingTypeStubs]

from hilum.core.errors import Invalid
from hilum.imaging.archive.further import Choice, Level

Json: TypeAlias = Mapping[str, object]

MAX_PATTERN: Final = 500
MAX_CONDITIONS: Final = 20
_MAX_TEXT: Final = 4096
_MAX_PROGRAM_BYTES: Final = 1 << 20

ATTRIBUTES: Final[Mapping[str, str]] = {
    "PatientID": "st.patient_id",
    "PatientName": "st.patient_name_dicom",
    "PatientSex": "st.patient_sex",
    "PatientBirthDate": "to_char(st.patient_birth_date, 'YYYYMMDD')",
    "StudyInstanceUID": "st.study_instance_uid",
    "StudyID": "st.study_id",
    "StudyDate": "to_char(st.study_date, 'YYYYMMDD')",
    "StudyDescription": "st.study_description",
    "AccessionNumber": "st.accession_number",
    "ReferringPhysicianName": "st.referring_physician_dicom",
    "InstitutionName": "st.facility",
    "MagneticFieldStrength": "st.magnetic_field_strength::text",
    "ContrastBolusAgent": "st.contrast_bolus_agent",
    "SeriesInstanceUID": "se.series_instance_uid",
    "SeriesNumber": "se.series_number::text",
    "SeriesDescription": "se.series_description",
    "SeriesDate": "to_char(se.series_date, 'YYYYMMDD')",
    "Modality": "se.modality",
    "BodyPartExamined": "se.body_part",
    "Laterality": "se.laterality",
    "ViewPosition": "se.view_position",
    "ProtocolName": "se.protocol_name",
    "Manufacturer": "se.manufacturer",
    "ManufacturerModelName": "se.model",
    "StationName": "se.station_name",
    "SliceThickness": "se.slice_thickness::text",
    "ConvolutionKernel": "se.convolution_kernel",
    "ScanningSequence": "se.scanning_sequence",
    "FrameOfReferenceUID": "se.frame_of_reference_uid",
    "SOPInstanceUID": "i.sop_instance_uid",
    "SOPClassUID": "i.sop_class_uid",
    "TransferSyntaxUID": "i.transfer_syntax_uid",
    "InstanceNumber": "i.instance_number::text",
    "NumberOfFrames": "i.num_frames::text",
    "Rows": "i.rows::text",
    "Columns": "i.columns::text",
}
"""Attributes that every instance has in the catalogue, and where; beside them those of ``HILUM_QIDO_ATTRIBUTES``."""

_FURTHER: Final[Mapping[Level, str]] = {Level.STUDY: "study", Level.SERIES: "series", Level.INSTANCE: "instance"}


class _Expression(Protocol):
    def search(self, text: str) -> object | None: ...


@dataclass(frozen=True, slots=True)
class Pattern:
    """That an attribute's value, or one of several, contains what a regular expression describes."""

    attribute: str
    pattern: str


@dataclass(frozen=True, slots=True)
class Conditions:
    """All must hold; of a list any member; an empty one asks for nothing.

    Attributes
    ----------
    sources
        Keys of sources.
    modalities
        Codes as Modality (0008,0060) has them.
    senders
        Calling AE titles, or addresses of those who came by STOW-RS.
    station_names
        Station Name (0008,1010).
    patterns
        Regular expressions on attributes.
    """

    sources: Sequence[str] = ()
    modalities: Sequence[str] = ()
    senders: Sequence[str] = ()
    station_names: Sequence[str] = ()
    patterns: Sequence[Pattern] = ()

    @classmethod
    def read(cls, given: Json) -> "Conditions":
        """Read them as the database keeps them."""
        parts = cast("Mapping[str, list[str]]", given)
        patterns = cast("list[dict[str, str]]", given.get("patterns") or [])
        return cls(
            sources=tuple(parts.get("sources") or ()),
            modalities=tuple(parts.get("modalities") or ()),
            senders=tuple(parts.get("senders") or ()),
            station_names=tuple(parts.get("station_names") or ()),
            patterns=tuple(Pattern(each["attribute"], each["pattern"]) for each in patterns),
        )

    def check(self, choice: Choice) -> None:
        """Refuse what can never be asked.

        Raises
        ------
        Invalid
            An attribute is not in the catalogue, or an expression is none.
        """
        if len(self.patterns) > MAX_CONDITIONS:
            raise Invalid(f"A rule has at most {MAX_CONDITIONS} regular expressions.")
        further = {each.path.keyword for each in choice.attributes}
        for each in self.patterns:
            if each.attribute not in ATTRIBUTES and each.attribute not in further:
                raise Invalid(
                    f"'{each.attribute}' is no attribute that the catalogue keeps. Take a keyword such as "
                    f"{', '.join(sorted(ATTRIBUTES)[:3])} or StationName, or name it in HILUM_QIDO_ATTRIBUTES."
                )
            _compiled(each.pattern)

    def hold(self, facts: "Facts") -> bool:
        """Whether they hold for an instance."""
        return (
            (not self.sources or facts.source in self.sources)
            and (not self.modalities or facts.values["Modality"] in self.modalities)
            and (not self.senders or facts.sender in self.senders)
            and (not self.station_names or facts.values["StationName"] in self.station_names)
            and all(_found(each, facts) for each in self.patterns)
        )


@dataclass(frozen=True, slots=True)
class Facts:
    """What the catalogue knows of an instance that rules may ask for.

    Attributes
    ----------
    instance
        Its id.
    digest
        Of the bytes that it has now, BLAKE3 as hexadecimal digits.
    source, sender
        Key of its source; AE title or address of who sent it, empty where nobody did.
    values
        By keyword.
    further
        The attributes of the setting, by path, each with its values.
    """

    instance: int
    digest: str
    source: str
    sender: str
    values: Mapping[str, str]
    further: Mapping[str, Sequence[str]]


def facts_columns() -> str:
    """The columns that `facts` reads, of ``i``, ``se``, ``st`` and ``so``."""
    plain = ", ".join(f'{column} "{keyword}"' for keyword, column in ATTRIBUTES.items())
    return (
        f"i.id, i.digest, i.sender, so.key source_key, st.further study, se.further series, i.further instance, {plain}"
    )


def facts(row: Json, choice: Choice) -> Facts:
    """Read a row of the catalogue."""
    known = cast("Mapping[str, Any]", row)
    further = {
        each.path.keyword: _values(known[_FURTHER[each.level]], each.path.key, each.path.tags[1:])
        for each in choice.attributes
    }
    values = {keyword: str(known[keyword] or "") for keyword in ATTRIBUTES}
    return Facts(known["id"], known["digest"], known["source_key"], known["sender"], values, further)


def _values(excerpt: object, key: str, inner: Sequence[int]) -> list[str]:
    """The values of an attribute in the DICOM JSON that is kept of an instance, as texts."""
    items: list[object] = [excerpt or {}]
    for name in (key, *(f"{tag:08X}" for tag in inner)):
        found = [cast("Json", item).get(name) for item in items if isinstance(item, dict)]
        items = [
            value
            for element in found
            if isinstance(element, dict)
            for value in cast("list[object]", cast("Json", element).get("Value") or [])
        ]
    return [_text(value) for value in items]


def _text(value: object) -> str:
    if isinstance(value, dict):  # a name, in up to three ways of writing
        return "=".join(str(part) for part in cast("dict[str, object]", value).values())
    return str(value)


def _found(each: Pattern, known: Facts) -> bool:
    values = known.further.get(each.attribute) or (known.values.get(each.attribute, ""),)
    expression = _compiled(each.pattern)
    return any(expression.search(value[:_MAX_TEXT]) is not None for value in values)


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> _Expression:
    if len(pattern) > MAX_PATTERN:
        raise Invalid(f"A regular expression has at most {MAX_PATTERN} characters.")
    options = cast("Any", re2).Options()
    options.max_mem = _MAX_PROGRAM_BYTES
    options.log_errors = False
    try:
        return cast("_Expression", cast("Any", re2).compile(pattern, options))
    except cast("type[Exception]", cast("Any", re2).error) as error:
        reason = error.args[0].decode(errors="replace") if error.args else "it cannot be read"
        raise Invalid(f"'{pattern}' is no regular expression as RE2 reads them: {reason}.") from None
