"""Athena's files into the vocabulary of a CDM of Hilum's own: a table at a time by COPY, each whole or not at all, so
that a load that was stopped goes on with the next table. What is loaded already is known by the file it came from."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, Final, LiteralString, cast

import psycopg
from blake3 import blake3
from psycopg import sql as pg

from hilum.clinical.cdm.attach import columns_of
from hilum.clinical.cdm.cdm import Cdm, has_table, require_cdm
from hilum.clinical.cdm.concepts import missing_concepts
from hilum.clinical.cdm.seed import load_seed
from hilum.core.database import Database, Transaction
from hilum.core.errors import Conflict, Invalid

TABLES: Final = (
    "vocabulary", "domain", "concept_class", "relationship", "concept", "concept_relationship", "concept_ancestor",
    "concept_synonym", "drug_strength",
)  # fmt: skip
_NEEDED: Final = ("concept", "vocabulary")
_CHUNK: Final = 1 << 20
_MAX_HEADER: Final = 64 << 10


def load_vocabulary(
    database: Database, source: str, folder: Path, step: Callable[[int, int | None, str | None], None]
) -> dict[str, int | None]:
    """Load Athena's files.

    Parameters
    ----------
    database
        Where.
    source
        Key of the source.
    folder
        With ``CONCEPT.csv`` and the others as Athena gives them: tab-separated, with a header, in UTF-8.
    step
        Told how many bytes are loaded, how many there are, and which table is at hand.

    Returns
    -------
    dict
        Rows by table; None for one that was loaded from this very file before.

    Raises
    ------
    Conflict
        The source has no CDM, or an attached one.
    Invalid
        A file is missing or cannot be read as what it should be; the table is then as it was.
    """
    with database.transaction() as sql:
        cdm = require_cdm(sql, source)
    if cdm.attached:
        raise Conflict(f"The CDM of source '{source}' is attached: its vocabulary is not Hilum's to write.")
    files = _files(folder)
    total, done = sum(path.stat().st_size for path in files.values()), 0
    counts: dict[str, int | None] = {}
    for table, path in files.items():
        size = path.stat().st_size
        with database.transaction() as sql, path.open("rb") as file:
            mark = _mark(file, size)
            if _comment(sql, cdm, table) == mark:
                counts[table] = None
            else:
                begin = done
                counts[table] = _copy(sql, cdm, table, file, lambda n, b=begin, t=table: step(b + n, total, t))
                _set_comment(sql, cdm, table, mark)
            if table == "concept":
                load_seed(sql, cdm)
        done += size
        step(done, total, table)
    return counts


def sources_with_cdm(database: Database) -> list[str]:
    """The keys of the sources that have a CDM."""
    with database.transaction() as sql:
        return [str(row["key"]) for row in sql.rows("select key from hilum.source where cdm_schema <> '' order by key")]


def vocabulary_told(database: Database, source: str) -> str:
    """Say in a sentence which vocabulary a source's CDM has, and how many of Hilum's own concepts that lacks.

    Raises
    ------
    Conflict
        The CDM, or its vocabulary, is no longer in the database.
    """
    with database.transaction() as sql:
        cdm = require_cdm(sql, source)
        for schema, table in ((cdm.schemas.cdm, "person"), (cdm.schemas.vocabulary, "concept")):
            if not has_table(sql, schema, table):
                raise Conflict(
                    f"The CDM of source '{source}' is not in this database: {schema}.{table} is missing. Restore it."
                )
        versions = sql.rows(cdm.sql(_VERSION)) if has_table(sql, cdm.schemas.vocabulary, "vocabulary") else []
        (row,) = sql.rows(cdm.sql("select count(*) as concepts from {vocabulary}.concept"))
        lacking = len(missing_concepts(sql, cdm))
    version = str(versions[0]["version"]) if versions else "of an unknown version"
    text = f"{version}, {row['concepts']:,} concepts in {cdm.schemas.vocabulary}"
    return f"{text}; {lacking} of Hilum's are missing (hilum cdm vocabulary names them)" if lacking else text


def _files(folder: Path) -> dict[str, Path]:
    """The file of each table, whatever the case of its name."""
    if not folder.is_dir():
        raise Invalid(f"There is no folder {folder}.")
    there = {path.name.lower(): path for path in sorted(folder.iterdir()) if path.is_file()}
    found = {table: there[f"{table}.csv"] for table in TABLES if f"{table}.csv" in there}
    missing = [f"{table.upper()}.csv" for table in _NEEDED if table not in found]
    if missing:
        raise Invalid(f"{folder} is no vocabulary of Athena: it lacks {', '.join(missing)}.")
    return found


def _mark(file: BinaryIO, size: int) -> str:
    """What a file is known by again: its size, and a digest of its beginning and end."""
    digest = blake3(file.read(_CHUNK))
    file.seek(max(0, size - _CHUNK))
    digest.update(file.read(_CHUNK))
    file.seek(0)
    return f"hilum:{size}:{digest.hexdigest()[:32]}"


def _copy(sql: Transaction, cdm: Cdm, table: str, file: BinaryIO, step: Callable[[int], None]) -> int:
    name = os.path.basename(file.name)  # noqa: PTH119 - no file is looked at
    columns = _columns(sql, cdm, table, file, name)
    target = pg.Identifier(cdm.schemas.vocabulary, table)
    sql.driver.execute(pg.SQL("truncate {}").format(target))
    copy = pg.SQL("copy {} ({}) from stdin with (format csv, delimiter E'\\t', quote E'\\b')").format(
        target, pg.SQL(", ").join(map(pg.Identifier, columns))
    )
    try:
        with sql.driver.cursor() as cursor:
            with cursor.copy(copy) as into:
                while chunk := file.read(_CHUNK):
                    into.write(chunk)
                    step(file.tell())
            return cursor.rowcount
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        where = (error.diag.context or "").partition(",")[2].partition(":")[0].strip() or "a line"
        raise Invalid(f"{name} cannot be loaded: {where} is none of table {table}.") from error


def _columns(sql: Transaction, cdm: Cdm, table: str, file: BinaryIO, name: str) -> Sequence[str]:
    line = file.readline(_MAX_HEADER)
    try:
        names = line.decode("utf-8-sig").strip("\r\n").lower().split("\t")
    except UnicodeDecodeError as error:
        raise Invalid(f"{name} has no header in UTF-8.") from error
    known = columns_of(sql, cdm.schemas.vocabulary, table)
    missing = [column for column, (_, _, needed) in known.items() if needed and column not in names]
    unknown = [column[:40] for column in names if column not in known]
    if missing or unknown or len(set(names)) < len(names):
        text = f"lacks {', '.join(missing)}" if missing else f"has {', '.join(unknown) or 'a column twice'}"
        raise Invalid(f"{name} is no file of table {table}: its header {text}; columns are separated by tabs.")
    return names


# Athena's own version is that of the vocabulary "None" (OMOP CDM 5.4, table VOCABULARY).
_VERSION: Final[LiteralString] = """
  select coalesce(max(vocabulary_version) filter (where vocabulary_id = 'None'), max(vocabulary_version)) as version
  from {vocabulary}.vocabulary having count(*) > 0
"""


def _comment(sql: Transaction, cdm: Cdm, table: str) -> str:
    regclass = cast("LiteralString", cdm.sql("{vocabulary}.") + table)
    (row,) = sql.rows("select obj_description(%s::regclass, 'pg_class') as said", (regclass,))
    return str(row["said"] or "")


def _set_comment(sql: Transaction, cdm: Cdm, table: str, text: str) -> None:
    sql.driver.execute(
        pg.SQL("comment on table {} is {}").format(pg.Identifier(cdm.schemas.vocabulary, table), pg.Literal(text))
    )
