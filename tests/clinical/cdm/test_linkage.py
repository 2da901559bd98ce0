"""Every study finds its person, procedure and visit by rules that can be explained, or waits with the right reason."""

import io

import pytest

from hilum.clinical.linkage import decisions
from hilum.clinical.linkage.maps import load_map
from hilum.clinical.linkage.queue import QueueFilter, list_queue
from hilum.core.errors import Conflict, Invalid
from hilum.imaging.archive import delete, edit
from hilum.imaging.archive.delete import Part
from hilum.imaging.archive.identity import Patient
from hilum.imaging.archive.patients import move
from tests.clinical.cdm.conftest import Site, everything
from tests.make import ct, uid


def load(site: Site, text: str, encoding: str = "utf-8"):
    with site.archive.database.transaction() as sql:
        return load_map(sql, site.cdm.source_id, io.BytesIO(text.encode(encoding)))


def test_a_study_finds_person_procedure_and_visit_by_its_numbers(site: Site) -> None:
    site.person(1)
    site.visit(50, 1, "2024-01-30 08:00", "2024-02-02 12:00")
    site.procedure(70, 1, "CTCHW|A1", visit=50)
    site.procedure(71, 1, "CTABD|A10")
    site.store(ct(1, 1, 1), ct(1, 2, 1, SeriesDate="20240201", BodyPartExamined="BRAIN", Modality="PT"))
    assert site.links() == {
        "person": (1, "person_source_value"), "procedure": (70, "procedure_source_value"), "visit": (50, "procedure"),
    }  # fmt: skip
    assert site.one("select person_id from hilum.study") == 1
    columns = (
        "person_id", "procedure_occurrence_id", "visit_occurrence_id", "anatomic_site_concept_id", "modality",
        "modality_concept_id", "image_occurrence_date::text", "image_study_uid", "image_series_uid", "accession_number",
    )  # fmt: skip
    assert site.images(*columns) == [
        (1, 70, 50, 4184181, "CT", 4300757, "2024-01-31", uid(1), uid(1, 1), "A1"),
        (1, 70, 50, 4133034, "PT", 4305790, "2024-02-01", uid(1), uid(1, 2), "A1"),
    ]
    (told,) = site.told("linked")
    assert (told["person_id"], told["procedure_occurrence_id"], told["visit_occurrence_id"]) == (1, 70, 50)


def test_addresses_lead_to_the_study_and_to_the_folder_of_the_series(site: Site) -> None:
    site.person(1)
    site.store(ct(1, 1, 1))
    ((uri, path),) = site.images("wadors_uri", "local_path")
    assert uri == f"{site.archive.settings.base_url}/dicom-web/studies/{uid(1)}"
    assert path == str(site.archive.settings.data_path / "objects" / "default" / uid(1) / uid(1, 1))
    assert site.one("select folder_path from hilum.series") == path.split("objects/")[1]


def test_a_series_of_a_remote_archive_is_named_as_it_is_there(site: Site) -> None:
    site.person(1)
    site.store(ct(1, 1, 1))
    site.rows("update hilum.study set availability = 'remote'")
    site.rows("update hilum.source set dicomweb_url = 'https://pacs.example/rs' where key = 'default'")
    site.link_all()
    site.rows("update hilum.source set dicomweb_url = '' where key = 'default'")
    ((uri, path),) = site.images("wadors_uri", "local_path")
    assert uri == f"{site.archive.settings.base_url}/dicom-web/studies/{uid(1)}"
    assert path == f"https://pacs.example/rs/studies/{uid(1)}/series/{uid(1, 1)}"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"PatientID": "elsewhere"}, "no_person"),
        ({"PatientID": None}, "blank_id"),
        ({"PatientSex": "M"}, "sex_conflict"),
        ({"PatientBirthDate": "19711231"}, "birth_year_conflict"),
        ({"PatientSex": "", "PatientBirthDate": ""}, "person_source_value"),
        ({"PatientSex": "O", "PatientBirthDate": "19700530"}, "person_source_value"),
    ],
)
def test_sex_and_birth_year_must_not_contradict(site: Site, changes: dict[str, str | None], reason: str) -> None:
    site.person(1)
    site.store(ct(1, 1, 1, **changes))
    assert site.links()["person"][1] == reason
    linked = reason == "person_source_value"
    assert (site.links()["person"][0] == 1) is linked
    assert len(site.images("person_id")) == linked
    with site.archive.database.transaction() as sql:
        entries, total = list_queue(sql, QueueFilter("default", "person"))
    assert total == (not linked)
    if reason.endswith("conflict"):
        assert [c["id"] for c in entries[0]["candidates"]] == [1]  # pyright: ignore
        assert entries[0]["evidence"]["sex" if "sex" in reason else "birth_year"] == "differs"  # pyright: ignore


