"""The words that a description may hold: those of the coded concepts of DICOM, those that protocols are named with,
those of diseases and injuries, and the like in other languages. All are data files; a profile adds a site's own. Names
are not among them, as far as that goes."""

from functools import cache
from typing import Final

from hilum.research.deid.table import data_text

_FILES: Final = ("words_radiology.txt", "words_concepts.txt", "words_conditions.txt", "words_languages.txt")


@cache
def allowed_words() -> frozenset[str]:
    """Single words, folded as texts are."""
    return frozenset(line for line in _lines() if " " not in line)


@cache
def allowed_phrases() -> frozenset[tuple[str, ...]]:
    """Words that are let pass only in this order."""
    return frozenset(tuple(line.split()) for line in _lines() if " " in line)


def is_word(folded: str) -> bool:
    """Whether a folded word is one of radiology."""
    return folded in allowed_words()


@cache
def stands_inside_a_word(folded: str) -> bool:
    """Whether letters also stand inside of longer words of radiology, as Corona does in coronal."""
    return any(folded in word for word in allowed_words())


def is_run_of_words(folded: str) -> bool:
    """Whether characters of a script that is written without spaces can be parted into words of radiology."""
    reached = [True, *(False for _ in folded)]
    longest = 8
    for end in range(1, len(folded) + 1):
        reached[end] = any(reached[begin] and is_word(folded[begin:end]) for begin in range(max(0, end - longest), end))
    return reached[-1]


def _lines() -> list[str]:
    found = [line.strip() for name in _FILES for line in data_text(name).splitlines()]
    return [line for line in found if line and not line.startswith("#")]
