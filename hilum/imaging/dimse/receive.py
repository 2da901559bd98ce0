"""C-STORE (PS3.7 section 9.1.1, PS3.4 annex B): an instance streams from the association into the archive's one way in
as its bytes arrive, and Success is said when it is on the disk and in the catalogue. The file is what came: the data
set byte for byte, behind File Meta Information from the request and the presentation context."""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Final

import structlog

from hilum.core.errors import HilumError
from hilum.imaging.archive.arrivals import Outcome, SourceRef
from hilum.imaging.archive.store import Archive
from hilum.imaging.archive.together import Together
from hilum.imaging.dicom.header import Header, NotDicom, Unreadable
from hilum.imaging.dicom.uids import check_uid
from hilum.imaging.dicom.writer import meta_information
from hilum.imaging.dimse import command as c
from hilum.imaging.dimse import status as s
from hilum.imaging.dimse.channel import Channel, Message, response
from hilum.imaging.dimse.problems import AssociationEnded

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


class _OtherInstance(Exception):
    """The data set is not of the instance that the request names."""


@dataclass(frozen=True, slots=True)
class Receiver:
    """Takes instances by C-STORE."""

    archive: Archive
    together: Together
    is_storage: Callable[[str], bool]

    def receive(self, caller: Caller, channel: Channel, message: Message) -> None:
        """Answer one C-STORE-RQ."""
        data = channel.data_set(message.context)
        if not message.command.has_data_set:
            status, comment = s.CANNOT_UNDERSTAND, "The request has no data set."
        else:
            status, comment = self._store(caller, message, data)
            for _ in data:  # what a refused instance still sends
                pass
        more: dict[int, int | str] = {c.AFFECTED_INSTANCE: message.command.text(c.AFFECTED_INSTANCE)}
        if status != s.SUCCESS:
            log.warning("dimse.not_stored", association=caller.number, status=f"{status:04X}")
            if comment:
                more[c.ERROR_COMMENT] = comment
        channel.answer(message.context, response(message, status, more))

    def _store(self, caller: Caller, message: Message, data: Iterator[memoryview]) -> tuple[int, str]:
        sop_class, sop_instance = message.command.sop_class_uid, message.command.text(c.AFFECTED_INSTANCE)
        if sop_class != message.context.abstract_syntax or not self.is_storage(sop_class):
            return s.NO_SUCH_CLASS, "The SOP class is not that of the presentation context."
        if not check_uid(sop_instance):
            return s.INVALID_INSTANCE, "Affected SOP Instance UID is no UID."

        def inspect(header: Header) -> None:
            said = header.first("SOPClassUID"), header.first("SOPInstanceUID")
            if said[0] not in ("", sop_class) or said[1] not in ("", sop_instance):
                raise _OtherInstance

        start = meta_information(sop_class, sop_instance, message.context.transfer_syntax, caller.title)
        try:
            outcome = self._keep(caller, message, _file(start, data), inspect)
        except AssociationEnded:
            raise
        except _OtherInstance:
            return s.MISMATCH, "The data set is of another instance than the request."
        except (NotDicom, Unreadable) as error:
            return s.CANNOT_UNDERSTAND, str(error)[:64]
        except HilumError as error:
            return s.of_error(error), s.comment(error)
        except Exception:
            log.exception("dimse.store_failed", association=caller.number)
            return s.PROCESSING, ""
        return s.of_outcome(outcome), s.comment(outcome)

    def _keep(
        self, caller: Caller, message: Message, chunks: Iterator[bytes | memoryview], inspect: Callable[[Header], None]
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
