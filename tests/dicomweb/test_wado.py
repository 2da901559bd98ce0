"""WADO-RS (PS3.18 section 10.4). The ids are those of the DICOMweb checklist in the project's design."""

import io
from pathlib import Path

import httpx
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit

from tests.dicom.files import wheel_file
from tests.dicomweb.conftest import Web, parts
from tests.make import ct, uid, written

INSTANCE = f"/studies/{uid(1)}/series/{uid(1, 1)}/instances/{uid(1, 1, 1)}"
ANY = 'multipart/related; type="application/dicom"; transfer-syntax=*'
LITTLE = 'multipart/related; type="application/dicom"'
RAW = 'multipart/related; type="application/octet-stream"'
RAW_ANY = "multipart/related; type=application/octet-stream; transfer-syntax=*"
JSON = "application/dicom+json"
VIDEO = "1.2.840.10008.1.2.4.102"


def path_of(data: bytes) -> str:
    ds = pydicom.dcmread(io.BytesIO(data), force=True, stop_before_pixels=True)
    return f"/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}/instances/{ds.SOPInstanceUID}"


def file(name: str) -> bytes:
    return wheel_file(name).read_bytes()


def kept(web: Web, data: bytes) -> str:
    web.keep(data)
    return path_of(data)


def single(answer: httpx.Response) -> tuple[dict[str, str], bytes]:
    assert answer.status_code in (200, 206), answer.text
    (part,) = parts(answer)
    return part


def several_frames(frames: int = 3, **attributes: object) -> bytes:
    pixels = np.arange(frames * 64, dtype="<u2").tobytes()
    return ct(NumberOfFrames=frames, PixelData=pixels, PixelRepresentation=0, **attributes)


# In the service that tests share there are these, ct(1) and ct(2), and nothing else.
FRAMES = several_frames(
    StudyInstanceUID=uid(50), SeriesInstanceUID=uid(50, 1), SOPInstanceUID=uid(50, 1, 1), PatientID="P50"
)


def video() -> bytes:
    """An instance that can only be given as it is."""
    ds = pydicom.dcmread(io.BytesIO(ct(1, 2, 1)))
    ds.file_meta.TransferSyntaxUID = VIDEO
    ds.PixelData = encapsulate([b"no picture at all"])
    ds["PixelData"].VR = "OB"
    return written(ds)


def test_w01_w07b_an_instance_comes_back_byte_by_byte(web: Web) -> None:
    data = ct()
    path = kept(web, data)
    answer = web.get(path, ANY)
    headers, body = single(answer)
    assert answer.headers["content-type"].startswith('multipart/related; type="application/dicom"; boundary=')
    assert headers["Content-Type"] == f"application/dicom; transfer-syntax={ExplicitVRLittleEndian}"
    assert headers["Content-Location"] == web.root + path
    assert body == data


@pytest.mark.parametrize(
    "accept", [None, "*/*", LITTLE, "multipart/related; type=application/dicom", 'multipart/related;type="*/*"']
)
def test_w02_w03_w04_w14_the_usual_ways_to_ask_work(shared_web: Web, accept: str | None) -> None:
    data = ct()
    assert single(shared_web.get(kept(shared_web, data), accept))[1] == data


def test_w12_one_instance_may_come_alone_and_in_ranges(web: Web) -> None:
    data = ct()
    path = kept(web, data)
    answer = web.get(path, "application/dicom")
    assert answer.headers["content-type"] == f"application/dicom; transfer-syntax={ExplicitVRLittleEndian}"
    assert answer.content == data
    again = web.get(path, "application/dicom", If_None_Match=answer.headers["etag"])
    assert again.status_code == 304
    part = web.get(path, "application/dicom", Range="bytes=128-131")
    assert (part.status_code, part.content) == (206, b"DICM")


def test_w01_studies_and_series_come_whole(web: Web) -> None:
    data = [ct(1, series, instance) for series in (1, 2) for instance in (1, 2)]
    web.keep(*data, ct(2))
    assert [body for _, body in parts(web.get(f"/studies/{uid(1)}", ANY))] == data
    assert [body for _, body in parts(web.get(f"/studies/{uid(1)}/series/{uid(1, 2)}", ANY))] == data[2:]


