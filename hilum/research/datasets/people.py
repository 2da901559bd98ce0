"""The people of a data set: by how many days each one's dates move (drawn once and kept for ever, or as the site's map
says), and everything that is known of them, from all of their studies and the CDM, that may stand in no file."""

import datetime as dt
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, LiteralString, cast

from hilum.clinical.cdm.cdm import Cdm
from hilum.core.database import Transaction
from hilum.research.datasets.selection import SelectedStudy
from hilum.research.deid.dates import older_than_89
from hilum.research.deid.identifiers import Kind
from hilum.research.deid.keys import Keys
from hilum.research.deid.person import Person
from hilum.research.deid.profile import Profile

MAX_KNOWN: Final = 4000
_SHORTEST_ID: Final = 4


@dataclass(frozen=True, slots=True)
class SetPerson:
    """A person of a data set: the new id, the CDM's if there is one, and how they are treated.

    Attributes
    ----------
    year_of_90
        For who is over 89: the year of birth, among the moved dates, of someone who is 90 on their last day.
    """

    person: Person
    person_id: int | None
    year_of_90: int | None = None

    def to_seal(self) -> dict[str, object]:
        """What is kept sealed."""
        return {"days": self.person.days, "known": sorted(self.person.known), "old": self.year_of_90}

    @classmethod
    def opened(cls, name: str, person_id: int | None, said: object) -> "SetPerson":
        """From what was sealed."""
        found = cast("dict[str, object]", said)
        told = cast("list[tuple[Kind, str]]", found["known"])
        known: frozenset[tuple[Kind, str]] = frozenset((kind, value) for kind, value in told)
        year = cast("int | None", found["old"])
        return cls(Person(name, cast("int", found["days"]), known, year is not None), person_id, year)


def name_of(study: SelectedStudy, keys: Keys) -> str:
    """The new PatientID of a study: its person_id, or a pseudonym."""
    return str(study.person_id) if study.person_id is not None else keys.pseudonym("person", study.patient_id)


def accession_of(study: SelectedStudy, occurrences: Mapping[tuple[str, str, str], int], keys: Keys) -> str:
    """The new accession number of a study: its image_occurrence_id, or a pseudonym."""
    found = occurrences.get(study.accession_key)
    if found is not None:
        return str(found)
    return keys.pseudonym("accession", "\0".join(study.accession_key))


def keep_shifts(
    sql: Transaction, source_id: int, studies: Sequence[SelectedStudy], profile: Profile, keys: Keys
) -> tuple[dict[str, int], frozenset[str]]:
    """By how many days each person's dates move: as they always did, else as the site's map says, else drawn.

    Returns
    -------
    dict, frozenset
        Days by the new PatientID, and the people of whom the map now says something else than they were moved by.
    """
    patients: dict[str, set[str]] = defaultdict(set)
    for study in studies:
        patients[name_of(study, keys)].add(study.patient_id)
    if profile.full_dates:
        return dict.fromkeys(patients, 0), frozenset()
    everyone = sorted({patient for some in patients.values() for patient in some})
    given = {str(row["patient_id"]): cast("int", row["days"]) for row in sql.rows(_GIVEN, (source_id, everyone))}
    said = {name: {given[patient] for patient in some if patient in given} for name, some in patients.items()}
    new = [
        (name, min(said[name]) if said[name] else keys.drawn_shift(name), bool(said[name])) for name in sorted(patients)
    ]
    sql.rows(_KEEP, (source_id, *(list(column) for column in zip(*new, strict=True)))) if new else None
    rows = sql.rows("select person, days from hilum.person_shift where source_id = %s and person = any(%s)",
        (source_id, sorted(patients)))  # fmt: skip
    days = {str(row["person"]): cast("int", row["days"]) for row in rows}
    return days, frozenset(name for name, some in said.items() if some - {days[name]})


