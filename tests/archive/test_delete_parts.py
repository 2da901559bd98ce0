"""Deletion of a series or an instance: hidden at once, restorable within the grace, then gone."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from hilum.core.errors import Conflict, Gone, NotFound
from hilum.core.events import read_events
from hilum.imaging.archive import delete, query
from hilum.imaging.archive.arrivals import SourceRef
from hilum.imaging.archive.check import check
from hilum.imaging.archive.delete import Part
from hilum.imaging.archive.repair import repair
from hilum.imaging.archive.sidecar import record_changes
from hilum.imaging.archive.store import Archive
from tests.archive.test_check import drop_catalogue
from tests.archive.test_delete import objects, purge
from tests.archive.test_store import states, store, study_row
from tests.make import ct, uid

SERIES = Part(uid(1, 1))
INSTANCE = Part(uid(1, 2), uid(1, 2, 1))


@pytest.fixture
def study_id(archive: Archive, source: SourceRef) -> int:
    """A study of two series, of two instances and of three."""
    store(archive, source, *(ct(1, 1, n) for n in (1, 2)), *(ct(1, 2, n, Modality="MR") for n in (1, 2, 3)))
    return study_row(archive, uid(1))["id"]


def drop(archive: Archive, study_id: int, part: Part) -> None:
    delete.delete_part(archive.database, study_id, part, "ann")


def counts(archive: Archive) -> tuple[int, ...]:
    row = study_row(archive, uid(1))
    return tuple(row[name] for name in ("num_series", "num_instances", "num_images", "bytes"))


def live(archive: Archive) -> set[str]:
    with archive.database.connect() as connection:
        rows, total = query.study_instances(connection, study_row(archive, uid(1))["id"])
        series = query.study_series(connection, study_row(archive, uid(1))["id"])
    assert total == len(rows) == sum(one["num_instances"] for one in series)
    return {row["sop_instance_uid"] for row in rows}


def test_a_deleted_series_leaves_the_study_with_right_counts_and_comes_back(archive: Archive, study_id: int) -> None:
    before, row = counts(archive), study_row(archive, uid(1))
    drop(archive, study_id, SERIES)
    size = sum(len(ct(1, 2, n, Modality="MR")) for n in (1, 2, 3))
    assert counts(archive) == (1, 3, 3, size)
    after = study_row(archive, uid(1))
    assert (after["modalities"], after["modality"]) == (["MR"], "MR")
    assert after["updated_at"] > row["updated_at"]
    with archive.database.connect() as connection:
        assert query.statistics(connection)["instances"] == 3
        with pytest.raises(Gone, match="series"):
            query.find_series(connection, study_id, uid(1, 1))
        with pytest.raises(Gone, match="instance"):
            query.find_instance(connection, uid(1, 1, 1))
    with pytest.raises(NotFound):
        drop(archive, study_id, SERIES)
    with pytest.raises(Conflict, match="not deleted"):
        delete.restore_study(archive.database, uid(1))
    assert delete.restore_study(archive.database, uid(1), part=SERIES) == study_id
    assert counts(archive) == before
    assert study_row(archive, uid(1))["modalities"] == ["CT", "MR"]
    with pytest.raises(Conflict, match="not deleted"):
        delete.restore_study(archive.database, uid(1), part=SERIES)
    with pytest.raises(NotFound):
        delete.restore_study(archive.database, uid(1), part=INSTANCE)


def test_a_deleted_instance_leaves_its_series_and_comes_back(archive: Archive, study_id: int) -> None:
    drop(archive, study_id, Part(sop_instance_uid=INSTANCE.sop_instance_uid))
    assert counts(archive)[:3] == (2, 4, 4)
    assert live(archive) == {uid(1, 1, 1), uid(1, 1, 2), uid(1, 2, 2), uid(1, 2, 3)}
    with archive.database.connect() as connection:
        told = [(event["type"], event["data"]) for event in read_events(connection, "")]
    assert told[-1] == (
        "hilum.instance.deleted.v1",
        {"study_id": study_id, "study_instance_uid": uid(1), "series_instance_uid": uid(1, 2),
         "sop_instance_uid": uid(1, 2, 1)},
    )  # fmt: skip
    delete.restore_study(archive.database, str(study_id), part=Part(sop_instance_uid=uid(1, 2, 1)))
    assert counts(archive)[:3] == (2, 5, 5)


def test_with_the_last_of_it_the_study_goes_and_what_went_last_comes_back_first(
    archive: Archive, study_id: int
) -> None:
    drop(archive, study_id, SERIES)
    drop(archive, study_id, Part(uid(1, 2)))
    with archive.database.connect() as connection:
        with pytest.raises(Gone):
            query.find_study(connection, uid(1))
        told = [(event["type"], event["subject"]) for event in read_events(connection, "", after=5)]
    assert told == [
        ("hilum.series.deleted.v1", uid(1, 1)), ("hilum.series.deleted.v1", uid(1, 2)),
        ("hilum.study.deleted.v1", uid(1)),
    ]  # fmt: skip
    with pytest.raises(Conflict, match="restore that first"):
        delete.restore_study(archive.database, uid(1), part=SERIES)
    assert delete.restore_study(archive.database, uid(1)) == study_id
    assert delete.restore_study(archive.database, uid(1), part=SERIES) == study_id
    assert counts(archive)[:2] == (2, 5)


def test_after_the_grace_only_its_own_bytes_go(archive: Archive, study_id: int) -> None:
    drop(archive, study_id, SERIES)
    drop(archive, study_id, INSTANCE)
    assert purge(archive, timedelta(days=1)) == 0
    record_changes(archive.database, archive.blobs, quiet_seconds=0)
    assert purge(archive) == 5  # three instances, two records
    assert len(objects(archive)) == 2
    assert counts(archive)[:2] == (1, 2)
    with archive.database.connect() as connection:
        for missing in (uid(1, 2, 1),):
            with pytest.raises(Gone):
                query.find_instance(connection, missing)
    with pytest.raises(Gone, match="store it again"):
        delete.restore_study(archive.database, uid(1), part=SERIES)
    assert check(archive.database, archive.blobs).found == {}


def test_what_is_stored_again_stays_and_the_old_one_cannot_come_back(
    archive: Archive, source: SourceRef, study_id: int
) -> None:
    drop(archive, study_id, SERIES)
    assert states(store(archive, source, ct(1, 1, 1))) == ["added"]
    assert counts(archive)[:2] == (2, 4)
    with pytest.raises(Conflict, match="stored again"):
        delete.restore_study(archive.database, uid(1), part=SERIES)
    assert purge(archive) == 1
    assert live(archive) == {uid(1, 1, 1), *(uid(1, 2, n) for n in (1, 2, 3))}
    with archive.database.connect() as connection:
        row = query.find_instance(connection, uid(1, 1, 1))
    assert archive.blobs.size(row["blob_key"]) == row["size"]


def test_a_repair_does_not_bring_back_what_was_deleted(archive: Archive, source: SourceRef, study_id: int) -> None:
    drop(archive, study_id, SERIES)
    drop(archive, study_id, INSTANCE)
    store(archive, source, ct(1, 1, 1))
    before = counts(archive), live(archive)
    record_changes(archive.database, archive.blobs, quiet_seconds=0)
    drop_catalogue(archive)
    repair(archive)
    assert (counts(archive), live(archive)) == before
    with pytest.raises(Conflict, match="stored again"):
        delete.restore_study(archive.database, uid(1), part=SERIES)
    delete.restore_study(archive.database, uid(1), part=INSTANCE)
    assert live(archive) == before[1] | {uid(1, 2, 1)}


def test_what_was_restored_stays_through_a_repair(archive: Archive, study_id: int) -> None:
    drop(archive, study_id, SERIES)
    record_changes(archive.database, archive.blobs, quiet_seconds=0)
    delete.restore_study(archive.database, uid(1), part=SERIES)
    record_changes(archive.database, archive.blobs, quiet_seconds=0)
    before = counts(archive)
    drop_catalogue(archive)
    repair(archive)
    assert counts(archive) == before
    purge(archive)
    assert (counts(archive), len(objects(archive))) == (before, 5)
    assert check(archive.database, archive.blobs).found == {}


def test_a_purge_after_a_restore_takes_nothing_but_the_record_of_the_deletion(archive: Archive, study_id: int) -> None:
    drop(archive, study_id, SERIES)
    drop(archive, study_id, INSTANCE)
    record_changes(archive.database, archive.blobs, quiet_seconds=0)
    for part in (SERIES, INSTANCE):
        delete.restore_study(archive.database, uid(1), part=part)
    assert purge(archive) == 2
    assert (counts(archive)[:2], len(objects(archive))) == ((2, 5), 5)
    with archive.database.transaction() as sql:
        assert len(sql.rows("select id from hilum.study")) == 1


def test_storing_and_deleting_at_once_leaves_right_counts(archive: Archive, source: SourceRef, study_id: int) -> None:
    def delete_often() -> None:
        for n in (1, 2, 3):
            drop(archive, study_id, Part(uid(1, 2), uid(1, 2, n)))

    with ThreadPoolExecutor(3) as pool:
        jobs = [pool.submit(store, archive, source, *(ct(1, s, n) for n in range(1, 9))) for s in (3, 1)]
        jobs.append(pool.submit(delete_often))
        for job in jobs:
            job.result()
    assert live(archive) == {uid(1, s, n) for s in (1, 3) for n in range(1, 9)}
    assert counts(archive)[:3] == (2, 16, 16)


def test_every_deletion_is_kept_with_who_and_when(archive: Archive, study_id: int) -> None:
    drop(archive, study_id, INSTANCE)
    delete.delete_study(archive.database, study_id, "bob")
    with archive.database.connect() as connection:
        rows, total = query.list_deletions(connection, "default")
    assert total == 2
    assert [(row["made_by"], row["series_instance_uid"], row["sop_instance_uid"]) for row in rows] == [
        ("bob", "", ""), ("ann", uid(1, 2), uid(1, 2, 1)),
    ]  # fmt: skip
    assert all(row["made_at"] for row in rows)
