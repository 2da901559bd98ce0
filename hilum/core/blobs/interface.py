"""What storage of objects promises, whoever keeps them: the interface, and what is a key. Nothing in it needs a rename,
an append or a folder, so that a bucket can be another ``Blobs``."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol, Self

from hilum.core.errors import Invalid, Unavailable

MAX_KEY_LENGTH = 512
MAX_COMPONENT_LENGTH = 128
CHUNK_BYTES = 1 << 20
HEAD_BYTES = 64 << 10

COMPONENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*", re.ASCII)


class StorageRefused(Unavailable):
    """The storage is missing, or does not let Hilum in: nothing that waiting would mend."""


class BlobItem(Protocol):
    """One object that is being written."""

    @property
    def size(self) -> int:
        """Bytes written so far."""
        ...

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Append to the object."""
        ...

    def reader(self) -> BinaryIO:
        """Open what has been written so far, from its beginning; the caller closes it."""
        ...

    def finish(self, key: str) -> None:
        """Say that the object is whole and under which key it is to appear when the group is committed."""
        ...

    def discard(self) -> None:
        """Forget the object."""
        ...


class BlobGroup(Protocol):
    """Objects that become durable together; a context manager that forgets what was not committed.

    One thread uses a group at a time.
    """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def create(self) -> BlobItem:
        """Begin an object."""
        ...

    def prepare(self) -> None:
        """Do what takes long of the commit of what is finished, for a caller that holds something during the commit.

        Prepared objects may be there already, as after a commit that failed, and are not durable before the commit.
        """
        ...

    def commit(self) -> None:
        """Make every finished object durable and visible, and forget the others; on return it survives a power cut.

        When it fails, no object is there in part. Some may be there whole: a later commit of the same content finds
        them, and until then no row of the catalogue names them.
        """
        ...


class Blobs(Protocol):
    """Objects by key. Every method may be called from any thread.

    A key is made of components of ``A-Z a-z 0-9 . _ -``, separated by ``/``; none begins with a dot. Methods raise
    ``Invalid`` for another key, ``NotFound`` for a missing object, ``OutOfSpace`` when nothing more fits and
    ``Unavailable`` when the storage fails.
    """

    @property
    def where(self) -> str:
        """Where objects are kept, as people are told."""
        ...

    def close(self) -> None:
        """Give back what this process holds."""
        ...

    def group(self) -> BlobGroup:
        """Begin a group of objects."""
        ...

    def check(self) -> None:
        """Look whether the storage can be used now; quick, and raises ``Unavailable`` with the way out."""
        ...

    def open(self, key: str, expected: int = HEAD_BYTES) -> BinaryIO:
        """Open an object for reading, with seek; the caller closes it.

        ``expected`` is how much of its beginning will be read in any case: where a read is a round trip, so much is
        asked for at once.
        """
        ...

    def read(self, key: str, offset: int, length: int) -> bytes:
        """Read ``length`` bytes from the 0-based ``offset``; fewer when the object ends before."""
        ...

    def reader(self, key: str) -> Callable[[int, int], bytes]:
        """Give a function that does what ``read`` does, for many reads mostly in order; any thread may call it."""
        ...

    def stream(
        self, key: str, offset: int = 0, length: int | None = None, chunk_size: int = CHUNK_BYTES
    ) -> Iterator[bytes]:
        """Read from the 0-based ``offset``, ``length`` bytes or to the end, in chunks; it opens before the first."""
        ...

    def read_all(self, objects: Sequence[tuple[str, int]]) -> Iterator[bytes]:
        """Read small objects whole, each by its key and size, in their order; where a read is a round trip, some are
        asked for ahead."""
        ...

    def size(self, key: str) -> int:
        """Give the size of an object in bytes."""
        ...

    def exists(self, key: str) -> bool:
        """Whether there is such an object."""
        ...

    def path(self, key: str) -> Path | None:
        """Give the file of an object; None where objects are not files."""
        ...

    def delete(self, keys: Iterable[str]) -> int:
        """Delete objects and give how many there were; a missing one is no error, and may count where the storage does
        not tell."""
        ...

    def list(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        """List key and size of the objects below ``prefix`` (whole components; empty for all), in no promised order."""
        ...


def check_key(key: str) -> str:
    """Give the key back if it is one.

    Raises
    ------
    Invalid
        It is not; the sentence does not repeat it.
    """
    if not key or len(key) > MAX_KEY_LENGTH:
        raise Invalid(f"A key has 1 to {MAX_KEY_LENGTH} characters; this one has {len(key)}.")
    for component in key.split("/"):
        if len(component) > MAX_COMPONENT_LENGTH or not COMPONENT.fullmatch(component):
            raise Invalid(
                f"A key is made of components of up to {MAX_COMPONENT_LENGTH} characters A-Z a-z 0-9 . _ - that do not "
                "begin with a dot or a dash, separated by a slash; this one is not."
            )
    return key


def check_range(offset: int, length: int) -> None:
    """Raise ``Invalid`` when there can be no such range."""
    if offset < 0 or length < 0:
        raise Invalid("A range begins at 0 or later and has no negative length.")
