"""Statements written by hand, asked of libpq itself and prepared once a connection: the layers of a cursor take several
times as long as most of the statements do. psycopg sees to the values, what they become and the waiting."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, TypeAlias

import psycopg
from psycopg import generators
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import error_from_result
from psycopg.pq import ConnStatus, DiagnosticField, ExecStatus
from psycopg.pq.abc import PGconn, PGresult

Parameters: TypeAlias = Sequence[object] | Mapping[str, object]
_Key: TypeAlias = tuple[bytes, tuple[int, ...]]

_PARAMETER: Final = re.compile(r"%(?:%|s|\((\w+)\)s)")
GONE: Final = b"26000"
_OFTEN: Final = 3
"""How many times a statement is asked before it is prepared."""
_MOST: Final = 300
"""Statements that are kept prepared; those that come after them are not."""
_BEGIN: Final = b"begin isolation level read committed"


@dataclass(slots=True)
class Prepared:
    """The statements that the server keeps for one connection, by text and types of the values. psycopg has all of them
    dropped now and then, after it has rolled back; whoever is first to ask after that says `forget`."""

    names: dict[_Key, bytes] = field(default_factory=dict[_Key, bytes])
    _asked: dict[_Key, int] = field(default_factory=dict[_Key, int])
    _number: int = 0

    def forget(self) -> None:
        """The server keeps none of them any more."""
        self.names.clear()

    def prepare(self, server: PGconn, text: bytes, types: tuple[int, ...] = ()) -> bytes:
        """Have a statement kept, and give its name; psycopg's errors."""
        self._number += 1
        name = f"hilum_{self._number}".encode()
        result = server.prepare(name, text, types)
        if result.status != ExecStatus.COMMAND_OK:
            raise failure(server, result)
        self.names[text, types] = name
        return name

    def name(self, server: PGconn, text: bytes, types: tuple[int, ...]) -> bytes | None:
        """The name of a statement that is kept, or is to be from now on, for it is asked often."""
        key = text, types
        if (name := self.names.get(key)) or len(self.names) >= _MOST:
            return name
        if len(self._asked) >= _MOST:
            self._asked.clear()
        self._asked[key] = self._asked.get(key, 0) + 1
        return self.prepare(server, text, types) if self._asked[key] >= _OFTEN else None


def begin(driver: psycopg.Connection, prepared: Prepared) -> None:
    """Begin a transaction. That statement is a prepared one, so that it is seen here, where nothing is lost by it,
    whether the server still keeps them."""
    server = driver.pgconn
    server.send_query_prepared(prepared.names.get((_BEGIN, ())) or prepared.prepare(server, _BEGIN), [])
    result = _wait(driver)
    if result.error_field(DiagnosticField.SQLSTATE) == GONE:
        prepared.forget()
        server.send_query_prepared(prepared.prepare(server, _BEGIN), [])
        result = _wait(driver)
    if result.status != ExecStatus.COMMAND_OK:
        raise failure(server, result)


def run(
    driver: psycopg.Connection, prepared: Prepared | None, query: str, parameters: Parameters
) -> list[dict[str, object]]:
    """Run a statement within a transaction.

    Parameters
    ----------
    driver
        The connection.
    prepared
        What the server keeps for it; None if that may have been dropped within this transaction.
    query
        As a cursor takes it: values stand as ``%s`` or ``%(name)s``, a percent sign is written twice. Without values it
        may be several statements.
    parameters
        The values, in order or by name; names that the query does not use are passed over.

    Returns
    -------
    list of dict
        The rows by column name, of the last statement; none of one that gives none.

    Raises
    ------
    psycopg.Error
        As a cursor would.
    """
    text, names = numbered(query)
    values = [parameters[name] for name in names] if isinstance(parameters, Mapping) else parameters
    server, adapt = driver.pgconn, Transformer(driver)
    data = adapt.dump_sequence(values, [PyFormat.AUTO] * len(values))
    types, formats = tuple(adapt.types or ()), adapt.formats
    if not values:
        server.send_query(text)  # several statements, perhaps
    elif prepared and (name := prepared.name(server, text, types)):
        server.send_query_prepared(name, data, formats)
    else:
        server.send_query_params(text, data, types, formats)
    result = _wait(driver)
    if result.status == ExecStatus.COMMAND_OK:
        return []
    if result.status != ExecStatus.TUPLES_OK:
        raise failure(server, result)
    adapt.set_pgresult(result)
    columns = [(result.fname(number) or b"").decode() for number in range(result.nfields)]
    return adapt.load_rows(0, result.ntuples, lambda row: dict(zip(columns, row, strict=True)))


def _wait(driver: psycopg.Connection) -> PGresult:
    return driver.wait(generators.execute(driver.pgconn))[-1]


@lru_cache(maxsize=1000)
def numbered(query: str) -> tuple[bytes, list[str]]:
    """A statement as libpq takes it, and the names of its parameters in order."""
    names: list[str] = []
    count = 0

    def number(found: re.Match[str]) -> str:
        nonlocal count
        if found.group() == "%%":
            return "%"
        name = found.group(1)
        if name is None:
            count += 1
            return f"${count}"
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}"

    return _PARAMETER.sub(number, query).encode(), names


def failure(server: PGconn, result: PGresult) -> psycopg.Error:
    """What went wrong, as psycopg has it."""
    if server.status == ConnStatus.BAD:
        return psycopg.OperationalError("The connection to the database is lost.")
    return error_from_result(result)
