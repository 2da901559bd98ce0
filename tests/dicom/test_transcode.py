"""What is encoded anew is the same, bit for bit, says so in its header, and is read by other people's programs."""

import dataclasses
import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

from hilum.core.errors import NotAcceptable
from hilum.imaging.dicom import encode
from hilum.imaging.dicom.encode import SYNTAXES, encode_frame
from hilum.imaging.dicom.frames import frame_offsets
from hilum.imaging.dicom.header import scan
from hilum.imaging.dicom.pixels import stored_frame
from hilum.imaging.dicom.source import inflated_file
from hilum.imaging.dicom.transcode import transcode
from tests.dicom.files import name, written
from tests.dicom.images import image_of
from tests.dicom.test_pixels import IMAGE, decoded, images

COMPRESSED = [syntax for syntax in SYNTAXES if syntax != ExplicitVRLittleEndian]


def transcoded(data: bytes, syntax: str) -> bytes:
    header, file = scan(data), io.BytesIO(data)
    if header.deflated:
        file = inflated_file(file, header.data_set_offset, 1 << 24)
    offsets = frame_offsets(file, header) if header.pixel_data and header.pixel_data.encapsulated else ()
    return b"".join(transcode(file, header, offsets, syntax))


@given(
    syntax=st.sampled_from(COMPRESSED),
    width=st.sampled_from([8, 16]),
    bits=st.integers(1, 16),
    signed=st.booleans(),
    colour=st.booleans(),
    sizes=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 1 << 30),
    mixed=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_every_encoder_gives_back_every_bit(
    syntax: str, width: int, bits: int, signed: bool, colour: bool, sizes: tuple[int, int], seed: int, mixed: bool
) -> None:
    bits = min(bits, width)
    low, high = (-(1 << bits - 1), 1 << bits - 1) if signed else (0, 1 << bits)
    shape = (*sizes, 3) if colour else sizes
    pixels = np.random.default_rng(seed).integers(low, high, shape).astype(f"{'i' if signed else 'u'}{width // 8}")
    image = dataclasses.replace(
        IMAGE, transfer_syntax_uid=syntax, rows=sizes[0], columns=sizes[1], samples=3 if colour else 1, signed=signed,
        bits_allocated=width, bits_stored=bits, high_bit=bits - 1, photometric="RGB" if colour else "MONOCHROME2",
    )  # fmt: skip
    frame = encode_frame(pixels, syntax, bits_stored=bits, colours_mix=mixed)
    back, _ = stored_frame(frame, image)
    assert len(frame) % 2 == 0
    assert back.dtype == pixels.dtype
    assert np.array_equal(back, pixels)


def whole(path: Path) -> bool:
    data = pydicom.dcmread(path, force=True, stop_before_pixels=True)
    return data.get("BitsAllocated") in (8, 16, 32) and int(data.get("NumberOfFrames") or 1) < 20


@pytest.mark.parametrize("path", [path for path in images() if whole(path)], ids=name)
def test_real_files_keep_their_pixels_in_every_syntax(path: Path) -> None:
    data = path.read_bytes()
    before = decoded(data)
    bits = scan(data).integer("BitsAllocated") or 8
    large = before.size > 600_000
    for syntax in (ExplicitVRLittleEndian, encode.RLE, *(() if bits > 16 or large else COMPRESSED)):
        after = transcoded(data, syntax)
        assert scan(after).transfer_syntax_uid == syntax
        assert np.array_equal(decoded(after), before)


def attributes(data: bytes) -> pydicom.Dataset:
    data_set = pydicom.dcmread(io.BytesIO(data), force=True)
    del data_set.PixelData
    return data_set


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_only_what_tells_how_samples_lie_is_changed(syntax: str) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (3, 16, 24, 3), np.uint8)
    data_set = image_of(pixels, "RGB", LossyImageCompression="01", LossyImageCompressionRatio="12.5")
    before = written(data_set, ExplicitVRBigEndian)
    after = attributes(transcoded(before, syntax))
    assert after.file_meta.TransferSyntaxUID == syntax
    mixed = syntax in (encode.JPEG_2000, encode.HTJ2K)
    assert after.PhotometricInterpretation == ("YBR_RCT" if mixed else "RGB")
    assert after.PlanarConfiguration == (1 if syntax == encode.RLE else 0)
    assert (after.LossyImageCompression, after.LossyImageCompressionRatio) == ("01", 12.5)
    after.PhotometricInterpretation, after.PlanarConfiguration = "RGB", 0
    assert after == attributes(before)


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("signed", [False, True])
def test_junk_and_shifted_bits_are_gone_and_the_header_knows(syntax: str, signed: bool) -> None:
    stored = np.random.default_rng(2).integers(0, 1 << 16, (16, 16)).astype(np.uint16)
    data_set = image_of(stored, BitsStored=10, HighBit=12, PixelRepresentation=int(signed))
    before = decoded(written(data_set))
    after = transcoded(written(data_set), syntax)
    assert np.array_equal(decoded(after), before)
    if syntax != ExplicitVRLittleEndian:  # native samples go through as they are
        assert pydicom.dcmread(io.BytesIO(after)).HighBit == 9


