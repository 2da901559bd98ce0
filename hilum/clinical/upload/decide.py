"""What an upload says of its studies becomes what linkage goes by: the site's mapping table has the person, decisions
of the upload have procedure and visit. Linkage then checks all of it as it always does. Where folder, tags and registry
contradict each other nobody is linked: a person has to decide. What a person decided already stands."""

from typing import Final, LiteralString

from hilum.clinical.cdm.cdm import Cdm, lock_source
from hilum.core.database import Transaction

WHO: Final = "CHoRUS upload"
"""Who decided: stands with each link that comes from an upload."""


def decide_studies(sql: Transaction, cdm: Cdm, *, mint: bool) -> list[int]:
    """Note what an upload (the tables of ``match``) says of its studies and files.

    Parameters
    ----------
    sql, cdm
        Where, and of which source.
    mint
        Whether studies without a procedure get one: then with the number that the site minted, where that is free.

    Returns
    -------
    list of int
        The numbers of the upload's studies.
    """
    values = {"source": cdm.source_id, "who": WHO}
    lock_source(sql, cdm.source_id)
    sql.rows(_STUDIES)
    sql.rows(cdm.sql(_CHECKED), values)
    sql.rows("analyze upload_study; analyze upload_wanted")
    if mint:
        sql.rows(cdm.sql(_ADOPT), values)
    if sql.rows(_PERSONS, values):
        sql.rows("update hilum.source set recorded = false where id = %(source)s", values)
    sql.rows(_FORGET, values)
    sql.rows(_DECIDE, values)
    sql.rows(_REGISTER, values)
    return [int(str(row["id"])) for row in sql.rows("select id from upload_study order by id")]


_STUDIES: Final[LiteralString] = """
  create temporary table upload_study on commit drop as
  select s.id, s.study_instance_uid, min(f.person_id) as person_id,
    count(distinct f.person_id) = 1 and bool_and(s.patient_id = f.person_id::text)
      and bool_and(coalesce(r.person_id = f.person_id, true)) as agrees,
    count(distinct r.proc_id) as procedures, min(r.proc_id) as procedure,
    count(distinct r.visit_id) as visits, min(r.visit_id) as visit
  from upload_file f join hilum.instance i on i.id = f.instance_id join hilum.study s on s.id = i.study_id
  left join upload_row r on r.path = f.path
  group by s.id
"""
_CHECKED: Final[LiteralString] = """
  create temporary table upload_wanted on commit drop as
  select study_instance_uid, 'person' as kind, null::bigint as target_id from upload_study where not agrees
  union all
  select u.study_instance_uid, 'procedure', u.procedure from upload_study u
  join {cdm}.procedure_occurrence o on o.procedure_occurrence_id = u.procedure where u.agrees and u.procedures = 1
    and not exists (select from hilum.minted_procedure m where m.source_id = %(source)s
      and m.procedure_occurrence_id = u.procedure)
  union all
  select u.study_instance_uid, 'visit', u.visit from upload_study u
  join {cdm}.visit_occurrence o on o.visit_occurrence_id = u.visit where u.agrees and u.visits = 1
"""
# Sites count from the beginning of the reserved range: a number far behind it would only use the range up.
_ADOPT: Final[LiteralString] = """
  with free as (
    select distinct on (u.procedure) u.study_instance_uid, u.procedure from upload_study u
    join pg_sequence q on q.seqrelid = '{imaging}.hilum_procedure_id'::regclass
    where u.agrees and u.procedures = 1 and u.procedure between q.seqmin and least(q.seqmax, q.seqmin + 1000
        + 10 * (select count(*) from hilum.study s where s.source_id = %(source)s))
      and not exists (select from {cdm}.procedure_occurrence o where o.procedure_occurrence_id = u.procedure)
    order by u.procedure, u.study_instance_uid
  ), adopted as (
    insert into hilum.minted_procedure (source_id, study_instance_uid, procedure_occurrence_id)
    select %(source)s, study_instance_uid, procedure from free
    on conflict do nothing
    returning procedure_occurrence_id
  )
  select setval('{imaging}.hilum_procedure_id',
    greatest(last_value, (select max(procedure_occurrence_id) from adopted)))
  from {imaging}.hilum_procedure_id where exists (select from adopted)
"""
_PERSONS: Final[LiteralString] = """
  insert into hilum.person_map (source_id, patient_id, person_id)
  select distinct %(source)s::bigint, person_id::text, person_id from upload_study where agrees
  on conflict (source_id, patient_id, issuer_of_patient_id) do nothing returning 1
"""
_FORGET: Final[LiteralString] = """
  delete from hilum.link_decision d using upload_study u
  where d.source_id = %(source)s and d.study_instance_uid = u.study_instance_uid and d.made_by = %(who)s
    and not exists (select from upload_wanted w where w.study_instance_uid = d.study_instance_uid and w.kind = d.kind)
"""
_DECIDE: Final[LiteralString] = """
  with decided as (
    insert into hilum.link_decision as d (source_id, study_instance_uid, kind, target_id, made_by)
    select %(source)s, study_instance_uid, kind, target_id, %(who)s from upload_wanted
    on conflict (source_id, study_instance_uid, kind) do update set target_id = excluded.target_id, made_at = now()
    where d.made_by = %(who)s and d.target_id is distinct from excluded.target_id
    returning d.study_instance_uid, d.kind, d.target_id
  )
  insert into hilum.link_change (source_id, study_instance_uid, kind, action, before, after, made_by)
  select %(source)s, d.study_instance_uid, d.kind, case when d.target_id is null then 'unlink' else 'link' end,
    l.target_id, d.target_id, %(who)s
  from decided d join upload_study u on u.study_instance_uid = d.study_instance_uid
  left join hilum.study_link l on l.study_id = u.id and l.kind = d.kind
"""
# Its own registry names a file as the site did; a file without a row is named by its place in the upload.
_REGISTER: Final[LiteralString] = """
  insert into hilum.registry_file as k (source_id, sop_instance_uid, study_instance_uid, file_id, src_file, taken_at)
  select distinct on (i.sop_instance_uid) i.source_id, i.sop_instance_uid, s.study_instance_uid,
    coalesce(r.file_id, ''), left(coalesce(nullif(r.src_file, ''), f.path), 1024), r.moment
  from upload_file f join hilum.instance i on i.id = f.instance_id join hilum.study s on s.id = i.study_id
  left join upload_row r on r.path = f.path
  where i.source_id = %(source)s
  order by i.sop_instance_uid, r.line nulls last, f.path
  on conflict (source_id, sop_instance_uid) do update set file_id = excluded.file_id, src_file = excluded.src_file,
    taken_at = excluded.taken_at, study_instance_uid = excluded.study_instance_uid
"""
