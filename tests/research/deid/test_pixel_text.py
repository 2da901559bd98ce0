"""Text burned into pixels: gone from all kinds of images, with not one other pixel changed, and what may stay stays."""

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from typer.testing import CliRunner

from hilum.cli import app
from hilum.core.errors import Invalid
from hilum.imaging.dicom.dataset import read_data_set, read_tree
from hilum.imaging.dicom.header import scan_file
from hilum.imaging.dicom.image import describe
from hilum.research.deid.identifiers import collected
from hilum.research.deid.pixel_text import detector
from hilum.research.deid.pixel_text.reading import is_marker, markers
from hilum.research.deid.pixel_text.regions import device_rules, outside_regions
from hilum.research.deid.pixel_text.step import TextStep, _too_much, text_step
from hilum.research.deid.pixels import Box, Verdict
from hilum.research.deid.profile import load_profile
from hilum.research.deid.report import Report
from hilum.research.deid.run import Request, deidentify_folder
from hilum.research.deid.words import is_word
from tests.research.deid.burned import (
    BASELINE,
    J2K,
    J2K_LOSSY,
    NEAR,
    SC,
    US,
    Burned,
    burned,
    clean,
    dataset,
    frames_of,
    jpeg,
    packed,
    radiograph,
    stored,
    written,
)
from tests.research.deid.planted import CT, item
from tests.research.deid.textured import NAMES, Textured, without
from tests.research.deid.textured import look as texture_look
from tests.research.deid.textured import written as on_texture

NOBODY = collected([]).patterns()
PERSON = collected([("name", "Featherstonehaugh^Alistair"), ("id", "MRN00481516")]).patterns()
STEP = TextStep(device_rules())
NEAR_INK = 120
pytestmark = pytest.mark.timeout(900)  # the networks take seconds of CPU, of which a busy machine gives little


def look(data: bytes, step: TextStep = STEP) -> Verdict:
    file = BytesIO(data)
    return step(file, scan_file(file), PERSON)


@pytest.fixture(scope="module")
def images() -> list[Burned]:
    """All images: with identifiers, and clean ones."""
    return [*burned(), *clean()]


@pytest.fixture(scope="module")
def done(images: list[Burned], tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[int, bytes], Report]:
    """What became of them by number, through the whole of a run."""
    folder = tmp_path_factory.mktemp("burned")
    (folder / "in").mkdir()
    for one in images:
        (folder / "in" / f"{one.name}.dcm").write_bytes(one.data)
    asked = Request(
        folder / "in", folder / "out", "research", folder / "key", crosswalk=folder / "crosswalk",
        report=folder / "report.json", workers=2,
    )  # fmt: skip
    report = deidentify_folder(asked, lambda _done, _total: None)
    made: dict[int, bytes] = {}
    for path in sorted((folder / "out").rglob("*.dcm")):
        made[int(pydicom.dcmread(path, stop_before_pixels=True).InstanceNumber)] = path.read_bytes()
    return made, report


def number(one: Burned) -> int:
    return int(pydicom.dcmread(BytesIO(one.data), stop_before_pixels=True).InstanceNumber)


def test_nothing_that_is_burned_in_is_left(images: list[Burned], done: tuple[dict[int, bytes], Report]) -> None:
    left: list[str] = []
    for one in images:
        if not one.ink.any():
            continue
        after = frames_of(done[0][number(one)])
        around = cv2.dilate(one.ink.astype(np.uint8), np.ones((3, 3))) > 0
        for frame in after.astype(np.int32):
            letters = frame[around].reshape(around.sum(), -1)
            if (np.ptp(letters, axis=0) > (0 if one.exact else 12)).any():
                left.append(one.name)
                break
    assert left == []


