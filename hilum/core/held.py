"""Folders that a process holds for itself: the kernel's lock ends with the process, however it ends, and so tells a
folder that is in use from one that was left behind."""

import fcntl
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

LOCK: Final = "lock"
_ATTEMPTS: Final = 10


def hold(folder: Path) -> int | None:
    """Hold a folder by the file ``lock`` in it; close the handle to let it go. None when a process holds it, or has
    removed it just now."""
    try:
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:
        return None
    with suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(handle).st_nlink:
            return handle
    os.close(handle)
    return None


def make_held(parent: Path, made: Callable[[Path], None] | None = None) -> tuple[Path, int]:
    """Make a folder of a name of its own and hold it, with its handle; another process may think it left behind, and
    remove it, before it is held.

    Parameters
    ----------
    parent
        Where to make it.
    made
        Told of each folder that is made, before it is held.

    Raises
    ------
    OSError
        The folder cannot be made, or its file system knows no locks.
    """
    for _ in range(_ATTEMPTS):
        folder = parent / secrets.token_hex(8)
        folder.mkdir(mode=0o700)
        if made is not None:
            made(folder)
        handle = hold(folder)
        if handle is not None:
            return folder, handle
    raise OSError(f"{parent} lies on a file system without locks")
