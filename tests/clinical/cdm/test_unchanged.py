"""Linking all studies again passes over those of which nothing has changed, and over no other: after each change it
comes to what a run comes to that looks at all of them."""

from collections.abc import Callable
from typing import Any

import pytest

from hilum.clinical.linkage import decisions
from hilum.imaging.archive import delete
from hilum.imaging.archive.store import Archive
from tests.clinical.cdm.conftest import Site, everything
from tests.make import ct, uid

VERSIONS = (
    "select xmin::text, ctid::text from hilum.study_link union all "
    "select xmin::text, ctid::text from omop_imaging.image_occurrence union all "
    "select xmin::text, ctid::text from omop.procedure_occurrence order by 1, 2"
)


def hospital(site: Site) -> None:
    """Five studies: linked by number and visit, minted, of one patient on one day, waiting, and by hand."""
    for person in (1, 2, 3):
        site.person(person)
    site.visit(10, 1, "2024-01-31 08:00", "2024-01-31 18:00")
    site.procedure(100, 1, "A1")
    site.store(ct(1, 1, 1), ct(1, 2, 1), ct(2, 1, 1), ct(3, 1, 1, PatientID="P2"), ct(4, 1, 1, PatientID="stranger"))
    site.store(ct(5, 1, 1, PatientID="P3"))
    decisions.decide(site.archive.database, site.study(5), "person", 3, "ann", site.manner)


def sql(statement: str) -> Callable[[Site], object]:
    """A change by whoever writes into the CDM, past its foreign keys, which other CDMs do not have."""
    return lambda site: site.rows(f"set local session_replication_role = replica; {statement}")


def moved(archive: Archive) -> Archive:
    """The same archive at another address."""
    settings = archive.settings.model_copy(update={"public_url": "https://hilum.example"})
    return Archive(archive.database, archive.blobs, settings)


CHANGES: dict[str, Callable[[Site], object]] = {
    "a person's sex": sql("update omop.person set gender_concept_id = 8507 where person_id = 2"),
    "a person's year of birth": sql(
        "update omop.person set gender_concept_id = 8532, year_of_birth = 1950 where person_id = 2"
    ),
    "a person's id of the hospital": sql(
        "update omop.person set person_source_value = 'stranger', year_of_birth = 1970 where person_id = 2"
    ),
    "a person that goes": sql("delete from omop.person where person_id = 3"),
    "a line of the person map": sql(
        "insert into hilum.person_map (source_id, patient_id, person_id) values (1, 'P2', 2)"
    ),
    "another line of it": sql("update hilum.person_map set person_id = 1"),
    "a line that goes": sql("delete from hilum.person_map"),
    "a line of the procedure map": sql(
        "insert into hilum.procedure_map (source_id, number, procedure_occurrence_id) values (1, 'A4', 100)"
    ),
    "it goes": sql("delete from hilum.procedure_map"),
    "a procedure": lambda site: site.procedure(101, 2, "A4"),
    "a procedure's number": sql(
        "update omop.procedure_occurrence set procedure_source_value = 'A4|A1' where procedure_occurrence_id = 101"
    ),
    "a procedure's day": sql(
        "update omop.procedure_occurrence set procedure_date = '2023-01-01', procedure_source_value = '' "
        "where procedure_occurrence_id = 101"
    ),
    "a procedure that goes": sql("delete from omop.procedure_occurrence where procedure_occurrence_id = 100"),
    "a visit": lambda site: site.visit(11, 2, "2024-01-31 08:00", "2024-01-31 18:00"),
    "a visit's days": sql(
        "update omop.visit_occurrence set visit_start_date = '2024-02-01', visit_start_datetime = '2024-02-01', "
        "visit_end_date = '2024-02-02', visit_end_datetime = '2024-02-02' where visit_occurrence_id = 11"
    ),
    "a visit that goes": sql("delete from omop.visit_occurrence where visit_occurrence_id = 10"),
    "a setting": lambda site: setattr(site, "mint", False),
    "the setting back": lambda site: setattr(site, "mint", True),
    "a decision": sql("delete from hilum.link_decision"),
    "a study's number": sql("update hilum.study set accession_number = 'B4' where accession_number = 'A4'"),
    "a series": sql("update hilum.series set body_part = 'HEAD' where study_id = (select min(id) from hilum.study)"),
    "a row of a series that somebody took away": sql(
        "delete from omop_imaging.image_occurrence "
        "where image_occurrence_id = (select min(image_occurrence_id) from omop_imaging.image_occurrence)"
    ),
    "a row of a series that somebody wrote": sql("update omop_imaging.image_occurrence set modality = 'XX'"),
    "a minted procedure that somebody took away": sql("delete from omop.procedure_occurrence"),
    "a link that is lost": sql("delete from hilum.study_link where kind = 'person'"),
    "the sex of a study of the same id": sql(
        "update hilum.study set patient_sex = 'M' where study_instance_uid like '%.2'"
    ),
    "a study that goes": lambda site: delete.delete_study(site.archive.database, site.study(2), "ann"),
    "where images are": lambda site: setattr(site, "archive", moved(site.archive)),
}