def test_no_other_pixel_is_changed(images: list[Burned], done: tuple[dict[int, bytes], Report]) -> None:
    changed: list[str] = []
    for one in images:
        before, after = frames_of(one.data), frames_of(done[0][number(one)])
        if one.name == "US with regions":
            same = np.array_equal(before[:, 60:441, 60:580], after[:, 60:441, 60:580])
        else:
            far = cv2.dilate(one.ink.astype(np.uint8), np.ones((NEAR_INK, NEAR_INK))) == 0
            same = np.array_equal(before[:, far], after[:, far])
        if not same:
            changed.append(one.name)
    assert changed == []


def test_clean_images_stay_as_they_are(images: list[Burned], done: tuple[dict[int, bytes], Report]) -> None:
    changed = [
        one.name
        for one in images
        if not one.ink.any() and not np.array_equal(frames_of(one.data), frames_of(done[0][number(one)]))
    ]
    assert changed == []
    assert done[1].counts["quarantined"] == 0


def test_the_files_say_what_was_done(images: list[Burned], done: tuple[dict[int, bytes], Report]) -> None:
    for one in images:
        before, after = (pydicom.dcmread(BytesIO(data)) for data in (one.data, done[0][number(one)]))
        codes = [code.CodeValue for code in after.DeidentificationMethodCodeSequence]
        assert "113101" in codes
        assert after.BurnedInAnnotation == "NO"
        syntax = before.file_meta.TransferSyntaxUID
        assert after.file_meta.TransferSyntaxUID == (J2K if syntax == J2K_LOSSY else syntax)
        assert after.get("LossyImageCompression") == before.get("LossyImageCompression")
        expected = "YBR_RCT" if syntax == J2K_LOSSY else before.PhotometricInterpretation
        assert after.PhotometricInterpretation == expected


@pytest.mark.parametrize(
    "text",
    ["L", "R", "PORTABLE", "RT LAT", "PA ERECT", "LMLO", "10 cm", "5.2", "MI 1.1", "TIS<0.4", "65bpm", "64%", "R-CC"],
)
def test_markers_may_stay(text: str) -> None:
    assert is_marker(text.lower())


@pytest.mark.parametrize(
    "text",
    ["", "SMITH", "L SMITH", "2018", "12345", "3/3/4", "10-03-18", "12:30", "1 2 3 4 5", "MRN 12", "11.05.2011", "C61"],
)
def test_what_is_no_marker_goes(text: str) -> None:
    assert not is_marker(text.lower())


def marked(lines: list[tuple[int, int, str]], size: float = 40, **how: object) -> bytes:
    picture = radiograph(np.random.default_rng(3), 900, 700)
    picture[written(picture.shape, lines, size)] = 4095
    return stored(dataset(1, "1.2.840.10008.5.1.4.1.1.1", "CR", picture[np.newaxis], "MONOCHROME2"), picture, 12)


def test_a_marker_goes_when_the_profile_says_so_or_when_it_is_a_name() -> None:
    name = next(one for one in sorted(markers()) if len(one) > 3 and one.isalpha() and not is_word(one))
    data = marked([(60, 500, name.upper())])
    assert look(data).state == "clean"
    assert look(data, replace(STEP, keep_markers=False)).state == "blackened"
    file = BytesIO(data)
    assert STEP(file, scan_file(file), collected([("name", f"{name}^Ann")]).patterns()).state == "blackened"


def test_numbers_beside_each_other_are_read_together() -> None:
    assert look(marked([(60, 60, "48"), (60, 120, "15"), (60, 180, "16")])).state == "blackened"


def test_large_lines_that_cannot_be_read_are_for_a_person_to_look_at() -> None:
    file = BytesIO(marked([]))
    image = describe(file, scan_file(file))
    line = Box(100, 100, 200, 200)
    assert "cannot be read" in _too_much([line], [line], image)
    assert _too_much([line], [], image) == ""


@pytest.fixture(scope="module")
def textures() -> dict[str, Textured]:
    """Images without letters."""
    return {one.name: one for one in without((1,))}


@pytest.mark.parametrize("name", NAMES)
def test_speckle_vessels_and_glands_are_no_letters(name: str, textures: dict[str, Textured]) -> None:
    verdict = texture_look(textures[f"{name} 1"])
    assert (verdict.state, verdict.data, verdict.boxes) == ("clean", None, ())


