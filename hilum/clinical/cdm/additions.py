"""Concepts beside Athena's, in the vocabulary of a CDM of Hilum's own: a site's local codes, or the attributes of
DICOM, which Athena does not have. A file is known by its columns and added whole or not at all; added again, it changes
what is not the same, and what came from elsewhere stays."""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, LiteralString

import psycopg
from psycopg import sql as pg

from hilum.clinical.cdm.attach import columns_of
from hilum.clinical.cdm.cdm import Cdm, require_cdm
from hilum.core.database import Database, Transaction
from hilum.core.errors import Conflict, Invalid

_CHUNK: Final = 1 << 20
_MAX_HEADER: Final = 64 << 10
# By what a file is known, and what it may leave out.
_KNOWN_BY: Final[Mapping[str, frozenset[str]]] = {
    "concept": frozenset(("concept_id", "concept_name", "concept_code")),
    "concept_relationship": frozenset(("concept_id_1", "concept_id_2", "relationship_id")),
}
_DATES: Final = {"valid_start_date": "1970-01-01", "valid_end_date": "2099-12-31"}


@dataclass(frozen=True, slots=True)
class _Header:
    table: str
    columns: Sequence[str]
    delimiter: str


def add_vocabulary(
    database: Database, source: str, paths: Sequence[Path], step: Callable[[int, int | None, str | None], None]
) -> dict[str, int]:
    """Add concepts and relationships to the vocabulary of a source's CDM.

    Parameters
    ----------
    database
        Where.
    source
        Key of the source.
    paths
        Files with a header, in UTF-8: of commas with quotes, or of tabs as Athena writes them. Columns are those of
        CONCEPT or CONCEPT_RELATIONSHIP (OMOP CDM 5.4); the dates of validity may be left out.
    step
        Told how many bytes are added, how many there are, and which file is at hand.

    Returns
    -------
    dict
        How many rows were added or changed, by table.

    Raises
    ------
    Conflict
        The source has no CDM, or an attached one; or another vocabulary has an id of the file.
    Invalid
        A file is none of these; nothing of it is added then.
    """
    with database.transaction() as sql:
        cdm = require_cdm(sql, source)
    if cdm.attached:
        raise Conflict(f"The CDM of source '{source}' is attached: its vocabulary is not Hilum's to write.")
    total, done = sum(_size(path) for path in paths), 0
    counts: dict[str, int] = {}
    for path in paths:
        with path.open("rb") as file, database.transaction() as sql:
            header = _header(file, path.name)
            _stage(sql, cdm, header, file, path.name, lambda n, b=done, t=path.name: step(b + n, total, t))
            added = _add_concepts(sql, cdm, path.name) if header.table == "concept" else len(sql.rows(cdm.sql(_RELATE)))
        counts[header.table] = counts.get(header.table, 0) + added
        done += path.stat().st_size
        step(done, total, path.name)
    return counts


def _size(path: Path) -> int:
    if not path.is_file():
        raise Invalid(f"There is no file {path}.")
    return path.stat().st_size


def _header(file: BinaryIO, name: str) -> _Header:
    try:
        line = file.readline(_MAX_HEADER).decode("utf-8-sig").strip("\r\n").lower()
    except UnicodeDecodeError as error:
        raise Invalid(f"{name} has no header in UTF-8.") from error
    delimiter = "\t" if "\t" in line else ","
    columns = next(csv.reader([line], delimiter=delimiter), list[str]())
    for table, needed in _KNOWN_BY.items():
        if needed <= set(columns) and len(set(columns)) == len(columns):
            return _Header(table, columns, delimiter)
    raise Invalid(f"{name} has the columns of neither CONCEPT nor CONCEPT_RELATIONSHIP.")


