"""Revisions: gapless numbers, the whole manifest and what changed, made once however many workers there are."""

import threading
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from blake3 import blake3

from hilum.core.errors import NotFound
from hilum.core.events import read_events
from hilum.imaging.archive import delete
from hilum.imaging.archive.arrivals import SourceRef
from hilum.imaging.archive.delete import Part
from hilum.imaging.archive.query import find_study
from hilum.imaging.archive.repair import repair
from hilum.imaging.archive.sidecar import mark_studies, record_changes
from hilum.imaging.archive.store import Archive
from hilum.imaging.studies import revisions
from hilum.imaging.studies.revisions import Revision, get_revision, list_revisions
from tests.make import ct, uid


@pytest.fixture
def archive(archive: Archive) -> Archive:
    """An archive without a quiet time: what came is complete as soon as a worker looks."""
    return with_quiet(archive, 0)


@pytest.fixture
def patient_archive(archive: Archive) -> Archive:
    """An archive that waits as long as no test lasts."""
    return with_quiet(archive, 3600)


def with_quiet(archive: Archive, seconds: float) -> Archive:
    return replace(archive, settings=archive.settings.model_copy(update={"study_quiet_seconds": seconds}))


def store(archive: Archive, *files: bytes) -> None:
    with archive.batch(archive.source(), "import") as batch:
        for number, file in enumerate(files):
            batch.add(f"file {number}", [file])
        batch.commit()


def work(archive: Archive) -> None:
    """What a worker does when it looks."""
    revisions.revise_due(archive.database, mark_studies)


def study_id(archive: Archive, number: int = 1) -> int:
    with archive.database.connect() as connection:
        return find_study(connection, uid(number))["id"]


def latest(archive: Archive, number: int | None = None, study: int | None = None) -> Revision:
    with archive.database.connect() as connection:
        return get_revision(connection, study or study_id(archive), number)


def told(archive: Archive) -> list[dict[str, Any]]:
    """The data of all events of revisions."""
    with archive.database.connect() as connection:
        return [e["data"] for e in read_events(connection, "", types=[revisions.REVISED], limit=1000)]  # pyright: ignore


def gist(archive: Archive) -> list[tuple[int, str, int, int, int]]:
    """Of all revisions that were told of number, reason, and how much was added, removed and replaced."""
    return [
        (e["revision"], e["reason"], *(len(e["changes"][name]) for name in ("added", "removed", "replaced")))
        for e in told(archive)
    ]


def member(study: int, series: int, instance: int) -> str:
    return f"{uid(study, series)}/{uid(study, series, instance)}"


def clock(archive: Archive, number: int = 1) -> sa.Row[Any]:
    with archive.database.connect() as connection:
        query = "select * from hilum.study_clock where study_instance_uid = %s"
        return connection.exec_driver_sql(query, (uid(number),)).one()


def test_the_first_revision_holds_the_whole_study_and_is_told_of(archive: Archive) -> None:
    files = {(e, i): ct(1, e, i) for e in (2, 1) for i in (3, 1, 2)}
    store(archive, *files.values())
    assert told(archive) == []
    work(archive)
    revision = latest(archive)
    assert (revision.number, revision.reason, revision.source) == (1, "quiet", "default")
    assert (revision.num_series, revision.num_instances, revision.num_images) == (2, 6, 6)
    assert [s.series_instance_uid for s in revision.series] == [uid(1, 1), uid(1, 2)]
    assert [(s.modality, s.series_number) for s in revision.series] == [("CT", 1), ("CT", 2)]
    for series in revision.series:
        assert [i.instance_number for i in series.instances] == [1, 2, 3]
        for instance in series.instances:
            file = files[series.series_number or 0, instance.instance_number or 0]
            assert (instance.digest, instance.size) == (f"blake3:{blake3(file).hexdigest()}", len(file))
            assert instance.sop_class_uid == "1.2.840.10008.5.1.4.1.1.2"
            assert instance.transfer_syntax_uid == "1.2.840.10008.1.2.1"
    assert len(revision.changes.added) == 6
    assert (revision.changes.removed, revision.changes.replaced) == ((), ())
    (data,) = told(archive)
    assert (data["study_instance_uid"], data["revision"], data["reason"]) == (uid(1), 1, "quiet")
    assert (data["num_series"], data["num_instances"], data["num_images"]) == (2, 6, 6)
    assert data["changes"]["added"] == list(revision.changes.added)
    assert [[i["sop_instance_uid"] for i in s["instances"]] for s in data["series"]] == [
        [uid(1, e, i) for i in (1, 2, 3)] for e in (1, 2)
    ]
    assert data["series"][0]["instances"][0]["digest"] == revision.series[0].instances[0].digest


