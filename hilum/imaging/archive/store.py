"""The one way in. Every instance, whichever door it came through, passes here once: hashed, scanned and written as it
streams, made durable with its batch, catalogued in one transaction, and only then acknowledged. What cannot be
catalogued is set aside with its reason."""

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final
from uuid import UUID

import sqlalchemy as sa

from hilum.core.blobs import BlobGroup, BlobItem, Blobs
from hilum.core.config import Settings
from hilum.core.database import Database, Transaction
from hilum.core.errors import HilumError, NotFound, OutOfSpace
from hilum.imaging.archive import catalogue
from hilum.imaging.archive.arrivals import Arrival, Outcome, SourceRef, Written
from hilum.imaging.archive.aside import Aside, refused_arrival, write_aside
from hilum.imaging.archive.delete import doom, hold_objects
from hilum.imaging.archive.describe import object_key
from hilum.imaging.archive.further import Choice, Excerpt, Level, chosen
from hilum.imaging.archive.identity import Known, Place, identify, identify_in
from hilum.imaging.archive.intake import Intake, Withheld, gathered, intake_of
from hilum.imaging.archive.models import Instance, Source, Study
from hilum.imaging.archive.passage import Buffer, Reader, Taken, examine
from hilum.imaging.archive.patients import Chosen
from hilum.imaging.dicom.header import Header, NotDicom, Unreadable
from hilum.imaging.studies.clock import wind
from hilum.imaging.studies.revisions import reach

HEAD: Final = 1 << 16
CHUNK: Final = 1 << 20
DICOMDIR: Final = "1.2.840.10008.1.3.10"
_DECIDED: Final = "conflict"
"""The origin of what was set aside until a person decided whose it is."""
_UNKNOWN_SIZE: Final = 1 << 62


class Damaged(HilumError):
    """Stored bytes are not what they were."""

    title = "Damaged"


@dataclass(frozen=True, slots=True)
class Archive:
    """Where instances are kept: the catalogue and the objects, and the rules for what comes in."""

    database: Database
    blobs: Blobs
    settings: Settings

    def source(self, key: str = "default") -> SourceRef:
        """Find a source by its key.

        Raises
        ------
        NotFound
            There is no such source.
        """
        with self.database.connect() as connection:
            columns = Source.id, Source.key, Source.intake_profile
            query = sa.select(*columns).where(Source.key == key, ~Source.removed)
            row = connection.execute(query).first()
            if row is None:
                known = ", ".join(connection.scalars(sa.select(Source.key).where(~Source.removed).order_by(Source.key)))
                raise NotFound(f"There is no source '{key}'; there are: {known}.")
        return SourceRef(row.id, row.key, row.intake_profile)

    @property
    def choice(self) -> Choice:
        """The attributes that are kept beside the catalogue's own."""
        return chosen(tuple(self.settings.qido_attributes))

    @contextmanager
    def batch(
        self, source: SourceRef, origin: str, chosen: Chosen | None = None, sender: str = ""
    ) -> Generator["Batch"]:
        """Open a batch of instances that become durable and are acknowledged together.

        Leaving the block without ``commit`` keeps nothing. ``chosen`` is whose a person said they are, ``sender`` the
        AE title or network address that they come from.

        Raises
        ------
        Conflict
            The source de-identifies what comes in, and somebody said whose it is.
        OutOfSpace
            The disk or the archive is full.
        """
        if chosen is not None:
            source.refuse_as_it_is("whose it is, nobody can say in its place")
        room = self._room()
        with self.blobs.group() as group:
            yield Batch(self, source, origin, group, chosen, room, sender)

    def _room(self) -> int:
        """How many bytes the archive may still take; deleted studies count until their bytes are gone."""
        limit = self.settings.max_archive_bytes
        if not limit:
            return _UNKNOWN_SIZE
        with self.database.connect() as connection:
            held = connection.scalar(sa.select(sa.func.coalesce(sa.func.sum(Study.bytes), 0)))
        return limit - int(held or 0)


