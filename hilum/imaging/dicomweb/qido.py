"""QIDO-RS (PS3.18 section 10.6): a `Search` asked of the catalogue, its rows made into DICOM JSON. A study's attributes
lie ready in ``study_json`` and are only spliced; a series' and an instance's are made from narrow rows. No file is ever
read."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, time
from typing import Final, LiteralString, TypeAlias, cast
from weakref import WeakKeyDictionary

import msgspec
import psycopg
import sqlalchemy as sa

from hilum.imaging.archive.study_json import da, element, tm
from hilum.imaging.dicomweb.attributes import Attribute, Level, of_level
from hilum.imaging.dicomweb.matching import Condition
from hilum.imaging.dicomweb.searching import Search
from hilum.imaging.dicomweb.syntaxes import available_syntax

_URL: Final = "00081190"
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
Read: TypeAlias = Callable[[str], dict[str, msgspec.Raw]]

# Latest first; what has no date comes last. The last key makes the order total, so that pages never overlap.
_ORDER: Final[dict[Level, LiteralString]] = {
    Level.STUDY: "st.study_date desc nulls last, st.id desc",
    Level.SERIES: "st.study_date desc nulls last, st.id desc, se.series_number nulls last, se.id",
    Level.INSTANCE: "st.study_date desc nulls last, st.id desc, se.series_number nulls last, se.id, "
    "i.instance_number nulls last, i.id",
}
_KEY: Final[dict[Level, LiteralString]] = {Level.STUDY: "st.id", Level.SERIES: "se.id", Level.INSTANCE: "i.id"}
_totals: Final[WeakKeyDictionary[sa.Engine, dict[str, tuple[object, int]]]] = WeakKeyDictionary()
_FURTHER: Final[dict[Level, LiteralString]] = {
    Level.STUDY: "st.further::text",
    Level.SERIES: "se.further::text",
    Level.INSTANCE: "i.further::text",
}

# The page of studies whose attributes lie ready, which is what is asked for most.
_READY: Final[LiteralString] = """
    select page.uid, j.attributes, (select max(id) from hilum.event)
    from (
      select st.id as key, st.study_date as day, st.study_instance_uid as uid from hilum.study st where {where}
      order by st.study_date desc nulls last, st.id desc limit %s offset %s
    ) page join hilum.study_json j on j.study_id = page.key
    order by page.day desc nulls last, page.key desc
"""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of results.

    Attributes
    ----------
    objects : sequence of bytes
        Objects of the DICOM JSON Model.
    total : int
        How many match in all.
    """

    objects: Sequence[bytes]
    total: int


@dataclass(frozen=True, slots=True)
class Sql:
    """A piece of SQL with its parameters."""

    text: LiteralString
    parameters: tuple[object, ...] = ()


@dataclass(frozen=True, slots=True)
class Tables:
    """Where a search looks: the catalogue, or what has the columns of its tables that `attributes` names.

    Attributes
    ----------
    study, series, instance, attributes : str
        Names of the four tables; the last has the attributes of studies (``study_id``, ``attributes``).
    given : Sql
        What stands before a statement, as the WITH that makes them; empty for those of the database.
    read : callable
        Makes the DICOM JSON Model of a study, by tags, of its ``attributes``; in the catalogue it lies ready.
    """

    study: LiteralString = "hilum.study"
    series: LiteralString = "hilum.series"
    instance: LiteralString = "hilum.instance"
    attributes: LiteralString = "hilum.study_json"
    given: Sql = Sql("")
    read: Read = _decode

    def of(self, level: Level) -> LiteralString:
        """The rows of a level with those above it: ``st``, ``se`` and ``i``."""
        found: LiteralString = f"{self.study} st"
        if level > Level.STUDY:
            found = f"{found} join {self.series} se on se.study_id = st.id"
        return f"{found} join {self.instance} i on i.series_id = se.id" if level == Level.INSTANCE else found

    def before(self, statement: LiteralString, parameters: tuple[object, ...]) -> Sql:
        """A statement about them."""
        return Sql(f"{self.given.text} {statement}", (*self.given.parameters, *parameters))


