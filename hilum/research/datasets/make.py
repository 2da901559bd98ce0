"""The instances of a version are made: what is planned is given to processes (``work``), batch by batch, and what they
say is noted. What may not leave is held back with its reason. A batch is durable before it is noted, so that a version
that was interrupted goes on behind it; over how many processes it is spread makes no difference."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import Final, LiteralString, cast

import msgspec
import structlog

from hilum.core.database import Database, Row
from hilum.core.progress import Progress
from hilum.imaging.archive.store import Archive
from hilum.research.datasets.decisions import Decided, frozen
from hilum.research.datasets.faces import Volume, original, volume_of
from hilum.research.datasets.people import SetPerson
from hilum.research.datasets.work import Order, Outcome, Setup, Worker
from hilum.research.deid.keys import Keys
from hilum.research.deid.profile import Profile
from hilum.research.deid.seal import Seal
from hilum.research.deid.team import Team, processors

_PAGE: Final = 1000
_AT_ONCE: Final = 16
_MOST_BYTES: Final = 128 << 20

log = structlog.get_logger()


def make_instances(archive: Archive, version_id: int, setup: Setup, progress: Progress) -> None:
    """Make every instance of a version that is still planned.

    Parameters
    ----------
    archive
        Where they are noted.
    version_id
        Hilum's id of the version.
    setup
        How they are made; its settings say in how many processes.
    progress
        Told of each batch.

    Raises
    ------
    Unavailable
        The objects cannot be reached, or a process was ended from outside; the same again goes on.
    """
    database = archive.database
    left = _left(database, version_id)
    progress.expect(left)
    count = min(setup.settings.deid_workers or processors(), -(-left // _AT_ONCE))
    if not count:
        return
    with Team(count, Worker, setup) as team:
        for outcomes in team.spread(Worker.carry_out, _batches(database, version_id, setup)):
            _note(database, outcomes)
            for one in outcomes:
                _tell(progress, one)
            progress.step(len(outcomes))


def _tell(progress: Progress, one: Outcome) -> None:
    if not one.code:
        progress.count("instances")
        return
    progress.leave_out(one.code, one.reason, one.sop)
    if one.code == "error":
        log.warning("datasets.instance.failed", instance=one.sop, reason=one.reason)


def _left(database: Database, version_id: int) -> int:
    with database.transaction() as sql:
        (row,) = sql.rows(
            "select count(*) as n from hilum.dataset_instance where version_id = %s and state = 'planned'",
            (version_id,),
        )
    return cast("int", row["n"])


def _batches(database: Database, version_id: int, setup: Setup) -> Iterator[list[Order]]:
    """What is planned, in its order, some files and not too many bytes at a time; whole series where faces are taken
    off."""
    for volume, rows in groupby(_planned(database, version_id), partial(_volume_of, setup.profile)):
        of_series: Volume | None = None
        for batch in _cut(rows, whole=volume is not None):
            people = people_of(database, version_id, setup.keys, {str(row["person"]) for row in batch})
            if volume is not None:
                of_series = volume_of(database, version_id, batch[0])
            yield [_order(row, people, of_series) for row in batch]


def _volume_of(profile: Profile, row: Row) -> tuple[object, ...] | None:
    """The series whose volume an instance is looked at in; None where that is not wanted."""
    return (row["person"], row["study"], row["series"]) if profile.faces == "remove" else None


def _planned(database: Database, version_id: int) -> Iterator[Row]:
    after: tuple[object, ...] = ("", "", "", -1, "", -1)
    while True:
        with database.transaction() as sql:
            rows = sql.rows(_PLANNED, (version_id, *after, _PAGE))
        yield from rows
        if len(rows) < _PAGE:
            return
        after = tuple(rows[-1][name] for name in ("person", "study", "series", "number", "sop", "id"))


def order_of(database: Database, version_id: int, setup: Setup, instance: int, decided: Decided | None) -> Order:
    """The order to make one instance of a version (by Hilum's number of it) once more, by another decision."""
    with database.transaction() as sql:
        (row,) = sql.rows(f"{_ORDERED} where d.id = %s", (instance,))
    people = people_of(database, version_id, setup.keys, {str(row["person"])})
    volume = volume_of(database, version_id, row) if _volume_of(setup.profile, row) else None
    order = _order(row, people, volume)
    return replace(order, decision=decided.for_pixels() if decided else None, check_validity=False)


def _cut(rows: Iterable[Row], *, whole: bool) -> Iterator[list[Row]]:
    batch: list[Row] = []
    size = 0
    for row in rows:
        size += cast("int", row["size"] or 0)
        if batch and not whole and (len(batch) >= _AT_ONCE or size > _MOST_BYTES):
            yield batch
            batch, size = [], cast("int", row["size"] or 0)
        batch.append(row)
    if batch:
        yield batch


def _order(row: Row, people: Mapping[str, SetPerson], volume: Volume | None) -> Order:
    decided = frozen(row["decision"])
    return Order(
        cast("int", row["id"]), str(row["sop"]), people[str(row["person"])].person, str(row["accession"]),
        original(row), bool(row["first"]), decided.for_pixels() if decided else None, volume,
    )  # fmt: skip


def _note(database: Database, outcomes: Sequence[Outcome]) -> None:
    made = [
        {"id": one.id, "digest": one.digest, "size": one.size, "crc32": one.crc32, "blob_key": one.blob_key,
         "datetime": one.datetime, "facts": one.facts, "sealed": f"\\x{one.sealed.hex()}", "validated": one.validated,
         "pixels": one.pixels, "boxes": one.boxes}
        for one in outcomes if not one.code
    ]  # fmt: skip
    held = [
        {"id": one.id, "code": one.code, "reason": one.reason, "pixels": one.pixels, "boxes": one.boxes}
        for one in outcomes if one.code
    ]  # fmt: skip
    with database.transaction() as sql:
        sql.rows(_DONE, (msgspec.json.encode(made).decode(),))
        sql.rows(_HELD, (msgspec.json.encode(held).decode(),))


def people_of(
    database: Database, version_id: int, keys: Keys, names: set[str] | None = None
) -> Mapping[str, SetPerson]:
    """The people of a version, or those of them that are named, by their new ids."""
    seal = Seal(keys)
    with database.transaction() as sql:
        rows = sql.rows(_PEOPLE, {"version": version_id, "names": None if names is None else list(names)})
    return {
        str(row["person"]): SetPerson.opened(
            str(row["person"]), cast("int | None", row["person_id"]), seal.open(cast("bytes", row["sealed"]))
        )
        for row in rows
    }


_PEOPLE: Final[LiteralString] = """
  select * from hilum.dataset_person
  where version_id = %(version)s and (%(names)s::text[] is null or person = any(%(names)s)) order by person
"""
_ORDERED: Final[LiteralString] = """
  select d.id, d.sop, d.person, d.study, d.series, d.number, d.accession, i.size, i.blob_key, i.path, i.path_mtime_ns,
    d.decision, coalesce(i.digest = d.original, false) as same,
    not exists (
      select from hilum.dataset_instance e
      where e.version_id = d.version_id and e.person = d.person and e.study = d.study and e.series = d.series
        and (e.number, e.sop, e.id) < (d.number, d.sop, d.id)) as first
  from hilum.dataset_instance d left join hilum.instance i on i.id = d.instance_id
"""
_PLANNED: Final[LiteralString] = f"""
  {_ORDERED} where d.version_id = %s and d.state = 'planned'
    and (d.person, d.study, d.series, d.number, d.sop, d.id) > (%s, %s, %s, %s, %s, %s)
  order by d.person, d.study, d.series, d.number, d.sop, d.id limit %s
"""
_DONE: Final[LiteralString] = """
  update hilum.dataset_instance d set state = 'done', code = '', reason = '', digest = n.digest, size = n.size,
    crc32 = n.crc32, blob_key = n.blob_key, datetime = n.datetime, facts = n.facts, sealed = n.sealed,
    validated = n.validated, pixels = n.pixels, boxes = n.boxes
  from json_populate_recordset(null::hilum.dataset_instance, %s) n where d.id = n.id and d.state = 'planned'
"""
_HELD: Final[LiteralString] = """
  update hilum.dataset_instance d set state = 'held', code = n.code, reason = n.reason, pixels = n.pixels,
    boxes = n.boxes
  from json_populate_recordset(null::hilum.dataset_instance, %s) n where d.id = n.id and d.state = 'planned'
"""
