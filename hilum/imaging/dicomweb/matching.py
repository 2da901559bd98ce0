"""What a QIDO-RS request asks for: its query parameters (PS3.18 section 8.3.4) made into a checked `Search`, and each
match key into a condition in SQL with the semantics of PS3.4 section C.2.2.2."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, time
from typing import Final, LiteralString

from hilum.imaging.dicom.names import parse_date, parse_time
from hilum.imaging.dicom.uids import check_uid
from hilum.imaging.dicomweb.attributes import Attribute, Kind, Level, find_attribute, is_known
from hilum.imaging.dicomweb.problems import BadRequest

MAX_VALUE: Final = 4096
MAX_OFFSET: Final = 1 << 31
# How many results one answer holds at most: few searches are unbounded by intent, but a study may be large.
MAX_RESULTS: Final = 10_000
MAX_RESULTS_IN_STUDY: Final = 100_000

_FLAGS: Final = {
    "fuzzymatching": "The fuzzymatching parameter is not supported. Only literal matching has been performed.",
    "emptyvaluematching": "The emptyvaluematching parameter is not supported. Empty Value Matching has not been "
    "performed.",
    "multiplevaluematching": "The multiplevaluematching parameter is not supported. Multiple Value Matching has not "
    "been performed.",
}
_LIST: Final = re.compile(r"[,\\]")
_RANGE: Final = re.compile(r"([0-9.:]*)(-?)([0-9.:]*)")
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,10}")
_RUNS: Final = re.compile(r"[^*?^=\s]{3,}")
# Columns that study.search holds, folded, under a trigram index: a wildcard on them need not read every study.
_INDEXED: Final = frozenset(
    ("st.study_description", "st.accession_number", "st.facility", "st.patient_id", "st.study_instance_uid")
)


@dataclass(frozen=True, slots=True)
class Condition:
    """A piece of SQL on one attribute, with its parameters."""

    level: Level
    sql: LiteralString
    parameters: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Search:
    """A QIDO-RS request.

    Attributes
    ----------
    level : Level
        Of the things that are searched.
    study, series : str or None
        UIDs that the path fixes.
    conditions : tuple of Condition
        What must hold.
    included : frozenset of str
        Tags to return beside the usual ones: those matched, and those of ``includefield``.
    include_all : bool
        Whether all that is known is to be returned.
    fixes_study, fixes_series : bool
        Whether path or query name the one study or series, whose own attributes are then not repeated in the answer.
    limit, offset : int
        The page.
    warnings : tuple of str
        What was asked for and is not done.
    """

    level: Level
    study: str | None = None
    series: str | None = None
    conditions: tuple[Condition, ...] = ()
    included: frozenset[str] = frozenset()
    include_all: bool = False
    fixes_study: bool = False
    fixes_series: bool = False
    limit: int = MAX_RESULTS
    offset: int = 0
    warnings: tuple[str, ...] = ()


def parse_search(
    level: Level, parameters: Iterable[tuple[str, str]], study: str | None = None, series: str | None = None
) -> Search:
    """Read the query parameters of a search.

    Parameters
    ----------
    level : Level
        What is searched.
    parameters : iterable of (str, str)
        Name and value of each, decoded, in their order.
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
    most = MAX_RESULTS_IN_STUDY if study else MAX_RESULTS
    search = Search(level, study, series, fixes_study=bool(study), fixes_series=bool(series), limit=most)
    seen: set[str] = set()
    for name, value in parameters:
        if len(value) > MAX_VALUE or "\0" in value:
            raise BadRequest(f"The value of a query parameter has at most {MAX_VALUE} characters, none of them NUL.")
        if name == "includefield":
            search = _include(search, value)
            continue
        if name == "accept":
            continue
        if name in seen:
            raise BadRequest(f"{_shown(name)} is given more than once.")
        seen.add(name)
        if name in ("limit", "offset"):
            search = _page(search, name, value, most)
        elif name in _FLAGS:
            search = _flag(search, name, value)
        else:
            search = _match(search, name, value)
    return search


def check_path_uid(uid: str) -> None:
    """Refuse what stands in a path in a UID's place and is none.

    Raises
    ------
    BadRequest
        It is no UID.
    """
    if not check_uid(uid):
        raise BadRequest("What stands in the path in a UID's place is not a UID (PS3.5 section 9).")


def _include(search: Search, value: str) -> Search:
    names = [name.strip() for name in value.split(",")]
    found = {attribute.tag for name in names if (attribute := find_attribute(name))}
    include_all = search.include_all or "all" in names
    return replace(search, included=search.included | found, include_all=include_all)


def _page(search: Search, name: str, value: str, most: int) -> Search:
    if not value.isascii() or not value.isdecimal() or int(value[:12]) > MAX_OFFSET:
        raise BadRequest(f"{name} is a whole number from 0 to {MAX_OFFSET}.")
    return replace(search, limit=min(int(value), most)) if name == "limit" else replace(search, offset=int(value))


def _flag(search: Search, name: str, value: str) -> Search:
    if value.lower() not in ("true", "false"):
        raise BadRequest(f"{name} is true or false.")
    return replace(search, warnings=(*search.warnings, _FLAGS[name])) if value.lower() == "true" else search


