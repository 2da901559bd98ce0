"""Deletion of studies, series and instances in two steps: what is deleted is hidden at once and can be restored within
the grace; after it the rows go, and then the bytes that no other row uses. What was deleted and is stored again begins
anew, beside the deleted one. Files that were indexed in place are never touched."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal, LiteralString, cast

import structlog
from psycopg.errors import UniqueViolation

from hilum.core.blobs import Blobs
from hilum.core.database import Database, Row, Transaction
from hilum.core.errors import Conflict, Gone, NotFound
from hilum.core.events import Event
from hilum.imaging.archive.parts import put_back, take_out
from hilum.imaging.archive.sidecar import RECORDS, mark_studies, stop_recording
from hilum.imaging.archive.thumbnails import thumbnails_of
from hilum.imaging.studies.revisions import note_change

_OBJECTS_LOCK: Final = 4_845_114_003
_AT_ONCE: Final = 500

log = structlog.get_logger()


def hold_objects(sql: Transaction) -> None:
    """Keep objects from being removed until this transaction ends: an object that is written and found to be there
    already counts on it, though no row may name it yet. What is run from here on is planned once a connection and not
    for each set of values, which costs more than to run it."""
    sql.rows(
        "select pg_advisory_xact_lock_shared(%s), set_config('plan_cache_mode', 'force_generic_plan', true)",
        (_OBJECTS_LOCK,),
    )


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


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a study: a series, or one instance of it; the instance alone will do."""

    series_instance_uid: str = ""
    sop_instance_uid: str = ""

    @property
    def noun(self) -> str:
        """What it is, for a sentence."""
        return "instance" if self.sop_instance_uid else "series" if self.series_instance_uid else "study"


WHOLE: Final = Part()


def delete_study(database: Database, study_id: int, who: str) -> None:
    """Hide a study from all lists and addresses; its bytes stay until the grace has passed.

    Raises
    ------
    NotFound
        There is no such study.
    """
    with database.transaction() as sql:
        row = _locked(sql, study_id)
        _hide(sql, study_id)
        _note(sql, row, study_id, WHOLE, who)
        _tell(sql, "deleted", row)
        _revise(sql, "deleted", row)


def delete_part(database: Database, study_id: int, part: Part, who: str) -> None:
    """Hide a series or an instance from all lists and addresses, as a study; with its last instance a study goes.

    Raises
    ------
    NotFound
        The study has no such series or instance.
    """
    with database.transaction() as sql:
        row = _locked(sql, study_id)
        found = sql.rows(
            f"{_INSTANCES} where i.study_id = %(study)s "
            "and se.series_instance_uid = coalesce(nullif(%(series)s, ''), se.series_instance_uid) "
            "and i.sop_instance_uid = coalesce(nullif(%(instance)s, ''), i.sop_instance_uid)",
            {"study": study_id, "series": part.series_instance_uid, "instance": part.sop_instance_uid},
        )
        if not found:
            raise NotFound(f"There is no such {part.noun} in this study.")
        whole = Part(str(found[0]["series_instance_uid"]), part.sop_instance_uid)
        hidden = hide_instances(sql, study_id, [cast("int", each["id"]) for each in found])
        _note(sql, row, hidden, whole, who)
        _tell(sql, "deleted", row, whole)
        if hidden == study_id:
            _tell(sql, "deleted", row)
        _revise(sql, "deleted", row)


def hide_instances(sql: Transaction, study_id: int, instance_ids: Sequence[int], moment: str | None = None) -> int:
    """Hide some or all instances of a study that is locked; gives the id of the deleted study that has them now, which
    is the same when they are all of it. ``moment`` is when that was, if it was not now."""
    wanted = {"study": study_id, "ids": list(instance_ids)}
    others = sql.rows("select id from hilum.instance where study_id = %(study)s and id <> all(%(ids)s) limit 1", wanted)
    if others:
        return take_out(sql, study_id, instance_ids, moment)
    _hide(sql, study_id, moment)
    return study_id


def restore_study(database: Database, reference: str, source: str | None = None, part: Part = WHOLE) -> int:
    """Bring a deleted study, or a part of it, back; by its UID what was deleted last.

    Returns
    -------
    int
        Hilum's id of the study.

    Raises
    ------
    Conflict
        It is not deleted, or has been stored again since; or more of its study was deleted later.
    Gone
        The grace has passed, its bytes are gone.
    NotFound
        No such study was ever deleted.
    """
    by_id = reference.isdecimal() and len(reference) < 19
    try:
        with database.transaction() as sql:
            row = _latest_deletion(sql, reference, by_id, source, part)
            study_id = _bring_back(sql, row, part)
            sql.rows("update hilum.deletion set restored_at = now() where id = %s", (row["deletion_id"],))
            restored = Part(str(row["series_instance_uid"]), str(row["sop_instance_uid"]))
            _tell(sql, "restored", row | {"id": study_id}, restored)
            if restored != WHOLE and study_id == row["id"]:
                _tell(sql, "restored", row)
            _revise(sql, "manual", row)
    except UniqueViolation as error:
        raise Conflict(
            f"The {part.noun} has been stored again since; delete that one first to have the old one back."
        ) from error
    return study_id


