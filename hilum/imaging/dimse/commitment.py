"""Storage commitment, push model (PS3.4 annex J): a peer asks whether instances are kept (N-ACTION), the request is
written down, and a report follows (N-EVENT-REPORT): on a new association to a peer whose place the AE list knows, tried
until it is taken, else at once on the association of the request. A restart forgets nothing; a report may come twice.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Final, LiteralString, cast

import msgspec
import structlog

from hilum.core.database import Database, Row
from hilum.core.errors import HilumError
from hilum.imaging.archive.study_json import element
from hilum.imaging.dicom.elements import Element
from hilum.imaging.dicom.uids import check_uid
from hilum.imaging.dimse import command as c
from hilum.imaging.dimse import status as s
from hilum.imaging.dimse.channel import Channel, Context, Message, response
from hilum.imaging.dimse.identifier import Refused, identifier_bytes, read_elements, text_of
from hilum.imaging.dimse.negotiation import COMMITMENT, COMMITMENT_INSTANCE, PLAIN_SYNTAXES
from hilum.imaging.dimse.pdu import Roles
from hilum.imaging.dimse.peers import Place
from hilum.imaging.dimse.problems import AssociationEnded
from hilum.imaging.dimse.receive import Caller
from hilum.imaging.dimse.requestor import Connector

MAX_REQUEST: Final = 32 << 20
POLL_SECONDS: Final = 5.0
FIRST_WAIT_SECONDS: Final = 10
LONGEST_WAIT_SECONDS: Final = 3600
_LEASE_SECONDS: Final = 180
_TRANSACTION, _REFERENCED, _CLASS, _INSTANCE = 0x00081195, 0x00081199, 0x00081150, 0x00081155
_ALL_KEPT, _SOME_NOT = 1, 2

_WRITE: Final[LiteralString] = """
    insert into hilum.commitment (source_id, ae_title, called, transaction_uid, instances)
    values (%s, %s, %s, %s, %s::jsonb)
    on conflict (source_id, ae_title, transaction_uid) do update
      set instances = excluded.instances, called = excluded.called, attempts = 0, due_at = now(), reported_at = null
    returning *
"""
_TAKE: Final[LiteralString] = """
    update hilum.commitment set attempts = attempts + 1, due_at = now() + make_interval(secs => %s)
    where id = (
      select id from hilum.commitment where reported_at is null and due_at <= now() and ae_title = any(%s::text[])
      order by due_at limit 1 for update skip locked
    ) returning *
"""
_HELD: Final[LiteralString] = """
    select sop_instance_uid, sop_class_uid from hilum.instance
    where source_id = %s and deleted_at is null and sop_instance_uid = any(%s::text[])
