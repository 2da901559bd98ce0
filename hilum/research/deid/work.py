"""What the processes of a run do with a file: look what it is, and later make, write and verify its de-identified
form. They know nothing of maps or the crosswalk; the process that leads the run (``run``) tells them and notes what
they say."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from datetime import time as clock
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Final

from blake3 import blake3

from hilum.clinical.chorus import local_time
from hilum.imaging.dicom.header import Header, identity, scan, scan_file
from hilum.imaging.dicom.problems import NotDicom, Unreadable
from hilum.research.deid.engine import Change, Engine
from hilum.research.deid.faces.step import face_unsure, find_faces, shows_face
from hilum.research.deid.faces.volume import Unsuitable
from hilum.research.deid.identifiers import Kind
from hilum.research.deid.instance import Deidentifier, Made, Quarantined
from hilum.research.deid.person import Person
from hilum.research.deid.pixels import Decision, Face, PixelStep
from hilum.research.deid.profile import Profile, Rules
from hilum.research.deid.uids import UidMap
from hilum.research.deid.verify import Leak, Search, dciodvfy, new_errors, verify

MAX_FILE_BYTES: Final = 2 << 30
_AT_ONCE: Final = 16
_NAMES: Final = ("PatientName", "ReferringPhysicianName")
_TIMES: Final = (
    ("AcquisitionDate", "AcquisitionTime"), ("ContentDate", "ContentTime"), ("SeriesDate", "SeriesTime"),
    ("StudyDate", "StudyTime"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Seen:
    """What a file is, from its header; ``code`` and ``reason`` say why it is none that can be taken."""

    path: str
    code: str = ""
    reason: str = ""
    patient_id: str = ""
    accession_number: str = ""
    study: str = ""
    series: str = ""
    sop: str = ""
    modality: str = ""
    number: int = 0
    known: frozenset[tuple[Kind, str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Order:
    """A file to make: where it lies, whose it is, and where it goes."""

    file_id: int
    path: str
    person: Person
    accession: str
    target: str
    check_validity: bool
    decision: Decision | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a file."""

    file_id: int
    code: str = ""
    reason: str = ""
    changes: tuple[Change, ...] = ()
    paths: tuple[tuple[str, str], ...] = ()
    datetime: str = ""
    digest: str = ""
    size: int = 0
    before: bool = False
    validity: int = -1


@dataclass(frozen=True, slots=True)
class Setup:
    """What a process needs."""

    profile: Profile
    uids_key: bytes
    source: str
    target: str
    temporary: str
    pixel_step: PixelStep | None = None
    dry: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """Files to make one after the other.

    Attributes
    ----------
    orders
        Of one person.
    beside
        Paths of files that are out already and make a volume with these, all of one series; None where no volume is
        looked at.
    """

    orders: list[Order]
    beside: tuple[str, ...] | None = None


