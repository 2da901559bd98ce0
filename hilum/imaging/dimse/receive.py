"""C-STORE (PS3.7 section 9.1.1, PS3.4 annex B): an instance streams from the association into the archive's one way in
as its bytes arrive, and Success is said when it is on the disk and in the catalogue. The file is what came: the data
set byte for byte, behind File Meta Information from the request and the presentation context."""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Final

import structlog

from hilum.imaging.archive.arrivals import Outcome, SourceRef
from hilum.imaging.archive.store import Archive
from hilum.imaging.archive.together import Together
from hilum.imaging.dimse import status as s
from hilum.imaging.dimse.channel import Channel, Message, response
from hilum.imaging.dimse.storing import Inspect, take_instance

ORIGIN: Final = "dimse"
HEAD: Final = 64 << 10
"""So much of an instance is gathered before its header is looked at: few headers are longer."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is at the other end of an association, and where what it sends goes."""

    number: int
    title: str
    called: str
    source: SourceRef


@dataclass(frozen=True, slots=True)
class Receiver:
    """Takes instances by C-STORE."""

    archive: Archive
    together: Together
    is_storage: Callable[[str], bool]

    def receive(self, caller: Caller, channel: Channel, message: Message) -> None:
        """Answer one C-STORE-RQ."""

        def keep(start: bytes, data: Iterator[memoryview], inspect: Inspect) -> tuple[int, str]:
            outcome = self._keep(caller, message, _file(start, data), inspect)
            return s.of_outcome(outcome), s.comment(outcome)

        status, fields = take_instance(channel, message, caller.title, self.is_storage, keep)
        if status != s.SUCCESS:
            log.warning("dimse.not_stored", association=caller.number, status=f"{status:04X}")
        channel.answer(message.context, response(message, status, fields))

    def _keep(
        self, caller: Caller, message: Message, chunks: Iterator[bytes | memoryview], inspect: Inspect
    ) -> Outcome:
        # Unique among all that are committed together; of what is set aside it tells people who sent it.
        name = f"{caller.title}, association {caller.number}, message {message.command.message_id}"
        with self.archive.batch(caller.source, ORIGIN, sender=caller.title) as batch:
            with self.together.filling():
                batch.add(name, chunks, inspect)
            (outcome,) = self.together.commit(batch)
        return outcome


def _file(start: bytes, data: Iterator[memoryview]) -> Generator[bytes | memoryview]:
    """The file of an instance: its first chunk with the header, then the fragments as they come."""
    head = bytearray(start)
    for fragment in data:
        head += fragment
        if len(head) >= HEAD:
            break
    yield bytes(head)
    for fragment in data:  # not "yield from", which would close what is still to be read when this is given up
        yield fragment
