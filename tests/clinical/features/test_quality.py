"""`hilum cdm status` finds each fault that features and mapping tables can have in a CDM, and none where there is none.
What is broken here is counted again by queries of the tests' own."""

import pytest

from hilum.clinical.features.said import Finding
from hilum.clinical.linkage.status import Check, status_of
from tests.clinical.features.conftest import Hospital, number, word
from tests.make import ct, uid

NODULE = Finding(key="nodule", name="Mass", concept_id=4214641)
UNKNOWN = Finding(key="something", name="Something")
# Each fault: what is done to the CDM or the store, the check that finds it, how many it finds, and the oracle.
FAULTS = {
    "image_features_without_value": (
        "delete from omop.measurement where value_as_number = 8.5; delete from omop.observation",
        2,
        "select (select count(*) from omop_imaging.image_feature f left join omop.measurement m "
        "on m.measurement_id = f.table_row_id where f.table_concept_id = 1147330 and m.measurement_id is null) + "
        "(select count(*) from omop_imaging.image_feature f left join omop.observation o "
        "on o.observation_id = f.table_row_id where f.table_concept_id = 1147304 and o.observation_id is null)",
    ),
    "values_without_image_feature": (
        "delete from omop_imaging.image_feature where table_concept_id = 1147330",
        2,
        "select count(*) from omop.measurement where measurement_id not in "
        "(select table_row_id from omop_imaging.image_feature)",
    ),
    "features_without_row": (
        "delete from omop_imaging.image_feature where table_concept_id = 1147304",
        1,
        "select 3 - count(*) from omop_imaging.image_feature",
    ),
    "table_concept_wrong": (
        "update omop_imaging.image_feature set table_concept_id = case table_concept_id when 1147330 then 1147304 "
        "else 0 end",
        3,
        "select count(*) from omop_imaging.image_feature f join hilum.feature_row r using (image_feature_id) "
        "where f.table_concept_id <> case r.row_table when 'measurement' then 1147330 else 1147304 end",
    ),
    "value_in_wrong_table": (
        "update hilum.feature set value_numeric = null where value_numeric = 8.5; "
        "update hilum.feature set value_numeric = 1 where feature_name = 'Effusion'",
        2,
        "select count(*) from hilum.feature f join hilum.feature_row r on r.feature_id = f.id "
        "where (f.value_numeric is null and r.row_table = 'measurement') "
        "or (f.value_numeric is not null and r.row_table = 'observation')",
    ),
    "superseded_features_with_row": (
        "update hilum.feature set superseded = true where value_numeric = 8.5",
        1,
        "select count(*) from omop_imaging.image_feature where image_feature_id in (select image_feature_id from "
        "hilum.feature_row where feature_id in (select id from hilum.feature where superseded))",
    ),
    "versions_side_by_side": (
        "update hilum.feature set extractor_version = '2' where value_numeric = 8.5",
        1,
        "select count(distinct a.study_id) from hilum.feature a join hilum.feature b on a.study_id = b.study_id "
        "and a.series_uid = b.series_uid and a.extractor = b.extractor and a.extractor_version < b.extractor_version",
    ),
    "feature_of_another_person": (
        "update omop.measurement set person_id = 2 where value_as_number = 8.5; "
        "update omop_imaging.image_feature set person_id = 2 where table_concept_id = 1147304",
        2,
        "select (select count(*) from omop.measurement where person_id = 2) + "
        "(select count(*) from omop_imaging.image_feature where person_id = 2)",
    ),
    "features_without_concept": (
        "update omop_imaging.image_feature set image_feature_concept_id = 0 where table_concept_id = 1147304",
        3,
        "select count(*) from omop_imaging.image_feature where image_feature_concept_id = 0",
    ),
    "findings_without_concept": (
        "update omop_imaging.image_feature set image_finding_concept_id = 0",
        2,
        "select count(*) from hilum.feature_finding where id in (select finding_id from hilum.feature)",
    ),
    "units_without_concept": (
        "update omop.measurement set unit_concept_id = 0, unit_source_value = 'furlong'",
        2,
        "select count(*) from omop.measurement where unit_source_value = 'furlong'",
    ),
}


