"""Each feature of a linked study is in the CDM as the imaging extension says, follows its study, and stays untouched
where nothing changed. The oracle is SQL of the tests' own."""

import pytest

from hilum.clinical.features.said import Finding
from hilum.imaging.archive import delete
from tests.clinical.cdm.conftest import Row
from tests.clinical.features.conftest import Hospital, number, word
from tests.make import ct, uid

NODULE = Finding(key="nodule-1", name="Mass", concept_id=4214641)


@pytest.fixture
def linked(site: Hospital) -> Hospital:
    """One study of two series, linked to person 1; nothing is read from its files."""
    site.extractors = ()
    site.person(1)
    site.person(2)
    site.visit(50, 1, "2024-01-31 08:00", "2024-01-31 18:00")
    site.store(ct(1, 1, 1), ct(1, 2, 1, BodyPartExamined="BRAIN"))
    return site


def values(site: Hospital) -> list[Row]:
    return site.rows("select * from omop_imaging.image_feature_value order by image_feature_id")


def test_a_number_is_a_measurement_and_a_word_an_observation(linked: Hospital) -> None:
    linked.said(
        "2.1",
        number("a", 8.25, series_uid=uid(1, 2), algorithm="https://ai.example/nodule", algorithm_version="2.1"),
        word("b", "", concept_id=4215818, assertion="absent", algorithm="Report Reader"),
        word("c", "x" * 200, feature_type="manual", body_site="LUNG"),
    )
    oracle = """
      select f.person_id, i.image_series_uid, f.table_concept_id, f.image_feature_event_field_concept_id,
        f.image_feature_concept_id, f.image_feature_type_concept_id, f.anatomic_site_concept_id, f.alg_system,
        f.alg_datetime is not null as timed,
        m.value_as_number::float as number, m.unit_concept_id, m.unit_source_value, m.measurement_source_value as name,
        m.visit_occurrence_id as visit, m.measurement_date::text as day, m.measurement_type_concept_id as kind,
        o.observation_concept_id, o.value_as_concept_id, o.value_as_string, o.observation_type_concept_id
      from omop_imaging.image_feature f join omop_imaging.image_occurrence i using (image_occurrence_id)
      left join omop.measurement m on f.table_concept_id = 1147330 and m.measurement_id = f.table_row_id
      left join omop.observation o on f.table_concept_id = 1147304 and o.observation_id = f.table_row_id
      order by f.image_feature_id
    """
    measured, negated, noted = linked.rows(oracle)
    assert measured["number"] == 8.25
    assert (measured["person_id"], measured["image_series_uid"], measured["visit"]) == (1, uid(1, 2), 50)
    assert (measured["table_concept_id"], measured["image_feature_event_field_concept_id"]) == (1147330, 1147330)
    assert (measured["unit_concept_id"], measured["unit_source_value"], measured["name"]) == (8588, "mm", "Volume")
    assert (measured["day"], measured["kind"]) == ("2024-01-31", 32880)
    assert (measured["image_feature_type_concept_id"], measured["anatomic_site_concept_id"]) == (32880, 4133034)
    assert (measured["alg_system"], measured["timed"]) == ("https://ai.example/nodule|2.1", True)
    assert (negated["table_concept_id"], negated["observation_concept_id"]) == (1147304, 4215818)
    assert (negated["value_as_concept_id"], negated["value_as_string"]) == (4188540, "absent")
    assert (negated["image_feature_type_concept_id"], negated["image_feature_concept_id"]) == (32858, 4215818)
    assert (negated["alg_system"], negated["image_series_uid"]) == ("hilum:algorithm/Report%20Reader", uid(1, 1))
    assert (noted["value_as_string"], noted["observation_type_concept_id"]) == ("x" * 60, 32841)
    assert (noted["alg_system"], noted["timed"], noted["anatomic_site_concept_id"]) == (None, False, 4213162)
    shown = values(linked)
    assert [row["value_as_number"] for row in shown] == [8.25, None, None]
    assert [row["value_as_string"] for row in shown] == [None, "absent", "x" * 60]


