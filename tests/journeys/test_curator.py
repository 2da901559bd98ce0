"""A curator's tasks over HTTP and at the terminal: put a study right, take one away and back, and trust the archive
even when its database is gone."""

import io
import json
import zipfile
from pathlib import Path

import httpx
import psycopg
import pytest

from hilum.core.postgres import EmbeddedPostgres
from tests.conftest import Server, fresh_database, serving, wait_until
from tests.make import ct, folder, uid

API = "/api/v1/imaging"
DICOM_JSON = {"Accept": "application/dicom+json"}


def send(server: Server, *files: bytes) -> None:
    parts = [("files", (str(n), data)) for n, data in enumerate(files)]
    assert server.job(httpx.post(f"{server.url}{API}/uploads", files=parts, timeout=60))["state"] == "succeeded"


def change(server: Server, method: str, path: str, **options: object) -> httpx.Response:
    return httpx.request(method, f"{server.url}{API}{path}", timeout=60, **options)  # pyright: ignore


def test_a_study_is_corrected_found_by_the_new_values_and_put_back(server: Server) -> None:
    send(server, ct(21), ct(22))
    path = f"/studies/{uid(21)}"
    etag = server.get(API + path).headers["etag"]
    answer = change(server, "PATCH", path, json={"modality": "mr", "study_description": "Skull"})
    assert (answer.status_code, answer.json()["modality"]) == (200, "MR")
    assert answer.headers["etag"] != etag
    assert answer.json()["corrected"]["modality"] == {"file": "CT", "now": "MR"}
    late = change(server, "PATCH", path, json={"modality": "PT"}, headers={"If-Match": etag})
    assert (late.status_code, late.headers["content-type"]) == (412, "application/problem+json")
    for wrong in ({"patient_id": "x"}, {"modality": "C/T"}, {"modality": None}, {"accession_number": "1" * 17}):
        assert change(server, "PATCH", path, json=wrong).status_code == 422
    assert change(server, "PATCH", "/studies/1.2.3", json={"modality": "CT"}).status_code == 404

    assert server.get(f"{API}/studies?q=skull&modality=MR").json()["total"] == 1
    (found,) = server.get("/dicom-web/studies?StudyDescription=Skull&ModalitiesInStudy=MR", headers=DICOM_JSON).json()
    assert found["0020000D"]["Value"] == [uid(21)]
    (header,) = server.get(f"/dicom-web/studies/{uid(21)}/metadata", headers=DICOM_JSON).json()
    assert header["00081030"]["Value"] == ["CT chest"]
    assert {"suggested": "Skull", "times_used": 1}.items() <= server.get(f"{API}/studies/{uid(22)}/suggestions").json()[
        1
    ].items()

    lines = [json.loads(line) for line in server.get(f"{API}/corrections").text.splitlines()]
    assert {(line["field"], line["old"], line["new"], line["who"]) for line in lines} == {
        ("modality", "CT", "MR", "local user"), ("study_description", "CT chest", "Skull", "local user"),
    }  # fmt: skip
    for each in server.get(f"{API}{path}/corrections").json():
        undone = change(server, "POST", f"{path}/corrections/{each['id']}/undo")
        assert undone.status_code == 200
    assert (undone.json()["modality"], undone.json()["study_description"]) == ("CT", "CT chest")
    assert change(server, "POST", f"{path}/corrections/{each['id']}/undo").status_code == 409
    assert len(server.get(f"{API}{path}/corrections").json()) == 4
    edited = server.get(f"{API}/events?type=hilum.study.edited.v1").json()["items"]
    assert {event["subject"] for event in edited} == {uid(21)}


def test_a_facility_is_named_anew_and_another_merged_into_it(server: Server) -> None:
    send(server, ct(31, InstitutionName="Klinik Süd"), ct(32, InstitutionName="South Clinic"))
    (south,) = server.get(f"{API}/facilities?q=south").json()["items"]
    (sued,) = server.get(f"{API}/facilities?q=sud").json()["items"]
    assert change(server, "PATCH", f"/facilities/{sued['id']}", json={"merged_into": south["id"]}).status_code == 200
    renamed = change(server, "PATCH", f"/facilities/{south['id']}", json={"name": "Clinic of the South"}).json()
    assert (renamed["studies"], renamed["also"]) == (2, ["Klinik Süd"])
    assert server.get(f"{API}/studies?q=clinic+south").json()["total"] == 2
    assert server.get("/dicom-web/studies?InstitutionName=Clinic*", headers=DICOM_JSON).headers["x-total-count"] == "2"
    history = server.get(f"{API}/facilities/{south['id']}/history").json()
    assert [(entry["field"], entry["old"]) for entry in history] == [("name", "South Clinic")]
    for wrong in ({}, {"name": ""}, {"name": "a", "merged_into": None}, {"merged_into": south["id"]}):
        assert change(server, "PATCH", f"/facilities/{south['id']}", json=wrong).status_code == 422
    assert server.get(f"{API}/physicians?q=richard").json()["items"][0]["name"] == "Richard Roe"


