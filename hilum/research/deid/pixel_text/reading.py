"""What lines of text say, and what therefore becomes of them: markers of side and position and measures may stay, what
is no text after all does stay, everything else goes. A line that cannot be read goes when it surely is text."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

import numpy as np

from hilum.imaging.dicom.picture import Picture
from hilum.research.deid.identifiers import Patterns
from hilum.research.deid.pixel_text.detector import read_lines
from hilum.research.deid.pixel_text.scan import Spot, Views, alike, around
from hilum.research.deid.table import data_text
from hilum.research.deid.words import fold

_SURE: Final = 0.8
_READ: Final = 0.6
_STRONG: Final = 0.8
_CERTAIN: Final = 0.85
_SINGLE: Final = 0.9
_SEVERAL: Final = 2.5
_LARGE: Final = 48
_LETTERS: Final = 3
_SOME: Final = 2
_AGAIN: Final = 0.6
_MARGIN: Final = 2
_WORD: Final = re.compile(r"[^\s,;()\[\]<>=+*|~'\"]+")
_NUMBER: Final = re.compile(r"[<>±~+\-]?\d{1,3}(?:[.,]\d{1,2})?(?:%|°|cm|mm|s|ms|hz|khz|mhz|db|bpm|fps|x)?")
_MAX_DIGITS: Final = 4
_ALNUM: Final = re.compile(r"[^\W_一二三丨]")  # not what mere strokes are read as


@dataclass(frozen=True, slots=True)
class Read:
    """A line of text with what it says, and whether it goes."""

    spot: Spot
    text: str
    sure: float
    goes: bool


def judge(seen: Views, spots: Sequence[Spot], patterns: Patterns, *, keep_markers: bool) -> list[Read]:
    """Read lines and decide on each.

    Parameters
    ----------
    seen
        The frame.
    spots
        Its lines, as `scan.find_text` gives them.
    patterns
        What is known of the person: a line that holds of it goes, whatever else it is.
    keep_markers
        Whether words of the marker list and short numbers may stay.
    """
    reads: list[Read] = []
    for spot in spots:
        text, sure = _best(seen, spot)
        read = Read(spot, text, sure, _goes(spot, text, sure, patterns, keep_markers=keep_markers))
        if read.goes and _weak(read) and not _holds_of(patterns, text):
            read = _again(seen, read, patterns, keep_markers=keep_markers)
        elif not read.goes and _is_blur(spot, sure):
            read = _nothing(spot)
        reads.append(read)
    return _together(reads, patterns)


def _weak(read: Read) -> bool:
    """Whether a line goes for the look of it, rather than for what it says."""
    return read.sure < _SURE or len(_ALNUM.findall(read.text)) < _LETTERS


def _nothing(spot: Spot) -> Read:
    return Read(spot, "", 0.0, goes=False)


def _again(seen: Views, weak: Read, patterns: Patterns, *, keep_markers: bool) -> Read:
    """The reading of a line that is found where it seemed to be, looked at with its surroundings; it stays where there
    is none."""
    stays = _nothing(weak.spot)
    for spot in around(seen, weak.spot):
        if spot.score < _AGAIN:
            continue
        text, sure = _best(seen, spot)
        says = sure >= _SURE and len(_ALNUM.findall(text)) >= _SOME
        if (says or alike(spot, weak.spot)) and _goes(spot, text, sure, patterns, keep_markers=keep_markers):
            return Read(spot, text, sure, goes=True)
        if sure >= stays.sure:
            stays = Read(spot, text, sure, goes=False)
    return stays


def _together(reads: list[Read], patterns: Patterns) -> list[Read]:
    """The same, but what stands beside something that goes, or makes a longer number with it, goes with it."""
    changed = True
    while changed:
        changed = False
        for place, one in enumerate(reads):
            if one.goes or not _ALNUM.search(one.text) or one.sure < _READ:
                continue
            beside = [other for other in reads if other is not one and _beside(one.spot, other.spot)]
            whole = " ".join(other.text for other in sorted([one, *beside], key=lambda read: read.spot.left))
            found = patterns.all is not None and patterns.all.search(fold(whole)) is not None
            if found or any(other.goes for other in beside) or _digits(whole) > _MAX_DIGITS:
                reads[place], changed = replace(one, goes=True), True
    return reads


def _beside(one: Spot, other: Spot) -> bool:
    """Whether two lines stand next to each other on the same height, and not one within the other."""
    height = min(one.bottom - one.top, other.bottom - other.top)
    shared = min(one.bottom, other.bottom) - max(one.top, other.top)
    gap = max(one.left, other.left) - min(one.right, other.right)
    return shared > height / 2 and -height < gap < height


def _best(seen: Views, spot: Spot) -> tuple[str, float]:
    """The surest reading of a line: as it is shown, in its own contrast, turned round."""
    tall, wide = spot.bottom - spot.top, spot.right - spot.left
    way, other = ((0, 2), (1, -1)) if spot.upright else ((1, -1), (0, 2))
    tries = [(seen.shown, way[:1]), (seen.local, way[:1])]
    if seen.textured:
        tries.append((seen.bright, way[:1]))
    if spot.score >= _AGAIN:  # else hardly a line: no effort is made to read what is perhaps turned
        tries.append((seen.shown, way[1:]))
        if max(tall, wide) <= _SEVERAL * min(tall, wide):  # too short to say how it stands
            tries += [(seen.shown, other), (seen.local, other)]
    best = "", 0.0
    for cut, some in tries:
        best = max(best, *_read(cut, spot, some), key=_weight)
        if best[1] >= _SURE and len(_ALNUM.findall(best[0])) > 1:
            break  # a single letter may be what a turned word looks like
    return best


def _weight(reading: tuple[str, float]) -> float:
    text, sure = reading
    return sure * min(1.0, 0.4 + 0.2 * len(_ALNUM.findall(text)))


def _read(cut: Callable[[int, int, int, int], Picture], spot: Spot, turns: Sequence[int]) -> list[tuple[str, float]]:
    piece = cut(spot.top - _MARGIN, spot.left - _MARGIN, spot.bottom + _MARGIN, spot.right + _MARGIN)
    return read_lines([np.ascontiguousarray(np.rot90(piece, turn)) for turn in turns])


def _goes(spot: Spot, text: str, sure: float, patterns: Patterns, *, keep_markers: bool) -> bool:
    if _holds_of(patterns, text):
        return True
    folded = fold(text)
    count = len(_ALNUM.findall(text))
    if sure >= _SURE and count and is_marker(folded):
        return not keep_markers
    if _is_blur(spot, sure):
        return False
    tall, wide = spot.bottom - spot.top, spot.right - spot.left
    if count >= 2 and (sure >= _READ or spot.score >= _CERTAIN):
        return True
    if spot.score >= _CERTAIN and max(tall, wide) > _SEVERAL * min(tall, wide):
        return True  # several letters that cannot be read
    return count == 1 and sure >= _SINGLE and spot.score >= _STRONG


def _is_blur(spot: Spot, sure: float) -> bool:
    """Whether a spot hardly looks like a line and does not read as one, though letters as large can be read."""
    return min(spot.bottom - spot.top, spot.right - spot.left) >= _LARGE and sure < _SINGLE and spot.score < _CERTAIN


def _holds_of(patterns: Patterns, text: str) -> bool:
    """Whether a text says something that is known of the person."""
    return patterns.all is not None and patterns.all.search(fold(text)) is not None


def is_marker(folded: str) -> bool:
    """Whether every word of a folded line is a marker or a short number, and its digits make no date and no id."""
    words = _WORD.findall(folded)
    if not words or _digits(folded) > _MAX_DIGITS:
        return False
    return all(re.sub(r"[.\-_]", "", word) in markers() or _NUMBER.fullmatch(word) for word in words)


def _digits(text: str) -> int:
    return sum(one.isdigit() for one in text)


@cache
def markers() -> frozenset[str]:
    """Words that may stay, folded."""
    lines = (line.strip().lower() for line in data_text("words_markers.txt").splitlines())
    return frozenset(line for line in lines if line and not line.startswith("#"))