def _bring_back(sql: Transaction, row: Row, part: Part) -> int:
    """Make a deleted study live again, or give what it has to the live one that it was taken out of."""
    hidden = cast("int", row["id"])
    if row["series_instance_uid"]:
        live = sql.rows(
            "select id from hilum.study where source_id = %(source_id)s and deleted_at is null "
            "and study_instance_uid = %(study_instance_uid)s for no key update",
            row,
        )
        if live and part == WHOLE:
            raise Conflict("The study is not deleted.")
        if live:
            put_back(sql, hidden, cast("int", live[0]["id"]))
            return cast("int", live[0]["id"])
        if row["more"]:
            raise Conflict("More of the study has been deleted since; restore that first.")
    sql.rows("update hilum.study set deleted_at = null, updated_at = clock_timestamp() where id = %s", (hidden,))
    sql.rows("update hilum.instance set deleted_at = null where study_id = %s", (hidden,))
    mark_studies(sql, [hidden])
    return hidden


def _latest_deletion(sql: Transaction, reference: str, by_id: bool, source: str | None, part: Part) -> Row:
    named: LiteralString = "d.study_id = %(reference)s::bigint" if by_id else "d.study_instance_uid = %(reference)s"
    if by_id and part != WHOLE:
        named = "d.study_instance_uid = (select study_instance_uid from hilum.study where id = %(reference)s::bigint)"
    exact: LiteralString = "d.sop_instance_uid = %(instance)s and %(series)s in ('', d.series_instance_uid)"
    found = sql.rows(
        "select d.id as deletion_id, d.study_id as id, d.source_id, d.study_instance_uid, d.series_instance_uid, "
        "d.sop_instance_uid, d.restored_at, d.purged_at, s.key as source_key, "
        "exists (select from hilum.deletion l where l.source_id = d.source_id and l.id > d.id "
        "and l.study_instance_uid = d.study_instance_uid and l.restored_at is null and l.purged_at is null) as more "
        "from hilum.deletion d join hilum.source s on s.id = d.source_id "
        f"where {named} and s.key = coalesce(%(source)s::text, s.key) and (%(whole)s or ({exact})) "
        "order by d.id desc limit 1 for update of d",
        {"reference": reference, "source": source, "whole": part == WHOLE, "series": part.series_instance_uid,
         "instance": part.sop_instance_uid},
    )  # fmt: skip
    if not found:
        raise NotFound(f"No such {part.noun} was deleted.")
    if found[0]["restored_at"] is not None:
        raise Conflict(f"The {part.noun} is not deleted.")
    if found[0]["purged_at"] is not None:
        raise Gone(f"The {part.noun}'s grace has passed, and its bytes are gone: store it again.")
    return found[0]


def _locked(sql: Transaction, study_id: int) -> Row:
    found = sql.rows(
        "select *, (select key from hilum.source where id = source_id) as source_key from hilum.study "
        "where id = %s and deleted_at is null for no key update",
        (study_id,),
    )
    if not found:
        raise NotFound("There is no such study.")
    return found[0]


def _hide(sql: Transaction, study_id: int, moment: str | None = None) -> None:
    values = {"id": study_id, "at": moment}
    sql.rows(
        "update hilum.study set deleted_at = coalesce(%(at)s::timestamptz, now()), updated_at = clock_timestamp() "
        "where id = %(id)s",
        values,
    )
    sql.rows(
        "update hilum.instance set deleted_at = coalesce(%(at)s::timestamptz, now()) where study_id = %(id)s", values
    )
    mark_studies(sql, [study_id])


def _note(sql: Transaction, row: Row, hidden: int, part: Part, who: str) -> None:
    """Keep who deleted what and when."""
    sql.rows(
        "insert into hilum.deletion (source_id, study_id, study_instance_uid, series_instance_uid, sop_instance_uid, "
        "made_by) values (%s, %s, %s, %s, %s, %s)",
        (row["source_id"], hidden, row["study_instance_uid"], part.series_instance_uid, part.sop_instance_uid, who),
    )


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


def _tell(sql: Transaction, what: Literal["deleted", "restored"], row: Row, part: Part = WHOLE) -> None:
    data = {"study_id": row["id"], "study_instance_uid": row["study_instance_uid"]}
    if part.series_instance_uid:
        data["series_instance_uid"] = part.series_instance_uid
    if part.sop_instance_uid:
        data["sop_instance_uid"] = part.sop_instance_uid
    subject = part.sop_instance_uid or part.series_instance_uid or str(row["study_instance_uid"])
    sql.emit(Event(f"hilum.{part.noun}.{what}.v1", str(row["source_key"]), subject, data))


def _revise(sql: Transaction, reason: Literal["deleted", "manual"], row: Row) -> None:
    note_change(sql, cast("int", row["source_id"]), str(row["study_instance_uid"]), reason)


_INSTANCES: Final[LiteralString] = """
  select i.id, se.series_instance_uid from hilum.instance i join hilum.series se on se.id = i.series_id
"""
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
