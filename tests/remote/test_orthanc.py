"""Orthanc as a remote archive: indexed, its images fetched and given up again."""

import pytest

from hilum.core.errors import Conflict
from hilum.imaging.archive.check import check
from hilum.imaging.archive.delete import delete_study
from hilum.imaging.remote import copies, indexing
from hilum.imaging.remote.client import DicomWeb, RemoteRefuses
from hilum.imaging.remote.fetching import fetch, services_of
from hilum.imaging.remote.indexing import index_series
from hilum.imaging.remote.keeping import release, release_due
from hilum.imaging.remote.servers import find_server
from tests.make import ct, uid
from tests.remote.conftest import Here, Orthanc

LOGIN = {"username": "ann", "password": "s3cret"}


@pytest.fixture(scope="module", autouse=True)
def filled(orthanc: Orthanc) -> None:
    """Seven studies of two series with two instances each; the last is an MR."""
    for study in range(1, 8):
        more = {"Modality": "MR"} if study == 7 else {}
        for series in (1, 2):
            orthanc.keep(*(ct(study, series, number, size=64, **more) for number in (1, 2)))


@pytest.fixture
def far(here: Here, orthanc: Orthanc) -> Here:
    """Ours, with Orthanc as the remote archive of ``far``, named without its /dicom-web."""
    here.name(orthanc.url, credentials=LOGIN)
    return here


def test_its_studies_become_known_page_by_page(far: Here, orthanc: Orthanc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "PAGE", 3)
    assert far.index(limit=5).counts == {"studies_new": 5}
    assert far.index(everything=True).counts == {"studies_unchanged": 5, "studies_new": 2}
    found = far.studies(availability="remote")
    assert sorted(found) == [uid(n) for n in range(1, 8)]
    assert {name: str(found[uid(1)][name]) for name in (
        "study_date", "study_time", "accession_number", "study_description", "modality", "patient_id", "patient_name",
        "patient_birth_date", "patient_sex", "physician", "num_series", "num_instances", "bytes", "study_id",
    )} == {
        "study_date": "2024-01-31", "study_time": "10:15:00", "accession_number": "A1",
        "study_description": "CT chest", "modality": "CT", "patient_id": "P1", "patient_name": "Jane1 Doe",
        "patient_birth_date": "1970-01-01", "patient_sex": "F", "physician": "Richard Roe", "num_series": "2",
        "num_instances": "4", "bytes": "0", "study_id": "1",
    }  # fmt: skip
    assert find_server(far.archive.database, "far").url == f"{orthanc.url}/dicom-web"


def test_one_modality_and_the_series_on_request(far: Here) -> None:
    assert far.index(modality="MR", series=True).counts == {"studies_new": 1, "series": 2}
    assert list(far.studies()) == [uid(7)]
    first = far.series(uid(7))[0]
    assert {name: first[name] for name in (
        "series_instance_uid", "series_number", "series_description", "modality", "body_part", "num_instances",
    )} == {
        "series_instance_uid": uid(7, 1), "series_number": 1, "series_description": "Axial", "modality": "MR",
        "body_part": "CHEST", "num_instances": 2,
    }  # fmt: skip
    assert far.studies()[uid(7)]["body_part"] == "CHEST"


def test_the_series_of_one_study_later(far: Here) -> None:
    far.index(limit=1)
    ((study, row),) = far.studies().items()
    assert far.series(study) == []
    counts = [index_series(far.archive, row["id"]) for _ in range(2)]  # pyright: ignore[reportArgumentType]
    assert [(each.new, each.unchanged) for each in counts] == [(2, 0), (0, 2)]
    assert far.index(limit=1).counts == {"studies_unchanged": 1}
    assert len(far.series(study)) == 2


def test_its_services_are_tried(far: Here) -> None:
    with DicomWeb(find_server(far.archive.database, "far")) as client:
        assert services_of(client) == ["QIDO-RS", "WADO-RS"]
    far.name(find_server(far.archive.database, "far").url, credentials={"username": "ann", "password": "wrong"})
    with pytest.raises(RemoteRefuses, match="does not let us in"):
        far.index()


def test_images_are_fetched_as_they_are(far: Here) -> None:
    far.index()
    copy = far.fetch(uid(2))
    assert (copy.state, copy.num_instances, copy.error) == ("held", 4, "")
    study = far.studies()[uid(2)]
    assert (study["availability"], study["num_series"], study["num_instances"]) == ("local", 2, 4)
    with far.archive.database.transaction() as sql:
        rows = sql.rows("select blob_key, size, origin, sop_instance_uid from hilum.instance order by 4")
    assert {row["origin"] for row in rows} == {"remote"}
    held = [far.archive.blobs.read(str(row["blob_key"]), 0, int(str(row["size"]))) for row in rows]
    assert held == [ct(2, series, number, size=64) for series in (1, 2) for number in (1, 2)]
    with far.archive.database.transaction() as sql, pytest.raises(Conflict, match="are here"):
        copies.want(sql, study["id"])  # pyright: ignore[reportArgumentType]
    again = far.index()
    assert again.counts == {"studies_archived": 1, "studies_unchanged": 6}
    assert far.studies()[uid(2)] == study


