"""The columns of the metadata tables: the fields of the CHoRUS Imaging SOP by DICOM keyword, what a study or series is
tied to in the CDM, its LOINC and RSNA Playbook codes, and the attributes that a setting adds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, cast

from hilum.imaging.archive.further import Level, named_attributes
from hilum.imaging.archive.series_header import DicomJson
from hilum.imaging.dicom.paths import AttributePath

Table: TypeAlias = Literal["studies", "series"]
Kind: TypeAlias = Literal["text", "integer", "number", "date", "time"]
Take: TypeAlias = Callable[[DicomJson], str | None]

SETTING: Final = "HILUM_METADATA_TAGS"


@dataclass(frozen=True, slots=True)
class Field:
    """A column: its name, its kind, and where its value is from: SQL over the catalogue, or a function of a header."""

    name: str
    kind: Kind
    sql: str = ""
    take: Take | None = None


def fields_of(table: Table, tags: Sequence[str]) -> list[Field]:
    """The columns of a table.

    Parameters
    ----------
    table
        Of studies or of series.
    tags
        The setting; what belongs to studies goes into their table, all else into that of series.

    Raises
    ------
    Invalid
        The setting names what is no attribute.
    """
    known = list(_STUDIES if table == "studies" else _SERIES)
    names = {field.name for field in known}
    for each in named_attributes(SETTING, tags):
        fits = (each.level == Level.STUDY) == (table == "studies")
        if fits and each.path.keyword not in names:
            known.append(Field(each.path.keyword, "text", take=_taker(each.path)))
    return known


def _taker(path: AttributePath) -> Take:
    return lambda header: value_of(header, path)


def value_of(header: DicomJson, path: AttributePath) -> str | None:
    """What a header says of an attribute, its values parted by backslashes; of items of a sequence all of them.

    Parameters
    ----------
    header
        In the DICOM JSON Model (PS3.18 annex F).
    path
        Of the attribute.
    """
    tag = _placed(header, path)
    found = _values(header.get(tag), path.tags[1:]) if tag else []
    return "\\".join(found) or None


def _placed(header: DicomJson, path: AttributePath) -> str:
    tag = path.tags[0]
    if not path.creator:
        return f"{tag:08X}"
    group = tag >> 16
    for block in range(0x10, 0x100):
        if _texts(header.get(f"{group:04X}{block:04X}")) == [path.creator]:
            return f"{group:04X}{block:02X}{tag & 0xFF:02X}"
    return ""


def _values(attribute: Mapping[str, object] | None, below: Sequence[int]) -> list[str]:
    if not below:
        return _texts(attribute)
    found: list[str] = []
    for item in _items(attribute):
        found += _values(item.get(f"{below[0]:08X}"), below[1:])
    return found


def _items(attribute: Mapping[str, object] | None) -> list[DicomJson]:
    if attribute is None or attribute.get("vr") != "SQ":
        return []
    return [item for item in cast("list[DicomJson | None]", attribute.get("Value") or []) if item]


def _texts(attribute: Mapping[str, object] | None) -> list[str]:
    if attribute is None or attribute.get("vr") == "SQ":
        return []
    values = cast("list[object]", attribute.get("Value") or [])
    return ["" if value is None else _text(value) for value in values]


def _text(value: object) -> str:
    if isinstance(value, dict):  # a person's name, by its groups
        groups = cast("dict[str, str]", value)
        return "=".join(groups.get(name, "") for name in ("Alphabetic", "Ideographic", "Phonetic")).rstrip("=")
    if isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53:
        return str(int(value))  # JSON knows one kind of numbers
    return str(value)


# Designators of the schemes (PS3.16 table 8-1), in capitals.
_LOINC: Final = ("LN", "LOINC", "2.16.840.1.113883.6.1")
_PLAYBOOK: Final = ("RPID", "RADLEX", "2.16.840.1.113883.6.256")


def _coded(schemes: Sequence[str], start: str = "") -> str:
    """SQL for the first of a procedure's codes that is of one of some schemes, and begins so."""
    listed = ", ".join(f"'{scheme}'" for scheme in schemes)
    return (
        "(select g.item->>'code' from jsonb_array_elements(c.procedure_codes) with ordinality g (item, place) "
        f"where upper(g.item->>'scheme') in ({listed}) and starts_with(g.item->>'code', '{start}') "
        "order by g.place limit 1)"
    )


def _text_field(name: str, sql: str) -> Field:
    return Field(name, "text", f"nullif({sql}, '')")


_STUDIES: Final = (
    _text_field("StudyInstanceUID", "s.study_instance_uid"),
    Field("person_id", "integer", "p.target_id"),
    Field("procedure_occurrence_id", "integer", "r.target_id"),
    Field("visit_occurrence_id", "integer", "v.target_id"),
    _text_field("AccessionNumber", "s.accession_number"),
    Field("StudyDate", "date", "s.study_date"),
    Field("StudyTime", "time", "s.study_time"),
    _text_field("StudyDescription", "s.study_description"),
    _text_field("Modality", "s.modality"),
    _text_field("ModalitiesInStudy", "array_to_string(s.modalities, '\\')"),
    _text_field("BodyPartExamined", "s.body_part"),
    _text_field("Manufacturer", "s.manufacturer"),
    _text_field("ManufacturerModelName", "s.model"),
    Field("MagneticFieldStrength", "number", "s.magnetic_field_strength"),
    _text_field("Radiopharmaceutical", "s.radiopharmaceutical"),
    _text_field("ContrastBolusAgent", "s.contrast_bolus_agent"),
    _text_field("ContrastBolusRoute", "s.contrast_bolus_route"),
    Field("NumberOfStudyRelatedSeries", "integer", "s.num_series"),
    Field("NumberOfStudyRelatedInstances", "integer", "s.num_instances"),
    Field("LoincCode", "text", _coded(_LOINC)),
    Field("PlaybookCode", "text", _coded(_PLAYBOOK, "RPID")),
    _text_field("ProcedureCodeSequence.CodeValue", "c.procedure_codes->0->>'code'"),
    _text_field("ProcedureCodeSequence.CodingSchemeDesignator", "c.procedure_codes->0->>'scheme'"),
    _text_field("ProcedureCodeSequence.CodeMeaning", "c.procedure_codes->0->>'meaning'"),
)
_SERIES: Final = (
    _text_field("StudyInstanceUID", "s.study_instance_uid"),
    _text_field("SeriesInstanceUID", "e.series_instance_uid"),
    Field("person_id", "integer", "p.target_id"),
    Field("image_occurrence_id", "integer", "o.image_occurrence_id"),
    Field("SeriesNumber", "integer", "e.series_number"),
    _text_field("Modality", "e.modality"),
    Field("SeriesDate", "date", "e.series_date"),
    Field("SeriesTime", "time", "e.series_time"),
    _text_field("SeriesDescription", "e.series_description"),
    Field("SliceThickness", "number", "e.slice_thickness"),
    _text_field("ViewPosition", "e.view_position"),
    _text_field("ImageLaterality", "e.laterality"),
    Field("ImagesInAcquisition", "integer", "e.images_in_acquisition"),
    _text_field("TransducerType", "e.transducer_type"),
    _text_field("TransducerFrequency", "e.transducer_frequency"),
    Field("NumberOfSeriesRelatedInstances", "integer", "e.num_instances"),
)
