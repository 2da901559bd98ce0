"""Objects as files below a folder: the default, and on one machine the fastest."""

import os
import secrets
import stat
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import BinaryIO, Self

from hilum.core.blobs import disk
from hilum.core.blobs.interface import CHUNK_BYTES, HEAD_BYTES, check_key, check_range
from hilum.core.errors import OutOfSpace, Unavailable

# Write-back starts, and the free space is looked at, each time so much of one object has been written.
_WRITE_BACK_BYTES = 8 << 20
# From so many files below this size in a group on, flushing their file system at once is cheaper than flushing each.
_SMALL_BYTES = 128 << 10
_MANY = 16
# Folders that others delete while we put something there are made again, but not for ever.
_PLACE_ATTEMPTS = 10
_KNOWN_FOLDERS = 10_000


class LocalBlobs:
    """Objects as files below a folder, readable by its owner alone.

    Parameters
    ----------
    root
        The folder; it is made when the first object is written.
    min_free_bytes
        Free space of its disk below which nothing more is taken.

    Notes
    -----
    An object is written to a temporary file of the same file system. A commit flushes all of them, then gives them
    their names, then flushes each folder once. Each process has a temporary folder, which it holds by flock: one that
    nobody holds was left by a kill and is removed by the next process that writes.
    """

    def __init__(self, root: Path, min_free_bytes: int = 0) -> None:
        self.root = root
        self.min_free_bytes = min_free_bytes
        self._base = str(root)
        # Folders whose entries in their parents are known to be on the disk.
        self._known: set[str] = set()
        self._lock = threading.Lock()
        self._temporary: disk.TemporaryFolder | None = None

    @property
    def where(self) -> str:
        """The folder, as people are told."""
        return str(self.root)

    def close(self) -> None:
        """Give back the temporary folder of this process; a process that ends without its exit handlers calls it."""
        with self._lock:
            if self._temporary is not None:
                self._temporary.remove()
                self._temporary = None

    def group(self) -> "LocalGroup":
        """Begin a group of objects, if the disk has space."""
        with disk.explained(self.root):
            with self._lock:
                if self._temporary is None or not self._temporary.folder.exists():
                    self._known.clear()
                    disk.make_root(self.root)
                    self._temporary = disk.TemporaryFolder(self.root)
            self.check_space()
            return LocalGroup(self, self._temporary)

    def check(self) -> None:
        """Look whether the folder can be read; one that is not made yet can."""
        self.exists("ready")

    def open(self, key: str, expected: int = HEAD_BYTES) -> BinaryIO:
        """Open an object for reading, with seek; the caller closes it."""
        del expected
        with disk.explained(self.root, key):
            return Path(self._file(key)).open("rb")

    def read(self, key: str, offset: int, length: int) -> bytes:
        """Read ``length`` bytes from the 0-based ``offset``; fewer when the object ends before."""
        check_range(offset, length)
        with disk.explained(self.root, key):
            handle = os.open(self._file(key), os.O_RDONLY)
            try:
                return _read(handle, offset, length)
            finally:
                os.close(handle)

    def reader(self, key: str) -> Callable[[int, int], bytes]:
        """Give a function that does what ``read`` does."""
        return partial(self.read, key)

    def stream(
        self, key: str, offset: int = 0, length: int | None = None, chunk_size: int = CHUNK_BYTES
    ) -> Iterator[bytes]:
        """Read from the 0-based ``offset``, ``length`` bytes or to the end, in chunks."""
        check_range(offset, length or 0)
        return _chunks(self.open(key), self.root, key, offset, length, chunk_size)

    def read_all(self, objects: Sequence[tuple[str, int]]) -> Iterator[bytes]:
        """Read small objects whole, one after the other."""
        for key, size in objects:
            yield self.read(key, 0, size)

    def size(self, key: str) -> int:
        """Give the size of an object in bytes."""
        size = self._size(key)
        if size is None:
            raise disk.missing(key)
        return size

    def exists(self, key: str) -> bool:
        """Whether there is such an object."""
        return self._size(key) is not None

    def path(self, key: str) -> Path | None:
        """Give the file of an object, which may be missing."""
        return Path(self._file(key))

    def delete(self, keys: Iterable[str]) -> int:
        """Delete objects, and the folders that are empty then; give how many objects there were."""
        deleted = 0
        folders: set[str] = set()
        with disk.explained(self.root):
            for key in keys:
                try:
                    os.unlink(self._file(key))  # noqa: PTH108 - a Path for each object costs more than the call
                except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                    continue
                deleted += 1
                folders.add(_folder_of(key))
            for folder in folders:
                self._remove_empty(folder)
        return deleted

    def list(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        """List key and size of the objects below ``prefix`` (whole components; empty for all), in no promised order."""
        waiting = [check_key(prefix.removesuffix("/")) if prefix else ""]
        while waiting:
            folder = waiting.pop()
            with disk.explained(self.root):
                for name, size in disk.entries(self._file(folder) if folder else self._base):
                    key = f"{folder}/{name}" if folder else name
                    if size is None:
                        waiting.append(key)
                    else:
                        yield key, size

    def check_space(self) -> None:
        """Raise ``OutOfSpace`` when the disk has less free space than has to be left."""
        info = os.statvfs(self._base)
        free = info.f_bavail * info.f_frsize
        if free < self.min_free_bytes:
            raise OutOfSpace(
                f"The disk of {self.root} has {free >> 20} MiB left, and {self.min_free_bytes >> 20} MiB have to stay "
                "free (HILUM_MIN_FREE_BYTES): free some space and send it again."
            )

    def place(self, temporary: str, key: str, size: int) -> set[str]:
        """Give a flushed temporary file its key, unless the same object is there; another process may do so as well.

        Returns
        -------
        set of str
            The folders to flush before the object is durable, relative to the root.
        """
        folder = _folder_of(key)
        for _ in range(_PLACE_ATTEMPTS):
            try:
                touched = {folder} if folder in self._known else self._make_folders(folder)
                if self._size(key) == size:
                    os.unlink(temporary)  # noqa: PTH108
                else:
                    os.rename(temporary, self._file(key))  # noqa: PTH104
            except FileNotFoundError:
                # Who deletes the last object of a folder takes the folder along.
                self._known.discard(folder)
            else:
                return touched
        raise Unavailable(
            f"An object cannot be put below {self.root}: its folder, or its bytes, vanish again and again."
        )

    def flush(self, folders: set[str]) -> None:
        """Make the entries of folders durable."""
        for folder in folders:
            # A folder that is gone took with it what others deleted.
            with suppress(FileNotFoundError):
                disk.sync(f"{self._base}/{folder}")
        if len(self._known) > _KNOWN_FOLDERS:
            self._known.clear()
        self._known |= folders

    def _file(self, key: str) -> str:
        return f"{self._base}/{check_key(key)}"

    def _size(self, key: str) -> int | None:
        with disk.explained(self.root):
            try:
                info = os.stat(self._file(key))  # noqa: PTH116
            except (FileNotFoundError, NotADirectoryError):
                return None
        return info.st_size if stat.S_ISREG(info.st_mode) else None

    def _make_folders(self, folder: str) -> set[str]:
        """Make a folder and those above it; all of them are to be flushed, whoever made them."""
        above = [str(parent) for parent in PurePosixPath(folder).parents]
        for path in [*reversed(above[:-1]), folder]:
            if path:
                with suppress(FileExistsError):
                    os.mkdir(f"{self._base}/{path}", 0o700)  # noqa: PTH102
                    disk.give_to_owner(self.root, f"{self._base}/{path}")
        return {folder, *above}

    def _remove_empty(self, folder: str) -> None:
        while folder:
            try:
                os.rmdir(f"{self._base}/{folder}")  # noqa: PTH106
            except OSError:
                return
            self._known.discard(folder)
            folder = _folder_of(folder)


class LocalGroup:
    """Objects below one folder that become durable together; see ``BlobGroup``."""

    def __init__(self, blobs: LocalBlobs, temporary: "disk.TemporaryFolder") -> None:
        self._blobs = blobs
        self._temporary = temporary
        self._items: dict[str, LocalItem] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for item in list(self._items.values()):
            item.discard()

    def create(self) -> "LocalItem":
        """Begin an object."""
        path = f"{self._temporary.folder}/{secrets.token_hex(8)}"
        with disk.explained(self._blobs.root):
            self._items[path] = item = LocalItem(self._blobs, path, self._items, self._temporary.owner)
        return item

    def prepare(self) -> None:
        """Nothing: write-back has begun, and flushing it twice would cost more."""

    def commit(self) -> None:
        """Make every finished object durable and visible, and forget the others."""
        with disk.explained(self._blobs.root):
            for item in [item for item in self._items.values() if item.key is None]:
                item.discard()
            self._flush()
            touched: set[str] = set()
            while self._items:
                path, item = next(iter(self._items.items()))
                touched |= self._blobs.place(path, item.key or "", item.size)
                del self._items[path]
            self._blobs.flush(touched)

    def _flush(self) -> None:
        """Make what was written durable: many small files by one flush of their file system, others one by one."""
        small = sum(1 for item in self._items.values() if item.size < _SMALL_BYTES)
        if small >= _MANY and disk.sync_file_system(self._temporary.handle):
            return
        for path in self._items:
            disk.sync(path)


class LocalItem:
    """One object that is being written to a temporary file; see ``BlobItem``."""

    def __init__(
        self, blobs: LocalBlobs, path: str, siblings: dict[str, "LocalItem"], owner: tuple[int, int] | None
    ) -> None:
        self.size = 0
        self.key: str | None = None
        self._blobs = blobs
        self._path = path
        self._siblings = siblings
        self._written_back = 0
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        if owner:
            os.chown(path, *owner, follow_symlinks=False)

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Append to the object."""
        if self._handle < 0:
            raise ValueError("The object is finished or discarded.")
        rest = memoryview(chunk).cast("B")
        with disk.explained(self._blobs.root):
            while rest:
                written = os.write(self._handle, rest)
                self.size += written
                rest = rest[written:]
            if self.size - self._written_back >= _WRITE_BACK_BYTES:
                self._blobs.check_space()
                self._start_write_back()

    def reader(self) -> BinaryIO:
        """Open what has been written so far, from its beginning; the caller closes it."""
        with disk.explained(self._blobs.root):
            return Path(self._path).open("rb")

    def finish(self, key: str) -> None:
        """Say that the object is whole and under which key it is to appear when the group is committed."""
        if self._handle < 0:
            raise ValueError("The object is finished or discarded.")
        self.key = check_key(key)
        with disk.explained(self._blobs.root):
            if self.size >= _SMALL_BYTES:
                self._start_write_back()
            self._close()

    def discard(self) -> None:
        """Forget the object."""
        self._siblings.pop(self._path, None)
        self._close()
        with suppress(FileNotFoundError):
            os.unlink(self._path)  # noqa: PTH108

    def _start_write_back(self) -> None:
        # The advice makes the kernel write the dirty pages now, so that the flush at commit finds little to do.
        os.posix_fadvise(self._handle, self._written_back, 0, os.POSIX_FADV_DONTNEED)
        self._written_back = self.size

    def _close(self) -> None:
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)


def _folder_of(key: str) -> str:
    return key.rpartition("/")[0]


def _read(handle: int, offset: int, length: int) -> bytes:
    data = os.pread(handle, length, offset)
    while 0 < len(data) < length:
        more = os.pread(handle, length - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data


def _chunks(
    source: BinaryIO, root: Path, key: str, offset: int, length: int | None, chunk_size: int
) -> Generator[bytes]:
    with source, disk.explained(root, key):
        left = length
        while left is None or left > 0:
            chunk = _read(source.fileno(), offset, chunk_size if left is None else min(chunk_size, left))
            if not chunk:
                return
            offset += len(chunk)
            left = None if left is None else left - len(chunk)
            yield chunk
