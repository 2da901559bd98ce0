"""What comes without saying who it is, or as no DICOM at all: a coordinator's tasks against a real server."""

import io
import zipfile
from pathlib import Path

import httpx
import imagecodecs
import numpy as np

from tests.conftest import Server, serving, wait_until
from tests.journeys.test_coordinator import API, upload
from tests.make import ct, uid


def post(server: Server, path: str, **body: object) -> httpx.Response:
    return httpx.post(f"{server.url}{API}{path}", json=body, timeout=60)


def zip_of(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as bundle:
        for name, data in members.items():
            bundle.writestr(name, data)
    return file.getvalue()


def listed(server: Server, **wanted: str) -> list[dict[str, object]]:
    return server.get(f"{API}/studies", params=wanted).json()["items"]


def test_a_cd_without_uids_becomes_a_marked_study_that_every_door_calls_by_the_same_uids(server: Server) -> None:
    nameless: dict[str, object] = {"StudyInstanceUID": None, "SeriesInstanceUID": None, "AccessionNumber": "NOUID"}
    cd = zip_of({f"DICOM/I{n}": ct(31, 1, n, **nameless) for n in (1, 2)} | {"REPORT.PDF": b"%PDF-1.4"})
    for _ in range(2):
        assert server.job(upload(server, ("cd.zip", cd)))["state"] == "succeeded"
    (study,) = listed(server, accession_number="NOUID")
    assert (study["derived"], study["num_instances"]) == (True, 2)
    detail = server.get(f"{API}/studies/{study['id']}").json()
    (series,) = detail["series"]
    assert series["derived"] is True
    assert [file["name"] for file in detail["bundle_files"]] == ["REPORT.PDF"]

    root = f"/dicom-web/studies/{study['study_instance_uid']}"
    (found,) = server.get("/dicom-web/studies?AccessionNumber=NOUID").json()
    assert found["0020000D"]["Value"] == [study["study_instance_uid"]]
    metadata = server.get(f"{root}/metadata").json()
    assert {each["0020000D"]["Value"][0] for each in metadata} == {study["study_instance_uid"]}
    assert {each["0020000E"]["Value"][0] for each in metadata} == {series["series_instance_uid"]}
    instances = server.get(f"{root}/instances").json()
    assert {each["00080018"]["Value"][0] for each in instances} == {uid(31, 1, 1), uid(31, 1, 2)}
    stored = server.get(f"{API}/wado/{uid(31, 1, 1)}")
    assert stored.content == ct(31, 1, 1, **nameless)  # the bytes stay as they came


def test_a_study_without_patient_is_released_from_quarantine(server: Server) -> None:
    file = ct(32, PatientID=None, AccessionNumber="NOPATIENT")
    job = server.job(upload(server, ("a", file)))
    assert job["counts"]["studies_quarantined"] == 1  # pyright: ignore
    waiting = server.get(f"{API}/quarantine").json()
    (study,) = [each for each in waiting["items"] if each["accession_number"] == "NOPATIENT"]
    assert (study["quarantine"], study["patient_id"]) == ("no_patient_id", "")
    url = f"/quarantine/{study['id']}/release"
    assert post(server, url, patient_id="  ").status_code == 422
    assert post(server, url, patient_id="A\\B").status_code == 422
    assert post(server, url, patient="X").status_code == 422
    assert post(server, "/quarantine/999999/release", patient_id="X").status_code == 404
    released = post(server, url, patient_id="KNOWN32")
    assert (released.status_code, released.json()["patient_id"], released.json()["quarantine"]) == (200, "KNOWN32", "")
    assert post(server, url, patient_id="OTHER").status_code == 409
    server.job(upload(server, ("a", file)))
    assert [each["patient_id"] for each in listed(server, accession_number="NOPATIENT")] == ["KNOWN32"]
    assert len(server.get("/dicom-web/studies?PatientID=KNOWN32").json()) == 1
    changed = server.get(f"{API}/events?type=hilum.study.edited.v1").json()["items"]
    assert "KNOWN32" not in str(changed)
    assert "KNOWN32" not in server.log.read_text()


def test_a_study_under_two_patients_is_shown_as_a_conflict_and_settled(server: Server) -> None:
    job = server.job(upload(server, ("a", ct(33, 1, 1)), ("b", ct(33, 1, 2, PatientID="B33", PatientName="Bee^Bob"))))
    assert [reason["code"] for reason in job["reasons"]] == ["patient_conflict"]  # pyright: ignore
    (conflict,) = server.get(f"{API}/conflicts").json()["items"]
    assert (conflict["archived_patient_id"], conflict["arrived_patient_id"], conflict["files"]) == ("P33", "B33", 1)
    assert (conflict["archived_patient_name"], conflict["arrived_patient_name"]) == ("Jane33 Doe", "Bob Bee")
    assert post(server, f"/conflicts/{conflict['id']}/settle", patient="nobody").status_code == 422
    assert post(server, "/conflicts/999999/settle", patient="archived").status_code == 404
    job = server.job(post(server, f"/conflicts/{conflict['id']}/settle", patient="archived"))
    assert job["counts"]["instances"] == 1  # pyright: ignore
    assert server.get(f"{API}/conflicts").json()["total"] == 0
    study = server.get(f"{API}/studies/{uid(33)}").json()
    assert (study["num_instances"], study["patient_id"]) == (2, "P33")
    assert "B33" not in server.log.read_text()


def test_a_correction_replaces_and_the_earlier_bytes_can_be_had(server: Server) -> None:
    server.job(upload(server, ("a", ct(34, seed=1))))
    server.job(upload(server, ("a", ct(34, seed=2))))
    study = server.get(f"{API}/studies/{uid(34)}").json()
    (earlier,) = server.get(f"{API}/studies/{study['id']}/replaced").json()["items"]
    assert earlier["sop_instance_uid"] == uid(34, 1, 1)
    assert server.get(earlier["file_url"]).content == ct(34, seed=1)
    assert server.get(f"{API}/wado/{uid(34, 1, 1)}").content == ct(34, seed=2)
    assert server.get(f"{API}/studies/{uid(33)}/replaced/{earlier['id']}/file").status_code == 404


def test_photos_are_uploaded_for_a_patient_and_study_and_seen(server: Server) -> None:
    photo = imagecodecs.jpeg8_encode(np.full((40, 60, 3), 128, np.uint8))
    fields = {"patient_id": "P35", "person_id": "7", "study_date": "2024-05-06", "study_description": "Wound photos"}
    for _ in range(2):
        job = server.job(upload(server, ("1.jpg", photo), ("x.pdf", b"%PDF-1.4"), **fields, modality="XC"))
    assert job["counts"]["duplicates"] == 1  # pyright: ignore
    (study,) = listed(server, patient_id="P35")
    assert (study["study_date"], study["modality"], study["person_id"]) == ("2024-05-06", "XC", 7)
    series = server.get(f"{API}/studies/{study['id']}").json()["series"][0]
    assert server.get(series["thumbnail_url"]).status_code == 200
    frame = f"{series['dicomweb_url']}/instances"
    (instance,) = server.get(frame).json()
    got = server.get(
        f"{frame}/{instance['00080018']['Value'][0]}/frames/1",
        headers={"Accept": 'multipart/related; type="image/jpeg"'},
    )
    assert photo in got.content
    assert upload(server, ("1.jpg", photo), study_date="2024-05-06").status_code == 422
    assert upload(server, ("1.jpg", photo), patient_id="P35", study_date="May").status_code == 422
    assert upload(server, ("1.jpg", photo), person_id="me").status_code == 422


def test_an_uploaded_zip_of_which_some_cannot_be_taken_is_kept_whole(server: Server) -> None:
    data = bytearray(zip_of({"good": ct(36), "bad": ct(36, instance=2)}))
    for magic, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.rindex(magic) + flags] |= 1
    job = server.job(upload(server, ("locked.zip", bytes(data))))
    assert [reason["code"] for reason in job["reasons"]] == ["encrypted"]  # pyright: ignore
    aside = server.get(f"{API}/set-aside").json()["items"]
    (kept,) = [each for each in aside if each["code"] == "incomplete_zip"]
    assert server.get(kept["file_url"]).content == bytes(data)


