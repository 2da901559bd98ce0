"""Volumes and tables as a researcher reads them, from a folder, a zip and a server."""

import io
import itertools
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pydicom
import pytest

from hilum.client import Client, Zip, open_dataset, read_volume
from hilum.imaging.dicom.problems import Unreadable
from tests.conftest import Server
from tests.make import ct, folder, uid, written

PIXELS = [pydicom.dcmread(io.BytesIO(ct(instance=n))).pixel_array for n in range(1, 6)]


def slices(**also: object) -> list[bytes]:
    """Five slices 2.5 mm apart, not in their order."""
    return [ct(instance=n, PixelSpacing=[0.5, 0.75], **also) for n in (3, 1, 5, 2, 4)]


def test_slices_become_a_volume_in_the_patients_space() -> None:
    volume = read_volume(slices())
    assert volume.array.shape == (5, 8, 8)
    assert volume.array.dtype == np.float32
    assert np.array_equal(volume.array, np.stack(PIXELS).astype(np.float32) - 1024)
    assert volume.spacing == (2.5, 0.5, 0.75)
    assert (volume.oriented, volume.regular, volume.left_out, volume.modality) == (True, True, 0, "CT")
    assert np.allclose(volume.affine @ [1, 2, 4, 1], [3.0, 1.0, 5.0, 1])


def test_oblique_slices_and_a_localizer_among_them() -> None:
    along_row, along_column = np.array([0.8, 0.6, 0]), np.array([0, 0, -1.0])
    normal = np.cross(along_row, along_column)
    files = [
        ct(instance=n, ImageOrientationPatient=[*along_row, *along_column],
           ImagePositionPatient=list(np.array([10, 20, 30]) + normal * 3 * n))
        for n in range(5)
    ]  # fmt: skip
    volume = read_volume([*files, ct(instance=9, ImageOrientationPatient=[1, 0, 0, 0, 0, -1])])
    assert volume.left_out == 1
    assert volume.spacing[0] == pytest.approx(3)
    assert np.allclose(volume.origin, [10, 20, 30])
    assert np.allclose(
        volume.affine @ [2, 1, 3, 1], [*(np.array([10, 20, 30]) + 6 * normal + along_column + 3 * along_row), 1]
    )
    assert np.linalg.det(volume.direction) == pytest.approx(-1)


def test_times_of_one_place_and_gaps_are_told() -> None:
    files = [
        ct(instance=10 * time + plane, ImagePositionPatient=[0, 0, plane * 2.5])
        for time, plane in itertools.product(range(3), range(4))
    ]
    assert read_volume(files).array.shape == (3, 4, 8, 8)
    assert not read_volume([ct(instance=n) for n in (1, 2, 3, 7)]).regular


def test_frames_of_an_enhanced_image() -> None:
    ds = pydicom.dcmread(io.BytesIO(ct()))
    ds.NumberOfFrames = 3
    ds.PixelData = b"".join(plane.astype("<i2").tobytes() for plane in PIXELS[:3])
    for keyword in (
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "RescaleSlope",
        "RescaleIntercept",
    ):
        delattr(ds, keyword)
    shared, per_frame = pydicom.Dataset(), []
    measures, orientation, rescale = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    measures.PixelSpacing, orientation.ImageOrientationPatient = [2, 3], [1, 0, 0, 0, 1, 0]
    rescale.RescaleSlope, rescale.RescaleIntercept, rescale.RescaleType = 2, -10, "HU"
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    shared.PixelValueTransformationSequence = [rescale]
    for z in (9.0, 3.0, 6.0):
        place, group = pydicom.Dataset(), pydicom.Dataset()
        place.ImagePositionPatient = [0, 0, z]
        group.PlanePositionSequence = [place]
        per_frame.append(group)
    ds.SharedFunctionalGroupsSequence, ds.PerFrameFunctionalGroupsSequence = [shared], per_frame
    volume = read_volume([written(ds)])
    assert volume.spacing == (3.0, 2.0, 3.0)
    assert np.array_equal(volume.array, np.stack([PIXELS[1], PIXELS[2], PIXELS[0]]).astype(np.float32) * 2 - 10)


