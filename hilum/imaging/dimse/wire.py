"""The connection below an association: PDUs of bounded length out of one buffer, within bounded time, and bytes to the
peer. The sender of an instance often waits for an acknowledgement by TCP before it sends on, and always for an answer:
so each receipt is acknowledged at once, and an answer leaves in one write."""

import select
import socket
import ssl
import struct
import time
from typing import Final

from hilum.imaging.dimse.pdu import MAX_PDU
from hilum.imaging.dimse.problems import INVALID_PARAMETER, UNRECOGNIZED_PDU, Aborted, Violation

PDU_SECONDS: Final = 60.0
"""How long one PDU may take from its first byte to its last, and a write until the peer has taken it."""

_HEADER: Final = struct.Struct(">BxI")
_SPARE: Final = 64 << 10
_LONGEST_CONTROL: Final = MAX_PDU


class Wire:
    """PDUs on a connection. One thread uses it; `close` may be called by any.

    Parameters
    ----------
    connection : socket.socket
        Connected, perhaps by TLS.
    seconds : float, optional
        How long a PDU or a write may take, instead of `PDU_SECONDS`.
    """

    def __init__(self, connection: socket.socket, seconds: float | None = None) -> None:
        self._connection = connection
        self._seconds = PDU_SECONDS if seconds is None else seconds
        self._buffer = bytearray(_HEADER.size + MAX_PDU + _SPARE)
        self._view = memoryview(self._buffer)
        self._begin = 0
        self._end: int = 0
        self._timeout: float | None = None
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def read(self, wait: float) -> tuple[int, memoryview]:
        """The next PDU: its type, and its body, which holds until the next call.

        Parameters
        ----------
        wait : float
            Seconds until its first byte must be there; all of it must be there `PDU_SECONDS` later.

        Raises
        ------
        Aborted
            The connection is gone.
        Violation
            It is too long or too slow, or no PDU at all.
        """
        if self._begin == self._end:
            self._fill(1, wait)
        self._fill(_HEADER.size, self._seconds)
        kind, length = _HEADER.unpack_from(self._buffer, self._begin)
        if not 1 <= kind <= 7:
            raise Violation("unknown_pdu", UNRECOGNIZED_PDU)
        if length > MAX_PDU:
            raise Violation("pdu_too_long", INVALID_PARAMETER)
        self._fill(_HEADER.size + length, self._seconds)
        start = self._begin + _HEADER.size
        self._begin = start + length
        return kind, self._view[start : self._begin]

    def waiting(self) -> bool:
        """Whether bytes of the peer are there."""
        if self._begin != self._end or (isinstance(self._connection, ssl.SSLSocket) and self._connection.pending()):
            return True
        return bool(select.select([self._connection], [], [], 0)[0])

    def send(self, data: bytes | bytearray) -> None:
        """Send all of it, in one write where the kernel takes it; raises ``Aborted`` when the peer is gone."""
        self._wait_at_most(self._seconds)
        try:
            self._connection.sendall(data)
        except OSError as error:
            raise Aborted("not_sent") from error

    def close(self) -> None:
        """End the connection, also under the feet of a thread that reads from it."""
        try:
            self._connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        finally:
            self._connection.close()

    def finish(self, seconds: float) -> None:
        """Let the peer close the connection, as whoever was told A-ABORT or A-RELEASE-RP does; then close it."""
        try:
            self._connection.settimeout(seconds)
            if not isinstance(self._connection, ssl.SSLSocket):
                self._connection.shutdown(socket.SHUT_WR)
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline and self._connection.recv_into(self._buffer):
                pass
        except OSError:
            pass
        finally:
            self._connection.close()

    def _fill(self, count: int, seconds: float) -> None:
        """Have so many bytes in the buffer, from where the next PDU begins."""
        if self._end - self._begin >= count:
            return
        if self._begin == self._end:
            self._begin = self._end = 0
        elif self._begin + count > len(self._buffer):
            left = self._end - self._begin
            self._view[:left] = self._view[self._begin : self._end]
            self._begin, self._end = 0, left
        deadline = time.monotonic() + seconds
        self._wait_at_most(seconds)
        while self._end - self._begin < count:
            if time.monotonic() > deadline:
                raise Violation("too_slow")
            self._end += self._receive()

    def _receive(self) -> int:
        try:
            length = self._connection.recv_into(self._view[self._end :])
            self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        except TimeoutError as error:
            raise Violation("too_slow") from error
        except OSError as error:
            raise Aborted("connection_lost") from error
        if not length:
            raise Aborted("connection_closed")
        return length

    def _wait_at_most(self, seconds: float) -> None:
        if self._timeout != seconds:
            self._connection.settimeout(seconds)
            self._timeout = seconds
