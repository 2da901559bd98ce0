"""A C-STORE sender of bare bytes, fast enough that what it sends to is what is tested. Nothing of Hilum's is used."""

import io
import socket
import ssl
import struct
from dataclasses import dataclass, field
from typing import Self

import pydicom
from pydicom.dataset import Dataset

from tests.make import ct, uid

CT = "1.2.840.10008.5.1.4.1.1.2"
_EXPLICIT = "1.2.840.10008.1.2.1"
_PDV = 16000
_FIRST = 1001
_STATUS = b"\0\0\0\x09\2\0\0\0"


class Ended(Exception):
    """The association is over: refused, aborted, or its connection gone."""


def instances(study: int, count: int) -> dict[str, bytes]:
    """Data sets of small CT slices of a study by SOP Instance UID; at most 8,000, for their UIDs have one length."""
    template, old = io.BytesIO(), uid(study, 1, _FIRST)
    data_set = Dataset(pydicom.dcmread(io.BytesIO(ct(study, 1, _FIRST))))
    pydicom.dcmwrite(template, data_set, implicit_vr=False, little_endian=True)
    found: dict[str, bytes] = {}
    for number in range(_FIRST, _FIRST + count):
        new = uid(study, 1, number)
        found[new] = template.getvalue().replace(old.encode(), new.encode())
    return found


@dataclass
class Sender:
    """An association with one context, CT images in Explicit VR Little Endian.

    Parameters
    ----------
    port
        Of loopback.
    tls
        What to speak TLS by; None for none.
    """

    port: int
    calling: str = "STORESCU"
    called: str = "HILUM"
    tls: ssl.SSLContext | None = None
    _connection: socket.socket = field(init=False)
    _number: int = 0

    def __enter__(self) -> Self:
        try:
            self._connection = socket.create_connection(("127.0.0.1", self.port), timeout=120)
            if self.tls is not None:
                self._connection = self.tls.wrap_socket(self._connection, server_hostname="127.0.0.1")
            self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connection.sendall(self._request())
        except OSError as error:
            raise Ended(str(error)) from error
        if self._pdu()[0] != 2:
            raise Ended("refused")
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def store(self, sop_instance: str, data_set: bytes) -> int:
        """Send an instance; gives the status."""
        self._number = self._number % 65535 + 1
        parts = [_pdata(3, _command(sop_instance, self._number))]
        for start in range(0, len(data_set), _PDV):
            last = start + _PDV >= len(data_set)
            parts.append(_pdata(2 if last else 0, data_set[start : start + _PDV]))
        try:
            self._connection.sendall(b"".join(parts))
        except OSError as error:
            raise Ended(str(error)) from error
        kind, body = self._pdu()
        if kind != 4:
            raise Ended(f"PDU {kind}")
        return int.from_bytes(body[body.index(_STATUS) + 8 :][:2], "little")

    def release(self) -> None:
        """End the association in order."""
        self._connection.sendall(b"\5\0\0\0\0\4\0\0\0\0")
        assert self._pdu()[0] == 6

    def _request(self) -> bytes:
        context = b"\1\0\0\0" + _item(0x30, CT.encode()) + _item(0x40, _EXPLICIT.encode())
        body = struct.pack(">HH16s16s32x", 1, 0, self.called.encode().ljust(16), self.calling.encode().ljust(16))
        body += _item(0x10, b"1.2.840.10008.3.1.1.1") + _item(0x20, context)
        body += _item(0x50, _item(0x51, (16384).to_bytes(4, "big")))
        return struct.pack(">BxI", 1, len(body)) + body

    def _pdu(self) -> tuple[int, bytes]:
        kind, length = struct.unpack(">BxI", self._exactly(6))
        return kind, self._exactly(length)

    def _exactly(self, count: int) -> bytes:
        found = b""
        while len(found) < count:
            try:
                piece = self._connection.recv(count - len(found))
            except OSError as error:
                raise Ended(str(error)) from error
            if not piece:
                raise Ended("closed")
            found += piece
        return found


def _item(kind: int, data: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(data)) + data


def _pdata(control: int, data: bytes) -> bytes:
    return struct.pack(">BxIIBB", 4, len(data) + 6, len(data) + 2, 1, control) + data


def _command(sop_instance: str, number: int) -> bytes:
    elements = b"".join(
        struct.pack("<HHI", 0, element, len(value)) + value
        for element, value in (
            (0x0002, _even(CT)), (0x0100, b"\1\0"), (0x0110, struct.pack("<H", number)), (0x0700, b"\0\0"),
            (0x0800, b"\1\0"), (0x1000, _even(sop_instance)),
        )
    )  # fmt: skip
    return struct.pack("<HHII", 0, 0, 4, len(elements)) + elements


def _even(text: str) -> bytes:
    data = text.encode()
    return data + b"\0" * (len(data) % 2)
