"""WADO-URI (PS3.18 chapter 9). The ids are those of the DICOMweb checklist in the project's design."""

import io

import httpx
import numpy as np
import pydicom
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless, RLELossless

from tests.dicom.files import wheel_file
from tests.dicomweb.conftest import Web
from tests.dicomweb.renditions import (
    RAMP,
    document,
    film,
    gif,
    jpeg,
    nothing_to_see,
    png,
    ramp,
    report,
    video,
    windowed,
)
from tests.make import uid

FULL = windowed(RAMP, 2048, 4096, "linear")
FIRST = {"requestType": "WADO", "studyUID": uid(1), "seriesUID": uid(1, 1), "objectUID": uid(1, 1, 1)}
DICOM = "application/dicom"


def get(web: Web, accept: str | None = None, **parameters: object) -> httpx.Response:
    """Ask for the tests' first instance, or what the parameters change of that; None takes one out."""
    asked = {name: value for name, value in (FIRST | parameters).items() if value is not None}
    headers = {"Accept": accept} if accept else {}
    return httpx.get(web.root.replace("/dicom-web", "/wado"), params=asked, headers=headers, timeout=60)


def kept(web: Web, name: str) -> tuple[pydicom.Dataset, dict[str, str]]:
    data = wheel_file(name).read_bytes()
    web.keep(data)
    ds = pydicom.dcmread(io.BytesIO(data))
    uids = {"studyUID": ds.StudyInstanceUID, "seriesUID": ds.SeriesInstanceUID, "objectUID": ds.SOPInstanceUID}
    return ds, {name: str(value) for name, value in uids.items()}


def test_u01_a_single_picture_is_a_jpeg_by_default(web: Web) -> None:
    web.keep(ramp())
    for accept in (None, "*/*", "image/avif,image/webp,image/*,*/*;q=0.8"):
        assert np.abs(jpeg(get(web, accept)).astype(int) - FULL).mean() < 2


def test_u02_the_file_itself(web: Web) -> None:
    data = ramp()
    web.keep(data)
    answer = get(web, contentType=DICOM)
    assert answer.headers["content-type"] == f"{DICOM}; transfer-syntax={ExplicitVRLittleEndian}"
    assert answer.content == data
    url = f"{web.root.replace('/dicom-web', '/wado')}?" + "&".join(f"{name}={value}" for name, value in FIRST.items())
    assert httpx.get(f"{url}&contentType=application%2Fdicom").content == data
    assert (
        httpx.get(f"{url}&contentType=application/dicom", headers={"Range": "bytes=128-131"}).content == data[128:132]
    )
    assert get(web, accept=DICOM).content == data


def test_u03_other_kinds_of_pictures(web: Web) -> None:
    web.keep(ramp())
    assert np.array_equal(png(get(web, contentType="image/png")), FULL)
    assert np.array_equal(png(get(web, contentType="image/jp2,image/png;q=0.5")), FULL)
    (still,), _ = gif(get(web, contentType="image/gif").content)
    assert np.array_equal(still, FULL)


def test_u04_what_is_missing_or_malformed_is_a_bad_request(web: Web) -> None:
    web.keep(film())
    wrong: list[dict[str, object]] = [
        *({name: None} for name in FIRST),
        *({name: "x"} for name in FIRST),
        *({"rows": value} for value in ("0", "-1", "x", "99999999")),
        *({"columns": value} for value in ("0", "1.5")),
        *({"region": value} for value in ("0,0,1", "0,0,2,1", "0.5,0,0.5,1", "a,b,c,d", "0,0,1,1,1")),
        {"windowCenter": "40"},
        {"windowWidth": "40"},
        {"windowCenter": "x", "windowWidth": "1"},
        {"windowCenter": "1", "windowWidth": "0"},
        *({"frameNumber": value} for value in ("0", "x", "5", "-1")),
        *({"imageQuality": value} for value in ("0", "101", "x")),
        {"annotation": "all"},
        {"transferSyntax": "x", "contentType": DICOM},
        {"contentType": DICOM, "rows": "10"},
        {"contentType": "nonsense"},
    ]
    for parameters in wrong:
        answer = get(web, **parameters)
        assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json"), parameters
        assert len(answer.json()["detail"]) > 20


def test_u05_what_is_not_there_is_404(web: Web) -> None:
    web.keep(ramp(1, 1), ramp(2, 1))
    for parameters in ({"objectUID": uid(9)}, {"seriesUID": uid(1, 2)}, {"studyUID": uid(2)}, {"source": "other"}):
        assert get(web, **parameters).status_code == 404


