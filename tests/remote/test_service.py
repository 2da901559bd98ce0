"""Another Hilum as a remote archive of a running server: indexed and fetched by whoever asks, by REST and command."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from hilum.core.postgres import EmbeddedPostgres
from tests.conftest import Server, fresh_database, serving, wait_until
from tests.dicomweb.conftest import Web, shared
from tests.make import ct, uid
from tests.remote.conftest import Liar, reply
from tests.remote.test_removal import told

API = "/api/v1/imaging"


@pytest.fixture(scope="module")
def remote(cluster: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """Another Hilum: eight studies of two series with two instances."""
    with shared(cluster, tmp_path_factory.mktemp("remote")) as web:
        for study in range(1, 9):
            more: dict[str, object] = {"AccessionNumber": "A4"} if study in (4, 5) else {}
            web.keep(*(ct(study, series, n, size=32, **more) for series in (1, 2) for n in (1, 2)))
        yield web


@pytest.fixture(scope="module")
def server(cluster: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Ours, where a study is complete when somebody says so, however long that takes."""
    folder = tmp_path_factory.mktemp("ours")
    with fresh_database(cluster) as url, serving(folder / "data", url, study_quiet_seconds=3600) as running:
        yield running


@pytest.fixture(scope="module")
def far(server: Server, remote: Web) -> Server:
    """A server whose source ``far`` names it, and has indexed it by REST."""
    given = {"key": "far", "name": "Far away", "dicomweb_url": remote.root.removesuffix("/dicom-web")}
    added = httpx.post(f"{server.url}{API}/sources", json=given, timeout=60)
    assert added.status_code == 201, added.text
    job = server.job(
        httpx.post(f"{server.url}{API}/studies/index-from-dicomweb", json={"source": "far", "series": True}, timeout=60)
    )
    assert (job["state"], job["counts"]) == ("succeeded", {"studies_new": 8, "series": 16}), job
    return server


def test_a_source_shows_its_archive_and_never_its_secrets(far: Server, remote: Web) -> None:
    address = f"{far.url}{API}/sources/far"
    shown = httpx.patch(address, json={"dicomweb_credentials": {}}).json()
    assert (shown["dicomweb_url"], shown["dicomweb_credentials"], shown["fetch"]) == (remote.root, "none", "asked")
    assert shown["studies"] == 8
    tested = httpx.post(f"{address}/test", timeout=60).json()
    assert (tested["ok"], tested["services"]) == (True, ["QIDO-RS", "WADO-RS"])
    changed = httpx.patch(address, json={"dicomweb_credentials": {"token": "s3cret-word"}, "keep_days": 30})
    assert (changed.status_code, changed.json()["dicomweb_credentials"], changed.json()["keep_days"]) == (
        200,
        "bearer",
        30,
    )
    assert "s3cret" not in changed.text + httpx.get(f"{far.url}{API}/sources").text
    for wrong in ({"dicomweb_url": "file:///etc/passwd"}, {"dicomweb_url": "http://169.254.169.254"}, {"colour": 1},
                  {"dicomweb_credentials": {"username": "a"}}, {"dicomweb_ca": "x"}, {"fetch": "now"}):  # fmt: skip
        assert httpx.patch(address, json=wrong).status_code == 422, wrong
    assert httpx.patch(address, json={"dicomweb_credentials": {}, "keep_days": None}).json()["keep_days"] is None
    assert httpx.get(f"{far.url}{API}/sources/nowhere").status_code == 404
    assert httpx.post(f"{far.url}{API}/sources", json={"key": "far"}).status_code == 409


def test_what_cannot_be_indexed_is_told(far: Server) -> None:
    address = f"{far.url}{API}/studies/index-from-dicomweb"
    for body, status in (
        ({"source": "far", "limit": 1001}, 422), ({"source": "far", "colour": 1}, 422), ({"source": "nowhere"}, 404),
        ({"source": "default"}, 409), ({"source": "far", "modality": "a b"}, 422),
    ):  # fmt: skip
        assert httpx.post(address, json=body).status_code == status, body