def test_w01_a_large_series_is_streamed_whole(web: Web) -> None:
    data = [ct(1, 1, instance, size=1024) for instance in range(1, 5)]
    web.keep(*data)
    answer = web.get(f"/studies/{uid(1)}/series/{uid(1, 1)}", ANY)
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert [body for _, body in parts(answer)] == data


@pytest.mark.parametrize("path", [f"/studies/{uid(1)}", f"/studies/{uid(1)}/series/{uid(1, 1)}"])
def test_w13_more_than_an_instance_does_not_come_alone(shared_web: Web, path: str) -> None:
    shared_web.keep(ct())
    assert shared_web.get(path, "application/dicom").status_code == 406


@pytest.mark.parametrize("name", ["MR_small_implicit.dcm", "MR_small_bigendian.dcm", "image_dfl.dcm"])
@pytest.mark.parametrize("accept", [LITTLE, "application/dicom"])
def test_w05_w07_native_instances_are_given_in_explicit_little_endian(web: Web, name: str, accept: str) -> None:
    data = file(name)
    answer = web.get(kept(web, data), accept)
    body = answer.content if accept == "application/dicom" else single(answer)[1]
    before, after = pydicom.dcmread(io.BytesIO(data)), pydicom.dcmread(io.BytesIO(body))
    assert after.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert np.array_equal(before.pixel_array, after.pixel_array)


@pytest.mark.parametrize("name", ["MR_small_implicit.dcm", "MR_small_bigendian.dcm"])
def test_w05_implicit_and_big_endian_never_leave(web: Web, name: str) -> None:
    headers, body = single(web.get(kept(web, file(name)), ANY))
    assert headers["Content-Type"].endswith(ExplicitVRLittleEndian)
    assert pydicom.dcmread(io.BytesIO(body)).file_meta.TransferSyntaxUID == ExplicitVRLittleEndian


@pytest.mark.parametrize("name", ["JPEG2000.dcm", "MR_small_RLE.dcm", "image_dfl.dcm", "SC_rgb_jpeg_dcmtk.dcm"])
def test_w06_everything_else_is_given_as_stored_when_any_syntax_will_do(web: Web, name: str) -> None:
    data = file(name)
    headers, body = single(web.get(kept(web, data), ANY))
    assert headers["Content-Type"].endswith(pydicom.dcmread(io.BytesIO(data)).file_meta.TransferSyntaxUID)
    assert body == data


@pytest.mark.parametrize(
    "accept", [LITTLE, "text/html", 'multipart/related; type="application/dicom"; transfer-syntax=1.2.3']
)
def test_w09_w10_what_cannot_be_given_is_not_acceptable(web: Web, accept: str) -> None:
    answer = web.get(kept(web, video()), accept)
    assert answer.status_code == 406
    assert f"transfer-syntax={VIDEO}" in answer.json()["detail"]


def test_w08_a_study_of_which_only_some_can_be_given_is_partial(web: Web) -> None:
    web.keep(ct(), video())
    answer = web.get(f"/studies/{uid(1)}", LITTLE)
    assert answer.status_code == 206
    assert [body for _, body in parts(answer)] == [ct()]


def test_what_was_indexed_in_place_and_is_gone_is_said_to_be(web: Web, tmp_path: Path) -> None:
    for number in (1, 2):
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(ct(1, 1, number))
        with web.archive.batch(web.archive.source(), "import") as batch:
            batch.index(path.name, str(path))
            batch.commit()
    (tmp_path / "1.dcm").unlink()
    answer = web.get(f"/studies/{uid(1)}", ANY)
    assert answer.status_code == 206
    assert [body for _, body in parts(answer)] == [ct(1, 1, 2)]
    assert web.get(INSTANCE, ANY).status_code == 410
    assert web.get(f"{INSTANCE}/frames/1").status_code == 410
    metadata = web.get(f"/studies/{uid(1)}/metadata")
    assert (metadata.status_code, len(metadata.json())) == (206, 1)
    (tmp_path / "1.dcm").write_bytes(ct(1, 1, 1))
    assert web.get(INSTANCE, ANY).status_code == 410, "another file of the same name is not trusted"


