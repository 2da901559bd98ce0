"""What waits to be sent, durably. A sender leases what is due and says from time to time that it lives; what one that
died was sending is due again once its lease has run out. A destination that fails is asked again with one instance,
after waits that double."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import uniform
from typing import Final, Literal, LiteralString, TypeAlias, cast
from uuid import UUID, uuid4

import sqlalchemy as sa

from hilum.core.database import Database, Row, Transaction
from hilum.core.errors import Conflict, NotFound
from hilum.imaging.routing import models
from hilum.imaging.routing.destinations import COLUMNS, Destination, read_destination

State: TypeAlias = Literal["waiting", "sending", "sent", "dead", "skipped"]

MAX_BATCH: Final = 100
MAX_BATCH_BYTES: Final = 64 << 20
CONNECTIONS: Final = 2
LEASE: Final = timedelta(seconds=20)
HEARTBEAT_SECONDS: Final = 5.0
_LONGEST_WAIT: Final = 300.0
_MAX_DOUBLINGS: Final = 16


@dataclass(frozen=True, slots=True)
class Item:
    """An instance that is being sent.

    Attributes
    ----------
    id
        Of the item.
    instance
        Its row, as `imaging.archive.convert` takes it, with the UIDs of its series and study.
    attempts
        How often it was tried before.
    uncertain
        Whether somebody may have sent it already and not lived to tell.
    """

    id: int
    instance: sa.RowMapping
    attempts: int = 0
    uncertain: bool = False

    @property
    def sop_instance_uid(self) -> str:
        """By which answers name it."""
        return cast("str", self.instance["sop_instance_uid"])

    @property
    def sop_class_uid(self) -> str:
        """What kind of object it is."""
        return cast("str", self.instance["sop_class_uid"])

    @property
    def transfer_syntax_uid(self) -> str:
        """The one it is stored in."""
        return cast("str", self.instance["transfer_syntax_uid"])

    @property
    def digest(self) -> str:
        """Of its bytes."""
        return cast("str", self.instance["digest"])

    @property
    def size(self) -> int:
        """In bytes."""
        return cast("int", self.instance["size"])


@dataclass(frozen=True, slots=True)
class Lease:
    """What one sender has in hand, all for one destination."""

    lease: UUID
    destination: Destination
    items: Sequence[Item]


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one item.

    Attributes
    ----------
    item
        Which.
    sent
        Whether the destination has it.
    permanent
        Of one that failed: whether trying again is of no use.
    halt
        Whether the destination is better left alone for a while.
    uncertain
        Of one that failed: whether the destination may have it all the same.
    error, warning
        What to tell of it, without a value of its data set.
    """

    item: Item
    sent: bool
    permanent: bool = False
    halt: bool = False
    uncertain: bool = False
    error: str = ""
    warning: str = ""


@dataclass(frozen=True, slots=True)
class Counts:
    """How much of a rule is in which state; ``per_minute`` is what was sent in the last one."""

    waiting: int = 0
    sending: int = 0
    sent: int = 0
    dead: int = 0
    per_minute: int = 0
    oldest_at: datetime | None = None


def lease(database: Database) -> Lease | None:
    """Take what is due next, of a destination that may be asked now; None when nothing is.

    Of a destination that failed last, or an instance that did, one instance is taken alone, so that what makes a
    request fail can be told from what is with it.
    """
    with database.transaction() as sql:
        for row in sql.rows(_DUE_DESTINATIONS, {"connections": CONNECTIONS}):
            destination = read_destination(row)
            mark = uuid4()
            found = _take(sql, destination, mark)
            items = _ready(sql, found)
            if items:
                return Lease(mark, destination, items)
    return None


def is_anything_due(database: Database) -> bool:
    """Whether `lease` might give anything."""
    with database.transaction() as sql:
        waiting: LiteralString = "select 1 from hilum.routing_item i where i.state in ('waiting', 'sending') limit 1"
        return bool(sql.rows(waiting))


