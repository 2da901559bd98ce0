"""How the worklist refuses: with a status, a sentence for a person, and where PS3.18 prescribes one a text for the
``Warning`` field."""

from typing import Final

from hilum.core.errors import HilumError

INCONSISTENT: Final = "The submitted request is inconsistent with the state of the UPS Instance."
INCONSISTENT_UPDATE: Final = "The submitted request is inconsistent with the current state of the Workitem."
NOT_CLAIMED: Final = "The target URI did not reference a claimed Workitem."
NO_TRANSACTION: Final = "The Transaction UID is missing."
WRONG_TRANSACTION: Final = "The Transaction UID is incorrect."
ALREADY_COMPLETED: Final = "The UPS is already COMPLETED."
NO_PERFORMER: Final = "The performer cannot be contacted."

_TITLES: Final = {400: "Bad request", 403: "Forbidden", 409: "Conflict"}


class Refusal(HilumError):
    """A request that the worklist does not fulfil.

    Parameters
    ----------
    status : int
        400, 403 or 409.
    sentence : str
        What is wrong, and the way out.
    warning : str
        Text of the ``Warning`` field, in the wording of PS3.18 chapter 11; empty for none.
    """

    def __init__(self, status: int, sentence: str, warning: str = "") -> None:
        super().__init__(sentence)
        self.status: int = status
        self.title: str = _TITLES[status]
        self.warning: Final = warning


def bad(sentence: str) -> Refusal:
    """The request cannot be understood."""
    return Refusal(400, sentence)