def test_features_of_one_finding_share_its_number_and_concept_for_ever(linked: Hospital) -> None:
    two = (number("a", 8, finding=NODULE), word("b", "solid", feature_type="radiomic", finding=NODULE), number("c", 1))
    linked.said("1", *two)
    query = "select image_finding_id, image_finding_concept_id from omop_imaging.image_feature order by table_row_id"
    before = [tuple(row.values()) for row in linked.rows(query)]
    assert before == [(1, 4214641), (1, 4214641), (0, 0)]
    linked.said("1")
    assert linked.counts() == (0, 0, 0)
    again = (two[0], word("b", "solid", feature_type="radiomic", finding=Finding(key="nodule-1")), two[2])
    linked.said("2", *again, number("d", 2, finding=Finding(key="nodule-2")))
    assert [tuple(row.values()) for row in linked.rows(query)] == [*before, (2, 0)]


def test_the_same_again_changes_no_row(linked: Hospital) -> None:
    said = (number("a", 8.1, finding=NODULE), word("b", "present", assertion="present"), number("c", 0.1 + 0.2))
    assert bool(linked.said("1", *said))
    before, stored = linked.cdm_rows(), linked.features("*", "xmin::text")
    assert not linked.said("1", *said)
    linked.link_all()
    assert linked.cdm_rows() == before
    assert linked.features("*", "xmin::text") == stored
    assert [(e["added"], e["feature_types"]) for e in linked.feature_events()] == [(3, ["nlp_finding", "radiomic"])]


def test_only_what_is_said_otherwise_is_written_anew(linked: Hospital) -> None:
    linked.said("1", number("a", 1), number("b", 2), number("c", 3))
    before = linked.table("measurement")
    changes = linked.said("1", number("a", 1), number("b", 5), number("d", 4))
    assert (changes.added, changes.changed, changes.removed, changes.superseded) == (1, 1, 1, 0)
    after = linked.table("measurement")
    assert [float(row["value_as_number"]) for row in after] == [1, 5, 4]
    assert after[0] == before[0]
    assert after[1]["measurement_id"] == before[1]["measurement_id"]
    assert after[1]["row_version"] != before[1]["row_version"]


def test_a_value_of_another_kind_moves_to_the_other_table(linked: Hospital) -> None:
    linked.said("1", number("a", 1))
    linked.said("1", word("a", "small", feature_type="radiomic"))
    assert linked.counts() == (0, 1, 1)
    assert linked.one("select table_concept_id from omop_imaging.image_feature") == 1147304


def test_a_new_version_supersedes_and_the_old_one_may_come_back(linked: Hospital) -> None:
    linked.said("1", number("a", 1), number("b", 2))
    changes = linked.said("2", number("a", 3))
    assert (changes.added, changes.superseded) == (1, 2)
    assert [float(row["value_as_number"]) for row in linked.table("measurement")] == [3]
    assert linked.features("extractor_version", "value_numeric", where="superseded") == [("1", 1), ("1", 2)]
    linked.said("1", number("a", 1), number("b", 2))
    assert [float(row["value_as_number"]) for row in linked.table("measurement")] == [1, 2]
    assert linked.features("value_numeric", where="superseded") == [(3,)]


def test_rows_follow_the_person_and_come_back_with_their_ids(linked: Hospital) -> None:
    from hilum.clinical.linkage import decisions

    linked.said("1", number("a", 8, finding=NODULE), word("b", "present", assertion="present"))
    before = linked.cdm_rows()
    database, study = linked.archive.database, linked.study()
    decisions.release(database, study, "person", "me", linked.manner)
    assert linked.counts() == (0, 0, 0)
    assert len(linked.features("id")) == 2
    decisions.decide(database, study, "person", 2, "me", linked.manner)
    assert [row["person_id"] for rows in linked.cdm_rows().values() for row in rows] == [2, 2, 2, 2]
    decisions.decide(database, study, "person", 1, "me", linked.manner)
    ignored = {"row_version", "place"}
    for table, rows in linked.cdm_rows().items():
        plain = [{name: value for name, value in row.items() if name not in ignored} for row in rows]
        assert plain == [{n: v for n, v in row.items() if n not in ignored} for row in before[table]]