def _stage(sql: Transaction, cdm: Cdm, header: _Header, file: BinaryIO, name: str, step: Callable[[int], None]) -> None:
    """Copy a file into the temporary table ``given``, which has the columns of the table that it is for."""
    known = columns_of(sql, cdm.schemas.vocabulary, header.table)
    given = {*header.columns, *_DATES}
    missing = [column for column, (_, _, needed) in known.items() if needed and column not in given]
    unknown = [column[:40] for column in header.columns if column not in known]
    if missing or unknown:
        text = f"lacks {', '.join(missing)}" if missing else f"has {', '.join(unknown)}"
        raise Invalid(f"{name} is no file of table {header.table}: its header {text}.")
    target = pg.Identifier(cdm.schemas.vocabulary, header.table)
    sql.driver.execute(pg.SQL("create temp table given on commit drop as select * from {} limit 0").format(target))
    quote: LiteralString = "E'\\b'" if header.delimiter == "\t" else "'\"'"
    copy = pg.SQL("copy given ({}) from stdin with (format csv, delimiter {}, quote " + quote + ")").format(
        pg.SQL(", ").join(map(pg.Identifier, header.columns)), pg.Literal(header.delimiter)
    )
    try:
        with sql.driver.cursor() as cursor, cursor.copy(copy) as into:
            while chunk := file.read(_CHUNK):
                into.write(chunk)
                step(file.tell())
    except psycopg.DataError as error:
        where = (error.diag.context or "").partition(",")[2].partition(":")[0].strip() or "a line"
        raise Invalid(f"{name} cannot be added: {where} is none of table {header.table}.") from error
    for column, value in _DATES.items():
        sql.driver.execute(
            pg.SQL("update given set {0} = {1} where {0} is null").format(pg.Identifier(column), pg.Literal(value))
        )


def _add_concepts(sql: Transaction, cdm: Cdm, name: str) -> int:
    (bad,) = sql.rows(_BAD)
    if bad["lines"]:
        raise Invalid(f"{name} cannot be added: {bad['lines']} lines have no id, or one that another line has.")
    (taken,) = sql.rows(cdm.sql(_TAKEN))
    if taken["ids"]:
        raise Conflict(
            f"{name} cannot be added: concepts of other vocabularies have {taken['ids']} of its ids, as "
            f"{taken['example']}. Give it ids of its own, above 2,000,000,000."
        )
    try:
        added = sql.rows(cdm.sql(_ADD))
    except psycopg.IntegrityError as error:
        lacks = error.diag.column_name or "what it needs"
        raise Invalid(f"{name} cannot be added: a concept lacks {lacks}.") from error
    for statement in (_VOCABULARIES, _DOMAINS, _CLASSES):
        sql.rows(cdm.sql(statement))
    return len(added)


_BAD: Final[LiteralString] = """
  select count(*) - count(distinct concept_id) as lines from given
"""
_TAKEN: Final[LiteralString] = """
  select count(*) as ids, min(c.concept_id) as example
  from given g join {vocabulary}.concept c on c.concept_id = g.concept_id
  where c.vocabulary_id is distinct from g.vocabulary_id
"""
_COLUMNS: Final[LiteralString] = (
    "concept_name, domain_id, vocabulary_id, concept_class_id, standard_concept, concept_code, valid_start_date, "
    "valid_end_date, invalid_reason"
)
_ADD: Final[LiteralString] = f"""
  insert into {{vocabulary}}.concept as c (concept_id, {_COLUMNS}) select concept_id, {_COLUMNS} from given
  on conflict (concept_id) do update set ({_COLUMNS}) = row (excluded.{_COLUMNS.replace(", ", ", excluded.")})
  where (c.{_COLUMNS.replace(", ", ", c.")}) is distinct from (excluded.{_COLUMNS.replace(", ", ", excluded.")})
  returning c.concept_id
"""
_VOCABULARIES: Final[LiteralString] = """
  insert into {vocabulary}.vocabulary (vocabulary_id, vocabulary_name, vocabulary_reference, vocabulary_version,
    vocabulary_concept_id)
  select distinct g.vocabulary_id, g.vocabulary_id, 'added', 'added', 0 from given g on conflict do nothing
"""
_DOMAINS: Final[LiteralString] = """
  insert into {vocabulary}.domain (domain_id, domain_name, domain_concept_id)
  select distinct g.domain_id, g.domain_id, 0 from given g on conflict do nothing
"""
_CLASSES: Final[LiteralString] = """
  insert into {vocabulary}.concept_class (concept_class_id, concept_class_name, concept_class_concept_id)
  select distinct g.concept_class_id, g.concept_class_id, 0 from given g on conflict do nothing
"""
# The table has no unique key.
_RELATE: Final[LiteralString] = """
  insert into {vocabulary}.concept_relationship (concept_id_1, concept_id_2, relationship_id, valid_start_date,
    valid_end_date, invalid_reason)
  select distinct on (g.concept_id_1, g.concept_id_2, g.relationship_id) g.concept_id_1, g.concept_id_2,
    g.relationship_id, g.valid_start_date, g.valid_end_date, g.invalid_reason
  from given g where not exists (select from {vocabulary}.concept_relationship r where r.concept_id_1 = g.concept_id_1
    and r.concept_id_2 = g.concept_id_2 and r.relationship_id = g.relationship_id)
  returning concept_id_1
"""