@pytest.mark.parametrize(
    ("name", "text", "place", "size", "far", "only"),
    [
        ("thyroid 1", "Kowalski, Jan", (270, 120), 10, 0.45, None),
        ("thyroid 1", "Nguyen Thi", (370, 300), 14, 0.3, None),
        ("abdomen 1", "12/05/1974", (200, 250), 9, 0.6, None),
        ("heart 1", "SMITH", (250, 320), 12, 0.45, 1),
        ("heart 1", "John Smith", (140, 235), 20, 0.45, None),
        ("left run 1", "MRN 4471209", (240, 180), 16, 0.45, 2),
        ("fan 1", "Dr. R. Patel", (250, 260), 26, 0.45, None),
    ],
)
def test_letters_on_texture_are_found(
    textures: dict[str, Textured],
    name: str,
    text: str,
    place: tuple[int, int],
    size: float,
    far: float,
    only: int | None,
) -> None:
    one = on_texture(textures[name], text, place, size, far, only)
    verdict = texture_look(one)
    assert verdict.state == "blackened"
    assert one.left(verdict) < 0.01


def test_a_page_of_text_is_for_a_person_to_look_at() -> None:
    page = np.zeros((400, 500), np.uint8)
    page[written(page.shape, [(34 * row, 2, "Featherstonehaugh Alistair") for row in range(12)], 34)] = 255
    verdict = look(stored(dataset(1, SC, "OT", page[np.newaxis], "MONOCHROME2"), page))
    assert (verdict.state, "more than half" in verdict.reason) == ("unsure", True)


def test_jpeg_that_cannot_be_edited_in_its_blocks_is_for_a_person() -> None:
    picture = np.zeros((300, 400), np.uint8)
    picture[written(picture.shape, [(40, 20, "Featherstonehaugh")], 24)] = 255
    file = BytesIO()
    Image.fromarray(picture).save(file, "JPEG", progressive=True)
    ds = dataset(1, SC, "OT", picture[np.newaxis], "MONOCHROME2")
    verdict = look(packed(ds, [file.getvalue()], BASELINE))
    assert (verdict.state, "JPEG blocks" in verdict.reason) == ("unsure", True)


@pytest.mark.parametrize("cut", [0.5, 0.9])
def test_damaged_pixels_are_for_a_person(cut: float) -> None:
    picture = np.zeros((300, 400), np.uint8)
    ds = dataset(1, SC, "OT", picture[np.newaxis], "MONOCHROME2")
    frame = jpeg(picture)
    assert look(packed(ds, [b"\xff\xd8" + frame[2 : int(len(frame) * cut)][:100]], BASELINE)).state == "unsure"


def test_near_lossless_is_stored_without_further_loss() -> None:
    import imagecodecs

    picture = np.zeros((300, 400), np.uint8)
    picture[200:] = np.random.default_rng(1).integers(0, 30, (100, 400))
    picture[written(picture.shape, [(40, 20, "Featherstonehaugh")], 24)] = 255
    data = packed(
        dataset(1, SC, "OT", picture[np.newaxis], "MONOCHROME2"),
        [bytes(imagecodecs.jpegls_encode(picture, level=3))],
        NEAR,
    )
    verdict = look(data)
    assert verdict.data is not None
    assert "stored as JPEG-LS Lossless" in verdict.reason
    assert np.array_equal(frames_of(data)[:, 200:], frames_of(verdict.data)[:, 200:])


def regions(*edges: tuple[int, int, int, int], form: int = 1) -> Dataset:
    fan = np.full((100, 200), 9, np.uint8)
    ds = dataset(1, US, "US", fan[np.newaxis], "MONOCHROME2")
    ds.SequenceOfUltrasoundRegions = [
        item(
            RegionSpatialFormat=form,
            RegionLocationMinX0=x0,
            RegionLocationMinY0=y0,
            RegionLocationMaxX1=x1,
            RegionLocationMaxY1=y1,
        )
        for x0, y0, x1, y1 in edges
    ]
    return ds


