"""The single pass over an instance's bytes as they stream: counted, hashed, its header scanned, and perhaps written;
then what its pixel data really is. What becomes of it is for ``store``."""

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import BinaryIO, Final, TypeAlias, cast

from blake3 import blake3
from isal import isal_zlib

from hilum.core.errors import TooLarge
from hilum.imaging.archive.describe import count_frames
from hilum.imaging.archive.objects import MAX_INFLATED
from hilum.imaging.dicom.frames import frame_offsets, pixel_data_problem
from hilum.imaging.dicom.header import Header, NotDicom, Truncated, Unreadable, scan, scan_file
from hilum.imaging.dicom.source import inflated_file

Buffer: TypeAlias = bytes | memoryview
Reader: TypeAlias = Callable[[], AbstractContextManager[BinaryIO]]

_UNKNOWN_SIZE: Final = 1 << 62

_crc32 = cast("Callable[[Buffer, int], int]", isal_zlib.crc32)  # pyright: ignore[reportUnknownMemberType]


class Taken:
    """The single pass over an instance's bytes: scanned, counted, hashed and perhaps written as they come.

    Parameters
    ----------
    limit
        How many bytes an instance may have.

    Attributes
    ----------
    size, crc32
        Of what has come so far.
    head
        The first chunk.
    """

    def __init__(self, limit: int) -> None:
        self.size = 0
        self.crc32 = 0
        self.head = b""
        self._limit = limit
        self._digest = blake3()
        self._header: Header | None = None
        self._problem: Unreadable | None = None

    @property
    def digest(self) -> str:
        """BLAKE3 of what has come so far, in hexadecimal digits."""
        return self._digest.hexdigest()

    def take(self, chunks: Iterable[Buffer], write: Callable[[Buffer], None] | None = None) -> None:
        """Take all chunks, each handed to ``write`` before the next is asked for.

        Raises
        ------
        NotDicom
            There was no byte.
        TooLarge
            There were too many.
        """
        for chunk in chunks:
            if self.size == 0:
                self.head = bytes(chunk)
                self._scan(self.head)
            self.size += len(chunk)
            if self.size > self._limit:
                raise TooLarge(f"An instance is larger than HILUM_MAX_INSTANCE_BYTES ({self._limit} bytes).")
            self._digest.update(chunk)
            self.crc32 = _crc32(chunk, self.crc32)
            if write:
                write(chunk)
        if self.size == 0:
            raise NotDicom("empty", "The file is empty.")

    def header(self, reader: Reader) -> Header:
        """The header, read from ``reader`` if the first chunk did not hold all of it; raises ``Unreadable``."""
        if self._problem:
            raise self._problem
        if self._header:
            return self._header
        with reader() as file:
            return scan_file(file)

    def _scan(self, first: bytes) -> None:
        """Most headers end within the first chunk; one that does not is read from what was written."""
        try:
            self._header = scan(first, _UNKNOWN_SIZE)
        except Truncated:
            pass
        except Unreadable as error:
            self._problem = error


def examine(header: Header, size: int, reader: Reader) -> tuple[int, Sequence[int] | None]:
    """Count the frames of an instance and find where they lie.

    Raises
    ------
    Unreadable
        Its pixel data is damaged.
    """
    if header.deflated:  # the header's offsets, and so its sizes, are those of the inflated file
        with reader() as file:
            size = inflated_file(file, header.data_set_offset, MAX_INFLATED).seek(0, os.SEEK_END)
    problem = pixel_data_problem(header, size)
    if problem:
        raise Unreadable("truncated", problem)
    offsets = None
    if header.pixel_data is not None and header.pixel_data.encapsulated:
        with reader() as file:
            offsets = frame_offsets(file, header)
    return count_frames(header, size, offsets), offsets