def _take(sql: Transaction, destination: Destination, mark: UUID) -> list[Row]:
    """Lease items of the destination's rules, those of the highest priority first."""
    due: list[Row] = []
    for rule in sql.rows(_RULES, (destination.id,)):
        most = 1 if destination.failures else min(destination.batch_size, MAX_BATCH)
        due += sql.rows(_DUE, {"rule": rule["id"], "most": most - len(due)})
        if len(due) >= most:
            break
    if due and due[0]["attempts"]:
        due = due[:1]
    kept: dict[object, int] = {}
    size = 0
    for row in due:
        size += cast("int", row["size"])
        if kept and (size > MAX_BATCH_BYTES or row["attempts"]):
            break
        kept.setdefault(row["sop_instance_uid"], cast("int", row["id"]))  # answers tell instances by their UID
    return sql.rows(_LEASE, {"mark": mark, "until": LEASE, "ids": list(kept.values())}) if kept else []


def _ready(sql: Transaction, rows: Sequence[Row]) -> list[Item]:
    """Leave out what has been deleted here in the meantime."""
    gone = [row["item_id"] for row in rows if row["gone"]]
    if gone:
        sql.rows(
            "update hilum.routing_item set state = 'skipped', lease = null, "
            "error = 'It was deleted here before it was sent.' where id = any(%s)",
            (gone,),
        )
    return [
        Item(
            cast("int", row["item_id"]),
            cast("sa.RowMapping", row),
            cast("int", row["attempts"]),
            bool(row["uncertain"]),
        )
        for row in sorted(rows, key=lambda row: cast("int", row["item_id"]))
        if not row["gone"]
    ]


def keep(database: Database, leases: Iterable[UUID]) -> None:
    """Say that the senders of these leases live."""
    with database.transaction() as sql:
        sql.rows(
            "update hilum.routing_item set leased_until = now() + %s where state = 'sending' and lease = any(%s)",
            (LEASE, list(leases)),
        )


def settle(database: Database, held: Lease, results: Sequence[Result]) -> None:
    """Note what became of items. What has other bytes by now than those that were sent waits again.

    Parameters
    ----------
    database
        Of the queue.
    held
        The lease that they were sent under.
    results
        Of each what became of it. One that failed in passing is tried again after a wait, at most as often as the
        destination's address says.
    """
    sent = [one for one in results if one.sent]
    failed = sorted((one for one in results if not one.sent), key=lambda one: one.item.id)
    with database.transaction() as sql:
        if sent:
            sql.rows(
                _SENT,
                {
                    "ids": [one.item.id for one in sent],
                    "digests": [one.item.digest for one in sent],
                    "warnings": [one.warning for one in sent],
                },
            )
        for one in failed:
            attempts = one.item.attempts + 1
            dead = one.permanent or attempts >= held.destination.address.max_attempts
            sql.rows(
                "update hilum.routing_item set state = %(state)s, attempts = %(attempts)s, error = %(error)s, "
                "retry_at = now() + %(wait)s, lease = null, uncertain = %(uncertain)s "
                "where id = %(id)s and lease = %(lease)s",
                {
                    "id": one.item.id,
                    "lease": held.lease,
                    "state": "dead" if dead else "waiting",
                    "attempts": attempts,
                    "error": one.error,
                    "uncertain": one.uncertain,
                    "wait": _wait(held.destination, attempts),
                },
            )
        if sent:
            sql.rows("update hilum.routing_destination set last_sent_at = now() where id = %s", (held.destination.id,))


def answered(database: Database, destination: Destination) -> None:
    """Note that a destination has answered as it should: the next request may hold twice as much."""
    with database.transaction() as sql:
        sql.rows(
            "update hilum.routing_destination set failures = 0, error = '', batch_size = least(batch_size * 2, %s) "
            "where id = %s",
            (MAX_BATCH, destination.id),
        )


def shrink(database: Database, destination: Destination) -> None:
    """Let the next request hold one instance: one of several has made the destination refuse them all."""
    with database.transaction() as sql:
        sql.rows("update hilum.routing_destination set batch_size = 1 where id = %s", (destination.id,))


def failed(database: Database, destination: Destination, error: str, after: float = 0.0) -> None:
    """Note that a destination cannot be reached or refuses all: it is left alone for a while, and for as many seconds
    (``after``) as it asks for, then asked with one."""
    wait = max(_wait(destination, destination.failures + 1), timedelta(seconds=after))
    with database.transaction() as sql:
        sql.rows(
            "update hilum.routing_destination set failures = failures + 1, error = %s, batch_size = 1, "
            "retry_at = now() + %s where id = %s",
            (error, wait, destination.id),
        )


