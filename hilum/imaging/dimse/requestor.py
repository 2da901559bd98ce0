"""Associations that Hilum asks for: to send instances where C-MOVE says, and to report on storage commitment."""

import socket
import ssl
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from hilum.core.errors import Unavailable
from hilum.imaging.dimse.channel import Channel, Context, abort
from hilum.imaging.dimse.pdu import (
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    AssociateRequest,
    Proposed,
    Roles,
    read_accept,
    request_bytes,
)
from hilum.imaging.dimse.peers import Place
from hilum.imaging.dimse.problems import UNEXPECTED_PDU, AssociationEnded, Violation
from hilum.imaging.dimse.wire import Wire

CONNECT_SECONDS: Final = 15.0
ANSWER_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Connector:
    """Opens associations with peers, by TLS where their place says so."""

    tls: ssl.SSLContext

    @contextmanager
    def associate(
        self,
        place: Place,
        calling: str,
        called: str,
        contexts: Sequence[tuple[str, Sequence[str]]],
        roles: dict[str, Roles] | None = None,
    ) -> Generator[Channel]:
        """Associate with a peer; released at the end of the block, aborted when it is left by an exception.

        Parameters
        ----------
        place : Place
            Where the peer listens.
        calling, called : str
            The AE titles of this side and of the peer.
        contexts : sequence of tuple
            SOP class and transfer syntaxes of each presentation context, at most 128.
        roles : dict of str to Roles, optional
            The roles that are proposed for a SOP class.

        Raises
        ------
        Unavailable
            The peer is not there, or refuses.
        """
        proposed = [Proposed(2 * n + 1, uid, tuple(syntaxes)) for n, (uid, syntaxes) in enumerate(contexts)]
        wire = Wire(self._connect(place))
        try:
            channel = _negotiate(wire, AssociateRequest(called, calling, tuple(proposed), roles=roles or {}))
        except AssociationEnded as error:
            if isinstance(error, Violation):
                abort(wire, error.reason)
            wire.close()
            raise Unavailable(f"{called} does not associate.") from error
        try:
            yield channel
        except BaseException:
            channel.abort()
            raise
        channel.release()

    def _connect(self, place: Place) -> socket.socket:
        try:
            connection = socket.create_connection((place.host, place.port), timeout=CONNECT_SECONDS)
            return self.tls.wrap_socket(connection, server_hostname=place.host) if place.tls else connection
        except (OSError, ValueError) as error:
            raise Unavailable(f"Nothing answers DICOM at {place.host} port {place.port}.") from error


def _negotiate(wire: Wire, request: AssociateRequest) -> Channel:
    wire.send(request_bytes(request))
    kind, body = wire.read(ANSWER_SECONDS)
    if kind == ASSOCIATE_RJ:
        raise Unavailable(f"{request.called} refuses the association.")
    if kind != ASSOCIATE_AC:
        raise Violation("no_accept", UNEXPECTED_PDU)
    accept = read_accept(bytes(body))
    proposed = {one.id: one for one in request.contexts}
    contexts = [
        Context(one.id, proposed[one.id].abstract_syntax, one.transfer_syntax, scu=True, scp=False)
        for one in accept.contexts
        if one.result == 0 and one.id in proposed and one.transfer_syntax in proposed[one.id].transfer_syntaxes
    ]
    return Channel(wire, contexts, accept.max_length)
