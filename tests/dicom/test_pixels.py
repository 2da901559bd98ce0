"""Decoded frames equal pydicom's, or dcmtk's where pydicom has no decoder here; bombs are refused before decoding."""

import dataclasses
import io
import shutil
import struct
import subprocess
import time
import zlib
from contextlib import suppress
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.pixels import apply_color_lut
from pydicom.uid import ImplicitVRLittleEndian

from hilum.imaging.dicom.codestream import read_code_stream
from hilum.imaging.dicom.frames import frame_offsets, native_frame, read_frame
from hilum.imaging.dicom.header import NotDicom, Unreadable, scan
from hilum.imaging.dicom.image import ImageDescription, describe
from hilum.imaging.dicom.pixels import decode_frame
from hilum.imaging.dicom.source import inflated_file
from tests.dicom.files import name, wheel, wheel_file
from tests.dicom.images import more_image, more_images

IMAGE = ImageDescription(
    transfer_syntax_uid="1.2.840.10008.1.2.1",
    keyword="PixelData",
    rows=4,
    columns=6,
    samples=1,
    bits_allocated=16,
    bits_stored=16,
    high_bit=15,
    signed=False,
    photometric="MONOCHROME2",
    planar=False,
)
# Cut short, without sizes, or with a code stream that no decoder takes: each has its test below.
NO_IMAGE = {
    "MR_truncated.dcm",
    "meta_missing_tsyntax.dcm",
    "nested_priv_SQ.dcm",
    "JPEG2000-embedded-sequence-delimiter.dcm",
}
BAD_NUMBERS = {"badVR.dcm"}  # pydicom refuses its Number of Frames, '1A'
DCMTK = {".4.51": "dcmdjpeg", ".4.57": "dcmdjpeg", ".4.70": "dcmdjpeg", ".4.80": "dcmdjpls", ".4.81": "dcmdjpls"}
NO_ORACLE = {
    "GDCMJ2K_TextGBR.dcm",  # a JP2 file in the frame, which Pillow calls broken
    "OBXXXX1A_expb.dcm",  # pydicom does not swap the words of a big-endian palette
    "OBXXXX1A_expb_2frame.dcm",
    "emri_small_jpeg_2k_lossless_too_short.dcm",  # its last frame is cut: pydicom pads it
}


def decoded(data: bytes) -> NDArray[np.generic]:
    header, file = scan(data), io.BytesIO(data)
    if header.deflated:
        file = inflated_file(file, header.data_set_offset, 1 << 24)
    offsets = frame_offsets(file, header) if header.pixel_data and header.pixel_data.encapsulated else ()
    image = describe(file, header)
    count = len(offsets) - 1 if offsets else native_frame(header, file.seek(0, 2)).count
    frames = [decode_frame(read_frame(file, header, offsets, frame), image) for frame in range(count)]
    return np.stack(frames) if len(frames) > 1 else frames[0]


def images() -> list[Path]:
    found: list[Path] = []
    for path in (*wheel(), *more_images()):
        with suppress(NotDicom, Unreadable):
            if scan(path.read_bytes()).pixel_data is not None:
                found.append(path)
    return [path for path in found if path.name not in NO_IMAGE | BAD_NUMBERS | NO_ORACLE]


def oracle(path: Path, folder: Path) -> NDArray[np.generic]:
    data_set = pydicom.dcmread(path, force=True)
    if "TransferSyntaxUID" not in data_set.file_meta:
        data_set.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    syntax = data_set.file_meta.TransferSyntaxUID
    tool = next((tool for end, tool in DCMTK.items() if syntax.endswith(end)), None)
    if tool is not None:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
        subprocess.run([tool, str(path), str(folder / "out.dcm")], check=True, capture_output=True)
        data_set = pydicom.dcmread(folder / "out.dcm")
    pixels = data_set.pixel_array
    if data_set.PhotometricInterpretation == "PALETTE COLOR":
        return (apply_color_lut(pixels, data_set) >> 8).astype(np.uint8)
    return pixels


@pytest.mark.parametrize("path", images(), ids=name)
def test_pixels_equal_the_oracles(path: Path, tmp_path: Path) -> None:
    ours, theirs = decoded(path.read_bytes()), oracle(path, tmp_path)
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype.newbyteorder("=")
    assert np.abs(ours.astype(np.float64) - theirs).max() <= (1 if ".4.5" in path.name else 0)


