"""The images of a version as DICOMweb serves them, read-only: what it gives out and nothing else, searched and read by
the rooms that serve the archive. What is told of an instance was read from its new file (`facts`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time
from typing import Final, LiteralString, TypedDict, cast

import msgspec
import sqlalchemy as sa

from hilum.core.lookup import look_up
from hilum.imaging.archive.query import Row
from hilum.imaging.archive.study_json import study_attributes
from hilum.imaging.dicomweb.qido import Sql, Tables
from hilum.imaging.dicomweb.resources import Target


@dataclass(frozen=True, slots=True)
class VersionHoldings:
    """The instances of a version; `hilum.imaging.dicomweb.resources.Holdings`.

    Attributes
    ----------
    version_id
        Hilum's id of the version.
    path
        Of its DICOMweb, after the server's address.
    study
        Its new UID, where only one study is asked for.
    """

    version_id: int
    path: str
    study: str | None = None

    @property
    def tables(self) -> Tables:
        """The version as tables like the catalogue's."""
        narrowed: LiteralString = "and d.study = %s" if self.study else ""
        parameters = (self.version_id, self.study) if self.study else (self.version_id,)
        given = Sql(_TABLES.replace("{narrowed}", narrowed), parameters)
        return Tables("given_study", "given_series", "given_instance", "given_json", given, _attributes)

    def find(self, connection: sa.Connection, target: Target) -> Sequence[Row]:
        """The instances that a path names, by series and number."""
        named: LiteralString = "and d.study = %(study)s"
        named = f"{named} and d.series = %(series)s" if target.series else named
        named = f"{named} and d.sop = %(instance)s" if target.instance else named
        uids = {"study": target.study, "series": target.series or "", "instance": target.instance or ""}
        query: LiteralString = f"{_INSTANCES} {named} {_ORDER}"
        return cast("Sequence[Row]", look_up(connection, query, {"version": self.version_id, **uids}))


class _Study(TypedDict):
    """A row of the study's table, of what an answer tells."""

    study_instance_uid: str
    study_date: date | None
    study_time: time | None
    timezone_offset: str
    accession_number: str
    availability: str
    modalities: list[str]
    facility: str
    referring_physician_dicom: str
    study_description: str
    patient_name_dicom: str
    patient_id: str
    patient_birth_date: date | None
    patient_sex: str
    study_id: str
    num_series: int
    num_instances: int


_STUDY_ROW: Final = msgspec.json.Decoder(_Study)
_DECODED: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _attributes(text: str) -> dict[str, msgspec.Raw]:
    return _DECODED.decode(study_attributes(cast("Mapping[str, object]", _STUDY_ROW.decode(text))))


_GIVEN: Final[LiteralString] = """
  d.state = 'done' and exists (
    select from hilum.dataset_file f where f.version_id = d.version_id and f.blob_key = d.blob_key)
"""
_FRAMES: Final[LiteralString] = """
  case when d.facts ? 'Rows' then coalesce((d.facts ->> 'NumberOfFrames')::bigint, 1) else 0 end as num_frames
"""
_INSTANCES: Final[LiteralString] = f"""
  select -d.id as id, d.sop as sop_instance_uid, d.facts ->> 'SOPClassUID' as sop_class_uid,
    d.facts ->> 'TransferSyntaxUID' as transfer_syntax_uid, {_FRAMES}, d.size, d.digest, d.crc32, d.blob_key,
    null::text as path, null::bigint as path_mtime_ns, false as derived, d.series as series_instance_uid,
    d.study as study_instance_uid
  from hilum.dataset_instance d where d.version_id = %(version)s and {_GIVEN}
"""
_ORDER: Final[LiteralString] = (
    "order by (d.facts ->> 'SeriesNumber')::bigint nulls last, d.series, d.number, d.sop, d.id"
)


def _text(keyword: LiteralString) -> LiteralString:
    return f"coalesce(d.facts ->> '{keyword}', '')"


def _texts(keyword: LiteralString) -> LiteralString:
    return f"coalesce((select string_agg(one, E'\\\\') from jsonb_array_elements_text(d.facts -> '{keyword}') one), '')"


def _number(keyword: LiteralString) -> LiteralString:
    return f"(d.facts ->> '{keyword}')::float8"


def _numbers(keyword: LiteralString) -> LiteralString:
    return (
        f"case when d.facts ? '{keyword}' then "
        f"array(select one::float8 from jsonb_array_elements_text(d.facts -> '{keyword}') one) end"
    )


def _integer(keyword: LiteralString) -> LiteralString:
    return f"(d.facts ->> '{keyword}')::bigint"