def test_a_copy_is_given_up_and_fetched_again(far: Here) -> None:
    far.index()
    far.fetch(uid(1))
    before = far.studies()[uid(1)]
    with pytest.raises(Conflict, match="cannot be given up"):
        release(far.archive.database, before["id"])  # still waiting for more: pyright: ignore[reportArgumentType]
    far.quiet()
    release(far.archive.database, before["id"])  # pyright: ignore[reportArgumentType]
    after = far.studies()[uid(1)]
    assert (after["id"], after["availability"], after["bytes"]) == (before["id"], "remote", 0)
    assert (after["num_series"], after["num_instances"]) == (2, 4)
    assert far.copy(uid(1)).state == "released"
    assert [row["series_number"] for row in far.series(uid(1))] == [1, 2]
    assert far.index().counts == {"studies_unchanged": 7}
    assert far.fetch(uid(1)).state == "held"
    assert far.studies()[uid(1)]["num_instances"] == 4
    assert not check(far.archive.database, far.archive.blobs).found


def test_the_oldest_copies_go_when_they_are_too_many_or_too_old(far: Here) -> None:
    far.index()
    for number in (3, 1, 2):
        assert far.fetch(uid(number)).state == "held"
    with far.archive.batch(far.archive.source("far"), "stow") as batch:
        batch.add("x", [ct(4, 1, 1)])
        batch.add("y", [ct(1, 3, 1)])  # a study of which something came by itself
        batch.commit()
    far.quiet()
    size = far.copy(uid(1)).bytes
    far.name(find_server(far.archive.database, "far").url, keep_bytes=size * 2)
    assert release_due(far.archive.database) == 1
    assert sorted(far.studies(availability="local")) == [uid(1), uid(2), uid(4)]
    far.name(find_server(far.archive.database, "far").url, keep_bytes=None, keep_days=1)
    with far.archive.database.transaction() as sql:
        sql.rows("update hilum.remote_copy set fetched_at = fetched_at - interval '25 hours'")
    assert release_due(far.archive.database) == 1
    assert sorted(far.studies(availability="local")) == [uid(1), uid(4)]
    assert release_due(far.archive.database) == 0


def test_by_rule_they_come_by_themselves(far: Here, orthanc: Orthanc) -> None:
    far.name(orthanc.url, credentials=LOGIN, fetch="indexed", modalities=["MR"])
    assert far.index().counts == {"studies_new": 7, "studies_to_fetch": 1}
    far.fetch_all()
    assert list(far.studies(availability="local")) == [uid(7)]
    far.quiet()
    release(far.archive.database, far.studies()[uid(7)]["id"])  # pyright: ignore[reportArgumentType]
    assert "studies_to_fetch" not in far.index().counts, "what was given up does not come back by itself"


def test_a_study_that_was_deleted_meanwhile_does_not_come_back(far: Here) -> None:
    far.index()
    number = far.studies()[uid(5)]["id"]
    with far.archive.database.transaction() as sql:
        copies.want(sql, number)  # pyright: ignore[reportArgumentType]
    wanted = copies.lease(far.archive.database)
    assert wanted
    delete_study(far.archive.database, wanted.study_id, "ann")
    fetch(far.archive, wanted)
    assert uid(5) not in far.studies()
    assert far.index().reasons["deleted"].count == 1
    assert copies.lease(far.archive.database) is None


def test_what_was_interrupted_goes_on(far: Here) -> None:
    far.index()
    with far.archive.database.transaction() as sql:
        copies.want(sql, far.studies()[uid(6)]["id"])  # pyright: ignore[reportArgumentType]
    killed = copies.lease(far.archive.database)
    assert killed
    assert copies.lease(far.archive.database) is None
    with far.archive.batch(killed.server.source, "remote") as batch:
        for number in (1, 2):
            batch.add(str(number), [ct(6, 1, number, size=64)])
        batch.commit()
    with far.archive.database.transaction() as sql:
        sql.rows("update hilum.remote_copy set leased_until = now() - interval '1 second'")
    far.fetch_all()
    assert (far.copy(uid(6)).state, far.copy(uid(6)).num_instances) == ("held", 4)


def test_what_ends_everybody_who_fetches_it_is_left_alone(far: Here) -> None:
    far.index()
    with far.archive.database.transaction() as sql:
        copies.want(sql, far.studies()[uid(6)]["id"])  # pyright: ignore[reportArgumentType]
    for _ in range(copies.MAX_LEASES):
        assert copies.lease(far.archive.database)
        with far.archive.database.transaction() as sql:
            sql.rows("update hilum.remote_copy set leased_until = now() - interval '1 second'")
    assert copies.lease(far.archive.database) is None
    assert (far.copy(uid(6)).state, "ended each time" in far.copy(uid(6)).error) == ("failed", True)
