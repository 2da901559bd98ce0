"""One relayed connection as a state machine: numbers and repeats what is sent, puts what arrives in its order, and says
how much more may come. It knows no clock, no socket and no bus; whoever drives it tells the time and carries packets.

Each direction is a sequence of DATA packets that END closes, numbered from 0. The receiver tells by ACK which number it
waits for, and below which limit packets may be sent; the limit moves when the connection behind has taken the bytes, so
that a slow reader slows the writer at the other end. What is not acknowledged in time is sent again from the first such
packet on. So what comes out is at any time a prefix of what went in.

A slow bus is no lost packet: how long an acknowledgement takes says how much is put on its way at once, and how long
one is waited for."""

import struct
from collections import deque
from collections.abc import Sequence
from typing import Final

from hilum.imaging.relay.frames import CHUNK, Kind, Packet

WINDOW: Final = 16
"""How many packets may be under way in one direction, or wait to be taken."""
FIRST_WIDTH: Final = 2
"""How many are put under way before it is known how fast the bus is."""
LOSSY_WIDTH: Final = 4
"""Fewer are not put under way because some had to be sent again: a gap shows by those behind it."""
QUICK_SECONDS: Final = 0.25
"""A packet that is acknowledged sooner lets one more be under way."""
SLOW_SECONDS: Final = 1.0
"""One that is acknowledged later lets one less."""
FIRST_REPEAT_SECONDS: Final = 1.0
LONGEST_REPEAT_SECONDS: Final = 8.0
MOST_ALIVE_SECONDS: Final = 5.0
SAID_TWICE: Final = 2
"""After so many ACKs that repeat the one before, what is not acknowledged is sent again at once; once, until any is."""
_MAX_REASON: Final = 64
_BY_PEER: Final = "peer:"
_LIMIT: Final = struct.Struct(">Q")


