"""The rows of the CDM that a study may be tied to: those that the rules came upon, those that only a person would think
of (whose procedure has the accession number; who is of the same sex, born on the same day), and those that somebody
looks for by id. Each with what speaks for it and what against it. Nothing is decided here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from typing import Final, LiteralString, cast

from hilum.clinical.cdm.cdm import Cdm
from hilum.clinical.cdm.concepts import FEMALE, MALE, modality_words
from hilum.clinical.linkage import compare
from hilum.clinical.linkage.compare import Facts, PersonFacts, ProcedureFacts, Trait, VisitFacts
from hilum.core.database import Row, Transaction

MOST: Final = 10
FOUND: Final = 20


@dataclass(frozen=True, slots=True)
class Candidate:
    """A row of the CDM that a study may be tied to; what its kind does not have is None."""

    id: int
    source_value: str
    traits: tuple[Trait, ...]
    gender_concept_id: int | None = None
    year_of_birth: int | None = None
    concept_id: int | None = None
    concept_name: str | None = None
    start_date: date | None = None
    end_date: date | None = None
    visit_occurrence_id: int | None = None


@dataclass(frozen=True, slots=True)
class Offer:
    """What comes into question for one study: candidates, the best first, and the procedures of other persons on which
    its accession number is: ``(procedure_occurrence_id, person_id)``."""

    candidates: tuple[Candidate, ...] = ()
    strangers: tuple[tuple[int, int], ...] = ()


@dataclass(slots=True)
class _Gathered:
    candidates: list[Candidate] = field(default_factory=list[Candidate])
    owners: dict[int, int] = field(default_factory=dict[int, int])
    own: int | None = None


def offers(sql: Transaction, cdm: Cdm, kind: str, studies: Sequence[int]) -> dict[int, Offer]:
    """What comes into question for studies of one source that wait; a statement or two for all of them."""
    facts = _facts(sql, studies)
    gathered = {study: _Gathered() for study in studies}
    for row in sql.rows(cdm.sql(_OWNERS), {"studies": list(studies)}):
        of_study = gathered[_number(row, "study")]
        of_study.owners[_number(row, "procedure_occurrence_id")] = _number(row, "person_id")
        of_study.own = cast("int | None", row["own"])
    if kind == "person":
        owned = [(study, person) for study, own in gathered.items() for person in set(own.owners.values())]
        values = {
            "studies": list(studies), "male": MALE, "female": FEMALE, "most": MOST,
            "owned": [study for study, _ in owned], "owners": [person for _, person in owned],
        }  # fmt: skip
        rows = sql.rows(cdm.sql(_PERSONS), values)
    elif kind == "procedure":
        rows = sql.rows(cdm.sql(_PROCEDURES), {"studies": list(studies)})
    else:
        rows = sql.rows(cdm.sql(_VISITS), {"studies": list(studies)})
    for row in rows:
        study = _number(row, "study")
        made = _candidate(kind, facts[study], row, gathered[study].owners)
        gathered[study].candidates.append(made)
    return {study: _offer(kind, own) for study, own in gathered.items()}


def search(sql: Transaction, cdm: Cdm, kind: str, study: int, words: str) -> tuple[Candidate, ...]:
    """Rows whose id is what somebody looks for, or whose source value begins so; of procedures and visits only those of
    the study's person, nearest in time first. Without words: what comes into question anyway, or all of the person's.

    Parameters
    ----------
    sql
        Where.
    cdm
        Of the study's source.
    kind
        ``person``, ``procedure`` or ``visit``.
    study
        Hilum's number of the study.
    words
        An id, or how a source value begins.
    """
    given = words.strip()
    if kind == "person" and not given:
        return offers(sql, cdm, kind, [study])[study].candidates
    facts = _facts(sql, [study])[study]
    owners = {
        _number(row, "procedure_occurrence_id"): _number(row, "person_id")
        for row in sql.rows(cdm.sql(_OWNERS), {"studies": [study]})
    }
    begins = given.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_") + "%"
    digits = given if given.isascii() and given.isdecimal() and len(given) < 19 else None
    values = {"studies": [study], "begins": begins, "digits": digits, "most": FOUND}
    statement = _SEARCH[kind]
    return tuple(_candidate(kind, facts, row, owners) for row in sql.rows(cdm.sql(statement), values))


def _offer(kind: str, gathered: _Gathered) -> Offer:
    best = sorted(gathered.candidates, key=lambda one: (-compare.score(one.traits), one.id))
    strangers: tuple[tuple[int, int], ...] = ()
    if kind != "person":
        strangers = tuple((number, person) for number, person in gathered.owners.items() if person != gathered.own)
    return Offer(tuple(best[:MOST]), strangers)


def _facts(sql: Transaction, studies: Sequence[int]) -> dict[int, Facts]:
    return {
        _number(row, "id"): Facts(
            patient_id=str(row["patient_id"]),
            sex=str(row["patient_sex"]),
            born=cast("date | None", row["patient_birth_date"]),
            accession_number=str(row["accession_number"]),
            day=cast("date | None", row["study_date"]),
            time=cast("time | None", row["study_time"]),
            modalities=tuple(cast("Sequence[str]", row["modalities"])),
        )
        for row in sql.rows(_FACTS, (list(studies),))
    }


def _candidate(kind: str, facts: Facts, row: Row, owners: Mapping[int, int]) -> Candidate:
    number, value = _number(row, "id"), str(row["source_value"] or "")
    if kind == "person":
        year, gender = cast("int | None", row["year_of_birth"]), cast("int | None", row["gender_concept_id"])
        month, day = cast("int | None", row["month_of_birth"]), cast("int | None", row["day_of_birth"])
        whose = set(owners.values())
        person = PersonFacts(number, value, gender, year, month, day, bool(row["mapped"]), whose)
        traits = compare.compare_person(facts, person)
        return Candidate(number, value, traits, gender_concept_id=gender, year_of_birth=year)
    concept, name = cast("int | None", row["concept_id"]), cast("str | None", row["concept_name"])
    begin = cast("date", row["start_date"])
    if kind == "procedure":
        words = {word for known, _, word in modality_words() if known == concept}
        procedure = ProcedureFacts(value, begin, words, bool(row["named"]), _number(row, "studies"))
        visit = cast("int | None", row["visit_occurrence_id"])
        traits = compare.compare_procedure(facts, procedure)
        return Candidate(
            number, value, traits, concept_id=concept, concept_name=name, start_date=begin, visit_occurrence_id=visit
        )
    end = cast("date | None", row["end_date"])
    moments = cast("datetime | None", row["start_moment"]), cast("datetime | None", row["end_moment"])
    traits = compare.compare_visit(facts, VisitFacts(*moments, begin, end))
    return Candidate(number, value, traits, concept_id=concept, concept_name=name, start_date=begin, end_date=end)


def _number(row: Row, name: str) -> int:
    return cast("int", row[name])


_FACTS: Final[LiteralString] = """
  select id, patient_id, patient_sex, patient_birth_date, accession_number, study_date, study_time, modalities
  from hilum.study where id = any(%s)
