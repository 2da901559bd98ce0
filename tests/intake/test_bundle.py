"""Zip bundles as hospitals write them, and as an attacker would."""

import io
import zipfile
from pathlib import Path

import pytest

from hilum.core.progress import Progress
from hilum.imaging.archive import query
from hilum.imaging.archive.catalogue import SourceRef
from hilum.imaging.archive.store import Archive
from tests.intake.test_directory import codes, run
from tests.make import ct, uid


def zipped(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as bundle:
        for name, data in members.items():
            bundle.writestr(name, data)
    return path


def imported(archive: Archive, source: SourceRef, path: Path) -> Progress:
    return run(archive, source, path)


def names(archive: Archive, study: str) -> dict[str, str]:
    with archive.database.connect() as connection:
        row = query.find_study(connection, study)
        return {file["name"]: file["kind"] for file in query.bundle_files(connection, row["id"])}


def test_extensionless_members_become_instances_and_the_rest_stays_with_the_study(
    archive: Archive, source: SourceRef, tmp_path: Path
) -> None:
    path = zipped(
        tmp_path / "cd",
        {
            "DICOM/I1000000": ct(instance=1),
            "DICOM/I1000001": ct(instance=2),
            "PREVIEW/1.JPG": b"\xff\xd8\xff\xe0 jpeg",
            "REPORT.PDF": b"%PDF-1.4",
            "VIEWER.EXE": b"MZ",
            "__MACOSX/x": b"x",
        },
    )
    progress = imported(archive, source, path)
    assert progress.counts["instances"] == 2
    assert progress.counts["bundle_files"] == 3
    assert names(archive, uid(1)) == {"PREVIEW/1.JPG": "image", "REPORT.PDF": "pdf", "VIEWER.EXE": "other"}
    again = imported(archive, source, path)
    assert again.counts["duplicates"] == 2
    assert len(names(archive, uid(1))) == 3


def test_bundle_files_belong_to_their_own_study_only(archive: Archive, source: SourceRef, tmp_path: Path) -> None:
    imported(archive, source, zipped(tmp_path / "1.zip", {"a": ct(1), "one.txt": b"1"}))
    imported(archive, source, zipped(tmp_path / "2.zip", {"a": ct(2), "two.txt": b"2"}))
    assert names(archive, uid(1)) == {"one.txt": "other"}
    assert names(archive, uid(2)) == {"two.txt": "other"}


def test_a_zip_without_any_study_is_set_aside_whole(archive: Archive, source: SourceRef, tmp_path: Path) -> None:
    progress = imported(archive, source, zipped(tmp_path / "x.zip", {"a.txt": b"a", "b.txt": b"b"}))
    assert progress.counts["set_aside"] == 2
    with archive.database.connect() as connection:
        rows, _ = query.list_set_aside(connection)
    assert {row["code"] for row in rows} == {"no_study_in_bundle"}


def test_a_member_that_names_a_path_stays_a_name(archive: Archive, source: SourceRef, tmp_path: Path) -> None:
    evil = "../../../../tmp/evil"
    imported(archive, source, zipped(tmp_path / "x.zip", {"a": ct(), evil: b"evil"}))
    assert names(archive, uid(1)) == {evil: "other"}
    assert not Path("/tmp/evil").exists()
    assert all(".." not in key for key, _ in archive.blobs.list())


@pytest.mark.parametrize("limit", [1000, 4 << 30])
def test_a_bomb_is_refused_by_size_and_by_ratio(
    archive: Archive, source: SourceRef, tmp_path: Path, limit: int
) -> None:
    small = Archive(archive.database, archive.blobs, archive.settings.model_copy(update={"max_unpacked_bytes": limit}))
    path = zipped(tmp_path / "bomb.zip", {"a": ct(), "zeros": b"\0" * (80 << 20)})
    progress = imported(small, source, path)
    assert codes(progress) == {"zip_too_large": 1}
    assert list(archive.blobs.list()) == []


def test_a_damaged_member_is_named_and_the_others_go_in(archive: Archive, source: SourceRef, tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", {"good": ct(instance=1), "bad": ct(instance=2)}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[data.rindex(ct(instance=2)[-64:]) + 10] ^= 0xFF
    path.write_bytes(data)
    progress = imported(archive, source, path)
    assert codes(progress) == {"damaged_member": 1}
    assert progress.counts["instances"] == 1


def test_an_encrypted_member_is_named(archive: Archive, source: SourceRef, tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", {"plain": ct(instance=1), "secret": ct(instance=2)})
    data = bytearray(path.read_bytes())
    for magic, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.rindex(magic) + flags] |= 1
    path.write_bytes(data)
    assert codes(imported(archive, source, path)) == {"encrypted": 1}


def test_nothing_of_a_zip_is_believed(archive: Archive, source: SourceRef, tmp_path: Path) -> None:
    for name, data in {"empty": b"", "header": b"PK\x03\x04", "end": b"PK\x05\x06" + b"\0" * 18}.items():
        (tmp_path / f"{name}.zip").write_bytes(data)
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as bundle:
        bundle.writestr("a", ct())
    (tmp_path / "cut.zip").write_bytes(whole.getvalue()[:-30])
    assert codes(run(archive, source, tmp_path)) == {"empty": 1, "bad_zip": 3}