class Stream:
    """One end of a relayed connection.

    Parameters
    ----------
    now : float
        Seconds on any clock that does not jump; all later times are on the same.
    silence : float
        After so many seconds without a packet from the other end the stream is broken.
    window : int
        Most packets under way in a direction; the same at both ends.
    """

    def __init__(self, now: float, silence: float, window: int = WINDOW) -> None:
        self.broken: str = ""
        """Why the stream is broken; empty as long as it is not."""
        self._window = window
        self._silence = silence
        self._alive = min(silence / 4, MOST_ALIVE_SECONDS)
        self._heard = self._said = self._sent_at = now
        self._repeat_after = FIRST_REPEAT_SECONDS
        self._unacknowledged: deque[Packet] = deque()
        self._times: deque[float] = deque()
        self._width = FIRST_WIDTH
        self._again_before = 0
        self._next = 0
        self._limit = window
        self._told = (0, window)
        self._said_twice = 0
        self._ended = False
        self._arrived: deque[Packet] = deque()
        self._expected = 0
        self._taken = 0
        self._end_arrived = False
        self._end_taken = False

    @property
    def room(self) -> bool:
        """Whether another chunk may be sent now."""
        return not self._ended and self._next < self._limit and len(self._unacknowledged) < self._width

    @property
    def finished(self) -> bool:
        """Whether both directions have ended, and the other end knows."""
        return self._ended and not self._unacknowledged and self._end_taken

    def send(self, data: bytes, now: float) -> Packet:
        """Send a chunk of 1 to `CHUNK` bytes; there must be `room`."""
        return self._send(Kind.DATA, data, now)

    def end(self, now: float) -> Packet:
        """Say that nothing more is sent; there must be `room`."""
        packet = self._send(Kind.END, b"", now)
        self._ended = True
        return packet

    def abort(self, reason: str) -> Packet:
        """Break the stream, for a reason that is a short code."""
        self.broken = self.broken or reason
        return Packet(Kind.ABORT, 0, reason.encode("ascii", "replace")[:_MAX_REASON])

    def receive(self, packet: Packet, now: float) -> Sequence[Packet]:
        """Take a packet of the other end, in whatever order and however often it comes; gives what to send for it."""
        if self.broken:
            told = packet.kind in (Kind.ABORT, Kind.ACK) or self.broken.startswith(_BY_PEER)
            return () if told else (self.abort(self.broken),)
        self._heard = now
        if packet.kind == Kind.ACK:
            return self._acknowledged(packet, now)
        if packet.kind == Kind.ABORT:
            self.broken = f"{_BY_PEER}{packet.body[:_MAX_REASON].decode('ascii', 'replace')}"
            return ()
        if packet.kind not in (Kind.DATA, Kind.END) or (packet.kind == Kind.DATA) != (0 < len(packet.body) <= CHUNK):
            return ()
        if packet.sequence == self._expected < self._taken + self._window and not self._end_arrived:
            self._arrived.append(packet)
            self._expected += 1
            self._end_arrived = packet.kind == Kind.END
        return (self._acknowledge(now),)

    def waiting(self) -> Packet | None:
        """The next DATA or END that is to be taken; None when nothing more has arrived."""
        return self._arrived[0] if self._arrived else None

    def taken(self, now: float) -> Packet:
        """Note that the connection has taken what is `waiting`; gives what to tell the other end."""
        packet = self._arrived.popleft()
        self._taken += 1
        self._end_taken = packet.kind == Kind.END
        return self._acknowledge(now)

    def tick(self, now: float, *, again: bool = False) -> list[Packet]:
        """What is to be sent because of the time; to be called a few times a second.

        Parameters
        ----------
        now : float
            The time.
        again : bool
            Whether the bus was lost and is back, so that there is no use in waiting.
        """
        if self.broken:
            return []
        if now - self._heard > self._silence:
            return [self.abort("silence")]
        packets: list[Packet] = []
        if self._unacknowledged and (again or now - self._sent_at >= self._repeat_after):
            self._sent_at = now
            self._repeat_after = min(self._repeat_after * 2, LONGEST_REPEAT_SECONDS)
            packets.extend(self._repeat())
        if again or now - self._said >= self._alive:
            packets.append(self._acknowledge(now))
        return packets

    def _send(self, kind: Kind, data: bytes, now: float) -> Packet:
        if not self.room:
            raise RuntimeError("The window is full, or the end has been said.")
        packet = Packet(kind, self._next, data)
        if not self._unacknowledged:
            self._sent_at = now
        self._unacknowledged.append(packet)
        self._times.append(now)
        self._next += 1
        return packet

    def _repeat(self) -> tuple[Packet, ...]:
        self._again_before = self._next
        return tuple(self._unacknowledged)

    def _acknowledged(self, packet: Packet, now: float) -> Sequence[Packet]:
        if len(packet.body) != _LIMIT.size or packet.sequence > self._next:
            return ()
        (limit,) = _LIMIT.unpack(packet.body)
        before, self._told = self._told, (packet.sequence, limit)
        if limit <= packet.sequence + self._window:
            self._limit = max(self._limit, limit)
        while self._unacknowledged and self._unacknowledged[0].sequence < packet.sequence:
            self._measure(self._unacknowledged.popleft().sequence, now - self._times.popleft())
            self._sent_at = now
            self._said_twice = 0
        if not self._unacknowledged or self._told != before or packet.sequence != self._unacknowledged[0].sequence:
            return ()
        # Said again without anything new: a packet came for which another was missing.
        self._said_twice += 1
        if self._said_twice != SAID_TWICE:
            return ()
        self._sent_at = now
        return self._repeat()

    def _measure(self, sequence: int, seconds: float) -> None:
        """Learn from a packet that is acknowledged how fast the bus is. Of one that was sent again nobody knows which
        of its copies is acknowledged, so that it tells no more than that the bus is slow, or loses."""
        if sequence < self._again_before:
            if self._width > LOSSY_WIDTH:
                self._width -= 1
            return
        self._repeat_after = min(max(FIRST_REPEAT_SECONDS, 2 * seconds), LONGEST_REPEAT_SECONDS)
        if seconds > SLOW_SECONDS:
            self._width = max(self._width - 1, 1)
        elif seconds < QUICK_SECONDS:
            self._width = min(self._width + 1, self._window)

    def _acknowledge(self, now: float) -> Packet:
        self._said = now
        return Packet(Kind.ACK, self._expected, _LIMIT.pack(self._taken + self._window))
