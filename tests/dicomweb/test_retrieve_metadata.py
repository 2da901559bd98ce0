"""WADO-RS metadata: as XML, made beforehand, and true after every change."""

import io
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, JPEGExtended12Bit

from hilum.imaging.archive.delete import delete_study
from hilum.imaging.archive.store import Archive
from hilum.imaging.dicomweb.metadata import make_due
from tests.dicom.files import wheel_file
from tests.dicomweb.conftest import Web, parts
from tests.dicomweb.test_wado import kept, path_of
from tests.make import ct, uid

XML = 'multipart/related; type="application/dicom+xml"'
MODEL = "{http://dicom.nema.org/PS3.19/models/NativeDICOM}"
SERIES = f"/studies/{uid(1)}/series/{uid(1, 1)}"


def due(archive: Archive) -> int:
    with archive.database.transaction() as sql:
        return int(str(sql.rows("select count(*) from hilum.series where metadata_version < version")[0]["count"]))


def kept_bodies(archive: Archive) -> list[tuple[int, str]]:
    with archive.database.transaction() as sql:
        return [(int(str(row["version"])), str(row["base_url"])) for row in
                sql.rows("select version, base_url from hilum.series_metadata order by series_id")]  # fmt: skip


def make(archive: Archive) -> int:
    return make_due(archive, seconds=60, quiet_seconds=0)


def test_w27_metadata_as_xml_has_a_part_for_each_instance(web: Web) -> None:
    web.keep(*(ct(1, 1, instance) for instance in (1, 2, 3)))
    answer = web.get(f"{SERIES}/metadata", XML)
    assert answer.headers["content-type"].startswith('multipart/related; type="application/dicom+xml"; boundary=')
    found = parts(answer)
    assert [headers["Content-Type"] for headers, _ in found] == ["application/dicom+xml"] * 3
    for instance, (_, body) in enumerate(found, 1):
        root = ElementTree.fromstring(body)
        assert root.tag == f"{MODEL}NativeDicomModel"
        (value,) = root.findall(f"{MODEL}DicomAttribute[@tag='00080018']/{MODEL}Value")
        assert value.text == uid(1, 1, instance)
        (bulk,) = root.findall(f"{MODEL}DicomAttribute[@tag='7FE00010']/{MODEL}BulkData")
        assert bulk.get("uri") == f"{web.root}{SERIES}/instances/{uid(1, 1, instance)}/bulkdata/7FE00010"
    etag = answer.headers["etag"]
    assert web.get(f"{SERIES}/metadata", XML, If_None_Match=etag).status_code == 304
    assert web.get(f"{SERIES}/metadata", If_None_Match=etag).status_code == 200
    compressed = web.get(f"{SERIES}/metadata", XML, Accept_Encoding="gzip")
    assert compressed.headers["content-encoding"] == "gzip"
    assert [body for _, body in parts(compressed)] == [body for _, body in found]
    assert web.get(f"{SERIES}/metadata", "application/dicom+xml").status_code == 406


def test_w27_xml_says_the_same_of_the_samples_as_json(web: Web) -> None:
    path = kept(web, wheel_file("JPGExtended.dcm").read_bytes())
    (json,) = web.get(f"{path}/metadata").json()
    ((_, body),) = parts(web.get(f"{path}/metadata", XML))
    root = ElementTree.fromstring(body)
    assert pydicom.dcmread(wheel_file("JPGExtended.dcm")).file_meta.TransferSyntaxUID == JPEGExtended12Bit
    assert json["00083002"]["Value"] == [ExplicitVRLittleEndian]
    for tag in ("00083002", "00280004", "00280100", "00280102"):
        (value,) = root.findall(f"{MODEL}DicomAttribute[@tag='{tag}']/{MODEL}Value")
        assert value.text == str(json[tag]["Value"][0])


def test_w27_xml_lacks_what_is_gone_and_says_so(web: Web, tmp_path: Path) -> None:
    for number in (1, 2):
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(ct(1, 1, number))
        with web.archive.batch(web.archive.source(), "import") as batch:
            batch.index(path.name, str(path))
            batch.commit()
    (tmp_path / "1.dcm").unlink()
    answer = web.get(f"{SERIES}/metadata", XML)
    assert (answer.status_code, len(parts(answer))) == (206, 1)
    assert "etag" not in answer.headers


