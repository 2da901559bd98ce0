"""The DICOM listener put together: its settings checked, its services by the kind of request they answer."""

import socket
from collections.abc import Generator
from contextlib import contextmanager

from hilum.imaging.archive.store import Archive
from hilum.imaging.archive.together import Together
from hilum.imaging.dimse import command as c
from hilum.imaging.dimse.association import Manner, echo
from hilum.imaging.dimse.commitment import Commitments
from hilum.imaging.dimse.find import Finder
from hilum.imaging.dimse.listener import Listener
from hilum.imaging.dimse.negotiation import Policy
from hilum.imaging.dimse.peers import parse_sources
from hilum.imaging.dimse.receive import Receiver
from hilum.imaging.dimse.requestor import Connector
from hilum.imaging.dimse.retrieve import Retriever
from hilum.imaging.dimse.setup import check_settings, client_tls, tls_context


@contextmanager
def open_listener(archive: Archive, listening: socket.socket) -> Generator[Listener]:
    """Put the listener of a process together; leaving the block ends its associations.

    Raises
    ------
    Invalid
        A setting is none.
    """
    settings = archive.settings
    peers = check_settings(settings)
    sources = {settings.aet: "default", **parse_sources(settings.dicom_sources)}
    policy = Policy(sources, frozenset(peers) or None, settings.dicom_private_classes)
    together = Together(archive)
    connector = Connector(client_tls(settings))
    receiver = Receiver(archive, together, policy.is_storage)
    commitments = Commitments(archive.database, peers, connector)
    retriever = Retriever(archive, peers, connector)
    services = {
        c.C_ECHO: echo,
        c.C_STORE: receiver.receive,
        c.C_FIND: Finder(archive).find,
        c.C_GET: retriever.get,
        c.C_MOVE: retriever.move,
        c.N_ACTION: commitments.request,
        c.N_EVENT_REPORT | c.RESPONSE: commitments.reported,
    }
    manner = Manner(archive, policy, services, settings.dicom_idle_seconds)
    listener = Listener(listening, manner, settings.dicom_max_associations, tls_context(settings))
    commitments.start()
    try:
        yield listener
    finally:
        listener.stop()
        commitments.stop()
        together.close()
