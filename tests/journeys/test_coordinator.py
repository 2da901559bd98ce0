"""A research coordinator's task, from a folder of DICOM to the study found and its bytes back, over HTTP alone."""

import io
import socket
import zipfile
from pathlib import Path

import httpx
import pytest

from tests.conftest import Server, serving, wait_until
from tests.make import ct, folder, uid

API = "/api/v1/imaging"


def upload(server: Server, *files: tuple[str, bytes], **fields: str) -> httpx.Response:
    parts = [("files", (name, data)) for name, data in files]
    return httpx.post(f"{server.url}{API}/uploads", files=parts, data=fields, timeout=60)


def test_an_uploaded_zip_is_found_seen_and_given_back(server: Server) -> None:
    slices = [ct(11, instance=n, size=64, InstitutionName="Saint Coordinator") for n in (1, 2, 3)]
    bundle = io.BytesIO()
    with zipfile.ZipFile(bundle, "w") as cd:
        for n in (1, 2, 3):
            cd.writestr(f"DICOM/I100000{n}", slices[n - 1])
        cd.writestr("REPORT.PDF", b"%PDF-1.4 report")
    job = server.job(upload(server, ("cd.zip", bundle.getvalue())))
    assert job["state"] == "succeeded"
    assert job["counts"]["instances"] == 3  # pyright: ignore
    assert (job["done"], job["total"]) == (4, 4)

    listed = server.get(f"{API}/studies?q=coordinator+chest&modality=CT&date_from=2024-01-01").json()
    assert listed["total"] == 1
    study = server.get(f"{API}/studies/{listed['items'][0]['id']}").json()
    assert (study["num_instances"], study["num_images"], study["patient_name"]) == (3, 3, "Jane11 Doe")
    assert server.get(f"{API}/studies/{uid(11)}").json() == study
    series = study["series"][0]
    assert (series["slice_thickness"], series["rows"]) == (2.5, 64)

    thumbnail = server.get(series["thumbnail_url"])
    assert (thumbnail.status_code, thumbnail.content[:8]) == (200, b"\x89PNG\r\n\x1a\n")
    again = server.get(series["thumbnail_url"], headers={"If-None-Match": thumbnail.headers["etag"]})
    assert again.status_code == 304

    instances = server.get(f"{API}/studies/{study['id']}/instances?series={series['id']}").json()
    assert [each["instance_number"] for each in instances["items"]] == [1, 2, 3]
    stored = server.get(instances["items"][1]["wado_url"])
    assert (stored.content, stored.headers["content-type"]) == (
        slices[1],
        "application/dicom",
    )
    part = server.get(instances["items"][1]["wado_url"], headers={"Range": "bytes=128-131"})
    assert (part.status_code, part.content) == (206, b"DICM")

    tags = server.get(f"{API}/studies/{study['id']}/series/{series['id']}/frames/2/tags?q=PatientID").json()
    assert [(tag["tag"], tag["value"]) for tag in tags["items"]] == [("0010,0020", "P11")]
    (file,) = study["bundle_files"]
    assert (file["name"], file["kind"]) == ("REPORT.PDF", "pdf")
    pdf = server.get(file["url"])
    assert pdf.content == b"%PDF-1.4 report"
    assert pdf.headers["content-disposition"].startswith("attachment")
    events = server.get(f"{API}/events?type=hilum.instance.stored.v1").json()
    assert [e["data"]["study_instance_uid"] for e in events["items"]].count(uid(11)) == 3
    assert "Doe" not in str(events)


def test_loose_files_are_uploaded_and_what_is_not_dicom_is_told(server: Server) -> None:
    answer = upload(
        server, ("a/1", ct(12, instance=1)), ("a/2", ct(12, instance=2)), ("a/notes.txt", b"hello"), ("x", b"")
    )
    job = server.job(answer)
    assert job["counts"]["instances"] == 2  # pyright: ignore
    assert {r["code"]: r["count"] for r in job["reasons"]} == {"not_dicom": 1, "empty": 1}  # pyright: ignore
    assert not list((server.data / "objects" / "uploads").glob("*/*"))


