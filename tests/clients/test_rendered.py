"""Other people's programs and pictures: dicomweb-client's functions for rendered resources, the questions of OHIF, and
dcmtk as an oracle for shades of grey."""

import io
import subprocess
from pathlib import Path

import httpx
import imagecodecs
import numpy as np
import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient

from tests.conftest import Server
from tests.dicom.files import wheel_file
from tests.make import ct, uid


@pytest.fixture
def client(server: Server) -> DICOMwebClient:
    """A client of the server, which holds a CT of three slices."""
    found = DICOMwebClient(f"{server.url}/dicom-web")
    found.store_instances([pydicom.dcmread(io.BytesIO(ct(70, 1, number, size=64))) for number in (1, 2, 3)])
    return found


def test_w44_w49_dicomweb_client_renders_instances_and_frames(client: DICOMwebClient) -> None:
    uids = uid(70), uid(70, 1), uid(70, 1, 2)
    picture = client.retrieve_instance_rendered(*uids, media_types=("image/png",))
    assert imagecodecs.png_decode(picture).shape == (64, 64)
    windowed = client.retrieve_instance_rendered(
        *uids, media_types=("image/png",), params={"window": "100,10,linear", "viewport": "32,32"}
    )
    assert imagecodecs.png_decode(windowed).shape == (32, 32)
    frame = client.retrieve_instance_frames_rendered(*uids, [1], media_types=("image/jpeg",))
    assert imagecodecs.jpeg8_decode(frame).shape == (64, 64)


def test_w53_the_questions_of_ohif_have_pictures_for_answers(client: DICOMwebClient, server: Server) -> None:
    study, series = f"{server.url}/dicom-web/studies/{uid(70)}", f"series/{uid(70, 1)}"
    own = f"instances/{uid(70, 1, 2)}"
    for question, headers in (
        (f"{series}/{own}/thumbnail?accept=image/jpeg", {}),
        (f"{series}/{own}/rendered?accept=image/jpeg", {}),
        (f"{own}/thumbnail", {"Accept": "image/jpeg"}),
        (f"{own}/rendered", {"Accept": "image/jpeg"}),
        (f"{series}/{own}/rendered?viewport=256,256", {"Accept": "image/jpeg"}),
        (f"{series}/thumbnail?accept=image/jpeg", {}),
        (f"{series}/{own}/frames/1/thumbnail?accept=image%2Fjpeg", {}),
    ):
        answer = httpx.get(f"{study}/{question}", headers=headers)
        assert answer.headers["content-type"] == "image/jpeg"
        assert imagecodecs.jpeg8_decode(answer.content).ndim == 2
        assert answer.headers["cross-origin-resource-policy"] == "same-site"


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "MR_small_implicit.dcm"])
def test_w49_shades_are_dcmtks_but_for_rounding(server: Server, tmp_path: Path, name: str) -> None:
    source = wheel_file(name)
    ds = pydicom.dcmread(source)
    DICOMwebClient(f"{server.url}/dicom-web").store_instances([ds])
    place = f"{server.url}/dicom-web/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}"
    for center, width in ((100, 400), (600, 1500), (-500, 100)):
        written = tmp_path / "oracle.pgm"
        subprocess.run(["dcmj2pnm", "+Ww", str(center), str(width), "+op", str(source), str(written)], check=True)
        head, _, body = written.read_bytes().partition(b"255\n")
        assert head.startswith(b"P5")
        oracle = np.frombuffer(body, np.uint8).reshape(ds.Rows, ds.Columns)
        answer = httpx.get(
            f"{place}/instances/{ds.SOPInstanceUID}/rendered",
            params={"window": f"{center},{width},linear", "accept": "image/png"},
        )
        shown = imagecodecs.png_decode(answer.content)
        assert np.abs(shown.astype(int) - oracle).max() <= 1
