"""dicomweb-client, the library that most of Python uses, against a running server: store, search, retrieve. The
tests share the server, so each has studies of its own."""

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicomweb_client.api import DICOMfileClient, DICOMwebClient
from pydicom.encaps import generate_frames
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from tests.conftest import Server
from tests.dicom.files import wheel_file
from tests.make import ct, uid

FILES = (
    "CT_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "image_dfl.dcm", "JPEG2000.dcm",
    "MR_small_RLE.dcm", "SC_rgb_rle_2frame.dcm", "rtplan.dcm", "test-SR.dcm",
)  # fmt: skip


@pytest.fixture
def client(server: Server) -> DICOMwebClient:
    """A client of the server."""
    return DICOMwebClient(f"{server.url}/dicom-web")


def store(client: DICOMwebClient, *files: bytes, study: str | None = None) -> pydicom.Dataset:
    return client.store_instances([pydicom.dcmread(io.BytesIO(file)) for file in files], study)


def test_a_study_is_stored_found_and_retrieved(client: DICOMwebClient) -> None:
    files = [ct(40, series, instance) for series in (1, 2) for instance in (1, 2, 3)]
    answer = store(client, *files, study=uid(40))
    assert len(answer.ReferencedSOPSequence) == 6
    assert "FailedSOPSequence" not in answer
    (study,) = client.search_for_studies(search_filters={"PatientName": "doe^jane40"}, fields=["StudyDescription"])
    assert study["00201208"]["Value"] == [6]
    series = client.search_for_series(uid(40), search_filters={"Modality": "CT"})
    assert [one["0020000E"]["Value"][0] for one in series] == [uid(40, 1), uid(40, 2)]
    instances = client.search_for_instances(uid(40), uid(40, 2))
    assert [one["00080018"]["Value"][0] for one in instances] == [uid(40, 2, instance) for instance in (1, 2, 3)]
    retrieved = client.retrieve_study(uid(40))
    assert [one.SOPInstanceUID for one in retrieved] == [
        pydicom.dcmread(io.BytesIO(file)).SOPInstanceUID for file in files
    ]
    assert retrieved == [pydicom.dcmread(io.BytesIO(file)) for file in files]
    assert len(client.retrieve_series(uid(40), uid(40, 1))) == 3


def test_pages_are_followed_to_the_end(client: DICOMwebClient) -> None:
    store(client, *(ct(study, StudyDescription="One of seven") for study in range(1, 8)))
    found = client.search_for_studies(search_filters={"StudyDescription": "One of*"}, limit=3, get_remaining=True)
    assert len(found) == 7
    assert {one["0020000D"]["Value"][0] for one in found} == {uid(study) for study in range(1, 8)}


@pytest.mark.parametrize("name", FILES)
def test_metadata_pixels_and_bulk_data_of_real_files(client: DICOMwebClient, name: str) -> None:
    data = wheel_file(name).read_bytes()
    ds = pydicom.dcmread(io.BytesIO(data))
    store(client, data)
    uids = ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID
    metadata = pydicom.Dataset.from_json(
        client.retrieve_instance_metadata(*uids), bulk_data_uri_handler=lambda uri: uri.encode()
    )
    assert str(metadata.PatientName).strip("^") == str(ds.PatientName).strip("^")  # no component is no name
    assert client.retrieve_series_metadata(*uids[:2]) == [client.retrieve_instance_metadata(*uids)]
    back = client.retrieve_instance(*uids)
    assert back.PatientID == ds.PatientID
    if "PixelData" not in ds:
        return
    assert np.array_equal(back.pixel_array, ds.pixel_array)
    frames = client.retrieve_instance_frames(*uids, frame_numbers=[1], media_types=(("application/octet-stream", "*"),))
    if ds.file_meta.TransferSyntaxUID.is_compressed and ds.file_meta.TransferSyntaxUID.is_encapsulated:
        count = int(ds.get("NumberOfFrames", 1))
        expected = list(generate_frames(ds.PixelData, number_of_frames=count))
        assert frames == expected[:1]
        assert client.retrieve_bulkdata(metadata.PixelData.decode()) == expected
    else:
        pixels = ds.pixel_array.astype(ds.pixel_array.dtype.newbyteorder("<")).tobytes()
        assert frames[0] == pixels
        assert client.retrieve_bulkdata(metadata.PixelData.decode())[0][: len(pixels)] == pixels


SYNTAXES = {
    ExplicitVRLittleEndian: "application/octet-stream", JPEGLosslessSV1: "image/jpeg", JPEGLSLossless: "image/jls",
    JPEG2000Lossless: "image/jp2", RLELossless: "image/x-dicom-rle",
}  # fmt: skip


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_w08_w39_the_client_gets_what_it_names(client: DICOMwebClient, syntax: str) -> None:
    files = [ct(41, 1, instance) for instance in (1, 2)]
    store(client, *files)
    pixels = [pydicom.dcmread(io.BytesIO(data)).pixel_array for data in files]
    found = client.retrieve_series(uid(41), uid(41, 1), media_types=(("application/dicom", syntax),))
    assert [one.file_meta.TransferSyntaxUID for one in found] == [syntax, syntax]
    assert np.array_equal([one.pixel_array for one in found], pixels)
    instance = client.retrieve_instance(
        uid(41), uid(41, 1), uid(41, 1, 2), media_types=(("application/dicom", syntax),)
    )
    assert np.array_equal(instance.pixel_array, pixels[1])
    (frame,) = client.retrieve_instance_frames(
        uid(41), uid(41, 1), uid(41, 1, 1), [1], media_types=((SYNTAXES[syntax], syntax),)
    )
    if syntax == ExplicitVRLittleEndian:
        assert frame == pixels[0].tobytes()
    else:
        assert list(generate_frames(found[0].PixelData, number_of_frames=1)) == [frame]


def test_w18_an_independent_reader_of_the_same_files_tells_the_same(client: DICOMwebClient, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    files = [ct(42, series, instance) for series in (1, 2) for instance in (1, 2)]
    for number, data in enumerate(files):
        (folder / f"{number}.dcm").write_bytes(data)
    store(client, *files)
    theirs = DICOMfileClient(f"file://{folder}", update_db=True, in_memory=True)
    ours = {one["00080018"]["Value"][0]: one for one in client.retrieve_study_metadata(uid(42))}
    others = {one["00080018"]["Value"][0]: one for one in theirs.retrieve_study_metadata(uid(42))}
    assert ours.keys() == others.keys()
    for name, other in others.items():
        mine = {tag: element for tag, element in ours[name].items() if tag not in ("00083002", "7FE00010")}
        other = {tag: element for tag, element in other.items() if tag not in ("00083002", "7FE00010")}
        assert pydicom.Dataset.from_json(mine) == pydicom.Dataset.from_json(other)
    for series in (1, 2):
        mine, other = (
            sorted(one["00080018"]["Value"][0] for one in side.search_for_instances(uid(42), uid(42, series)))
            for side in (client, theirs)
        )
        assert mine == other
        numbers = uid(42), uid(42, series), uid(42, series, 1)
        assert client.retrieve_instance(*numbers) == theirs.retrieve_instance(*numbers)
        frames = [side.retrieve_instance_frames(*numbers, [1]) for side in (client, theirs)]
        assert frames[0] == frames[1]
