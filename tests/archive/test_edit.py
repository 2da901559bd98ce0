"""Corrections: kept and undoable, over every list and search at once, never in the files, never lost to an arrival."""

from collections.abc import Mapping

import msgspec
import pytest
import sqlalchemy as sa

from hilum.core.errors import Conflict, NotFound, PreconditionFailed
from hilum.core.events import read_events
from hilum.imaging.archive import edit, query
from hilum.imaging.archive.arrivals import SourceRef
from hilum.imaging.archive.edit import Field
from hilum.imaging.archive.query import StudyFilter
from hilum.imaging.archive.store import Archive
from tests.archive.test_store import store, study_row
from tests.make import ct, uid


def correct(archive: Archive, study: int = 1, **changes: str) -> None:
    given: Mapping[Field, str] = changes  # pyright: ignore[reportAssignmentType]
    edit.correct_study(archive.database, study_row(archive, uid(study))["id"], given, "ann")


def history(archive: Archive, study: int = 1) -> list[tuple[str, str, str]]:
    with archive.database.connect() as connection:
        rows = edit.corrections_of(connection, query.find_study(connection, uid(study))["id"])
    return [(row["field"], row["old"], row["new"]) for row in rows]


def undo_latest(archive: Archive, study: int = 1) -> None:
    with archive.database.connect() as connection:
        study_id = query.find_study(connection, uid(study))["id"]
        latest = edit.corrections_of(connection, study_id)[0]["id"]
    edit.undo_correction(archive.database, study_id, latest, "bob")


def found(archive: Archive, **wanted: object) -> int:
    with archive.database.connect() as connection:
        return query.list_studies(connection, StudyFilter(**wanted))[1]  # pyright: ignore[reportArgumentType]


def attributes(archive: Archive) -> dict[str, dict[str, list[str]]]:
    with archive.database.connect() as connection:
        return msgspec.json.decode(connection.scalar(sa.text("select attributes from hilum.study_json")) or "")


def test_lists_searches_filters_qido_and_statistics_follow_a_correction(archive: Archive, source: SourceRef) -> None:
    store(archive, source, ct())
    correct(archive, modality="MR", body_part="HEAD", study_description="Skull", accession_number="B7")
    row = study_row(archive, uid(1))
    assert (row["modality"], row["modalities"], row["body_part"], row["body_parts"]) == ("MR", ["MR"], "HEAD", ["HEAD"])
    assert found(archive, modality=["MR"], body_part="brain", q="skull b7", accession_number="B7") == 1
    assert found(archive, modality=["CT"]) == found(archive, body_part="lung") == found(archive, q="chest") == 0
    shown = attributes(archive)
    assert [shown[tag]["Value"] for tag in ("00080050", "00080061", "00081030")] == [["B7"], ["MR"], ["Skull"]]
    with archive.database.connect() as connection:
        assert query.statistics(connection)["studies_by_modality"] == {"MR": 1}
        instance = query.find_instance(connection, uid(1, 1, 1))
        told = [event for event in read_events(connection, "") if event["type"] == edit.EDITED]
    assert archive.blobs.read(instance["blob_key"], 0, instance["size"]) == ct()
    assert len(told) == 1
    assert "Skull" not in str(told)


def test_later_instances_leave_corrections_alone_and_undo_gives_what_the_files_say_now(
    archive: Archive, source: SourceRef
) -> None:
    store(archive, source, ct(BodyPartExamined=None))
    correct(archive, modality="MR", body_part="HEAD", study_description="")
    store(archive, source, ct(1, 2, 1, Modality="PT", BodyPartExamined="NECK"), ct(1, 1, 2))
    row = study_row(archive, uid(1))
    assert (row["modality"], row["modalities"]) == ("MR", ["CT", "MR"])
    assert (row["body_part"], row["study_description"], row["num_instances"]) == ("HEAD", "", 3)
    for _ in range(3):
        field = history(archive)[0][0]
        undo_latest(archive)
        assert history(archive)[0][0] == field
        with archive.database.transaction() as sql:  # the next round undoes the correction before
            sql.rows("delete from hilum.correction where field = %s", (field,))
    row = study_row(archive, uid(1))
    assert (row["modality"], row["modalities"], row["study_description"]) == ("PT", ["CT", "PT"], "CT chest")
    assert row["body_part"] in ("CHEST", "NECK")
    assert row["corrected"] == {}


def test_every_change_is_kept_and_undoing_is_one_too(archive: Archive, source: SourceRef) -> None:
    store(archive, source, ct())
    correct(archive, study_description="One")
    correct(archive, study_description="Two", modality="CT")
    assert history(archive) == [("study_description", "One", "Two"), ("study_description", "CT chest", "One")]
    with archive.database.connect() as connection:
        first = edit.corrections_of(connection, study_row(archive, uid(1))["id"])[1]
    assert first["who"] == "ann"
    with pytest.raises(Conflict, match="undo correction"):
        edit.undo_correction(archive.database, first["study_id"], first["id"], "bob")
    undo_latest(archive)
    assert history(archive)[0] == ("study_description", "Two", "One")
    undo_latest(archive)
    assert study_row(archive, uid(1))["study_description"] == "Two"
    with pytest.raises(NotFound):
        edit.undo_correction(archive.database, first["study_id"], 10**9, "bob")
    assert [row["new"] for row in edit.all_corrections(archive.database)] == ["One", "Two", "One", "Two"]


def test_a_correction_made_for_an_older_version_is_refused(archive: Archive, source: SourceRef) -> None:
    store(archive, source, ct())
    row = study_row(archive, uid(1))
    version = edit.version_of(row)
    edit.correct_study(archive.database, row["id"], {"modality": "MR"}, "ann", version=version)
    with pytest.raises(PreconditionFailed):
        edit.correct_study(archive.database, row["id"], {"modality": "PT"}, "bob", version=version)
    assert study_row(archive, uid(1))["modality"] == "MR"


def test_the_same_value_seen_again_is_offered_the_earlier_correction(archive: Archive, source: SourceRef) -> None:
    store(archive, source, *(ct(n, StudyDescription="THX CT") for n in (1, 2, 3)), ct(4))
    correct(archive, 1, study_description="CT chest")
    correct(archive, 2, study_description="CT chest")

    def offered(study: int) -> list[tuple[str, str, int]]:
        with archive.database.connect() as connection:
            given = edit.suggestions_for(connection, query.find_study(connection, uid(study)))
        return [(each.field, each.suggested, each.times_used) for each in given]

    assert offered(3) == [("study_description", "CT chest", 2)]
    assert offered(1) == offered(4) == []
    assert study_row(archive, uid(3))["study_description"] == "THX CT"
