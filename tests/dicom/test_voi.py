"""What is shown is what PS3.3 says: lookup tables, functional groups, overlays, palettes, pixels of any shape."""

import dataclasses
import io
import subprocess
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut
from pydicom.sequence import Sequence

from hilum.core.errors import Invalid
from hilum.imaging.dicom.frames import frame_offsets, read_frame
from hilum.imaging.dicom.header import scan
from hilum.imaging.dicom.image import ImageDescription, describe
from hilum.imaging.dicom.overlay import read_overlays
from hilum.imaging.dicom.picture import Picture, scaled, to_jpeg, to_png
from hilum.imaging.dicom.pixels import decode_frame
from hilum.imaging.dicom.problems import Unreadable
from hilum.imaging.dicom.render import render
from hilum.imaging.dicom.voi import Window, asked_window, full_window
from tests.dicom.files import wheel_file, written
from tests.dicom.images import image_of, more_image
from tests.dicom.test_pixels import IMAGE


def shown(
    data: bytes,
    frame: int = 0,
    window: Window | None = None,
    *,
    overlays: bool = False,
    invert: bool = False,
) -> tuple[Picture, ImageDescription]:
    header, file = scan(data), io.BytesIO(data)
    offsets = frame_offsets(file, header) if header.pixel_data and header.pixel_data.encapsulated else ()
    image = describe(file, header, frame)
    read = read_frame(file, header, offsets, frame)
    planes = read_overlays(file, header, image, read, frame) if overlays else []
    return render(decode_frame(read, image), image, window, overlays=planes, invert=invert), image


def in_8_bits(values: NDArray[np.generic], low: float, high: float) -> Picture:
    return np.floor((np.clip(values.astype(np.float64), low, high) - low) / (high - low) * 255 + 0.5).astype(np.uint8)


def lut(entries: list[int], first: int, bits: int, vr: str = "US") -> Dataset:
    item = Dataset()
    item.add_new(0x00283002, vr, [len(entries), first, bits])
    item.add_new(0x00283006, "US", entries)
    return item


def ramp(count: int = 256) -> NDArray[np.uint16]:
    return np.arange(count, dtype=np.uint16).reshape(16, -1)


def test_a_modality_table_stands_in_the_place_of_rescale() -> None:
    data_set = image_of(ramp(), RescaleSlope="3", RescaleIntercept="7")
    data_set.ModalityLUTSequence = Sequence([lut([value * value for value in range(200)], 10, 16)])
    data_set.ModalityLUTSequence[0].ModalityLUTType = "US"
    data_set.WindowCenter, data_set.WindowWidth = 5000, 8000
    picture, _ = shown(written(data_set))
    del data_set.RescaleSlope, data_set.RescaleIntercept  # pydicom would take these
    theirs = apply_voi_lut(apply_modality_lut(ramp(), data_set), data_set)
    assert np.abs(picture - theirs / 65535 * 255).max() <= 1


def test_a_voi_table_is_used_where_there_is_no_window() -> None:
    data_set = image_of(ramp())
    data_set.VOILUTSequence = Sequence([lut([4095 - 16 * value for value in range(256)], 0, 12)])
    theirs = apply_voi_lut(ramp(), data_set)
    assert np.array_equal(shown(written(data_set))[0], in_8_bits(theirs, 0, 4095))
    data_set.WindowCenter, data_set.WindowWidth = 128, 256
    assert shown(written(data_set))[0][0, 0] == 0  # a window of the file goes first: pages know no tables
    assert shown(written(data_set), window=(0, 2))[0][15, 15] == 255


def test_a_voi_table_may_begin_below_zero() -> None:
    data_set = image_of(ramp().view(np.int16), RescaleIntercept="-128", RescaleSlope="1")
    data_set.VOILUTSequence = Sequence([lut(list(range(256)), -128, 8, "SS")])
    assert np.array_equal(shown(written(data_set))[0], ramp().astype(np.uint8))


