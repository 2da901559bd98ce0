"""The words that a description may hold: those of the coded concepts of DICOM, those that protocols are named with,
those of diseases and injuries, and the like in other languages. All are data files; a profile adds a site's own. Names
are not among them, as far as that goes."""

import unicodedata
from functools import cache, lru_cache
from typing import Final

from hilum.research.deid.table import data_text

_OF_RADIOLOGY: Final = ("words_radiology.txt", "words_concepts.txt")
_OTHERS: Final = (
    "words_prose.txt",
    "words_conditions.txt",
    "words_languages.txt",
    "words_series.txt",
    "words_parts.txt",
)


@lru_cache(maxsize=65536)
def fold(text: str) -> str:
    """A text in small letters without accents, of the same length, so that places in it are places in the text."""
    if text.isascii():
        return text.lower()
    return "".join(map(_folded, text))


@lru_cache(maxsize=4096)
def _folded(character: str) -> str:
    if "가" <= character <= "힣":
        return character  # a syllable, which would come apart
    for one in unicodedata.normalize("NFKD", character).casefold():
        if not unicodedata.combining(one):
            return chr(ord(one) - 0x60) if "ァ" <= one <= "ヶ" else one
    return character


@cache
def allowed_words() -> frozenset[str]:
    """Single words, folded as texts are."""
    return frozenset(line for line in lines(*_OF_RADIOLOGY, *_OTHERS) if " " not in line)


@cache
def allowed_phrases() -> dict[str, list[tuple[str, ...]]]:
    """Words that are let pass only in this order, by the first of them."""
    found: dict[str, list[tuple[str, ...]]] = {}
    for phrase in sorted({tuple(line.split()) for line in lines(*_OF_RADIOLOGY, *_OTHERS) if " " in line}):
        found.setdefault(phrase[0], []).append(phrase)
    return found


@cache
def _words_of_radiology() -> frozenset[str]:
    return frozenset(lines(*_OF_RADIOLOGY))


def is_word(folded: str) -> bool:
    """Whether a folded word is one of radiology, so that by itself it is not taken for the name that it may be, too."""
    return folded in _words_of_radiology()


@cache
def stands_inside_a_word(folded: str) -> bool:
    """Whether letters also stand inside of longer words of radiology, as Corona does in coronal."""
    return any(folded in word for word in allowed_words())


def is_run_of_words(folded: str) -> bool:
    """Whether characters of a script that is written without spaces can be parted into words of radiology."""
    reached = [True, *(False for _ in folded)]
    longest = 8
    for end in range(1, len(folded) + 1):
        reached[end] = any(
            reached[begin] and folded[begin:end] in allowed_words() for begin in range(max(0, end - longest), end)
        )
    return reached[-1]


def lines(*names: str) -> list[str]:
    """The lines of data files, without those of comment."""
    found = [line.strip() for name in names for line in data_text(name).splitlines()]
    return [line for line in found if line and not line.startswith("#")]
