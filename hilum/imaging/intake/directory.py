"""Import of folders, files and zip bundles from a disk that this machine sees: copied into the archive, or indexed
where they lie. Several threads take groups of files, and make each group durable before it is counted."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

from hilum.core.errors import TooLarge
from hilum.imaging.archive.catalogue import SourceRef, Written
from hilum.imaging.archive.store import Archive, read_chunks
from hilum.imaging.dicom.header import NotDicom
from hilum.imaging.intake.bundle import import_bundle, is_zip_head
from hilum.imaging.intake.tally import Tally
from hilum.imaging.intake.walk import Found, walk

GROUP_FILES: Final = 100
GROUP_BYTES: Final = 128 << 20
LANES: Final = 4


@dataclass(slots=True)
class _Group:
    """What became of a group of files."""

    written: Written = field(default_factory=Written)
    skipped: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    zips: list[str] = field(default_factory=list[str])


def import_paths(
    archive: Archive,
    source: SourceRef,
    paths: Sequence[Path],
    tally: Tally,
    *,
    in_place: bool = False,
    origin: str = "import",
    within: Path | None = None,
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

    Raises
    ------
    OutOfSpace
        The disk is full; what was counted until then is kept.
    Cancelled
        Someone asked to stop.
    """

    def take(group: Sequence[Found]) -> _Group:
        return _take(archive, source, group, in_place, origin)

    zips: list[str] = []
    with ThreadPoolExecutor(LANES, "import") as lanes:
        try:
            for done in _bounded(lanes, take, _groups(walk(paths, within), tally)):
                tally.written(done.written)
                for code, name in done.skipped:
                    tally.skip(code, name)
                zips.extend(done.zips)
        except BaseException:
            lanes.shutdown(cancel_futures=True)
            raise
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


_Take: TypeAlias = Callable[[Sequence[Found]], _Group]


def _bounded(lanes: ThreadPoolExecutor, take: _Take, groups: Iterator[list[Found]]) -> Iterator[_Group]:
    """Keep every lane busy and no more than one group waiting for each."""
    running: set[Future[_Group]] = set()
    for group in groups:
        running.add(lanes.submit(take, group))
        if len(running) >= LANES * 2:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    while running:
        done, running = wait(running, return_when=FIRST_COMPLETED)
        yield from (future.result() for future in done)


def _take(archive: Archive, source: SourceRef, group: Sequence[Found], in_place: bool, origin: str) -> _Group:
    result = _Group()
    with archive.batch(source, origin) as batch:
        for file in group:
            try:
                if in_place:
                    batch.index(file.path, os.path.abspath(file.path))  # noqa: PTH100 - a million of these are made
                else:
                    batch.add(file.path, _read(file.path))
            except NotDicom as error:
                if _is_zip(file.path):
                    result.zips.append(file.path)
                else:
                    result.skipped.append((error.code, file.path))
            except TooLarge:
                result.skipped.append(("too_large", file.path))
            except PermissionError:
                result.skipped.append(("permission", file.path))
            except FileNotFoundError:
                result.skipped.append(("missing", file.path))
        if len(batch):
            result.written = batch.commit()
    return result


def _read(path: str) -> Iterator[bytes]:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield from read_chunks(descriptor)
    finally:
        os.close(descriptor)


def _is_zip(path: str) -> bool:
    with Path(path).open("rb") as file:
        return is_zip_head(file.read(4))