@pytest.fixture
def checked(site: Hospital) -> Hospital:
    """A linked study of two series, and three features of it: two numbers of findings and a word."""
    site.extractors = ()
    site.person(1)
    site.person(2)
    site.store(ct(1, 1, 1), ct(1, 2, 1))
    site.said(
        "1", number("a", 8.5, finding=NODULE, series_uid=uid(1, 1)),
        number("b", 3, finding=UNKNOWN, series_uid=uid(1, 1)),
        word("c", "present", assertion="present", concept_id=4215818, series_uid=uid(1, 1)),
    )  # fmt: skip
    return site


def checks(site: Hospital) -> dict[str, Check]:
    return {check.name: check for check in status_of(site.archive.database, "default").checks}


def test_what_is_whole_has_no_faults(checked: Hospital) -> None:
    found = checks(checked)
    figures = ("features", "image_features", "occurrences_without_features")
    assert [found[name].count for name in figures] == [3, 3, 1]
    assert all(found[name].good for name in figures)
    # Two of the features have no concept, as has one of the findings; nothing else is wrong.
    wrong = {name: found[name].count for name in FAULTS if found[name].count}
    assert wrong == {"features_without_concept": 2, "findings_without_concept": 1}
    assert not any(found[name].good for name in FAULTS)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_counted_by_its_check(checked: Hospital, name: str) -> None:
    fault, expected, oracle = FAULTS[name]
    for statement in fault.split("; "):
        checked.rows(statement)
    check = checks(checked)[name]
    assert check.count == expected
    assert checked.one(check.sql) == expected  # the SQL that is shown is the SQL that counts
    assert checked.one(oracle) == expected


def test_mapping_tables_are_told_with_what_they_are_good_for(site: Hospital) -> None:
    """Of four persons' lines two are used, one for two studies, and one names nobody; of two procedures' one."""
    site.extractors = ()
    site.person(1, "unlike")
    site.person(2, "unlike too")
    site.procedure(70, 1)
    site.rows(
        "insert into hilum.person_map (source_id, patient_id, issuer_of_patient_id, person_id) values "
        "(1, 'P1', '', 1), (1, 'P2', '', 2), (1, 'P3', '', 99), (1, 'nobody', '', 2)"
    )
    site.rows(
        "insert into hilum.procedure_map (source_id, number, patient_id, procedure_occurrence_id) "
        "values (1, 'A1', '', 70), (1, 'A7', '', 71)"
    )
    site.store(ct(1, 1, 1), ct(2, 1, 1), ct(3, 1, 1), ct(4, 1, 1, PatientID="P2"))
    found = {name: check.count for name, check in checks(site).items() if "_map" in name}
    assert found == {
        "person_map": 4, "person_map_used": 2, "studies_by_person_map": 3, "person_map_unknown": 1,
        "procedure_map": 2, "procedure_map_used": 1, "studies_by_procedure_map": 1, "procedure_map_unknown": 1,
    }  # fmt: skip
    methods = "select count(*) from hilum.study_link where kind = %s and method = %s and target_id is not null"
    assert site.one(methods, "person", "person_map") == found["studies_by_person_map"]
    assert site.one(methods, "procedure", "procedure_map") == found["studies_by_procedure_map"]


def test_an_accession_number_of_another_person_is_told_whatever_stands_beside_it(site: Hospital) -> None:
    """Though the study is linked: its procedure is minted."""
    site.extractors = ()
    site.person(1)
    site.person(2)
    site.procedure(70, 2, "CTCHW|A1", day="2024-02-01")
    site.procedure(71, 2, "CTCHW|A1", day="2014-02-01")
    site.store(ct(1, 1, 1), ct(2, 1, 1))
    assert site.links(1)["procedure"][1] == "minted"
    assert checks(site)["accession_of_another"].count == 1
    site.rows("delete from omop.procedure_occurrence where procedure_occurrence_id = 70")
    assert checks(site)["accession_of_another"].count == 0
