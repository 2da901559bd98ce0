"""Which studies need not be linked again: those of which nothing has changed since a run over all studies looked at
them, neither what their links are made of nor what was made. Told by digests of contents, not by moments, so that
whoever writes into the CDM by whatever way is noticed; where it is in doubt, something has changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, LiteralString, cast
from uuid import uuid4

from blake3 import blake3

import hilum
from hilum.clinical.cdm.cdm import Cdm, has_table
from hilum.clinical.linkage.settle import Manner
from hilum.clinical.occurrence.keep import occurrence_columns
from hilum.core.database import Transaction


@dataclass(frozen=True, slots=True)
class Look:
    """What a study's links are made of, as a digest; whether that and what was made are as they were."""

    inputs: int
    same: bool


def base_of(sql: Transaction, cdm: Cdm, manner: Manner) -> str:
    """A digest of what the links of all studies of a source are made of: settings, mapping tables, the persons, visits
    and procedures of the CDM but those that were minted, and its concepts; and this version of Hilum.

    It reads those tables once. Of relationships and ancestors of concepts it goes by what the database counts and keeps
    of these tables; where they are views, each digest is another.
    """
    said: list[object] = [hilum.__version__, manner, sorted(occurrence_columns(sql, cdm))]
    values = {"source": cdm.source_id, "sequence": cdm.sql("{imaging}.hilum_procedure_id")}
    said.append(sql.rows(_SOURCE, values))
    for statement in _CONTENTS:
        said.append(sql.rows(cdm.sql(statement), values))
    for table in ("concept_relationship", "concept_ancestor"):
        if has_table(sql, cdm.schemas.vocabulary, table):
            (row,) = sql.rows(_KEPT, (cdm.sql("{vocabulary}.") + table,))
            said.append(row if row["is_table"] else uuid4())
    return blake3(repr(said).encode()).hexdigest(32)


def look_at(sql: Transaction, cdm: Cdm, studies: Sequence[int], base: str) -> dict[int, Look]:
    """Look at studies, by their numbers, before they are linked; also at deleted ones."""
    values = {"source": cdm.source_id, "studies": list(studies), "base": base}
    rows = sql.rows(cdm.sql(_LOOK), values)
    return {cast("int", row["id"]): Look(cast("int", row["inputs"]), bool(row["same"])) for row in rows}


def keep_looks(sql: Transaction, cdm: Cdm, looks: Mapping[int, Look], studies: Sequence[int]) -> None:
    """Note that studies are linked: what that was made of, as it was looked at before, and what was made."""
    known = [number for number in studies if number in looks]
    values = {"studies": known, "inputs": [looks[number].inputs for number in known]}
    sql.rows(cdm.sql(_KEEP), values)


def _contents(columns: LiteralString, table: LiteralString, where: LiteralString = "true") -> LiteralString:
    """A statement that makes a digest of columns of a table, in whatever order its rows are."""
    return (
        f"select count(*) as count, sum(hash_record_extended(row({columns}), 0)::numeric)::text as content "
        f"from {table} t where {where}"
    )