@pytest.mark.parametrize("name", ["mlut_18.dcm", "vlut_04.dcm"])
def test_real_tables_are_applied_as_pydicom_does(name: str) -> None:
    path = more_image(name)
    data_set = pydicom.dcmread(path)
    values = apply_modality_lut(data_set.pixel_array, data_set)
    picture, image = shown(path.read_bytes())
    if image.voi_lut is None or image.windows:
        theirs = apply_voi_lut(values, data_set, prefer_lut=False) if image.windows else values
        assert np.corrcoef(picture.ravel(), theirs.ravel().astype(float))[0, 1] ** 2 > 0.9
    else:
        highest = (1 << image.voi_lut.bits) - 1
        assert np.array_equal(picture, in_8_bits(apply_voi_lut(values, data_set), 0, highest))


@pytest.mark.parametrize(
    ("photometric", "shape", "inverse"),
    [
        ("MONOCHROME2", "IDENTITY", False),
        ("MONOCHROME2", "INVERSE", True),
        ("MONOCHROME1", "INVERSE", True),
        ("MONOCHROME1", None, True),
        ("MONOCHROME2", None, False),
    ],
)
def test_low_values_are_white_where_the_file_says_so(photometric: str, shape: str | None, inverse: bool) -> None:
    data_set = image_of(ramp(), photometric)
    if shape:
        data_set.PresentationLUTShape = shape
    assert (shown(written(data_set))[0][0, 0] == 255) == inverse
    assert (shown(written(data_set), invert=True)[0][0, 0] == 255) != inverse


def enhanced() -> Dataset:
    """Three frames, each with a rescale and a window of its own; a sigmoid and spacings for all."""
    data_set = image_of(np.stack([ramp()] * 3))
    shared, per_frame = Dataset(), []
    measures, voi = Dataset(), Dataset()
    measures.PixelSpacing = [2, 1]
    shared.PixelMeasuresSequence = Sequence([measures])
    for number in range(3):
        transformation, voi, groups = Dataset(), Dataset(), Dataset()
        transformation.RescaleSlope, transformation.RescaleIntercept = number + 1, -10 * number
        transformation.RescaleType = "US"
        voi.WindowCenter, voi.WindowWidth = 100 * (number + 1), 50 * (number + 1)
        groups.PixelValueTransformationSequence = Sequence([transformation])
        groups.FrameVOILUTSequence = Sequence([voi])
        per_frame.append(groups)
    data_set.SharedFunctionalGroupsSequence = Sequence([shared])
    data_set.PerFrameFunctionalGroupsSequence = Sequence(per_frame)
    return data_set


@pytest.mark.parametrize("frame", [0, 1, 2])
def test_each_frame_is_shown_by_its_own_functional_groups(frame: int) -> None:
    picture, image = shown(written(enhanced()), frame)
    assert image.windows == ((100 * (frame + 1), 50 * (frame + 1)),)
    assert (image.slope, image.intercept, image.aspect) == (frame + 1, -10 * frame, 2.0)
    values = ramp() * np.float64(frame + 1) - 10 * frame
    center, width = image.windows[0]
    assert np.array_equal(picture, in_8_bits(values, center - width / 2, center + width / 2 - 1))


@pytest.mark.parametrize(
    ("center", "width", "window"),
    [(None, None, None), (7, None, (7, 400)), (None, 9, (40, 9)), (7, 9, (7, 9))],
)
def test_one_axis_of_the_window_may_be_asked_alone(
    center: float | None, width: float | None, window: Window | None
) -> None:
    image = dataclasses.replace(IMAGE, windows=((40.0, 400.0),))
    assert asked_window(np.zeros((4, 6), np.uint16), image, center, width) == window


def test_without_a_window_of_the_file_the_other_axis_is_that_of_all_values() -> None:
    pixels = np.array([[100, 300]], np.uint16)
    assert asked_window(pixels, IMAGE, 7, None) == (7, 200)
    assert asked_window(pixels, IMAGE, None, 9) == (200, 9)


