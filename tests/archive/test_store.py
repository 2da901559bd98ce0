"""The one way in: durable, idempotent, counted right, safe with many writers, and nothing is just gone."""

import os
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from blake3 import blake3
from pydicom.data import get_testdata_file

from hilum.core.events import read_events
from hilum.imaging.archive import query
from hilum.imaging.archive.arrivals import SourceRef, Written
from hilum.imaging.archive.query import StudyFilter
from hilum.imaging.archive.store import Archive
from hilum.imaging.dicom.header import NotDicom
from tests.make import ct, uid


def store(archive: Archive, source: SourceRef, *files: bytes, origin: str = "import") -> Written:
    with archive.batch(source, origin) as batch:
        for number, file in enumerate(files):
            batch.add(f"file {number}", [file])
        return batch.commit()


def states(written: Written) -> list[str]:
    return sorted(outcome.state for outcome in written.outcomes)


def study_row(archive: Archive, reference: str) -> query.Row:
    with archive.database.connect() as connection:
        return query.find_study(connection, reference)


def test_an_instance_is_catalogued_with_its_study_and_its_bytes_are_kept(archive: Archive, source: SourceRef) -> None:
    file = ct()
    written = store(archive, source, file)
    assert states(written) == ["added"]
    row = study_row(archive, uid(1))
    assert (row["num_series"], row["num_instances"], row["num_images"], row["bytes"]) == (1, 1, 1, len(file))
    assert (row["modality"], row["modalities"], row["body_parts"]) == ("CT", ["CT"], ["CHEST"])
    assert (row["patient_name"], row["physician"], row["facility"]) == ("Jane1 Doe", "Richard Roe", "Saint Elsewhere")
    with archive.database.connect() as connection:
        instance = query.find_instance(connection, uid(1, 1, 1))
    assert instance["digest"] == blake3(file).hexdigest()
    assert archive.blobs.read(instance["blob_key"], 0, len(file)) == file
    assert instance["blob_key"].startswith(f"default/{uid(1)}/{uid(1, 1)}/")


def test_the_same_bytes_again_change_nothing(archive: Archive, source: SourceRef) -> None:
    files = [ct(instance=i) for i in range(1, 6)]
    store(archive, source, *files)
    before = study_row(archive, uid(1))
    assert states(store(archive, source, *files)) == ["duplicate"] * 5
    assert study_row(archive, uid(1)) == before
    with archive.database.connect() as connection:
        assert len(read_events(connection, "http://hilum")) == 5


def test_a_file_that_comes_twice_in_a_batch_is_stored_once(archive: Archive, source: SourceRef) -> None:
    assert states(store(archive, source, ct(), ct())) == ["added", "duplicate"]
    assert study_row(archive, uid(1))["num_instances"] == 1


def test_other_bytes_for_a_known_instance_replace_it_and_the_old_bytes_stay(
    archive: Archive, source: SourceRef
) -> None:
    old, new = ct(seed=1), ct(seed=2, size=16)
    store(archive, source, old)
    assert states(store(archive, source, new)) == ["replaced"]
    row = study_row(archive, uid(1))
    assert (row["num_instances"], row["bytes"]) == (1, len(new))
    with archive.database.connect() as connection:
        kept = connection.execute(sa.text("select digest, blob_key, size from hilum.replaced_instance")).one()
        assert read_events(connection, "")[-1]["data"]["change"] == "replaced"  # pyright: ignore
    assert kept.digest == blake3(old).hexdigest()
    assert archive.blobs.read(kept.blob_key, 0, kept.size) == old


def test_replacing_can_be_refused_and_then_the_new_bytes_are_set_aside(archive: Archive) -> None:
    strict = Archive(archive.database, archive.blobs, archive.settings.model_copy(update={"on_replace": "reject"}))
    source = strict.source()
    store(strict, source, ct(seed=1))
    written = store(strict, source, ct(seed=2))
    assert [(o.state, o.code) for o in written.outcomes] == [("set_aside", "replacement_rejected")]
    with strict.database.connect() as connection:
        rows, total = query.list_set_aside(connection)
    assert total == 1
    assert archive.blobs.size(rows[0]["blob_key"]) == rows[0]["size"]


def test_an_instance_of_another_study_under_the_same_uid_is_set_aside(archive: Archive, source: SourceRef) -> None:
    store(archive, source, ct(1))
    written = store(archive, source, ct(2, SOPInstanceUID=uid(1, 1, 1)))
    assert [o.code for o in written.outcomes] == ["sop_instance_uid_taken"]
    assert written.new_studies == set()
    with archive.database.connect() as connection:
        assert query.list_studies(connection, StudyFilter())[1] == 1
    assert study_row(archive, uid(1))["num_instances"] == 1


def test_two_series_with_equal_numbers_and_sizes_stay_two(archive: Archive, source: SourceRef) -> None:
    files = [ct(1, series, i, SeriesNumber=1) for series in (1, 2) for i in (1, 2, 3)]
    store(archive, source, *files)
    row = study_row(archive, uid(1))
    assert (row["num_series"], row["num_instances"]) == (2, 6)
    with archive.database.connect() as connection:
        assert [s["num_instances"] for s in query.study_series(connection, row["id"])] == [3, 3]


def test_one_study_in_two_sources_stays_apart(archive: Archive, source: SourceRef) -> None:
    with archive.database.transaction() as transaction:
        transaction.rows("insert into hilum.source (key) values ('other')")
    other = archive.source("other")
    store(archive, source, ct())
    assert states(store(archive, other, ct())) == ["added"]
    with archive.database.connect() as connection:
        _, total = query.list_studies(connection, StudyFilter())
        assert total == 2
        with pytest.raises(Exception, match=r"default, other"):
            query.find_study(connection, uid(1))


