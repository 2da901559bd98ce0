"""What speaks for a row of the CDM as what a study belongs to, and what against it, attribute by attribute. Pure."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Literal, TypeAlias

from hilum.clinical.cdm.concepts import FEMALE, MALE

Verdict: TypeAlias = Literal["agrees", "differs", "unknown"]
_SEXES = {MALE: "M", FEMALE: "F"}


@dataclass(frozen=True, slots=True)
class Trait:
    """One attribute of a study beside the same of a candidate; texts as a person reads them, empty where not known."""

    name: Literal["patient_id", "sex", "birth_date", "accession_number", "date", "time", "modality", "free"]
    verdict: Verdict
    study: str
    candidate: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What is compared of a study."""

    patient_id: str
    sex: str
    born: date | None
    accession_number: str
    day: date | None
    time: time | None
    modalities: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PersonFacts:
    """What is compared of a person; ``mapped`` where the site's mapping table names it, ``owners`` are the persons on
    whose procedures the study's accession number is."""

    person_id: int
    source_value: str
    gender_concept_id: int | None
    year: int | None
    month: int | None
    day: int | None
    mapped: bool
    owners: Collection[int]


@dataclass(frozen=True, slots=True)
class ProcedureFacts:
    """What is compared of a procedure; ``modalities`` are those of its concept, ``named`` says that a rule found it to
    be of the study's modality, ``studies`` how many other studies are tied to it."""

    source_value: str
    day: date | None
    modalities: Collection[str]
    named: bool
    studies: int


@dataclass(frozen=True, slots=True)
class VisitFacts:
    """What is compared of a visit: its first and last moments."""

    start: datetime | None
    end: datetime | None
    start_day: date
    end_day: date | None


def compare_person(study: Facts, person: PersonFacts) -> tuple[Trait, ...]:
    """PatientID, sex, birth date and accession number."""
    same_id = person.mapped or person.source_value == study.patient_id
    number = "unknown"
    if person.owners:
        number = "agrees" if person.person_id in person.owners else "differs"
    sex = _SEXES.get(person.gender_concept_id or 0, "")
    told = study.sex.upper()
    owners = ", ".join(str(owner) for owner in sorted(person.owners))
    return (
        Trait("patient_id", _verdict(study.patient_id, person.source_value, same_id), study.patient_id,
              "in the mapping table" if person.mapped else person.source_value),
        Trait("sex", _verdict(told if told in ("M", "F") else "", sex, told == sex), study.sex, sex),
        Trait("birth_date", _birth(study.born, person), str(study.born or ""), _partial(person)),
        Trait("accession_number", number, study.accession_number, f"on a procedure of {owners}" if owners else ""),
    )  # fmt: skip


def compare_procedure(study: Facts, procedure: ProcedureFacts) -> tuple[Trait, ...]:
    """Accession number, day, modality, and whether it is another study's already."""
    holds = study.accession_number != "" and study.accession_number in procedure.source_value.split("|")
    same = procedure.named or any(word in procedure.modalities for word in study.modalities)
    modality = "agrees" if same else "differs" if procedure.modalities else "unknown"
    others = f"{procedure.studies} other {'study is' if procedure.studies == 1 else 'studies are'} tied to it"
    return (
        Trait("accession_number", "agrees" if holds else "unknown", study.accession_number, procedure.source_value),
        Trait("date", _verdict(str(study.day or ""), str(procedure.day or ""), study.day == procedure.day),
              str(study.day or ""), str(procedure.day or "")),
        Trait("modality", modality, "/".join(study.modalities), "/".join(sorted(procedure.modalities))),
        Trait("free", "differs" if procedure.studies else "agrees", "", others if procedure.studies else ""),
    )  # fmt: skip


def compare_visit(study: Facts, visit: VisitFacts) -> tuple[Trait, ...]:
    """Day and time. A visit that ends at midnight of a day lasts until that day is over."""
    last = visit.end_day or visit.start_day
    days = f"{visit.start_day} to {last}" if last != visit.start_day else str(visit.start_day)
    day: Verdict = "unknown"
    moment: Verdict = "unknown"
    if study.day is not None:
        day = "agrees" if visit.start_day <= study.day <= last else "differs"
    if study.day is not None and study.time is not None and day == "agrees":
        when = datetime.combine(study.day, study.time)
        begin = visit.start or datetime.combine(visit.start_day, time.min)
        midnight = datetime.combine(last, time.min)
        end = midnight + timedelta(days=1) if visit.end is None or visit.end == midnight else visit.end
        moment = "agrees" if begin <= when <= end else "differs"
    told = f"{study.day or ''}"
    span = " to ".join(f"{one:%H:%M}" for one in (visit.start, visit.end) if one is not None)
    return (
        Trait("date", day, told, days),
        Trait("time", moment, f"{study.time:%H:%M}" if study.time else "", span),
    )


def score(traits: Collection[Trait]) -> int:
    """How much more agrees than differs, for the order of candidates."""
    weights = {"agrees": 1, "differs": -1, "unknown": 0}
    return sum(weights[trait.verdict] for trait in traits)


def _verdict(study: str, candidate: str, same: bool) -> Verdict:
    if same and study:
        return "agrees"
    return "differs" if study and candidate else "unknown"


def _birth(born: date | None, person: PersonFacts) -> Verdict:
    if born is None or person.year is None:
        return "unknown"
    parts = ((person.year, born.year), (person.month, born.month), (person.day, born.day))
    return "agrees" if all(known is None or known == told for known, told in parts) else "differs"


def _partial(person: PersonFacts) -> str:
    known = [person.year, person.month, person.day]
    until = known.index(None) if None in known else len(known)
    return "-".join(f"{part:02d}" for part in known[:until] if part is not None)
