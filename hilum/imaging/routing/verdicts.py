"""What the status of a C-STORE, or the reason in a STOW answer, means for an instance: they are of one family (PS3.7
annex C, PS3.4 table B.2-1, PS3.18 table I.2-2)."""

from typing import Final

from hilum.imaging.routing.queue import Item, Result

TRANSFER_SYNTAX: Final = 0xC122
_DUPLICATE: Final = 0x0111
_PERMANENT: Final = {
    0x0106: "an attribute has a value that it does not take",
    0x0117: "it takes the SOP Instance UID for none",
    0x0122: "it does not take this SOP class",
    TRANSFER_SYNTAX: "it does not take this transfer syntax",
}
_PASSING: Final = {
    0x0110: "it failed to process the instance",
    0x0124: "it does not allow us to store",
    0x0210: "it has this message already",
    0x0211: "it does not know the operation",
}
_WARNINGS: Final = {
    0xB000: "It changed values of the data set.",
    0xB006: "It left out attributes that it does not know.",
    0xB007: "It found that the data set does not match its SOP class.",
    _DUPLICATE: "It had other bytes for the same SOP Instance UID.",
}


def stored(item: Item, warning: int = 0) -> Result:
    """It was stored, perhaps with something to tell."""
    if not warning:
        return Result(item, sent=True)
    return Result(item, sent=True, warning=_WARNINGS.get(warning, f"It warned (0x{warning:04X})."))


def failed(item: Item, status: int) -> Result:
    """It was not stored."""
    if status & 0xFF00 == 0xA700:
        return Result(item, sent=False, halt=True, error=f"Refused with 0x{status:04X}: it is out of resources.")
    if status == _DUPLICATE:
        if item.uncertain:  # it is what came when nobody lived to hear the answer
            return Result(item, sent=True)
        reason, permanent = "it has another instance with this SOP Instance UID, and keeps it", True
    elif status in _PERMANENT:
        reason, permanent = _PERMANENT[status], True
    elif status & 0xFF00 == 0xA900:
        reason, permanent = "the data set does not match its SOP class or study", True
    elif status & 0xF000 == 0xC000:
        reason, permanent = "it cannot understand the instance", True
    else:
        reason, permanent = _PASSING.get(status, "the standard does not say what that means"), False
    return Result(item, sent=False, permanent=permanent, error=f"Refused with 0x{status:04X}: {reason}.")


def by_status(item: Item, status: int) -> Result:
    """What the status of a C-STORE response says."""
    if status == 0:
        return stored(item)
    return stored(item, status) if status & 0xF000 == 0xB000 else failed(item, status)