def _date(keyword: LiteralString) -> LiteralString:
    value: LiteralString = f"d.facts ->> '{keyword}'"
    return f"case when {value} ~ '^[0-9]{{8}}$' and pg_input_is_valid({value}, 'date') then ({value})::date end"


def _time(keyword: LiteralString) -> LiteralString:
    value: LiteralString = f"d.facts ->> '{keyword}'"
    plain: LiteralString = f"{value} ~ '^[0-9]{{4}}([0-9]{{2}}([.][0-9]{{1,6}})?)?$'"
    return f"case when {plain} and pg_input_is_valid({value}, 'time') then ({value})::time end"


_STUDY: Final[LiteralString] = f"""
  d.study as id, d.study as study_instance_uid, {_date("StudyDate")} as study_date, {_time("StudyTime")} as study_time,
  {_text("AccessionNumber")} as accession_number, {_text("InstitutionName")} as facility,
  {_text("ReferringPhysicianName")} as referring_physician_dicom,
  {_text("TimezoneOffsetFromUTC")} as timezone_offset, {_text("StudyDescription")} as study_description,
  {_text("PatientName")} as patient_name_dicom, {_text("PatientID")} as patient_id,
  {_date("PatientBirthDate")} as patient_birth_date, {_text("PatientSex")} as patient_sex,
  {_text("StudyID")} as study_id, 'local' as availability, hilum.name_codes({_text("PatientName")}) as patient_codes,
  hilum.name_codes({_text("ReferringPhysicianName")}) as physician_codes, null::jsonb as further,
  hilum.fold(concat_ws(' ', {_text("StudyDescription")}, {_text("AccessionNumber")}, {_text("InstitutionName")},
    {_text("PatientID")}, d.study)) as search
"""
_SERIES: Final[LiteralString] = f"""
  d.study || '/' || d.series as id, d.study as study_id, d.series as series_instance_uid,
  {_integer("SeriesNumber")} as series_number, {_date("SeriesDate")} as series_date,
  {_time("SeriesTime")} as series_time, upper({_text("Modality")}) as modality,
  {_text("Manufacturer")} as manufacturer, {_text("SeriesDescription")} as series_description,
  {_text("StationName")} as station_name, {_text("ManufacturerModelName")} as model,
  upper({_text("BodyPartExamined")}) as body_part, {_texts("ScanningSequence")} as scanning_sequence,
  {_number("SliceThickness")} as slice_thickness, {_number("KVP")} as kvp,
  {_number("RepetitionTime")} as repetition_time, {_number("EchoTime")} as echo_time,
  {_number("SpacingBetweenSlices")} as spacing_between_slices, {_text("ProtocolName")} as protocol_name,
  {_texts("ConvolutionKernel")} as convolution_kernel, {_text("ViewPosition")} as view_position,
  {_text("FrameOfReferenceUID")} as frame_of_reference_uid,
  coalesce(nullif({_text("ImageLaterality")}, ''), {_text("Laterality")}) as laterality,
  {_date("PerformedProcedureStepStartDate")} as procedure_step_date,
  {_time("PerformedProcedureStepStartTime")} as procedure_step_time, null::jsonb as further
"""
_INSTANCE: Final[LiteralString] = f"""
  d.id, d.study as study_id, d.study || '/' || d.series as series_id, d.sop as sop_instance_uid,
  {_text("SOPClassUID")} as sop_class_uid, {_text("TransferSyntaxUID")} as transfer_syntax_uid,
  {_integer("InstanceNumber")} as instance_number, {_numbers("ImagePositionPatient")} as image_position,
  {_numbers("ImageOrientationPatient")} as image_orientation, {_number("SliceLocation")} as slice_location, {_FRAMES},
  {_integer("Rows")} as rows, {_integer("Columns")} as columns, {_integer("BitsAllocated")} as bits_allocated,
  null::jsonb as further
"""


_TABLES: Final[LiteralString] = f"""
  with given as materialized (
    select d.* from hilum.dataset_instance d where d.version_id = %s {{narrowed}} and {_GIVEN}
  ),
  given_study as (
    select * from (select distinct on (d.study) {_STUDY} from given d order by d.study, d.series, d.number, d.sop) one
    join (
      select study, count(distinct series) as num_series, count(*) as num_instances,
        array_agg(distinct coalesce(facts ->> 'Modality', 'OT')) as modalities
      from given group by study
    ) counted on counted.study = one.id
  ),
  given_series as (
    select * from (
      select distinct on (d.study, d.series) {_SERIES} from given d order by d.study, d.series, d.number, d.sop
    ) one
    join (select study || '/' || series as of, count(*) as num_instances from given group by study, series) counted
      on counted.of = one.id
  ),
  given_instance as (select {_INSTANCE} from given d),
  given_json as (select st.id as study_id, to_json(st)::text as attributes from given_study st)
"""
