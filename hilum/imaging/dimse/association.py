"""One association of which Hilum is the acceptor, from its first byte to its last (PS3.8 section 9.2): negotiated,
served message by message, and ended in order whatever the peer does. What a message is answered is for ``services``."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from hilum.core.errors import HilumError
from hilum.imaging.archive.store import Archive
from hilum.imaging.dimse import command as c
from hilum.imaging.dimse import status as s
from hilum.imaging.dimse.channel import Channel, Message, abort, response
from hilum.imaging.dimse.negotiation import Policy
from hilum.imaging.dimse.pdu import ABORT, ASSOCIATE_RQ, AssociateRequest, accept_bytes, read_request, reject_bytes
from hilum.imaging.dimse.problems import UNEXPECTED_PDU, Aborted, Rejected, Released, Violation
from hilum.imaging.dimse.receive import Caller
from hilum.imaging.dimse.wire import Wire

ARTIM_SECONDS: Final = 30.0
"""How long a connection may take to ask for an association (PS3.8 section 9.1.5)."""
_FINISH_SECONDS: Final = 2.0

log = structlog.get_logger()

Answer = Callable[[Caller, Channel, Message], None]


@dataclass(frozen=True, slots=True)
class Manner:
    """How associations are served.

    Attributes
    ----------
    policy : Policy
        Who may associate.
    services : mapping of int to callable
        What answers each kind of request, by its command field.
    idle_seconds : float
        How long an association may rest between two messages.
    """

    archive: Archive
    policy: Policy
    services: dict[int, Answer]
    idle_seconds: float


class Association:
    """An association that a peer asked for; `run` is its thread's life."""

    def __init__(self, number: int, wire: Wire, manner: Manner, refusal: Callable[[], Rejected | None]) -> None:
        self.busy: bool = False
        """Whether a message is being answered: to be waited for when the listener ends."""
        self._number = number
        self._wire = wire
        self._manner = manner
        self._refusal = refusal
        self._stopping = False

    def run(self) -> None:
        """Serve it to its end; nothing is raised."""
        began = time.monotonic()
        messages, end = 0, "released"
        try:
            request = self._request()
            channel, caller = self._accept(request)
            log.info(
                "dimse.associated", association=self._number, calling=request.calling, contexts=len(channel.contexts),
                identified=request.identified,
            )  # fmt: skip
            while True:
                self.busy = False
                if self._stopping:
                    channel.abort()
                    end = "stopping"
                    break
                message = channel.receive(self._manner.idle_seconds)
                self.busy = True
                messages += 1
                self._answer(caller, channel, message)
        except Released:
            self._channel_end()
        except Aborted as error:
            end = str(error)
            self._wire.close()
        except Rejected as error:
            end = error.what
            self._reject(error)
        except Violation as error:
            end = error.what
            abort(self._wire, error.reason)
        except Exception:
            log.exception("dimse.failed", association=self._number)
            end = "failed"
            abort(self._wire)
        finally:
            seconds = round(time.monotonic() - began, 3)
            log.info("dimse.ended", association=self._number, how=end, messages=messages, seconds=seconds)

    def stop(self) -> None:
        """End it once the message that is being answered is; called by another thread."""
        self._stopping = True
        if not self.busy:
            self._wire.close()

    def _request(self) -> AssociateRequest:
        kind, body = self._wire.read(ARTIM_SECONDS)
        if kind == ABORT:
            raise Aborted("aborted")
        if kind != ASSOCIATE_RQ:
            raise Violation("no_association", UNEXPECTED_PDU)
        return read_request(bytes(body))

    def _accept(self, request: AssociateRequest) -> tuple[Channel, Caller]:
        refusal = self._refusal()
        if refusal is not None:
            raise refusal
        policy = self._manner.policy
        policy.check(request)
        try:
            source = self._manner.archive.source(policy.source(request.called) or "")
        except HilumError as error:  # the database is away: later perhaps
            raise Rejected("no_source", 2, 3, 1) from error
        accept, contexts = policy.decide(request)
        self._wire.send(accept_bytes(request, accept))
        channel = Channel(self._wire, contexts, request.max_length)
        return channel, Caller(self._number, request.calling, request.called, source)

    def _answer(self, caller: Caller, channel: Channel, message: Message) -> None:
        field = message.command.field
        answer = self._manner.services.get(field)
        if answer is not None:
            answer(caller, channel, message)
        elif field == c.C_CANCEL:
            return  # of what has been answered already
        elif field & c.RESPONSE:
            raise Violation("unexpected_response", UNEXPECTED_PDU)
        else:
            if message.command.has_data_set:
                channel.identifier(message.context)
            channel.answer(message.context, response(message, s.UNKNOWN_OPERATION))

    def _channel_end(self) -> None:
        Channel(self._wire, (), 0).confirm_release()

    def _reject(self, error: Rejected) -> None:
        log.warning("dimse.rejected", association=self._number, why=error.what)
        try:
            self._wire.send(reject_bytes(*error.answer))
        except Aborted:
            self._wire.close()
        else:
            self._wire.finish(_FINISH_SECONDS)


def echo(_: Caller, channel: Channel, message: Message) -> None:
    """Answer a C-ECHO-RQ (PS3.7 section 9.1.5)."""
    if message.command.has_data_set:
        channel.identifier(message.context)
    channel.answer(message.context, response(message, s.SUCCESS))