CATALOGUE: Final = Tables()


@dataclass(frozen=True, slots=True)
class _Shown:
    """What an answer holds: which columns in the order in which they are asked for, and which further attributes.

    Attributes
    ----------
    columns : tuple of Attribute
        Of series and instance.
    study : frozenset of str or None
        Tags of the study's ready-made attributes; None for all.
    further : tuple of Level
        Levels whose further attributes are asked for.
    places : dict of str to str
        Tags in the answer of the further attributes that it holds, by their key.
    empty : dict of str to str
        Value representations of those that it holds without a value too, by their tag.
    creators : dict of str to str
        Private creators by the tag of the element that names them.
    """

    columns: tuple[Attribute, ...]
    study: frozenset[str] | None
    further: tuple[Level, ...]
    places: dict[str, str]
    empty: dict[str, str]
    creators: dict[str, str]


def search(connection: sa.Connection, source: str, wanted: Search, root: str, tables: Tables = CATALOGUE) -> Page:
    """Answer a search.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        The catalogue.
    source : str
        Key of the source that is searched; of other tables than the catalogue's all is searched.
    wanted : Search
        What is asked.
    root : str
        Base URL of the DICOMweb service, for the Retrieve URLs.
    tables : Tables
        Where to look.
    """
    where, shown = condition(source, wanted, tables), _shown(wanted)
    ready = wanted.level == Level.STUDY and not shown.further and tables is CATALOGUE
    driver = connection.connection.driver_connection
    assert driver is not None
    with driver.cursor() as cursor:
        rows: Sequence[tuple[object, ...]] = []
        if wanted.limit:
            query = _ready_query(wanted, where) if ready else _page_query(wanted, where, shown, tables)
            cursor.execute(query.text, query.parameters)
            rows = cast("Sequence[tuple[object, ...]]", cursor.fetchall())
        total = wanted.offset + len(rows)
        if len(rows) == wanted.limit or (not rows and wanted.offset):
            event = rows[0][2] if ready and rows and not wanted.conditions else None
            counted = tables.before(
                f"select count(*) from {tables.of(wanted.level)} where {where.text}", where.parameters
            )
            total = _total(cursor, connection.engine, source, counted, event)
    if ready:
        return Page(_ready_studies(rows, root), total)
    return Page(_made(rows, wanted, shown, root, tables.read), total)


def _total(
    cursor: psycopg.Cursor,
    engine: sa.Engine,
    source: str,
    counted: Sql,
    event: object,
) -> int:
    """How many match in all. All studies of a source are counted once for each state of the archive, which the last
    ``event`` of the feed stands for: no study is added or taken away without another. None for any other search."""
    known = _totals.setdefault(engine, {}).get(source)
    if event is not None and known is not None and known[0] == event:
        return known[1]
    cursor.execute(counted.text.encode(), counted.parameters)
    (total,) = cast("tuple[int]", cursor.fetchone())
    if event is not None:
        _totals[engine][source] = event, total
    return total


def condition(source: str, wanted: Search, tables: Tables = CATALOGUE) -> Sql:
    """What must hold of the rows ``st``, ``se`` and ``i`` of a search, as SQL."""
    parts = [Sql("true")]
    if tables is CATALOGUE:
        parts = [
            Sql("st.source_id = (select id from hilum.source where key = %s)", (source,)),
            Sql("i.deleted_at is null" if wanted.level == Level.INSTANCE else "st.deleted_at is null"),
        ]
    if wanted.study:
        parts.append(Sql("st.study_instance_uid = %s", (wanted.study,)))
    if wanted.series:
        parts.append(Sql("se.series_instance_uid = %s", (wanted.series,)))
    parts.extend(_of_items([one for one in wanted.conditions if one.level <= wanted.level]))
    parts.extend(_below(wanted, tables))
    return _all(parts)


