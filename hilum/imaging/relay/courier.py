"""Delivers what a proxy keeps, by C-STORE through the relay, as the modality would have sent it: to the AE title that
was called, under the one that called. An instance is removed when the receiver has said that it has it; one that it
will never take is laid aside; all others wait and are sent again."""

import asyncio
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from typing import BinaryIO, Final

import structlog

from hilum.core.errors import Unavailable
from hilum.imaging.dimse.channel import Channel
from hilum.imaging.dimse.problems import AssociationEnded
from hilum.imaging.dimse.requestor import NotAssociated, requested, store
from hilum.imaging.dimse.wire import Wire
from hilum.imaging.relay import counts
from hilum.imaging.relay.carrier import Carrier, Refused
from hilum.imaging.relay.spool import Kept, Spool
from hilum.imaging.relay.targets import connected_pair

_AT_ONCE: Final = 100
_CHUNK: Final = 256 << 10
_LOOK_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 60.0
# Statuses after which the same instance would be refused again (PS3.4 section B.2.3, PS3.7 annex C).
_FINAL: Final = frozenset((0x0111, 0x0117, 0x0122, 0x0124))

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Courier:
    """Delivers the instances of a folder over a channel."""

    spool: Spool
    carrier: Carrier
    channel: str

    async def run(self) -> None:
        """Deliver until the task is cancelled."""
        pause, after = _LOOK_SECONDS, ""
        while True:
            await asyncio.sleep(pause)
            if not self.carrier.connected:
                continue
            kept = await asyncio.to_thread(self.spool.waiting, _AT_ONCE, after)
            well = True
            for _, group in groupby(kept, lambda one: (one.letter.called, one.letter.calling)):
                well = await self._send(list(group)) and well
            # Those that have to wait shall not keep the next ones waiting.
            more = len(kept) == _AT_ONCE
            after = kept[-1].name + "~" if more and not well else ""
            if well:
                pause = 0.0 if more else _LOOK_SECONDS
            else:
                pause = min(max(pause, _LOOK_SECONDS) * 2, _LONGEST_PAUSE_SECONDS)

    async def _send(self, kept: Sequence[Kept]) -> bool:
        """Send instances of one sender to one receiver; tells whether none of them has to wait."""
        letter = kept[0].letter
        near, far = connected_pair()
        far.setblocking(False)
        try:
            pump = await self.carrier.open(self.channel, "in", letter.called, letter.calling, far)
        except Refused as error:
            log.warning("relay.not_delivered", why=error.reason, waiting=len(kept))
            near.close()
            far.close()
            return False
        pumping = asyncio.create_task(pump.run())
        try:
            return await asyncio.to_thread(self._deliver, near, kept)
        finally:
            with suppress(OSError):  # a thread may still wait at it
                near.shutdown(socket.SHUT_RDWR)
            near.close()
            await pumping

    def _deliver(self, connection: socket.socket, kept: Sequence[Kept]) -> bool:
        letter = kept[0].letter
        pairs = dict.fromkeys((one.letter.sop_class_uid, one.letter.transfer_syntax_uid) for one in kept)
        proposals = [(sop_class, (syntax,)) for sop_class, syntax in pairs]
        try:
            with requested(Wire(connection), letter.calling, letter.called, proposals) as channel:
                done = [self._store(channel, one) for one in kept]
                return all(done)
        except (AssociationEnded, NotAssociated, OSError) as error:
            log.warning("relay.not_delivered", why=type(error).__name__)
            return False

    def _store(self, channel: Channel, kept: Kept) -> bool:
        """Send an instance; tells whether it is done with."""
        letter = kept.letter
        wanted = (letter.sop_class_uid, letter.transfer_syntax_uid)
        context = next(
            (one for one in channel.contexts.values() if (one.abstract_syntax, one.transfer_syntax) == wanted), None
        )
        if context is None:
            return self._refused(kept, "context")
        try:
            with self.spool.open(kept) as file:
                file.seek(letter.offset)
                status = store(channel, context, letter.sop_instance_uid, _chunks(file))
        except Unavailable:
            return self._refused(kept, "damaged")
        if status == 0 or status >> 12 == 0xB:
            self.spool.delivered(kept)
            counts.INSTANCES.labels("delivered").inc()
            log.info("relay.delivered", size=letter.size)
            return True
        if status >> 12 == 0xC or status >> 8 == 0xA9 or status in _FINAL:
            return self._refused(kept, f"{status:04X}")
        log.warning("relay.not_delivered", status=f"{status:04X}")
        return False

    def _refused(self, kept: Kept, why: str) -> bool:
        log.error("relay.refused_for_good", name=kept.name, why=why)
        self.spool.refuse(kept, why)
        counts.INSTANCES.labels("refused").inc()
        return True


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk
