"""A sender of many small instances that costs next to nothing, on a bare socket: each instance leaves in one write, and
what was answered is known to the last of them however the association ends."""

import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from hilum.imaging.dicom.header import scan
from tests.make import ct, uid

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
FIRST = 1000
"""Number of the first instance of each study; all are of four digits, so that they are as long."""


@dataclass
class Sent:
    """What became of the instances of one association, by SOP Instance UID."""

    acknowledged: list[str] = field(default_factory=list[str])
    refused: list[str] = field(default_factory=list[str])
    ended: bool = False


def instances(study: int, count: int, size: int = 8) -> Iterator[tuple[str, bytes]]:
    """Instances of one series as SOP Instance UID and data set; but for the UID all are the same."""
    file = ct(study, 1, FIRST, size=size)
    start = scan(file, len(file)).data_set_offset
    first = uid(study, 1, FIRST)
    for number in range(FIRST, FIRST + count):
        one = uid(study, 1, number)
        yield one, file[start:].replace(first.encode(), one.encode())


def send(port: int, given: Iterator[tuple[str, bytes]], sent: Sent) -> None:
    """Store instances one after the other; that the association breaks is no error."""
    with suppress(OSError, EOFError), socket.create_connection(("127.0.0.1", port), 60) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(_associate())
        assert _pdu(connection)[0] == 2, "the association was not accepted"
        for number, (one, data) in enumerate(given, 1):
            connection.sendall(_fragment(3, _store(number, one)) + _fragments(data))
            kind, body = _pdu(connection)
            if kind != 4:
                break
            (sent.acknowledged if _status(body) == 0 else sent.refused).append(one)
        else:
            connection.sendall(bytes.fromhex("05000000000400000000"))
            _pdu(connection)
            return
    sent.ended = True


def _associate() -> bytes:
    contexts = _item(0x20, bytes((1, 0, 0, 0)) + _item(0x30, CT.encode()) + _item(0x40, EXPLICIT.encode()))
    user = _item(0x50, _item(0x51, struct.pack(">I", 16384)) + _item(0x52, b"2.25.7"))
    fixed = struct.pack(">H2x16s16s32x", 1, b"HILUM".ljust(16), b"FAST".ljust(16))
    body = fixed + _item(0x10, b"1.2.840.10008.3.1.1.1") + contexts + user
    return struct.pack(">BxI", 1, len(body)) + body


def _item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def _store(number: int, one: str) -> bytes:
    values = [
        (2, CT.encode()), (0x100, b"\1\0"), (0x110, struct.pack("<H", number)), (0x700, b"\0\0"), (0x800, b"\1\0"),
        (0x1000, one.encode()),
    ]  # fmt: skip
    even = [(element, value + b"\0" * (len(value) % 2)) for element, value in values]
    body = b"".join(struct.pack("<HHI", 0, element, len(value)) + value for element, value in even)
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def _fragments(data: bytes, size: int = 128 << 10) -> bytes:
    starts = range(0, len(data), size)
    return b"".join(_fragment(2 if s + size >= len(data) else 0, data[s : s + size]) for s in starts)


def _fragment(control: int, data: bytes) -> bytes:
    return struct.pack(">BxIIBB", 4, len(data) + 6, len(data) + 2, 1, control) + data


def _pdu(connection: socket.socket) -> tuple[int, bytes]:
    kind, length = struct.unpack(">BxI", _exactly(connection, 6))
    return kind, _exactly(connection, length)


def _exactly(connection: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        piece = connection.recv(count - len(found))
        if not piece:
            raise EOFError
        found += piece
    return found


def _status(body: bytes) -> int:
    """Status (0000,0900) of a response whose PDU this is."""
    position = 6
    while position < len(body):
        _, element, length = struct.unpack_from("<HHI", body, position)
        if element == 0x0900:
            return int.from_bytes(body[position + 8 : position + 10], "little")
        position += 8 + length
    return -1
