"""Which instances must have their pixels looked at before they may leave, and the one place where that is plugged
in: a `PixelStep` looks at an instance (and may black out). Without one, what must be looked at is set aside; so
nothing leaves unseen. Finding text and blacking it out (``pixel_text``), and taking faces off (``faces``), are others'
work."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, Final, Literal, TypeAlias

from hilum.imaging.dicom.elements import Element
from hilum.imaging.dicom.header import Header
from hilum.research.deid.identifiers import Patterns

# Reconstructed from measurements: devices write no text into these (PS3.4 annex B.5).
_RECONSTRUCTED: Final = frozenset(
    f"1.2.840.10008.5.1.4.1.1.{last}"
    for last in (
        "2", "2.1", "2.2", "4", "4.1", "4.3", "4.4", "20", "30", "128", "128.1", "130",
        "66.4", "66.1", "66.2", "66.3", "66.7", "481.2",
    )
)  # fmt: skip
_ENCAPSULATED_DOCUMENTS: Final = "1.2.840.10008.5.1.4.1.1.104."
_AUDIO: Final = ("1.2.840.10008.5.1.4.1.1.9.4.",)
_SUSPICIOUS_TYPES: Final = frozenset(
    ("SECONDARY", "SCREEN SAVE", "SCREENSAVE", "SCREEN", "CAPTURE", "PHOTO", "DOSE_INFO")
)
# What stands in descriptions of images that show a head, anywhere in a word, or as a word.
_HEAD: Final = re.compile(
    "head|brain|skull|facial|orbit|neck|sinus|maxill|mandib|dental|cerebr|crani|carotid|pituit|whole|cervic|temporal"
    "|neuro|stroke|c-spine|cspine|c spine"
)
_HEAD_WORDS: Final = frozenset(
    ("face", "ear", "ears", "iac", "iacs", "eye", "eyes", "tmj", "nose", "jaw", "cow", "hnc", "wb", "totalbody")
)
# What names a part of the body without a head, where nothing of the above stands beside it.
_ELSEWHERE: Final = re.compile(
    "chest|thora|lung|pulmon|abdom|pelv|liver|hepat|kidney|renal|urogr|knee|ankle|wrist|elbow|shoulder|femur|thigh"
    "|tibia|fibula|humer|forearm|extremit|cardia|heart|coronar|breast|mamm|prostat|lumb|sacr|colon|entero|uter|ovar"
    "|pancrea|spleen|bladder|clavic|scapula|calcane|finger|hallux|tspine|lspine|t-spine|l-spine|t spine|l spine"
)
_ELSEWHERE_WORDS: Final = frozenset(
    (
        "hand",
        "hands",
        "foot",
        "feet",
        "hip",
        "hips",
        "leg",
        "legs",
        "arm",
        "arms",
        "toe",
        "toes",
        "thumb",
        "rib",
        "ribs",
    )
)
_FACE_MODALITIES: Final = frozenset(("CT", "MR", "PT"))
# X-Ray 3D Angiographic and Craniofacial Image Storage.
_FACE_CLASSES: Final = frozenset(("1.2.840.10008.5.1.4.1.1.13.1.1", "1.2.840.10008.5.1.4.1.1.13.1.2"))
_TEXTS: Final = ("BodyPartExamined", "CodeMeaning", "StudyDescription", "SeriesDescription", "ProtocolName")
_WORD: Final = re.compile("[a-z]+")


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of pixels, rows and columns from 0; frames from 0, None for all of them."""

    row: int
    column: int
    rows: int
    columns: int
    frame: int | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person who looked at an image decided.

    Attributes
    ----------
    how
        ``look``: it is looked at as ever, and the boxes go black, too. ``accept``: the same, and what then leaves it
        `unsure` does not hold it back. ``only``: the boxes go black and nothing else; without any it stays as it is.
    boxes
        That the person drew.
    """

    how: Literal["look", "accept", "only"]
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True, slots=True)
class Face:
    """What of an instance goes with the face, as was found in the volume of its series.

    Attributes
    ----------
    masks
        For each frame the samples that go, a bit each, row by row, highest bits first; None where none does.
    values
        For each frame the stored value that they get.
    """

    masks: tuple[bytes | None, ...]
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What looking at an instance's pixels came to.

    Attributes
    ----------
    state
        ``clean``: nothing identifies anyone. ``blackened``: so it is now, in ``data``. ``unsure``: a person must look.
    boxes
        Where text was found.
    data
        The whole file with the boxes blacked out; the other pixels as they were.
    reason
        Why a person must look, or what was made black.
    changed
        Elements that describe the samples of ``data`` otherwise than the original's do.
    """

    state: Literal["clean", "blackened", "unsure"]
    boxes: tuple[Box, ...] = ()
    data: bytes | None = None
    reason: str = ""
    changed: tuple[Element, ...] = ()


PixelStep: TypeAlias = Callable[[BinaryIO, Header, Patterns, Decision | None], Verdict]
"""Looks at the pixels of an original file, given its header, what is known of its person, and what somebody who looked
at it has decided, if anybody has. It is asked for instances of which `scan_reason` gives a reason, or on which somebody
has decided."""


def refusal(header: Header) -> str:
    """Why an instance can not be de-identified at all; empty when it can."""
    sop_class = header.first("SOPClassUID")
    if sop_class.startswith(_ENCAPSULATED_DOCUMENTS):
        return "encapsulated_document"
    if sop_class.startswith(_AUDIO):
        return "audio"
    return ""


def scan_reason(header: Header, burned_in: str) -> str:
    """Why the pixels of an instance must be looked at; empty when they need not.

    Parameters
    ----------
    header
        Of the original.
    burned_in
        Its Burned In Annotation (0028,0301): YES is believed, NO is not.
    """
    if header.pixel_data is None:
        return ""
    if burned_in.upper() == "YES":
        return "burned_in_annotation"
    if header.first("SOPClassUID") not in _RECONSTRUCTED:
        return "kind_of_image"
    kinds = {kind.strip().upper() for kind in header.strings("ImageType")}
    return "secondary_image" if kinds & _SUSPICIOUS_TYPES else ""


def may_show_face(header: Header) -> bool:
    """Whether a face could be made from the instance: a section through a head, or through who knows what.

    That is told by body part, anatomic region, descriptions and protocol: whatever names a head, a neck or a whole
    body, and whatever does not name another part of the body.
    """
    if header.pixel_data is None:
        return False
    if header.first("SOPClassUID") in _FACE_CLASSES:
        return True
    if header.first("Modality").upper() not in _FACE_MODALITIES:
        return False
    text = " ".join(header.text(key) for key in _TEXTS).lower().replace("_", " ")
    words = set(_WORD.findall(text))
    if _HEAD.search(text) or words & _HEAD_WORDS:
        return True
    return not (_ELSEWHERE.search(text) or words & _ELSEWHERE_WORDS)
