"""Which body site a series shows, as a concept: the most specific of what its header codes, its Body Part Examined
(with a laterality taken off it) and the words of its descriptions; and which of them said so."""

import re
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Final

from hilum.clinical.cdm.concepts import read_data
from hilum.imaging.dicom.names import body_part_word

_WORDS: Final = re.compile(r"[A-Z]+")
_SIDE: Final = re.compile(r"\b(LEFT|RIGHT|BILATERAL|BOTH|LT|RT|L|R)\b")
_LONGEST: Final = 3
_SHORTEST: Final = 4
# Terms that a description uses for something else more often than for a body part.
_VAGUE: Final = frozenset(("BODY", "SPINE", "VEIN", "ARTERY", "EXTREMITY", "NOSE"))


@dataclass(frozen=True, slots=True)
class Site:
    """A body site: its concept, what said so (``code``, ``body_part``, ``description``), and by which word. Without a
    concept it is not known."""

    concept_id: int = 0
    said_by: str = ""
    word: str = ""


NOWHERE: Final = Site()


@lru_cache(maxsize=20_000)
def site_of(codes: tuple[str, ...], body_part: str, *descriptions: str) -> Site:
    """The body site of a series.

    Parameters
    ----------
    codes
        SNOMED codes of its Anatomic Region Sequence (0008,2218), the most specific first.
    body_part
        Body Part Examined (0018,0015) as it is written.
    descriptions
        Texts that may name it, the closest to the series first.
    """
    for code in codes:
        if code in _by_code():
            return Site(_by_code()[code], "code", code)
    for text in (body_part, _SIDE.sub(" ", body_part.upper())):
        word = body_part_word(text)
        found = _known().get(word)
        if found:
            return Site(found, "body_part", word)
    for text in descriptions:
        found_word = _named_in(text)
        if found_word:
            return Site(_known()[found_word], "description", found_word)
    return NOWHERE


def _named_in(text: str) -> str:
    """The longest term that a text names in up to three words; the first of several."""
    words = _WORDS.findall(text.upper())
    best = ""
    for length in range(min(_LONGEST, len(words)), 0, -1):
        for start in range(len(words) - length + 1):
            word = "".join(words[start : start + length])
            fits = len(word) >= _SHORTEST and word not in _VAGUE and word in _known()
            if fits and len(word) > len(best):
                best = word
    return best


@cache
def _known() -> dict[str, int]:
    known = {row["body_part"]: int(row["concept_id"]) for row in read_data("anatomy.csv")}
    for row in read_data("body_part_words.csv"):
        known.setdefault(row["word"], known[row["body_part"]])
    return known


@cache
def _by_code() -> dict[str, int]:
    return {row["sct_code"]: int(row["concept_id"]) for row in read_data("anatomy.csv") if row["sct_code"]}
