"""Where one PDU ends and the next begins in what was written to a connection. An A-ABORT may be said only there: in the
middle of a PDU its bytes would be taken for the rest of that, and a data set could end in them."""

from typing import Final

_HEAD: Final = 6


class Boundary:
    """Follows the bytes that a peer was sent."""

    def __init__(self) -> None:
        self._head = b""
        self._left = 0

    @property
    def whole(self) -> bool:
        """Whether the last PDU is complete."""
        return not self._head and not self._left

    def feed(self, data: bytes) -> None:
        """Note that bytes were written."""
        position = 0
        while position < len(data):
            if self._left:
                step = min(self._left, len(data) - position)
                self._left -= step
                position += step
                continue
            part = data[position : position + _HEAD - len(self._head)]
            self._head += part
            position += len(part)
            if len(self._head) == _HEAD:
                self._left = int.from_bytes(self._head[2:], "big")
                self._head = b""
