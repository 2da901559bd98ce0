"""Searches of the worklist (PS3.18 sections 8.3.4 and 11.9): query parameters made into conditions in SQL with the
matching of PS3.4 section C.2.2.2, on any attribute and along paths of sequences; the same for the filters of
subscriptions."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, LiteralString, cast

import psycopg

from hilum.imaging.dicom.names import parse_date, parse_datetime, parse_time
from hilum.imaging.dicom.uids import check_uid
from hilum.imaging.worklist.dataset import DataSet, named, representations, tag_of
from hilum.imaging.worklist.problems import bad
from hilum.imaging.worklist.requirements import ALWAYS, GIVEN, SOP_INSTANCE_UID, STATE, TRANSACTION_UID, empty

MAX_RESULTS: Final = 1000
MAX_OFFSET: Final = 1 << 31
MAX_KEYS: Final = 32
MAX_VALUE: Final = 1024
MAX_WILDCARDS: Final = 16
MAX_PATH: Final = 6

NOT_DONE: Final = {
    "fuzzymatching": "The fuzzymatching parameter is not supported. Only literal matching has been performed.",
    "emptyvaluematching": "The emptyvaluematching parameter is not supported. Empty Value Matching has not been "
    "performed.",
    "multiplevaluematching": "The multiplevaluematching parameter is not supported. Multiple Value Matching has not "
    "been performed.",
}
PARAMETERS: Final = ("limit", "offset", "includefield", *NOT_DONE)
"""What a search takes beside the attributes to match."""
_ELSEWHERE: Final = ("accept", "charset")
_NUMBERS: Final = frozenset(("DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV"))
_FREE: Final = frozenset(("LT", "ST", "UC", "UR", "UT"))
_UNMATCHED: Final = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN", "AT"))
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,15}(?:\.[0-9]{1,15})?")
# A minus may part a range or begin an offset from UTC; what could be either is the offset.
_RANGE: Final = re.compile(r"([0-9.+:]*(?:-(?:0[0-9]|1[0-2])[0-5][0-9](?=-|$))?)(-?)([0-9.+:]*(?:-[0-9]{4})?)")
_FILTER_BREAK: Final = re.compile(r",(?=[0-9A-Za-z.]+=)")
_SPANS: Final = {8: timedelta(days=1), 10: timedelta(hours=1), 12: timedelta(minutes=1), 14: timedelta(seconds=1)}

Sql = tuple[LiteralString, tuple[object, ...]]


@dataclass(frozen=True, slots=True)
class Search:
    """A search of the worklist.

    Attributes
    ----------
    conditions : tuple of (str, tuple)
        SQL on a ``workitem`` called w, each with its parameters.
    included : frozenset of str
        Tags of attributes to give beside the usual ones.
    include_all : bool
        Whether to give all.
    limit, offset : int
        The page.
    warnings : tuple of str
        What was asked for and is not done, in the words of section 8.3.4.
    """

    conditions: tuple[Sql, ...]
    included: frozenset[str]
    include_all: bool
    limit: int
    offset: int
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """A page of workitems, and how many match in all."""

    items: list[DataSet]
    total: int


def parse_search(parameters: Iterable[tuple[str, str]]) -> Search:
    """Read the query parameters of a search.

    Raises
    ------
    Refusal
        A name is unknown, a value is none of its attribute, or there is too much of either.
    """
    keys: list[tuple[str, str]] = []
    included: set[str] = set()
    warnings: list[str] = []
    include_all = False
    page = {"limit": MAX_RESULTS, "offset": 0}
    for name, value in parameters:
        if name == "includefield":
            names = [one.strip() for one in value.split(",") if one.strip()]
            include_all = include_all or "all" in names
            included |= {path[0] for one in names if one != "all" for path in [_path(one)]}
        elif name in page:
            page[name] = _whole(name, value)
        elif name in NOT_DONE:
            if value.lower() not in ("true", "false"):
                raise bad(f"{name} is true or false.")
            if value.lower() == "true":
                warnings.append(NOT_DONE[name])
        elif name not in _ELSEWHERE:
            keys.append((name, value))
    included |= {_path(name)[0] for name, _ in keys}
    return Search(
        parse_keys(keys),
        frozenset(included),
        include_all,
        min(page["limit"], MAX_RESULTS),
        page["offset"],
        tuple(warnings),
    )


def parse_keys(keys: Sequence[tuple[str, str]]) -> tuple[Sql, ...]:
    """Make conditions of matching keys, of a search as well as of a filter.

    Raises
    ------
    Refusal
        As of `parse_search`.
    """
    if len(keys) > MAX_KEYS:
        raise bad(f"A search has at most {MAX_KEYS} matching keys.")
    names = [name for name, _ in keys]
    if len(set(names)) < len(names):
        raise bad("A matching key is given more than once.")
    found = (_condition(name, value) for name, value in keys)
    return tuple(one for one in found if one is not None)


def parse_filter(parameters: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The matching keys of a filtered subscription: ``filter=name=value,name=value``, or plain parameters.

    Raises
    ------
    Refusal
        There is none, or one is not of this form.
    """
    keys: list[tuple[str, str]] = []
    for name, value in parameters:
        if name == "filter":
            for part in _FILTER_BREAK.split(value):
                key, equals, wanted = part.partition("=")
                if not equals:
                    raise bad("A filter is a list of attribute=value, separated by commas (PS3.18 section 11.10).")
                keys.append((key.strip(), wanted))
        elif name not in ("deletionlock", *_ELSEWHERE):
            keys.append((name, value))
    if not keys:
        raise bad("A filtered subscription needs a filter: ?filter=attribute=value,attribute=value.")
    parse_keys(keys)
    return keys


