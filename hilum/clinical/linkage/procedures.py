"""Which procedure_occurrence a linked study belongs to: by what a person decided, else by its numbers in the site's
mapping table or in procedure_source_value, else the one procedure of the person on that day whose concept is of the
study's modality; else one is minted, or a person has to name it. One statement a step for any number of studies. The
code that the files give the procedure is carried along: as evidence, and as the concept of one that is minted."""

from collections.abc import Sequence
from typing import Final, LiteralString, cast

from psycopg.errors import SequenceGeneratorLimitExceeded

from hilum.clinical.cdm.cdm import Cdm, has_table
from hilum.clinical.cdm.concepts import IMAGING_PROCEDURE, MINTED_TYPE, modality_words
from hilum.clinical.linkage.codes import procedure_codes
from hilum.clinical.linkage.orders import KINDS
from hilum.clinical.linkage.write import write_links
from hilum.core.database import Transaction
from hilum.core.errors import Conflict

REASONS: Final = {
    "accession_of_another": "The accession number is on a procedure of another person.",
    "no_procedure": "The CDM has no procedure for this study.",
    "several_procedures": "Several procedures of the CDM may be this study's.",
    "unknown_procedure": "The procedure that was named is not in the CDM.",
    "procedure_of_other_person": "The procedure that was named is another person's.",
    "no_date": "The study has no date, and a procedure needs one.",
    "unlinked": "It was unlinked by hand.",
}
"""Why a linked study waits for its procedure."""
MINTED: Final = "minted"
_FEW: Final = 5_000_000
"""Procedures of a CDM that are looked through for an accession number; few CDMs have an index on source values."""


def link_by_number(sql: Transaction, cdm: Cdm, studies: Sequence[int]) -> list[int]:
    """Bring the procedure of studies up to date whose person is known, where a decision or one of their numbers names
    it.

    Returns
    -------
    list
        The studies for which that was so; of the others, what is written remains to be brought up to date.
    """
    values = _coded(sql, cdm, studies) | {
        "studies": list(studies), "kinds": list(KINDS), "source": cdm.source_id,
    }  # fmt: skip
    return [cast("int", row["id"]) for row in sql.rows(cdm.sql(_BY_NUMBER), values)]


def link_by_day(sql: Transaction, cdm: Cdm, studies: Sequence[int], *, mint: bool) -> None:
    """Bring the procedure of studies up to date whose person is known, and which no number and no decision ties to one.

    Parameters
    ----------
    sql
        Where.
    cdm
        Of the studies' source.
    studies
        Their numbers.
    mint
        Whether a study without a procedure gets one of its own; else it waits.

    Raises
    ------
    Conflict
        One has to be minted, and the reserved range of ids is used up.
    """
    if not studies:
        return
    concepts, uses, words = zip(*modality_words(), strict=True)
    values: dict[str, object] = {
        "studies": list(studies), "mint": mint, "concepts": list(concepts), "uses": list(uses), "words": list(words),
        "look": not mint and _has_few(sql, cdm),
    }  # fmt: skip
    ancestors = has_table(sql, cdm.schemas.vocabulary, "concept_ancestor")
    statement = _BY_DAY if ancestors else _BY_DAY.replace("{vocabulary}.concept_ancestor", _NO_ANCESTORS)
    try:
        sql.rows(cdm.sql(statement), values | _coded(sql, cdm, studies))
    except SequenceGeneratorLimitExceeded as error:
        raise Conflict(
            f"All ids for minted procedures are used up: raise maxvalue of the sequence {cdm.schemas.imaging}."
            "hilum_procedure_id, or set HILUM_OMOP_PROCEDURES=require."
        ) from error


def _coded(sql: Transaction, cdm: Cdm, studies: Sequence[int]) -> dict[str, object]:
    codes = procedure_codes(sql, cdm, studies)
    return {"coded": list(codes), "codes": list(codes.values())}


def _has_few(sql: Transaction, cdm: Cdm) -> bool:
    """Whether the CDM has few enough procedures to look through all of them, as far as the database knows."""
    counted = "select reltuples <= %s as few from pg_class where oid = %s::regclass"
    (row,) = sql.rows(counted, (_FEW, cdm.sql("{cdm}.procedure_occurrence")))
    return bool(row["few"])


