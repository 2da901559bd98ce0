"""Short questions asked of libpq itself, with psycopg's cursor as their oracle."""

import psycopg
import pytest
from psycopg.rows import dict_row

from hilum.core.database import Database
from hilum.core.errors import Invalid, Unavailable
from hilum.core.lookup import look_up

QUERY = """
  select %(text)s::text as text, %(number)s::bigint + 1 as number, %(text)s = %(other)s as same, null::text as nothing,
    array[1, %(number)s::bigint] as numbers, repeat(%(other)s, 3) as long from generate_series(1, 2)
"""


@pytest.mark.parametrize("text", ["1.2.840.10008", "", 'O\'Neill "é" 山田\n%s {}\\'])
def test_answers_are_those_of_a_cursor(database: Database, text: str) -> None:
    parameters = {"text": text, "number": 2**53 + 1, "other": "é", "unnamed": 1}
    with psycopg.connect(database.conninfo, row_factory=dict_row) as oracle:
        expected = oracle.execute(QUERY, parameters).fetchall()
    with database.connect() as connection:
        for _ in range(7):  # the server plans the first five times anew
            assert look_up(connection, QUERY, parameters) == expected
        assert look_up(connection, "select 1 where false", {}) == []


def test_what_the_server_refuses_is_its_error_and_the_connection_goes_on(database: Database) -> None:
    with database.connect() as connection:
        with pytest.raises(psycopg.errors.UndefinedTable):
            look_up(connection, "select * from hilum.nothing_of_the_kind", {})
        with pytest.raises(psycopg.errors.DivisionByZero):
            look_up(connection, "select 1 / %(by)s::int as ratio", {"by": 0})
        assert look_up(connection, "select 1 / %(by)s::int as ratio", {"by": 1}) == [{"ratio": 1}]


@pytest.mark.parametrize("value", ["1.2\0.3", 2**64])
def test_a_value_that_no_column_holds_is_the_askers_fault(database: Database, value: object) -> None:
    with pytest.raises(Invalid), database.connect() as connection:
        look_up(
            connection,
            "select id from hilum.instance where id::text = %(value)s or id = %(value)s::bigint",
            {"value": value},
        )


def test_a_lost_connection_is_said_and_replaced(database: Database) -> None:
    own = "select pg_backend_pid() as pid"
    with pytest.raises(Unavailable), database.connect() as connection:
        (row,) = look_up(connection, own, {})
        with psycopg.connect(database.conninfo, autocommit=True) as other:
            other.execute("select pg_terminate_backend(%s, 10000)", (row["pid"],))
        look_up(connection, own, {})
    with database.connect() as connection:
        assert look_up(connection, own, {}) != [row]


def test_what_is_prepared_is_prepared_anew_after_a_rollback(database: Database) -> None:
    """psycopg drops every prepared statement of a connection then, once it has prepared one itself."""
    query = "select %(a)s::int as a"
    one = Database(str(database.url.render_as_string(hide_password=False)), 1)
    try:
        for value in range(3):
            with one.connect() as connection:
                assert look_up(connection, query, {"a": value}) == [{"a": value}]
            with pytest.raises(ZeroDivisionError), one.transaction() as transaction:
                for _ in range(10):  # what is asked often psycopg prepares, too
                    transaction.rows("select %s::int as b", (value,))
                assert look_up(transaction.connection, query, {"a": value}) == [{"a": value}]
                raise ZeroDivisionError
    finally:
        one.close()
