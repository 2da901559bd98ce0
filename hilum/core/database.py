"""The one PostgreSQL of a Hilum: opened (embedded or by URL), migrated, and used in transactions that carry their own
events. What the tables mean belongs to the rooms that declare them."""

import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, LiteralString, TypeAlias, cast

import msgspec
import psycopg
import sqlalchemy as sa
from psycopg.conninfo import make_conninfo
from psycopg.pq import TransactionStatus
from sqlalchemy import event
from sqlalchemy.exc import DataError, InvalidatePoolError, OperationalError
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.pool import ConnectionPoolEntry

from hilum.core.config import Settings
from hilum.core.errors import Invalid, Unavailable
from hilum.core.postgres import EmbeddedPostgres
from hilum.core.prepared import Parameters, Prepared, begin, run

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPIConnection

    from hilum.core.events import Event

SCHEMA = "hilum"
OLDEST_SERVER = 16
_LAST_USED = "hilum.last_used"
_PREPARED = "hilum.prepared"
_TRUSTED_SECONDS = 1.0
_MIGRATION_LOCK = 4_845_114_001
_EVENT_LOCK = 4_845_114_002
# Connection exception, shutdown: the server went away.
_LOST = ("08", "57P")
# Numeric value out of range, character not in repertoire, untranslatable character; a NUL never reaches the server.
_UNFIT = ("22003", "22021", "22P05", None)
_SESSION_OPTIONS = f"-c search_path={SCHEMA},public -c timezone=UTC"

Row: TypeAlias = dict[str, object]


class Table(DeclarativeBase):
    """Base of every table that Hilum owns, all in the schema ``hilum``."""

    metadata = sa.MetaData(schema=SCHEMA)


@dataclass(slots=True)
class Transaction:
    """One database transaction; the events given to it are written as its last statement.

    Collecting the events and writing them last, under one advisory lock, makes their ids run in commit order, so that
    a reader of the feed may simply ask for ``id > cursor``.
    """

    _connection: sa.Connection
    _events: "list[Event]" = field(default_factory=list["Event"])
    _depth: int = 0
    _prepared: Prepared | None = field(init=False)

    def __post_init__(self) -> None:
        self._prepared = prepared_of(self._connection)

    @property
    def connection(self) -> sa.Connection:
        """SQLAlchemy's connection, for statements that it writes."""
        self._prepared = None  # others may have dropped what the server keeps from here on
        return self._connection

    @property
    def driver(self) -> psycopg.Connection:
        """The psycopg connection below, for what needs a cursor."""
        self._prepared = None
        return self._driver

    @property
    def _driver(self) -> psycopg.Connection:
        return cast("psycopg.Connection", self._connection.connection.driver_connection)

    def rows(self, query: LiteralString, parameters: Parameters = ()) -> list[Row]:
        """Run hand-written SQL and return its rows by column name."""
        driver = self._driver
        if driver.pgconn.transaction_status == TransactionStatus.IDLE:
            begin(driver, prepared_of(self._connection))
        return run(driver, self._prepared, query, parameters)

    def check(self) -> None:
        """See that the transaction can be committed; the server would undo a failed one without a word.

        Raises
        ------
        psycopg.errors.InFailedSqlTransaction
            A statement failed in it, and somebody went on.
        """
        if self._driver.pgconn.transaction_status == TransactionStatus.INERROR:
            raise psycopg.errors.InFailedSqlTransaction(
                "A statement of this transaction failed; nothing of it is kept."
            )

    def emit(self, *events: "Event") -> None:
        """Tell of changes that this transaction makes; they are in the feed if and only if it commits."""
        self._events.extend(events)

    @contextmanager
    def savepoint(self) -> Generator[None]:
        """A part of the transaction that is undone alone, with its events, when the block is left by an exception."""
        before = len(self._events)
        self._depth += 1
        name = cast("LiteralString", f"hilum_{self._depth}")
        self.rows(f"savepoint {name}")
        try:
            yield
        except BaseException:
            del self._events[before:]
            with suppress(psycopg.Error):  # without it nothing of the transaction is kept
                self.rows(f"rollback to savepoint {name}")
            raise
        else:
            self.rows(f"release savepoint {name}")
        finally:
            self._depth -= 1

    def write_events(self) -> None:
        """Append the collected events; called once, by ``Database.transaction``, before the commit."""
        if not self._events:
            return
        # In one round trip; no id is drawn before the lock is held, for the rows are joined to it.
        self.rows(
            "with lock as materialized (select pg_advisory_xact_lock(%s)), "
            "told as materialized (select pg_notify('hilum_event', '') from lock) "
            "insert into hilum.event (uuid, type, source, subject, time, data) "
            "select uuid, type, source, subject, time, data "
            "from told cross join json_populate_recordset(null::hilum.event, %s)",
            (_EVENT_LOCK, msgspec.json.encode(self._events).decode()),
        )
        self._events.clear()


