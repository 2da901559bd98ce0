"""Physicians and facilities as rows of their own, made from the names that studies bring. Names that differ by case,
accents or points alone are one; a person may rename one or merge it into another, and every such change is kept.
Studies keep the name that they show; here it is brought up to date."""

from collections.abc import Mapping, Sequence
from typing import Final, Literal, LiteralString, TypeAlias, cast

import sqlalchemy as sa

from hilum.core.database import Database, Row, Transaction
from hilum.core.errors import Conflict, Invalid, NotFound
from hilum.imaging.archive.study_json import keep_attributes

Kind: TypeAlias = Literal["physician", "facility"]
KINDS: Final[tuple[Kind, ...]] = ("physician", "facility")

_AT_ONCE: Final = 500


def tie_people(sql: Transaction, source_id: int, studies: Sequence[Row]) -> None:
    """Tie studies to their physician and facility, which are made where they are new.

    Parameters
    ----------
    sql
        The transaction that wrote the studies.
    source_id
        The studies' source.
    studies
        Their rows; id and name of what they are tied to are set in place.
    """
    for kind in KINDS:
        lacking = {row["id"]: row for row in studies if row[kind] and row[f"{kind}_id"] is None}
        if not lacking:
            continue
        names = sorted({cast("str", row[kind]) for row in lacking.values()})
        sql.rows(_MAKE[kind], {"source": source_id, "names": names})
        for tied in sql.rows(_TIE[kind], {"source": source_id, "studies": sorted(lacking, key=str)}):
            lacking[tied["id"]].update({f"{kind}_id": tied["named_id"], kind: tied["name"]})


def list_people(
    connection: sa.Connection, kind: Kind, q: str = "", source: str | None = None, *, limit: int = 20, offset: int = 0
) -> tuple[Sequence[sa.RowMapping], int]:
    """Physicians or facilities by name with their number of studies, and how many there are in all.

    Each word of ``q`` must occur in the name or in one that was merged into it.
    """
    words = q.split()[:8]
    conditions = " and ".join(
        (
            "p.merged_into is null",
            "(cast(:source as text) is null or s.key = :source)",
            *(
                f"(hilum.fold(p.name) like hilum.fold(:word{n}) or exists (select from hilum.{kind} m "
                f"where m.merged_into = p.id and hilum.fold(m.name) like hilum.fold(:word{n})))"
                for n in range(len(words))
            ),
        )
    )
    values: dict[str, object] = {"source": source, "limit": limit, "offset": offset}
    values |= {f"word{n}": f"%{_escape(word)}%" for n, word in enumerate(words)}
    joined = f"from hilum.{kind} p join hilum.source s on s.id = p.source_id where {conditions}"
    page = sa.text(f"select {_shown(kind)} {joined} order by hilum.fold(p.name), p.id limit :limit offset :offset")
    total = connection.scalar(sa.text(f"select count(*) {joined}"), values)
    return connection.execute(page, values).mappings().all(), total or 0


def find_person(connection: sa.Connection, kind: Kind, number: int) -> sa.RowMapping:
    """Find a physician or facility; raises ``NotFound``."""
    statement = sa.text(
        f"select {_shown(kind)} from hilum.{kind} p join hilum.source s on s.id = p.source_id where p.id = :id"
    )
    row = connection.execute(statement, {"id": number}).mappings().first()
    if row is None:
        raise NotFound(f"There is no {kind} {number}.")
    return row


def history_of(connection: sa.Connection, kind: Kind, number: int) -> Sequence[sa.RowMapping]:
    """How a physician or facility was changed, latest first."""
    statement = sa.text(
        "select id, field, old, new, made_by as who, made_at as when from hilum.name_change "
        "where kind = :kind and named_id = :id order by id desc"
    )
    return connection.execute(statement, {"kind": kind, "id": number}).mappings().all()


def rename(database: Database, kind: Kind, number: int, name: str, who: str) -> None:
    """Name a physician or facility anew; its studies show the new name, and so will those still to come.

    Raises
    ------
    Conflict
        It has been merged into another.
    Invalid
        The name is empty.
    NotFound
        There is no such one.
    """
    if not name.strip():
        raise Invalid(f"A {kind} needs a name.")
    with database.transaction() as sql:
        row = _locked(sql, kind, number)
        if row["merged_into"] is not None:
            raise Conflict(f"This {kind} has been merged into {row['merged_into']}: rename that one.")
        _keep_change(sql, kind, row, "name", cast("str", row["name"]), name, who)
        sql.rows(_RENAME[kind], (name, number))
        _show(sql, kind, number)


def merge(database: Database, kind: Kind, number: int, into: int | None, who: str) -> None:
    """Say that a physician or facility is really another one of its source; None makes it one of its own again.

    Raises
    ------
    Invalid
        It would be merged into itself or into one of another source.
    NotFound
        There is no such one.
    """
    with database.transaction() as sql:
        row = _locked(sql, kind, number)
        target = _locked(sql, kind, into) if into is not None else None
        if target and target["merged_into"] is not None:
            target = _locked(sql, kind, cast("int", target["merged_into"]))
        if target and (target["id"] == number or target["source_id"] != row["source_id"]):
            raise Invalid(f"A {kind} can be merged into another one of the same source only.")
        new = cast("int | None", target["id"] if target else None)
        if new == row["merged_into"]:
            return
        _keep_change(sql, kind, row, "merged_into", str(row["merged_into"] or ""), str(new or ""), who)
        sql.rows(_MERGE[kind], {"into": new, "id": number})
        _show(sql, kind, number if new is None else new)