def test_u06_rows_columns_and_region(web: Web) -> None:
    web.keep(ramp())

    def shown(**parameters: object) -> np.ndarray:
        return png(get(web, contentType="image/png", **parameters))

    assert shown(rows=32).shape == (32, 32)
    assert shown(rows=100, columns=16).shape == (16, 16)
    assert np.array_equal(shown(region="0.25,0.5,0.75,1.0"), FULL[32:64, 16:48])
    assert shown(region="0.25,0.5,0.75,1.0", columns=64).shape == (64, 64)


def test_u07_one_frame_of_many(web: Web) -> None:
    web.keep(film())
    assert int(png(get(web, contentType="image/png", frameNumber=3))[0, 0]) == 30
    assert jpeg(get(web, frameNumber=2)).shape == (32, 32)
    assert get(web).headers["content-type"].startswith(DICOM), "of many frames the file is the usual form"
    frames, _ = gif(get(web, contentType="image/gif").content)
    assert len(frames) == 4


def test_u08_a_window(web: Web) -> None:
    web.keep(ramp())
    shown = png(get(web, contentType="image/png", windowCenter="1000.5", windowWidth="500"))
    assert np.array_equal(shown, windowed(RAMP, 1000.5, 500, "linear"))
    assert len(get(web, imageQuality=5).content) < len(get(web, imageQuality=100).content)


def test_u09_the_file_is_explicit_little_endian_unless_another_syntax_is_named(web: Web) -> None:
    for name in ("MR_small_implicit.dcm", "MR_small_bigendian.dcm", "MR_small_RLE.dcm", "JPEG2000.dcm"):
        ds, uids = kept(web, name)
        answer = get(web, contentType=DICOM, **uids)
        assert answer.headers["content-type"].endswith(f"transfer-syntax={ExplicitVRLittleEndian}")
        found = pydicom.dcmread(io.BytesIO(answer.content))
        assert found.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        assert np.array_equal(found.pixel_array, ds.pixel_array)
        again = httpx.get(answer.url, headers={"If-None-Match": answer.headers["etag"]})
        assert again.status_code == 304


def test_u09_another_transfer_syntax_by_its_uid_or_as_stored(web: Web) -> None:
    web.keep(ramp())
    for syntax in (RLELossless, JPEGLSLossless):
        found = pydicom.dcmread(io.BytesIO(get(web, contentType=DICOM, transferSyntax=syntax).content))
        assert found.file_meta.TransferSyntaxUID == syntax
        assert np.array_equal(found.pixel_array, RAMP)
    _, uids = kept(web, "JPEG2000.dcm")
    stored = get(web, contentType=DICOM, transferSyntax="*", **uids)
    assert stored.content == wheel_file("JPEG2000.dcm").read_bytes()


def test_u10_what_cannot_be_given_is_not_acceptable(web: Web) -> None:
    web.keep(ramp())
    refused: list[dict[str, object]] = [
        {"contentType": "text/html"},
        {"contentType": "image/webp"},
        {"anonymize": "yes"},
        {"annotation": "patient"},
        {"presentationUID": uid(5), "presentationSeriesUID": uid(6)},
        {"charset": "iso-8859-5"},
        {"contentType": DICOM, "transferSyntax": ImplicitVRLittleEndian},
        {"contentType": DICOM, "transferSyntax": "1.2.3"},
    ]
    for parameters in refused:
        assert get(web, **parameters).status_code == 406, parameters


def test_u01_reports_documents_videos_and_the_rest_have_their_usual_forms(web: Web) -> None:
    for data, usual, other in (
        (report(), "text/html; charset=utf-8", "text/plain"),
        (document(b"%PDF-1.4 "), "application/pdf", DICOM),
        (video(b"\0\0\0\x18ftypmp42" + bytes(400)), DICOM, "video/mp4"),
        (nothing_to_see(), DICOM, DICOM),
    ):
        web.keep(data)
        assert get(web).headers["content-type"].startswith(usual)
        assert get(web, contentType=other).headers["content-type"].startswith(other)


def test_w59_head_and_options(web: Web) -> None:
    web.keep(ramp())
    url = str(get(web).url)
    assert (httpx.head(url).status_code, httpx.head(url).content) == (200, b"")
    assert httpx.options(url).headers["allow"] == "GET, HEAD, OPTIONS"
    assert httpx.post(url).headers["allow"] == "GET, HEAD, OPTIONS"


def test_an_instance_by_its_uid_alone_is_converted_when_asked(web: Web) -> None:
    data = ramp()
    web.keep(data)
    url = web.root.replace("/dicom-web", f"/api/v1/imaging/wado/{uid(1, 1, 1)}")
    assert httpx.get(url).content == data
    answer = httpx.get(url, params={"transferSyntax": RLELossless})
    assert pydicom.dcmread(io.BytesIO(answer.content)).file_meta.TransferSyntaxUID == RLELossless
    assert httpx.get(url, params={"transferSyntax": "1.2.3"}).status_code == 406
    assert httpx.get(url, params={"transferSyntax": ExplicitVRLittleEndian}).content == data