def find(driver: psycopg.Connection, source: int, wanted: Search) -> Found:
    """Search the workitems of a source: the most urgent first, of equal ones the oldest."""
    where: LiteralString = "w.source_id = %s and w.deleted_at is null"
    parameters: tuple[object, ...] = (source,)
    for sql, values in wanted.conditions:
        where = f"{where} and {sql}"
        parameters = (*parameters, *values)
    with driver.cursor() as cursor:
        cursor.execute(
            f"select w.attributes from hilum.workitem w where {where} order by w.rank, w.id limit %s offset %s",
            (*parameters, wanted.limit, wanted.offset),
        )
        items = [cast("DataSet", row[0]) for row in cursor]
        total = wanted.offset + len(items)
        if len(items) == wanted.limit or (not items and wanted.offset):
            cursor.execute(f"select count(*) from hilum.workitem w where {where}", parameters)
            (total,) = cast("tuple[int]", cursor.fetchone())
    return Found([give(item, wanted) for item in items], total)


def give(item: DataSet, wanted: Search) -> DataSet:
    """What a search tells of a workitem; attributes that are always told are there, if only empty."""
    if wanted.include_all:
        chosen = dict(item)
    else:
        chosen = {tag: item[tag] for tag in (GIVEN | wanted.included) & item.keys()}
        chosen = {tag: one for tag, one in chosen.items() if tag in ALWAYS or tag in wanted.included or len(one) > 1}
    for tag in ALWAYS:
        if tag not in chosen:
            chosen[tag] = empty(tag)
    return dict(sorted(chosen.items()))


def _whole(name: str, value: str) -> int:
    if not value.isascii() or not value.isdecimal() or int(value[:12]) > MAX_OFFSET:
        raise bad(f"{name} is a whole number from 0 to {MAX_OFFSET}.")
    return int(value)


def _path(name: str) -> list[str]:
    """The tags of an attribute's path: keywords or tags with points between, all but the last of sequences."""
    parts = name.split(".")
    tags = [tag_of(part) for part in parts]
    if len(parts) > MAX_PATH or not all(tags):
        shown = f"'{name}'" if re.fullmatch(r"[0-9A-Za-z_.-]{1,128}", name) else "A query parameter"
        raise bad(f"{shown} is neither the path of an attribute (keyword or tag) nor a search parameter.")
    path = cast("list[str]", tags)
    if any(representations(tag) != ("SQ",) for tag in path[:-1]):
        raise bad("In the path of an attribute all but the last are sequences.")
    if TRANSACTION_UID in path:
        raise bad("The Transaction UID cannot be queried (PS3.4 table CC.2.5-3).")
    return path


