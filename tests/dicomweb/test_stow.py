"""STOW-RS (PS3.18 section 10.5). The ids are those of the DICOMweb checklist in the project's design."""

import io
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from urllib.parse import urlsplit
from xml.etree import ElementTree

import httpx
import pydicom
import pytest
import sqlalchemy as sa

from hilum.core.blobs import LocalBlobs
from hilum.core.config import Settings
from hilum.core.errors import OutOfSpace
from hilum.imaging.archive.arrivals import SourceRef
from hilum.imaging.archive.delete import purge
from hilum.imaging.archive.identity import Patient
from hilum.imaging.archive.models import Instance, SetAside, Study
from hilum.imaging.archive.patients import decide
from hilum.imaging.archive.store import Archive
from hilum.imaging.dicomweb import stow
from tests.conftest import wait_until
from tests.dicom.files import wheel_file
from tests.dicomweb.conftest import BOUNDARY, Web, listening, parts
from tests.make import ct, uid, written
from tests.watched import files_below

CT = "1.2.840.10008.5.1.4.1.1.2"
ANY = 'multipart/related; type="application/dicom"; transfer-syntax=*'


def stored(web: Web) -> set[str]:
    with web.archive.database.connect() as connection:
        return set(connection.scalars(sa.select(Instance.sop_instance_uid)))


def objects(web: Web) -> list[str]:
    return sorted(key for key, _ in web.archive.blobs.list())


def items(answer: httpx.Response, tag: str) -> list[dict[str, object]]:
    """The items of a sequence, each attribute by its first value."""
    sequence = answer.json()[tag]["Value"]
    return [{key: attribute.get("Value", [None])[0] for key, attribute in item.items()} for item in sequence]


def test_s01_s02_s03_s04_s04b_what_is_stored_is_acknowledged_one_by_one(web: Web) -> None:
    answer = web.stow(ct(1, 1, 1), ct(1, 2, 1))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/dicom+json")
    assert items(answer, "00081199") == [
        {
            "00081150": CT,
            "00081155": uid(1, series, 1),
            "00081190": f"{web.root}/studies/{uid(1)}/series/{uid(1, series)}/instances/{uid(1, series, 1)}",
        }
        for series in (1, 2)
    ]
    assert "00081198" not in answer.json()
    assert answer.json()["00081190"] == {"vr": "UR", "Value": [f"{web.root}/studies/{uid(1)}"]}
    assert stored(web) == {uid(1, 1, 1), uid(1, 2, 1)}


@pytest.mark.bucket
def test_what_was_stored_comes_back_byte_by_byte(web: Web) -> None:
    data = [wheel_file(name).read_bytes() for name in ("CT_small.dcm", "JPEG2000.dcm", "test-SR.dcm", "image_dfl.dcm")]
    answer = web.stow(*data)
    assert answer.status_code == 200
    for item, expected in zip(items(answer, "00081199"), data, strict=True):
        ((_, body),) = parts(httpx.get(str(item["00081190"]), headers={"Accept": ANY}))
        assert body == expected


def test_several_studies_imply_none(web: Web) -> None:
    answer = web.stow(ct(1), ct(2))
    assert answer.status_code == 200
    assert "00081190" not in answer.json()


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ('multipart/related; type="application/dicom"; boundary="a\'b()+_,-./:=?c"', "a'b()+_,-./:=?c"),
        ("multipart/related; type=application/dicom; boundary=plain", "plain"),
        ('Multipart/Related;boundary="x";TYPE="Application/DICOM"', "x"),
        ('multipart/related; boundary="no type"', "no type"),
    ],
)
@pytest.mark.parametrize("header", ["", "Content-Type: application/dicom; transfer-syntax=1.2.840.10008.1.2.1\r\n",
                                    "content-type:application/dicom\r\nContent-Length: 12\r\n"])  # fmt: skip
