"""Integrity: what is wrong is found and named, what is lost of the catalogue comes back from the objects alone."""

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa

from hilum.core.errors import Gone
from hilum.imaging.archive import delete, edit, people, query, sidecar
from hilum.imaging.archive.arrivals import SourceRef
from hilum.imaging.archive.check import check
from hilum.imaging.archive.companions import store_bundle_files
from hilum.imaging.archive.query import StudyFilter
from hilum.imaging.archive.repair import repair
from hilum.imaging.archive.sidecar import record_changes
from hilum.imaging.archive.sources import add_source
from hilum.imaging.archive.store import Archive, Batch
from tests.archive.test_store import states, store, study_row
from tests.make import ct, uid


def found(archive: Archive, **options: bool) -> list[tuple[str, str]]:
    report = check(archive.database, archive.blobs, **options)
    assert sum(report.found.values()) == len(report.findings)
    return sorted((finding.kind, finding.what) for finding in report.findings)


def record(archive: Archive) -> None:
    record_changes(archive.database, archive.blobs, quiet_seconds=0)


def drop_catalogue(archive: Archive) -> None:
    """Everything that the catalogue knows goes; the schema stays, as a fresh start makes it."""
    with archive.database.transaction() as sql:
        sql.rows("truncate hilum.source, hilum.deletion restart identity cascade")
        sql.rows("insert into hilum.source (key, name) values ('default', 'Default')")


def key_of(archive: Archive, sop_instance_uid: str) -> str:
    with archive.database.connect() as connection:
        return query.find_instance(connection, sop_instance_uid)["blob_key"]


def spoil(archive: Archive, key: str) -> None:
    data = bytearray(archive.blobs.read(key, 0, archive.blobs.size(key)))
    data[-1] ^= 1
    archive.blobs.delete([key])
    with archive.blobs.group() as group:
        item = group.create()
        item.write(data)
        item.finish(key)
        group.commit()


@pytest.fixture
def mixed(archive: Archive, source: SourceRef) -> Archive:
    store(archive, source, *(ct(s, e, i) for s in (1, 2, 3) for e in (1, 2) for i in (1, 2, 3)), origin="stow")
    store(archive, source, ct(1, seed=7), ct()[:-40], ct(4, SOPInstanceUID=uid(2, 1, 1)))
    store_bundle_files(archive, source, [uid(1), uid(2)], [("REPORT.PDF", "pdf", [b"%PDF"])])
    record(archive)
    return archive


def test_a_sound_archive_has_nothing_to_report(mixed: Archive) -> None:
    report = check(mixed.database, mixed.blobs)
    assert report.findings == []
    assert (report.files, report.objects) == (18 + 1 + 2 + 2, 18 + 1 + 2 + 1 + len(records(mixed)))


def records(archive: Archive) -> list[str]:
    return [key for key, _ in archive.blobs.list() if "_hilum" in key]


@pytest.mark.bucket
def test_missing_damaged_and_unknown_bytes_are_each_named(mixed: Archive) -> None:
    missing, damaged = key_of(mixed, uid(1, 1, 2)), key_of(mixed, uid(1, 1, 3))
    mixed.blobs.delete([missing])
    spoil(mixed, damaged)
    with mixed.blobs.group() as group:
        item = group.create()
        item.write(b"x")
        item.finish("default/1.2.3/1.2.3.4/abc.dcm")
        group.commit()
    orphan = ("orphan", "default/1.2.3/1.2.3.4/abc.dcm")
    assert found(mixed) == [("damaged", damaged), ("missing", missing), orphan]
    assert found(mixed, digests=False) == [("missing", missing), orphan]
    with mixed.database.transaction() as sql:
        sql.rows("delete from hilum.bundle_file")
    assert [kind for kind, what in found(mixed) if "/bundles/" in what] == ["orphan"]


