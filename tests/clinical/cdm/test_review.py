"""Working on links: candidates with what speaks for and against them, decisions of many studies and their way back, a
mapping table that is looked at first."""

import io

import pytest

from hilum.clinical.linkage import candidates, decisions
from hilum.clinical.linkage.decisions import Choice
from hilum.clinical.linkage.maps import look_at_map
from hilum.clinical.linkage.queue import QueueFilter, alike, list_queue
from hilum.clinical.linkage.schemas import QueueEntry
from hilum.core.errors import Conflict, Invalid
from tests.clinical.cdm.conftest import Site, everything
from tests.make import ct


def queue(site: Site, kind: str = "person", refused: bool | None = False) -> list[QueueEntry]:
    with site.archive.database.transaction() as sql:
        rows, total = list_queue(sql, QueueFilter("default", kind, None, refused))  # pyright: ignore
    assert total == len(rows)
    return [QueueEntry.model_validate(row) for row in rows]


def traits(candidate: object) -> dict[str, str]:
    return {trait.name: trait.verdict for trait in candidate.traits}  # pyright: ignore


def choose(site: Site, kind: str, *choices: Choice) -> list[Choice]:
    return decisions.choose_all(site.archive.database, kind, choices, "me", site.manner)  # pyright: ignore


def test_persons_are_offered_by_accession_number_and_by_sex_and_birth_date(site: Site) -> None:
    site.person(1, "other")  # born on the day, of the sex
    site.person(2, "further", born="1950-02-03", sex=8507)  # has the accession number
    site.person(3, "third", born="1970-01-02")
    site.procedure(70, 2, "CTCHW|A1")
    site.store(ct(1, 1, 1, PatientID="unknown"))
    (entry,) = queue(site)
    assert (entry.reason, entry.alike, entry.num_images) == ("no_person", 1, 1)
    found = {one.id: traits(one) for one in entry.candidates}
    assert found == {
        1: {"patient_id": "differs", "sex": "agrees", "birth_date": "agrees", "accession_number": "differs"},
        2: {"patient_id": "differs", "sex": "differs", "birth_date": "differs", "accession_number": "agrees"},
    }
    assert [one.id for one in entry.candidates] == [1, 2]


def test_the_best_of_several_persons_stands_first(site: Site) -> None:
    site.person(1, "P1", born="1971-05-05")
    site.person(2, "P1")
    site.store(ct(1, 1, 1))
    (entry,) = queue(site)
    assert entry.reason == "several_persons"
    assert [one.id for one in entry.candidates] == [2, 1]


def test_a_procedure_is_compared_by_number_day_and_modality_and_a_strangers_is_named(site: Site) -> None:
    site.mint = False
    site.person(1)
    site.person(2)
    site.procedure(70, 1, "CT|X")
    site.procedure(71, 1, "CT|Y")
    site.procedure(72, 1, "US|Z", concept=4037672)
    site.procedure(90, 2, "CT|A1")
    site.store(ct(1, 1, 1))
    (entry,) = queue(site, "procedure")
    assert entry.reason == "accession_of_another"
    assert {one.id: traits(one) for one in entry.candidates} == {
        70: {"accession_number": "unknown", "date": "agrees", "modality": "agrees", "free": "agrees"},
        71: {"accession_number": "unknown", "date": "agrees", "modality": "agrees", "free": "agrees"},
        72: {"accession_number": "unknown", "date": "agrees", "modality": "differs", "free": "agrees"},
    }
    assert [(one.procedure_occurrence_id, one.person_id) for one in entry.strangers] == [(90, 2)]
    choose(site, "procedure", Choice(site.study(), "link", 71))
    site.store(ct(2, 1, 1, PatientID="P1", AccessionNumber=""))
    with site.archive.database.transaction() as sql:
        found = candidates.search(sql, site.cdm, "procedure", site.study(2), "71")
    assert [(one.id, traits(one)["free"]) for one in found] == [(71, "differs")]


def test_a_visit_is_compared_by_day_and_time(site: Site) -> None:
    site.person(1)
    site.visit(50, 1, "2024-01-31 08:00", "2024-01-31 09:00")
    site.visit(51, 1, "2024-01-31 12:00", "2024-01-31 13:00")
    site.visit(52, 1, "2024-01-30 08:00", "2024-01-30 09:00")
    site.visit(53, 1, "2023-01-30 08:00", "2023-01-30 09:00")
    site.procedure(70, 1, "A1")
    site.store(ct(1, 1, 1))
    (entry,) = queue(site, "visit")
    assert entry.reason == "several_visits"
    assert {one.id: traits(one) for one in entry.candidates} == {
        50: {"date": "agrees", "time": "differs"},
        51: {"date": "agrees", "time": "differs"},
        52: {"date": "differs", "time": "unknown"},
    }
    with site.archive.database.transaction() as sql:
        found = candidates.search(sql, site.cdm, "visit", site.study(), "")
        assert [one.id for one in found] == [50, 51, 52, 53]
        assert [one.id for one in candidates.search(sql, site.cdm, "visit", site.study(), "53")] == [53]


