"""REST of delivery: webhooks, sites, and the deliveries that failed."""

import time
from datetime import datetime
from typing import Annotated, Literal, TypeAlias

from fastapi import APIRouter, Depends, Query, Request
from pydantic import Field, StringConstraints

from hilum.core.database import Database
from hilum.core.delivery import ledger, sites, webhooks
from hilum.core.delivery.listing import consumers, deliveries
from hilum.core.errors import Conflict, NotFound
from hilum.core.http import PROBLEMS, Limit, Model, Offset, Page, refuse_unknown_parameters
from hilum.core.outgoing import MOST_URL

router = APIRouter(
    prefix="/api/v1/imaging", tags=["events"], dependencies=[Depends(refuse_unknown_parameters)], responses=PROBLEMS
)

State: TypeAlias = Literal["retrying", "dead", "delivered"]
Mode: TypeAlias = Literal["binary", "structured"]
EventType = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+(\.[a-z0-9_]+)*$", max_length=100)]
SourceKey = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+$", max_length=64)]
Url = Annotated[str, StringConstraints(max_length=MOST_URL)]
Secret = Annotated[str, StringConstraints(max_length=128)]
Types = Annotated[list[EventType], Field(max_length=100, description="Only these types; empty: all.")]
Sources = Annotated[list[SourceKey], Field(max_length=100, description="Only of these sources; empty: all.")]


class NewWebhook(Model):
    """What a webhook is to be."""

    url: Url
    types: Types = Field(default_factory=list)
    sources: Sources = Field(default_factory=list)
    mode: Mode = "binary"
    secret: Secret = Field("", description="whsec_ and 24 to 64 bytes in Base64; empty: one is made.")
    active: bool = True


class WebhookChange(Model):
    """What is to be another than it was."""

    url: Url | None = None
    types: Types | None = None
    sources: Sources | None = None
    mode: Mode | None = None
    secret: Secret | None = None
    active: bool | None = None


class WebhookState(Model):
    """A webhook, and how it does."""

    id: int
    url: str
    types: list[str]
    sources: list[str]
    mode: Mode
    active: bool
    created_at: datetime
    failing_since: datetime | None = Field(description="Since when the receiver cannot be reached.")
    retry_at: datetime | None = Field(description="When it is tried again.")
    problem: str
    retrying: int = Field(description="Deliveries that failed and are tried again.")
    dead: int = Field(description="Deliveries that were given up; they can be replayed.")


class CreatedWebhook(WebhookState):
    """A new webhook, with its secret, which is shown this once."""

    secret: str


class TestResult(Model):
    """What became of a test."""

    delivered: bool
    status: int | None = Field(description="What the receiver answered.")
    reason: str
    milliseconds: int


class Delivery(Model):
    """One event and one consumer."""

    id: int
    consumer: str = Field(description="webhook:<id>, nats, sites, or the name of a handler.")
    event_id: str
    sequence: int
    type: str
    source: str
    subject: str
    state: State
    attempts: int
    status: int | None = Field(description="What an HTTP receiver answered.")
    reason: str
    due_at: datetime | None = Field(description="When it is tried again.")
    tried_at: datetime | None
    created_at: datetime


class ConsumerState(Model):
    """Who is told of events, and how far that is."""

    name: str = Field(description="webhook:<id>, nats, sites, or the name of a handler.")
    position: int = Field(description="The sequence up to which it was told of all that it wants.")
    behind: int = Field(description="How far that is behind the feed's last event; not all between need be for it.")
    failing_since: datetime | None = Field(description="Since when it cannot be reached.")
    retry_at: datetime | None = Field(description="When it is tried again.")
    problem: str
    retrying: int = Field(description="Deliveries that failed and are tried again.")
    dead: int = Field(description="Deliveries that were given up; they can be replayed.")


class NewSite(Model):
    """What a site is to be."""

    key: Annotated[str, StringConstraints(pattern=r"^[a-z0-9](-?[a-z0-9])*$", max_length=64)]
    name: Annotated[str, StringConstraints(max_length=200)] = ""
    sources: Annotated[list[SourceKey], Field(max_length=100)] = Field(
        default_factory=list, description="Events of these sources go to it; empty: those that are addressed to it."
    )
    types: Types = Field(default_factory=list)


class Site(NewSite):
    """An edge that events wait for."""

    created_at: datetime


class Replayed(Model):
    """How many dead letters are tried again."""

    replayed: int


def the_database(request: Request) -> Database:
    """Dependency: the database of this application."""
    return request.app.state.database


TheDatabase = Annotated[Database, Depends(the_database)]


@router.get("/webhooks")
def get_webhooks(database: TheDatabase, limit: Limit = 20, offset: Offset = 0) -> Page[WebhookState]:
    """Webhooks, in the order in which they were made."""
    hooks = webhooks.hooks(database)
    items = [_state(database, hook) for hook in hooks[offset : offset + limit]]
    return Page(items=items, total=len(hooks), limit=limit, offset=offset)


@router.post("/webhooks", status_code=201)
def post_webhook(database: TheDatabase, new: NewWebhook) -> CreatedWebhook:
    """Have events sent to an address from now on."""
    hook = webhooks.add_hook(database, **new.model_dump())
    return CreatedWebhook(**_state(database, hook).model_dump(), secret=hook.secret)