def test_two_persons_with_one_id_are_for_a_person_to_tell_apart(site: Site) -> None:
    site.person(1, "P1")
    site.person(2, "P1")
    site.store(ct(1, 1, 1))
    assert site.links()["person"] == (None, "several_persons")


def test_an_id_that_several_people_share_is_quarantined(site: Site) -> None:
    """Whoever proves to be the person by sex and whole birth date is linked; the others wait, whatever came first."""
    site.person(1, "P1")
    site.store(
        ct(2, 1, 1, PatientID="P1", PatientBirthDate="19700606"), ct(3, 1, 1, PatientID="P1", PatientBirthDate=""),
        ct(1, 1, 1),
    )  # fmt: skip
    site.link_all()
    assert [site.links(n)["person"] for n in (1, 2, 3)] == [
        (1, "person_source_value"), (None, "shared_id"), (None, "shared_id"),
    ]  # fmt: skip


def test_two_issuers_share_an_id_unless_the_map_tells_them_apart(site: Site) -> None:
    site.person(1, "P1")
    site.person(2, "other")
    site.store(ct(1, 1, 1, IssuerOfPatientID="North"), ct(2, 1, 1, PatientID="P1", IssuerOfPatientID="South"))
    site.link_all()
    assert [site.links(n)["person"] for n in (1, 2)] == [(None, "shared_id")] * 2
    load(site, "PatientID,IssuerOfPatientID,person_id\nP1,North,1\nP1,South,2\n")
    site.link_all()
    assert [site.links(n)["person"] for n in (1, 2)] == [(1, "person_map"), (2, "person_map")]


def test_a_personal_map_of_chorus_is_read_as_its_script_writes_it(site: Site) -> None:
    site.person(31, "unlike")
    loaded = load(
        site, "\ufeffPatientID, person_id ,Days_Shifted\r\n P1 ,31,-40\r\nP2,x,-1\r\n,5,-1\r\nP3,7,later\r\n\r\n"
    )
    assert (loaded.kind, loaded.rows, loaded.new, loaded.changed, loaded.refused) == ("persons", 1, 1, 0, 3)
    assert [line for line, _ in loaded.examples] == [3, 4, 5]
    site.store(ct(1, 1, 1))
    assert site.links()["person"] == (31, "person_map")
    assert site.one("select days_shifted from hilum.person_map") == -40
    again = load(site, "person_id,patientid\n31,P1\n")
    assert (again.rows, again.new, again.changed) == (1, 0, 0) or again.changed == 1
    assert site.one("select days_shifted from hilum.person_map") == -40


@pytest.mark.parametrize(
    "text", ["", "a,b\n1,2\n", "PatientID\nx\n", 'PatientID,person_id\n"x,1\n', "x" * 70_000, "\0"]
)
def test_what_is_no_mapping_table_is_refused(site: Site, text: str) -> None:
    with pytest.raises(Invalid):
        load(site, text)


def test_a_mapping_that_names_nobody_is_told(site: Site) -> None:
    load(site, "PatientID,person_id\nP1,99\n")
    site.store(ct(1, 1, 1))
    assert site.links()["person"] == (None, "unknown_person")