def test_somebody_is_found_by_id_or_by_how_the_source_value_begins(site: Site) -> None:
    for number, value in ((1, "P1"), (2, "NF_10"), (3, "NFx10"), (4, "10")):
        site.person(number, value)
    site.store(ct(1, 1, 1, PatientID="unknown"))

    def found(words: str) -> list[int]:
        with site.archive.database.transaction() as sql:
            return [one.id for one in candidates.search(sql, site.cdm, "person", site.study(), words)]

    assert found("nf_") == [2]
    assert found("4") == [4]
    assert found("10") == [4]
    assert found("%") == []
    assert found("\\") == []
    assert found("9" * 40) == []


def test_a_decision_of_many_is_taken_back_as_if_it_had_not_been(site: Site) -> None:
    site.person(1)
    site.person(2)
    site.store(ct(1, 1, 1), ct(2, 1, 1, PatientID="new"), ct(3, 1, 1, PatientID="new"))
    choose(site, "person", Choice(site.study(3), "link", 2))
    before = everything(site)
    done = choose(site, "person", *(Choice(site.study(n), "refuse") for n in (1, 2, 3)))
    assert done == [
        Choice(site.study(1), "automatic"), Choice(site.study(2), "automatic"), Choice(site.study(3), "link", 2)
    ]  # fmt: skip
    assert {site.links(n)["person"] for n in (1, 2, 3)} == {(None, "unlinked")}
    assert queue(site) == []
    assert len(queue(site, refused=True)) == len(queue(site, refused=None)) == 3
    undone = choose(site, "person", *done)
    assert {one.action for one in undone} == {"refuse"}
    assert everything(site) == before
    with site.archive.database.transaction() as sql:
        told = [(row["action"], row["after"]) for row in decisions.changes_of(sql, site.study(3))]
    assert told == [("link", 2), ("unlink", None), ("link", 2)]
    changes = site.one("select count(*) from hilum.link_change")
    choose(site, "person", *done)
    assert site.one("select count(*) from hilum.link_change") == changes  # the same again is no decision


def test_all_decisions_hold_or_none(site: Site) -> None:
    site.person(1)
    site.visit(50, 1, "2024-01-31 08:00", "2024-01-31 09:00")
    site.store(ct(1, 1, 1, PatientID="a"), ct(2, 1, 1, PatientID="b"))
    with pytest.raises(Invalid, match="no person 9"):
        choose(site, "person", Choice(site.study(1), "link", 1), Choice(site.study(2), "link", 9))
    assert site.links(1)["person"] == (None, "no_person")
    with pytest.raises(Conflict, match="link its person first"):
        choose(site, "visit", Choice(site.study(1), "link", 50))


def test_only_studies_of_the_same_patient_are_alike(site: Site) -> None:
    same = {"PatientID": "new", "PatientName": "Doe^Jane"}
    site.person(1)
    site.store(
        ct(1, 1, 1, **same), ct(2, 1, 1, **same), ct(3, 1, 1, **same | {"PatientName": "Roe^Jane"}),
        ct(4, 1, 1, **same | {"PatientBirthDate": "19700102"}), *(ct(n, 1, 1, PatientID=None) for n in (5, 6)),
    )  # fmt: skip
    assert {entry.study_id: entry.alike for entry in queue(site)} == {
        site.study(n): 2 if n < 3 else 1 for n in range(1, 7)
    }
    with site.archive.database.transaction() as sql:
        assert sorted(alike(sql, site.study(1))) == [site.study(1), site.study(2)]
        assert alike(sql, site.study(5)) == [site.study(5)]


def test_a_mapping_table_is_looked_at_without_effect(site: Site) -> None:
    site.person(1)
    site.store(ct(1, 1, 1, PatientID="a"), ct(2, 1, 1, PatientID="a", AccessionNumber="A1"))
    table = "PatientID,person_id\na,1\nb,77\n,3\n"

    def look(text: str):
        with site.archive.database.transaction() as sql:
            return look_at_map(sql, site.cdm, io.BytesIO(text.encode()))

    seen = look(table)
    assert (seen.loaded.rows, seen.loaded.new, seen.loaded.changed, seen.loaded.refused) == (2, 2, 0, 1)
    assert [(one.line, one.number, one.target, one.before, one.known) for one in seen.lines] == [
        (3, "b", 77, None, False), (2, "a", 1, None, True)
    ]  # fmt: skip
    assert (seen.unknown, seen.studies, seen.loaded.examples) == (1, 2, [(4, "PatientID is blank.")])
    assert site.one("select count(*) from hilum.person_map") == 0
    procedures = look("AccessionNumber,procedure_occurrence_id\nA1,5\n")
    assert (procedures.loaded.kind, procedures.unknown, procedures.studies) == ("procedures", 1, 2)
    with pytest.raises(Invalid):
        look("a,b\n")
