"""Features by REST against a running server: an AI node's results, a person's note, filters, counts and events."""

from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest

from hilum.core.postgres import EmbeddedPostgres
from tests.clinical.cdm.conftest import serving_hospital
from tests.conftest import Server
from tests.make import ct, uid

API = "/api/v1/imaging"
MODEL = "https://ai.example/nodule"


@pytest.fixture(scope="module")
def hospital(
    cluster: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, psycopg.Connection]]:
    folder = tmp_path_factory.mktemp("hospital")
    with serving_hospital(cluster, folder, ct(1, 1, 1), ct(2, 1, 1), persons=1) as running:
        yield running


def send(server: Server, method: str, path: str, body: object = None, status: int = 200) -> Any:
    answer = httpx.request(method, f"{server.url}{API}{path}", json=body, timeout=60)
    assert answer.status_code == status, answer.text
    return answer.json() if answer.content else None


def listed(server: Server, **filters: object) -> list[dict[str, Any]]:
    answer = httpx.get(f"{server.url}{API}/features", params=filters, timeout=60)  # pyright: ignore
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


def test_files_were_read_by_the_workers(hospital: tuple[Server, psycopg.Connection]) -> None:
    server, connection = hospital
    in_cdm = "select count(*) from omop.measurement where measurement_source_value = 'Slice Thickness'"
    assert connection.execute(in_cdm).fetchone() == (1,)
    (thickness,) = listed(server, person_id=1, feature_name="slice thickness")
    assert (thickness["value_numeric"], thickness["unit"], thickness["unit_concept_id"]) == (2.5, "mm", 8588)
    assert thickness["provenance"]["tag"] == "00180050"
    statistics = send(server, "GET", "/stats")
    study = send(server, "GET", f"/studies/{uid(1)}")
    read = listed(server, study_id=study["id"], feature_type="acquisition")
    assert 0 < len(read) <= study["num_features"]
    assert statistics["features_by_type"]["acquisition"] == len(listed(server, feature_type="acquisition"))
    assert statistics["features"] == sum(statistics["features_by_type"].values())


def test_results_of_an_algorithm_are_put_as_a_whole(hospital: tuple[Server, psycopg.Connection]) -> None:
    server, connection = hospital
    nodule = {"finding": "nodule-1", "finding_name": "Mass", "finding_concept_id": 4214641, "body_site": "LUNG"}
    given = {
        "feature_type": "ai_classification", "algorithm": MODEL, "algorithm_version": "2.1",
        "algorithm_time": "2026-02-03T04:05:06Z", "series_uid": uid(1, 1),
        "features": [
            {"key": "1/size", "feature_name": "Nodule size", "value_numeric": 8.5, "unit": "mm", "confidence": 0.9}
            | nodule,
            {"key": "1/risk", "feature_name": "Risk", "value_string": "high", "confidence": 0.4} | nodule,
        ],
    }  # fmt: skip
    path = f"/studies/{uid(1)}/features"
    none = {"added": 0, "changed": 0, "removed": 0, "superseded": 0}
    assert send(server, "PUT", path, given) == none | {"added": 2}
    before = listed(server, feature_type="ai_classification")
    assert send(server, "PUT", path, given) == none
    assert listed(server, feature_type="ai_classification") == before
    size, risk = before
    assert (size["series_uid"], size["finding"], size["finding_concept_id"]) == (uid(1, 1), "nodule-1", 4214641)
    assert (size["cdm"]["table"], risk["cdm"]["table"]) == ("measurement", "observation")
    row = connection.execute(
        "select value_as_number::float, image_finding_concept_id, anatomic_site_concept_id, alg_system, "
        "alg_datetime::text from omop_imaging.image_feature_value where image_feature_id = %s",
        (size["cdm"]["image_feature_id"],),
    ).fetchone()
    assert row == (8.5, 4214641, 4213162, f"{MODEL}|2.1", "2026-02-03 04:05:06")
    newer = given | {"algorithm_version": "3", "features": given["features"][:1]}
    assert send(server, "PUT", path, newer) == none | {"added": 1, "superseded": 2}
    assert len(listed(server, algorithm=MODEL)) == 1
    assert len(listed(server, algorithm=f"{MODEL}|2.1", superseded=True)) == 2
    assert [f["cdm"] for f in listed(server, algorithm=MODEL, superseded=True)] == [None, None]


def test_a_person_adds_changes_and_takes_away(hospital: tuple[Server, psycopg.Connection]) -> None:
    server, connection = hospital
    study = send(server, "GET", f"/studies/{uid(1)}")["id"]
    given = {"study_id": study, "feature_type": "manual", "feature_name": "Length", "value_numeric": 12, "unit": "mm"}
    made = send(server, "POST", "/features", given, 201)
    assert made["provenance"] == {"author": "local user"}
    assert made["cdm"]["table"] == "measurement"
    path = f"/features/{made['id']}"
    changed = send(server, "PATCH", path, {"value_numeric": 13, "laterality": "left"})
    assert changed["cdm"] == made["cdm"]
    assert (changed["value_numeric"], changed["laterality"], changed["unit"]) == (13, "left", "mm")
    value = "select value_as_number::float from omop.measurement where measurement_id = %s"
    assert connection.execute(value, (made["cdm"]["row_id"],)).fetchone() == (13,)
    worded = send(server, "PATCH", path, {"value_numeric": None, "value_string": "long", "concept_id": 4214641})
    assert (worded["value_numeric"], worded["cdm"]["table"], worded["concept_id"]) == (None, "observation", 4214641)
    assert connection.execute(value, (made["cdm"]["row_id"],)).fetchone() is None
    send(server, "DELETE", path, status=204)
    send(server, "GET", path, status=404)
    left = "select count(*) from omop.observation where observation_id = %s"
    assert connection.execute(left, (worded["cdm"]["row_id"],)).fetchone() == (0,)
    events = server.get(f"{API}/events?type=hilum.features.changed.v1&limit=500").json()["items"]
    manual = [event["data"] for event in events if event["data"]["feature_types"] == ["manual"]]
    assert [(e["added"], e["changed"], e["removed"]) for e in manual] == [(1, 0, 0), (0, 1, 0), (0, 1, 0), (0, 0, 1)]