def test_a_procedure_is_found_by_map_and_by_the_number_of_its_request(site: Site) -> None:
    from pydicom.dataset import Dataset

    request = Dataset()
    request.RequestedProcedureID, request.ScheduledProcedureStepID = "RP7", "SPS7"
    site.person(1)
    site.procedure(70, 1, "RP7", concept=0, day="2024-02-20")
    site.procedure(71, 1, "", concept=0, day="2024-02-20")
    site.store(ct(1, 1, 1, AccessionNumber="", RequestAttributesSequence=[request]))
    assert site.links()["procedure"] == (70, "procedure_source_value")
    load(site, "AccessionNumber,procedure_occurrence_id\nRP7,71\n")
    site.link_all()
    assert site.links()["procedure"] == (71, "procedure_map")


def test_the_one_procedure_of_person_day_and_modality_is_taken(site: Site) -> None:
    site.person(1)
    site.procedure(70, 1, concept=4125350)
    site.procedure(71, 1, concept=4013636)
    site.procedure(72, 1, concept=4300757, day="2024-02-01")
    site.store(ct(1, 1, 1))
    assert site.links()["procedure"] == (70, "same_day")
    site.procedure(73, 1, concept=4300757)
    site.link_all()
    target, method = site.links()["procedure"]
    assert method == "minted"
    assert site.one("select evidence->'candidates' from hilum.study_link where kind = 'procedure'") == [70, 73]
    assert target == 2_000_000_000


def test_a_descendant_of_a_modality_is_of_that_modality(site: Site) -> None:
    site.person(1)
    site.procedure(70, 1, concept=999)
    site.rows("insert into omop_vocabulary.concept_ancestor values (4300757, 999, 1, 1)")
    site.store(ct(1, 1, 1))
    assert site.links()["procedure"] == (70, "same_day")


def test_a_procedure_that_bears_the_number_of_another_study_is_not_taken(site: Site) -> None:
    """Whichever of the two comes first."""
    site.person(1)
    site.procedure(70, 1, "A1")
    site.store(ct(2, 1, 1, PatientID="P1"))
    assert site.links(2)["procedure"] == (70, "same_day")
    site.store(ct(1, 1, 1))
    assert site.links(1)["procedure"] == (70, "procedure_source_value")
    assert site.links(2)["procedure"][1] == "minted"


def test_a_procedure_is_minted_once_and_taken_back(site: Site) -> None:
    site.person(1)
    site.person(2)
    site.visit(50, 1, "2024-01-31 08:00", "2024-01-31 18:00")
    site.store(ct(1, 1, 1))
    target, method = site.links()["procedure"]
    assert (method, target) == ("minted", 2_000_000_000)
    row = site.one("select * from omop.procedure_occurrence")
    assert (row["person_id"], row["procedure_concept_id"], row["procedure_type_concept_id"]) == (1, 4180938, 32880)
    assert (str(row["procedure_date"]), row["visit_occurrence_id"]) == ("2024-01-31", 50)
    site.link_all()
    assert site.one("select count(*) from omop.procedure_occurrence") == 1
    site.procedure(70, 1, "A1")
    site.link_all()
    assert site.links()["procedure"] == (70, "procedure_source_value")
    assert [r["procedure_occurrence_id"] for r in site.rows("select * from omop.procedure_occurrence")] == [70]
    site.rows("delete from omop.procedure_occurrence")
    site.link_all()
    assert site.links()["procedure"] == (2_000_000_000, "minted")


def test_a_range_that_is_used_up_is_told_with_the_way_out(site: Site) -> None:
    site.person(1)
    site.rows("select setval('omop_imaging.hilum_procedure_id', 2000999999)")
    with pytest.raises(Conflict, match="hilum_procedure_id"):
        site.store(ct(1, 1, 1))
    assert site.images("person_id") == []


