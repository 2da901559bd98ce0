"""How well a source's images are tied to its CDM, and how whole their features are in it: each figure with the SQL that
counts it."""

from dataclasses import dataclass
from typing import LiteralString, cast

from hilum.clinical.cdm.cdm import Cdm, has_table, require_cdm
from hilum.clinical.cdm.concepts import Seed, missing_concepts
from hilum.clinical.cdm.image_tables import feature_names
from hilum.clinical.features import checks as features
from hilum.clinical.linkage import checks as links
from hilum.clinical.linkage.queue import waiting
from hilum.core.database import Database


@dataclass(frozen=True, slots=True)
class Check:
    """A check: what it is called, what it counts, how many there are, and the SQL that counts them. ``good`` says
    whether a number above 0 is as it should be."""

    name: str
    text: str
    count: int
    sql: str
    good: bool


@dataclass(frozen=True, slots=True)
class Status:
    """The state of a source's links: the CDM, counts and problems, what waits and why, and concepts that ship and that
    the site's vocabulary lacks."""

    cdm: Cdm
    checks: tuple[Check, ...]
    waiting: tuple[dict[str, object], ...]
    missing: tuple[Seed, ...]


def status_of(database: Database, source: str) -> Status:
    """Look how a source's images are tied to its CDM; raises ``Conflict`` where it has none."""
    with database.transaction() as sql:
        cdm = require_cdm(sql, source)
        names = feature_names(sql, cdm)
        checks: list[Check] = []
        for question in (*links.QUESTIONS, *features.QUESTIONS):
            if question.needs and not has_table(sql, cdm.schemas.cdm, question.needs):
                continue
            query = names.of(cdm.sql(question.sql.replace(":source", cast("LiteralString", str(cdm.source_id)))))
            (row,) = sql.rows(query)
            checks.append(Check(question.name, question.text, cast("int", row["count"]), query, question.good))
        return Status(cdm, tuple(checks), tuple(waiting(sql, source)), tuple(missing_concepts(sql, cdm)))
