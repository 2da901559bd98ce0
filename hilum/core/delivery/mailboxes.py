"""The mailboxes of sites on NATS JetStream: a subject for each, ``hilum-site.<site>.<source>.<type>``, on the stream
``HILUM_SITES``, which keeps a message until the site's durable consumer, ``site-<site>``, has acknowledged it."""
# pyright: reportUnknownMemberType=false

from collections.abc import Generator, Sequence
from typing import Final, cast

import sqlalchemy as sa
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, RetentionPolicy

from hilum.core.database import Database
from hilum.core.delivery.consumer import CloudEvent, Consumer, Enrich, Group, Undelivered
from hilum.core.delivery.jetstream import message, prepare_stream, publish, subject_of
from hilum.core.delivery.sites import ADDRESS, REMOVED, SiteRef, sites
from hilum.core.errors import Unavailable
from hilum.core.events import EventRow
from hilum.core.nats import Link

GROUP: Final = "sites"
STREAM: Final = "HILUM_SITES"
_BATCH: Final = 100
_ACK_WAIT_SECONDS: Final = 120


def consumer_name(site: str) -> str:
    """The durable consumer that a site reads by."""
    return f"site-{site}"


class SitePost:
    """Puts events where their sites find them.

    Parameters
    ----------
    database
        Where the sites are listed.
    link
        The connection to NATS.
    base_url
        The address of this Hilum.
    enrich
        Adds to events what leaves this Hilum with them.
    """

    def __init__(self, database: Database, link: Link, base_url: str, enrich: Enrich) -> None:
        self._database = database
        self._link = link
        self._base_url = base_url
        self._enrich = enrich

    def group(self) -> Group:
        """All sites, for the courier: they share a cursor."""
        return Group(GROUP, lambda: [self._consumer()], at_once=1)

    def _consumer(self) -> Consumer:
        told = {source for site in sites(self._database) for source in site.sources}
        wanted = sa.or_(EventRow.data.has_key(ADDRESS), EventRow.source.in_(told), EventRow.type == REMOVED)
        return Consumer(GROUP, self.deliver, wanted, _BATCH)

    def deliver(self, events: Sequence[CloudEvent]) -> Generator[Undelivered | None]:
        """Publish a batch to all sites that it goes to, wait for its acknowledgements, and tell of each event."""
        if not events:
            return
        known = sites(self._database)
        targets = [_targets(event, known) for event in events]
        enriched = self._enrich(events)
        try:
            self._link.run(lambda client: self._post(client, known, enriched, targets))
        except Unavailable as error:
            yield Undelivered(str(error), blame="consumer")
            return
        for event, keys in zip(events, targets, strict=True):
            yield None if keys is not None else _unknown(event)

    async def _post(
        self,
        client: Client,
        known: Sequence[SiteRef],
        events: Sequence[CloudEvent],
        targets: Sequence[Sequence[str] | None],
    ) -> None:
        js = client.jetstream()
        await prepare_stream(js, STREAM, "hilum-site.>", RetentionPolicy.WORK_QUEUE)
        await _prepare_mailboxes(js, {site.key for site in known})
        made = [
            # The stream's ids are of all sites.
            message(event, f"hilum-site.{key}.{subject_of(event)}", client, self._base_url, f"{event['id']}.{key}")
            for event, keys in zip(events, targets, strict=True)
            for key in keys or ()
        ]
        await publish(js, STREAM, made)


def _targets(event: CloudEvent, known: Sequence[SiteRef]) -> list[str] | None:
    """The sites that an event goes to; None when it is addressed to one that is not known."""
    site = cast("dict[str, object]", event["data"]).get(ADDRESS)
    if site is None:
        source = str(event["source"]).rpartition("/")[2]
        return [ref.key for ref in known if ref.is_told_of(event, source)]
    return [str(site)] if any(ref.key == site for ref in known) else None


def _unknown(event: CloudEvent) -> Undelivered:
    site = str(cast("dict[str, object]", event["data"])[ADDRESS])[:64]
    return Undelivered(f"There is no site '{site}': add it, then replay this.", tries=1)


async def _prepare_mailboxes(js: JetStreamContext, keys: set[str]) -> None:
    """Make the consumers of new sites, and remove those of old ones with what waits there."""
    there = {str(info.name).removeprefix("site-") for info in await js.consumers_info(STREAM)}
    for key in sorted(keys - there):
        config = ConsumerConfig(
            durable_name=consumer_name(key),
            filter_subject=f"hilum-site.{key}.>",
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=_ACK_WAIT_SECONDS,
            max_deliver=-1,
        )
        await js.add_consumer(STREAM, config)
    for key in sorted(there - keys):
        await js.delete_consumer(STREAM, consumer_name(key))
        await js.purge_stream(STREAM, subject=f"hilum-site.{key}.>")