@pytest.mark.parametrize(
    "path",
    [
        f"/studies/{uid(9)}", f"/studies/{uid(1)}/series/{uid(2, 1)}", f"/studies/{uid(2)}/series/{uid(1, 1)}",
        f"/studies/{uid(2)}/series/{uid(2, 1)}/instances/{uid(1, 1, 1)}", f"/studies/{uid(9)}/metadata",
        f"/studies/{uid(1)}/series/{uid(2, 1)}/metadata", f"{INSTANCE}9/metadata", f"{INSTANCE}9/frames/1",
        f"{INSTANCE}/frames/2", f"{INSTANCE}/bulkdata/00091001", f"{INSTANCE}/bulkdata/nonsense",
        f"{INSTANCE}/bulkdata/7FE00008", f"{INSTANCE}/bulkdata/00081140/1/00081150",
    ],
)  # fmt: skip
def test_w16_w32_w36_what_is_not_there_is_404(shared_web: Web, path: str) -> None:
    shared_web.keep(ct(1), ct(2))
    answer = shared_web.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "path", ["/studies/abc", "/studies/1.2/series/x/metadata", f"/studies/{'1' * 65}", "/studies/%00"]
)
def test_w17_what_is_no_uid_is_400(shared_web: Web, path: str) -> None:
    assert shared_web.get(path).status_code == 400


@pytest.mark.parametrize("path", [f"/studies/{uid(1)}", f"/studies/{uid(1)}/series/{uid(1, 1)}", INSTANCE])
def test_w18_w19_metadata_has_the_data_set_without_pixels(shared_web: Web, path: str) -> None:
    shared_web.keep(ct())
    answer = shared_web.get(f"{path}/metadata", JSON)
    assert answer.headers["content-type"] == JSON
    (found,) = answer.json()
    assert not any(tag.startswith("0002") for tag in found)
    assert found["7FE00010"] == {"vr": "OW", "BulkDataURI": f"{shared_web.root}{INSTANCE}/bulkdata/7FE00010"}
    assert found["00083002"]["Value"] == [ExplicitVRLittleEndian]
    theirs = pydicom.dcmread(io.BytesIO(ct()))
    ours = Dataset.from_json(found, bulk_data_uri_handler=lambda _: theirs.PixelData)
    del ours[0x00083002]
    assert ours == theirs


def test_w18_metadata_of_a_study_holds_all_its_instances(web: Web) -> None:
    web.keep(*(ct(1, series, instance) for series in (1, 2) for instance in (1, 2)))
    found = web.get(f"/studies/{uid(1)}/metadata").json()
    assert [one["00080018"]["Value"][0] for one in found] == [uid(1, s, i) for s in (1, 2) for i in (1, 2)]


def test_w30_metadata_is_conditional_and_changes_with_every_instance(web: Web) -> None:
    web.keep(ct())
    path = f"/studies/{uid(1)}/series/{uid(1, 1)}/metadata"
    first = web.get(path)
    assert web.get(path, If_None_Match=first.headers["etag"]).status_code == 304
    web.keep(ct(1, 1, 2))
    second = web.get(path, If_None_Match=first.headers["etag"])
    assert (second.status_code, len(second.json())) == (200, 2)
    web.keep(ct(1, 1, 2, SliceThickness="5"))
    third = web.get(path, If_None_Match=second.headers["etag"])
    assert [one["00180050"]["Value"] for one in third.json()] == [[2.5], [5]]


def test_w31_metadata_is_compressed_for_those_who_ask(web: Web) -> None:
    web.keep(*(ct(1, 1, instance) for instance in range(1, 20)))
    path = f"/studies/{uid(1)}/series/{uid(1, 1)}/metadata"
    compressed, plain = web.get(path, Accept_Encoding="gzip"), web.get(path, Accept_Encoding="identity")
    assert compressed.headers["content-encoding"] == "gzip"
    assert int(compressed.headers["content-length"]) < len(plain.content) / 5
    assert compressed.json() == plain.json()
    assert compressed.headers["etag"] != plain.headers["etag"]