def _condition(name: str, value: str) -> Sql | None:
    """The condition of a key, None for universal matching."""
    path = _path(name)
    if len(value) > MAX_VALUE or "\0" in value or value.count("*") > MAX_WILDCARDS:
        raise bad(f"A value has at most {MAX_VALUE} characters, {MAX_WILDCARDS} of them *, none NUL.")
    value = value.strip(" ")
    if not value.strip("*"):
        return None
    if path == [STATE] and not _has_wildcard(value):
        return "w.state = %s", (value,)
    if path == [SOP_INSTANCE_UID]:
        return "w.uid = any(%s)", (_uids(path[-1], value),)
    vr = representations(path[-1])[0]
    if vr == "SQ" or vr in _UNMATCHED:
        raise bad(f"{named(path[-1])} cannot be searched by its value; a sequence by a path into it.")
    sql, parameters = _MATCHERS.get(vr, _number if vr in _NUMBERS else _words if vr in _FREE else _exact)(
        path[-1], value
    )
    steps = ".".join(f'"{tag}"."Value"[*]' for tag in path)
    return f"exists (select from jsonb_path_query(w.attributes, %s::jsonpath) v where {sql})", (
        f"$.{steps}",
        *parameters,
    )


def _exact(_: str, value: str) -> Sql:
    return "v #>> '{}' like %s", (_like(value),)


def _words(_: str, value: str) -> Sql:
    return "v #>> '{}' ilike %s", (_like(value),)


def _person(_: str, value: str) -> Sql:
    """A name without regard to case and accents, as a whole component group."""
    pattern = _like(value.rstrip("^"))
    sql: LiteralString = (
        "exists (select from jsonb_each_text(v) g where rtrim(hilum.fold(g.value), '^ ') like hilum.fold(%s))"
    )
    return sql, (pattern,)


def _uid(tag: str, value: str) -> Sql:
    return "v #>> '{}' = any(%s)", (_uids(tag, value),)


def _uids(tag: str, value: str) -> list[str]:
    values = [one.strip() for one in re.split(r"[,\\]", value) if one.strip()]
    if not values or not all(check_uid(one) for one in values):
        raise bad(f"{named(tag)} is matched by one UID or by a list of them.")
    return values


def _number(tag: str, value: str) -> Sql:
    if not _NUMBER.fullmatch(value):
        raise bad(f"{named(tag)} is matched by a number.")
    return "v = to_jsonb(%s::numeric)", (value,)


def _moment(tag: str, value: str) -> Sql:
    first, last = _range(tag, value)
    low, high = _bounds(tag, first), _bounds(tag, last)
    sql: LiteralString = "hilum.dicom_moment(v #>> '{}') between %s and %s"
    return sql, (low[0] if low else "-infinity", high[1] if high else "infinity")


def _bounds(tag: str, text: str) -> tuple[datetime, datetime] | None:
    """The first and the last moment that a DT of any precision means; None for an open end."""
    if not text:
        return None
    found = parse_datetime(text)
    if found is None:
        raise bad(f"{named(tag)} is matched by a date and time YYYYMMDDHHMMSS, by part of one, or by a range A-B.")
    moment = found if found.tzinfo else found.replace(tzinfo=UTC)
    digits = len(re.split(r"[.+-]", text)[0])
    if digits == 4:
        end = moment.replace(year=min(moment.year + 1, 9999))
    elif digits == 6:
        end = (moment.replace(day=28) + timedelta(days=4)).replace(day=1)
    else:
        end = moment + _SPANS[digits]
    if "." in text:
        return moment, moment
    return moment, end - timedelta(microseconds=1)


def _plain(check: Callable[[str], object], fill: str) -> Callable[[str, str], Sql]:
    """Ranges of what is in order as text: dates, and times of one precision or another."""

    def match(tag: str, value: str) -> Sql:
        first, last = _range(tag, value.replace(":", ""))
        for bound in (first, last):
            if bound and not check(bound):
                raise bad(f"{named(tag)} is matched by a value or a range, such as A-B, A- or -B.")
        high = (last or "9") + (fill[len(last) :] if "." not in last else "")
        return "v #>> '{}' collate \"C\" between %s and %s", (first, high)

    return match


def _range(tag: str, value: str) -> tuple[str, str]:
    match = _RANGE.fullmatch(value)
    first, dash, last = match.groups() if match else ("", "", "")
    if not first and not last:
        raise bad(f"{named(tag)} is matched by a value or a range, such as A-B, A- or -B.")
    return first, last if dash else first


def _has_wildcard(value: str) -> bool:
    return "*" in value or "?" in value


def _like(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return re.sub(r"\*+", "%", escaped).replace("?", "_")


_MATCHERS: Final[Mapping[str, Callable[[str, str], Sql]]] = {
    "PN": _person,
    "UI": _uid,
    "DT": _moment,
    "DA": _plain(parse_date, "99999999"),
    "TM": _plain(parse_time, "235959.999999"),
}