def test_a_request_for_images_brings_them(far: Server, remote: Web) -> None:
    root = f"{far.url}/sources/far/dicom-web/studies/{uid(1)}"
    with ThreadPoolExecutor(4) as pool:  # a viewer asks for several things at once
        paths = (f"/series/{uid(1, 1)}/metadata", f"/series/{uid(1, 2)}/metadata", "", "/metadata")
        answers = list(pool.map(lambda path: httpx.get(root + path, timeout=120), paths))
    assert [answer.status_code for answer in answers] == [200] * 4, [answer.text[:200] for answer in answers]
    assert [len(answers[n].json()) for n in (0, 1, 3)] == [2, 2, 4]
    assert answers[2].content.count(b"DICM") == 4
    study = httpx.get(f"{far.url}{API}/studies/{uid(1)}?source=far").json()
    assert (study["availability"], study["num_instances"]) == ("local", 4)
    theirs = remote.get(f"/studies/{uid(1)}/series/{uid(1, 1)}/instances/{uid(1, 1, 1)}", "application/dicom")
    ours = httpx.get(f"{root}/series/{uid(1, 1)}/instances/{uid(1, 1, 1)}", headers={"Accept": "application/dicom"})
    assert ours.content == theirs.content


def test_the_page_brings_them_as_well(far: Server) -> None:
    study = f"{far.url}{API}/studies/{uid(2)}"
    series = httpx.get(f"{study}?source=far").json()["series"]
    assert [each["num_instances"] for each in series] == [2, 2]
    assert httpx.get(f"{study}/series/{uid(2, 1)}/thumbnail?source=far").status_code == 404, "a list fetches nothing"
    assert httpx.get(f"{study}/copy?source=far").json()["state"] == "none"
    frame = httpx.get(f"{study}/series/{uid(2, 1)}/frames/1?source=far", timeout=120)
    assert (frame.status_code, frame.headers["content-type"]) == (200, "image/png")
    assert httpx.get(f"{study}/copy?source=far").json()["state"] == "held"
    uids = f"studyUID={uid(7)}&seriesUID={uid(7, 1)}&objectUID={uid(7, 1, 1)}"
    by_query = far.get(f"/wado?requestType=WADO&{uids}&source=far&contentType=application/dicom")
    assert (by_query.status_code, by_query.content[128:132]) == (200, b"DICM")


def test_they_are_fetched_and_given_up_by_hand(far: Server) -> None:
    study = f"{far.url}{API}/studies/{uid(3)}"
    asked = httpx.post(f"{study}/copy?source=far", timeout=60)
    assert (asked.status_code, asked.json()["state"]) == (202, "waiting")
    wait_until(lambda: httpx.get(f"{study}/copy?source=far").json()["state"] == "held", 120, "a fetched copy")
    assert httpx.post(f"{study}/copy?source=far").status_code == 409
    refused = httpx.delete(f"{study}/copy?source=far")
    assert refused.status_code == 409, "it is not yet complete"
    assert httpx.post(f"{study}/complete?source=far", timeout=60).status_code < 300
    assert httpx.delete(f"{study}/copy?source=far").status_code == 204
    shown = httpx.get(f"{study}?source=far").json()
    assert (shown["availability"], shown["num_instances"], shown["revision"]) == ("remote", 4, 1)
    assert len(shown["series"]) == 2
    again = httpx.get(f"{far.url}/sources/far/dicom-web/studies/{uid(3)}", timeout=120)
    assert (again.status_code, again.content.count(b"DICM")) == (200, 4)
    assert httpx.post(f"{study}/complete?source=far", timeout=60).status_code < 300
    assert httpx.get(f"{study}?source=far").json()["revision"] == 1, "the same instances make no revision"


def test_what_may_not_be_fetched_is_not(far: Server) -> None:
    source = f"{far.url}{API}/sources/far"
    root = f"{far.url}/sources/far/dicom-web/studies"
    httpx.patch(source, json={"fetch": "never"})
    answer = httpx.get(f"{root}/{uid(6)}", timeout=60)
    assert (answer.status_code, "remote archive only" in answer.text) == (404, True)
    httpx.patch(source, json={"fetch": "asked"})
    assert httpx.get(f"{root}/{uid(99)}", timeout=60).status_code == 404
    assert httpx.get(f"{root}/{uid(6)}/series/{uid(6, 9)}", timeout=120).status_code == 404


