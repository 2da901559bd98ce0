"""Data sets by API and command alike, from a running server, whose workers may be killed."""

import csv
import io
import json
import os
import signal
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest

from hilum.core.blobs import LocalBlobs
from hilum.core.config import Settings
from hilum.core.database import Database
from hilum.core.postgres import EmbeddedPostgres
from hilum.demo import DemoManifest
from hilum.imaging.archive.store import Archive
from tests.conftest import Server, administration, fresh_database, serving, wait_until
from tests.research.datasets.conftest import fill, some_studies
from tests.s3 import S3
from tests.watched import has_ended

API = "/api/v1/imaging"
GATE = """
create function public.gate() returns trigger language plpgsql as $$ begin
  if (select count(*) from hilum.dataset_instance where version_id = new.version_id and state <> 'planned') >= 32 then
    perform pg_advisory_xact_lock(4711);
  end if;
  return new;
end $$;
create trigger gate before update on hilum.dataset_instance for each row execute function public.gate()
"""
"""Of 32 instances and more nothing can be noted while another session has the lock."""


@pytest.fixture(scope="module")
def server(
    cluster: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory, folder: Path, manifest: DemoManifest
) -> Iterator[Server]:
    """A server over some of the demo's studies, linked."""
    data = tmp_path_factory.mktemp("served") / "data"
    with fresh_database(cluster) as url:
        database = Database(url, pool_size=4)
        blobs = LocalBlobs(data / "objects", 0)
        archive = Archive(database, blobs, Settings(data=data, min_free_bytes=0, database_url=url))
        everything = some_studies(manifest)
        of = {kind: [study for study in everything if study.modalities == (kind,)] for kind in ("CT", "MR", "CR")}
        studies = [*of["CT"], *of["MR"][:1], *of["CR"][:1]]
        fill(archive, folder, studies)
        database.close()
        with serving(data, url) as running:
            yield running


def post(server: Server, path: str, body: object = None) -> httpx.Response:
    return httpx.post(server.url + API + path, json=body, timeout=60)


def made(server: Server, name: str, **how: object) -> tuple[int, dict[str, object]]:
    """A data set with a published version; its number, and the version as the API has it."""
    answer = post(server, "/datasets", {"name": name, "filter": {}, **how})
    assert answer.status_code == 201, answer.text
    number = answer.json()["id"]
    job = server.job(post(server, f"/datasets/{number}/versions"))
    assert job["state"] == "succeeded", job
    return number, server.get(f"{API}/datasets/{number}/versions/latest").json()


@pytest.fixture(scope="module")
def first(server: Server) -> tuple[int, dict[str, object]]:
    """A data set of everything."""
    return made(server, "everything")


def test_the_api_shows_what_was_made(server: Server, first: tuple[int, dict[str, object]]) -> None:
    number, version = first
    assert version["state"] == "published"
    assert version["held_back"] == []
    base = f"{API}/datasets/{number}/versions/1"
    told = server.get(f"{base}/manifest")
    assert told.headers["etag"] == f'"{version["digest"]}"'.replace("blake3:", "")
    assert len(told.json()["files"]) + 1 == version["counts"]["files"]  # pyright: ignore
    assert server.get(f"{base}/report").json()["passed"]
    assert server.get(f"{base}/review").json()["total"] == 0
    listed = server.get(f"{API}/datasets").json()
    assert [one["name"] for one in listed["items"]][-1] == "everything"
    events = server.get(f"{API}/events", params={"type": "hilum.dataset.published.v1"}).json()["items"]
    assert events[0]["data"]["digest"] == version["digest"].removeprefix("blake3:")  # pyright: ignore
    assert events[0]["subject"] == f"datasets/{number}/versions/1"


def test_a_zip_that_broke_off_goes_on(server: Server, first: tuple[int, dict[str, object]]) -> None:
    path = f"{API}/datasets/{first[0]}/versions/1/zip"
    whole = server.get(path)
    assert whole.headers["content-type"] == "application/zip"
    half = len(whole.content) // 2
    rest = server.get(path, headers={"Range": f"bytes={half}-", "If-Range": whole.headers["etag"]})
    assert rest.status_code == 206
    assert rest.content == whole.content[half:]
    with zipfile.ZipFile(io.BytesIO(whole.content)) as packed:
        assert packed.testzip() is None
        assert "manifest.json" in packed.namelist()
        rows = list(csv.DictReader(io.StringIO(packed.read("image_registry.csv").decode())))
        assert {row["trg_file"] for row in rows} < set(packed.namelist())
    assert server.get(path, headers={"If-None-Match": whole.headers["etag"]}).status_code == 304


