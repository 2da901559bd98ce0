"""Revisions of studies: what a study consisted of each time it was complete, and what had changed. Numbers begin at 1
and have no gaps, also through deletion and a new beginning; the same instances again make no revision. When one is due
is for ``clock``."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, LiteralString, TypeAlias, cast

import sqlalchemy as sa
import structlog

from hilum.core.database import SCHEMA, Database, Row, Transaction
from hilum.core.errors import HilumError, NotFound
from hilum.core.events import Event
from hilum.imaging.studies.clock import Clock, expect, hold, hold_due
from hilum.imaging.studies.manifest import (
    Changes,
    Manifest,
    SeriesChanges,
    changes_document,
    compare,
    compare_series,
    pack,
    read_manifest,
    series_document,
    unpack,
)
from hilum.imaging.studies.models import StudyRevision
from hilum.imaging.studies.steps import AWAITS_STEP, tell

Reason: TypeAlias = Literal["quiet", "expected", "manual", "deleted"]
Mark: TypeAlias = Callable[[Transaction, Sequence[int]], None]

REVISED: Final = "hilum.study.revised.v1"
# An event that lists more than this would be a burden to all who read the feed: it names the manifest instead.
LISTED: Final = 20_000
_AT_ONCE: Final = 50
# The archive's table, of which this room reads and writes a few columns.
_STUDY: Final = sa.table("study", *map(sa.column, ("id", "source_id", "study_instance_uid")), schema=SCHEMA)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Summary:
    """A revision without its manifest."""

    number: int
    reason: Reason
    made_at: datetime
    num_series: int
    num_instances: int
    num_images: int
    num_added: int
    num_removed: int
    num_replaced: int


@dataclass(frozen=True, slots=True)
class Standing:
    """What of a study has come: Hilum's id of it, if it is archived, how many instances, and its latest revision, 0 for
    none."""

    study_id: int | None
    num_instances: int
    revision: int


@dataclass(frozen=True, slots=True)
class Revision:
    """A study as it was when it was complete, and what had changed against the revision before.

    Attributes
    ----------
    number
        From 1, without gaps.
    reason
        ``quiet``, ``expected``, ``manual`` (completed or restored by a person) or ``deleted``.
    num_images
        Frames, over all instances.
    series
        The whole manifest; empty once the study is deleted.
    """

    source: str
    study_instance_uid: str
    number: int
    reason: Reason
    made_at: datetime
    num_series: int
    num_instances: int
    num_images: int
    changes: Changes
    series: Manifest


def get_revision(connection: sa.Connection, study_pk: int, number: int | None = None) -> Revision:
    """Read a revision of a study, which may be deleted by now.

    Parameters
    ----------
    connection
        Where to read.
    study_pk
        Hilum's id of the study.
    number
        Which one; None for the latest.

    Raises
    ------
    NotFound
        The study has no such revision, or none yet.
    """
    row, before, manifest = _read(connection, study_pk, number)
    return Revision(
        row["source"], row["study_instance_uid"], row["number"], row["reason"], row["made_at"], row["num_series"],
        row["num_instances"], row["num_images"], compare(before, manifest), manifest,
    )  # fmt: skip


def changes_by_series(connection: sa.Connection, study_pk: int, number: int) -> list[SeriesChanges]:
    """Tell how much of each series a revision changed; raises as ``get_revision``."""
    _, before, manifest = _read(connection, study_pk, number)
    return compare_series(before, manifest)


def _read(connection: sa.Connection, study_pk: int, number: int | None) -> tuple[sa.RowMapping, Manifest, Manifest]:
    """A revision's row, the manifest before it and its own."""
    row = connection.exec_driver_sql(_REVISION, {"study": study_pk, "number": number}).mappings().first()
    if row is None:
        which = "no revision yet" if number is None else f"no revision {number}"
        raise NotFound(f"The study has {which}.")
    return row, unpack(row["before"]) if row["before"] is not None else (), unpack(row["manifest"])


def list_revisions(
    connection: sa.Connection, study_pk: int, *, limit: int = 100, offset: int = 0
) -> tuple[list[Summary], int]:
    """List the revisions of a study, latest first, and how many there are in all."""
    query = sa.select(*(StudyRevision.__table__.columns[name] for name in Summary.__slots__)).where(
        StudyRevision.source_id == _STUDY.c.source_id,
        StudyRevision.study_instance_uid == _STUDY.c.study_instance_uid,
        _STUDY.c.id == study_pk,
    )
    total = connection.scalar(sa.select(sa.func.count()).select_from(query.subquery()))
    page = query.order_by(StudyRevision.number.desc()).limit(limit).offset(offset)
    return [Summary(*row) for row in connection.execute(page)], total or 0


def complete(sql: Transaction, study_id: int) -> None:
    """Make the revision of a study now, for a person says that it is complete.

    Raises
    ------
    NotFound
        There is no such study.
    """
    rows = sql.rows(
        "select source_id, study_instance_uid from hilum.study where id = %s and deleted_at is null for no key update",
        (study_id,),
    )
    if not rows:
        raise NotFound("There is no such study.")
    source_id, uid = cast("int", rows[0]["source_id"]), str(rows[0]["study_instance_uid"])
    _revise(sql, source_id, uid, hold(sql, source_id, uid), "manual")


