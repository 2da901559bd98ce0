"""What web viewers show wrongly is given so that a reader who knows nothing but the metadata shows it right."""

import struct

import imagecodecs
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
)

from hilum.imaging.dicom import encode
from tests.dicom.files import wheel, wheel_file, written
from tests.dicom.images import image_of, more_image
from tests.dicom.test_pixels import decoded, images
from tests.dicom.test_transcode import transcoded
from tests.dicomweb.conftest import Web
from tests.dicomweb.test_wado import RAW, RAW_ANY, kept, single

Json = dict[str, dict[str, list[object]]]


def given(web: Web, data: bytes, frame: int = 1, accept: str = RAW_ANY) -> tuple[Json, str, bytes]:
    """Metadata, transfer syntax and bytes of a frame, asked for as Cornerstone does."""
    path = kept(web, data)
    headers, body = single(web.get(f"{path}/frames/{frame}", accept))
    syntax = headers["Content-Type"].rpartition("transfer-syntax=")[2]
    return web.get(f"{path}/metadata").json()[0], syntax, body


def plainly(metadata: Json, body: bytes) -> NDArray[np.generic]:
    """Uncompressed samples by the metadata alone, without a mask, a shift or a turn of bytes; as red, green, blue."""

    def value(tag: str, default: object) -> int:
        return int(str(metadata.get(tag, {}).get("Value", [default])[0]))

    rows, columns, samples, bits = (value(tag, 1) for tag in ("00280010", "00280011", "00280002", "00280100"))
    if bits == 1:
        return np.unpackbits(np.frombuffer(body, np.uint8), bitorder="little")[: rows * columns].reshape(rows, columns)
    pixels = np.frombuffer(body, f"<{'i' if value('00280103', 0) else 'u'}{bits // 8}")
    assert pixels.size == rows * columns * samples
    assert value("00280102", bits - 1) == value("00280101", bits) - 1
    if samples == 1:
        return pixels.reshape(rows, columns)
    planes = value("00280006", 0)
    pixels = pixels.reshape(3, rows, columns).transpose(1, 2, 0) if planes else pixels.reshape(rows, columns, 3)
    photometric = metadata["00280004"]["Value"][0]
    if photometric == "YBR_FULL":
        luminance, blue, red = np.moveaxis(pixels.astype(np.float64), 2, 0)
        blue, red = blue - 128, red - 128
        green = luminance - (0.114 * 1.772 * blue + 0.299 * 1.402 * red) / 0.587
        rgb = np.stack((luminance + 1.402 * red, green, luminance + 1.772 * blue), axis=2)
        return np.clip(np.floor(rgb + 0.5), 0, 255).astype(np.uint8)
    assert photometric == "RGB"
    return pixels


def right(web: Web, data: bytes) -> None:
    metadata, syntax, body = given(web, data)
    assert syntax == ExplicitVRLittleEndian
    assert metadata["00083002"]["Value"] == [ExplicitVRLittleEndian]
    expected = decoded(data)
    count = int(str(metadata.get("00280008", {}).get("Value", [1])[0]))
    expected = expected[0] if count > 1 else expected
    shown = plainly(metadata, body)
    assert np.array_equal(shown, expected)
    assert shown.dtype == expected.dtype.newbyteorder("<")


def compressed(data_set: Dataset, frame: bytes, syntax: str) -> bytes:
    data_set.PixelData = encapsulate([frame])
    data_set["PixelData"].VR = "OB"
    data_set["PixelData"].is_undefined_length = True
    return written(data_set, syntax)


@pytest.mark.parametrize("name", ["JPGExtended.dcm", "JPEG-lossy.dcm"])
def test_jpeg_of_twelve_bits_is_given_decoded(web: Web, name: str) -> None:
    data = wheel_file(name).read_bytes()
    assert pydicom.dcmread(wheel_file(name)).file_meta.TransferSyntaxUID == JPEGExtended12Bit
    right(web, data)
    stored = f"multipart/related; type=application/octet-stream; transfer-syntax={JPEGExtended12Bit}"
    assert given(web, data, accept=stored)[1] == JPEGExtended12Bit  # whoever names it, has it as it is
    assert given(web, data, accept='multipart/related; type="image/jpeg"')[2].startswith(b"\xff\xd8")


