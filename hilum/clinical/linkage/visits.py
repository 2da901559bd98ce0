"""Which visit_occurrence a linked study belongs to: by what a person decided, else that of its procedure, else the one
that contains the study's time, else the only one of that day. A procedure's visit that the CDM does not have, or has of
another person, is passed over, and stands in the evidence. A study without a visit is in the CDM all the same; it is
listed for a person to look at."""

from collections.abc import Sequence
from typing import Final, LiteralString

from hilum.clinical.cdm.cdm import Cdm
from hilum.clinical.linkage.write import write_links
from hilum.core.database import Transaction

REASONS: Final = {
    "no_visit": "The person has no visit on that day.",
    "several_visits": "Several visits of the person may be the study's.",
    "unknown_visit": "The visit that was named, or that of the procedure, is not in the CDM.",
    "visit_of_other_person": "The visit that was named is another person's.",
    "no_date": "The study has no date.",
    "unlinked": "It was unlinked by hand.",
}
"""Why a linked study waits for its visit."""


def link_visits(sql: Transaction, cdm: Cdm, studies: Sequence[int]) -> None:
    """Bring the visit of studies up to date whose person and procedure are known."""
    sql.rows(cdm.sql(_LINK), {"studies": list(studies)})


# Many CDMs know no time of day: a visit that ends at midnight of a day lasts until the day is over.
_LINK: Final[LiteralString] = """
  with wanted as materialized (
    select s.id, s.source_id, s.study_instance_uid, s.study_date as day, s.study_date + s.study_time as moment,
      p.target_id as person_id, v.visit_occurrence_id as of_procedure,
      case when v.visit_occurrence_id is null then o.visit_occurrence_id end as passed_over
    from hilum.study s join hilum.study_link p on p.study_id = s.id and p.kind = 'person' and p.target_id is not null
    left join hilum.study_link r on r.study_id = s.id and r.kind = 'procedure' and r.method <> 'minted'
    left join {cdm}.procedure_occurrence o on o.procedure_occurrence_id = r.target_id
    left join {cdm}.visit_occurrence v on v.visit_occurrence_id = o.visit_occurrence_id and v.person_id = p.target_id
    where s.id = any(%(studies)s) and s.deleted_at is null
  ), near as materialized (
    select w.id, v.visit_occurrence_id,
      coalesce(w.moment >= coalesce(v.visit_start_datetime, v.visit_start_date) and w.moment < case
        when v.visit_end_datetime is null or v.visit_end_datetime = v.visit_end_date
          then coalesce(v.visit_end_date, v.visit_start_date) + 1
        else v.visit_end_datetime + interval '1 second' end, false) as contains
    from wanted w join {cdm}.visit_occurrence v on v.person_id = w.person_id
      and w.day between v.visit_start_date and coalesce(v.visit_end_date, v.visit_start_date)
    where w.of_procedure is null
  ), counted as materialized (
    select id, count(*) as visits, count(*) filter (where contains) as around,
      min(visit_occurrence_id) as any_one, min(visit_occurrence_id) filter (where contains) as within_one,
      (array_agg(visit_occurrence_id order by contains desc, visit_occurrence_id))[:10] as candidates
    from near group by id
  ), checked as (
    select w.*, d.study_instance_uid is not null as decided, d.target_id as chosen, d.made_by, c.candidates,
      case when d.study_instance_uid is not null then 'by_hand' when w.of_procedure is not null then 'procedure'
        when c.around = 1 then 'contains' when coalesce(c.around, 0) = 0 and c.visits = 1 then 'only_of_day' else '' end
        as method,
      case when d.study_instance_uid is not null then d.target_id when w.of_procedure is not null then w.of_procedure
        when c.around = 1 then c.within_one when coalesce(c.around, 0) = 0 and c.visits = 1 then c.any_one end
        as candidate
    from wanted w left join counted c on c.id = w.id
    left join lateral (select d.* from hilum.link_decision d where d.source_id = w.source_id
      and d.study_instance_uid = w.study_instance_uid and d.kind = 'visit' limit 1) d on true
  ), judged as (
    select k.*, case
      when decided and chosen is null then 'unlinked'
      when decided and v.visit_occurrence_id is null then 'unknown_visit'
      when decided and v.person_id <> k.person_id then 'visit_of_other_person'
      when candidate is not null then ''
      when k.day is null then 'no_date'
      when candidates is not null then 'several_visits'
      when passed_over is not null then 'unknown_visit'
      else 'no_visit' end as reason
    from checked k left join {cdm}.visit_occurrence v on decided and v.visit_occurrence_id = k.chosen
  ), said as (
    select id, case when reason = '' then candidate end as target_id, method,
      jsonb_strip_nulls(jsonb_build_object('candidates', case when decided then null else candidates end,
        'visit_of_procedure', passed_over)) as evidence,
      reason, coalesce(made_by, '') as made_by
    from judged
  )
  <write>
""".replace("<write>", write_links("visit"))
