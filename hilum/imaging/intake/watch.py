"""The work behind ``hilum watch``: whole files of an inbox are imported as they land, into the source that their
first-level folder names, and moved to the processed or, with the reason beside them, the rejected files."""

import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import Final

import structlog

from hilum.core.blobs import open_blobs
from hilum.core.config import Settings
from hilum.core.database import open_database
from hilum.core.errors import HilumError, Invalid, NotFound, OutOfSpace, Unavailable
from hilum.core.progress import Progress, job_here
from hilum.imaging.archive.store import Archive
from hilum.imaging.intake.bundle import import_bundle
from hilum.imaging.intake.group import take_group
from hilum.imaging.intake.inbox import Claimed, Inbox
from hilum.imaging.intake.manner import Manner
from hilum.imaging.intake.tally import HARMLESS, SKIPPED, Tally
from hilum.imaging.intake.walk import Found, walk

SETTLE_SECONDS: Final = 2.0
SCAN_SECONDS: Final = 0.5
GROUP_FILES: Final = 200
GROUP_BYTES: Final = 256 << 20
_RETRY_SECONDS: Final = 10.0
_EXAMPLES: Final = 20

log = structlog.get_logger()


def watch(settings: Settings, folder: Path, ready: Callable[[], None], settle_seconds: float = SETTLE_SECONDS) -> None:
    """Import what lands in a folder until a signal asks to stop; what was taken until then is finished.

    Parameters
    ----------
    settings
        Which archive.
    folder
        The inbox. Any number of watchers may share it.
    ready
        Called once it is watched.
    settle_seconds
        How long a file must keep its size and time before it counts as whole.

    Raises
    ------
    Invalid
        The folder is none, or cannot be written to.
    """
    stop = threading.Event()
    _stop_on_signals(stop)
    folder = folder.expanduser().absolute()
    if not folder.is_dir():
        raise Invalid(f"{folder} is no folder; make it, or name another.")
    with open_database(settings, pool_size=3) as database, closing(Inbox(folder, settle_seconds)) as inbox:
        blobs = open_blobs(settings)
        archive = Archive(database, blobs, settings)
        ready()
        while not stop.is_set():
            stop.wait(_round(archive, inbox))


def _stop_on_signals(stop: threading.Event) -> None:
    def note(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, note)


def _round(archive: Archive, inbox: Inbox) -> float:
    """Look through the inbox once; gives the seconds to wait before the next time."""
    claimed: list[Claimed] = []
    try:
        recovered = inbox.recover()
        if recovered:
            log.info("inbox.recovered", files=recovered)
        claimed = inbox.claim(GROUP_FILES, GROUP_BYTES)
        for source, files in _by_source(claimed).items():
            _import(archive, inbox, source, files)
    except (OutOfSpace, Unavailable, OSError) as error:
        # It passes: what was taken goes back, and is taken again.
        log.warning("inbox.waits", reason=str(error) if isinstance(error, HilumError) else error.strerror)
        for file in claimed:
            if file.path.exists():
                inbox.give_back(file)
        return _RETRY_SECONDS
    return 0.0 if claimed else SCAN_SECONDS


def _by_source(claimed: Sequence[Claimed]) -> dict[str, list[Claimed]]:
    """Group files by the source that their first-level folder names; those beside the folders are of the default."""
    groups: dict[str, list[Claimed]] = {}
    for file in claimed:
        first, slash, _ = file.name.partition("/")
        groups.setdefault(first if slash else "default", []).append(file)
    return groups


def _import(archive: Archive, inbox: Inbox, source: str, files: Sequence[Claimed]) -> None:
    try:
        manner = Manner(archive.source(source), origin="inbox")
    except NotFound as error:
        for file in files:
            inbox.settle(file, [f"{error} The first folder in the inbox names the source."])
        return
    title = f"{len(files)} file{'s' if len(files) != 1 else ''} from the inbox"
    with job_here(archive.database, "inbox", title, source, lambda _done, _total: None) as progress:
        progress.expect(len(files))
        for file, reasons in _taken(archive, manner, inbox, files, progress):
            inbox.settle(file, reasons)


def _taken(
    archive: Archive, manner: Manner, inbox: Inbox, files: Sequence[Claimed], progress: Progress
) -> list[tuple[Claimed, list[str]]]:
    """Import files; gives of each why it, or something in it, was not taken."""
    tally = Tally(progress)
    verdicts: dict[str, list[str]] = {}
    found: list[Found] = []
    by_name: dict[str, Claimed] = {}
    for file in files:
        name = str(inbox.folder / file.name)
        here = next(iter(walk([file.path], within=file.path.parent)))
        # No stamp: a file that comes again under its old name is to be read, for it was put here to be taken.
        one = Found(str(file.path), here.size, here.trouble, name=name)
        by_name[one.shown] = file
        if one.trouble:
            tally.skip(one.trouble, one.shown)
            verdicts[one.shown] = [SKIPPED[one.trouble]]
        else:
            found.append(one)
    done = take_group(archive, manner, found)
    tally.written(done.written)
    for outcome in done.written.outcomes:
        if outcome.state == "set_aside":
            verdicts.setdefault(outcome.name, []).append(outcome.reason)
    for code, name, reason in done.skipped:
        tally.skip(code, name, reason)
        if code not in HARMLESS or code == "not_dicom":
            verdicts.setdefault(name, []).append(reason or SKIPPED[code])
    for one in done.zips:
        verdicts[one.shown] = _bundle(archive, manner, one, progress)
    return [(file, verdicts.get(name, [])) for name, file in by_name.items()]


def _bundle(archive: Archive, manner: Manner, zip_file: Found, progress: Progress) -> list[str]:
    """Import a zip; gives its own reasons, a few examples with each."""
    own = Progress(archive.database, progress.job_id)
    with Path(zip_file.path).open("rb") as file:
        import_bundle(archive, manner, zip_file.shown, file, Tally(own))
    for name, by in own.counts.items():
        progress.count(name, by)
    lines: list[str] = []
    for code, reason in own.reasons.items():
        progress.reasons.setdefault(code, reason)
        if code not in HARMLESS:
            lines.append(f"{reason.count} x {reason.reason}")
            lines += [f"    {example}" for example in reason.examples[:_EXAMPLES]]
    progress.expect(own.done - 1)
    progress.step(own.done)
    return lines
