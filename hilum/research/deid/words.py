"""The words that a description may hold: those of the coded concepts of DICOM and those that protocols are named with.
Both are data files; a profile adds a site's own. Names are not among them, as far as that goes."""

from functools import cache
from typing import Final

from hilum.research.deid.table import data_text

_FILES: Final = ("words_radiology.txt", "words_concepts.txt")


@cache
def allowed_words() -> frozenset[str]:
    """Single words, in small letters."""
    return frozenset(line for line in _lines() if " " not in line)


@cache
def allowed_phrases() -> frozenset[tuple[str, ...]]:
    """Words that are let pass only in this order."""
    return frozenset(tuple(line.split()) for line in _lines() if " " in line)


def is_word(folded: str) -> bool:
    """Whether a folded word is one of radiology."""
    return folded in allowed_words()


def _lines() -> list[str]:
    found = [line.strip() for name in _FILES for line in data_text(name).splitlines()]
    return [line for line in found if line and not line.startswith("#")]
