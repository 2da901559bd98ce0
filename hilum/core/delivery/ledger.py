"""What the database knows of deliveries: how far each consumer is, which event comes next, what is tried again
and when. Progress is written without waiting for the disk: what a crash of the server forgets is delivered twice."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, LiteralString, cast

import sqlalchemy as sa

from hilum.core.database import Database, Transaction
from hilum.core.delivery.consumer import CloudEvent, Consumer, Undelivered
from hilum.core.delivery.models import DeliveryRow
from hilum.core.events import EventRow, cloud_event


class Overtaken(Exception):
    """Another process has moved this cursor, or it is gone: whoever finds that leaves the consumer alone."""


@dataclass(frozen=True, slots=True)
class Failed:
    """An event that was not taken, as it is written down.

    Attributes
    ----------
    event_id
        Its place in the feed.
    why
        What went wrong.
    attempts
        How often it was tried.
    due
        In how many seconds it is tried again; None for a dead letter.
    holds
        Whether later events wait for it.
    """

    event_id: int
    why: Undelivered
    attempts: int
    due: float | None
    holds: bool


@dataclass(frozen=True, slots=True)
class Retry:
    """An event that is to be tried again."""

    delivery_id: int
    event_id: int
    attempts: int
    event: CloudEvent


@dataclass(frozen=True, slots=True)
class Outage:
    """How often in a row a consumer could not be reached, and for how long."""

    failures: int
    lasts: timedelta


class Ledger:
    """The cursors and deliveries of one database.

    Parameters
    ----------
    database
        Where they are.
    base_url
        What the ``source`` of an event begins with.
    """

    def __init__(self, database: Database, base_url: str) -> None:
        self.database = database
        self._base_url = base_url

    def begin(self, names: Iterable[str]) -> None:
        """Make the cursors of consumers that have none, at the beginning of the feed."""
        with self.database.transaction() as sql:
            sql.rows(
                "insert into hilum.delivery_cursor (name) select unnest(%s::text[]) on conflict do nothing",
                (sorted(names),),
            )

    def waits(self, names: Iterable[str]) -> dict[str, float]:
        """Tell in how many seconds each consumer has something to do, 0 or less for now; one that has nothing is left
        out."""
        with self.database.connect() as connection:
            found = connection.exec_driver_sql(_WAITS, {"names": list(names)})
            return {row.name: float(row.wait) for row in found if row.wait is not None}

    def position(self, name: str) -> int:
        """How far a consumer is; raises ``Overtaken`` when it is no more."""
        with self.database.connect() as connection:
            row = connection.exec_driver_sql("select position from hilum.delivery_cursor where name = %s", (name,))
            found = row.scalar()
        if found is None:
            raise Overtaken
        return found

    def following(self, consumer: Consumer, position: int) -> tuple[list[CloudEvent], int]:
        """Read what a consumer wants next, and how far the feed has then been read for it.

        Returns
        -------
        list of CloudEvent, int
            At most a batch, in order, and the position behind it: that of the last event, or the end of the feed.
        """
        table = EventRow.__table__
        with self.database.connect() as connection:
            # The end first: what comes meanwhile lies behind it, and is seen the next time.
            end = connection.scalar(sa.select(sa.func.max(EventRow.id))) or 0
            query = (
                sa.select(table)
                .where(EventRow.id > position, EventRow.id <= end, consumer.wanted)
                .order_by(EventRow.id)
                .limit(consumer.batch)
            )
            rows = connection.execute(query).all()
        if len(rows) == consumer.batch:
            end = cast("int", rows[-1].id)
        return [cloud_event(row, self._base_url) for row in rows], max(end, position)

    def retries(self, consumer: Consumer) -> list[Retry]:
        """Read the events that are to be tried again now, in order, at most a batch."""
        columns = (DeliveryRow.id.label("delivery_id"), DeliveryRow.attempts.label("attempts"))
        query = (
            sa.select(EventRow.__table__, *columns)
            .join(DeliveryRow, DeliveryRow.event_id == EventRow.id)
            .where(
                DeliveryRow.consumer == consumer.name,
                DeliveryRow.state == "retrying",
                DeliveryRow.due_at <= sa.func.now(),
            )
            .order_by(EventRow.id)
            .limit(consumer.batch)
        )
        with self.database.connect() as connection:
            rows = connection.execute(query).all()
        return [Retry(row.delivery_id, row.id, row.attempts, cloud_event(row, self._base_url)) for row in rows]

    def held(self, name: str) -> bool:
        """Whether later events wait for one that is to be tried again."""
        query = sa.select(
            sa.exists().where(
                DeliveryRow.consumer == name, DeliveryRow.state == "retrying", DeliveryRow.holds.is_(True)
            )
        )
        with self.database.connect() as connection:
            return bool(connection.scalar(query))

    def advance(self, consumer: Consumer, before: int, position: int, delivered: Sequence[int] = ()) -> None:
        """Note that a consumer was told of everything it wants up to a position.

        Parameters
        ----------
        consumer
            Which one.
        before
            Where its cursor stands.
        position
            Where it is to stand.
        delivered
            The events that were delivered, which are listed if the consumer's are.

        Raises
        ------
        Overtaken
            The cursor does not stand there.
        """
        with self.database.transaction() as sql:
            _move(sql, consumer.name, before, position, reached=bool(delivered))
            if consumer.recorded and delivered:
                sql.rows(_RECORD, {"consumer": consumer.name, "events": list(delivered)})

    def fail(self, name: str, before: int, failed: Failed) -> None:
        """Note an event that was not taken, and go on behind it; raises ``Overtaken``."""
        with self.database.transaction() as sql:
            _move(sql, name, before, max(before, failed.event_id), reached=False)
            values: dict[str, object] = {
                "consumer": name, "event": failed.event_id, "state": "dead" if failed.due is None else "retrying",
                "attempts": failed.attempts, "status": failed.why.status, "reason": failed.why.reason,
                "holds": failed.holds, "due": failed.due,
            }  # fmt: skip
            sql.rows(_FAIL, values)

    def retried(self, consumer: Consumer, retry: Retry) -> None:
        """Note that an event that was tried again has been delivered."""
        with self.database.transaction() as sql:
            _reached(sql, consumer.name)
            if consumer.recorded:
                sql.rows(_RECORD, {"consumer": consumer.name, "events": [retry.event_id]})
            else:
                sql.rows("delete from hilum.delivery where id = %s", (retry.delivery_id,))

    def unreachable(self, name: str, why: Undelivered, longest: float) -> Outage:
        """Note that a consumer cannot be reached, and leave it alone for 1 s at first, twice as long each time.

        Parameters
        ----------
        name
            Which one.
        why
            What went wrong.
        longest
            Most seconds to wait, unless the consumer asks for more.
        """
        with self.database.transaction() as sql:
            rows = sql.rows(
                "update hilum.delivery_cursor set failures = failures + 1, problem = %(problem)s, "
                "failing_since = coalesce(failing_since, now()), retry_at = now() + make_interval(secs => "
                "greatest(%(after)s, least(power(2, least(failures, 20)), %(longest)s))) "
                "where name = %(name)s returning failures, now() - failing_since as lasts",
                {"name": name, "problem": why.reason, "after": why.after, "longest": longest},
            )
        if not rows:
            raise Overtaken
        return Outage(cast("int", rows[0]["failures"]), cast("timedelta", rows[0]["lasts"]))


def replay(database: Database, *, delivery_id: int | None = None, consumer: str | None = None) -> int:
    """Have dead letters tried again at once, and as often as a new event; returns how many there were."""
    with database.transaction() as sql:
        rows = sql.rows(_REPLAY, {"id": delivery_id, "consumer": consumer})
        hurry(sql, {str(row["consumer"]) for row in rows})
    return len(rows)


def forget(database: Database, keep: int) -> None:
    """Remove from the list what was delivered, but for the latest of each consumer."""
    with database.transaction() as sql:
        sql.rows(_FORGET, (keep,))


def hurry(sql: Transaction, names: Iterable[str]) -> None:
    """Have the workers try some consumers once this transaction is committed, though they could not be reached."""
    sql.rows("update hilum.delivery_cursor set retry_at = null where name = any(%s)", (sorted(names),))
    sql.rows("select pg_notify('hilum_event', '')")


def cursor_state(sql: Transaction, name: str) -> Mapping[str, object]:
    """What is wrong with a consumer, and how many events it did not take; empty when it has no cursor."""
    rows = sql.rows(_STATE, {"name": name})
    return rows[0] if rows else {}


def last_event(sql: Transaction) -> int:
    """The place in the feed of the latest event."""
    return cast("int", sql.rows("select coalesce(max(id), 0) as id from hilum.event")[0]["id"])


def _move(sql: Transaction, name: str, before: int, position: int, *, reached: bool) -> None:
    # Whoever delivers without the lock, which is lost with its connection, is told so here.
    sql.rows("set local synchronous_commit = off")
    moved = sql.rows(
        "update hilum.delivery_cursor set position = %s where name = %s and position = %s returning 1",
        (position, name, before),
    )
    if not moved:
        raise Overtaken
    if reached:
        _reached(sql, name)


def _reached(sql: Transaction, name: str) -> None:
    sql.rows(
        "update hilum.delivery_cursor set failures = 0, failing_since = null, retry_at = null, problem = '' "
        "where name = %s and failures > 0",
        (name,),
    )


_WAITS: Final[LiteralString] = """
  select c.name, extract(epoch from greatest(coalesce(c.retry_at, now()),
      case when c.position < e.last and w.holds is not true then now() else w.due_at end) - now()) as wait
  from hilum.delivery_cursor c
  cross join (select coalesce(max(id), 0) as last from hilum.event) e
  left join lateral (
    select min(due_at) as due_at, bool_or(holds) as holds from hilum.delivery d
    where d.consumer = c.name and d.state = 'retrying'
  ) w on true
  where c.name = any(%(names)s) and (c.position < e.last or w.due_at is not null)
