"""How a match key of QIDO-RS is compared: its value made into conditions in SQL, with the semantics of PS3.4 section
C.2.2.2. Which keys there are is for ``attributes``, what a request asks for, for ``searching``."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, time
from typing import Final, LiteralString

from hilum.imaging.dicom.names import parse_date, parse_time
from hilum.imaging.dicom.uids import check_uid
from hilum.imaging.dicomweb.attributes import Attribute, Kind, Level
from hilum.imaging.dicomweb.problems import BadRequest

MAX_WORDS: Final = 16
MAX_LISTED: Final = 512

_LIST: Final = re.compile(r"[,\\]")
_RANGE: Final = re.compile(r"([0-9.:]*)(-?)([0-9.:]*)")
_MOMENT: Final = re.compile(
    r"([0-9]{4}(?:[0-9]{2}){0,5}(?:\.[0-9]{1,6})?)?(-?)([0-9]{4}(?:[0-9]{2}){0,5}(?:\.[0-9]{1,6})?)?"
)
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,10}")
_NUMBER: Final = re.compile(r"[+-]?[0-9]{0,30}\.?[0-9]{0,30}(?:[eE][+-]?[0-9]{1,2})?")
_RUNS: Final = re.compile(r"[^*?^=\s]{3,}")
_PARTS_OF_NAME: Final = re.compile(r"[\s^=*?,._-]+")
_EMPTY: Final = '""'
_LISTABLE: Final = frozenset(("text", "words", "name"))
# Columns that study.search holds, folded, under a trigram index: a wildcard on them need not read every study.
_INDEXED: Final = frozenset(
    ("st.study_description", "st.accession_number", "st.facility", "st.patient_id", "st.study_instance_uid")
)

_Sql = tuple[LiteralString, tuple[object, ...]]


@dataclass(frozen=True, slots=True)
class Manner:
    """Which of the extended ways of matching a request asks for (PS3.18 sections 8.3.4.2, 8.3.4.5 and 8.3.4.6)."""

    fuzzy: bool = False
    empty: bool = False
    multiple: bool = False


@dataclass(frozen=True, slots=True)
class Condition:
    """A piece of SQL on one attribute, with its parameters.

    Attributes
    ----------
    attribute : Attribute
        What it is about.
    sql : LiteralString
        Of the rows ``st``, ``se`` or ``i`` of its level.
    parameters : tuple
        Bound to it.
    items : str
        JSON path to the items of the sequence that it lies in, each an ``item`` in the SQL: conditions of one sequence
        must hold for one of its items (PS3.4 section C.2.2.2.6). Else empty.
    """

    attribute: Attribute
    sql: LiteralString
    parameters: tuple[object, ...]
    items: str = ""

    @property
    def level(self) -> Level:
        """Where its attribute lives."""
        return self.attribute.level


@dataclass(frozen=True, slots=True)
class _Operand:
    """What is compared: a column, or (``text``) the text of a value in JSON, of which ``v`` is the value."""

    keyword: str
    column: LiteralString
    codes: LiteralString = ""
    text: bool = False


def check_path_uid(uid: str) -> None:
    """Refuse what stands in a path in a UID's place and is none.

    Raises
    ------
    BadRequest
        It is no UID.
    """
    if not check_uid(uid):
        raise BadRequest("What stands in the path in a UID's place is not a UID (PS3.5 section 9).")


def is_list(value: str) -> bool:
    """Whether a value may be several."""
    return _LIST.search(value) is not None


def match(attribute: Attribute, value: str, manner: Manner) -> list[Condition]:
    """The conditions that a match key means.

    Parameters
    ----------
    attribute : Attribute
        The key.
    value : str
        What it is to be, not universal.
    manner : Manner
        Which extended ways of matching are asked for.

    Raises
    ------
    BadRequest
        The value is none of the attribute.
    """
    if manner.empty and value == _EMPTY:
        return [_is_empty(attribute)]
    if attribute.further is not None:
        return _match_json(attribute, value, manner)
    operand = _Operand(attribute.keyword, attribute.column, attribute.codes)
    if attribute.kind == "codes":
        sql, parameters = _codes(operand, value, every=manner.multiple)
    else:
        sql, parameters = _compare(attribute.kind, operand, value, manner)
    return [Condition(attribute, sql, parameters)]


def combined_range(day: Attribute, clock: Attribute, dates: str, times: str) -> Condition | None:
    """One range of moments from a range of dates and one of times, None when they are not ranges of one form."""
    ranges = [_RANGE.fullmatch(text) for text in (dates, times)]
    if any(found is None or not found[2] for found in ranges):
        return None
    (first_day, _, last_day), (first_clock, _, last_clock) = (found.groups() for found in ranges if found)
    if bool(first_day) != bool(first_clock) or bool(last_day) != bool(last_clock):
        return None
    moment: LiteralString = f"({day.column}, {clock.column})"
    sql: list[LiteralString] = []
    parameters: list[object] = []
    for sign, date_text, time_text in ((">=", first_day, first_clock), ("<=", last_day, last_clock)):
        if date_text:
            compared: LiteralString = ">=" if sign == ">=" else "<="
            sql.append(f"{day.column} {compared} %s and {moment} {compared} (%s, %s)")
            bound = _day(day.keyword, date_text)
            parameters.extend((bound, bound, _clock(clock.keyword, time_text, last=sign == "<=")))
    return Condition(day, " and ".join(sql), tuple(parameters))


def _is_empty(attribute: Attribute) -> Condition:
    """Empty Value Matching (PS3.4 section C.2.2.2.7): absent, or without a value."""
    column = attribute.column
    if attribute.further is not None:
        path = _json_path(attribute, attribute.further.tags)
        sql: LiteralString = f"not coalesce({column} @? %s::jsonpath, false)"
        return Condition(attribute, sql, (path,))
    if attribute.kind in ("date", "time", "integer"):
        return Condition(attribute, f"{column} is null", ())
    return Condition(attribute, f"{column} = '{{}}'" if attribute.kind == "codes" else f"{column} = ''", ())


def _compare(kind: Kind, operand: _Operand, value: str, manner: Manner) -> _Sql:
    """One condition for a value, or for a list of them parted by backslashes, of which any may match."""
    values = _listed_texts(value) if kind in _LISTABLE else [value]
    found = [_of_kind(kind, operand, each, manner) for each in values]
    if len(found) == 1:
        return found[0]
    return " or ".join([f"({sql})" for sql, _ in found]), tuple(each for _, some in found for each in some)


def _of_kind(kind: Kind, operand: _Operand, value: str, manner: Manner) -> _Sql:
    if kind == "name" and manner.fuzzy:
        return _fuzzy(operand, value)
    return _MATCHERS[kind](operand, value)


def _match_json(attribute: Attribute, value: str, manner: Manner) -> list[Condition]:
    """Conditions on what `hilum.imaging.archive.further` keeps: a value, in an item if it lies in a sequence."""
    path = attribute.further
    assert path is not None
    nested = len(path.tags) > 1
    items = _json_path(attribute, path.tags[:-1]) if nested else ""
    leaf = f'$."{path.tags[-1]:08X}"."Value"[*]' if nested else _json_path(attribute, path.tags)
    if attribute.kind == "name":
        leaf += ".*"
    place: LiteralString = "item" if nested else attribute.column
    operand = _Operand(attribute.keyword, "part", text=True)
    every = manner.multiple and attribute.kind in _LISTABLE
    found: list[Condition] = []
    for each in _listed_texts(value) if every else [value]:
        sql, parameters = _compare(attribute.kind, operand, each, manner)
        exists: LiteralString = (
            f"exists (select from jsonb_path_query({place}, %s::jsonpath) v, lateral (select v #>> '{{}}' as part) one "
            f"where {sql})"
        )
        found.append(Condition(attribute, exists, (leaf, *parameters), items))
    return found + _indexed(attribute, value)


def _indexed(attribute: Attribute, value: str) -> list[Condition]:
    """For a single value that must be equal: the same asked so that the index of the JSON answers."""
    plain = attribute.kind in ("text", "uid") and not is_list(value) and not _has_wildcard(value)
    if not plain or attribute.further is None:
        return []
    path = f"{_json_path(attribute, attribute.further.tags)} ? (@ == {json.dumps(value)})"
    return [Condition(attribute, f"{attribute.column} @? %s::jsonpath", (path,))]


def _json_path(attribute: Attribute, tags: Sequence[int]) -> str:
    """The path to the values of a tag, through the items of the sequences around it."""
    assert attribute.further is not None
    names = [attribute.further.key, *(f"{tag:08X}" for tag in tags[1:])]
    return "$" + "".join(f'.{json.dumps(name)}."Value"[*]' for name in names)


def _text(operand: _Operand, value: str) -> _Sql:
    column = operand.column
    if not _has_wildcard(value):
        return f"{column} = %s", (value,)
    sql: LiteralString = f"{column} like %s"
    return _narrowed(column, value, sql, (_like(value),))


def _words(operand: _Operand, value: str) -> _Sql:
    column = operand.column
    sql: LiteralString = f"{column} ilike %s"
    return _narrowed(column, value, sql, (_like(value),))


def _name(operand: _Operand, value: str) -> _Sql:
    """A person's name without regard to case and accents: the whole value, or one of its component groups."""
    column, pattern = operand.column, _like(value.rstrip("^"))
    whole: LiteralString = f"hilum.fold({column})"
    sql: LiteralString = (
        f"{whole} like hilum.fold(%s) and (rtrim({whole}, '^= ') like hilum.fold(%s) or exists "
        f"(select from unnest(string_to_array({whole}, '=')) one_group "
        "where rtrim(one_group, '^ ') like hilum.fold(%s)))"
    )
    return sql, (f"%{pattern}%", pattern, pattern)


