"""Instances to a destination by C-STORE (PS3.4 annex B): many on one association, each in the transfer syntax it is
stored in where the destination takes that, else converted. The association itself is ``imaging.dimse``'s."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager

from hilum.core.errors import HilumError, Unavailable
from hilum.imaging.archive.store import Archive
from hilum.imaging.dimse.channel import Channel
from hilum.imaging.dimse.negotiation import PLAIN_SYNTAXES, VERIFICATION
from hilum.imaging.dimse.peers import Place
from hilum.imaging.dimse.problems import AssociationEnded
from hilum.imaging.dimse.requestor import Connector, NotAssociated, Proposal, ask_echo, store
from hilum.imaging.dimse.send import UNREADABLE, NoForm, formed, proposals, proposals_for
from hilum.imaging.routing.destinations import Destination
from hilum.imaging.routing.queue import Item, Result
from hilum.imaging.routing.trouble import Unreachable, tls_context
from hilum.imaging.routing.verdicts import by_status


def send(archive: Archive, destination: Destination, items: Sequence[Item]) -> Iterator[Result]:
    """Send instances, and tell of each as soon as it is answered; what is not told of was not sent.

    Raises
    ------
    Unreachable
        Nobody takes the association.
    Unavailable
        The archive cannot read it now.
    """
    forced = destination.address.transfer_syntax_uid
    wanted = proposals([item.instance for item in items], forced)
    item = items[0]
    try:
        with _associated(destination, wanted) as channel:
            for item in items:
                if not set(proposals_for(item.instance, forced)) <= set(wanted):
                    continue  # it is for the next association
                result = _send(archive, channel, item, forced)
                yield result
                if result.halt:
                    return
    except AssociationEnded as error:
        sentence = f"The association ended before an answer came ({error})."
        yield Result(item, sent=False, halt=True, uncertain=True, error=sentence)
    except Unavailable:
        raise
    except UNREADABLE as error:  # its bytes ended before they should
        sentence = str(error) if isinstance(error, HilumError) else "The instance's bytes cannot be read."
        yield Result(item, sent=False, permanent=True, error=sentence)


def _send(archive: Archive, channel: Channel, item: Item, forced: str) -> Result:
    try:
        context, pieces = formed(archive, item.instance, channel.contexts.values(), forced)
    except NoForm as error:
        return Result(item, sent=False, permanent=True, error=str(error))
    return by_status(item, store(channel, context, item.sop_instance_uid, pieces))


def check(destination: Destination) -> str:
    """Ask a destination for a sign of life by C-ECHO, and say how it went.

    Raises
    ------
    Unreachable
        It gave none.
    """
    try:
        with _associated(destination, [(VERIFICATION, PLAIN_SYNTAXES)]) as channel:
            context = next(iter(channel.contexts.values()), None)
            if context is None:
                return "It takes the association, but not a C-ECHO."
            status = ask_echo(channel, context)
    except AssociationEnded as error:
        raise Unreachable(f"The association ended before an answer came ({error}).") from error
    if status:
        raise Unreachable(f"It answered the C-ECHO with 0x{status:04X}.")
    return "It answered the C-ECHO."


@contextmanager
def _associated(destination: Destination, wanted: Sequence[Proposal]) -> Generator[Channel]:
    address = destination.address
    connector = Connector(tls_context(destination), address.timeout_seconds)
    place = Place(address.host, address.port, address.tls)
    try:
        with connector.associate(place, address.calling_ae_title, address.called_ae_title, wanted) as channel:
            yield channel
    except NotAssociated as error:
        raise Unreachable(str(error)) from error