def test_s06_the_forms_that_clients_send_are_taken(web: Web, content_type: str, boundary: str, header: str) -> None:
    body = (
        f"A preamble.\r\n--{boundary}\r\n{header}\r\n".encode() + ct() + f"\r\n--{boundary}--\r\nAn epilogue.".encode()
    )
    assert web.post(body, content_type).status_code == 200
    assert stored(web) == {uid(1, 1, 1)}


@pytest.mark.parametrize("piece", [1000, 65_536])
def test_s15_a_chunked_body_is_taken(web: Web, piece: int) -> None:
    data = ct(size=256)
    whole = f"--{BOUNDARY}\r\n\r\n".encode() + data + f"\r\n--{BOUNDARY}--".encode()

    def chunks() -> Iterator[bytes]:
        for start in range(0, len(whole), piece):
            yield whole[start : start + piece]

    assert web.post(chunks()).status_code == 200
    assert stored(web) == {uid(1, 1, 1)}


def test_s07_storing_it_again_changes_nothing(web: Web) -> None:
    web.stow(ct())
    before = objects(web)
    answer = web.stow(ct())
    assert answer.status_code == 200
    assert items(answer, "00081199")[0]["00081155"] == uid(1, 1, 1)
    assert objects(web) == before


def test_the_same_instance_twice_in_a_request_is_one(web: Web) -> None:
    answer = web.stow(ct(), ct())
    assert (answer.status_code, len(items(answer, "00081199"))) == (200, 2)
    assert stored(web) == {uid(1, 1, 1)}


@pytest.mark.bucket
def test_s21_other_bytes_under_a_known_uid_are_never_silent(web: Web) -> None:
    web.stow(ct())
    answer = web.stow(ct(SliceThickness="5"))
    assert answer.status_code == 202
    assert items(answer, "00081199")[0]["00081196"] == 0x0111
    path = f"/studies/{uid(1)}/series/{uid(1, 1)}/instances/{uid(1, 1, 1)}"
    assert web.get(path, "application/dicom").content == ct(SliceThickness="5")


def test_s21_other_bytes_are_refused_where_that_is_the_policy(web: Web) -> None:
    settings = Settings(data=web.archive.settings.data, on_replace="reject", min_free_bytes=0)
    strict = Archive(web.archive.database, web.archive.blobs, settings)
    web.stow(ct())
    with listening(strict) as other:
        answer = other.stow(ct(SliceThickness="5"))
    assert answer.status_code == 409
    failed = items(answer, "00081198")[0]
    assert (failed["00081155"], failed["00081197"]) == (uid(1, 1, 1), 0x0111)


def test_an_instance_uid_of_another_series_is_refused(web: Web) -> None:
    web.stow(ct())
    answer = web.stow(ct(2, SOPInstanceUID=uid(1, 1, 1)))
    assert answer.status_code == 409
    assert items(answer, "00081198")[0]["00081197"] == 0x0111


def test_s08_some_good_some_bad_is_202(web: Web) -> None:
    answer = web.stow(ct(1, 1, 1), b"not DICOM at all", ct(1, 1, 2, SeriesInstanceUID=None), ct(1, 1, 3))
    assert answer.status_code == 202
    assert [item["00081155"] for item in items(answer, "00081199")] == [uid(1, 1, 1), uid(1, 1, 3)]
    failed = items(answer, "00081198")
    assert [(item["00081150"], item["00081155"], item["00081197"]) for item in failed] == [
        (None, None, 0xC000),
        (CT, uid(1, 1, 2), 0xC000),
    ]
    assert stored(web) == {uid(1, 1, 1), uid(1, 1, 3)}


def test_s09_s10_instances_of_another_study_are_refused(web: Web) -> None:
    answer = web.stow(ct(2), study=uid(1))
    assert answer.status_code == 409
    assert answer.json()["00081190"]["Value"] == [f"{web.root}/studies/{uid(1)}"]
    (failed,) = items(answer, "00081198")
    assert (failed["00081150"], failed["00081155"], failed["00081197"]) == (CT, uid(2, 1, 1), 0xA900)
    assert not stored(web)
    assert not objects(web)
    assert web.stow(ct(1), ct(2), study=uid(1)).status_code == 202
    assert stored(web) == {uid(1, 1, 1)}


