"""The maps that CHoRUS wants, written from the links and compared with them."""

import csv
from pathlib import Path

import pytest

from hilum.core.errors import Conflict, Invalid
from hilum.imaging.archive.store import Archive
from hilum.research.datasets.maps import check_maps, links_of, write_maps
from hilum.research.deid.maps import read_maps
from tests.research.datasets.conftest import Linked


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_maps_say_what_the_links_say(linked: Linked, tmp_path: Path) -> None:
    archive = linked.archive
    found = links_of(archive.database, archive.settings, "default")
    counts = write_maps(found, tmp_path)
    people = {row["PatientID"]: row for row in rows(tmp_path / "personal_map.csv")}
    images = {row["AccessionNumber"]: row for row in rows(tmp_path / "image_map.csv")}
    assert {patient: int(row["person_id"]) for patient, row in people.items()} == {
        study.patient_id: study.person_id for study in linked.studies
    }
    assert all(-730 <= int(row["Days_Shifted"]) <= -1 for row in people.values())
    assert set(images) == {study.accession_number for study in linked.studies}
    with archive.database.connect() as connection:
        lowest = connection.exec_driver_sql(
            "select accession_number, min(image_occurrence_id) from omop.image_occurrence group by 1"
        ).all()
    assert {number: int(row["image_occurence_id"]) for number, row in images.items()} == dict(map(tuple, lowest))
    assert counts == {"people": len(people), "accessions": len(images), "contradicted": 0, "unlinked_studies": 0}
    assert (tmp_path / "personal_map.csv").stat().st_mode & 0o077 == 0
    given = read_maps(tmp_path)
    assert len(given.people) == len(people)
    compared = check_maps(found, tmp_path)
    assert (compared["people"].same, compared["people"].other, compared["people"].lacking) == (len(people), 0, 0)
    assert compared["accessions"].same == len(images)
    again = links_of(archive.database, archive.settings, "default")
    assert again == found


def test_given_maps_are_checked(linked: Linked, tmp_path: Path) -> None:
    archive = linked.archive
    found = links_of(archive.database, archive.settings, "default")
    one, other = sorted(found.people)[:2]
    (tmp_path / "Personal_map.csv").write_text(
        f"PatientID,person_id,Days_Shifted\n{one},{found.people[one][0]},\n{other},999,-1\nstranger,1,-1\n"
    )
    (tmp_path / "Image_map.csv").write_text("PatientID,AccessionNumber,image_occurence_id\n")
    compared = check_maps(found, tmp_path)["people"]
    assert (compared.same, compared.other, compared.unknown) == (1, 1, 1)
    assert compared.lacking == len(found.people) - 2
    with pytest.raises(Invalid, match=r"image_map\.csv"):
        (tmp_path / "Image_map.csv").unlink()
        check_maps(found, tmp_path)


def test_without_a_cdm_there_are_no_maps(archive: Archive) -> None:
    with pytest.raises(Conflict, match="no CDM"):
        links_of(archive.database, archive.settings, "default")
