"""The application entities that are known by a setting: who may associate, and where C-MOVE and storage commitment
find them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from hilum.core.errors import Invalid

_TITLE: Final = re.compile(r"[\x20-\x5b\x5d-\x7e]{1,16}")
_RELAYED: Final = re.compile(r"nats:([A-Za-z0-9_-]{1,64})")
_PLACE: Final = re.compile(r"(tls://)?(\[[0-9A-Fa-f:.]+\]|[^:/\[\]@\s]+):([0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a peer listens: at an address, or behind the proxies of a relay's channel."""

    host: str
    port: int
    tls: bool = False
    channel: str = ""


def check_title(title: str) -> str:
    """Give an AE title back if it is one (PS3.5 section 6.2, AE).

    Raises
    ------
    Invalid
        It is not.
    """
    if not _TITLE.fullmatch(title) or title != title.strip():
        raise Invalid("An AE title has 1 to 16 characters of ASCII, no backslash, and no blank at either end.")
    return title


def parse_peers(entries: Sequence[str]) -> Mapping[str, Place | None]:
    """Read the AE list: ``TITLE``, ``TITLE=host:port``, ``TITLE=tls://host:port`` or ``TITLE=nats:channel``.

    Raises
    ------
    Invalid
        An entry is of no such form, or a title is listed twice.
    """
    peers: dict[str, Place | None] = {}
    for entry in entries:
        title, given, text = entry.partition("=")
        title = check_title(title.strip())
        if title in peers:
            raise Invalid(f"{title} is listed twice in HILUM_DICOM_PEERS.")
        peers[title] = _place(title, text.strip()) if given else None
    return peers


def _place(title: str, text: str) -> Place:
    relayed = _RELAYED.fullmatch(text)
    if relayed is not None:
        return Place("", 0, channel=relayed[1])
    match = _PLACE.fullmatch(text)
    if match is None or not 0 < int(match[3]) < 1 << 16:
        raise Invalid(f"Where {title} listens is written TITLE=host:port, TITLE=tls://host:port or TITLE=nats:channel.")
    return Place(match[2].strip("[]"), int(match[3]), bool(match[1]))


def parse_sources(entries: Sequence[str]) -> Mapping[str, str]:
    """Read the further titles that Hilum answers to: ``TITLE=source``.

    Raises
    ------
    Invalid
        An entry is of no such form.
    """
    found: dict[str, str] = {}
    for entry in entries:
        title, _, source = entry.partition("=")
        if not source.strip():
            raise Invalid("HILUM_DICOM_SOURCES lists AE titles with the source behind each, TITLE=source.")
        found[check_title(title.strip())] = source.strip()
    return found