def announced(server: Server, size: int) -> bytes:
    """The first line of the answer to an upload that is announced, but not sent."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as client:
        lines = (f"POST {API}/uploads HTTP/1.1", f"Host: {host}", f"Content-Length: {size}",
                 "Content-Type: multipart/form-data; boundary=b", "", "")  # fmt: skip
        client.sendall("\r\n".join(lines).encode())
        return client.recv(1000).split(b"\r\n")[0]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"{API}/studies/999", 404),
        (f"{API}/studies/1.2.3", 404),
        (f"{API}/studies/..%2f..%2fetc", 404),
        (f"{API}/studies?sort=nonsense", 422),
        (f"{API}/studies?limit=501", 422),
        (f"{API}/studies?offset=-1", 422),
        (f"{API}/studies?date_from=yesterday", 422),
        (f"{API}/studies?nonsense=1", 422),
        (f"{API}/studies?source=nowhere", 200),
        (f"{API}/wado/1.2.3", 404),
        (f"{API}/jobs/99", 404),
        (f"{API}/nothing", 404),
        ("/dicom-web/nothing", 404),
    ],
)
def test_a_wrong_question_gets_a_sentence(server: Server, path: str, status: int) -> None:
    answer = server.get(path)
    assert answer.status_code == status
    if status != 200:
        assert answer.headers["content-type"].startswith("application/problem+json")
        assert {"type", "title", "status", "detail"} <= answer.json().keys()


def test_bad_uploads_are_refused_and_the_next_is_served(server: Server) -> None:
    url = f"{server.url}{API}/uploads"
    assert httpx.post(url, content=b"x").status_code == 415
    assert httpx.post(url, data={"source": "default"}, files=[]).status_code == 415
    head = {"Content-Type": "multipart/form-data; boundary=b"}
    assert httpx.post(url, content=b"--b\r\nnonsense", headers=head).status_code == 422
    cut = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n' + ct()
    assert httpx.post(url, content=cut, headers=head).status_code == 422
    assert upload(server, ("a", ct()), source="nowhere").status_code == 404
    assert upload(server, ("a", ct()), colour="blue").status_code == 422
    assert b" 413 " in announced(server, 2 << 30)
    assert not list((server.data / "objects").glob("uploads/*/*"))
    assert server.job(upload(server, ("a", ct(13))))["state"] == "succeeded"


def test_a_page_of_another_site_cannot_use_this_server(server: Server) -> None:
    assert server.get(f"{API}/stats", headers={"Host": "attacker.example"}).status_code == 421
    foreign = {"Origin": "https://attacker.example"}
    assert httpx.post(f"{server.url}{API}/uploads", headers=foreign).status_code == 403
    csp = server.get("/health").headers["content-security-policy"]
    assert "default-src 'self'" in csp


def test_folders_of_the_server_are_imported_only_below_their_roots(tmp_path: Path, database_url: str) -> None:
    folder(tmp_path / "roots" / "dicom_samples")
    (tmp_path / "roots" / "out").symlink_to("/")
    (tmp_path / "elsewhere").write_bytes(ct(2))
    (tmp_path / "roots" / "dicom_samples" / "link").symlink_to(tmp_path / "elsewhere")
    with serving(tmp_path / "data", database_url, import_roots=tmp_path / "roots") as server:
        url = f"{server.url}{API}/import-local/trigger"
        job = server.job(httpx.post(url, json={}))
        assert job["counts"]["instances"] == 3  # pyright: ignore
        assert [reason["code"] for reason in job["reasons"]] == ["outside"]  # pyright: ignore
        for outside in ("..", "/etc", "../..", "out", "out/etc"):
            assert httpx.post(url, json={"dir": outside}).status_code == 422, outside
        assert httpx.post(url, json={"dir": "nowhere"}).status_code == 404
        assert httpx.post(url, json={"folder": "x"}).status_code == 422


def test_figures_for_prometheus_name_no_patient(server: Server) -> None:
    server.job(upload(server, ("a", ct(14))))
    server.get(f"{API}/studies?q=Doe&patient_id=P14")
    lag = 'hilum_consumer_lag{consumer="fhir"'
    wait_until(lambda: lag in server.get("/metrics").text, what="a worker that has begun to deliver")
    text = server.get("/metrics").text
    assert len([line for line in text.splitlines() if line.startswith("hilum_studies")]) == 1
    assert len([line for line in text.splitlines() if line.startswith(lag)]) == 1
    assert 'route="/api/v1/imaging/studies"' in text
    assert "Doe" not in text
    assert "Doe" not in server.log.read_text()
