"""Importing folders as they are found on disks: everything readable goes in, everything else is named with a reason."""

import os
import resource
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset, FileMetaDataset

from hilum.core.blobs import LocalBlobs
from hilum.core.config import Settings
from hilum.core.database import Database
from hilum.core.errors import Gone
from hilum.core.jobs import Jobs
from hilum.core.progress import Progress, job_here
from hilum.imaging.archive import query
from hilum.imaging.archive.arrivals import SourceRef
from hilum.imaging.archive.objects import opened
from hilum.imaging.archive.query import StudyFilter
from hilum.imaging.archive.store import Archive
from hilum.imaging.intake.directory import import_paths
from hilum.imaging.intake.group import take_group
from hilum.imaging.intake.manner import Manner
from hilum.imaging.intake.tally import Tally
from hilum.imaging.intake.walk import walk
from tests.make import ct, folder, uid

NOBODY = 65534


def run(archive: Archive, source: SourceRef, *paths: Path, in_place: bool = False, **manner: Any) -> Progress:
    with job_here(archive.database, "import", "test", source.key, lambda _done, _total: None) as progress:
        import_paths(archive, Manner(source, in_place, **manner), paths, Tally(progress))
    return progress


def codes(progress: Progress) -> dict[str, int]:
    return {reason.code: reason.count for reason in progress.reasons.values()}


@pytest.mark.bucket
def test_importing_again_mends_an_object_that_is_gone(archive: Archive, source: SourceRef, tmp_path: Path) -> None:
    folder(tmp_path / "in")
    run(archive, source, tmp_path / "in")
    before = sorted(archive.blobs.list())
    archive.blobs.delete([before[0][0]])
    run(archive, source, tmp_path / "in")
    assert sorted(archive.blobs.list()) == before


@pytest.mark.parametrize("in_place", [False, True])
def test_a_folder_of_studies_goes_in_and_is_counted(
    archive: Archive, source: SourceRef, tmp_path: Path, in_place: bool
) -> None:
    folder(tmp_path / "in", studies=3, series=2, instances=4)
    progress = run(archive, source, tmp_path / "in", in_place=in_place)
    assert progress.counts["instances"] == progress.counts["images"] == progress.done == 24
    assert (progress.counts["studies_new"], progress.counts["series"]) == (3, 6)
    assert progress.reasons == {}
    again = run(archive, source, tmp_path / "in", in_place=in_place)
    assert (again.counts["duplicates"], again.counts.get("instances", 0)) == (24, 0)
    with archive.database.connect() as connection:
        rows, total = query.list_studies(connection, StudyFilter())
    assert (total, {row["num_instances"] for row in rows}) == (3, {8})


def test_everything_that_is_no_dicom_is_named_and_the_rest_goes_on(
    archive: Archive, source: SourceRef, tmp_path: Path
) -> None:
    place = tmp_path / "in"
    (place / "x.dcm").mkdir(parents=True)
    (place / "x.dcm" / "inside").write_bytes(ct())
    (place / "empty.dcm").write_bytes(b"")
    (place / "empty.zip").write_bytes(b"")
    (place / "notes.txt").write_text("hello")
    (place / "broken.zip").write_bytes(b"PK\x03\x04 this is no zip")
    (place / "cut.dcm").write_bytes(ct(2)[:-10])
    os.mkfifo(place / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place / "socket"))
    (place / "loop").symlink_to(place)
    (place / "self").symlink_to(place / "self")
    (place / "gone").symlink_to(place / "nowhere")
    progress = run(archive, source, place)
    assert progress.counts["instances"] == 1
    assert codes(progress) == {
        "empty": 2, "not_dicom": 1, "bad_zip": 1, "truncated": 1, "not_regular": 2, "loop": 2, "missing": 1,
    }  # fmt: skip
    assert progress.counts["set_aside"] == 1