"""
# Few CDMs have an index on source values or dates: one pass over the procedures for all studies of a page, by the day.
_OWNERS: Final[LiteralString] = """
  with given as materialized (
    select s.id, s.accession_number as number, s.study_date + around as day, l.target_id as person_id
    from hilum.study s left join hilum.study_link l on l.study_id = s.id and l.kind = 'person'
    cross join generate_series(-1, 1) around
    where s.id = any(%(studies)s) and s.accession_number <> '' and s.study_date is not null
  )
  select g.id as study, o.procedure_occurrence_id, o.person_id, g.person_id as own
  from given g join {cdm}.procedure_occurrence o on o.procedure_date = g.day
    and g.number = any(string_to_array(o.procedure_source_value, '|'))
"""
_PERSON: Final[LiteralString] = """
  e.person_id as id, e.person_source_value as source_value, e.gender_concept_id, e.year_of_birth, e.month_of_birth,
  e.day_of_birth, exists (select from hilum.person_map m join hilum.study s on s.source_id = m.source_id
    and s.patient_id = m.patient_id where s.id = g.id and m.person_id = e.person_id) as mapped
"""
_PERSONS: Final[LiteralString] = f"""
  with given as materialized (
    select s.id, s.patient_birth_date as born, l.evidence,
      case upper(s.patient_sex) when 'M' then %(male)s when 'F' then %(female)s end as sex
    from hilum.study s join hilum.study_link l on l.study_id = s.id and l.kind = 'person' where s.id = any(%(studies)s)
  ), likely as materialized (
    select g.id, c.value::bigint as person_id, 0 as rank from given g
    cross join lateral jsonb_array_elements_text(coalesce(g.evidence->'candidates', '[]')) c
    union all
    select study, person_id, 1 from unnest(%(owned)s::bigint[], %(owners)s::bigint[]) o (study, person_id)
    union all
    select g.id, p.person_id, 2 from given g join {{cdm}}.person p on p.gender_concept_id = g.sex
      and p.year_of_birth = extract(year from g.born)::int and p.month_of_birth = extract(month from g.born)::int
      and p.day_of_birth = extract(day from g.born)::int
  ), ranked as (
    select id, person_id, row_number() over (partition by id order by min(rank), person_id) as place
    from likely group by id, person_id
  )
  select g.id as study, {_PERSON}
  from ranked g join {{cdm}}.person e on e.person_id = g.person_id where g.place <= %(most)s