@pytest.mark.parametrize("text", sorted(NO_IMAGE))
def test_what_has_no_whole_image_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises((Unreadable, IndexError)):
        decoded(wheel_file(text).read_bytes())


@pytest.mark.parametrize("frames", ["", "_2frame"])
def test_a_big_endian_palette_gives_the_colours_of_its_little_endian_twin(frames: str) -> None:
    big, little = (more_image(f"OBXXXX1A{order}{frames}.dcm").read_bytes() for order in ("_expb", ""))
    assert np.array_equal(decoded(big), decoded(little))


def test_a_jp2_file_in_a_frame_is_decoded() -> None:
    assert decoded(wheel_file("GDCMJ2K_TextGBR.dcm").read_bytes()).shape == (400, 400, 3)


XL = "1.2.840.10008.1.2.4.110"
SYNTAXES = {
    "jpeg-ls": ("1.2.840.10008.1.2.4.80", imagecodecs.jpegls_encode, {}),
    "jpeg-2000": ("1.2.840.10008.1.2.4.90", imagecodecs.jpeg2k_encode, {"codecformat": "j2k", "reversible": True}),
    "htj2k": ("1.2.840.10008.1.2.4.201", imagecodecs.htj2k_encode, {}),
    "jpeg-lossless": ("1.2.840.10008.1.2.4.70", imagecodecs.ljpeg_encode, {}),
    "jpeg-xl": ("1.2.840.10008.1.2.4.110", imagecodecs.jpegxl_encode, {"lossless": True}),
    "jpeg-xl in boxes": (
        "1.2.840.10008.1.2.4.110",
        imagecodecs.jpegxl_encode,
        {"lossless": True, "usecontainer": True},
    ),
}


@pytest.mark.parametrize("codec", SYNTAXES)
@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_lossless_codecs_give_back_the_stored_values(codec: str, bits: int, signed: bool) -> None:
    syntax, encode, options = SYNTAXES[codec]
    width = 8 if bits == 8 else 16
    stored = np.random.default_rng(bits).integers(0, 1 << bits, (48, 40), np.uint16).astype(f"u{width // 8}")
    stored[0, :2] = 0, (1 << bits) - 1
    if codec in ("jpeg-ls", "jpeg-lossless"):
        options = {**options, "bitspersample": bits} if codec == "jpeg-lossless" else options
    frame = encode(stored, **options)
    image = dataclasses.replace(
        IMAGE,
        transfer_syntax_uid=syntax,
        rows=48,
        columns=40,
        bits_allocated=width,
        bits_stored=bits,
        high_bit=bits - 1,
        signed=signed,
    )
    expected = stored.astype(np.int64)
    if signed:
        expected = np.where(expected >= 1 << bits - 1, expected - (1 << bits), expected)
    pixels = decode_frame(bytes(frame), image)
    assert pixels.dtype == np.dtype(f"{'i' if signed else 'u'}{width // 8}")
    assert np.array_equal(pixels, expected)


@given(
    values=st.lists(st.integers(0, 0xFFFF), min_size=24, max_size=24),
    bits=st.integers(1, 16),
    signed=st.booleans(),
    shift=st.integers(0, 4),
)
@settings(max_examples=80, deadline=None)
def test_bits_outside_of_those_stored_do_not_count(values: list[int], bits: int, signed: bool, shift: int) -> None:
    shift = min(shift, 16 - bits)
    image = dataclasses.replace(IMAGE, bits_stored=bits, high_bit=bits - 1 + shift, signed=signed)
    expected = [(value >> shift) % (1 << bits) for value in values]
    if signed:
        expected = [value - (1 << bits) if value >> bits - 1 else value for value in expected]
    assert decode_frame(struct.pack("<24H", *values), image).ravel().tolist() == expected


def test_planes_and_pixels_of_colour_are_put_together() -> None:
    rgb = np.arange(72, dtype=np.uint8).reshape(4, 6, 3)
    colour = dataclasses.replace(IMAGE, samples=3, bits_allocated=8, bits_stored=8, high_bit=7, photometric="RGB")
    assert np.array_equal(decode_frame(rgb.tobytes(), colour), rgb)
    planar = dataclasses.replace(colour, planar=True)
    assert np.array_equal(decode_frame(rgb.transpose(2, 0, 1).tobytes(), planar), rgb)


