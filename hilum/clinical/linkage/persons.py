"""Whose a study is in the CDM: by what a person decided, else by the site's mapping table, else by person_source_value;
sex and birth year must not contradict. An id that is blank or shared by several people is nobody's. One statement for
any number of studies."""

from collections.abc import Sequence
from typing import Final, LiteralString

from hilum.clinical.cdm.cdm import Cdm
from hilum.clinical.cdm.concepts import FEMALE, MALE
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


def link_persons(sql: Transaction, cdm: Cdm, studies: Sequence[int]) -> None:
    """Bring the person of studies up to date, where they are not deleted."""
    values = {"studies": list(studies), "male": MALE, "female": FEMALE}
    sql.rows(_GIVEN, values)
    sql.rows(cdm.sql(_LINK), values)


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
_LINK: Final[LiteralString] = """
  with wanted as materialized (
    select s.id, s.source_id, s.study_instance_uid, s.patient_id, p.issuer_of_patient_id as issuer,
      s.quarantine <> '' or s.patient_id = '' as blank, s.patient_birth_date as born,
      case upper(s.patient_sex) when 'M' then %(male)s when 'F' then %(female)s end as sex
    from hilum.study s join hilum.patient p on p.id = s.patient_pk
    where s.id = any(%(studies)s) and s.deleted_at is null
  ), people as (
    select o.patient_id, count(distinct nullif(p.issuer_of_patient_id, '')) as issuers,
      count(distinct o.patient_birth_date) as births,
      count(distinct upper(o.patient_sex)) filter (where upper(o.patient_sex) in ('M', 'F')) as sexes
    from hilum.study o join hilum.patient p on p.id = o.patient_pk
    where (o.source_id, o.patient_id) in (select source_id, patient_id from wanted where not blank)
      and o.deleted_at is null
    group by o.patient_id
  ), mapped as materialized (
    select distinct on (w.id) w.id, m.person_id, m.issuer_of_patient_id <> '' as by_issuer
    from wanted w join hilum.person_map m on m.source_id = w.source_id and m.patient_id = w.patient_id
      and m.issuer_of_patient_id in (w.issuer, '')
    where not w.blank order by w.id, m.issuer_of_patient_id desc
  ), found as (
    select id, person_id, by_issuer, 'person_map' as method from mapped
    union all
    select w.id, c.person_id, false, 'person_source_value'
    from wanted w join {cdm}.person c on c.person_source_value = w.patient_id
    where not w.blank and not exists (select from mapped m where m.id = w.id)
  ), counted as (
    select id, min(method) as method, min(person_id) as person_id, count(*) as persons, bool_or(by_issuer) as by_issuer,
      (array_agg(person_id order by person_id))[:10] as candidates
    from found group by id
  ), checked as (
    select w.*, d.study_instance_uid is not null as decided, d.made_by, c.method, c.persons, c.candidates, c.by_issuer,
      case when d.study_instance_uid is null then c.person_id else d.target_id end as candidate,
      a.births, a.sexes, a.issuers
    from wanted w left join counted c on c.id = w.id left join people a on a.patient_id = w.patient_id
    left join hilum.link_decision d on d.source_id = w.source_id and d.study_instance_uid = w.study_instance_uid
      and d.kind = 'person'
  ), compared as (
    select k.*, e.person_id is not null as known,
      case when k.sex is null or e.gender_concept_id not in (%(male)s, %(female)s) or e.person_id is null
        then 'unknown' when e.gender_concept_id = k.sex then 'agrees' else 'differs' end as sex_is,
      case when k.born is null or e.year_of_birth is null then 'unknown'
        when e.year_of_birth = extract(year from k.born) then 'agrees' else 'differs' end as year_is,
      coalesce((e.month_of_birth, e.day_of_birth) = (extract(month from k.born), extract(day from k.born)), false)
        as day_agrees
    from checked k left join {cdm}.person e on e.person_id = k.candidate
  ), judged as (
    select c.*, case
      when decided and candidate is null then 'unlinked'
      when decided and not known then 'unknown_person'
      when decided then ''
      when blank then 'blank_id'
      when candidate is null then 'no_person'
      when persons > 1 then 'several_persons'
      when not known then 'unknown_person'
      when issuers > 1 and not by_issuer then 'shared_id'
      when (births > 1 or sexes > 1) and not (sex_is = 'agrees' and year_is = 'agrees' and day_agrees) then 'shared_id'
      when sex_is = 'differs' then 'sex_conflict'
      when year_is = 'differs' then 'birth_year_conflict'
      else '' end as reason
    from compared c
  )
  insert into hilum.study_link as l (study_id, kind, target_id, method, evidence, reason, made_by)
  select id, 'person', case when reason = '' then candidate end, case when decided then 'by_hand' else
      coalesce(method, '') end,
    jsonb_strip_nulls(jsonb_build_object('patient_id', patient_id, 'issuer', nullif(issuer, ''), 'sex', sex_is,
      'birth_year', year_is, 'candidates', case when decided then null else candidates end)),
    reason, coalesce(made_by, '')
  from judged
  on conflict (study_id, kind) do update set target_id = excluded.target_id, method = excluded.method,
    evidence = excluded.evidence, reason = excluded.reason, made_by = excluded.made_by, made_at = now()
  where (l.target_id, l.method, l.evidence, l.reason, l.made_by) is distinct from
    (excluded.target_id, excluded.method, excluded.evidence, excluded.reason, excluded.made_by)
"""
