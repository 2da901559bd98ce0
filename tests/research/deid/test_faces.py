"""Faces are taken off heads: the whole face, none of the brain, nothing else. What is not certain is held."""

import os
import shutil
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from hilum.imaging.dicom.header import Header, scan_file
from hilum.research.deid.crosswalk import Crosswalk
from hilum.research.deid.engine import Engine
from hilum.research.deid.faces import registration
from hilum.research.deid.faces.removal import without_face
from hilum.research.deid.faces.step import find_faces
from hilum.research.deid.faces.template import BRAIN, REMOVED, template
from hilum.research.deid.faces.volume import Unsuitable
from hilum.research.deid.identifiers import Patterns
from hilum.research.deid.instance import Deidentifier, Quarantined
from hilum.research.deid.keys import read_keys
from hilum.research.deid.person import Person
from hilum.research.deid.pixel_text.blackout import Refused
from hilum.research.deid.pixels import Decision, Face, Verdict, may_show_face
from hilum.research.deid.profile import Profile, Rules
from hilum.research.deid.report import Report
from hilum.research.deid.run import Request, deidentify_folder
from hilum.research.deid.uids import UidMap
from tests.research.deid.burned import BASELINE, J2K, LOSSLESS, LS, RLE, jpeg
from tests.research.deid.heads import BIG, DEFLATED, IMPLICIT, LITTLE, Form, Scan, dicom, judged, padding, scan, stored
from tests.research.deid.planted import MR, PATIENTS, PT, base, image, part10

pytestmark = pytest.mark.timeout(900)  # 20 volumes are looked at before the first test

PROFILE = 'name = "faceless"\nbase = "research"\nfaces = "remove"\n'


@dataclass(frozen=True)
class Case:
    """A head as one series, and how it is written."""

    scan: Callable[[], Scan]
    form: Form


CASES = {
    "mr-axial": Case(lambda: scan("robex"), Form()),
    "mr-axial-thick-8-bits": Case(lambda: scan("robex", step=6, pixel=1.2), Form(bits=8, slope=3)),
    "mr-sagittal-enhanced": Case(lambda: scan("voxface", plane="sagittal"), Form(enhanced=True)),
    "mr-oblique-inverted": Case(lambda: scan("pydeface", tilted=(25, 10, -15)), Form(inverted=True, syntax=RLE)),
    "mr-twice-16-bits": Case(
        lambda: scan("voxface", plane="coronal", turned=(-15, 5, 12)), Form(bits=16, slope=0.25, frames_apart=2)
    ),
    "ct-axial-gantry": Case(lambda: scan("voxface", "CT", gantry=18), Form(signed=True, bits=16, padded=True)),
    "ct-turned": Case(lambda: scan("robex", "CT", turned=(15, -10, 20)), Form(syntax=LS)),
    "ct-coronal-enhanced": Case(lambda: scan("robex", "CT", "coronal"), Form(enhanced=True, syntax=J2K)),
    "ct-feet-first": Case(lambda: scan("pydeface", "CT", "feet first", turned=(-20, 0, 0)), Form(syntax=DEFLATED)),
}  # fmt: skip


@cache
def _held() -> dict[str, tuple[list[bytes], str]]:
    """Series that may show a face and must not leave, and what is said of them."""
    small: dict[str, Any] = {"pixel": 3.0, "step": 4.0}
    whole = scan("robex", **small)
    slices = dicom(whole, series=51)
    moved = scan("robex", **small)
    moved.positions[12][2] += 1.5
    noise = scan("robex", **small)
    noise.values = np.random.default_rng(1).uniform(0, 700, noise.values.shape).astype(np.float32)
    mirrored = scan("robex", **small)
    mirrored.values = mirrored.values[:, ::-1].copy()
    side = dicom(scan("robex", plane="sagittal", **small), series=53)
    pet = dicom(whole, series=60, Modality="PT", SOPClassUID=PT)
    return {
        "missing": ([*slices[:20], *slices[21:]], "slices are missing"),
        "uneven": (dicom(moved, series=52), "not equally far"),
        "mixed": ([*side[:-1], *dicom(whole, series=53)[-1:]], "differ in size or direction"),
        "few": (dicom(whole, series=54)[20:25], "fewer than 8"),
        "face alone": (dicom(scan("robex", extent=(0.0, 0.45), **small), series=55), "only in part"),
        "crown alone": (dicom(scan("voxface", "CT", extent=(0.6, 1.0), **small), series=56), "only in part"),
        "noise": (dicom(noise, series=57), "head"),
        "back to front": (dicom(mirrored, series=58), "no head was found"),
        "damaged": ([*(one[:-500] for one in dicom(whole, series=59)[:1]), *dicom(whole, series=59)[1:]], "be read"),
        "PET": (pet, "CT and MR only"),
        "coloured": ([_coloured(one) for one in dicom(whole, Form(bits=8), series=61)[:9]], "grey"),
    }


