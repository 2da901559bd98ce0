"""What the demo promises: everything the manifest says lies in the folder, can be read by others, and is true."""

import csv
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import imagecodecs
import msgspec
import numpy as np
import pydicom
import pytest
from pydicom.encaps import generate_frames, parse_basic_offsets
from pydicom.fileset import FileSet

from hilum.demo import DemoManifest, make, real_files
from hilum.demo.dicom_writer import SYNTAXES
from hilum.demo.make import StudyEntry
from hilum.demo.phantoms.thorax import LOBES

DECODERS = {
    SYNTAXES["jpeg"]: imagecodecs.jpeg8_decode,
    SYNTAXES["jpeg_lossless"]: imagecodecs.ljpeg_decode,
    SYNTAXES["jpeg_ls"]: imagecodecs.jpegls_decode,
    SYNTAXES["jpeg2000"]: imagecodecs.jpeg2k_decode,
    SYNTAXES["htj2k"]: imagecodecs.htj2k_decode,
}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo, made once for all workers of the run: the first makes it while the others wait at the lock."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "hilum-demo"
    with (shared.parent / "hilum-demo.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "manifest.json").exists():
            make(shared)
    return shared


@pytest.fixture(scope="session")
def manifest(folder: Path) -> DemoManifest:
    return msgspec.json.decode((folder / "manifest.json").read_bytes(), type=DemoManifest)


@pytest.fixture(scope="session")
def headers(folder: Path, manifest: DemoManifest) -> dict[str, list[pydicom.Dataset]]:
    """Each study's headers without pixels, by the key of the study."""
    return {
        study.key: [pydicom.dcmread(BytesIO(data), stop_before_pixels=True) for data in files_of(folder, study)]
        for study in manifest.studies
    }


def files_of(folder: Path, study: StudyEntry) -> Iterator[bytes]:
    place = folder / study.location
    if study.on_cd:
        with zipfile.ZipFile(place) as bundle:
            yield from (bundle.read(name) for name in bundle.namelist() if name.startswith("PT"))
    else:
        yield from (path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file())


def study_of(manifest: DemoManifest, **wanted: object) -> StudyEntry:
    return next(s for s in manifest.studies if all(getattr(s, name) == value for name, value in wanted.items()))


def volume(folder: Path, study: StudyEntry) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """HU (planes, rows, columns), the first pixel of each plane in mm, the spacing of rows and columns."""
    planes = []
    for data in files_of(folder, study):
        ds = pydicom.dcmread(BytesIO(data))
        if "LOCALIZER" not in ds.ImageType:
            planes.append(
                (
                    np.array(ds.ImagePositionPatient, float),
                    decode(ds)[0] * float(ds.RescaleSlope) + ds.RescaleIntercept,
                    ds,
                )
            )
    planes.sort(key=lambda plane: plane[0][2])
    spacing = np.array(planes[0][2].PixelSpacing, float)
    return np.stack([p[1] for p in planes]), np.stack([p[0] for p in planes]), spacing


def decode(ds: pydicom.Dataset) -> list[np.ndarray]:
    """Every frame, by pydicom where it can without further plugins, else by imagecodecs."""
    decoder = DECODERS.get(ds.file_meta.TransferSyntaxUID)
    frames = int(ds.get("NumberOfFrames", 1))
    if decoder is None:
        array = ds.pixel_array
        return list(array) if frames > 1 else [array]
    shown = [np.asarray(decoder(frame)) for frame in generate_frames(ds.PixelData, number_of_frames=frames)]
    return [frame.view(np.int16) if ds.PixelRepresentation else frame for frame in shown]


def test_it_has_forty_persons_and_sixty_studies_of_every_kind(manifest: DemoManifest) -> None:
    assert manifest.persons == 40
    assert len(manifest.studies) == 60
    assert {m for s in manifest.studies for m in s.modalities} == {
        "CT",
        "MR",
        "CR",
        "DX",
        "MG",
        "US",
        "PT",
        "NM",
        "XA",
        "RF",
    }
    assert {study.transfer_syntax_uid for study in manifest.studies} == set(SYNTAXES.values())
    assert {study.patient_id for study in manifest.studies if study.on_cd} <= {s.patient_id for s in manifest.studies}
    assert sum(study.on_cd for study in manifest.studies) == 1


def test_it_stays_small(folder: Path) -> None:
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 160e6


def test_the_manifest_counts_what_lies_there(manifest: DemoManifest, headers: dict[str, list[pydicom.Dataset]]) -> None:
    for study in manifest.studies:
        found = headers[study.key]
        assert len(found) == study.instances, study.key
        assert sum(int(ds.get("NumberOfFrames", 1)) for ds in found) == study.frames
        assert {ds.StudyInstanceUID for ds in found} == {study.study_instance_uid}
        assert {ds.AccessionNumber for ds in found} == {study.accession_number}
        assert {ds.PatientID for ds in found} == {study.patient_id}
        by_series = {s.series_instance_uid: s.instances for s in study.series}
        assert {uid: sum(ds.SeriesInstanceUID == uid for ds in found) for uid in by_series} == by_series
    assert manifest.instances == sum(len(found) for found in headers.values())


def test_identifiers_are_unique_and_valid(manifest: DemoManifest, headers: dict[str, list[pydicom.Dataset]]) -> None:
    everything = [ds for found in headers.values() for ds in found]
    instances = [ds.SOPInstanceUID for ds in everything]
    assert len(set(instances)) == len(instances)
    assert all(uid.is_valid and uid.startswith("2.25.") for uid in instances)
    assert all(ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID for ds in everything)
    assert len({study.accession_number for study in manifest.studies}) == 60
    assert len({ds.SeriesInstanceUID for ds in everything}) == manifest.series


@pytest.mark.parametrize("syntax", sorted(SYNTAXES))
def test_pixels_of_each_transfer_syntax_can_be_decoded(folder: Path, manifest: DemoManifest, syntax: str) -> None:
    for study in manifest.studies:
        if study.transfer_syntax_uid != SYNTAXES[syntax]:
            continue
        ds = pydicom.dcmread(BytesIO(list(files_of(folder, study))[-1]))
        frames = decode(ds)
        assert len(frames) == int(ds.get("NumberOfFrames", 1))
        for frame in frames:
            assert frame.shape[:2] == (ds.Rows, ds.Columns), study.key
            assert int(frame.max()) < 2**ds.BitsStored
            assert frame.std() > 0, "a blank image"


def test_some_encapsulated_images_have_an_offset_table_and_some_do_not(folder: Path, manifest: DemoManifest) -> None:
    filled, empty = 0, 0
    for study in manifest.studies:
        if pydicom.uid.UID(study.transfer_syntax_uid).is_encapsulated:
            ds = pydicom.dcmread(BytesIO(next(files_of(folder, study))))
            offsets = parse_basic_offsets(ds.PixelData)
            if offsets:
                filled += 1
                frames = list(generate_frames(ds.PixelData, number_of_frames=int(ds.get("NumberOfFrames", 1))))
                assert offsets == [0, *np.cumsum([len(frame) + 8 for frame in frames])[:-1].tolist()]
            else:
                empty += 1
    assert filled > 3
    assert empty > 3


@pytest.mark.parametrize(
    ("charset", "component", "text"),
    [
        ("ISO 2022 IR 87", "ideographic", "星^明里"),
        ("ISO 2022 IR 87", "phonetic", "ほし^あかり"),
        ("ISO_IR 144", "alphabetic", "Серебряков^Тимофей^Львович"),
        ("ISO_IR 192", "alphabetic", "Þórgrímsdóttir^Sólveig"),
    ],
)
def test_names_of_many_scripts_are_read_back(
    headers: dict[str, list[pydicom.Dataset]], charset: str, component: str, text: str
) -> None:
    names = {
        str(getattr(ds.PatientName, component))
        for found in headers.values()
        for ds in found
        if charset in str(ds.SpecificCharacterSet)
    }
    assert text in names


def nodule_diameter(folder: Path, study: StudyEntry) -> float:
    """Diameter in mm of the sphere that has as much tissue as lies around the place of the study's nodule."""
    hu, positions, (row, column) = volume(folder, study)
    x, y, z = LOBES[study.findings[0].site]
    rows = positions[0][1] + np.arange(hu.shape[1]) * row
    columns = positions[0][0] + np.arange(hu.shape[2]) * column
    reach = study.findings[0].diameter_mm * 0.5 + 3
    near = (
        (positions[:, 2] - z)[:, None, None] ** 2 + (rows - y)[None, :, None] ** 2 + (columns - x)[None, None, :] ** 2
    ) < reach**2
    # Half-filled voxels at the edge count as much as is in them; vessels crossing the neighbourhood add a little.
    filled = np.clip((hu[near] + 830) / (830 + 38), 0, 1)
    filled[filled < 0.12] = 0
    thickness = abs(positions[1][2] - positions[0][2])
    return float((filled.sum() * row * column * thickness * 6 / np.pi) ** (1 / 3))


def test_the_nodule_is_where_and_as_large_as_told_and_has_grown(folder: Path, manifest: DemoManifest) -> None:
    follow_up = next(
        s for s in manifest.studies if s.modalities == ("CT",) and s.prior and s.findings[0].site == "right upper lobe"
    )
    prior = study_of(manifest, key=follow_up.prior)
    assert prior.patient_id == follow_up.patient_id
    assert prior.study_date < follow_up.study_date
    sizes = [nodule_diameter(folder, study) for study in (prior, follow_up)]
    assert sizes[0] == pytest.approx(prior.findings[0].diameter_mm, rel=0.3)
    assert sizes[1] == pytest.approx(follow_up.findings[0].diameter_mm, rel=0.3)
    assert sizes[1] > sizes[0] * 1.3


def test_hounsfield_units_are_those_of_a_body(folder: Path, manifest: DemoManifest) -> None:
    hu, positions, _ = volume(
        folder, next(s for s in manifest.studies if s.study_description.startswith("CT chest low"))
    )
    assert np.median(hu[:, :8, :8]) == pytest.approx(-1000, abs=30)
    middle = hu[int(np.argmin(abs(positions[:, 2])))]
    assert -900 < np.median(middle[(middle < -700) & (middle > -940)]) < -800
    assert ((middle > 20) & (middle < 90)).mean() > 0.1
    assert hu.max() > 400


def test_pet_and_ct_share_their_frame_of_reference(
    headers: dict[str, list[pydicom.Dataset]], manifest: DemoManifest
) -> None:
    study = next(s for s in manifest.studies if s.modalities == ("CT", "PT"))
    assert {ds.Modality for ds in headers[study.key]} == {"CT", "PT"}
    assert len({ds.FrameOfReferenceUID for ds in headers[study.key]}) == 1


def test_mammograms_name_side_and_view(headers: dict[str, list[pydicom.Dataset]], manifest: DemoManifest) -> None:
    for study in manifest.studies:
        if study.modalities == ("MG",):
            views = {(ds.ImageLaterality, ds.ViewPosition) for ds in headers[study.key]}
            assert views == {("R", "CC"), ("L", "CC"), ("R", "MLO"), ("L", "MLO")}


def test_one_chest_film_is_monochrome1(headers: dict[str, list[pydicom.Dataset]]) -> None:
    inverse = [ds for found in headers.values() for ds in found if ds.PhotometricInterpretation == "MONOCHROME1"]
    assert {ds.Modality for ds in inverse} == {"DX"}
    assert {ds.PresentationLUTShape for ds in inverse} == {"INVERSE"}


def table(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / "cdm" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_study_has_a_person_a_visit_a_procedure_and_a_report(folder: Path, manifest: DemoManifest) -> None:
    persons = {row["person_source_value"]: row["person_id"] for row in table(folder, "person")}
    procedures = {row["procedure_source_value"].split("|")[1]: row for row in table(folder, "procedure_occurrence")}
    notes = {row["note_event_id"]: row for row in table(folder, "note")}
    visits = {row["visit_occurrence_id"] for row in table(folder, "visit_occurrence")}
    assert len(persons) == 40
    for study in manifest.studies:
        if study.misfit:
            continue
        procedure = procedures[study.accession_number]
        assert procedure["person_id"] == persons[study.patient_id] == str(study.person_id)
        assert procedure["procedure_date"].replace("-", "") == study.study_date
        assert procedure["visit_occurrence_id"] in visits
        text = notes[procedure["procedure_occurrence_id"]]["note_text"]
        for finding in study.findings:
            if finding.kind == "nodule":
                assert f"{finding.diameter_mm:g} mm" in text
                assert finding.site in text
        if not study.findings:
            assert "nodule of" not in text


def test_a_report_tells_how_a_nodule_changed(folder: Path, manifest: DemoManifest) -> None:
    follow_up = next(
        s for s in manifest.studies if s.modalities == ("CT",) and s.prior and s.findings[0].site == "right upper lobe"
    )
    text = next(
        r["note_text"] for r in table(folder, "note") if r["note_source_value"].endswith(follow_up.accession_number)
    )
    prior = study_of(manifest, key=follow_up.prior)
    assert f"previously {prior.findings[0].diameter_mm:g} mm" in text
    assert f"{prior.study_date[:4]}-{prior.study_date[4:6]}-{prior.study_date[6:]}" in text


def test_the_cd_is_a_file_set_with_a_leaflet_a_preview_and_a_report(
    folder: Path, manifest: DemoManifest, tmp_path: Path
) -> None:
    study = study_of(manifest, on_cd=True)
    with zipfile.ZipFile(folder / study.location) as bundle:
        names = bundle.namelist()
        bundle.extractall(tmp_path)
    assert {"DICOMDIR", "README.TXT", "AUTORUN.INF", "PREVIEW.JPG", "REPORT.PDF"} <= set(names)
    assert sum(name.rsplit("/")[-1].startswith("I1000") for name in names) == study.instances
    assert (tmp_path / "REPORT.PDF").read_bytes().startswith(b"%PDF-1.4")
    assert imagecodecs.jpeg8_decode((tmp_path / "PREVIEW.JPG").read_bytes()).std() > 10
    file_set = FileSet(tmp_path / "DICOMDIR")
    assert {instance.SOPInstanceUID for instance in file_set} == {
        pydicom.dcmread(BytesIO(data), stop_before_pixels=True).SOPInstanceUID for data in files_of(folder, study)
    }
    for instance in file_set:
        assert instance.load().StudyInstanceUID == study.study_instance_uid
    assert study.study_instance_uid not in {s.study_instance_uid for s in manifest.studies if not s.on_cd}


@pytest.mark.skipif(shutil.which("dcmftest") is None, reason="dcmtk is not installed")
def test_dcmtk_reads_every_series(folder: Path, manifest: DemoManifest) -> None:
    chosen = [
        next(path for path in sorted((folder / study.location).rglob("*")) if path.is_file())
        for study in manifest.studies
        if not study.on_cd
    ]
    told = subprocess.run(["dcmftest", *map(str, chosen)], capture_output=True, text=True, check=True).stdout
    assert told.count("yes: ") == len(chosen)
    dumped = subprocess.run(["dcmdump", "-q", *map(str, chosen)], capture_output=True, check=True)
    assert dumped.stderr == b""


def test_a_second_making_gives_the_same_bytes_and_tells_its_progress(folder: Path, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from hilum.demo import make; told = []\n"
        "make(Path(sys.argv[1]), lambda done, total: told.append((done, total)))\n"
        "assert told == [(n, 60) for n in range(1, 61)], told"
    )
    environment = os.environ | {"PYTHONHASHSEED": "7", "OPENBLAS_NUM_THREADS": "1", "TZ": "Asia/Tokyo"}
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, env=environment)
    assert digests(tmp_path) == digests(folder)


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_real_files_are_those_of_the_installed_pydicom() -> None:
    files = real_files()
    assert {"CT_small.dcm", "MR_small.dcm", "DICOMDIR"} <= {path.name for path in files}
    assert all(path.is_file() and Path(pydicom.__file__).parent in path.parents for path in files)