def test_what_has_changed_is_seen_and_nothing_else_is_touched(site: Site) -> None:
    hospital(site)
    site.link_all(again=False)
    site.link_all(again=False)
    for name, change in CHANGES.items():
        before = everything(site)
        counts = site.link_all(again=False)
        assert (counts["unchanged"], counts.get("changed", 0)) == (counts["studies"], 0), f"before {name}"
        change(site)
        damaged = everything(site)
        site.link_all(again=False)
        found = everything(site)
        versions = site.rows(VERSIONS)
        assert site.link_all(again=True).get("changed", 0) == 0, name
        assert everything(site) == found, name
        assert site.rows(VERSIONS) == versions, name
        assert found != before or damaged != before, f"{name} changes nothing, and tests nothing"
        site.link_all(again=False)


@pytest.mark.parametrize("table", ["concept", "concept_ancestor"])
def test_another_vocabulary_is_seen(site: Site, table: str) -> None:
    hospital(site)
    site.link_all(again=False)
    assert site.link_all(again=False)["unchanged"] == 5
    if table == "concept":
        site.rows("update omop_vocabulary.concept set invalid_reason = 'D' where concept_id = 4300757")
    else:
        site.rows("truncate omop_vocabulary.concept_ancestor")
    try:
        assert site.link_all(again=False)["unchanged"] == 0
    finally:
        site.rows("update omop_vocabulary.concept set invalid_reason = null where concept_id = 4300757")


def test_few_studies_are_all_looked_at(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs less than to look first; nothing is kept of them."""
    hospital(site)
    looked: list[Any] = []
    monkeypatch.setattr("hilum.clinical.linkage.bulk.look_at", lambda *given: looked.append(given) or {})
    from hilum.clinical.linkage.bulk import link_all
    from hilum.core.progress import job_here

    with job_here(site.archive.database, "cdm_link", "", "default", lambda *_: None) as progress:
        link_all(site.archive, "default", site.manner, progress)
    assert (looked, site.rows("select * from hilum.settled_study")) == ([], [])


def test_a_study_that_changes_while_it_is_linked_is_linked_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was looked at counts, not what is there when the run is done."""
    hospital(site)
    from hilum.clinical.linkage import bulk

    settle = bulk.settle

    def slow(*given: Any) -> int:
        done = settle(*given)
        with site.archive.database.transaction() as other:  # another process, meanwhile
            other.rows("update omop.visit_occurrence set visit_end_datetime = now() where visit_occurrence_id = 10")
            other.rows("update hilum.series set body_part = 'FOOT' where series_instance_uid = %s", (uid(1, 1),))
        return done

    with monkeypatch.context() as patch:
        patch.setattr(bulk, "settle", slow)
        site.link_all(again=False)
    assert site.link_all(again=False).get("unchanged", 0) == 0
    assert site.one("select anatomy_word from hilum.series_occurrence where series_instance_uid = %s", uid(1, 1))


def test_rows_that_nobody_looks_at_are_mended_by_a_run_over_all(site: Site) -> None:
    """Rows of files and features in the CDM are many: whether somebody took them away is only seen with --all."""
    hospital(site)
    site.link_all(again=False)
    before = everything(site)
    site.rows("delete from omop_imaging.image_registry")
    assert site.link_all(again=False)["unchanged"] == 5
    assert everything(site) != before
    assert site.link_all(again=True)["unchanged"] == 0
    assert everything(site) == before
