"""Values as people write them: person names, dates and times, modalities and body parts. Text in, text out; the words
themselves stand in ``data/`` (see its README)."""

import csv
import datetime as dt
import re
import unicodedata
from functools import cache
from importlib.resources import files
from typing import Final

_DATE: Final = re.compile(r"([0-9]{4})([.-]?)([0-9]{2})\2([0-9]{2})")
_TIME: Final = re.compile(r"([0-9]{2})(?::?([0-9]{2})(?::?([0-9]{2})(?:\.([0-9]{1,6})[0-9]*)?)?)?")
_OFFSET: Final = re.compile(r"([+-])([0-9]{2})([0-9]{2})")
_DATETIME: Final = re.compile(r"([0-9]{4})([0-9]{2})?([0-9]{2})?([0-9]{2,6}(?:\.[0-9]+)?)?([+-][0-9]{4})?")
_NOT_WORD: Final = re.compile(r"[^A-Z0-9]")
GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_PADDING: Final = " \0"
_NO_NAME: Final = " \0^"


def parse_date(value: str) -> dt.date | None:
    """A DA value, also in the old form with points (PS3.5 section 6.2), or None when it is no date."""
    match = _DATE.fullmatch(value.strip(_PADDING))
    if match is None:
        return None
    try:
        return dt.date(int(match[1]), int(match[3]), int(match[4]))
    except ValueError:
        return None


def parse_time(value: str) -> dt.time | None:
    """A TM value of any precision, also in the old form with colons, or None when it is no time.

    A leap second (60) becomes the second before it; parts of a microsecond are cut.
    """
    match = _TIME.fullmatch(value.strip(_PADDING))
    if match is None:
        return None
    hour, minute, second, fraction = match.groups(default="0")
    try:
        return dt.time(int(hour), int(minute), 59 if second == "60" else int(second), int(fraction.ljust(6, "0")))
    except ValueError:
        return None


def parse_offset(value: str) -> dt.timezone | None:
    """Timezone Offset From UTC, ``+HHMM`` or ``-HHMM`` from -1200 to +1400 (PS3.3 C.12.1.1.8), or None."""
    match = _OFFSET.fullmatch(value.strip(_PADDING))
    if match is None or int(match[3]) > 59:
        return None
    minutes = int(f"{match[1]}1") * (60 * int(match[2]) + int(match[3]))
    return dt.timezone(dt.timedelta(minutes=minutes)) if -12 * 60 <= minutes <= 14 * 60 else None


def parse_datetime(value: str) -> dt.datetime | None:
    """A DT value (PS3.5 section 6.2) of any precision, or None; with a time zone only if it has one.

    A missing month or day is the first, a missing hour midnight.
    """
    match = _DATETIME.fullmatch(value.strip(_PADDING))
    if match is None:
        return None
    year, month, day, time, offset = match.groups()
    date = parse_date(f"{year}{month or '01'}{day or '01'}")
    clock = parse_time(time) if time else dt.time()
    zone = parse_offset(offset) if offset else None
    if date is None or clock is None or (offset and zone is None):
        return None
    return dt.datetime.combine(date, clock, zone)


def format_date(date: dt.date) -> str:
    """A date as DA."""
    return f"{date.year:04}{date.month:02}{date.day:02}"


def format_time(time: dt.time) -> str:
    """A time as TM, with a fraction only where there is one."""
    fraction = f".{time.microsecond:06}" if time.microsecond else ""
    return f"{time.hour:02}{time.minute:02}{time.second:02}{fraction}"


def person_groups(value: str) -> dict[str, str]:
    """The component groups of one PN value as the DICOM JSON Model names them (PS3.18 F.2.2); empty ones left out.

    A group of nothing but delimiters is empty too (PS3.5 section 6.2.1).
    """
    groups = zip(GROUPS, value.split("="), strict=False)
    return {name: group.rstrip(_PADDING) for name, group in groups if group.strip(_NO_NAME)}


def person_name(value: str) -> str:
    """The first value of a PN as people read it: 'Given Middle Family', without prefix and suffix.

    The alphabetic group, else the ideographic (whose own order puts the family first), else the phonetic.
    """
    groups = person_groups(value.partition("\\")[0])
    for group, family_first in zip(GROUPS, (False, True, True), strict=True):
        if group in groups:
            family, given, middle = (*groups[group].split("^"), "", "")[:3]
            parts = (family, given, middle) if family_first else (given, middle, family)
            name = " ".join(" ".join(parts).split())
            if name:
                return name
    return ""


def person_search_text(value: str) -> str:
    """A PN in the form in which it is searched: lower case, its width folded, all its values and component groups.

    Each group stands as 'given middle family' and as 'family given middle', an ideographic or phonetic one also without
    a space between, as it is mostly typed; prefix and suffix stand last. So any of 'Jane Doe', 'doe jane', '山田',
    '山田太郎' and 'ﾔﾏﾀﾞ' is found as a part of it, if what is asked for is folded by `fold` too.
    """
    found: dict[str, None] = {}
    for one in value.split("\\"):
        for group, name in person_groups(one).items():
            family, given, middle, prefix, suffix = (part.strip() for part in (*name.split("^"), *[""] * 5)[:5])
            forms = [(given, middle, family), (family, given, middle), (prefix,), (suffix,)]
            found.update(dict.fromkeys(" ".join(" ".join(form).split()) for form in forms))
            if group != "Alphabetic":
                found[f"{family}{given}{middle}"] = None
    return fold(" ".join(form for form in found if form))


def fold(text: str) -> str:
    """A text in the form in which two are compared: lower case, and full or half width alike (NFKC)."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def modality_name(code: str) -> str:
    """What a modality is called, the code itself when it is not known: 'CT' is 'Computed Tomography'."""
    return _modalities().get(code.strip().upper(), code.strip())


def body_part_name(value: str) -> str:
    """What a body part is called: 'CHEST' is 'Chest', 'CSPINE' is 'Cervical spine'; the unknown in sentence case."""
    word = body_part_word(value)
    name = _usual_names().get(word)
    if name is not None:
        return name
    text = " ".join(value.replace("_", " ").split())
    return text[:1].upper() + text[1:].lower()


def body_part_word(value: str) -> str:
    """A body part in the form in which two are compared: capitals, nothing but letters and digits."""
    return _NOT_WORD.sub("", value.upper())


def body_part_synonyms(value: str) -> frozenset[str]:
    """The words (see `body_part_word`) to look for when a body part is asked for, itself included.

    'brain' finds HEAD and SKULL, 'lung' finds CHEST, THORAX and CHESTABDOMEN; the unknown finds itself alone.
    """
    word = body_part_word(value)
    return frozenset((word,)).union(*(words | also for words, also in _regions() if word in words))


def _read(name: str) -> list[dict[str, str]]:
    text = files("hilum.imaging.dicom").joinpath("data", name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


@cache
def _modalities() -> dict[str, str]:
    return {row["code"]: row["name"] for row in _read("modalities.csv")}


@cache
def _regions() -> list[tuple[frozenset[str], frozenset[str]]]:
    """Of each line the words that mean the region, its name among them, and those that it finds beside."""
    return [
        (frozenset((body_part_word(row["name"]), *row["words"].split())), frozenset(row["also"].split()))
        for row in _read("body_parts.csv")
    ]


@cache
def _usual_names() -> dict[str, str]:
    """The name that a word has by itself: only the first word of a line, and the name's own, speak for it."""
    names: dict[str, str] = {}
    for row in _read("body_parts.csv"):
        for word in (body_part_word(row["name"]), row["words"].split()[0]):
            names.setdefault(word, row["name"])
    return names