def release(database: Database, held: Lease, items: Sequence[Item], *, uncertain: bool) -> None:
    """Put back what was not sent, without counting it as tried; ``uncertain`` where it may have been sent after all."""
    with database.transaction() as sql:
        sql.rows(
            "update hilum.routing_item set state = 'waiting', lease = null, uncertain = uncertain or %s "
            "where id = any(%s) and lease = %s",
            (uncertain, [one.id for one in items], held.lease),
        )


def _wait(destination: Destination, failures: int) -> timedelta:
    """A wait that doubles with each failure, with chance in it so that not all come back at once."""
    first = destination.address.retry_seconds
    longest = min(first * 2 ** min(failures - 1, _MAX_DOUBLINGS), max(_LONGEST_WAIT, first))
    return timedelta(seconds=longest * uniform(0.5, 1.0))  # noqa: S311 - not a secret


def counts(database: Database, rules: Sequence[int]) -> dict[int, Counts]:
    """How far rules are."""
    with database.transaction() as sql:
        rows = sql.rows(_COUNTS, {"rules": list(rules)})
    return {cast("int", row.pop("id")): Counts(**row) for row in rows}  # pyright: ignore[reportArgumentType]


def list_items(
    database: Database, rule: int, state: State | None = None, *, limit: int = 20, offset: int = 0
) -> tuple[list[Row], int]:
    """List what a rule has queued, oldest first, and how many there are in all."""
    where = {"rule": rule, "state": state, "limit": limit, "offset": offset}
    with database.transaction() as sql:
        (total,) = sql.rows(
            "select count(*) n from hilum.routing_item where rule_id = %(rule)s "
            "and (%(state)s::text is null or state = %(state)s)",
            where,
        )
        return sql.rows(_LISTED, where), cast("int", total["n"])


def replay(database: Database, rule: int, item: int | None = None) -> int:
    """Queue dead letters of a rule anew, all or one.

    Returns
    -------
    int
        How many.

    Raises
    ------
    Conflict
        The one that was named is no dead letter.
    NotFound
        The rule has no such item.
    """
    with database.transaction() as sql:
        done = sql.rows(
            "update hilum.routing_item set state = 'waiting', attempts = 0, retry_at = now(), error = '' "
            "where rule_id = %(rule)s and state = 'dead' and (%(item)s::bigint is null or id = %(item)s) returning id",
            {"rule": rule, "item": item},
        )
        if item is not None and not done:
            _refuse_item(sql, rule, item)
    return len(done)


def discard(database: Database, rule: int, item: int) -> None:
    """Take one item out of the queue, waiting or dead: it is not sent. Raises as `replay` does."""
    with database.transaction() as sql:
        done = sql.rows(
            "update hilum.routing_item set state = 'skipped', error = 'A person took it out of the queue.' "
            "where rule_id = %s and id = %s and state in ('waiting', 'dead') returning id",
            (rule, item),
        )
        if not done:
            _refuse_item(sql, rule, item)


def _refuse_item(sql: Transaction, rule: int, item: int) -> None:
    found = sql.rows("select state from hilum.routing_item where rule_id = %s and id = %s", (rule, item))
    if not found:
        raise NotFound(f"Rule {rule} has no item {item} in its queue.")
    raise Conflict(f"Item {item} is {found[0]['state']}.")


def forget(database: Database, sent: timedelta, deleted: timedelta) -> None:
    """Remove what was sent, and what was deleted, longer ago than this."""
    item, rule, destination = models.RoutingItem, models.RoutingRule, models.RoutingDestination
    ended = sa.func.coalesce(item.sent_at, item.queued_at)
    with database.transaction() as sql:
        for statement in (
            sa.delete(item).where(item.state.in_(("sent", "skipped")), ended < sa.func.now() - sent),
            sa.delete(rule).where(rule.deleted_at < sa.func.now() - deleted),
            sa.delete(destination).where(destination.deleted_at < sa.func.now() - deleted),
        ):
            sql.connection.execute(statement)


_IS_DUE: Final[LiteralString] = (
    "((i.state = 'waiting' and i.retry_at <= now()) or (i.state = 'sending' and i.leased_until < now()))"
)

