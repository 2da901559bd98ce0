"""Short questions to the catalogue that stand before every picture: one row is one JSON text, which is read faster than
values are adapted. Everything else is asked by way of ``database``."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, LiteralString, cast

import msgspec
import psycopg
import sqlalchemy as sa
from psycopg.pq import DiagnosticField, ExecStatus, TransactionStatus
from psycopg.pq.abc import PGresult

from hilum.core.database import Row, prepared_of
from hilum.core.prepared import GONE, failure, numbered

_ROWS: Final = msgspec.json.Decoder(Row)


def look_up(connection: sa.Connection, query: LiteralString, parameters: Mapping[str, object]) -> list[Row]:
    """Ask hand-written SQL that is prepared once a connection and stays so.

    Parameters
    ----------
    connection
        Of the pool; between two transactions, or within one.
    query
        One statement with its parameters as ``%(name)s``. What is no number, text, truth value or list of those comes
        as JSON writes it.
    parameters
        Texts and whole numbers by name; those that the query does not name are passed over.

    Raises
    ------
    psycopg.Error
        As a cursor would.
    """
    text, names = _as_json(query)
    driver = cast("psycopg.Connection", connection.connection.driver_connection)
    result = _ask(connection, driver, text, [_encoded(parameters[name]) for name in names])
    if result.status != ExecStatus.TUPLES_OK:
        raise failure(driver.pgconn, result)
    return [_ROWS.decode(result.get_value(row, 0) or b"") for row in range(result.ntuples)]


def _ask(connection: sa.Connection, driver: psycopg.Connection, text: bytes, values: Sequence[bytes]) -> PGresult:
    server = driver.pgconn
    if server.transaction_status != TransactionStatus.IDLE:
        return server.exec_params(text, values)  # a statement that is gone would end the transaction
    prepared = prepared_of(connection)
    result = server.exec_prepared(prepared.names.get((text, ())) or prepared.prepare(server, text), values)
    if result.error_field(DiagnosticField.SQLSTATE) == GONE:
        prepared.forget()
        result = server.exec_prepared(prepared.prepare(server, text), values)
    return result


@lru_cache(maxsize=100)
def _as_json(query: str) -> tuple[bytes, list[str]]:
    """The statement as libpq takes it, giving each row as one JSON text, and the names of its parameters in order."""
    text, names = numbered(query)
    return b"select to_json(found) from (" + text + b") found", names


def _encoded(value: object) -> bytes:
    data = str(value).encode()
    if b"\0" in data:
        raise psycopg.DataError("A text holds a NUL character.")
    return data
