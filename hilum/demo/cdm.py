"""The demo's clinical story as OMOP CDM 5.4 CSVs: sites, persons, the time they are observed, visits, imaging
procedures, conditions and notes, with what is odd in them. The imaging tables are not among them: linking images to
procedures is what the archive is for."""

import csv
from dataclasses import fields
from pathlib import Path

from hilum.demo.exams.common import Exam, exam_of
from hilum.demo.oddities import Row, Tables, bend
from hilum.demo.people import Story, Study
from hilum.demo.reports import condition_of, report_of

_GENDER = {"M": 8507, "F": 8532}
_EHR, _ENGLISH, _UTF8 = 32817, 4180186, 32678
_PROCEDURE_FIELD = 1147082


def person_ids(story: Story) -> dict[str, int]:
    """OMOP person_id of each patient id."""
    return {person.patient_id: 1001 + place for place, person in enumerate(story.persons)}


def write_cdm(story: Story, folder: Path) -> dict[str, int]:
    """Write one CSV a table into `folder`; returns the rows of each.

    Accession numbers stand in procedure_source_value after the code, as ``<code>|<accession>``, so that studies can be
    matched; a note points at its procedure by note_event_id (field concept 1147082).
    """
    tables = _tables(story)
    folder.mkdir(parents=True, exist_ok=True)
    counts: dict[str, int] = {}
    for name in (field.name for field in fields(Tables)):
        rows: list[Row] = getattr(tables, name)
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        counts[name] = len(rows)
    return counts


def _tables(story: Story) -> Tables:
    ids = person_ids(story)
    tables = Tables([], [], [], [], [], [], [])
    for number, site in enumerate(story.sites.values(), 1):
        tables.care_site.append(
            {"care_site_id": number, "care_site_name": site.name, "care_site_source_value": site.key}
        )
    for person in story.persons:
        born = person.birth_date
        tables.person.append(
            {
                "person_id": ids[person.patient_id],
                "gender_concept_id": _GENDER.get(person.sex, 0),
                "year_of_birth": int(born[:4]),
                "month_of_birth": int(born[4:6]),
                "day_of_birth": int(born[6:]),
                "birth_datetime": f"{_date(born)} 00:00:00",
                "race_concept_id": 0,
                "ethnicity_concept_id": 0,
                "location_id": "",
                "provider_id": "",
                "care_site_id": list(story.sites).index(person.site) + 1,
                "person_source_value": person.patient_id,
                "gender_source_value": person.sex,
                "gender_source_concept_id": 0,
                "race_source_value": "",
                "race_source_concept_id": 0,
                "ethnicity_source_value": "",
                "ethnicity_source_concept_id": 0,
            }
        )
        days = [date for _, date in person.conditions]
        days += [study.date for study in story.studies if study.patient_id == person.patient_id]
        tables.observation_period.append(
            {
                "observation_period_id": 2001 + len(tables.observation_period),
                "person_id": ids[person.patient_id],
                "observation_period_start_date": _date(min(days)),
                "observation_period_end_date": "2025-12-31",
                "period_type_concept_id": _EHR,
            }
        )
        for key, date in person.conditions:
            tables.condition_occurrence.append(_condition(story, tables, ids[person.patient_id], key, date, ""))
    by_id = {person.patient_id: person for person in story.persons}
    for study in story.studies:
        _add_study(story, tables, study, exam_of(story, study, by_id[study.patient_id]), ids[study.patient_id])
    bend(story, tables)
    return tables


def write_map(story: Story, folder: Path) -> None:
    """Write a mapping table as a site would send it, ``person_map.csv``: whose the numbers of a practice and of the
    emergency room are, and two lines that cannot be used."""
    ids = person_ids(story)
    own = {study.key: study.patient_id for study in story.studies}
    named = [one for one in story.misfits.values() if one.reason == "no_person"]
    lines = {one.header["PatientID"]: ids[own[one.study]] for one in named}
    rows = [*lines.items(), ("KZ-000000", 999), ("", 1003), ("NF-100001", "unknown")]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "person_map.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("PatientID", "person_id"), *rows])


