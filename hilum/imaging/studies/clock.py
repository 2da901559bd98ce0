"""When a study is complete: after some seconds without a new instance, once as many have come as were expected, or by
hand. The timer is a row, set in the transaction of the store, so it survives whatever ends. What then happens is for
``revisions``."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, LiteralString, cast

from hilum.core.database import Transaction


@dataclass(frozen=True, slots=True)
class Clock:
    """Where a study stands: the number of its latest revision (0 for none yet), how many instances are expected, and
    whether a revision is waited for (``running``), whose moment may have come (``due``)."""

    revision: int
    expected: int | None
    running: bool
    due: bool


def wind(sql: Transaction, source_id: int, uids: Collection[str], quiet_seconds: float) -> list[str]:
    """Begin the quiet time of studies anew, for instances have come.

    Parameters
    ----------
    sql
        The transaction of the store, at the end of its work: other stores of these studies wait from here on.
    source_id, uids
        The studies, by Study Instance UID.
    quiet_seconds
        How long no instance must come.

    Returns
    -------
    list of str
        Those that have as many instances as were expected: their revision is due now.
    """
    rows = sql.rows(_WIND, {"source": source_id, "uids": list(uids), "quiet": quiet_seconds})
    return [str(row["study_instance_uid"]) for row in rows if row["due"]]


def hold(sql: Transaction, source_id: int, uid: str) -> Clock:
    """Lock where a study stands until the transaction ends, so that its revisions are made one after the other. Whoever
    locks the study's row does so before."""
    (row,) = sql.rows(_HOLD, (source_id, uid))
    expected = cast("int | None", row["expected"])
    return Clock(cast("int", row["revision"]), expected, bool(row["running"]), bool(row["due"]))


def hold_due(sql: Transaction, source_id: int, uid: str) -> Clock | None:
    """Lock as ``hold`` does if a revision is due and nobody else has the lock."""
    rows = sql.rows(_HOLD_DUE, (source_id, uid))
    return (
        Clock(cast("int", rows[0]["revision"]), cast("int | None", rows[0]["expected"]), True, True) if rows else None
    )


def expect(sql: Transaction, source_id: int, uid: str, instances: int) -> None:
    """Note how many instances a study will have, perhaps before the first has come."""
    sql.rows(
        "insert into hilum.study_clock as c (source_id, study_instance_uid, expected) values (%s, %s, %s) "
        "on conflict (source_id, study_instance_uid) do update set expected = excluded.expected",
        (source_id, uid, instances),
    )


def go_on_from(sql: Transaction, source_id: int, uid: str, revision: int) -> None:
    """Have the next revision follow one that is known from elsewhere."""
    sql.rows(
        "insert into hilum.study_clock as c (source_id, study_instance_uid, revision) values (%s, %s, %s) "
        "on conflict (source_id, study_instance_uid) do update set revision = greatest(c.revision, excluded.revision)",
        (source_id, uid, revision),
    )


_COUNTED: Final[LiteralString] = """
  (select s.num_instances from hilum.study s where s.source_id = c.source_id
    and s.study_instance_uid = c.study_instance_uid and s.deleted_at is null)
"""
# Only for a study of which a number is expected the instances are looked at; a quiet time of none is never due at once.
_WIND: Final[LiteralString] = f"""
  insert into hilum.study_clock as c (source_id, study_instance_uid, due_at)
  select %(source)s, uid, clock_timestamp() + make_interval(secs => %(quiet)s)
  from unnest(%(uids)s::text[]) uid order by uid
  on conflict (source_id, study_instance_uid) do update set due_at = excluded.due_at
  returning study_instance_uid, case when expected is null then false else expected <= {_COUNTED} end as due
"""
_HOLD: Final[LiteralString] = """
  insert into hilum.study_clock as c (source_id, study_instance_uid) values (%s, %s)
  on conflict (source_id, study_instance_uid) do update set revision = c.revision
  returning revision, expected, due_at is not null as running, coalesce(due_at <= clock_timestamp(), false) as due
"""
_HOLD_DUE: Final[LiteralString] = """
  select revision, expected from hilum.study_clock
  where source_id = %s and study_instance_uid = %s and due_at <= clock_timestamp() for update skip locked
"""
