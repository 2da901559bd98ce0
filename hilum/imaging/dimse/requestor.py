"""Associations that Hilum asks for (PS3.8 section 9.1.1): to send instances where C-MOVE, a rule of forwarding or a
proxy's store says, to report on storage commitment, and to ask for a sign of life. What is sent is for the callers."""

import socket
import ssl
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeAlias

from hilum.core.errors import Unavailable
from hilum.imaging.dimse import command as c
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

CONNECT_SECONDS: Final = 10.0
ANSWER_SECONDS: Final = 60.0

Proposal: TypeAlias = tuple[str, tuple[str, ...]]
"""A presentation context to be: a SOP class, and its transfer syntaxes, the best first."""

# PS3.8 table 9-21, by source and reason.
_REJECTIONS: Final[Mapping[tuple[int, int], str]] = {
    (1, 1): "it gives no reason",
    (1, 2): "it does not know the application context",
    (1, 3): "it does not know the calling AE title",
    (1, 7): "it does not know the called AE title",
    (2, 2): "it does not speak this version of the protocol",
    (3, 1): "it is congested for the moment",
    (3, 2): "it has as many associations as it takes",
}


class NotAssociated(Unavailable):
    """There is nobody, or nobody who takes the association; the sentence says which."""


@dataclass(frozen=True, slots=True)
class Connector:
    """Opens associations with peers, by TLS where their place says so.

    Parameters
    ----------
    tls : ssl.SSLContext
        Whom to trust, and what to show.
    seconds : float
        How long a peer may take for an answer.
    """

    tls: ssl.SSLContext
    seconds: float = ANSWER_SECONDS

    @contextmanager
    def associate(
        self,
        place: Place,
        calling: str,
        called: str,
        proposals: Sequence[Proposal],
        roles: dict[str, Roles] | None = None,
    ) -> Generator[Channel]:
        """Associate with a peer; released at the end of the block, aborted when it is left by an exception.

        Parameters
        ----------
        place : Place
            Where the peer listens.
        calling, called : str
            The AE titles of this side and of the peer.
        proposals : sequence of tuple
            The presentation contexts to propose, at most 128.
        roles : dict of str to Roles, optional
            The roles that are proposed for a SOP class.

        Raises
        ------
        NotAssociated
            The peer is not there, or refuses.
        """
        wire = Wire(self._connect(place), self.seconds)
        with requested(wire, calling, called, proposals, roles, self.seconds) as channel:
            yield channel

    def _connect(self, place: Place) -> socket.socket:
        try:
            connection = socket.create_connection((place.host, place.port), CONNECT_SECONDS)
        except (OSError, ValueError) as error:
            raise NotAssociated(f"Nobody answers at {place.host}, port {place.port}.") from error
        try:
            return self.tls.wrap_socket(connection, server_hostname=place.host) if place.tls else connection
        except (OSError, ValueError) as error:
            connection.close()
            raise NotAssociated("TLS could not be agreed on with it; see its certificate and ours.") from error


@contextmanager
def requested(
    wire: Wire,
    calling: str,
    called: str,
    proposals: Sequence[Proposal],
    roles: dict[str, Roles] | None = None,
    seconds: float = ANSWER_SECONDS,
) -> Generator[Channel]:
    """Associate on a connection, which is closed in any case; see `Connector.associate`."""
    proposed = tuple(Proposed(2 * n + 1, uid, syntaxes) for n, (uid, syntaxes) in enumerate(proposals))
    try:
        channel = _negotiate(wire, AssociateRequest(called, calling, proposed, roles=roles or {}), seconds)
    except NotAssociated:
        wire.close()
        raise
    except AssociationEnded as error:
        if isinstance(error, Violation):
            abort(wire, error.reason)
        wire.close()
        raise NotAssociated("It did not answer as a DICOM node does.") from error
    try:
        yield channel
    except BaseException:
        channel.abort()
        raise
    channel.release()


def _negotiate(wire: Wire, request: AssociateRequest, seconds: float) -> Channel:
    wire.send(request_bytes(request))
    kind, body = wire.read(seconds)
    if kind == ASSOCIATE_RJ and len(body) >= 4:
        reason = _REJECTIONS.get((body[2], body[3]), "for a reason that the standard does not name")
        raise NotAssociated(f"It rejected the association: {reason}.")
    if kind != ASSOCIATE_AC:
        raise Violation("no_accept", UNEXPECTED_PDU)
    accept = read_accept(bytes(body))
    proposed = {one.id: one for one in request.contexts}
    contexts = [
        Context(one.id, proposed[one.id].abstract_syntax, one.transfer_syntax, scu=True, scp=False)
        for one in accept.contexts
        if one.result == 0 and one.id in proposed and one.transfer_syntax in proposed[one.id].transfer_syntaxes
    ]
    return Channel(wire, contexts, accept.max_length, seconds)


def store(
    channel: Channel,
    context: Context,
    sop_instance_uid: str,
    data_set: Iterable[bytes | memoryview],
    originator: Mapping[int, int | str] | None = None,
) -> int:
    """Store an instance with a peer (PS3.7 section 9.1.1) and give the status that it answers.

    Parameters
    ----------
    channel, context
        The association, and the presentation context of the instance's class and transfer syntax.
    sop_instance_uid
        Of the instance.
    data_set
        Its data set in that transfer syntax, without File Meta Information, in pieces of any size.
    originator
        The elements that name the C-MOVE which it is part of.

    Raises
    ------
    AssociationEnded
        Whether the instance was stored is not known.
    """
    values = {c.AFFECTED_CLASS: context.abstract_syntax, c.PRIORITY: 0, c.AFFECTED_INSTANCE: sop_instance_uid}
    return channel.request(context, c.C_STORE, values | dict(originator or {}), data_set).status


def ask_echo(channel: Channel, context: Context) -> int:
    """Ask for a sign of life (PS3.7 section 9.1.5) and give the status; errors as of `store`."""
    return channel.request(context, c.C_ECHO, {c.AFFECTED_CLASS: context.abstract_syntax}).status
