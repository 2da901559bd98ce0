"""Versions and data sets are deleted: their files go, what others share with them stays, who and when is kept, and what
is being made or written is left alone. And what small files show best of how versions are made."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hilum.core.errors import Conflict, Gone, NotFound
from hilum.core.jobs import open_jobs
from hilum.core.postgres import EmbeddedPostgres
from hilum.imaging.archive.render import series_thumbnail
from hilum.imaging.archive.thumbnails import AREA as PICTURES
from hilum.imaging.dicomweb.resources import Target
from hilum.research.datasets import versions
from hilum.research.datasets.build import build_version
from hilum.research.datasets.delete import collect, delete_dataset, delete_version, in_use, tidy
from hilum.research.datasets.export import export_version
from hilum.research.datasets.objects import AREA
from hilum.research.datasets.plan import plan_version
from hilum.research.datasets.site_key import site_keys
from hilum.research.datasets.viewing import VersionHoldings
from tests.conftest import wait_until
from tests.make import ct
from tests.research.datasets.conftest import Linked, archive_of
from tests.research.datasets.test_versions import Version, begin, build, dataset, held_in

TORN = 'name = "torn"\nbase = "research"\n[attributes]\nImagePositionPatient = "remove"\n'
CUT = 'name = "cut"\nbase = "research"\n[attributes]\nSeriesDescription = "remove"\n'


@pytest.fixture(scope="module")
def small(cluster: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Linked]:
    """Two studies, of two and one series of three slices."""
    files = [ct(study, series, n) for study, series in ((1, 1), (1, 2), (2, 1)) for n in (1, 2, 3)]
    with archive_of(cluster, tmp_path_factory.mktemp("small") / "data", files) as linked:
        yield linked


def of(linked: Linked, name: str, **how: object) -> int:
    return dataset(linked, **{"name": name, "profile": "research", "clinical": False, **how})


def own_profile(linked: Linked, name: str, text: str) -> str:
    """A profile that no other test here uses, so that no other version has its files."""
    profiles = linked.archive.settings.data_path / "profiles"
    profiles.mkdir(exist_ok=True)
    (profiles / f"{name}.toml").write_text(text)
    return name


def made(linked: Linked, number: int) -> int:
    version = begin(linked, number)
    build(linked, version)
    return version


def objects(linked: Linked) -> set[str]:
    return {key for key, _ in linked.archive.blobs.list(AREA)}


def keys_of(linked: Linked, version: int) -> set[str]:
    with linked.archive.database.transaction() as sql:
        rows = sql.rows("select blob_key from hilum.dataset_file where version_id = %s", (version,))
    return {str(row["blob_key"]) for row in rows}


def needed(linked: Linked) -> set[str]:
    """By any version."""
    with linked.archive.database.transaction() as sql:
        rows = sql.rows("select blob_key from hilum.dataset_file union select blob_key from hilum.dataset_instance")
    return {str(row["blob_key"]) for row in rows}


def row_of(linked: Linked, version: int) -> dict[str, object]:
    with linked.archive.database.connect() as connection:
        return dict(versions.version_by_id(connection, version))


def delete(linked: Linked, number: int, version: int, who: str = "ann") -> None:
    delete_version(linked.archive.database, linked.archive.blobs, number, version, who)


def test_what_other_versions_share_stays(small: Linked, tmp_path: Path) -> None:
    both = of(small, "both", profile="limited-dataset")  # a profile that no other test here uses
    one = of(small, "one", profile="limited-dataset", filter={"accession_number": "A2"})
    first, second = made(small, both), made(small, one)
    shared = keys_of(small, first) & keys_of(small, second)
    assert len(shared) >= 3
    before = Version(small, second, tmp_path / "before").files()
    was = keys_of(small, first)
    delete(small, both, 1)
    assert len(was - needed(small)) >= 6
    assert objects(small).isdisjoint(was - needed(small))
    assert needed(small) - {""} <= objects(small)
    assert Version(small, second, tmp_path / "after").files() == before
    row = row_of(small, first)
    assert (row["state"], row["deleted_by"]) == ("deleted", "ann")
    assert row["deleted_at"] is not None
    assert row["digest"]
    with small.archive.database.transaction() as sql:
        for table in ("dataset_file", "dataset_instance", "dataset_person", "dataset_study"):
            assert sql.rows(f"select 1 from hilum.{table} where version_id = %s", (first,)) == []  # pyright: ignore
    delete(small, both, 1, "ben")
    assert row_of(small, first)["deleted_by"] == "ann"
    with pytest.raises(Gone, match="by ann"):
        export_version(small.archive, first, "chorus", str(tmp_path / "gone"), "chorus", lambda *_: None)
    assert row_of(small, made(small, both))["number"] == 2
    with pytest.raises(NotFound):
        delete(small, both, 7)


def test_a_deleted_data_set_gives_its_name_away(small: Linked) -> None:
    number = of(small, "fleeting")
    version = made(small, number)
    delete_dataset(small.archive.database, small.archive.blobs, number, "ann")
    assert row_of(small, version)["state"] == "deleted"
    with small.archive.database.connect() as connection:
        with pytest.raises(Gone, match=f"Data set {number} was deleted"):
            versions.find_dataset(connection, str(number))
        with pytest.raises(NotFound):
            versions.find_dataset(connection, "fleeting")
        assert number not in {row["id"] for row in versions.list_datasets(connection, limit=500, offset=0)[0]}
    with pytest.raises(Gone):
        delete_dataset(small.archive.database, small.archive.blobs, number, "ann")
    assert of(small, "fleeting") != number


def test_what_is_made_or_written_is_left_alone(small: Linked, tmp_path: Path) -> None:
    """Asked in the middle of a build, and in the middle of an export."""
    number = of(small, "busy")
    version = begin(small, number)
    refused: list[str] = []

    def try_it(*_: object) -> None:
        try:
            delete(small, number, 1)
        except Conflict as error:
            refused.append(str(error))

    from hilum.core.progress import job_here

    with job_here(small.archive.database, "dataset", "", "default", try_it) as progress:
        build_version(small.archive, version, progress)
    assert refused
    refused.clear()
    export_version(small.archive, version, "chorus", str(tmp_path), "chorus", try_it)
    assert set(refused) == {"Version 1 is being made or written out: wait until that has ended."}
    with pytest.raises(Conflict, match="being made"), in_use(small.archive.database, version):
        delete_dataset(small.archive.database, small.archive.blobs, number, "ann")
    with small.archive.database.connect() as connection:
        versions.find_dataset(connection, "busy")
    delete(small, number, 1)


def test_a_version_that_waits_is_taken_from_the_queue_first(small: Linked) -> None:
    number = of(small, "waiting")
    database = small.archive.database
    with open_jobs(database) as jobs:
        with database.connect() as connection:
            found = versions.find_dataset(connection, str(number))
        job = versions.ask_for_version(database, jobs, found, "test", review=False)
        with pytest.raises(Conflict, match=f"made by job {job}"):
            delete(small, number, 1)
        jobs.cancel(job)
        delete(small, number, 1)
    with database.connect() as connection:
        version = versions.find_version(connection, number, 1)
    build(small, version["id"])  # a job that comes to it after all
    assert row_of(small, version["id"])["state"] == "deleted"


def test_objects_wait_for_who_may_be_about_to_need_them(small: Linked) -> None:
    number = of(small, "littered", licence="One of a kind.")
    version = made(small, number)
    own = keys_of(small, version)
    other = of(small, "other")
    holding, done = threading.Event(), threading.Event()

    def hold() -> None:
        with in_use(small.archive.database, begin(small, other)):
            holding.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    assert holding.wait(60)
    delete(small, number, 1)
    assert own <= objects(small)
    done.set()
    thread.join(60)
    tidy(small.archive.database, small.archive.blobs)
    assert own - needed(small)
    assert objects(small).isdisjoint(own - needed(small))
    with small.archive.database.transaction() as sql:
        assert sql.rows("select 1 from hilum.dataset_litter") == []


def test_another_layout_leaves_nothing_behind(small: Linked, tmp_path: Path) -> None:
    version = made(small, of(small, "both layouts"))
    before = objects(small)
    export_version(small.archive, version, "chorus", str(tmp_path), "dicom", lambda *_: None)
    assert (tmp_path / "DICOMDIR").is_file()
    assert objects(small) == before


def test_an_unfinished_version_is_taken_up_again(small: Linked) -> None:
    number = of(small, "unfinished")
    first = begin(small, number)
    database = small.archive.database
    with database.transaction() as sql:
        found = versions.find_dataset(sql.connection, str(number))
        assert versions.take_up_version(sql, found, "test") == first
    with pytest.raises(Conflict, match="is being made"), in_use(database, first), database.transaction() as sql:
        versions.take_up_version(sql, found, "test")
    build(small, first)
    with database.transaction() as sql:
        assert versions.take_up_version(sql, found, "test") != first


def test_new_errors_of_validity_hold_back(small: Linked, tmp_path: Path) -> None:
    """The first file of each series is compared with its original, as `hilum deid` does."""
    good = Version(small, made(small, of(small, "valid")), tmp_path / "good")
    checks = {check["name"]: check for check in good.row["report"]["checks"]}
    assert (checks["valid"]["total"], checks["valid"]["wrong"]) == (3, 0) == (good.row["counts"]["series"], 0)
    number = dataset(small, name="torn", profile=own_profile(small, "torn", TORN), clinical=False)
    torn = Version(small, made(small, number), tmp_path / "torn")
    checks = {check["name"]: check for check in torn.row["report"]["checks"]}
    assert (checks["valid"]["total"], checks["valid"]["wrong"], checks["valid"]["passed"]) == (3, 3, False)
    assert [(one["code"], one["instances"]) for one in held_in(torn)] == [("invalid", 3)]


def test_what_other_software_made_is_made_again(small: Linked, tmp_path: Path) -> None:
    """A version that an older Hilum left unfinished is of one software in the end, which its manifest names."""
    number = of(small, "older")
    version, fresh = made(small, number), made(small, number)
    with small.archive.database.transaction() as sql:
        sql.rows("update hilum.dataset_version set state = 'building', software = '{}' where id = %s", (version,))
        sql.rows("update hilum.dataset_instance set digest = 'older' where version_id = %s", (version,))
    build(small, version)
    files = Version(small, version, tmp_path / "again").files()
    assert files == Version(small, fresh, tmp_path / "fresh").files()


def test_pictures_of_its_images_go_with_a_version(small: Linked) -> None:
    """Only those that no other version shares."""
    archive = small.archive
    both = of(small, "pictured", profile="basic")
    one = of(small, "pictured too", profile="basic", filter={"accession_number": "A2"})
    first, second = made(small, both), made(small, one)
    with archive.database.transaction() as sql:
        studies = sql.rows("select distinct study from hilum.dataset_instance where version_id = %s", (first,))
        rows = [
            row
            for study in studies
            for row in VersionHoldings(first, "").find(sql.connection, Target("default", str(study["study"])))
        ]
    for row in rows:
        series_thumbnail(archive.blobs, row, 1, ())

    def pictured() -> set[str]:
        return {key.rpartition("/")[2].partition("-")[0] for key, _ in archive.blobs.list(PICTURES)}

    shared = {key.rpartition("/")[2] for key in keys_of(small, second)} & {str(row["digest"]) for row in rows}
    assert len(shared) == 3
    assert pictured() == {str(row["digest"]) for row in rows}
    delete(small, both, 1)
    assert pictured() == shared
    delete(small, one, 1)
    assert pictured() == set()


BUILD = """
import sys
from hilum.core.blobs import LocalBlobs
from hilum.core.config import Settings
from hilum.core.database import Database
from hilum.core.progress import job_here
from hilum.imaging.archive.store import Archive
from hilum.research.datasets.build import build_version
if __name__ == "__main__":
    data, url, version = sys.argv[1:]
    settings = Settings(data=data, min_free_bytes=0, database_url=url, deid_workers=1)
    archive = Archive(Database(url, pool_size=4), LocalBlobs(settings.data_path / "objects", 0), settings)
    with job_here(archive.database, "dataset", "", "default", lambda *_: None) as progress:
        build_version(archive, int(version), progress)