def _add_study(story: Story, tables: Tables, study: Study, exam: Exam, person_id: int) -> None:
    visit_id, procedure_id = 5001 + len(tables.visit_occurrence), 7001 + len(tables.procedure_occurrence)
    emergency = study.protocol in ("ct_head", "cr_chest_bedside", "xa_cerebral")
    tables.visit_occurrence.append(
        {
            "visit_occurrence_id": visit_id,
            "person_id": person_id,
            "visit_concept_id": 9203 if emergency else 9202,
            "visit_start_date": _date(study.date),
            "visit_start_datetime": f"{_date(study.date)} {_time(study.time)}",
            "visit_end_date": _date(study.date),
            "visit_end_datetime": f"{_date(study.date)} 23:59:59",
            "visit_type_concept_id": _EHR,
            "provider_id": "",
            "care_site_id": list(story.sites).index(exam.site.key) + 1,
            "visit_source_value": f"V{exam.accession_number}",
            "visit_source_concept_id": 0,
            "admitted_from_concept_id": 0,
            "admitted_from_source_value": "",
            "discharged_to_concept_id": 0,
            "discharged_to_source_value": "",
            "preceding_visit_occurrence_id": "",
        }
    )
    tables.procedure_occurrence.append(
        {
            "procedure_occurrence_id": procedure_id,
            "person_id": person_id,
            "procedure_concept_id": exam.protocol.procedure_concept_id,
            "procedure_date": _date(study.date),
            "procedure_datetime": f"{_date(study.date)} {_time(study.time)}",
            "procedure_end_date": _date(study.date),
            "procedure_end_datetime": "",
            "procedure_type_concept_id": _EHR,
            "modifier_concept_id": 0,
            "quantity": 1,
            "provider_id": "",
            "visit_occurrence_id": visit_id,
            "visit_detail_id": "",
            "procedure_source_value": f"{exam.protocol.procedure_code}|{exam.accession_number}",
            "procedure_source_concept_id": 0,
            "modifier_source_value": "",
        }
    )
    for finding in study.findings:
        key = condition_of(finding)
        if key:
            row = _condition(story, tables, person_id, key, study.date, str(visit_id))
            tables.condition_occurrence.append(row)
    title, text = report_of(story, study)
    tables.note.append(
        {
            "note_id": 9001 + len(tables.note),
            "person_id": person_id,
            "note_date": _date(study.date),
            "note_datetime": f"{_date(study.date)} {_time(study.time)}",
            "note_type_concept_id": 32841,
            "note_class_concept_id": 0,
            "note_title": title,
            "note_text": text,
            "encoding_concept_id": _UTF8,
            "language_concept_id": _ENGLISH,
            "provider_id": "",
            "visit_occurrence_id": visit_id,
            "visit_detail_id": "",
            "note_source_value": f"Radiology|{exam.accession_number}",
            "note_event_id": procedure_id,
            "note_event_field_concept_id": _PROCEDURE_FIELD,
        }
    )


def _condition(story: Story, tables: Tables, person_id: int, key: str, date: str, visit: str) -> Row:
    condition = story.conditions[key]
    return {
        "condition_occurrence_id": 3001 + len(tables.condition_occurrence),
        "person_id": person_id,
        "condition_concept_id": condition.concept_id,
        "condition_start_date": _date(date),
        "condition_start_datetime": "",
        "condition_end_date": "",
        "condition_end_datetime": "",
        "condition_type_concept_id": _EHR,
        "condition_status_concept_id": 0,
        "stop_reason": "",
        "provider_id": "",
        "visit_occurrence_id": visit,
        "visit_detail_id": "",
        "condition_source_value": condition.code,
        "condition_source_concept_id": 0,
        "condition_status_source_value": condition.name[:50],
    }


def _date(value: str) -> str:
    return f"{value[:4]}-{value[4:6]}-{value[6:]}"


def _time(value: str) -> str:
    return f"{value[:2]}:{value[2:4]}:{value[4:]}"
