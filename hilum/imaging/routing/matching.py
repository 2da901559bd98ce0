"""Events to queue: which rules what has just arrived, or the study that is complete, meets, and what so is to be sent.
It may run twice for one event, and late: what is queued is what the archive holds now."""

import ipaddress
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final, LiteralString, TypeAlias, cast

import sqlalchemy as sa
import structlog

from hilum.core.database import Database, Transaction
from hilum.core.delivery import Handlers
from hilum.core.events import EventRow
from hilum.imaging.archive.further import Choice
from hilum.imaging.routing.conditions import Facts, facts, facts_columns
from hilum.imaging.routing.destinations import COLUMNS, Destination, read_destination
from hilum.imaging.routing.models import RoutingRule
from hilum.imaging.routing.rules import Rule, When, rules_for

Event: TypeAlias = Mapping[str, object]

STORED: Final = "hilum.instance.stored.v1"
REVISED: Final = "hilum.study.revised.v1"
_RESOLVED_SECONDS: Final = 60

log = structlog.get_logger()


def register(handlers: Handlers, database: Database, choice: Choice, wake: Callable[[], None]) -> None:
    """Listen to what arrives and to what is complete.

    Parameters
    ----------
    handlers
        Where listeners are named.
    database
        Of the catalogue and the queue.
    choice
        The attributes that are kept beside the catalogue's own.
    wake
        Called when something has been queued.
    """

    def hear(event: Event) -> None:
        if handle(database, choice, event):
            wake()

    handlers.on("routing", (STORED, REVISED), hear, where=_asked_for())


def _asked_for() -> sa.ColumnElement[bool]:
    """Which events some rule that is on may take, so that the others cost nothing."""

    def rules(when: When) -> sa.ColumnElement[bool]:
        on = (RoutingRule.active, RoutingRule.deleted_at.is_(None), RoutingRule.trigger == when)
        return sa.exists().where(*on)

    return sa.or_(
        sa.and_(EventRow.type == STORED, rules("instance")), sa.and_(EventRow.type == REVISED, rules("study"))
    )


def handle(database: Database, choice: Choice, event: Event) -> int:
    """Queue what an event lets a rule send.

    Parameters
    ----------
    database, choice
        As for `register`.
    event
        A CloudEvent: an instance was stored, or a study has a new revision.

    Returns
    -------
    int
        How many instances were queued.
    """
    when: When = "instance" if event["type"] == STORED else "study"
    with database.transaction() as sql:
        rules = rules_for(sql, when, int(str(event["sequence"])))
        if not rules:
            return 0
        source = str(event["source"]).rpartition("/")[2]
        found = [facts(row, choice) for row in sql.rows(cast("LiteralString", _query(when)), (source, _uid(event)))]
        # An instance that has been replaced since has an event of its own to come.
        now = found if when == "study" else [one for one in found if f"blake3:{one.digest}" == _digest(event)]
        return _queue(sql, rules, now, when)


def _queue(sql: Transaction, rules: Sequence[Rule], found: Sequence[Facts], when: When) -> int:
    """Give each destination to the first of its rules whose conditions hold, for each instance or for the study."""
    destinations = _destinations(sql, {rule.destination_id for rule in rules})
    queued = 0
    taken: dict[int, set[int]] = {number: set() for number in destinations}
    for rule in rules:
        destination = destinations[rule.destination_id]
        meets = [one for one in found if rule.conditions.hold(one)]
        if when == "study" and meets:
            meets = list(found)
        wanted = [
            one for one in meets if one.instance not in taken[destination.id] and not is_from(one.sender, destination)
        ]
        taken[destination.id].update(one.instance for one in wanted)
        queued += enqueue(sql, rule.id, destination.id, wanted)
    return queued


def enqueue(sql: Transaction, rule: int, destination: int, wanted: Iterable[Facts]) -> int:
    """Queue instances for a destination, each with the bytes that it has now; what is queued or sent so already stays
    as it is, unless the rule that queued it is off.

    Returns
    -------
    int
        How many are queued by this.
    """
    found = sorted((one.instance, one.digest) for one in wanted)
    values = {
        "rule": rule,
        "destination": destination,
        "instances": [instance for instance, _ in found],
        "digests": [digest for _, digest in found],
    }
    return len(sql.rows(_ENQUEUE, values)) if found else 0


def is_from(sender: str, destination: Destination) -> bool:
    """Whether an instance came from where it would be sent to."""
    if not sender:
        return False
    address = destination.address
    if destination.kind == "cstore" and sender == address.called_ae_title:
        return True
    return sender in _addresses(address.hosts, int(time.monotonic() // _RESOLVED_SECONDS))


@lru_cache(maxsize=256)
def _addresses(hosts: frozenset[str], _minute: int) -> frozenset[str]:
    """The network addresses of hosts, but for this machine's own: who sends from here is not known by that."""
    found: set[str] = set()
    for host in hosts:
        try:
            found.update(str(info[4][0]) for info in socket.getaddrinfo(host, None, proto=socket.IPPROTO_TCP))
        except (OSError, UnicodeError):  # nobody has that name, or nobody can
            log.info("routing.unknown_host")
    return frozenset(address for address in found if not ipaddress.ip_address(address.partition("%")[0]).is_loopback)


def _destinations(sql: Transaction, numbers: set[int]) -> dict[int, Destination]:
    query: LiteralString = f"select {COLUMNS} from hilum.routing_destination d where d.id = any(%s)"
    return {one.id: one for one in map(read_destination, sql.rows(query, (list(numbers),)))}


def _uid(event: Event) -> str:
    return str(event["subject"])


def _digest(event: Event) -> str:
    return str(cast("Mapping[str, object]", event["data"])["digest"])


@lru_cache(maxsize=2)
def _query(when: When) -> str:
    column = "i.sop_instance_uid" if when == "instance" else "st.study_instance_uid"
    return (
        f"select {facts_columns()} from hilum.instance i join hilum.series se on se.id = i.series_id "
        "join hilum.study st on st.id = i.study_id join hilum.source so on so.id = i.source_id "
        f"where so.key = %s and {column} = %s and i.deleted_at is null and st.deleted_at is null"
    )


_ENQUEUE: Final[LiteralString] = """
  insert into hilum.routing_item as item (rule_id, destination_id, instance_id, digest)
  select %(rule)s, %(destination)s, instance, digest
  from unnest(%(instances)s::bigint[], %(digests)s::text[]) given (instance, digest)
  on conflict (destination_id, instance_id) do update set
    digest = excluded.digest,
    rule_id = case when item.state = 'sending' then item.rule_id else excluded.rule_id end,
    state = case when item.state = 'sending' then 'sending' else 'waiting' end,
    attempts = 0, retry_at = now(), error = '', warning = '', uncertain = false, queued_at = now()
  where item.digest <> excluded.digest or (item.state in ('waiting', 'dead') and not exists (
    select 1 from hilum.routing_rule r where r.id = item.rule_id and r.active and r.deleted_at is null))
  returning id
"""