def boxes_of(ds: Dataset) -> list[Box] | None:
    data = stored(ds, np.full((100, 200), 9, np.uint8))
    file = BytesIO(data)
    header = scan_file(file)
    return outside_regions(read_tree(read_data_set(file, header), header), 100, 200)


def test_what_is_outside_of_all_regions_and_only_that_is_told() -> None:
    boxes = boxes_of(regions((20, 10, 99, 59), (90, 40, 199, 99)))
    assert boxes is not None
    mask = np.zeros((100, 200), int)
    for box in boxes:
        mask[box.row : box.row + box.rows, box.column : box.column + box.columns] += 1
    wanted = np.ones((100, 200), int)
    wanted[10:60, 20:100] = wanted[40:100, 90:200] = 0
    assert np.array_equal(mask, wanted)


def test_regions_that_make_no_sense_are_not_believed() -> None:
    assert boxes_of(regions((0, 0, 5, 5))) is None
    assert boxes_of(regions((50, 50, 40, 40))) is None
    assert boxes_of(regions((0, 0, 199, 99), form=0)) is None
    assert boxes_of(regions((300, 300, 400, 400))) is None
    assert boxes_of(regions((0, 0, 9999, 9999))) == []


def test_device_rules_of_a_site_go_before_the_others(tmp_path: Path) -> None:
    path = tmp_path / "ours.toml"
    path.write_text(
        '[[rule]]\nmanufacturer = "acme"\nmodality = "us"\nrows = 100\nboxes = [[0, 0, 20, 0], [-10, 50, 0, 30]]\n'
    )
    fan = np.add.outer(np.arange(100), np.arange(200)).astype(np.uint8) // 4 + 40
    data = stored(dataset(1, US, "US", fan[np.newaxis], "MONOCHROME2"), fan)
    verdict = look(data, TextStep(device_rules(str(path))))
    assert verdict.boxes == (Box(0, 0, 20, 200), Box(90, 50, 10, 30))
    assert verdict.data is not None
    after = frames_of(verdict.data)[0]
    assert not after[:20].any()
    assert not after[90:, 50:80].any()
    assert np.array_equal(after[20:90], fan[20:90])
    path.write_text("[[rule]]\nbox = 1\n")
    with pytest.raises(Invalid, match=r"ours\.toml"):
        device_rules(str(path))
    with pytest.raises(Invalid, match="no file"):
        device_rules(str(tmp_path / "none.toml"))


def test_a_label_of_a_slide_goes_black() -> None:
    label = np.full((300, 300, 3), 200, np.uint8)
    label[written(label.shape[:2], [(40, 20, "S18-1234")], 40)] = 0
    ds = dataset(1, "1.2.840.10008.5.1.4.1.1.77.1.6", "SM", label[np.newaxis], "RGB")
    ds.ImageType = ["ORIGINAL", "PRIMARY", "LABEL", "NONE"]
    verdict = look(stored(ds, label))
    assert verdict.data is not None
    assert not frames_of(verdict.data).any()


def test_a_profile_can_hold_back_or_name_rules(tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text("")
    path = tmp_path / "ours.toml"
    path.write_text('name = "ours"\nbase = "basic"\npixels = "quarantine"\n')
    assert text_step(load_profile(str(path))) is None
    path.write_text('name = "ours"\nbase = "basic"\npixels = "all"\n')
    picture = radiograph(np.random.default_rng(3), 300, 400)
    picture[written(picture.shape, [(20, 20, "Featherstonehaugh")], 20)] = 4095
    ds = dataset(1, CT, "CT", picture[np.newaxis], "MONOCHROME2")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "ct.dcm").write_bytes(stored(ds, picture, 12))
    asked = Request(
        tmp_path / "in", tmp_path / "out", str(path), tmp_path / "key", crosswalk=tmp_path / "crosswalk", workers=1
    )
    assert deidentify_folder(asked, lambda _done, _total: None).counts["written"] == 1
    (made,) = (tmp_path / "out").rglob("*.dcm")
    assert not np.array_equal(pydicom.dcmread(made).pixel_array, picture)
    path.write_text(
        'name = "ours"\nbase = "basic"\nmarkers = "blacken"\nultrasound = "text"\ndevice_rules = "rules.toml"\n'
    )
    step = text_step(load_profile(str(path)))
    assert isinstance(step, TextStep)
    assert (step.keep_markers, step.regions_only) == (False, False)