def await_instances(sql: Transaction, source_id: int, uid: str, instances: int) -> Standing:
    """Note how many instances a study will have; if they are there, its revision is made now."""
    live = _live(sql, source_id, uid)
    expect(sql, source_id, uid, instances)
    if live is None:
        sql.rows(_DUE_IF_REACHED, (source_id, uid))  # it may have come in between; then a worker makes the revision
    elif cast("int", live["num_instances"]) >= instances:
        reach(sql, source_id, uid)
    (row,) = sql.rows(_STANDING, (source_id, uid))
    counted = cast("int | None", row["num_instances"]) or 0
    return Standing(cast("int | None", row["id"]), counted, cast("int", row["revision"]))


def reach(sql: Transaction, source_id: int, uid: str) -> None:
    """Make the revision of a study that has as many instances as were expected."""
    _revise(sql, source_id, uid, hold(sql, source_id, uid), "expected")


def note_change(sql: Transaction, source_id: int, uid: str, reason: Literal["deleted", "manual"]) -> None:
    """Make the revision of a study that a person took something from or gave something back to. What has no revision
    yet is left to the timer; so are instances that may still be coming.

    Parameters
    ----------
    sql
        The transaction of the change, in which the study is locked.
    source_id, uid
        The study.
    reason
        ``deleted``, or ``manual`` for what was restored.
    """
    clock = hold(sql, source_id, uid)
    if clock.revision:
        _revise(sql, source_id, uid, clock, reason, stop=False)
    elif not clock.running:
        sql.rows(f"update hilum.study_clock set due_at = clock_timestamp() {_BY_UID}", (source_id, uid))


def revise_due(database: Database, mark: Mark, *, seconds: float = 20) -> datetime | None:
    """Make the revisions that are due; any number of processes may do so at once, and be killed.

    Parameters
    ----------
    database
        Where.
    mark
        Told, in the transaction, the ids of studies that changed.
    seconds
        When to stop, though more may be due.

    Returns
    -------
    datetime, optional
        When the next one will be due; None when none is waited for.
    """
    deadline = time.monotonic() + seconds
    after: tuple[object, ...] = ("-infinity", 0, "")
    while time.monotonic() < deadline:
        with database.transaction() as sql:
            due = sql.rows(_DUE, (*after, _AT_ONCE))
        for row in due:
            after = row["due_at"], row["source_id"], row["study_instance_uid"]
            _try_due(database, mark, cast("int", row["source_id"]), str(row["study_instance_uid"]))
        if len(due) < _AT_ONCE:
            break
    with database.transaction() as sql:
        (row,) = sql.rows("select min(due_at) as next from hilum.study_clock where due_at is not null")
    return cast("datetime | None", row["next"])


def _try_due(database: Database, mark: Mark, source_id: int, uid: str) -> None:
    """Make a revision that is due; one that cannot be made keeps no other from being made, and is tried again."""
    try:
        _make_due(database, mark, source_id, uid)
    except HilumError:
        raise
    except Exception:
        log.exception("study.revision_failed", source_id=source_id, study=uid)


def _make_due(database: Database, mark: Mark, source_id: int, uid: str) -> None:
    with database.transaction() as sql:
        live = _live(sql, source_id, uid, "skip locked")
        clock = hold_due(sql, source_id, uid)
        if clock is None or (live is None and _exists(sql, source_id, uid)):
            return  # made by somebody else, or just being stored: it is looked at again
        counted = cast("int", live["num_instances"]) if live else 0
        reached = clock.expected is not None and counted >= clock.expected
        _revise(sql, source_id, uid, clock, "expected" if reached else "quiet")
        if live:
            mark(sql, [cast("int", live["id"])])


def _live(sql: Transaction, source_id: int, uid: str, busy: Literal["", "skip locked"] = "") -> Row | None:
    """Find and lock the study, if it is not deleted: always before its clock, as a store does."""
    rows = sql.rows(
        f"select id, num_instances from hilum.study {_BY_UID} and deleted_at is null for no key update {busy}",
        (source_id, uid),
    )
    return rows[0] if rows else None


def _exists(sql: Transaction, source_id: int, uid: str) -> bool:
    return bool(sql.rows(f"select 1 from hilum.study {_BY_UID} and deleted_at is null", (source_id, uid)))


def _revise(sql: Transaction, source_id: int, uid: str, clock: Clock, reason: Reason, *, stop: bool = True) -> None:
    """Make a revision if anything has changed; study and clock are locked. Unless ``stop``, a timer goes on."""
    live = sql.rows(_LIVE, (source_id, uid))
    if live and live[0]["availability"] == "remote":  # what it consists of is known elsewhere, or was the last time
        done = {"source": source_id, "uid": uid, "number": clock.revision, "stop": stop, "reached": False}
        sql.rows(_SETTLE_CLOCK, done)
        return
    now = read_manifest(sql, cast("int", live[0]["id"])) if live else ()
    changes = compare(_manifest(sql, source_id, uid, clock.revision), now)
    number = clock.revision + bool(changes)
    done = {"source": source_id, "uid": uid, "number": number, "stop": stop, "reached": reason == "expected"}
    if changes:
        _write(sql, source_id, uid, number, reason, now, changes)
    sql.rows(_SETTLE_CLOCK, done)
    if live:
        settled = {"id": live[0]["id"], "number": number, "complete": stop or not clock.running}
        (row,) = sql.rows(_SETTLE_STUDY, settled)
        if row["status"] == "processed" != live[0]["status"]:
            tell(sql, str(live[0]["source"]), uid, cast("int", live[0]["id"]), number)