class Worker:
    """The work on files, one after the other."""

    def __init__(self, setup: Setup) -> None:
        self._setup: Final = setup
        engine = Engine(Rules(setup.profile), UidMap(setup.uids_key).new)
        self._new_uid: Final = engine.new_uid
        self._deidentifier: Final = Deidentifier(engine, setup.pixel_step)

    def look(self, paths: list[str]) -> list[Seen]:
        """What files are; their paths count from the source folder."""
        return [self._look(path) for path in paths]

    def _look(self, path: str) -> Seen:
        try:
            with Path(self._setup.source, path).open("rb") as file:
                header = scan_file(file)
            found = identity(header)
        except (NotDicom, Unreadable) as problem:
            return Seen(path, problem.code, str(problem))
        except OSError:
            return Seen(path, "unreadable_file", "The file cannot be read.")
        known: set[tuple[Kind, str]] = {("name", header.text(key)) for key in _NAMES}
        known |= {("id", header.first("PatientID")), ("date", header.first("PatientBirthDate"))}
        if len(header.first("AccessionNumber")) > 3:
            known.add(("id", header.first("AccessionNumber")))
        return Seen(
            path, "", "", header.first("PatientID"), header.first("AccessionNumber"),
            self._new_uid(found.study_instance_uid), self._new_uid(found.series_instance_uid),
            self._new_uid(found.sop_instance_uid), header.first("Modality").upper(),
            max(0, header.integer("InstanceNumber") or 0), frozenset(one for one in known if one[1]),
        )  # fmt: skip

    def carry_out(self, batch: Batch) -> list[Outcome]:
        """Make files; those written are on the disk when this returns."""
        faces = self._faces(batch)
        outcomes = [self._one(order, faces.get(order.path)) for order in batch.orders]
        if not self._setup.dry:
            written = [order for order, outcome in zip(batch.orders, outcomes, strict=True) if not outcome.code]
            self._publish(written)
        return outcomes

    def _faces(self, batch: Batch) -> dict[str, Face | Unsuitable]:
        """What goes with the face of each file of a series; nothing where none of them may show one."""
        if batch.beside is None:
            return {}
        paths = sorted({*(order.path for order in batch.orders), *batch.beside})
        openers = [partial(Path(self._setup.source, path).open, "rb") for path in paths]
        if not shows_face(openers):
            return {}
        return dict(zip(paths, find_faces(openers), strict=True))

    def _publish(self, orders: Sequence[Order]) -> None:
        """Put verified files where they belong, in the order that a lost power supply cannot harm."""
        with ThreadPoolExecutor(_AT_ONCE) as threads:  # flushed at once, they share what the disk does for one
            list(threads.map(_flush, [self._temporary(order) for order in orders]))
        folders: set[Path] = set()
        for order in orders:
            target = Path(self._setup.target, order.target)
            target.parent.mkdir(parents=True, exist_ok=True)
            self._temporary(order).replace(target)
            folders.add(target.parent)
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            list(threads.map(_flush, folders))

    def _temporary(self, order: Order) -> Path:
        return Path(self._setup.temporary, f"{order.file_id}.dcm")

    def _one(self, order: Order, face: Face | Unsuitable | None) -> Outcome:
        path = Path(self._setup.source, order.path)
        try:
            if isinstance(face, Unsuitable):
                raise Quarantined("face_unsure", face_unsure(face))
            if path.stat().st_size > MAX_FILE_BYTES:
                raise Quarantined("too_large", f"Files of more than {MAX_FILE_BYTES >> 30} GiB are not de-identified.")
            file = BytesIO(path.read_bytes())
            made = self._deidentifier.make(
                file, order.person, order.accession, decision=order.decision, face=face, explain=self._setup.dry
            )
            return self._dry(order, made) if self._setup.dry else self._write(order, path, made)
        except (NotDicom, Unreadable, Quarantined) as problem:
            return Outcome(order.file_id, problem.code, str(problem))
        except Leak as leak:
            return Outcome(order.file_id, f"leak_{leak.code}", f"The verification found something in {leak}.")
        except OSError as error:
            return Outcome(order.file_id, "unwritable", f"The file cannot be read or written: {error.strerror}.")
        except Exception as error:
            return Outcome(order.file_id, "error", f"The file could not be de-identified ({type(error).__name__}).")

    def _dry(self, order: Order, made: Made) -> Outcome:
        verify(made.data, Search(made.patterns, made.old_uids))
        return Outcome(order.file_id, changes=tuple(made.changes), paths=made.paths, before=made.before)

    def _write(self, order: Order, original: Path, made: Made) -> Outcome:
        target = Path(self._setup.target, order.target)
        _inside(target, self._setup.target)
        temporary = self._temporary(order)
        temporary.write_bytes(made.data)
        written = temporary.read_bytes()
        verify(written, Search(made.patterns, made.old_uids))
        header = scan(written)
        validity = -1
        if order.check_validity and dciodvfy():
            validity = len(new_errors(original, temporary))
            if validity:
                raise Quarantined("invalid", "The file would have errors of validity that the original lacks.")
        return Outcome(
            order.file_id, "", "", tuple(made.changes), (), datetime_of(header),
            f"blake3:{blake3(written).hexdigest()}", len(written), made.before, validity,
        )  # fmt: skip


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _inside(target: Path, root: str) -> None:
    """See that no link leads out of the output folder."""
    if not f"{target.parent.resolve()}/".startswith(f"{Path(root).resolve()}/"):
        raise Quarantined("unwritable", "A link leads out of the output folder.")


def datetime_of(header: Header) -> str:
    """Local date and time of an image, as the registry has it; empty when the file has no date."""
    for date_key, time_key in _TIMES:
        date, time = header.date(date_key), header.time(time_key)
        if date is not None:
            return local_time(datetime.combine(date, time or clock.min))
    return ""
