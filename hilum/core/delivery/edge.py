"""What a site runs to read its events: it needs to know NATS and its own key, and no database. On NATS it must be able
to publish on ``$JS.API.CONSUMER.MSG.NEXT.HILUM_SITES.site-<site>``, ``$JS.API.CONSUMER.INFO.HILUM_SITES.site-<site>``
and ``$JS.ACK.HILUM_SITES.site-<site>.>``, and to subscribe to ``_INBOX.>``."""
# pyright: reportUnknownMemberType=false

import asyncio
import threading
from collections.abc import Callable
from typing import Final

import msgspec
import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext

from hilum.core.delivery.consumer import CloudEvent
from hilum.core.delivery.mailboxes import STREAM, consumer_name
from hilum.core.errors import Unavailable
from hilum.core.nats import NatsOptions, close, connect

_FETCH: Final = 10
_IDLE_SECONDS: Final = 2.0
_AGAIN_SECONDS: Final = 1.0
_LONGEST_DELAY_SECONDS: Final = 300.0
log = structlog.get_logger()


def receive(options: NatsOptions, site: str, handle: Callable[[CloudEvent], None], stop: threading.Event) -> None:
    """Read the events of a site at that site, until told to stop; one that was read is gone from the stream.

    Parameters
    ----------
    options
        Where NATS is.
    site
        The key of this site.
    handle
        Called with each event, one after the other. What it has done is durable when it returns. What it raises is
        logged, and the event comes again: after 1 s at first, then less and less often, while later ones come too. It
        may be called twice with one event, which then has the same ``id``.
    stop
        Set to have this return, within some seconds.
    """
    asyncio.run(_receive(options, site, handle, stop))


async def _receive(
    options: NatsOptions, site: str, handle: Callable[[CloudEvent], None], stop: threading.Event
) -> None:
    while not stop.is_set():
        try:
            client = await connect(options)
            try:
                mailbox = await client.jetstream().pull_subscribe_bind(consumer_name(site), STREAM)
                while not stop.is_set():
                    await _read(mailbox, handle, stop)
            finally:
                await close(client)
        except (NatsError, Unavailable, OSError) as error:
            log.warning("sites.not_reached", site=site, reason=type(error).__name__)
            await asyncio.to_thread(stop.wait, _AGAIN_SECONDS)


async def _read(
    mailbox: JetStreamContext.PullSubscription, handle: Callable[[CloudEvent], None], stop: threading.Event
) -> None:
    try:
        arrived = await mailbox.fetch(_FETCH, timeout=_IDLE_SECONDS)
    except TimeoutError:
        # Nothing came; or the connection is gone, or the mailbox, which asking for it tells.
        await mailbox.consumer_info()
        return
    for one in arrived:
        if stop.is_set():
            return
        await _take(one, handle)


async def _take(one: Msg, handle: Callable[[CloudEvent], None]) -> None:
    try:
        event = msgspec.json.decode(one.data, type=dict[str, object])
        await asyncio.to_thread(handle, event)
    except Exception:
        log.exception("sites.handler_failed")
        await one.nak(delay=min(2.0 ** min(one.metadata.num_delivered - 1, 20), _LONGEST_DELAY_SECONDS))
    else:
        await one.ack_sync(timeout=10)
