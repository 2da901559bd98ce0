"""What has to be done with a study beyond its revision before it is processed: steps, by the names that rooms above
give them. A source says which its studies need, a room says of which revision it has done its own, and the status
follows from that. What the steps are is nothing that imaging knows."""

from collections.abc import Mapping, Sequence
from typing import Final, LiteralString, cast

import sqlalchemy as sa

from hilum.core.database import Transaction
from hilum.core.events import Event

PROCESSED: Final = "hilum.study.processed.v1"
INSTANCES: Final = "instances"
"""What a study waits for whose next revision is not made yet."""

AWAITS_STEP: Final[LiteralString] = """
  exists (select from hilum.source_step n where n.source_id = s.source_id and not exists (select from hilum.study_step d
    where d.study_id = s.id and d.step = n.step and d.revision >= <revision>))
"""
"""Whether study ``s`` waits for a step of its ``<revision>``."""


def need(sql: Transaction, source_id: int, steps: Sequence[str]) -> None:
    """Have the studies of a source be processed only once these steps are done; those that are, and for which they are
    not, go back to what they were before."""
    values = {"source": source_id, "steps": list(steps)}
    sql.rows(_NEED, values)
    sql.rows(_BACK, values)


def revisions_of(sql: Transaction, studies: Sequence[int]) -> dict[int, int]:
    """The latest revision of each study that has one and is not deleted; read before a step begins, for what is done
    then holds of it."""
    rows = sql.rows(_REVISIONS, (list(studies),))
    return {cast("int", row["id"]): cast("int", row["revision"]) for row in rows}


def finish(sql: Transaction, step: str, revisions: Mapping[int, int]) -> None:
    """Note that a step is done, and that studies are processed which waited for nothing else.

    Parameters
    ----------
    sql
        A transaction that has locked no study: they are locked here, in the order in which stores lock them.
    step
        Its name.
    revisions
        Of which revision of each study, by Hilum's number.
    """
    if not revisions:
        return
    sql.rows(_FINISH, {"step": step, "studies": list(revisions), "revisions": list(revisions.values())})
    # What a store that was waited for has changed is seen by the next statement only.
    waiting = [row["id"] for row in sql.rows(_HOLD, (list(revisions),))]
    if waiting:
        for row in sql.rows(_PROCESS, (waiting,)):
            tell(sql, str(row["source"]), str(row["uid"]), cast("int", row["id"]), cast("int", row["revision"]))


def tell(sql: Transaction, source: str, uid: str, study: int, revision: int) -> None:
    """Tell that a study is processed."""
    data: dict[str, object] = {"study_id": study, "study_instance_uid": uid, "revision": revision}
    sql.emit(Event(PROCESSED, source, uid, data))


def awaited(connection: sa.Connection, study: int) -> list[str]:
    """What a study waits for before it is processed: ``instances`` that may still come, then steps by name; nothing for
    one that only a remote archive has."""
    return list(connection.exec_driver_sql(_AWAITED, {"study": study}).scalars())


_NEED: Final[LiteralString] = """
  insert into hilum.source_step (source_id, step) select %(source)s, unnest(%(steps)s::text[]) on conflict do nothing
"""
_BACK: Final[LiteralString] = f"""
  with unlike as (
    select s.id from hilum.study s where s.source_id = %(source)s and s.status = 'processed' and s.deleted_at is null
      and {AWAITS_STEP.replace("<revision>", "s.revision")}
    order by s.study_instance_uid for no key update
  )
  update hilum.study s set status = 'indexed' from unlike u where s.id = u.id
"""
_REVISIONS: Final[LiteralString] = """
  select id, revision from hilum.study where id = any(%s) and deleted_at is null and revision > 0
"""
_FINISH: Final[LiteralString] = """
  insert into hilum.study_step as d (study_id, step, revision)
  select s.id, %(step)s, g.revision from unnest(%(studies)s::bigint[], %(revisions)s::bigint[]) g (id, revision)
  join hilum.study s on s.id = g.id
  where not exists (select from hilum.study_step k where k.study_id = g.id and k.step = %(step)s
    and k.revision >= g.revision)
  order by s.id
  on conflict (study_id, step) do update set revision = greatest(d.revision, excluded.revision)
"""
_HOLD: Final[LiteralString] = """
  select id from hilum.study where id = any(%s) and deleted_at is null and status = 'indexed' and revision > 0
  order by source_id, study_instance_uid for no key update
"""
_COMING: Final[LiteralString] = """
  exists (select from hilum.study_clock c where c.source_id = s.source_id
    and c.study_instance_uid = s.study_instance_uid and c.due_at is not null)
"""
_PROCESS: Final[LiteralString] = f"""
  update hilum.study s set status = 'processed' from hilum.source k
  where k.id = s.source_id and s.id = any(%s) and not {_COMING}
    and not {AWAITS_STEP.replace("<revision>", "s.revision")}
  returning s.id, s.study_instance_uid as uid, s.revision, k.key as source
"""
_AWAITED: Final[LiteralString] = f"""
  select '{INSTANCES}' from hilum.study s
  where s.id = %(study)s and s.status = 'indexed' and s.availability <> 'remote' and (s.revision = 0 or {_COMING})
  union all
  (select n.step from hilum.study s join hilum.source_step n on n.source_id = s.source_id
  where s.id = %(study)s and s.status = 'indexed' and s.availability <> 'remote' and not exists (
    select from hilum.study_step d where d.study_id = s.id and d.step = n.step and d.revision >= s.revision
      and s.revision > 0 and not {_COMING})
  order by n.step)
"""