def test_luminance_and_colour_differences_become_rgb() -> None:
    image = dataclasses.replace(
        IMAGE, rows=1, columns=2, samples=3, bits_allocated=8, bits_stored=8, high_bit=7, photometric="YBR_FULL"
    )
    assert decode_frame(bytes((76, 85, 255, 128, 128, 128)), image).tolist() == [[[254, 0, 0], [128, 128, 128]]]
    pairs = dataclasses.replace(image, photometric="YBR_FULL_422")
    assert decode_frame(bytes((10, 200, 128, 128)), pairs).tolist() == [[[10, 10, 10], [200, 200, 200]]]
    partial = dataclasses.replace(image, photometric="YBR_PARTIAL_422")
    assert decode_frame(bytes((16, 235, 128, 128)), partial).tolist() == [[[0, 0, 0], [255, 255, 255]]]


@pytest.mark.parametrize(("keyword", "code"), [("FloatPixelData", "f"), ("DoubleFloatPixelData", "d")])
def test_float_pixels_come_as_they_are(keyword: str, code: str) -> None:
    bits = struct.calcsize(code) * 8
    image = dataclasses.replace(IMAGE, keyword=keyword, bits_allocated=bits, bits_stored=bits, high_bit=bits - 1)
    values = [number / 8 for number in range(-12, 12)]
    assert decode_frame(struct.pack(f"<24{code}", *values), image).ravel().tolist() == values


def test_a_frame_cut_short_is_refused() -> None:
    with pytest.raises(Unreadable) as caught:
        decode_frame(bytes(47), IMAGE)
    assert caught.value.code == "truncated"


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"rows": 65535, "columns": 65535}, id="larger than the limit"),
        pytest.param({"rows": 0}, id="no rows"),
        pytest.param({"bits_allocated": 24}, id="samples of three bytes"),
        pytest.param({"samples": 4}, id="four samples"),
        pytest.param({"photometric": "CMYK"}, id="a photometric interpretation long retired"),
        pytest.param({"transfer_syntax_uid": "1.2.840.10008.1.2.4.102"}, id="video"),
        pytest.param({"transfer_syntax_uid": "1.2.840.10008.1.2.4.110"}, id="a stream of an unknown kind"),
        pytest.param({"transfer_syntax_uid": "1.2.840.10008.1.2.5"}, id="run lengths that fill nothing"),
    ],
)
def test_what_cannot_be_decoded_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(Unreadable):
        decode_frame(bytes(48), dataclasses.replace(IMAGE, **changes))


@pytest.mark.parametrize("codec", ["jpeg-ls", "jpeg-2000", "jpeg-lossless", "jpeg-xl", "jpeg-xl in boxes"])
def test_a_frame_that_is_larger_than_its_header_says_is_not_decoded(codec: str) -> None:
    syntax, encode, options = SYNTAXES[codec]
    frame = bytes(encode(np.zeros((2000, 2000), np.uint8), **options))
    image = dataclasses.replace(IMAGE, transfer_syntax_uid=syntax, bits_allocated=8, bits_stored=8, high_bit=7)
    with pytest.raises(Unreadable) as caught:
        decode_frame(frame, image)
    assert "2000 x 2000 x 1" in str(caught.value)


def test_a_cut_jpeg_ls_frame_is_refused_at_once() -> None:
    data = wheel_file("MR_small_jpeg_ls_lossless.dcm").read_bytes()
    header, file = scan(data), io.BytesIO(data)
    image, frame = describe(file, header), read_frame(file, header, frame_offsets(file, header), 0)
    began = time.process_time()
    for length in (3000, 3500, 4000):
        with pytest.raises(Unreadable):
            decode_frame(frame[:length], image)
    assert time.process_time() - began < 1


def test_a_damaged_lossless_jpeg_frame_does_not_end_the_process() -> None:
    data = wheel_file("SC_rgb_jpeg_gdcm.dcm").read_bytes()
    header, file = scan(data), io.BytesIO(data)
    image, frame = describe(file, header), bytearray(read_frame(file, header, frame_offsets(file, header), 0))
    frame[21] = 170  # a damaged code table
    with suppress(Unreadable):
        decode_frame(bytes(frame), image)