def test_serve_watches_its_inbox(tmp_path: Path, database_url: str) -> None:
    (tmp_path / "inbox").mkdir()
    with serving(tmp_path / "data", database_url, inbox=tmp_path / "inbox") as server:
        (tmp_path / "inbox" / "one").write_bytes(ct(37))
        wait_until(lambda: (tmp_path / "inbox" / "processed" / "one").exists(), what="the file's import")
        assert server.get(f"{API}/studies/{uid(37)}").json()["num_instances"] == 1
        assert server.stop() == 0


def test_the_command_takes_photos_and_a_patient(server: Server, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.png").write_bytes(imagecodecs.png_encode(np.zeros((8, 8), np.uint8)))
    (tmp_path / "photos" / "2.dcm").write_bytes(ct(38, PatientID=None))
    words = ("import", str(tmp_path / "photos"), "--wrap", "--patient-id", "P38", "--study-description", "Photos")
    assert '"instances": 2' in server.hilum(*words, "--json").stdout
    assert sorted(str(each["study_description"]) for each in listed(server, patient_id="P38")) == ["CT chest", "Photos"]
    assert server.hilum("import", str(tmp_path), "--study-uid", "1.2", check=False).returncode == 2
    assert server.hilum("import", str(tmp_path), "--wrap", "--study-uid", "1.2", check=False).returncode == 2
