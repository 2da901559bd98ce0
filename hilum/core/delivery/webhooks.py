"""Webhooks: addresses that events are sent to as signed CloudEvents over HTTP. An answer of 2xx is that the event was
taken; what any other means for it is told by `judge`."""

import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, cast
from uuid import uuid4

import httpcore
import structlog

import hilum
from hilum.core.database import Database, Row, Transaction
from hilum.core.delivery import cloudevents, ledger, signature
from hilum.core.delivery.consumer import CloudEvent, Consumer, Deliver, Enrich, Group, Undelivered, wanted
from hilum.core.delivery.post import Answer, Post
from hilum.core.errors import Conflict, NotFound
from hilum.core.outgoing import Forbidden, check_url
from hilum.core.retry_after import seconds_of

GROUP: Final = "webhooks"
TEST_TYPE: Final = "hilum.webhook.test.v1"
MAX_WEBHOOKS: Final = 200
REFUSAL_TRIES: Final = 3
_AT_ONCE: Final = 16
_BATCH: Final = 20
_NOT_NOW: Final = (408, 425, 429, 502, 503, 504)
log = structlog.get_logger()
_CHANGEABLE: Final = ("url", "types", "sources", "mode", "secret", "active")


@dataclass(frozen=True, slots=True)
class Hook:
    """A webhook, with its secret."""

    id: int
    url: str
    types: Sequence[str]
    sources: Sequence[str]
    mode: Literal["binary", "structured"]
    secret: str
    active: bool
    created_at: datetime

    @property
    def consumer(self) -> str:
        """The name of its cursor."""
        return consumer_name(self.id)


def consumer_name(webhook_id: int) -> str:
    """The name of a webhook's cursor."""
    return f"webhook:{webhook_id}"


def group(database: Database, enrich: Enrich, authorities: Path | None = None) -> Group:
    """All active webhooks, for the courier; certificates of ``authorities`` are believed beside the system's."""

    def consumers() -> list[Consumer]:
        return [
            Consumer(
                hook.consumer,
                _delivering(database, hook.id, enrich, authorities),
                wanted(hook.types, hook.sources),
                _BATCH,
                recorded=True,
            )
            for hook in hooks(database)
            if hook.active
        ]

    return Group(GROUP, consumers, _AT_ONCE, begins=False)


def hooks(database: Database) -> list[Hook]:
    """All webhooks, in the order in which they were made."""
    with database.transaction() as sql:
        return [_hook(row) for row in sql.rows("select * from hilum.webhook order by id")]


def find_hook(database: Database, webhook_id: int) -> Hook:
    """Find one; raises ``NotFound``."""
    with database.transaction() as sql:
        return _found(sql, webhook_id)


def add_hook(
    database: Database,
    url: str,
    *,
    types: Sequence[str] = (),
    sources: Sequence[str] = (),
    mode: str = "binary",
    secret: str = "",
    active: bool = True,
) -> Hook:
    """Add a webhook; it is sent the events from now on.

    Parameters
    ----------
    url
        Where to.
    types, sources
        Only events of these types, and of these sources by key; empty for all.
    mode
        ``binary`` or ``structured``.
    secret
        That events are signed with; empty for a new one.
    active
        Whether anything is sent yet.

    Raises
    ------
    Conflict
        There are as many webhooks as there may be.
    Invalid
        The address or the secret is none.
    """
    check_url(url)
    secret = secret or signature.new_secret()
    signature.key_of(secret)
    with database.transaction() as sql:
        if len(sql.rows("select 1 from hilum.webhook limit %s", (MAX_WEBHOOKS,))) >= MAX_WEBHOOKS:
            raise Conflict(f"There are {MAX_WEBHOOKS} webhooks, which is the most: delete one first.")
        rows = sql.rows(
            "insert into hilum.webhook (url, types, sources, mode, secret, active) values (%s, %s, %s, %s, %s, %s) "
            "returning *",
            (url, list(types), list(sources), mode, secret, active),
        )
        hook = _hook(rows[0])
        sql.rows(
            "insert into hilum.delivery_cursor (name, position) values (%s, %s)",
            (hook.consumer, ledger.last_event(sql)),
        )
    return hook


def change_hook(database: Database, webhook_id: int, changes: Mapping[str, object]) -> Hook:
    """Change a webhook; what waits for it is tried at once.

    One that is made inactive keeps its place: made active again, it is sent what happened meanwhile.

    Raises
    ------
    Invalid
        The address or the secret is none.
    NotFound
        There is no such webhook.
    """
    if "url" in changes:
        check_url(str(changes["url"]))
    if "secret" in changes:
        signature.key_of(str(changes["secret"]))
    with database.transaction() as sql:
        hook = _found(sql, webhook_id)
        values = {name: changes.get(name, getattr(hook, name)) for name in _CHANGEABLE}
        rows = sql.rows(
            "update hilum.webhook set url = %(url)s, types = %(types)s, sources = %(sources)s, mode = %(mode)s, "
            "secret = %(secret)s, active = %(active)s where id = %(id)s returning *",
            values | {"id": webhook_id},
        )
        ledger.hurry(sql, [hook.consumer])
    return _hook(rows[0])


