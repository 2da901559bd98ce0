"""Objects in a bucket. What is being written waits in files of this process, for a bucket takes an object only whole
and under its final key; a commit puts all of them side by side, and the group is durable when each is acknowledged.
Reads ask for ranges, and nothing is listed but where a caller lists."""

import contextlib
import io
import os
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self, cast

import obstore

from hilum.core.blobs import disk
from hilum.core.blobs.bucket import Bucket, EmptyRange
from hilum.core.blobs.interface import CHUNK_BYTES, HEAD_BYTES, check_key, check_range
from hilum.core.blobs.ranged import Heads, RangedFile
from hilum.core.errors import Invalid, NotFound

# Up to so much an object is put in one request; beyond it in parts of so much, a few of them at once.
PART_BYTES: Final = 8 << 20
_MOST_PARTS: Final = 10_000
_PARTS_AT_ONCE: Final = 4
_PUTS_AT_ONCE: Final = 8
_READS_AT_ONCE: Final = 16
_AHEAD: Final = 4
_DELETED_AT_ONCE: Final = 1000
_LISTED_AT_ONCE: Final = 1000
_MOST_STREAMED: Final = 8 << 20


class RemoteBlobs:
    """Objects in a bucket; see ``Blobs``.

    Parameters
    ----------
    bucket
        Where they are kept.
    spool
        A folder of this machine for what is being written. It holds nothing that must last: what a kill leaves there
        is removed by the next process that writes.
    """

    def __init__(self, bucket: Bucket, spool: Path) -> None:
        self.bucket = bucket
        self.spool = spool
        self._heads = Heads()
        self._lock = threading.Lock()
        self._temporary: disk.TemporaryFolder | None = None
        self._putters: ThreadPoolExecutor | None = None
        self._readers: ThreadPoolExecutor | None = None

    @property
    def where(self) -> str:
        """The bucket and prefix, as people are told."""
        return self.bucket.name

    def close(self) -> None:
        """Give back the folder and the threads of this process."""
        with self._lock:
            if self._temporary is not None:
                self._temporary.remove()
                self._temporary = None
            for threads in (self._putters, self._readers):
                if threads is not None:
                    threads.shutdown(cancel_futures=True)
            self._putters = self._readers = None

    def check(self) -> None:
        """Look whether the bucket is there, lets Hilum in and answers."""
        self.bucket.check()

    def group(self) -> "RemoteGroup":
        """Begin a group of objects."""
        with disk.explained(self.spool), self._lock:
            if self._temporary is None or not self._temporary.folder.exists():
                disk.make_root(self.spool)
                self._temporary = disk.TemporaryFolder(self.spool)
            if self._putters is None:
                self._putters = ThreadPoolExecutor(_PUTS_AT_ONCE, "put")
            return RemoteGroup(self, self._temporary, self._putters)

    def open(self, key: str, expected: int = HEAD_BYTES) -> BinaryIO:
        """Open an object for reading, with seek; its first stretch is asked for at once."""
        first = self._heads.get(check_key(key))
        if first is None or (expected > len(first[0]) and len(first[0]) < first[1]):
            first = self._fetch(key, 0, max(expected, HEAD_BYTES))
            self._heads.keep(key, *first)
        return cast("BinaryIO", RangedFile(partial(self._fetch, key), first))

    def read(self, key: str, offset: int, length: int) -> bytes:
        """Read ``length`` bytes from the 0-based ``offset``; fewer when the object ends before."""
        check_range(offset, length)
        if not length:
            self.size(key)
            return b""
        return self._fetch(key, offset, length)[0]

    def reader(self, key: str) -> Callable[[int, int], bytes]:
        """Give a function that does what ``read`` does; the longer it reads in order, the more it asks for at once."""
        lock = threading.Lock()
        file: RangedFile | None = None

        def read(offset: int, length: int) -> bytes:
            nonlocal file
            with lock:
                if file is None:
                    file = RangedFile(partial(self._fetch, key), self._fetch(key, offset, length), offset)
                file.seek(offset)
                return file.read(length)

        return read

    def stream(
        self, key: str, offset: int = 0, length: int | None = None, chunk_size: int = CHUNK_BYTES
    ) -> Iterator[bytes]:
        """Read from the 0-based ``offset``, ``length`` bytes or to the end, in chunks; the first comes at once."""
        check_range(offset, length or 0)
        if length == 0:
            self.size(key)
            return iter(())
        wanted = chunk_size if length is None else min(chunk_size, length)
        data, size = self._fetch(key, offset, wanted)
        end = size if length is None else min(size, offset + length)
        return self._chunks(key, data, offset, end, chunk_size)

    def read_all(self, objects: Sequence[tuple[str, int]]) -> Iterator[bytes]:
        """Read small objects whole, in their order, a few of them ahead of the one that is asked for."""
        with self._lock:
            if self._readers is None:
                self._readers = ThreadPoolExecutor(_READS_AT_ONCE, "read")
            readers = self._readers
        waiting: deque[Future[tuple[bytes, int]]] = deque()
        try:
            for key, size in objects:
                waiting.append(readers.submit(self._fetch, key, 0, max(size, 1)))
                if len(waiting) > _AHEAD:
                    yield waiting.popleft().result()[0]
            while waiting:
                yield waiting.popleft().result()[0]
        finally:
            for future in waiting:
                future.cancel()

    def size(self, key: str) -> int:
        """Give the size of an object in bytes."""
        check_key(key)
        return self.bucket.call(lambda: obstore.head(self.bucket.store, key), key)["size"]

    def exists(self, key: str) -> bool:
        """Whether there is such an object."""
        try:
            self.size(key)
        except NotFound:
            return False
        return True

    def path(self, key: str) -> Path | None:
        """None: objects of a bucket are not files."""
        check_key(key)

    def delete(self, keys: Iterable[str]) -> int:
        """Delete objects; all of them count, for a bucket does not tell which were there."""
        wanted = [check_key(key) for key in keys]
        for key in wanted:
            self._heads.drop(key)
        for start in range(0, len(wanted), _DELETED_AT_ONCE):
            some = wanted[start : start + _DELETED_AT_ONCE]
            try:
                self.bucket.call(lambda some=some: obstore.delete(self.bucket.store, some))
            except NotFound:  # some clouds tell of a missing one, and then perhaps left out others
                self._delete_each(some)
        return len(wanted)

    def list(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        """List key and size of the objects below ``prefix`` (whole components; empty for all), in no promised order."""
        below = check_key(prefix.removesuffix("/")) if prefix else None
        with self.bucket.explained():
            for some in obstore.list(  # pyright: ignore[reportUnknownMemberType] - of the kind for pyarrow, not used
                self.bucket.store, below, chunk_size=_LISTED_AT_ONCE
            ):
                for one in some:
                    with contextlib.suppress(Invalid):  # of others, who share the bucket
                        yield check_key(one["path"]), one["size"]

    def put(self, key: str, path: str, size: int) -> None:
        """Put a file under a key; one that is there already with this size has its bytes, and is not sent again if it
        is large."""
        if size <= PART_BYTES:
            self.bucket.call(lambda: obstore.put(self.bucket.store, key, Path(path).read_bytes(), use_multipart=False))
            return
        try:
            if self.size(key) == size:
                return
        except NotFound:
            pass
        part = max(PART_BYTES, -(-size // _MOST_PARTS))
        # A part that fails for good has the library abort the upload, so that the bucket keeps none of its parts.
        self.bucket.call(
            lambda: obstore.put(
                self.bucket.store, key, Path(path), use_multipart=True, chunk_size=part, max_concurrency=_PARTS_AT_ONCE
            )
        )

    def _fetch(self, key: str, offset: int, length: int) -> tuple[bytes, int]:
        """Bytes of an object from an offset, as many as asked or there are, and its size; one request."""
        check_key(key)

        def ask() -> tuple[bytes, int]:
            found = obstore.get(self.bucket.store, key, options={"range": (offset, offset + length)})
            return bytes(found.bytes()), found.meta["size"]

        try:
            return self.bucket.call(ask, key)
        except EmptyRange:
            return b"", self.size(key)

    def _chunks(self, key: str, first: bytes, offset: int, end: int, chunk_size: int) -> Iterator[bytes]:
        """Chunks of one size, asked for in stretches that become longer as the reading goes on."""
        data, ahead = first, chunk_size
        while data:
            offset += len(data)
            for at in range(0, len(data), chunk_size):
                yield data[at : at + chunk_size]
            if offset >= end:
                return
            ahead = max(chunk_size, min(ahead * 2, _MOST_STREAMED // chunk_size * chunk_size))
            data, _ = self._fetch(key, offset, min(ahead, end - offset))

    def _delete_each(self, keys: Sequence[str]) -> None:
        for key in keys:
            with contextlib.suppress(NotFound):
                self.bucket.call(lambda key=key: obstore.delete(self.bucket.store, key), key)


class RemoteGroup:
    """Objects that are put together; see ``BlobGroup``."""

    def __init__(self, blobs: RemoteBlobs, temporary: disk.TemporaryFolder, putters: ThreadPoolExecutor) -> None:
        self._blobs = blobs
        self._temporary = temporary
        self._putters = putters
        self._items: list[RemoteItem] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for item in self._items:
            item.discard()

    def create(self) -> "RemoteItem":
        """Begin an object."""
        with disk.explained(self._blobs.spool):
            item = RemoteItem(f"{self._temporary.folder}/{secrets.token_hex(8)}", self._temporary.owner)
        self._items.append(item)
        return item

    def prepare(self) -> None:
        """Put what is large; the commit then only looks whether somebody has removed it in between."""
        for item in self._whole():
            if item.size > PART_BYTES:
                self._put(item)

    def commit(self) -> None:
        """Put every finished object, and forget the others; it returns when each is acknowledged, or raises once none
        is on its way any more."""
        whole = self._whole()
        # Small ones side by side, each in memory for that long; a large one has its parts side by side.
        futures = [self._putters.submit(self._put, item) for item in whole if item.size <= PART_BYTES]
        try:
            for item in whole:
                if item.size > PART_BYTES:
                    self._put(item)
        finally:
            failures = [future.exception() for future in futures]
        for failure in failures:
            if failure is not None:
                raise failure
        for item in self._items:
            item.discard()
        self._items.clear()

    def _whole(self) -> "Sequence[RemoteItem]":
        """What is finished, each key once."""
        return list({item.key: item for item in self._items if item.key is not None}.values())

    def _put(self, item: "RemoteItem") -> None:
        with disk.explained(self._blobs.spool):
            self._blobs.put(item.key or "", item.path, item.size)


class RemoteItem:
    """One object that is being written to a file of this machine; see ``BlobItem``."""

    def __init__(self, path: str, owner: tuple[int, int] | None) -> None:
        self.size = 0
        self.key: str | None = None
        self.path = path
        self._file: io.FileIO | None = io.FileIO(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        if owner:
            os.chown(path, *owner, follow_symlinks=False)

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Append to the object."""
        if self._file is None:
            raise ValueError("The object is finished or discarded.")
        rest = memoryview(chunk).cast("B")
        with disk.explained(Path(self.path).parent):
            while rest:
                written = self._file.write(rest)
                self.size += written
                rest = rest[written:]

    def reader(self) -> BinaryIO:
        """Open what has been written so far, from its beginning; the caller closes it."""
        with disk.explained(Path(self.path).parent):
            return Path(self.path).open("rb")

    def finish(self, key: str) -> None:
        """Say that the object is whole and under which key it is to appear when the group is committed."""
        if self._file is None:
            raise ValueError("The object is finished or discarded.")
        self.key = check_key(key)
        self._close()

    def discard(self) -> None:
        """Forget the object."""
        self.key = None
        self._close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)  # noqa: PTH108 - as for objects that are files

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()