def _coloured(data: bytes) -> bytes:
    ds = pydicom.dcmread(BytesIO(data))
    samples = np.repeat(ds.pixel_array.ravel(), 3).tobytes()
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.PixelData = samples + b"\0" * (len(samples) % 2)
    return part10(ds, LITTLE)


@cache
def _elsewhere() -> dict[str, list[bytes]]:
    """Series that show no face."""
    small = scan("robex", pixel=4.0, step=8.0)
    chest = dicom(small, series=71, BodyPartExamined="CHEST", StudyDescription="CT CHEST")
    knee = dicom(small, series=72, BodyPartExamined="", StudyDescription="KNEE LEFT", SeriesDescription="pd_tse_fs")
    return {"chest": chest, "knee": knee}


@dataclass
class Done:
    """A folder of heads and what became of it."""

    folder: Path
    scans: dict[str, Scan]
    report: Report
    out: dict[str, list[Dataset]]
    """By the case, in order of instance number."""
    originals: dict[str, list[Dataset]]


def request(folder: Path, work: Path, **how: object) -> Request:
    values: dict[str, object] = {
        "source": folder / "in", "target": work / "out", "profile": str(folder / "faceless.toml"),
        "key_file": folder / "site.key", "crosswalk": work / "crosswalk", "workers": 2,
    }  # fmt: skip
    return Request(**{**values, **how})  # pyright: ignore[reportArgumentType]


def run(asked: Request) -> Report:
    return deidentify_folder(asked, lambda _done, _total: None)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder = tmp_path_factory.mktemp("faces")
    (folder / "faceless.toml").write_text(PROFILE)
    scans: dict[str, Scan] = {}
    series: dict[str, list[bytes]] = {}
    for number, (name, case) in enumerate(CASES.items(), 100):
        scans[name] = case.scan()
        series[name] = dicom(scans[name], case.form, number)
    series |= {name: files for name, (files, _) in _held().items()} | _elsewhere()
    for name, files in series.items():
        (folder / "in" / name).mkdir(parents=True)
        for number, data in enumerate(files):
            (folder / "in" / name / f"{len(files) - number:04d}.dcm").write_bytes(data)
    report = run(request(folder, folder))
    new = UidMap(_uids(folder)).new
    places = {new(str(pydicom.dcmread(BytesIO(files[0]), stop_before_pixels=True).SeriesInstanceUID)): name
              for name, files in series.items()}  # fmt: skip
    out: dict[str, list[Dataset]] = defaultdict(list)
    for path in sorted((folder / "out").rglob("*.dcm")):
        ds = pydicom.dcmread(path)
        out[places[ds.SeriesInstanceUID]].append(ds)
    for found in out.values():
        found.sort(key=lambda ds: int(ds.InstanceNumber))
    originals = {name: [pydicom.dcmread(BytesIO(data)) for data in files] for name, files in series.items()
                 if name in CASES or name in out}  # fmt: skip
    return Done(folder, scans, report, out, originals)


def _uids(folder: Path) -> bytes:
    return read_keys(folder / "site.key", create=False).uids


def pixels(found: list[Dataset], form: Form) -> np.ndarray:
    """Stored values of shape (slices, rows, columns), of the first frame in each place."""
    arrays = [ds.pixel_array for ds in found]
    return arrays[0] if form.enhanced else np.stack(arrays[:: form.frames_apart])


