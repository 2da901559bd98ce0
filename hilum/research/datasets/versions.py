"""Data sets and their versions as rows: asked for, found, listed, decided upon. A version that is published never
changes; what it holds is made by ``build``."""

from collections.abc import Sequence
from typing import Final, LiteralString, cast

import sqlalchemy as sa

from hilum.core.database import Database, Row, Transaction
from hilum.core.errors import Conflict, Gone, NotFound
from hilum.core.events import Event
from hilum.core.jobs import Jobs
from hilum.imaging.archive.models import Source
from hilum.research.datasets.definition import Definition, read_definition
from hilum.research.datasets.delete import is_in_use
from hilum.research.datasets.models import Dataset, DatasetInstance, DatasetVersion
from hilum.research.datasets.selection import source_id

KIND: Final = "dataset"
"""The job that makes a version."""
PUBLISHED: Final = "hilum.dataset.published.v1"


def add_dataset(database: Database, definition: Definition, who: str) -> int:
    """Keep a definition; its number.

    Raises
    ------
    Conflict
        There is a data set of this name with another definition.
    Invalid
        There is no such source.
    """
    with database.transaction() as sql:
        source = source_id(sql, definition.source)
        rows = sql.rows("select id from hilum.dataset where name = %s and deleted_at is null", (definition.name,))
        if rows:
            raise Conflict(f"There is a data set '{definition.name}' already, number {rows[0]['id']}.")
        values = {"source_id": source, "name": definition.name, "definition": definition.as_json(), "made_by": who}
        return sql.connection.execute(sa.insert(Dataset).values(values).returning(Dataset.id)).scalar_one()


def change_dataset(database: Database, number: int, definition: Definition) -> None:
    """Give a data set another definition, for its next versions; raises ``Conflict`` for a name that another has."""
    with database.transaction() as sql:
        find_dataset(sql.connection, str(number))
        taken = sql.rows(
            "select 1 from hilum.dataset where name = %s and id <> %s and deleted_at is null",
            (definition.name, number),
        )
        if taken:
            raise Conflict(f"Another data set is called '{definition.name}'.")
        values = {
            "name": definition.name, "definition": definition.as_json(), "updated_at": sa.func.now(),
            "source_id": source_id(sql, definition.source),
        }  # fmt: skip
        sql.connection.execute(sa.update(Dataset).where(Dataset.id == number).values(values))


def find_dataset(connection: sa.Connection, reference: str, *, named: bool = False) -> sa.RowMapping:
    """A data set by number or name, or by name alone where it is ``named``; raises ``NotFound``, or ``Gone`` for the
    number of one that was deleted."""
    by_id = reference.isdecimal() and len(reference) < 19 and not named
    query = sa.select(Dataset.__table__, Source.key.label("source")).join(Source, Source.id == Dataset.source_id)
    row = None
    if by_id:
        row = connection.execute(query.where(Dataset.id == int(reference))).mappings().first()
    there = query.where(Dataset.name == reference, Dataset.deleted_at.is_(None))
    row = row or connection.execute(there).mappings().first()
    if row is None:
        raise NotFound(f"There is no data set {reference[:80]}.")
    if row["deleted_at"] is not None:
        raise Gone(f"Data set {row['id']} was deleted on {row['deleted_at']:%Y-%m-%d} by {row['deleted_by']}.")
    return row


def list_datasets(connection: sa.Connection, *, limit: int, offset: int) -> tuple[Sequence[sa.RowMapping], int]:
    """Data sets, latest first, and how many there are."""
    there = Dataset.deleted_at.is_(None)
    total = connection.scalar(sa.select(sa.func.count()).select_from(Dataset).where(there)) or 0
    query = sa.select(Dataset.__table__, Source.key.label("source")).join(Source, Source.id == Dataset.source_id)
    query = query.where(there)
    return connection.execute(query.order_by(Dataset.id.desc()).limit(limit).offset(offset)).mappings().all(), total


def list_versions(
    connection: sa.Connection, dataset_id: int, *, limit: int, offset: int
) -> tuple[Sequence[sa.RowMapping], int]:
    """The versions of a data set, latest first, and how many there are."""
    whose = DatasetVersion.dataset_id == dataset_id
    total = connection.scalar(sa.select(sa.func.count()).select_from(DatasetVersion).where(whose)) or 0
    query = sa.select(DatasetVersion.__table__).where(whose).order_by(DatasetVersion.number.desc())
    return connection.execute(query.limit(limit).offset(offset)).mappings().all(), total


def find_version(connection: sa.Connection, dataset_id: int, number: str | int | None = None) -> sa.RowMapping:
    """A version by its number; None and ``latest`` stand for the latest published one.

    Raises
    ------
    NotFound
        There is none.
    """
    query = sa.select(DatasetVersion.__table__).where(DatasetVersion.dataset_id == dataset_id)
    if number is None or number == "latest":
        query = query.where(DatasetVersion.state == "published").order_by(DatasetVersion.number.desc()).limit(1)
    elif str(number).isdecimal() and len(str(number)) < 9:
        query = query.where(DatasetVersion.number == int(number))
    else:
        raise NotFound(f"There is no version {str(number)[:20]}.")
    row = connection.execute(query).mappings().first()
    if row is None:
        raise NotFound("There is no such version, or none is published yet.")
    return row


def held_back(connection: sa.Connection, version: sa.RowMapping) -> list[dict[str, object]]:
    """What does not leave with a version: ``code``, ``reason``, and how many ``studies`` or ``instances``."""
    reason, count = sa.func.min(DatasetInstance.reason), sa.func.count()
    counted = (
        sa.select(DatasetInstance.code, reason.label("reason"), count.label("instances"))
        .where(DatasetInstance.version_id == version["id"], DatasetInstance.state == "held")
        .group_by(DatasetInstance.code)
        .order_by(count.desc(), DatasetInstance.code)
    )
    found: list[dict[str, object]] = list(version["held"].get("reasons", []))
    return found + [dict(row) for row in connection.execute(counted).mappings()]


