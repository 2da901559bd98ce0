"""What is looked at while others change it: folders in which files come and go, and processes that end."""

import os
from contextlib import suppress
from pathlib import Path

import psutil


def files_below(folder: Path) -> dict[str, int]:
    """The sizes of what lies below a folder and is none itself, by its path there; what goes meanwhile is left out."""
    found: dict[str, int] = {}
    for at, _, names in os.walk(folder):  # which passes over folders that are gone, as `rglob` does not
        for path in (Path(at, name) for name in names):
            with suppress(FileNotFoundError):
                found[str(path.relative_to(folder))] = path.lstat().st_size
    return found


def has_ended(process: psutil.Process) -> bool:
    """Whether a process is no more, or only waits for its parent to ask how it ended."""
    with suppress(psutil.NoSuchProcess):
        return process.status() == psutil.STATUS_ZOMBIE
    return True
