"""Command sets (PS3.7 section 6.3 and annex E): the head of every message, always in Implicit VR Little Endian."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from hilum.imaging.dimse.problems import Violation

MAX_COMMAND: Final = 64 << 10

C_STORE: Final = 0x0001
C_GET: Final = 0x0010
C_FIND: Final = 0x0020
C_MOVE: Final = 0x0021
C_ECHO: Final = 0x0030
N_EVENT_REPORT: Final = 0x0100
N_ACTION: Final = 0x0130
C_CANCEL: Final = 0x0FFF
RESPONSE: Final = 0x8000

AFFECTED_CLASS: Final = 0x0002
REQUESTED_CLASS: Final = 0x0003
FIELD: Final = 0x0100
MESSAGE_ID: Final = 0x0110
ANSWERED_ID: Final = 0x0120
MOVE_DESTINATION: Final = 0x0600
PRIORITY: Final = 0x0700
DATA_SET_TYPE: Final = 0x0800
STATUS: Final = 0x0900
ERROR_COMMENT: Final = 0x0902
AFFECTED_INSTANCE: Final = 0x1000
REQUESTED_INSTANCE: Final = 0x1001
EVENT_TYPE: Final = 0x1002
ACTION_TYPE: Final = 0x1008
REMAINING: Final = 0x1020
COMPLETED: Final = 0x1021
FAILED: Final = 0x1022
WARNING: Final = 0x1023
ORIGINATOR: Final = 0x1030
ORIGINATOR_ID: Final = 0x1031

_NO_DATA_SET: Final = 0x0101
_DATA_SET: Final = 0x0001
_UIDS: Final = frozenset((AFFECTED_CLASS, REQUESTED_CLASS, AFFECTED_INSTANCE, REQUESTED_INSTANCE))
_HEAD: Final = struct.Struct("<HHI")
_LENGTH: Final = struct.Struct("<HHII")
_SHORT: Final = struct.Struct("<HHIH")


@dataclass(frozen=True, slots=True)
class Command:
    """A command set: the values of group 0000 as bytes, by element number."""

    values: Mapping[int, bytes]

    def number(self, element: int) -> int | None:
        """A value of representation US; None when it is absent."""
        value = self.values.get(element, b"")
        return int.from_bytes(value, "little") if len(value) == 2 else None

    def text(self, element: int) -> str:
        """A value of representation UI, AE or LO, without padding; empty when it is absent."""
        return self.values.get(element, b"").decode("latin-1").strip(" \0")

    @property
    def field(self) -> int:
        """What kind of message it is."""
        return self.number(FIELD) or 0

    @property
    def message_id(self) -> int:
        """Message ID of a request."""
        return self.number(MESSAGE_ID) or 0

    @property
    def sop_class_uid(self) -> str:
        """Affected, else Requested SOP Class UID."""
        return self.text(AFFECTED_CLASS) or self.text(REQUESTED_CLASS)

    @property
    def status(self) -> int:
        """Status of a response; one without counts as failed."""
        found = self.number(STATUS)
        return 0xC000 if found is None else found

    @property
    def has_data_set(self) -> bool:
        """Whether a data set follows."""
        return self.number(DATA_SET_TYPE) != _NO_DATA_SET


def read_command(data: bytes) -> Command:
    """Read a command set.

    Raises
    ------
    Violation
        It is not built as it should be, or lacks what every message has.
    """
    values: dict[int, bytes] = {}
    position = 0
    while position < len(data):
        if position + _HEAD.size > len(data):
            raise Violation("command_cut")
        group, element, length = _HEAD.unpack_from(data, position)
        position += _HEAD.size
        if group != 0 or position + length > len(data):
            raise Violation("command_damaged")
        values[element] = data[position : position + length]
        position += length
    command = Command(values)
    if command.number(FIELD) is None or command.number(DATA_SET_TYPE) is None:
        raise Violation("command_incomplete")
    return command


def command_bytes(field: int, values: Mapping[int, int | str], *, data_set: bool = False) -> bytes:
    """A command set.

    Parameters
    ----------
    field : int
        What kind of message it is.
    values : mapping of int to int or str
        Its other elements: numbers are written as US, texts padded as their element asks.
    data_set : bool
        Whether a data set follows.
    """
    given = {FIELD: field, DATA_SET_TYPE: _DATA_SET if data_set else _NO_DATA_SET, **values}
    parts: list[bytes] = []
    for element in sorted(given):
        value = given[element]
        if isinstance(value, int):
            parts.append(_SHORT.pack(0, element, 2, value))
            continue
        raw = value.encode("ascii", "replace")
        raw += (b"\0" if element in _UIDS else b" ") * (len(raw) % 2)
        parts.append(_HEAD.pack(0, element, len(raw)) + raw)
    body = b"".join(parts)
    return _LENGTH.pack(0, 0, 4, len(body)) + body