def test_a_file_in_place_that_changed_is_named(archive: Archive, source: SourceRef, tmp_path: Path) -> None:
    path = tmp_path / "x.dcm"
    path.write_bytes(ct())
    with archive.batch(source, "import") as batch:
        batch.index("x", str(path))
        batch.commit()
    assert found(archive) == []
    path.write_bytes(ct(seed=2))
    assert found(archive) == [("changed", str(path))]


@pytest.mark.bucket
def test_a_damaged_object_is_moved_aside_and_storing_it_again_mends_it(mixed: Archive, source: SourceRef) -> None:
    key = key_of(mixed, uid(1, 1, 3))
    spoil(mixed, key)
    done = repair(mixed)
    assert [line.startswith(key) for line in done.lost] == [True]
    assert mixed.blobs.exists(f"_damaged/{key}")
    assert found(mixed) == [("missing", key)]
    assert states(store(mixed, source, ct(1, 1, 3))) == ["duplicate"]
    assert found(mixed) == []


def snapshot(archive: Archive) -> dict[str, Sequence[object]]:
    """All that the catalogue knows and that must come back, without numbers that are given anew."""
    queries = {
        "qido": "select j.attributes from hilum.study_json j join hilum.study s on s.id = j.study_id order by s.id",
        "sources": "select key, name from hilum.source order by key",
        "studies": "select study_instance_uid, received_at, deleted_at is null, corrected, modality, modalities, "
        "physician, facility, num_series, num_instances, num_images, bytes from hilum.study order by id",
        "series": "select series_instance_uid, num_instances, num_images, modality, folder_path from hilum.series "
        "order by study_id, series_instance_uid",
        "instances": "select source_id, sop_instance_uid, digest, size, crc32, blob_key, path, origin, received_at, "
        "frame_offsets, pixel_offset, deleted_at is null from hilum.instance "
        "order by sop_instance_uid, source_id, study_id",
        "replaced": "select digest, blob_key, origin, received_at, replaced_at from hilum.replaced_instance "
        "order by digest",
        "aside": "select name, code, reason, digest, blob_key, origin, received_at from hilum.set_aside "
        "order by digest",
        "bundle": "select name, kind, digest, received_at from hilum.bundle_file order by study_id, name",
        "corrections": "select field, old, new, of_file, made_by, made_at, undoes is null from hilum.correction "
        "order by made_at",
        "people": "select key, name, renamed, merged_into is null from hilum.facility order by key",
        "changes": "select kind, field, made_by, made_at from hilum.name_change order by made_at",
        "deletions": "select study_instance_uid, made_by, made_at from hilum.deletion order by made_at",
    }
    with archive.database.connect() as connection:
        return {name: connection.execute(sa.text(sql)).all() for name, sql in queries.items()}


@pytest.mark.bucket
def test_the_catalogue_comes_back_from_the_objects_alone(mixed: Archive, source: SourceRef, tmp_path: Path) -> None:
    add_source(mixed.database, "north", "North Hospital")
    north = mixed.source("north")
    store(mixed, north, ct(1, InstitutionName="Nord"), ct(9, InstitutionName="NORD"), origin="upload")
    place = tmp_path / "place.dcm"
    place.write_bytes(ct(5))
    with mixed.batch(north, "import") as batch:
        batch.index("x", str(place))
        batch.commit()
    with mixed.database.connect() as connection:
        ((facility,), _) = people.list_people(connection, "facility", "nord")
        studies = {uid(n): query.find_study(connection, uid(n), "default")["id"] for n in (1, 2, 3)}
    people.rename(mixed.database, "facility", facility["id"], "North", "ann")
    edit.correct_study(mixed.database, studies[uid(1)], {"modality": "MR", "study_description": "Skull"}, "ann")
    with mixed.database.connect() as connection:
        latest = edit.corrections_of(connection, studies[uid(1)])[0]
    edit.undo_correction(mixed.database, studies[uid(1)], latest["id"], "bob")
    delete.delete_study(mixed.database, studies[uid(3)], "ann")
    delete.delete_study(mixed.database, studies[uid(2)], "ann")
    store(mixed, source, ct(2, 1, 1))
    record(mixed)
    before = snapshot(mixed)
    drop_catalogue(mixed)
    done = repair(mixed)
    assert done.lost == []
    after = snapshot(mixed)
    for part, rows in before.items():
        assert after[part] == rows, part
    assert found(mixed) == []
    with mixed.database.connect() as connection, pytest.raises(Gone):
        query.find_study(connection, uid(3))
    delete.restore_study(mixed.database, uid(3))
    assert study_row(mixed, uid(3))["num_instances"] == 6
    assert repair(mixed).counts.get("instances", 0) == 0
    before = snapshot(mixed)
    drop_catalogue(mixed)  # and once more, from the records that the repair itself has written
    assert repair(mixed).lost == []
    again = snapshot(mixed)
    assert [part for part, rows in before.items() if part != "deletions" and again[part] != rows] == []