def test_s11_only_garbage_is_409(web: Web) -> None:
    answer = web.stow(b"garbage", b"\0" * 500)
    assert answer.status_code == 409
    assert [item["00081197"] for item in items(answer, "00081198")] == [0xC000, 0xC000]
    assert "00081199" not in answer.json()


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"])
def test_s17_an_instance_without_identity_is_set_aside_and_reported(web: Web, keyword: str) -> None:
    answer = web.stow(ct(**{keyword: None}))
    assert answer.status_code == 409
    (failed,) = answer.json()["00081198"]["Value"]
    assert keyword in failed["00741048"]["Value"][0]["00000902"]["Value"][0]
    with web.archive.database.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(SetAside)) == 1
    assert not stored(web)


def test_a_truncated_instance_is_not_stored(web: Web) -> None:
    answer = web.stow(ct(size=64)[:-100])
    assert answer.status_code == 409
    assert not stored(web)


@pytest.mark.parametrize(
    "content_type",
    ["", "application/json", "multipart/form-data; boundary=x", "multipart/mixed; boundary=x", "text/plain",
     'multipart/related; type="application/json"; boundary=x'],
)  # fmt: skip
def test_s12_another_content_type_is_415(shared_web: Web, content_type: str) -> None:
    assert shared_web.post(b"--x\r\n\r\ny\r\n--x--", content_type).status_code == 415


def test_a_compressed_body_is_415(web: Web) -> None:
    assert web.stow(ct(), Content_Encoding="gzip").status_code == 415


def test_s13_an_unacceptable_accept_stores_nothing(web: Web) -> None:
    assert web.stow(ct(), Accept="text/html").status_code == 406
    assert not stored(web)
    assert web.stow(ct(), Accept="application/json").headers["content-type"] == "application/json"


def test_s14_a_single_instance_may_come_without_wrapping(web: Web) -> None:
    answer = web.post(ct(), "application/dicom")
    assert answer.status_code == 200
    assert items(answer, "00081199")[0]["00081155"] == uid(1, 1, 1)
    assert web.post(b"", "application/dicom").status_code == 400
    assert web.post(b"garbage", "application/dicom").status_code == 409


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ('multipart/related; type="application/dicom"', b""),
        ('multipart/related; type="application/dicom"; boundary=""', b""),
        ('multipart/related; type="application/dicom"; boundary="', b""),
        ('multipart/related; type="application/dicom"; boundary=x', b""),
        ('multipart/related; type="application/dicom"; boundary=x', b"--x--\r\n"),
        ('multipart/related; type="application/dicom"; boundary=x', b"--y\r\n\r\nz\r\n--y--"),
        ('multipart/related; type="application/dicom"; boundary=x', b"--x\r\n\r\n"),
    ],
)
def test_s16_s18_a_body_without_boundary_or_parts_is_400(shared_web: Web, content_type: str, body: bytes) -> None:
    assert shared_web.post(body, content_type).status_code == 400


def test_a_body_that_is_cut_short_stores_nothing(web: Web) -> None:
    body = f"--{BOUNDARY}\r\n\r\n".encode() + ct() + f"\r\n--{BOUNDARY}\r\n\r\n".encode() + ct(2)[:300]
    assert web.post(body).status_code == 400
    assert not stored(web)
    assert not objects(web)


def test_a_broken_connection_stores_nothing_and_leaves_nothing(web: Web) -> None:
    address = urlsplit(web.root)
    assert address.hostname
    assert address.port
    data = ct(size=1024)
    with socket.create_connection((address.hostname, address.port)) as connection:
        head = (
            f"POST /dicom-web/studies HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: 99000000\r\n"
            f'Content-Type: multipart/related; type="application/dicom"; boundary={BOUNDARY}\r\n\r\n'
        )
        connection.sendall(
            head.encode() + f"--{BOUNDARY}\r\n\r\n".encode() + data + f"\r\n--{BOUNDARY}\r\n\r\n".encode() + data[:9000]
        )
        temporary = web.archive.blobs.root  # pyright: ignore[reportAttributeAccessIssue]
        wait_until(lambda: any(files_below(temporary).values()), what="a partial upload")
    wait_until(lambda: max(files_below(temporary).values(), default=0) <= 1000, what="an empty object store")
    assert not stored(web)
    assert web.stow(data).status_code == 200


