"""An ImagingStudy follows its study: one resource, a version a change, cancelled when deleted, gone when purged."""

from datetime import timedelta

from hilum.clinical.fhir.versions import handle, make_missing
from hilum.core.events import read_events
from hilum.imaging.archive import delete
from hilum.imaging.archive.edit import correct_study
from hilum.imaging.archive.patients import check_patient, release
from tests.clinical.conftest import Fhir, revised
from tests.make import ct, uid


def one(fhir: Fhir, study: int = 1) -> dict:
    """The only ImagingStudy of a study."""
    bundle = fhir.search(("identifier", f"urn:dicom:uid|urn:oid:{uid(study)}"))
    assert bundle["total"] == 1
    return bundle["entry"][0]["resource"]


def test_one_resource_and_a_version_for_each_change(fhir: Fhir) -> None:
    fhir.web.keep(ct(1))
    fhir.tell(revision=1)
    first = one(fhir)
    assert (first["meta"]["versionId"], first["numberOfInstances"], first["status"]) == ("1", 1, "available")
    assert first["extension"] == [{"url": "urn:hilum:fhir:study-revision", "valueUnsignedInt": 1}]
    for _ in range(3):
        fhir.tell(revision=1)
    assert one(fhir) == first
    fhir.web.keep(ct(1, 1, 2), ct(1, 2, 1))
    fhir.tell(revision=2)
    second = one(fhir)
    assert second["id"] == first["id"]
    assert (second["meta"]["versionId"], second["numberOfInstances"], second["numberOfSeries"]) == ("2", 3, 2)
    fhir.tell(revision=1)  # an event that comes late changes nothing
    assert one(fhir) == second


def test_a_study_that_no_event_told_of_is_made_when_it_is_first_read(fhir: Fhir) -> None:
    fhir.web.keep(ct(1), ct(2))
    with fhir.archive.database.connect() as connection:
        numbers = connection.exec_driver_sql("select id from hilum.study order by id").scalars().all()
    assert fhir.resource(f"/ImagingStudy/{numbers[0]}")["identifier"][0]["value"] == f"urn:oid:{uid(1)}"
    assert fhir.found() == [uid(1)]
    assert fhir.found(("identifier", f"urn:oid:{uid(2)}")) == [uid(2)]
    assert "extension" not in one(fhir, 2)


def test_studies_archived_before_are_made_once_they_have_settled(fhir: Fhir) -> None:
    fhir.web.keep(*(ct(n) for n in range(1, 6)))
    assert make_missing(fhir.archive) == 0  # they have just come
    with fhir.archive.database.transaction() as sql:
        sql.rows(
            "update hilum.study set updated_at = now() - interval '1 hour' where study_instance_uid <> %s", (uid(4),)
        )
    assert make_missing(fhir.archive) == 3
    assert fhir.found() == [uid(1), uid(2), uid(3)]
    with fhir.archive.database.transaction() as sql:
        sql.rows("update hilum.study set updated_at = now() - interval '1 hour'")
    assert make_missing(fhir.archive) == 2
    assert make_missing(fhir.archive) == 0


def test_a_correction_and_a_patient_make_versions(fhir: Fhir) -> None:
    fhir.web.keep(ct(1, PatientID=None))
    fhir.tell(revision=1)
    assert "identifier" not in one(fhir)["subject"]
    number = int(one(fhir)["id"])
    correct_study(fhir.archive.database, number, {"study_description": "Thorax", "accession_number": "B2"}, "ann")
    fhir.tell()
    corrected = one(fhir)
    assert (corrected["description"], corrected["basedOn"][0]["identifier"]["value"]) == ("Thorax", "B2")
    with fhir.archive.database.transaction() as sql:
        release(sql, number, check_patient("P9", "Saint Elsewhere"))
    fhir.tell()
    identifier = one(fhir)["subject"]["identifier"]
    assert (identifier["value"], identifier["assigner"]) == ("P9", {"display": "Saint Elsewhere"})
    assert one(fhir)["meta"]["versionId"] == "3"


def test_a_linked_study_refers_to_its_person(fhir: Fhir) -> None:
    fhir.web.keep(ct(1))
    fhir.tell(revision=1)
    for person, kind in ((77, "linked"), (None, "unlinked")):
        with fhir.archive.database.transaction() as sql:
            sql.rows("update hilum.study set person_id = %s", (person,))
        handle(fhir.archive, revised(uid(1), 1) | {"type": f"hilum.study.{kind}.v1"})
        subject = one(fhir)["subject"]
        assert subject.get("reference") == (f"Patient/{person}" if person else None)
        assert subject["identifier"]["value"] == "P1"
        assert fhir.found(("patient", "Patient/77")) == ([uid(1)] if person else [])


