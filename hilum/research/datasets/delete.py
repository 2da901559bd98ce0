"""Versions and data sets are deleted. The row of a version stays, with who deleted it and when, so that its number
is never given again; what it held goes, and objects that nothing refers to any more are removed, with the pictures that
were made of them. What is being made or written out is left alone."""

from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Final, LiteralString, cast

from hilum.core.blobs import Blobs
from hilum.core.database import Database, Transaction
from hilum.core.errors import Conflict, Gone, NotFound
from hilum.imaging.archive.thumbnails import thumbnails_of
from hilum.research.datasets.objects import AREA

_LOCK: Final = 4_845_121
_ANY: Final = 0
_PAGE: Final = 1000


@contextmanager
def in_use(database: Database, version_id: int) -> Generator[None]:
    """Keep a version, and objects that no row refers to yet, from being deleted for as long as the block runs; the
    server forgets it with the process.

    Raises
    ------
    Unavailable
        The database cannot be reached.
    """
    with database.connect() as connection:
        keys = {"lock": _LOCK, "any": _ANY, "version": version_id}
        connection.exec_driver_sql(_HOLD, keys)
        try:
            yield
        finally:
            connection.exec_driver_sql(_RELEASE, keys)


def is_in_use(sql: Transaction, version_id: int) -> bool:
    """Whether a version is being made or written out; if not, it is not before the transaction ends."""
    (row,) = sql.rows("select pg_try_advisory_xact_lock(%s, %s) as free", (_LOCK, version_id))
    return not row["free"]


def delete_version(database: Database, blobs: Blobs, dataset_id: int, number: int, who: str) -> None:
    """Delete a version; one that is deleted already stays as it is.

    Raises
    ------
    NotFound
        There is none.
    Conflict
        It is being made or written out, or waits to be made.
    """
    with database.transaction() as sql:
        rows = sql.rows(_VERSIONS, {"dataset": dataset_id, "number": number})
        if not rows:
            raise NotFound(f"There is no version {number} of data set {dataset_id}.")
        _delete(sql, cast("int", rows[0]["id"]), rows[0], who)
    tidy(database, blobs)


def delete_dataset(database: Database, blobs: Blobs, dataset_id: int, who: str) -> None:
    """Delete a data set with all of its versions; its name may be given to another one then.

    Raises
    ------
    Gone
        It is deleted already.
    Conflict
        A version of it is being made or written out, or waits to be made; nothing is deleted then.
    """
    with database.transaction() as sql:
        deleted = sql.rows(_DATASET, (who, dataset_id))
        if not deleted:
            raise Gone(f"Data set {dataset_id} is deleted already.")
        for row in sql.rows(_VERSIONS, {"dataset": dataset_id, "number": None}):
            _delete(sql, cast("int", row["id"]), row, who)
        sql.rows("delete from hilum.dataset_decision where dataset_id = %s", (dataset_id,))
    tidy(database, blobs)


def _delete(sql: Transaction, version_id: int, row: dict[str, object], who: str) -> None:
    if row["state"] == "deleted":
        return
    if row["job_state"] in ("queued", "running") and row["state"] == "building":
        raise Conflict(f"Version {row['number']} is made by job {row['job_id']}: wait for it, or cancel it first.")
    if is_in_use(sql, version_id):
        raise Conflict(f"Version {row['number']} is being made or written out: wait until that has ended.")
    sql.rows(_LITTER, {"version": version_id})
    sql.rows("delete from hilum.dataset_file where version_id = %s", (version_id,))
    sql.rows("delete from hilum.dataset_instance where version_id = %s", (version_id,))
    sql.rows("delete from hilum.dataset_study where version_id = %s", (version_id,))
    sql.rows("delete from hilum.dataset_person where version_id = %s", (version_id,))
    sql.rows(_TOMBSTONE, {"version": version_id, "who": who})


