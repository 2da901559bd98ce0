"""The bulk data and pixel data resources of WADO-RS (PS3.18 sections 10.4.1.5 and 10.4.1.6), HEAD and Range."""

import io
import json
import re

import httpx
import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless, RLELossless

from hilum.imaging.archive.store import Archive
from tests.dicom.files import wheel_file
from tests.dicom.test_transcode import transcoded
from tests.dicomweb.conftest import Web, listening, parts
from tests.dicomweb.test_wado import ANY, RAW, RAW_ANY, kept, path_of, several_frames, single
from tests.make import ct, uid

OCTETS = "application/octet-stream"


@pytest.mark.parametrize(
    "name", ["waveform_ecg.dcm", "CT_small.dcm", "SC_rgb_rle_2frame.dcm", "MR_small_bigendian.dcm", "image_dfl.dcm"]
)
def test_w57_all_bulk_data_comes_under_the_uris_of_the_metadata(shared_web: Web, name: str) -> None:
    path = kept(shared_web, wheel_file(name).read_bytes())
    metadata = shared_web.get(f"{path}/metadata").json()
    named = re.findall(r'"BulkDataURI": "([^"]+)"', json.dumps(metadata))
    answer = shared_web.get(f"{path}/bulkdata", RAW)
    assert answer.status_code == 200
    found = parts(answer)
    assert {headers["Content-Location"] for headers, _ in found} == set(named)
    for url in named:
        bodies = [body for headers, body in found if headers["Content-Location"] == url]
        one_by_one = shared_web.get(url.removeprefix(shared_web.root), RAW)
        assert [body for _, body in parts(one_by_one)] == bodies


def test_w57_bulk_data_of_a_series_and_a_study(shared_web: Web) -> None:
    files = [ct(31, series, instance) for series in (1, 2) for instance in (1, 2)]
    shared_web.keep(*files)
    pixels = [pydicom.dcmread(io.BytesIO(data)).PixelData for data in files]
    study, series = f"/studies/{uid(31)}", f"/studies/{uid(31)}/series/{uid(31, 2)}"
    assert [body for _, body in parts(shared_web.get(f"{study}/bulkdata", RAW))] == pixels
    assert [body for _, body in parts(shared_web.get(f"{series}/bulkdata"))] == pixels[2:]
    assert shared_web.get(f"{study}/bulkdata", OCTETS).status_code == 406
    assert shared_web.get(f"/studies/{uid(32)}/bulkdata").status_code == 404
    report = kept(shared_web, wheel_file("test-SR.dcm").read_bytes())
    assert shared_web.get(f"{report}/bulkdata").status_code == 404


def test_w58_the_pixel_data_of_instances_series_and_studies(shared_web: Web) -> None:
    first, second = (
        several_frames(
            3, StudyInstanceUID=uid(33), SeriesInstanceUID=uid(33, 1), SOPInstanceUID=uid(33, 1, 1), PatientID="P33"
        ),
        transcoded(ct(33, 1, 2), RLELossless),
    )
    shared_web.keep(first, second)
    frames = [*np.arange(3 * 64, dtype="<u2").reshape(3, 64), pydicom.dcmread(io.BytesIO(ct(33, 1, 2))).pixel_array]
    study, series = f"/studies/{uid(33)}", f"/studies/{uid(33)}/series/{uid(33, 1)}"
    for path, expected in (
        (study, frames),
        (series, frames),
        (path_of(first), frames[:3]),
        (path_of(second), frames[3:]),
    ):
        found = parts(shared_web.get(f"{path}/pixeldata", RAW))
        assert [body for _, body in found] == [frame.tobytes() for frame in expected]
        assert {headers["Content-Type"] for headers, _ in found} == {
            f"{OCTETS}; transfer-syntax={ExplicitVRLittleEndian}"
        }
    stored = parts(shared_web.get(f"{study}/pixeldata", RAW_ANY))
    assert [headers["Content-Type"].rpartition("=")[2] for headers, _ in stored] == [ExplicitVRLittleEndian] * 3 + [
        RLELossless
    ]
    assert [headers["Content-Location"] for headers, _ in stored] == [
        f"{shared_web.root}{path}" for path in
        (*(f"{path_of(first)}/frames/{number}" for number in (1, 2, 3)), f"{path_of(second)}/frames/1")
    ]  # fmt: skip
    images = shared_web.get(f"{study}/pixeldata", 'multipart/related; type="image/jls"')
    assert {headers["Content-Type"] for headers, _ in parts(images)} == {f"image/jls; transfer-syntax={JPEGLSLossless}"}
    alone = shared_web.get(f"{path_of(second)}/pixeldata", OCTETS)
    assert alone.content == frames[3].tobytes()
    assert shared_web.get(f"{study}/pixeldata", "video/mp4").status_code == 406
    report = kept(shared_web, wheel_file("test-SR.dcm").read_bytes())
    assert shared_web.get(f"{report}/pixeldata").status_code == 404


