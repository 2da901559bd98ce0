"""The crosswalk in plain: a row an attribute (file, path, VR, original, action, rule, new value), for the
site's eyes."""

import csv
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TextIO

from hilum.core.errors import Invalid
from hilum.research.deid.crosswalk import Crosswalk
from hilum.research.deid.keys import read_keys

COLUMNS: Final = ("file", "target", "person_id", "path", "vr", "original", "action", "rule", "new")


def write_csv(path: Path, key_file: Path, target: Path | None, *, old: str = "", new: str = "") -> int:
    """Write rows as CSV, to a file that only its owner may read or to standard output; how many there were.

    Parameters
    ----------
    path, key_file
        Of the crosswalk.
    target
        The file; None for standard output.
    old, new
        A value of an original or of an output that names the files; at most one of them.

    Raises
    ------
    Invalid, NotFound
        When both are given, or the crosswalk cannot be opened.
    """
    if old and new:
        raise Invalid("Name an old value or a new one, not both.")
    crosswalk = Crosswalk(path, read_keys(key_file, create=False), create=False)
    count = 0
    try:
        with opened(target) as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(COLUMNS)
            for one, changes in crosswalk.rows(old or new, "old" if old else "new" if new else ""):
                for change in changes:
                    rows.writerow(
                        (one.path, one.target, one.person_id, change.path, change.vr, change.original, change.action,
                         change.reason, change.new)
                    )  # fmt: skip
                    count += 1
    finally:
        crosswalk.close()
    return count


@contextmanager
def opened(target: Path | None) -> Generator[TextIO]:
    """Open a file that only its owner may read, or standard output for None."""
    if target is None:
        yield sys.stdout
        return
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
        yield file
