"""Conversion to Explicit VR Little Endian, with pydicom as the judge: every native file of its wheel means the same."""

import io
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from hilum.core.errors import NotAcceptable
from hilum.imaging.dicom.explicit import explicit_file
from hilum.imaging.dicom.header import Header, scan, scan_file
from hilum.imaging.dicom.problems import NotDicom, Unreadable
from hilum.imaging.dicom.source import inflated_file
from tests.dicom.files import name, wheel, wheel_file

PIXELS = {"PixelData", "FloatPixelData", "DoubleFloatPixelData"}


def header_of(path: Path) -> Header | None:
    try:
        with path.open("rb") as file:
            return scan_file(file)
    except (NotDicom, Unreadable):
        return None


def native(path: Path) -> bool:
    header = header_of(path)
    return header is not None and not (header.pixel_data and header.pixel_data.encapsulated)


def converted(path: Path) -> bytes:
    with path.open("rb") as file:
        header = scan_file(file)
        plain = inflated_file(file, header.data_set_offset, 1 << 28) if header.deflated else file
        return b"".join(explicit_file(plain, header))


def assert_same(before: Dataset, after: Dataset) -> None:
    for element in before:
        if element.keyword in PIXELS or element.tag.element == 0 or element.keyword == "DataSetTrailingPadding":
            continue
        assert element.tag in after, element.tag
        other = after[element.tag]
        if element.VR == "SQ" and other.VR == "SQ":
            assert len(element.value) == len(other.value)
            for one, two in zip(element.value, other.value, strict=True):
                assert_same(one, two)
        elif element.VR == other.VR and element.VR not in ("OB", "OW", "UN"):
            assert element.value == other.value or element.value != element.value, element.tag
        elif element.VR == other.VR and isinstance(element.value, bytes) and before.original_encoding[1]:
            assert element.value.rstrip(b"\0") == other.value.rstrip(b"\0"), element.tag


@pytest.mark.parametrize("path", [path for path in wheel() if native(path)], ids=name)
def test_every_native_file_means_the_same_as_before(path: Path) -> None:
    data = converted(path)
    before, after = pydicom.dcmread(path, force=True), pydicom.dcmread(io.BytesIO(data))
    assert after.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert after.original_encoding == (False, True)
    assert scan(data).syntax_source == "scanner"
    assert_same(before, after)
    if "PixelData" in before and "TransferSyntaxUID" in before.file_meta:
        try:
            pixels = before.pixel_array
        except (ValueError, AttributeError):
            return
        assert np.array_equal(pixels, after.pixel_array)


def test_what_stands_behind_the_pixels_is_kept(tmp_path: Path) -> None:
    path = wheel_file("MR_small_padded.dcm")
    before, after = pydicom.dcmread(path), pydicom.dcmread(io.BytesIO(converted(path)))
    assert after.DataSetTrailingPadding == before.DataSetTrailingPadding


def test_compressed_pixels_are_refused() -> None:
    with pytest.raises(NotAcceptable):
        converted(wheel_file("JPEG2000.dcm"))


@pytest.mark.parametrize("file", ["MR_small_bigendian.dcm", "rtplan.dcm", "image_dfl.dcm", "rtdose_expb_1frame.dcm"])
def test_dcmtk_reads_it_without_complaint(tmp_path: Path, file: str) -> None:
    path = tmp_path / "converted.dcm"
    path.write_bytes(converted(wheel_file(file)))
    done = subprocess.run(["dcmdump", "-q", "--load-all", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
