"""The demo's studies are tied to their persons, procedures and visits as its story says, and those that do not fit wait
in the queue with the reason that the story gives."""

import csv
import io
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from hilum.clinical.linkage import decisions
from hilum.clinical.linkage.bulk import link_all
from hilum.clinical.linkage.decisions import Choice
from hilum.clinical.linkage.maps import load_map
from hilum.clinical.linkage.queue import QueueFilter, alike, list_queue
from hilum.clinical.linkage.schemas import QueueEntry
from hilum.clinical.linkage.settle import Manner
from hilum.core.blobs import LocalBlobs
from hilum.core.config import Settings
from hilum.core.database import Database
from hilum.core.postgres import EmbeddedPostgres
from hilum.core.progress import job_here
from hilum.demo import DemoManifest
from hilum.demo.load_cdm import load_demo_cdm
from hilum.demo.people import story
from hilum.imaging.archive.store import Archive
from tests.conftest import fresh_database
from tests.demo.test_demo import files_of, folder, manifest

__all__ = ["folder", "manifest"]

SOURCE = "default"
# What shows that a study waits for the right reason: of each, something that is so for it and not for the others.
SHOWN: dict[str, Callable[[QueueEntry], bool]] = {
    "no_person": lambda one: one.patient_id.startswith(("PR-", "HM-TEMP")) and "candidates" not in one.evidence,
    "blank_id": lambda one: one.patient_id == "" and one.alike == 1,
    "shared_id": lambda one: {"sex", "birth_date"} & {*one.evidence["differing"]} != set(),  # pyright: ignore
    "sex_conflict": lambda one: (one.evidence["sex"], one.evidence["birth_year"]) == ("differs", "agrees"),
    "birth_year_conflict": lambda one: (one.evidence["sex"], one.evidence["birth_year"]) == ("agrees", "differs"),
    "several_persons": lambda one: len(one.evidence["candidates"]) == 2,  # pyright: ignore
    "several_procedures": lambda one: len(one.evidence["candidates"]) == 2 and not one.strangers,  # pyright: ignore
    "no_procedure": lambda one: not one.candidates and not one.strangers,
    "accession_of_another": lambda one: {stranger.person_id for stranger in one.strangers}.isdisjoint({one.person_id}),
    "no_visit": lambda one: one.candidates[0].end_date == one.study_date - timedelta(1),  # pyright: ignore
    "several_visits": lambda one: all(
        visit.start_date <= one.study_date <= visit.end_date
        for visit in one.candidates  # pyright: ignore
    ),
}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Those of an archive of which each test has a database of its own."""
    return Settings(data=tmp_path_factory.mktemp("demo"), min_free_bytes=0)


@pytest.fixture(scope="module")
def linked(cluster: EmbeddedPostgres, folder: Path, manifest: DemoManifest, settings: Settings) -> Iterator[str]:
    """The name of a database with the demo, imported and linked as `hilum demo` does it."""
    with fresh_database(cluster) as url:
        database = Database(url, pool_size=6)
        archive = Archive(database, LocalBlobs(settings.data_path, 0), settings)
        for study in manifest.studies:
            with archive.batch(archive.source(), "import") as batch:
                for number, file in enumerate(files_of(folder, study)):
                    batch.add(f"{study.key} {number}", [file])
                batch.commit()
        assert load_demo_cdm(database, SOURCE, folder / "cdm", "2000000000-2000999999")
        assert not load_demo_cdm(database, SOURCE, folder / "cdm", "2000000000-2000999999")
        link(archive)
        database.close()
        yield str(database.url.database)


@pytest.fixture
def archive(cluster: EmbeddedPostgres, linked: str, settings: Settings) -> Iterator[Archive]:
    """The demo, linked, for one test to change."""
    with fresh_database(cluster, linked) as url:
        database = Database(url, pool_size=6)
        yield Archive(database, LocalBlobs(settings.data_path, 0), settings)
        database.close()


def manner(archive: Archive) -> Manner:
    return Manner(False, Manner.of(archive.settings).places)


def link(archive: Archive) -> None:
    with job_here(archive.database, "cdm_link", "", SOURCE, lambda *_: None) as progress:
        link_all(archive, SOURCE, manner(archive), progress)


def queue(database: Database) -> dict[tuple[str, str], QueueEntry]:
    """What waits, by UID and kind."""
    with database.transaction() as sql:
        rows, total = list_queue(sql, QueueFilter(SOURCE), limit=500)
    assert total == len(rows)
    entries = [QueueEntry.model_validate(row) for row in rows]
    return {(entry.study_instance_uid, entry.kind): entry for entry in entries}


def test_each_study_is_tied_or_waits_as_the_story_says(folder: Path, manifest: DemoManifest, archive: Archive) -> None:
    database, told = archive.database, story()
    uids = {study.key: study.study_instance_uid for study in manifest.studies}
    persons = {study.key: study.person_id for study in manifest.studies}
    waiting = queue(database)
    assert {where: entry.reason for where, entry in waiting.items()} == {
        (uids[one.study], one.kind): one.reason for one in told.misfits.values()
    }
    assert {study.key: study.misfit for study in manifest.studies if study.misfit} == {
        key: one.reason for key, one in told.misfits.items()
    }
    assert len(waiting) == 13
    assert {entry.reason for entry in waiting.values()} == SHOWN.keys()
    assert [(entry.reason, entry.evidence) for entry in waiting.values() if not SHOWN[entry.reason](entry)] == []
    # Of every one the person whose it is comes into question; of most, first.
    for key, one in told.misfits.items():
        entry = waiting[uids[key], one.kind]
        if one.kind == "person":
            assert persons[key] in [candidate.id for candidate in entry.candidates], key
            assert entry.candidates[0].id == persons[key] or one.reason == "shared_id", key
        else:
            assert entry.person_id == persons[key]
    assert len(waiting[uids["s58"], "procedure"].candidates) == 2
    other = next(study.person_id for study in manifest.studies if study.patient_id == told.misfits["s43"].other)
    assert [one.person_id for one in waiting[uids["s43"], "procedure"].strangers] == [other]
    assert len(waiting[uids["s57"], "visit"].candidates) == 2
    assert len(waiting[uids["s26"], "visit"].candidates) == 1
    with (folder / "cdm" / "procedure_occurrence.csv").open(encoding="utf-8", newline="") as file:
        ordered = {row["procedure_source_value"].split("|")[1]: row for row in csv.DictReader(file)}
    with database.connect() as connection:
        rows = connection.exec_driver_sql(
            "select image_study_uid, array_agg(distinct person_id), array_agg(distinct procedure_occurrence_id), "
            "array_agg(distinct visit_occurrence_id), count(*) from omop.image_occurrence group by 1"
        ).all()
    fitting = {study.study_instance_uid: study for study in manifest.studies if not study.misfit}
    assert {row[0]: tuple(row[1:]) for row in rows if row[0] in fitting} == {
        uid: (
            [study.person_id],
            [int(ordered[study.accession_number]["procedure_occurrence_id"])],
            [int(ordered[study.accession_number]["visit_occurrence_id"])],
            len(study.series),
        )
        for uid, study in fitting.items()
    }
    unfit = {row[0] for row in rows} - fitting.keys()
    # No row without person and procedure; a visit may be lacking.
    assert unfit == {uids[key] for key, one in told.misfits.items() if one.kind == "visit"}


def test_the_practice_is_accepted_at_once_and_its_map_does_the_same(
    folder: Path, manifest: DemoManifest, archive: Archive
) -> None:
    database = archive.database
    first, second = (next(s for s in manifest.studies if s.key == key) for key in ("s59", "s60"))
    entry = queue(database)[first.study_instance_uid, "person"]
    assert entry.alike == 2
    with database.transaction() as sql:
        both = alike(sql, entry.study_id)
    choices = [Choice(study, "link", first.person_id) for study in both]
    undo = decisions.choose_all(database, "person", choices, "me", manner(archive))
    left = queue(database)
    assert not {one.study_instance_uid for one in (first, second)} & {uid for uid, _ in left}
    decisions.choose_all(database, "person", undo, "me", manner(archive))
    assert len(queue(database)) == len(left) + 2
    with database.transaction() as sql:
        table = io.BytesIO((folder / "maps" / "person_map.csv").read_bytes())
        loaded = load_map(sql, 1, table)
    assert (loaded.rows, loaded.refused) == (3, 2)
    link(archive)
    assert "no_person" not in {one.reason for one in queue(database).values()}
