"""A source that nobody needs any more: removed with what its remote archive has told of studies, and brought back
within the grace with all of it. Images that lie here are never removed by this; that is for the deletion of studies. A
removed source keeps its row, so that nothing of other rooms goes with it, and is in no list and at no address."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, LiteralString, cast

import structlog

from hilum.core.database import Database, Row, Transaction
from hilum.core.errors import Conflict, NotFound
from hilum.core.events import Event
from hilum.imaging.archive.remote import REMOTE
from hilum.imaging.archive.sidecar import mark_studies
from hilum.imaging.archive.sources import DEFAULT
from hilum.imaging.studies.revisions import note_change

_AT_ONCE: Final = 500

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Source:
    id: int
    key: str
    removed_at: datetime


def remove_source(database: Database, key: str, who: str, *, forget: bool = False) -> int:
    """Remove a source, and hide the studies that are known from its remote archive. Its credentials are forgotten at
    once; studies go for good once the grace of deleted ones has passed.

    Parameters
    ----------
    database
        Where.
    key
        Of the source.
    who
        Who does it.
    forget
        That studies are known from its remote archive does not matter.

    Returns
    -------
    int
        How many studies were hidden.

    Raises
    ------
    Conflict
        It is the default source, or holds images, files that were set aside or deleted studies that can still be
        restored; or it knows of studies, and ``forget`` was not said.
    NotFound
        There is no such source.
    """
    with database.transaction() as sql:
        row = _locked(sql, key, removed=False)
        _check(sql, key, row, forget=forget)
        (now,) = sql.rows(_REMOVE, (row["id"],))
        sql.emit(Event("hilum.source.removed.v1", key, key, {"by": who}))
    log.info("source.removed", source=key)
    return _hide_all(database, _Source(cast("int", row["id"]), key, cast("datetime", now["removed_at"])))


def restore_source(database: Database, key: str, who: str) -> int:
    """Bring a removed source back, with those of its studies whose grace has not passed.

    Returns
    -------
    int
        How many studies came back.

    Raises
    ------
    NotFound
        No such source was removed.
    """
    with database.transaction() as sql:
        row = _locked(sql, key, removed=True)
        sql.rows("update hilum.source set removed = false, recorded = false where id = %s", (row["id"],))
        sql.emit(Event("hilum.source.restored.v1", key, key, {"by": who}))
    log.info("source.restored", source=key)
    return _bring_back_all(database, _source(row))


def finish_removals(database: Database) -> None:
    """Hide and bring back what a process that was ended had left to do, and hide what an index that was running has
    added since. Safe to run at any time and any number of times."""
    with database.transaction() as sql:
        removed, restored = sql.rows(_TO_HIDE), sql.rows(_TO_BRING_BACK)
    for row in removed:
        _hide_all(database, _source(row))
    for row in restored:
        _bring_back_all(database, _source(row))


def _source(row: Row) -> _Source:
    return _Source(cast("int", row["id"]), str(row["key"]), cast("datetime", row["removed_at"]))


def _locked(sql: Transaction, key: str, *, removed: bool) -> Row:
    """A source; nobody adds a study to it until this transaction ends."""
    rows = sql.rows(
        "select id, key, removed_at from hilum.source where key = %s and removed = %s for update", (key, removed)
    )
    if not rows:
        raise NotFound(f"No source '{key}' was removed." if removed else f"There is no source '{key}'.")
    return rows[0]


def _check(sql: Transaction, key: str, row: Row, *, forget: bool) -> None:
    if key == DEFAULT:
        raise Conflict(f"The source '{DEFAULT}' is always there.")
    (holds,) = sql.rows(_HOLDS, {"source": row["id"], "remote": REMOTE})
    if holds["here"]:
        raise Conflict(
            f"The images of {holds['here']} studies of source '{key}' lie here: delete these studies, or give up their "
            "copies, before the source is removed."
        )
    if holds["deleted"] or holds["set_aside"]:
        raise Conflict(
            f"Source '{key}' still has {holds['deleted']} deleted studies that can be restored and "
            f"{holds['set_aside']} files that were set aside: it can be removed once they are gone."
        )
    if holds["remote"] and not forget:
        raise Conflict(
            f"{holds['remote']} studies are known from the remote archive of source '{key}', with what was decided of "
            "them here. Say forget=true (--forget) to remove it all the same."
        )


def _hide_all(database: Database, source: _Source) -> int:
    hidden = 0
    while True:
        with database.transaction() as sql:
            rows = sql.rows(_HIDE, {"source": source.id, "at": source.removed_at, "remote": REMOTE, "limit": _AT_ONCE})
            _tell(sql, source, "deleted", rows)
        hidden += len(rows)
        if len(rows) < _AT_ONCE:
            return hidden


def _bring_back_all(database: Database, source: _Source) -> int:
    brought = 0
    while True:
        with database.transaction() as sql:
            rows = sql.rows(_BRING_BACK, {"source": source.id, "at": source.removed_at, "limit": _AT_ONCE})
            _tell(sql, source, "restored", rows)
        brought += len(rows)
        if len(rows) < _AT_ONCE:
            return brought


def _tell(sql: Transaction, source: _Source, what: Literal["deleted", "restored"], rows: list[Row]) -> None:
    """Tell of studies as of any that were deleted and restored; those that were here once have a revision for it."""
    if not rows:
        return
    mark_studies(sql, [cast("int", row["id"]) for row in rows])
    for row in rows:
        uid = str(row["study_instance_uid"])
        data = {"study_id": row["id"], "study_instance_uid": uid}
        sql.emit(Event(f"hilum.study.{what}.v1", source.key, uid, data))
        if row["revision"]:
            note_change(sql, source.id, uid, "deleted" if what == "deleted" else "manual")


_REMOVE: Final[LiteralString] = """
  update hilum.source set removed = true, removed_at = clock_timestamp(), recorded = false,
    dicomweb_credentials = '{}', fhir_user = '', fhir_secret = '' where id = %s returning removed_at
