"""Short questions to the catalogue that stand before every picture, asked of libpq itself: going through the layers
above it takes five times as long as the question. Everything else is asked by way of ``database``."""

import itertools
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, LiteralString, cast

import msgspec
import psycopg
import sqlalchemy as sa
from psycopg.errors import error_from_result
from psycopg.pq import ConnStatus, DiagnosticField, ExecStatus, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult

from hilum.core.database import Row

_PREPARED: Final = "hilum.prepared"
_GONE: Final = b"26000"
_numbers = itertools.count()
_PARAMETER: Final = re.compile(r"%\((\w+)\)s")
_ROWS: Final = msgspec.json.Decoder(Row)


def look_up(connection: sa.Connection, query: LiteralString, parameters: Mapping[str, object]) -> list[Row]:
    """Ask hand-written SQL that is prepared once a connection and stays so.

    Parameters
    ----------
    connection
        Of the pool; between two transactions, or within one.
    query
        One statement without a percent sign but those of its parameters, ``%(name)s``. What is no number, text, truth
        value or list of those comes as JSON writes it.
    parameters
        Texts and whole numbers by name; those that the query does not name are passed over.

    Raises
    ------
    psycopg.Error
        As a cursor would.
    """
    text, names = _numbered(query)
    server = cast("psycopg.Connection", connection.connection.driver_connection).pgconn
    values = [_encoded(parameters[name]) for name in names]
    result = _ask(connection, server, text, values)
    if result.status != ExecStatus.TUPLES_OK:
        raise _failure(server, result)
    return [_ROWS.decode(result.get_value(row, 0) or b"") for row in range(result.ntuples)]


def _ask(connection: sa.Connection, server: PGconn, text: bytes, values: Sequence[bytes]) -> PGresult:
    if server.transaction_status != TransactionStatus.IDLE:
        return server.exec_params(text, values)  # a statement that is gone would end the transaction
    prepared: dict[bytes, bytes] = connection.info.setdefault(_PREPARED, {})
    result = server.exec_prepared(prepared.get(text) or _prepare(server, prepared, text), values)
    if result.error_field(DiagnosticField.SQLSTATE) == _GONE:  # psycopg drops all of them after a rollback
        prepared.clear()
        result = server.exec_prepared(_prepare(server, prepared, text), values)
    return result


@lru_cache(maxsize=100)
def _numbered(query: str) -> tuple[bytes, list[str]]:
    """The statement as libpq takes it, giving each row as one JSON text, and the names of its parameters in order."""
    names = list(dict.fromkeys(_PARAMETER.findall(query)))
    numbered = _PARAMETER.sub(lambda found: f"${names.index(found.group(1)) + 1}", query)
    return f"select to_json(found) from ({numbered}) found".encode(), names


def _encoded(value: object) -> bytes:
    data = str(value).encode()
    if b"\0" in data:
        raise psycopg.DataError("A text holds a NUL character.")
    return data


def _prepare(server: PGconn, prepared: dict[bytes, bytes], text: bytes) -> bytes:
    name = f"hilum_{next(_numbers)}".encode()
    result = server.prepare(name, text)
    if result.status != ExecStatus.COMMAND_OK:
        raise _failure(server, result)
    prepared[text] = name
    return name


def _failure(server: PGconn, result: PGresult) -> psycopg.Error:
    if server.status == ConnStatus.BAD:
        return psycopg.OperationalError("The connection to the database is lost.")
    return error_from_result(result)