def test_a_deleted_study_has_no_rows_and_a_restored_one_has_them_again(linked: Hospital) -> None:
    linked.said("1", number("a", 8))
    before = linked.one("select measurement_id from omop.measurement")
    study = linked.study()
    delete.delete_study(linked.archive.database, study, "me")
    linked.work()
    assert linked.counts() == (0, 0, 0)
    delete.restore_study(linked.archive.database, str(study))
    linked.work()
    assert linked.one("select measurement_id from omop.measurement") == before


def test_a_deleted_series_takes_its_features_along(linked: Hospital) -> None:
    linked.said("1", number("a", 8, series_uid=uid(1, 2)), number("b", 9))
    delete.delete_part(linked.archive.database, linked.study(), delete.Part(uid(1, 2)), "me")
    linked.work()
    assert [float(row["value_as_number"]) for row in linked.table("measurement")] == [9]


def test_rows_of_a_purged_study_are_taken_out_by_linking_all(linked: Hospital) -> None:
    linked.said("1", number("a", 8))
    linked.rows("delete from hilum.study")
    assert linked.counts() == (1, 0, 1)
    linked.link_all()
    assert linked.counts() == (0, 0, 0)
    assert linked.rows("select * from hilum.feature_row") == []


def test_a_code_is_looked_up_in_the_vocabulary_and_what_it_does_not_know_is_reported(linked: Hospital) -> None:
    from hilum.clinical.features.coding import unmapped

    codes = ("SCT|108369006", "LN|21889-1", "99X|9")
    linked.rows(
        "insert into omop_vocabulary.concept (concept_id, concept_name, domain_id, vocabulary_id, concept_class_id, "
        "standard_concept, concept_code, valid_start_date, valid_end_date) values "
        "(900001, 'Neoplasm', 'Condition', 'SNOMED', 'x', 'S', '108369006', '1970-01-01', '2099-12-31'), "
        "(900002, 'Size', 'Measurement', 'LOINC', 'x', null, '21889-1', '1970-01-01', '2099-12-31'), "
        "(900003, 'Size, really', 'Measurement', 'LOINC', 'x', 'S', '21889-2', '1970-01-01', '2099-12-31')"
    )
    linked.rows(
        "insert into omop_vocabulary.concept_relationship (concept_id_1, concept_id_2, relationship_id, "
        "valid_start_date, valid_end_date) values (900002, 900003, 'Maps to', '1970-01-01', '2099-12-31')"
    )
    try:
        linked.said("1", *(number(code, n, code=code, unit="furlong") for n, code in enumerate(codes)))
        query = "select measurement_concept_id, unit_concept_id from omop.measurement order by value_as_number"
        assert [tuple(r.values()) for r in linked.rows(query)] == [(900001, 0), (900003, 0), (0, 0)]
        with linked.archive.database.transaction() as sql:
            reported = {(row["part"], row["code"], row["features"]) for row in unmapped(sql, "default")}
        assert reported == {("feature", "99X|9", 1), ("unit", "UCUM|furlong", 3)}
    finally:
        linked.rows("delete from omop_vocabulary.concept_relationship")
        linked.rows("delete from omop_vocabulary.concept where concept_id in (900001, 900002, 900003)")


def test_the_unit_one_is_the_sites_own_or_its_ratio(linked: Hospital) -> None:
    """Vocabularies write it as a plain 1 or with an annotation (UCUM section 2.4); the seed has the latter."""
    plain = (
        "insert into omop_vocabulary.concept (concept_id, concept_name, domain_id, vocabulary_id, concept_class_id, "
        "standard_concept, concept_code, valid_start_date, valid_end_date) values "
        "(900009, 'one', 'Unit', 'UCUM', 'Unit', 'S', '1', '1970-01-01', '2099-12-31')"
    )
    query = "select distinct unit_concept_id from omop.measurement"
    linked.said("1", number("a", 3, unit="1"))
    assert linked.one(query) == 8523
    linked.rows(plain)
    try:
        linked.said("1", number("a", 4, unit="1"))
        assert linked.one(query) == 900009
    finally:
        linked.rows("delete from omop_vocabulary.concept where concept_id = 900009")
