"""Data sets as jobs: a version is made by whichever worker is free, and objects that no version has are removed."""

from collections.abc import Mapping

from hilum.core.jobs import Jobs
from hilum.core.progress import Progress
from hilum.imaging.archive.store import Archive
from hilum.research.datasets.delete import tidy
from hilum.research.datasets.versions import KIND


def register(jobs: Jobs, archive: Archive) -> None:
    """Teach a process the job that makes a version, and what is to be done every so often."""

    def run(arguments: Mapping[str, object], progress: Progress) -> None:
        from hilum.research.datasets.build import build_version  # a worker that makes none stays small

        build_version(archive, int(str(arguments["version"])), progress)

    jobs.add(KIND, run)
    jobs.every("37 * * * *", "hilum.datasets.tidy", lambda: tidy(archive.database, archive.blobs))