@pytest.mark.parametrize(
    ("offset", "value"), [(32, 26), (20, 1), (24, 0)], ids=["outside", "far too many", "no height"]
)
def test_tiles_that_would_keep_a_decoder_busy_are_refused(offset: int, value: int) -> None:
    frame = bytearray(imagecodecs.htj2k_encode(np.zeros((512, 512), np.uint8)))
    struct.pack_into(">I", frame, 4 + offset, value)
    if offset == 20:
        struct.pack_into(">I", frame, 4 + 24, value)
    image = dataclasses.replace(
        IMAGE, transfer_syntax_uid="1.2.840.10008.1.2.4.201", rows=512, columns=512, bits_allocated=8, bits_stored=8
    )
    with pytest.raises(Unreadable, match="tiles"):
        decode_frame(bytes(frame), image)


def test_run_lengths_cannot_fill_more_than_the_image() -> None:
    bomb = struct.pack("<16I", 1, 64, *([0] * 14)) + b"\x81\x00" * 1_000_000
    image = dataclasses.replace(
        IMAGE, transfer_syntax_uid="1.2.840.10008.1.2.5", bits_allocated=8, bits_stored=8, high_bit=7
    )
    with pytest.raises(Unreadable):
        decode_frame(bomb, image)


@given(
    text=st.sampled_from(
        ["JPEG2000.dcm", "MR_small_RLE.dcm", "JPGExtended.dcm", "MR_small_jpeg_ls_lossless.dcm", "SC_rgb_jpeg_gdcm.dcm"]
    ),
    changes=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), max_size=8),
    cut=st.none() | st.integers(0, 1 << 20),
)
@settings(max_examples=100, deadline=60_000)
def test_damaged_frames_are_decoded_or_refused(text: str, changes: list[tuple[int, int]], cut: int | None) -> None:
    data = wheel_file(text).read_bytes()
    header, file = scan(data), io.BytesIO(data)
    image, frame = describe(file, header), bytearray(read_frame(file, header, frame_offsets(file, header), 0))
    for offset, value in changes:
        frame[offset % len(frame)] = value
    with suppress(Unreadable):
        pixels = decode_frame(bytes(frame if cut is None else frame[: cut % len(frame)]), image)
        assert pixels.shape[:2] == (image.rows, image.columns)


STARTS = [b"", b"\xff\xd8", b"\xff\x4f\xff\x51", b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\0jxlc"]


@given(data=st.binary(max_size=60), start=st.sampled_from(STARTS))
@settings(max_examples=150, deadline=None)
def test_a_code_stream_is_read_or_refused(data: bytes, start: bytes) -> None:
    with suppress(Unreadable):
        assert read_code_stream(start + data).rows >= 0


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (37, 53), (256, 2048), (600, 800), (9, 16), (1, 40_000)])
@pytest.mark.parametrize("boxes", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
def test_the_size_of_a_jpeg_xl_stream_is_read_before_it_is_decoded(
    size: tuple[int, int], boxes: bool, bits: int
) -> None:
    pixels = np.zeros(size, f"u{bits // 8}")
    stream = read_code_stream(bytes(imagecodecs.jpegxl_encode(pixels, lossless=True, usecontainer=boxes)))
    assert (stream.rows, stream.columns, stream.precision) == (*size, bits)


def test_other_channels_of_a_jpeg_xl_stream_are_refused() -> None:
    with pytest.raises(Unreadable, match="channels"):
        read_code_stream(bytes(imagecodecs.jpegxl_encode(np.zeros((16, 16, 4), np.uint8), lossless=True)))


def test_a_deflated_frame_is_inflated_no_further_than_its_image() -> None:
    bomb = zlib.compress(bytes(50_000_000), wbits=-15)
    image = dataclasses.replace(IMAGE, transfer_syntax_uid="1.2.840.10008.1.2.8.1")
    assert decode_frame(bomb, image).shape == (4, 6)
    with pytest.raises(Unreadable):
        decode_frame(zlib.compress(bytes(47), wbits=-15), image)
    with pytest.raises(Unreadable):
        decode_frame(b"no deflate at all", image)


def test_a_native_frame_costs_next_to_nothing() -> None:
    image = dataclasses.replace(IMAGE, rows=512, columns=512, bits_stored=12, high_bit=11)
    frame = bytes(512 * 512 * 2)
    began = time.process_time()
    for _ in range(20):
        decode_frame(frame, image)
    assert (time.process_time() - began) / 20 < 0.002