def _match(search: Search, name: str, value: str) -> Search:
    attribute = find_attribute(name)
    if attribute is None:
        if is_known(name) or "." in name:
            raise BadRequest(f"Hilum does not keep {_shown(name)} in its catalogue, so it cannot be searched by.")
        raise BadRequest(f"{_shown(name)} is neither a DICOM keyword, a tag of eight digits, nor a search parameter.")
    if attribute.kind == "none":
        raise BadRequest(f"{attribute.keyword} can be included in an answer, but not searched by.")
    search = replace(search, included=search.included | {attribute.tag})
    value = value.strip(" ")
    if not value or not value.strip("*"):
        return search  # universal matching (PS3.4 section C.2.2.2.3)
    sql, parameters = _MATCHERS[attribute.kind](attribute, value)
    condition = Condition(attribute.level, sql, parameters)
    single = not _LIST.search(value)
    return replace(
        search,
        conditions=(*search.conditions, condition),
        fixes_study=search.fixes_study or (attribute.keyword == "StudyInstanceUID" and single),
        fixes_series=search.fixes_series or (attribute.keyword == "SeriesInstanceUID" and single),
    )


def _shown(name: str) -> str:
    """A parameter's name for an error: as it came if it looks like one, for it may be anything."""
    return f"'{name}'" if re.fullmatch(r"[0-9A-Za-z_.-]{1,64}", name) else "A query parameter"


_Sql = tuple[LiteralString, tuple[object, ...]]


def _text(attribute: Attribute, value: str) -> _Sql:
    column = attribute.column
    if not _has_wildcard(value):
        return f"{column} = %s", (value,)
    sql: LiteralString = f"{column} like %s"
    return _narrowed(column, value, sql, (_like(value),))


def _words(attribute: Attribute, value: str) -> _Sql:
    column = attribute.column
    sql: LiteralString = f"{column} ilike %s"
    return _narrowed(column, value, sql, (_like(value),))


def _name(attribute: Attribute, value: str) -> _Sql:
    """A person's name without regard to case and accents: the whole value, or one of its component groups."""
    column, pattern = attribute.column, _like(value.rstrip("^"))
    whole: LiteralString = f"hilum.fold({column})"
    sql: LiteralString = (
        f"{whole} like hilum.fold(%s) and (rtrim({whole}, '^= ') like hilum.fold(%s) or exists "
        f"(select from unnest(string_to_array({whole}, '=')) part where rtrim(part, '^ ') like hilum.fold(%s)))"
    )
    return sql, (f"%{pattern}%", pattern, pattern)


def _codes(attribute: Attribute, value: str) -> _Sql:
    values = _listed(value)
    if not any(_has_wildcard(one) for one in values):
        return f"{attribute.column} && %s::text[]", (values,)
    patterns = [_like(one) for one in values]
    return f"exists (select from unnest({attribute.column}) code where code like any(%s::text[]))", (patterns,)


def _uid(attribute: Attribute, value: str) -> _Sql:
    values = _listed(value)
    if not all(check_uid(one) for one in values):
        raise BadRequest(f"{attribute.keyword} is matched by one UID or by a list of them.")
    return f"{attribute.column} = any(%s::text[])", (values,)


def _date(attribute: Attribute, value: str) -> _Sql:
    def day(text: str, _last: bool) -> date:
        found = parse_date(text) if "." not in text else None
        if found is None:
            raise BadRequest(f"{attribute.keyword} is matched by a date YYYYMMDD or a range YYYYMMDD-YYYYMMDD.")
        return found

    return _between(attribute, value, day)


def _time(attribute: Attribute, value: str) -> _Sql:
    def clock(text: str, last: bool) -> time:
        plain = text.replace(":", "")
        whole = plain + "235959"[len(plain) :] + ".999999" if last and len(plain) in (2, 4, 6) else plain
        found = parse_time(whole)
        if found is None:
            raise BadRequest(f"{attribute.keyword} is matched by a time HHMMSS or a range HHMMSS-HHMMSS.")
        return found

    return _between(attribute, value, clock)


def _between(attribute: Attribute, value: str, read: Callable[[str, bool], object]) -> _Sql:
    """Range matching (PS3.4 section C.2.2.2.5); a single value of less than full precision is a range as well."""
    match = _RANGE.fullmatch(value)
    first, dash, last = match.groups() if match else ("", "", "")
    if not first and not last:
        raise BadRequest(f"{attribute.keyword} is matched by a value or a range, such as A-B, A- or -B.")
    if not dash:
        last = first
    bounds: list[tuple[LiteralString, object]] = []
    if first:
        bounds.append((f"{attribute.column} >= %s", read(first, False)))
    if last:
        bounds.append((f"{attribute.column} <= %s", read(last, True)))
    return " and ".join(sql for sql, _ in bounds), tuple(bound for _, bound in bounds)


def _integer(attribute: Attribute, value: str) -> _Sql:
    if not _INTEGER.fullmatch(value):
        raise BadRequest(f"{attribute.keyword} is matched by a whole number.")
    return f"{attribute.column} = %s", (int(value),)


def _no_match(attribute: Attribute, value: str) -> _Sql:
    raise AssertionError((attribute, value))


_MATCHERS: Final[dict[Kind, Callable[[Attribute, str], _Sql]]] = {
    "text": _text, "words": _words, "name": _name, "codes": _codes, "uid": _uid, "date": _date, "time": _time,
    "integer": _integer, "none": _no_match,
}  # fmt: skip


def _narrowed(column: LiteralString, value: str, sql: LiteralString, parameters: tuple[object, ...]) -> _Sql:
    """Let the trigram index find the candidates first, where it holds the column."""
    runs: Sequence[str] = _RUNS.findall(value) if column in _INDEXED else ()
    if not runs:
        return sql, parameters
    longest = max(runs, key=len)
    return f"st.search like hilum.fold(%s) and {sql}", (f"%{_escaped(longest)}%", *parameters)


def _has_wildcard(value: str) -> bool:
    return "*" in value or "?" in value


def _listed(value: str) -> list[str]:
    return [one.strip(" ") for one in _LIST.split(value) if one.strip(" ")]


def _like(value: str) -> str:
    return _escaped(value).replace("*", "%").replace("?", "_")


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
