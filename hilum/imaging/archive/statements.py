"""The catalogue's larger statements: how rows travel, are inserted, and how a study and its series keep what they know
and fill in what they do not. When they run is for ``catalogue`` to say."""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Final, LiteralString, cast

import msgspec
import sqlalchemy as sa

from hilum.core.database import Table
from hilum.imaging.archive.describe import Values
from hilum.imaging.archive.models import Series, Study

_encode: Final = msgspec.json.Encoder().encode

# Of a study with several modalities the one that names it: the functional one of a pair, never a mere document of it.
MODALITY_RANK: Final = ["PT", "NM", "MR", "CT", "XA", "RF", "MG", "US", "DX", "CR"]
NOT_IMAGES: Final = ["SR", "PR", "KO", "DOC", "SEG", "REG", "RTSTRUCT", "RTPLAN", "RTRECORD", "FID", "RWV", "AU"]


def document(rows: Sequence[Values]) -> str:
    """Write rows as the JSON that ``json_populate_recordset`` reads; PostgreSQL's text holds no NUL character."""
    document = _encode(rows)
    if b"\\u0000" in document:
        document = _encode([{name: _without_nul(value) for name, value in row.items()} for row in rows])
    return document.decode()


def _without_nul(value: object) -> object:
    return value.replace("\0", "") if isinstance(value, str) else value


@cache
def insert_into(table: str, columns: tuple[str, ...], order: str) -> LiteralString:
    """Write the statement that inserts rows of a document, in an order, and leaves out those that are there."""
    names = ", ".join(columns)
    statement = (
        f"insert into hilum.{table} ({names}) "
        f"select {names} from json_populate_recordset(null::hilum.{table}, %s) order by {order} on conflict do nothing"
    )
    return cast("LiteralString", statement)


def _fill(table: type[Table], columns: Iterable[str]) -> str:
    """Write the assignments that keep what a row knows and fill in what it does not."""
    texts = {c.name for c in table.__table__.columns if isinstance(c.type, sa.Text)}
    return ", ".join(
        f"{c} = coalesce(nullif(r.{c}, ''), given.{c}, '')" if c in texts else f"{c} = coalesce(r.{c}, given.{c})"
        for c in columns
    )


# Places are given as arrays of study, series, patient and issuer; unless all of them are known, nothing is locked.
KNOWN_SERIES: Final[LiteralString] = """
    with given as materialized (
      select s.id as study_id, e.id as series_id
      from unnest(%s::text[], %s::text[], %s::text[], %s::text[]) g (study, series, patient_id, issuer)
      join hilum.study s on s.study_instance_uid = g.study and s.patient_id = g.patient_id
        and s.source_id = %s and s.deleted_at is null and s.availability = 'local'
      join hilum.patient p on p.id = s.patient_pk and p.issuer_of_patient_id = g.issuer
      join hilum.series e on e.study_id = s.id and e.series_instance_uid = g.series
    )
    select e.id, e.study_id, s.study_instance_uid, e.series_instance_uid
    from hilum.study s join hilum.series e on e.study_id = s.id
    where e.id = any(array(select series_id from given)) and (select count(*) from given) = %s and s.deleted_at is null
    order by s.study_instance_uid, e.id
    for no key update of s for key share of e
"""

_GROW: Final = (
    "num_instances = r.num_instances + given.num_instances, num_images = r.num_images + given.num_images, "
    "bytes = r.bytes + given.bytes, "
    "further = case when given.further is null then r.further else given.further || coalesce(r.further, '{}') end"
)
_FILLED_IN_STUDY: Final = (
    "study_date", "study_time", "timezone_offset", "study_id", "accession_number", "study_description", "body_part",
    "patient_name", "patient_name_dicom", "patient_birth_date", "patient_sex", "physician",
    "referring_physician_dicom", "facility", "manufacturer", "model", "magnetic_field_strength",
    "radiopharmaceutical", "contrast_bolus_agent", "contrast_bolus_route",
)  # fmt: skip
_FILLED_IN_SERIES: Final = (
    "series_number", "series_description", "series_date", "series_time", "modality", "body_part", "laterality",
    "anatomic_region",
    "view_position", "protocol_name", "manufacturer", "model", "station_name", "slice_thickness",
    "spacing_between_slices", "images_in_acquisition", "transducer_type", "transducer_frequency", "kvp",
    "convolution_kernel", "scanning_sequence", "repetition_time", "echo_time", "procedure_step_date",
    "procedure_step_time", "frame_of_reference_uid", "rows", "columns",
)  # fmt: skip

SERIES_UPDATE: Final = cast(
    "LiteralString",
    f"update hilum.series r set {_GROW}, version = r.version + 1, {_fill(Series, _FILLED_IN_SERIES)} "
    "from json_populate_recordset(null::hilum.series, %s) given where r.id = given.id",
)
STUDY_UPDATE: Final = cast(
    "LiteralString",
    f"""
    update hilum.study r set {_GROW}, updated_at = now(), {_fill(Study, _FILLED_IN_STUDY)},
      num_series = level.num_series, modality = level.modality, modalities = level.modalities,
      body_parts = level.body_parts, status = case r.status when 'processed' then 'indexed' else r.status end
    from json_populate_recordset(null::hilum.study, %(rows)s) given
    cross join lateral (
      select count(*) as num_series,
        (array_agg(s.modality order by s.modality = any(%(not_images)s), array_position(%(rank)s, s.modality),
          s.modality))[1] as modality,
        coalesce(array_agg(distinct s.modality) filter (where s.modality <> ''), '{{}}') as modalities,
        coalesce(array_agg(distinct regexp_replace(s.body_part, '[^A-Z0-9]', '', 'g'))
          filter (where s.body_part <> ''), '{{}}') as body_parts
      from hilum.series s where s.study_id = given.id
    ) level
    where r.id = given.id
    returning r.*
    """,
)

KNOWN_INSTANCES: Final = (
    "select i.id, i.sop_instance_uid, i.digest, i.size, i.num_frames, i.series_id, i.blob_key, i.path, "
    "i.path_mtime_ns, i.fingerprint, "
    "st.study_instance_uid, se.series_instance_uid, "
    "array(select digest from hilum.replaced_instance r where r.instance_id = i.id) as earlier "
    "from hilum.instance i "
    "join hilum.study st on st.id = i.study_id join hilum.series se on se.id = i.series_id "
    "where i.source_id = %s and i.sop_instance_uid = any(%s) and i.deleted_at is null"
)


def add_up(rows: dict[object, Values], key: object, values: Values, delta: dict[str, int]) -> None:
    """Add an instance's share to the row of its series or study."""
    row = rows.get(key)
    if row is None:
        row = rows[key] = values | {"id": key} | dict.fromkeys(delta, 0)
    for name, by in delta.items():
        row[name] = cast("int", row[name]) + by
