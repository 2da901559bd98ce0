"""Files below a folder, one at a time and in order, however many there are: links are followed but never in a circle,
and what cannot be read is named instead of ending the walk."""

import os
import stat
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, Literal, TypeAlias
from uuid import UUID

from blake3 import blake3

from hilum.imaging.intake.dicomdir import BadDirectory, Places, named_files

Trouble: TypeAlias = Literal[
    "permission", "not_regular", "loop", "missing", "outside", "unreadable_file", "named_missing", "bad_dicomdir"
]

_NAMES_AT_ONCE: Final = 50_000


@dataclass(frozen=True, slots=True)
class Found:
    """A file, or the trouble with something that is none.

    Attributes
    ----------
    path, size
        Where it lies, and its size in bytes.
    trouble
        Why it cannot be taken.
    stamp
        What changes whenever its content does.
    name
        What to call it where that is not its path.
    """

    path: str
    size: int = 0
    trouble: Trouble | None = None
    stamp: str = ""
    name: str = ""

    @property
    def shown(self) -> str:
        """What to call it: its name, or its path; bytes that are no text are replaced."""
        return (self.name or self.path).encode("utf-8", "replace").decode()

    @property
    def fingerprint(self) -> UUID | None:
        """What tells the file, as it is now, from all others and from itself once changed."""
        if not self.stamp:
            return None
        where = os.path.abspath(self.path)  # noqa: PTH100 - a million of these are made
        digest = blake3(f"{where}\0{self.stamp}".encode("utf-8", "surrogateescape")).digest(16)
        return UUID(bytes=digest)


def walk(paths: Iterable[Path], within: Path | None = None) -> Iterator[Found]:
    """Yield every regular file at or below the paths, and what stood in the way.

    In a folder with a DICOMDIR the files that it names come first and in its order, then all others.

    Parameters
    ----------
    paths
        Where to begin.
    within
        A folder that no link may lead out of; None allows any link.
    """
    root = os.path.realpath(within) if within else None
    for path in paths:
        yield from _visit(str(path), frozenset(), root, frozenset())


def _visit(path: str, above: frozenset[tuple[int, int]], root: str | None, done: AbstractSet[str]) -> Iterator[Found]:
    if root and os.path.islink(path) and not _within(path, root):  # noqa: PTH114
        yield Found(path, trouble="outside")
        return
    try:
        status = os.stat(path)  # noqa: PTH116 - a string, not a Path: a million of these are made
    except OSError as error:
        yield _trouble(path, error)
        return
    if stat.S_ISREG(status.st_mode):
        stamp = f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"
        yield Found(path, status.st_size, stamp=stamp)
    elif stat.S_ISDIR(status.st_mode):
        yield from _folder(path, (status.st_dev, status.st_ino), above, root, done)
    else:
        yield Found(path, trouble="not_regular")


def _folder(
    path: str, own: tuple[int, int], above: frozenset[tuple[int, int]], root: str | None, done: AbstractSet[str]
) -> Iterator[Found]:
    if own in above:
        yield Found(path, trouble="loop")
        return
    try:
        with os.scandir(path) as entries:
            directory = next((entry.name for entry in entries if entry.name.upper() == "DICOMDIR"), None)
        if directory:
            named: set[str] = set()
            yield from _medium(path, f"{path}/{directory}", root, named)
            done = done | named
        for name in _names(path):
            if f"{path}/{name}" not in done:
                yield from _visit(f"{path}/{name}", above | {own}, root, done)
    except OSError as error:
        yield _trouble(path, error)


def _names(path: str) -> Iterator[str]:
    """The names in a folder, in order; of a huge one a piece at a time, each in order."""
    with os.scandir(path) as entries:
        while piece := sorted(entry.name for entry in islice(entries, _NAMES_AT_ONCE)):
            if len(piece) < _NAMES_AT_ONCE:
                entries.close()  # a tree may be deeper than files can be open
                yield from piece
                return
            yield from piece


def _medium(path: str, directory: str, root: str | None, named: set[str]) -> Iterator[Found]:
    """The files that a DICOMDIR names, and those of them that are missing."""
    try:
        listed = named_files(directory)
    except (BadDirectory, PermissionError) as error:
        named.add(directory)
        yield Found(directory, trouble="permission" if isinstance(error, PermissionError) else "bad_dicomdir")
        return
    places = Places(path)
    for names in listed:
        file = places.find(names)
        if file is None:
            yield Found(f"{path}/{'/'.join(names)}", trouble="named_missing")
        elif file not in named and os.path.isfile(file) and _within(file, root):  # noqa: PTH113
            named.add(file)
            yield from _visit(file, frozenset(), root, frozenset())


def _within(path: str, root: str | None) -> bool:
    return root is None or f"{os.path.realpath(path)}/".startswith(f"{root}/")


def _trouble(path: str, error: OSError) -> Found:
    if isinstance(error, FileNotFoundError):
        return Found(path, trouble="missing")
    if isinstance(error, PermissionError):
        return Found(path, trouble="permission")
    return Found(path, trouble="loop" if error.errno == 40 else "unreadable_file")
