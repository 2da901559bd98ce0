"""Messages of an established association (PS3.7 section 6.3, PS3.8 annex E): command sets and data sets out of the
fragments that P-DATA carries, and into them. Data sets are never gathered here unless that is asked for."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from hilum.imaging.dimse.command import (
    AFFECTED_CLASS,
    ANSWERED_ID,
    C_CANCEL,
    MAX_COMMAND,
    MESSAGE_ID,
    RESPONSE,
    STATUS,
    Command,
    command_bytes,
    read_command,
)
from hilum.imaging.dimse.pdu import (
    ABORT,
    MAX_PDU,
    P_DATA,
    RELEASE_RP,
    RELEASE_RP_BYTES,
    RELEASE_RQ,
    RELEASE_RQ_BYTES,
    abort_bytes,
    data_pdu,
)
from hilum.imaging.dimse.problems import (
    BY_PROVIDER,
    BY_USER,
    INVALID_PARAMETER,
    UNEXPECTED_PDU,
    Aborted,
    AssociationEnded,
    Released,
    Violation,
)
from hilum.imaging.dimse.wire import Wire

MESSAGE_SECONDS: Final = 60.0
"""How long the next PDU of a message that has begun may be awaited, and an answer."""
RELEASE_SECONDS: Final = 5.0
"""How long a peer may take to confirm a release."""
MAX_IDENTIFIER: Final = 1 << 20
_FINISH_SECONDS: Final = 2.0
_SMALLEST_PDU: Final = 128
_COMMAND: Final = 1
_LAST: Final = 2


@dataclass(frozen=True, slots=True)
class Context:
    """An accepted presentation context, and the roles of this side in it."""

    id: int
    abstract_syntax: str
    transfer_syntax: str
    scu: bool = False
    scp: bool = True


@dataclass(frozen=True, slots=True)
class Message:
    """A command set and the context that it came in; its data set is to be read next, if it has one."""

    context: Context
    command: Command


class Channel:
    """An association as both sides use it once it is there.

    Parameters
    ----------
    wire : Wire
        The connection.
    contexts : iterable of Context
        What was accepted.
    max_length : int
        The longest PDU that the peer takes; 0 for any.
    seconds : float, optional
        How long an answer, or the next PDU of a message, may be awaited, instead of `MESSAGE_SECONDS`.
    """

    def __init__(self, wire: Wire, contexts: Iterable[Context], max_length: int, seconds: float | None = None) -> None:
        self.contexts: Final[Mapping[int, Context]] = {context.id: context for context in contexts}
        self.cancelled: set[int] = set()
        """Message IDs of requests that the peer has cancelled."""
        self._wire = wire
        self._seconds = MESSAGE_SECONDS if seconds is None else seconds
        self._requests = 0
        self._fragment = max(min(max_length or MAX_PDU, MAX_PDU), _SMALLEST_PDU) - 6 & ~1
        self._fragments: deque[tuple[int, int, memoryview]] = deque()

    def receive(self, wait: float) -> Message:
        """The next command set.

        Parameters
        ----------
        wait : float
            Seconds to wait for its first byte.

        Raises
        ------
        Released
            The peer wants to end the association instead.
        Aborted
            It, or its connection, has ended.
        Violation
            What came is no message.
        """
        parts: list[bytes] = []
        size, number = 0, None
        while True:
            context, control, data = self._next(wait)
            if not control & _COMMAND or number not in (None, context):
                raise Violation("no_command", UNEXPECTED_PDU)
            number, wait = context, self._seconds
            size += len(data)
            if size > MAX_COMMAND:
                raise Violation("command_too_long")
            parts.append(bytes(data))
            if control & _LAST:
                break
        found = self.contexts.get(number)
        if found is None:
            raise Violation("unknown_context", INVALID_PARAMETER)
        return Message(found, read_command(b"".join(parts)))

    def data_set(self, context: Context) -> Iterator[memoryview]:
        """The fragments of the data set of a message; each holds until the next is asked for."""
        last = False
        while not last:
            number, control, data = self._next(self._seconds)
            if control & _COMMAND or number != context.id:
                raise Violation("no_data_set", UNEXPECTED_PDU)
            last = bool(control & _LAST)
            yield data

    def identifier(self, context: Context, limit: int = MAX_IDENTIFIER) -> bytes:
        """A whole data set of at most ``limit`` bytes."""
        found = bytearray()
        for fragment in self.data_set(context):
            found += fragment
            if len(found) > limit:
                raise Violation("data_set_too_long")
        return bytes(found)

    def send(self, context: Context, command: bytes, data: Iterable[bytes | memoryview] = ()) -> None:
        """Send a message, its data set in PDUs as long as the peer takes them."""
        out = bytearray().join(self._pdus(context.id, _COMMAND, command))
        held = bytearray()
        any_data = False
        for piece in data:
            any_data = True
            held += piece
            start = 0
            while len(held) - start > self._fragment:  # what is full may still be the last
                out += b"".join(data_pdu(context.id, 0, memoryview(held)[start : start + self._fragment].tobytes()))
                start += self._fragment
                if len(out) >= MAX_PDU:
                    self._wire.send(out)
                    out = bytearray()
            del held[:start]
        if any_data:
            out += b"".join(data_pdu(context.id, _LAST, bytes(held)))
        self._wire.send(out)

    def answer(self, context: Context, data: bytes) -> None:
        """Send a response that is a command set alone, in one write."""
        self._wire.send(b"".join(self._pdus(context.id, _COMMAND, data)))

    def take_cancels(self) -> None:
        """Note what the peer has cancelled meanwhile, without waiting for anything."""
        while self._fragments or self._wire.waiting():
            self.note_cancel(self.receive(self._seconds))

    def note_cancel(self, message: Message) -> None:
        """Note a C-CANCEL-RQ; raises ``Violation`` for any other message, as one operation is performed at a time."""
        if message.command.field != C_CANCEL:
            raise Violation("unexpected_message", UNEXPECTED_PDU)
        self.cancelled.add(message.command.number(0x0120) or 0)

    def request(
        self,
        context: Context,
        field: int,
        values: Mapping[int, int | str],
        data: Iterable[bytes | memoryview] | None = None,
    ) -> Command:
        """Send a request and wait for its answer; a C-CANCEL-RQ that comes before it is noted.

        Parameters
        ----------
        context
            In which it goes.
        field
            What kind of request it is.
        values
            The elements of its command set, but for its Message ID.
        data
            Its data set in pieces, None for none.

        Raises
        ------
        AssociationEnded
            No answer came, or that to another request.
        """
        self._requests = self._requests % 0xFFFF + 1
        command = command_bytes(field, {MESSAGE_ID: self._requests, **values}, data_set=data is not None)
        self.send(context, command, () if data is None else data)
        while True:
            message = self.receive(self._seconds)
            answer = message.command
            if not answer.field & RESPONSE:
                self.note_cancel(message)
                continue
            if answer.field != field | RESPONSE or answer.number(ANSWERED_ID) != self._requests:
                raise Violation("other_answer", UNEXPECTED_PDU)
            if answer.has_data_set:
                self.identifier(message.context)
            return answer

    def release(self) -> None:
        """Ask the peer to release the association, and end it in any case."""
        try:
            self._wire.send(RELEASE_RQ_BYTES)
            while True:
                self._next(min(self._seconds, RELEASE_SECONDS))
        except AssociationEnded:
            self._wire.close()

    def confirm_release(self) -> None:
        """Tell the peer that the association is released, and let it close the connection."""
        try:
            self._wire.send(RELEASE_RP_BYTES)
        except Aborted:
            self._wire.close()
        else:
            self._wire.finish(_FINISH_SECONDS)

    def abort(self, reason: int | None = None) -> None:
        """Tell the peer that the association is over: by this side's user, or for a reason of the protocol."""
        abort(self._wire, reason)

    def _next(self, wait: float) -> tuple[int, int, memoryview]:
        """The next fragment: number of its context, control bits, data."""
        while not self._fragments:
            kind, body = self._wire.read(wait)
            if kind == P_DATA:
                self._take_apart(body)
            elif kind == RELEASE_RQ:
                raise Released
            elif kind in (ABORT, RELEASE_RP):
                raise Aborted("aborted")
            else:
                raise Violation("unexpected_pdu", UNEXPECTED_PDU)
        return self._fragments.popleft()

    def _take_apart(self, body: memoryview) -> None:
        """The fragments of one PDU (PS3.8 section 9.3.5.1)."""
        position = 0
        while position < len(body):
            length = int.from_bytes(body[position : position + 4], "big")
            end = position + 4 + length
            if length < 2 or end > len(body):
                raise Violation("fragment_damaged", INVALID_PARAMETER)
            self._fragments.append((body[position + 4], body[position + 5], body[position + 6 : end]))
            position = end
        if not body:
            raise Violation("pdu_empty", INVALID_PARAMETER)

    def _pdus(self, context: int, control: int, data: bytes) -> list[bytes | memoryview]:
        pieces: list[bytes | memoryview] = []
        for start in range(0, len(data), self._fragment):
            part = data[start : start + self._fragment]
            last = _LAST if start + self._fragment >= len(data) else 0
            pieces.extend(data_pdu(context, control | last, part))
        return pieces


def abort(wire: Wire, reason: int | None = None) -> None:
    """Tell a peer A-ABORT, by this side's user or for a reason of the protocol, and end the connection."""
    try:
        wire.send(abort_bytes(BY_USER if reason is None else BY_PROVIDER, reason or 0))
    except Aborted:
        wire.close()
    else:
        wire.finish(_FINISH_SECONDS)


def response(
    message: Message, status: int, more: Mapping[int, int | str] | None = None, *, data: bool = False
) -> bytes:
    """The command set of the response to a request (PS3.7 section 9.3 and 10.3)."""
    request = message.command
    values: dict[int, int | str] = {ANSWERED_ID: request.message_id, STATUS: status}
    if request.sop_class_uid:
        values[AFFECTED_CLASS] = request.sop_class_uid
    return command_bytes(request.field | RESPONSE, values | dict(more or {}), data_set=data)
