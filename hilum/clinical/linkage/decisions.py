"""Links by hand: a person's word stands over the rules, holds for the study's UID whatever is stored again, is kept
with who said it, and can be taken back. All that follows from it is done in the same transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, LiteralString, TypeAlias, cast

from hilum.clinical.cdm.cdm import Cdm, require_cdm
from hilum.clinical.linkage.queue import Kind
from hilum.clinical.linkage.settle import Manner, settle
from hilum.core.database import Database, Row, Transaction
from hilum.core.errors import Conflict, Invalid, NotFound
from hilum.imaging.archive.sidecar import mark_studies

Action: TypeAlias = Literal["link", "refuse", "automatic"]


@dataclass(frozen=True, slots=True)
class Choice:
    """What is decided of one study: that it belongs to a row of the CDM, that it must not be linked, or that the rules
    say. The target is a number for ``link`` alone."""

    study: int
    action: Action
    target: int | None = None


_TABLES: Final[dict[Kind, tuple[LiteralString, str]]] = {
    "person": ("select person_id as owner from {cdm}.person where person_id = %s", "person"),
    "procedure": (
        "select person_id as owner from {cdm}.procedure_occurrence where procedure_occurrence_id = %s",
        "procedure_occurrence",
    ),
    "visit": (
        "select person_id as owner from {cdm}.visit_occurrence where visit_occurrence_id = %s",
        "visit_occurrence",
    ),
}


def decide(database: Database, study: int, kind: Kind, target: int, who: str, manner: Manner) -> None:
    """Tie a study to a row of the CDM.

    Parameters
    ----------
    database
        Where.
    study
        Hilum's number of the study.
    kind, target
        What it is tied to.
    who
        Says so.
    manner
        How what follows is done.

    Raises
    ------
    Conflict
        The source has no CDM, the study no person yet, or the row is another person's.
    Invalid
        The CDM has no such row.
    NotFound
        There is no such study.
    """
    with database.transaction() as sql:
        row, cdm = _study(sql, study)
        _check(sql, cdm, kind, target, row["person_id"])
        _write(sql, row, kind, target, who, "link")
        settle(sql, cdm, [study], manner)


def decide_all(database: Database, source: str, studies: Sequence[int], person: int, who: str, manner: Manner) -> None:
    """Tie many studies of a source to one person; all of them or none. Raises as ``decide`` does."""
    with database.transaction() as sql:
        cdm = require_cdm(sql, source)
        _check(sql, cdm, "person", person, None)
        for study in studies:
            _write(sql, _study(sql, study)[0], "person", person, who, "link")
        settle(sql, cdm, studies, manner)


def release(database: Database, study: int, kind: Kind, who: str, manner: Manner) -> None:
    """Undo a link: one that was made by hand gives way to what the rules say; one that a rule made is refused, and the
    study waits for a person.

    Raises
    ------
    Conflict
        There is no link of this kind, or the source has no CDM.
    NotFound
        There is no such study.
    """
    with database.transaction() as sql:
        row, cdm = _study(sql, study)
        (state,) = sql.rows(_STATE, {"study": study, "kind": kind})
        if state["decided"] and state["chosen"] is None:
            raise Conflict(f"The study's {kind} was unlinked already: link it, or have it linked automatically.")
        if state["decided"]:
            _forget(sql, row, kind, who)
        elif state["target_id"] is not None:
            _write(sql, row, kind, None, who, "unlink")
        else:
            raise Conflict(f"The study has no {kind} that could be unlinked.")
        settle(sql, cdm, [study], manner)


def release_all(database: Database, source: str, studies: Sequence[int], who: str, manner: Manner) -> None:
    """Forget what was decided of the links of many studies of a source, and link them by the rules."""
    with database.transaction() as sql:
        cdm = require_cdm(sql, source)
        for study in studies:
            row, _ = _study(sql, study)
            for kind in _TABLES:
                _forget(sql, row, kind, who)
        settle(sql, cdm, studies, manner)


def choose_all(database: Database, kind: Kind, choices: Sequence[Choice], who: str, manner: Manner) -> list[Choice]:
    """Decide of many studies at once, all of them or none.

    Parameters
    ----------
    database
        Where.
    kind
        What is decided of.
    choices
        One for each study; studies may be of several sources.
    who
        Says so.
    manner
        How what follows is done.

    Returns
    -------
    list of Choice
        What was decided of the same studies before, in the same order: the choices that undo these.

    Raises
    ------
    Conflict, Invalid, NotFound
        As ``decide`` does.
    """
    with database.transaction() as sql:
        before: list[Choice] = []
        changed: dict[str, tuple[Cdm, list[int]]] = {}
        for choice in choices:
            row, cdm = _study(sql, choice.study)
            was = _choice(sql, choice.study, kind)
            before.append(was)
            if choice == was:
                continue
            if choice.action == "automatic":
                _forget(sql, row, kind, who)
            elif choice.target is None:
                _write(sql, row, kind, None, who, "unlink")
            else:
                _check(sql, cdm, kind, choice.target, row["person_id"])
                _write(sql, row, kind, choice.target, who, "link")
            changed.setdefault(cdm.source, (cdm, []))[1].append(choice.study)
        for _, (cdm, studies) in sorted(changed.items()):
            settle(sql, cdm, studies, manner)
    return before


def _choice(sql: Transaction, study: int, kind: Kind) -> Choice:
    (state,) = sql.rows(_STATE, {"study": study, "kind": kind})
    if not state["decided"]:
        return Choice(study, "automatic")
    chosen = cast("int | None", state["chosen"])
    return Choice(study, "refuse") if chosen is None else Choice(study, "link", chosen)


def _study(sql: Transaction, study: int) -> tuple[Row, Cdm]:
    rows = sql.rows(
        "select s.id, s.source_id, s.study_instance_uid, s.person_id, k.key as source from hilum.study s "
        "join hilum.source k on k.id = s.source_id where s.id = %s and s.deleted_at is null",
        (study,),
    )
    if not rows:
        raise NotFound("There is no such study.")
    return rows[0], require_cdm(sql, str(rows[0]["source"]))


def _check(sql: Transaction, cdm: Cdm, kind: Kind, target: int, person: object) -> None:
    statement, table = _TABLES[kind]
    rows = sql.rows(cdm.sql(statement), (target,))
    if not rows:
        raise Invalid(f"The CDM has no {table} {target}.")
    if kind != "person" and person is None:
        raise Conflict("The study is tied to no person yet: link its person first.")
    if kind != "person" and rows[0]["owner"] != person:
        raise Conflict(f"The {table} {target} is another person's than the study's, which is person {person}.")


def _write(sql: Transaction, row: Row, kind: Kind, target: int | None, who: str, action: str) -> None:
    values = {"source": row["source_id"], "uid": row["study_instance_uid"], "kind": kind, "study": row["id"]}
    sql.rows(_NOTE, values | {"action": action, "after": target, "who": who})
    sql.rows(_DECIDE, values | {"target": target, "who": who})
    mark_studies(sql, [cast("int", row["id"])])


def _forget(sql: Transaction, row: Row, kind: Kind, who: str) -> None:
    values = {"source": row["source_id"], "uid": row["study_instance_uid"], "kind": kind, "study": row["id"]}
    if sql.rows(_FORGET, values):
        sql.rows(_NOTE, values | {"action": "automatic", "after": None, "who": who})
        mark_studies(sql, [cast("int", row["id"])])


def changes_of(sql: Transaction, study: int) -> list[Row]:
    """The decisions that were made of a study's links, latest first."""
    return sql.rows(_CHANGES, (study,))


