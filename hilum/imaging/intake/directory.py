"""Import of folders, files and zip bundles from a disk that this machine sees: copied into the archive, or indexed
where they lie. Several lanes take groups of files, and make each group durable before it is counted."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Final

from hilum.imaging.archive.catalogue import SourceRef
from hilum.imaging.archive.store import Archive
from hilum.imaging.intake.bundle import import_bundle
from hilum.imaging.intake.group import Manner
from hilum.imaging.intake.lanes import Lanes, thread_lanes
from hilum.imaging.intake.tally import Tally
from hilum.imaging.intake.walk import Found, walk

GROUP_FILES: Final = 250
GROUP_BYTES: Final = 32 << 20


def import_paths(
    archive: Archive,
    source: SourceRef,
    paths: Sequence[Path],
    tally: Tally,
    *,
    in_place: bool = False,
    origin: str = "import",
    within: Path | None = None,
    lanes: Lanes | None = None,
) -> None:
    """Import everything at or below some paths.

    Parameters
    ----------
    archive, source
        Where to.
    paths
        Folders, DICOM files or zip bundles.
    tally
        Told of every file, and asked between groups whether to go on.
    in_place
        Index files where they lie instead of copying them; a zip is always copied.
    origin
        What to record as the way in.
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

    zips: list[str] = []
    with nullcontext(lanes) if lanes else thread_lanes() as open_lanes:
        for done in open_lanes.take(archive, Manner(source, in_place, origin), _groups(walk(paths, within), tally)):
            tally.written(done.written)
            for code, name in done.skipped:
                tally.skip(code, name)
            zips.extend(done.zips)
    for path in zips:
        with Path(path).open("rb") as file:
            import_bundle(archive, source, path, file, tally)


def _groups(found: Iterable[Found], tally: Tally) -> Iterator[list[Found]]:
    group: list[Found] = []
    size = 0
    for file in found:
        if file.trouble:
            tally.skip(file.trouble, file.path)
            continue
        group.append(file)
        size += file.size
        if len(group) >= GROUP_FILES or size >= GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group
