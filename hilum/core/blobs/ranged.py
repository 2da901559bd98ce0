"""A file over an object that can only be asked for ranges: few and large requests, whatever is read of it. Each request
is a round trip, so what lies beside the bytes that were asked for comes along, more of it the longer reads go on in
order; a large read asks for just its own range."""

import io
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Fetch: TypeAlias = Callable[[int, int], tuple[bytes, int]]
"""Gives bytes from an offset, as many as asked or there are, and the size of the whole."""

AHEAD: Final = 64 << 10
MOST_AHEAD: Final = 8 << 20
_HEADS: Final = 256
_HEAD_SECONDS: Final = 60.0


class Heads:
    """First stretches of large objects, which are read again and again for their headers; safe from any thread.

    An object never changes under its key, unless its bytes were damaged and it was stored again; so a stretch is held
    for a minute.
    """

    def __init__(self, most: int = _HEADS, seconds: float = _HEAD_SECONDS) -> None:
        self._most = most
        self._seconds = seconds
        self._held: OrderedDict[str, tuple[bytes, int, float]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> tuple[bytes, int] | None:
        """The first stretch of an object and its size, if it is held."""
        with self._lock:
            data, size, until = self._held.get(key, (b"", 0, 0.0))
            if time.monotonic() >= until:
                self._held.pop(key, None)
                return None
            self._held.move_to_end(key)
            return data, size

    def keep(self, key: str, data: bytes, size: int) -> None:
        """Hold the first stretch of an object, unless it is long or all of it."""
        if len(data) <= AHEAD and len(data) < size:
            with self._lock:
                self._held[key] = data, size, time.monotonic() + self._seconds
                while len(self._held) > self._most:
                    self._held.popitem(last=False)

    def drop(self, key: str) -> None:
        """Forget an object."""
        with self._lock:
            self._held.pop(key, None)


class RangedFile(io.BufferedIOBase):
    """A readable, seekable file over an object; one thread uses it at a time.

    Parameters
    ----------
    fetch
        Asks for a range.
    first
        Bytes that are held already, and the size of the whole.
    begin
        Where in the object those bytes begin.
    """

    def __init__(self, fetch: Fetch, first: tuple[bytes, int], begin: int = 0) -> None:
        super().__init__()
        self._fetch = fetch
        self._held, self._size = first
        self._begin = begin
        self._position = 0
        self._ahead = AHEAD

    def readable(self) -> bool:
        """It can be read."""
        return True

    def seekable(self) -> bool:
        """It can be sought in."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move the position; nothing is asked for."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("A position is not negative.")
        self._position = base + offset
        return self._position

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to ``size`` bytes, to the end for None or a negative number."""
        self._check_open()
        left = max(0, self._size - self._position)
        wanted = left if size is None or size < 0 else min(size, left)
        if not wanted:
            return b""
        pieces: list[bytes] = []
        if piece := self._from_held(wanted):
            pieces.append(piece)
            wanted -= len(piece)
        if wanted:
            self._ask(wanted)
            pieces.append(self._from_held(wanted))
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def read1(self, size: int = -1, /) -> bytes:
        """Read as ``read`` does."""
        return self.read(size)

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """Read into a buffer."""
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def _from_held(self, wanted: int) -> bytes:
        at = self._position - self._begin
        if not 0 <= at < len(self._held):
            return b""
        whole = at == 0 and wanted >= len(self._held)
        piece = self._held if whole else self._held[at : at + wanted]
        self._position += len(piece)
        return piece

    def _ask(self, wanted: int) -> None:
        in_order = self._position == self._begin + len(self._held)
        self._ahead = min(self._ahead * 2, MOST_AHEAD) if in_order else AHEAD
        length = min(max(wanted, self._ahead), self._size - self._position)
        self._held = b""  # two stretches at once are never needed
        self._held, _ = self._fetch(self._position, length)
        self._begin = self._position
        if len(self._held) < wanted:
            raise EOFError("The object ended before its size.")

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("The file is closed.")