def test_a_study_is_processed_with_its_revision_and_indexed_while_more_comes(archive: Archive) -> None:
    def status() -> tuple[str, int]:
        with archive.database.connect() as connection:
            row = find_study(connection, uid(1))
        return row["status"], row["revision"]

    store(archive, ct())
    assert status() == ("indexed", 0)
    work(archive)
    assert status() == ("processed", 1)
    store(archive, ct())
    assert status() == ("processed", 1), "the same bytes change nothing"
    store(archive, ct(instance=2))
    assert status() == ("indexed", 1)
    work(archive)
    assert status() == ("processed", 2)


def test_what_comes_later_is_told_as_added_and_other_bytes_as_replaced(archive: Archive) -> None:
    store(archive, ct(), ct(instance=2))
    work(archive)
    store(archive, ct(instance=3), ct(instance=2, seed=7))
    work(archive)
    revision = latest(archive)
    assert (revision.number, revision.num_instances) == (2, 3)
    assert revision.changes.added == (member(1, 1, 3),)
    assert revision.changes.replaced == (member(1, 1, 2),)
    assert gist(archive) == [(1, "quiet", 2, 0, 0), (2, "quiet", 1, 0, 1)]
    assert latest(archive, 1).num_instances == 2, "an earlier revision stays as it was"
    with archive.database.connect() as connection:
        listed, total = list_revisions(connection, study_id(archive))
    assert [(each.number, each.num_added, each.num_replaced) for each in listed] == [(2, 1, 1), (1, 2, 0)]
    assert total == 2


def test_the_same_bytes_again_make_no_revision(archive: Archive) -> None:
    store(archive, ct())
    work(archive)
    for _ in range(3):
        store(archive, ct())
        work(archive)
    assert gist(archive) == [(1, "quiet", 1, 0, 0)]


def test_a_worker_before_its_time_makes_nothing_and_each_instance_begins_the_time_anew(
    patient_archive: Archive,
) -> None:
    store(patient_archive, ct())
    first = clock(patient_archive).due_at
    work(patient_archive)
    store(patient_archive, ct(instance=2))
    assert told(patient_archive) == []
    assert clock(patient_archive).due_at > first
    due = revisions.revise_due(patient_archive.database, mark_studies)
    assert due == clock(patient_archive).due_at, "a worker is told when to look again"


def test_an_expected_count_completes_at_once_when_it_comes_before(patient_archive: Archive) -> None:
    archive = patient_archive
    with archive.database.transaction() as sql:
        standing = revisions.await_instances(sql, archive.source().id, uid(1), 3)
    assert (standing.study_id, standing.num_instances, standing.revision) == (None, 0, 0)
    store(archive, ct(), ct(instance=2))
    assert told(archive) == []
    store(archive, ct(instance=3))
    assert gist(archive) == [(1, "expected", 3, 0, 0)]
    assert (clock(archive).due_at, clock(archive).expected) == (None, None)
    store(archive, ct(instance=4))
    assert len(told(archive)) == 1, "what comes beyond waits for the quiet time"
    assert clock(archive).due_at is not None


def test_an_expected_count_completes_at_once_when_it_comes_after(patient_archive: Archive) -> None:
    archive = patient_archive
    store(archive, ct(), ct(instance=2))
    for count in (3, 2):
        with archive.database.transaction() as sql:
            standing = revisions.await_instances(sql, archive.source().id, uid(1), count)
    assert (standing.num_instances, standing.revision) == (2, 1)
    assert gist(archive) == [(1, "expected", 2, 0, 0)]


def test_a_person_completes_a_study_and_again_without_effect(patient_archive: Archive) -> None:
    archive = patient_archive
    store(archive, ct())
    for _ in range(2):
        with archive.database.transaction() as sql:
            revisions.complete(sql, study_id(archive))
    assert gist(archive) == [(1, "manual", 1, 0, 0)]
    assert clock(archive).due_at is None


def test_deletions_and_restoring_make_revisions(archive: Archive) -> None:
    store(archive, *(ct(1, e, i) for e in (1, 2) for i in (1, 2)))
    work(archive)
    number = study_id(archive)
    delete.delete_part(archive.database, number, Part(uid(1, 1), uid(1, 1, 1)), "ann")
    delete.delete_part(archive.database, number, Part(uid(1, 2)), "ann")
    delete.delete_study(archive.database, number, "ann")
    assert gist(archive) == [
        (1, "quiet", 4, 0, 0),
        (2, "deleted", 0, 1, 0),
        (3, "deleted", 0, 2, 0),
        (4, "deleted", 0, 1, 0),
    ]
    assert told(archive)[1]["changes"]["removed"] == [member(1, 1, 1)]
    assert (told(archive)[3]["num_instances"], told(archive)[3]["series"]) == (0, [])
    delete.restore_study(archive.database, uid(1))
    delete.restore_study(archive.database, uid(1), part=Part(uid(1, 2)))
    assert gist(archive)[4:] == [(5, "manual", 1, 0, 0), (6, "manual", 2, 0, 0)]
    work(archive)
    assert len(told(archive)) == 6, "nothing is left for the timer"
    assert latest(archive, 4).series == ()