def test_single_posts_of_a_new_version_supersede_as_well(hospital: tuple[Server, psycopg.Connection]) -> None:
    server, _ = hospital
    given = {"study_id": uid(2), "feature_type": "radiomic", "feature_name": "Entropy", "algorithm": "Texture",
             "algorithm_version": "1", "value_numeric": 4}  # fmt: skip
    for value in (4, 5):
        send(server, "POST", "/features", given | {"value_numeric": value}, 201)
    send(server, "POST", "/features", given | {"algorithm_version": "2", "value_numeric": 6}, 201)
    assert [f["value_numeric"] for f in listed(server, feature_name="entropy")] == [6]
    assert [f["value_numeric"] for f in listed(server, feature_name="entropy", superseded=True)] == [4, 5]
    assert send(server, "GET", f"/studies/{uid(2)}")["person_id"] is None
    assert listed(server, feature_name="entropy")[0]["cdm"] is None


def test_filters_find_what_they_say(hospital: tuple[Server, psycopg.Connection]) -> None:
    server, _ = hospital
    texts = {"feature_type": "nlp_finding", "feature_name": "Pleural effusion", "concept_id": 4215818}
    ids = [
        send(server, "POST", "/features", {"study_id": uid(study), **texts, **content}, 201)["id"]
        for study, content in (
            (1, {"assertion": "present", "body_site": "Chest", "confidence": 0.9, "value_numeric": 2, "unit": "cm"}),
            (1, {"assertion": "absent", "body_site": "Abdomen", "confidence": 0.2, "value_numeric": 7, "unit": "mm"}),
            (2, {"assertion": "present", "finding": "f1"}),
        )
    ]

    def found(**filters: object) -> list[int]:
        return [ids.index(f["id"]) for f in listed(server, feature_type="nlp_finding", **filters)]

    assert found() == [0, 1, 2]
    assert found(study_id=uid(1)) == [0, 1]
    assert found(study_id=send(server, "GET", f"/studies/{uid(2)}")["id"]) == [2]
    assert (found(person_id=1), found(person_id=2)) == ([0, 1], [])
    assert (found(assertion="absent"), found(body_site="CHEST"), found(unit="mm")) == ([1], [0], [1])
    assert (found(value_min=2, value_max=6.9), found(value_min=2.5), found(min_confidence=0.5)) == ([0], [1], [0])
    assert (found(concept_id=4215818), found(concept_id=1), found(finding="f1")) == ([0, 1, 2], [], [2])
    assert (found(source="default"), found(source="elsewhere"), found(superseded=True)) == ([0, 1, 2], [], [])
    assert found(limit=1, offset=1) == [1]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "study_id"),
        ({"feature_type": "opinion"}, "feature_type"),
        ({"confidence": 1.5}, "confidence"),
        ({"value_numeric": "NaN"}, "value_numeric"),
        ({"feature_name": "a\0b"}, "feature_name"),
        ({"code": "no separator"}, "code"),
        ({"laterality": "up"}, "laterality"),
        ({"surprise": 1}, "surprise"),
        ({"provenance": {"patient": "x"}}, "provenance"),
        ({"series_uid": uid(9, 9)}, "no series"),
        ({"feature_name": ""}, "feature_name"),
    ],
)
def test_what_is_no_feature_is_refused(
    hospital: tuple[Server, psycopg.Connection], body: dict[str, object], field: str
) -> None:
    server, _ = hospital
    given = {"study_id": uid(1), "feature_type": "manual", "feature_name": "x"} | body if body else {}
    answer = httpx.post(f"{server.url}{API}/features", json=given, timeout=60)
    assert answer.status_code == 422
    assert field in answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_two_features_of_one_key_and_unknown_things_are_refused(hospital: tuple[Server, psycopg.Connection]) -> None:
    server, _ = hospital
    twice = {"feature_type": "radiomic", "algorithm": "x", "features": [{"key": "a", "feature_name": "b"}] * 2}
    send(server, "PUT", f"/studies/{uid(1)}/features", twice, 422)
    send(server, "PUT", "/studies/2.25.404/features", twice, 404)
    send(server, "GET", "/features?surprise=1", status=422)
    for method in ("GET", "DELETE"):
        send(server, method, "/features/999999", status=404)
    send(server, "PATCH", "/features/999999", {"unit": "mm"}, 404)
    send(server, "POST", "/features/extract?source=elsewhere", status=404)


def test_a_job_reads_all_files_again_and_what_has_no_concept_is_told(
    hospital: tuple[Server, psycopg.Connection],
) -> None:
    server, _ = hospital
    job = server.job(httpx.post(f"{server.url}{API}/features/extract?source=default", timeout=60))
    assert (job["state"], job["counts"]) == ("succeeded", {"studies": 2, "changed": 0})
    unmapped = send(server, "GET", "/features/unmapped?source=default")
    assert {"part": "feature", "code": "DICOM|00180050", "name": "Slice Thickness", "features": 2} in unmapped
