"""Status codes of DIMSE answers (PS3.7 annex C, PS3.4 sections B.2.3, C.4 and J.3), and which of them tells of what
the archive said."""

from collections.abc import Mapping
from typing import Final

from hilum.core.errors import HilumError, OutOfSpace, TooLarge
from hilum.imaging.archive.arrivals import Outcome

SUCCESS: Final = 0x0000
CANCELLED: Final = 0xFE00
PENDING: Final = 0xFF00
PENDING_WARNING: Final = 0xFF01
WARNING: Final = 0xB000

PROCESSING: Final = 0x0110
DUPLICATE: Final = 0x0111
NO_SUCH_INSTANCE: Final = 0x0112
INVALID_ARGUMENT: Final = 0x0115
INVALID_INSTANCE: Final = 0x0117
CLASS_CONFLICT: Final = 0x0119
NO_SUCH_CLASS: Final = 0x0122
NO_SUCH_ACTION: Final = 0x0123
UNKNOWN_OPERATION: Final = 0x0211
OUT_OF_RESOURCES: Final = 0xA700
NO_SUBOPERATIONS: Final = 0xA702
UNKNOWN_DESTINATION: Final = 0xA801
MISMATCH: Final = 0xA900
CANNOT_UNDERSTAND: Final = 0xC000

_OF_CODE: Final[Mapping[str, int]] = {
    "patient_conflict": MISMATCH,
    "sop_instance_uid_taken": DUPLICATE,
    "replacement_rejected": DUPLICATE,
}


def of_outcome(outcome: Outcome) -> int:
    """The status that tells what became of an instance (PS3.4 section B.2.3)."""
    if outcome.state != "set_aside":
        return SUCCESS
    return _OF_CODE.get(outcome.code, CANNOT_UNDERSTAND)


def of_error(error: Exception) -> int:
    """The status for an error of the archive: out of resources for lack of space, else that processing failed."""
    return OUT_OF_RESOURCES if isinstance(error, (OutOfSpace, TooLarge)) else PROCESSING


def comment(error: object) -> str:
    """Error Comment (0000,0902) of at most 64 characters; what is no sentence for people is left out."""
    if not isinstance(error, (HilumError, Outcome)):
        return ""
    text = error.reason if isinstance(error, Outcome) else str(error)
    return text if len(text) <= 64 else text[:61] + "..."
