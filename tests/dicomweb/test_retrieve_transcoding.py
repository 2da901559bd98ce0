"""WADO-RS in another transfer syntax than the stored one: whole instances and frames, never with a bit less."""

import io
import tracemalloc

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit, RLELossless

from hilum.imaging.archive.convert import instance_bytes
from hilum.imaging.dicom.encode import HTJ2K, JPEG_2000, JPEG_LOSSLESS, JPEG_LOSSLESS_SV1, JPEG_LS, RLE
from hilum.imaging.dicomweb.resources import Target, find_instances
from tests.dicom.files import wheel_file, written
from tests.dicom.images import image_of
from tests.dicom.test_pixels import decoded
from tests.dicom.test_transcode import transcoded
from tests.dicomweb.conftest import Web, parts
from tests.dicomweb.test_wado import RAW, kept, several_frames, single
from tests.make import ct, uid

SYNTAXES = (JPEG_LOSSLESS, JPEG_LOSSLESS_SV1, JPEG_LS, JPEG_2000, HTJ2K, RLE)
MEDIA_TYPES = {
    JPEG_LOSSLESS_SV1: "image/jpeg", JPEG_LS: "image/jls", JPEG_2000: "image/jp2", HTJ2K: "image/jphc",
    RLE: "image/dicom-rle",
}  # fmt: skip
LITTLE = 'multipart/related; type="application/dicom"'
COMPRESSED = (
    "JPEG2000.dcm", "MR_small_RLE.dcm", "MR_small_jpeg_ls_lossless.dcm", "SC_rgb_jpeg_dcmtk.dcm",
    "SC_rgb_rle_2frame.dcm", "examples_ybr_color.dcm", "examples_jpeg2k.dcm",
)  # fmt: skip
NATIVE = ("CT_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "image_dfl.dcm", "examples_rgb_color.dcm",
          "SC_rgb_small_odd.dcm", "rtdose.dcm")  # fmt: skip


def file(name: str) -> bytes:
    return wheel_file(name).read_bytes()


def of(pixels: NDArray[np.generic], syntax: str = ExplicitVRLittleEndian, **attributes: object) -> bytes:
    return written(image_of(pixels, **attributes), syntax)


@pytest.mark.parametrize("name", COMPRESSED)
@pytest.mark.parametrize("accept", [LITTLE, "application/dicom", None])
def test_w05_without_a_transfer_syntax_an_instance_is_decoded(shared_web: Web, name: str, accept: str | None) -> None:
    data = file(name)
    answer = shared_web.get(kept(shared_web, data), accept)
    body = answer.content if accept == "application/dicom" else single(answer)[1]
    after = pydicom.dcmread(io.BytesIO(body))
    assert after.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert (
        after.file_meta.MediaStorageSOPInstanceUID
        == after.SOPInstanceUID
        == pydicom.dcmread(io.BytesIO(data)).SOPInstanceUID
    )
    assert np.array_equal(decoded(body), decoded(data))
    assert f"transfer-syntax={ExplicitVRLittleEndian}" in answer.text[:600] + answer.headers["content-type"]


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_implicit.dcm", "JPEG2000.dcm", "SC_rgb_rle_2frame.dcm"])
def test_w08_w08b_w08c_an_instance_is_encoded_in_the_transfer_syntax_that_is_named(
    shared_web: Web, name: str, syntax: str
) -> None:
    data = file(name)
    headers, body = single(shared_web.get(kept(shared_web, data), f"{LITTLE}; transfer-syntax={syntax}"))
    assert headers["Content-Type"] == f"application/dicom; transfer-syntax={syntax}"
    after = pydicom.dcmread(io.BytesIO(body))
    assert after.file_meta.TransferSyntaxUID == syntax
    assert np.array_equal(decoded(body), decoded(data))
    if syntax != HTJ2K:  # which pydicom has no decoder for
        assert np.array_equal(after.pixel_array, pydicom.dcmread(io.BytesIO(data)).pixel_array)