def version_by_id(connection: sa.Connection, version_id: int) -> sa.RowMapping:
    """A version by Hilum's id; raises ``NotFound``."""
    query = sa.select(DatasetVersion.__table__).where(DatasetVersion.id == version_id)
    row = connection.execute(query).mappings().first()
    if row is None:
        raise NotFound(f"There is no version of id {version_id}.")
    return row


def add_version(sql: Transaction, dataset: sa.RowMapping, who: str, *, review: bool = False) -> int:
    """Begin a version of a data set as its definition is now; gives Hilum's id of it."""
    sql.rows("select id from hilum.dataset where id = %s for update", (dataset["id"],))
    (row,) = sql.rows(_ADD, {"dataset": dataset["id"], "who": who, "review": review})
    return cast("int", row["id"])


def take_up_version(sql: Transaction, dataset: sa.RowMapping, who: str) -> int:
    """Give the version of a data set that was begun last, if it is unfinished and of the definition as it is now; else
    begin one.

    Raises
    ------
    Conflict
        A process is making it.
    """
    rows = sql.rows(_LATEST, (dataset["id"],))
    if not rows or rows[0]["state"] != "building" or rows[0]["definition"] != dataset["definition"]:
        return add_version(sql, dataset, who)
    version = cast("int", rows[0]["id"])
    if is_in_use(sql, version):
        raise Conflict(
            f"Version {rows[0]['number']} of data set {dataset['id']} is being made: wait until it is ready."
        )
    return version


def ask_for_version(database: Database, jobs: Jobs, dataset: sa.RowMapping, who: str, *, review: bool) -> int:
    """Begin a version and queue the job that makes it; gives the job's id."""
    with database.transaction() as sql:
        version = add_version(sql, dataset, who, review=review)
        title = f"Making a version of data set {dataset['id']}"
        job = jobs.defer(sql, KIND, title, str(dataset["source"]), version=version)
        sql.rows("update hilum.dataset_version set job_id = %s where id = %s", (job, version))
    return job


def definition_of(version: sa.RowMapping) -> Definition:
    """The definition that a version was asked for with."""
    return read_definition(version["definition"])


def check_there(version: sa.RowMapping) -> None:
    """Raise ``Conflict`` for a version that is still being made, ``Gone`` for one that was deleted."""
    if version["state"] == "building":
        raise Conflict("The version is still being made; its job tells how far it is.")
    if version["state"] == "deleted":
        said = f"{version['deleted_at']:%Y-%m-%d} by {version['deleted_by']}"
        raise Gone(f"Version {version['number']} of data set {version['dataset_id']} was deleted on {said}.")


def check_given_out(version: sa.RowMapping) -> None:
    """Raise as `check_there`, and ``Conflict`` for a version that is not published."""
    check_there(version)
    if version["state"] != "published":
        said = f"Version {version['number']} of data set {version['dataset_id']} is {version['state']}"
        raise Conflict(f"{said}: only what is published is given out.")


def publish(sql: Transaction, version_id: int, who: str, note: str = "") -> None:
    """Publish a draft and tell of it; one that is published already stays as it is.

    Raises
    ------
    Conflict
        It is no draft, or its checks failed.
    """
    row = _decided(sql, version_id)
    if row["state"] == "published":
        return
    if row["state"] != "draft":
        raise Conflict(f"The version is {row['state']}: only a draft can be published.")
    if not cast("dict[str, object]", row["report"]).get("passed"):
        raise Conflict("The checks of this version failed, so it cannot be published: its report tells which.")
    sql.rows(
        "update hilum.dataset_version set state = 'published', published_at = now(), decided_by = %s, note = %s "
        "where id = %s",
        (who, note, version_id),
    )
    data = {
        "dataset_id": row["dataset_id"], "version": row["number"], "digest": row["digest"], "counts": row["counts"],
        "size": row["size"],
    }  # fmt: skip
    sql.emit(Event(PUBLISHED, str(row["source"]), f"datasets/{row['dataset_id']}/versions/{row['number']}", data))


def reject(sql: Transaction, version_id: int, who: str, note: str = "") -> None:
    """Decide that a draft is not published; raises ``Conflict`` where it is no draft."""
    row = _decided(sql, version_id)
    if row["state"] == "rejected":
        return
    if row["state"] != "draft":
        raise Conflict(f"The version is {row['state']}: only a draft can be rejected.")
    sql.rows(
        "update hilum.dataset_version set state = 'rejected', decided_by = %s, note = %s where id = %s",
        (who, note, version_id),
    )


def _decided(sql: Transaction, version_id: int) -> Row:
    rows = sql.rows(_FOR_DECISION, (version_id,))
    if not rows:
        raise NotFound("There is no such version.")
    return rows[0]


_ADD: Final[LiteralString] = """
  insert into hilum.dataset_version (dataset_id, number, definition, made_by, review)
  select d.id, 1 + coalesce((select max(v.number) from hilum.dataset_version v where v.dataset_id = d.id), 0),
    d.definition, %(who)s, %(review)s
  from hilum.dataset d where d.id = %(dataset)s
  returning id
"""
_LATEST: Final[LiteralString] = """
  select id, number, state, definition from hilum.dataset_version where dataset_id = %s order by number desc limit 1
"""
_FOR_DECISION: Final[LiteralString] = """
  select v.*, k.key as source from hilum.dataset_version v join hilum.dataset d on d.id = v.dataset_id
  join hilum.source k on k.id = d.source_id where v.id = %s for update of v
"""