"""


def test_what_a_killed_batch_had_written_is_collected(small: Linked, tmp_path: Path) -> None:
    """Killed when its objects are durable and their rows do not name them yet."""
    archive, number = small.archive, of(small, "cut short", profile=own_profile(small, "cut", CUT))
    collect(archive.database, archive.blobs)
    version, before = begin(small, number), objects(small)
    with archive.database.transaction() as sql:
        definition = versions.definition_of(versions.version_by_id(sql.connection, version))
        plan_version(sql, version, definition, archive.settings, site_keys(archive.database, archive.settings))
    script = tmp_path / "build.py"
    script.write_text(BUILD)
    told = [sys.executable, str(script), str(archive.settings.data_path), small.url, str(version)]
    with archive.database.transaction() as sql:  # so that the batch cannot be noted
        sql.rows("set local idle_in_transaction_session_timeout = 0")
        sql.rows("select 1 from hilum.dataset_instance where version_id = %s for update", (version,))
        process = subprocess.Popen(told, start_new_session=True)
        try:
            wait_until(lambda: len(objects(small) - before) >= 9, 300, "the objects of a batch")
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(60)
    litter = objects(small) - before
    assert len(litter) == 9
    assert litter.isdisjoint(needed(small))
    with in_use(archive.database, begin(small, of(small, "beside it"))):
        assert collect(archive.database, archive.blobs) == 0
        assert objects(small) == before | litter
    wait_until(lambda: collect(archive.database, archive.blobs) or objects(small) == before, 60, "the server to notice")
    assert objects(small) == before
    assert collect(archive.database, archive.blobs) == 0
    build(small, version)
    assert litter <= needed(small) <= objects(small) | {""}
    assert collect(archive.database, archive.blobs) == 0
    assert row_of(small, version)["state"] == "published"