"""
_SEARCH_PERSONS: Final[LiteralString] = f"""
  select g.id as study, {_PERSON}
  from unnest(%(studies)s::bigint[]) g (id) cross join {{cdm}}.person e
  where e.person_id = %(digits)s::bigint or e.person_source_value ilike %(begins)s order by e.person_id limit %(most)s
"""
_PROCEDURE: Final[LiteralString] = """
  o.procedure_occurrence_id as id, o.procedure_source_value as source_value, o.procedure_concept_id as concept_id,
  c.concept_name, o.procedure_date as start_date, o.visit_occurrence_id,
  coalesce(l.evidence->'candidates' @> to_jsonb(o.procedure_occurrence_id), false) as named,
  (select count(*) from hilum.study_link t join hilum.study x on x.id = t.study_id where t.kind = 'procedure'
    and t.target_id = o.procedure_occurrence_id and t.study_id <> s.id and x.source_id = s.source_id
    and x.deleted_at is null) as studies
"""
_OF_PERSON: Final[LiteralString] = """
  from hilum.study s join hilum.study_link p on p.study_id = s.id and p.kind = 'person' and p.target_id is not null
"""
_LIKELY_PROCEDURES: Final[LiteralString] = """
  join {cdm}.procedure_occurrence o on o.person_id = p.target_id
  left join hilum.study_link l on l.study_id = s.id and l.kind = 'procedure'
  left join {vocabulary}.concept c on c.concept_id = o.procedure_concept_id
"""
_PROCEDURES: Final[LiteralString] = f"""
  select s.id as study, {_PROCEDURE} {_OF_PERSON} {_LIKELY_PROCEDURES}
  where s.id = any(%(studies)s) and (o.procedure_date = s.study_date
    or l.evidence->'candidates' @> to_jsonb(o.procedure_occurrence_id))
"""
_SEARCH_PROCEDURES: Final[LiteralString] = f"""
  select s.id as study, {_PROCEDURE} {_OF_PERSON} {_LIKELY_PROCEDURES}
  where s.id = any(%(studies)s) and (o.procedure_occurrence_id = %(digits)s::bigint
    or coalesce(o.procedure_source_value, '') ilike %(begins)s)
  order by abs(o.procedure_date - s.study_date), o.procedure_occurrence_id limit %(most)s
"""
_VISIT: Final[LiteralString] = """
  v.visit_occurrence_id as id, v.visit_source_value as source_value, v.visit_concept_id as concept_id,
  c.concept_name, v.visit_start_date as start_date, v.visit_end_date as end_date,
  v.visit_start_datetime as start_moment, v.visit_end_datetime as end_moment
"""
_LIKELY_VISITS: Final[LiteralString] = """
  join {cdm}.visit_occurrence v on v.person_id = p.target_id
  left join {vocabulary}.concept c on c.concept_id = v.visit_concept_id
"""
_VISITS: Final[LiteralString] = f"""
  select s.id as study, {_VISIT} {_OF_PERSON} {_LIKELY_VISITS}
  left join hilum.study_link l on l.study_id = s.id and l.kind = 'visit'
  where s.id = any(%(studies)s) and (l.evidence->'candidates' @> to_jsonb(v.visit_occurrence_id)
    or s.study_date between v.visit_start_date - 1 and coalesce(v.visit_end_date, v.visit_start_date) + 1)
"""
_SEARCH_VISITS: Final[LiteralString] = f"""
  select s.id as study, {_VISIT} {_OF_PERSON} {_LIKELY_VISITS}
  where s.id = any(%(studies)s) and (v.visit_occurrence_id = %(digits)s::bigint
    or coalesce(v.visit_source_value, '') ilike %(begins)s)
  order by abs(v.visit_start_date - s.study_date), v.visit_occurrence_id limit %(most)s
"""
_SEARCH: Final[Mapping[str, LiteralString]] = {
    "person": _SEARCH_PERSONS,
    "procedure": _SEARCH_PROCEDURES,
    "visit": _SEARCH_VISITS,
}
