"""Whose a study is in the CDM: by what a person decided, else by the site's mapping table, else by person_source_value;
sex and birth year must not contradict. An id that is blank or shared by several people is nobody's. One statement for
any number of studies."""

from collections.abc import Sequence
from typing import Final, LiteralString, cast

from hilum.clinical.cdm.cdm import Cdm
from hilum.clinical.cdm.concepts import FEMALE, MALE
from hilum.clinical.linkage.write import write_links
from hilum.core.database import Transaction

REASONS: Final = {
    "blank_id": "The study has no PatientID.",
    "shared_id": "Several people have this PatientID: their issuers, sexes or birth dates differ.",
    "no_person": "No person of the CDM has this PatientID.",
    "several_persons": "Several persons of the CDM have this PatientID.",
    "unknown_person": "The person that was named is not in the CDM.",
    "sex_conflict": "The person's sex is another than the study's.",
    "birth_year_conflict": "The person's year of birth is another than the study's.",
    "unlinked": "It was unlinked by hand.",
}
"""Why a study waits for its person, in the order in which they are looked for."""


def link_persons(sql: Transaction, cdm: Cdm, studies: Sequence[int]) -> list[int]:
    """Bring the person of studies up to date, where they are not deleted.

    Returns
    -------
    list
        Other studies whose person has to be looked at again: those that have, or had, a PatientID together with these,
        where it is another people's than it was when they were linked.
    """
    if not studies:
        return []
    ids = [row["patient_id"] for row in sql.rows(_IDS, {"studies": list(studies)})]
    values = {"studies": list(studies), "male": MALE, "female": FEMALE, "source": cdm.source_id}
    sql.rows(_GIVEN, values)
    sql.rows(cdm.sql(_LINK), values | {"ids": ids})
    rows = sql.rows(_OTHERS, values | {"ids": ids})
    return [cast("int", row["id"]) for row in rows]