def test_by_command_with_a_list(far: Server, remote: Web, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret-word\n")
    told = far.hilum(
        "source", "remote", "far", "--url", remote.root, "--user", "ann", "--secret", str(secret), "--fetch", "asked"
    ).stdout
    assert ("basic" in told, "s3cret" in told) == (True, False)
    listed = tmp_path / "list.csv"
    listed.write_text("accession_number,note\nA1,x\nA4,\n A99 ,\nA*,\nA1,again\n")
    done = far.hilum("index", "--source", "far", "--accessions", str(listed), "--json", check=False)
    report = json.loads(done.stdout)
    assert done.returncode == 1, "something is missing"
    assert {state: [each["name"] for each in report[state]] for state in ("found", "missing", "ambiguous")} == {
        "found": ["A1"], "missing": ["A99", "A*"], "ambiguous": ["A4"],
    }  # fmt: skip
    assert sorted(report["ambiguous"][0]["studies"]) == [uid(4), uid(5)]
    shown = far.hilum("index", "--source", "far", "--limit", "3").stdout
    assert "studies" in shown
    job = far.get(f"{API}/jobs").json()["items"][0]
    assert (job["kind"], job["state"], job["done"]) == ("index_from_dicomweb", "succeeded", 3)
    wrong = far.hilum("index", "--source", "far", "--accessions", str(listed), "--visits", str(listed), check=False)
    assert wrong.returncode == 2


def test_a_source_is_removed_and_brought_back_by_rest_and_by_command(server: Server, liar: Liar) -> None:
    liar.answer = lambda handler: reply(handler, [told(n) for n in (1, 2)])
    api = f"{server.url}/api/v1/imaging"
    given = {"key": "gone", "name": "Gone", "dicomweb_url": liar.url}
    assert httpx.post(f"{api}/sources", json=given, timeout=60).status_code == 201
    job = server.job(httpx.post(f"{api}/studies/index-from-dicomweb", json={"source": "gone"}))
    assert job["counts"] == {"studies_new": 2}, job
    address = f"{api}/sources/gone"
    refused = httpx.delete(address)
    assert (refused.status_code, "2 studies are known" in refused.json()["detail"]) == (409, True)
    assert httpx.delete(f"{address}?forget=maybe").status_code == 422
    removed = httpx.delete(f"{address}?forget=true")
    assert (removed.status_code, removed.json()) == (200, {"key": "gone", "studies": 2})
    assert [httpx.get(address).status_code, httpx.delete(address).status_code] == [404, 404]
    assert httpx.get(f"{server.url}/sources/gone/dicom-web/studies").status_code == 404
    assert httpx.post(f"{api}/sources", json={"key": "gone"}).status_code == 409
    assert httpx.post(f"{address}/restore").json()["studies"] == 2
    told_by_command = server.hilum("source", "remove", "gone", "--forget").stdout
    assert "Its 2 studies can be brought back for 7 days: hilum source restore gone." in told_by_command
    assert "gone" not in json.dumps(json.loads(server.hilum("source", "list", "--json").stdout))
    assert "with 2 studies" in server.hilum("source", "restore", "gone").stdout
    assert server.hilum("source", "remove", "gone", check=False).returncode != 0


def test_the_list_of_a_fhir_server_is_indexed_by_a_job(server: Server, remote: Web) -> None:
    fhir = f"{remote.root.removesuffix('/dicom-web')}/fhir"
    for study in range(1, 9):  # its resources are made when they are first read
        httpx.get(f"{fhir}/ImagingStudy?identifier=urn:oid:{uid(study)}").raise_for_status()
    (server.data / "secret").write_text("s3cret-word\n")
    server.hilum(
        "source", "add", "list", "--fhir-url", fhir, "--dicomweb-url", remote.root,
        "--fhir-user", "hilum", "--fhir-secret", str(server.data / "secret"),
    )  # fmt: skip
    address = f"{server.url}{API}/studies/index-from-fhir"
    job = server.job(httpx.post(address, json={"source": "list", "url": fhir}))
    assert (job["state"], job["counts"]) == ("succeeded", {"studies_new": 8, "series": 16})
    for body, status in (
        ({"source": "list", "limit": 1001}, 422), ({"source": "list", "colour": 1}, 422), ({"source": "nowhere"}, 404),
        ({"source": "default"}, 409), ({"source": "list", "url": "http://127.0.0.1:1/"}, 422),
    ):  # fmt: skip
        assert httpx.post(address, json=body).status_code == status, body