def test_a_study_waits_for_its_procedure_where_none_may_be_minted(site: Site) -> None:
    site.mint = False
    site.person(1)
    site.store(ct(1, 1, 1))
    assert site.links()["procedure"] == (None, "no_procedure")
    assert site.images("person_id") == []
    site.procedure(70, 1, concept=0)
    with site.archive.database.transaction() as sql:
        entries, _ = list_queue(sql, QueueFilter(kind="procedure"))
    assert [c["id"] for c in entries[0]["candidates"]] == [70]  # pyright: ignore
    decisions.decide(site.archive.database, site.study(), "procedure", 70, "ann", site.manner)
    assert site.links()["procedure"] == (70, "by_hand")
    assert site.images("procedure_occurrence_id") == [(70,)]


@pytest.mark.parametrize(
    ("visits", "found"),
    [
        ([("2024-01-31 08:00", "2024-01-31 10:00"), ("2024-01-31 10:00:01", "2024-02-01 10:00")], (51, "contains")),
        ([("2024-01-31 00:00", "2024-01-31 00:00")], (50, "contains")),
        ([("2024-01-31 11:00", "2024-01-31 12:00")], (50, "only_of_day")),
        (
            [("2024-01-31 11:00", "2024-01-31 12:00"), ("2024-01-31 13:00", "2024-01-31 14:00")],
            (None, "several_visits"),
        ),
        (
            [("2024-01-30 08:00", "2024-02-01 12:00"), ("2024-01-31 10:00", "2024-01-31 12:00")],
            (None, "several_visits"),
        ),
        ([("2024-01-29 08:00", "2024-01-30 12:00")], (None, "no_visit")),
    ],
)
def test_the_visit_is_the_one_around_the_study_or_the_only_one_of_its_day(
    site: Site, visits: list[tuple[str, str]], found: tuple[int | None, str]
) -> None:
    site.person(1)
    for number, (start, end) in enumerate(visits, 50):
        site.visit(number, 1, start, end)
    site.store(ct(1, 1, 1))  # 10:15
    assert site.links()["visit"] == found
    assert site.images("visit_occurrence_id") == [(found[0],)]


def test_wrong_person_then_the_right_one_leaves_no_trace(site: Site) -> None:
    """As if it had been linked rightly at first: every table the same, the procedure of the wrong one gone."""
    site.person(1, "unlike")
    site.person(2, "unlike too")
    site.visit(50, 1, "2024-01-31 08:00", "2024-01-31 18:00")
    site.visit(60, 2, "2024-01-31 08:00", "2024-01-31 18:00")
    site.store(ct(1, 1, 1), ct(1, 2, 1))
    study, database = site.study(), site.archive.database
    decisions.decide(database, study, "person", 1, "ann", site.manner)
    right = everything(site)
    decisions.decide(database, study, "person", 2, "bob", site.manner)
    assert {row[0] for row in site.images("person_id")} == {2}
    assert site.links()["visit"] == (60, "contains")
    decisions.release(database, study, "person", "bob", site.manner)
    assert site.links() == {"person": (None, "no_person")}
    assert site.images("person_id") == []
    assert site.one("select person_id from hilum.study") is None
    assert site.rows("select * from omop.procedure_occurrence") == []
    decisions.decide(database, study, "person", 1, "ann", site.manner)
    assert everything(site) == right
    assert [(e["person_id"]) for e in site.told("linked")] == [1, 2, 1]
    assert [(e["person_id"]) for e in site.told("unlinked")] == [1, 2]
    with database.transaction() as sql:
        changes = [(c["action"], c["before"], c["after"], c["who"]) for c in decisions.changes_of(sql, study)]
    assert changes == [
        ("link", None, 1, "ann"), ("automatic", 2, None, "bob"), ("link", 1, 2, "bob"), ("link", None, 1, "ann"),
    ]  # fmt: skip


