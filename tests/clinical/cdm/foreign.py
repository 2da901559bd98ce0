"""A CDM that somebody else made: Synthea's persons as other tools load them, without keys between tables, in integer or
bigint, and what is in it as a fingerprint of each table."""

import csv
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from omop_cdm.constants import VOCAB_SCHEMA
from omop_cdm.regular.cdm54 import Base
from psycopg import sql as pg
from sqlalchemy.dialects import postgresql

NAME = "synthea1k_omoplite.tgz"


def synthea() -> Path:
    """The archive of Synthea's CSVs beside the repository; the test is skipped where there is none."""
    for folder in Path(__file__).resolve().parents:
        found = folder / "shared" / "data" / NAME
        if found.is_file():
            return found
    pytest.skip(f"{NAME} does not lie beside the repository")


def build(connection: psycopg.Connection, *, wide: bool, cdm: str = "cdm", vocabulary: str = "vocabulary") -> None:
    """Make the tables of CDM 5.4 without constraints, with ids as bigint (``wide``) or integer."""
    connection.execute(
        pg.SQL("create schema {}; create schema {}").format(pg.Identifier(cdm), pg.Identifier(vocabulary))
    )
    for table in Base.metadata.tables.values():
        schema = vocabulary if table.schema == VOCAB_SCHEMA else cdm
        columns = [
            f'"{column.name}" {kind(column, wide)}{"" if column.nullable else " not null"}' for column in table.columns
        ]
        connection.execute(f"create table {schema}.{table.name} ({', '.join(columns)})")  # pyright: ignore


def kind(column: "sa.Column[object]", wide: bool) -> str:
    written = str(column.type.compile(postgresql.dialect()))
    return "bigint" if wide and written == "INTEGER" and column.name.endswith("_id") else written


def load(connection: psycopg.Connection, archive: Path, only: tuple[str, ...] = ()) -> dict[str, int]:
    """Load Synthea's CSVs; gives the rows of each table."""
    counts: dict[str, int] = {}
    for name, text in members(archive):
        if only and name not in only:
            continue
        schema = "vocabulary" if name == "concept" else "cdm"
        header = next(csv.reader(io.StringIO(text)))
        copy = f"copy {schema}.{name} ({', '.join(header)}) from stdin with (format csv, header)"
        with connection.cursor() as cursor:
            with cursor.copy(copy) as into:  # pyright: ignore
                into.write(text)
            counts[name] = cursor.rowcount
    connection.execute(
        "create index on cdm.procedure_occurrence (person_id); create index on cdm.visit_occurrence (person_id)"
    )
    return counts


def members(archive: Path) -> Iterator[tuple[str, str]]:
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.name.endswith(".csv"):
                file = tar.extractfile(member)
                assert file
                yield Path(member.name).stem.lower(), file.read().decode()


def fingerprint(connection: psycopg.Connection, *schemas: str) -> dict[str, object]:
    """Everything in some schemas: of each relation its kind, columns, indexes, and its rows as one digest."""
    relations = connection.execute(
        "select n.nspname, c.relname, c.relkind::text, array(select attname || ' ' || format_type(atttypid, atttypmod) "
        "from pg_attribute where attrelid = c.oid and attnum > 0 order by attnum)::text, "
        "array(select indexdef from pg_indexes i where i.schemaname = n.nspname and i.tablename = c.relname "
        "order by 1)::text from pg_class c join pg_namespace n on n.oid = c.relnamespace "
        "where n.nspname = any(%s) and c.relkind <> 'i' order by 1, 2",
        (list(schemas),),
    ).fetchall()
    found: dict[str, object] = {}
    for schema, name, *rest in relations:
        table = pg.Identifier(schema, name)
        query = pg.SQL("select count(*), md5(string_agg(t::text, '|' order by t::text)) from {} t").format(table)
        rows = connection.execute(query).fetchone() if rest[0] in ("r", "v") else None
        found[f"{schema}.{name}"] = (*rest, rows)
    return found