def test_a_deleted_study_is_cancelled_readable_and_comes_back(fhir: Fhir) -> None:
    fhir.web.keep(ct(1), ct(1, 2))
    fhir.tell(revision=1)
    number = one(fhir)["id"]
    database = fhir.archive.database
    delete.delete_part(database, int(number), delete.Part(uid(1, 2)), "ann")
    fhir.tell(revision=2)
    assert (one(fhir)["numberOfSeries"], one(fhir)["status"]) == (1, "available")
    delete.delete_study(database, int(number), "ann")
    fhir.tell(revision=3)
    cancelled = fhir.resource(f"/ImagingStudy/{number}")
    assert (cancelled["status"], cancelled["numberOfInstances"]) == ("cancelled", 0)
    assert not {"series", "endpoint"} & set(cancelled)
    assert fhir.found(("status", "cancelled")) == [uid(1)]
    delete.restore_study(database, uid(1))
    fhir.tell(revision=4)
    assert (one(fhir)["status"], one(fhir)["id"]) == ("available", number)
    delete.delete_study(database, int(number), "ann")
    fhir.tell()
    fhir.web.keep(ct(1, 7))  # stored again: another row of the catalogue, the same resource
    fhir.tell(revision=6)
    assert (one(fhir)["id"], one(fhir)["series"][0]["uid"]) == (number, uid(1, 7))


def test_of_a_purged_study_nothing_is_left_but_that_it_was_there(fhir: Fhir) -> None:
    fhir.web.keep(ct(1), ct(2))
    fhir.tell(revision=1)
    fhir.tell(revision=1, study=2)
    number = one(fhir)["id"]
    delete.delete_study(fhir.archive.database, int(number), "ann")
    fhir.tell()
    make_missing(fhir.archive)
    assert fhir.get(f"/ImagingStudy/{number}").status_code == 200
    assert delete.purge(fhir.archive.database, fhir.archive.blobs, timedelta(0))
    make_missing(fhir.archive)
    make_missing(fhir.archive)
    for path in ("", "/_history/1", "/_history/2", "/_history/3"):
        answer = fhir.get(f"/ImagingStudy/{number}{path}")
        assert (answer.status_code, answer.json()["issue"][0]["code"]) == (410, "deleted"), path
    history = fhir.resource(f"/ImagingStudy/{number}/_history")
    assert [entry["request"]["method"] for entry in history["entry"]] == ["DELETE"] * 3
    assert fhir.found() == [uid(2)]
    with fhir.archive.database.connect() as connection:
        kept = connection.exec_driver_sql("select t::text from hilum.fhir_imaging_study t where deleted").scalar_one()
    assert "P1" not in kept
    fhir.web.keep(ct(1))
    fhir.tell(revision=9)
    assert fhir.resource(f"/ImagingStudy/{number}")["meta"]["versionId"] == "4"


def test_a_study_purged_before_anybody_looked_is_cancelled_first(fhir: Fhir) -> None:
    fhir.web.keep(ct(1))
    fhir.tell(revision=1)
    number = one(fhir)["id"]
    delete.delete_study(fhir.archive.database, int(number), "ann")
    delete.purge(fhir.archive.database, fhir.archive.blobs, timedelta(0))
    fhir.tell()
    cancelled = fhir.resource(f"/ImagingStudy/{number}")
    assert (cancelled["status"], cancelled["numberOfSeries"], "series" in cancelled) == ("cancelled", 0, False)


def test_events_of_a_study_that_is_not_there_are_let_pass(fhir: Fhir) -> None:
    handle(fhir.archive, revised(uid(99), 1))
    handle(fhir.archive, revised(uid(1), 1) | {"source": "https://hilum.example/sources/nowhere"})
    fhir.web.keep(ct(1))
    with fhir.archive.database.connect() as connection:
        (number,) = connection.exec_driver_sql("select id from hilum.study").scalars()
        delete.delete_study(fhir.archive.database, number, "ann")
        events = read_events(connection, "http://x", types=["hilum.study.deleted.v1"])
    handle(fhir.archive, events[0])
    assert fhir.search()["total"] == 0