def litter(database: Database, keys: Iterable[str]) -> None:
    """Note objects that may be needed no more; `tidy` removes those that no version has."""
    with database.transaction() as sql:
        sql.rows(
            "insert into hilum.dataset_litter select distinct unnest(%s::text[]) on conflict do nothing", (list(keys),)
        )


def tidy(database: Database, blobs: Blobs) -> None:
    """Remove noted objects that no version has, and the pictures that were made of them; not while any is made or
    written out, for that may be about to refer to them. It may run at any time and any number of times."""
    with database.transaction() as sql:
        if is_in_use(sql, _ANY):
            return
        sql.rows(_NEEDED)
        while rows := sql.rows(_NEXT, (_PAGE,)):
            _remove(blobs, [str(row["blob_key"]) for row in rows])


def collect(database: Database, blobs: Blobs) -> int:
    """Remove objects of data sets that no row names and give how many there were: what a batch had written that was
    killed before it was noted.

    It leaves off while any version is made or written out. It may run any number of times, but only beside a database
    that knows of every version: beside one that was restored or made anew, what it does not know would be lost.
    """
    removed = 0
    for number in range(256):
        with database.transaction() as sql:
            if is_in_use(sql, _ANY):
                return removed
            listed = (key for key, _ in blobs.list(f"{AREA}/{number:02x}"))
            while keys := list(islice(listed, _PAGE)):
                removed += _remove(blobs, [str(row["key"]) for row in sql.rows(_UNNAMED, (keys,))])
    return removed


def _remove(blobs: Blobs, keys: Sequence[str]) -> int:
    """Remove objects with the pictures that were made of them; gives how many objects there were."""
    if not keys:
        return 0
    pictures = thumbnails_of(blobs, [key.rpartition("/")[2] for key in keys])
    while some := list(islice(pictures, _PAGE)):
        blobs.delete(some)
    return blobs.delete(keys)


_HOLD: Final[LiteralString] = """
  select pg_advisory_lock_shared(%(lock)s, %(any)s), pg_advisory_lock_shared(%(lock)s, %(version)s)
"""
_RELEASE: Final[LiteralString] = """
  select pg_advisory_unlock_shared(%(lock)s, %(version)s), pg_advisory_unlock_shared(%(lock)s, %(any)s)
"""
_VERSIONS: Final[LiteralString] = """
  select v.id, v.number, v.state, v.job_id, j.state as job_state
  from hilum.dataset_version v left join hilum.job j on j.id = v.job_id
  where v.dataset_id = %(dataset)s and (%(number)s::int is null or v.number = %(number)s) order by v.id for update of v
"""
_DATASET: Final[LiteralString] = """
  update hilum.dataset set deleted_at = now(), deleted_by = %s where id = %s and deleted_at is null returning id
"""
_LITTER: Final[LiteralString] = """
  insert into hilum.dataset_litter
  select blob_key from hilum.dataset_file where version_id = %(version)s
  union select blob_key from hilum.dataset_instance where version_id = %(version)s and blob_key <> ''
  on conflict do nothing
"""
_TOMBSTONE: Final[LiteralString] = """
  update hilum.dataset_version set state = 'deleted', deleted_at = now(), deleted_by = %(who)s, held = '{}',
    report = '{}' where id = %(version)s
"""
_NEEDED: Final[LiteralString] = """
  delete from hilum.dataset_litter l
  where exists (select from hilum.dataset_file f where f.blob_key = l.blob_key)
    or exists (select from hilum.dataset_instance i where i.blob_key = l.blob_key)
"""
_NEXT: Final[LiteralString] = """
  delete from hilum.dataset_litter where blob_key in (select blob_key from hilum.dataset_litter limit %s)
  returning blob_key
"""
_UNNAMED: Final[LiteralString] = """
  select key from unnest(%s::text[]) key
  where not exists (select from hilum.dataset_file where blob_key = key)
    and not exists (select from hilum.dataset_instance where blob_key = key)
    and not exists (select from hilum.dataset_litter where blob_key = key)
"""
