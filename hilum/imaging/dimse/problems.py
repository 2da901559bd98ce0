"""How an association goes wrong: what ends it, each with what the peer is told."""

from typing import Final

# Sources and reasons of A-ABORT (PS3.8 section 9.3.8).
BY_USER: Final = 0
BY_PROVIDER: Final = 2
NOT_SPECIFIED: Final = 0
UNRECOGNIZED_PDU: Final = 1
UNEXPECTED_PDU: Final = 2
UNEXPECTED_PARAMETER: Final = 5
INVALID_PARAMETER: Final = 6


class AssociationEnded(Exception):
    """The association is over; nothing more is said to the peer."""


class Released(AssociationEnded):
    """The peer asks to release the association, and is still to be told yes."""


class Aborted(AssociationEnded):
    """The peer aborted the association, or its connection is gone."""


class Violation(AssociationEnded):
    """The peer broke a rule of the protocol, or is too slow: it is told A-ABORT.

    Parameters
    ----------
    what : str
        A code for the log.
    reason : int
        Reason of the A-ABORT; 0 when it is by the user of the service.
    """

    def __init__(self, what: str, reason: int = NOT_SPECIFIED) -> None:
        super().__init__(what)
        self.what: Final = what
        self.reason: Final = reason


class Rejected(AssociationEnded):
    """The association is refused before it begins.

    Parameters
    ----------
    what : str
        A code for the log.
    result, source, reason : int
        As PS3.8 section 9.3.4 numbers them.
    """

    def __init__(self, what: str, result: int, source: int, reason: int) -> None:
        super().__init__(what)
        self.what: Final = what
        self.answer: Final = (result, source, reason)
