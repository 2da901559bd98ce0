"""What FHIR does by itself every so often: the ImagingStudy of studies that no event told of is made, those of purged
studies are forgotten, and what is due is published. All of it may run at any time and any number of times."""

from collections.abc import Mapping
from typing import Final

from hilum.clinical.fhir.versions import make_missing
from hilum.core.jobs import Jobs
from hilum.core.progress import Progress
from hilum.imaging.archive.store import Archive

KIND: Final = "index_from_fhir"
"""The job that indexes a source's FHIR server."""


def register(jobs: Jobs, archive: Archive) -> None:
    """Teach a process what is to be done every so often; raises ``Invalid`` where the address of the server is none."""
    jobs.add(KIND, lambda arguments, progress: _index(archive, arguments, progress))
    jobs.every("* * * * * */20", "hilum.fhir", lambda: make_missing(archive))
    if archive.settings.fhir_publish_url:
        from hilum.clinical.fhir.publish import Publisher  # a worker that publishes nothing stays small

        publisher = Publisher(archive.database, archive.settings)
        jobs.every("* * * * * */5", "hilum.fhir.publish", publisher.run)


def _index(archive: Archive, arguments: Mapping[str, object], progress: Progress) -> None:
    from hilum.clinical.fhir.index import index_imaging_studies  # as above

    index_imaging_studies(archive, arguments, progress)