def test_s20_another_method_is_405_and_names_the_right_ones(web: Web) -> None:
    for path, allowed in (("/studies", "GET, HEAD, POST, OPTIONS"), ("/series", "GET, HEAD, OPTIONS")):
        answer = httpx.put(web.root + path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


def test_an_instance_over_the_limit_is_refused_and_the_others_are_stored(archive: Archive) -> None:
    settings = Settings(data=archive.settings.data, max_instance_bytes=10_000, min_free_bytes=0)
    with listening(Archive(archive.database, archive.blobs, settings)) as web:
        answer = web.stow(ct(1), ct(2, size=256), ct(3))
        assert answer.status_code == 202
        assert items(answer, "00081198")[0]["00081197"] == 0xA700
        assert "HILUM_MAX_INSTANCE_BYTES" in answer.text
        assert stored(web) == {uid(1, 1, 1), uid(3, 1, 1)}
        assert web.post(ct(2, size=256), "application/dicom").status_code == 413


def test_a_full_disk_is_507_and_names_what_was_not_stored(archive: Archive) -> None:
    full = LocalBlobs(archive.blobs.root, 1 << 60)  # pyright: ignore[reportAttributeAccessIssue]
    with listening(Archive(archive.database, full, archive.settings)) as web:
        answer = web.stow(ct(1), ct(2), b"garbage")
        assert answer.status_code == 507
        failed = items(answer, "00081198")
        assert [(item["00081155"], item["00081197"]) for item in failed] == [
            (uid(1, 1, 1), 0xA700), (uid(2, 1, 1), 0xA700), (None, 0xA700),
        ]  # fmt: skip
        assert not stored(web)
        model = {"00080018": {"vr": "UI", "Value": [uid(3)]}}
        assert web.post(json.dumps([model]).encode(), "application/dicom+json").status_code == 507


def test_a_full_archive_takes_what_fits_and_refuses_the_rest(archive: Archive) -> None:
    one = len(ct())
    settings = Settings(data=archive.settings.data, max_archive_bytes=2 * one + 10, min_free_bytes=0)
    small = Archive(archive.database, archive.blobs, settings)
    with listening(small) as web:
        answer = web.stow(*(ct(1, 1, n) for n in (1, 2, 3, 4)))
        assert answer.status_code == 202
        assert len(items(answer, "00081199")) == 2
        assert [(item["00081155"], item["00081197"]) for item in items(answer, "00081198")] == [
            (uid(1, 1, 3), 0xA700), (uid(1, 1, 4), 0xA700),
        ]  # fmt: skip
        assert web.stow(ct(2)).status_code == 507
        with pytest.raises(OutOfSpace, match="HILUM_MAX_ARCHIVE_BYTES"), small.batch(small.source(), "import") as batch:
            batch.add("x", [ct(2)])
        httpx.delete(f"{web.root}/studies/{uid(1)}")
        assert web.stow(ct(2)).status_code == 507
        purge(archive.database, archive.blobs, timedelta(0))
        assert web.stow(ct(2)).status_code == 200


def test_more_instances_than_a_batch_holds_are_all_stored(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stow, "BATCH_INSTANCES", 7)
    answer = web.stow(*(ct(1, 1, number) for number in range(1, 31)), b"garbage")
    assert answer.status_code == 202
    assert [item["00081155"] for item in items(answer, "00081199")] == [uid(1, 1, number) for number in range(1, 31)]
    assert len(stored(web)) == 30


def test_studies_that_are_stored_at_once_are_both_whole(web: Web) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda series: web.stow(*(ct(1, series, i) for i in range(1, 6))), range(1, 5)))
    assert {answer.status_code for answer in answers} == {200}
    with web.archive.database.connect() as connection:
        assert tuple(connection.execute(sa.select(Study.num_series, Study.num_instances)).one()) == (4, 20)


