"""Hilum with its objects in a bucket: the way from an upload to a picture, and what is told when the bucket fails."""

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import pytest

from hilum.core.blobs.remote import PART_BYTES
from hilum.core.jobs import KINDS, queue_of
from hilum.core.postgres import EmbeddedPostgres
from tests.conftest import fresh_database, serving, wait_until
from tests.make import ct, uid
from tests.s3 import S3, Wire

API = "/api/v1/imaging"
NOT_THERE = b"hilum-looks-whether-this-can-be-asked-for"


def test_from_an_upload_to_a_picture_and_through_an_outage(cluster: EmbeddedPostgres, s3: S3, tmp_path: Path) -> None:
    wire, url = Wire(s3.port), s3.url()
    data = tmp_path / "data"
    options = {"blobs_url": url, "blobs_options": s3.options(wire.port)}
    with fresh_database(cluster) as database, serving(data, database, **options) as server:
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w") as archive:
            for number in (1, 2, 3):
                archive.writestr(f"{number}", ct(1, 1, number, size=64))
            archive.writestr("REPORT.PDF", b"%PDF-1.4 a report")
        uploaded = httpx.post(f"{server.url}{API}/uploads", files={"files": ("a.zip", made.getvalue())}, timeout=60)
        assert server.job(uploaded)["state"] == "succeeded"
        (study,) = server.get(f"{API}/studies").json()["items"]
        series = server.get(f"{API}/studies/{study['id']}").json()["series"][0]
        assert server.get(series["thumbnail_url"]).content == server.get(series["thumbnail_url"]).content
        frame = server.get(f"{API}/studies/{study['id']}/series/{series['id']}/frames/2")
        assert frame.content.startswith(b"\x89PNG")
        root = f"/dicom-web/studies/{uid(1)}"
        zipped = server.get(root, headers={"Accept": "application/zip"})
        with zipfile.ZipFile(io.BytesIO(zipped.content)) as archive:
            assert len(archive.namelist()) == 3
            assert archive.testzip() is None
        stored = server.get(f"{API}/wado/{uid(1, 1, 2)}", headers={"Range": "bytes=100-199"})
        assert stored.content == ct(1, 1, 2, size=64)[100:200]
        rendered = server.get(f"{root}/series/{uid(1, 1)}/instances/{uid(1, 1, 1)}/rendered")
        assert rendered.status_code == 200
        assert server.get(f"{API}/studies/{study['id']}/bundle-files/REPORT.PDF").content == b"%PDF-1.4 a report"

        # Out of reach: not ready, and a sentence; back again: as if nothing had been.
        wire.refusing = True
        wait_until(lambda: server.get("/ready").status_code == 503, 60, "a server that is not ready")
        assert "s3://" in server.get("/ready").json()["detail"]
        assert server.get("/health").status_code == 200
        wire.refusing = False
        wait_until(lambda: server.get("/ready").status_code == 200, 60, "a server that is ready again")
        assert server.get(f"{API}/wado/{uid(1, 1, 1)}").content == ct(1, 1, 1, size=64)
        assert server.hilum("check").returncode == 0

        assert not (data / "objects").exists()
    wire.close()