@pytest.mark.parametrize(
    ("file", "code"),
    [
        (ct(StudyInstanceUID=None), "no_study_instance_uid"),
        (ct(SeriesInstanceUID=None), "no_series_instance_uid"),
        (ct(SOPInstanceUID=None), "no_sop_instance_uid"),
        (ct()[:-40], "truncated"),
        (ct()[:500], "truncated"),
    ],
)
def test_what_cannot_be_catalogued_is_set_aside_with_its_reason(
    archive: Archive, source: SourceRef, file: bytes, code: str
) -> None:
    written = store(archive, source, file, ct(instance=9))
    assert states(written) == ["added", "set_aside"]
    with archive.database.connect() as connection:
        rows, _ = query.list_set_aside(connection)
    assert [row["code"] for row in rows] == [code]
    assert archive.blobs.read(rows[0]["blob_key"], 0, len(file)) == file
    store(archive, source, file)
    with archive.database.connect() as connection:
        assert query.list_set_aside(connection)[1] == 1


@pytest.mark.parametrize("file", [b"", b"hello", b"\x89PNG\r\n" + b"\0" * 500])
def test_what_is_not_dicom_is_told_at_once_and_not_kept(archive: Archive, source: SourceRef, file: bytes) -> None:
    with archive.batch(source, "import") as batch:
        with pytest.raises(NotDicom):
            batch.add("x", [file])
        batch.add("y", [ct()])
        assert states(batch.commit()) == ["added"]
    assert sum(1 for _ in archive.blobs.list()) == 1


def test_a_batch_that_is_not_committed_leaves_nothing(archive: Archive, source: SourceRef) -> None:
    with archive.batch(source, "stow") as batch:
        batch.add("x", [ct()])
    assert list(archive.blobs.list()) == []
    with archive.database.connect() as connection:
        assert query.list_studies(connection, StudyFilter())[1] == 0


def test_patients_without_an_identifier_are_not_one_patient(archive: Archive, source: SourceRef) -> None:
    store(archive, source, ct(1, PatientID=None), ct(2, PatientID=None))
    with archive.database.connect() as connection:
        assert connection.scalar(sa.text("select count(*) from hilum.patient")) == 2


def test_a_later_instance_fills_in_what_the_study_did_not_know(archive: Archive, source: SourceRef) -> None:
    store(archive, source, ct(instance=1, StudyDescription=None, InstitutionName=None))
    store(archive, source, ct(instance=2, InstitutionName="Late"))
    row = study_row(archive, uid(1))
    assert (row["study_description"], row["facility"]) == ("CT chest", "Late")


def test_a_study_with_two_modalities_is_named_by_the_functional_one(archive: Archive, source: SourceRef) -> None:
    store(archive, source, ct(1, 1), ct(1, 2, Modality="PT"), ct(1, 3, Modality="SR"))
    row = study_row(archive, uid(1))
    assert (row["modality"], row["modalities"]) == ("PT", ["CT", "PT", "SR"])


def test_text_with_nul_and_any_script_is_stored(archive: Archive, source: SourceRef) -> None:
    store(
        archive,
        source,
        ct(SpecificCharacterSet="ISO_IR 192", StudyDescription='Схема \\ "胸部"', PatientName="山田^太郎"),
    )
    row = study_row(archive, uid(1))
    assert row["study_description"].startswith("Схема")


@pytest.mark.bucket
def test_many_writers_into_one_study_at_once_count_right(archive: Archive, source: SourceRef) -> None:
    files = [ct(1, series, i) for series in (1, 2, 3) for i in range(1, 41)]
    errors: list[Exception] = []

    def write(mine: list[bytes]) -> None:
        try:
            for start in range(0, len(mine), 20):
                store(archive, source, *mine[start : start + 20])
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(files[::-1] if n % 2 else files,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    row = study_row(archive, uid(1))
    assert (row["num_series"], row["num_instances"], row["num_images"]) == (3, 120, 120)
    with archive.database.connect() as connection:
        assert connection.scalar(sa.text("select count(*) from hilum.instance")) == 120
        assert len(read_events(connection, "", limit=1000)) == 120


def test_indexing_in_place_copies_nothing_and_tells_when_the_file_changed(
    archive: Archive, source: SourceRef, tmp_path: Path
) -> None:
    from hilum.core.errors import Gone
    from hilum.imaging.archive.objects import opened

    path = tmp_path / "x.dcm"
    path.write_bytes(ct())
    with archive.batch(source, "import") as batch:
        batch.index("x", str(path))
        assert states(batch.commit()) == ["added"]
    assert list(archive.blobs.list()) == []
    with archive.database.connect() as connection:
        row = query.find_instance(connection, uid(1, 1, 1))
    with opened(archive.blobs, row) as file:
        assert file.read() == ct()
    path.write_bytes(ct(seed=5))
    os.utime(path, (1, 1))  # written at once, it could have the time that it had
    with pytest.raises(Gone), opened(archive.blobs, row):
        pass


@pytest.mark.bucket
def test_a_deflated_instance_is_measured_by_what_it_inflates_to(archive: Archive, source: SourceRef) -> None:
    path = get_testdata_file("image_dfl.dcm", download=False)
    assert isinstance(path, str)
    data = Path(path).read_bytes()
    assert states(store(archive, source, data)) == ["added"]
    assert states(store(archive, source, data[:-200])) == ["set_aside"]
