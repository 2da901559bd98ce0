"""REST of forwarding: destinations, rules, and what waits."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from hilum.core.http import PROBLEMS, Limit, Offset, Page, refuse_unknown_parameters
from hilum.imaging.archive.routes import TheArchive
from hilum.imaging.archive.schemas import API
from hilum.imaging.archive.store import Archive
from hilum.imaging.routing import cstore, destinations, queue, rules, schemas, stow
from hilum.imaging.routing.conditions import Conditions, Pattern
from hilum.imaging.routing.destinations import Destination
from hilum.imaging.routing.rules import Rule
from hilum.imaging.routing.trouble import Unreachable

router = APIRouter(
    prefix=API, tags=["forwarding"], dependencies=[Depends(refuse_unknown_parameters)], responses=PROBLEMS
)


@router.get("/destinations")
def get_destinations(archive: TheArchive) -> list[schemas.Destination]:
    """Where instances can be sent to, by name."""
    return [_destination(one) for one in destinations.list_destinations(archive.database)]


@router.post("/destinations", status_code=201)
def add_destination(archive: TheArchive, given: schemas.DestinationIn) -> schemas.Destination:
    """Add a destination."""
    address = destinations.Address(**given.address.model_dump())
    credentials = given.credentials.plain() if given.credentials else {}
    number = destinations.add_destination(archive.database, given.name, given.kind, address, credentials)
    return get_destination(archive, number)


@router.get("/destinations/{destination}")
def get_destination(archive: TheArchive, destination: int) -> schemas.Destination:
    """One destination."""
    return _destination(destinations.find_destination(archive.database, destination))


@router.patch("/destinations/{destination}")
def patch_destination(archive: TheArchive, destination: int, change: schemas.DestinationChange) -> schemas.Destination:
    """Change a destination; what waits for it goes by what is new. With ``active`` false everything waits."""
    destinations.change_destination(
        archive.database,
        destination,
        name=change.name,
        address=change.address.model_dump(exclude_unset=True) if change.address else None,
        credentials=change.credentials.plain() if change.credentials else None,
        active=change.active,
    )
    return get_destination(archive, destination)


@router.delete("/destinations/{destination}", status_code=204)
def delete_destination(archive: TheArchive, destination: int) -> Response:
    """Delete a destination to which no rule sends."""
    destinations.delete_destination(archive.database, destination)
    return Response(status_code=204)


@router.post("/destinations/{destination}/restore")
def restore_destination(archive: TheArchive, destination: int) -> schemas.Destination:
    """Bring a deleted destination back."""
    destinations.restore_destination(archive.database, destination)
    return get_destination(archive, destination)


@router.post("/destinations/{destination}/test")
def test_destination(archive: TheArchive, destination: int) -> schemas.DestinationTest:
    """Ask a destination for a sign of life: a C-ECHO, or a search by DICOMweb. Nothing is stored there."""
    found = destinations.find_destination(archive.database, destination)
    begun = time.perf_counter()
    try:
        ok, message = True, (stow.check if found.kind == "stow" else cstore.check)(found)
    except Unreachable as error:
        ok, message = False, str(error)
    return schemas.DestinationTest(ok=ok, message=message, milliseconds=round((time.perf_counter() - begun) * 1000, 1))


@router.get("/rules")
def get_rules(archive: TheArchive) -> list[schemas.Rule]:
    """All rules in the order in which they are tried, with how far each is."""
    return _shown(archive, rules.list_rules(archive.database))


@router.post("/rules", status_code=201)
def add_rule(archive: TheArchive, given: schemas.RuleIn) -> schemas.Rule:
    """Add a rule, for what arrives from now on."""
    number = rules.add_rule(
        archive.database,
        archive.choice,
        name=given.name,
        destination_id=given.destination_id,
        when=given.when,
        conditions=_conditions(given.conditions),
        active=given.active,
        priority=given.priority,
    )
    return get_rule(archive, number)


@router.get("/rules/{rule}")
def get_rule(archive: TheArchive, rule: int) -> schemas.Rule:
    """One rule, with how far it is."""
    return _shown(archive, [rules.find_rule(archive.database, rule)])[0]


@router.patch("/rules/{rule}")
def patch_rule(archive: TheArchive, rule: int, change: schemas.RuleChange) -> schemas.Rule:
    """Change a rule. What it has queued stays queued: it goes to the new destination, and waits while it is off."""
    changes = {name: value for name, value in change.model_dump(exclude_unset=True).items() if value is not None}
    if change.conditions is not None:
        changes["conditions"] = _conditions(change.conditions)
    rules.change_rule(archive.database, archive.choice, rule, changes)
    return get_rule(archive, rule)


@router.delete("/rules/{rule}", status_code=204)
def delete_rule(archive: TheArchive, rule: int) -> Response:
    """Delete a rule; what it has queued is not sent, unless the rule is brought back."""
    rules.delete_rule(archive.database, rule)
    return Response(status_code=204)


@router.post("/rules/{rule}/restore")
def restore_rule(archive: TheArchive, rule: int) -> schemas.Rule:
    """Bring a deleted rule back, with what it had queued."""
    rules.restore_rule(archive.database, rule)
    return get_rule(archive, rule)


@router.get("/rules/{rule}/queue")
def get_queue(
    archive: TheArchive,
    rule: int,
    state: Annotated[queue.State | None, Query(description="Only these.")] = None,
    limit: Limit = 20,
    offset: Offset = 0,
) -> Page[schemas.QueueItem]:
    """What a rule has queued, oldest first, also what it has sent."""
    rules.find_rule(archive.database, rule)
    rows, total = queue.list_items(archive.database, rule, state, limit=limit, offset=offset)
    items = [schemas.QueueItem.model_validate(row | {"digest": f"blake3:{row['digest']}"}) for row in rows]
    return Page(items=items, total=total, limit=limit, offset=offset)


@router.post("/rules/{rule}/queue/replay")
def replay_queue(archive: TheArchive, rule: int) -> schemas.QueueReplay:
    """Queue all dead letters of a rule anew."""
    rules.find_rule(archive.database, rule)
    return schemas.QueueReplay(replayed=queue.replay(archive.database, rule))


@router.post("/rules/{rule}/queue/{item}/replay")
def replay_item(archive: TheArchive, rule: int, item: int) -> schemas.QueueReplay:
    """Queue one dead letter anew."""
    return schemas.QueueReplay(replayed=queue.replay(archive.database, rule, item))


@router.delete("/rules/{rule}/queue/{item}", status_code=204)
def discard_item(archive: TheArchive, rule: int, item: int) -> Response:
    """Take one instance, waiting or given up, out of the queue: it is not sent."""
    queue.discard(archive.database, rule, item)
    return Response(status_code=204)


def _destination(one: Destination) -> schemas.Destination:
    return schemas.Destination(
        id=one.id,
        name=one.name,
        kind=one.kind,
        address=schemas.DestinationAddress(**asdict(one.address)),
        credentials=one.login,
        active=one.active,
        failures=one.failures,
        retry_at=one.retry_at if one.failures else None,
        error=one.error,
        last_sent_at=one.last_sent_at,
    )


def _conditions(given: schemas.RuleConditions) -> Conditions:
    patterns = [Pattern(each.attribute, each.pattern) for each in given.patterns]
    return Conditions(given.sources, given.modalities, given.senders, given.station_names, patterns)


def _shown(archive: Archive, found: Sequence[Rule]) -> list[schemas.Rule]:
    numbers = queue.counts(archive.database, [one.id for one in found])
    return [_rule(one, numbers.get(one.id, queue.Counts())) for one in found]


def _rule(one: Rule, counts: queue.Counts) -> schemas.Rule:
    known = asdict(one) | {"counts": asdict(counts)}
    return schemas.Rule.model_validate({name: known[name] for name in schemas.Rule.model_fields})
