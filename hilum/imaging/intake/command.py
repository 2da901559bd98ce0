"""The work behind ``hilum import``: opens what it needs, imports in this process, and shows the import as a job beside
those of the server."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, cast

from hilum.core.blobs import open_blobs
from hilum.core.config import Settings
from hilum.core.database import open_database
from hilum.core.errors import HilumError
from hilum.core.progress import Progress, job_here
from hilum.imaging.archive.patients import Chosen
from hilum.imaging.archive.sidecar import try_to_record
from hilum.imaging.archive.store import Archive
from hilum.imaging.intake.directory import import_paths
from hilum.imaging.intake.lanes import Lanes
from hilum.imaging.intake.manner import Manner
from hilum.imaging.intake.tally import Tally
from hilum.imaging.intake.walk import walk
from hilum.imaging.intake.wrap import Wrap

Step: TypeAlias = Callable[[int, int | None], None]


@dataclass(frozen=True, slots=True)
class Summary:
    """What an import did; ``stopped`` is the sentence of what ended it early."""

    counts: dict[str, int]
    reasons: list[dict[str, object]]
    stopped: str = ""

    def as_json(self) -> dict[str, object]:
        """The summary as a document."""
        return {"counts": self.counts, "reasons": self.reasons, "stopped": self.stopped or None}


def run_import(
    settings: Settings,
    source: str,
    paths: Sequence[Path],
    step: Step,
    *,
    in_place: bool = False,
    chosen: Chosen | None = None,
    wrap: Wrap | None = None,
    lanes: Lanes,
    count: bool = True,
    within: Path | None = None,
) -> Summary:
    """Import paths into a source.

    Parameters
    ----------
    settings
        Which data folder.
    source
        Key of the source.
    paths
        Folders, files, zips.
    step
        Told how many files are done, and how many there are once that is known.
    in_place, chosen, wrap
        As of `Manner`.
    lanes
        What takes the files side by side.
    count
        Count the files beforehand, beside the import, so that it is known.
    within
        A folder that no link may lead out of; None allows any link.

    Raises
    ------
    NotFound
        There is no such source.
    """
    with open_database(settings, pool_size=3) as database:
        blobs = open_blobs(settings)
        archive = Archive(database, blobs, settings)
        into = archive.source(source)
        stopped = ""
        with job_here(database, "import", _title(paths), into.key, step) as progress:
            if count:
                threading.Thread(target=_count, args=(paths, progress, within), daemon=True).start()
            try:
                manner = Manner(into, in_place, "import", chosen, wrap)
                import_paths(archive, manner, paths, Tally(progress), within=within, lanes=lanes)
            except HilumError as error:
                stopped = str(error)
                progress.say(stopped)
        try_to_record(database, blobs)
        database.tidy("study", "study_json", "series", "instance")  # lists, counts and searches read these
        reasons = cast("list[dict[str, object]]", progress.summary()["reasons"])
        return Summary(progress.counts, reasons, stopped)


def _count(paths: Sequence[Path], progress: Progress, within: Path | None) -> None:
    """Learn how much there is while the import runs already."""
    progress.expect(sum(1 for _ in walk(paths, within)))


def _title(paths: Sequence[Path]) -> str:
    return f"Import of {len(paths)} path{'s' if len(paths) != 1 else ''} by a command"