def grey(signed: bool, shape: tuple[int, ...]) -> NDArray[np.integer]:
    found = np.random.default_rng(3).integers(-2048 if signed else 0, 2048, shape)
    return found.astype("i2" if signed else "u2")


# HTJ2K is not among them: pydicom needs a package for it that logs. OpenJPH writes it, OpenJPEG reads it above.
@pytest.mark.parametrize("syntax", [syntax for syntax in COMPRESSED if syntax != encode.HTJ2K])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("colour", [False, True])
def test_pydicom_reads_the_same(syntax: str, signed: bool, colour: bool) -> None:
    if colour:
        pixels = np.random.default_rng(3).integers(0, 256, (2, 20, 30, 3)).astype(np.uint8)
        data_set = image_of(pixels, "RGB")
    else:
        pixels = (
            np.random.default_rng(3)
            .integers(-2048 if signed else 0, 2048, (2, 20, 30))
            .astype("i2" if signed else "u2")
        )
        data_set = image_of(pixels, BitsStored=12, HighBit=11)
    after = pydicom.dcmread(io.BytesIO(transcoded(written(data_set), syntax)))
    assert np.array_equal(after.pixel_array, pixels)


@pytest.mark.parametrize(
    ("syntax", "tool"),
    [
        (encode.RLE, "dcmdrle"),
        (encode.JPEG_LS, "dcmdjpls"),
        (encode.JPEG_LOSSLESS_SV1, "dcmdjpeg"),
        (encode.JPEG_LOSSLESS, "dcmdjpeg"),
    ],
)
@pytest.mark.parametrize("signed", [False, True])
def test_dcmtk_reads_the_same(syntax: str, tool: str, signed: bool, tmp_path: Path) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    pixels = grey(signed, (20, 30))
    data_set = image_of(pixels, BitsStored=12, HighBit=11)
    (tmp_path / "in.dcm").write_bytes(transcoded(written(data_set), syntax))
    subprocess.run([tool, str(tmp_path / "in.dcm"), str(tmp_path / "out.dcm")], check=True, capture_output=True)
    assert np.array_equal(decoded((tmp_path / "out.dcm").read_bytes()), pixels)


@pytest.mark.parametrize("bits", [1, 32])
def test_what_a_syntax_cannot_hold_is_refused(bits: int) -> None:
    data_set = image_of(np.zeros((16, 16), np.uint32 if bits == 32 else np.uint8), BitsAllocated=bits, BitsStored=bits)
    data_set.HighBit = bits - 1
    for syntax in (encode.JPEG_LS, encode.JPEG_2000, encode.HTJ2K, encode.JPEG_LOSSLESS):
        with pytest.raises(NotAcceptable):
            transcoded(written(data_set), syntax)
    with pytest.raises(NotAcceptable):
        transcoded(written(data_set), "1.2.840.10008.1.2.4.50")


def test_an_overlay_in_unused_bits_is_never_lost() -> None:
    data_set = image_of(np.full((16, 16), 0x4001, np.uint16), BitsStored=12, HighBit=11)
    data_set.add_new(0x60000010, "US", 16)
    data_set.add_new(0x60000011, "US", 16)
    data_set.add_new(0x60000100, "US", 16)
    data_set.add_new(0x60000102, "US", 14)
    with pytest.raises(NotAcceptable, match="overlays"):
        transcoded(written(data_set), encode.RLE)
    assert pydicom.dcmread(io.BytesIO(transcoded(written(data_set), ExplicitVRLittleEndian))).PixelData[:2] == b"\1\x40"


def test_a_frame_is_one_fragment_each() -> None:
    pixels = np.random.default_rng(5).integers(0, 99, (7, 8, 8), np.uint8)
    after = transcoded(written(image_of(pixels)), encode.JPEG_LS)
    header = scan(after)
    assert len(frame_offsets(io.BytesIO(after), header)) == 8
    assert np.array_equal(decoded(after), pixels)