_OF_SOURCE: Final[LiteralString] = "t.source_id = %(source)s"
_CONTENTS: Final = (
    _contents("patient_id, issuer_of_patient_id, person_id", "hilum.person_map", _OF_SOURCE),
    _contents("number, patient_id, procedure_occurrence_id", "hilum.procedure_map", _OF_SOURCE),
    _contents(
        "person_id, gender_concept_id, year_of_birth, month_of_birth, day_of_birth, person_source_value", "{cdm}.person"
    ),
    _contents(
        "visit_occurrence_id, person_id, visit_start_date, visit_start_datetime, visit_end_date, visit_end_datetime",
        "{cdm}.visit_occurrence",
    ),
    _contents(
        "procedure_occurrence_id, person_id, procedure_concept_id, procedure_date, visit_occurrence_id, "
        "procedure_source_value",
        "{cdm}.procedure_occurrence",
        "not exists (select from hilum.minted_procedure m where m.source_id = %(source)s "
        "and m.procedure_occurrence_id = t.procedure_occurrence_id)",
    ),
    _contents(
        "concept_id, vocabulary_id, concept_code, standard_concept, invalid_reason", "{vocabulary}.concept"
    ),
)  # fmt: skip
_SOURCE: Final[LiteralString] = "select dicomweb_url, cdm_attached from hilum.source where id = %(source)s"
_KEPT: Final[LiteralString] = """
  select c.relkind in ('r', 'p', 'm') as is_table, c.oid::text as oid, c.relfilenode::text as file,
    pg_relation_size(c.oid) as size, obj_description(c.oid, 'pg_class') as comment,
    pg_stat_get_tuples_inserted(c.oid) as inserted, pg_stat_get_tuples_updated(c.oid) as updated,
    pg_stat_get_tuples_deleted(c.oid) as deleted
  from pg_class c where c.oid = to_regclass(%s)
"""
# What was made of study ``p``: its links, its rows of image_occurrence, and a minted procedure.
_OUTPUTS: Final[LiteralString] = (
    "hashtextextended(concat_ws(chr(1), coalesce(p.person_id::text, '-'), l.said, i.said, o.said), 0)"
)
_MADE: Final[LiteralString] = """
  cross join lateral (
    select coalesce(string_agg(concat_ws(' ', l.kind, coalesce(l.target_id::text, '-'), l.method, l.reason), ','
      order by l.kind), '-') as said
    from hilum.study_link l where l.study_id = p.id) l
  cross join lateral (
    select coalesce(sum(hashtextextended(i::text, 0)::numeric)::text, '-') as said from hilum.series_occurrence k
    join {imaging}.image_occurrence i on i.image_occurrence_id = k.image_occurrence_id
    where k.source_id = p.source_id and k.study_instance_uid = p.study_instance_uid) i
  cross join lateral (
    select coalesce(min(o::text), '-') as said from hilum.minted_procedure m
    join {write}.procedure_occurrence o on o.procedure_occurrence_id = m.procedure_occurrence_id
    where m.source_id = p.source_id and m.study_instance_uid = p.study_instance_uid) o
"""
# Of a study all columns count, but those that tell how far it is and what was made of it. Each change of a series or of
# what was read of it makes another version of its row. Of other studies count those of the same PatientID.
_LOOK: Final[LiteralString] = f"""
  with page as materialized (
    select s.*, p.issuer_of_patient_id as issuer from hilum.study s join hilum.patient p on p.id = s.patient_pk
    where s.id = any(%(studies)s)
  ), alike as materialized (
    select o.patient_id,
      count(*) || ' ' || sum(hash_record_extended(row(o.patient_pk, o.patient_birth_date, o.patient_sex), 0)::numeric)
        as said
    from hilum.study o where o.source_id = %(source)s and o.deleted_at is null
      and o.patient_id in (select patient_id from page where btrim(patient_id) <> '') group by 1
  ), looked as (
    select p.id, {_OUTPUTS} as outputs,
      hashtextextended(concat_ws(chr(1), %(base)s::text, p.issuer, a.said, e.said, d.said,
        to_jsonb(p) - array['status', 'status_reason', 'revision', 'updated_at', 'person_id', 'report_status',
          'document_id']), 0) as inputs
    from page p left join alike a on a.patient_id = p.patient_id
    cross join lateral (
      select sum(hash_record_extended(row(e.id, e.xmin::text, w.xmin::text), 0)::numeric)::text as said
      from hilum.series e left join hilum.series_order w on w.series_id = e.id where e.study_id = p.id) e
    cross join lateral (
      select string_agg(concat_ws(' ', d.kind, coalesce(d.target_id::text, '-'), d.made_by), ',' order by d.kind)
        as said
      from hilum.link_decision d where d.source_id = p.source_id and d.study_instance_uid = p.study_instance_uid) d
    {_MADE}
  )
  select k.id, k.inputs, (g.inputs, g.outputs) is not distinct from (k.inputs, k.outputs) as same
  from looked k left join hilum.settled_study g on g.study_id = k.id
"""
_KEEP: Final[LiteralString] = f"""
  insert into hilum.settled_study as g (study_id, inputs, outputs)
  select p.id, k.inputs, {_OUTPUTS} from unnest(%(studies)s::bigint[], %(inputs)s::bigint[]) k (id, inputs)
  join hilum.study p on p.id = k.id
  {_MADE}
  order by p.id
  on conflict (study_id) do update set inputs = excluded.inputs, outputs = excluded.outputs
"""
