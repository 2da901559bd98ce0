"""Searching and reading as FHIR R4 has it: what each parameter finds, pages, versions, conditions and refusals."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest
import sqlalchemy as sa

from hilum.clinical.fhir.outcome import BadRequest
from hilum.clinical.fhir.search import CONTROLS, PARAMETERS, parse_search
from hilum.core.postgres import EmbeddedPostgres
from hilum.imaging.archive.delete import delete_study
from hilum.imaging.archive.sources import add_source
from tests.clinical.conftest import Fhir
from tests.dicomweb.conftest import shared
from tests.make import ct, uid

STARTED = {  # of the studies below: date and offset
    1: ("20240131", "101500", "+0100"), 2: ("20240131", "233000", "+0000"), 3: ("20240201", None, None),
    4: ("20231231", "080000", None), 5: (None, None, None),
}  # fmt: skip


@pytest.fixture(scope="module")
def filled(cluster: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fhir]:
    """Five studies, of which the fifth is deleted and the fourth is another source's; no test changes them."""
    with shared(cluster, tmp_path_factory.mktemp("filled")) as web:
        fhir = Fhir(web.root.removesuffix("/dicom-web") + "/fhir", web)
        fill(fhir)
        yield fhir


def fill(fhir: Fhir) -> None:
    add_source(fhir.archive.database, "north", "North")
    for number, (day, clock, offset) in STARTED.items():
        one = ct(
            number, StudyDate=day, StudyTime=clock, TimezoneOffsetFromUTC=offset or "",
            Modality="MR" if number == 2 else "CT", PatientID="SAME" if number > 2 else f"P{number}",
            IssuerOfPatientID="1.2.3" if number == 4 else "",
        )  # fmt: skip
        source = fhir.archive.source("north" if number == 4 else "default")
        with fhir.archive.batch(source, "import") as batch:
            batch.add("x", [one])
            batch.commit()
        fhir.found(("identifier", f"urn:oid:{uid(number)}"))
    with fhir.archive.database.connect() as connection:
        query = sa.text("select id from hilum.study where study_instance_uid = :uid")
        number = connection.scalar(query, {"uid": uid(5)})
    delete_study(fhir.archive.database, number, "ann")
    fhir.tell()


FINDS = [
    ([], [1, 2, 3, 4, 5]),
    ([("identifier", f"urn:dicom:uid|urn:oid:{uid(2)}")], [2]),
    ([("identifier", f"urn:oid:{uid(2)},urn:oid:{uid(3)}")], [2, 3]),
    ([("identifier", f"urn:oid:{uid(2)}"), ("identifier", f"urn:oid:{uid(3)}")], []),
    ([("identifier", f"other|urn:oid:{uid(2)}")], []),
    ([("identifier", "A3")], [3]),
    ([("identifier", "|A3")], [3]),
    ([("identifier", "hospital|A3")], []),
    ([("identifier", "urn:dicom:uid|")], [1, 2, 3, 4, 5]),
    ([("patient", "Patient/7")], []),
    ([("patient:identifier", "SAME")], [3, 4, 5]),
    ([("patient.identifier", "urn:oid:1.2.3|SAME")], [4]),
    ([("subject:identifier", "1.2.3|")], [4]),
    ([("patient:identifier", "|P1")], [1]),
    ([("patient", "P1")], [1]),
    ([("patient:missing", "true")], []),
    ([("modality", "MR")], [2]),
    ([("modality", "http://dicom.nema.org/resources/ontology/DCM|MR")], [2]),
    ([("modality", "urn:x|MR")], []),
    ([("modality:not", "CT")], [2]),
    ([("modality", "mr,CT")], [1, 2, 3, 4, 5]),
    ([("status", "cancelled")], [5]),
    ([("status:not", "cancelled")], [1, 2, 3, 4]),
    ([("endpoint", "Endpoint/north")], [4]),
    ([("endpoint", "default")], [1, 2, 3]),
    ([("endpoint:missing", "true")], [5]),
    ([("started", "2024-01-31")], [1, 2]),
    ([("started", "eq2024-01-31T09:15:00Z")], [1]),
    ([("started", "2024-01-31T10:15+01:00")], [1]),
    ([("started", "2024-01")], [1, 2]),
    ([("started", "2024")], [1, 2, 3]),
    ([("started", "ne2024")], [4]),
    ([("started", "ge2024-01-31"), ("started", "lt2024-02-01")], [1, 2]),
    ([("started", "gt2024-01-31")], [3]),
    ([("started", "gt2024-02-01T12:00:00Z")], [3]),  # some of that day lies behind
    ([("started", "sa2024-02-01T12:00:00Z")], []),
    ([("started", "eb2024-01-31")], [4]),
    ([("started", "le2024-01-31T09:15:00Z")], [1, 4]),
    ([("started", "ap2024-01-31")], [1, 2, 3, 4]),
    ([("started:missing", "true")], [5]),
    ([("_lastUpdated", "ge2020"), ("_lastUpdated", "lt9000")], [1, 2, 3, 4, 5]),
    ([("_lastUpdated", "lt2020")], []),
    ([("_sort", "-started")], [3, 2, 1, 4, 5]),
    ([("_sort", "started,_id"), ("_count", "2")], [4, 1]),
]  # fmt: skip


