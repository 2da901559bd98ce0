"""The rows of image_registry: one for each file of a series that has a row in image_occurrence, with the person,
procedure and visit of that row, written anew whenever it is. A file has the same number for ever. What a site's own
registry says of a file (an upload) stands in its row; where a file came from is never told, but by a surrogate."""

from collections.abc import Sequence
from typing import Final, LiteralString

from hilum.clinical.cdm.cdm import Cdm
from hilum.clinical.occurrence.keep import Places
from hilum.core.database import Transaction


def keep_registry(
    sql: Transaction, cdm: Cdm, studies: Sequence[int], uids: Sequence[str], places: Places, *, targets: bool
) -> None:
    """Bring the rows of studies up to date; what is right already is not touched.

    Parameters
    ----------
    sql
        Where; one transaction with what has changed, after the rows of image_occurrence.
    cdm
        Of the studies' source.
    studies, uids
        The studies, by number and by UID: one that is deleted loses its rows.
    places
        Where the images are.
    targets
        Whether ``trg_file`` says where each file is; of files that came with an upload it always does.
    """
    values = {
        "source": cdm.source_id, "key": cdm.source, "uids": list(uids), "studies": list(studies),
        "objects": places.objects, "targets": targets,
    }  # fmt: skip
    sql.rows(cdm.sql(_NUMBER), values)
    sql.rows(cdm.sql(_FREE), values)
    sql.rows(cdm.sql(_GROUP), values)
    sql.rows(cdm.sql(_DELETE), values)
    sql.rows(cdm.sql(_WRITE), values)


def remove_orphans(sql: Transaction, cdm: Cdm) -> int:
    """Take away rows of studies that were purged before anybody was told of it; gives how many."""
    return len(sql.rows(cdm.sql(_ORPHANS), (cdm.source_id,)))


