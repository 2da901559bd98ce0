"""Attributes named by a path, as PS3.18 section 8.3.4.1 writes them (keywords or tags, parted by points where they lie
in sequences), and private ones together with their creator. What a data set says of them is taken by ``excerpt``."""

import re
from dataclasses import dataclass
from typing import Final

MAX_DEPTH: Final = 8

_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}")
_PRIVATE: Final = re.compile(r"([0-9A-Fa-f]{3}[13579BbDdFf])(?:[Xx]{2}|[1-9A-Fa-f][0-9A-Fa-f])([0-9A-Fa-f]{2})\((.+)\)")


@dataclass(frozen=True, slots=True)
class AttributePath:
    """An attribute of a data set, or of the items of its sequences.

    Attributes
    ----------
    tags : tuple of int
        Those of the sequences, then its own. Of a private attribute the block is left out: ``0xGGGG00EE``.
    vr : str
        Its value representation by the dictionaries; UN where they know none.
    creator : str
        Private creator of a private attribute, which then stands at the top level; else empty.
    keyword : str
        Keywords parted by points, or what stands for them.
    """

    tags: tuple[int, ...]
    vr: str
    creator: str = ""
    keyword: str = ""

    @property
    def key(self) -> str:
        """The name of its outermost attribute, the same in every excerpt: a tag, or the form of a private one."""
        if self.creator:
            return f"{self.tags[0] >> 16:04X}xx{self.tags[0] & 0xFF:02X}({self.creator})"
        return f"{self.tags[0]:08X}"

    @property
    def name(self) -> str:
        """The whole path by tags."""
        return ".".join([self.key, *(f"{tag:08X}" for tag in self.tags[1:])])


def parse_path(text: str) -> AttributePath:
    """Read the name of an attribute.

    Parameters
    ----------
    text : str
        ``PatientComments``, ``00104000``, ``RequestAttributesSequence.ScheduledProcedureStepID``, ``00400275.00400009``
        or, private, ``0009xx01(CREATOR)``, where digits may stand for ``xx``.

    Raises
    ------
    ValueError
        It names none that PS3.6 knows.
    """
    private = _PRIVATE.fullmatch(text)
    if private is not None:
        return _private(int(private[1], 16), int(private[2], 16), private[3].strip())
    from pydicom.datadict import dictionary_VR, keyword_for_tag

    tags = tuple(_tag(part) for part in text.split("."))
    if len(tags) > MAX_DEPTH or any(dictionary_VR(tag) != "SQ" for tag in tags[:-1]):
        raise ValueError(text)
    vr = dictionary_VR(tags[-1])
    return AttributePath(tags, vr[:2], "", ".".join(keyword_for_tag(tag) for tag in tags))


def _tag(name: str) -> int:
    from pydicom.datadict import dictionary_has_tag, tag_for_keyword

    tag = int(name, 16) if _TAG.fullmatch(name) else tag_for_keyword(name)
    if tag is None or not dictionary_has_tag(tag):
        raise ValueError(name)
    return tag


def _private(group: int, element: int, creator: str) -> AttributePath:
    from pydicom.datadict import private_dictionary_VR

    tag = group << 16 | element
    try:
        vr = private_dictionary_VR(tag | 0x1000, creator)
    except KeyError:
        vr = "UN"
    path = AttributePath((tag,), vr[:2], creator)
    return AttributePath(path.tags, path.vr, creator, path.key)
