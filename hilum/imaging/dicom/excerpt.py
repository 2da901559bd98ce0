"""What a data set says of attributes that are named by a path: a small part of its DICOM JSON, of bounded size. Which
attributes that are, and where it is kept, is for the archive to say."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from hilum.imaging.dicom.attributes import TEXT
from hilum.imaging.dicom.dataset import BINARY, CHARACTER_SET, whole_text
from hilum.imaging.dicom.dicom_json import elements_json
from hilum.imaging.dicom.elements import Element
from hilum.imaging.dicom.paths import AttributePath
from hilum.imaging.dicom.text import DEFAULT, CharacterSet

MAX_VALUE: Final = 4096
MAX_ITEMS: Final = 64
MAX_ATTRIBUTE: Final = 16 * 1024
"""Bytes of a value, items of a sequence, and bytes of its JSON, above which an attribute is left out."""

_TEXTS: Final = frozenset(vr.decode() for vr in TEXT)


def take(elements: Sequence[Element], paths: Iterable[AttributePath]) -> dict[str, msgspec.Raw]:
    """What a data set says of some attributes, in the DICOM JSON Model (PS3.18 Annex F).

    Empty values, binary ones and what is larger than the limits of this module are left out. Of a sequence its items
    are kept with the attributes that are named in it; a sequence that is named itself is kept whole.

    Parameters
    ----------
    elements : sequence of Element
        The data set.
    paths : iterable of AttributePath
        What to take.

    Returns
    -------
    dict of str to msgspec.Raw
        By `AttributePath.key`.
    """
    by_tag = {element.tag: element for element in elements}
    declared = by_tag.get(CHARACTER_SET)
    characters = CharacterSet(declared.value.decode("latin-1")) if declared is not None else DEFAULT
    wanted: dict[str, tuple[int, list[tuple[int, ...]]]] = {}
    for path in paths:
        tag = _placed(by_tag, path, characters)
        if tag in by_tag:
            wanted.setdefault(path.key, (tag, []))[1].append(path.tags[1:])
    found: dict[str, msgspec.Raw] = {}
    for key, (tag, inner) in wanted.items():
        pruned = _pruned(by_tag[tag], inner)
        if pruned is None:
            continue
        members = msgspec.json.decode(elements_json([pruned], characters), type=dict[str, msgspec.Raw])
        value = members[f"{tag:08X}"]
        if len(value) <= MAX_ATTRIBUTE:
            found[key] = value
    return found


def _placed(elements: Mapping[int, Element], path: AttributePath, characters: CharacterSet) -> int:
    """The tag of an attribute's outermost element here: that of a private one lies where its creator has its block."""
    tag = path.tags[0]
    if not path.creator:
        return tag
    group = tag & 0xFFFF0000
    for block in range(0x10, 0x100):
        reserved = elements.get(group | block)
        if reserved is not None and whole_text("LO", reserved.value, characters).strip(" \0") == path.creator:
            return tag | block << 8
    return -1


def _pruned(element: Element, inner: Sequence[tuple[int, ...]]) -> Element | None:
    """An element without what is not wanted of it; None when nothing is left."""
    tag, vr, value, items = element
    if items is None:
        if vr in BINARY or not value or len(value) > MAX_VALUE:
            return None
        return Element(tag, vr, value.replace(b"\0", b"") if vr in _TEXTS else value, None)
    kept = [_pruned_item(item, inner) for item in items[:MAX_ITEMS]]
    return Element(tag, vr, b"", kept) if any(kept) else None


def _pruned_item(item: list[Element], inner: Sequence[tuple[int, ...]]) -> list[Element]:
    whole = () in inner
    kept: list[Element] = []
    for each in item:
        below = [rest[1:] for rest in inner if rest and rest[0] == each.tag] or ([()] if whole else [])
        pruned = _pruned(each, below) if below or each.tag == CHARACTER_SET else None
        if pruned is not None:
            kept.append(pruned)
    return kept if any(each.tag != CHARACTER_SET for each in kept) else []