@pytest.mark.parametrize("name", CASES)
def test_the_face_goes_and_the_brain_stays(done: Done, name: str) -> None:
    form = CASES[name].form
    truth = judged(done.scans[name], form, pixels(done.out[name], form))
    assert truth.brain == 0
    assert truth.skin >= 0.9
    assert 0.01 < truth.changed < 0.3
    for ds in done.out[name]:
        assert ds.RecognizableVisualFeatures == "NO"
        assert "113102" in [one.CodeValue for one in ds.DeidentificationMethodCodeSequence]
    if form.frames_apart > 1:
        arrays = [ds.pixel_array for ds in done.out[name]]
        assert all((one == other).all() for one, other in zip(arrays[::2], arrays[1::2], strict=True))


@pytest.mark.parametrize("name", CASES)
def test_what_is_written_there_is_one_value_and_no_other_sample_changes(done: Done, name: str) -> None:
    form = CASES[name].form
    new, old = pixels(done.out[name], form), stored(done.scans[name], form)
    values = np.unique(new[new != old])
    assert len(values) == 1
    if form.padded:
        assert values[0] == padding(form)
    elif form.inverted:
        assert values[0] == old.max()
    else:
        assert values[0] == old.min()


def test_nothing_else_differs_from_a_file_with_its_face() -> None:
    (data, *_) = dicom(scan("robex", pixel=8.0, step=30.0))
    said: list[Dataset] = []
    for how, face in (("flag", None), ("remove", Face((None,), (0,)))):
        maker = Deidentifier(Engine(Rules(Profile("own", faces=how)), UidMap(b"k" * 32).new))  # pyright: ignore
        said.append(pydicom.dcmread(BytesIO(maker.make(BytesIO(data), Person("1", 0), "2", face=face).data)))
    assert [ds.RecognizableVisualFeatures for ds in said] == ["YES", "NO"]
    codes = [[one.CodeValue for one in ds.DeidentificationMethodCodeSequence] for ds in said]
    assert codes[1] == [*codes[0], "113102"]
    for ds in said:
        del ds.RecognizableVisualFeatures, ds.DeidentificationMethodCodeSequence
    assert said[0] == said[1]


def test_compressed_files_stay_compressed_as_they_were(done: Done) -> None:
    for name, case in CASES.items():
        for before, after in zip(done.originals[name], done.out[name], strict=True):
            compressed = case.form.syntax not in (LITTLE, IMPLICIT, BIG, DEFLATED)
            expected = before.file_meta.TransferSyntaxUID if compressed else LITTLE
            assert after.file_meta.TransferSyntaxUID == expected


def test_what_is_not_certain_is_held_with_its_reason(done: Done) -> None:
    reasons: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for one in done.report.quarantined:
        reasons[one["file"].partition("/")[0]].add((one["code"], one["reason"]))
    held = _held()
    assert reasons.keys() == held.keys()
    for name, (_, sentence) in held.items():
        ((code, reason),) = reasons[name]
        assert (code, sentence in reason) == ("face_unsure", True), (name, reason)
        assert name not in done.out


def test_what_shows_no_face_is_left_alone(done: Done) -> None:
    for name in _elsewhere():
        for before, after in zip(done.originals[name], done.out[name], strict=True):
            assert before.PixelData == after.PixelData
            assert "RecognizableVisualFeatures" not in after
            assert "113102" not in [one.CodeValue for one in after.DeidentificationMethodCodeSequence]


def test_the_crosswalk_tells_how_much_of_a_file_went(done: Done) -> None:
    crosswalk = Crosswalk(done.folder / "crosswalk", read_keys(done.folder / "site.key", create=False), create=False)
    told = [change for _, changes in crosswalk.rows() for change in changes if change.action == "deface"]
    crosswalk.close()
    assert len(told) > 100
    assert all(change.path == "7FE00010" and change.new.endswith(" samples") for change in told)


