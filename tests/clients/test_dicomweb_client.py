"""dicomweb-client, the library that most of Python uses, against a running server: store, search, retrieve. The
tests share the server, so each has studies of its own."""

import io

import numpy as np
import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient
from pydicom.encaps import generate_frames

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
