"""Who is told of which workitems (PS3.4 section CC.2.3): subscriptions to one, to all and to those that match a filter,
with and without a deletion lock. Within a source an AE title is one subscriber."""

from collections.abc import Sequence
from typing import Final, LiteralString, cast

import msgspec
import structlog

from hilum.core.database import Database, Transaction
from hilum.core.errors import NotFound
from hilum.imaging.archive.arrivals import SourceRef
from hilum.imaging.worklist import reports
from hilum.imaging.worklist.dataset import DataSet
from hilum.imaging.worklist.item import find_workitem
from hilum.imaging.worklist.problems import Refusal
from hilum.imaging.worklist.search import Sql, parse_keys

ALL: Final = "1.2.840.10008.5.1.4.34.5"
FILTERED: Final = "1.2.840.10008.5.1.4.34.5.1"
MAX_SUBSCRIBERS: Final = 1000
_LOCK: Final = 4_845_114_009
log = structlog.get_logger()
_encode = msgspec.json.Encoder().encode


def hold(sql: Transaction) -> None:
    """Keep subscriptions to all from changing until this transaction, which adds a workitem, has ended."""
    sql.rows("select pg_advisory_xact_lock_shared(%s)", (_LOCK,))


def subscribe(database: Database, source: SourceRef, uid: str, ae_title: str, *, deletion_lock: bool) -> None:
    """Subscribe to one workitem; its present state is told at once.

    Raises
    ------
    NotFound, Gone
        There is no such workitem, or it has been deleted.
    Refusal
        403 when there are as many subscribers as there may be.
    """
    with database.transaction() as sql:
        workitem = find_workitem(sql, source, uid)
        subscriber = find_subscriber(sql, source, ae_title)
        sql.rows(
            "insert into hilum.worklist_subscription (workitem_id, subscriber_id, deletion_lock) values (%s, %s, %s) "
            "on conflict (workitem_id, subscriber_id) do update set deletion_lock = excluded.deletion_lock",
            (workitem.id, subscriber, deletion_lock),
        )
        reports.tell(sql, [subscriber], [reports.state_report(uid, workitem.data)])


def subscribe_widely(
    database: Database,
    source: SourceRef,
    ae_title: str,
    keys: Sequence[tuple[str, str]] | None,
    *,
    deletion_lock: bool,
) -> None:
    """Subscribe to all workitems that there are and will be, or to those that match a filter when they are created.

    With a deletion lock the state of each that is newly subscribed to is told at once (table CC.2.3-2).

    Parameters
    ----------
    keys : sequence of (str, str), optional
        Matching keys of the filter; None for all.

    Raises
    ------
    Refusal
        403 when there are as many subscribers as there may be; 400 for a filter that is none.
    """
    conditions = parse_keys(keys or ())
    with database.transaction() as sql:
        sql.rows("select pg_advisory_xact_lock(%s)", (_LOCK,))
        subscriber = find_subscriber(sql, source, ae_title)
        sql.rows(
            "update hilum.worklist_subscriber set scope = %s, filter = %s, deletion_lock = %s where id = %s",
            ("all" if keys is None else "filtered", _encode(keys or []).decode(), deletion_lock, subscriber),
        )
        where, parameters = _matching(conditions)
        added = sql.rows(
            "insert into hilum.worklist_subscription (workitem_id, subscriber_id, deletion_lock) "
            f"select w.id, %s, %s from hilum.workitem w where w.source_id = %s and w.deleted_at is null{where} "
            "on conflict do nothing returning workitem_id",
            (subscriber, deletion_lock, source.id, *parameters),
        )
        if deletion_lock and added:
            rows = sql.rows(
                "select uid, attributes from (select * from hilum.workitem where id = any(%s) order by id desc limit %s"
                ") latest order by id",
                ([row["workitem_id"] for row in added], reports.MAX_KEPT),
            )
            told = [reports.state_report(str(row["uid"]), cast("DataSet", row["attributes"])) for row in rows]
            reports.tell(sql, [subscriber], told)


def subscribe_to_new(sql: Transaction, source: int, workitem: int) -> None:
    """Subscribe to a new workitem all who want to know of it."""
    rows = sql.rows(
        "select id, filter, deletion_lock from hilum.worklist_subscriber where source_id = %s and scope <> 'none'",
        (source,),
    )
    # A filter is a list of conditions of its own: one statement asks them all.
    pieces: list[LiteralString] = []
    parameters: list[object] = []
    for row in rows:
        try:
            keys = parse_keys([(name, value) for name, value in cast("list[list[str]]", row["filter"])])
        except Refusal:
            log.warning("worklist.filter_not_understood", subscriber=row["id"])  # one that an earlier release took
            continue
        where, values = _matching(keys)
        pieces.append(f"select %s::bigint, w.id, %s::boolean from hilum.workitem w where w.id = %s{where}")
        parameters += [row["id"], row["deletion_lock"], workitem, *values]
    if pieces:
        union: LiteralString = " union all ".join(pieces)
        sql.rows(
            "insert into hilum.worklist_subscription (subscriber_id, workitem_id, deletion_lock) " + union, parameters
        )


