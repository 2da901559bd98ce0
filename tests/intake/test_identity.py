"""Files that do not say who they are: derived and marked, quarantined, or shown as a conflict; never merged or lost."""

from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from hilum.core.errors import NotFound
from hilum.core.progress import job_here
from hilum.imaging.archive import patients, query
from hilum.imaging.archive.arrivals import SourceRef
from hilum.imaging.archive.delete import delete_study, purge
from hilum.imaging.archive.identity import Patient
from hilum.imaging.archive.patients import Chosen
from hilum.imaging.archive.query import StudyFilter
from hilum.imaging.archive.store import Archive
from hilum.imaging.dicom.uids import check_uid
from hilum.imaging.intake.conflicts import retake
from tests.intake.test_directory import codes, run
from tests.make import ct, uid


def put(folder: Path, *files: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for n, data in enumerate(files):
        (folder / f"IM{n}").write_bytes(data)
    return folder


def studies(archive: Archive) -> list[query.Row]:
    with archive.database.connect() as connection:
        return list(query.list_studies(connection, StudyFilter())[0])


def series(archive: Archive, study: int) -> list[query.Row]:
    with archive.database.connect() as connection:
        return list(query.study_series(connection, study))


def count(archive: Archive, table: str) -> int:
    with archive.database.connect() as connection:
        return connection.scalar(sa.text(f"select count(*) from hilum.{table}")) or 0


def blobs(archive: Archive) -> set[str]:
    return {key for key, _ in archive.blobs.list()}


def test_files_without_a_study_uid_are_one_derived_study_a_folder(
    archive: Archive, source: SourceRef, tmp_path: Path
) -> None:
    put(tmp_path / "in" / "a", *(ct(1, 1, n, StudyInstanceUID=None) for n in (1, 2)))
    put(tmp_path / "in" / "b", ct(1, 2, 3, StudyInstanceUID=None))
    assert run(archive, source, tmp_path / "in").counts["instances"] == 3
    found = studies(archive)
    assert [(row["derived"], row["num_instances"]) for row in found] in ([(True, 2), (True, 1)], [(True, 1), (True, 2)])
    assert all(check_uid(row["study_instance_uid"]) for row in found)
    assert all(row["study_instance_uid"].startswith("2.25.") for row in found)
    before = found, blobs(archive)
    again = run(archive, source, tmp_path / "in")
    assert (again.counts["duplicates"], again.counts.get("instances", 0)) == (3, 0)
    assert (studies(archive), blobs(archive)) == before


def test_the_same_files_from_elsewhere_make_no_second_study_and_leave_no_object(
    archive: Archive, source: SourceRef, tmp_path: Path
) -> None:
    file = ct(StudyInstanceUID=None, SeriesInstanceUID=None, SOPInstanceUID=None)
    run(archive, source, put(tmp_path / "a", file))
    before = studies(archive), blobs(archive)
    assert run(archive, source, put(tmp_path / "b", file)).counts == {"duplicates": 1, "series": 0} | {
        "studies_new": 0, "studies_updated": 0,
    }  # fmt: skip
    purge(archive.database, archive.blobs, timedelta(days=7))
    assert (studies(archive), blobs(archive)) == before
    assert count(archive, "patient") == 1


def test_two_patients_in_one_folder_are_two_derived_studies(
    archive: Archive, source: SourceRef, tmp_path: Path
) -> None:
    run(archive, source, put(tmp_path / "in", ct(1, StudyInstanceUID=None), ct(2, StudyInstanceUID=None)))
    assert sorted(row["patient_id"] for row in studies(archive)) == ["P1", "P2"]


def test_an_ill_formed_uid_holds_together_what_shares_it(archive: Archive, source: SourceRef, tmp_path: Path) -> None:
    put(tmp_path / "in" / "a", ct(1, 1, 1, StudyInstanceUID="study one"))
    put(tmp_path / "in" / "b", ct(1, 1, 2, StudyInstanceUID="study one"))
    run(archive, source, tmp_path / "in")
    (row,) = studies(archive)
    assert (row["derived"], row["num_instances"]) == (True, 2)


def test_files_without_a_series_uid_go_by_series_number_and_never_into_a_real_series(
    archive: Archive, source: SourceRef, tmp_path: Path
) -> None:
    nameless = [ct(1, 9, n, SeriesInstanceUID=None, SeriesNumber=1) for n in (1, 2)]
    other = ct(1, 8, 1, SeriesInstanceUID=None, SeriesNumber=2)
    run(archive, source, put(tmp_path / "in", ct(1, 1, 1), *nameless, other))
    (row,) = studies(archive)
    assert row["derived"] is False
    found = sorted(
        (each["derived"], each["series_number"], each["num_instances"]) for each in series(archive, row["id"])
    )
    assert found == [(False, 1, 1), (True, 1, 2), (True, 2, 1)]


def test_files_without_series_uid_and_number_go_by_folder(archive: Archive, source: SourceRef, tmp_path: Path) -> None:
    bare: dict[str, object] = {"SeriesInstanceUID": None, "SeriesNumber": None}
    put(tmp_path / "in" / "a", ct(1, 1, 1, **bare), ct(1, 1, 2, **bare))
    put(tmp_path / "in" / "b", ct(1, 1, 3, **bare))
    run(archive, source, tmp_path / "in")
    (row,) = studies(archive)
    assert sorted(each["num_instances"] for each in series(archive, row["id"])) == [1, 2]


def test_an_instance_without_a_uid_gets_one_by_its_bytes(archive: Archive, source: SourceRef, tmp_path: Path) -> None:
    def bare(n: int) -> bytes:
        return ct(instance=n, SOPInstanceUID=None).replace(uid(1, 1, n).encode(), b"\0" * len(uid(1, 1, n)))

    run(archive, source, put(tmp_path / "in", bare(1), bare(2), bare(1)))
    (row,) = studies(archive)
    assert row["num_instances"] == 2


def test_with_the_setting_off_they_are_set_aside(archive: Archive, source: SourceRef, tmp_path: Path) -> None:
    strict = Archive(archive.database, archive.blobs, archive.settings.model_copy(update={"derived_studies": False}))
    progress = run(strict, source, put(tmp_path / "in", ct(StudyInstanceUID=None), ct(SeriesInstanceUID=None)))
    assert codes(progress) == {"no_study_instance_uid": 1, "no_series_instance_uid": 1}


def test_a_study_without_patient_waits_in_quarantine_until_it_is_released(
    archive: Archive, source: SourceRef, tmp_path: Path
) -> None:
    first = put(tmp_path / "a", ct(1, 1, 1, PatientID=None), ct(2))
    assert run(archive, source, first).counts["studies_quarantined"] == 1
    with archive.database.connect() as connection:
        (row,), total = patients.quarantined(connection)
    assert (total, row["quarantine"], row["patient_id"]) == (1, "no_patient_id", "")
    with archive.database.transaction() as transaction:
        patients.release(transaction, row["id"], Patient("X7"))
    run(archive, source, first)  # again
    run(archive, source, put(tmp_path / "b", ct(1, 1, 2, PatientID=None)))  # and more of it
    with archive.database.connect() as connection:
        assert patients.quarantined(connection)[1] == 0
        study = query.find_study(connection, uid(1))
        qido = connection.scalar(
            sa.text("select attributes from hilum.study_json where study_id = :i"), {"i": study["id"]}
        )
    assert (study["patient_id"], study["num_instances"]) == ("X7", 2)
    assert '"X7"' in str(qido)
    assert count(archive, "patient") == 2


def test_a_later_file_that_names_the_patient_ends_the_quarantine(
    archive: Archive, source: SourceRef, tmp_path: Path
) -> None:
    run(archive, source, put(tmp_path / "a", ct(1, 1, 1, PatientID=None)))
    run(archive, source, put(tmp_path / "b", ct(1, 1, 2)))
    (row,) = studies(archive)
    assert (row["patient_id"], row["quarantine"], row["num_instances"]) == ("P1", "", 2)


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("in_place", [False, True])
def test_one_study_under_two_patients_is_a_conflict_that_a_person_settles(
    archive: Archive, source: SourceRef, tmp_path: Path, apart: bool, in_place: bool
) -> None:
    files = ct(1, 1, 1), ct(1, 1, 2, PatientID="OTHER", PatientName="Other^Olga")
    folders = [put(tmp_path / str(n), file) for n, file in enumerate(files)] if apart else [put(tmp_path / "x", *files)]
    for folder in folders * 2:
        progress = run(archive, source, folder, in_place=in_place)
    assert codes(progress) == {"patient_conflict": 1}
    (row,) = studies(archive)
    assert (row["patient_id"], row["num_instances"]) == ("P1", 1)
    with archive.database.connect() as connection:
        (conflict,), _ = patients.conflicts(connection)
    assert (conflict["patient_id"], conflict["archived_patient_id"], conflict["files"]) == ("OTHER", "P1", 1)
    keep = "arrived" if apart else "archived"
    with archive.database.transaction() as transaction:
        key, study = patients.settle(transaction, conflict["id"], keep)
    with job_here(archive.database, "settle-conflict", "x", key, lambda _d, _t: None) as progress:
        retake(archive, {"source": key, "study_instance_uid": study}, progress)
    (row,) = studies(archive)
    assert (row["patient_id"], row["num_instances"]) == ("OTHER" if apart else "P1", 2)
    assert count(archive, "set_aside") == 0
    for folder in folders:
        assert run(archive, source, folder, in_place=in_place).counts.get("instances", 0) == 0
    assert [row["num_instances"] for row in studies(archive)] == [2]


def test_files_whose_archived_study_was_deleted_become_a_study_of_their_own_patient(
    archive: Archive, source: SourceRef, tmp_path: Path
) -> None:
    run(archive, source, put(tmp_path / "x", ct(1, 1, 1), ct(1, 1, 2, PatientID="OTHER", PatientName="Other^Olga")))
    delete_study(archive.database, studies(archive)[0]["id"], "test")
    with archive.database.connect() as connection:
        (conflict,), _ = patients.conflicts(connection)
        assert query.statistics(connection)["conflicts"] == 1
    assert conflict["study"] is None
    with pytest.raises(NotFound, match="no longer there"), archive.database.transaction() as transaction:
        patients.settle(transaction, conflict["id"], "archived")
    with archive.database.transaction() as transaction:
        key, study = patients.settle(transaction, conflict["id"], "arrived")
    with job_here(archive.database, "settle-conflict", "x", key, lambda _d, _t: None) as progress:
        retake(archive, {"source": key, "study_instance_uid": study}, progress)
    (row,) = studies(archive)
    assert (row["patient_id"], row["num_instances"]) == ("OTHER", 1)
    assert count(archive, "set_aside") == 0


def test_an_issuer_that_only_some_files_name_is_no_conflict(
    archive: Archive, source: SourceRef, tmp_path: Path
) -> None:
    progress = run(archive, source, put(tmp_path / "in", ct(instance=1), ct(instance=2, IssuerOfPatientID="H")))
    assert codes(progress) == {}


def test_a_patient_chosen_at_import_wins_and_holds_for_what_comes_later(
    archive: Archive, source: SourceRef, tmp_path: Path
) -> None:
    run(archive, source, put(tmp_path / "a", ct(1, 1, 1)))
    chosen = Chosen(Patient("CHOSEN"), 42)
    run(archive, source, put(tmp_path / "b", ct(1, 1, 2), ct(2, PatientID=None)), chosen=chosen)
    run(archive, source, put(tmp_path / "c", ct(1, 1, 3)))
    found = {row["study_instance_uid"]: row for row in studies(archive)}
    assert {row["patient_id"] for row in found.values()} == {"CHOSEN"}
    assert found[uid(1)]["num_instances"] == 3
    assert {row["person_id"] for row in found.values()} == {42}
    assert len({row["patient_pk"] for row in found.values()}) == 1


def test_two_versions_of_an_instance_in_one_import_are_both_kept_and_stay_so(
    archive: Archive, source: SourceRef, tmp_path: Path
) -> None:
    folder = put(tmp_path / "in", ct(seed=1), ct(seed=2))
    progress = run(archive, source, folder)
    assert (progress.counts["instances"], progress.counts["replaced"]) == (1, 1)
    (row,) = studies(archive)
    with archive.database.connect() as connection:
        (earlier,), total = query.replaced_instances(connection, row["id"])
        current = query.find_instance(connection, uid(1, 1, 1))
    assert total == 1
    assert {earlier["digest"], current["digest"]} == {
        key.rpartition("/")[2].removesuffix(".dcm") for key in blobs(archive)
    }
    for path in folder.iterdir():
        path.touch()
    assert run(archive, source, folder).counts["duplicates"] == 2
    with archive.database.connect() as connection:
        assert query.find_instance(connection, uid(1, 1, 1))["digest"] == current["digest"]
    assert count(archive, "replaced_instance") == 1


def test_what_is_refused_leaves_no_empty_study_behind(archive: Archive, source: SourceRef, tmp_path: Path) -> None:
    run(archive, source, put(tmp_path / "a", ct(1)))
    progress = run(archive, source, put(tmp_path / "b", ct(2, SOPInstanceUID=uid(1, 1, 1))))
    assert (codes(progress), progress.counts["studies_new"]) == ({"sop_instance_uid_taken": 1}, 0)
    assert (len(studies(archive)), count(archive, "series"), count(archive, "patient")) == (1, 1, 1)