def test_a_study_that_is_stored_again_after_its_deletion_goes_on_counting(archive: Archive) -> None:
    store(archive, ct(), ct(instance=2))
    work(archive)
    delete.delete_study(archive.database, study_id(archive), "ann")
    store(archive, ct())
    work(archive)
    assert gist(archive) == [(1, "quiet", 2, 0, 0), (2, "deleted", 0, 2, 0), (3, "quiet", 1, 0, 0)]
    with archive.database.connect() as connection:
        assert [r.number for r in list_revisions(connection, study_id(archive))[0]] == [3, 2, 1]
        assert find_study(connection, uid(1))["revision"] == 3


def test_what_was_deleted_before_its_first_revision_is_never_told_of(archive: Archive) -> None:
    store(archive, ct())
    delete.delete_study(archive.database, study_id(archive), "ann")
    work(archive)
    assert told(archive) == []
    delete.restore_study(archive.database, uid(1))
    work(archive)
    assert gist(archive) == [(1, "quiet", 1, 0, 0)]


def test_a_deletion_in_a_study_that_is_still_coming_does_not_end_its_quiet_time(archive: Archive) -> None:
    store(archive, ct(), ct(instance=2))
    work(archive)
    slow = with_quiet(archive, 3600)
    store(slow, ct(instance=3))
    delete.delete_part(slow.database, study_id(slow), Part(uid(1, 1), uid(1, 1, 1)), "ann")
    assert gist(archive)[1:] == [(2, "deleted", 1, 1, 0)]
    assert clock(slow).due_at is not None
    with slow.database.connect() as connection:
        assert find_study(connection, uid(1))["status"] == "indexed"


def test_two_sources_count_the_same_study_each_on_its_own(archive: Archive) -> None:
    with archive.database.transaction() as sql:
        sql.rows("insert into hilum.source (key, name) values ('b', 'B')")
    for key in ("default", "b"):
        with archive.batch(archive.source(key), "import") as batch:
            batch.add("x", [ct()])
            batch.commit()
    work(archive)
    with archive.database.connect() as connection:
        events = read_events(connection, "", types=[revisions.REVISED])
    assert sorted(str(e["source"]) for e in events) == ["/sources/b", "/sources/default"]
    assert [e["revision"] for e in told(archive)] == [1, 1]