@pytest.mark.parametrize("window", [(0.0, 0.0), (0.0, -3.0), (float("nan"), 1.0), (1e300, 1.0), (0.0, float("inf"))])
def test_an_absurd_window_is_refused(window: Window) -> None:
    with pytest.raises(Invalid):
        asked_window(np.zeros((4, 6), np.uint16), IMAGE, *window)


@given(
    values=st.lists(st.floats(width=32), min_size=4, max_size=4),
    center=st.floats(-1e15, 1e15),
    width=st.floats(1e-300, 1e15),
    function=st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID", "ELSE"]),
    invert=st.booleans(),
)
@settings(max_examples=200, deadline=None)
@pytest.mark.filterwarnings("error")
def test_any_values_under_any_window_are_shown_and_no_number_is_black(
    values: list[float], center: float, width: float, function: str, invert: bool
) -> None:
    pixels = np.array([values], np.float32)
    image = dataclasses.replace(IMAGE, rows=1, columns=4, voi_function=function)
    for window in (None, (center, width)):
        picture = render(pixels, image, window, invert=invert)
        assert not picture[np.isnan(pixels)].any()


@pytest.mark.parametrize("value", [0, 7, 65535])
def test_a_constant_image_is_shown(value: int) -> None:
    pixels = np.full((4, 6), value, np.uint16)
    assert len(np.unique(render(pixels, IMAGE))) == 1
    assert full_window(pixels, IMAGE)[1] == 1


