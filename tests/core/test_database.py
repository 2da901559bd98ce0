"""The schema: migrated once however many start, and the same as the models say."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

import hilum.app  # noqa: F401 - every model
from hilum.core.config import Settings
from hilum.core.database import SCHEMA, Database, Table, open_database
from hilum.core.errors import Invalid
from hilum.core.jobs import open_jobs
from hilum.core.postgres import EmbeddedPostgres
from tests.conftest import administration, named


def test_the_models_are_what_the_migrations_make(database: Database) -> None:
    def ours(name: str | None, kind: str, _parent: object) -> bool:
        if kind == "schema":
            return name == SCHEMA
        return not (kind == "table" and (name or "").startswith(("procrastinate", "alembic")))

    with database.connect() as connection:
        # Alembic calls the schema that comes first in the search path None, and would miss all its tables.
        connection.dialect.default_schema_name = "public"
        options = {"include_schemas": True, "include_name": ours, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        differences = compare_metadata(context, Table.metadata)
    assert differences == []


@pytest.fixture
def odd_folder() -> Iterator[Path]:
    """A folder with a name of every kind of character, short enough for the server's socket to lie in it."""
    with tempfile.TemporaryDirectory(prefix="a b+%41&ä=") as folder:
        Path(folder).chmod(0o755)  # root's server runs as another user
        yield Path(folder)


def test_a_data_folder_may_have_any_name(odd_folder: Path) -> None:
    """Its path is part of the address of the embedded server, for the catalogue and for the queue."""
    settings = Settings(data=odd_folder / "data")
    with open_database(settings, pool_size=2) as database, open_jobs(database) as jobs:
        with database.transaction() as transaction:
            job_id = jobs.defer(transaction, "import", "x")
        assert jobs.get(job_id)["state"] == "queued"


# Ten processes, of which none waits for its imports once they begin.
STARTERS = """
import os, sys
import hilum.app
from hilum.core.database import Database
pids = []
begin, go = os.pipe()
for _ in range(10):
    pids.append(os.fork())
    if not pids[-1]:
        os.close(go)
        os.read(begin, 1)
        Database(sys.argv[1], 1).migrate()
        os._exit(0)
os.close(go)
for pid in pids:
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_ten_processes_that_start_at_once_migrate_once(cluster: EmbeddedPostgres) -> None:
    with administration(cluster.url) as connection:
        connection.execute("drop database if exists test_race with (force)")
        connection.execute("create database test_race")
    url = named(cluster.url, "test_race")
    done = subprocess.run([sys.executable, "-c", STARTERS, url], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["0"] * 10, done.stderr
    database = Database(url, 1)
    with database.connect() as connection:
        assert connection.scalar(sa.text("select count(*) from hilum.source")) == 1
    database.close()
    with administration(cluster.url) as connection:
        connection.execute("drop database test_race with (force)")


def test_a_value_that_no_column_holds_is_the_fault_of_the_request(database: Database) -> None:
    for query, value in (("select %s::text", "a\0b"), ("select %s::bigint", str(1 << 70))):
        with pytest.raises(Invalid), database.transaction() as sql:
            sql.rows(query, (value,))
