"""A DICOM association as its requestor (PS3.8): negotiated, instances stored one after the other as they are read, and
released. It holds no more of an instance than one PDU. Whom to call and what to store is for ``cstore``."""

import socket
import struct
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ssl import SSLError
from typing import Final, TypeAlias

from hilum.imaging.dicom.writer import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from hilum.imaging.routing.destinations import Destination
from hilum.imaging.routing.trouble import CONNECT_SECONDS, Unreachable, tls_context

Syntax: TypeAlias = tuple[str, str]
"""A SOP class and a transfer syntax, by UID."""

MAX_CONTEXTS: Final = 128
VERIFICATION: Final = "1.2.840.10008.1.1"
IMPLICIT_LITTLE: Final = "1.2.840.10008.1.2"

_APPLICATION_CONTEXT: Final = "1.2.840.10008.3.1.1.1"
_RECEIVED_PDU: Final = 16 << 10
_MAX_RECEIVED: Final = 128 << 10
_MAX_SENT: Final = 128 << 10
_MIN_SENT: Final = 1024
_RELEASE_SECONDS: Final = 5.0

_ASSOCIATE_RQ, _ASSOCIATE_AC, _ASSOCIATE_RJ, _DATA, _RELEASE_RQ, _RELEASE_RP, _ABORT = range(1, 8)
_COMMAND, _LAST = 1, 2
_STORE, _ECHO = 0x0001, 0x0030
_NO_DATA_SET, _DATA_SET = 0x0101, 0x0001
_RESPONSE: Final = 0x8000

# PS3.8 table 9-21, by source and reason.
_REJECTIONS: Final[Mapping[tuple[int, int], str]] = {
    (1, 1): "it gives no reason",
    (1, 2): "it does not know the application context",
    (1, 3): "it does not know the calling AE title",
    (1, 7): "it does not know the called AE title",
    (2, 2): "it does not speak this version of the protocol",
    (3, 1): "it is congested for the moment",
    (3, 2): "it has as many associations as it takes",
}


class Broken(Exception):
    """The association ended in the middle of a request."""


@dataclass(slots=True)
class Association:
    """An open association.

    Attributes
    ----------
    accepted
        The presentation contexts that both sides agreed on: their ids, which are odd.
    """

    accepted: Mapping[Syntax, int]
    _socket: socket.socket
    _seconds: float
    _largest: int
    _messages: int = 0

    def store(self, syntax: Syntax, sop_instance_uid: str, data_set: Iterable[bytes]) -> int:
        """Store an instance (PS3.7 section 9.1.1).

        Parameters
        ----------
        syntax
            One of ``accepted``.
        sop_instance_uid
            Of the instance.
        data_set
            Its data set in that transfer syntax, without File Meta Information, in pieces of any size.

        Returns
        -------
        int
            The status of the response.

        Raises
        ------
        Broken
            The association has ended; whether the instance was stored is not known.
        """
        command = [(0x0700, "US", 0), (0x0800, "US", _DATA_SET), (0x1000, "UI", sop_instance_uid)]
        return self._ask(syntax, _STORE, command, data_set)

    def echo(self) -> int:
        """Ask for a sign of life (PS3.7 section 9.1.5) and give the status; raises ``Broken``."""
        context = next(syntax for syntax in self.accepted if syntax[0] == VERIFICATION)
        return self._ask(context, _ECHO, [(0x0800, "US", _NO_DATA_SET)], ())

    def _ask(
        self, syntax: Syntax, field: int, command: Sequence[tuple[int, str, object]], data_set: Iterable[bytes]
    ) -> int:
        self._messages = self._messages % 0xFFFF + 1
        context = self.accepted[syntax]
        elements = [(0x0002, "UI", syntax[0]), (0x0100, "US", field), (0x0110, "US", self._messages), *command]
        try:
            waiting = self._pdu(context, _COMMAND | _LAST, _command_set(elements))
            for pdu in self._fragments(context, data_set):
                self._socket.sendall(waiting + pdu)
                waiting = b""
            if waiting:
                self._socket.sendall(waiting)
            answer = self._response()
        except (OSError, SSLError) as error:
            raise Broken("The connection was lost, or no answer came in time.") from error
        if answer.get(0x0100) != field | _RESPONSE or answer.get(0x0120) != self._messages or 0x0900 not in answer:
            raise Broken("It answered another question than the one that it was asked.")
        return answer[0x0900]

    def _fragments(self, context: int, data_set: Iterable[bytes]) -> Iterator[bytes]:
        """The data set as PDUs of at most the size that the peer takes; the last one says so."""
        size = (self._largest - 6) & ~1
        buffer = bytearray()
        for piece in data_set:
            buffer += piece
            start = 0
            while len(buffer) - start > size:  # what is full may still be the last
                yield self._pdu(context, 0, memoryview(buffer)[start : start + size].tobytes())
                start += size
            del buffer[:start]
        if buffer:
            yield self._pdu(context, _LAST, bytes(buffer))

    def _pdu(self, context: int, control: int, fragment: bytes) -> bytes:
        return struct.pack(">BxIIBB", _DATA, len(fragment) + 6, len(fragment) + 2, context, control) + fragment

    def _response(self) -> dict[int, int]:
        """The command set of the next message: its short values by element number."""
        command = bytearray()
        deadline = time.monotonic() + self._seconds
        while True:
            kind, body = _read_pdu(self._socket, deadline)
            if kind != _DATA:
                raise Broken("It ended the association." if kind == _ABORT else "It broke the protocol.")
            offset = 0
            while offset + 6 <= len(body):
                length, _, control = struct.unpack_from(">IBB", body, offset)
                command += body[offset + 6 : offset + 4 + length]
                offset += 4 + max(length, 2)
                if not control & _COMMAND or len(command) > _MAX_RECEIVED:
                    raise Broken("It broke the protocol.")
                if control & _LAST:
                    return _short_values(bytes(command))


