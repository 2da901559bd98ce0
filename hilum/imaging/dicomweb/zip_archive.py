"""Zip files without compression (APPNOTE 6.3.10, ISO/IEC 21320-1), written by sizes and checksums that are known
beforehand, so that any stretch of one can be read without making the rest; zip64 where it must be. What goes into one
is for ``zipped`` to say."""

import struct
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

_LOCAL: Final = struct.Struct("<4s5H3I2H")
_CENTRAL: Final = struct.Struct("<4s6H3I5H2I")
_END: Final = struct.Struct("<4s4H2IH")
_END_64: Final = struct.Struct("<4sQ2H2I4Q")
_LOCATOR_64: Final = struct.Struct("<4sIQI")
_MAX_32: Final = 0xFFFFFFFF
_MAX_16: Final = 0xFFFF
_ZIP_64: Final = 1
"""The extra field of sizes and offsets that need 64 bits."""
_UNIX: Final = 3 << 8
_PLAIN_FILE: Final = 0o100644 << 16
_DATE: Final = 0x21
"""1 January 1980, the first day there is: when a file was made is nobody's business."""


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a zip.

    Attributes
    ----------
    name : str
        Its path, of ASCII characters.
    size : int
        In bytes.
    crc32 : int
        Its CRC-32.
    """

    name: str
    size: int
    crc32: int

    def local_header(self) -> bytes:
        """What stands before its bytes."""
        large = self.size >= _MAX_32
        extra = struct.pack("<2H2Q", _ZIP_64, 16, self.size, self.size) if large else b""
        size = _MAX_32 if large else self.size
        name = self.name.encode("ascii")
        return (
            _LOCAL.pack(b"PK\3\4", _version(large=large), 0, 0, 0, _DATE, self.crc32, size, size, len(name), len(extra))
            + name
            + extra
        )

    def central_header(self, offset: int) -> bytes:
        """Its entry in the central directory, with where its local header begins."""
        wide = [value for value in (self.size, self.size, offset) if value >= _MAX_32]
        extra = struct.pack(f"<2H{len(wide)}Q", _ZIP_64, 8 * len(wide), *wide) if wide else b""
        name = self.name.encode("ascii")
        size = min(self.size, _MAX_32)
        version = _version(large=bool(wide))
        return (
            _CENTRAL.pack(
                b"PK\1\2", _UNIX | version, version, 0, 0, 0, _DATE, self.crc32, size, size, len(name), len(extra),
                0, 0, 0, _PLAIN_FILE, min(offset, _MAX_32),
            )
            + name
            + extra
        )  # fmt: skip


class Directory:
    """The members of a zip in their order, and what stands behind the last of them."""

    def __init__(self) -> None:
        self.size: int = 0
        """Where the next member begins, in bytes from the start."""
        self._entries: list[bytes] = []

    def add(self, member: Member) -> bytes:
        """Take the next member; gives its local header, which its bytes are to follow."""
        header = member.local_header()
        self._entries.append(member.central_header(self.size))
        self.size += len(header) + member.size
        return header

    def end(self) -> bytes:
        """The central directory and the records of its end."""
        entries = b"".join(self._entries)
        count, start, size = len(self._entries), self.size, len(entries)
        closing = b""
        if count >= _MAX_16 or start >= _MAX_32 or size >= _MAX_32:
            closing = _END_64.pack(b"PK\6\6", 44, _UNIX | 45, 45, 0, 0, count, count, size, start)
            closing += _LOCATOR_64.pack(b"PK\6\7", 0, start + size, 1)
        few = min(count, _MAX_16)
        closing += _END.pack(b"PK\5\6", 0, 0, few, few, min(size, _MAX_32), min(start, _MAX_32), 0)
        return entries + closing


class Layout:
    """A whole zip before any of it is read.

    Parameters
    ----------
    members : sequence of Member
        What it holds.
    read : callable
        Gives ``length`` bytes from ``offset`` of the member of a number, counted from 0.
    """

    def __init__(self, members: Sequence[Member], read: Callable[[int, int, int], bytes]) -> None:
        directory = Directory()
        self._members = members
        self._starts: list[int] = []
        for member in members:
            self._starts.append(directory.size)
            directory.add(member)
        self._starts.append(directory.size)
        self._end = directory.end()
        self._read = read
        self.size: int = directory.size + len(self._end)
        """Of the zip, in bytes."""

    def read(self, offset: int, length: int) -> list[bytes]:
        """Read ``length`` bytes from ``offset``, in pieces; fewer only where the zip ends.

        Raises
        ------
        OSError
            When a member has become shorter.
        """
        pieces: list[bytes] = []
        end = min(offset + length, self.size)
        number = bisect_right(self._starts, offset) - 1
        while offset < end:
            begin = self._starts[number]
            if number == len(self._members):
                pieces.append(self._end[offset - begin : end - begin])
                break
            stop = min(end, self._starts[number + 1])
            pieces.extend(self._of_member(number, offset - begin, stop - begin))
            offset = stop
            number += 1
        return pieces

    def _of_member(self, number: int, begin: int, end: int) -> list[bytes]:
        """A stretch of a member and its header."""
        header = self._members[number].local_header()
        start = max(begin, len(header)) - len(header)
        wanted = max(0, end - len(header) - start)
        data = self._read(number, start, wanted) if wanted else b""
        if len(data) != wanted:
            raise OSError("A file of the zip ends too early")
        return [header[begin:end], data]


def _version(*, large: bool) -> int:
    """The version of the specification that is needed to read it, times ten."""
    return 45 if large else 20
