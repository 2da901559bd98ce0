"""Which instances go where: rules, their order, and what a change of one does to what waits."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal, LiteralString, TypeAlias, cast

from hilum.core.database import Database, Row, Transaction
from hilum.core.errors import NotFound
from hilum.imaging.archive.further import Choice
from hilum.imaging.routing.conditions import Conditions
from hilum.imaging.routing.destinations import as_json, distinct

When: TypeAlias = Literal["instance", "study"]


@dataclass(frozen=True, slots=True)
class Rule:
    """That what meets the conditions goes to a destination: each instance as it arrives, or a study once a revision of
    it is complete. Of rules with one destination the one of highest priority sends, and what it queued goes first."""

    id: int
    destination_id: int
    name: str
    when: When
    conditions: Conditions
    active: bool
    priority: int
    after_event: int
    num_sent: int
    created_at: datetime


_COLUMNS: LiteralString = (
    "r.id, r.destination_id, r.name, r.trigger, r.conditions, r.active, r.priority, r.after_event, r.num_sent, "
    "r.created_at"
)


def _read(row: Row) -> Rule:
    parts = dict(row)
    parts["when"] = parts.pop("trigger")
    parts["conditions"] = Conditions.read(cast("Mapping[str, object]", row["conditions"]))
    return Rule(**parts)  # pyright: ignore[reportArgumentType]


def list_rules(database: Database) -> list[Rule]:
    """All rules, in the order in which they are tried."""
    with database.transaction() as sql:
        query: LiteralString = (
            f"select {_COLUMNS} from hilum.routing_rule r where r.deleted_at is null order by r.priority desc, r.id"
        )
        return [_read(row) for row in sql.rows(query)]


def find_rule(database: Database, number: int) -> Rule:
    """Find one; raises ``NotFound``."""
    with database.transaction() as sql:
        return _find(sql, number)


def _find(sql: Transaction, number: int) -> Rule:
    query: LiteralString = f"select {_COLUMNS} from hilum.routing_rule r where r.id = %s and r.deleted_at is null"
    rows = sql.rows(query, (number,))
    if not rows:
        raise NotFound(f"There is no rule {number}.")
    return _read(rows[0])


def rules_for(sql: Transaction, when: When, event: int) -> list[Rule]:
    """The rules that are on and that an event concerns, in the order in which they are tried."""
    query: LiteralString = (
        f"select {_COLUMNS} from hilum.routing_rule r where r.active and r.deleted_at is null and r.trigger = %s "
        "and r.after_event < %s order by r.priority desc, r.id"
    )
    return [_read(row) for row in sql.rows(query, (when, event))]


def add_rule(
    database: Database,
    choice: Choice,
    *,
    name: str,
    destination_id: int,
    when: When,
    conditions: Conditions,
    active: bool = True,
    priority: int = 0,
) -> int:
    """Add a rule for what arrives from now on.

    Returns
    -------
    int
        Its id.

    Raises
    ------
    Conflict
        There is one of that name.
    Invalid
        The conditions can never be asked.
    NotFound
        There is no such destination.
    """
    conditions.check(choice)
    with distinct(name), database.transaction() as sql:
        _check_destination(sql, destination_id)
        (row,) = sql.rows(
            "insert into hilum.routing_rule (name, destination_id, trigger, conditions, active, priority, after_event) "
            "values (%s, %s, %s, %s::jsonb, %s, %s, (select coalesce(max(id), 0) from hilum.event)) returning id",
            (name, destination_id, when, as_json(asdict(conditions)), active, priority),
        )
    return cast("int", row["id"])


def change_rule(database: Database, choice: Choice, number: int, changes: Mapping[str, object]) -> None:
    """Change parts of a rule.

    What it queued stays queued, whatever its new conditions are: it goes to the new destination, by the new priority,
    and waits while the rule is off.

    Parameters
    ----------
    database, choice
        Where, and the attributes that the catalogue keeps.
    number
        Id of the rule.
    changes
        Any of ``name``, ``destination_id``, ``when``, ``conditions`` (`Conditions`), ``active`` and ``priority``.

    Raises
    ------
    Conflict, Invalid, NotFound
        As for `add_rule`.
    """
    with distinct(str(changes.get("name"))), database.transaction() as sql:
        before = _find(sql, number)
        conditions = cast("Conditions", changes.get("conditions") or before.conditions)
        conditions.check(choice)
        destination = cast("int", changes.get("destination_id") or before.destination_id)
        values = {
            "id": number,
            "conditions": as_json(asdict(conditions)),
            "destination": destination,
            **{name: changes.get(name, getattr(before, name)) for name in ("name", "when", "active", "priority")},
        }
        if destination != before.destination_id:
            _check_destination(sql, destination)
            _move(sql, number, destination)
        sql.rows(
            "update hilum.routing_rule set name = %(name)s, destination_id = %(destination)s, trigger = %(when)s, "
            "conditions = %(conditions)s::jsonb, active = %(active)s, priority = %(priority)s where id = %(id)s",
            values,
        )


def delete_rule(database: Database, number: int) -> None:
    """Delete a rule, and hold what it queued; for some days `restore_rule` brings both back. Raises ``NotFound``."""
    with database.transaction() as sql:
        _find(sql, number)
        sql.rows("update hilum.routing_rule set deleted_at = now() where id = %s", (number,))


def restore_rule(database: Database, number: int) -> None:
    """Bring back a deleted rule; raises ``NotFound``, and ``Conflict`` when its name has been taken since."""
    with distinct("so"), database.transaction() as sql:
        back: LiteralString = (
            "update hilum.routing_rule r set deleted_at = null from hilum.routing_destination d "
            "where r.id = %s and d.id = r.destination_id and d.deleted_at is null returning r.id"
        )
        if not sql.rows(back, (number,)):
            raise NotFound(f"There is no rule {number}, it has been deleted for too long, or its destination is gone.")


def _check_destination(sql: Transaction, number: int) -> None:
    # The lock keeps it from being deleted before this rule is there.
    query: LiteralString = "select 1 from hilum.routing_destination where id = %s and deleted_at is null for share"
    if not sql.rows(query, (number,)):
        raise NotFound(f"There is no destination {number}.")


def _move(sql: Transaction, rule: int, destination: int) -> None:
    """Give what waits to another destination, but for what that one has or is to have already."""
    values = {"rule": rule, "destination": destination}
    sql.rows(
        "delete from hilum.routing_item i where i.rule_id = %(rule)s and i.state in ('waiting', 'dead') and exists "
        "(select 1 from hilum.routing_item o where o.destination_id = %(destination)s "
        "and o.instance_id = i.instance_id)",
        values,
    )
    sql.rows(
        "update hilum.routing_item set destination_id = %(destination)s, attempts = 0, retry_at = now(), "
        "uncertain = false where rule_id = %(rule)s and state in ('waiting', 'dead')",
        values,
    )