def known_of(sql: Transaction, source_id: int, cdm: Cdm | None, studies: Sequence[SelectedStudy], keys: Keys) -> dict[
    str, frozenset[tuple[Kind, str]]
]:  # fmt: skip
    """What is known of the people of studies, by the new PatientID: of all their studies in the source, selected or
    not, and what the CDM calls them."""
    names: dict[tuple[int | None, str], str] = {
        (study.person_id, study.patient_id): name_of(study, keys) for study in studies
    }
    by_person = {person: name for (person, _), name in names.items() if person is not None}
    by_patient = {patient: name for (_, patient), name in names.items()}
    found: dict[str, set[tuple[Kind, str]]] = defaultdict(set)
    for row in sql.rows(_KNOWN, (source_id, list(by_person), list(by_patient))):
        name = by_person.get(cast("int", row["person_id"])) or by_patient.get(str(row["patient_id"]))
        if name is None:
            continue
        known = found[name]
        known |= {("name", str(row["patient_name_dicom"])), ("name", str(row["referring_physician_dicom"]))}
        known.add(("id", str(row["patient_id"])))
        if len(str(row["accession_number"])) >= _SHORTEST_ID:
            known.add(("id", str(row["accession_number"])))
        born = row["patient_birth_date"]
        if isinstance(born, dt.date):
            known.add(("date", f"{born:%Y%m%d}"))
    if cdm is not None:
        for row in sql.rows(cdm.sql(_SOURCE_VALUES), (list(by_person),)):
            known = found[by_person[cast("int", row["person_id"])]]
            known.add(("id", str(row["person_source_value"])))
    return {name: frozenset(sorted(one for one in known if one[1])[:MAX_KNOWN]) for name, known in found.items()}


def over_89(sql: Transaction, cdm: Cdm | None, studies: Sequence[SelectedStudy], keys: Keys) -> dict[str, dt.date]:
    """Who is over 89 at a study of the set, or while the CDM observes them, each with the last such day; where the day
    of birth is not known, the first of the year or month counts."""
    by_person = {study.person_id: name_of(study, keys) for study in studies if study.person_id is not None}
    if cdm is None or not by_person:
        return {}
    last: dict[int, dt.date] = {}
    for study in studies:
        if study.person_id is not None and study.study_date is not None:
            last[study.person_id] = max(study.study_date, last.get(study.person_id, study.study_date))
    found: dict[str, dt.date] = {}
    for row in sql.rows(cdm.sql(_AGES), (list(by_person),)):
        number = cast("int", row["person_id"])
        born = dt.date(*(cast("int", row[part]) for part in ("year", "month", "day")))
        days = [day for day in (last.get(number), row["observed"]) if isinstance(day, dt.date)]
        if days and older_than_89(born, max(days)):
            found[by_person[number]] = max(days)
    return found


_AGES: Final[LiteralString] = """
  select p.person_id, p.year_of_birth as year, coalesce(nullif(p.month_of_birth, 0), 1) as month,
    case when p.month_of_birth is null then 1 else coalesce(nullif(p.day_of_birth, 0), 1) end as day,
    max(o.observation_period_end_date) as observed
  from {cdm}.person p left join {cdm}.observation_period o on o.person_id = p.person_id
  where p.person_id = any(%s) and p.year_of_birth between 1 and 9999 group by 1, 2, 3, 4
"""
_GIVEN: Final[LiteralString] = """
  select patient_id, min(days_shifted) as days from hilum.person_map
  where source_id = %s and patient_id = any(%s) and days_shifted is not null group by 1
"""
_KEEP: Final[LiteralString] = """
  insert into hilum.person_shift (source_id, person, days, given)
  select %s, person, days, given from unnest(%s::text[], %s::integer[], %s::boolean[]) g (person, days, given)
  on conflict (source_id, person) do nothing
"""
_KNOWN: Final[LiteralString] = """
  select distinct s.person_id, s.patient_id, s.patient_name_dicom, s.referring_physician_dicom, s.accession_number,
    s.patient_birth_date
  from hilum.study s where s.source_id = %s and (s.person_id = any(%s) or s.patient_id = any(%s))
"""
_SOURCE_VALUES: Final[LiteralString] = """
  select person_id, person_source_value from {cdm}.person
  where person_id = any(%s) and coalesce(person_source_value, '') <> ''
"""