def test_what_each_parameter_finds(filled: Fhir) -> None:
    for pairs, numbers in FINDS:
        assert filled.found(*pairs) == [uid(number) for number in numbers], pairs
    tried = {name.partition(":")[0].partition(".")[0] for pairs, _ in FINDS for name, _ in pairs}
    assert {parameter.name for parameter in PARAMETERS} - tried == {"_id"}


def test_pages_lead_to_one_another(filled: Fhir) -> None:
    page = filled.search(("_count", "2"), ("modality", "CT,MR"))
    seen: list[str] = []
    while True:
        assert page["total"] == 5
        seen += [entry["fullUrl"] for entry in page["entry"]]
        links = {link["relation"]: link["url"] for link in page["link"]}
        if "next" not in links:
            break
        page = httpx.get(links["next"]).json()
    assert len(seen) == len(set(seen)) == 5
    assert httpx.get(links["self"]).json() == page
    before = httpx.get(links["previous"]).json()
    assert [entry["fullUrl"] for entry in before["entry"]] == seen[2:4]
    assert [entry["fullUrl"] for entry in httpx.get(links["first"]).json()["entry"]] == seen[:2]
    assert all(httpx.get(address).status_code == 200 for address in seen)


def test_how_much_is_told(filled: Fhir) -> None:
    assert "total" not in filled.search(("_total", "none"))
    for pair in (("_summary", "count"), ("_count", "0")):
        counted = filled.search(pair)
        assert (counted["total"], "entry" in counted) == (5, False)
    included = filled.search(("_include", "ImagingStudy:endpoint"), ("status", "available"))
    modes = [(entry["resource"]["resourceType"], entry["search"]["mode"]) for entry in included["entry"]]
    assert modes == [("ImagingStudy", "match")] * 4 + [("Endpoint", "include")] * 2
    assert filled.get("/ImagingStudy?_pretty=true").text.count("\n") > 20
    assert filled.search(("_id", "0"))["total"] == 0


def test_a_search_can_be_sent_as_a_form(filled: Fhir) -> None:
    form = {"identifier": f"urn:dicom:uid|urn:oid:{uid(2)}"}
    answer = httpx.post(f"{filled.root}/ImagingStudy/_search?_count=7", data=form)
    assert [entry["resource"]["identifier"][0]["value"] for entry in answer.json()["entry"]] == [f"urn:oid:{uid(2)}"]
    self_link = answer.json()["link"][0]["url"]
    assert "_count=7" in self_link
    assert httpx.get(self_link).json()["entry"] == answer.json()["entry"]
    large = httpx.post(f"{filled.root}/ImagingStudy/_search", data={"identifier": "x" * 100_000})
    assert large.status_code == 413
    other = httpx.post(f"{filled.root}/ImagingStudy/_search", json={"a": 1})
    assert (other.status_code, other.json()["resourceType"]) == (415, "OperationOutcome")


