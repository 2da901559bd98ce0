"""Statements written by hand, with psycopg's cursor as their oracle."""

import datetime
import uuid
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from hilum.core.database import Database, Transaction
from hilum.core.errors import Invalid, Unavailable


@pytest.fixture
def one(database: Database) -> Iterator[Database]:
    """The database by one connection."""
    made = Database(str(database.url.render_as_string(hide_password=False)), 1)
    yield made
    made.close()


def ask(sql: Transaction, query: str, parameters: Any = ()) -> list[dict[str, Any]]:
    return sql.rows(query, parameters)  # pyright: ignore[reportArgumentType, reportReturnType]


MOMENT = datetime.datetime(2024, 2, 29, 23, 59, 59, 5, datetime.UTC)
VALUES: dict[str, Any] = {
    "small": 7, "large": 2**40, "text": 'O\'Neill "é" 山田 %s $1', "none": None, "yes": True, "real": 0.1,
    "day": MOMENT.date(), "moment": MOMENT, "uuid": uuid.UUID(int=5), "numbers": [1, 2**33], "texts": ["a", "", "ü"],
    "nothing": [], "json": Jsonb({"a": [1, None]}), "bytes": b"\0\xff",
}  # fmt: skip
TYPED = """
  select %(small)s::int + 1 as small, %(large)s::bigint as large, %(text)s::text as text, %(none)s::text as none,
    %(yes)s as yes, %(real)s::float8 as real, %(day)s::date as day,
    %(moment)s::timestamptz as moment, %(uuid)s::uuid as uuid,
    %(numbers)s::bigint[] as numbers, %(texts)s::text[] as texts, %(nothing)s::int[] as nothing,
    %(json)s::jsonb as json, %(bytes)s::bytea as bytes, %(small)s::text as again, '100%%' as percent
  from generate_series(1, 2)
"""


def test_answers_are_those_of_a_cursor(database: Database) -> None:
    with psycopg.connect(database.conninfo, row_factory=dict_row) as oracle:
        expected = oracle.execute(TYPED, VALUES).fetchall()
    for _ in range(2):
        with database.transaction() as sql:
            for _ in range(5):  # asked often, it is prepared
                assert ask(sql, TYPED, VALUES) == expected
            assert ask(sql, "select %s::int as a, %s::text as b where false", (1, "b")) == []
            assert ask(sql, "select 1 as a; select %% as b".replace("%%", "2")) == [{"b": 2}]


def test_one_statement_takes_values_of_different_types(database: Database) -> None:
    with database.transaction() as sql:
        for value in (1, 2**20, 2**40, 1, 2**40, 2**20, 1):
            assert ask(sql, "select %s::bigint as n", (value,)) == [{"n": value}]


def test_more_statements_than_are_kept(database: Database) -> None:
    with database.transaction() as sql:
        for turn in range(4):
            for number in range(350):
                assert ask(sql, f"select %s + {number} as n", (turn,)) == [{"n": turn + number}]


def test_what_others_have_dropped_is_prepared_anew(one: Database) -> None:
    """psycopg drops every prepared statement of a connection after a rollback, once it has prepared one itself."""
    for value in range(8):
        with one.transaction() as sql:
            for _ in range(4):
                assert ask(sql, "select %s::int as n", (value,)) == [{"n": value}]
        with pytest.raises(ZeroDivisionError), one.transaction() as sql:
            for _ in range(10):
                sql.connection.execute(sa.text("select cast(:n as int)"), {"n": value})
            assert ask(sql, "select %s::int as n", (value,)) == [{"n": value}]
            raise ZeroDivisionError
        with one.transaction() as sql:
            sql.connection.execute(sa.text("deallocate all"))
            assert ask(sql, "select %s::int as n", (value,)) == [{"n": value}]


def test_a_savepoint_is_undone_alone(one: Database) -> None:
    for _ in range(5):
        with one.transaction() as sql:
            ask(sql, "create temp table kept (n int) on commit drop")
            with pytest.raises(psycopg.errors.DivisionByZero), sql.savepoint():
                ask(sql, "insert into kept values (%s)", (1,))
                ask(sql, "select 1 / %s::int", (0,))
            with sql.savepoint():
                ask(sql, "insert into kept values (%s)", (2,))
                with pytest.raises(KeyError), sql.savepoint():
                    ask(sql, "insert into kept values (%s)", (3,))
                    raise KeyError
            assert ask(sql, "select n from kept") == [{"n": 2}]


def test_a_transaction_that_failed_is_never_taken_for_kept(one: Database) -> None:
    with pytest.raises(psycopg.errors.InFailedSqlTransaction), one.transaction() as sql, suppress(psycopg.Error):
        ask(sql, "select * from nothing_of_the_kind where n = %s", (1,))
    with one.transaction() as sql:
        assert ask(sql, "select %s::int as n", (1,)) == [{"n": 1}]


@pytest.mark.parametrize("value", ["a\0b", 2**70])
def test_a_value_that_no_column_holds_is_the_askers_fault(one: Database, value: object) -> None:
    with pytest.raises(Invalid), one.transaction() as sql:
        ask(sql, "select id from hilum.instance where id::text = %s or id = %s::numeric::bigint", ("", value))
    with one.transaction() as sql:
        assert ask(sql, "select 1 as n") == [{"n": 1}]


def test_a_lost_connection_is_said_and_replaced(one: Database) -> None:
    with pytest.raises(Unavailable), one.transaction() as sql:
        (row,) = ask(sql, "select pg_backend_pid() as pid")
        with psycopg.connect(one.conninfo, autocommit=True) as other:
            other.execute("select pg_terminate_backend(%s, 10000)", (row["pid"],))
        ask(sql, "select %s::int as n", (1,))
    with one.transaction() as sql:
        assert ask(sql, "select pg_backend_pid() as pid") != [row]
