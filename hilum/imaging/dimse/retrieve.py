"""C-MOVE and C-GET (PS3.4 sections C.4.2 and C.4.3): the instances of patients, studies, series, or single ones, sent
to a known peer or back on the same association, each in a transfer syntax that the receiver accepted."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final, LiteralString, cast

import psycopg
import sqlalchemy as sa
import structlog
from psycopg.rows import dict_row

from hilum.core.errors import HilumError, Unavailable
from hilum.imaging.archive.query import Row
from hilum.imaging.archive.store import Archive
from hilum.imaging.archive.study_json import element
from hilum.imaging.dicom.uids import check_uid
from hilum.imaging.dimse import command as c
from hilum.imaging.dimse import status as s
from hilum.imaging.dimse.channel import Channel, Context, Message, response
from hilum.imaging.dimse.identifier import LEVELS, Identifier, Level, Refused, identifier_bytes, read_identifier
from hilum.imaging.dimse.negotiation import (
    PATIENT_ROOT_GET,
    PATIENT_ROOT_MOVE,
    STUDY_ROOT_GET,
    STUDY_ROOT_MOVE,
)
from hilum.imaging.dimse.peers import Place
from hilum.imaging.dimse.problems import AssociationEnded, Violation
from hilum.imaging.dimse.receive import Caller
from hilum.imaging.dimse.requestor import Connector, store
from hilum.imaging.dimse.send import UNREADABLE, NoForm, formed, proposals

MAX_LISTED: Final = 10_000
_COLUMNS: Final[Mapping[Level, LiteralString]] = {
    "PATIENT": "st.patient_id",
    "STUDY": "st.study_instance_uid",
    "SERIES": "se.series_instance_uid",
    "IMAGE": "i.sop_instance_uid",
}
_INSTANCES: Final[LiteralString] = """
    select i.id, i.sop_instance_uid, i.sop_class_uid, i.transfer_syntax_uid, i.size, i.digest, i.blob_key, i.path,
      i.path_mtime_ns
    from hilum.study st join hilum.series se on se.study_id = st.id
    join hilum.instance i on i.series_id = se.id and i.deleted_at is null
    where st.source_id = %s and st.deleted_at is null and {where}
    order by st.id, se.series_number nulls last, se.id, i.instance_number nulls last, i.id
