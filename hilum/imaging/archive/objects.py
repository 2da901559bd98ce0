"""The bytes of what is catalogued: an object of the store, or a file that was indexed where it lies."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from hilum.core.blobs import HEAD_BYTES, Blobs
from hilum.core.errors import Gone
from hilum.core.recent import Recent
from hilum.imaging.archive.query import Row
from hilum.imaging.dicom.header import Header, scan_file
from hilum.imaging.dicom.source import inflated_file

MAX_INFLATED: Final = 512 << 20
_MOST_KEPT: Final = 32 << 10
_HEADERS: Final = Recent[str, Header](1000)
"""By digest: a viewer asks for frame after frame of an instance, and its header says the same each time."""
WHOLE: Final = 1 << 20
"""Up to so much an instance is rather read whole than in pieces."""


@contextmanager
def opened(blobs: Blobs, row: Row, *, header_only: bool = False) -> Generator[BinaryIO]:
    """Open the bytes of an instance, a set-aside file or a bundle file. Where reading is a round trip, a small one is
    read whole in one, unless ``header_only`` says that its beginning is all that matters.

    Raises
    ------
    Gone
        It was indexed in place, and the file is no longer there or no longer the same.
    NotFound
        The object is missing from the store.
    """
    path: str | None = row.get("path")
    if path is None:
        size: int = row.get("size") or 0
        expected = HEAD_BYTES if header_only or size > WHOLE else size
        with blobs.open(row["blob_key"], expected) as file:
            yield file
        return
    try:
        status = Path(path).stat()
        if status.st_size != row["size"] or row.get("path_mtime_ns") not in (None, status.st_mtime_ns):
            raise Gone("The file that was indexed in place has changed since; import it again.")
        with Path(path).open("rb") as file:
            yield file
    except OSError as error:
        raise Gone("The file that was indexed in place can no longer be read there.") from error


@contextmanager
def opened_instance(blobs: Blobs, row: Row, *, header_only: bool = False) -> Generator[tuple[BinaryIO, Header]]:
    """Open an instance with its header, inflated if it is deflated, so that the header's offsets hold.

    Raises
    ------
    Gone, NotFound
        As ``opened``.
    Unreadable
        It inflates to more than is reasonable.
    """
    with opened(blobs, row, header_only=header_only) as file:
        header = _header(file, row["digest"])
        yield (inflated_file(file, header.data_set_offset, MAX_INFLATED) if header.deflated else file), header


def _header(file: BinaryIO, digest: str) -> Header:
    header = _HEADERS.get(digest)
    if header is None:
        header = scan_file(file)
        if header.header_length <= _MOST_KEPT:
            _HEADERS.add(digest, header)
    return header


def is_unchanged(path: str, row: Mapping[str, object]) -> bool:
    """Whether a file that was indexed in place lies there as it was."""
    try:
        status = Path(path).stat()
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) == (row["size"], row["path_mtime_ns"])


def reader(blobs: Blobs, row: Row) -> Callable[[int, int], bytes]:
    """Make the function that reads ``length`` bytes from ``offset``; it may be called in any thread."""
    if row.get("path") is None:
        return blobs.reader(row["blob_key"])

    def read(offset: int, length: int) -> bytes:
        with opened(blobs, row) as file:
            file.seek(offset)
            return file.read(length)

    return read