_STATE: Final[LiteralString] = """
  select l.target_id, d.study_instance_uid is not null as decided, d.target_id as chosen
  from hilum.study s left join hilum.study_link l on l.study_id = s.id and l.kind = %(kind)s
  left join hilum.link_decision d on d.source_id = s.source_id and d.study_instance_uid = s.study_instance_uid
    and d.kind = %(kind)s
  where s.id = %(study)s
"""
_DECIDE: Final[LiteralString] = """
  insert into hilum.link_decision (source_id, study_instance_uid, kind, target_id, made_by)
  values (%(source)s, %(uid)s, %(kind)s, %(target)s, %(who)s)
  on conflict (source_id, study_instance_uid, kind) do update set target_id = excluded.target_id,
    made_by = excluded.made_by, made_at = now()
"""
_FORGET: Final[LiteralString] = """
  delete from hilum.link_decision where source_id = %(source)s and study_instance_uid = %(uid)s and kind = %(kind)s
  returning 1
"""
_NOTE: Final[LiteralString] = """
  insert into hilum.link_change (source_id, study_instance_uid, kind, action, before, after, made_by)
  select %(source)s, %(uid)s, %(kind)s, %(action)s, (select target_id from hilum.study_link
    where study_id = %(study)s and kind = %(kind)s), %(after)s, %(who)s
"""
_CHANGES: Final[LiteralString] = """
  select c.id, c.kind, c.action, c.before, c.after, c.made_by as who, c.made_at as when
  from hilum.link_change c join hilum.study s on s.source_id = c.source_id
    and s.study_instance_uid = c.study_instance_uid
  where s.id = %s order by c.id desc limit 200
"""
