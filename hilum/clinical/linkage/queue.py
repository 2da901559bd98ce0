"""What waits for a person: studies whose person, procedure or visit no rule finds, each with the reason, the evidence
and the rows of the CDM that come into question."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final, Literal, LiteralString, TypeAlias, cast

from hilum.clinical.cdm.cdm import require_cdm
from hilum.clinical.linkage import persons, procedures, visits
from hilum.clinical.linkage.candidates import Offer, offers
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
    """Which entries: of one source, of one kind, with one reason; only those that a person refused to link, or only the
    others; None asks for nothing."""

    source: str | None = None
    kind: Kind | None = None
    reason: str | None = None
    refused: bool | None = None


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
    values = {"source": wanted.source, "kind": wanted.kind, "reason": wanted.reason, "refused": wanted.refused}
    (count,) = sql.rows(_COUNT, values)
    rows = sql.rows(_PAGE, values | {"limit": limit, "offset": offset})
    found = _offers(sql, rows)
    return [row | _told(row, found[row["study_id"], row["kind"]]) for row in rows], cast("int", count["total"])


def alike(sql: Transaction, study: int) -> list[int]:
    """The studies that wait for a person for the same reason as this one, of the same patient: PatientID, issuer, name,
    sex and birth date are the same. This one is among them; a study without a PatientID is like none."""
    return [cast("int", row["id"]) for row in sql.rows(_ALIKE, {"study": study})]


def _told(row: Row, offer: Offer) -> dict[str, object]:
    text = TEXTS[str(row["kind"])][str(row["reason"])]
    strangers = [{"procedure_occurrence_id": procedure, "person_id": person} for procedure, person in offer.strangers]
    return {"text": text, "candidates": [asdict(one) for one in offer.candidates], "strangers": strangers}


def _offers(sql: Transaction, rows: Sequence[Row]) -> dict[tuple[object, object], Offer]:
    """What comes into question for each entry, asked once for all of a source and kind."""
    studies: dict[tuple[str, str], list[int]] = {}
    for row in rows:
        studies.setdefault((str(row["source"]), str(row["kind"])), []).append(cast("int", row["study_id"]))
    found: dict[tuple[object, object], Offer] = {}
    for (source, kind), numbers in studies.items():
        for study, offer in offers(sql, require_cdm(sql, source), kind, numbers).items():
            found[study, kind] = offer
    return found


def sources(sql: Transaction) -> list[Row]:
    """The sources with the schema of their CDM, empty where there is none, and how many links wait that nobody has
    refused."""
    return sql.rows(_SOURCES)


def links_of(sql: Transaction, study: int) -> list[Row]:
    """The links of a study: kind, target, method, evidence, who made it and when, and a reason where it waits."""
    rows = sql.rows(_LINKS, (study,))
    return [row | {"text": TEXTS[str(row["kind"])].get(str(row["reason"]), "")} for row in rows]


_WAITING: Final[LiteralString] = """
  from hilum.study_link l join hilum.study s on s.id = l.study_id join hilum.source k on k.id = s.source_id
  where l.reason <> '' and s.deleted_at is null and k.cdm_schema <> ''
    and k.key = coalesce(%(source)s, k.key)
"""
_COUNTS: Final[LiteralString] = f"""
  select l.kind, l.reason, count(*) as studies {_WAITING} group by 1, 2 order by 3 desc, 1, 2
"""
_ASKED: Final[LiteralString] = """
  and l.kind = coalesce(%(kind)s, l.kind) and l.reason = coalesce(%(reason)s, l.reason)
  and (l.reason = 'unlinked') = coalesce(%(refused)s, l.reason = 'unlinked')
"""
# Of `s` and `l`, whose like is `t` with `m`.
_LIKE: Final[LiteralString] = """
  t.patient_pk = s.patient_pk and t.deleted_at is null and t.patient_id <> '' and t.patient_name = s.patient_name
  and t.patient_sex = s.patient_sex and t.patient_birth_date is not distinct from s.patient_birth_date
  and m.kind = 'person' and m.reason = l.reason
"""
_COUNT: Final[LiteralString] = f"select count(*) as total {_WAITING} {_ASKED}"
_PAGE: Final[LiteralString] = f"""
  select s.id as study_id, s.study_instance_uid, k.key as source, s.patient_id, s.patient_name, s.patient_sex,
    s.patient_birth_date, s.study_date, s.study_time, s.modalities, s.accession_number, s.study_description,
    s.num_images, case when l.kind = 'person' and s.patient_id <> '' then (select count(*) from hilum.study t
      join hilum.study_link m on m.study_id = t.id where {_LIKE}) else 1 end as alike,
    p.target_id as person_id, l.kind, l.reason, l.evidence, l.made_by, l.made_at
  {_WAITING.replace("where", "left join hilum.study_link p on p.study_id = s.id and p.kind = 'person' where")}
    {_ASKED}
  order by s.study_date desc nulls last, s.id desc, l.kind limit %(limit)s offset %(offset)s
"""
_ALIKE: Final[LiteralString] = f"""
  select t.id from hilum.study s join hilum.study_link l on l.study_id = s.id and l.kind = 'person'
  join hilum.study t on true join hilum.study_link m on m.study_id = t.id
  where s.id = %(study)s and l.reason <> '' and {_LIKE}
  union select %(study)s
"""
_SOURCES: Final[LiteralString] = """
  select k.key, k.name, k.cdm_schema, k.cdm_attached as attached, (select count(*) from hilum.study_link l
    join hilum.study s on s.id = l.study_id where s.source_id = k.id and s.deleted_at is null and k.cdm_schema <> ''
      and l.reason <> '' and l.reason <> 'unlinked') as waiting
  from hilum.source k where not k.removed order by k.cdm_schema = '', k.key
"""
_LINKS: Final[LiteralString] = """
  select kind, target_id, method, evidence, reason, made_by, made_at from hilum.study_link
  where study_id = %s order by array_position(array['person', 'procedure', 'visit'], kind)
"""
