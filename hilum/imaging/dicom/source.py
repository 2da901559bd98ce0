"""Where a reader's bytes come from: a buffer that may hold only the start of a file, a file, or a deflated data set
that is inflated no further than asked. Readers take windows at offsets and so pass over large values unread."""

import io
import os
import zlib
from mmap import mmap
from typing import BinaryIO, Final, Protocol

from hilum.imaging.dicom.problems import Truncated, Unreadable

Buffer = bytes | bytearray | memoryview | mmap

STEP: Final = 64 * 1024
MAX_INFLATED: Final = 64 * 1024 * 1024
"""No header is longer; a deflated one that is, was made to fill the memory."""
_ZLIB: Final = frozenset((b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"))
"""How a stream begins that has zlib's header, against PS3.5 section A.5; bare deflation cannot begin so."""


class Source(Protocol):
    """Bytes by offset from the start of the file."""

    @property
    def size(self) -> int:
        """Size of the whole in bytes; for a deflated data set a bound, exact once its end was read."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes; fewer only where the whole ends or, for a partial buffer, what was offered."""
        ...

    def more(self, offset: int) -> None:
        """Say that bytes at ``offset`` and on are needed: raises `Truncated` if the caller may offer more."""
        ...


class BufferSource:
    """A buffer that holds at least the start of a file of ``size`` bytes."""

    def __init__(self, data: Buffer, size: int | None = None) -> None:
        self._data: Final = data
        self._length: Final = len(data)
        self.size: Final = self._length if size is None else size

    def read(self, offset: int, length: int) -> bytes:
        return bytes(self._data[offset : offset + length])

    def more(self, offset: int) -> None:
        if self._length < self.size:
            raise Truncated(min(self.size, max(offset + STEP, 2 * self._length)))


class FileSource:
    """A seekable file, read only where asked."""

    def __init__(self, file: BinaryIO) -> None:
        self._file: Final = file
        self.size: Final = file.seek(0, os.SEEK_END)

    def read(self, offset: int, length: int) -> bytes:
        self._file.seek(offset)
        return self._file.read(length)

    def more(self, offset: int) -> None:
        """A file is all there is."""


class InflatedSource:
    """The data set of a deflated transfer syntax (PS3.5 section A.5) as if the file had been written without deflation.

    Parameters
    ----------
    inner : Source
        The file as it lies.
    start : int
        Where the data set begins, which is where both numberings part.
    limit : int
        How many bytes of data set to inflate at most; beyond it `Unreadable` is raised.
    """

    def __init__(self, inner: Source, start: int, limit: int = MAX_INFLATED) -> None:
        self._inner: Final = inner
        self._start: Final = start
        self._limit: Final = limit
        self._next: int = start
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self._data: Final = bytearray()
        self._ended: bool = False

    @property
    def size(self) -> int:
        return self._start + (len(self._data) if self._ended else 1 << 62)

    def read(self, offset: int, length: int) -> bytes:
        begin = offset - self._start
        self._until(begin + length)
        return bytes(self._data[begin : begin + length])

    def more(self, offset: int) -> None:
        """Inflation already asked for what it needed."""

    def _until(self, length: int) -> None:
        while len(self._data) < min(length, self._limit + 1) and not self._ended:
            try:
                self._step()
            except zlib.error:
                raise Unreadable("unreadable", "The deflated data set cannot be inflated: it is damaged.") from None
        if len(self._data) > self._limit:
            raise Unreadable(
                "header_too_long", f"The deflated data set is larger than the {self._limit >> 20} MiB that are read."
            )

    def _step(self) -> None:
        deflated = self._inflate.unconsumed_tail
        if not deflated:
            deflated = self._inner.read(self._next, STEP)
            if self._next == self._start and deflated[:2] in _ZLIB:
                self._inflate = zlib.decompressobj()
            self._next += len(deflated)
        if not deflated:
            self._inner.more(self._next)
            raise Unreadable("truncated", "The file ends inside its deflated data set.")
        self._data.extend(self._inflate.decompress(deflated, STEP))
        self._ended = self._inflate.eof


def inflated_file(file: BinaryIO, start: int, limit: int) -> BinaryIO:
    """A deflated file as the file it would be without deflation, in memory.

    Raises
    ------
    Unreadable
        When it is damaged or inflates to more than ``limit`` bytes.
    """
    source = FileSource(file)
    inflated = InflatedSource(source, start, limit)
    return io.BytesIO(source.read(0, start) + inflated.read(start, limit + 1))
