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
    sql.rows(cdm.sql(_GROUP), values)
    sql.rows(cdm.sql(_DELETE), values)
    sql.rows(cdm.sql(_WRITE), values)


def remove_orphans(sql: Transaction, cdm: Cdm) -> int:
    """Take away rows of studies that were purged before anybody was told of it; gives how many."""
    return len(sql.rows(cdm.sql(_ORPHANS), (cdm.source_id,)))


# Files of series that are in image_occurrence, whoever wrote that row.
_FILES: Final[LiteralString] = """
  from hilum.study s join hilum.instance i on i.study_id = s.id and i.deleted_at is null
  join hilum.series e on e.id = i.series_id
  join hilum.series_occurrence o on o.source_id = s.source_id and o.study_instance_uid = s.study_instance_uid
    and o.series_instance_uid = e.series_instance_uid
  join {imaging}.image_occurrence x on x.image_occurrence_id = o.image_occurrence_id
    and x.procedure_occurrence_id is not null
"""
_WHERE: Final[LiteralString] = "where s.id = any(%(studies)s) and s.deleted_at is null"
_NUMBER: Final[LiteralString] = f"""
  insert into hilum.registry_file as k (source_id, sop_instance_uid, study_instance_uid, image_registry_id)
  select w.source_id, w.sop_instance_uid, w.study_instance_uid,
    coalesce(w.image_registry_id, nextval('{{imaging}}.hilum_image_registry_id'))
  from (
    select s.source_id, i.sop_instance_uid, s.study_instance_uid, k.image_registry_id
    {_FILES}
    left join hilum.registry_file k on k.source_id = s.source_id and k.sop_instance_uid = i.sop_instance_uid
    {_WHERE} and (k.image_registry_id is null or k.study_instance_uid <> s.study_instance_uid)
    order by x.person_id, s.study_date, s.id, e.series_number nulls last, e.id, i.instance_number nulls last, i.id
  ) w
  on conflict (source_id, sop_instance_uid) do update set study_instance_uid = excluded.study_instance_uid,
    image_registry_id = excluded.image_registry_id
"""
_GROUP: Final[LiteralString] = f"""
  with wanted as (
    select s.source_id, x.person_id, s.study_instance_uid, min(s.study_date) as day
    {_FILES} {_WHERE} and not exists (select from hilum.registry_group g where g.source_id = s.source_id
      and g.person_id = x.person_id and g.study_instance_uid = s.study_instance_uid)
    group by s.source_id, x.person_id, s.study_instance_uid
  )
  insert into hilum.registry_group (source_id, person_id, study_instance_uid, group_id)
  select w.source_id, w.person_id, w.study_instance_uid,
    coalesce((select max(g.group_id) from hilum.registry_group g where g.source_id = w.source_id
      and g.person_id = w.person_id), 0)
    + row_number() over (partition by w.person_id order by w.day, w.study_instance_uid)
  from wanted w
"""
_DELETE: Final[LiteralString] = f"""
  delete from {{imaging}}.image_registry r using hilum.registry_file k
  where k.source_id = %(source)s and k.study_instance_uid = any(%(uids)s)
    and r.image_registry_id = k.image_registry_id and not exists (select {_FILES} {_WHERE}
      and i.source_id = k.source_id and i.sop_instance_uid = k.sop_instance_uid)
"""
# Date: that of the series, else of the study, as in image_occurrence; local time as the files say it.
_WRITE: Final[LiteralString] = f"""
  insert into {{imaging}}.image_registry as r (image_registry_id, file_id, proc_id, person_id, group_id, visit_id,
    datetime, src_file, trg_file)
  select k.image_registry_id, coalesce(nullif(k.file_id, ''), i.sop_instance_uid), x.procedure_occurrence_id,
    x.person_id, g.group_id, x.visit_occurrence_id,
    coalesce(k.taken_at, date_trunc('second', x.image_occurrence_date + coalesce(
      case when e.series_date is not null then e.series_time else s.study_time end, time '00:00'))),
    coalesce(nullif(k.src_file, ''), %(key)s || '-' || k.image_registry_id),
    case when %(targets)s or k.src_file <> '' then coalesce(i.path, %(objects)s || i.blob_key) end
  {_FILES}
  join hilum.registry_file k on k.source_id = s.source_id and k.sop_instance_uid = i.sop_instance_uid
  join hilum.registry_group g on g.source_id = s.source_id and g.person_id = x.person_id
    and g.study_instance_uid = s.study_instance_uid
  {_WHERE}
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