def test_a_viewer_lists_nothing_and_a_frame_of_a_large_instance_is_one_range(
    cluster: EmbeddedPostgres, s3: S3, tmp_path: Path
) -> None:
    """Every request that the bucket gets is looked at, from a store to a picture."""
    wire = Wire(s3.port)
    options = {"blobs_url": s3.url(), "blobs_options": s3.options(wire.port), "workers": 0}
    frames, frame_bytes = 40, 512 * 512 * 2
    pixels = os.urandom(frames * frame_bytes)
    cine = ct(1, 2, 1, Rows=512, Columns=512, NumberOfFrames=frames, PixelData=pixels)
    with fresh_database(cluster) as database, serving(tmp_path / "data", database, **options) as server:
        root, study = "/dicom-web/studies", f"/dicom-web/studies/{uid(1)}"

        def wanted() -> list[bytes]:
            """What the bucket was asked for, but for whether it is there, which each process asks when it starts."""
            return [one for one in wire.requests if NOT_THERE not in one]

        def sent(*files: bytes) -> list[str]:
            """Store, and give what the bucket was asked for."""
            wire.requests.clear()
            body = b"".join(b"--b\r\nContent-Type: application/dicom\r\n\r\n" + one + b"\r\n" for one in files)
            kind = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'}
            stored = httpx.post(server.url + root, content=body + b"--b--\r\n", headers=kind, timeout=120)
            assert stored.status_code == 200, stored.text
            return [" ".join(one.decode().split(" ")[:2]) for one in wanted()]

        def asked(path: str, accept: str = "*/*") -> list[bytes]:
            """Ask for something, and give the requests that the bucket got."""
            wire.requests.clear()
            answer = server.get(path, headers={"Accept": accept})
            assert answer.status_code == 200, f"{path}: {answer.text}"
            return wanted()

        assert [line.split("?")[0].split(" ")[0] for line in sent(*(ct(1, 1, n) for n in (1, 2, 3)))] == ["PUT"] * 3
        parts = sent(cine)
        assert sum("partNumber=" in line for line in parts) == -(-len(cine) // PART_BYTES)
        assert sum("?uploads" in line for line in parts) == 1

        number = server.get(f"{API}/studies").json()["items"][0]["id"]
        series = {one["series_instance_uid"]: one for one in server.get(f"{API}/studies/{number}").json()["series"]}
        large = f"{study}/series/{uid(1, 2)}/instances/{uid(1, 2, 1)}"
        small = f"{study}/series/{uid(1, 1)}/instances/{uid(1, 1, 2)}"
        for path in (root, f"{study}/series", f"{study}/instances", f"{API}/studies", f"{API}/studies/{number}"):
            assert asked(path) == [], "the catalogue answers alone"
        looked = [
            one
            for path in (
                f"{study}/metadata", f"{small}/metadata", f"{small}/rendered", f"{small}/frames/1",
                f"{API}/wado/{uid(1, 1, 3)}", f"{study}/series/{uid(1, 1)}/thumbnail",
                series[uid(1, 1)]["thumbnail_url"], f"{API}/studies/{number}/series/{uid(1, 1)}/frames/2",
                f"{API}/studies/{number}/series/{uid(1, 1)}/frames/2/tags", small, study,
            )
            for one in asked(path)
        ]  # fmt: skip
        assert looked
        assert not [one for one in looked if b"list-type" in one or b"prefix=" in one]

        asked(f"{large}/metadata")  # by now its first stretch is known
        begin = cine.index(pixels)
        for frame in (7, 31):
            (request,) = asked(f"{large}/frames/{frame}", 'multipart/related; type="application/octet-stream"')
            first = begin + (frame - 1) * frame_bytes
            assert f"range: bytes={first}-{first + frame_bytes - 1}" in request.decode().lower()
    wire.close()


@pytest.mark.parametrize(
    ("url", "options", "sentence"),
    [
        ("s3://nowhere", {}, "does not exist"),
        ("s3://hilum/x", {"secret_access_key": "tell-nobody"}, "refuses the credentials"),
    ],
)
def test_a_server_does_not_start_on_a_bucket_that_refuses_it(
    s3: S3, database_url: str, tmp_path: Path, url: str, options: dict[str, str], sentence: str
) -> None:
    environment = os.environ | {
        "HILUM_DATA": str(tmp_path / "data"), "HILUM_DATABASE_URL": database_url, "HILUM_PORT": "0",
        "HILUM_DICOM_PORT": "0", "HILUM_BLOBS_URL": url, "HILUM_BLOBS_OPTIONS": s3.options(**options),
    }  # fmt: skip
    for command in ("serve", "doctor"):
        done = subprocess.run(
            [sys.executable, "-m", "hilum", command], env=environment, capture_output=True, text=True, check=False,
            timeout=120,
        )  # fmt: skip
        assert done.returncode == 1
        assert sentence in done.stderr + done.stdout
        assert "tell-nobody" not in done.stderr + done.stdout
        assert "Traceback" not in done.stderr


def test_a_worker_is_kept_to_kinds_that_there_are() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hilum", "worker", "--only", "jobs,fhri"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "there is no fhri" in done.stderr
    names = ("hilum.purge", "hilum.delivery", "fhir.publish", "routing.send", "other.x")
    assert [queue_of(name) for name in names] == ["upkeep", "delivery", "fhir", "routing", "upkeep"]
    assert set(KINDS) >= {"jobs", "upkeep", "studies", "delivery", "fhir", "routing"}