def _fuzzy(operand: _Operand, value: str) -> _Sql:
    """A name as it is written, or one of whose words each word asked for sounds like one, or begins one."""
    literal, given = _name(operand, value)
    words = [word for word in _PARTS_OF_NAME.split(value) if word][:MAX_WORDS]
    if not words:
        return literal, given
    codes: LiteralString = operand.codes or f"hilum.name_codes({operand.column})"
    name: LiteralString = f"hilum.fold({operand.column})"
    one: LiteralString = (
        f"({codes} && hilum.name_codes(%s) or {name} like hilum.fold(%s) or {name} like hilum.fold(%s) "
        f"or {name} like hilum.fold(%s) or {name} like hilum.fold(%s) or {name} like hilum.fold(%s))"
    )
    parameters: list[object] = []
    for word in words:
        start = f"{_escaped(word)}%"
        parameters.extend((word, start, f"%^{start}", f"%={start}", f"% {start}", f"%-{start}"))
    sounds: LiteralString = " and ".join([one for _ in words])
    return f"({literal}) or ({sounds})", (*given, *parameters)


def _codes(operand: _Operand, value: str, *, every: bool) -> _Sql:
    """Codes of several: any of those asked for, or (Multiple Value Matching, PS3.4 section C.2.2.2.8) every one."""
    values = _listed(value)
    column = operand.column
    if not any(_has_wildcard(one) for one in values):
        operator: LiteralString = "@>" if every else "&&"
        return f"{column} {operator} %s::text[]", (values,)
    patterns = [_like(one) for one in values]
    found: LiteralString = f"exists (select from unnest({column}) code where code like any(%s::text[]))"
    if not every:
        return found, (patterns,)
    return " and ".join([found for _ in patterns]), tuple([one] for one in patterns)