@contextmanager
def associate(destination: Destination, wanted: Sequence[Syntax]) -> Generator[Association]:
    """Open an association with a destination and release it at the end; one that broke is aborted.

    Parameters
    ----------
    destination
        Of kind ``cstore``.
    wanted
        The presentation contexts to propose, at most 128, each with one transfer syntax.

    Raises
    ------
    Unreachable
        There is nobody, or nobody who takes the association.
    """
    address = destination.address
    try:
        plain = socket.create_connection((address.host, address.port), CONNECT_SECONDS)
    except (OSError, UnicodeError) as error:
        raise Unreachable(f"Nobody answers at {address.host}, port {address.port}.") from error
    with plain:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.settimeout(address.timeout_seconds)
        link = _secured(plain, destination) if address.tls else plain
        with link:
            association = _negotiate(link, destination, wanted)
            try:
                yield association
            except BaseException:
                with suppress(OSError):
                    link.sendall(struct.pack(">BxI4x", _ABORT, 4))
                raise
            _release(link)


def _secured(plain: socket.socket, destination: Destination) -> socket.socket:
    try:
        return tls_context(destination).wrap_socket(plain, server_hostname=destination.address.host)
    except OSError as error:  # of which SSLError is one
        raise Unreachable("TLS could not be agreed on with it; see its certificate and ours.") from error


def _negotiate(link: socket.socket, destination: Destination, wanted: Sequence[Syntax]) -> Association:
    address = destination.address
    proposed = {2 * n + 1: syntax for n, syntax in enumerate(wanted[:MAX_CONTEXTS])}
    try:
        link.sendall(_request(address.called_ae_title, address.calling_ae_title, proposed))
        kind, body = _read_pdu(link, time.monotonic() + address.timeout_seconds)
    except (OSError, Broken) as error:
        raise Unreachable("It did not answer as a DICOM node does.") from error
    if kind == _ASSOCIATE_RJ and len(body) >= 4:
        reason = _REJECTIONS.get((body[2], body[3]), "for a reason that the standard does not name")
        raise Unreachable(f"It rejected the association: {reason}.")
    if kind != _ASSOCIATE_AC:
        raise Unreachable("It ended the association before it began.")
    try:
        accepted, largest = _read_acceptance(body)
    except struct.error as error:
        raise Unreachable("It did not answer as a DICOM node does.") from error
    agreed = {proposed[number]: number for number in accepted if number in proposed}
    largest = min(largest or _MAX_SENT, _MAX_SENT)
    return Association(agreed, link, address.timeout_seconds, max(largest, _MIN_SENT))


