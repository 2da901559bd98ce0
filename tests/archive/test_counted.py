"""Instances that come one by one leave the catalogue as those that come together do."""

from typing import cast

import sqlalchemy as sa

from hilum.imaging.archive.arrivals import SourceRef
from hilum.imaging.archive.edit import correct_study
from hilum.imaging.archive.identity import Patient
from hilum.imaging.archive.remote import RemoteStudy, keep_remote
from hilum.imaging.archive.store import Archive
from tests.archive.test_store import states, store, study_row
from tests.make import ct, uid

_MADE = {
    "id",
    "study_id",
    "series_id",
    "patient_pk",
    "source_id",
    "received_at",
    "updated_at",
    "physician_id",
    "facility_id",
}
# Each store makes a version of the series and marks the study for its record anew.
_TIMES = {"version", "metadata_version", "marks", "since"}


def catalogue(archive: Archive) -> dict[str, list[dict[str, object]]]:
    """What the catalogue tells of its first source, but for numbers and times that each store draws anew."""
    found: dict[str, list[dict[str, object]]] = {}
    with archive.database.connect() as connection:
        for table, order in (
            ("study", "study_instance_uid"), ("series", "series_instance_uid"), ("instance", "sop_instance_uid"),
            ("study_json", "attributes"), ("unrecorded_study", "marks"),
        ):  # fmt: skip
            rows = connection.execute(sa.text(f"select * from hilum.{table} order by {order}")).mappings().all()
            found[table] = [{k: v for k, v in row.items() if k not in _MADE | _TIMES} for row in rows]
    return found


def wipe(archive: Archive) -> None:
    with archive.database.transaction() as sql:
        sql.rows("truncate hilum.study, hilum.patient cascade")


FILES = [
    ct(instance=1, StudyDescription=""),
    ct(instance=2, StudyDescription=""),
    ct(instance=3, StudyDescription=""),
    ct(instance=1, series=2, Modality="SR", StudyDescription="Thorax"),
    ct(instance=2, series=2, Modality="SR", StudyDescription="Thorax"),
    ct(instance=4, StudyDescription=""),
    ct(2, instance=1),
    ct(2, instance=2),
]


def test_one_by_one_is_as_together(archive: Archive, source: SourceRef) -> None:
    store(archive, source, *FILES)
    together = catalogue(archive)
    wipe(archive)
    for file in FILES:
        assert states(store(archive, source, file)) == ["added"]
    assert catalogue(archive) == together
    (study, other) = together["study"]
    assert (study["num_instances"], study["num_series"], study["study_description"]) == (6, 2, "Thorax")
    assert '"00201208":{"vr":"IS","Value":[2]}' in str(together["study_json"])
    assert other["num_instances"] == 2


def test_a_later_instance_fills_in_what_its_series_lacks(archive: Archive, source: SourceRef) -> None:
    for number, words in enumerate(("", "", "Lung", "Bone"), 1):
        store(archive, source, ct(instance=number, SeriesDescription=words))
    (series,) = catalogue(archive)["series"]
    assert (series["series_description"], series["num_instances"]) == ("Lung", 4)


def test_new_known_and_other_bytes_in_one_batch_of_a_known_series(archive: Archive, source: SourceRef) -> None:
    store(archive, source, ct(instance=1), ct(instance=2))
    written = store(archive, source, ct(instance=1), ct(instance=2, size=16), ct(instance=3))
    assert states(written) == ["added", "duplicate", "replaced"]
    now = catalogue(archive)
    wipe(archive)
    store(archive, source, ct(instance=1), ct(instance=2, size=16), ct(instance=3))
    assert {name: now[name] for name in ("study", "series", "study_json")} == {
        name: catalogue(archive)[name] for name in ("study", "series", "study_json")
    }


def test_a_correction_stays_and_remembers_what_the_files_say(archive: Archive, source: SourceRef) -> None:
    store(archive, source, ct(instance=1, StudyDescription=""))
    number = cast("int", study_row(archive, uid(1))["id"])
    correct_study(archive.database, number, {"study_description": "Chest"}, "somebody")
    store(archive, source, ct(instance=2, StudyDescription="Thorax"))
    row = study_row(archive, uid(1))
    assert (row["study_description"], row["num_instances"]) == ("Chest", 2)
    assert row["corrected"]["study_description"]["file"] == "Thorax"


def test_an_instance_of_a_series_that_only_a_remote_archive_told_of(archive: Archive, source: SourceRef) -> None:
    told = {"study_instance_uid": uid(1), "num_series": 7, "num_instances": 700}
    series = [{"series_instance_uid": uid(1, 1), "num_instances": 700}]
    with archive.database.transaction() as sql:
        keep_remote(sql, source, [RemoteStudy(Patient("0001", ""), told, series)], "")
    for number in (1, 2):
        store(archive, source, ct(instance=number, PatientID="0001"))
    row = study_row(archive, uid(1))
    assert (row["availability"], row["num_series"], row["num_instances"]) == ("local", 1, 2)