@pytest.mark.parametrize("name", ["MR_small_bigendian.dcm", "image_dfl.dcm", "CT_small.dcm", "MR_small_RLE.dcm"])
def test_w26_every_kind_of_pixels_can_be_had_in_ranges(shared_web: Web, name: str) -> None:
    url = f"{kept(shared_web, wheel_file(name).read_bytes())}/bulkdata/7FE00010"
    whole = shared_web.get(url, OCTETS)
    assert whole.headers["accept-ranges"] == "bytes"
    for first, last in ((0, 0), (7, 1000), (1001, 1001)):
        part = shared_web.get(url, OCTETS, Range=f"bytes={first}-{last}")
        assert (part.status_code, part.content) == (206, whole.content[first : last + 1])
    assert shared_web.get(url, OCTETS, Range="bytes=-5").content == whole.content[-5:]
    assert shared_web.get(url, OCTETS, Range="bytes=99999999-").status_code == 416


def test_w24_bulk_data_uris_begin_with_the_public_address(shared_web: Web) -> None:
    path = kept(shared_web, ct(34))
    settings = shared_web.archive.settings.model_copy(update={"public_url": "https://archive.example/pacs/"})
    with listening(Archive(shared_web.archive.database, shared_web.archive.blobs, settings)) as proxied:
        (found,) = proxied.get(f"{path}/metadata").json()
        headers, _ = single(proxied.get(f"{path}/frames/1"))
    assert found["7FE00010"]["BulkDataURI"] == f"https://archive.example/pacs/dicom-web{path}/bulkdata/7FE00010"
    assert headers["Content-Location"] == f"https://archive.example/pacs/dicom-web{path}/frames/1"


@pytest.mark.parametrize(
    ("path", "accept"),
    [("", ANY), ("", "application/dicom"), ("", "application/zip"), ("/metadata", None), ("/frames/1", None),
     ("/frames/1", OCTETS), ("/bulkdata/7FE00010", OCTETS), ("/bulkdata/7FE00010", RAW)],
)  # fmt: skip
def test_w59_head_tells_the_length(shared_web: Web, path: str, accept: str | None) -> None:
    url = kept(shared_web, ct(35)) + path
    given = {"Accept-Encoding": "identity"} | ({"Accept": accept} if accept else {})
    head = httpx.head(shared_web.root + url, headers=given)
    whole = shared_web.get(url, accept, Accept_Encoding="identity")
    assert (head.status_code, head.content) == (whole.status_code, b"") == (200, b"")
    assert head.headers["content-length"] == whole.headers["content-length"]
    if "boundary" not in head.headers["content-type"]:
        assert head.headers["content-type"] == whole.headers["content-type"]


def test_w59_head_of_a_study_makes_nothing(shared_web: Web) -> None:
    shared_web.keep(*(ct(36, 1, instance, size=1024) for instance in range(1, 6)))
    stored = httpx.head(f"{shared_web.root}/studies/{uid(36)}", headers={"Accept": ANY})
    assert int(stored.headers["content-length"]) == len(shared_web.get(f"/studies/{uid(36)}", ANY).content)
    made = httpx.head(f"{shared_web.root}/studies/{uid(36)}", headers={"Accept": ANY.replace("*", JPEGLSLossless)})
    assert made.status_code == 200
    assert single(shared_web.get(f"/studies/{uid(36)}/series/{uid(36, 1)}/instances/{uid(36, 1, 1)}", ANY))[1] == ct(
        36, 1, 1, size=1024
    )