@pytest.mark.parametrize("name", NATIVE)
def test_w07_native_instances_lose_nothing_on_the_way_through_jpeg_2000(shared_web: Web, name: str) -> None:
    data = file(name)
    path = kept(shared_web, data)
    answer = shared_web.get(path, f"{LITTLE}; transfer-syntax={JPEG_2000}")
    if name == "rtdose.dcm":  # of 32 bits, which JPEG 2000 does not take here
        assert answer.status_code == 406
        assert RLE in answer.json()["detail"]
        return
    assert np.array_equal(decoded(single(answer)[1]), decoded(data))


def test_w08_lossy_compression_is_never_made(shared_web: Web) -> None:
    path = kept(shared_web, of(np.zeros((8, 8), np.uint8)))
    for syntax in (JPEGBaseline8Bit, "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.91"):
        assert shared_web.get(path, f"{LITTLE}; transfer-syntax={syntax}").status_code == 406
        assert shared_web.get(f"{path}/frames/1", f"{LITTLE}; transfer-syntax={syntax}").status_code == 406


def test_w08_what_was_lossy_stays_said(shared_web: Web) -> None:
    data = file("examples_ybr_color.dcm")
    ds = pydicom.dcmread(io.BytesIO(data))
    after = pydicom.dcmread(io.BytesIO(single(shared_web.get(kept(shared_web, data), LITTLE))[1]))
    assert after.get("LossyImageCompression") == ds.get("LossyImageCompression")
    assert (after.PhotometricInterpretation, after.PlanarConfiguration) == ("RGB", 0)


def test_w09_headers_that_lie_about_their_pixels_are_not_transcoded(shared_web: Web) -> None:
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    ds = image_of(pixels)
    ds.PixelData = encapsulate([b"\xff\xd8\xff no picture at all"])
    damaged = written(ds, JPEG2000Lossless)
    path = kept(shared_web, damaged)
    assert shared_web.get(path, LITTLE).status_code == 406
    assert single(shared_web.get(path, None))[1] == damaged
    ds = image_of(pixels.astype(np.uint16), BitsStored=12, HighBit=11)
    ds.add_new(0x60000100, "US", 16)
    ds.add_new(0x60000102, "US", 12)
    path = kept(shared_web, written(ds))
    assert shared_web.get(path, LITTLE).status_code == 200
    assert shared_web.get(path, f"{LITTLE}; transfer-syntax={JPEG_2000}").status_code == 406


def test_w08_w13_a_series_is_transcoded_as_far_as_it_can_be(shared_web: Web) -> None:
    video = pydicom.dcmread(io.BytesIO(ct(21, 1, 3)))
    video.PixelData = encapsulate([b"a film"])
    shared_web.keep(ct(21, 1, 1), transcoded(ct(21, 1, 2), JPEG_LS), written(video, "1.2.840.10008.1.2.4.102"))
    answer = shared_web.get(f"/studies/{uid(21)}", f"{LITTLE}; transfer-syntax={RLELossless}")
    assert answer.status_code == 206
    found = parts(answer)
    assert [headers["Content-Type"].rpartition("=")[2] for headers, _ in found] == [RLELossless, RLELossless]
    for instance, (_, body) in enumerate(found, 1):
        assert np.array_equal(decoded(body), decoded(ct(21, 1, instance)))
    whole = shared_web.get(
        f"/studies/{uid(21)}", f"{LITTLE}; transfer-syntax={RLELossless}, {LITTLE}; transfer-syntax=*;q=0.5"
    )
    assert (whole.status_code, len(parts(whole))) == (200, 3)


def test_w08_many_frames_are_transcoded_one_at_a_time(shared_web: Web) -> None:
    pixels = np.random.default_rng(1).integers(0, 4000, (400, 128, 128), dtype=np.uint16)
    path = kept(shared_web, transcoded(of(pixels), RLE))
    study, series, instance = path.split("/")[2::2]
    with shared_web.archive.database.connect() as connection:
        (row,) = find_instances(connection, Target("default", study, series, instance))
    tracemalloc.start()
    size = sum(len(chunk) for chunk in instance_bytes(shared_web.archive, row, ExplicitVRLittleEndian))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size > pixels.nbytes
    assert peak < pixels.nbytes / 4


