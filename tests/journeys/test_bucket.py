"""Hilum with its objects in a bucket: the way from an upload to a picture, and what is told when the bucket fails."""

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import pytest

from hilum.core.jobs import KINDS, queue_of
from hilum.core.postgres import EmbeddedPostgres
from tests.conftest import fresh_database, serving, wait_until
from tests.make import ct, uid
from tests.s3 import S3, Wire

API = "/api/v1/imaging"


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
        "HILUM_BLOBS_URL": url, "HILUM_BLOBS_OPTIONS": s3.options(**options),
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
