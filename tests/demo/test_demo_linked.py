"""The demo's studies are tied to their persons, procedures and visits as its story says."""

import csv
from pathlib import Path

from hilum.clinical.linkage.bulk import link_all
from hilum.clinical.linkage.settle import Manner
from hilum.core.database import Database
from hilum.core.progress import job_here
from hilum.demo import DemoManifest
from hilum.demo.load_cdm import load_demo_cdm
from hilum.imaging.archive.store import Archive
from tests.demo.test_demo import files_of, folder, manifest

__all__ = ["folder", "manifest"]


def test_every_study_is_tied_as_the_story_says(
    folder: Path, manifest: DemoManifest, archive: Archive, database: Database
) -> None:
    for study in manifest.studies:
        with archive.batch(archive.source(), "import") as batch:
            for number, file in enumerate(files_of(folder, study)):
                batch.add(f"{study.key} {number}", [file])
            batch.commit()
    assert load_demo_cdm(database, "default", folder / "cdm", "2000000000-2000999999")
    assert not load_demo_cdm(database, "default", folder / "cdm", "2000000000-2000999999")
    with job_here(database, "cdm_link", "", "default", lambda *_: None) as progress:
        link_all(archive, "default", Manner.of(archive.settings), progress)
    with (folder / "cdm" / "procedure_occurrence.csv").open(encoding="utf-8", newline="") as file:
        told = {row["procedure_source_value"].split("|")[1]: row for row in csv.DictReader(file)}
    with database.connect() as connection:
        rows = connection.exec_driver_sql(
            "select image_study_uid, array_agg(distinct person_id), array_agg(distinct procedure_occurrence_id), "
            "array_agg(distinct visit_occurrence_id), count(*) from omop.image_occurrence group by 1"
        ).all()
        waiting = connection.exec_driver_sql("select count(*) from hilum.study_link where reason <> ''").scalar()
    assert waiting == 0
    found = {uid: (persons, procedures, visits, series) for uid, persons, procedures, visits, series in rows}
    assert found == {
        study.study_instance_uid: (
            [study.person_id],
            [int(told[study.accession_number]["procedure_occurrence_id"])],
            [int(told[study.accession_number]["visit_occurrence_id"])],
            len(study.series),
        )
        for study in manifest.studies
    }