class Database:
    """A pool of connections to one PostgreSQL database."""

    def __init__(self, url: str, pool_size: int = 10) -> None:
        self.url = sa.make_url(url).set(drivername="postgresql+psycopg")
        self.engine = sa.create_engine(
            self.url,
            pool_size=pool_size,
            max_overflow=pool_size,
            # A question needs no transaction around it, whose begin and end cost two more round trips than it does.
            isolation_level="AUTOCOMMIT",
            connect_args={"options": _SESSION_OPTIONS, "application_name": "hilum", "connect_timeout": 10},
        )
        event.listen(self.engine, "checkin", _note_time)
        event.listen(self.engine, "checkout", self._ensure_alive)
        self._writing = self.engine.execution_options(isolation_level="READ COMMITTED")

    @property
    def conninfo(self) -> str:
        """The connection string that libpq, and so the job queue, understands."""
        # Not by way of the URL's text: libpq does not read a "+" there as the blank of a path.
        parts = self.url.translate_connect_args(username="user", database="dbname")
        query = {name: value if isinstance(value, str) else ",".join(value) for name, value in self.url.query.items()}
        return make_conninfo("", **parts | query | {"options": _SESSION_OPTIONS, "application_name": "hilum"})

    @contextmanager
    def transaction(self) -> Generator[Transaction]:
        """Open a transaction: committed with its events at the end of the block, rolled back at an exception."""
        with self._reachable(), self._writing.begin() as connection:
            transaction = Transaction(connection)
            yield transaction
            transaction.write_events()
            transaction.check()

    @contextmanager
    def connect(self) -> Generator[sa.Connection]:
        """Open a connection for reading; each statement sees what is committed when it begins."""
        with self._reachable(), self.engine.connect() as connection:
            yield connection

    def tidy(self, *tables: LiteralString) -> None:
        """Vacuum and analyze tables that have just grown much, instead of waiting until the server comes to it."""
        with self._reachable(), self.engine.connect() as connection:
            names = ", ".join(f"{SCHEMA}.{table}" for table in tables)
            connection.execute(sa.text(f"vacuum (analyze, skip_locked) {names}"))

    def check(self) -> None:
        """Ask the server for a sign of life.

        Raises
        ------
        Unavailable
            The server cannot be reached.
        """
        with self.connect() as connection:
            connection.execute(sa.text("select 1"))

    def migrate(self) -> None:
        """Bring the schema up to date; of several processes that start at once, one does it and the rest wait.

        Raises
        ------
        Invalid
            The server is older than PostgreSQL 16.
        Unavailable
            The server cannot be reached.
        """
        with self._reachable(), self._writing.connect() as connection:
            if _is_current(connection):
                return
            major = cast("psycopg.Connection", connection.connection.driver_connection).info.server_version // 10_000
            if major < OLDEST_SERVER:
                raise Invalid(f"PostgreSQL {major} is too old; Hilum needs {OLDEST_SERVER} or later.")
            connection.execute(sa.text("select pg_advisory_lock(:key)"), {"key": _MIGRATION_LOCK})
            try:
                connection.execute(sa.text(f"create schema if not exists {SCHEMA}"))
                connection.commit()
                _upgrade(connection)
            finally:
                connection.rollback()
                connection.execute(sa.text("select pg_advisory_unlock(:key)"), {"key": _MIGRATION_LOCK})

    def close(self) -> None:
        """Close every connection of the pool."""
        self.engine.dispose()

    def _ensure_alive(self, driver: psycopg.Connection, record: ConnectionPoolEntry, _: object) -> None:
        """Have a connection replaced that is broken, or does not answer after it has been idle: asking each time would
        cost as much as the question that it is taken for."""
        if driver.closed:
            raise InvalidatePoolError
        used = record.info.get(_LAST_USED)
        if used is not None and time.monotonic() - used > _TRUSTED_SECONDS:
            try:
                self.engine.dialect.do_ping(cast("DBAPIConnection", driver))
            except psycopg.Error as error:
                raise InvalidatePoolError from error

    @contextmanager
    def _reachable(self) -> Generator[None]:
        try:
            yield
        except OperationalError as error:
            if error.connection_invalidated or error.statement is None:
                raise Unavailable("The database cannot be reached now; try again in a moment.") from error
            raise
        except psycopg.OperationalError as error:  # of a statement written by hand
            if error.sqlstate is None or error.sqlstate.startswith(_LOST):
                raise Unavailable("The database cannot be reached now; try again in a moment.") from error
            raise
        except (DataError, psycopg.DataError) as error:
            if getattr(getattr(error, "orig", error), "sqlstate", None) not in _UNFIT:
                raise
            raise Invalid("A value is none that the catalogue can hold: too large, or with a NUL character.") from error


def prepared_of(connection: sa.Connection) -> Prepared:
    """What the server keeps prepared for a connection of the pool."""
    return connection.info.setdefault(_PREPARED, Prepared())


def _note_time(_: object, record: ConnectionPoolEntry) -> None:
    record.info[_LAST_USED] = time.monotonic()


def _is_current(connection: sa.Connection) -> bool:
    """Tell whether the newest revision is in force, which at most starts it is, without loading Alembic."""
    newest = max(
        file.name for file in files("hilum").joinpath("migrations", "versions").iterdir() if file.name[0] == "0"
    )
    table = connection.scalar(sa.text("select to_regclass('hilum.alembic_version')"))
    return table is not None and newest.startswith(
        str(connection.scalar(sa.text("select version_num from hilum.alembic_version")))
    )


def _upgrade(connection: sa.Connection) -> None:
    from alembic import command  # here, for only one process of many needs it, and it is slow to load
    from alembic.config import Config

    with as_file(files("hilum").joinpath("migrations")) as folder:
        config = Config()
        config.set_main_option("script_location", str(folder).replace("%", "%%"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    connection.commit()


@contextmanager
def open_database(settings: Settings, pool_size: int = 10, *, migrate: bool = True) -> Generator[Database]:
    """Open the database of these settings, starting or joining the embedded server when no URL is set.

    Parameters
    ----------
    settings
        Which database.
    pool_size
        Connections kept open; as many again are opened under load.
    migrate
        Bring the schema up to date first.
    """
    if settings.database_url:
        yield from _opened(settings.database_url, pool_size, migrate)
    else:
        with EmbeddedPostgres(settings.data_path) as server:
            yield from _opened(server.url, pool_size, migrate)


def _opened(url: str, pool_size: int, migrate: bool) -> Generator[Database]:
    database = Database(url, pool_size)
    try:
        if migrate:
            database.migrate()
        yield database
    finally:
        database.close()