def test_the_answer_reads_as_a_data_set(web: Web) -> None:
    ds = pydicom.Dataset.from_json(web.stow(ct(), b"garbage").json())
    assert ds.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == uid(1, 1, 1)
    assert ds.FailedSOPSequence[0].FailureReason == 0xC000


def test_s05_the_answer_may_be_xml(web: Web) -> None:
    answer = web.stow(ct(), b"garbage", Accept="application/dicom+xml")
    assert (answer.status_code, answer.headers["content-type"]) == (202, "application/dicom+xml")
    name = "{http://dicom.nema.org/PS3.19/models/NativeDICOM}"
    root = ElementTree.fromstring(answer.content)
    assert root.tag == f"{name}NativeDicomModel"
    texts = {one.get("keyword"): one[0].text for one in root.iter(f"{name}DicomAttribute") if len(one)}
    assert texts["ReferencedSOPInstanceUID"] == uid(1, 1, 1)
    assert texts["FailureReason"] == str(0xC000)
    assert texts["ErrorComment"] == "The file is not DICOM: it has neither the DICM mark nor a data s"


def test_warnings_tell_of_another_class_and_of_a_patient_who_was_decided(web: Web, source: SourceRef) -> None:
    other = pydicom.dcmread(io.BytesIO(ct()))
    other.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    answer = web.stow(written(other))
    assert answer.status_code == 202
    assert items(answer, "00081199")[0]["00081196"] == 0xB007
    with web.archive.database.transaction() as sql:
        decide(sql, source.id, uid(1), Patient("WRONG"), Patient("P1"), "test")
    answer = web.stow(ct(instance=2, PatientID="WRONG"))
    (item,) = pydicom.Dataset.from_json(answer.json()).ReferencedSOPSequence
    assert (answer.status_code, item.WarningReason) == (202, 0xB000)
    (original,) = item.OriginalAttributesSequence
    assert original.ModifiedAttributesSequence[0].PatientID == "WRONG"
    assert original.ReasonForTheAttributeModification == "COERCE"


def test_a_study_of_another_patient_and_a_directory_are_failures_of_their_own(web: Web) -> None:
    web.stow(ct())
    directory = pydicom.dcmread(io.BytesIO(ct(2)))
    directory.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    answer = web.stow(ct(instance=2, PatientID="OTHER"), written(directory))
    assert answer.status_code == 409
    assert [item["00081197"] for item in items(answer, "00081198")] == [0xA900, 0x0122]


def test_s17_an_instance_without_its_uids_is_refused(web: Web) -> None:
    keywords = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
    answer = web.stow(*(ct(**{keyword: None}) for keyword in keywords), ct(StudyInstanceUID="1.2.x"))
    assert answer.status_code == 409
    comments = [one["00741048"]["Value"][0]["00000902"]["Value"][0] for one in answer.json()["00081198"]["Value"]]
    assert all(keyword in comment for keyword, comment in zip((*keywords, "StudyInstanceUID"), comments, strict=True))
    assert [item["00081197"] for item in items(answer, "00081198")] == [0xC000] * 5
    assert not stored(web)


def test_a_length_that_a_part_does_not_have_and_a_request_that_is_longer_are_told(web: Web) -> None:
    address = urlsplit(web.root)
    body = f"--{BOUNDARY}\r\nContent-Length: 5\r\n\r\n".encode() + ct() + f"\r\n--{BOUNDARY}--\r\n".encode()
    for length, status in ((len(body), b" 200 "), (len(body) - 20, b" 400 ")):
        head = (
            f"POST /dicom-web/studies HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: {length}\r\n"
            f'Content-Type: multipart/related; type="application/dicom"; boundary={BOUNDARY}\r\n\r\n'
        )
        with socket.create_connection((address.hostname or "", address.port or 0), timeout=30) as connection:
            connection.sendall(head.encode() + body)
            assert status in connection.recv(4096).split(b"\r\n")[0]
