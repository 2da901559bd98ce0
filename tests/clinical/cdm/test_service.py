"""A coordinator's work against a running server: make a CDM, see what waits, say whose it is, load the site's map."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from hilum.core.postgres import EmbeddedPostgres
from tests.clinical.cdm.conftest import serving_hospital
from tests.conftest import Server, wait_until
from tests.make import ct, uid

API = "/api/v1/imaging"


@pytest.fixture(scope="module")
def hospital(
    cluster: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, psycopg.Connection]]:
    files = [ct(number, 1, 1, PatientID=patient) for number, patient in ((1, "P1"), (2, "stranger"), (3, "mapped"))]
    with serving_hospital(cluster, tmp_path_factory.mktemp("hospital"), *files, persons=9) as running:
        yield running


def send(server: Server, method: str, path: str, body: object = None, **options: Any) -> httpx.Response:
    return httpx.request(method, f"{server.url}{API}{path}", json=body, timeout=60, **options)


def links(server: Server, number: int) -> dict[str, tuple[int | None, str]]:
    found = send(server, "GET", f"/studies/{uid(number)}/links").json()["links"]
    return {link["kind"]: (link["target_id"], link["reason"] or link["method"]) for link in found}


def test_a_coordinators_day(hospital: tuple[Server, psycopg.Connection]) -> None:
    server, connection = hospital
    assert links(server, 1)["person"] == (1, "person_source_value")
    queue = server.get(f"{API}/links/queue?kind=person").json()
    assert {item["study_instance_uid"] for item in queue["items"]} == {uid(2), uid(3)}
    assert {item["reason"] for item in queue["items"]} == {"no_person"}
    answer = send(server, "PUT", f"/studies/{uid(2)}/person", {"person_id": 2})
    assert answer.status_code == 200, answer.text
    assert links(server, 2)["person"] == (2, "by_hand")
    assert server.get(f"{API}/studies/{uid(2)}").json()["person_id"] == 2
    images = "select person_id from omop.image_occurrence where image_study_uid = %s"
    assert connection.execute(images, (uid(2),)).fetchall() == [(2,)]
    assert send(server, "PUT", f"/studies/{uid(2)}/person", {"person_id": 77}).status_code == 422
    assert send(server, "PUT", f"/studies/{uid(2)}/person", {"person": 2}).status_code == 422
    assert send(server, "PUT", "/studies/1.2.3/person", {"person_id": 2}).status_code == 404
    assert send(server, "PUT", f"/studies/{uid(2)}/visit", {"visit_occurrence_id": 5}).status_code == 422
    table = b"PatientID,person_id\nmapped,3\nnobody,x\n"
    answer = httpx.post(f"{server.url}{API}/links/maps", files={"file": ("map.csv", table)}, timeout=60)
    told = answer.json()
    assert (told["kind"], told["rows"], told["new"], told["refused"]) == ("persons", 1, 1, 1), told
    wait_until(lambda: links(server, 3)["person"] == (3, "person_map"), 60, "the mapped study")
    again = send(server, "POST", "/links/maps", content=table, headers={"content-type": "text/csv"})
    assert (again.json()["new"], again.json()["changed"]) == (0, 0)
    assert send(server, "POST", "/links/maps", content=b"a,b\n").status_code == 422
    assert send(server, "DELETE", f"/studies/{uid(2)}/person").json()["links"][0]["reason"] == "no_person"
    ids = [server.get(f"{API}/studies/{uid(n)}").json()["id"] for n in (2, 3)]
    assert send(server, "POST", "/links/bulk", {"studies": ids, "person_id": 4}).json() == {"studies": 2, "linked": 2}
    assert send(server, "POST", "/links/bulk", {"studies": ids}).json() == {"studies": 2, "linked": 1}
    assert server.get(f"{API}/links/queue/counts").json()[0]["studies"] >= 1
    assert server.get(f"{API}/links/queue?kind=nothing").status_code == 422


def test_the_fhir_subject_follows_the_link(hospital: tuple[Server, psycopg.Connection]) -> None:
    server, _ = hospital

    def subject() -> str:
        number = server.get(f"{API}/studies/{uid(1)}").json()["id"]
        return server.get(f"/fhir/ImagingStudy/{number}").json().get("subject", {}).get("reference", "")

    wait_until(lambda: subject() == "Patient/1", 60, "the subject")
    send(server, "PUT", f"/studies/{uid(1)}/person", {"person_id": 5})
    wait_until(lambda: subject() == "Patient/5", 60, "the other subject")
    send(server, "DELETE", f"/studies/{uid(1)}/person")
    wait_until(lambda: subject() == "Patient/1", 60, "the subject that the rules give")


def test_the_commands_tell_what_is_so(hospital: tuple[Server, psycopg.Connection], tmp_path: Path) -> None:
    server, connection = hospital
    running = f"{API}/jobs"  # of a mapping table that was loaded
    wait_until(lambda: {job["state"] for job in server.get(running).json()["items"]} <= {"succeeded"}, 120, "their end")
    assert server.hilum("cdm", "create", check=False).returncode == 1
    linked = json.loads(server.hilum("cdm", "link", "--json").stdout)
    assert linked["counts"]["studies"] == 3
    told = json.loads(server.hilum("cdm", "status", "--json").stdout)
    for check in told["checks"]:
        assert connection.execute(check["sql"]).fetchone() == (check["count"],)
    counts = {check["name"]: check["count"] for check in told["checks"]}
    assert counts["series"] == 3
    assert counts["anatomy_by_body_part"] == counts["image_occurrences"]
    assert counts["studies_linked"] == counts["image_occurrences"] == counts["procedures_minted"]
    assert counts["outside_observation"] == counts["image_occurrences"]
    for uri, path in connection.execute("select wadors_uri, local_path from omop_imaging.image_occurrence").fetchall():
        assert uri.startswith(f"{server.url}/dicom-web/studies/")
        assert len([file for file in Path(path).iterdir() if file.read_bytes()[128:132] == b"DICM"]) == 1
    assert server.hilum("cdm", "vocabulary", str(tmp_path), check=False).returncode == 2
    assert json.loads(server.hilum("cdm", "vocabulary", "--json").stdout)["missing"] == []
    (source,) = server.get(f"{API}/sources").json()
    schemas = [source[f"{name}_schema"] for name in ("cdm", "vocabulary", "imaging", "results")]
    assert schemas == ["omop", "omop_vocabulary", "omop_imaging", "omop_results"]
    assert source["cdm_attached"] is False
    found = {finding["name"]: finding for finding in json.loads(server.hilum("doctor", "--json", check=False).stdout)}
    assert found["vocabulary"]["works"]
    concepts = connection.execute("select count(*) from omop_vocabulary.concept").fetchone()
    assert concepts
    assert found["vocabulary"]["text"] == f"seed, {concepts[0]} concepts in omop_vocabulary"