def _uid(operand: _Operand, value: str) -> _Sql:
    values = _listed(value)
    if not values or not all(check_uid(one) for one in values):
        raise BadRequest(f"{operand.keyword} is matched by one UID or by a list of them.")
    return f"{operand.column} = any(%s::text[])", (values,)


def _day(keyword: str, text: str) -> date:
    found = parse_date(text) if "." not in text else None
    if found is None:
        raise BadRequest(f"{keyword} is matched by a date YYYYMMDD or a range YYYYMMDD-YYYYMMDD.")
    return found


def _clock(keyword: str, text: str, *, last: bool) -> time:
    """A time; what it leaves open is filled up to the last moment, or with nothing."""
    plain = text.replace(":", "")
    whole = plain + "235959"[len(plain) :] + ".999999" if last and len(plain) in (2, 4, 6) else plain
    found = parse_time(whole)
    if found is None:
        raise BadRequest(f"{keyword} is matched by a time HHMMSS or a range HHMMSS-HHMMSS.")
    return found


def _date(operand: _Operand, value: str) -> _Sql:
    def day(text: str, *, last: bool) -> object:  # noqa: ARG001
        found = _day(operand.keyword, text)
        return found.strftime("%Y%m%d") if operand.text else found

    return _between(operand, value, day)