def _manifest(sql: Transaction, source_id: int, uid: str, number: int) -> Manifest:
    rows = sql.rows(f"select manifest from hilum.study_revision {_BY_UID} and number = %s", (source_id, uid, number))
    return unpack(cast("bytes", rows[0]["manifest"])) if rows else ()


def _write(
    sql: Transaction, source_id: int, uid: str, number: int, reason: Reason, now: Manifest, changes: Changes
) -> None:
    """Keep a revision and tell of it."""
    counts = {
        "num_series": len(now),
        "num_instances": sum(len(series.instances) for series in now),
        "num_images": sum(instance.num_frames for series in now for instance in series.instances),
        "num_added": len(changes.added),
        "num_removed": len(changes.removed),
        "num_replaced": len(changes.replaced),
    }
    row = {"source": source_id, "uid": uid, "number": number, "reason": reason, "manifest": pack(now), **counts}
    (key,) = sql.rows(_INSERT, row)
    source = str(key["source"])
    data: dict[str, object] = {"study_instance_uid": uid, "revision": number, "reason": reason, **counts}
    if len(changes) <= LISTED:
        data["changes"] = changes_document(changes)
    whole = counts["num_instances"] <= LISTED
    data["series"] = [series_document(series, whole=whole) for series in now]
    data["manifest_url"] = f"/api/v1/imaging/studies/{uid}/revisions/{number}?source={source}"
    sql.emit(Event(REVISED, source, uid, data))
    log.info("study.revised", source=source, study=uid, revision=number, reason=reason)


_BY_UID: Final[LiteralString] = "where source_id = %s and study_instance_uid = %s"
_REVISION: Final[LiteralString] = """
  select r.*, (select key from hilum.source where id = r.source_id) as source,
    (select manifest from hilum.study_revision b where b.source_id = r.source_id
      and b.study_instance_uid = r.study_instance_uid and b.number = r.number - 1) as before
  from hilum.study s join hilum.study_revision r
    on r.source_id = s.source_id and r.study_instance_uid = s.study_instance_uid
  where s.id = %(study)s and r.number = coalesce(%(number)s::bigint, r.number) order by r.number desc limit 1
"""
_DUE: Final[LiteralString] = """
  select due_at, source_id, study_instance_uid from hilum.study_clock
  where due_at <= clock_timestamp() and (due_at, source_id, study_instance_uid) > (%s::timestamptz, %s, %s)
  order by due_at, source_id, study_instance_uid limit %s
"""
_INSERT: Final[LiteralString] = """
  insert into hilum.study_revision (source_id, study_instance_uid, number, reason, num_series, num_instances,
    num_images, num_added, num_removed, num_replaced, manifest)
  values (%(source)s, %(uid)s, %(number)s, %(reason)s, %(num_series)s, %(num_instances)s, %(num_images)s,
    %(num_added)s, %(num_removed)s, %(num_replaced)s, %(manifest)s)
  returning (select key from hilum.source where id = source_id) as source
"""
# What was expected has come: what comes later is waited for as ever.
_SETTLE_CLOCK: Final[LiteralString] = """
  update hilum.study_clock set revision = %(number)s, due_at = case when %(stop)s then null else due_at end,
    expected = case when %(reached)s then null else expected end
  where source_id = %(source)s and study_instance_uid = %(uid)s
"""
_STANDING: Final[LiteralString] = """
  select c.revision, s.id, s.num_instances from hilum.study_clock c left join hilum.study s
    on s.source_id = c.source_id and s.study_instance_uid = c.study_instance_uid and s.deleted_at is null
  where c.source_id = %s and c.study_instance_uid = %s
"""
_DUE_IF_REACHED: Final[LiteralString] = """
  update hilum.study_clock c set due_at = clock_timestamp()
  where source_id = %s and study_instance_uid = %s and exists (select from hilum.study s
    where s.source_id = c.source_id and s.study_instance_uid = c.study_instance_uid and s.deleted_at is null
      and s.num_instances >= c.expected)
"""
_LIVE: Final[LiteralString] = f"""
  select id, availability, status, (select key from hilum.source where id = source_id) as source from hilum.study
  {_BY_UID} and deleted_at is null
"""
_SETTLE_STUDY: Final[LiteralString] = f"""
  update hilum.study s set revision = %(number)s, status = case when s.status = 'error' then s.status
    when %(complete)s and not {AWAITS_STEP.replace("<revision>", "%(number)s")} then 'processed' else 'indexed' end
  where s.id = %(id)s returning s.status
"""