def test_what_is_not_understood_is_passed_over_or_refused(filled: Fhir) -> None:
    lenient = filled.search(("colour", "red"), ("modality", "MR"), ("patient:exact", "x"), ("_sort", "colour"))
    assert lenient["total"] == 1
    assert urlsplit(lenient["link"][0]["url"]).query == "modality=MR"
    strict = filled.get("/ImagingStudy?colour=red", Prefer="handling=strict")
    assert (strict.status_code, strict.json()["resourceType"]) == (400, "OperationOutcome")
    assert "colour" in strict.json()["issue"][0]["diagnostics"]
    assert filled.get("/ImagingStudy?modality=MR&_count=5", Prefer="handling=strict").status_code == 200
    for query in (
        "started=soon",
        "started=2024-13",
        "_count=many",
        "_total=some",
        "started:missing=perhaps",
        "started=xx2024",
    ):
        answer = filled.get(f"/ImagingStudy?{query}")
        assert (answer.status_code, answer.json()["issue"][0]["code"]) == (400, "invalid"), query
    with pytest.raises(BadRequest, match="1000"):
        parse_search([("identifier", ",".join(["A"] * 2000))], strict=False)


def test_hostile_values_find_nothing_and_break_nothing(filled: Fhir) -> None:
    hostile = [
        "' or 1=1 --",
        "%s",
        "%(v0)s",
        "{}",
        "\\",
        "a\\,b",
        "|",
        "||",
        ",",
        "Ω" * 500,
        "9" * 400,
        "-1",
        "Patient/",
        "\x7f",
    ]
    for parameter in PARAMETERS:
        if parameter.kind == "date":
            continue
        for value in hostile:
            answer = httpx.get(f"{filled.root}/ImagingStudy", params={parameter.name: value})
            assert answer.status_code == 200, (parameter.name, value)
            assert answer.json()["total"] == 0 or set(value) <= set("|"), (parameter.name, value)


def test_versions_are_told_by_etag_and_date(filled: Fhir) -> None:
    address = filled.search(("status", "cancelled"))["entry"][0]["fullUrl"].removeprefix(filled.root)
    answer = filled.get(address)
    assert answer.headers["content-type"].startswith("application/fhir+json")
    assert answer.headers["etag"] == 'W/"2"'
    assert filled.get(address, If_None_Match='W/"2"').status_code == 304
    assert filled.get(address, If_None_Match='W/"1"').status_code == 200
    assert filled.get(address, If_Modified_Since=answer.headers["last-modified"]).status_code == 304
    assert filled.get(address, If_Modified_Since="Thu, 01 Jan 2015 00:00:00 GMT").status_code == 200
    assert filled.get(address, If_Modified_Since="yesterday").status_code == 200
    past = filled.get(f"{address}/_history/1")
    assert (past.headers["etag"], past.json()["status"]) == ('W/"1"', "available")
    history = filled.resource(f"{address}/_history")
    assert [entry["response"]["etag"] for entry in history["entry"]] == ['W/"2"', 'W/"1"']
    assert [entry["request"]["method"] for entry in history["entry"]] == ["PUT", "POST"]
    assert history["entry"][1]["resource"] == past.json()
    assert len(filled.resource(f"{address}/_history?_count=1&_offset=1")["entry"]) == 1
    assert filled.resource(f"{address}/_history?_since=9000")["total"] == 0


