"""What is linked depends on what there is, not on the order in which it came or on what was wrong before: compared
table by table with a site that had it right from the first."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hilum.clinical.cdm.create import create_cdm, default_schemas
from hilum.clinical.fhir.versions import TYPES, handle
from hilum.clinical.linkage import decisions
from hilum.core.database import Database
from hilum.core.events import read_events
from hilum.core.postgres import EmbeddedPostgres
from hilum.imaging.archive import delete, query
from hilum.imaging.archive.identity import Patient
from hilum.imaging.archive.patients import move, release
from tests.clinical.cdm.conftest import Site, site_of_database
from tests.conftest import fresh_database
from tests.make import ct, uid

TABLES = {
    "links": "select s.study_instance_uid, l.kind, l.target_id, l.method, l.evidence, l.reason, l.made_by "
    "from hilum.study_link l join hilum.study s on s.id = l.study_id order by 1, 2",
    "studies": "select study_instance_uid, patient_id, person_id, status from hilum.study order by 1",
    "image_occurrence": "select * from omop_imaging.image_occurrence order by image_study_uid, image_series_uid",
    "procedure_occurrence": "select * from omop.procedure_occurrence order by 1",
    "visit_occurrence": "select * from omop.visit_occurrence order by 1",
    "person": "select * from omop.person order by 1",
    "minted": "select study_instance_uid, procedure_occurrence_id from hilum.minted_procedure order by 1",
    "series": "select study_instance_uid, series_instance_uid, image_occurrence_id, anatomy_from, anatomy_word "
    "from hilum.series_occurrence order by 1, 2",
    "fhir": "select distinct on (i.study_instance_uid) i.study_instance_uid, i.person_id, i.patient_id, "
    "v.content::jsonb->'subject' as subject from hilum.fhir_imaging_study i "
    "join hilum.fhir_imaging_study_version v on v.imaging_study_id = i.id order by 1, v.version desc",
}


@pytest.fixture
def other(cluster: EmbeddedPostgres, tmp_path: Path) -> Iterator[Site]:
    """A second hospital in a database of its own."""
    with fresh_database(cluster) as url:
        database = Database(url, pool_size=4)
        cdm = create_cdm(database, "default", default_schemas("default"), "2000000000-2000999999")
        yield site_of_database(database, cdm, tmp_path / "other")
        database.close()


def whole(site: Site) -> dict[str, Any]:
    """Every table that linking writes, the subjects of FHIR, and the counts that the archive tells."""
    with site.archive.database.connect() as connection:
        for event in read_events(connection, "", types=TYPES, limit=1000):
            handle(site.archive, event)
    told: dict[str, Any] = {name: site.rows(text) for name, text in TABLES.items()}
    for row in told["image_occurrence"]:
        row["local_path"] = row["local_path"].replace(str(site.archive.settings.data_path), "")
    for row in told["procedure_occurrence"]:
        row["procedure_source_value"] = row["procedure_source_value"].partition(":")[0]
    with site.archive.database.connect() as connection:
        told["counts"] = query.statistics(connection)
    return told


def linked(site: Site) -> dict[str, dict[str, tuple[object, object]]]:
    """Of each study its links, without the ids that are given in the order of arrival."""
    found: dict[str, dict[str, Any]] = {}
    for row in site.rows(TABLES["links"]):
        target = "one of its own" if row["method"] == "minted" else row["target_id"]
        found.setdefault(row["study_instance_uid"], {})[row["kind"]] = (target, row["reason"], row["evidence"])
    return found


def people(site: Site) -> None:
    for number in (1, 2):
        site.person(number, f"unlike {number}")
        site.visit(number * 10, number, "2024-01-31 08:00", "2024-01-31 18:00")
        site.procedure(number * 100, number, "A2", concept=0)
    site.store(ct(1, 1, 1), ct(1, 2, 1, Modality="SR"), ct(2, 1, 1))


def test_wrong_person_then_the_right_one_is_as_right_at_first(site: Site, other: Site) -> None:
    people(other)
    for number in (1, 2):
        decisions.decide(other.archive.database, other.study(number), "person", 1, "ann", other.manner)
    site.rows("delete from hilum.fhir_imaging_study")
    people(site)
    database = site.archive.database
    for person in (2, None, 1):
        for number in (1, 2):
            if person is None:
                decisions.release(database, site.study(number), "person", "ann", site.manner)
            else:
                decisions.decide(database, site.study(number), "person", person, "ann", site.manner)
        if person is None:
            assert {row["person_id"] for row in site.rows("select person_id from hilum.study")} == {None}
            assert site.images("person_id") == []
    site.work()
    found = whole(site)
    assert found == whole(other)
    assert [row["subject"]["reference"] for row in found["fhir"]] == ["Patient/1", "Patient/1"]
    assert {row[0] for row in site.images("person_id")} == {1}
    assert linked(site)[uid(2)]["procedure"][0] == 100


def sharing() -> dict[str, bytes]:
    """Three studies of one PatientID: of a woman twice, and of a man."""
    return {
        "woman": ct(1, 1, 1, PatientID="S"),
        "man": ct(2, 1, 1, PatientID="S", PatientSex="M", PatientBirthDate=""),
        "woman again": ct(3, 1, 1, PatientID="S", PatientBirthDate=""),
    }


@pytest.mark.parametrize("order", list(itertools.permutations(sharing())), ids=", ".join)
def test_a_shared_id_is_quarantined_whatever_came_first(site: Site, order: tuple[str, ...]) -> None:
    """And a study is linked whose sex and whole birth date are the person's."""
    site.person(1, "S")
    files = sharing()
    for name in order:
        site.store(files[name])
    assert [site.links(n)["person"] for n in (1, 2, 3)] == [
        (1, "person_source_value"), (None, "shared_id"), (None, "shared_id"),
    ]  # fmt: skip
    assert [row[0] for row in site.images("image_study_uid")] == [uid(1)]
    state = linked(site)
    assert state[uid(1)]["person"][2]["differing"] == ["sex"]
    site.rows("delete from hilum.study_link")
    site.rows("update hilum.study set person_id = null")
    site.link_all()
    assert linked(site) == state