def test_a_deleted_study_answers_410_at_every_address_until_it_is_restored(server: Server) -> None:
    send(server, ct(41, instance=1), ct(41, instance=2))
    study = server.get(f"{API}/studies/{uid(41)}").json()
    web = f"/dicom-web/studies/{uid(41)}"
    instance = f"{web}/series/{uid(41, 1)}/instances/{uid(41, 1, 1)}"
    before = server.get(f"{API}/stats").json()["instances"]
    addresses = [
        f"{API}/studies/{uid(41)}", f"{API}/studies/{study['id']}", f"{API}/studies/{study['id']}/instances",
        f"{API}/studies/{study['id']}/corrections", study["series"][0]["thumbnail_url"],
        f"{API}/wado/{uid(41, 1, 1)}", web, f"{web}/metadata", f"{web}/series", f"{web}/series/{uid(41, 1)}",
        f"{web}/series/{uid(41, 1)}/instances", instance, f"{instance}/metadata", f"{instance}/frames/1",
    ]  # fmt: skip
    assert {server.get(address).status_code for address in addresses} == {200}
    assert change(server, "DELETE", f"/studies/{uid(41)}").status_code == 204
    assert {address: server.get(address).status_code for address in addresses} == dict.fromkeys(addresses, 410)
    assert change(server, "DELETE", f"/studies/{uid(41)}").status_code == 410
    assert server.get(f"{API}/studies?accession_number=A41").json()["total"] == 0
    for level in ("studies", "series", "instances"):
        answer = server.get(f"/dicom-web/{level}?StudyInstanceUID={uid(41)}", headers=DICOM_JSON)
        assert answer.json() == [] if answer.status_code == 200 else answer.status_code == 204
    assert server.get(f"{API}/stats").json()["instances"] == before - 2
    assert change(server, "POST", f"/studies/{study['id']}/restore").json()["id"] == study["id"]
    assert {server.get(address).status_code for address in addresses} == {200}
    assert change(server, "POST", f"/studies/{study['id']}/restore").status_code == 409
    deleted = server.get(f"{API}/events?type=hilum.study.deleted.v1").json()["items"]
    assert [event["subject"] for event in deleted] == [uid(41)]


@pytest.fixture
def url(cluster: EmbeddedPostgres) -> object:
    with fresh_database(cluster) as made:
        yield made


def test_the_bytes_of_a_deleted_study_go_by_themselves_after_the_grace(url: str, tmp_path: Path) -> None:
    with serving(tmp_path / "data", url, delete_grace_days=0) as server:
        send(server, ct(51), ct(52))
        change(server, "DELETE", f"/studies/{uid(51)}")
        objects = server.data / "objects" / "default"
        wait_until(lambda: not (objects / uid(51)).exists(), 90, "the end of the bytes")
        assert (objects / uid(52)).is_dir()
        assert server.get(f"{API}/studies/{uid(51)}").status_code == 410
        send(server, ct(51))
        assert server.get(f"{API}/studies/{uid(51)}").json()["num_instances"] == 1


def put(path: Path, *files: bytes) -> Path:
    path.mkdir()
    for n, data in enumerate(files):
        (path / f"IM{n}").write_bytes(data)
    return path


def asked(server: Server) -> dict[str, object]:
    """What a client sees of the archive, on every level."""
    client = httpx.Client(base_url=server.url, timeout=60)
    answers: dict[str, object] = {}
    for level in ("studies", "series", "instances"):
        answer = client.get(f"/dicom-web/{level}?limit=2000&includefield=all", headers=DICOM_JSON)
        text = answer.text.replace(server.url, "")
        answers[level] = sorted(json.loads(text), key=lambda each: json.dumps(each, sort_keys=True))
    for study in client.get(f"{API}/studies?limit=500").json()["items"]:
        detail = client.get(f"{API}/studies/{study['id']}").json()
        answers[study["study_instance_uid"]] = [
            detail[name]
            for name in (
                "modality",
                "facility",
                "num_images",
                "bytes",
                "corrected",
                "received_at",
                "derived",
                "quarantine",
                "patient_id",
            )
        ] + [(file["name"], client.get(file["url"]).content) for file in detail["bundle_files"]]
        for series in detail["series"]:
            metadata = client.get(f"{series['dicomweb_url']}/metadata", headers=DICOM_JSON)
            answers[series["series_instance_uid"]] = metadata.text.replace(server.url, "")
            sop = json.loads(metadata.text)[0]["00080018"]["Value"][0]
            frame = client.get(
                f"{series['dicomweb_url']}/instances/{sop}/frames/1",
                headers={"Accept": "application/octet-stream; transfer-syntax=*"},
            )
            answers[sop] = frame.content
    answers["quarantine"] = [each["study_instance_uid"] for each in client.get(f"{API}/quarantine").json()["items"]]
    answers["conflicts"] = [
        {name: value for name, value in each.items() if name not in ("id", "study", "received_at")}
        for each in client.get(f"{API}/conflicts").json()["items"]
    ]
    answers["aside"] = [
        (row["name"], row["code"], row["reason"], client.get(row["file_url"]).content)
        for row in client.get(f"{API}/set-aside?limit=500").json()["items"]
    ]
    client.close()
    return answers


