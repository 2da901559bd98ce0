"""A FHIR server's list indexed: its studies are known and lie there; what is here is not touched by it."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hilum.clinical.fhir import index
from hilum.clinical.fhir.client import Credentials, FhirServer
from hilum.clinical.fhir.index import fhir_url, index_imaging_studies, remote_study
from hilum.core.errors import Conflict, Invalid, Unavailable
from hilum.core.postgres import EmbeddedPostgres
from hilum.core.progress import Progress
from hilum.imaging.archive import query
from hilum.imaging.archive.delete import delete_study
from hilum.imaging.archive.edit import correct_study
from hilum.imaging.archive.query import StudyFilter, list_studies
from hilum.imaging.archive.sources import add_source
from hilum.imaging.remote.servers import change_server
from tests.clinical.conftest import Fhir
from tests.clinical.oracles import assert_valid
from tests.clinical.test_fhir_publish import running
from tests.dicomweb.conftest import Web, shared
from tests.make import ct, uid


@pytest.fixture(scope="module")
def remote(cluster: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """Another archive, with seven studies and FHIR: the peer of which the tests index."""
    with shared(cluster, tmp_path_factory.mktemp("remote")) as web:
        for number in range(1, 8):
            described = {"TimezoneOffsetFromUTC": "+0100", "IssuerOfPatientID": "1.2.3", "Laterality": "L"}
            web.keep(*(ct(number, series, 1, **described) for series in (1, 2)))
            httpx.get(f"{web.root.removesuffix('/dicom-web')}/fhir/ImagingStudy?identifier=urn:oid:{uid(number)}")
        yield web


@pytest.fixture
def here(fhir: Fhir, remote: Web) -> Fhir:
    """Ours, with a source that names it."""
    far = remote.root.removesuffix("/dicom-web")
    add_source(fhir.archive.database, "far", "Far", dicomweb_url=remote.root, fhir_url=f"{far}/fhir/")
    change_server(fhir.archive.database, "far", {"fetch": "never"})
    return fhir


def indexed(fhir: Fhir, **given: object) -> Progress:
    """Index the source ``far``; gives what was counted."""
    progress = Progress(fhir.archive.database, 0)
    index_imaging_studies(fhir.archive, {"source": "far"} | given, progress)
    return progress


def rows(fhir: Fhir, **wanted: object) -> list[dict]:
    with fhir.archive.database.connect() as connection:
        found = list_studies(connection, StudyFilter(source="far", **wanted), sort="study_date")[0]  # pyright: ignore[reportArgumentType]
        return [dict(row) for row in found]


def test_the_studies_become_known_and_lie_there(here: Fhir, remote: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "_PAGE", 3)  # several pages of so few studies
    one = indexed(here, limit=5)
    assert one.counts == {"studies_new": 5, "series": 10}, one.reasons
    assert indexed(here).counts == {"studies_unchanged": 5, "studies_new": 2, "series": 4}
    found = rows(here, availability="remote")
    assert len(found) == 7
    (first,) = (row for row in found if row["study_instance_uid"] == uid(1))
    assert {name: str(first[name]) for name in (
        "study_date", "study_time", "timezone_offset", "accession_number", "study_description", "modality",
        "patient_id", "patient_name", "num_series", "num_instances", "bytes", "quarantine", "body_part",
    )} == {
        "study_date": "2024-01-31", "study_time": "10:15:00", "timezone_offset": "+0100", "accession_number": "A1",
        "study_description": "CT chest", "modality": "CT", "patient_id": "P1", "patient_name": "Jane1 Doe",
        "num_series": "2", "num_instances": "2", "bytes": "0", "quarantine": "", "body_part": "CHEST",
    }  # fmt: skip
    with here.archive.database.connect() as connection:
        series = query.study_series(connection, first["id"])
    assert [(each["series_number"], each["num_instances"], each["laterality"]) for each in series] == [
        (1, 1, "L"),
        (2, 1, "L"),
    ]
    listed = httpx.get(
        f"{here.root.removesuffix('/fhir')}/sources/far/dicom-web/studies?StudyInstanceUID={uid(1)}"
    ).json()
    assert listed[0]["00080056"]["Value"] == ["UNAVAILABLE"]
    assert httpx.get(f"{here.root.removesuffix('/fhir')}/sources/far/dicom-web/studies/{uid(1)}").status_code == 404
    base = f"{here.root.removesuffix('/fhir')}/api/v1/imaging/studies/{uid(1)}"
    assert httpx.get(base).json()["availability"] == "remote"
    assert httpx.get(f"{base}/series/{uid(1, 1)}/thumbnail").status_code == 404


def test_their_endpoint_is_the_remote_archive(here: Fhir, remote: Web) -> None:
    indexed(here, limit=1)
    (entry,) = here.search()["entry"]
    study = entry["resource"]
    endpoint = here.resource(f"/{study['endpoint'][0]['reference']}")
    assert_valid([study, endpoint])
    assert (study["numberOfInstances"], endpoint["address"]) == (2, remote.root)
    number = study["identifier"][0]["value"].removeprefix("urn:oid:")
    for series in study["series"]:
        answer = httpx.get(f"{endpoint['address']}/studies/{number}/series/{series['uid']}", timeout=60)
        assert (answer.status_code, answer.content.count(b"DICM")) == (200, 1)


def test_what_comes_here_is_local_with_counts_of_its_own(here: Fhir) -> None:
    indexed(here)
    far = here.archive.source("far")
    with here.archive.batch(far, "stow") as batch:
        batch.add("x", [ct(1, 1, 1, PatientID="OTHER", StudyDescription="as the file says", TimezoneOffsetFromUTC="")])
        outcomes = batch.commit().outcomes
    assert [outcome.state for outcome in outcomes] == ["added"]
    (row,) = rows(here, availability="local")
    assert (row["num_series"], row["num_instances"], row["num_images"]) == (1, 1, 1)
    assert (row["study_description"], row["patient_id"], row["timezone_offset"]) == ("as the file says", "OTHER", "")
    again = indexed(here)
    assert again.counts == {"studies_archived": 1, "studies_unchanged": 6}
    assert rows(here, availability="local") == [row]


def test_what_was_deleted_or_corrected_here_stays_so(here: Fhir) -> None:
    indexed(here)
    first, second = (next(row for row in rows(here) if row["study_instance_uid"] == uid(n)) for n in (1, 2))
    delete_study(here.archive.database, first["id"], "ann")
    correct_study(here.archive.database, second["id"], {"study_description": "Corrected"}, "ann")
    again = indexed(here)
    assert again.counts == {"studies_unchanged": 6}
    assert again.reasons["deleted"].count == 1
    assert uid(1) not in {row["study_instance_uid"] for row in rows(here)}
    assert "Corrected" in {row["study_description"] for row in rows(here)}


def test_only_the_server_that_the_source_names_is_asked(here: Fhir, remote: Web) -> None:
    far = here.archive.source("far")
    with pytest.raises(Invalid, match="Only the FHIR server"):
        fhir_url(here.archive, far, "http://127.0.0.1:1/fhir")
    with pytest.raises(Conflict, match="names no FHIR server"):
        fhir_url(here.archive, here.archive.source())
    for url in ("http://u:p@x/fhir", "file:///etc/passwd", "http://x/?a", "x"):
        with pytest.raises(Invalid, match="of the form"):
            add_source(here.archive.database, "bad", "Bad", fhir_url=url)
    server = FhirServer(f"{remote.root}", Credentials())
    assert not server.owns("http://127.0.0.1:1/dicom-web/studies")
    assert server.owns(f"{remote.root}/anything")
    add_source(here.archive.database, "far", "Far", fhir_url="http://127.0.0.1:1/fhir")
    with pytest.raises(Unavailable, match="cannot be reached"):
        indexed(here)


def test_a_server_is_told_the_credentials_of_its_source_and_no_other_is(fhir: Fhir, tmp_path: Path) -> None:
    database = fhir.archive.database
    basic = "Basic " + base64.b64encode(b"hilum:s3cret-word").decode()
    logins = (("Bearer s3cret-word", {}), (basic, {"fhir_user": "hilum"}))
    for number, (authorization, login) in enumerate(logins):
        (tmp_path / str(number)).mkdir()
        with running(tmp_path / str(number), authorization) as peer:
            add_source(database, "far", "Far", fhir_url=peer.url)
            with pytest.raises(Unavailable, match="does not know the credentials"):
                indexed(fhir)
            add_source(database, "far", "Far", fhir_secret="s3cret-word", **login)
            assert indexed(fhir).counts == {}
            add_source(database, "far", "Far away", fhir_url=peer.url)  # the same server: they stay
            assert indexed(fhir).counts == {}
    with running(tmp_path, "Bearer s3cret-word") as peer:
        add_source(database, "far", "Far", fhir_url=peer.url)  # another one
        with pytest.raises(Unavailable, match="does not know the credentials"):
            indexed(fhir)
    with pytest.raises(Invalid, match="needs a password"):
        add_source(database, "far", "Far", fhir_user="hilum")
    shown = httpx.get(f"{fhir.root.removesuffix('/fhir')}/api/v1/imaging/sources").text
    assert "far" in shown
    assert "s3cret" not in shown


@pytest.mark.parametrize(
    ("display", "name"),
    [
        ("Doe, Jane Mary Ann", "Doe^Jane^Mary Ann"), ("Doe,Jane", "Doe^Jane"), ("Jane Doe", "Jane Doe"),
        ("van Roe", "van Roe"), ("Doe^Jane=x\\y", "Doe Jane x y"), ("Doe, Jane, MD", "Doe, Jane, MD"), (", ", ","),
        ("", ""),
    ],
)  # fmt: skip
def test_a_name_is_kept_as_dicom_has_it(display: str, name: str) -> None:
    """Whatever a server shows: never with a delimiter of its own making, and found by each of its words."""
    resource = {
        "resourceType": "ImagingStudy", "status": "available", "started": "2024-01-31",
        "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:{uid(1)}"}], "subject": {"display": display},
    }  # fmt: skip
    found = remote_study(resource)
    assert found
    assert found.study["patient_name_dicom"] == name


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=9), st.sampled_from([uid(1), "urn:dicom:uid"])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=9), inner, max_size=3)),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_whatever_a_server_says_is_read_or_left_out(data: st.DataObject) -> None:
    resource: dict = {
        "resourceType": "ImagingStudy", "status": "available", "started": "2024-01-31T10:15:00Z",
        "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:{uid(1)}"}], "subject": {"display": "x"},
        "series": [{"uid": uid(1, 1), "modality": {"code": "CT"}, "bodySite": {"code": "x"}, "number": 1}],
    }  # fmt: skip
    for name in data.draw(
        st.lists(st.sampled_from([*resource, "modality", "numberOfInstances", "basedOn"]), max_size=3)
    ):
        resource[name] = data.draw(VALUES)
    try:
        found = remote_study(json.loads(json.dumps(resource)))
    except ValueError:
        return
    if found:
        assert found.study["study_instance_uid"] == uid(1)
        json.dumps(dict(found.study))
