"""What a QIDO-RS request asks for: its query parameters (PS3.18 section 8.3.4) made into a checked `Search`. How a
match key is compared is for ``matching`` to say."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from hilum.imaging.dicomweb.attributes import Attribute, Level, Vocabulary, is_known, reserved_block
from hilum.imaging.dicomweb.matching import Condition, Manner, check_path_uid, combined_range, is_list, match
from hilum.imaging.dicomweb.problems import BadRequest

MAX_VALUE: Final = 4096
MAX_KEYS: Final = 64
MAX_OFFSET: Final = 1 << 31
MAX_RESULTS: Final = 10_000
MAX_RESULTS_IN_STUDY: Final = 100_000
"""How many results one answer holds at most: few searches are unbounded by intent, but a study may be large."""

_FLAGS: Final = {"fuzzymatching": "fuzzy", "emptyvaluematching": "empty", "multiplevaluematching": "multiple"}
PARAMETERS: Final = ("limit", "offset", "includefield", *_FLAGS)
"""What a search takes beside the attributes to match."""
_UNMATCHED: Final = frozenset(("accept", *PARAMETERS))
_PAIRS: Final = (
    ("StudyDate", "StudyTime"),
    ("SeriesDate", "SeriesTime"),
    ("PerformedProcedureStepStartDate", "PerformedProcedureStepStartTime"),
)


@dataclass(frozen=True, slots=True)
class Search:
    """A QIDO-RS request.

    Attributes
    ----------
    level : Level
        Of the things that are searched.
    vocabulary : Vocabulary
        What can be asked for.
    study, series : str or None
        UIDs that the path fixes.
    conditions : tuple of Condition
        What must hold.
    included : frozenset of str
        Tags to return beside the usual ones, those matched and those of ``includefield``; of sequences the tag, of
        private attributes the key (see `hilum.imaging.dicom.paths`).
    include_all : bool
        Whether all that is known is to be returned.
    fixes_study, fixes_series : bool
        Whether path or query name the one study or series, whose own attributes are then not repeated in the answer.
    limit, offset : int
        The page.
    creators : mapping
        Private creators that the request names, by group and block as hexadecimal digits.
    matches_further : bool
        Whether a condition is on an attribute that the catalogue has no column for.
    """

    level: Level
    vocabulary: Vocabulary
    study: str | None = None
    series: str | None = None
    conditions: tuple[Condition, ...] = ()
    included: frozenset[str] = frozenset()
    include_all: bool = False
    fixes_study: bool = False
    fixes_series: bool = False
    limit: int = MAX_RESULTS
    offset: int = 0
    creators: Mapping[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    matches_further: bool = False


def parse_search(
    level: Level,
    parameters: Iterable[tuple[str, str]],
    vocabulary: Vocabulary,
    study: str | None = None,
    series: str | None = None,
) -> Search:
    """Read the query parameters of a search.

    Parameters
    ----------
    level : Level
        What is searched.
    parameters : iterable of (str, str)
        Name and value of each, decoded, in their order.
    vocabulary : Vocabulary
        What can be asked for.
    study, series : str, optional
        UIDs that the path fixes.

    Raises
    ------
    BadRequest
        A name is unknown, or a value is none of its attribute.
    """
    for uid in (study, series):
        if uid is not None:
            check_path_uid(uid)
    given = list(parameters)
    single = _single(given)
    most = MAX_RESULTS_IN_STUDY if study else MAX_RESULTS
    search = Search(
        level, vocabulary, study, series, fixes_study=bool(study), fixes_series=bool(series),
        limit=min(_number(single, "limit", most), most), offset=_number(single, "offset", 0),
        creators={block: value.strip() for name, value in single.items() if (block := reserved_block(name))},
    )  # fmt: skip
    manner = Manner(**{manner: _flag(single, name) for name, manner in _FLAGS.items()})
    for name, value in given:
        if name == "includefield":
            search = _include(search, value)
    keys = {name: value for name, value in single.items() if name not in _UNMATCHED and not reserved_block(name)}
    for name, value in keys.items():
        search = _match(search, name, value, manner)
    return _combine(search, keys)


def _single(given: list[tuple[str, str]]) -> dict[str, str]:
    """The parameters that may stand only once, each checked as text."""
    single: dict[str, str] = {}
    for name, value in given:
        if len(value) > MAX_VALUE or "\0" in value:
            raise BadRequest(f"The value of a query parameter has at most {MAX_VALUE} characters, none of them NUL.")
        if name in ("includefield", "accept"):
            continue
        if name in single:
            raise BadRequest(f"{_shown(name)} is given more than once.")
        single[name] = value
    if len(given) > MAX_KEYS:
        raise BadRequest(f"A search has at most {MAX_KEYS} query parameters.")
    return single


def _number(single: Mapping[str, str], name: str, default: int) -> int:
    value = single.get(name)
    if value is None:
        return default
    if not value.isascii() or not value.isdecimal() or int(value[:12]) > MAX_OFFSET:
        raise BadRequest(f"{name} is a whole number from 0 to {MAX_OFFSET}.")
    return int(value)


def _flag(single: Mapping[str, str], name: str) -> bool:
    value = single.get(name, "false").lower()
    if value not in ("true", "false"):
        raise BadRequest(f"{name} is true or false.")
    return value == "true"


def _include(search: Search, value: str) -> Search:
    """Take note of what to return; an attribute that is not kept is passed over (PS3.18 section 10.6.3.3)."""
    names = [name.strip() for name in value.split(",")]
    found: set[str] = set()
    for name in names:
        attribute = search.vocabulary.find(name)
        known = [attribute] if attribute else [*search.vocabulary.below(name), *_private(search, name)]
        found.update(_shown_as(each) for each in known)
    return replace(search, included=search.included | found, include_all=search.include_all or "all" in names)


def _private(search: Search, name: str) -> list[Attribute]:
    return search.vocabulary.private(name, search.creators)


def _shown_as(attribute: Attribute) -> str:
    return attribute.further.key if attribute.further else attribute.tag


def _match(search: Search, name: str, value: str, manner: Manner) -> Search:
    attribute = search.vocabulary.find(name)
    if attribute is None:
        if not value.strip(" *") and (below := search.vocabulary.below(name)):  # a sequence as such
            return replace(search, included=search.included | {_shown_as(each) for each in below})
        private = _private(search, name)
        if len(private) > 1:
            raise BadRequest(f"{_shown(name)} has several creators here; name one as the value of its block's element.")
        if not private:
            _refuse(name)
        attribute = private[0]
    if attribute.kind == "none":
        raise BadRequest(f"{attribute.keyword} can be included in an answer, but not searched by.")
    search = replace(search, included=search.included | {_shown_as(attribute)})
    value = value.strip(" ")
    if not value or not value.strip("*"):
        return search  # universal matching (PS3.4 section C.2.2.2.3)
    single = not is_list(value)
    return replace(
        search,
        conditions=(*search.conditions, *match(attribute, value, manner)),
        matches_further=search.matches_further or attribute.further is not None,
        fixes_study=search.fixes_study or (attribute.keyword == "StudyInstanceUID" and single),
        fixes_series=search.fixes_series or (attribute.keyword == "SeriesInstanceUID" and single),
    )


def _refuse(name: str) -> None:
    if is_known(name) or "." in name:
        raise BadRequest(
            f"Hilum does not keep {_shown(name)} in its catalogue, so it cannot be searched by; the setting "
            "HILUM_QIDO_ATTRIBUTES names what is kept beside the usual."
        )
    raise BadRequest(f"{_shown(name)} is neither a DICOM keyword, a tag of eight digits, nor a search parameter.")


def _combine(search: Search, keys: Mapping[str, str]) -> Search:
    """A date and a time that both are ranges of one form are one range of moments (PS3.4 section C.2.2.2.5.4)."""
    named = {found.keyword: value for name, value in keys.items() if (found := search.vocabulary.find(name))}
    for date_key, time_key in _PAIRS:
        if date_key in named and time_key in named:
            day, clock = search.vocabulary.named[date_key], search.vocabulary.named[time_key]
            joined = combined_range(day, clock, named[date_key].strip(), named[time_key].strip())
            if joined is not None:
                others = [each for each in search.conditions if each.attribute not in (day, clock)]
                search = replace(search, conditions=(*others, joined))
    return search


def _shown(name: str) -> str:
    """A parameter's name for an error: as it came if it looks like one, for it may be anything."""
    return f"'{name}'" if re.fullmatch(r"[0-9A-Za-z_.-]{1,64}", name) else "A query parameter"
