"""The DIMSE proxy at the edge: takes the associations of a hospital's modalities and relays them, answers for the
hospital's application entities to the other end, and where a folder is named keeps instances while nobody answers."""

import asyncio
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Final

from hilum.core.config import Settings
from hilum.core.errors import Invalid, Unavailable
from hilum.core.health import Pulse, telling
from hilum.core.log import configure_logging
from hilum.core.nats import NatsOptions
from hilum.core.supervise import bind
from hilum.imaging.dimse.peers import check_title
from hilum.imaging.dimse.setup import check_callers, tls_context
from hilum.imaging.relay.carrier import Carrier, Door
from hilum.imaging.relay.courier import Courier
from hilum.imaging.relay.figures import Figures
from hilum.imaging.relay.frames import check_channel
from hilum.imaging.relay.front import Entrance, Front
from hilum.imaging.relay.spool import Spool, open_spool
from hilum.imaging.relay.targets import Targets, parse_targets

_DRAIN_SECONDS: Final = 10.0
_BEAT_SECONDS: Final = 1.0


def serve_proxy(settings: Settings, ready: Callable[[str], None]) -> None:
    """Run the proxy until SIGTERM or SIGINT; needs no database.

    Parameters
    ----------
    settings
        ``relay_channels`` names one channel; ``dicom_host``, ``dicom_port`` where it listens, ``dicom_peers`` who may
        call.
    ready
        Told the address once it is listening.

    Raises
    ------
    Invalid
        A setting is none, or the proxy could be reached by others than this machine without an AE list.
    InUse
        The port is taken, or another proxy keeps instances in the folder.
    """
    configure_logging(settings, "proxy")
    carrier, entrance = _parts(settings)
    spool, pulse = None, Pulse()
    with ExitStack() as stack:
        listening = stack.enter_context(
            bind(settings.dicom_host, settings.dicom_port, anywhere=entrance.callers is not None)
        )
        courier = None
        if settings.relay_keep is not None:
            from hilum.imaging.relay.keep import Keeper  # with it comes what a mere relay does not need

            spool = stack.enter_context(open_spool(settings.relay_keep, settings.min_free_bytes))
            keeper = Keeper(spool, settings, carrier)
            courier = Courier(spool, carrier, entrance.channel)
            entrance = replace(entrance, keep=keeper.serve, keep_first=keeper.first)
        figures = Figures(carrier, spool)
        check = partial(_check, carrier, spool)
        stack.enter_context(telling(settings.host, settings.health_port, pulse, check, metrics=figures.text))
        asyncio.run(_run(listening, carrier, entrance, courier, pulse, ready))


def _parts(settings: Settings) -> tuple[Carrier, Entrance]:
    if len(settings.relay_channels) != 1:
        raise Invalid("A proxy works on one channel: name it by --channel.")
    if not settings.nats_url:
        raise Invalid("Name NATS by --nats, or in HILUM_NATS_URL.")
    if settings.relay_keep_always and settings.relay_keep is None:
        raise Invalid("HILUM_RELAY_KEEP_ALWAYS needs a folder to keep instances in: HILUM_RELAY_KEEP.")
    channel = check_channel(settings.relay_channels[0])
    callers = frozenset(check_callers(settings)) or None
    titles = frozenset(check_title(title) for title in settings.relay_titles) or None
    limit = settings.dicom_max_associations
    doors = ()
    if settings.relay_locals:
        targets = Targets(parse_targets(settings.relay_locals, "HILUM_RELAY_LOCALS"))
        doors = (Door(channel, "out", targets.accept),)
    options = NatsOptions.of(settings, "hilum proxy")
    carrier = Carrier(options, (channel,), doors, settings.relay_silence_seconds, limit)
    return carrier, Entrance(channel, "in", callers, titles, limit, tls=tls_context(settings))


def _check(carrier: Carrier, spool: Spool | None) -> None:
    """Raise what keeps the proxy from taking instances: NATS that is away, where none is kept."""
    if not carrier.connected and spool is None:
        raise Unavailable("NATS cannot be reached now.")


async def _run(
    listening: socket.socket,
    carrier: Carrier,
    entrance: Entrance,
    courier: Courier | None,
    pulse: Pulse,
    ready: Callable[[str], None],
) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    front = Front(listening, carrier, entrance)
    carrying, accepting = loop.create_task(carrier.run()), loop.create_task(front.run())
    beating = loop.create_task(_beat(pulse))
    delivering = loop.create_task(courier.run()) if courier is not None else None
    host, port = listening.getsockname()[:2]
    ready(f"{host}:{port}")
    await stop.wait()
    accepting.cancel()
    if delivering is not None:
        delivering.cancel()
    listening.close()
    await carrier.drain(_DRAIN_SECONDS)
    await front.stop()
    carrying.cancel()
    beating.cancel()
    await asyncio.gather(carrying, beating, accepting, *([delivering] if delivering else []), return_exceptions=True)


async def _beat(pulse: Pulse) -> None:
    while True:
        pulse.beat()
        await asyncio.sleep(_BEAT_SECONDS)
