"""Deletion of studies in two steps: a deleted study is hidden at once and can be restored within the grace; after it
the rows go, and then the bytes that no other row uses. What was deleted and is stored again begins anew, beside the
deleted one. Files that were indexed in place are never touched."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final, LiteralString, cast

import structlog
from psycopg.errors import UniqueViolation

from hilum.core.blobs import Blobs
from hilum.core.database import Database, Row, Transaction
from hilum.core.errors import Conflict, Gone, NotFound
from hilum.core.events import Event
from hilum.imaging.archive.sidecar import RECORDS, mark_studies, stop_recording
from hilum.imaging.archive.thumbnails import thumbnails_of

DELETED: Final = "hilum.study.deleted.v1"
RESTORED: Final = "hilum.study.restored.v1"
_OBJECTS_LOCK: Final = 4_845_114_003
_AT_ONCE: Final = 500

log = structlog.get_logger()


def hold_objects(sql: Transaction) -> None:
    """Keep objects from being removed until this transaction ends: an object that is written and found to be there
    already counts on it, though no row may name it yet."""
    sql.rows("select pg_advisory_xact_lock_shared(%s)", (_OBJECTS_LOCK,))


def stop_writers(sql: Transaction) -> None:
    """Wait for the writers that hold objects, and let no new one begin until this transaction ends: now every object
    that is there by right has its row."""
    sql.rows("select pg_advisory_xact_lock(%s)", (_OBJECTS_LOCK,))


def doom(sql: Transaction, source_id: int, keys: Sequence[str]) -> None:
    """Have objects of a source removed once nothing uses them."""
    if keys:
        sql.rows(
            "insert into hilum.doomed_object (key, source_id, study_instance_uid) "
            "select key, %s, split_part(key, '/', 2) from unnest(%s::text[]) key on conflict do nothing",
            (source_id, list(keys)),
        )


def delete_study(database: Database, study_id: int, who: str) -> None:
    """Hide a study from all lists and addresses; its bytes stay until the grace has passed.

    Raises
    ------
    NotFound
        There is no such study.
    """
    with database.transaction() as sql:
        found = sql.rows(
            "update hilum.study set deleted_at = now(), updated_at = clock_timestamp() "
            "where id = %s and deleted_at is null returning *, "
            "(select key from hilum.source where id = source_id) as source_key",
            (study_id,),
        )
        if not found:
            raise NotFound("There is no such study.")
        row = found[0]
        sql.rows("update hilum.instance set deleted_at = now() where study_id = %s", (study_id,))
        sql.rows(
            "insert into hilum.deletion (source_id, study_id, study_instance_uid, made_by) values (%s, %s, %s, %s)",
            (row["source_id"], study_id, row["study_instance_uid"], who),
        )
        mark_studies(sql, [study_id])
        _tell(sql, DELETED, row)


def restore_study(database: Database, reference: str, source: str | None = None) -> int:
    """Bring a deleted study back; by its UID the one that was deleted last.

    Returns
    -------
    int
        Hilum's id of the study.

    Raises
    ------
    Conflict
        It is not deleted, or has been stored again since.
    Gone
        The grace has passed, its bytes are gone.
    NotFound
        No such study was ever deleted.
    """
    by_id = reference.isdecimal() and len(reference) < 19
    try:
        with database.transaction() as sql:
            row = _latest_deletion(sql, reference, by_id, source)
            sql.rows("update hilum.deletion set restored_at = now() where id = %s", (row["deletion_id"],))
            sql.rows(
                "update hilum.study set deleted_at = null, updated_at = clock_timestamp() where id = %s", (row["id"],)
            )
            sql.rows("update hilum.instance set deleted_at = null where study_id = %s", (row["id"],))
            mark_studies(sql, [cast("int", row["id"])])
            _tell(sql, RESTORED, row)
    except UniqueViolation as error:
        raise Conflict(
            "The study has been stored again since; delete that one first to have the old one back."
        ) from error
    return cast("int", row["id"])


def _latest_deletion(sql: Transaction, reference: str, by_id: bool, source: str | None) -> Row:
    named: LiteralString = "d.study_id = %(reference)s::bigint" if by_id else "d.study_instance_uid = %(reference)s"
    found = sql.rows(
        "select d.id as deletion_id, d.study_id as id, d.study_instance_uid, d.restored_at, d.purged_at, "
        "s.key as source_key from hilum.deletion d join hilum.source s on s.id = d.source_id "
        f"where {named} and s.key = coalesce(%(source)s::text, s.key) order by d.id desc limit 1 for update of d",
        {"reference": reference, "source": source},
    )
    if not found:
        raise NotFound("No such study was deleted.")
    if found[0]["restored_at"] is not None:
        raise Conflict("The study is not deleted.")
    if found[0]["purged_at"] is not None:
        raise Gone("The study's grace has passed, and its bytes are gone: store it again.")
    return found[0]


def purge(database: Database, blobs: Blobs, grace: timedelta) -> int:
    """Remove the rows of studies whose grace has passed, then the objects that nothing uses any more.

    Safe to run at any time, any number of times and beside imports: what one run leaves, the next takes up.

    Returns
    -------
    int
        How many objects were removed.
    """
    with database.connect() as connection:
        due = connection.exec_driver_sql(
            "select id from hilum.study where deleted_at <= now() - %s order by id", (grace,)
        ).scalars().all()  # fmt: skip
    for study_id in due:
        _drop(database, blobs, study_id, grace)
    return _remove_doomed(database, blobs)


def _drop(database: Database, blobs: Blobs, study_id: int, grace: timedelta) -> None:
    """Remove the rows of a study, and note which objects they named."""
    with database.transaction() as sql:
        stop_recording(sql)
        found = sql.rows(
            "select t.id, t.source_id, t.patient_pk, t.study_instance_uid, s.key as source_key from hilum.study t "
            "join hilum.source s on s.id = t.source_id where t.id = %s and t.deleted_at <= now() - %s for update of t",
            (study_id, grace),
        )
        if not found:
            return
        row = found[0]
        values = {"study": study_id, "source": row["source_id"], "uid": row["study_instance_uid"]}
        digests = [str(each["digest"]) for each in sql.rows(_DIGESTS, values)]
        sql.rows(_DOOM, values)
        pictures = list(thumbnails_of(blobs, digests))
        records = [key for key, _ in blobs.list(f"{row['source_key']}/{row['study_instance_uid']}/{RECORDS}")
                   if key.rpartition("/")[2].startswith(f"{study_id}-")]  # fmt: skip
        sql.rows(
            "insert into hilum.doomed_object (key, source_id, study_instance_uid) "
            "select key, %(source)s, '' from unnest(%(keys)s::text[]) key on conflict do nothing",
            values | {"keys": [*pictures, *records]},
        )
        sql.rows("update hilum.deletion set purged_at = now() where study_id = %s and restored_at is null", (study_id,))
        sql.rows("delete from hilum.study where id = %s", (study_id,))
        # A writer that has found this patient may be about to give it a study, which would go with it.
        stop_writers(sql)
        sql.rows(
            "delete from hilum.patient p where id = %s "
            "and not exists (select from hilum.study s where s.patient_pk = p.id)",
            (row["patient_pk"],),
        )
    log.info("study.purged", study=study_id)


def _remove_doomed(database: Database, blobs: Blobs) -> int:
    removed = 0
    while True:
        with database.transaction() as sql:
            stop_writers(sql)
            doomed = sql.rows(_UNUSED, {"limit": _AT_ONCE})
            removed += blobs.delete([str(row["key"]) for row in doomed if not row["used"]])
            sql.rows("delete from hilum.doomed_object where key = any(%s)", ([row["key"] for row in doomed],))
        if len(doomed) < _AT_ONCE:
            return removed


def _tell(sql: Transaction, kind: str, row: Row) -> None:
    data = {"study_id": row["id"], "study_instance_uid": row["study_instance_uid"]}
    sql.emit(Event(kind, str(row["source_key"]), str(row["study_instance_uid"]), data))


_DIGESTS: Final[LiteralString] = """
  select digest from hilum.instance where study_id = %(study)s
  union select r.digest from hilum.replaced_instance r join hilum.instance i on i.id = r.instance_id
    where i.study_id = %(study)s
