"""One person as a run treats them: the new ids, how dates move, and what is known that may stand nowhere. It comes from
the site's maps and from what the files themselves say."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from hilum.imaging.dicom.dataset import CHARACTER_SET, split_text, whole_text
from hilum.imaging.dicom.elements import Element
from hilum.imaging.dicom.text import DEFAULT, CharacterSet
from hilum.research.deid.identifiers import Kind
from hilum.research.deid.profile import Profile

_NAMES: Final = frozenset((0x00102299, 0x00101005))
_IDS: Final = frozenset(
    (
        0x00100020, 0x00101000, 0x00101090, 0x00080050, 0x00080054, 0x00200010, 0x00380010, 0x00380060, 0x00321064,
        0x00400009, 0x00400253, 0x00401001, 0x00402016, 0x00402017, 0x00402006, 0x00402007, 0x00120040, 0x00120042,
        0x00100024, 0x0040E001,
    )
)  # fmt: skip
_DEVICE_IDS: Final = frozenset((0x00181000, 0x00081010, 0x00181002, 0x0018700A, 0x00181003))
_DATES: Final = frozenset((0x00100030, 0x00100032))
_PHONES: Final = frozenset((0x00102154, 0x00080094, 0x00401103, 0x00102155))
_TEXTS: Final = frozenset((0x00101040, 0x00380300, 0x00400243, 0x00100021))
_INSTITUTION: Final = frozenset((0x00080080, 0x00080081, 0x00081040, 0x00401005, 0x00080092))
_MIN_ID: Final = 4


@dataclass(frozen=True, slots=True)
class Person:
    """A person of a run.

    Attributes
    ----------
    person_id
        The new PatientID.
    days
        By how many whole days all dates move.
    known
        Identifiers by kind, from the site's list and from all of the person's files.
    old
        Whether something of the set is from after the person's 90th birthday.
    """

    person_id: str
    days: int
    known: frozenset[tuple[Kind, str]] = field(default_factory=frozenset[tuple[Kind, str]])
    old: bool = False


def identifiers_in(elements: Sequence[Element], profile: Profile) -> Iterator[tuple[Kind, str]]:
    """What a data set says of persons and places: names at any depth, ids, birth dates, addresses, institutions."""
    kinds = dict[int, Kind]()
    kinds.update(dict.fromkeys(_IDS, "id"))
    kinds.update(dict.fromkeys(_DATES, "date"))
    kinds.update(dict.fromkeys(_PHONES, "phone"))
    kinds.update(dict.fromkeys(_TEXTS, "text"))
    kinds.update(dict.fromkeys(_NAMES, "name"))
    if "retain_device_identity" not in profile.options:
        kinds.update(dict.fromkeys(_DEVICE_IDS, "id"))
    if "retain_institution_identity" not in profile.options:
        kinds.update(dict.fromkeys(_INSTITUTION, "text"))
    yield from _found(elements, kinds, DEFAULT)


def _found(elements: Sequence[Element], kinds: dict[int, Kind], outer: CharacterSet) -> Iterator[tuple[Kind, str]]:
    characters = outer
    for tag, vr, value, items in elements:
        if items is not None:
            for item in items:
                yield from _found(item, kinds, characters)
            continue
        if tag == CHARACTER_SET and value:
            characters = CharacterSet(value.decode("latin-1"))
            continue
        kind = kinds.get(tag) or ("name" if vr == "PN" else None)
        if kind is None or not value:
            continue
        for one in split_text(vr, whole_text("LO" if vr == "UN" else vr, value, characters)):
            if len(one) >= _MIN_ID or kind == "name":
                yield kind, one
