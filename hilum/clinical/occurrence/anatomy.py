"""Which body site a series shows, as a concept: the most specific of what its header codes, its Body Part Examined
(with its side, where there are terms for the sides) and the words of its descriptions; and which of them said so."""

import re
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Final

from hilum.clinical.cdm.concepts import read_data
from hilum.imaging.dicom.names import body_part_word

_WORDS: Final = re.compile(r"[A-Z]+")
_SIDE: Final = re.compile(r"\b(LEFT|RIGHT|BILATERAL|BOTH|LT|RT|L|R)\b")
_SIDES: Final = {
    "LEFT": "L", "LT": "L", "L": "L", "RIGHT": "R", "RT": "R", "R": "R", "BILATERAL": "B", "BOTH": "B", "B": "B",
}  # fmt: skip
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


@dataclass(frozen=True, slots=True)
class Coded:
    """A region that the header codes (Anatomic Region Sequence, 0008,2218): its code in SNOMED CT, and the concept that
    the site's vocabulary has for it, or 0."""

    code: str = ""
    concept_id: int = 0


UNCODED: Final = Coded()


@lru_cache(maxsize=20_000)
def site_of(region: Coded, laterality: str, body_part: str, *descriptions: str) -> Site:
    """The body site of a series.

    Parameters
    ----------
    region
        What its header codes.
    laterality
        Its side (0020,0060 or 0020,0062), ``L``, ``R`` or ``B``, for a body part that is written without one.
    body_part
        Body Part Examined (0018,0015) as it is written.
    descriptions
        Texts that may name it, the closest to the series first. What they name counts for a series without the other
        two, and where it is a part of a body part that is as wide as ``EXTREMITY``.
    """
    concept = _by_code().get(region.code) or region.concept_id
    if region.code and concept:
        return Site(concept, "code", region.code)
    found = _examined(body_part, laterality)
    named = [word for word in map(_named_in, descriptions) if word]
    if found in _within():
        found_within = next((word for word in named if word in _within()[found]), "")
        if found_within:
            return Site(_known()[found_within], "description", found_within)
    if found:
        return Site(_known()[found], "body_part", found)
    return Site(_known()[named[0]], "description", named[0]) if named else NOWHERE


def _examined(body_part: str, laterality: str) -> str:
    """The term for a Body Part Examined: as it is written, else without its side; that of the side, where both sides
    have terms."""
    text = body_part.upper()
    sided = _SIDE.search(text)
    word = next((term for each in (text, _SIDE.sub(" ", text)) if (term := _term(body_part_word(each)))), "")
    side = _SIDES.get(sided[0] if sided else laterality.strip().upper(), "")
    if word and side and {f"L{word}", f"R{word}", f"{side}{word}"} <= _known().keys():
        return f"{side}{word}"
    return word


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
    return _term(best)


def _term(word: str) -> str:
    """The term that a word stands for; empty for one that is unknown."""
    return word if word in _terms() else _words().get(word, "")


@cache
def _terms() -> dict[str, int]:
    return {row["body_part"]: int(row["concept_id"]) for row in read_data("anatomy.csv")}


@cache
def _words() -> dict[str, str]:
    return {row["word"]: row["body_part"] for row in read_data("body_part_words.csv")}


@cache
def _known() -> dict[str, int]:
    """Concepts of all terms and words."""
    return {word: _terms()[term] for word, term in _words().items()} | _terms()


@cache
def _within() -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for row in read_data("body_part_within.csv"):
        found.setdefault(row["within"], set()).add(row["body_part"])
    return {term: frozenset(parts) for term, parts in found.items()}


@cache
def _by_code() -> dict[str, int]:
    return {row["sct_code"]: int(row["concept_id"]) for row in read_data("anatomy.csv") if row["sct_code"]}
