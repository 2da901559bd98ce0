"""Deletion: hidden at once, restorable within the grace, then gone with every byte that nothing else uses."""

import threading
from datetime import timedelta
from pathlib import Path

import pytest

from hilum.core.errors import Conflict, Gone, NotFound
from hilum.core.events import read_events
from hilum.imaging.archive import delete, query
from hilum.imaging.archive.arrivals import SourceRef
from hilum.imaging.archive.companions import store_bundle_files
from hilum.imaging.archive.query import StudyFilter
from hilum.imaging.archive.sidecar import record_changes
from hilum.imaging.archive.store import Archive
from tests.archive.test_store import states, store, study_row
from tests.make import ct, uid

NOW = timedelta(0)
QUIET = {"quiet_seconds": 0}


def drop(archive: Archive, study: int = 1) -> int:
    study_id = study_row(archive, uid(study))["id"]
    delete.delete_study(archive.database, study_id, "ann")
    return study_id


def purge(archive: Archive, grace: timedelta = NOW) -> int:
    return delete.purge(archive.database, archive.blobs, grace)


def objects(archive: Archive) -> set[str]:
    return {key for key, _ in archive.blobs.list() if "_hilum" not in key}


def test_a_deleted_study_is_gone_from_lists_counts_and_addresses_and_can_be_restored(
    archive: Archive, source: SourceRef
) -> None:
    store(archive, source, ct(1), ct(2))
    study_id = drop(archive)
    with archive.database.connect() as connection:
        assert query.list_studies(connection, StudyFilter())[1] == 1
        assert query.statistics(connection)["instances"] == 1
        assert [row["studies"] for row in query.sources(connection)] == [1]
        for reference in (uid(1), str(study_id)):
            with pytest.raises(Gone):
                query.find_study(connection, reference)
        with pytest.raises(Gone):
            query.find_instance(connection, uid(1, 1, 1))
        told = [event["subject"] for event in read_events(connection, "") if event["type"] == "hilum.study.deleted.v1"]
    assert told == [uid(1)]
    with pytest.raises(NotFound):
        delete.delete_study(archive.database, study_id, "ann")
    assert purge(archive, timedelta(days=7)) == 0
    assert delete.restore_study(archive.database, uid(1)) == study_id
    assert study_row(archive, uid(1))["num_instances"] == 1
    with pytest.raises(Conflict, match="not deleted"):
        delete.restore_study(archive.database, uid(1))
    with pytest.raises(NotFound):
        delete.restore_study(archive.database, uid(2))


@pytest.mark.bucket
def test_after_the_grace_rows_and_bytes_go_and_nothing_of_other_studies(archive: Archive, source: SourceRef) -> None:
    store(archive, source, ct(1, seed=1), ct(2))
    store(archive, source, ct(1, seed=2))
    store_bundle_files(archive, source, [uid(1), uid(2)], [("both.txt", "other", [b"both"])])
    store_bundle_files(archive, source, [uid(1)], [("one.txt", "other", [b"one"])])
    record_changes(archive.database, archive.blobs, quiet_seconds=0)
    assert len(objects(archive)) == 5
    drop(archive)
    assert purge(archive) == 4  # both versions of the instance, its own bundle file, and the study's record
    assert purge(archive) == 0
    assert len(objects(archive)) == 2
    assert not [key for key, _ in archive.blobs.list(f"default/{uid(1)}")]
    with archive.database.connect() as connection:
        with pytest.raises(Gone):
            query.find_study(connection, uid(1))
        (file,) = query.bundle_files(connection, study_row(archive, uid(2))["id"])
    assert archive.blobs.read(file["blob_key"], 0, 10) == b"both"
    with pytest.raises(Gone, match="store it again"):
        delete.restore_study(archive.database, uid(1))


def test_stored_again_it_begins_anew_and_keeps_the_bytes_that_it_shares(archive: Archive, source: SourceRef) -> None:
    store(archive, source, ct(instance=1), ct(instance=2))
    old = drop(archive)
    assert states(store(archive, source, ct(instance=1))) == ["added"]
    row = study_row(archive, uid(1))
    assert (row["num_instances"], row["id"] != old) == (1, True)
    with pytest.raises(Conflict, match="stored again"):
        delete.restore_study(archive.database, str(old))
    assert purge(archive) == 1
    with archive.database.connect() as connection:
        instance = query.find_instance(connection, uid(1, 1, 1))
    assert archive.blobs.read(instance["blob_key"], 0, instance["size"]) == ct(instance=1)


def test_a_file_that_was_indexed_in_place_is_never_deleted(archive: Archive, source: SourceRef, tmp_path: Path) -> None:
    path = tmp_path / "x.dcm"
    path.write_bytes(ct())
    with archive.batch(source, "import") as batch:
        batch.index("x", str(path))
        batch.commit()
    drop(archive)
    purge(archive)
    assert path.read_bytes() == ct()


def test_importing_deleting_and_purging_at_once_never_leaves_a_row_without_its_bytes(
    archive: Archive, source: SourceRef
) -> None:
    files = [ct(instance=n) for n in range(1, 9)]
    errors: list[Exception] = []
    done = threading.Event()

    def purging() -> None:
        try:
            while not done.is_set():
                purge(archive)
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=purging)
    thread.start()
    for _ in range(12):
        store(archive, source, *files)
        drop(archive)
    store(archive, source, *files)
    done.set()
    thread.join()
    purge(archive)
    assert errors == []
    with archive.database.connect() as connection:
        rows, total = query.study_instances(connection, study_row(archive, uid(1))["id"])
    assert total == 8
    assert all(archive.blobs.size(row["blob_key"]) == row["size"] for row in rows)
    assert len(objects(archive)) == 8


def test_no_record_outlives_its_study(archive: Archive, source: SourceRef) -> None:
    for _ in range(12):
        store(archive, source, *(ct(1, 1, n) for n in range(1, 6)))
        drop(archive)
        recorder = threading.Thread(target=record_changes, args=(archive.database, archive.blobs), kwargs=QUIET)
        recorder.start()
        purge(archive)
        recorder.join()
        purge(archive)
        assert [key for key, _ in archive.blobs.list(f"default/{uid(1)}")] == []
