"""Physicians and facilities are rows of their own; names in any script are found."""

import pytest

from hilum.core.errors import Conflict, Invalid
from hilum.imaging.archive import people, query
from hilum.imaging.archive.arrivals import SourceRef
from hilum.imaging.archive.people import Kind
from hilum.imaging.archive.query import StudyFilter
from hilum.imaging.archive.store import Archive
from tests.archive.test_edit import attributes
from tests.archive.test_store import store, study_row
from tests.make import ct, uid


def listed(archive: Archive, kind: Kind, q: str = "") -> list[tuple[str, int]]:
    with archive.database.connect() as connection:
        rows, total = people.list_people(connection, kind, q)
    assert total == len(rows)
    return [(row["name"], row["studies"]) for row in rows]


def number(archive: Archive, kind: Kind, q: str) -> int:
    with archive.database.connect() as connection:
        ((row,), _) = people.list_people(connection, kind, q)
    return row["id"]


def test_names_that_differ_by_case_accents_prefix_or_points_are_one_physician(
    archive: Archive, source: SourceRef
) -> None:
    store(archive, source, ct(1, ReferringPhysicianName="Müller^Jürgen^^Dr.^MD"), ct(2, ReferringPhysicianName=""))
    store(archive, source, ct(3, ReferringPhysicianName="MULLER^JURGEN."), ct(4, ReferringPhysicianName="Roe^Jo"))
    assert listed(archive, "physician") == [("Jo Roe", 1), ("Jürgen Müller", 2)]
    assert listed(archive, "physician", "muller jur") == [("Jürgen Müller", 2)]
    assert listed(archive, "facility") == [("Saint Elsewhere", 4)]
    assert study_row(archive, uid(3))["physician"] == "JURGEN. MULLER"
    assert study_row(archive, uid(2))["physician_id"] is None


def test_a_new_name_is_shown_by_old_and_new_studies_and_kept_in_the_history(
    archive: Archive, source: SourceRef
) -> None:
    store(archive, source, ct(1))
    facility = number(archive, "facility", "elsewhere")
    people.rename(archive.database, "facility", facility, "St. Elsewhere", "ann")
    assert attributes(archive)["00080080"]["Value"] == ["St. Elsewhere"]
    store(archive, source, ct(2), ct(1, 1, 2))
    assert [study_row(archive, uid(n))["facility"] for n in (1, 2)] == ["St. Elsewhere"] * 2
    with archive.database.connect() as connection:
        (change,) = people.history_of(connection, "facility", facility)
        assert query.list_studies(connection, StudyFilter(q="st. elsewhere"))[1] == 2
    assert (change["old"], change["new"], change["who"]) == ("Saint Elsewhere", "St. Elsewhere", "ann")
    with pytest.raises(Invalid):
        people.rename(archive.database, "facility", facility, " ", "ann")


def test_what_is_merged_counts_as_one_and_can_be_parted_again(archive: Archive, source: SourceRef) -> None:
    store(archive, source, ct(1, InstitutionName="North"), ct(2, InstitutionName="Hospital North"))
    north, other = number(archive, "facility", "north"[:0] + "hospital"), 0
    with archive.database.connect() as connection:
        rows, _ = people.list_people(connection, "facility", "north")
        other = next(row["id"] for row in rows if row["name"] == "North")
    people.merge(archive.database, "facility", other, north, "ann")
    store(archive, source, ct(3, InstitutionName="NORTH"))
    assert listed(archive, "facility") == [("Hospital North", 3)]
    assert {study_row(archive, uid(n))["facility"] for n in (1, 2, 3)} == {"Hospital North"}
    with pytest.raises(Conflict):
        people.rename(archive.database, "facility", other, "X", "ann")
    with pytest.raises(Invalid):
        people.merge(archive.database, "facility", north, other, "ann")
    people.merge(archive.database, "facility", other, None, "ann")
    assert listed(archive, "facility") == [("Hospital North", 1), ("North", 2)]
    assert study_row(archive, uid(1))["facility"] == "North"


@pytest.mark.parametrize("q", ["Yamada", "山田", "やまだ", "tarou yamada", "太郎"])
def test_a_patient_is_found_by_each_script_of_the_name(archive: Archive, source: SourceRef, q: str) -> None:
    name = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    store(archive, source, ct(1, SpecificCharacterSet="ISO_IR 192", PatientName=name), ct(2))
    assert study_row(archive, uid(1))["patient_name"] == "Tarou Yamada"
    with archive.database.connect() as connection:
        rows, _ = query.list_studies(connection, StudyFilter(q=q))
    assert [row["study_instance_uid"] for row in rows] == [uid(1)]
