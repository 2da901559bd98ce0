"""The instances of a version are made: read, de-identified, verified, kept as objects, and noted with what was done to
each attribute. What may not leave is held back with its reason. A batch is durable before it is noted, so that a
version that was interrupted goes on behind it."""

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Final, LiteralString, cast

import msgspec
import sqlalchemy as sa
import structlog
from blake3 import blake3

from hilum.core.database import Row
from hilum.core.errors import HilumError
from hilum.core.progress import Progress
from hilum.imaging.archive.models import Instance
from hilum.imaging.archive.objects import opened
from hilum.imaging.archive.store import Archive
from hilum.imaging.dicom.header import scan
from hilum.imaging.dicom.problems import NotDicom, Unreadable
from hilum.research.datasets.decisions import frozen
from hilum.research.datasets.facts import BEFORE, Value, facts_of
from hilum.research.datasets.people import SetPerson
from hilum.research.datasets.plan import new_uids
from hilum.research.deid.instance import Deidentifier, Made, Quarantined
from hilum.research.deid.keys import Keys
from hilum.research.deid.pixel_text.step import text_step
from hilum.research.deid.pixels import Decision
from hilum.research.deid.profile import Profile
from hilum.research.deid.seal import Seal
from hilum.research.deid.verify import Leak, Search, verify
from hilum.research.deid.work import MAX_FILE_BYTES, datetime_of

