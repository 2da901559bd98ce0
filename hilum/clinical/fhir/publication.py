"""What became of publication, for people: which studies wait, and why, and whether the server answers; and to have the
waiting ones, or all, sent now."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, LiteralString, cast

import sqlalchemy as sa

from hilum.clinical.fhir.publish import SPEAKS
from hilum.core.database import Database


@dataclass(frozen=True, slots=True)
class Waiting:
    """A study of which the server does not have the newest version, or that it has from another source."""

    id: int
    study_instance_uid: str
    source: str
    version: int
    published_version: int
    attempts: int
    next_at: datetime
    problem: str


@dataclass(frozen=True, slots=True)
class Publication:
    """How publication stands.

    Attributes
    ----------
    published : int
        Studies of which the server has the newest version.
    failures : int
        How often in a row the server itself failed; ``problem`` says how, ``next_at`` when it is asked again.
    total : int
        How many studies wait; ``items`` are some of them, those that are due first at the beginning.
    """

    published: int
    failures: int
    problem: str
    next_at: datetime
    total: int
    items: list[Waiting]


def publication(database: Database, *, limit: int, offset: int) -> Publication:
    """Tell how publication stands, with a page of the studies that wait."""
    with database.connect() as connection:
        state = connection.exec_driver_sql("select failures, problem, next_at from hilum.fhir_state").one()
        counts = "select count(*) filter (where published_version = version), count(*) from hilum.fhir_imaging_study h"
        published, total = connection.exec_driver_sql(
            f"{counts} where not deleted and (offered or status <> 'cancelled')"
        ).one()
        rows = connection.exec_driver_sql(_WAITING, {"limit": limit, "offset": offset}).mappings()
        items = [_waiting(row) for row in rows]
    return Publication(published, state.failures, state.problem, state.next_at, total - published, items)


def publish_now(database: Database, *, everything: bool) -> int:
    """Have what waits sent now, or everything again, and the server asked at once; gives how many studies that is."""
    with database.transaction() as sql:
        sql.rows("update hilum.fhir_state set next_at = now()")
        return len(sql.rows(_AGAIN, {"everything": everything}))


def _waiting(row: sa.RowMapping) -> Waiting:
    problem = cast("str", row["problem"])
    if not row["speaks"]:
        problem = "The same study is published from another source."
    return Waiting(**{name: row[name] for name in _COLUMNS}, problem=problem)


_COLUMNS: Final = ("id", "study_instance_uid", "source", "version", "published_version", "attempts", "next_at")
_WAITING: Final[LiteralString] = f"""
  select h.*, s.key as source, {SPEAKS} as speaks from hilum.fhir_imaging_study h
  join hilum.source s on s.id = h.source_id
  where h.published_version < h.version and not h.deleted and (h.offered or h.status <> 'cancelled')
  order by h.next_at, h.id limit %(limit)s offset %(offset)s
"""
_AGAIN: Final[LiteralString] = """
  update hilum.fhir_imaging_study set next_at = now(),
    published_version = case when %(everything)s then 0 else published_version end
  where not deleted and (offered or status <> 'cancelled') and (%(everything)s or published_version < version)
  returning id
"""