def files(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.dcm")}


def test_files_made_anew_come_to_the_same_bytes(done: Done, tmp_path: Path) -> None:
    """A run that goes on finds the masks of the whole series again, whatever of it is out; so do fewer workers."""
    for name in ("faceless.toml", "site.key"):
        (tmp_path / name).write_text((done.folder / name).read_text())
    shutil.copytree(done.folder / "in" / "mr-axial-thick-8-bits", tmp_path / "in" / "mr-axial-thick-8-bits")
    asked = request(tmp_path, tmp_path, workers=1)
    run(asked)
    first = files(tmp_path / "out")
    assert first == {path: (done.folder / "out" / path).read_bytes() for path in first}
    some = sorted((tmp_path / "in" / "mr-axial-thick-8-bits").iterdir())[12:20]
    for path in some:
        os.utime(path, ns=(1, 1))
    assert run(asked).counts["written"] == len(some)
    assert first == {
        path.relative_to(tmp_path / "out"): path.read_bytes() for path in (tmp_path / "out").rglob("*.dcm")
    }


def test_one_file_alone_is_refused_with_what_to_do() -> None:
    (data, *_) = dicom(scan("robex", pixel=8.0, step=30.0))
    maker = Deidentifier(Engine(Rules(Profile("own", faces="remove")), UidMap(b"k" * 32).new))
    with pytest.raises(Quarantined, match="hilum deid") as held:
        maker.make(BytesIO(data), Person("1", 0), "2")
    assert held.value.code == "face"


def test_the_face_goes_before_text_is_looked_for() -> None:
    (data, *_) = dicom(scan("robex", pixel=8.0, step=30.0), BurnedInAnnotation="YES")
    shape = pydicom.dcmread(BytesIO(data)).pixel_array.shape
    mask = np.zeros(shape, bool)
    mask[:5] = True

    def step(file: BinaryIO, header: Header, patterns: Patterns, decision: Decision | None) -> Verdict:
        file.seek(0)
        ds = pydicom.dcmread(file)
        assert (ds.pixel_array[:5] == 77).all()
        array = ds.pixel_array.copy()
        array[-1] = 55
        ds.PixelData = array.tobytes()
        out = BytesIO()
        ds.save_as(out)
        return Verdict("blackened", data=out.getvalue(), reason="one line")

    maker = Deidentifier(Engine(Rules(Profile("own", faces="remove")), UidMap(b"k" * 32).new), step)
    made = maker.make(BytesIO(data), Person("1", 0), "2", face=Face((np.packbits(mask).tobytes(),), (77,)))
    ds = pydicom.dcmread(BytesIO(made.data))
    assert (ds.pixel_array[:5] == 77).all()
    assert (ds.pixel_array[-1] == 55).all()
    assert {"113101", "113102"} <= {one.CodeValue for one in ds.DeidentificationMethodCodeSequence}
    assert [one.action for one in made.changes if one.path == "7FE00010"] == ["deface", "blacken"]


@pytest.mark.parametrize("syntax", [LITTLE, IMPLICIT, BIG, DEFLATED, RLE, LS, LOSSLESS, J2K])
@pytest.mark.parametrize(("bits", "signed"), [(8, False), (12, False), (12, True), (16, False), (16, True)])
def test_samples_are_changed_in_every_form(syntax: str, bits: int, signed: bool) -> None:
    one = scan("robex", "CT", pixel=12.0, step=20.0)
    form = Form(enhanced=True, bits=bits, signed=signed, syntax=syntax, slope=8)
    (data,) = dicom(one, form)
    before = stored(one, form)
    masks = np.random.default_rng(3).random(before.shape) < 0.3
    masks[2] = False
    value = -3 if signed else 200
    face = Face(tuple(np.packbits(mask).tobytes() if mask.any() else None for mask in masks), (value,) * len(masks))
    maker = Deidentifier(Engine(Rules(Profile("own", faces="remove")), UidMap(b"k" * 32).new))
    after = pydicom.dcmread(BytesIO(maker.make(BytesIO(data), Person("1", 0), "2", face=face).data)).pixel_array
    assert (after == np.where(masks, value, before)).all()


def test_frames_that_do_not_fit_the_masks_are_refused() -> None:
    (data,) = dicom(scan("robex", pixel=12.0, step=20.0), Form(enhanced=True))
    file = BytesIO(data)
    with pytest.raises(Refused, match="other frames"):
        without_face(file, scan_file(file), Face((b"x",), (0,)))


@pytest.mark.parametrize(
    ("part", "study", "series", "shows"),
    [
        ("HEAD", "", "", True), ("", "", "", True), ("", "MR BRAIN W/O", "AX FLAIR", True),
        ("", "CT WITHOUT CONTRAST", "5.0 STD", True), ("", "", "t1_mprage_sag", True), ("WHOLEBODY", "", "", True),
        ("CHEST", "PET/CT SKULL BASE TO THIGH", "", True), ("NECK", "", "", True), ("CSPINE", "", "", True),
        ("CHEST", "CT CHEST", "AX LUNG", False), ("KNEE", "", "", False), ("", "MR KNEE LEFT", "PD FS", False),
        ("HEART", "CARDIAC MR", "cine", False), ("LSPINE", "", "T2 SAG", False), ("", "CT ABDOMEN PELVIS", "", False),
    ],
)  # fmt: skip
def test_who_is_looked_at(part: str, study: str, series: str, shows: bool) -> None:
    ds = base(PATIENTS[0], 1, MR, "MR")
    image(ds, np.random.default_rng(1))
    ds.BodyPartExamined, ds.StudyDescription, ds.SeriesDescription = part, study, series
    assert may_show_face(scan_file(BytesIO(part10(ds, LITTLE)))) is shows


def test_a_series_that_cannot_be_bounded_is_refused() -> None:
    (data,) = dicom(scan("robex", pixel=12.0, step=20.0), Form(enhanced=True), NumberOfFrames=60_000)
    (found,) = find_faces([partial(BytesIO, data)])
    assert "million voxels" in str(found)


@pytest.mark.parametrize(
    "tags",
    [
        {"ImagePositionPatient": [1e30, 0, 0]}, {"ImagePositionPatient": None}, {"PixelSpacing": [0, 0]},
        {"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]}, {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]},
        {"RescaleSlope": "1e-300"}, {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 4095}, {"Rows": 1},
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_no_volume(tags: dict[str, Any]) -> None:
    files = dicom(scan("robex", "CT", pixel=6.0, step=12.0), **tags)
    found = find_faces([partial(BytesIO, data) for data in files])
    assert len(found) == len(files)
    assert all(isinstance(one, Unsuitable) for one in found)


def test_without_simpleitk_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registration, "find_spec", lambda _name: None)
    registration.missing.cache_clear()
    try:
        (found,) = find_faces([partial(BytesIO, b"")])
    finally:
        registration.missing.cache_clear()
    assert str(found) == "SimpleITK is not installed: pip install 'hilum[pixels]'"


def test_the_template_is_the_one_that_is_told_of() -> None:
    data = Path(registration.__file__).parent.parent / "data"
    digest = sha256((data / "faces.npz").read_bytes()).hexdigest()
    assert f"| `faces.npz` | `{digest}` |" in (data / "faces.md").read_text()
    head = template()
    assert not (head.labels & REMOVED)[(head.labels & BRAIN) > 0].any()


def test_what_was_lossy_is_stored_without_further_loss() -> None:
    form = Form(enhanced=True, bits=8, slope=8)
    (data,) = dicom(scan("robex", "CT", pixel=12.0, step=20.0), form, LossyImageCompression="01")
    ds = pydicom.dcmread(BytesIO(data))
    ds.PixelData = encapsulate([jpeg(one, subsampling=None) for one in ds.pixel_array])
    ds["PixelData"].is_undefined_length = True
    data = part10(ds, BASELINE)
    before = pydicom.dcmread(BytesIO(data)).pixel_array
    masks = np.random.default_rng(3).random(before.shape) < 0.3
    face = Face(tuple(np.packbits(mask).tobytes() for mask in masks), (9,) * len(masks))
    maker = Deidentifier(Engine(Rules(Profile("own", faces="remove")), UidMap(b"k" * 32).new))
    after = pydicom.dcmread(BytesIO(maker.make(BytesIO(data), Person("1", 0), "2", face=face).data))
    assert (after.pixel_array == np.where(masks, 9, before)).all()
    assert (after.file_meta.TransferSyntaxUID, after.LossyImageCompression) == (J2K, "01")
