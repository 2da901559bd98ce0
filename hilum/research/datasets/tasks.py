"""Data sets as jobs: a version is made by whichever worker is free."""

from collections.abc import Mapping

from hilum.core.jobs import Jobs
from hilum.core.progress import Progress
from hilum.imaging.archive.store import Archive
from hilum.research.datasets.versions import KIND


def register(jobs: Jobs, archive: Archive) -> None:
    """Teach a process the job that makes a version."""

    def run(arguments: Mapping[str, object], progress: Progress) -> None:
        from hilum.research.datasets.build import build_version  # a worker that makes none stays small

        build_version(archive, int(str(arguments["version"])), progress)

    jobs.add(KIND, run)
