"""The rows that features are in the CDM: a measurement for a number, an observation for anything else, and the row of
image_feature that says of which image, by what, and of which finding. They follow the store and the links of studies:
whatever is not so any more goes, what comes back has the ids it had, and what is right already is not touched."""

from collections.abc import Mapping, Sequence
from typing import Final, LiteralString, cast

from hilum.clinical.cdm.cdm import Cdm
from hilum.clinical.cdm.concepts import seeds
from hilum.clinical.cdm.image_tables import FEATURE, writable_columns
from hilum.clinical.features.coding import keep_concepts
from hilum.core.database import Transaction

_TYPE_WORDS: Final = {
    "nlp_finding": "nlp",
    "ai_classification": "algorithm",
    "radiomic": "algorithm",
    "manual": "report",
    "structured_report": "report",
    "acquisition": "header",
    "dose": "header",
}
"""Which of the type concepts that ship says how a feature came to be; a structured report that an algorithm made is of
an algorithm."""


def keep_features(sql: Transaction, cdm: Cdm, studies: Sequence[int], uids: Sequence[str]) -> None:
    """Bring the rows of studies' features up to date.

    Parameters
    ----------
    sql
        Where; one transaction with what has changed, after the rows of image_occurrence, under ``lock_source``.
    cdm
        Of the studies' source.
    studies, uids
        The studies, by number and by UID: one that is deleted loses its rows.
    """
    named: dict[str, object] = {"source": cdm.source_id, "studies": list(studies), "uids": list(uids)}
    (there,) = sql.rows(_ANY, named)
    if not (there["features"] or there["rows"]):
        return
    if there["features"]:
        keep_concepts(sql, cdm, studies)
    sql.rows(cdm.sql(_DELETE), named)
    sql.rows(cdm.sql(_NUMBER_FINDINGS), named)
    sql.rows(cdm.sql(_RESERVE), named)
    parts = [
        _put(table, place, columns, writable_columns(sql, cdm.sql(f"{{{place}}}.{table}")))
        for table, place, columns in _TABLES
    ]
    statement = cast("LiteralString", f"with w as materialized ({_WANTED}), {', '.join(parts)} select")
    sql.rows(cdm.sql(statement), named | _type_concepts())


def drop_orphans(sql: Transaction, cdm: Cdm) -> int:
    """Take out the rows of features whose study was purged before anybody was told of it; gives how many there were."""
    return len(sql.rows(cdm.sql(_ORPHANS), {"source": cdm.source_id}))


def _type_concepts() -> dict[str, object]:
    of_word = {seed.word: seed.concept_id for seed in seeds() if seed.use == "type" and seed.word}
    answers = {seed.word: seed.concept_id for seed in seeds() if seed.use == "answer"}
    tables = {seed.word: seed.concept_id for seed in seeds() if seed.use == "table"}
    return {
        "types": list(_TYPE_WORDS),
        "type_concepts": [of_word[word] for word in _TYPE_WORDS.values()],
        "by_algorithm": of_word["algorithm"],
        "present": answers["yes"],
        "absent": answers["no"],
        "table_names": list(tables),
        "table_concepts": list(tables.values()),
    }


def _put(
    table: LiteralString, place: LiteralString, wanted: Mapping[LiteralString, LiteralString], there: Mapping[str, str]
) -> LiteralString:
    """The parts of a statement that bring the rows of a table to what ``w`` says, in the columns and types that the
    site has."""
    key = next(iter(wanted))
    fresh = f"{table}_fresh"
    values = {name: f"({value})::{there[name]} as {name}" for name, value in wanted.items() if name in there}
    names = ", ".join(values)
    rest = [name for name in values if name != key]
    only = "true" if table == FEATURE else f"w.row_table = '{table}'"
    parts = (
        f"{fresh} as materialized (select {', '.join(values.values())} from w where {only})",
        f"{table}_changed as (update {{{place}}}.{table} t set {', '.join(f'{name} = n.{name}' for name in rest)} "
        f"from {fresh} n where t.{key} = n.{key} and ({', '.join(f't.{name}' for name in rest)}) is distinct from "
        f"({', '.join(f'n.{name}' for name in rest)}))",
        f"{table}_added as (insert into {{{place}}}.{table} ({names}) select {names} from {fresh} n "
        f"where not exists (select from {{{place}}}.{table} t where t.{key} = n.{key}))",
    )
    return cast("LiteralString", ", ".join(parts))