def test_pictures_without_a_place_are_stacked_by_number() -> None:
    files = [ct(instance=n, ImagePositionPatient=None, ImageOrientationPatient=None) for n in (2, 1)]
    volume = read_volume(files)
    assert not volume.oriented
    assert np.array_equal(volume.array[0], PIXELS[0].astype(np.float32) - 1024)
    with pytest.raises(Unreadable):
        read_volume([])


@pytest.fixture
def version(tmp_path: Path) -> Path:
    """A folder as an export writes it."""
    root = tmp_path / "version"
    rows = []
    for number, data in enumerate(slices(), 1):
        path = root / "1001" / "Images" / "CT" / "7" / uid(1, 1) / f"{number:03d}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        rows.append({"SeriesInstanceUID": uid(1, 1), "path": str(path.relative_to(root))})
    (root / "Metadata").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), root / "Metadata" / "instances.parquet")
    series = [{"SeriesInstanceUID": uid(1, 1), "Modality": "CT", "num_instances": 5}]
    pq.write_table(pa.Table.from_pylist(series), root / "Metadata" / "series.parquet")
    (root / "OMOP").mkdir()
    (root / "OMOP" / "person.csv").write_text("person_id,year_of_birth\n1001,1961\n")
    (root / "manifest.json").write_text(json.dumps({"files": [{"path": row["path"]} for row in rows]}))
    return root


def test_a_folder_and_a_zip_read_alike(version: Path, tmp_path: Path) -> None:
    packed = tmp_path / "version.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted(version.rglob("*")):
            if path.is_file():
                archive.write(path, str(path.relative_to(version)))
    for found in (open_dataset(version), open_dataset(packed)):
        assert found.series() == [uid(1, 1)]
        assert np.array_equal(found.volume(uid(1, 1)).array, np.stack(PIXELS).astype(np.float32) - 1024)
        assert found.table("series").num_rows == 1
        assert found.clinical("person", "rows") == [{"person_id": 1001, "year_of_birth": 1961}]
        again = pickle.loads(pickle.dumps(found.volumes()))  # as a DataLoader hands it to its workers
        assert len(again) == 1
        assert again[0]["array"].shape == (5, 8, 8)
        assert again[0]["row"]["Modality"] == "CT"
        assert [one["series_instance_uid"] for one in again] == [uid(1, 1)]
        with pytest.raises(KeyError):
            found.volume("1.2.3")
    with pytest.raises(FileNotFoundError):
        open_dataset(tmp_path)


def test_a_server_gives_studies_and_versions(server: Server, tmp_path: Path) -> None:
    folder(tmp_path / "in", studies=2)
    server.hilum("import", str(tmp_path / "in"))
    client = Client(server.url)
    found = client.studies(modality="CT")
    assert len(found.series()) == 2
    volume = found.volume(found.series()[0])
    assert volume.array.shape[0] == 3
    assert found.table("instances").num_rows == 6
    for study in found.table("studies", "rows"):
        import httpx

        httpx.post(f"{server.url}/api/v1/imaging/studies/{study['id']}/complete").raise_for_status()
    definition = {"name": "for the client", "filter": {}, "profile": "research"}
    number = httpx.post(f"{server.url}/api/v1/imaging/datasets", json=definition).json()["id"]
    done = server.job(httpx.post(f"{server.url}/api/v1/imaging/datasets/{number}/versions"))
    assert done["state"] == "succeeded"
    version = client.dataset("for the client")
    assert isinstance(version, Zip)
    assert version.manifest["counts"]["studies"] == 2
    assert np.array_equal(
        np.sort([version.volume(uid).array.sum() for uid in version.series()]),
        np.sort([found.volume(uid).array.sum() for uid in found.series()]),
    )
    with pytest.raises(httpx.HTTPStatusError, match="no data set"):
        client.dataset("another")
