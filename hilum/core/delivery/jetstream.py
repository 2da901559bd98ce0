"""Publication on NATS JetStream: every event on the stream ``HILUM_EVENTS``, as one JSON document, in order. An event
counts as delivered when the server has said that it is stored. ``Nats-Msg-Id`` is the event's id, by which the server
drops what comes twice within its window; after a longer break the stream's last message tells how far it came."""
# pyright: reportUnknownMemberType=false

import asyncio
import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Final, cast

from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, PubAck, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import APIError, BadRequestError, NotFoundError

from hilum.core.delivery.cloudevents import STRUCTURED_TYPE, structured
from hilum.core.delivery.consumer import CloudEvent, Consumer, Enrich, Group, Undelivered
from hilum.core.errors import Unavailable
from hilum.core.nats import Link

GROUP: Final = "nats"
STREAM: Final = "HILUM_EVENTS"
DUPLICATE_SECONDS: Final = 300
MESSAGE_ID: Final = "Nats-Msg-Id"
_BATCH: Final = 500
_ACK_SECONDS: Final = 5.0
_SPARE_BYTES: Final = 4096
_TOO_LARGE: Final = 10054
_TOKENS: Final = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


@dataclass(frozen=True, slots=True)
class Message:
    """What is published: where, by which id the server knows it again, and what."""

    subject: str
    message_id: str
    body: bytes


class Publisher:
    """Publishes the feed over one connection.

    Parameters
    ----------
    link
        The connection.
    base_url
        The address of this Hilum, where a receiver gets what is too large for a message.
    enrich
        Adds to events what leaves this Hilum with them.
    """

    def __init__(self, link: Link, base_url: str, enrich: Enrich) -> None:
        self._link = link
        self._base_url = base_url
        self._enrich = enrich
        self._known: Client | None = None

    def group(self) -> Group:
        """The feed's publication, for the courier."""
        consumer = Consumer(GROUP, self.deliver, batch=_BATCH)
        return Group(GROUP, lambda: [consumer], at_once=1)

    def deliver(self, events: Sequence[CloudEvent]) -> Generator[Undelivered | None]:
        """Publish a batch, wait for its acknowledgements, and tell of each event."""
        if not events:
            return
        enriched = self._enrich(events)
        try:
            outcomes = self._link.run(lambda client: self._publish(client, enriched))
        except Unavailable as error:
            outcomes = [Undelivered(str(error), blame="consumer")]
        yield from outcomes

    async def _publish(self, client: Client, events: Sequence[CloudEvent]) -> list[Undelivered | None]:
        js = client.jetstream(publish_async_max_pending=_BATCH)
        present = 0
        if client is not self._known:
            last = await prepare_stream(js, STREAM, "hilum.>", RetentionPolicy.LIMITS)
            present = next((n + 1 for n, event in enumerate(events) if event["id"] == last), 0)
        made = [message(event, f"hilum.{subject_of(event)}", client, self._base_url) for event in events[present:]]
        outcomes = [None] * present + await publish(js, STREAM, made)
        self._known = client
        return outcomes


def subject_of(event: CloudEvent) -> str:
    """The end of an event's subject: the source's key, and its type without ``hilum.``."""
    source = str(event["source"]).rpartition("/")[2]
    return f"{source}.{str(event['type']).removeprefix('hilum.')}"


def message(event: CloudEvent, subject: str, client: Client, base_url: str, message_id: str | None = None) -> Message:
    """Make the message of an event; where its data is larger than the server takes, ``dataref`` (an extension of
    CloudEvents) tells where it is."""
    _, body = structured(event)
    if len(body) + _SPARE_BYTES > client.max_payload:
        feed = f"{base_url}/api/v1/imaging/events?after={int(str(event['sequence'])) - 1}&limit=1"
        told = {name: value for name, value in event.items() if name != "data"}
        _, body = structured({**told, "dataref": feed})
    return Message(subject, message_id or str(event["id"]), body)


async def prepare_stream(js: JetStreamContext, name: str, subjects: str, retention: RetentionPolicy) -> str:
    """Make a stream if it is missing; one that is there stays as it is, for its limits and replicas are its operator's.

    Returns
    -------
    str
        The id of its last message; empty when there is none.
    """
    try:
        info = await js.stream_info(name)
    except NotFoundError:
        config = StreamConfig(
            name=name,
            subjects=[subjects],
            retention=retention,
            storage=StorageType.FILE,
            discard=DiscardPolicy.OLD if retention is RetentionPolicy.LIMITS else DiscardPolicy.NEW,
            duplicate_window=DUPLICATE_SECONDS,
        )
        try:
            info = await js.add_stream(config)
        except BadRequestError:  # another process has just made it
            info = await js.stream_info(name)
    if not info.state.messages:
        return ""
    try:
        last = await js.get_msg(name, seq=info.state.last_seq)
    except NotFoundError:
        return ""
    return str(cast("dict[str, str]", last.headers or {}).get(MESSAGE_ID, ""))


async def publish(js: JetStreamContext, stream: str, messages: Sequence[Message]) -> list[Undelivered | None]:
    """Publish messages in order, and tell of each whether the server has it.

    Raises
    ------
    nats.errors.Error, TimeoutError
        The connection broke, or an acknowledgement did not come.
    """
    waiting = [
        await js.publish_async(made.subject, made.body, stream=stream, headers=_headers(made))
        for made in messages
        if _TOKENS.fullmatch(made.subject)
    ]
    if waiting:
        await asyncio.wait(waiting, timeout=_ACK_SECONDS)
    acknowledged = iter(waiting)
    return [
        await _outcome(js, stream, made, next(acknowledged))
        if _TOKENS.fullmatch(made.subject)
        else Undelivered("Its source or type cannot be part of a NATS subject.", tries=1)
        for made in messages
    ]


async def _outcome(
    js: JetStreamContext, stream: str, made: Message, acknowledged: "asyncio.Future[PubAck]"
) -> Undelivered | None:
    if acknowledged.done():
        acknowledged.result()
        return None
    # The client tells of no refusal of what it publishes in passing; sent by itself it is told, and if it had arrived
    # all the same, its id has the server drop it.
    acknowledged.cancel()
    try:
        await js.publish(made.subject, made.body, timeout=_ACK_SECONDS, stream=stream, headers=_headers(made))
    except APIError as error:
        if error.err_code == _TOO_LARGE:
            return Undelivered("It is larger than the stream takes.", tries=1)
        raise
    return None


def _headers(made: Message) -> dict[str, str]:
    return {MESSAGE_ID: made.message_id, "Content-Type": STRUCTURED_TYPE}
