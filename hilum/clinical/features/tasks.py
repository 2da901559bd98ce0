"""When features are read from files: after each revision of a study, and as a job for all studies. Both may run twice.
What follows from links is done where studies are linked (``rows.keep_features``)."""

from collections.abc import Mapping
from typing import Final, cast

from hilum.clinical.features.extract import KIND, Choice, extract_all, extract_study, find_studies
from hilum.core.delivery import Handlers
from hilum.core.jobs import Jobs
from hilum.core.progress import Progress
from hilum.imaging.archive.store import Archive

TYPES: Final = ("hilum.study.revised.v1",)
"""The events after which the files of a study may say something else."""


def register(handlers: Handlers, jobs: Jobs, archive: Archive) -> None:
    """Have this room told of revisions, and teach the process its job; raises ``Invalid`` for a setting that names no
    attribute of DICOM."""
    choice = Choice.of(archive.settings)
    handlers.on("features", TYPES, lambda event: handle(archive, choice, event))

    def run(arguments: Mapping[str, object], progress: Progress) -> None:
        extract_all(archive, str(arguments["source"]), choice, progress)

    jobs.add(KIND, run)


def handle(archive: Archive, choice: Choice, event: Mapping[str, object]) -> None:
    """Read the features of an event's study."""
    source = str(event["source"]).rpartition("/")[2]
    uid = str(cast("Mapping[str, object]", event["data"])["study_instance_uid"])
    with archive.database.transaction() as sql:
        studies = find_studies(sql, source, uid)
    for study in studies:
        extract_study(archive, study, choice)