def test_w30_metadata_is_made_before_anybody_asks(web: Web) -> None:
    web.keep(*(ct(1, series, instance) for series in (1, 2) for instance in (1, 2)))
    assert due(web.archive) == 2
    assert make(web.archive) == 2
    assert (due(web.archive), make(web.archive)) == (0, 0)
    assert [base for _, base in kept_bodies(web.archive)] == ["", ""]
    found = web.get(f"{SERIES}/metadata").json()
    assert [one["7FE00010"]["BulkDataURI"] for one in found] == [
        f"{web.root}{SERIES}/instances/{uid(1, 1, instance)}/bulkdata/7FE00010" for instance in (1, 2)
    ]
    assert [base for _, base in kept_bodies(web.archive)] == [web.root, ""], "the name that was asked is remembered"
    assert web.get(f"{SERIES}/metadata").json() == found
    versions = [version for version, _ in kept_bodies(web.archive)]
    web.keep(ct(1, 1, 3))
    assert due(web.archive) == 1
    assert len(web.get(f"{SERIES}/metadata").json()) == 3
    assert make(web.archive) == 1
    assert [version for version, _ in kept_bodies(web.archive)] == [versions[0] + 1, versions[1]]


def test_w30_metadata_waits_until_a_study_is_quiet(web: Web) -> None:
    web.keep(ct())
    assert make_due(web.archive, seconds=60, quiet_seconds=3600) == 0
    assert due(web.archive) == 1


def test_w30_the_public_address_is_known_beforehand(web: Web) -> None:
    web.keep(ct())
    settings = web.archive.settings.model_copy(update={"public_url": "https://archive.example/"})
    known = Archive(web.archive.database, web.archive.blobs, settings)
    assert make(known) == 1
    assert [base for _, base in kept_bodies(known)] == ["https://archive.example/dicom-web"]


def test_w30_a_series_that_cannot_be_made_is_not_tried_for_ever(web: Web, tmp_path: Path) -> None:
    path = tmp_path / "1.dcm"
    path.write_bytes(ct())
    with web.archive.batch(web.archive.source(), "import") as batch:
        batch.index(path.name, str(path))
        batch.commit()
    path.unlink()
    assert make(web.archive) == 1
    assert (due(web.archive), kept_bodies(web.archive)) == (0, [])
    assert web.get(f"{SERIES}/metadata").status_code == 410


def test_w32_metadata_of_a_deleted_study_is_gone(web: Web) -> None:
    web.keep(ct())
    assert web.get(f"{SERIES}/metadata").status_code == 200
    with web.archive.database.transaction() as sql:
        (row,) = sql.rows("select id from hilum.study")
    delete_study(web.archive.database, int(str(row["id"])), "test")
    assert web.get(f"{SERIES}/metadata").status_code == 410
    assert make(web.archive) == 0


@pytest.mark.parametrize("vr", ["DS", "IS", "US", "FD"])
def test_w19_w20_w21_w23_empty_values_are_a_representation_alone(web: Web, vr: str) -> None:
    ds = pydicom.dcmread(io.BytesIO(ct()))
    block = ds.private_block(0x0011, "HILUM TEST", create=True)
    block.add_new(1, vr, None)
    block.add_new(2, "OB", bytes(range(16)))
    block.add_new(3, "OB", np.zeros(4000, np.uint8).tobytes())
    out = io.BytesIO()
    pydicom.dcmwrite(out, ds)
    (found,) = web.get(f"{kept(web, out.getvalue())}/metadata").json()
    assert found["00111001"] == {"vr": vr}
    assert found["00111002"] == {"vr": "OB", "InlineBinary": "AAECAwQFBgcICQoLDA0ODw=="}
    assert found["00111003"] == {"vr": "OB", "BulkDataURI": f"{web.root}{path_of(ct())}/bulkdata/00111003"}