def _below(wanted: Search, tables: Tables) -> list[Sql]:
    """Conditions on what lies below the level that is searched: one series, with one instance, must meet them all."""
    below = {
        level: _of_items([one for one in wanted.conditions if one.level == level])
        for level in (Level.SERIES, Level.INSTANCE)
        if level > wanted.level
    }
    of_series, of_instance = below.get(Level.SERIES, []), below.get(Level.INSTANCE, [])
    owner: LiteralString = (
        "i.study_id = st.id" if wanted.level == Level.STUDY and not of_series else "i.series_id = se.id"
    )
    found: list[Sql] = []
    if of_instance:
        each = _all(of_instance)
        found = [Sql(f"exists (select from {tables.instance} i where {owner} and {each.text})", each.parameters)]
    if of_series:
        each = _all([*of_series, *found])
        found = [
            Sql(f"exists (select from {tables.series} se where se.study_id = st.id and {each.text})", each.parameters)
        ]
    return found


def _of_items(conditions: Iterable[Condition]) -> list[Sql]:
    """Conditions as they are, but those on the items of one sequence joined to one."""
    found: list[Sql] = []
    sequences: dict[tuple[LiteralString, str], list[Sql]] = {}
    for one in conditions:
        part = Sql(one.sql, one.parameters)
        if one.items:
            sequences.setdefault((one.attribute.column, one.items), []).append(part)
        else:
            found.append(part)
    for (column, items), parts in sequences.items():
        each = _all(parts)
        exists: LiteralString = f"exists (select from jsonb_path_query({column}, %s::jsonpath) item where {each.text})"
        found.append(Sql(exists, (items, *each.parameters)))
    return found


def _all(parts: Sequence[Sql]) -> Sql:
    return Sql(" and ".join([f"({part.text})" for part in parts]), tuple(p for part in parts for p in part.parameters))


def _ready_query(wanted: Search, where: Sql) -> Sql:
    return Sql(_READY.format(where=where.text), (*where.parameters, wanted.limit, wanted.offset))


def _page_query(wanted: Search, where: Sql, shown: _Shown, tables: Tables) -> Sql:
    """Keys of the page first, from rows that are read in any case; then what is shown, for those alone."""
    level, rows = wanted.level, tables.of(wanted.level)
    keys: LiteralString = (
        f"select {_KEY[level]} as key from {rows} where {where.text} order by {_ORDER[level]} limit %s offset %s"
    )
    columns: list[LiteralString] = ["st.study_instance_uid", "j.attributes" if shown.study != frozenset() else "''"]
    columns.extend(_FURTHER[one] for one in shown.further)
    columns.extend(one.column for one in shown.columns)
    joined: LiteralString = f"({keys}) page join {rows} on {_KEY[level]} = page.key"
    query: LiteralString = (
        f"select {', '.join(columns)} from {joined} join {tables.attributes} j on j.study_id = st.id "
        f"order by {_ORDER[level]}"
    )
    return tables.before(query, (*where.parameters, wanted.limit, wanted.offset))


def _ready_studies(rows: Sequence[tuple[object, ...]], root: str) -> list[bytes]:
    """The ready-made objects with the Retrieve URL in its place before (0010,0010), which every one of them has."""
    parts: list[bytes] = []
    for uid, attributes, _ in cast("Sequence[tuple[str, str, int]]", rows):
        url = f',"{_URL}":{{"vr":"UR","Value":["{root}/studies/{uid}"]}},"00100010":'
        parts.append(attributes.replace(',"00100010":', url, 1).encode())
    return parts