"""

_FAIL: Final[LiteralString] = """
  insert into hilum.delivery (consumer, event_id, state, attempts, status, reason, holds, due_at, tried_at)
  values (%(consumer)s, %(event)s, %(state)s, %(attempts)s, %(status)s, %(reason)s, %(holds)s,
    now() + make_interval(secs => %(due)s), now())
  on conflict (consumer, event_id) do update set (state, attempts, status, reason, holds, due_at, tried_at) =
    (excluded.state, excluded.attempts, excluded.status, excluded.reason, excluded.holds, excluded.due_at, now())
"""

_RECORD: Final[LiteralString] = """
  insert into hilum.delivery (consumer, event_id, state, attempts, tried_at)
  select %(consumer)s, unnest(%(events)s::bigint[]), 'delivered', 1, now()
  on conflict (consumer, event_id) do update set (state, attempts, status, reason, holds, due_at, tried_at) =
    ('delivered', delivery.attempts + 1, null, '', false, null, now())
"""

_REPLAY: Final[LiteralString] = """
  update hilum.delivery set state = 'retrying', attempts = 0, holds = false, due_at = now()
  where state = 'dead' and (%(id)s::bigint is null or id = %(id)s)
    and (%(consumer)s::text is null or consumer = %(consumer)s)
  returning consumer
"""

_FORGET: Final[LiteralString] = """
  delete from hilum.delivery d using (
    select consumer, id, row_number() over (partition by consumer order by id desc) as place
    from hilum.delivery where state = 'delivered'
  ) old where old.id = d.id and old.place > %s
"""

_STATE: Final[LiteralString] = """
  select c.failing_since, c.retry_at, c.problem,
    (select count(*) from hilum.delivery d where d.consumer = c.name and d.state = 'retrying') as retrying,
    (select count(*) from hilum.delivery d where d.consumer = c.name and d.state = 'dead') as dead
  from hilum.delivery_cursor c where c.name = %(name)s
"""