"""

log = structlog.get_logger()


@dataclass(slots=True)
class Commitments:
    """Takes requests, and sends the reports that are owed.

    Parameters
    ----------
    database : Database
        Where the requests lie.
    peers : mapping of str to Place or None
        Where reports go.
    connector : Connector
        How they get there.
    """

    database: Database
    peers: Mapping[str, Place | None]
    connector: Connector
    _wake: threading.Event = field(default_factory=threading.Event)
    _stopping: bool = False
    _thread: threading.Thread | None = None
    _told: dict[tuple[int, int], int] = field(default_factory=dict[tuple[int, int], int])
    _numbers: "cycle[int]" = field(default_factory=lambda: cycle(range(1, 0x10000)))

    def start(self) -> None:
        """Begin to send what is owed to peers of known place."""
        self._thread = threading.Thread(target=self._run, name="commitment", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Send no more."""
        self._stopping = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(POLL_SECONDS)

    def request(self, caller: Caller, channel: Channel, message: Message) -> None:
        """Answer one N-ACTION-RQ."""
        row = None
        status, more = s.SUCCESS, dict[int, int | str]()
        try:
            row = self._write(caller, channel, message)
        except Refused as error:
            status, more = error.status, {c.ERROR_COMMENT: str(error)[:64]}
        except HilumError as error:
            status, more = s.PROCESSING, {c.ERROR_COMMENT: s.comment(error)}
        if status != s.SUCCESS:
            log.warning("dimse.not_committed", association=caller.number, status=f"{status:04X}")
        action = message.command.number(c.ACTION_TYPE)
        instance = message.command.text(c.REQUESTED_INSTANCE)
        answer = response(
            message, status, more | {c.AFFECTED_INSTANCE: instance} | ({c.ACTION_TYPE: action} if action else {})
        )
        channel.answer(message.context, answer)
        if row is not None and self.peers.get(caller.title):
            self._wake.set()
        elif row is not None:
            self._report_here(caller, channel, message.context, row)

    def reported(self, caller: Caller, channel: Channel, message: Message) -> None:
        """Take the answer to a report that was sent on the peer's own association."""
        if message.command.has_data_set:
            channel.identifier(message.context)
        row_id = self._told.pop((caller.number, message.command.number(c.ANSWERED_ID) or 0), None)
        if row_id is not None and message.command.status == s.SUCCESS:
            self._note_reported(row_id)

    def _write(self, caller: Caller, channel: Channel, message: Message) -> Row:
        command, context = message.command, message.context
        data = channel.identifier(context, MAX_REQUEST) if command.has_data_set else b""
        if command.sop_class_uid != COMMITMENT or context.abstract_syntax != COMMITMENT:
            raise Refused(s.NO_SUCH_CLASS, "The SOP class is not that of the presentation context.")
        if command.text(c.REQUESTED_INSTANCE) != COMMITMENT_INSTANCE:
            raise Refused(s.NO_SUCH_INSTANCE, "That is not the SOP instance of storage commitment.")
        if command.number(c.ACTION_TYPE) != 1:
            raise Refused(s.NO_SUCH_ACTION, "Storage commitment has the one action, 1.")
        transaction_uid, instances = _read(read_elements(data, context.transfer_syntax))
        values = caller.source.id, caller.title, caller.called, transaction_uid, _json(instances)
        with self.database.transaction() as transaction:
            (row,) = transaction.rows(_WRITE, values)
        return row

    def _report_here(self, caller: Caller, channel: Channel, context: Context, row: Row) -> None:
        """Report on the peer's own association; its answer comes among its further messages."""
        try:
            event, data = self._report(row, context.transfer_syntax)
        except HilumError:
            return  # it may ask again
        number = next(self._numbers)
        self._told[caller.number, number] = cast("int", row["id"])
        command = c.command_bytes(c.N_EVENT_REPORT, {c.MESSAGE_ID: number} | _event_values(event), data_set=True)
        channel.send(context, command, [data])

    def _run(self) -> None:
        places = [title for title, place in self.peers.items() if place is not None]
        while places and not self._stopping:
            try:
                while not self._stopping and self._send_one(places):
                    pass
            except HilumError as error:  # the database is away: later
                log.warning("dimse.commitment_waits", reason=str(error))
            except Exception:
                log.exception("dimse.commitment_failed")
            self._wake.wait(POLL_SECONDS)
            self._wake.clear()

    def _send_one(self, places: Sequence[str]) -> bool:
        """Take the report that is most due and try to deliver it; False when none is due."""
        with self.database.transaction() as transaction:
            rows = transaction.rows(_TAKE, (_LEASE_SECONDS, list(places)))
        if not rows:
            return False
        (row,) = rows
        try:
            status = self._deliver(row)
        except (HilumError, AssociationEnded) as error:
            log.warning("dimse.not_reported", attempts=row["attempts"], error=type(error).__name__)
            status = s.PROCESSING
        if status == s.SUCCESS:
            self._note_reported(cast("int", row["id"]))
        else:
            self._put_off(row)
        return True

    def _deliver(self, row: Row) -> int:
        title = cast("str", row["ae_title"])
        place = self.peers[title]
        assert place is not None
        contexts, roles = [(COMMITMENT, PLAIN_SYNTAXES)], {COMMITMENT: Roles(scu=False, scp=True)}
        with self.connector.associate(place, cast("str", row["called"]), title, contexts, roles) as channel:
            for context in channel.contexts.values():
                event, data = self._report(row, context.transfer_syntax)
                return channel.request(context, c.N_EVENT_REPORT, _event_values(event), [data]).status
        return s.NO_SUCH_CLASS

    def _report(self, row: Row, transfer_syntax: str) -> tuple[int, bytes]:
        """Event type and data set that tell which instances are kept now (PS3.4 section J.3.3)."""
        wanted = cast("list[list[str]]", row["instances"])
        with self.database.transaction() as transaction:
            rows = transaction.rows(_HELD, (row["source_id"], [instance for _, instance in wanted]))
        held = {one["sop_instance_uid"]: one["sop_class_uid"] for one in rows}
        kept, lacking = list[object](), list[object]()
        for sop_class, instance in wanted:
            item = {"00081150": element("UI", sop_class), "00081155": element("UI", instance)}
            if held.get(instance) == sop_class:
                kept.append(item)
            else:
                reason = s.CLASS_CONFLICT if instance in held else s.NO_SUCH_INSTANCE
                lacking.append(item | {"00081197": element("US", reason)})
        model: dict[str, object] = {
            "00080054": element("AE", row["called"]),
            "00081195": element("UI", row["transaction_uid"]),
        }
        if lacking:
            model["00081198"] = element("SQ", *lacking)
        if kept:
            model["00081199"] = element("SQ", *kept)
        return _SOME_NOT if lacking else _ALL_KEPT, identifier_bytes(model, transfer_syntax)

    def _note_reported(self, row_id: int) -> None:
        with self.database.transaction() as transaction:
            transaction.rows("update hilum.commitment set reported_at = now() where id = %s", (row_id,))

    def _put_off(self, row: Row) -> None:
        seconds = min(FIRST_WAIT_SECONDS * 2 ** min(cast("int", row["attempts"]) - 1, 20), LONGEST_WAIT_SECONDS)
        with self.database.transaction() as transaction:
            transaction.rows(
                "update hilum.commitment set due_at = now() + make_interval(secs => %s) where id = %s",
                (seconds, row["id"]),
            )


def _read(elements: Sequence[Element]) -> tuple[str, list[tuple[str, str]]]:
    """Transaction UID and the SOP classes and instances of a request."""
    found = {one.tag: one for one in elements}
    transaction_uid = text_of(found.get(_TRANSACTION))
    listed = found.get(_REFERENCED)
    instances: list[tuple[str, str]] = []
    for item in (listed.items if listed is not None else None) or []:
        values = {one.tag: one for one in item}
        instances.append((text_of(values.get(_CLASS)), text_of(values.get(_INSTANCE))))
    uids = [transaction_uid, *(uid for pair in instances for uid in pair)]
    if not instances or not all(map(check_uid, uids)):
        raise Refused(s.INVALID_ARGUMENT, "The request names no transaction, or no instances by their UIDs.")
    return transaction_uid, instances


def _event_values(event: int) -> dict[int, int | str]:
    return {c.AFFECTED_CLASS: COMMITMENT, c.AFFECTED_INSTANCE: COMMITMENT_INSTANCE, c.EVENT_TYPE: event}


def _json(instances: Sequence[tuple[str, str]]) -> str:
    return msgspec.json.encode(instances).decode()
