"""A version through DICOMweb: as an archive that holds its files and nothing else would answer, and read-only."""

import io
import json
from collections.abc import Iterator

import httpx
import numpy as np
import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient
from PIL import Image

from hilum.core.blobs import LocalBlobs
from hilum.core.config import Settings
from hilum.core.database import Database
from hilum.core.postgres import EmbeddedPostgres
from hilum.imaging.archive.sources import add_source
from hilum.imaging.archive.store import Archive
from hilum.imaging.dicom.encode import encode_frame
from hilum.imaging.studies.revisions import complete
from tests.conftest import Server, fresh_database, serving
from tests.dicom.files import wheel_file
from tests.make import ct
from tests.research.deid.burned import RLE, dataset, packed

API = "/api/v1/imaging"
ROOT = "/datasets/all/versions/1/dicom-web"
OTHER = "/datasets/waits/versions/1/dicom-web"
COPY = "/sources/copy/dicom-web"
WHEEL = ("MR_small_RLE.dcm", "rtplan.dcm", "CT_small.dcm")
NM = "1.2.840.10008.5.1.4.1.1.20"


def originals() -> list[bytes]:
    """Two studies of two series, and files of other kinds: compressed, with several frames, without an image."""
    made = [ct(study, series, number) for study in (1, 2) for series in (1, 2) for number in (1, 2, 3)]
    odd = ct(3, StudyDate="20240229", StudyTime="235959.5", InstanceNumber=None, SeriesNumber=None)
    pixels = np.random.default_rng(1).integers(0, 4000, (3, 40, 50), np.uint16)
    frames = [encode_frame(one, RLE, bits_stored=16) for one in pixels]
    several = packed(dataset(1, NM, "NM", pixels, "MONOCHROME2"), frames, RLE)
    return [*made, odd, several, *(wheel_file(name).read_bytes() for name in WHEEL)]