def test_metadata_names_bulk_data_by_the_address_that_was_asked(web: Web) -> None:
    web.keep(ct())
    path = f"/studies/{uid(1)}/series/{uid(1, 1)}/metadata"
    for host in ("127.0.0.1", "localhost", "127.0.0.1"):
        root = web.root.replace("127.0.0.1", host)
        (found,) = Web(root, web.archive).get(path).json()
        assert found["7FE00010"]["BulkDataURI"].startswith(f"{root}/studies/")


@pytest.mark.parametrize(
    "accept", ["text/plain", "application/dicom+xml", 'multipart/related; type="application/dicom"']
)
def test_w28_metadata_in_another_form_is_not_acceptable(shared_web: Web, accept: str) -> None:
    shared_web.keep(ct())
    assert shared_web.get(f"/studies/{uid(1)}/metadata", accept).status_code == 406


@pytest.mark.parametrize(
    "name",
    ["CT_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "image_dfl.dcm", "liver_expb_1frame.dcm",
     "SC_rgb_small_odd_big_endian.dcm", "rtdose_expb_1frame.dcm"],
)  # fmt: skip
def test_w24_w25_w26_the_pixels_are_bulk_data_in_little_endian(web: Web, name: str) -> None:
    data = file(name)
    path = kept(web, data)
    (metadata,) = web.get(f"{path}/metadata").json()
    url = metadata["7FE00010"]["BulkDataURI"].removeprefix(web.root)
    headers, body = single(web.get(url, 'multipart/related; type="application/octet-stream"'))
    assert headers["Content-Type"] == "application/octet-stream"
    alone = web.get(url, "application/octet-stream")
    assert alone.content == body
    ds = pydicom.dcmread(io.BytesIO(data))
    pixels = ds.pixel_array
    if ds.BitsAllocated > 1:
        assert body[: pixels.nbytes] == pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    else:
        assert np.array_equal(
            np.unpackbits(np.frombuffer(body, "u1"), bitorder="little")[: pixels.size], pixels.ravel()
        )


def test_w22_w23_w24_other_bulk_data_is_served_by_its_path(web: Web) -> None:
    data = file("waveform_ecg.dcm")
    path = kept(web, data)
    (metadata,) = web.get(f"{path}/metadata").json()
    item = metadata["54000100"]["Value"][0]
    url = item["54001010"]["BulkDataURI"].removeprefix(web.root)
    expected = pydicom.dcmread(io.BytesIO(data)).WaveformSequence[0].WaveformData
    assert single(web.get(url, RAW))[1] == expected
    part = web.get(url, "application/octet-stream", Range="bytes=10-19")
    assert (part.status_code, part.content) == (206, expected[10:20])


def test_compressed_pixels_are_bulk_data_frame_by_frame(web: Web) -> None:
    data = file("SC_rgb_rle_2frame.dcm")
    path = kept(web, data)
    ds = pydicom.dcmread(io.BytesIO(data))
    answer = web.get(f"{path}/bulkdata/7FE00010", 'multipart/related; type="*/*"')
    assert [body for _, body in parts(answer)] == list(generate_frames(ds.PixelData, number_of_frames=2))
    assert {headers["Content-Type"] for headers, _ in parts(answer)} == {
        f"application/octet-stream; transfer-syntax={ds.file_meta.TransferSyntaxUID}"
    }
    assert web.get(f"{path}/bulkdata/7FE00010", "application/octet-stream").status_code == 406


@pytest.mark.parametrize(
    ("listed", "numbers"), [("1", [1]), ("3", [3]), ("1,3", [1, 3]), ("3%2C1", [3, 1]), ("2,2", [2, 2])]
)
def test_w33_w34_w34b_w34c_frames_come_in_the_order_asked(shared_web: Web, listed: str, numbers: list[int]) -> None:
    path = kept(shared_web, FRAMES)
    answer = shared_web.get(f"{path}/frames/{listed}", RAW)
    pixels = np.arange(3 * 64, dtype="<u2").reshape(3, 64)
    assert [body for _, body in parts(answer)] == [pixels[number - 1].tobytes() for number in numbers]
    assert [headers["Content-Location"] for headers, _ in parts(answer)] == [
        f"{shared_web.root}{path}/frames/{number}" for number in numbers
    ]


