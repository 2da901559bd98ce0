"""Zip bundles as hospitals write them, and as an attacker would."""

import io
import zipfile
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from hilum.core.progress import Progress
from hilum.imaging.archive import query
from hilum.imaging.archive.arrivals import SourceRef
from hilum.imaging.archive.store import Archive
from hilum.imaging.intake.zip_directory import directory_size
from hilum.imaging.intake.zip_names import member_names
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


@pytest.mark.bucket
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


def test_other_files_stay_with_the_study_that_lies_nearest(archive: Archive, source: SourceRef, tmp_path: Path) -> None:
    path = zipped(
        tmp_path / "cd.zip",
        {
            "A/DICOM/1": ct(1), "A/REPORT.PDF": b"%PDF-1.4 a", "A/DICOM/NOTES.TXT": b"n",
            "B/DICOM/1": ct(2), "B/PREVIEW/1.JPG": b"\xff\xd8\xff\xe0", "VIEWER.EXE": b"MZ",
        },
    )  # fmt: skip
    imported(archive, source, path)
    assert set(names(archive, uid(1))) == {"A/REPORT.PDF", "A/DICOM/NOTES.TXT", "VIEWER.EXE"}
    assert set(names(archive, uid(2))) == {"B/PREVIEW/1.JPG", "VIEWER.EXE"}


def inside(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as bundle:
        for name, data in members.items():
            bundle.writestr(name, data)
    return file.getvalue()


@pytest.mark.bucket
def test_zips_in_zips_are_taken_apart_where_they_hold_dicom(
    archive: Archive, source: SourceRef, tmp_path: Path
) -> None:
    document = inside({"word/document.xml": b"<x/>"})
    deep = inside({"3": ct(1, 1, 3), "deep.pdf": b"%PDF"})
    middle = inside({"2": ct(1, 1, 2), "deep.zip": deep, "bad.zip": b"PK\x03\x04 no zip"})
    path = zipped(tmp_path / "x.zip", {"1": ct(1, 1, 1), "middle.zip": middle, "letter.docx": document})
    progress = imported(archive, source, path)
    assert progress.counts["instances"] == 3
    assert set(names(archive, uid(1))) == {"letter.docx", "middle.zip/bad.zip", "middle.zip/deep.zip/deep.pdf"}


def test_a_zip_in_too_many_zips_is_kept_as_it_is(archive: Archive, source: SourceRef, tmp_path: Path) -> None:
    data = inside({"x": ct(1, 1, 9)})
    for name in ("c.zip", "b.zip"):
        data = inside({name: data})
    progress = imported(archive, source, zipped(tmp_path / "x.zip", {"1": ct(), "a.zip": data}))
    assert codes(progress) == {"zip_too_deep": 1}
    assert set(names(archive, uid(1))) == {"a.zip/b.zip/c.zip"}


def test_zips_in_zips_count_against_the_same_limit(archive: Archive, source: SourceRef, tmp_path: Path) -> None:
    inner = inside({"x": ct(1, 1, 2), "zeros": b"\0" * (1 << 20)})
    settings = archive.settings.model_copy(update={"max_unpacked_bytes": len(inner) + (1 << 20)})
    small = Archive(archive.database, archive.blobs, settings)
    path = zipped(tmp_path / "x.zip", {"1": ct(), "a.zip": inner})
    progress = imported(small, source, path)
    assert codes(progress) == {"zip_too_large": 1}
    assert set(names(archive, uid(1))) == {"a.zip"}


def test_a_bomb_in_a_zip_is_kept_unopened(archive: Archive, source: SourceRef, tmp_path: Path) -> None:
    bomb = zipped(tmp_path / "bomb.zip", {"x": ct(1, 1, 2), "zeros": b"\0" * (80 << 20)}).read_bytes()
    progress = imported(archive, source, zipped(tmp_path / "x.zip", {"1": ct(), "a.zip": bomb}))
    assert codes(progress) == {"zip_too_large": 1}


def test_a_zip_without_study_uids_is_one_derived_study(archive: Archive, source: SourceRef, tmp_path: Path) -> None:
    members = {"A/1": ct(1, 1, 1, StudyInstanceUID=None), "B/2": ct(1, 1, 2, StudyInstanceUID=None), "R.PDF": b"%PDF"}
    imported(archive, source, zipped(tmp_path / "x.zip", members))
    again = imported(archive, source, zipped(tmp_path / "renamed.zip", members))
    assert again.counts["duplicates"] == 2
    with archive.database.connect() as connection:
        ((row,), total) = query.list_studies(connection, query.StudyFilter())
    assert (total, row["derived"], row["num_instances"]) == (1, True, 2)
    assert set(names(archive, row["study_instance_uid"])) == {"R.PDF"}


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("Größe/Schädel", "cp437"),
        ("Größe/Schädel", "utf-8"),
        ("Étude/Crâne", "cp1252"),
        ("画像/レポート.txt", "cp932"),
        ("胸部/報告.txt", "cp932"),
        ("影像/报告单.txt", "gbk"),
        ("снимки/отчёт.txt", "utf-8"),
    ],
)
def test_names_are_read_in_the_code_page_they_were_written_in(name: str, codec: str) -> None:
    raw = name.encode(codec)
    data = inside({"x" * len(raw): b"1"}).replace(b"x" * len(raw), raw)
    with zipfile.ZipFile(io.BytesIO(data)) as bundle:
        assert member_names(bundle.infolist()) == [name]


def test_a_name_said_to_be_utf8_is_and_windows_folders_are_folders() -> None:
    with zipfile.ZipFile(io.BytesIO(inside({"画像\\1": b"1", "plain": b"2"}))) as bundle:
        assert member_names(bundle.infolist()) == ["画像/1", "plain"]


def test_a_link_in_a_zip_is_not_followed(archive: Archive, source: SourceRef, tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as bundle:
        bundle.writestr("1", ct())
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        bundle.writestr(link, "/etc/passwd")
    assert codes(imported(archive, source, path)) == {"zip_link": 1}
    assert names(archive, uid(1)) == {}


def test_a_preambleless_member_and_a_dicomdir_are_told_apart(
    archive: Archive, source: SourceRef, tmp_path: Path
) -> None:
    bare = ct(instance=2)[132:]
    directory = get_testdata_file("DICOMDIR", download=False)
    assert isinstance(directory, str)
    path = zipped(tmp_path / "x.zip", {"1": ct(), "2": bare, "DICOMDIR": Path(directory).read_bytes()})
    progress = imported(archive, source, path)
    assert progress.counts["instances"] == 2
    assert names(archive, uid(1)) == {"DICOMDIR": "dicom"}


def test_a_directory_that_would_fill_the_memory_is_not_read() -> None:
    data = bytearray(inside({"x": b"1"}))
    at = data.rindex(b"PK\x05\x06")
    data[at + 12 : at + 16] = (1 << 30).to_bytes(4, "little")
    assert directory_size(io.BytesIO(bytes(data))) == 1 << 30
    assert directory_size(io.BytesIO(b"no zip")) == 0


def test_zip64_is_read(archive: Archive, source: SourceRef, tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as bundle, bundle.open("1", "w", force_zip64=True) as member:
        member.write(ct())
    assert imported(archive, source, path).counts["instances"] == 1