def test_a_rule_that_was_refused_is_not_followed_again(site: Site) -> None:
    site.person(1)
    site.store(ct(1, 1, 1))
    decisions.release(site.archive.database, site.study(), "person", "ann", site.manner)
    site.store(ct(1, 1, 2))
    site.link_all()
    assert site.links() == {"person": (None, "unlinked")}
    with pytest.raises(Conflict):
        decisions.release(site.archive.database, site.study(), "person", "ann", site.manner)
    decisions.release_all(site.archive.database, "default", [site.study()], "ann", site.manner)
    assert site.links()["person"] == (1, "person_source_value")


def test_what_another_person_has_is_not_taken_by_hand(site: Site) -> None:
    site.person(1)
    site.person(2)
    site.procedure(70, 2)
    site.store(ct(1, 1, 1))
    database, study = site.archive.database, site.study()
    with pytest.raises(Conflict, match="another person"):
        decisions.decide(database, study, "procedure", 70, "ann", site.manner)
    with pytest.raises(Invalid, match="no person 3"):
        decisions.decide(database, study, "person", 3, "ann", site.manner)
    decisions.decide(database, study, "person", 2, "ann", site.manner)
    decisions.decide(database, study, "procedure", 70, "ann", site.manner)
    decisions.decide(database, study, "person", 1, "ann", site.manner)
    assert site.links()["procedure"] == (None, "procedure_of_other_person")


def test_a_corrected_patient_id_and_accession_link_anew(site: Site) -> None:
    site.person(1)
    site.person(2)
    site.procedure(70, 1, "A1")
    site.procedure(80, 2, "A9")
    site.store(ct(1, 1, 1))
    (before,) = site.images("image_occurrence_id")
    with site.archive.database.transaction() as sql:
        move(sql, site.study(), Patient("P2"))
    edit.correct_study(site.archive.database, site.study(), {"accession_number": "A9", "modality": "PT"}, "ann")
    site.work()
    assert site.links()["person"] == (2, "person_source_value")
    assert site.links()["procedure"] == (80, "procedure_source_value")
    columns = ("image_occurrence_id", "person_id", "procedure_occurrence_id", "accession_number", "modality")
    assert site.images(*columns) == [(*before, 2, 80, "A9", "PT")]


def test_late_deleted_and_restored_instances_are_followed(site: Site) -> None:
    site.person(1)
    site.store(ct(1, 1, 1))
    first = site.images("image_occurrence_id")
    site.store(ct(1, 2, 1))
    assert len(site.images("image_occurrence_id")) == 2
    database, study = site.archive.database, site.study()
    delete.delete_part(database, study, Part(uid(1, 2)), "ann")
    site.work()
    assert site.images("image_occurrence_id") == first
    delete.delete_study(database, study, "ann")
    site.work()
    assert site.images("image_occurrence_id") == []
    assert site.rows("select * from omop.procedure_occurrence") == []
    delete.restore_study(database, uid(1))
    site.work()
    assert site.images("image_occurrence_id") == first
    assert site.one("select count(*) from omop.procedure_occurrence") == 1


def test_doing_it_all_again_changes_nothing(site: Site) -> None:
    site.person(1)
    site.person(2)
    site.procedure(70, 1, "A1")
    site.store(ct(1, 1, 1), ct(2, 1, 1), ct(3, 1, 1))
    before = everything(site, but=())
    told = len(site.told("linked"))
    assert site.link_all() == {"series_read": 0, "changed": 0, "studies": 3, "unchanged": 0, "orphans_removed": 0}
    assert everything(site, but=()) == before
    assert len(site.told("linked")) == told == 2