@dataclass(slots=True)
class Batch:
    """Instances on their way in."""

    archive: Archive
    source: SourceRef
    origin: str
    group: BlobGroup
    chosen: Chosen | None = None
    room: int = _UNKNOWN_SIZE
    sender: str = ""
    _arrivals: list[Arrival] = field(default_factory=list[Arrival])
    _aside: list[Aside] = field(default_factory=list[Aside])
    _buffer: bytearray = field(default_factory=bytearray)
    _series: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    _withheld: list[Outcome] = field(default_factory=list[Outcome])
    _intake: Intake | None = None

    def __len__(self) -> int:
        return len(self._arrivals) + len(self._aside) + len(self._withheld)

    @property
    def names(self) -> list[str]:
        """What the things in it are called."""
        return [one.name for one in (*self._arrivals, *self._aside, *self._withheld)]

    def add(
        self,
        name: str,
        chunks: Iterable[Buffer],
        inspect: Callable[[Header], None] | None = None,
        *,
        place: Place | None = None,
        fingerprint: UUID | None = None,
    ) -> None:
        """Take one instance as a stream of bytes.

        Parameters
        ----------
        name
            What to call it towards the one who sent it: a path, a member of a zip, a number.
        chunks
            Its bytes; the first chunk, of at least 132 bytes or all, tells whether it is DICOM. It is kept, the others
            may be overwritten once the next is asked for.
        inspect
            Told the header before the instance is taken; what it raises is raised here, and nothing is kept.
        place
            Where it lay, so that what it does not say of itself can be derived; None, or the setting, sets it aside.
        fingerprint
            What tells its file from all others and from itself once changed, so that it need not be read again.

        Raises
        ------
        NotDicom
            It does not even claim to be DICOM, or is a DICOMDIR; nothing of it is kept.
        OutOfSpace
            The disk is full.
        TooLarge
            It is larger than the setting for instances.
        """
        if self.source.intake_profile and self.origin != _DECIDED:  # what waited for a decision was de-identified
            try:
                chunks = [self._deidentified(chunks, inspect)]
            except Withheld as why:
                self._withheld.append(Outcome(name, "set_aside", why.code, str(why)))
                return
            inspect = place = None
        item = self.group.create()
        try:
            self._add(name, item, chunks, inspect, place, fingerprint)
        except BaseException:
            item.discard()
            raise

    def _deidentified(self, chunks: Iterable[Buffer], inspect: Callable[[Header], None] | None) -> bytes:
        """What may be stored of an instance of a source that de-identifies."""
        self._intake = self._intake or intake_of(self.archive)
        limit = self.archive.settings.max_instance_bytes
        return self._intake(self.source, gathered(chunks, limit), inspect)

    def add_file(self, name: str, path: str, *, place: Place | None = None, fingerprint: UUID | None = None) -> None:
        """Take a copy of a file as one instance; errors as for ``add``, and those of the operating system."""
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            self.add(name, self._read(descriptor), place=place, fingerprint=fingerprint)
        finally:
            os.close(descriptor)

    def _add(
        self,
        name: str,
        item: BlobItem,
        chunks: Iterable[Buffer],
        inspect: Callable[[Header], None] | None,
        place: Place | None,
        fingerprint: UUID | None,
    ) -> None:
        taken = Taken(self.archive.settings.max_instance_bytes)
        taken.take(chunks, self._into(item))
        try:
            header = taken.header(item.reader)
            if inspect:
                inspect(header)
            known = self._identify(header, taken.digest, place)
            frames, offsets = examine(header, taken.size, item.reader)
            excerpt = self._excerpt(known, taken, item.reader)
        except Unreadable as error:
            key = f"{self.source.key}/set-aside/{taken.digest}"
            item.finish(key)
            self._aside.append(Aside(name, error.code, str(error), taken.size, taken.digest, key, None))
        else:
            key = object_key(self.source.key, known.identity, taken.digest)
            item.finish(key)
            self.room -= taken.size
            self._arrivals.append(
                Arrival(
                    name, known, header, taken.size, taken.digest, taken.crc32, frames, offsets, excerpt,
                    blob_key=key, fingerprint=fingerprint,
                )
            )  # fmt: skip

    def _excerpt(self, known: Known, taken: Taken, reader: Reader) -> Excerpt:
        """What is kept of its header; of each series in the batch the first file speaks for what lies above it."""
        series = known.identity.study_instance_uid, known.identity.series_instance_uid
        above = series not in self._series
        self._series.add(series)
        choice = self.archive.choice
        if not above and not choice.of(Level.INSTANCE):
            return Excerpt()
        return choice.take(taken.header(reader), taken.head, reader, above=above)

    def _into(self, item: BlobItem) -> Callable[[Buffer], None]:
        """Write an object as long as the archive has room for it."""
        limit = self.archive.settings.max_archive_bytes
        if not limit:
            return item.write

        def write(chunk: Buffer) -> None:
            if item.size + len(chunk) > self.room:
                text = f"The archive is full: it may take {limit} bytes (HILUM_MAX_ARCHIVE_BYTES)."
                raise OutOfSpace(f"{text} Delete studies or raise the limit, and send it again.")
            item.write(chunk)

        return write

    def _identify(self, header: Header, digest: str, place: Place | None) -> Known:
        if header.first("MediaStorageSOPClassUID") == DICOMDIR:
            raise NotDicom("dicomdir", "It is a DICOMDIR, the directory of a medium, not an instance.")
        return identify(header, digest, self.source.key, place if self.archive.settings.derived_studies else None)

    def index(
        self,
        name: str,
        path: str,
        *,
        place: Place | None = None,
        fingerprint: UUID | None = None,
        within: tuple[str, str] | None = None,
    ) -> None:
        """Take one instance where it lies, by its absolute path and without a copy; errors as for ``add``. ``within``
        are the study and series that it was catalogued in before, whatever it says. Raises ``Conflict`` where the
        source de-identifies what comes in."""
        self.source.refuse_as_it_is("import a copy instead of indexing files where they lie")
        taken = Taken(self.archive.settings.max_instance_bytes)
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            mtime_ns = os.fstat(descriptor).st_mtime_ns
            taken.take(self._read(descriptor))
        finally:
            os.close(descriptor)
        reader = partial(open, path, "rb")
        try:
            header = taken.header(reader)
            if within:
                known = identify_in(header, taken.digest, self.source.key, *within)
            else:
                known = self._identify(header, taken.digest, place)
            frames, offsets = examine(header, taken.size, reader)
            excerpt = self._excerpt(known, taken, reader)
        except Unreadable as error:
            self._aside.append(Aside(name, error.code, str(error), taken.size, taken.digest, None, path))
        else:
            self._arrivals.append(
                Arrival(
                    name, known, header, taken.size, taken.digest, taken.crc32, frames, offsets, excerpt,
                    path=path, path_mtime_ns=mtime_ns, fingerprint=fingerprint,
                )
            )  # fmt: skip

    def _read(self, descriptor: int) -> Iterator[Buffer]:
        """Read a file: its head to keep, then pieces in the batch's own buffer; fresh memory costs more than a copy."""
        yield os.read(descriptor, HEAD)
        if not self._buffer:
            self._buffer = bytearray(CHUNK)
        view = memoryview(self._buffer)
        while length := os.readv(descriptor, [self._buffer]):
            yield view[:length]

    def adopt(self, key: str) -> None:
        """Take one instance that is an object already, under the key that it has, which names study and series.

        Raises
        ------
        Damaged
            Its bytes are not those that its key names.
        NotDicom, Unreadable
            It cannot be catalogued.
        """
        _, study, series, name = key.split("/")
        taken = Taken(self.archive.settings.max_instance_bytes)
        taken.take(self.archive.blobs.stream(key))
        if taken.digest != name.partition(".")[0]:
            raise Damaged("The object's bytes are not those that its name tells.")
        reader = partial(self.archive.blobs.open, key)
        header = taken.header(reader)
        known = identify_in(header, taken.digest, self.source.key, study, series)
        frames, offsets = examine(header, taken.size, reader)
        excerpt = self._excerpt(known, taken, reader)
        self._arrivals.append(
            Arrival(key, known, header, taken.size, taken.digest, taken.crc32, frames, offsets, excerpt, blob_key=key)
        )

    def commit(self, also: Callable[[Transaction], None] | None = None) -> Written:
        """Make the batch durable, then catalogue it; when this returns, everything in it is acknowledged.

        Parameters
        ----------
        also
            Does something more in the same transaction.

        Returns
        -------
        Written
            An outcome for each thing that was added, and what is new in the catalogue.
        """
        self.group.prepare()  # others wait for those who hold objects
        with self.archive.database.transaction() as transaction:
            hold_objects(transaction)
            self.group.commit()
            written = self._write(transaction, self._arrivals, self._aside)
            written.outcomes.extend(self._withheld)
            if also:
                also(transaction)
        return written

    def _write(self, transaction: Transaction, arrivals: Sequence[Arrival], aside: Sequence[Aside]) -> Written:
        written = catalogue.write(
            transaction, self.source, arrivals, origin=self.origin, on_replace=self.archive.settings.on_replace,
            chosen=self.chosen, choice=self.archive.choice.name, sender=self.sender,
        )  # fmt: skip
        refused = [refused_arrival(arrival, code, reason) for arrival, code, reason in written.refused]
        write_aside(transaction, self.source, self.origin, [*aside, *refused])
        doom(transaction, self.source.id, written.unneeded)
        self._wind(transaction, written)
        written.outcomes.extend(Outcome(a.name, "set_aside", a.code, a.reason) for a in aside)
        return written

    def catalogue(self, transaction: Transaction, others: Sequence["Batch"] = ()) -> list[Outcome]:
        """Catalogue this batch, and others of the same source, origin, sender and choice of patient as if they were
        one; who calls it holds the objects, and has each group committed before the transaction is.

        Returns
        -------
        list of Outcome
            One for each thing that was added to any of them; its name tells to which.
        """
        batches = [self, *others]
        arrivals = [arrival for batch in batches for arrival in batch._arrivals]
        written = self._write(transaction, arrivals, [file for batch in batches for file in batch._aside])
        return [*written.outcomes, *(outcome for batch in batches for outcome in batch._withheld)]

    def _wind(self, transaction: Transaction, written: Written) -> None:
        """Wait for what may still come of the studies that changed; one that has all that was expected is complete."""
        changed = {each.study_instance_uid for each in written.outcomes if each.state in ("added", "replaced")}
        if changed:
            quiet = self.archive.settings.study_quiet_seconds
            for uid in wind(transaction, self.source.id, changed, quiet):
                reach(transaction, self.source.id, uid)


def known_files(
    archive: Archive, source: SourceRef, fingerprints: Sequence[UUID], *, in_place: bool
) -> dict[UUID, str]:
    """Which files were imported before, by fingerprint, with the Study Instance UID of what they hold; unless
    ``in_place``, those only of which the archive has a copy. One whose object is gone counts as unknown: it is mended
    by being imported again."""
    with archive.database.connect() as connection:
        rows = connection.execute(
            sa.select(Instance.fingerprint, Study.study_instance_uid, Instance.blob_key)
            .join(Study, Study.id == Instance.study_id)
            .where(Instance.fingerprint == sa.any_(sa.literal(list(fingerprints), sa.ARRAY(sa.Uuid))))
            .where(Instance.source_id == source.id, Instance.deleted_at.is_(None))
            .where(*([] if in_place else [Instance.path.is_(None)]))
        )
        return {
            fingerprint: uid for fingerprint, uid, key in rows if fingerprint and (not key or archive.blobs.exists(key))
        }