@pytest.fixture
def plain_user() -> Iterator[Path]:
    """A folder in which this process is a plain user, also when it is root: root may read everything."""
    place = Path(tempfile.mkdtemp(prefix="hilum-plain-"))
    euid = os.geteuid()
    if euid == 0:
        os.chown(place, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    yield place
    os.seteuid(euid)
    for path in place.rglob("*"):
        path.chmod(0o700)
    shutil.rmtree(place)


def test_what_may_not_be_read_is_named_and_the_rest_goes_on(database: Database, plain_user: Path) -> None:
    database.check()
    folder(plain_user / "in", series=2)
    (plain_user / "in" / "study1" / "series1" / "IM1").chmod(0)
    (plain_user / "in" / "study1" / "series2").chmod(0)
    archive = Archive(database, LocalBlobs(plain_user / "objects"), Settings(data=plain_user, min_free_bytes=0))
    progress = run(archive, archive.source(), plain_user / "in")
    assert codes(progress) == {"permission": 2}
    assert progress.counts["instances"] == 2


def test_thousands_of_text_files_cost_little_and_are_counted(
    archive: Archive, source: SourceRef, tmp_path: Path
) -> None:
    for n in range(2000):
        (tmp_path / f"{n}.txt").write_text(f"line {n}")
    progress = run(archive, source, tmp_path)
    assert codes(progress) == {"not_dicom": 2000}
    assert len(progress.reasons["not_dicom"].examples) == 5
    assert list(archive.blobs.list()) == []


def test_an_import_is_shown_as_a_job_with_its_counts(archive: Archive, source: SourceRef, tmp_path: Path) -> None:
    folder(tmp_path / "in")
    progress = run(archive, source, tmp_path / "in")
    job = Jobs(archive.database).get(progress.job_id)
    assert (job["state"], job["counts"]["instances"], job["done"]) == ("succeeded", 3, 3)


def test_the_same_study_from_two_folders_is_one(archive: Archive, source: SourceRef, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "1").write_bytes(ct(instance=1))
    (tmp_path / "b" / "1").write_bytes(ct(instance=2))
    run(archive, source, tmp_path / "a")
    progress = run(archive, source, tmp_path / "b")
    assert (progress.counts["studies_new"], progress.counts["studies_updated"]) == (0, 1)
    with archive.database.connect() as connection:
        assert query.find_study(connection, uid(1))["num_instances"] == 2


def dicomdir(place: Path, *names: str) -> None:
    """A DICOMDIR that names files."""
    records: list[Dataset] = []
    for name in names:
        record = Dataset()
        record.DirectoryRecordType = "IMAGE"
        record.ReferencedFileID = name.split("/")
        records.append(record)
    directory = Dataset()
    directory.DirectoryRecordSequence = records
    directory.SOPClassUID = "1.2.840.10008.1.3.10"
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    directory.file_meta = meta
    directory.save_as(place / "DICOMDIR", enforce_file_format=True)


def test_a_dicomdir_leads_says_what_is_missing_and_the_rest_comes_too(
    archive: Archive, source: SourceRef, tmp_path: Path
) -> None:
    (tmp_path / "cd" / "images").mkdir(parents=True)
    for n in (1, 2, 3):
        (tmp_path / "cd" / "images" / f"im{n}").write_bytes(ct(instance=n))
    dicomdir(tmp_path / "cd", "IMAGES/IM3", "IMAGES/IM1", "IMAGES/IM9", "../../etc/passwd")
    order = [Path(found.path).name for found in walk([tmp_path / "cd"])]
    assert order == ["im3", "im1", "IM9", "DICOMDIR", "im2"]
    progress = run(archive, source, tmp_path / "cd")
    assert progress.counts["instances"] == 3
    assert codes(progress) == {"dicomdir": 1, "named_missing": 1}


def test_a_huge_folder_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    wanted = [tmp_path / f"{n:02}" for n in range(20)] + [tmp_path / "sub" / f"{n}" for n in range(7)]
    for path in wanted:
        path.write_bytes(b"x")
    monkeypatch.setattr("hilum.imaging.intake.walk._NAMES_AT_ONCE", 7)
    assert sorted(found.path for found in walk([tmp_path])) == sorted(map(str, wanted))


def test_a_tree_may_be_deeper_than_files_can_be_open(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["d"] * 300)
    deep.mkdir(parents=True)
    (deep / "file").write_bytes(b"x")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 50, hard))
    try:
        assert [found.path for found in walk([tmp_path])] == [str(deep / "file")]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_damaged_dicomdir_hides_no_file(archive: Archive, source: SourceRef, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "1").write_bytes(ct())
    dicomdir(tmp_path / "in", "1")
    whole = (tmp_path / "in" / "DICOMDIR").read_bytes()
    for size in (5, 140, len(whole) - 5):
        (tmp_path / "in" / "DICOMDIR").write_bytes(whole[:size])
        assert [found.path for found in walk([tmp_path / "in"]) if not found.trouble].count(f"{tmp_path}/in/1") == 1


def test_an_import_again_opens_no_file_that_is_as_it_was(archive: Archive, source: SourceRef, tmp_path: Path) -> None:
    place = folder(tmp_path / "in")
    run(archive, source, place)
    paths = sorted(path for path in place.rglob("*") if path.is_file())
    for path in paths:
        path.chmod(0o600)  # which changes its stamp
    assert run(archive, source, place).counts["duplicates"] == 3
    taken = take_group(archive, Manner(source), list(walk([place])))
    assert {outcome.sop_instance_uid for outcome in taken.written.outcomes} == {""}  # nobody looked inside
    paths[0].write_bytes(ct(instance=1, seed=9))
    again = run(archive, source, place)
    assert (again.counts["duplicates"], again.counts["replaced"]) == (2, 1)


def test_names_that_are_no_text_are_taken_and_told(archive: Archive, source: SourceRef, tmp_path: Path) -> None:
    place = tmp_path / "in"
    place.mkdir()
    for name, data in {b"\xff\xfe": ct(), b"\xe9.txt": b"hello", b"cut\xff": ct(2)[:-9]}.items():
        (place / os.fsdecode(name)).write_bytes(data)
    run(archive, source, place)
    progress = run(archive, source, place)
    assert progress.counts["duplicates"] == 1
    assert codes(progress) == {"not_dicom": 1, "truncated": 1}
    assert "not_text" in codes(run(archive, source, place, in_place=True))


def test_a_file_indexed_in_place_is_found_again_when_it_was_touched_or_moved(
    archive: Archive, source: SourceRef, tmp_path: Path
) -> None:
    def read() -> bytes:
        with archive.database.connect() as connection:
            row = query.find_instance(connection, uid(1, 1, 1))
        with opened(archive.blobs, row) as file:
            return file.read()

    first, second = tmp_path / "a" / "1", tmp_path / "b" / "2"
    first.parent.mkdir()
    second.parent.mkdir()
    first.write_bytes(ct())
    run(archive, source, tmp_path / "a", in_place=True)
    os.utime(first, (1, 1))
    with pytest.raises(Gone):
        read()
    assert run(archive, source, tmp_path / "a", in_place=True).counts["duplicates"] == 1
    assert read() == ct()
    first.rename(second)
    run(archive, source, tmp_path / "b", in_place=True)
    assert read() == ct()
    run(archive, source, tmp_path / "b")  # as a copy this time
    second.unlink()
    assert read() == ct()