AREA: Final = "_datasets"
UNSURE: Final = "pixels_unsure"
"""The code of what is held back until a person has looked at its pixels."""
_AT_ONCE: Final = 32
_MOST_BYTES: Final = 256 << 20

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file that may leave."""

    data: bytes
    made: Made
    facts: dict[str, Value]
    datetime: str

    @property
    def pixels(self) -> str:
        """What a look at its pixels came to; empty where nobody looked."""
        return "blackened" if self.made.blackened else "clean" if self.made.pixels_cleaned else ""


class Maker:
    """Makes the instances of one version.

    Parameters
    ----------
    archive
        Where the originals are, and where the new files go.
    profile, keys
        How they are made.
    """

    def __init__(self, archive: Archive, profile: Profile, keys: Keys) -> None:
        self._archive: Final = archive
        self._seal: Final = Seal(keys)
        self._deidentifier: Final = Deidentifier(new_uids(profile, keys), text_step(profile))
        self._people: dict[str, SetPerson] = {}

    def make_all(self, version_id: int, progress: Progress) -> None:
        """Make every instance that is still planned."""
        left = self._count(version_id)
        progress.expect(left)
        for batch in self._batches(version_id):
            self._make(version_id, batch, progress)
            progress.step(len(batch))

    def _count(self, version_id: int) -> int:
        with self._archive.database.transaction() as sql:
            (row,) = sql.rows(
                "select count(*) as n from hilum.dataset_instance where version_id = %s and state = 'planned'",
                (version_id,),
            )
        return cast("int", row["n"])

    def _batches(self, version_id: int) -> Iterator[list[Row]]:
        """What is planned, in its order, some files and not too many bytes at a time."""
        while True:
            with self._archive.database.transaction() as sql:
                rows = sql.rows(_PLANNED, (version_id, _AT_ONCE))
            if not rows:
                return
            batch: list[Row] = []
            size = 0
            for row in rows:
                size += cast("int", row["size"] or 0)
                if batch and size > _MOST_BYTES:
                    break
                batch.append(row)
            yield batch

    def _make(self, version_id: int, batch: list[Row], progress: Progress) -> None:
        written: list[dict[str, object]] = []
        held: list[dict[str, object]] = []
        with self._archive.blobs.group() as group:
            for row in batch:
                decided = frozen(row["decision"])
                try:
                    new = self.new_file(version_id, row, decided.for_pixels() if decided else None)
                except Quarantined as why:
                    pixels = "unsure" if why.code == UNSURE else ""
                    held.append(
                        {"id": row["id"], "code": why.code, "reason": str(why), "pixels": pixels, "boxes": why.boxes}
                    )
                    progress.leave_out(why.code, str(why), str(row["sop"]))
                    continue
                digest = blake3(new.data).hexdigest()
                key = object_key(digest)
                item = group.create()
                item.write(new.data)
                item.finish(key)
                written.append(
                    {"id": row["id"], "digest": digest, "size": len(new.data), "crc32": zlib.crc32(new.data),
                     "blob_key": key, "datetime": new.datetime, "facts": new.facts, "pixels": new.pixels,
                     "boxes": new.made.blackened,
                     "sealed": f"\\x{self._seal.seal([list(one) for one in new.made.changes]).hex()}"}
                )  # fmt: skip
                progress.count("instances")
            group.commit()
        with self._archive.database.transaction() as sql:
            sql.rows(_DONE, (msgspec.json.encode(written).decode(),))
            sql.rows(_HELD, (msgspec.json.encode(held).decode(),))

    def new_file(self, version_id: int, row: Row, decision: Decision | None) -> NewFile:
        """Make one file, and verify it; nothing of it is kept.

        Parameters
        ----------
        version_id
            Of whose people it is.
        row
            The instance of the version, with its new ids.
        decision
            What a person decided on its pixels.

        Raises
        ------
        Quarantined
            It may not leave, whatever the cause.
        Unavailable
            The bytes of the original cannot be reached now.
        """
        person = self._person(version_id, str(row["person"]))
        try:
            data = self._original(row)
            made = self._deidentifier.make(BytesIO(data), person.person, str(row["accession"]), decision=decision)
            verify(made.data, Search(made.patterns, made.old_uids))
            facts = facts_of(made.data)
            if made.before:
                facts[BEFORE] = "YES"
            return NewFile(made.data, made, facts, datetime_of(scan(made.data)))
        except (NotDicom, Unreadable) as problem:
            raise Quarantined(problem.code, str(problem)) from None
        except Leak as leak:
            raise Quarantined(f"leak_{leak.code}", f"The verification found something in {leak}.") from None
        except (Quarantined, HilumError):
            raise
        except Exception as error:
            log.warning("datasets.instance.failed", instance=row["instance_id"], problem=type(error).__name__)
            raise Quarantined("error", f"The file could not be de-identified ({type(error).__name__}).") from None

    def _original(self, row: Row) -> bytes:
        found = original_row(self._archive, row)
        if found is None:
            raise Quarantined("changed", "The instance was replaced or deleted after the version was planned.")
        if found["size"] > MAX_FILE_BYTES:
            raise Quarantined("too_large", f"Files of more than {MAX_FILE_BYTES >> 30} GiB are not de-identified.")
        try:
            with opened(self._archive.blobs, found) as file:
                return file.read()
        except HilumError as error:
            if error.status == 503:  # it passes: the job is tried again
                raise
            raise Quarantined("missing", "The bytes of the original cannot be read.") from None

    def _person(self, version_id: int, name: str) -> SetPerson:
        found = self._people.get(name)
        if found is None:
            with self._archive.database.transaction() as sql:
                (row,) = sql.rows(
                    "select person_id, sealed from hilum.dataset_person where version_id = %s and person = %s",
                    (version_id, name),
                )
            said = self._seal.open(cast("bytes", row["sealed"]))
            found = SetPerson.opened(name, cast("int | None", row["person_id"]), said)
            if len(self._people) > 1000:
                self._people.clear()
            self._people[name] = found
        return found


def original_row(archive: Archive, row: Row) -> sa.RowMapping | None:
    """The instance of the archive that one of a version was planned to be made of; None where that has changed."""
    with archive.database.connect() as connection:
        query = sa.select(Instance.__table__).where(Instance.id == row["instance_id"])
        found = connection.execute(query).mappings().first()
    return found if found is not None and found["digest"] == row["original"] else None


def object_key(digest: str) -> str:
    """Where a file of a data set lies: named by its bytes, so that versions share what they have in common."""
    return f"{AREA}/{digest[:2]}/{digest}"


def people_of(archive: Archive, version_id: int, keys: Keys) -> Mapping[str, SetPerson]:
    """The people of a version, by their new ids."""
    seal = Seal(keys)
    with archive.database.transaction() as sql:
        rows = sql.rows("select * from hilum.dataset_person where version_id = %s order by person", (version_id,))
    return {
        str(row["person"]): SetPerson.opened(
            str(row["person"]), cast("int | None", row["person_id"]), seal.open(cast("bytes", row["sealed"]))
        )
        for row in rows
    }


_PLANNED: Final[LiteralString] = """
  select d.id, d.instance_id, d.sop, d.person, d.accession, d.original, d.decision, i.size
  from hilum.dataset_instance d left join hilum.instance i on i.id = d.instance_id
  where d.version_id = %s and d.state = 'planned'
  order by d.person, d.study, d.series, d.number, d.sop limit %s
"""
_DONE: Final[LiteralString] = """
  update hilum.dataset_instance d set state = 'done', code = '', reason = '', digest = n.digest, size = n.size,
    crc32 = n.crc32, blob_key = n.blob_key, datetime = n.datetime, facts = n.facts, sealed = n.sealed,
    pixels = n.pixels, boxes = n.boxes
  from json_populate_recordset(null::hilum.dataset_instance, %s) n where d.id = n.id and d.state = 'planned'
"""
_HELD: Final[LiteralString] = """
  update hilum.dataset_instance d set state = 'held', code = n.code, reason = n.reason, pixels = n.pixels,
    boxes = n.boxes
  from json_populate_recordset(null::hilum.dataset_instance, %s) n where d.id = n.id and d.state = 'planned'
"""