"""
_HOLDS: Final[LiteralString] = """
  select count(*) filter (where deleted_at is null and availability <> %(remote)s) as here,
    count(*) filter (where deleted_at is null and availability = %(remote)s) as remote,
    count(*) filter (where deleted_at is not null
      and exists (select from hilum.instance i where i.study_id = s.id)) as deleted,
    (select count(*) from hilum.set_aside where source_id = %(source)s) as set_aside
  from hilum.study s where source_id = %(source)s
"""
# The moment tells these from studies that were deleted one by one.
_HIDE: Final[LiteralString] = """
  update hilum.study set deleted_at = %(at)s, updated_at = clock_timestamp() where id in (
    select id from hilum.study where source_id = %(source)s and deleted_at is null and availability = %(remote)s
    order by study_instance_uid limit %(limit)s for no key update
  ) returning id, study_instance_uid, revision
"""
_BRING_BACK: Final[LiteralString] = """
  update hilum.study set deleted_at = null, updated_at = clock_timestamp() where id in (
    select id from hilum.study s where source_id = %(source)s and deleted_at = %(at)s
      and not exists (select from hilum.study t where t.source_id = s.source_id and t.deleted_at is null
        and t.study_instance_uid = s.study_instance_uid)
    order by study_instance_uid limit %(limit)s for no key update
  ) returning id, study_instance_uid, revision
"""
_TO_HIDE: Final[LiteralString] = f"""
  select k.id, k.key, k.removed_at from hilum.source k where k.removed and exists (select from hilum.study s
    where s.source_id = k.id and s.deleted_at is null and s.availability = '{REMOTE}')
"""
_TO_BRING_BACK: Final[LiteralString] = """
  select k.id, k.key, k.removed_at from hilum.source k where not k.removed and k.removed_at is not null
    and exists (select from hilum.study s where s.source_id = k.id and s.deleted_at = k.removed_at
      and not exists (select from hilum.study t where t.source_id = s.source_id and t.deleted_at is null
        and t.study_instance_uid = s.study_instance_uid))
"""