def test_command_and_api_give_the_same_bytes(
    server: Server, first: tuple[int, dict[str, object]], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    told = json.loads(server.hilum("export", "everything", str(out), "--json").stdout)
    with zipfile.ZipFile(io.BytesIO(server.get(f"{API}/datasets/{first[0]}/versions/1/zip").content)) as packed:
        written = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
        assert written == {name: packed.read(name) for name in packed.namelist()}
    assert told["counts"]["files"] == len(written)
    some = next(path for path in out.rglob("*.dcm"))
    some.write_bytes(b"cut off")
    again = json.loads(server.hilum("export", "everything", str(out), "--json").stdout)
    assert again["counts"]["files"] == 1
    assert some.read_bytes() == written[str(some.relative_to(out))]
    definition = tmp_path / "by-command.toml"
    definition.write_text('name = "by command"\n[filter]\n')
    other = json.loads(server.hilum("export", str(definition), str(tmp_path / "other"), "--json").stdout)
    made_by_command = {p.name for p in (tmp_path / "other").rglob("*.dcm")}
    assert made_by_command == {path.name for path in out.rglob("*.dcm")}
    assert other["dataset"] != first[0]
    for path in out.rglob("*.dcm"):
        assert (tmp_path / "other" / path.relative_to(out)).read_bytes() == path.read_bytes()


def test_another_layout_and_a_dry_run(server: Server, first: tuple[int, dict[str, object]], tmp_path: Path) -> None:
    told = json.loads(server.hilum("export", "everything", str(tmp_path / "x"), "--dry-run", "--json").stdout)
    counts = first[1]["counts"]
    assert told["files"] == counts["instances"]  # pyright: ignore
    assert told["to_look_at"] > 0
    assert told == post(server, "/datasets/preview", {"filter": {}}).json() | {"held_back": told["held_back"]}
    assert not (tmp_path / "x").exists()
    server.hilum("export", "everything", str(tmp_path / "media"), "--layout", "dicom")
    assert (tmp_path / "media" / "DICOMDIR").is_file()


def test_a_bucket_takes_it(
    server: Server, first: tuple[int, dict[str, object]], s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = s3.options()
    environment = server.environment | {"HILUM_EXPORT_OPTIONS": options}
    monkeypatch.setattr(server, "environment", environment)
    target = s3.url()
    told = json.loads(server.hilum("export", "everything", target, "--json").stdout)
    assert told["counts"]["files"] == first[1]["counts"]["files"]  # pyright: ignore
    again = json.loads(server.hilum("export", "everything", target, "--json").stdout)
    assert again["counts"]["files"] == 1  # the manifest, which comes last


def test_the_crosswalk_is_looked_up_both_ways_and_notes_who_looked(
    server: Server, first: tuple[int, dict[str, object]], manifest: DemoManifest
) -> None:
    studies = {study.study_instance_uid: study for study in manifest.studies}
    person = next(iter(csv.DictReader(io.StringIO(
        zipfile.ZipFile(io.BytesIO(server.get(f"{API}/datasets/{first[0]}/versions/1/zip").content))
        .read("OMOP/person.csv").decode()
    ))))["person_id"]  # fmt: skip
    # Of this version: other tests make more of the same images.
    here = {"dataset": "everything", "version": 1, "limit": 500}
    of_new = server.get(f"{API}/crosswalk", params={"new": person, **here}).json()
    assert 0 < of_new["total"] == len(of_new["items"])
    study = studies[of_new["items"][0]["original_study"]]
    assert str(study.person_id) == person
    of_old = server.get(f"{API}/crosswalk", params={"old": study.patient_id, **here}).json()
    assert {one["sop"] for one in of_old["items"]} == {one["sop"] for one in of_new["items"]}
    by_uid = server.get(f"{API}/crosswalk", params={"old": study.study_instance_uid}).json()
    assert {one["study"] for one in by_uid["items"]} <= {one["study"] for one in of_new["items"]}
    by_path = server.get(f"{API}/crosswalk", params={"new": of_new["items"][0]["path"]}).json()
    assert by_path["items"][0]["sop"] == of_new["items"][0]["sop"]
    changes = {one["path"]: one for one in of_new["items"][0]["changes"]}
    assert (changes["00100020"]["original"], changes["00100020"]["new"]) == (study.patient_id, person)
    assert server.get(f"{API}/crosswalk").status_code == 422
    assert server.get(f"{API}/crosswalk", params={"old": "nobody at all"}).json()["total"] == 0


def test_what_is_wrong_is_told(server: Server, first: tuple[int, dict[str, object]]) -> None:
    assert post(server, "/datasets", {"name": "everything", "filter": {}}).status_code == 409
    assert post(server, "/datasets", {"name": "n"}).status_code == 422
    assert post(server, "/datasets", {"name": "n", "filter": {}, "profile": "../x"}).status_code == 422
    assert post(server, "/datasets", {"name": "n", "filter": {}, "source": "none"}).status_code == 422
    assert post(server, "/datasets", {"name": "n", "filter": {}, "colour": 1}).status_code == 422
    assert server.get(f"{API}/datasets/none").status_code == 404
    assert server.get(f"{API}/datasets/{first[0]}/versions/77").status_code == 404
    assert post(server, f"/datasets/{first[0]}/versions/1/review", {"decision": "reject"}).status_code == 409


@contextmanager
def half_made(server: Server, number: int) -> Iterator[httpx.Response]:
    """Have a version made that goes on when this is left, and not before; gives the answer to who asked for it."""
    count = "select count(*) from hilum.dataset_instance i join hilum.dataset_version v on v.id = i.version_id "
    done = f"{count} where v.dataset_id = {number} and i.state <> 'planned'"
    with administration(server.environment["HILUM_DATABASE_URL"]) as sql:
        sql.execute(GATE)  # pyright: ignore
        sql.execute("select pg_advisory_lock(4711)")
        try:
            answer = post(server, f"/datasets/{number}/versions")
            wait_until(lambda: sql.execute(done).fetchone() > (0,), 120, "a part of the work")  # pyright: ignore
            yield answer
        finally:
            sql.execute("select pg_advisory_unlock(4711)")
            sql.execute("drop function public.gate cascade")


def is_worker(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return "worker" in process.cmdline()
    return False


def test_a_killed_worker_is_followed_by_another_that_goes_on(
    server: Server, first: tuple[int, dict[str, object]]
) -> None:
    number = post(server, "/datasets", {"name": "killed", "filter": {}}).json()["id"]
    with half_made(server, number) as answer:
        workers = list(filter(is_worker, psutil.Process(server.process.pid).children(recursive=True)))
        helpers = [child for worker in workers for child in worker.children(recursive=True)]
        assert len(helpers) >= 2, "it is made by more than one process"
        for worker in workers:
            os.kill(worker.pid, signal.SIGKILL)
    wait_until(lambda: all(map(has_ended, helpers)), 60, "the end of its processes")
    done = server.job(answer, 180)
    assert done["state"] == "succeeded"
    assert done["attempts"] > 1  # pyright: ignore
    version = server.get(f"{API}/datasets/{number}/versions/1").json()
    first_manifest = server.get(f"{API}/datasets/{first[0]}/versions/1/manifest").json()
    manifest = server.get(f"{API}/datasets/{number}/versions/1/manifest").json()
    assert version["state"] == "published"
    assert manifest["files"] == first_manifest["files"]
    assert manifest["definition"] == first_manifest["definition"]


def test_versions_and_data_sets_are_deleted_by_api_and_command(
    server: Server, first: tuple[int, dict[str, object]], tmp_path: Path
) -> None:
    number, version = made(server, "to delete", modalities=["CR"], layout="dicom")
    path = f"{API}/datasets/{number}/versions/1"
    person = json.loads(server.hilum("export", "to delete", str(tmp_path / "out"), "--json").stdout)["dataset"]
    assert person == number
    assert httpx.delete(server.url + path).status_code == 204
    told = server.get(path).json()
    assert (told["state"], told["digest"], told["deleted_by"]) == ("deleted", version["digest"], "local user")
    assert told["deleted_at"]
    for part in ("manifest", "zip", "report"):
        assert server.get(f"{path}/{part}").status_code == 410
    refused = server.hilum("export", "to delete", str(tmp_path / "x"), "--version", "1", check=False)
    assert refused.returncode == 1
    assert f"Version 1 of data set {number} was deleted" in refused.stderr
    assert httpx.delete(f"{server.url}{API}/datasets/{number}/versions/9").status_code == 404
    again = server.job(post(server, f"/datasets/{number}/versions"))
    assert again["state"] == "succeeded"
    assert server.get(f"{API}/datasets/{number}/versions/latest").json()["version"] == 2
    listed = json.loads(server.hilum("dataset", "list", "--json").stdout)
    mine = next(one for one in listed if one["name"] == "to delete")
    assert [(one["version"], one["state"]) for one in mine["versions"]] == [(2, "published"), (1, "deleted")]
    assert "to delete" in server.hilum("dataset", "list").stdout
    server.hilum("dataset", "delete", "to delete", "--version", "2")
    assert server.get(f"{API}/datasets/{number}/versions/2").json()["deleted_by"] == "command"
    server.hilum("dataset", "delete", str(number))
    assert "Objects removed: " in server.hilum("dataset", "collect").stdout
    assert server.get(f"{API}/datasets/{number}").status_code == 410
    assert httpx.delete(f"{server.url}{API}/datasets/{number}").status_code == 410
    other = f"{API}/datasets/{first[0]}/versions/1"
    with zipfile.ZipFile(io.BytesIO(server.get(f"{other}/zip").content)) as packed:
        assert packed.testzip() is None  # it shares files with what was deleted
