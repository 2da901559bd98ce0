"""Unique identifiers (PS3.5 section 9): whether one is well formed, and what the registered ones are called (PS3.6)."""

import re
from typing import Final

_VIDEO: Final = re.compile(r"1\.2\.840\.10008\.1\.2\.4\.10[0-8](\.1)?")
_UID: Final = re.compile(r"[0-9]+(?:\.[0-9]+)*", re.ASCII)
# JPEG and its kin, RLE, encapsulated uncompressed, deflated image frames.
_ENCAPSULATED: Final = (
    "1.2.840.10008.1.2.4.",
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.1.98",
    "1.2.840.10008.1.2.8.",
)


def check_uid(uid: str) -> bool:
    """Whether a text is a UID: digits parted by single points, at most 64 characters.

    A leading zero in a component, which PS3.5 forbids and devices write, is let pass.
    """
    return len(uid) <= 64 and _UID.fullmatch(uid) is not None


def uid_name(uid: str) -> str:
    """The registered name of a SOP class or transfer syntax, the UID itself when there is none."""
    from pydicom.uid import UID

    return UID(uid).name


def is_compressed(transfer_syntax_uid: str) -> bool:
    """Whether pixels of this transfer syntax are encapsulated in fragments (PS3.5 section A.4)."""
    return transfer_syntax_uid.startswith(_ENCAPSULATED)


def is_video(transfer_syntax_uid: str) -> bool:
    """Whether the pixels are one video stream (MPEG-2, H.264, HEVC), whose frames no offset tells apart."""
    return _VIDEO.fullmatch(transfer_syntax_uid) is not None