def test_every_refusal_is_an_operation_outcome(filled: Fhir) -> None:
    for path, status in (
        ("", 404), ("/Patient", 404), ("/Patient/1", 404), ("/ImagingStudy/0", 404), ("/ImagingStudy/abc", 404),
        ("/ImagingStudy/99999999999999999999", 404), ("/ImagingStudy/1/_history/77", 404), ("/Endpoint/nowhere", 404),
        ("/ImagingStudy/0/_history", 404), ("/ImagingStudy?_format=xml", 406), ("/metadata?_format=text/html", 406),
    ):  # fmt: skip
        answer = filled.get(path)
        assert (answer.status_code, answer.json()["resourceType"]) == (status, "OperationOutcome"), path
        assert answer.headers["content-type"].startswith("application/fhir+json")
    assert filled.get("/metadata", Accept="application/fhir+xml").status_code == 406
    for accept in ("application/fhir+json; fhirVersion=4.0", "application/json", "*/*", "text/html, */*;q=0.1"):
        assert filled.get("/metadata", Accept=accept).status_code == 200, accept
    assert filled.get("/metadata?_format=json", Accept="text/html").status_code == 200
    assert filled.get("/metadata?_format=application/fhir+json", Accept="text/html").status_code == 200
    for method, path in (("DELETE", "/ImagingStudy/1"), ("POST", "/ImagingStudy"), ("PUT", "/Endpoint/default")):
        answer = httpx.request(method, filled.root + path)
        assert (answer.status_code, answer.json()["resourceType"]) == (405, "OperationOutcome")
        assert answer.headers["allow"] == "GET, HEAD"
    assert httpx.head(f"{filled.root}/metadata").status_code == 200


def test_the_capability_statement_is_true(filled: Fhir) -> None:
    told = filled.resource("/metadata")
    assert (told["fhirVersion"], told["implementation"]["url"]) == ("4.0.1", filled.root)
    endpoint, study = told["rest"][0]["resource"]
    for name in [each["name"] for each in study["searchParam"]]:
        value = "2024" if name in ("started", "_lastUpdated") else "1"
        assert filled.get(f"/ImagingStudy?{name}={value}", Prefer="handling=strict").status_code == 200, name
    for name in CONTROLS:
        value = {
            "_include": study["searchInclude"][0],
            "_total": "none",
            "_sort": "_id",
            "_summary": "count",
            "_format": "json",
        }
        answer = filled.get(f"/ImagingStudy?{name}={value.get(name, '1')}", Prefer="handling=strict")
        assert answer.status_code == 200, name
    for name in [each["name"] for each in endpoint["searchParam"]]:
        assert filled.resource(f"/Endpoint?{name}=nothing")["total"] == 0
    assert [entry["resource"]["id"] for entry in filled.resource("/Endpoint")["entry"]] == ["default", "north"]
    assert filled.resource("/Endpoint?_id=north")["entry"][0]["resource"]["address"].endswith(
        "/sources/north/dicom-web"
    )


def test_a_search_is_answered_from_indexes(fhir: Fhir) -> None:
    """With many studies, no search reads the whole table."""
    with fhir.archive.database.transaction() as sql:
        sql.rows(
            "insert into hilum.fhir_imaging_study (id, source_id, study_instance_uid, version, status, endpoint, "
            "patient_id, person_id, accession_number, modalities, started_from, started_to, last_updated) "
            "select n, 1, '1.9.' || n, 1, 'available', 'default', 'N' || n, n, 'B' || n, '{CR}', "
            "timestamptz '1990-01-01' + n * interval '1 hour', timestamptz '1990-01-01' + n * interval '1 hour', "
            "timestamptz '1990-01-01' + n * interval '1 hour' from generate_series(1000, 30000) n"
        )
        sql.rows("update hilum.fhir_imaging_study set status = 'cancelled', last_updated = now() where id = 2000")
    fhir.archive.database.tidy("fhir_imaging_study")
    for name, value in (
        ("_id", "1500"), ("identifier", "urn:oid:1.9.1500"), ("identifier", "B1500"), ("patient", "1500"),
        ("patient:identifier", "N1500"), ("started", "1990-03-01T05:00Z"), ("started", "lt1990-02-12"),
        ("modality", "MR"),
        ("endpoint", "north"), ("status", "cancelled"), ("_lastUpdated", "lt1990-02-12"), ("_lastUpdated", "ge2020"),
    ):  # fmt: skip
        asked = parse_search([(name, value)], strict=True)
        where = " and ".join(asked.conditions)
        with fhir.archive.database.connect() as connection:
            plan = connection.exec_driver_sql(
                f"explain select h.id from hilum.fhir_imaging_study h where not h.deleted and ({where})",
                dict(asked.values),
            ).scalars()
            text = "\n".join(plan)
        assert "Seq Scan" not in text, (name, value, text)
