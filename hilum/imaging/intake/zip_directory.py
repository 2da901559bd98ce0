"""How long the directory of a zip is, told before it is read: who reads one makes an object of each of its entries, and
a zip can claim a great many."""

import os
import struct
from typing import BinaryIO, Final

_END: Final = struct.Struct("<4s4H2LH")
_LOCATOR: Final = struct.Struct("<4sLQL")
_END64: Final = struct.Struct("<4sQ2H2L4Q")
_TAIL: Final = _END.size + (1 << 16)
_UNKNOWN: Final = 0xFFFFFFFF


def directory_size(file: BinaryIO) -> int:
    """The bytes of a zip's central directory as its end says; 0 when it has no end, which the reader will tell."""
    length = file.seek(0, os.SEEK_END)
    start = max(0, length - _TAIL)
    file.seek(start)
    tail = file.read(_TAIL)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + _END.size:
        return 0
    size = _END.unpack_from(tail, at)[5]
    if size != _UNKNOWN and start + at < _LOCATOR.size:
        return size
    file.seek(max(0, start + at - _LOCATOR.size))
    locator = file.read(_LOCATOR.size)
    if len(locator) == _LOCATOR.size and locator[:4] == b"PK\x06\x07":
        file.seek(min(_LOCATOR.unpack(locator)[2], length))
        end = file.read(_END64.size)
        if len(end) == _END64.size and end[:4] == b"PK\x06\x06":
            return _END64.unpack(end)[8]
    return size if size != _UNKNOWN else 0
