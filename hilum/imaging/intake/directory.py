"""Import of folders, files and zip bundles from a disk that this machine sees: copied into the archive, or indexed
where they lie. Several lanes take groups of files, and make each group durable before it is counted."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Final

from hilum.imaging.archive.store import Archive
from hilum.imaging.intake.bundle import import_bundle
from hilum.imaging.intake.lanes import Lanes, thread_lanes
from hilum.imaging.intake.manner import Manner
from hilum.imaging.intake.tally import Tally
from hilum.imaging.intake.walk import Found, walk

GROUP_FILES: Final = 250
GROUP_BYTES: Final = 32 << 20


def import_paths(
    archive: Archive,
    manner: Manner,
    paths: Sequence[Path],
    tally: Tally,
    *,
    within: Path | None = None,
    lanes: Lanes | None = None,
) -> None:
    """Import everything at or below some paths.

    Parameters
    ----------
    archive, manner
        Where to and how; a zip is always copied.
    paths
        Folders, DICOM files or zip bundles.
    tally
        Told of every file, and asked between groups whether to go on.
    within
        A folder that no link may lead out of; None allows any link.
    lanes
        What takes the groups side by side; None makes threads of this process.

    Raises
    ------
    OutOfSpace
        The disk is full; what was counted until then is kept.
    Cancelled
        Someone asked to stop.
    """

    zips: list[Found] = []
    with nullcontext(lanes) if lanes else thread_lanes() as open_lanes:
        for done in open_lanes.take(archive, manner, _groups(walk(paths, within), tally)):
            tally.written(done.written)
            for code, name, reason in done.skipped:
                tally.skip(code, name, reason)
            zips.extend(done.zips)
    for found in zips:
        with Path(found.path).open("rb") as file:
            import_bundle(archive, manner, found.shown, file, tally)


def _groups(found: Iterable[Found], tally: Tally) -> Iterator[list[Found]]:
    group: list[Found] = []
    size = 0
    for file in found:
        if file.trouble:
            tally.skip(file.trouble, file.shown)
            continue
        group.append(file)
        size += file.size
        if len(group) >= GROUP_FILES or size >= GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group
