"""The rows of an upload's image_registry.csv: read one at a time, in either SOP's spelling, and checked as what
somebody else wrote. Paths in it are compared with those that are there; none is ever opened."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, Final, cast

from hilum.clinical.chorus import COLUMNS, IMAGES
from hilum.core.csv_lines import csv_lines
from hilum.core.errors import Invalid

NEEDED: Final = ("file_id", "proc_id", "person_id")
"""Columns without which no file can be linked."""
MAX_TEXT: Final = 1024
_LARGEST: Final = (1 << 63) - 1
_BLANK: Final = frozenset(("", "null", "none", "na", "n/a", "\\n"))
# Names without case, blanks and underscores; the Imaging SOP prints "visit_ id".
_NAMES: Final[Mapping[str, str]] = {name.replace("_", ""): name for name in COLUMNS} | {
    "procedureoccurrenceid": "proc_id",
    "procedureid": "proc_id",
    "visitoccurrenceid": "visit_id",
}


@dataclass(frozen=True, slots=True)
class RegistryRow:
    """A row of a registry: its line (1 is the header), what it says, and the places in the layout that it may name."""

    line: int
    file_id: str
    proc_id: int | None
    person_id: int
    visit_id: int | None
    moment: datetime | None
    src_file: str
    places: tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that cannot be used, and why."""

    line: int
    reason: str


class RegistryFile:
    """A registry that is being read.

    Parameters
    ----------
    file
        CSV in UTF-8 with a header.

    Raises
    ------
    Invalid
        It is no registry.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._reader = csv.reader(csv_lines(file, "image_registry.csv"), strict=True)
        self._places = self._header()
        self.missing: tuple[str, ...] = tuple(name for name in COLUMNS if name not in self._places)
        """Columns of the SOP that it does not have, and can do without."""

    def rows(self) -> Iterator[RegistryRow | RefusedRow]:
        """The rows, in order.

        Raises
        ------
        Invalid
            It is no CSV from some line on.
        """
        for line, cells in self._lines():
            if not any(cell.strip() for cell in cells):
                continue
            try:
                yield self._row(line, cells)
            except ValueError as error:
                yield RefusedRow(line, str(error))

    def _header(self) -> dict[str, int]:
        header = next((cells for _, cells in self._lines()), cast("list[str]", []))
        places: dict[str, int] = {}
        for place, written in enumerate(header):
            name = _NAMES.get(written.strip().replace("_", "").replace(" ", "").casefold())
            if name in places:
                raise Invalid(f"image_registry.csv has the column {name} twice.")
            if name:
                places[name] = place
        missing = [name for name in NEEDED if name not in places]
        if missing:
            raise Invalid(f"image_registry.csv lacks {', '.join(missing)}: its header is {','.join(COLUMNS)}.")
        return places

    def _lines(self) -> Iterator[tuple[int, list[str]]]:
        try:
            for cells in self._reader:
                yield self._reader.line_num, cells
        except (csv.Error, UnicodeDecodeError) as error:
            raise Invalid(
                f"image_registry.csv is no CSV in UTF-8: line {self._reader.line_num + 1} cannot be read."
            ) from error

    def _row(self, line: int, cells: Sequence[str]) -> RegistryRow:
        said = {name: cells[place].strip() if place < len(cells) else "" for name, place in self._places.items()}
        said = {name: "" if value.casefold() in _BLANK else value for name, value in said.items()}
        for name, value in said.items():
            if len(value) > MAX_TEXT:
                raise ValueError(f"{name} has more than {MAX_TEXT} characters.")
        person = _number(said, "person_id")
        if person is None:
            raise ValueError("person_id is blank.")
        if not said["file_id"]:
            raise ValueError("file_id is blank.")
        texts = [said.get(name, "") for name in ("trg_file", "src_file", "file_id")]
        first, second, third = (place_in_layout(text) for text in texts)
        moment = said.get("datetime", "")
        return RegistryRow(
            line, said["file_id"], _number(said, "proc_id"), person, _number(said, "visit_id"),
            _moment(moment) if moment else None, said.get("src_file", ""), (first, second, third),
        )  # fmt: skip


def place_in_layout(path: str) -> str:
    """The part of a path from the person's folder on, whatever stands before it; empty for one that names no place in
    the layout, or leads out of it."""
    parts = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".")]
    for at, part in enumerate(parts):
        if part.casefold() == IMAGES.casefold() and at > 0:
            below = parts[at - 1 :]
            return "" if ".." in below else "/".join(below)
    return ""


def _number(said: Mapping[str, str], name: str) -> int | None:
    value = said.get(name, "")
    if not value:
        return None
    if not (value.isascii() and value.isdecimal() and len(value) < 20 and int(value) <= _LARGEST):
        raise ValueError(f"{name} is no number of a row.")
    return int(value)


def _moment(value: str) -> datetime:
    """Local time: as the SOP has it, in ISO 8601, or the month/day/year of its example."""
    try:
        return datetime.fromisoformat(value).replace(tzinfo=None, microsecond=0)
    except ValueError:
        pass
    try:
        return datetime.strptime(value, "%m/%d/%Y")  # noqa: DTZ007 - local time has no zone
    except ValueError:
        raise ValueError("datetime is none of the form yyyy-MM-dd HH:mm:ss.") from None
