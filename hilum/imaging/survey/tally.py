"""Counting attributes over any number of files: in how many each is there and filled, and how many distinct values it
has, up to a bound. Its memory depends on the bounds alone. Values are identifying: they are kept only where they were
asked for, else no more than their hashes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from pydicom.datadict import keyword_for_tag

from hilum.imaging.dicom.dataset import CHARACTER_SET, LEFT_OUT, whole_text
from hilum.imaging.dicom.elements import Element
from hilum.imaging.dicom.text import DEFAULT, CharacterSet

MAX_ATTRIBUTES: Final = 20_000
MAX_KEPT: Final = 2_000_000
"""Distinct values of all attributes together; when so many are held, further ones are no longer told apart."""
_SHOWN: Final = 64
_TEXT: Final = frozenset(
    "AE AS CS DA DS DT IS LO LT PN SH ST TM UC UI UR UT".split()  # noqa: SIM905
)

Place = tuple[tuple[int, str], ...]
"""Where an attribute lies: tag and private creator, of the sequences around it first."""


@dataclass(slots=True)
class Attribute:
    """An attribute over all files.

    Attributes
    ----------
    place, vr
        Where it lies, and its value representation in the first file that has it.
    files, filled
        In how many files it is there, and in how many with a value.
    distinct
        How many distinct values it has: at least so many where ``more``.
    values
        How often each value is there, where values were asked for.
    """

    place: Place
    vr: str
    files: int = 0
    filled: int = 0
    distinct: int = 0
    more: bool = False
    values: dict[str, int] = field(default_factory=dict[str, int])
    seen: set[int] = field(default_factory=set[int])

    @property
    def path(self) -> str:
        """Its name: keywords, or tags, parted by points; of a private one without its block, with its creator."""
        return ".".join(_name(tag, creator) for tag, creator in self.place)

    @property
    def tag(self) -> str:
        """Its path by tags."""
        return ".".join(f"{tag:08X}" for tag, _ in self.place)


class Tally:
    """Attributes of files that are given one by one.

    Parameters
    ----------
    bound
        Up to how many distinct values of an attribute are told apart.
    keep_values
        Whether to keep them.
    """

    def __init__(self, bound: int, *, keep_values: bool = False) -> None:
        self.bound = bound
        self.files = 0
        self.left_out = 0
        """Attributes of files that were not counted, since there are too many different ones."""
        self._keep_values = keep_values
        self._kept = 0
        self._attributes: dict[Place, Attribute] = {}

    def add(self, elements: list[Element]) -> None:
        """Count the attributes of a file."""
        self.files += 1
        here: dict[Place, bool] = {}
        self._walk(elements, (), DEFAULT, here)
        for place, filled in here.items():
            attribute = self._attributes[place]
            attribute.files += 1
            attribute.filled += filled

    def attributes(self) -> Iterator[Attribute]:
        """All of them, in the order of their tags."""
        for place in sorted(self._attributes):
            yield self._attributes[place]

    def _walk(
        self, elements: list[Element], above: Place, characters: CharacterSet, here: dict[Place, bool]
    ) -> None:  # fmt: skip
        creators: dict[int, str] = {}
        for tag, vr, value, items in elements:
            if not tag & 0xFFFF or tag in LEFT_OUT:
                continue
            if tag == CHARACTER_SET:
                characters = CharacterSet(value.decode("latin-1"))
            step = _step(tag, value, creators) if tag & 0x10000 else (tag, "")
            place = (*above, step)
            attribute = self._attributes.get(place)
            if attribute is None:
                if len(self._attributes) >= MAX_ATTRIBUTES:
                    self.left_out += 1
                    continue
                attribute = self._attributes[place] = Attribute(place, vr)
            if items is not None:
                here[place] = any(items) or here.get(place, False)
                for item in items:
                    self._walk(item, place, characters, here)
                continue
            bare = value.rstrip(b" \0") if vr in _TEXT else value
            here[place] = bool(bare) or here.get(place, False)
            if bare:
                self._value(attribute, vr, bare, characters)

    def _value(self, attribute: Attribute, vr: str, value: bytes, characters: CharacterSet) -> None:
        if self._keep_values:
            shown = _shown(vr, value, characters)
            if shown in attribute.values:
                attribute.values[shown] += 1
            elif len(attribute.values) < self.bound and self._kept < MAX_KEPT:
                attribute.values[shown] = 1
                self._kept += 1
        if attribute.more:
            return
        mark = hash(value)
        if mark in attribute.seen:
            return
        if attribute.distinct >= self.bound or self._kept >= MAX_KEPT:
            attribute.more = True
            self._kept -= len(attribute.seen)
            attribute.seen = set()
            return
        attribute.seen.add(mark)
        attribute.distinct += 1
        self._kept += 1


def _step(tag: int, value: bytes, creators: dict[int, str]) -> tuple[int, str]:
    """A private attribute without its block, with its creator; one that has none stays as it is."""
    if tag & 0xFF00 == 0:
        creators[tag & 0xFFFF0000 | (tag & 0xFF) << 8] = _printable(value.decode("latin-1")).strip()
        return tag, ""
    creator = creators.get(tag & 0xFFFFFF00, "")
    return (tag & 0xFFFF00FF, creator) if creator else (tag, "")


def _name(tag: int, creator: str) -> str:
    if creator:
        return f"{tag >> 16:04X}xx{tag & 0xFF:02X}({creator})"
    return keyword_for_tag(tag) or f"{tag:08X}"


def _shown(vr: str, value: bytes, characters: CharacterSet) -> str:
    if vr in _TEXT:
        return _printable(whole_text(vr, value[: 4 * _SHOWN], characters))
    return f"{len(value)} bytes: {value[:8].hex()}"


def _printable(text: str) -> str:
    """A text without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text[:_SHOWN]).strip()


def as_json(attribute: Attribute, files: int) -> Mapping[str, object]:
    """An attribute without its values, as one of a list."""
    return {
        "path": attribute.path, "tag": attribute.tag, "vr": attribute.vr, "files": attribute.files,
        "filled": attribute.filled, "fill_rate": round(attribute.filled / files, 6) if files else 0.0,
        "distinct": attribute.distinct, "more": attribute.more,
    }  # fmt: skip
