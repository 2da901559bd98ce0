"""QIDO-RS (PS3.18 section 10.6): a `Search` asked of the catalogue, its rows made into DICOM JSON. A study's attributes
lie ready in ``study_json`` and are only spliced; a series' and an instance's are made from narrow rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, time
from typing import Final, LiteralString, cast

import msgspec
import sqlalchemy as sa

from hilum.imaging.archive.study_json import da, element, tm
from hilum.imaging.dicomweb.attributes import Attribute, Level, of_level
from hilum.imaging.dicomweb.matching import Search
from hilum.imaging.dicomweb.syntaxes import available_syntax

_URL: Final = "00081190"
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

_FROM: Final[dict[Level, LiteralString]] = {
    Level.STUDY: "hilum.study st",
    Level.SERIES: "hilum.study st join hilum.series se on se.study_id = st.id",
    Level.INSTANCE: "hilum.study st join hilum.series se on se.study_id = st.id "
    "join hilum.instance i on i.series_id = se.id",
}
# Latest first; what has no date comes last. The last key makes the order total, so that pages never overlap.
_ORDER: Final[dict[Level, LiteralString]] = {
    Level.STUDY: "st.study_date desc nulls last, st.id desc",
    Level.SERIES: "st.study_date desc nulls last, st.id desc, se.series_number nulls last, se.id",
    Level.INSTANCE: "st.study_date desc nulls last, st.id desc, se.series_number nulls last, se.id, "
    "i.instance_number nulls last, i.id",
}
_KEY: Final[dict[Level, LiteralString]] = {Level.STUDY: "st.id", Level.SERIES: "se.id", Level.INSTANCE: "i.id"}


@dataclass(frozen=True, slots=True)
class Page:
    """One page of results.

    Attributes
    ----------
    body : bytes
        A JSON array of DICOM JSON objects.
    count : int
        How many it holds.
    total : int
        How many match in all.
    """

    body: bytes
    count: int
    total: int


@dataclass(frozen=True, slots=True)
class _Statement:
    where: LiteralString
    parameters: tuple[object, ...]


def search(connection: sa.Connection, source: str, wanted: Search, root: str) -> Page:
    """Answer a search.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        The catalogue.
    source : str
        Key of the source that is searched.
    wanted : Search
        What is asked.
    root : str
        Base URL of the DICOMweb service, for the Retrieve URLs.
    """
    statement = _statement(source, wanted)
    driver = connection.connection.driver_connection
    assert driver is not None
    with driver.cursor() as cursor:
        rows: Sequence[tuple[object, ...]] = []
        if wanted.limit:
            cursor.execute(*_page_query(wanted, statement))
            rows = cast("Sequence[tuple[object, ...]]", cursor.fetchall())
        total = wanted.offset + len(rows)
        if len(rows) == wanted.limit or (not rows and wanted.offset):
            cursor.execute(f"select count(*) from {_FROM[wanted.level]} where {statement.where}", statement.parameters)
            (total,) = cast("tuple[int]", cursor.fetchone())
    objects = _studies(rows, root) if wanted.level == Level.STUDY else _lower(rows, wanted, root)
    return Page(b"[" + b",".join(objects) + b"]", len(rows), total)


def _statement(source: str, wanted: Search) -> _Statement:
    where: list[LiteralString] = [
        "st.source_id = (select id from hilum.source where key = %s)",
        "i.deleted_at is null" if wanted.level == Level.INSTANCE else "st.deleted_at is null",
    ]
    parameters: list[object] = [source]
    if wanted.study:
        where.append("st.study_instance_uid = %s")
        parameters.append(wanted.study)
    if wanted.series:
        where.append("se.series_instance_uid = %s")
        parameters.append(wanted.series)
    for condition in wanted.conditions:
        where.append(_lifted(wanted.level, condition.level, condition.sql))
        parameters.extend(condition.parameters)
    return _Statement(" and ".join(where), tuple(parameters))


def _lifted(level: Level, lives_at: Level, sql: LiteralString) -> LiteralString:
    """A condition on something below the level that is searched asks whether one such thing is there."""
    if lives_at <= level:
        return sql
    if lives_at == Level.SERIES:
        return f"exists (select from hilum.series se where se.study_id = st.id and {sql})"
    owner: LiteralString = "i.study_id = st.id" if level == Level.STUDY else "i.series_id = se.id"
    return f"exists (select from hilum.instance i where {owner} and {sql})"


def _page_query(wanted: Search, statement: _Statement) -> tuple[LiteralString, tuple[object, ...]]:
    """Keys of the page first, from rows that are read in any case; then what is shown, for those alone."""
    level = wanted.level
    keys: LiteralString = (
        f"select {_KEY[level]} as key from {_FROM[level]} where {statement.where} "
        f"order by {_ORDER[level]} limit %s offset %s"
    )
    columns: list[LiteralString] = ["st.study_instance_uid"]
    joined: LiteralString = f"({keys}) page join {_FROM[level]} on {_KEY[level]} = page.key"
    if level == Level.STUDY:
        columns.append("j.attributes")
    else:
        columns.append("j.attributes" if _needs_study(wanted) else "''")
        columns.extend(one.column for one in _shown(wanted))
    query: LiteralString = (
        f"select {', '.join(columns)} from {joined} join hilum.study_json j on j.study_id = st.id "
        f"order by {_ORDER[level]}"
    )
    return query, (*statement.parameters, wanted.limit, wanted.offset)


def _studies(rows: Sequence[tuple[object, ...]], root: str) -> list[bytes]:
    """The ready-made objects with the Retrieve URL in its place before (0010,0010), which every one of them has."""
    parts: list[bytes] = []
    for uid, attributes in cast("Sequence[tuple[str, str]]", rows):
        url = f',"{_URL}":{{"vr":"UR","Value":["{root}/studies/{uid}"]}},"00100010":'
        parts.append(attributes.replace(',"00100010":', url, 1).encode())
    return parts


def _lower(rows: Sequence[tuple[object, ...]], wanted: Search, root: str) -> list[bytes]:
    """Series and instances. The plan is in the order of the tags, so that an object needs no sorting."""
    shown = _shown(wanted)
    places = {one.keyword: place for place, one in enumerate(shown, start=2)}
    series_at, instance_at = places["SeriesInstanceUID"], places.get("SOPInstanceUID")
    plan: list[tuple[str, int, Attribute | None]] = sorted(
        [(one.tag, place, one) for place, one in enumerate(shown, start=2)] + [("0020000D", 0, None), (_URL, 0, None)],
        key=lambda step: step[0],
    )
    parents = _study_tags(wanted)
    objects: list[bytes] = []
    for row in rows:
        url = f"{root}/studies/{row[0]}/series/{row[series_at]}"
        own: dict[str, object] = {}
        if instance_at is not None:
            url = f"{url}/instances/{row[instance_at]}"
        for tag, place, one in plan:
            if one is None:
                own[tag] = _single("UR", url) if tag == _URL else _single("UI", row[0])
            elif (value := row[place]) is not None and value != "":
                own[tag] = _element(one, value)
            elif one.given == "always" or tag in wanted.included:
                own[tag] = {"vr": one.vr}
        if row[1]:
            known = _decode(cast("str", row[1]))
            kept = known if parents is None else {tag: known[tag] for tag in parents if tag in known}
            own = dict(sorted((kept | own).items()))
        objects.append(_encode(own))
    return objects


def _single(vr: str, value: object) -> dict[str, object]:
    return {"vr": vr, "Value": [value]}


def _element(attribute: Attribute, value: object) -> dict[str, object]:
    vr = attribute.vr
    if isinstance(value, int):
        return _single(vr, value)
    if isinstance(value, str):
        if attribute.keyword == "AvailableTransferSyntaxUID":
            return _single(vr, available_syntax(value))
        return element(vr, *value.split("\\")) if "\\" in value else _single(vr, value)
    if isinstance(value, list):
        return element(vr, *cast("list[object]", value))
    return element(vr, da(value) if isinstance(value, date) else tm(value) if isinstance(value, time) else value)


def _shown(wanted: Search) -> tuple[Attribute, ...]:
    """The series' and instance's attributes that the answer needs, in a fixed order."""
    shown: list[Attribute] = []
    for level in (Level.SERIES, Level.INSTANCE):
        if level > wanted.level:
            break
        own = level == wanted.level
        hidden = not own and wanted.fixes_series
        for one in of_level(level):
            usual = one.given != "asked" and not hidden
            asked = one.tag in wanted.included or (wanted.include_all and not hidden)
            if usual or asked or one.keyword == "SeriesInstanceUID":
                shown.append(one)
    return tuple(shown)


def _needs_study(wanted: Search) -> bool:
    parents = _study_tags(wanted)
    return parents is None or bool(parents)


def _study_tags(wanted: Search) -> frozenset[str] | None:
    """Which of the study's attributes to repeat below it: all (None), unless one study is named."""
    if not wanted.fixes_study:
        return None
    return wanted.included & frozenset(one.tag for one in of_level(Level.STUDY))
