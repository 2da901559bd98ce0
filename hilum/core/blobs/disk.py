"""What local storage needs of the operating system: a temporary folder for each process, which is recognisable after a
kill, flushes that tell of failed writes, files that belong to the owner of their folder, and refusals as sentences."""

import ctypes
import errno
import os
import re
import shutil
import weakref
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from hilum.core.blobs.interface import COMPONENT
from hilum.core.errors import NotFound, OutOfSpace, Unavailable
from hilum.core.held import hold, make_held

_TEMPORARY = ".tmp"


class TemporaryFolder:
    """A folder for the objects that this process is writing, which the kernel's lock tells from one left by a kill."""

    def __init__(self, root: Path) -> None:
        parent = root / _TEMPORARY
        parent.mkdir(mode=0o700, exist_ok=True)
        give_to_owner(root, str(parent))
        for left in list(parent.iterdir()):
            _remove_if_left(left)
        self.folder, handle = make_held(parent, lambda folder: give_to_owner(root, str(folder)))
        self.handle = handle
        self.owner = _owner_to_serve(root)
        self.remove = weakref.finalize(self, _remove_temporary, self.folder, handle)


def _remove_if_left(folder: Path) -> None:
    handle = hold(folder)
    if handle is not None:
        _remove_temporary(folder, handle)


def _remove_temporary(folder: Path, handle: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os.close(handle)


def make_root(root: Path) -> None:
    if not root.is_dir():
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        give_to_owner(root.parent, str(root))
        sync(str(root.parent))


def give_to_owner(folder: Path, path: str) -> None:
    """Give what root makes to the owner of the folder it lies in, whose own processes will want to read it."""
    owner = _owner_to_serve(folder)
    if owner:
        os.chown(path, *owner, follow_symlinks=False)


def _owner_to_serve(folder: Path) -> tuple[int, int] | None:
    """User and group that root writes for in a folder; None for anybody else, and in root's own."""
    if os.geteuid() != 0:
        return None
    owner = folder.stat()
    return (owner.st_uid, owner.st_gid) if owner.st_uid != 0 else None


# Before Linux 5.8 syncfs did not tell of writes that had failed.
_SYNCFS_TELLS = tuple(int(part) for part in re.findall(r"\d+", os.uname().release)[:2]) >= (5, 8)


def sync(path: str) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_file_system(handle: int) -> bool:
    """Flush the whole file system of an open file; False where that would not tell of failed writes."""
    if not _SYNCFS_TELLS:
        return False
    library = ctypes.CDLL(None, use_errno=True)
    if library.syncfs(handle) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return True


def entries(folder: str) -> list[tuple[str, int | None]]:
    """Name and size of what lies in a folder of objects; the size of a folder is None."""
    found: list[tuple[str, int | None]] = []
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as scan:
        for entry in scan:
            if COMPONENT.fullmatch(entry.name):
                with suppress(FileNotFoundError):
                    found.append((entry.name, None if entry.is_dir() else entry.stat().st_size))
    return found


def missing(key: str) -> NotFound:
    return NotFound(f"There is no object {key}.")


@contextmanager
def explained(root: Path, key: str | None = None) -> Generator[None]:
    """Turn an operating system's refusal into a sentence."""
    try:
        yield
    except OSError as error:
        if key is not None and error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR):
            raise missing(key) from error
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutOfSpace(f"The disk of {root} is full: free some space and send it again.") from error
        raise Unavailable(f"The objects in {root} cannot be used: {error.strerror or error}.") from error