@pytest.mark.parametrize("bits", [pytest.param(bits, id=f"{bits} bits") for bits in (1, 2, 4, 10, 12, 14)])
def test_packed_samples_come_apart(bits: int) -> None:
    values = np.random.default_rng(bits).integers(0, 1 << bits, (5, 7))
    packed = sum(int(value) << bits * place for place, value in enumerate(values.ravel()))
    image = dataclasses.replace(
        IMAGE, rows=5, columns=7, bits_allocated=bits, bits_stored=bits, high_bit=bits - 1, signed=False
    )
    assert np.array_equal(decode_frame(packed.to_bytes((35 * bits + 7) // 8, "little"), image), values)


@pytest.mark.parametrize("bits", [8, 16])
def test_segmented_palettes_are_expanded(bits: int) -> None:
    data_set = image_of(ramp(256).astype(np.uint8), "PALETTE COLOR")
    word = "<u2" if bits == 16 else "u1"
    high = 60000 if bits == 16 else 250
    offset = [0, 0] if bits == 16 else [0, 0, 0, 0]
    segments = [0, 3, 10, 20, 30, 1, 100, high, 1, 50, 5, 2, 1, *offset, 1, 100, 40]
    for colour in ("Red", "Green", "Blue"):
        setattr(data_set, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, bits])
        value = np.array(segments, word).tobytes()
        setattr(data_set, f"Segmented{colour}PaletteColorLookupTableData", value + b"\0" * (len(value) % 2))
    data = written(data_set)
    theirs = apply_color_lut(ramp(256).astype(np.uint8), data_set)
    picture, _ = shown(data)
    # pydicom rounds with the noise of floating point
    assert np.abs(picture.astype(int) - (theirs >> 8 if bits == 16 else theirs)).max() <= 1


@given(segments=st.lists(st.integers(0, 65535) | st.integers(0, 4), max_size=40))
@settings(max_examples=150, deadline=None)
def test_damaged_segments_are_refused_or_expanded(segments: list[int]) -> None:
    data_set = image_of(ramp(256).astype(np.uint8), "PALETTE COLOR")
    for colour in ("Red", "Green", "Blue"):
        setattr(data_set, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(data_set, f"Segmented{colour}PaletteColorLookupTableData", np.array(segments, "<u2").tobytes())
    with suppress(Unreadable):
        assert shown(written(data_set))[0].shape == (16, 16, 3)


def test_a_palette_may_begin_below_zero() -> None:
    data_set = image_of((ramp().astype(np.int16) - 128), "PALETTE COLOR")
    for number, colour in enumerate(("Red", "Green", "Blue")):
        data_set.add_new(0x00281101 + number, "SS", [256, -128, 16])
        table = np.arange(256, dtype="<u2") << 8
        setattr(data_set, f"{colour}PaletteColorLookupTableData", table.tobytes())
    assert np.array_equal(shown(written(data_set))[0][..., 0], ramp().astype(np.uint8))


def with_overlay(data_set: Dataset, bits: NDArray[np.bool_], origin: tuple[int, int] = (1, 1)) -> Dataset:
    packed = np.packbits(bits.ravel(), bitorder="little").tobytes()
    data_set.add_new(0x60000010, "US", bits.shape[-2])
    data_set.add_new(0x60000011, "US", bits.shape[-1])
    if bits.ndim == 3:
        data_set.add_new(0x60000015, "IS", bits.shape[0])
        data_set.add_new(0x60000051, "US", 1)
    data_set.add_new(0x60000040, "CS", "G")
    data_set.add_new(0x60000050, "SS", list(origin))
    data_set.add_new(0x60000100, "US", 1)
    data_set.add_new(0x60000102, "US", 0)
    data_set.add_new(0x60003000, "OW", packed + b"\0" * (len(packed) % 2))
    return data_set


@pytest.mark.parametrize("origin", [(1, 1), (3, 2), (-1, 0), (40, 40)])
def test_overlays_are_drawn_on_request(origin: tuple[int, int]) -> None:
    bits = np.random.default_rng(1).random((9, 11)) > 0.5
    data = written(with_overlay(image_of(ramp()), bits, origin))
    plain, drawn = shown(data)[0], shown(data, overlays=True)[0]
    expected = plain.copy()
    for row, column in np.argwhere(bits):
        at = row + origin[0] - 1, column + origin[1] - 1
        if 0 <= at[0] < 16 and 0 <= at[1] < 16:
            expected[at] = 255
    assert np.array_equal(drawn, expected)


def test_an_overlay_may_have_a_plane_for_each_frame() -> None:
    bits = np.random.default_rng(2).random((3, 16, 16)) > 0.5
    data = written(with_overlay(image_of(np.stack([ramp()] * 3)), bits))
    for frame in range(3):
        plain, drawn = shown(data, frame)[0], shown(data, frame, overlays=True)[0]
        assert np.array_equal(drawn, np.where(bits[frame], 255, plain))


def test_an_overlay_in_an_unused_bit_of_the_pixels_is_drawn_and_never_a_value() -> None:
    bits = np.random.default_rng(3).random((16, 16)) > 0.5
    data_set = image_of(ramp() | bits.astype(np.uint16) << 14, BitsStored=12, HighBit=11)
    data_set.add_new(0x60000010, "US", 16)
    data_set.add_new(0x60000011, "US", 16)
    data_set.add_new(0x60000040, "CS", "G")
    data_set.add_new(0x60000050, "SS", [1, 1])
    data_set.add_new(0x60000100, "US", 16)
    data_set.add_new(0x60000102, "US", 14)
    plain, drawn = shown(written(data_set))[0], shown(written(data_set), overlays=True)[0]
    assert np.array_equal(plain, ramp().astype(np.uint8))
    assert np.array_equal(drawn, np.where(bits, 255, plain))


def test_a_real_overlay_equals_pydicoms() -> None:
    path = more_image("MR-SIEMENS-DICOM-WithOverlays.dcm")
    plain, drawn = shown(path.read_bytes())[0], shown(path.read_bytes(), overlays=True)[0]
    bits = pydicom.dcmread(path).overlay_array(0x6000)[: plain.shape[0], : plain.shape[1]]
    assert np.array_equal(drawn, np.where(bits > 0, 255, plain))


@pytest.mark.parametrize(
    ("shape", "scale", "aspect", "expected"),
    [
        ((10, 20), 1, 1, (10, 20)),
        ((10, 20), 1, 2, (20, 20)),
        ((10, 20), 1, 0.5, (10, 40)),
        ((10, 20), 3, 1, (30, 60)),
        ((10, 20), 8, 2, (160, 160)),
        ((10, 20), 1.5, 1, (15, 30)),
        ((500, 500), 1, 1.004, (500, 500)),
        ((10, 20, 3), 2, 1, (20, 40, 3)),
    ],
)
def test_pixels_become_square_and_pictures_larger(
    shape: tuple[int, ...], scale: float, aspect: float, expected: tuple[int, ...]
) -> None:
    assert scaled(np.full(shape, 9, np.uint8), scale, aspect).shape == expected
    assert (scaled(np.full(shape, 9, np.uint8), scale, aspect) == 9).all()


def test_a_picture_is_enlarged_along_straight_lines_and_within_bounds() -> None:
    assert scaled(np.array([[0, 100]], np.uint8), 2).tolist() == [[0, 25, 75, 100]] * 2
    for scale in (0.5, 9, float("nan")):
        with pytest.raises(Invalid):
            scaled(np.zeros((4, 4), np.uint8), scale)
    with pytest.raises(Invalid, match="smaller scale"):
        scaled(np.zeros((4000, 4000), np.uint8), 8)
    assert scaled(np.zeros((400, 4000), np.uint8), 1, 100).size <= 33 << 20


@cache
def icc() -> bytes:
    return bytes(imagecodecs.cms_profile("srgb"))


def test_an_embedded_profile_is_kept_in_png_and_jpeg() -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (8, 8, 3), np.uint8)
    data_set = image_of(rgb, "RGB", ICCProfile=icc() + b"\0" * (len(icc()) % 2))
    picture, image = shown(written(data_set))
    assert image.icc == icc()
    from PIL import Image

    for encode in (to_png, to_jpeg):
        opened = Image.open(io.BytesIO(encode(picture, image.icc)))
        assert opened.info["icc_profile"] == icc()
        assert opened.size == (8, 8)
    large = icc() + bytes(200_000)
    assert Image.open(io.BytesIO(to_jpeg(picture, large))).info["icc_profile"] == large
    assert Image.open(io.BytesIO(to_png(picture[..., 0], icc()))).info.get("icc_profile") is None


@pytest.mark.parametrize("colour", [False, True])
def test_jpeg_looks_like_the_picture(colour: bool) -> None:
    smooth = np.add.outer(np.arange(64), np.arange(48)).astype(np.uint8)
    picture = np.stack([smooth, smooth[::-1], smooth], axis=2) if colour else smooth
    back = imagecodecs.jpeg8_decode(to_jpeg(picture))
    assert np.abs(back.astype(int) - picture).mean() < 2


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "examples_overlay.dcm"])
@pytest.mark.parametrize("window", [(40.0, 400.0), (1000.0, 900.0)])
def test_pictures_equal_dcmtks(name: str, window: Window, tmp_path: Path, dcmtk: Callable[..., None]) -> None:
    path = wheel_file(name)
    dcmtk("dcmj2pnm", "--no-overlays", "+Ww", *map(str, window), "--write-png", str(path), str(tmp_path / "out.png"))
    theirs = imagecodecs.png_decode((tmp_path / "out.png").read_bytes())
    ours = shown(path.read_bytes(), window=window)[0]
    assert np.abs(ours.astype(int) - theirs).max() <= 1


@pytest.fixture
def dcmtk() -> Callable[..., None]:
    def run(tool: str, *words: str) -> None:
        try:
            subprocess.run([tool, *words], check=True, capture_output=True)
        except FileNotFoundError:
            pytest.skip(f"{tool} is not installed")

    return run