@pytest.fixture(scope="module")
def server(cluster: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a published version, a draft, and the published one's files imported again as a source."""
    data = tmp_path_factory.mktemp("viewed") / "data"
    with fresh_database(cluster) as url:
        database = Database(url, pool_size=4)
        archive = Archive(database, LocalBlobs(data / "objects", 0), Settings(data=data, min_free_bytes=0))
        with archive.batch(archive.source(), "import") as batch:
            for number, file in enumerate(originals()):
                batch.add(str(number), [file])
            batch.commit()
        add_source(database, "copy", "Copy")
        with database.transaction() as sql:
            for row in sql.rows("select id from hilum.study"):
                complete(sql, row["id"])
        database.close()
        with serving(data, url, trusted_proxies="127.0.0.1", cors_origins="https://viewer.example") as running:
            for name, review in (("all", False), ("waits", True)):
                body = {"name": name, "filter": {}, "profile": "research", "clinical": False}
                httpx.post(f"{running.url}{API}/datasets", json=body).raise_for_status()
                asked = httpx.post(f"{running.url}{API}/datasets/{name}/versions", json={"review": review}, timeout=60)
                assert running.job(asked)["state"] == "succeeded"
            out = tmp_path_factory.mktemp("out") / "all"
            running.hilum("export", "all", str(out))
            running.hilum("import", str(out), "--source", "copy")
            yield running


@pytest.fixture
def client(server: Server) -> DICOMwebClient:
    """dicomweb-client, pointed at the version."""
    return DICOMwebClient(server.url + ROOT)


def found(server: Server, root: str, path: str, **query: object) -> list[dict[str, object]]:
    """The answer of a search, without what tells one service from another."""
    answer = server.get(root + path, params=query)
    assert answer.status_code in (200, 204), answer.text
    items = answer.json() if answer.content else []
    for one in items:
        (url,) = one.pop("00081190")["Value"]
        assert url.startswith(f"{server.url}{root}/studies/")
    return sorted(items, key=lambda one: json.dumps(one, sort_keys=True))


def studies(server: Server) -> list[str]:
    """All of the version: which of them comes first depends on the days by which its dates were moved."""
    listed = found(server, ROOT, "/studies")
    assert len(listed) > 3
    return [one["0020000D"]["Value"][0] for one in listed]  # pyright: ignore


SEARCHES = (
    {}, {"PatientID": "*"}, {"StudyDate": "20240101-"}, {"StudyDescription": "ct*"}, {"ModalitiesInStudy": "MR,CT"},
    {"Modality": "CT"}, {"PatientSex": "F"}, {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, {"PatientName": "no*"},
    {"limit": 2}, {"SeriesNumber": "2"}, {"InstanceNumber": "3"}, {"StudyTime": "100000-120000"},
    {"fuzzymatching": "true", "PatientName": "jane"}, {"AccessionNumber": "none"}, {"Rows": "64"},
)  # fmt: skip


@pytest.mark.parametrize("level", ["/studies", "/series", "/instances"])
def test_searches_find_what_an_archive_of_its_files_finds(server: Server, level: str) -> None:
    lengths: set[int] = set()
    for query in SEARCHES:
        if "SeriesNumber" in query and level == "/studies":
            continue
        here, there = (server.get(root + level, params=query) for root in (ROOT, COPY))
        assert (here.status_code, here.headers.get("x-total-count")) == (
            there.status_code, there.headers.get("x-total-count"),
        ), (query, here.text, there.text)  # fmt: skip
        if "limit" not in query:  # which come first depends on when they came
            assert found(server, ROOT, level, **query) == found(server, COPY, level, **query), query
        lengths.add(len(found(server, ROOT, level, **query)))
    assert len(lengths) > 3
    for study in studies(server):
        for below in ("series", "instances"):
            path = f"/studies/{study}/{below}"
            assert found(server, ROOT, path) == found(server, COPY, path)
    assert server.get(f"{ROOT}{level}", params={"NoSuchThing": "1"}).status_code == 400


def test_dicomweb_client_opens_it(server: Server, client: DICOMwebClient) -> None:
    copy = DICOMwebClient(server.url + COPY)
    kinds: set[str] = set()
    for one in client.search_for_instances():
        uids = [one[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018")]
        here, there = client.retrieve_instance(*uids), copy.retrieve_instance(*uids)
        assert here == there
        assert here.PatientIdentityRemoved == "YES"
        kinds.add(here.SOPClassUID)
        told, expected = (each.retrieve_instance_metadata(*uids) for each in (client, copy))
        assert json.dumps(told).replace(ROOT, COPY) == json.dumps(expected)
        if "PixelData" not in here:
            continue
        count = int(here.get("NumberOfFrames", 1))
        for syntax in ("1.2.840.10008.1.2.1", "*"):
            asked = {"frame_numbers": range(1, count + 1), "media_types": (("application/octet-stream", syntax),)}
            frames = client.retrieve_instance_frames(*uids, **asked)  # pyright: ignore
            assert frames == copy.retrieve_instance_frames(*uids, **asked)  # pyright: ignore
            assert syntax == "*" or b"".join(frames) == here.pixel_array.tobytes()
        shown = [
            np.asarray(Image.open(io.BytesIO(each.retrieve_instance_rendered(*uids, media_types=("image/png",)))))
            for each in (client, copy)
        ]
        assert np.array_equal(*shown)
    assert len(kinds) > 2
    for study in studies(server):
        assert len(client.retrieve_study(study)) == len(client.retrieve_study_metadata(study))
        for path in (f"/studies/{study}/thumbnail", f"/studies/{study}/pixeldata", f"/studies/{study}/bulkdata"):
            assert server.get(ROOT + path).status_code == server.get(COPY + path).status_code


def test_bulk_data_is_had_by_the_uri_that_metadata_names(server: Server, client: DICOMwebClient) -> None:
    study = found(server, ROOT, "/studies", ModalitiesInStudy="MR")[0]["0020000D"]["Value"][0]  # pyright: ignore
    (metadata, *_) = client.retrieve_study_metadata(study)
    uri = metadata["7FE00010"]["BulkDataURI"]
    assert uri.startswith(f"{server.url}{ROOT}/studies/")
    assert client.retrieve_bulkdata(uri) == DICOMwebClient(server.url + COPY).retrieve_bulkdata(uri.replace(ROOT, COPY))


def test_it_is_read_only_and_gives_no_way_to_originals(server: Server) -> None:
    study = studies(server)[0]
    for method, path in (("POST", "/studies"), ("POST", f"/studies/{study}"), ("DELETE", f"/studies/{study}"),
                         ("PUT", f"/studies/{study}/metadata")):  # fmt: skip
        answer = httpx.request(method, server.url + ROOT + path, timeout=60)
        assert answer.status_code == 405, (method, path)
        assert "GET" in answer.headers["allow"]
        assert "POST" not in answer.headers["allow"]
    for file in originals():
        ds = pydicom.dcmread(io.BytesIO(file), stop_before_pixels=True)
        path = f"/studies/{ds.StudyInstanceUID}"
        assert server.get(f"/dicom-web{path}/metadata").status_code == 200
        for below in ("", "/metadata", "/rendered", f"/series/{ds.SeriesInstanceUID}/metadata"):
            assert server.get(ROOT + path + below).status_code == 404
        assert found(server, ROOT, path + "/series") == []
    assert server.get(f"{ROOT}/studies/no-uid/metadata").status_code == 400
    assert server.get(f"{ROOT}/studies/{study}/nothing").status_code == 404
    assert server.get("/datasets/all/versions/9/dicom-web/studies").status_code == 404
    assert server.get("/datasets/none/versions/1/dicom-web/studies").status_code == 404
    assert server.get(ROOT.replace("all", "1") + "/studies").status_code == 200
    told = httpx.options(server.url + ROOT, headers={"Accept": "application/json"}).json()["application"]
    assert told["resources"]["base"] == server.url + ROOT


def test_a_draft_is_for_those_who_decide(server: Server) -> None:
    def status(role: str) -> int:
        return server.get(f"{OTHER}/studies", headers={"X-Hilum-Role": role}).status_code

    assert [status(role) for role in ("researcher", "viewer", "editor", "admin")] == [409, 409, 200, 200]
    decision = {"decision": "reject"}
    httpx.post(f"{server.url}{API}/datasets/waits/versions/1/review", json=decision).raise_for_status()
    assert [status(role) for role in ("researcher", "viewer", "editor", "admin")] == [409] * 4


def test_viewers_of_other_origins_may_look(server: Server) -> None:
    origin = {"Origin": "https://viewer.example"}
    assert server.get(f"{ROOT}/studies", headers=origin).headers["access-control-allow-origin"] == origin["Origin"]
    assert "access-control-allow-origin" not in server.get(f"{API}/datasets", headers=origin).headers


def test_a_whole_study_as_zip(server: Server) -> None:
    for study in studies(server):
        here, there = (
            server.get(f"{root}/studies/{study}", headers={"Accept": "application/zip;transfer-syntax=*"})
            for root in (ROOT, COPY)
        )
        assert here.status_code == 200
        assert here.content == there.content