_DUE_DESTINATIONS: Final[LiteralString] = f"""
  select {COLUMNS} from hilum.routing_destination d
  where d.active and d.deleted_at is null and d.retry_at <= now() and exists (
    select 1 from hilum.routing_rule r where r.destination_id = d.id and r.active and r.deleted_at is null and exists (
      select 1 from hilum.routing_item i where i.rule_id = r.id and i.state in ('waiting', 'sending') and {_IS_DUE}))
  and (select count(distinct i.lease) from hilum.routing_item i
       where i.destination_id = d.id and i.state = 'sending' and i.leased_until >= now())
    < case when d.failures > 0 then 1 else %(connections)s end
  order by random() limit 1 for update of d skip locked
"""

_RULES: Final[LiteralString] = (
    "select id from hilum.routing_rule where destination_id = %s and active and deleted_at is null "
    "order by priority desc, id"
)

_DUE: Final[LiteralString] = f"""
  select i.id, i.attempts, n.size, n.sop_instance_uid
  from hilum.routing_item i join hilum.instance n on n.id = i.instance_id
  where i.rule_id = %(rule)s and i.state in ('waiting', 'sending') and {_IS_DUE}
  order by i.id limit %(most)s for update of i skip locked
"""

_LEASE: Final[LiteralString] = """
  update hilum.routing_item i set state = 'sending', uncertain = i.uncertain or i.state = 'sending',
    lease = %(mark)s, leased_until = now() + %(until)s, digest = n.digest
  from hilum.instance n join hilum.series se on se.id = n.series_id join hilum.study st on st.id = n.study_id
  where i.id = any(%(ids)s) and n.id = i.instance_id
  returning i.id item_id, i.attempts, i.uncertain, n.id, n.sop_instance_uid, n.sop_class_uid, n.transfer_syntax_uid,
    n.size, n.digest, n.blob_key, n.path, n.path_mtime_ns, se.series_instance_uid, st.study_instance_uid,
    (n.deleted_at is not null or st.deleted_at is not null) gone
"""

# A lease that ran out, while its sender still lived, says the truth as well; bytes that have been replaced do not.
_SENT: Final[LiteralString] = """
  with given as (select * from unnest(%(ids)s::bigint[], %(digests)s::text[], %(warnings)s::text[])
                   given (id, digest, warning)),
  told as (
    update hilum.routing_item i set
      state = case when i.digest = given.digest then 'sent' else 'waiting' end,
      sent_at = case when i.digest = given.digest then now() end,
      warning = given.warning, error = '', attempts = 0, lease = null, uncertain = false
    from given where i.id = given.id and i.state <> 'sent' returning i.rule_id, i.state)
  update hilum.routing_rule r set num_sent = num_sent + n
  from (select rule_id, count(*) n from told where state = 'sent' group by 1) done where r.id = done.rule_id
"""

_COUNTS: Final[LiteralString] = """
  select r.id, r.num_sent sent,
    coalesce(q.waiting, 0) waiting, coalesce(q.sending, 0) sending, q.oldest_at,
    (select count(*) from hilum.routing_item i where i.rule_id = r.id and i.state = 'dead') dead,
    (select count(*) from hilum.routing_item i
     where i.rule_id = r.id and i.state = 'sent' and i.sent_at > now() - interval '1 minute') per_minute
  from hilum.routing_rule r left join lateral (
    select count(*) filter (where i.state = 'waiting') waiting, count(*) filter (where i.state = 'sending') sending,
      min(i.queued_at) oldest_at
    from hilum.routing_item i where i.rule_id = r.id and i.state in ('waiting', 'sending')) q on true
  where r.id = any(%(rules)s)
"""

_LISTED: Final[LiteralString] = """
  select i.id, i.state, i.attempts, i.retry_at, i.error, i.warning, i.queued_at, i.sent_at, i.digest, n.size,
    n.sop_instance_uid, se.series_instance_uid, st.study_instance_uid
  from hilum.routing_item i join hilum.instance n on n.id = i.instance_id
  join hilum.series se on se.id = n.series_id join hilum.study st on st.id = n.study_id
  where i.rule_id = %(rule)s and (%(state)s::text is null or i.state = %(state)s)
  order by i.id limit %(limit)s offset %(offset)s
"""
