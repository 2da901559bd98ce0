"""What other people's programs store: files that dcmtk makes, dicomweb-client, curl, and the body that the npm package
dicomweb-client (0.11) builds, by which OHIF stores structured reports and segmentations. The tests share the server, so
each has studies of its own."""

import io
import json
import subprocess
from pathlib import Path

import httpx
import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient
from requests import HTTPError

from tests.conftest import Server
from tests.dicom.files import wheel_file
from tests.make import ct, uid, written


def root(server: Server) -> str:
    return f"{server.url}/dicom-web"


def as_npm_client(*instances: bytes, boundary: str = "5d6c1a4e-7b7a-d3a1-d4b5-9d21d0c9d4ab") -> tuple[bytes, str]:
    """Body and Content-Type as the npm client makes them: every part, also the first, begins with an empty line."""
    body = b"".join(f"\r\n--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode() + one for one in instances)
    kind = f'multipart/related; type="application/dicom"; boundary="{boundary}"'
    return body + f"\r\n--{boundary}--".encode(), kind


@pytest.mark.parametrize("name", ["test-SR.dcm", "liver_1frame.dcm"])
def test_s06_a_report_and_a_segmentation_as_ohif_stores_them(server: Server, name: str) -> None:
    ds = pydicom.dcmread(wheel_file(name))
    ds.StudyInstanceUID, ds.PatientID = uid(81), "P81"
    body, kind = as_npm_client(written(ds), ct(81, 9, len(name)))
    headers = {"Content-Type": kind, "Accept": "application/dicom+json"}
    answer = httpx.post(f"{root(server)}/studies", content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    first, _ = answer.json()["00081199"]["Value"]
    assert first["00081155"]["Value"] == [ds.SOPInstanceUID]
    back = httpx.get(first["00081190"]["Value"][0], headers={"Accept": "application/dicom; transfer-syntax=*"})
    assert back.content == written(ds)


def test_s14_curl_stores_one_file(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "one.dcm"
    path.write_bytes(ct(82, size=300))
    for chunked in ([], ["-H", "Transfer-Encoding: chunked"]):
        done = subprocess.run(
            ["curl", "-sS", "--fail-with-body", "-H", "Content-Type: application/dicom", *chunked, "--data-binary",
             f"@{path}", f"{root(server)}/studies/{uid(82)}"],
            capture_output=True, check=True,
        )  # fmt: skip
        assert json.loads(done.stdout)["00081199"]["Value"][0]["00081155"]["Value"] == [uid(82, 1, 1)]


def test_files_that_dcmtk_makes(server: Server, tmp_path: Path) -> None:
    source = tmp_path / "source.dcm"
    source.write_bytes(ct(83, size=64))
    made: list[Path] = []
    for number, form in enumerate((["+te"], ["+ti"], ["+tb"], ["+td"], ["+te", "+e"], ["+ti", "-e"]), start=1):
        path = tmp_path / f"{number}.dcm"
        subprocess.run(["dcmconv", *form, source, path], check=True)
        subprocess.run(["dcmodify", "-nb", "-m", f"SOPInstanceUID={uid(83, 1, number)}", path], check=True)
        made.append(path)
    pictures = [tmp_path / f"{name}.dcm" for name in ("rle", "jpeg")]
    subprocess.run(["dcmcrle", "+ua", source, pictures[0]], check=True)
    subprocess.run(["dcmcjpeg", "+ua", source, pictures[1]], check=True)
    client = DICOMwebClient(root(server))
    body, kind = as_npm_client(*(path.read_bytes() for path in (*made, *pictures)), boundary="x")
    answer = httpx.post(f"{root(server)}/studies", content=body, headers={"Content-Type": kind})
    assert answer.status_code == 200, answer.text
    assert len(client.search_for_instances(uid(83), uid(83, 1))) == len({*made, *pictures})


def test_dicomweb_client_stores_and_deletes(server: Server) -> None:
    client = DICOMwebClient(root(server))
    files = [pydicom.dcmread(io.BytesIO(ct(84, series, n))) for series in (1, 2) for n in (1, 2)]
    wrong = pydicom.dcmread(io.BytesIO(ct(85)))
    answer = client.store_instances([*files, wrong], study_instance_uid=uid(84))
    assert len(answer.ReferencedSOPSequence) == 4
    (failed,) = answer.FailedSOPSequence
    assert (failed.ReferencedSOPInstanceUID, failed.FailureReason) == (uid(85, 1, 1), 0xA900)
    client.delete_instance(uid(84), uid(84, 1), uid(84, 1, 1))
    client.delete_series(uid(84), uid(84, 2))
    assert [one["00080018"]["Value"] for one in client.search_for_instances(uid(84))] == [[uid(84, 1, 2)]]
    client.delete_study(uid(84))
    with pytest.raises(HTTPError, match="410"):
        client.retrieve_study(uid(84))