def test_without_the_models_images_are_held_back(
    images: list[Burned], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detector, "_NEEDED", ("onnxruntime", "no_such_package"))
    detector.missing.cache_clear()
    try:
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "one.dcm").write_bytes(images[0].data)
        asked = Request(
            tmp_path / "in", tmp_path / "out", "research", tmp_path / "key", crosswalk=tmp_path / "crosswalk", workers=1
        )
        held = deidentify_folder(asked, lambda _done, _total: None).quarantined
    finally:
        detector.missing.cache_clear()
    assert held[0]["code"] == "pixels_unseen"
    assert "no_such_package is not installed: pip install 'hilum[pixels]'" in held[0]["reason"]


def test_the_networks_run_on_one_thread() -> None:
    assert detector.missing() == ""
    options = detector._session(detector._DETECTOR).get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)


def test_a_person_decides_and_the_next_run_does_it(tmp_path: Path) -> None:
    """Listed, shown before and after, a box drawn, accepted; and again, with the decision changed."""
    (tmp_path / "in").mkdir()
    page = np.zeros((300, 380), np.uint8)
    page[written(page.shape, [(25 * row, 2, "Featherstonehaugh Alistair") for row in range(12)], 25)] = 255
    ds = dataset(1, SC, "OT", page[np.newaxis], "MONOCHROME2")
    (tmp_path / "in" / "page.dcm").write_bytes(stored(ds, page))
    paths = {name: tmp_path / name for name in ("key", "crosswalk", "review.json")}
    asked = Request(
        tmp_path / "in", tmp_path / "out", "research", paths["key"], crosswalk=paths["crosswalk"], workers=1,
        review=paths["review.json"],
    )  # fmt: skip

    def out() -> np.ndarray:
        deidentify_folder(asked, lambda _done, _total: None)
        (made,) = (tmp_path / "out").rglob("*.dcm")
        return pydicom.dcmread(made).pixel_array

    def said(*more: str) -> str:
        told = ["deid-review", str(tmp_path / "in"), "--review", str(paths["review.json"]), *more]
        done = CliRunner().invoke(app, told)
        assert done.exit_code == 0, done.output
        return done.output

    held = deidentify_folder(asked, lambda _done, _total: None).quarantined
    assert [one["code"] for one in held] == ["pixels_unsure"]
    run = ("--crosswalk", str(paths["crosswalk"]), "--key-file", str(paths["key"]))
    assert "page.dcm: A person must look at its pixels (more than half of it seems to be text)" in said(*run)
    said("--file", "page.dcm", "--accept", "--png", str(tmp_path / "png"), "--profile", "research")
    assert not np.asarray(Image.open(tmp_path / "png" / "after.png"))[page > 96].any()
    assert (np.asarray(Image.open(tmp_path / "png" / "before.png")) == (255, 64, 64)).all(axis=2).any()
    assert not out()[page > 96].any()
    said("--file", "page.dcm", "--only", "--box", "0,0,100,380")
    assert np.array_equal(out()[100:], page[100:])
    assert not out()[:100].any()
    assert said(*run) == ""
    assert CliRunner().invoke(app, ["deid-review", str(tmp_path / "in"), "--review", "x", "--file", "../key"]).exit_code
    paths["review.json"].write_text('[{"file": "page.dcm", "how": "whatever"}]')
    with pytest.raises(Invalid, match=r"review\.json"):
        out()
