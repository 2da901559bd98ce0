"""What is odd in the demo's CDM, so that some studies cannot be tied to it by rules: a person registered twice, orders
that are missing, doubled or another's, visits on the wrong day or two at once. Which study has which stands with the
misfits of the story; here the rows are bent accordingly, after the rightful ones were made."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TypeAlias

from hilum.demo.people import Misfit, Story

Row: TypeAlias = dict[str, str | int]


@dataclass(frozen=True, slots=True)
class Tables:
    """The rows of the CDM's tables."""

    care_site: list[Row]
    person: list[Row]
    observation_period: list[Row]
    visit_occurrence: list[Row]
    procedure_occurrence: list[Row]
    condition_occurrence: list[Row]
    note: list[Row]


@dataclass(frozen=True, slots=True)
class _Case:
    """One misfit with the rows that its study has by right."""

    misfit: Misfit
    tables: Tables
    visit: Row
    procedure: Row
    note: Row


def bend(story: Story, tables: Tables) -> None:
    """Make the CDM as odd as the misfits of the story want it; each study has one visit, procedure and note so far, in
    the order of the story."""
    rows = zip(story.studies, tables.visit_occurrence, tables.procedure_occurrence, tables.note, strict=True)
    for study, visit, procedure, note in list(rows):
        misfit = story.misfits.get(study.key)
        if misfit is not None and misfit.cdm:
            _ODDITIES[misfit.cdm](_Case(misfit, tables, visit, procedure, note))


def _registered_twice(case: _Case) -> None:
    (known,) = (row for row in case.tables.person if row["person_id"] == case.procedure["person_id"])
    number = 1001 + len(case.tables.person)
    again: Row = {"person_id": number, "month_of_birth": "", "day_of_birth": "", "birth_datetime": ""}
    case.tables.person.append(known | again)


def _ordered_twice(case: _Case) -> None:
    _add_procedure(case, {"procedure_source_value": f"{case.procedure['procedure_source_value']}-2"})


def _never_ordered(case: _Case) -> None:
    case.tables.procedure_occurrence.remove(case.procedure)
    case.tables.note.remove(case.note)


def _order_of_another(case: _Case) -> None:
    code, number = str(case.procedure["procedure_source_value"]).split("|")[0], case.misfit.header["AccessionNumber"]
    (other,) = (row for row in case.tables.person if row["person_source_value"] == case.misfit.other)
    order: Row = {"visit_occurrence_id": "", "procedure_source_value": f"{code}|{number}"}
    _add_procedure(case, {"person_id": other["person_id"]} | order)


def _visit_the_day_before(case: _Case) -> None:
    case.procedure["visit_occurrence_id"] = ""
    _move_visit(case.visit, -1, -1)


def _two_visits(case: _Case) -> None:
    case.procedure["visit_occurrence_id"] = ""
    number, name = 5001 + len(case.tables.visit_occurrence), f"{case.visit['visit_source_value']}-W"
    stay: Row = {"visit_occurrence_id": number, "visit_concept_id": 9201, "visit_source_value": name}
    _move_visit(ward := case.visit | stay, -2, 7)
    case.tables.visit_occurrence.append(ward)


def _add_procedure(case: _Case, changes: Row) -> None:
    number = 7001 + len(case.tables.procedure_occurrence)
    while any(row["procedure_occurrence_id"] == number for row in case.tables.procedure_occurrence):
        number += 1
    case.tables.procedure_occurrence.append(case.procedure | {"procedure_occurrence_id": number} | changes)


def _move_visit(visit: Row, start_days: int, end_days: int) -> None:
    for word, days in (("start", start_days), ("end", end_days)):
        day = date.fromisoformat(str(visit[f"visit_{word}_date"])) + timedelta(days)
        time = str(visit[f"visit_{word}_datetime"])[10:]
        visit[f"visit_{word}_date"], visit[f"visit_{word}_datetime"] = str(day), f"{day}{time}"


_ODDITIES: dict[str, Callable[[_Case], None]] = {
    "registered_twice": _registered_twice,
    "ordered_twice": _ordered_twice,
    "never_ordered": _never_ordered,
    "order_of_another": _order_of_another,
    "visit_the_day_before": _visit_the_day_before,
    "two_visits": _two_visits,
}