def remove_hook(database: Database, webhook_id: int) -> None:
    """Delete a webhook with its deliveries; raises ``NotFound``."""
    with database.transaction() as sql:
        hook = _found(sql, webhook_id)
        sql.rows("delete from hilum.webhook where id = %s", (webhook_id,))
        sql.rows("delete from hilum.delivery_cursor where name = %s", (hook.consumer,))


def send_test(hook: Hook, base_url: str, authorities: Path | None = None) -> Undelivered | None:
    """Send an event of the type ``hilum.webhook.test.v1`` to a webhook, once, whether or not it is active.

    Returns
    -------
    Undelivered, optional
        What went wrong; None when it was taken.
    """
    event: CloudEvent = {
        "specversion": "1.0",
        "id": str(uuid4()),
        "type": TEST_TYPE,
        "source": base_url,
        "subject": str(hook.id),
        "time": datetime.now(UTC).isoformat(),
        "datacontenttype": "application/json",
        "data": {"webhook_id": hook.id},
    }
    with Post(hook.url, authorities) as post:
        return _sent(post, hook, event)


def judge(answer: Answer) -> Undelivered | None:
    """Tell what an answer means for the event that it answers.

    - 2xx: it was taken.
    - 408, 425, 429, 502, 503, 504: the receiver cannot take events now; Retry-After is heeded, up to an hour.
    - 409 and other 5xx: the receiver failed on this event, which is tried again as often as any.
    - the rest of 4xx, and 3xx, since no redirect is followed: the event is refused, and tried three times in all.
    """
    status = answer.status
    if 200 <= status < 300:
        return None
    after = seconds_of(answer.retry_after)
    if status in _NOT_NOW:
        return Undelivered(f"The receiver cannot take events now ({status}).", status, None, after, "either")
    if status == 409 or status >= 500:
        return Undelivered(f"The receiver failed ({status}).", status, None, after)
    if 300 <= status < 400:
        reason = f"The receiver answers with a redirect ({status}), which is not followed: change the address."
        return Undelivered(reason, status, REFUSAL_TRIES)
    return Undelivered(f"The receiver refuses the event ({status}).", status, REFUSAL_TRIES)


def _delivering(database: Database, webhook_id: int, enrich: Enrich, authorities: Path | None) -> Deliver:
    def deliver(events: Sequence[CloudEvent]) -> Generator[Undelivered | None]:
        try:
            hook = find_hook(database, webhook_id)  # as it is now
        except NotFound:
            return
        if not hook.active:
            return
        with Post(hook.url, authorities) as post:
            for event in enrich(events):
                yield _sent(post, hook, event)

    return deliver


def _sent(post: Post, hook: Hook, event: CloudEvent) -> Undelivered | None:
    headers, body = cloudevents.structured(event) if hook.mode == "structured" else cloudevents.binary(event)
    signed = signature.sign(hook.secret, str(event["id"]), int(time.time()), body)
    try:
        return judge(post.send(headers | signed | {"User-Agent": f"Hilum/{hilum.__version__}"}, body))
    except Forbidden:
        return Undelivered("The receiver's name stands for a link-local or metadata address.", tries=REFUSAL_TRIES)
    except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
        return Undelivered(f"The receiver cannot be reached: {str(error)[:200]}.", blame="consumer")
    except httpcore.TimeoutException:
        return Undelivered("The receiver did not answer in time.", blame="either")
    except httpcore.ProtocolError:
        return Undelivered("What the receiver answers is not HTTP.")
    except httpcore.NetworkError:
        return Undelivered("The receiver broke the connection off.", blame="either")
    except Exception as error:  # whatever it is, later events must not wait for it for ever
        log.exception("delivery.webhook_failed", webhook=hook.id, event_id=event["id"])
        return Undelivered(f"An unexpected error ({type(error).__name__}); the log tells where.")


def _found(sql: Transaction, webhook_id: int) -> Hook:
    rows = sql.rows("select * from hilum.webhook where id = %s", (webhook_id,))
    if not rows:
        raise NotFound(f"There is no webhook {webhook_id}.")
    return _hook(rows[0])


def _hook(row: Row) -> Hook:
    return Hook(
        id=cast("int", row["id"]),
        url=str(row["url"]),
        types=cast("list[str]", row["types"]),
        sources=cast("list[str]", row["sources"]),
        mode=cast("Literal['binary', 'structured']", row["mode"]),
        secret=str(row["secret"]),
        active=bool(row["active"]),
        created_at=cast("datetime", row["created_at"]),
    )
