"""The content of a structured report (PS3.3 section C.17.3) as a tree of names and values that people read, with the
facts that stand above it. How it is written out, as HTML or plain text, is for ``report``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final

from hilum.imaging.dicom.dataset import CHARACTER_SET, NUMBERS, read_data_set, read_tree, split_text, whole_text
from hilum.imaging.dicom.elements import Element
from hilum.imaging.dicom.header import Header
from hilum.imaging.dicom.names import parse_date, parse_datetime, parse_time, person_name
from hilum.imaging.dicom.problems import Unreadable
from hilum.imaging.dicom.text import DEFAULT, CharacterSet
from hilum.imaging.dicom.uids import uid_name

MAX_ITEMS: Final = 50_000

_VALUE_TYPE, _RELATION, _CONCEPT_NAME, _CONTENT = 0x0040A040, 0x0040A010, 0x0040A043, 0x0040A730
_CODE_VALUE, _CODE_MEANING = 0x00080100, 0x00080104
_CONCEPT_CODE, _MEASURED, _NUMBER, _UNITS, _QUALIFIER = 0x0040A168, 0x0040A300, 0x0040A30A, 0x004008EA, 0x0040A301
_REFERENCED, _SOP_CLASS, _SOP_INSTANCE, _FRAMES = 0x00081199, 0x00081150, 0x00081155, 0x00081160
_GRAPHIC_TYPE, _GRAPHIC_DATA, _TEMPORAL_TYPE, _ITEM_PATH = 0x00700023, 0x00700022, 0x0040A130, 0x0040DB73
_OBSERVERS, _OBSERVER_NAME, _VERIFIED_AT = 0x0040A073, 0x0040A075, 0x0040A030
_PLAIN: Final = {
    "TEXT": 0x0040A160, "DATETIME": 0x0040A120, "DATE": 0x0040A121, "TIME": 0x0040A122, "PNAME": 0x0040A123,
    "UIDREF": 0x0040A124,
}  # fmt: skip
_FACTS: Final = (
    ("Patient", 0x00100010), ("Patient ID", 0x00100020), ("Born", 0x00100030), ("Sex", 0x00100040),
    ("Study date", 0x00080020), ("Study", 0x00081030), ("Accession number", 0x00080050),
    ("Referring physician", 0x00080090), ("Institution", 0x00080080), ("Report of", 0x00080023),
    ("Completion", 0x0040A491), ("Verification", 0x0040A493),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """A content item: what it is about, what it says, how it relates to the one above, and what stands below it."""

    name: str
    value: str
    relation: str
    container: bool
    children: "tuple[Entry, ...]"


@dataclass(frozen=True, slots=True)
class Content:
    """A report: its title, the facts above its text in the order of reading, and its content items."""

    title: str
    facts: tuple[tuple[str, str], ...]
    entries: tuple[Entry, ...]


def read_content(file: BinaryIO, header: Header) -> Content:
    """Read the content of a structured report, or of a key object selection.

    Raises
    ------
    Unreadable
        When the data set is damaged, or has more items than any report.
    """
    reader = _Reader()
    root = _Item(read_tree(read_data_set(file, header), header), DEFAULT)
    facts = [(name, text) for name, tag in _FACTS if (text := root.text(tag))]
    for observer in root.items(_OBSERVERS):
        signed = " ".join(filter(None, (observer.text(_OBSERVER_NAME), observer.text(_VERIFIED_AT))))
        if signed:
            facts.append(("Verified by", signed))
    entries = reader.entries(root)
    return Content(root.coded(_CONCEPT_NAME) or uid_name(root.text(0x00080016)), tuple(facts), entries)


class _Item:
    """A data set or an item of a sequence, its texts decoded as its own or the outer character set says."""

    __slots__ = ("_characters", "_found")

    def __init__(self, elements: Sequence[Element], characters: CharacterSet) -> None:
        self._found: Final[Mapping[int, Element]] = {element.tag: element for element in elements}
        own = self._found.get(CHARACTER_SET)
        self._characters: Final = CharacterSet(own.value.decode("latin-1")) if own and own.value else characters

    def items(self, tag: int) -> list["_Item"]:
        found = self._found.get(tag)
        return [_Item(item, self._characters) for item in found.items or ()] if found else []

    def first(self, tag: int) -> "_Item | None":
        found = self.items(tag)
        return found[0] if found else None

    def text(self, tag: int) -> str:
        """The value of an element as a person reads it; several are joined by commas."""
        element = self._found.get(tag)
        if element is None or not element.value:
            return ""
        number = NUMBERS.get(element.vr)
        if number is not None:
            whole = element.value[: len(element.value) // number.size * number.size]
            return ", ".join(str(value) for (value,) in number.iter_unpack(whole))
        values = split_text(element.vr, whole_text(element.vr, element.value, self._characters))
        return ", ".join(_readable(element.vr, value) for value in values)

    def count(self, tag: int, size: int) -> int:
        element = self._found.get(tag)
        return len(element.value) // size if element else 0

    def coded(self, tag: int) -> str:
        """The meaning of a code, else the code itself."""
        item = self.first(tag)
        return (item.text(_CODE_MEANING) or item.text(_CODE_VALUE)) if item else ""


class _Reader:
    """Content items to entries, counting them."""

    def __init__(self) -> None:
        self._left: int = MAX_ITEMS

    def entries(self, item: _Item) -> tuple[Entry, ...]:
        return tuple(self._entry(child) for child in item.items(_CONTENT))

    def _entry(self, item: _Item) -> Entry:
        self._left -= 1
        if self._left < 0:
            raise Unreadable("unreadable", f"The report has more than {MAX_ITEMS} content items.")
        kind = item.text(_VALUE_TYPE)
        name, relation = item.coded(_CONCEPT_NAME), item.text(_RELATION).lower()
        return Entry(name, _value(item, kind), relation, kind == "CONTAINER", self.entries(item))


def _value(item: _Item, kind: str) -> str:
    if kind in _PLAIN:
        return item.text(_PLAIN[kind])
    if kind == "CODE":
        return item.coded(_CONCEPT_CODE)
    if kind == "NUM":
        return _measured(item)
    if kind in ("IMAGE", "COMPOSITE", "WAVEFORM"):
        return _reference(item)
    if kind in ("SCOORD", "SCOORD3D"):
        points = item.count(_GRAPHIC_DATA, 4) // (3 if kind == "SCOORD3D" else 2)
        return f"{item.text(_GRAPHIC_TYPE).lower()} of {points} points"
    if kind == "TCOORD":
        return item.text(_TEMPORAL_TYPE).lower()
    path = item.text(_ITEM_PATH)
    return f"see item {path.replace(', ', '.')}" if path else ""


def _measured(item: _Item) -> str:
    measured = item.first(_MEASURED)
    if measured is None or not measured.text(_NUMBER):
        return item.coded(_QUALIFIER)
    units = measured.first(_UNITS)
    unit = units.text(_CODE_VALUE) or units.text(_CODE_MEANING) if units else ""
    return measured.text(_NUMBER) if unit in ("", "1") else f"{measured.text(_NUMBER)} {unit}"


def _reference(item: _Item) -> str:
    found = item.first(_REFERENCED)
    if found is None:
        return ""
    frames = found.text(_FRAMES)
    what = f"{uid_name(found.text(_SOP_CLASS))}, {found.text(_SOP_INSTANCE)}"
    return f"{what}, frame {frames}" if frames else what


def _readable(vr: str, value: str) -> str:
    if vr == "PN":
        return person_name(value)
    parsed = {"DA": parse_date, "TM": parse_time, "DT": parse_datetime}.get(vr)
    found = parsed(value) if parsed else None
    return value.strip(" \0") if found is None else found.isoformat().replace("T", " ")
