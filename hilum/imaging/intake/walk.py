"""Files below a folder, one at a time and in order, however many there are: links are followed but never in a circle,
and what cannot be read is named instead of ending the walk."""

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

Trouble: TypeAlias = Literal["permission", "not_regular", "loop", "missing", "outside", "unreadable_file"]


@dataclass(frozen=True, slots=True)
class Found:
    """A file, or the trouble with something that is none."""

    path: str
    size: int = 0
    trouble: Trouble | None = None


def walk(paths: Iterable[Path], within: Path | None = None) -> Iterator[Found]:
    """Yield every regular file at or below the paths, and what stood in the way.

    Parameters
    ----------
    paths
        Where to begin.
    within
        A folder that no link may lead out of; None allows any link.
    """
    root = os.path.realpath(within) if within else None
    for path in paths:
        yield from _visit(str(path), frozenset(), root)


def _visit(path: str, above: frozenset[tuple[int, int]], root: str | None) -> Iterator[Found]:
    if root and os.path.islink(path) and not f"{os.path.realpath(path)}/".startswith(f"{root}/"):  # noqa: PTH114
        yield Found(path, trouble="outside")
        return
    try:
        status = os.stat(path)  # noqa: PTH116 - a string, not a Path: a million of these are made
    except OSError as error:
        yield _trouble(path, error)
        return
    if stat.S_ISREG(status.st_mode):
        yield Found(path, status.st_size)
    elif stat.S_ISDIR(status.st_mode):
        yield from _folder(path, (status.st_dev, status.st_ino), above, root)
    else:
        yield Found(path, trouble="not_regular")


def _folder(path: str, own: tuple[int, int], above: frozenset[tuple[int, int]], root: str | None) -> Iterator[Found]:
    if own in above:
        yield Found(path, trouble="loop")
        return
    try:
        names = sorted(os.listdir(path))  # noqa: PTH208 - as above
    except OSError as error:
        yield _trouble(path, error)
        return
    for name in names:
        yield from _visit(f"{path}/{name}", above | {own}, root)


def _trouble(path: str, error: OSError) -> Found:
    if isinstance(error, FileNotFoundError):
        return Found(path, trouble="missing")
    if isinstance(error, PermissionError):
        return Found(path, trouble="permission")
    return Found(path, trouble="loop" if error.errno == 40 else "unreadable_file")