def test_linking_at_once_gives_what_events_gave(site: Site) -> None:
    """The oracle is a query of its own: the person by id, the procedure by number."""
    for number in range(1, 31):
        site.person(number, f"P{number if number % 3 else 1000 + number}")
        site.procedure(100 + number, number, f"X|A{number}" if number % 2 else "")
    site.store(*(ct(n, e, 1) for n in range(1, 31) for e in (1, 2)))
    by_events = everything(site)
    site.rows("delete from hilum.study_link")
    site.rows("delete from omop_imaging.image_occurrence")
    site.rows("update hilum.study set person_id = null")
    site.link_all()
    assert everything(site) == by_events
    expected = site.rows(
        "select s.study_instance_uid || '/' || e.series_instance_uid as k, p.person_id, o.procedure_occurrence_id "
        "from hilum.series e join hilum.study s on s.id = e.study_id "
        "join omop.person p on p.person_source_value = s.patient_id "
        "join omop.procedure_occurrence o on o.person_id = p.person_id and o.procedure_date = s.study_date order by 1"
    )
    found = site.rows(
        "select image_study_uid || '/' || image_series_uid as k, person_id, procedure_occurrence_id "
        "from omop_imaging.image_occurrence order by 1"
    )
    assert found == expected
    assert len(found) == 40


def test_an_accession_number_of_another_person_is_the_reason(site: Site) -> None:
    """Of that day or the one beside it; a number of ten years ago, or one that is not there, is none."""
    site.mint = False
    site.person(1)
    site.person(2)
    site.procedure(70, 2, "CTCHW|A1", day="2024-02-01")
    site.procedure(71, 2, "CTCHW|A2", day="2014-02-01")
    site.store(ct(1, 1, 1), ct(2, 1, 1, PatientID="P1"), ct(3, 1, 1, PatientID="P1", AccessionNumber=""))
    reasons = [site.links(n)["procedure"] for n in (1, 2, 3)]
    assert reasons == [(None, "accession_of_another"), (None, "no_procedure"), (None, "no_procedure")]
    with site.archive.database.transaction() as sql:
        (entry,), total = list_queue(sql, QueueFilter("default", "procedure", "accession_of_another"))
    assert total == 1
    assert entry["text"] == "The accession number is on a procedure of another person."
    assert entry["strangers"] == [{"procedure_occurrence_id": 70, "person_id": 2}]
    before = everything(site, but=())
    site.link_all()
    assert everything(site, but=()) == before
    decisions.decide(site.archive.database, site.study(), "person", 2, "ann", site.manner)
    assert site.links()["procedure"] == (70, "procedure_source_value")


def test_the_only_procedure_of_the_day_is_taken_although_the_number_is_anothers(site: Site) -> None:
    site.mint = False
    site.person(1)
    site.person(2)
    site.procedure(70, 2, "A1")
    site.procedure(71, 1, "A5")
    site.store(ct(1, 1, 1))
    assert site.links()["procedure"] == (71, "same_day")


def test_undoing_a_link_touches_no_row_of_anybody_else(site: Site) -> None:
    """Each row of others, in every table that linking writes, is the very version that it was."""
    for number in range(1, 6):
        site.person(number)
    site.store(*(ct(n, e, 1) for n in range(1, 6) for e in (1, 2)))
    tables = {
        "hilum.study": "id", "hilum.study_link": "study_id", "hilum.series_occurrence": "study_instance_uid",
        "omop_imaging.image_occurrence": "person_id", "omop_imaging.image_registry": "person_id",
        "omop.procedure_occurrence": "person_id",
    }  # fmt: skip

    def versions() -> dict[str, dict[str, tuple[object, object]]]:
        return {
            table: {
                str(row["place"]): (row["version"], row["of"])
                for row in site.rows(
                    f"select ctid::text as place, xmin::text as version, {of}::text as of from {table}"
                )
            }
            for table, of in tables.items()
        }

    before = versions()
    mine = {"id": str(site.study(3)), "study_id": str(site.study(3)), "study_instance_uid": uid(3), "person_id": "3"}
    decisions.release(site.archive.database, site.study(3), "person", "ann", site.manner)
    after = versions()
    for table, rows in before.items():
        others = {place: row for place, row in rows.items() if row[1] != mine[tables[table]]}
        assert len(others) == len(rows) * 4 // 5, table
        assert {place: after[table].get(place) for place in others} == others, table
