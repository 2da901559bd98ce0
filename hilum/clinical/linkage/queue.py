"""What waits for a person: studies whose person, procedure or visit no rule finds, each with the reason, the evidence
and the rows of the CDM that come into question."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, LiteralString, TypeAlias, cast

from hilum.clinical.cdm.cdm import Cdm, require_cdm
from hilum.clinical.linkage import persons, procedures, visits
from hilum.core.database import Row, Transaction

Kind: TypeAlias = Literal["person", "procedure", "visit"]

TEXTS: Final[Mapping[str, Mapping[str, str]]] = {
    "person": persons.REASONS,
    "procedure": procedures.REASONS,
    "visit": visits.REASONS,
}
"""A sentence for each reason of each kind of link."""


@dataclass(frozen=True, slots=True)
class QueueFilter:
    """Which entries: of one source, of one kind, with one reason; None asks for nothing."""

    source: str | None = None
    kind: Kind | None = None
    reason: str | None = None


def waiting(sql: Transaction, source: str | None = None) -> list[dict[str, object]]:
    """How many studies wait, by kind and reason, with its sentence, most first."""
    rows = sql.rows(_COUNTS, {"source": source})
    return [row | {"text": TEXTS[str(row["kind"])][str(row["reason"])]} for row in rows]


def list_queue(
    sql: Transaction, wanted: QueueFilter, *, limit: int = 20, offset: int = 0
) -> tuple[list[dict[str, object]], int]:
    """What waits, latest study first, and how much there is in all.

    Returns
    -------
    tuple
        Rows with the study's facts, ``kind``, ``reason``, ``text``, ``evidence`` and ``candidates``; and how many.
    """
    values = {"source": wanted.source, "kind": wanted.kind, "reason": wanted.reason}
    (count,) = sql.rows(_COUNT, values)
    rows = sql.rows(_PAGE, values | {"limit": limit, "offset": offset})
    found: list[dict[str, object]] = []
    for row in rows:
        cdm = require_cdm(sql, str(row["source"]))
        text = TEXTS[str(row["kind"])][str(row["reason"])]
        found.append(row | {"text": text, "candidates": candidates(sql, cdm, row)})
    return found, cast("int", count["total"])


def candidates(sql: Transaction, cdm: Cdm, entry: Row) -> list[Row]:
    """The rows of the CDM that an entry of the queue may be tied to, with what a person compares."""
    evidence = cast("Mapping[str, object]", entry["evidence"])
    values = {
        "ids": list(cast("Sequence[int]", evidence.get("candidates") or ())),
        "person": entry["person_id"],
        "day": entry["study_date"],
        "most": _MOST,
    }
    return sql.rows(cdm.sql(_CANDIDATES[cast("Kind", entry["kind"])]), values)


def links_of(sql: Transaction, study: int) -> list[Row]:
    """The links of a study: kind, target, method, evidence, who made it and when, and a reason where it waits."""
    rows = sql.rows(_LINKS, (study,))
    return [row | {"text": TEXTS[str(row["kind"])].get(str(row["reason"]), "")} for row in rows]


_MOST: Final = 10
_WAITING: Final[LiteralString] = """
  from hilum.study_link l join hilum.study s on s.id = l.study_id join hilum.source k on k.id = s.source_id
  where l.reason <> '' and s.deleted_at is null and k.cdm_schema <> ''
    and k.key = coalesce(%(source)s, k.key)
"""
_COUNTS: Final[LiteralString] = f"""
  select l.kind, l.reason, count(*) as studies {_WAITING} group by 1, 2 order by 3 desc, 1, 2
"""
_FILTERED: Final[LiteralString] = (
    f"{_WAITING} and l.kind = coalesce(%(kind)s, l.kind) and l.reason = coalesce(%(reason)s, l.reason)"
)
_COUNT: Final[LiteralString] = f"select count(*) as total {_FILTERED}"
_PAGE: Final[LiteralString] = f"""
  select s.id as study_id, s.study_instance_uid, k.key as source, s.patient_id, s.patient_name, s.patient_sex,
    s.patient_birth_date, s.study_date, s.study_time, s.modalities, s.accession_number, s.study_description,
    p.target_id as person_id, l.kind, l.reason, l.evidence, l.made_by, l.made_at
  {_WAITING.replace("where", "left join hilum.study_link p on p.study_id = s.id and p.kind = 'person' where")}
    and l.kind = coalesce(%(kind)s, l.kind) and l.reason = coalesce(%(reason)s, l.reason)
  order by s.study_date desc nulls last, s.id desc, l.kind limit %(limit)s offset %(offset)s
"""
_PERSONS: Final[LiteralString] = """
  select person_id as id, person_source_value as source_value, gender_concept_id, year_of_birth
  from {cdm}.person where person_id = any(%(ids)s) order by 1 limit %(most)s
"""
_PROCEDURES: Final[LiteralString] = """
  select o.procedure_occurrence_id as id, o.procedure_source_value as source_value,
    o.procedure_concept_id as concept_id, c.concept_name, o.procedure_date as start_date, o.visit_occurrence_id
  from {cdm}.procedure_occurrence o
  left join {vocabulary}.concept c on c.concept_id = o.procedure_concept_id
  where o.person_id = %(person)s and (o.procedure_occurrence_id = any(%(ids)s) or o.procedure_date = %(day)s)
  order by 1 limit %(most)s
"""
_VISITS: Final[LiteralString] = """
  select v.visit_occurrence_id as id, v.visit_source_value as source_value, v.visit_concept_id as concept_id,
    c.concept_name, v.visit_start_date as start_date, v.visit_end_date as end_date
  from {cdm}.visit_occurrence v left join {vocabulary}.concept c on c.concept_id = v.visit_concept_id
  where v.person_id = %(person)s and (v.visit_occurrence_id = any(%(ids)s)
    or %(day)s between v.visit_start_date - 1 and coalesce(v.visit_end_date, v.visit_start_date) + 1)
  order by 1 limit %(most)s
"""
_CANDIDATES: Final[Mapping[Kind, LiteralString]] = {
    "person": _PERSONS,
    "procedure": _PROCEDURES,
    "visit": _VISITS,
}
_LINKS: Final[LiteralString] = """
  select kind, target_id, method, evidence, reason, made_by, made_at from hilum.study_link
  where study_id = %s order by array_position(array['person', 'procedure', 'visit'], kind)
"""