@pytest.mark.parametrize("name", ["image_dfl.dcm"])
def test_deflated_files_are_given_inflated(web: Web, name: str) -> None:
    right(web, wheel_file(name).read_bytes())


@pytest.mark.parametrize(
    "name", ["SC_rgb_rle_16bit.dcm", "SC_rgb_rle_32bit.dcm", "rtdose_rle_1frame.dcm", "SC_rgb_rle_16bit_2frame.dcm"]
)
def test_rle_of_many_bytes_is_given_decoded(web: Web, name: str) -> None:
    right(web, wheel_file(name).read_bytes())


@pytest.mark.parametrize("name", ["rtdose.dcm", "rtdose_1frame.dcm", "rtdose_expb_1frame.dcm", "MR_small_bigendian.dcm",
                                  "SC_rgb_small_odd_big_endian.dcm", "MR_small_padded.dcm"])  # fmt: skip
def test_native_samples_are_given_in_little_endian_and_no_more_of_them(web: Web, name: str) -> None:
    right(web, wheel_file(name).read_bytes())


@pytest.mark.parametrize("name", ["SC_rgb_expb_32bit.dcm", "SC_rgb_expb_16bit.dcm", "OBXXXX1A_expb.dcm"])
def test_big_endian_of_any_width(web: Web, name: str) -> None:
    data_set = pydicom.dcmread(more_image(name))
    if data_set.PhotometricInterpretation == "PALETTE COLOR":
        metadata, _, body = given(web, more_image(name).read_bytes())
        assert np.array_equal(plainly(metadata, body), data_set.pixel_array)
    else:
        right(web, more_image(name).read_bytes())


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_single_bits_begin_anew_with_every_frame(web: Web, syntax: str) -> None:
    bits = np.random.default_rng(1).integers(0, 2, (3, 7, 9)).astype(np.uint8)
    packed = np.packbits(bits.ravel(), bitorder="little").tobytes()
    data_set = image_of(bits, BitsAllocated=1, BitsStored=1, HighBit=0)
    data_set.PixelData = packed + b"\0" * (len(packed) % 2)
    for frame in (1, 2, 3):
        metadata, _, body = given(web, written(data_set, syntax), frame)
        assert np.array_equal(plainly(metadata, body), bits[frame - 1])


def test_jpeg_2000_of_another_sign_than_its_header_is_given_decoded(web: Web) -> None:
    right(web, wheel_file("J2K_pixelrep_mismatch.dcm").read_bytes())
    values = np.random.default_rng(2).integers(-2048, 2048, (16, 16)).astype(np.int16)
    frame = encode.encode_frame(values.view(np.uint16) & np.uint16(0xFFF), JPEG2000Lossless, bits_stored=12)
    data = compressed(image_of(values, BitsStored=12, HighBit=11), frame, JPEG2000Lossless)
    right(web, data)
    assert np.array_equal(decoded(data), values)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("stored", "high"), [(12, 11), (12, 15), (10, 12)])
def test_junk_beside_the_stored_bits_stays_here(web: Web, signed: bool, stored: int, high: int) -> None:
    junk = np.random.default_rng(3).integers(0, 1 << 16, (8, 8)).astype(np.uint16)
    right(web, written(image_of(junk, BitsStored=stored, HighBit=high, PixelRepresentation=int(signed))))


def test_packed_samples_are_given_in_words(web: Web) -> None:
    values = np.random.default_rng(4).integers(0, 4096, (4, 6))
    packed = sum(int(value) << 12 * place for place, value in enumerate(values.ravel())).to_bytes(36, "little")
    data_set = image_of(values.astype(np.uint16), BitsAllocated=12, BitsStored=12, HighBit=11)
    data_set.PixelData = packed
    right(web, written(data_set))