def test_a_repair_that_was_stopped_in_a_study_goes_on_where_it_stopped(
    archive: Archive, source: SourceRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(archive, source, ct(1, 1, 1), ct(1, 1, 2), origin="stow")
    store(archive, source, ct(1, 1, 3), ct(1, 1, 4), origin="upload")
    edit.correct_study(archive.database, study_row(archive, uid(1))["id"], {"modality": "MR"}, "ann")
    record(archive)
    before = snapshot(archive)
    drop_catalogue(archive)
    adopted: list[str] = []
    adopt = Batch.adopt

    def stop(batch: Batch, key: str) -> None:
        if len(adopted) == 3:
            raise KeyboardInterrupt
        adopted.append(key)
        adopt(batch, key)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Batch, "adopt", stop)
        repair(archive)
    assert study_row(archive, uid(1))["num_instances"] == 2
    assert repair(archive).lost == []
    assert snapshot(archive) == before


def test_without_records_the_instances_come_back_and_what_is_lost_is_listed(mixed: Archive) -> None:
    mixed.blobs.delete(records(mixed))
    drop_catalogue(mixed)
    done = repair(mixed)
    with mixed.database.connect() as connection:
        assert query.list_studies(connection, StudyFilter())[1] == 3
        assert {row["code"] for row in query.list_set_aside(connection)[0]} >= {"lost_record"}
    assert study_row(mixed, uid(3))["num_instances"] == 6
    assert len([line for line in done.lost if "how its" in line]) >= 3
    assert found(mixed) == []


def test_a_record_is_written_anew_when_its_study_changes_and_the_old_one_goes(
    archive: Archive, source: SourceRef
) -> None:
    for number in range(1, 4):
        store(archive, source, ct(instance=number))
        record(archive)
    (kept,) = [key for key in records(archive) if uid(1) in key]
    assert record_changes(archive.database, archive.blobs, quiet_seconds=0) == 0
    store(archive, source, ct(instance=9))
    assert record_changes(archive.database, archive.blobs, quiet_seconds=600) == 0
    record(archive)
    assert archive.blobs.exists(kept) is False


def test_instances_that_came_in_any_order_come_back_as_they_came(archive: Archive, source: SourceRef) -> None:
    picked = random.Random(7)
    files = [ct(s, e, i, size=2) for s in range(1, 6) for e in (1, 2) for i in range(1, 11)]
    picked.shuffle(files)
    for start in range(0, len(files), 30):
        store(archive, source, *files[start : start + 30])
    record(archive)
    before = snapshot(archive)
    drop_catalogue(archive)
    assert repair(archive).lost == []
    assert snapshot(archive) == before


def test_records_of_large_studies_are_made_a_few_at_a_time_and_none_is_left_out(
    archive: Archive, source: SourceRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sidecar, "_INSTANCES_AT_ONCE", 2)
    for study in range(1, 5):
        store(archive, source, *(ct(study, instance=number) for number in range(1, study + 1)))
    record(archive)
    for study in range(1, 5):
        assert len([key for key in records(archive) if f"/{uid(study)}/" in key]) == 1
