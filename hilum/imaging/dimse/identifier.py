"""Identifiers (PS3.4 section C.4): the data sets that say what is looked for, and those that tell what was found."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, cast

import msgspec

from hilum.imaging.dicom import attributes as a
from hilum.imaging.dicom.dataset import CHARACTER_SET, NUMBERS, split_text, whole_text
from hilum.imaging.dicom.elements import Element, Reader
from hilum.imaging.dicom.from_json import JsonReader
from hilum.imaging.dicom.problems import Unreadable
from hilum.imaging.dicom.scanner import Doubt
from hilum.imaging.dicom.text import CharacterSet
from hilum.imaging.dicom.writer import element_bytes
from hilum.imaging.dimse.status import CANNOT_UNDERSTAND, MISMATCH

Level = Literal["PATIENT", "STUDY", "SERIES", "IMAGE"]
LEVELS: Final[tuple[Level, ...]] = ("PATIENT", "STUDY", "SERIES", "IMAGE")
UNIQUE: Final[Mapping[Level, int]] = {
    "PATIENT": 0x00100020, "STUDY": 0x0020000D, "SERIES": 0x0020000E, "IMAGE": 0x00080018,
}  # fmt: skip
"""The unique key of each level."""
LEVEL: Final = 0x00080052
RETRIEVE_TITLE: Final = 0x00080054
AVAILABILITY: Final = 0x00080056


class Refused(Exception):
    """What is asked for cannot be done; the peer is told a status and a sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status: Final = status


@dataclass(frozen=True, slots=True)
class Key:
    """One attribute of an identifier: its tag, with those of the sequences around it before, and its value as text."""

    tags: tuple[int, ...]
    vr: str
    value: str

    @property
    def name(self) -> str:
        """As QIDO-RS names it."""
        return ".".join(f"{tag:08X}" for tag in self.tags)


@dataclass(frozen=True, slots=True)
class Identifier:
    """What a request looks for.

    Attributes
    ----------
    level : str
        Query/Retrieve Level.
    keys : tuple of Key
        All other attributes but the character set.
    """

    level: Level
    keys: tuple[Key, ...]

    def values(self, level: Level) -> list[str]:
        """The UIDs, or patient identifiers, that the unique key of a level lists."""
        key = next((key for key in self.keys if key.tags == (UNIQUE[level],)), None)
        return [part for part in split_text(key.vr, key.value) if part] if key else []


def read_identifier(data: bytes, transfer_syntax: str, levels: Iterable[Level]) -> Identifier:
    """Read the identifier of a request.

    Raises
    ------
    Refused
        It is no data set, or names no level that there is.
    """
    elements = read_elements(data, transfer_syntax)
    found = {element.tag: element for element in elements}
    characters = CharacterSet(_plain(found.get(CHARACTER_SET)))
    level = cast("Level", _plain(found.get(LEVEL)))
    if level not in levels:
        raise Refused(MISMATCH, "Query/Retrieve Level is none of this model.")
    keys = [
        key for element in elements if element.tag not in (LEVEL, CHARACTER_SET) for key in _keys(element, characters)
    ]
    return Identifier(level, tuple(keys))


def read_elements(data: bytes, transfer_syntax: str) -> list[Element]:
    """The elements of a data set in Implicit or Explicit VR Little Endian; raises ``Refused`` when it is none."""
    try:
        return Reader(data).read(0, len(data), implicit=transfer_syntax == a.IMPLICIT_LITTLE)
    except (Doubt, Unreadable) as error:
        raise Refused(CANNOT_UNDERSTAND, "The data set of the request cannot be read.") from error


def text_of(element: Element | None) -> str:
    """The value of an element of plain characters, such as a UID; empty when there is none."""
    return _plain(element)


def identifier_bytes(model: Mapping[str, object], transfer_syntax: str) -> bytes:
    """A data set of the DICOM JSON Model in Implicit or Explicit VR Little Endian."""
    elements = JsonReader(_no_bulk, of_file=False).read(model)
    return b"".join(element_bytes(elements, implicit=transfer_syntax == a.IMPLICIT_LITTLE))


def decode_model(text: bytes) -> dict[str, object]:
    """An object of the DICOM JSON Model."""
    return msgspec.json.decode(text, type=dict[str, object])


def _keys(element: Element, characters: CharacterSet, above: tuple[int, ...] = ()) -> list[Key]:
    tags = (*above, element.tag)
    if element.items is None:
        return [Key(tags, element.vr, _text(element, characters))]
    inner = [key for item in element.items[:1] for one in item for key in _keys(one, characters, tags)]
    return inner or [Key(tags, "SQ", "")]


def _text(element: Element, characters: CharacterSet) -> str:
    number = NUMBERS.get(element.vr)
    if number is not None:
        usable = len(element.value) - len(element.value) % number.size
        return "\\".join(str(value) for (value,) in number.iter_unpack(element.value[:usable]))
    return whole_text(element.vr, element.value, characters).replace("\0", "")


def _plain(element: Element | None) -> str:
    return element.value.decode("latin-1").strip(" \0") if element is not None else ""


def _no_bulk(_: str) -> bytes:
    return b""