def test_a_shared_id_heals_when_it_is_corrected(site: Site) -> None:
    """Also the studies that were not touched; and one that joins later is quarantined with them again."""
    site.person(1, "S")
    site.person(2, "M", sex=8507)
    site.store(*sharing().values())
    assert site.links(3)["person"] == (None, "shared_id")
    with site.archive.database.transaction() as sql:
        move(sql, site.study(2), Patient("M"))
    site.work()
    assert [site.links(n)["person"] for n in (1, 2, 3)] == [
        (1, "person_source_value"), (2, "person_source_value"), (1, "person_source_value"),
    ]  # fmt: skip
    assert len(site.images("person_id")) == 3
    with site.archive.database.transaction() as sql:
        move(sql, site.study(2), Patient("S"))
    site.work()
    assert [site.links(n)["person"][1] for n in (2, 3)] == ["shared_id", "shared_id"]
    assert len(site.images("person_id")) == 1
    delete.delete_study(site.archive.database, site.study(2), "ann")
    site.work()
    assert site.links(3)["person"] == (1, "person_source_value")
    delete.restore_study(site.archive.database, uid(2))
    site.work()
    assert site.links(3)["person"] == (None, "shared_id")


def test_two_people_of_two_issuers_are_told_apart_by_the_map(site: Site) -> None:
    """Though their sexes and birth dates differ; the id of one issuer may still be shared within it."""
    site.person(1)
    site.person(2, sex=8507, born="1950-02-02")
    site.rows(
        "insert into hilum.person_map (source_id, patient_id, issuer_of_patient_id, person_id) "
        "values (1, 'S', 'North', 1), (1, 'S', 'South', 2)"
    )
    south = {"PatientID": "S", "IssuerOfPatientID": "South"}
    site.store(ct(1, 1, 1, PatientID="S", IssuerOfPatientID="North", PatientBirthDate=""))
    site.store(ct(2, 1, 1, **south, PatientSex="M", PatientBirthDate="19500202"))
    assert [site.links(n)["person"] for n in (1, 2)] == [(1, "person_map"), (2, "person_map")]
    site.store(ct(3, 1, 1, **south, PatientSex="M", PatientBirthDate="19610101"))
    assert [site.links(n)["person"] for n in (1, 2, 3)] == [
        (1, "person_map"), (2, "person_map"), (None, "shared_id"),
    ]  # fmt: skip


@pytest.mark.parametrize("blank", [None, "", "   "])
def test_a_blank_id_waits_and_is_linked_when_it_is_known(site: Site, blank: str | None) -> None:
    """Even where a person of the CDM has none either."""
    site.person(1)
    site.rows("update omop.person set person_source_value = '' where person_id = 1")
    site.person(2, "P2")
    site.store(ct(1, 1, 1, PatientID=blank))
    assert site.links()["person"] == (None, "blank_id")
    with site.archive.database.transaction() as sql:
        release(sql, site.study(), Patient("P2"))
    site.work()
    assert site.links()["person"] == (2, "person_source_value")


def test_people_who_were_merged_into_one_id_are_linked_as_one(site: Site) -> None:
    """A patient who was registered twice: after the merge both studies are of one person, and nothing is left of the
    other."""
    site.person(1)
    site.person(2, sex=8532)
    site.store(ct(1, 1, 1), ct(2, 1, 1))
    assert {row[0] for row in site.images("person_id")} == {1, 2}
    with site.archive.database.transaction() as sql:
        move(sql, site.study(2), Patient("P1"))
    site.work()
    assert {row[0] for row in site.images("person_id")} == {1}
    rows = site.rows("select distinct person_id from omop.procedure_occurrence")
    assert rows == [{"person_id": 1}]