_ANY: Final[LiteralString] = """
  select exists (select from hilum.feature where study_id = any(%(studies)s)) as features,
    exists (select from hilum.feature_row where source_id = %(source)s and study_instance_uid = any(%(uids)s)) as rows
"""
# A feature of no series in particular is of the first row of its study; one without a value is an observation.
_FROM: Final[LiteralString] = """
  from hilum.feature f join hilum.study s on s.id = f.study_id and s.deleted_at is null
  join hilum.study_link p on p.study_id = s.id and p.kind = 'person' and p.target_id is not null
  cross join lateral (
    select i.* from hilum.series_occurrence o
    join {imaging}.image_occurrence i on i.image_occurrence_id = o.image_occurrence_id and i.person_id = p.target_id
    where o.source_id = s.source_id and o.study_instance_uid = s.study_instance_uid
      and (f.series_uid = '' or o.series_instance_uid = f.series_uid)
    order by i.image_occurrence_id limit 1
  ) i
"""
_WHERE: Final[LiteralString] = "where f.study_id = any(%(studies)s) and not f.superseded"
_HELD: Final[LiteralString] = f"{_FROM} {_WHERE}"
_TABLE: Final[LiteralString] = "case when f.value_numeric is null then 'observation' else 'measurement' end"
_NUMBER_FINDINGS: Final[LiteralString] = f"""
  update hilum.feature_finding n set image_finding_id = nextval('{{imaging}}.hilum_image_finding_id')
  where n.image_finding_id is null and n.id in (select f.finding_id {_HELD})
"""
_RESERVE: Final[LiteralString] = f"""
  insert into hilum.feature_row as known (feature_id, source_id, study_instance_uid, image_feature_id, row_table,
    row_id, written)
  select w.id, w.source_id, w.study_instance_uid,
    coalesce(r.image_feature_id, nextval('{{imaging}}.hilum_image_feature_id')), w.row_table,
    case when r.row_table = w.row_table then r.row_id else nextval('{{imaging}}.hilum_feature_row_id') end, true
  from (select f.id, s.source_id, s.study_instance_uid, {_TABLE} as row_table {_HELD} order by f.id) w
  left join hilum.feature_row r on r.feature_id = w.id
  where r.row_table is distinct from w.row_table or not r.written
  on conflict (feature_id) do update set row_table = excluded.row_table, row_id = excluded.row_id, written = true
"""
_REMOVE: Final[LiteralString] = """
  images as (delete from {imaging}.image_feature t using gone where t.image_feature_id = gone.image_feature_id),
  numbers as (delete from {write}.measurement t using gone
    where gone.row_table = 'measurement' and t.measurement_id = gone.row_id),
  others as (delete from {write}.observation t using gone
    where gone.row_table = 'observation' and t.observation_id = gone.row_id),
  forgotten as (delete from hilum.feature_row r using gone where r.feature_id = gone.feature_id
    and not exists (select from hilum.feature f where f.id = r.feature_id)),
  noted as (update hilum.feature_row r set written = false from gone where r.feature_id = gone.feature_id
    and exists (select from hilum.feature f where f.id = r.feature_id))
  select feature_id from gone
"""
_DELETE: Final[LiteralString] = f"""
  with wanted as materialized (select f.id, {_TABLE} as row_table {_HELD}), gone as materialized (
    select r.* from hilum.feature_row r left join wanted w on w.id = r.feature_id and w.row_table = r.row_table
    where r.source_id = %(source)s and r.study_instance_uid = any(%(uids)s) and w.id is null
      and (r.written or not exists (select from hilum.feature f where f.id = r.feature_id))
  ), {_REMOVE}
"""
_ORPHANS: Final[LiteralString] = f"""
  with gone as materialized (
    select r.* from hilum.feature_row r where r.source_id = %(source)s and not exists (select from hilum.study s
      where s.source_id = r.source_id and s.study_instance_uid = r.study_instance_uid and s.deleted_at is null)
  ), {_REMOVE}
"""
_WANTED: Final[LiteralString] = f"""
  select f.*, i.image_occurrence_id, i.person_id, i.visit_occurrence_id, i.image_occurrence_date,
    coalesce(f.body_site_concept_id, i.anatomic_site_concept_id) as site, r.image_feature_id, r.row_table, r.row_id,
    case when f.feature_type = 'structured_report' and f.algorithm <> '' then %(by_algorithm)s
      else t.concept_id end as type_concept_id,
    d.concept_id as table_concept_id, n.image_finding_id, n.concept_id as finding_concept_id,
    coalesce(f.value_concept_id, case f.assertion when 'present' then %(present)s when 'absent' then %(absent)s end)
      as answer,
    coalesce(nullif(f.value_string, ''), nullif(f.assertion, '')) as words
  {_FROM} join hilum.feature_row r on r.feature_id = f.id
  join unnest(%(types)s::text[], %(type_concepts)s::bigint[]) t (name, concept_id) on t.name = f.feature_type
  join unnest(%(table_names)s::text[], %(table_concepts)s::bigint[]) d (name, concept_id) on d.name = r.row_table
  left join hilum.feature_finding n on n.id = f.finding_id {_WHERE}
"""
_VALUE: Final[Mapping[LiteralString, LiteralString]] = {
    "unit_concept_id": "case when w.unit <> '' then coalesce(w.unit_concept_id, 0) end",
    "unit_source_value": "nullif(w.unit, '')",
    "visit_occurrence_id": "w.visit_occurrence_id",
}
_MEASUREMENT: Final[Mapping[LiteralString, LiteralString]] = {
    "measurement_id": "w.row_id",
    "person_id": "w.person_id",
    "measurement_concept_id": "coalesce(w.concept_id, 0)",
    "measurement_date": "w.image_occurrence_date",
    "measurement_type_concept_id": "w.type_concept_id",
    "value_as_number": "w.value_numeric",
    "value_as_concept_id": "w.answer",
    "measurement_source_value": "w.feature_name",
    "measurement_source_concept_id": "0",
    "value_source_value": "w.words",
    **_VALUE,
}
_OBSERVATION: Final[Mapping[LiteralString, LiteralString]] = {
    "observation_id": "w.row_id",
    "person_id": "w.person_id",
    "observation_concept_id": "coalesce(w.concept_id, 0)",
    "observation_date": "w.image_occurrence_date",
    "observation_type_concept_id": "w.type_concept_id",
    "value_as_string": "w.words",
    "value_as_concept_id": "w.answer",
    "observation_source_value": "w.feature_name",
    "observation_source_concept_id": "0",
    **_VALUE,
}
# The seed's names and the newer ones: those that are columns of their own are written.
_IMAGE_FEATURE: Final[Mapping[LiteralString, LiteralString]] = {
    "image_feature_id": "w.image_feature_id",
    "person_id": "w.person_id",
    "image_occurrence_id": "w.image_occurrence_id",
    "table_concept_id": "w.table_concept_id",
    "table_row_id": "w.row_id",
    "image_feature_event_field_concept_id": "w.table_concept_id",
    "image_feature_event_id": "w.row_id",
    "image_feature_concept_id": "coalesce(w.concept_id, 0)",
    "image_feature_type_concept_id": "w.type_concept_id",
    "image_finding_concept_id": "coalesce(w.finding_concept_id, 0)",
    "image_finding_id": "coalesce(w.image_finding_id, 0)",
    "anatomic_site_concept_id": "w.site",
    "alg_system": "nullif(w.alg_system, '')",
    "alg_datetime": "case when w.alg_system <> '' then w.algorithm_time at time zone 'UTC' end",
}
_TABLES: Final[tuple[tuple[LiteralString, LiteralString, Mapping[LiteralString, LiteralString]], ...]] = (
    ("measurement", "write", _MEASUREMENT),
    ("observation", "write", _OBSERVATION),
    ("image_feature", "imaging", _IMAGE_FEATURE),
)