def unsubscribe(database: Database, source: SourceRef, uid: str, ae_title: str) -> None:
    """End the subscription to one workitem; from all, with all subscriptions and locks that the subscriber has.

    Raises
    ------
    NotFound
        There is no such subscription.
    """
    with database.transaction() as sql:
        if uid not in (ALL, FILTERED):
            removed = sql.rows(
                "delete from hilum.worklist_subscription x using hilum.workitem w, hilum.worklist_subscriber s "
                "where w.id = x.workitem_id and s.id = x.subscriber_id and w.source_id = %s and w.uid = %s "
                "and s.source_id = w.source_id and s.ae_title = %s returning 1",
                (source.id, uid, ae_title),
            )
            if not removed:
                raise NotFound("There is no such subscription.")
            return
        ended = _end_scope(sql, source, uid, ae_title)
        if uid == FILTERED and not ended:
            raise NotFound("There is no such subscription.")
        removed = sql.rows(
            "delete from hilum.worklist_subscription where subscriber_id = "
            "(select id from hilum.worklist_subscriber where source_id = %s and ae_title = %s) returning 1",
            (source.id, ae_title),
        )
        # To unsubscribe from all ends every subscription, also of one who has but single ones (table CC.2.3-2).
        if not ended and not removed:
            raise NotFound("There is no such subscription.")


def suspend(database: Database, source: SourceRef, uid: str, ae_title: str) -> None:
    """End a subscription to all, or by a filter, for workitems to come; those that there are stay subscribed to.

    Raises
    ------
    NotFound
        There is no such subscription.
    """
    with database.transaction() as sql:
        if not _end_scope(sql, source, uid, ae_title):
            raise NotFound("There is no such subscription.")


def is_watched(sql: Transaction, workitem: int) -> bool:
    """Whether anybody is subscribed to a workitem."""
    return bool(sql.rows("select 1 from hilum.worklist_subscription where workitem_id = %s limit 1", (workitem,)))


def find_subscriber(sql: Transaction, source: SourceRef, ae_title: str) -> int:
    """The subscriber of an AE title, made if there is none; its row is locked.

    Raises
    ------
    Refusal
        403 when there are as many as there may be, and none of them idle.
    """
    named = (source.id, ae_title)
    query: LiteralString = (
        "select id from hilum.worklist_subscriber where source_id = %s and ae_title = %s for no key update"
    )
    rows = sql.rows(query, named)
    if not rows:
        sql.rows(_MAKE_ROOM, {"source": source.id, "most": MAX_SUBSCRIBERS})
        count = sql.rows("select count(*) as n from hilum.worklist_subscriber where source_id = %s", (source.id,))
        if cast("int", count[0]["n"]) >= MAX_SUBSCRIBERS:
            raise Refusal(403, f"There are {MAX_SUBSCRIBERS} subscribers, which is the most: unsubscribe some.")
        sql.rows(
            "insert into hilum.worklist_subscriber (source_id, ae_title) values (%s, %s) on conflict do nothing", named
        )
        rows = sql.rows(query, named)
    return cast("int", rows[0]["id"])


def _end_scope(sql: Transaction, source: SourceRef, uid: str, ae_title: str) -> bool:
    """Let a subscriber not be subscribed to new workitems any more; false when it was not."""
    sql.rows("select pg_advisory_xact_lock(%s)", (_LOCK,))
    ended = sql.rows(
        "update hilum.worklist_subscriber set scope = 'none', filter = '[]', deletion_lock = false "
        "where source_id = %s and ae_title = %s and scope = any(%s) returning id",
        (source.id, ae_title, ["filtered"] if uid == FILTERED else ["all", "filtered"]),
    )
    return bool(ended)


def _matching(conditions: Sequence[Sql]) -> Sql:
    where: LiteralString = "".join([f" and {sql}" for sql, _ in conditions])
    return where, tuple(value for _, values in conditions for value in values)


# A subscriber is idle when it is subscribed to nothing and nothing waits for it.
_MAKE_ROOM: Final[LiteralString] = """
  delete from hilum.worklist_subscriber s
  where s.source_id = %(source)s and s.scope = 'none'
    and (select count(*) from hilum.worklist_subscriber a where a.source_id = s.source_id) >= %(most)s
    and not exists (select from hilum.worklist_subscription x where x.subscriber_id = s.id)
    and not exists (select from hilum.worklist_report r where r.subscriber_id = s.id and r.sent_at is null)
"""