def bring_back_people(
    sql: Transaction,
    kind: Kind,
    source_id: int,
    people: Sequence[Mapping[str, object]],
    changes: Sequence[Mapping[str, object]],
) -> int:
    """Make again what a record tells of changed physicians or facilities; none when the catalogue has any of them.

    Returns
    -------
    int
        How many were made.
    """
    if not people or sql.rows(_ANY[kind], (source_id,)):
        return 0
    numbers: dict[object, object] = {"": ""}
    for person in people:
        values = (source_id, person["key"], person["name"], person["renamed"])
        numbers[str(person["id"])] = sql.rows(_AGAIN[kind], values)[0]["id"]
    for person in people:
        if person["merged_into"] is not None:
            values = {"key": person["merged_into"], "id": numbers[str(person["id"])], "source": source_id}
            sql.rows(_MERGE_AGAIN[kind], values)
    for change in changes:
        old, new = str(change["old"]), str(change["new"])
        if change["field"] == "merged_into":
            old, new = str(numbers.get(old, old)), str(numbers.get(new, new))
        sql.rows(
            "insert into hilum.name_change (source_id, kind, named_id, field, old, new, made_by, made_at) "
            "values (%s, %s, %s, %s, %s, %s, %s, %s)",
            (source_id, kind, numbers[str(change["named_id"])], change["field"], old, new, change["made_by"],
             change["made_at"]),
        )  # fmt: skip
    return len(people)


def _locked(sql: Transaction, kind: Kind, number: int) -> Row:
    found = sql.rows(_LOCK[kind], (number,))
    if not found:
        raise NotFound(f"There is no {kind} {number}.")
    return found[0]


def _keep_change(sql: Transaction, kind: Kind, row: Row, field: str, old: str, new: str, who: str) -> None:
    sql.rows(
        "insert into hilum.name_change (source_id, kind, named_id, field, old, new, made_by) "
        "values (%s, %s, %s, %s, %s, %s, %s)",
        (row["source_id"], kind, row["id"], field, old, new, who),
    )
    sql.rows("update hilum.source set recorded = false where id = %s", (row["source_id"],))


def _show(sql: Transaction, kind: Kind, number: int) -> None:
    """Bring the name that studies show up to date, and what is made of it for QIDO-RS."""
    changed = [row["id"] for row in sql.rows(_SHOW[kind], {"id": number})]
    for start in range(0, len(changed), _AT_ONCE):
        ids = changed[start : start + _AT_ONCE]
        keep_attributes(sql, sql.rows("select * from hilum.study where id = any(%s) order by id", (ids,)))


def _shown(kind: Kind) -> str:
    return (
        "p.id, s.key as source, p.name, p.merged_into, "
        f"array(select m.name from hilum.{kind} m where m.merged_into = p.id order by m.name) as also, "
        f"(select count(*) from hilum.study st join hilum.{kind} m on m.id = st.{kind}_id "
        "where (m.id = p.id or m.merged_into = p.id) and st.deleted_at is null) as studies"
    )


def _escape(word: str) -> str:
    return word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _each(statement: LiteralString) -> dict[Kind, LiteralString]:
    return {kind: statement.replace("KIND", kind) for kind in KINDS}


_LOCK: Final = _each("select * from hilum.KIND where id = %s for update")
_ANY: Final = _each("select id from hilum.KIND where source_id = %s limit 1")
_AGAIN: Final = _each("insert into hilum.KIND (source_id, key, name, renamed) values (%s, %s, %s, %s) returning id")
_MERGE_AGAIN: Final = _each(
    "update hilum.KIND set merged_into = (select id from hilum.KIND where source_id = %(source)s and key = %(key)s) "
    "where id = %(id)s"
)
_RENAME: Final = _each("update hilum.KIND set name = %s, renamed = true where id = %s")
_MERGE: Final = _each("update hilum.KIND set merged_into = %(into)s where id = %(id)s or merged_into = %(id)s")
_MAKE: Final = _each(
    """
    insert into hilum.KIND (source_id, key, name)
    select %(source)s, given.key, min(given.name)
    from (select hilum.name_key(name) as key, name from unnest(%(names)s::text[]) name) given
    where not exists (select from hilum.KIND k where k.source_id = %(source)s and k.key = given.key)
    group by given.key order by given.key
    on conflict do nothing
    """
)
_TIE: Final = _each(
    """
    update hilum.study s set KIND_id = p.id,
      KIND = case when r.renamed or p.merged_into is not null then r.name else s.KIND end
    from hilum.KIND p join hilum.KIND r on r.id = coalesce(p.merged_into, p.id)
    where s.id = any(%(studies)s) and p.source_id = %(source)s and p.key = hilum.name_key(s.KIND)
    returning s.id, p.id as named_id, s.KIND as name
    """
)
_SHOW: Final = _each(
    """
    update hilum.study s set KIND = r.name, updated_at = clock_timestamp()
    from hilum.KIND p join hilum.KIND r on r.id = coalesce(p.merged_into, p.id)
    where (p.id = %(id)s or p.merged_into = %(id)s) and s.KIND_id = p.id and s.KIND <> r.name
    returning s.id
    """
)