def _time(operand: _Operand, value: str) -> _Sql:
    def clock(text: str, *, last: bool) -> object:
        found = _clock(operand.keyword, text, last=last)
        return found.strftime("%H%M%S.%f" if last else "%H%M%S") if operand.text else found

    return _between(operand, value, clock)


def _between(operand: _Operand, value: str, read: Callable[..., object]) -> _Sql:
    """Range matching (PS3.4 section C.2.2.2.5); a single value of less than full precision is a range as well."""
    match = _RANGE.fullmatch(value)
    first, dash, last = match.groups() if match else ("", "", "")
    if not first and not last:
        raise BadRequest(f"{operand.keyword} is matched by a value or a range, such as A-B, A- or -B.")
    return _bounded(operand, first, last if dash else first, read)


def _bounded(operand: _Operand, first: str, last: str, read: Callable[..., object]) -> _Sql:
    bounds: list[tuple[LiteralString, object]] = []
    if first:
        bounds.append((f"{operand.column} >= %s", read(first, last=False)))
    if last:
        bounds.append((f"{operand.column} <= %s", read(last, last=True)))
    return " and ".join([sql for sql, _ in bounds]), tuple(bound for _, bound in bounds)


def _datetime(operand: _Operand, value: str) -> _Sql:
    """Moments as they are written, so without regard to their offset; what one leaves open is filled up."""

    def moment(text: str, *, last: bool) -> object:
        digits = text.partition(".")[0]
        if not last:
            return text
        return text if "." in text else digits + "99991231235959"[len(digits) :] + ".999999"

    match = _MOMENT.fullmatch(value)
    first, dash, last = match.groups(default="") if match else ("", "", "")
    if not first and not last:
        raise BadRequest(f"{operand.keyword} is matched by a moment YYYYMMDDHHMMSS or a range of two.")
    return _bounded(operand, first, last if dash else first, moment)


def _integer(operand: _Operand, value: str) -> _Sql:
    if not _INTEGER.fullmatch(value):
        raise BadRequest(f"{operand.keyword} is matched by a whole number.")
    return f"{operand.column} = %s", (str(int(value)) if operand.text else int(value),)


def _number(operand: _Operand, value: str) -> _Sql:
    if not _NUMBER.fullmatch(value) or not any(digit in value for digit in "0123456789"):
        raise BadRequest(f"{operand.keyword} is matched by a number.")
    return "case when jsonb_typeof(v) = 'number' then part::numeric = %s::numeric else false end", (value,)


_MATCHERS: Final[dict[Kind, Callable[[_Operand, str], _Sql]]] = {
    "text": _text, "words": _words, "name": _name, "uid": _uid, "date": _date, "time": _time, "datetime": _datetime,
    "integer": _integer, "number": _number,
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
    found = [one.strip(" ") for one in _LIST.split(value) if one.strip(" ")]
    if len(found) > MAX_LISTED:
        raise BadRequest(f"A list has at most {MAX_LISTED} values.")
    return found


def _listed_texts(value: str) -> list[str]:
    """Values of a text, which only a backslash parts; those of names and texts may hold commas."""
    found = [one.strip(" ") for one in value.split("\\") if one.strip(" ")]
    if len(found) > MAX_WORDS:
        raise BadRequest(f"A list of texts has at most {MAX_WORDS} values.")
    return found or [value]


def _like(value: str) -> str:
    return _escaped(value).replace("*", "%").replace("?", "_")


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
