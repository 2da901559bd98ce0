"""Associations that a proxy serves itself: it takes C-STORE into its folder and answers C-ECHO; whatever needs the
other end is answered with a failure that says so."""

import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import structlog

from hilum.core.config import Settings
from hilum.imaging.dimse import command as c
from hilum.imaging.dimse import status as s
from hilum.imaging.dimse.channel import Channel, Message, abort, response
from hilum.imaging.dimse.negotiation import VERIFICATION, Policy
from hilum.imaging.dimse.pdu import AssociateRequest, accept_bytes, reject_bytes
from hilum.imaging.dimse.problems import UNEXPECTED_PDU, Aborted, Rejected, Released, Violation
from hilum.imaging.dimse.storing import Inspect, take_instance
from hilum.imaging.dimse.wire import Wire
from hilum.imaging.relay import counts
from hilum.imaging.relay.carrier import Carrier
from hilum.imaging.relay.spool import Letter, Spool

_FINISH_SECONDS: Final = 2.0
_AWAY: Final = "Hilum cannot be reached now; ask again later."
_FAILURES: Final = {
    c.C_FIND: s.OUT_OF_RESOURCES,
    c.C_MOVE: s.NO_SUBOPERATIONS,
    c.C_GET: s.NO_SUBOPERATIONS,
    c.N_ACTION: s.PROCESSING,
}

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Keeper:
    """Serves associations with a folder behind them."""

    spool: Spool
    settings: Settings
    carrier: Carrier

    def first(self, request: AssociateRequest) -> bool:
        """Whether an association is served here although somebody might answer it: by setting, if it asks for no more
        than storage and verification; in any case while NATS is away."""
        if not self.carrier.connected:
            return True
        policy = self._policy(request)
        simple = all(
            one.abstract_syntax == VERIFICATION or policy.is_storage(one.abstract_syntax) for one in request.contexts
        )
        return self.settings.relay_keep_always and simple

    def serve(self, connection: socket.socket, request: AssociateRequest) -> None:
        """Serve an association to its end; nothing is raised."""
        wire = Wire(connection)
        try:
            self._serve(wire, request)
        except Released:
            Channel(wire, (), 0).confirm_release()
        except Aborted:
            wire.close()
        except Rejected as error:
            counts.REJECTED.labels(error.what).inc()
            with suppress(Aborted):
                wire.send(reject_bytes(*error.answer))
            wire.finish(_FINISH_SECONDS)
        except Violation as error:
            abort(wire, error.reason)
        except Exception:
            log.exception("relay.keep_failed")
            abort(wire)

    def _policy(self, request: AssociateRequest) -> Policy:
        return Policy({request.called: ""}, private_classes=self.settings.dicom_private_classes)

    def _serve(self, wire: Wire, request: AssociateRequest) -> None:
        policy = self._policy(request)
        policy.check(request)
        accept, contexts = policy.decide(request)
        counts.ASSOCIATIONS.labels("kept").inc()
        wire.send(accept_bytes(request, accept))
        channel = Channel(wire, contexts, request.max_length)
        log.info("relay.keeping", calling=request.calling, contexts=len(contexts))
        while True:
            message = channel.receive(self.settings.dicom_idle_seconds)
            field = message.command.field
            if field == c.C_STORE:
                self._store(policy, channel, message, request)
            elif field & c.RESPONSE:
                raise Violation("unexpected_response", UNEXPECTED_PDU)
            elif field != c.C_CANCEL:
                if message.command.has_data_set:
                    channel.identifier(message.context)
                status = s.SUCCESS if field == c.C_ECHO else _FAILURES.get(field, s.UNKNOWN_OPERATION)
                more: dict[int, int | str] = {} if status == s.SUCCESS else {c.ERROR_COMMENT: _AWAY}
                channel.answer(message.context, response(message, status, more))

    def _store(self, policy: Policy, channel: Channel, message: Message, request: AssociateRequest) -> None:
        def keep(start: bytes, data: Iterator[memoryview], inspect: Inspect) -> tuple[int, str]:
            letter = Letter(
                called=request.called, calling=request.calling, sop_class_uid=message.command.sop_class_uid,
                sop_instance_uid=message.command.text(c.AFFECTED_INSTANCE),
                transfer_syntax_uid=message.context.transfer_syntax,
            )  # fmt: skip
            self.spool.keep(letter, start, data, inspect, self.settings.max_instance_bytes)
            return s.SUCCESS, ""

        status, fields = take_instance(channel, message, request.calling, policy.is_storage, keep)
        counts.INSTANCES.labels("kept" if status == s.SUCCESS else "not_taken").inc()
        if status != s.SUCCESS:
            log.warning("relay.not_kept", status=f"{status:04X}")
        channel.answer(message.context, response(message, status, fields))
