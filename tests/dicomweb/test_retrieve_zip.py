"""WADO-RS as application/zip: read back by Python's zipfile, which is not ours."""

import io
import zipfile
import zlib
from pathlib import Path

import httpx
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless

from hilum.imaging.dicomweb.zip_archive import Directory, Layout, Member
from tests.dicom.files import wheel_file
from tests.dicom.test_pixels import decoded
from tests.dicom.test_transcode import transcoded
from tests.dicomweb.conftest import Web
from tests.dicomweb.test_wado import kept
from tests.make import ct, uid

ZIP = "application/zip"


def unpacked(answer: httpx.Response) -> dict[str, bytes]:
    assert answer.headers["content-type"] == ZIP
    with zipfile.ZipFile(io.BytesIO(answer.content)) as found:
        assert found.testzip() is None
        assert {one.compress_type for one in found.infolist()} == {zipfile.ZIP_STORED}
        return {one.filename: found.read(one) for one in found.infolist()}


@pytest.mark.parametrize(("series", "instance"), [(None, None), (2, None), (2, 1)])
def test_w11_studies_series_and_instances_come_zipped_as_they_were_sent(
    shared_web: Web, series: int | None, instance: int | None
) -> None:
    given = [(one, other) for one in (1, 2) for other in (1, 2)]
    shared_web.keep(*(ct(1, *numbers) for numbers in given), ct(2))
    path, name = f"/studies/{uid(1)}", uid(1)
    if series:
        path, name, given = f"{path}/series/{uid(1, series)}", uid(1, series), given[2:]
    if series and instance:
        path, name, given = f"{path}/instances/{uid(1, series, instance)}", uid(1, series, instance), given[:1]
    answer = shared_web.get(path, ZIP)
    assert answer.status_code == 200
    assert unpacked(answer) == {
        f"{uid(1)}/{uid(1, one)}/{uid(1, one, other)}.dcm": ct(1, one, other) for one, other in given
    }
    assert answer.headers["content-disposition"] == f'attachment; filename="{name}.zip"'
    assert int(answer.headers["content-length"]) == len(answer.content)
    head = httpx.head(shared_web.root + path, headers={"Accept": ZIP})
    assert (head.status_code, int(head.headers["content-length"])) == (200, len(answer.content))
    assert head.headers["etag"] == answer.headers["etag"]
    assert shared_web.get(path, ZIP, If_None_Match=answer.headers["etag"]).status_code == 304


@pytest.mark.bucket
def test_w11_a_broken_download_goes_on_where_it_ended(web: Web, tmp_path: Path) -> None:
    web.keep(*(ct(1, 1, instance, size=64) for instance in range(1, 6)))
    whole = web.get(f"/studies/{uid(1)}", ZIP)
    size = len(whole.content)
    pieces: list[bytes] = []
    for start in range(0, size, 7001):
        part = web.get(f"/studies/{uid(1)}", ZIP, Range=f"bytes={start}-{start + 7000}", If_Range=whole.headers["etag"])
        assert part.status_code == 206
        pieces.append(part.content)
    assert b"".join(pieces) == whole.content
    (tmp_path / "study.zip").write_bytes(whole.content)
    with zipfile.ZipFile(tmp_path / "study.zip") as found:
        assert all(zlib.crc32(found.read(info)) == info.CRC for info in found.infolist())
    web.keep(ct(1, 1, 6))
    assert web.get(f"/studies/{uid(1)}", ZIP, If_None_Match=whole.headers["etag"]).status_code == 200


@pytest.mark.parametrize("name", ["MR_small_implicit.dcm", "MR_small_bigendian.dcm"])
def test_w11_implicit_and_big_endian_do_not_leave_in_a_zip_either(web: Web, name: str) -> None:
    data = wheel_file(name).read_bytes()
    path = kept(web, data)
    (body,) = unpacked(web.get(path, ZIP)).values()
    assert pydicom.dcmread(io.BytesIO(body)).file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert (decoded(body) == decoded(data)).all()


@pytest.mark.bucket
def test_w11_a_zip_is_transcoded_when_a_transfer_syntax_is_named(web: Web) -> None:
    web.keep(transcoded(ct(1, 1, 1), JPEGLSLossless), ct(1, 1, 2))
    assert [*unpacked(web.get(f"/studies/{uid(1)}", ZIP)).values()] == [
        transcoded(ct(1, 1, 1), JPEGLSLossless), ct(1, 1, 2)
    ]  # fmt: skip
    for syntax in (ExplicitVRLittleEndian, JPEGLSLossless):
        found = unpacked(web.get(f"/studies/{uid(1)}", f"{ZIP}; transfer-syntax={syntax}"))
        for instance, body in enumerate(found.values(), 1):
            assert pydicom.dcmread(io.BytesIO(body)).file_meta.TransferSyntaxUID == syntax
            assert (decoded(body) == decoded(ct(1, 1, instance))).all()


def test_w11_a_zip_lacks_what_is_gone_and_says_so(web: Web, tmp_path: Path) -> None:
    for number in (1, 2):
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(ct(1, 1, number))
        with web.archive.batch(web.archive.source(), "import") as batch:
            batch.index(path.name, str(path))
            batch.commit()
    (tmp_path / "1.dcm").unlink()
    answer = web.get(f"/studies/{uid(1)}", ZIP)
    assert answer.status_code == 206
    assert [*unpacked(answer).values()] == [ct(1, 1, 2)]


def test_w11_zip64_where_it_must_be(tmp_path: Path) -> None:
    """A zip of 70,000 files, and one whose first file has 5 GB: a hole, which costs no disk."""
    members = [Member(f"{number}.dcm", 1, zlib.crc32(b"x")) for number in range(70_000)]
    many = Layout(members, lambda _number, _offset, length: b"x" * length)
    data = b"".join(piece for at in range(0, many.size, 1 << 20) for piece in many.read(at, 1 << 20))
    with zipfile.ZipFile(io.BytesIO(data)) as found:
        assert len(found.namelist()) == 70_000
        assert found.read("69999.dcm") == b"x"
    large = 5 << 30
    directory = Directory()
    path = tmp_path / "large.zip"
    with path.open("wb") as file:
        file.write(directory.add(Member("large.dcm", large, 0)))
        file.seek(large, io.SEEK_CUR)
        file.write(directory.add(Member("small.dcm", 5, zlib.crc32(b"small"))) + b"small" + directory.end())
    with zipfile.ZipFile(path) as found:
        assert [one.file_size for one in found.infolist()] == [large, 5]
        assert found.read("small.dcm") == b"small"