# Files of series that are in image_occurrence, whoever wrote that row. No statistics tell yet what linking has just
# written, and the planner would guess wrong how much of it there is: so it is looked up row by row (lateral, limit 1).
_FILES: Final[LiteralString] = """
  with files as materialized (
    select s.id as study, s.source_id, s.study_instance_uid, s.study_date, s.study_time, e.id as series,
      e.series_number, e.series_date, e.series_time, i.id, i.sop_instance_uid, i.instance_number, i.path, i.blob_key,
      x.person_id, x.procedure_occurrence_id, x.visit_occurrence_id, x.image_occurrence_date
    from hilum.study s join hilum.series e on e.study_id = s.id
    cross join lateral (select o.image_occurrence_id from hilum.series_occurrence o where o.source_id = s.source_id
      and o.study_instance_uid = s.study_instance_uid and o.series_instance_uid = e.series_instance_uid limit 1) o
    cross join lateral (select x.* from {imaging}.image_occurrence x where x.image_occurrence_id = o.image_occurrence_id
      and x.procedure_occurrence_id is not null limit 1) x
    join hilum.instance i on i.series_id = e.id and i.deleted_at is null
    where s.id = any(%(studies)s) and s.deleted_at is null
  )
"""
_KNOWN: Final[LiteralString] = """
  join lateral (select k.* from hilum.registry_file k where k.source_id = f.source_id
    and k.sop_instance_uid = f.sop_instance_uid limit 1) k on true
"""
_NUMBER: Final[LiteralString] = f"""
  {_FILES}
  insert into hilum.registry_file as k (source_id, sop_instance_uid, study_instance_uid, image_registry_id)
  select w.source_id, w.sop_instance_uid, w.study_instance_uid,
    coalesce(w.image_registry_id, nextval('{{imaging}}.hilum_image_registry_id'))
  from (
    select f.source_id, f.sop_instance_uid, f.study_instance_uid, k.image_registry_id
    from files f left {_KNOWN}
    where k.image_registry_id is null or k.study_instance_uid <> f.study_instance_uid
    order by f.person_id, f.study_date, f.study, f.series_number nulls last, f.series, f.instance_number nulls last,
      f.id
  ) w
  on conflict (source_id, sop_instance_uid) do update set study_instance_uid = excluded.study_instance_uid,
    image_registry_id = excluded.image_registry_id
"""
# A person who has another study to be numbered does not keep the number of one that proved to be somebody else's.
_FREE: Final[LiteralString] = f"""
  {_FILES}, numbered as (
    select distinct f.source_id, f.person_id from files f where not exists (select from hilum.registry_group g
      where g.source_id = f.source_id and g.person_id = f.person_id and g.study_instance_uid = f.study_instance_uid)
  )
  delete from hilum.registry_group g using numbered n, hilum.study s
  where g.source_id = n.source_id and g.person_id = n.person_id and s.source_id = g.source_id
    and s.study_instance_uid = g.study_instance_uid and s.deleted_at is null
    and s.person_id is distinct from g.person_id and not exists (
      select from hilum.registry_file k join {{imaging}}.image_registry r on r.image_registry_id = k.image_registry_id
      where k.source_id = g.source_id and k.study_instance_uid = g.study_instance_uid and r.person_id = g.person_id)
"""
_GROUP: Final[LiteralString] = f"""
  {_FILES}, wanted as (
    select distinct source_id, person_id, study_instance_uid, study_date from files
  )
  insert into hilum.registry_group (source_id, person_id, study_instance_uid, group_id)
  select w.source_id, w.person_id, w.study_instance_uid, coalesce(g.highest, 0)
    + row_number() over (partition by w.person_id order by w.study_date, w.study_instance_uid)
  from wanted w
  left join lateral (select max(g.group_id) as highest, bool_or(g.study_instance_uid = w.study_instance_uid) as known
    from hilum.registry_group g where g.source_id = w.source_id and g.person_id = w.person_id) g on true
  where g.known is not true
"""
_DELETE: Final[LiteralString] = f"""
  {_FILES}
  delete from {{imaging}}.image_registry r using hilum.registry_file k
  where k.source_id = %(source)s and k.study_instance_uid = any(%(uids)s) and r.image_registry_id = k.image_registry_id
    and not exists (select from files f where f.sop_instance_uid = k.sop_instance_uid)
"""
# Date: that of the series, else of the study, as in image_occurrence; local time as the files say it.
_WRITE: Final[LiteralString] = f"""
  {_FILES}
  insert into {{imaging}}.image_registry as r (image_registry_id, file_id, proc_id, person_id, group_id, visit_id,
    datetime, src_file, trg_file)
  select k.image_registry_id, coalesce(nullif(k.file_id, ''), f.sop_instance_uid), f.procedure_occurrence_id,
    f.person_id, g.group_id, f.visit_occurrence_id,
    coalesce(k.taken_at, date_trunc('second', f.image_occurrence_date + coalesce(
      case when f.series_date is not null then f.series_time else f.study_time end, time '00:00'))),
    coalesce(nullif(k.src_file, ''), %(key)s || '-' || k.image_registry_id),
    case when %(targets)s or k.src_file <> '' then coalesce(f.path, %(objects)s || f.blob_key) end
  from files f {_KNOWN}
  join lateral (select g.group_id from hilum.registry_group g where g.source_id = f.source_id
    and g.person_id = f.person_id and g.study_instance_uid = f.study_instance_uid limit 1) g on true
  on conflict (image_registry_id) do update set file_id = excluded.file_id, proc_id = excluded.proc_id,
    person_id = excluded.person_id, group_id = excluded.group_id, visit_id = excluded.visit_id,
    datetime = excluded.datetime, src_file = excluded.src_file, trg_file = excluded.trg_file
  where (r.file_id, r.proc_id, r.person_id, r.group_id, r.visit_id, r.datetime, r.src_file, r.trg_file)
    is distinct from (excluded.file_id, excluded.proc_id, excluded.person_id, excluded.group_id, excluded.visit_id,
      excluded.datetime, excluded.src_file, excluded.trg_file)
"""
_ORPHANS: Final[LiteralString] = """
  delete from {imaging}.image_registry r using hilum.registry_file k
  where k.source_id = %s and r.image_registry_id = k.image_registry_id
    and not exists (select from hilum.instance i where i.source_id = k.source_id
      and i.sop_instance_uid = k.sop_instance_uid and i.deleted_at is null)
  returning r.image_registry_id
"""