def _release(link: socket.socket) -> None:
    """Ask for the release and hear it confirmed; everything has been answered, so that its failure loses nothing."""
    with suppress(OSError, Broken):
        link.sendall(struct.pack(">BxI4x", _RELEASE_RQ, 4))
        _read_pdu(link, time.monotonic() + _RELEASE_SECONDS)


def _request(called: str, calling: str, proposed: Mapping[int, Syntax]) -> bytes:
    """An A-ASSOCIATE-RQ PDU (PS3.8 section 9.3.2)."""
    contexts = b"".join(
        _item(0x20, bytes((number, 0, 0, 0)) + _item(0x30, sop_class.encode()) + _item(0x40, syntax.encode()))
        for number, (sop_class, syntax) in proposed.items()
    )
    user = (
        _item(0x51, struct.pack(">I", _RECEIVED_PDU))
        + _item(0x52, IMPLEMENTATION_CLASS_UID.encode())
        + _item(0x55, IMPLEMENTATION_VERSION.encode())
    )
    body = (
        struct.pack(">H2x16s16s32x", 1, called.ljust(16).encode("ascii"), calling.ljust(16).encode("ascii"))
        + _item(0x10, _APPLICATION_CONTEXT.encode())
        + contexts
        + _item(0x50, user)
    )
    return struct.pack(">BxI", _ASSOCIATE_RQ, len(body)) + body


def _item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + 4 <= len(data):
        kind, length = struct.unpack_from(">BxH", data, offset)
        yield kind, data[offset + 4 : offset + 4 + length]
        offset += 4 + length


def _read_acceptance(body: bytes) -> tuple[list[int], int]:
    """Of an A-ASSOCIATE-AC PDU (PS3.8 section 9.3.3) the ids of the accepted contexts and the largest PDU."""
    accepted: list[int] = []
    largest = 0
    for kind, value in _items(body[68:]):
        if kind == 0x21 and len(value) >= 4 and value[2] == 0:
            accepted.append(value[0])
        elif kind == 0x50:
            sizes = [struct.unpack(">I", part)[0] for name, part in _items(value) if name == 0x51]
            largest = sizes[0] if sizes else 0
    return accepted, largest


def _read_pdu(link: socket.socket, deadline: float) -> tuple[int, bytes]:
    kind, length = struct.unpack(">BxI", _read(link, 6, deadline))
    if length > _MAX_RECEIVED:
        raise Broken("It sent more than was agreed on.")
    return kind, _read(link, length, deadline)


def _read(link: socket.socket, size: int, deadline: float) -> bytes:
    data = bytearray()
    while len(data) < size:
        if time.monotonic() > deadline:
            raise TimeoutError
        # Peers write an answer in two pieces, and wait for the first to be acknowledged: a delay of 40 ms otherwise.
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        piece = link.recv(size - len(data))
        if not piece:
            raise Broken("It closed the connection.")
        data += piece
    return bytes(data)


def _command_set(elements: Sequence[tuple[int, str, object]]) -> bytes:
    """A command set (PS3.7 section 6.3.1): group 0000 in Implicit VR Little Endian."""
    body = b"".join(_element(number, vr, value) for number, vr, value in elements)
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def _element(number: int, vr: str, value: object) -> bytes:
    data = struct.pack("<H", value) if vr == "US" else str(value).encode("ascii")
    data += b"\0" * (len(data) % 2)
    return struct.pack("<HHI", 0, number, len(data)) + data


def _short_values(command: bytes) -> dict[int, int]:
    found: dict[int, int] = {}
    offset = 0
    while offset + 8 <= len(command):
        group, number, length = struct.unpack_from("<HHI", command, offset)
        if group == 0 and length == 2 and offset + 10 <= len(command):
            found[number] = struct.unpack_from("<H", command, offset + 8)[0]
        offset += 8 + length
    return found
