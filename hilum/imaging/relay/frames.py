"""The messages of the relay as they stand on the bus: their layout, their subjects, and what opens an association. The
layout is written down for other languages in docs/reference/relay.md; what a message does is for ``stream``."""

import re
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Literal
from uuid import UUID

import msgspec
from blake3 import blake3

from hilum.core.errors import Invalid

VERSION: Final = 1
CHUNK: Final = 256 << 10
"""Most bytes of a connection that one message carries."""
MAX_OPENING: Final = 1 << 10
QUEUE: Final = "hilum-relay"
"""The queue group of all who answer the openings of a channel."""

_MAGIC: Final = b"HLMR"
_HEADER: Final = struct.Struct(">4sBBBx16sQI")
_CHECK: Final = 16
HEADER: Final = _HEADER.size + _CHECK
LONGEST: Final = HEADER + CHUNK
"""Bytes of the longest message."""
_CHANNEL: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")

Way = Literal["in", "out"]
"""Whether an association is opened by the edge, or towards it."""


class Kind(IntEnum):
    """What a message is."""

    OPEN = 1
    ACCEPT = 2
    REFUSE = 3
    DATA = 4
    ACK = 5
    END = 6
    ABORT = 7


_KINDS: Final = frozenset(int(kind) for kind in Kind)


@dataclass(frozen=True, slots=True)
class Packet:
    """What a message says, apart from whose it is: its kind, number and body."""

    kind: Kind
    sequence: int = 0
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Frame:
    """A whole message: what it says, of which association, and whether the opener of that sent it."""

    association: UUID
    from_opener: bool
    packet: Packet


class NotRelay(ValueError):
    """The bytes are no message of the relay, or are damaged."""


class OtherVersion(NotRelay):
    """The message is of a version that is not spoken here."""


class Opening(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of OPEN and of ACCEPT: who sends it, and of OPEN the AE titles of the association."""

    peer: str
    called: str = ""
    calling: str = ""


class Refusal(msgspec.Struct, frozen=True):
    """The body of REFUSE."""

    reason: str


def frame_bytes(frame: Frame) -> bytes:
    """A message as it is sent."""
    packet = frame.packet
    head = _HEADER.pack(
        _MAGIC, VERSION, packet.kind, 0 if frame.from_opener else 1, frame.association.bytes, packet.sequence,
        len(packet.body),
    )  # fmt: skip
    return b"".join((head, _digest(head, packet.body), packet.body))


def read_frame(data: bytes) -> Frame:
    """Read a message.

    Raises
    ------
    NotRelay
        It is none, is longer than any may be, or is damaged.
    OtherVersion
        It is one of another version.
    """
    if not HEADER <= len(data) <= LONGEST or data[:4] != _MAGIC:
        raise NotRelay("foreign")
    if data[4] != VERSION:
        raise OtherVersion("version")
    _, _, kind, side, association, sequence, length = _HEADER.unpack_from(data)
    body = data[HEADER:]
    if len(body) != length or side > 1 or kind not in _KINDS:
        raise NotRelay("damaged")
    if data[_HEADER.size : HEADER] != _digest(data[: _HEADER.size], body):
        raise NotRelay("damaged")
    return Frame(UUID(bytes=association), side == 0, Packet(Kind(kind), sequence, body))


def read_opening(packet: Packet) -> Opening:
    """The body of OPEN or ACCEPT; raises `NotRelay` where it is none."""
    try:
        opening = msgspec.json.decode(packet.body[: MAX_OPENING + 1], type=Opening)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NotRelay("opening") from error
    if not re.fullmatch(r"[0-9a-f]{32}", opening.peer) or len(opening.called) > 16 or len(opening.calling) > 16:
        raise NotRelay("opening")
    return opening


def read_refusal(packet: Packet) -> str:
    """The reason in a REFUSE."""
    try:
        return msgspec.json.decode(packet.body[: MAX_OPENING + 1], type=Refusal).reason
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NotRelay("refusal") from error


def opening_packet(kind: Kind, opening: Opening | Refusal) -> Packet:
    """An OPEN, ACCEPT or REFUSE."""
    return Packet(kind, 0, msgspec.json.encode(opening))


def check_channel(channel: str) -> str:
    """Give the name of a channel back if it is one.

    Raises
    ------
    Invalid
        It is not.
    """
    if not _CHANNEL.fullmatch(channel):
        raise Invalid("A channel's name has 1 to 64 letters, digits, hyphens and underscores.")
    return channel


# Not below ``hilum.``: the stream of events takes all of that, and would answer what is opened here and keep images.
def open_subject(channel: str, way: Way) -> str:
    """Where associations of a channel are opened."""
    return f"hilum-dimse.{channel}.{way}.open"


def peer_subject(channel: str, peer: str) -> str:
    """Where a process takes the messages of its associations."""
    return f"hilum-dimse.{channel}.peer.{peer}"


def _digest(head: bytes, body: bytes) -> bytes:
    return blake3(head).update(body).digest(_CHECK)
