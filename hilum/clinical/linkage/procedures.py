"""Which procedure_occurrence a linked study belongs to: by what a person decided, else by its numbers in the site's
mapping table or in procedure_source_value, else the one procedure of the person on that day whose concept is of the
study's modality; else one is minted, or a person has to name it. One statement a step for any number of studies."""

from collections.abc import Sequence
from typing import Final, LiteralString

from psycopg.errors import SequenceGeneratorLimitExceeded

from hilum.clinical.cdm.cdm import Cdm, has_table
from hilum.clinical.cdm.concepts import IMAGING_PROCEDURE, MINTED_TYPE, modality_words
from hilum.core.database import Transaction
from hilum.core.errors import Conflict

REASONS: Final = {
    "no_procedure": "The CDM has no procedure for this study.",
    "several_procedures": "Several procedures of the CDM may be this study's.",
    "unknown_procedure": "The procedure that was named is not in the CDM.",
    "procedure_of_other_person": "The procedure that was named is another person's.",
    "no_date": "The study has no date, and a procedure needs one.",
    "unlinked": "It was unlinked by hand.",
}
"""Why a linked study waits for its procedure."""
MINTED: Final = "minted"


def link_procedures(sql: Transaction, cdm: Cdm, studies: Sequence[int], *, mint: bool) -> None:
    """Bring the procedure of studies whose person is known up to date.

    Parameters
    ----------
    sql
        Where.
    cdm
        Of the studies' source.
    studies
        Their numbers; to be right for one, those of the same person and day belong to it.
    mint
        Whether a study without a procedure gets one of its own; else it waits.

    Raises
    ------
    Conflict
        One has to be minted, and the reserved range of ids is used up.
    """
    values: dict[str, object] = {"studies": list(studies), "mint": mint}
    by_number = [row["id"] for row in sql.rows(cdm.sql(_BY_NUMBER), values)]
    concepts, uses, words = zip(*modality_words(), strict=True)
    known = {"concepts": list(concepts), "uses": list(uses), "words": list(words)}
    ancestors = has_table(sql, cdm.schemas.vocabulary, "concept_ancestor")
    statement = _BY_DAY if ancestors else _BY_DAY.replace("{vocabulary}.concept_ancestor", _NO_ANCESTORS)
    try:
        sql.rows(cdm.sql(statement), values | known | {"done": by_number})
    except SequenceGeneratorLimitExceeded as error:
        raise Conflict(
            f"All ids for minted procedures are used up: raise maxvalue of the sequence {cdm.schemas.imaging}."
            "hilum_procedure_id, or set HILUM_OMOP_PROCEDURES=require."
        ) from error


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
_UPSERT: Final[LiteralString] = """
  on conflict (study_id, kind) do update set target_id = excluded.target_id, method = excluded.method,
    evidence = excluded.evidence, reason = excluded.reason, made_by = excluded.made_by, made_at = now()
  where (l.target_id, l.method, l.evidence, l.reason, l.made_by) is distinct from
    (excluded.target_id, excluded.method, excluded.evidence, excluded.reason, excluded.made_by)
"""
_WANTED: Final[LiteralString] = """
  select s.id, s.source_id, s.study_instance_uid, s.patient_id, s.accession_number, s.study_date, s.modalities,
    p.target_id as person_id
  from hilum.study s join hilum.study_link p on p.study_id = s.id and p.kind = 'person' and p.target_id is not null
  where s.id = any(%(studies)s) and s.deleted_at is null
"""
# Numbers other than the accession lie in Request Attributes Sequence (0040,0275), kept of each series as DICOM JSON.
_NUMBERS: Final[LiteralString] = """
  select id, 'accession_number' as kind, accession_number as number from wanted where accession_number <> ''
  union
  select w.id, n.kind, item->n.tag->'Value'->>0
  from wanted w join hilum.series e on e.study_id = w.id and e.further is not null
  cross join lateral jsonb_array_elements(
    case when jsonb_typeof(e.further->'00400275'->'Value') = 'array' then e.further->'00400275'->'Value' end) item
  cross join (values ('requested_procedure_id', '00401001'), ('scheduled_procedure_step_id', '00400009')) n (kind, tag)
  where coalesce(item->n.tag->'Value'->>0, '') <> ''
"""
# A decision, or exactly one procedure by number. All that it finds nothing for is left to the next step.
_BY_NUMBER: Final[LiteralString] = f"""
  with wanted as materialized ({_WANTED}), numbers as ({_NUMBERS}), found as (
    select n.id, m.procedure_occurrence_id, 'procedure_map' as method, n.kind
    from numbers n join wanted w on w.id = n.id
    join hilum.procedure_map m on m.source_id = w.source_id and m.number = n.number
      and m.patient_id in (w.patient_id, '')
    union all
    select n.id, o.procedure_occurrence_id, 'procedure_source_value', n.kind
    from numbers n join wanted w on w.id = n.id join {{cdm}}.procedure_occurrence o on o.person_id = w.person_id
      and n.number = any(string_to_array(o.procedure_source_value, '|'))
    where not exists (select from hilum.minted_procedure k where k.source_id = w.source_id
      and k.procedure_occurrence_id = o.procedure_occurrence_id)
  ), first as (
    select id, min(method) as method from found group by id
  ), counted as (
    select f.id, f.method, min(f.procedure_occurrence_id) as target,
      (array_agg(distinct f.procedure_occurrence_id))[:10] as candidates,
      array_agg(distinct f.kind) as kinds, count(distinct f.procedure_occurrence_id) as procedures
    from found f join first using (id, method) group by f.id, f.method
  ), checked as (
    select w.id, w.person_id, d.study_instance_uid is not null as decided, d.made_by, c.method, c.kinds, c.candidates,
      c.procedures, case when d.study_instance_uid is null then c.target else d.target_id end as candidate
    from wanted w left join counted c on c.id = w.id
    left join hilum.link_decision d on d.source_id = w.source_id and d.study_instance_uid = w.study_instance_uid
      and d.kind = 'procedure'
    where d.study_instance_uid is not null or c.procedures = 1
  ), judged as (
    select k.*, case
      when decided and candidate is null then 'unlinked'
      when o.procedure_occurrence_id is null then 'unknown_procedure'
      when o.person_id <> k.person_id then 'procedure_of_other_person'
      else '' end as reason
    from checked k left join {{cdm}}.procedure_occurrence o on o.procedure_occurrence_id = k.candidate
  ), written as (
    insert into hilum.study_link as l (study_id, kind, target_id, method, evidence, reason, made_by)
    select id, 'procedure', case when reason = '' then candidate end,
      case when decided then 'by_hand' else method end,
      case when decided then '{{}}' else jsonb_build_object('by', to_jsonb(kinds), 'candidates', candidates) end,
      reason, coalesce(made_by, '')
    from judged
    {_UPSERT}
    returning 1
  )
  select id from judged
"""
_BY_DAY: Final[LiteralString] = f"""
  with wanted as materialized (
    select * from ({_WANTED}) w where w.id <> all(%(done)s::bigint[])
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
  ), counted as (
    select d.id, min(d.procedure_occurrence_id) as target, count(distinct d.procedure_occurrence_id) as procedures,
      (array_agg(distinct d.procedure_occurrence_id))[:10] as candidates
    from day d join modal m on m.procedure_concept_id = d.procedure_concept_id and m.word = any(d.modalities)
    group by d.id
  ), lacking as (
    select w.* from wanted w left join counted c on c.id = w.id where coalesce(c.procedures, 0) <> 1
  ), reserved as (
    insert into hilum.minted_procedure as k (source_id, study_instance_uid, procedure_occurrence_id)
    select source_id, study_instance_uid, nextval('{{imaging}}.hilum_procedure_id')
    from lacking n where %(mint)s and study_date is not null and not exists (
      select from hilum.minted_procedure k where k.source_id = n.source_id
        and k.study_instance_uid = n.study_instance_uid)
    returning source_id, study_instance_uid, procedure_occurrence_id
  ), minted as (
    select * from reserved union all select * from hilum.minted_procedure
    where (source_id, study_instance_uid) in (select source_id, study_instance_uid from lacking)
  ), judged as (
    select w.id, c.candidates, c.procedures,
      case when c.procedures = 1 then c.target
        when %(mint)s and w.study_date is not null then m.procedure_occurrence_id end as target,
      case when c.procedures = 1 then 'same_day' when %(mint)s and w.study_date is not null then '{MINTED}'
        else '' end as method,
      case when c.procedures = 1 then '' when w.study_date is null then 'no_date' when %(mint)s then ''
        when c.procedures > 1 then 'several_procedures' else 'no_procedure' end as reason
    from wanted w left join counted c on c.id = w.id left join minted m on m.source_id = w.source_id
      and m.study_instance_uid = w.study_instance_uid
  )
  insert into hilum.study_link as l (study_id, kind, target_id, method, evidence, reason, made_by)
  select id, 'procedure', target, method, jsonb_strip_nulls(jsonb_build_object('candidates', candidates)), reason, ''
  from judged
  {_UPSERT}
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
    procedure_date, procedure_datetime, procedure_type_concept_id, visit_occurrence_id, procedure_source_value)
  select l.target_id, p.target_id, %(concept)s, s.study_date, s.study_date + s.study_time, %(type)s, v.target_id,
    'hilum:' || s.id
  from hilum.study s join hilum.study_link l on l.study_id = s.id and l.kind = 'procedure' and l.method = 'minted'
  join hilum.study_link p on p.study_id = s.id and p.kind = 'person' and p.target_id is not null
  left join hilum.study_link v on v.study_id = s.id and v.kind = 'visit'
  where s.source_id = %(source)s and s.study_instance_uid = any(%(uids)s) and s.deleted_at is null
    and l.target_id is not null
  on conflict (procedure_occurrence_id) do update set person_id = excluded.person_id,
    procedure_date = excluded.procedure_date, procedure_datetime = excluded.procedure_datetime,
    visit_occurrence_id = excluded.visit_occurrence_id, procedure_source_value = excluded.procedure_source_value
  where (o.person_id, o.procedure_date, o.procedure_datetime, o.visit_occurrence_id, o.procedure_source_value)
    is distinct from (excluded.person_id, excluded.procedure_date, excluded.procedure_datetime,
      excluded.visit_occurrence_id, excluded.procedure_source_value)
"""
