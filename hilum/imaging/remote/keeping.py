"""How long copies are kept: those that a source's policy allows no longer, by age or by their sum, are given up, and
their studies are remote again. Nothing is ever given up that came in by itself."""

from typing import Final, LiteralString, cast

import structlog

from hilum.core.database import Database, Transaction
from hilum.core.errors import Conflict
from hilum.imaging.archive.remote import make_remote

_AT_ONCE: Final = 200

log = structlog.get_logger()


def release_due(database: Database) -> int:
    """Give up the copies that are older, or together more, than the policy of their source allows, the oldest first.
    Safe to run at any time and any number of times.

    Returns
    -------
    int
        How many.
    """
    with database.transaction() as sql:
        due = [cast("int", row["study_id"]) for row in sql.rows(_DUE, (_AT_ONCE,))]
    released = 0
    for study in due:
        with database.transaction() as sql:
            released += _release(sql, study)
    if released:
        log.info("remote.released", studies=released)
    return released


def release(database: Database, study_id: int) -> None:
    """Give up the copy of a study by hand.

    Raises
    ------
    Conflict
        It is no copy from a remote archive, or holds something that came by itself, or is still coming.
    """
    with database.transaction() as sql:
        if not _release(sql, study_id):
            raise Conflict("The images of this study cannot be given up: they did not all come from a remote archive.")


def _release(sql: Transaction, study_id: int) -> bool:
    """Give up one copy; one of which something is about to be sent somewhere stays."""
    if not sql.rows(_HELD, (study_id,)) or not make_remote(sql, study_id):
        return False
    sql.rows("update hilum.remote_copy set state = 'released' where study_id = %s", (study_id,))
    return True


_DUE: Final[LiteralString] = """
  with held as (
    select c.study_id, c.fetched_at, s.remote_keep_days, s.remote_keep_bytes,
      sum(c.bytes) over (partition by t.source_id order by c.fetched_at desc, c.study_id desc) as up_to
    from hilum.remote_copy c join hilum.study t on t.id = c.study_id join hilum.source s on s.id = t.source_id
    where c.state = 'held' and t.deleted_at is null
  )
  select study_id from held
  where fetched_at < now() - make_interval(days => remote_keep_days) or up_to > remote_keep_bytes
  order by fetched_at, study_id limit %s
"""
_HELD: Final[LiteralString] = """
  select 1 from hilum.remote_copy c join hilum.study t on t.id = c.study_id join hilum.source s on s.id = t.source_id
  where c.study_id = %s and c.state = 'held' and s.dicomweb_url <> ''
    and not exists (select from hilum.routing_item r join hilum.instance i on i.id = r.instance_id
      where i.study_id = c.study_id and r.state in ('waiting', 'sending'))
  for no key update of c
"""
