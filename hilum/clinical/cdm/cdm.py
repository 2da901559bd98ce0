"""The OMOP CDM of a source: in which schemas it is, whether it is Hilum's own or attached, and SQL that names them.
What is in the tables is for the rooms that read and write them."""

import re
from dataclasses import dataclass
from typing import Final, LiteralString, cast

from psycopg import sql as pg

from hilum.core.database import Row, Transaction
from hilum.core.errors import Conflict, Invalid, NotFound
from hilum.imaging.studies import steps

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_$-]{0,62}")
_RESERVED: Final = ("hilum", "public", "information_schema")
_LOCK: Final = 4_845_114
LINKED: Final = "linkage"
FEATURES: Final = "features"
STEPS: Final = (LINKED, FEATURES)
"""What is done with each revision of a study of a source with a CDM before the study is processed."""
_COLUMNS: Final[LiteralString] = "id, key, cdm_schema, vocabulary_schema, imaging_schema, results_schema, cdm_attached"


@dataclass(frozen=True, slots=True)
class Schemas:
    """Where the parts of a CDM are: clinical tables, vocabulary, image tables, cohorts and union views."""

    cdm: str
    vocabulary: str
    imaging: str
    results: str

    def __post_init__(self) -> None:
        for name in (self.cdm, self.vocabulary, self.imaging, self.results):
            if not _NAME.fullmatch(name) or name.startswith("pg_") or name in _RESERVED:
                raise Invalid(f"'{name[:80]}' cannot be a schema of a CDM: letters, digits, _ and -, at most 63.")
        if len({self.cdm, self.imaging, self.results}) < 3 or self.vocabulary in (self.imaging, self.results):
            raise Invalid("The schemas of CDM, imaging and results must differ, for tables of one name are in each.")


@dataclass(frozen=True, slots=True)
class Cdm:
    """The CDM of a source.

    Attributes
    ----------
    source_id, source
        Whose it is: number and key.
    schemas
        Where its parts are.
    attached
        Whether it is another's: then only imaging and results are written.
    """

    source_id: int
    source: str
    schemas: Schemas
    attached: bool

    def sql(self, statement: LiteralString) -> LiteralString:
        """A statement for this CDM.

        Its schemas stand for ``{cdm}``, ``{vocabulary}``, ``{imaging}`` and ``{results}``; ``{write}`` is where rows of
        clinical tables are added (``cdm``, or ``imaging`` of an attached one), and ``{read}`` where they are all seen
        (``cdm``, or the union views in ``results``).
        """
        names = {
            "cdm": self.schemas.cdm,
            "vocabulary": self.schemas.vocabulary,
            "imaging": self.schemas.imaging,
            "results": self.schemas.results,
            "write": self.schemas.imaging if self.attached else self.schemas.cdm,
            "read": self.schemas.results if self.attached else self.schemas.cdm,
        }
        text: str = statement
        for word, name in names.items():
            text = text.replace("{" + word + "}", pg.Identifier(name).as_string())
        return cast("LiteralString", text)


def find_cdm(sql: Transaction, source: str) -> Cdm | None:
    """The CDM of a source, by the source's key; None where it has none.

    Raises
    ------
    NotFound
        There is no such source.
    """
    rows = sql.rows(f"select {_COLUMNS} from hilum.source where key = %s", (source,))
    if not rows:
        raise NotFound(f"There is no source '{source}'.")
    return _cdm(rows[0])


def require_cdm(sql: Transaction, source: str) -> Cdm:
    """The CDM of a source; raises ``Conflict`` where it has none, and ``NotFound`` where there is no such source."""
    cdm = find_cdm(sql, source)
    if cdm is None:
        raise Conflict(f"Source '{source}' has no CDM: run hilum cdm create, or hilum cdm attach.")
    return cdm


def keep_cdm(sql: Transaction, cdm: Cdm) -> None:
    """Note where the CDM of a source is, and that its studies are processed once they are linked and read for
    features."""
    names = cdm.schemas
    sql.rows(
        "update hilum.source set cdm_schema = %s, vocabulary_schema = %s, imaging_schema = %s, results_schema = %s, "
        "cdm_attached = %s, recorded = false where id = %s",
        (names.cdm, names.vocabulary, names.imaging, names.results, cdm.attached, cdm.source_id),
    )
    steps.need(sql, cdm.source_id, STEPS)


def free_source(sql: Transaction, source: str) -> int:
    """Lock a source that is to be given a CDM, and give its number.

    Raises
    ------
    Conflict
        It has one.
    NotFound
        There is no such source.
    """
    rows = sql.rows(f"select {_COLUMNS} from hilum.source where key = %s for update", (source,))
    if not rows:
        raise NotFound(f"There is no source '{source}': add it with hilum source add.")
    if rows[0]["cdm_schema"]:
        raise Conflict(f"Source '{source}' has a CDM already, in schema {rows[0]['cdm_schema']}.")
    return cast("int", rows[0]["id"])


def lock_source(sql: Transaction, source_id: int) -> None:
    """Let nobody else change what Hilum has in the CDM of a source until this transaction ends; taken before any row is
    locked."""
    sql.rows("select pg_advisory_xact_lock(%s, %s)", (_LOCK, source_id))


def has_table(sql: Transaction, schema: str, table: str) -> bool:
    """Whether a schema has a table or view of this name."""
    rows = sql.rows(
        "select 1 from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = %s "
        "and c.relname = %s and c.relkind in ('r', 'p', 'v', 'm', 'f')",
        (schema, table),
    )
    return bool(rows)


def _cdm(row: Row) -> Cdm | None:
    if not row["cdm_schema"]:
        return None
    names = (str(row[name]) for name in ("cdm_schema", "vocabulary_schema", "imaging_schema", "results_schema"))
    return Cdm(cast("int", row["id"]), str(row["key"]), Schemas(*names), bool(row["cdm_attached"]))