@pytest.mark.parametrize("name", COMPRESSED)
def test_w38_frames_without_a_transfer_syntax_are_decoded(shared_web: Web, name: str) -> None:
    data = file(name)
    headers, body = single(shared_web.get(f"{kept(shared_web, data)}/frames/1", RAW))
    assert headers["Content-Type"] == f"application/octet-stream; transfer-syntax={ExplicitVRLittleEndian}"
    ds = pydicom.dcmread(io.BytesIO(data))
    assert len(body) == ds.Rows * ds.Columns * ds.SamplesPerPixel * ds.BitsAllocated // 8


@pytest.mark.parametrize("syntax", MEDIA_TYPES)
@pytest.mark.parametrize("name", ["CT_small.dcm", "JPEG2000.dcm", "SC_rgb_small_odd.dcm"])
def test_w39_frames_are_encoded_in_the_media_type_that_is_named(shared_web: Web, name: str, syntax: str) -> None:
    data = file(name)
    path = f"{kept(shared_web, data)}/frames/1"
    media_type = MEDIA_TYPES[syntax]
    headers, body = single(shared_web.get(path, f'multipart/related; type="{media_type}"; transfer-syntax={syntax}'))
    assert headers["Content-Type"] == f"{media_type}; transfer-syntax={syntax}"
    stored = pydicom.dcmread(io.BytesIO(data)).file_meta.TransferSyntaxUID
    default = single(shared_web.get(path, f'multipart/related; type="{media_type}"'))
    own = {"1.2.840.10008.1.2.4.91": "image/jp2", "1.2.840.10008.1.2.4.90": "image/jp2"}.get(stored)
    assert default[0]["Content-Type"].endswith(stored if own == media_type else syntax)
    ds = pydicom.dcmread(io.BytesIO(data))
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = encapsulate([body])
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    if ds.SamplesPerPixel == 3:
        ds.PlanarConfiguration = 0
    out = io.BytesIO()
    pydicom.dcmwrite(out, ds)
    assert np.array_equal(decoded(out.getvalue()), decoded(data))


def test_w39_a_frame_in_a_media_type_may_come_alone_and_in_ranges(shared_web: Web) -> None:
    path = f"{kept(shared_web, ct(23))}/frames/1"
    answer = shared_web.get(path, "image/jls")
    assert answer.headers["content-type"] == f"image/jls; transfer-syntax={JPEG_LS}"
    assert answer.headers["content-location"] == shared_web.root + path
    part = shared_web.get(path, "image/jls", Range="bytes=2-9")
    assert (part.status_code, part.content) == (206, answer.content[2:10])


@pytest.mark.parametrize("listed", [range(1, 3001), range(3000, 0, -1)])
def test_w34_thousands_of_frames_in_one_request(shared_web: Web, listed: range) -> None:
    pixels = np.arange(3000 * 16, dtype=np.uint16).reshape(3000, 4, 4)
    for data in (of(pixels), transcoded(of(pixels), RLE)):
        answer = shared_web.get(f"{kept(shared_web, data)}/frames/{','.join(map(str, listed))}", RAW)
        assert b"".join(body for _, body in parts(answer)) == pixels[[number - 1 for number in listed]].tobytes()


def test_w34_a_list_without_end_is_refused(shared_web: Web) -> None:
    path = kept(shared_web, ct(24))
    assert shared_web.get(f"{path}/frames/{'1,' * 10_000}1").status_code == 400


@pytest.mark.parametrize("table", ["none", "basic", "extended"])
def test_w33_frames_are_found_by_any_offset_table(shared_web: Web, table: str) -> None:
    frames = [bytes([number]) * (2 * number + 2) for number in range(1, 6)]
    ds = pydicom.dcmread(io.BytesIO(several_frames(5)))
    ds.StudyInstanceUID, ds.SOPInstanceUID = uid(25), uid(25, 1, len(table))
    if table == "extended":
        ds.PixelData, ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths = pydicom.encaps.encapsulate_extended(
            frames
        )
    else:
        ds.PixelData = encapsulate(frames, has_bot=table == "basic")
    ds["PixelData"].VR = "OB"
    path = kept(shared_web, written(ds, JPEGBaseline8Bit))
    answer = shared_web.get(f"{path}/frames/5,1,3", f"{RAW}; transfer-syntax=*")
    assert [body for _, body in parts(answer)] == [frames[4], frames[0], frames[2]]