@pytest.mark.parametrize("listed", ["0", "abc", "1,", ",1", "1,,2", "-1", "1.5", "1;2", "1,0", "9" * 30, "%20"])
def test_w35_w37_what_is_no_list_of_frames_is_400(shared_web: Web, listed: str) -> None:
    assert shared_web.get(f"{kept(shared_web, FRAMES)}/frames/{listed}").status_code == 400


@pytest.mark.parametrize("listed", ["4", "1,4", "999999999"])
def test_w36_a_frame_beyond_the_last_is_404(shared_web: Web, listed: str) -> None:
    assert shared_web.get(f"{kept(shared_web, FRAMES)}/frames/{listed}").status_code == 404


@pytest.mark.parametrize("accept", [None, "*/*", RAW, RAW_ANY])
def test_w40_w41_native_frames_say_that_they_are_little_endian(shared_web: Web, accept: str | None) -> None:
    answer = shared_web.get(f"{kept(shared_web, ct())}/frames/1", accept)
    headers, body = single(answer)
    assert headers["Content-Type"] == f"application/octet-stream; transfer-syntax={ExplicitVRLittleEndian}"
    assert body == pydicom.dcmread(io.BytesIO(ct())).PixelData
    assert b"\r\nContent-Type: application/octet-stream; transfer-syntax=" in answer.content


@pytest.mark.parametrize(
    "name",
    [
        "JPEG2000.dcm",
        "MR_small_RLE.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "SC_rgb_rle_2frame.dcm",
        "examples_ybr_color.dcm",
    ],
)
@pytest.mark.parametrize("accept", [None, RAW_ANY, 'multipart/related; type="image/*"'])
def test_w39_w40b_w40c_compressed_frames_are_given_as_stored(web: Web, name: str, accept: str | None) -> None:
    data = file(name)
    ds = pydicom.dcmread(io.BytesIO(data))
    count = int(ds.get("NumberOfFrames", 1))
    path = kept(web, data)
    for number, expected in enumerate(generate_frames(ds.PixelData, number_of_frames=count), 1):
        headers, body = single(web.get(f"{path}/frames/{number}", accept))
        assert headers["Content-Type"].endswith(f"; transfer-syntax={ds.file_meta.TransferSyntaxUID}")
        assert body == expected


def test_w39_a_frame_by_its_own_media_type_is_an_image(web: Web) -> None:
    data = file("SC_rgb_jpeg_dcmtk.dcm")
    answer = web.get(f"{kept(web, data)}/frames/1", "image/jpeg")
    assert answer.headers["content-type"] == f"image/jpeg; transfer-syntax={JPEGBaseline8Bit}"
    assert answer.content.startswith(b"\xff\xd8\xff")


def test_w33_a_frame_in_several_fragments_is_joined(web: Web) -> None:
    frames = [b"\xff\xd8\xff" + bytes([number]) * 997 for number in range(3)]
    ds = pydicom.dcmread(io.BytesIO(several_frames()))
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    ds.PixelData = encapsulate(frames, fragments_per_frame=2)
    ds["PixelData"].VR = "OB"
    path = kept(web, written(ds))
    for number, frame in enumerate(frames, 1):
        assert single(web.get(f"{path}/frames/{number}", RAW_ANY))[1] == frame


@pytest.mark.parametrize(
    "name",
    ["MR_small_bigendian.dcm", "rtdose_expb.dcm", "SC_rgb_small_odd_big_endian.dcm", "MR_small_implicit.dcm",
     "image_dfl.dcm", "rtdose.dcm"],
)  # fmt: skip
def test_native_frames_are_given_in_little_endian(web: Web, name: str) -> None:
    data = file(name)
    path = kept(web, data)
    ds = pydicom.dcmread(io.BytesIO(data))
    pixels = ds.pixel_array if int(ds.get("NumberOfFrames", 1)) > 1 else ds.pixel_array[np.newaxis]
    for number in {1, len(pixels)}:
        expected = pixels[number - 1]
        for accept in (RAW, RAW_ANY):
            body = single(web.get(f"{path}/frames/{number}", accept))[1]
            assert body == expected.astype(expected.dtype.newbyteorder("<")).tobytes()