@router.get("/webhooks/{webhook_id}")
def get_webhook(database: TheDatabase, webhook_id: int) -> WebhookState:
    """One webhook, and how it does."""
    return _state(database, webhooks.find_hook(database, webhook_id))


@router.patch("/webhooks/{webhook_id}")
def patch_webhook(database: TheDatabase, webhook_id: int, change: WebhookChange) -> WebhookState:
    """Change a webhook; what waits for it is tried at once."""
    changes = change.model_dump(exclude_unset=True, exclude_none=True)
    return _state(database, webhooks.change_hook(database, webhook_id, changes))


@router.delete("/webhooks/{webhook_id}", status_code=204)
def delete_webhook(database: TheDatabase, webhook_id: int) -> None:
    """Send nothing more to an address, and forget what was sent."""
    webhooks.remove_hook(database, webhook_id)


@router.post("/webhooks/{webhook_id}/test")
def try_webhook(request: Request, database: TheDatabase, webhook_id: int) -> TestResult:
    """Send a test event now, once, and tell what became of it."""
    hook = webhooks.find_hook(database, webhook_id)
    began = time.monotonic()
    settings = request.app.state.settings
    why = webhooks.send_test(hook, settings.base_url, settings.outgoing_ca)
    milliseconds = round((time.monotonic() - began) * 1000)
    if why is None:
        return TestResult(delivered=True, status=None, reason="", milliseconds=milliseconds)
    return TestResult(delivered=False, status=why.status, reason=why.reason, milliseconds=milliseconds)


@router.post("/webhooks/{webhook_id}/replay", status_code=202)
def replay_webhook(database: TheDatabase, webhook_id: int) -> Replayed:
    """Send all dead letters of a webhook again."""
    hook = webhooks.find_hook(database, webhook_id)
    return Replayed(replayed=ledger.replay(database, consumer=hook.consumer))


@router.get("/deliveries")
def get_deliveries(
    database: TheDatabase,
    state: Annotated[list[State] | None, Query(description="Any of these.")] = None,
    consumer: Annotated[str | None, Query(max_length=100, description="Of this consumer.")] = None,
    limit: Limit = 20,
    offset: Offset = 0,
) -> Page[Delivery]:
    """Deliveries that failed, and the last ones to webhooks; the latest first."""
    rows, total = deliveries(database, state or (), consumer, limit=limit, offset=offset)
    return Page(items=[Delivery.model_validate(row) for row in rows], total=total, limit=limit, offset=offset)


@router.get("/deliveries/consumers")
def get_consumers(database: TheDatabase, limit: Limit = 20, offset: Offset = 0) -> Page[ConsumerState]:
    """Who is told of events: webhooks, NATS, sites and the handlers of Hilum's own rooms, by name."""
    rows, total = consumers(database, limit=limit, offset=offset)
    items = [ConsumerState.model_validate(row) for row in rows]
    return Page(items=items, total=total, limit=limit, offset=offset)


@router.post("/deliveries/replay", status_code=202)
def replay_consumer(
    database: TheDatabase,
    consumer: Annotated[str, Query(max_length=100, description="webhook:<id>, nats, sites, or a handler.")],
) -> Replayed:
    """Try all dead letters of a consumer again."""
    return Replayed(replayed=ledger.replay(database, consumer=consumer))


@router.post("/deliveries/{delivery_id}/replay", status_code=202)
def replay_delivery(database: TheDatabase, delivery_id: int) -> Replayed:
    """Try a dead letter again."""
    found = deliveries(database, delivery_id=delivery_id)[0]
    if not found:
        raise NotFound(f"There is no delivery {delivery_id}.")
    replayed = ledger.replay(database, delivery_id=delivery_id)
    if not replayed:
        raise Conflict(f"Delivery {delivery_id} is {found[0]['state']}; only a dead one can be replayed.")
    return Replayed(replayed=replayed)


@router.get("/sites")
def get_sites(database: TheDatabase, limit: Limit = 20, offset: Offset = 0) -> Page[Site]:
    """Sites, by key."""
    found = sites.sites(database)
    items = [Site.model_validate(_fields(site, Site)) for site in found[offset : offset + limit]]
    return Page(items=items, total=len(found), limit=limit, offset=offset)


@router.post("/sites", status_code=201)
def post_site(request: Request, database: TheDatabase, new: NewSite) -> Site:
    """Have events wait for an edge until it has read them."""
    if not request.app.state.settings.nats_url:
        raise Conflict("Events wait for a site on NATS, and none is set: set HILUM_NATS_URL first.")
    site = sites.add_site(database, new.key, new.name, sources=new.sources, types=new.types)
    return Site.model_validate(_fields(site, Site))


@router.delete("/sites/{key}", status_code=204)
def delete_site(database: TheDatabase, key: str) -> None:
    """Delete a site, and the events that wait for it."""
    sites.remove_site(database, key)


def _fields(thing: object, model: type[Model]) -> dict[str, object]:
    """Those fields of a model that a thing has."""
    return {name: getattr(thing, name) for name in model.model_fields if hasattr(thing, name)}


def _state(database: Database, hook: webhooks.Hook) -> WebhookState:
    with database.transaction() as sql:
        state = ledger.cursor_state(sql, hook.consumer)
    return WebhookState.model_validate(_fields(hook, WebhookState) | dict(state))