def _made(
    rows: Sequence[tuple[object, ...]],
    wanted: Search,
    shown: _Shown,
    root: str,
    read: Read,
) -> list[bytes]:
    """Objects made from columns. The plan is in the order of the tags, so that most objects need no sorting."""
    before = 2 + len(shown.further)
    places = {one.keyword: place for place, one in enumerate(shown.columns, start=before)}
    series_at, instance_at = places.get("SeriesInstanceUID"), places.get("SOPInstanceUID")
    plan: list[tuple[str, int, Attribute | None]] = sorted(
        [(one.tag, place, one) for place, one in enumerate(shown.columns, start=before)]
        + [("0020000D", 0, None), (_URL, 0, None)],
        key=lambda step: step[0],
    )
    objects: list[bytes] = []
    for row in rows:
        url = f"{root}/studies/{row[0]}"
        url = url if series_at is None else f"{url}/series/{row[series_at]}"
        url = url if instance_at is None else f"{url}/instances/{row[instance_at]}"
        own: dict[str, object] = {}
        for tag, place, one in plan:
            if one is None:
                own[tag] = _single("UR", url) if tag == _URL else _single("UI", row[0])
            elif (value := row[place]) is not None and value != "":
                own[tag] = _element(one, value)
            elif one.given == "always" or tag in wanted.included:
                own[tag] = {"vr": one.vr}
        if row[1] or shown.further:
            own = dict(sorted((_of_study(row[1], shown, read) | own | _further(row[2:before], shown)).items()))
        objects.append(_encode(own))
    return objects


def _of_study(attributes: object, shown: _Shown, read: Read) -> dict[str, object]:
    known = read(cast("str", attributes)) if attributes else {}
    if shown.study is None:
        return dict(known)
    return {tag: known[tag] for tag in shown.study if tag in known}


def _further(texts: Sequence[object], shown: _Shown) -> dict[str, object]:
    found: dict[str, object] = {tag: {"vr": vr} for tag, vr in shown.empty.items()}
    for text in texts:
        kept = _decode(cast("str", text)) if text else {}
        found |= {shown.places[key]: value for key, value in kept.items() if key in shown.places}
    for reserved, creator in shown.creators.items():
        if any(tag[:4] == reserved[:4] and tag[4:6] == reserved[6:] for tag in found):
            found[reserved] = _single("LO", creator)
    return found


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


def _shown(wanted: Search) -> _Shown:
    """What the answer needs, in a fixed order."""
    columns: list[Attribute] = []
    for level in (Level.SERIES, Level.INSTANCE):
        if level > wanted.level:
            break
        hidden = level != wanted.level and wanted.fixes_series
        for one in of_level(level):
            usual = one.given != "asked" and not hidden
            asked = one.tag in wanted.included or (wanted.include_all and not hidden)
            if usual or asked or one.keyword == "SeriesInstanceUID":
                columns.append(one)
    study = None
    if wanted.level > Level.STUDY and wanted.fixes_study:
        study = wanted.included & frozenset(one.tag for one in of_level(Level.STUDY))
    further = [one for one in wanted.vocabulary.further if _is_shown(one, wanted)]
    levels = tuple(level for level in Level if any(one.level == level for one in further))
    return _Shown(tuple(columns), study, levels, *_placed(further, wanted))


def _is_shown(one: Attribute, wanted: Search) -> bool:
    """Whether an answer holds a further attribute: one of a level above only where that is not fixed, or if asked."""
    if one.level > wanted.level or one.further is None:
        return False
    fixed = wanted.fixes_study if one.level == Level.STUDY else wanted.fixes_series
    hidden = one.level != wanted.level and fixed
    return one.further.key in wanted.included or ((one.given != "asked" or wanted.include_all) and not hidden)


def _placed(further: Sequence[Attribute], wanted: Search) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """Where further attributes stand: private ones in the block that the request names for their creator, else in the
    first that is free from 10 on."""
    places: dict[str, str] = {}
    empty: dict[str, str] = {}
    creators = {f"{group}00{block}": creator for (group, block), creator in wanted.creators.items()}
    for one in further:
        assert one.further is not None
        key, tag = one.further.key, f"{one.further.tags[0]:08X}"
        if not one.further.creator:
            places[key] = tag
            if key in wanted.included:
                empty[tag] = one.vr if len(one.further.tags) == 1 else "SQ"
            continue
        group = tag[:4]
        block = next((at[6:] for at, known in creators.items() if at[:4] == group and known == one.further.creator), "")
        if not block:
            block = next(f"{free:02X}" for free in range(0x10, 0x100) if f"{group}00{free:02X}" not in creators)
            creators[f"{group}00{block}"] = one.further.creator
        places[key] = f"{group}{block}{tag[6:]}"
    return places, empty, creators