"""

log = structlog.get_logger()


@dataclass(slots=True)
class _Progress:
    """What became of the sub-operations so far."""

    remaining: int
    completed: int = 0
    warning: int = 0
    failed: list[str] = field(default_factory=list[str])

    def note(self, sop_instance_uid: str, status: int) -> None:
        """Count one sub-operation by the status of its C-STORE."""
        self.remaining -= 1
        if status == s.SUCCESS:
            self.completed += 1
        elif status & 0xF000 == s.WARNING or status == 0x0001:
            self.warning += 1
        else:
            self.failed.append(sop_instance_uid)

    def counts(self, *, remaining: bool) -> dict[int, int | str]:
        """The numbers of sub-operations as a response tells them."""
        found: dict[int, int | str] = {
            c.COMPLETED: min(self.completed, 0xFFFF),
            c.FAILED: min(len(self.failed), 0xFFFF),
            c.WARNING: min(self.warning, 0xFFFF),
        }
        return found | {c.REMAINING: min(self.remaining, 0xFFFF)} if remaining else found

    @property
    def status(self) -> int:
        """The final status."""
        if not self.failed and not self.warning:
            return s.SUCCESS
        return s.WARNING if self.completed or self.warning else s.NO_SUBOPERATIONS


@dataclass(frozen=True, slots=True)
class Retriever:
    """Answers C-MOVE and C-GET."""

    archive: Archive
    peers: Mapping[str, Place | None]
    connector: Connector

    def get(self, caller: Caller, channel: Channel, message: Message) -> None:
        """Answer one C-GET-RQ: the instances come back on the same association."""

        def send(rows: Sequence[Row]) -> None:
            contexts = [context for context in channel.contexts.values() if context.scu]
            self._send(channel, message, rows, _Target(channel, contexts))

        self._answer(caller, channel, message, (PATIENT_ROOT_GET, STUDY_ROOT_GET), send)

    def move(self, caller: Caller, channel: Channel, message: Message) -> None:
        """Answer one C-MOVE-RQ: the instances go to a peer that the AE list knows the place of."""
        destination = message.command.text(c.MOVE_DESTINATION)

        def send(rows: Sequence[Row]) -> None:
            place = self.peers.get(destination)
            if place is None:
                raise Refused(s.UNKNOWN_DESTINATION, "The move destination is not in HILUM_DICOM_PEERS with its place.")
            target = None
            with ExitStack() as stack:
                try:
                    if rows:
                        reached = self.connector.associate(place, caller.called, destination, proposals(rows))
                        opened = stack.enter_context(reached)
                        originator = {c.ORIGINATOR: caller.title, c.ORIGINATOR_ID: message.command.message_id}
                        target = _Target(opened, list(opened.contexts.values()), originator)
                except HilumError as error:
                    log.warning("dimse.not_moved", association=caller.number, error=type(error).__name__)
                self._send(channel, message, rows, target)

        self._answer(caller, channel, message, (PATIENT_ROOT_MOVE, STUDY_ROOT_MOVE), send)

    def _answer(
        self,
        caller: Caller,
        channel: Channel,
        message: Message,
        classes: tuple[str, str],
        send: Callable[[Sequence[Row]], None],
    ) -> None:
        """Find what is asked for and have it sent; what cannot be done is told here, the rest by ``_send``."""
        context, sop_class = message.context, message.command.sop_class_uid
        try:
            if not message.command.has_data_set:
                raise Refused(s.MISMATCH, "The request has no identifier.")
            data = channel.identifier(context)
            if sop_class != context.abstract_syntax or sop_class not in classes:
                raise Refused(s.NO_SUCH_CLASS, "The SOP class is not that of the presentation context.")
            levels = LEVELS if sop_class == classes[0] else LEVELS[1:]
            rows = self._find(caller, read_identifier(data, context.transfer_syntax, levels), levels)
            send(rows)
        except Refused as error:
            log.warning("dimse.not_retrieved", association=caller.number, status=f"{error.status:04X}")
            channel.answer(context, response(message, error.status, {c.ERROR_COMMENT: str(error)[:64]}))
        except HilumError as error:
            log.warning("dimse.not_retrieved", association=caller.number, error=type(error).__name__)
            channel.answer(context, response(message, s.CANNOT_UNDERSTAND))

    def _find(self, caller: Caller, identifier: Identifier, levels: tuple[Level, ...]) -> Sequence[Row]:
        """The instances that the unique keys down to the level name."""
        parts: list[LiteralString] = []
        parameters: list[object] = [caller.source.id]
        for level in levels[: levels.index(identifier.level) + 1]:
            values = identifier.values(level)
            if len(values) > MAX_LISTED or (level != "PATIENT" and not all(map(check_uid, values))):
                raise Refused(s.MISMATCH, "A unique key of the identifier is no list of UIDs.")
            if values:
                parts.append(f"{_COLUMNS[level]} = any(%s::text[])")
                parameters.append(values)
            elif level == identifier.level:
                raise Refused(s.MISMATCH, "The identifier lacks the unique key of its level.")
        query: LiteralString = _INSTANCES.format(where=" and ".join(parts))
        with self.archive.database.connect() as connection:
            return _rows(connection, query, parameters)

    def _send(self, channel: Channel, message: Message, rows: Sequence[Row], target: "_Target | None") -> None:
        """Perform the sub-operations, tell of each, and answer with what became of all."""
        progress = _Progress(len(rows))
        status = None
        for row in rows:
            channel.take_cancels()
            if message.command.message_id in channel.cancelled:
                status = s.CANCELLED
                break
            stored = target.store(self.archive, row) if target is not None else s.PROCESSING
            if target is not None and target.lost:
                target = None
            progress.note(row["sop_instance_uid"], stored)
            if progress.remaining:
                channel.answer(message.context, response(message, s.PENDING, progress.counts(remaining=True)))
        final = progress.status if status is None else status
        counts = progress.counts(remaining=final == s.CANCELLED)
        if not progress.failed:
            channel.answer(message.context, response(message, final, counts))
            return
        listed = identifier_bytes({"00080058": element("UI", *progress.failed)}, message.context.transfer_syntax)
        channel.send(message.context, response(message, final, counts, data=True), [listed])


@dataclass(slots=True)
class _Target:
    """Where instances are sent: an association and its contexts for that."""

    channel: Channel
    contexts: Sequence[Context]
    originator: Mapping[int, int | str] = field(default_factory=dict[int, int | str])
    lost: bool = False

    def store(self, archive: Archive, row: Row) -> int:
        """Send one instance, in the first form that both sides can; gives the status of its C-STORE.

        The association by which the request came may end in here, and its error passes; another's end counts as a
        failure of what was to be sent.
        """
        try:
            context, pieces = formed(archive, row, self.contexts)
        except NoForm:
            return s.NO_SUCH_CLASS
        except Unavailable:
            return s.PROCESSING
        try:
            return store(self.channel, context, row["sop_instance_uid"], pieces, self.originator)
        except (AssociationEnded, *UNREADABLE) as error:
            if not self.originator:
                raise error if isinstance(error, AssociationEnded) else Violation("not_sent_whole") from error
            self.channel.abort()
            self.lost = True
            return s.PROCESSING


def _rows(connection: sa.Connection, query: LiteralString, parameters: Sequence[object]) -> Sequence[Row]:
    driver = cast("psycopg.Connection", connection.connection.driver_connection)
    with driver.cursor(row_factory=dict_row) as cursor:
        return cast("Sequence[Row]", cursor.execute(query, parameters).fetchall())
