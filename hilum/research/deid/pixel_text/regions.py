"""Where text is known to stand before anything is looked at: outside of the regions that an ultrasound image declares
(PS3.3 C.8.5.5), and where devices write it. The places of devices are a table, to which a site can add."""

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Final

import msgspec

from hilum.core.errors import Invalid
from hilum.imaging.dicom.elements import Element
from hilum.imaging.dicom.header import Header
from hilum.research.deid.pixels import Box
from hilum.research.deid.table import data_text

_REGIONS: Final = 0x00186011
_FORMAT: Final = 0x00186012
_EDGES: Final = (0x0018601A, 0x00186018, 0x0018601E, 0x0018601C)  # first row, first column, last row, last column
_LEAST_SHARE: Final = 0.05
_MAX_REGIONS: Final = 64
_MAX_FILE: Final = 1 << 20


class _Rule(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    boxes: list[tuple[int, int, int, int]]
    manufacturer: str = ""
    model: str = ""
    modality: str = ""
    image_type: str = ""
    rows: int = 0
    columns: int = 0
    note: str = ""


class _Table(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    rule: list[_Rule] = msgspec.field(default_factory=list[_Rule])


@dataclass(frozen=True, slots=True)
class DeviceRules:
    """Where devices write text."""

    rules: tuple[_Rule, ...]

    def boxes(self, header: Header) -> list[Box]:
        """What is blacked out in every frame of an image, by the first rule that fits it."""
        rows, columns = header.integer("Rows") or 0, header.integer("Columns") or 0
        for rule in self.rules:
            if _fits(rule, header, rows, columns):
                boxes = (_inside(Box(*one), rows, columns) for one in rule.boxes)
                return [box for box in boxes if box.rows > 0 and box.columns > 0]
        return []


def device_rules(path: str = "") -> DeviceRules:
    """The table that comes with Hilum, and before it a site's own.

    Raises
    ------
    Invalid
        When the site's cannot be read.
    """
    own = ()
    if path:
        if not Path(path).is_file():
            raise Invalid(f"There is no file of device rules {path}.")
        with Path(path).open("rb") as file:
            own = _read(file.read(_MAX_FILE).decode("utf-8", "replace"), path)
    return DeviceRules((*own, *_shipped()))


def outside_regions(elements: Sequence[Element], rows: int, columns: int) -> list[Box] | None:
    """What an ultrasound image has outside of its regions, as rectangles; None when it declares none that can be."""
    sequence = next((element for element in elements if element.tag == _REGIONS), None)
    if sequence is None or not sequence.items or len(sequence.items) > _MAX_REGIONS:
        return None
    regions = [found for item in sequence.items if (found := _region(item, rows, columns)) is not None]
    if sum((bottom - top) * (right - left) for top, left, bottom, right in regions) < _LEAST_SHARE * rows * columns:
        return None
    return list(_complement(regions, rows, columns))


def _region(item: Sequence[Element], rows: int, columns: int) -> tuple[int, int, int, int] | None:
    values = {element.tag: int.from_bytes(element.value[:4], "little") for element in item}
    top, left, last_row, last_column = (values.get(tag, -1) for tag in _EDGES)
    if not values.get(_FORMAT) or not (0 <= top < last_row and 0 <= left < last_column):
        return None
    bottom, right = min(rows, last_row + 1), min(columns, last_column + 1)
    return (top, left, bottom, right) if top < bottom and left < right else None


def _complement(regions: Iterable[tuple[int, int, int, int]], rows: int, columns: int) -> Iterable[Box]:
    regions = list(regions)
    edges = sorted({0, rows, *(top for top, *_ in regions), *(bottom for _, _, bottom, _ in regions)})
    for top, bottom in pairwise(edges):
        reached = 0
        inside = sorted((left, right) for above, left, below, right in regions if above <= top and bottom <= below)
        for left, right in [*inside, (columns, columns)]:
            if left > reached:
                yield Box(top, reached, bottom - top, left - reached)
            reached = max(reached, right)


def _fits(rule: _Rule, header: Header, rows: int, columns: int) -> bool:
    if (rule.rows and rule.rows != rows) or (rule.columns and rule.columns != columns):
        return False
    if rule.modality and rule.modality.upper() != header.first("Modality").upper():
        return False
    if rule.image_type and rule.image_type.upper() not in {one.upper() for one in header.strings("ImageType")}:
        return False
    told = (("Manufacturer", rule.manufacturer), ("ManufacturerModelName", rule.model))
    return all(wanted.casefold() in header.text(keyword).casefold() for keyword, wanted in told)


def _inside(box: Box, rows: int, columns: int) -> Box:
    """A box within an image; negative places count from its end, no size reaches to it."""
    row = box.row + rows if box.row < 0 else box.row
    column = box.column + columns if box.column < 0 else box.column
    row, column = min(max(row, 0), rows), min(max(column, 0), columns)
    height, width = box.rows or rows, box.columns or columns
    return Box(row, column, max(0, min(height, rows - row)), max(0, min(width, columns - column)))


@cache
def _shipped() -> tuple[_Rule, ...]:
    return _read(data_text("device_text.toml"), "device_text.toml")


def _read(text: str, name: str) -> tuple[_Rule, ...]:
    try:
        return tuple(msgspec.convert(tomllib.loads(text), _Table).rule)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise Invalid(f"The device rules {name} cannot be read: {error}.") from None
