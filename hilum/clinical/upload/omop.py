"""The tables of the CDM that come with an upload (``OMOP/*.csv``): rows that a CDM of Hilum's own does not have yet are
added, a table whole or not at all; a CDM that is attached is another's and is not written."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Final, cast

import psycopg
from psycopg import sql as pg

from hilum.clinical.cdm.attach import columns_of
from hilum.clinical.cdm.cdm import Cdm
from hilum.core.database import Database, Transaction
from hilum.core.errors import Invalid

TABLES: Final = (
    "person", "observation_period", "visit_occurrence", "visit_detail", "condition_occurrence", "drug_exposure",
    "procedure_occurrence", "device_exposure", "measurement", "observation", "death", "note", "note_nlp",
)  # fmt: skip
"""The tables of a CHoRUS upload, those first that others refer to."""
_DANGLING: Final = frozenset(("location_id", "provider_id", "care_site_id"))
"""Keys of tables that no upload has."""
_CHUNK: Final = 1 << 20
_MAX_HEADER: Final = 64 << 10


def load_tables(database: Database, cdm: Cdm, files: Mapping[str, Path]) -> dict[str, object]:
    """Add the rows of tables; gives for each how many were new, or why it was left out."""
    told: dict[str, object] = {}
    for table in [name for name in TABLES if name in files]:
        if cdm.attached:
            told[table] = "The CDM is attached, so its owner loads it."
            continue
        try:
            with database.transaction() as sql:
                told[table] = _load(sql, cdm, table, files[table])
        except Invalid as error:
            told[table] = str(error)
    for name in sorted(files.keys() - set(TABLES)):
        told[name] = "No table of a CHoRUS upload."
    return told


def _load(sql: Transaction, cdm: Cdm, table: str, path: Path) -> int:
    target, staged = pg.Identifier(cdm.schemas.cdm, table), pg.Identifier(f"given_{table}")
    sql.driver.execute(
        pg.SQL("create temporary table {} on commit drop as select * from {} with no data").format(staged, target)
    )
    try:
        with path.open("rb") as file, sql.driver.cursor() as cursor:
            names = _header(file.readline(_MAX_HEADER), frozenset(columns_of(sql, cdm.schemas.cdm, table)), path.name)
            columns = pg.SQL(", ").join(map(pg.Identifier, names))
            with cursor.copy(pg.SQL("copy {} ({}) from stdin with (format csv)").format(staged, columns)) as into:
                while chunk := file.read(_CHUNK):
                    into.write(chunk)
            kept = pg.SQL(", ").join(pg.Identifier(name) for name in names if name not in _DANGLING)
            insert = pg.SQL("insert into {} ({}) select {} from {} on conflict do nothing")
            return cursor.execute(insert.format(target, kept, kept, staged)).rowcount
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        where = (error.diag.context or "").partition(",")[2].partition(":")[0].strip()
        why = f"{where} is none of the table" if where else "a row is incomplete or refers to one that is missing"
        raise Invalid(f"{path.name} cannot be loaded: {why}.") from error


def _header(line: bytes, known: frozenset[str], name: str) -> list[str]:
    try:
        written = next(csv.reader([line.decode("utf-8-sig").strip("\r\n")]), cast("list[str]", []))
    except (UnicodeDecodeError, csv.Error) as error:
        raise Invalid(f"{name} has no header in UTF-8.") from error
    names = [column.strip().lower() for column in written]
    unknown = [column[:40] for column in names if column not in known]
    if unknown or not names or len(set(names)) < len(names):
        raise Invalid(f"{name} has a header that is none of the table's: {', '.join(unknown) or 'a column twice'}.")
    return names
