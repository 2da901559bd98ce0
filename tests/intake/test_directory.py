"""Importing folders as they are found on disks: everything readable goes in, everything else is named with a reason."""

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hilum.core.blobs import LocalBlobs
from hilum.core.config import Settings
from hilum.core.database import Database
from hilum.core.jobs import Jobs, Progress
from hilum.imaging.archive import query
from hilum.imaging.archive.catalogue import SourceRef
from hilum.imaging.archive.query import StudyFilter
from hilum.imaging.archive.store import Archive
from hilum.imaging.intake.directory import import_paths
from hilum.imaging.intake.manner import Manner
from hilum.imaging.intake.tally import Tally
from tests.make import ct, folder, uid

NOBODY = 65534


def run(archive: Archive, source: SourceRef, *paths: Path, in_place: bool = False, **manner: Any) -> Progress:
    with Jobs(archive.database).here("import", "test", source.key, lambda _done, _total: None) as progress:
        import_paths(archive, Manner(source, in_place, **manner), paths, Tally(progress))
    return progress


def codes(progress: Progress) -> dict[str, int]:
    return {reason.code: reason.count for reason in progress.reasons.values()}


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
