"""The folder in which a proxy keeps instances until they are delivered. An instance is a DICOM file and beside it a
JSON document, which is written last: with it the instance counts as kept, without it the file is what a kill left. A
file is removed only when it has been delivered; one that the receiver will never take lies in ``refused`` for people to
look at."""

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final
from uuid import uuid4

import msgspec
import structlog
from blake3 import blake3

from hilum.core.errors import InUse, Invalid, OutOfSpace, TooLarge, Unavailable
from hilum.imaging.dicom.header import Header, scan_file

_LOOK: Final = 16 << 20
_FILE, _TOLD, _PART = ".dcm", ".json", ".part"

log = structlog.get_logger()


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a kept instance beside its file.

    Attributes
    ----------
    called, calling : str
        AE titles of the association that brought it.
    offset, size : int
        Where the data set begins in the file, and length of the whole file, in bytes.
    blake3 : str
        Digest of the whole file.
    refused : str
        Why it was refused; empty as long as it waits.
    """

    called: str
    calling: str
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    offset: int = 0
    size: int = 0
    blake3: str = ""
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Kept:
    """An instance that waits: the name of its files, and what is known of it."""

    name: str
    letter: Letter


@dataclass(frozen=True, slots=True)
class Held:
    """What a folder holds: instances that wait, their bytes, when the oldest of them came (nanoseconds since 1970), and
    how many were refused."""

    instances: int
    bytes: int
    since: int
    refused: int

    def age(self, now: float) -> float:
        """Seconds that the oldest has waited at a time in seconds since 1970; 0 where none waits."""
        return max(now - self.since / 1e9, 0.0) if self.instances else 0.0


@dataclass(slots=True)
class Spool:
    """Keeps instances in a folder; many threads may use it.

    Parameters
    ----------
    folder : Path
        Held by this process alone.
    min_free_bytes : int
        Space on its disk below which nothing more is kept.
    """

    folder: Path
    min_free_bytes: int

    def keep(
        self,
        letter: Letter,
        start: bytes,
        data: Iterable[bytes | memoryview],
        inspect: Callable[[Header], None],
        limit: int,
    ) -> None:
        """Keep an instance; it is on the disk when this returns.

        Parameters
        ----------
        letter : Letter
            Whose it is.
        start : bytes
            What stands before the data set in the file.
        data : iterable of bytes-like
            The data set.
        inspect : callable
            Given the header; what it raises is raised, and nothing kept.
        limit : int
            Longest file, in bytes.

        Raises
        ------
        OutOfSpace
            There is no room.
        TooLarge
            It is longer than ``limit``.
        NotDicom, Unreadable
            It is no DICOM.
        """
        name = f"{time.time_ns():020d}-{uuid4().hex[:12]}"
        part, done = self._waiting / (name + _PART), self._waiting / (name + _FILE)
        try:
            with part.open("xb") as file:
                size, digest = self._write(file, start, data, limit)
                file.flush()
                os.fsync(file.fileno())
            with part.open("rb") as file:
                inspect(scan_file(file))
            part.rename(done)
            self._tell(done, msgspec.structs.replace(letter, offset=len(start), size=size, blake3=digest))
        except BaseException as error:
            for left in (part, done):
                left.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise OutOfSpace(f"The folder of the proxy takes no more: {error.strerror}.") from error
            raise

    def waiting(self, count: int, after: str = "") -> Sequence[Kept]:
        """The instances that have waited longest, at most so many, of those that came after one that is named."""
        names = sorted(
            entry.name for entry in os.scandir(self._waiting) if entry.name.endswith(_TOLD) and entry.name > after
        )
        found: list[Kept] = []
        for name in names[:count]:
            try:
                letter = msgspec.json.decode((self._waiting / name).read_bytes(), type=Letter)
            except (OSError, msgspec.DecodeError):
                log.warning("relay.letter_unreadable", name=name)
                self._move(name.removesuffix(_TOLD))
            else:
                found.append(Kept(name.removesuffix(_TOLD), letter))
        return found

    @contextmanager
    def open(self, kept: Kept) -> Generator[BinaryIO]:
        """The file of an instance.

        Raises
        ------
        Unavailable
            It is not what was kept.
        """
        path = self._waiting / (kept.name + _FILE)
        try:
            with path.open("rb") as file:
                digest = blake3()
                while chunk := file.read(1 << 20):
                    digest.update(chunk)
                if digest.hexdigest() != kept.letter.blake3:
                    raise Unavailable("A kept file is damaged.")
                file.seek(0)
                yield file
        except FileNotFoundError as error:
            raise Unavailable("A kept file is gone.") from error

    def delivered(self, kept: Kept) -> None:
        """Remove an instance that the receiver has."""
        (self._waiting / (kept.name + _TOLD)).unlink(missing_ok=True)
        (self._waiting / (kept.name + _FILE)).unlink(missing_ok=True)

    def refuse(self, kept: Kept, why: str) -> None:
        """Lay an instance aside that the receiver will not take, however often it is sent."""
        told = self._waiting / (kept.name + _TOLD)
        part = told.with_suffix(_PART)
        part.write_bytes(msgspec.json.encode(msgspec.structs.replace(kept.letter, refused=why)))
        part.rename(told)
        self._move(kept.name)

    def held(self) -> Held:
        """Look what there is."""
        count, size, first = 0, 0, ""
        for entry in os.scandir(self._waiting):
            if entry.name.endswith(_FILE):
                with suppress(FileNotFoundError):  # delivered meanwhile
                    size += entry.stat().st_size
                    count += 1
                    first = min(first or entry.name, entry.name)
        refused = sum(1 for entry in os.scandir(self.folder / "refused") if entry.name.endswith(_FILE))
        since = first.partition("-")[0]
        return Held(count, size, int(since) if since.isdecimal() else 0, refused)

    def clean(self) -> None:
        """Remove what a kill left: files that were never acknowledged, or have been delivered."""
        for entry in list(os.scandir(self._waiting)):
            path = Path(entry.path)
            left = path.suffix == _FILE and not path.with_suffix(_TOLD).exists()
            if path.suffix == _PART or left:
                path.unlink(missing_ok=True)

    @property
    def _waiting(self) -> Path:
        return self.folder / "waiting"

    def _write(self, file: BinaryIO, start: bytes, data: Iterable[bytes | memoryview], limit: int) -> tuple[int, str]:
        digest, size, looked = blake3(), 0, -_LOOK
        for chunk in _all(start, data):
            if size - looked >= _LOOK:
                self._check_space()
                looked = size
            size += len(chunk)
            if size > limit:
                raise TooLarge("The instance is longer than HILUM_MAX_INSTANCE_BYTES.")
            digest.update(chunk)
            file.write(chunk)
        return size, digest.hexdigest()

    def _check_space(self) -> None:
        if shutil.disk_usage(self.folder).free < self.min_free_bytes:
            raise OutOfSpace("The disk of the proxy is nearly full.")

    def _tell(self, done: Path, letter: Letter) -> None:
        """Write the document that makes a file count, and have all of it on the disk."""
        part = done.with_suffix(_TOLD + _PART)
        try:
            with part.open("xb") as file:
                file.write(msgspec.json.encode(letter))
                file.flush()
                os.fsync(file.fileno())
            part.rename(done.with_suffix(_TOLD))
            _sync(done.parent)
        except BaseException:
            part.unlink(missing_ok=True)
            done.with_suffix(_TOLD).unlink(missing_ok=True)
            raise

    def _move(self, name: str) -> None:
        for suffix in (_FILE, _TOLD):
            with suppress(FileNotFoundError):
                (self._waiting / (name + suffix)).rename(self.folder / "refused" / (name + suffix))


@contextmanager
def open_spool(folder: Path, min_free_bytes: int) -> Generator[Spool]:
    """Hold a folder, made where there is none, and clean it of what a kill left.

    Raises
    ------
    InUse
        Another proxy holds it.
    Invalid
        It cannot be written.
    """
    folder = folder.expanduser().absolute()
    try:
        for each in (folder, folder / "waiting", folder / "refused"):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (folder / "lock").open("ab")
    except OSError as error:
        raise Invalid(f"{folder} cannot be used to keep instances in: {error.strerror}.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InUse(f"Another proxy keeps instances in {folder}: give each a folder of its own.") from error
        _sync(folder)
        spool = Spool(folder, min_free_bytes)
        spool.clean()
        yield spool


def _all(start: bytes, data: Iterable[bytes | memoryview]) -> Generator[bytes | memoryview]:
    yield start
    yield from data


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