def keep_minted(sql: Transaction, cdm: Cdm, uids: Sequence[str]) -> None:
    """Write the procedures that were minted for studies (by UID), and take back those that are needed no longer."""
    values = {
        "source": cdm.source_id, "uids": list(uids), "concept": IMAGING_PROCEDURE, "type": MINTED_TYPE,
    }  # fmt: skip
    sql.rows(cdm.sql(_TAKE_BACK), values)
    sql.rows(cdm.sql(_WRITE), values)


_NO_ANCESTORS: Final[LiteralString] = (
    "(select null::int as ancestor_concept_id, null::int as descendant_concept_id limit 0)"
)
_GIVEN_CODES: Final[LiteralString] = (
    "(select id, code::jsonb as code from unnest(%(coded)s::bigint[], %(codes)s::text[]) g (id, code)) g"
)
_WANTED: Final[LiteralString] = """
  select s.id, s.source_id, s.study_instance_uid, s.patient_id, s.accession_number, s.study_date, s.modalities,
    p.target_id as person_id
  from hilum.study s join hilum.study_link p on p.study_id = s.id and p.kind = 'person' and p.target_id is not null
  where s.id = any(%(studies)s) and s.deleted_at is null
"""
# Numbers other than the accession are read from the files; of a remote series, its archive may have told some in
# Request Attributes Sequence (0040,0275), kept as DICOM JSON.
_TOLD: Final[LiteralString] = """
  select w.id, w.person_id, w.patient_id, coalesce(o.numbers, '[]') as numbers,
    e.further->'00400275'->'Value' as requests
  from wanted w join hilum.series e on e.study_id = w.id left join hilum.series_order o on o.series_id = e.id
  where o.numbers <> '[]' or e.further is not null
"""
_NUMBERS: Final[LiteralString] = """
  select id, person_id, patient_id, 'accession_number' as kind, accession_number as number
  from wanted where accession_number <> ''
  union
  select t.id, t.person_id, t.patient_id, n.kind, n.number
  from told t cross join lateral jsonb_to_recordset(t.numbers) n (kind text, number text)
  union
  select t.id, t.person_id, t.patient_id, n.kind, item->n.tag->'Value'->>0
  from told t cross join lateral jsonb_array_elements(
    case when jsonb_typeof(t.requests) = 'array' then t.requests end) item
  cross join (values ('requested_procedure_id', '00401001'), ('scheduled_procedure_step_id', '00400009')) n (kind, tag)
  where coalesce(item->n.tag->'Value'->>0, '') <> ''
"""
# A decision; else the most telling number that names exactly one procedure, in the mapping table before the CDM. All
# that it finds nothing for is left to the next step.
_BY_NUMBER: Final[LiteralString] = f"""
  with wanted as materialized ({_WANTED}), told as materialized ({_TOLD}),
  numbers as materialized ({_NUMBERS}), borne as materialized (
    select o.procedure_occurrence_id, o.person_id, btrim(b.number) as number
    from (select distinct person_id from wanted) w join {{cdm}}.procedure_occurrence o on o.person_id = w.person_id
    cross join lateral unnest(string_to_array(o.procedure_source_value, '|')) b (number)
    where btrim(b.number) <> '' and not exists (select from hilum.minted_procedure k where k.source_id = %(source)s
      and k.procedure_occurrence_id = o.procedure_occurrence_id)
  ), found as materialized (
    select n.id, m.procedure_occurrence_id, 'procedure_map' as method, n.kind
    from numbers n join hilum.procedure_map m on m.source_id = %(source)s and m.number = n.number
      and m.patient_id in (n.patient_id, '')
    union all
    select n.id, b.procedure_occurrence_id, 'procedure_source_value', n.kind
    from numbers n join borne b on b.person_id = n.person_id and b.number = n.number
  ), single as materialized (
    select distinct on (id) id, method, target from (
      select id, method, kind, min(procedure_occurrence_id) as target from found group by id, method, kind
      having count(distinct procedure_occurrence_id) = 1) s
    order by id, method, array_position(%(kinds)s::text[], kind)
  ), counted as materialized (
    select f.id, s.method, s.target, (array_agg(distinct f.procedure_occurrence_id))[:10] as candidates,
      array_agg(distinct f.kind) filter (where f.procedure_occurrence_id = s.target and f.method = s.method) as kinds
    from found f join single s on s.id = f.id group by f.id, s.method, s.target
  ), checked as (
    select w.id, w.person_id, d.study_instance_uid is not null as decided, d.made_by, c.method, c.kinds, c.candidates,
      case when d.study_instance_uid is null then c.target else d.target_id end as candidate
    from wanted w left join counted c on c.id = w.id
    left join lateral (select d.* from hilum.link_decision d where d.source_id = w.source_id
      and d.study_instance_uid = w.study_instance_uid and d.kind = 'procedure' limit 1) d on true
    where d.study_instance_uid is not null or c.id is not null
  ), judged as (
    select k.*, g.code, case
      when decided and candidate is null then 'unlinked'
      when o.procedure_occurrence_id is null then 'unknown_procedure'
      when o.person_id <> k.person_id then 'procedure_of_other_person'
      else '' end as reason
    from checked k left join {{cdm}}.procedure_occurrence o on o.procedure_occurrence_id = k.candidate
    left join {_GIVEN_CODES} on g.id = k.id
  ), said as (
    select id, case when reason = '' then candidate end as target_id,
      case when decided then 'by_hand' else method end as method,
      jsonb_strip_nulls(jsonb_build_object('by', case when not decided then to_jsonb(kinds) end,
        'candidates', case when not decided then candidates end, 'code', code)) as evidence,
      reason, coalesce(made_by, '') as made_by
    from judged
  ), written as (
    {write_links("procedure")}
    returning 1
  )
  select id from judged
"""
_BY_DAY: Final[LiteralString] = f"""
  with wanted as materialized (
    {_WANTED}
  ), known as (
    select * from unnest(%(concepts)s::bigint[], %(uses)s::text[], %(words)s::text[]) k (concept_id, used, word)
  ), day as materialized (
    select w.id, w.modalities, o.procedure_occurrence_id, o.procedure_concept_id
    from wanted w join {{cdm}}.procedure_occurrence o on o.person_id = w.person_id and o.procedure_date = w.study_date
    where not exists (select from hilum.minted_procedure k where k.source_id = w.source_id
        and k.procedure_occurrence_id = o.procedure_occurrence_id)
      and not exists (select from hilum.study_link t join hilum.study s on s.id = t.study_id
        where t.kind = 'procedure' and t.target_id = o.procedure_occurrence_id and s.source_id = w.source_id
          and t.method in ('procedure_map', 'procedure_source_value', 'by_hand') and t.study_id <> w.id
          and s.deleted_at is null)
  ), modal as (
    select d.procedure_concept_id, k.word from day d join known k on k.concept_id = d.procedure_concept_id
    union
    select d.procedure_concept_id, k.word
    from day d join {{vocabulary}}.concept_ancestor a on a.descendant_concept_id = d.procedure_concept_id
    join known k on k.concept_id = a.ancestor_concept_id and k.used = 'modality'
  ), counted as materialized (
    select d.id, min(d.procedure_occurrence_id) as target, count(distinct d.procedure_occurrence_id) as procedures,
      (array_agg(distinct d.procedure_occurrence_id))[:10] as candidates
    from day d join modal m on m.procedure_concept_id = d.procedure_concept_id and m.word = any(d.modalities)
    group by d.id
  ), lacking as materialized (
    select w.id, w.source_id, w.study_instance_uid, w.person_id, w.accession_number, w.study_date,
      k.procedure_occurrence_id as had, case when k.procedure_occurrence_id is null and %(mint)s
        and w.study_date is not null then nextval('{{imaging}}.hilum_procedure_id') end as drawn
    from wanted w left join counted c on c.id = w.id
    left join lateral (select k.procedure_occurrence_id from hilum.minted_procedure k where k.source_id = w.source_id
      and k.study_instance_uid = w.study_instance_uid limit 1) k on true
    where coalesce(c.procedures, 0) <> 1
  ), strangers as materialized (
    select distinct n.id from lacking n cross join generate_series(-1, 1) around
    join {{cdm}}.procedure_occurrence o on o.procedure_date = n.study_date + around
    where %(look)s and n.accession_number <> '' and o.person_id <> n.person_id
      and n.accession_number = any(string_to_array(o.procedure_source_value, '|'))
  ), reserved as (
    insert into hilum.minted_procedure (source_id, study_instance_uid, procedure_occurrence_id)
    select source_id, study_instance_uid, drawn from lacking where drawn is not null
  ), judged as (
    select w.id, c.candidates, c.procedures, g.code,
      case when c.procedures = 1 then c.target
        when %(mint)s and w.study_date is not null then coalesce(n.had, n.drawn) end as target,
      case when c.procedures = 1 then 'same_day' when %(mint)s and w.study_date is not null then '{MINTED}'
        else '' end as method,
      case when c.procedures = 1 then '' when w.study_date is null then 'no_date' when %(mint)s then ''
        when x.id is not null then 'accession_of_another'
        when c.procedures > 1 then 'several_procedures' else 'no_procedure' end as reason
    from wanted w left join counted c on c.id = w.id left join strangers x on x.id = w.id
    left join lacking n on n.id = w.id
    left join {_GIVEN_CODES} on g.id = w.id
  ), said as (
    select id, target as target_id, method,
      jsonb_strip_nulls(jsonb_build_object('candidates', candidates, 'code', code)) as evidence, reason, '' as made_by
    from judged
  )
  {write_links("procedure")}
"""
_TAKE_BACK: Final[LiteralString] = """
  delete from {write}.procedure_occurrence o using hilum.minted_procedure m
  where m.source_id = %(source)s and m.study_instance_uid = any(%(uids)s)
    and o.procedure_occurrence_id = m.procedure_occurrence_id and not exists (
      select from hilum.study s join hilum.study_link l on l.study_id = s.id
      where s.source_id = m.source_id and s.study_instance_uid = m.study_instance_uid and s.deleted_at is null
        and l.kind = 'procedure' and l.target_id = m.procedure_occurrence_id)
"""
_WRITE: Final[LiteralString] = """
  insert into {write}.procedure_occurrence as o (procedure_occurrence_id, person_id, procedure_concept_id,
    procedure_date, procedure_datetime, procedure_type_concept_id, visit_occurrence_id, procedure_source_value,
    procedure_source_concept_id)
  select l.target_id, p.target_id, coalesce((l.evidence->'code'->>'concept_id')::bigint, %(concept)s), s.study_date,
    s.study_date + s.study_time, %(type)s, v.target_id, 'hilum:' || s.id,
    (l.evidence->'code'->>'source_concept_id')::bigint
  from hilum.study s join hilum.study_link l on l.study_id = s.id and l.kind = 'procedure' and l.method = 'minted'
  join hilum.study_link p on p.study_id = s.id and p.kind = 'person' and p.target_id is not null
  left join hilum.study_link v on v.study_id = s.id and v.kind = 'visit'
  where s.source_id = %(source)s and s.study_instance_uid = any(%(uids)s) and s.deleted_at is null
    and l.target_id is not null
  on conflict (procedure_occurrence_id) do update set person_id = excluded.person_id,
    procedure_concept_id = excluded.procedure_concept_id, procedure_date = excluded.procedure_date,
    procedure_datetime = excluded.procedure_datetime, visit_occurrence_id = excluded.visit_occurrence_id,
    procedure_source_value = excluded.procedure_source_value,
    procedure_source_concept_id = excluded.procedure_source_concept_id
  where (o.person_id, o.procedure_concept_id, o.procedure_date, o.procedure_datetime, o.visit_occurrence_id,
      o.procedure_source_value, o.procedure_source_concept_id)
    is distinct from (excluded.person_id, excluded.procedure_concept_id, excluded.procedure_date,
      excluded.procedure_datetime, excluded.visit_occurrence_id, excluded.procedure_source_value,
      excluded.procedure_source_concept_id)
"""