def test_many_workers_at_once_make_each_revision_once(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revisions, "_AT_ONCE", 3)
    for study in range(1, 21):
        store(archive, ct(study))
    workers = [threading.Thread(target=work, args=(archive,)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    work(archive)
    assert sorted(e["study_instance_uid"] for e in told(archive)) == sorted(uid(n) for n in range(1, 21))
    assert {e["revision"] for e in told(archive)} == {1}


def test_no_instance_is_lost_between_stores_and_revisions_that_run_at_once(archive: Archive) -> None:
    """Three senders store instance by instance into two studies, replacing some and deleting others, while two workers
    make revisions as fast as they can: numbers have no gaps, each revision is the one before with its changes, and the
    last is what is archived."""
    ended = threading.Event()
    faults: list[BaseException] = []

    def guarded(run: Any, *arguments: Any) -> threading.Thread:
        def body() -> None:
            try:
                run(*arguments)
            except BaseException as fault:
                faults.append(fault)

        return threading.Thread(target=body)

    def send(sender: int) -> None:
        for i in range(1, 13):
            study = 1 + i % 2
            store(archive, ct(study, sender, i))
            if i % 4 == 0:
                store(archive, ct(study, sender, i, seed=99))
            if i % 6 == 0:
                delete.delete_part(
                    archive.database, study_id(archive, study), Part(uid(study, sender), uid(study, sender, i)), "ann"
                )

    def revise() -> None:
        while not ended.is_set():
            work(archive)

    workers = [guarded(revise) for _ in range(2)]
    senders = [guarded(send, n) for n in range(1, 4)]
    for thread in (*workers, *senders):
        thread.start()
    for thread in senders:
        thread.join()
    ended.set()
    for thread in workers:
        thread.join()
    work(archive)
    assert faults == []
    for study in (1, 2):
        events = [e for e in told(archive) if e["study_instance_uid"] == uid(study)]
        assert [e["revision"] for e in events] == list(range(1, len(events) + 1))
        state: dict[str, str] = {}
        for event in events:
            listed = {
                f"{s['series_instance_uid']}/{i['sop_instance_uid']}": i["digest"]
                for s in event["series"]
                for i in s["instances"]
            }
            changes = event["changes"]
            assert set(changes["added"]) == set(listed) - set(state)
            assert set(changes["removed"]) == set(state) - set(listed)
            assert set(changes["replaced"]) == {k for k in listed if k in state and listed[k] != state[k]}
            state = listed
        with archive.database.connect() as connection:
            rows = connection.exec_driver_sql(
                "select i.sop_instance_uid, 'blake3:' || digest from hilum.instance i join hilum.study s "
                "on s.id = i.study_id where s.study_instance_uid = %s and i.deleted_at is null",
                (uid(study),),
            ).all()
        assert {key.split("/")[1]: digest for key, digest in state.items()} == {row[0]: row[1] for row in rows}
        assert len(rows) > 10


def test_a_revision_that_cannot_be_made_keeps_no_other_from_being_made(archive: Archive) -> None:
    store(archive, ct(1))
    work(archive)
    with archive.database.transaction() as sql:
        (kept,) = sql.rows("update hilum.study_revision r set manifest = 'spoilt' from hilum.study_revision b "
                           "where b.study_instance_uid = r.study_instance_uid returning b.manifest")  # fmt: skip
    store(archive, ct(1, instance=2))
    store(archive, ct(2))
    work(archive)
    assert [e["study_instance_uid"] for e in told(archive)] == [uid(1), uid(2)]
    with archive.database.transaction() as sql:
        sql.rows(
            "update hilum.study_revision set manifest = %s where study_instance_uid = %s", (kept["manifest"], uid(1))
        )
    work(archive)
    assert [(e["study_instance_uid"], e["revision"]) for e in told(archive)][2:] == [(uid(1), 2)]


def test_a_store_that_holds_the_study_keeps_no_worker_waiting(archive: Archive) -> None:
    store(archive, ct())
    with archive.batch(archive.source(), "import") as batch:
        batch.add("x", [ct(instance=2)])

        def meanwhile(_: object) -> None:
            worker = threading.Thread(target=work, args=(archive,))
            worker.start()
            worker.join(120)
            assert not worker.is_alive()

        batch.commit(meanwhile)
    work(archive)
    assert gist(archive) == [(1, "quiet", 2, 0, 0)]


def test_a_revision_that_there_is_not_is_named(archive: Archive) -> None:
    store(archive, ct())
    with pytest.raises(NotFound, match="no revision yet"):
        latest(archive)
    work(archive)
    with pytest.raises(NotFound, match="no revision 2"):
        latest(archive, 2)


def test_an_event_of_a_huge_study_names_its_manifest_instead_of_listing_it(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revisions, "LISTED", 2)
    store(archive, ct(), ct(instance=2), ct(1, 2, 1))
    work(archive)
    store(archive, ct(instance=2, seed=5))
    work(archive)
    first, second = told(archive)
    assert "changes" not in first
    assert first["num_added"] == 3
    assert second["changes"] == {"added": [], "removed": [], "replaced": [member(1, 1, 2)]}
    for event in (first, second):
        assert [(s["num_instances"], "instances" in s) for s in event["series"]] == [(2, False), (1, False)]
        assert event["manifest_url"].endswith(f"/studies/{uid(1)}/revisions/{event['revision']}?source=default")


def test_numbers_go_on_after_a_repair_from_the_objects_alone(archive: Archive) -> None:
    store(archive, ct())
    work(archive)
    store(archive, ct(instance=2))
    work(archive)
    record_changes(archive.database, archive.blobs, quiet_seconds=0)
    with archive.database.transaction() as sql:
        sql.rows("truncate hilum.source, hilum.deletion, hilum.event restart identity cascade")
        sql.rows("insert into hilum.source (key, name) values ('default', 'Default')")
    repair(archive)
    work(archive)
    assert gist(archive) == [(3, "quiet", 2, 0, 0)]
    assert latest(archive).number == 3


def test_a_migrated_archive_gets_first_revisions(archive: Archive, source: SourceRef) -> None:
    """As the migration leaves it: a study that no timer knows of has one that is due."""
    store(archive, ct())
    with archive.database.transaction() as sql:
        sql.rows("delete from hilum.study_clock")
        sql.rows(
            "insert into hilum.study_clock (source_id, study_instance_uid, due_at) "
            "select source_id, study_instance_uid, now() from hilum.study where deleted_at is null"
        )
    work(archive)
    assert gist(archive) == [(1, "quiet", 1, 0, 0)]