"""
_DOOM: Final[LiteralString] = """
  insert into hilum.doomed_object (key, source_id, study_instance_uid)
  select key, %(source)s, %(uid)s from (
    select blob_key as key from hilum.instance where study_id = %(study)s
    union select r.blob_key from hilum.replaced_instance r join hilum.instance i on i.id = r.instance_id
      where i.study_id = %(study)s
    union select blob_key from hilum.bundle_file where study_id = %(study)s
  ) named where key is not null
  on conflict do nothing
"""
# An instance's object lies in the folder of its study, so only studies of that UID can use it.
_UNUSED: Final[LiteralString] = """
  select d.key,
    exists (select from hilum.study t join hilum.instance i on i.study_id = t.id
      where t.source_id = d.source_id and t.study_instance_uid = d.study_instance_uid and i.blob_key = d.key)
    or exists (select from hilum.study t join hilum.instance i on i.study_id = t.id
      join hilum.replaced_instance r on r.instance_id = i.id
      where t.source_id = d.source_id and t.study_instance_uid = d.study_instance_uid and r.blob_key = d.key)
    or exists (select from hilum.bundle_file b where b.blob_key = d.key)
    or exists (select from hilum.set_aside a where a.blob_key = d.key) as used
  from hilum.doomed_object d order by d.key limit %(limit)s
"""