@pytest.mark.parametrize("photometric", ["YBR_FULL_422", "YBR_PARTIAL_422"])
def test_uncompressed_pairs_of_pixels_are_given_one_by_one(web: Web, photometric: str) -> None:
    if photometric == "YBR_FULL_422":
        right(web, wheel_file("SC_ybr_full_422_uncompressed.dcm").read_bytes())
    data_set = image_of(np.zeros((4, 6, 3), np.uint8), photometric)
    data_set.PixelData = np.random.default_rng(5).integers(16, 236, 48).astype(np.uint8).tobytes()
    right(web, written(data_set))


def test_colours_that_no_marker_of_the_jpeg_tells_are_given_decoded(web: Web) -> None:
    right(web, wheel_file("SC_jpeg_no_color_transform.dcm").read_bytes())
    rgb = np.random.default_rng(6).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    frame = bytes(imagecodecs.jpeg8_encode(rgb, level=95))  # JFIF, YCbCr
    assert given(web, compressed(image_of(rgb, "YBR_FULL_422"), frame, JPEGBaseline8Bit))[1] == JPEGBaseline8Bit
    bare = frame[:2] + frame[4 + struct.unpack(">H", frame[4:6])[0] :]  # nothing tells now
    right(web, compressed(image_of(rgb, "RGB"), bare, JPEGBaseline8Bit))


def test_what_viewers_read_well_is_given_as_it_is_stored(web: Web) -> None:
    for text in ("JPEG2000.dcm", "MR_small_RLE.dcm", "MR_small_jpeg_ls_lossless.dcm", "SC_rgb_jpeg_dcmtk.dcm"):
        stored = pydicom.dcmread(wheel_file(text))
        metadata, syntax, _ = given(web, wheel_file(text).read_bytes())
        assert syntax == stored.file_meta.TransferSyntaxUID
        assert metadata["00280004"]["Value"] == [stored.PhotometricInterpretation]


@pytest.mark.parametrize("syntax", [encode.RLE, encode.JPEG_LS, encode.JPEG_2000, encode.HTJ2K])
def test_every_compressed_frame_is_decoded_for_who_asks_for_plain_octets(web: Web, syntax: str) -> None:
    values = np.random.default_rng(7).integers(0, 4096, (2, 16, 16)).astype(np.uint16)
    data = transcoded(written(image_of(values, BitsStored=12, HighBit=11)), syntax)
    for frame in (1, 2):
        metadata, given_as, body = given(web, data, frame, RAW)
        assert given_as == ExplicitVRLittleEndian
        assert np.array_equal(plainly(metadata, body), values[frame - 1])


def test_a_damaged_frame_is_an_error_not_a_broken_answer(web: Web) -> None:
    data_set = image_of(np.zeros((16, 16), np.uint8))
    path = kept(web, compressed(data_set, b"\xff\xd8\xff\xe0 no picture at all!", JPEGExtended12Bit))
    assert web.get(f"{path}/frames/1", RAW_ANY).status_code == 422


def test_every_real_image_that_is_given_uncompressed_is_read_right(web: Web) -> None:
    read = 0
    for path in (path for path in images() if path in wheel() and path.stat().st_size < 100_000):
        stored = pydicom.dcmread(path, force=True)
        if "PixelData" not in stored or "SOPInstanceUID" not in stored or "StudyInstanceUID" not in stored:
            continue
        if stored.PhotometricInterpretation == "PALETTE COLOR":
            continue
        data = path.read_bytes()
        metadata, syntax, body = given(web, data)
        if syntax == ExplicitVRLittleEndian:
            expected = decoded(data)
            many = int(stored.get("NumberOfFrames") or 1) > 1
            assert np.array_equal(plainly(metadata, body), expected[0] if many else expected), path.name
            read += 1
    assert read > 15