def test_with_the_database_gone_everything_answers_as_before_after_a_repair(url: str, tmp_path: Path) -> None:
    files = folder(tmp_path / "files", studies=6, series=2, instances=25)
    (files / "broken").write_bytes(ct(90)[:-30])
    put(files / "nobody", ct(71, PatientID=None), ct(72, PatientID=None))
    put(files / "other", ct(3, 1, 99, PatientID="OTHER", PatientName="Other^Olga"))
    nameless = {"StudyInstanceUID": None, "SeriesInstanceUID": None, "SOPInstanceUID": None}
    put(files / "nameless", ct(73, 1, 1, **nameless), ct(73, 1, 2, **nameless))
    in_place = put(tmp_path / "place", ct(74, 1, 1, **nameless), ct(75, 1, 1))
    bundle = tmp_path / "cd.zip"
    with zipfile.ZipFile(bundle, "w") as cd:
        cd.writestr("IM1", ct(3, 9, 1, PatientName="Yamada^Tarou=山田^太郎", SpecificCharacterSet="ISO_IR 192"))
        cd.writestr("LIES MICH.TXT", b"hello")
    data = tmp_path / "data"
    with serving(data, url) as server:
        server.hilum("source", "add", "north", "--name", "North")
        assert server.hilum("import", str(files), str(bundle), check=False).returncode == 1
        server.hilum("import", str(files / "study1"), "--source", "north")
        server.hilum("import", str(in_place), "--source", "north", "--in-place")
        assert change(server, "POST", f"/quarantine/{uid(71)}/release", json={"patient_id": "FOUND"}).is_success
        change(server, "PATCH", f"/studies/{uid(2)}", json={"modality": "MR", "study_description": "Skull"})
        change(server, "DELETE", f"/studies/{uid(5)}")
        before = asked(server)
        assert (before["quarantine"], len(before["conflicts"])) == ([uid(72)], 1)
        wait_until(lambda: _recorded(url), 60, "records beside the objects")
        assert server.hilum("check").returncode == 0
    with psycopg.connect(url.replace("postgresql+psycopg://", "postgresql://"), autocommit=True) as connection:
        connection.execute("drop schema hilum cascade")
    repaired = server.hilum("check", "--repair", "--json")
    told = json.loads(repaired.stdout)
    assert (told["lost"], told["found"]["orphan"]) == ([], 6 * 50 + 50 + 3 + 5)
    with serving(data, url) as again:
        after = asked(again)
        assert after.keys() == before.keys()
        assert {name for name in before if after[name] != before[name]} == set()
        assert again.get(f"{API}/studies/{uid(5)}").status_code == 410
        assert json.loads(again.hilum("check", "--json").stdout)["found"] == {}


def _recorded(url: str) -> bool:
    with psycopg.connect(url.replace("postgresql+psycopg://", "postgresql://")) as connection:
        row = connection.execute(
            "select (select count(*) from hilum.unrecorded_study) "
            "+ (select count(*) from hilum.set_aside where not recorded) "
            "+ (select count(*) from hilum.source where not recorded)"
        ).fetchone()
    return row == (0,)


def test_what_is_wrong_ends_the_command_with_1_and_the_doctor_tells_each_part(server: Server) -> None:
    send(server, ct(61))
    (path,) = (server.data / "objects" / "default" / uid(61)).rglob("*.dcm")
    content = path.read_bytes()
    path.unlink()
    result = server.hilum("check", check=False)
    assert (result.returncode, "default/" + uid(61) in result.stdout) == (1, True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    assert server.hilum("check", "--sizes").returncode == 0
    doctor = json.loads(server.hilum("doctor", "--json").stdout)
    assert {part["name"] for part in doctor} >= {"database", "migrations", "objects", "disk space", "codec HTJ2K"}
    page = server.hilum("doctor", check=False)
    assert page.stdout.count("works") == len(doctor)
    unreachable = server.environment | {"HILUM_DATABASE_URL": "postgresql://127.0.0.1:9/none"}
    server.environment, kept = unreachable, server.environment
    try:
        failed = server.hilum("doctor", check=False)
    finally:
        server.environment = kept
    assert failed.returncode == 1
    assert "fails  database" in failed.stdout
    assert "works  objects" in failed.stdout
    assert io.StringIO(failed.stdout).readline().startswith("fails")
