"""The folder of an inbox, which any number of watchers may share: which files in it are whole, taking each for oneself
by a rename, and where it goes afterwards. What is imported, and how, is for ``watch`` to say. A rename within one file
system is atomic also on network file systems; these tell of no changes, so the folder is looked through always."""

import os
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hilum.core.errors import Invalid
from hilum.core.held import LOCK, hold, make_held

PROCESSED: Final = "processed"
REJECTED: Final = "rejected"
_CLAIMED: Final = ".claimed"
_OURS: Final = frozenset((PROCESSED, REJECTED, _CLAIMED))
_UNFINISHED: Final = (".part", ".partial", ".filepart", ".crdownload", ".tmp", ".temp", ".writing", "~")
_REASON: Final = ".reason.txt"
_KEPT_EMPTY_SECONDS: Final = 3600
_MAX_NAME: Final = 200


@dataclass(frozen=True, slots=True)
class Claimed:
    """A file that this watcher took: where it lies now, and where it lay, relative to the inbox."""

    path: Path
    name: str


class Inbox:
    """An inbox as one watcher works on it; it holds a folder for what it took, by a lock that ends with its process.

    Parameters
    ----------
    folder
        The inbox.
    settle_seconds
        How long a file must keep its size and time before it counts as whole.

    Raises
    ------
    Invalid
        There is no such folder, or it cannot be written to.
    """

    def __init__(self, folder: Path, settle_seconds: float) -> None:
        self.folder = folder
        self._settle = settle_seconds
        self._seen: dict[str, tuple[tuple[int, int], float]] = {}
        try:
            for name in (PROCESSED, REJECTED, _CLAIMED):
                (folder / name).mkdir(exist_ok=True)
            self._own, self._held = make_held(folder / _CLAIMED)
        except OSError as error:
            raise Invalid(f"{folder} cannot be an inbox: {error.strerror or error}.") from error

    def close(self) -> None:
        """Give back what was taken and not settled."""
        self._give_back(self._own)
        os.close(self._held)

    def recover(self) -> int:
        """Give back what watchers had taken that have ended since; gives how many files."""
        given = 0
        for left in (self.folder / _CLAIMED).iterdir():
            if left != self._own and (lock := hold(left)) is not None:
                given += self._give_back(left)
                os.close(lock)
        return given

    def claim(self, files: int, size: int) -> list[Claimed]:
        """Take whole files, so many or so many bytes at most; none twice, whoever else looks for some."""
        now = time.monotonic()
        seen: dict[str, tuple[tuple[int, int], float]] = {}
        claimed: list[Claimed] = []
        for name, status in self._waiting():
            state = (status.st_size, status.st_mtime_ns)
            before, since = self._seen.get(name, (None, now))
            seen[name] = (state, since if before == state else now)
            if before == state and now - since >= self._settle and len(claimed) < files and size > 0:
                taken = self._take(name)
                if taken:
                    claimed.append(taken)
                    size -= status.st_size
                del seen[name]
        self._seen = seen
        return claimed

    def settle(self, claimed: Claimed, reasons: list[str]) -> None:
        """Put a file where it belongs afterwards: processed, or rejected with its reasons beside it."""
        place = self.folder / (REJECTED if reasons else PROCESSED)
        target = _free(place / claimed.name)
        if reasons:
            target.with_name(target.name + _REASON).write_text("\n".join(reasons) + "\n", encoding="utf-8")
        claimed.path.rename(target)

    def give_back(self, claimed: Claimed) -> None:
        """Put a file back where it lay, to be taken again."""
        claimed.path.rename(_free(self.folder / claimed.name))

    def _waiting(self) -> Iterator[tuple[str, os.stat_result]]:
        """What lies in the inbox and may be taken once it is whole, by its name relative to the inbox."""
        yield from self._below("", time.time())

    def _below(self, name: str, now: float) -> Iterator[tuple[str, os.stat_result]]:
        empty = True
        try:
            entries = sorted(os.scandir(self.folder / name), key=lambda entry: entry.name)
        except OSError:
            return
        for entry in entries:
            empty = False
            if entry.name.startswith(".") or entry.name.lower().endswith(_UNFINISHED):
                continue
            if not name and entry.name in _OURS:
                continue
            with suppress(OSError):  # someone else took it
                status = entry.stat(follow_symlinks=False)
                inner = f"{name}/{entry.name}" if name else entry.name
                if stat.S_ISDIR(status.st_mode):
                    yield from self._below(inner, now)
                else:
                    yield inner, status
        if empty and "/" in name:  # the folders of sources stay
            with suppress(OSError):
                folder = self.folder / name
                if now - folder.stat().st_mtime > _KEPT_EMPTY_SECONDS:
                    folder.rmdir()

    def _take(self, name: str) -> Claimed | None:
        target = self._own / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).rename(target)
        except OSError:  # another watcher was quicker, or its writer took it back
            return None
        return Claimed(target, name)

    def _give_back(self, folder: Path) -> int:
        """Put back what lies in a folder of taken files, then remove it."""
        given = 0
        for at, folders, files in os.walk(folder, topdown=False):
            for file in files:
                path = Path(at) / file
                if path != folder / LOCK:
                    path.rename(_free(self.folder / path.relative_to(folder)))
                    given += 1
            for inner in folders:
                with suppress(OSError):
                    (Path(at) / inner).rmdir()
        with suppress(OSError):
            (folder / LOCK).unlink()
            folder.rmdir()
        return given


def _free(path: Path) -> Path:
    """A path at which nothing lies yet, with its folders: the given one, or one with a number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stem, suffix = path.stem[:_MAX_NAME], path.suffix[:20]
    number = 0
    while os.path.lexists(path):
        number += 1
        path = path.with_name(f"{stem}-{number}{suffix}")
    return path
