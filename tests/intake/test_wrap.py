"""Images that are no DICOM become Secondary Capture when a person names patient and study, always the same ones."""

import io
import zipfile
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.encaps import generate_frames

from hilum.core.errors import Invalid
from hilum.imaging.archive import query
from hilum.imaging.archive.arrivals import SourceRef
from hilum.imaging.archive.query import StudyFilter
from hilum.imaging.archive.store import Archive
from hilum.imaging.intake.secondary_capture import wrap_image
from hilum.imaging.intake.wrap import CannotWrap, make_wrap
from tests.intake.test_bundle import zipped
from tests.intake.test_directory import codes, run
from tests.make import ct, uid

COLOR = np.random.default_rng(1).integers(0, 255, (24, 32, 3)).astype(np.uint8)
GREY = COLOR[:, :, 0].copy()
JPEG = imagecodecs.jpeg8_encode(COLOR, level=90)
PNG = imagecodecs.png_encode(COLOR)
NAMED = make_wrap("P1", study_date="2024-02-03", study_description="Photos")


def wrapped(data: bytes, name: str = "IMG_7.jpg") -> pydicom.Dataset:
    file = wrap_image(data, name, NAMED, "default")
    assert file == wrap_image(data, name, NAMED, "default")
    return pydicom.dcmread(io.BytesIO(file))


def test_a_jpeg_keeps_its_code_stream() -> None:
    ds = wrapped(JPEG)
    assert ds.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.50"
    assert (ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation) == (24, 32, 3, "YBR_FULL_422")
    assert (ds.PatientID, ds.StudyDate, ds.StudyDescription, ds.InstanceNumber) == ("P1", "20240203", "Photos", 7)
    (stream,) = generate_frames(ds.PixelData, number_of_frames=1)
    assert stream.rstrip(b"\0") == JPEG.rstrip(b"\0")


@pytest.mark.parametrize(
    ("pixels", "bits", "colors"),
    [
        (COLOR, 8, "RGB"),
        (GREY, 8, "MONOCHROME2"),
        (GREY.astype(np.uint16) * 257, 16, "MONOCHROME2"),
        (np.dstack([COLOR, GREY]), 8, "RGB"),
    ],
)
def test_a_png_becomes_native_pixels(pixels: np.ndarray, bits: int, colors: str) -> None:
    ds = wrapped(imagecodecs.png_encode(pixels))
    assert (ds.BitsAllocated, ds.PhotometricInterpretation) == (bits, colors)
    expected = pixels[:, :, :3] if pixels.ndim == 3 else pixels
    assert np.array_equal(ds.pixel_array, expected)


def test_a_png_of_odd_length_is_padded() -> None:
    assert len(wrapped(imagecodecs.png_encode(GREY[:3, :5].copy())).PixelData) == 16


@pytest.mark.parametrize("data", [JPEG[:20], PNG[:20], PNG[:60], b"\xff\xd8\xff", PNG[:16] + b"\xff" * 8 + PNG[24:]])
def test_a_damaged_or_absurd_image_is_a_sentence(data: bytes) -> None:
    with pytest.raises(CannotWrap, match="image"):
        wrap_image(data, "x", NAMED, "default")


@pytest.mark.parametrize(
    ("patient", "study"),
    [
        ("", {"study_date": "20240101"}),
        ("P1", {}),
        ("P1", {"study_instance_uid": "1.2.x"}),
        ("P1", {"study_date": "soon"}),
    ],
)
def test_patient_and_study_must_be_named(patient: str, study: dict[str, str]) -> None:
    with pytest.raises(Invalid):
        make_wrap(patient, **study)


def test_a_folder_of_images_becomes_a_study_and_again_the_same(
    archive: Archive, source: SourceRef, tmp_path: Path
) -> None:
    place = tmp_path / "in"
    place.mkdir()
    files = {"1.jpg": JPEG, "2.png": PNG, "report.pdf": b"%PDF-1.4", "notes.txt": b"x", "3.png": PNG[:50]}
    for name, data in files.items():
        (place / name).write_bytes(data)
    progress = run(archive, source, place, wrap=NAMED)
    assert progress.counts["instances"] == 2
    assert codes(progress) == {"not_dicom": 2, "damaged_image": 1}
    assert run(archive, source, place, wrap=NAMED).counts["duplicates"] == 2
    with_pdf = make_wrap("P1", pdf=True, study_date="2024-02-03", study_description="Photos")
    assert run(archive, source, place, wrap=with_pdf).counts["instances"] == 1
    with archive.database.connect() as connection:
        ((row,), total) = query.list_studies(connection, StudyFilter())
    assert (total, row["num_instances"], row["num_images"], row["patient_id"]) == (1, 3, 2, "P1")


def test_a_zip_of_images_is_wrapped_into_the_named_study_but_previews_beside_dicom_are_not(
    archive: Archive, source: SourceRef, tmp_path: Path
) -> None:
    named = make_wrap("P1", study_instance_uid=uid(77))
    images = zipped(tmp_path / "images.zip", {"a/1.jpg": JPEG, "a/2.jpg": JPEG, "x.txt": b"x"})
    progress = run(archive, source, images, wrap=named)
    assert (progress.counts["instances"], progress.counts["set_aside"]) == (2, 1)
    cd = zipped(tmp_path / "cd.zip", {"1": ct(1), "p.jpg": JPEG}, zipfile.ZIP_STORED)
    assert run(archive, source, cd, wrap=named).counts["bundle_files"] == 1
    with archive.database.connect() as connection:
        assert query.find_study(connection, uid(77))["num_instances"] == 2
