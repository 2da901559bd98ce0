"""The page on FHIR says what the code does."""

import json
import re
from datetime import date, time
from pathlib import Path

from fastapi.routing import APIRoute

from hilum.clinical.fhir import publication_routes, publish, routes, search
from hilum.clinical.fhir.client import _OF_SERVER, SECONDS  # pyright: ignore[reportPrivateUsage]
from hilum.clinical.fhir.imaging_study import make_imaging_study

PAGE = (Path(__file__).parents[2] / "docs/reference/fhir.md").read_text()


def tables(heading: str) -> list[list[list[str]]]:
    """The rows of each table below a heading, without their heads."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    found: list[list[list[str]]] = []
    for block in section.split("\n\n"):
        lines = [line for line in block.split("\n") if line.startswith("|")]
        if lines:
            found.append([[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))] for line in lines[2:]])
    return found


def words(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def addresses(router: object, prefix: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for route in router.routes:  # pyright: ignore[reportAttributeAccessIssue]
        if isinstance(route, APIRoute) and route.include_in_schema:
            found.setdefault(route.path.removeprefix(prefix), set()).update(route.methods)
    return found


def test_the_page_names_every_address() -> None:
    (rows,) = tables("Addresses")
    assert {words(row[0])[0]: set(row[1].split()) for row in rows} == addresses(routes.router, routes.BASE)
    (others,) = tables("Publication")
    named = {word.split()[1]: {word.split()[0]} for row in others for word in words(row[0])}
    assert named == addresses(publication_routes.router, "")


def test_the_page_names_every_search_parameter() -> None:
    found, controls = tables("Search parameters")
    assert {name: row[1] for row in found for name in words(row[0])} == {p.name: p.kind for p in search.PARAMETERS}
    assert {name for row in controls for name in words(row[0])} == set(search.CONTROLS)
    text = PAGE.partition("Dates take")[2]
    assert set(words(text)[:9]) == set(search._COMPARED)  # pyright: ignore[reportPrivateUsage]
    assert f"{search.COUNT} at first, at most {search.MAX_COUNT}" in PAGE
    assert all(f"`{name}`" in controls[1][1] for name in search._SORTS)  # pyright: ignore[reportPrivateUsage]


def test_the_page_names_every_element() -> None:
    (rows,) = tables("ImagingStudy")
    named = {word for row in rows for word in words(row[1])}
    series = {
        "series_instance_uid": "1.2.3", "series_number": 1, "modality": "CT", "series_description": "s",
        "body_part": "HEAD", "anatomic_region": "", "laterality": "L",
        "series_date": date(2024, 1, 1), "series_time": time(1),
        "procedure_step_date": None, "procedure_step_time": None,
        "instances": [("1.2.3.4", "1.2.840.10008.5.1.4.1.1.2", 1)], "num_instances": 1,
    }  # fmt: skip
    study = {
        "study_instance_uid": "1.2", "source_id": 1, "source_key": "default", "availability": "local",
        "timezone_offset": "+0000", "study_date": date(2024, 1, 1), "study_time": time(1), "modalities": [],
        "patient_id": "P", "study_description": "d", "accession_number": "A", "patient_name": "N",
        "issuer_of_patient_id": "1.2", "person_id": 1, "deleted_at": None,
    }  # fmt: skip
    resource = make_imaging_study(study, [series], 1, "Patient/{person_id}").resource
    one = resource["series"][0]  # pyright: ignore[reportIndexIssue]
    elements = {*resource, *one, *one["instance"][0]} - {"resourceType", "extension"}
    assert elements <= named
    assert (
        not named
        - elements
        - {"identifier", "reference", "display", "urn:dicom:uid", "ACSN", "MR"}
        - {"urn:hilum:fhir:study-revision"}
    )
    assert set(words("".join(row[2] for row in rows if row[1] == "`status`"))) == {
        "available", "registered", "cancelled",
    }  # fmt: skip
    assert json.dumps(resource).count("urn:hilum:fhir:study-revision") == 1


def test_the_page_names_how_failures_are_waited_for() -> None:
    section = PAGE.partition("\n## Publication\n")[2]
    listed = set(map(int, re.findall(r"\b[45]\d\d\b", section)))
    assert listed == _OF_SERVER - {407, 425}
    manners = publish.Manners()
    assert (manners.answer, manners.server_wait, manners.study_wait) == (SECONDS, (2, 300), (30, 3600))
    assert publish.MAX_REFUSED == 5