# A person that was named with an upload, before or after there was a CDM, is a decision.
_GIVEN: Final[LiteralString] = """
  insert into hilum.link_decision as d (source_id, study_instance_uid, kind, target_id, made_by)
  select s.source_id, s.study_instance_uid, 'person', s.person_id, 'upload' from hilum.study s
  left join hilum.study_link l on l.study_id = s.id and l.kind = 'person'
  where s.id = any(%(studies)s) and s.deleted_at is null and s.person_id is not null
    and l.target_id is distinct from s.person_id
  on conflict (source_id, study_instance_uid, kind) do update set target_id = excluded.target_id,
    made_by = excluded.made_by, made_at = now()
"""
_IDS: Final[LiteralString] = """
  select patient_id from hilum.study where id = any(%(studies)s) and patient_id <> ''
  union select evidence->>'patient_id' from hilum.study_link
  where study_id = any(%(studies)s) and kind = 'person' and coalesce(evidence->>'patient_id', '') <> ''
"""
# What differs among the studies that have an id, and among those of one issuer: where anything does, several people
# share it.
_ALIKE: Final[LiteralString] = """
  alike as materialized (
    select o.id, o.patient_id, p.issuer_of_patient_id as issuer, o.patient_birth_date as born,
      case when upper(o.patient_sex) in ('M', 'F') then upper(o.patient_sex) end as sex
    from hilum.study o join hilum.patient p on p.id = o.patient_pk
    where o.source_id = %(source)s and o.patient_id = any(%(ids)s) and o.deleted_at is null
  ), shared as materialized (
    select patient_id, issuer, grouping(issuer) = 1 as whole, nullif(array_remove(array[
      case when count(distinct nullif(issuer, '')) > 1 then 'issuer' end,
      case when count(distinct born) > 1 then 'birth_date' end,
      case when count(distinct sex) > 1 then 'sex' end], null), '{}') as differing
    from alike group by grouping sets ((patient_id), (patient_id, issuer))
  )
"""
_OTHERS: Final[LiteralString] = f"""
  with {_ALIKE}
  select k.id from alike k join hilum.study_link l on l.study_id = k.id and l.kind = 'person'
  left join shared a on a.whole and a.patient_id = k.patient_id
  left join shared i on not i.whole and i.patient_id = k.patient_id and i.issuer = k.issuer
  where k.id <> all(%(studies)s) and (l.evidence->'differing', l.evidence->'differing_of_issuer')
    is distinct from (to_jsonb(a.differing), to_jsonb(i.differing))
"""
_LINK: Final[LiteralString] = f"""
  with {_ALIKE}, wanted as materialized (
    select s.id, s.source_id, s.study_instance_uid, s.patient_id, p.issuer_of_patient_id as issuer,
      s.quarantine <> '' or btrim(s.patient_id) = '' as blank, s.patient_birth_date as born,
      case upper(s.patient_sex) when 'M' then %(male)s when 'F' then %(female)s end as sex
    from hilum.study s join hilum.patient p on p.id = s.patient_pk
    where s.id = any(%(studies)s) and s.deleted_at is null
  ), mapped as materialized (
    select distinct on (w.id) w.id, m.person_id, m.issuer_of_patient_id <> '' as by_issuer
    from wanted w join hilum.person_map m on m.source_id = w.source_id and m.patient_id = w.patient_id
      and m.issuer_of_patient_id in (w.issuer, '')
    where not w.blank order by w.id, m.issuer_of_patient_id desc
  ), found as materialized (
    select id, person_id, by_issuer, 'person_map' as method from mapped
    union all
    select w.id, c.person_id, false, 'person_source_value'
    from wanted w join {{cdm}}.person c on c.person_source_value = w.patient_id
    where not w.blank and not exists (select from mapped m where m.id = w.id)
  ), counted as materialized (
    select id, min(method) as method, min(person_id) as person_id, count(*) as persons, bool_or(by_issuer) as by_issuer,
      (array_agg(person_id order by person_id))[:10] as candidates
    from found group by id
  ), checked as (
    select w.*, d.study_instance_uid is not null as decided, d.made_by, c.method, c.persons, c.candidates, c.by_issuer,
      case when d.study_instance_uid is null then c.person_id else d.target_id end as candidate,
      a.differing, i.differing as differing_of_issuer,
      case when c.by_issuer then i.differing else a.differing end as apart
    from wanted w left join counted c on c.id = w.id
    left join shared a on a.whole and a.patient_id = w.patient_id
    left join shared i on not i.whole and i.patient_id = w.patient_id and i.issuer = w.issuer
    left join lateral (select d.* from hilum.link_decision d where d.source_id = w.source_id
      and d.study_instance_uid = w.study_instance_uid and d.kind = 'person' limit 1) d on true
  ), compared as (
    select k.*, e.person_id is not null as known,
      case when k.sex is null or e.gender_concept_id not in (%(male)s, %(female)s) or e.person_id is null
        then 'unknown' when e.gender_concept_id = k.sex then 'agrees' else 'differs' end as sex_is,
      case when k.born is null or e.year_of_birth is null then 'unknown'
        when e.year_of_birth = extract(year from k.born) then 'agrees' else 'differs' end as year_is,
      coalesce((e.month_of_birth, e.day_of_birth) = (extract(month from k.born), extract(day from k.born)), false)
        as day_agrees
    from checked k left join {{cdm}}.person e on e.person_id = k.candidate
  ), judged as (
    select c.*, case
      when decided and candidate is null then 'unlinked'
      when decided and not known then 'unknown_person'
      when decided then ''
      when blank then 'blank_id'
      when candidate is null then 'no_person'
      when persons > 1 then 'several_persons'
      when not known then 'unknown_person'
      when 'issuer' = any(apart) then 'shared_id'
      when apart is not null and not (sex_is = 'agrees' and year_is = 'agrees' and day_agrees) then 'shared_id'
      when sex_is = 'differs' then 'sex_conflict'
      when year_is = 'differs' then 'birth_year_conflict'
      else '' end as reason
    from compared c
  ), said as (
    select id, case when reason = '' then candidate end as target_id,
      case when decided then 'by_hand' else coalesce(method, '') end as method,
      jsonb_strip_nulls(jsonb_build_object('patient_id', patient_id, 'issuer', nullif(issuer, ''), 'sex', sex_is,
        'birth_year', year_is, 'candidates', case when decided then null else candidates end,
        'differing', differing, 'differing_of_issuer', differing_of_issuer)) as evidence,
      reason, coalesce(made_by, '') as made_by
    from judged
  )
  {write_links("person")}
"""