@pytest.mark.parametrize("big_endian", [False, True])
def test_frames_of_single_bits_begin_at_a_byte_each(web: Web, big_endian: bool) -> None:
    bits = np.random.default_rng(3).integers(0, 2, (5, 7, 9), dtype="u1")
    packed = np.packbits(bits.ravel(), bitorder="little").tobytes()
    packed += b"\0" * (len(packed) % 2)
    attributes = {
        "NumberOfFrames": 5,
        "BitsAllocated": 1,
        "BitsStored": 1,
        "HighBit": 0,
        "PixelRepresentation": 0,
        "Rows": 7,
        "Columns": 9,
    }
    ds = pydicom.dcmread(io.BytesIO(ct(**attributes, PixelData=packed)))
    if big_endian:
        ds.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        ds.PixelData = np.frombuffer(packed, "<u2").astype(">u2").tobytes()
        ds["PixelData"].VR = "OW"
        out = io.BytesIO()
        pydicom.dcmwrite(out, ds, implicit_vr=False, little_endian=False)
        path = kept(web, out.getvalue())
    else:
        ds["PixelData"].VR = "OB"
        path = kept(web, written(ds))
    for number in range(1, 6):
        body = single(web.get(f"{path}/frames/{number}", RAW_ANY))[1]
        assert np.array_equal(
            np.unpackbits(np.frombuffer(body, "u1"), bitorder="little")[:63], bits[number - 1].ravel()
        )


def test_w42_one_frame_may_come_alone(web: Web) -> None:
    path = kept(web, several_frames())
    answer = web.get(f"{path}/frames/2", "application/octet-stream")
    assert answer.headers["content-type"] == f"application/octet-stream; transfer-syntax={ExplicitVRLittleEndian}"
    assert answer.content == np.arange(64, 128, dtype="<u2").tobytes()
    assert web.get(f"{path}/frames/1,2", "application/octet-stream").status_code == 406


def test_frames_are_conditional(web: Web) -> None:
    path = kept(web, several_frames())
    first = web.get(f"{path}/frames/1")
    assert web.get(f"{path}/frames/1", If_None_Match=first.headers["etag"]).status_code == 304
    assert web.get(f"{path}/frames/2", If_None_Match=first.headers["etag"]).status_code == 200
    assert (
        web.get(f"{path}/frames/1", "application/octet-stream", If_None_Match=first.headers["etag"]).status_code == 200
    )


@pytest.mark.parametrize("name", ["rtplan.dcm", "test-SR.dcm"])
def test_w43_what_has_no_pixels_has_no_frames(web: Web, name: str) -> None:
    path = kept(web, file(name))
    assert web.get(f"{path}/frames/1").status_code == 404
    assert web.get(f"{path}/bulkdata/7FE00010").status_code == 404
    assert single(web.get(path))[0]["Content-Type"].endswith(ExplicitVRLittleEndian)


def test_w59_head_tells_without_a_body(web: Web) -> None:
    web.keep(ct())
    for path in ("/studies", f"/studies/{uid(1)}/metadata", INSTANCE):
        answer = httpx.head(web.root + path)
        assert (answer.status_code, answer.content) == (200, b"")


def test_implicit_private_data_survives(web: Web) -> None:
    ds = pydicom.dcmread(io.BytesIO(ct()))
    block = ds.private_block(0x0011, "HILUM TEST", create=True)
    block.add_new(1, "LO", "kept")
    ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    out = io.BytesIO()
    pydicom.dcmwrite(out, ds, implicit_vr=True, little_endian=True)
    body = single(web.get(kept(web, out.getvalue()), LITTLE))[1]
    after = pydicom.dcmread(io.BytesIO(body))
    assert after[0x00111001].value in ("kept", b"kept")
