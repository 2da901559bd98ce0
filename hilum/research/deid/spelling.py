"""Words of radiology as people write them in a hurry: several in one (CTABDPELW), cut short by the length of a field
(CONTRAS), without vowels (CNTRST), with a slip of a letter (SAGITAL), for want of one (Ganzkoerper). Only words of a
short list are sought so, the last of these in all lists; none of ``words_never.txt`` is ever found. Which text is
looked at is for ``text``."""

import re
from functools import cache, lru_cache
from typing import Final

from hilum.research.deid.words import allowed_words, lines

_SHORTEST_CUT: Final = 5
_SHORTEST_SLIP: Final = 7
_SHORTEST_BARE: Final = 4
_SHORTEST_JOINED: Final = 5
_SHORTEST_UMLAUT: Final = 7
_LONGEST: Final = 40
_UMLAUT: Final = re.compile(r"([aou])e")
_VOWELS: Final = frozenset("aeiou")


def is_spelling(folded: str) -> bool:
    """Whether letters, folded, are words of the list in another spelling."""
    return _SHORTEST_BARE <= len(folded) <= _LONGEST and folded.isascii() and _is_spelling(folded)


@lru_cache(maxsize=65536)
def _is_spelling(folded: str) -> bool:
    if folded in names():
        return False
    return folded in _bare() or any(finds(folded) for finds in (_is_cut, _is_umlaut, _is_slip, _is_joined))


@cache
def parts() -> frozenset[str]:
    """The words that are sought in other spellings."""
    return frozenset(lines("words_parts.txt"))


@cache
def names() -> frozenset[str]:
    """Names that would pass for a word."""
    return frozenset(lines("words_never.txt"))


def _is_joined(folded: str) -> bool:
    """Whether letters can be parted into words, one of which has four letters or more."""
    if len(folded) < _SHORTEST_JOINED:
        return False
    longest = [0] * (len(folded) + 1)  # of the words that lead to each place, 0 if none do
    for end in range(1, len(folded) + 1):
        for begin in range(max(0, end - _longest_part()), end):
            if (begin == 0 or longest[begin]) and folded[begin:end] in parts():
                longest[end] = max(longest[end], longest[begin], end - begin)
    return longest[-1] >= _SHORTEST_BARE


@cache
def _longest_part() -> int:
    return max(map(len, parts()))


def _is_cut(folded: str) -> bool:
    return len(folded) >= _SHORTEST_CUT and folded in _beginnings()


@cache
def _beginnings() -> frozenset[str]:
    return frozenset(word[:end] for word in parts() for end in range(_SHORTEST_CUT, len(word)))


@cache
def _bare() -> frozenset[str]:
    """The words without the vowels behind their first letter."""
    made = (word[0] + "".join(one for one in word[1:] if one not in _VOWELS) for word in parts())
    return frozenset(word for word in made if len(word) >= _SHORTEST_BARE)


def _is_umlaut(folded: str) -> bool:
    """Whether ae, oe and ue stand for the letters that texts are folded to a, o and u from."""
    return len(folded) >= _SHORTEST_UMLAUT and "e" in folded and _UMLAUT.sub(r"\1", folded) in allowed_words()


def _is_slip(folded: str) -> bool:
    """Whether a letter was missed, added or mistaken, or two were swapped, in a word that begins so."""
    if len(folded) < _SHORTEST_SLIP - 1:
        return False
    lacking = _lacking(folded)
    near = {word for one in (folded, *lacking) for word in _by_lacking().get(one, ())}
    near.update(lacking & parts())
    return any(len(word) >= _SHORTEST_SLIP and word[0] == folded[0] and _one_slip(word, folded) for word in near)


@cache
def _by_lacking() -> dict[str, list[str]]:
    """The words by what is left of them without one letter."""
    found: dict[str, list[str]] = {}
    for word in sorted(parts()):
        if len(word) >= _SHORTEST_SLIP:
            for one in _lacking(word):
                found.setdefault(one, []).append(word)
    return found


def _lacking(word: str) -> set[str]:
    return {word[:place] + word[place + 1 :] for place in range(len(word))}


def _one_slip(word: str, written: str) -> bool:
    begin = 0
    while begin < min(len(word), len(written)) and word[begin] == written[begin]:
        begin += 1
    rest, other = word[begin:], written[begin:]
    return (
        rest[1:] == other[1:]
        or rest[1:] == other
        or rest == other[1:]
        or (rest[:2] == other[1::-1] and rest[2:] == other[2:])
    )
