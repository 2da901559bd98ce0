"""The feed: written with its cause, in commit order, so that a reader by cursor misses nothing."""

import threading

import pytest
from sqlalchemy.exc import DataError

from hilum.core.database import Database
from hilum.core.events import Event, read_events


def feed(database: Database, **options: object) -> list[dict[str, object]]:
    with database.connect() as connection:
        return read_events(connection, "http://hilum", **options)  # pyright: ignore


def test_an_event_is_there_if_and_only_if_its_transaction_commits(database: Database) -> None:
    with pytest.raises(DataError), database.transaction() as transaction:
        transaction.emit(Event("a.v1", "default", "1.2", {}))
        transaction.connection.exec_driver_sql("select 1 / 0")
    with database.transaction() as transaction:
        transaction.emit(Event("b.v1", "default", "1.3", {"n": 1}))
    (event,) = feed(database)
    assert (event["type"], event["subject"], event["data"], event["specversion"]) == ("b.v1", "1.3", {"n": 1}, "1.0")
    assert event["source"] == "http://hilum/sources/default"


def test_a_reader_by_cursor_sees_every_event_once_while_many_write(database: Database) -> None:
    def write() -> None:
        for n in range(40):
            with database.transaction() as transaction:
                transaction.connection.exec_driver_sql("select pg_sleep(random() * 0.004)")
                transaction.emit(*(Event("x.v1", "default", str(n), {}) for _ in range(3)))

    writers = [threading.Thread(target=write) for _ in range(4)]
    for writer in writers:
        writer.start()
    seen: list[int] = []
    while any(writer.is_alive() for writer in writers) or feed(database, after=seen[-1] if seen else 0, limit=1):
        seen.extend(int(str(e["sequence"])) for e in feed(database, after=seen[-1] if seen else 0, limit=50))
    assert len(seen) == len(set(seen)) == 480


def test_the_feed_can_be_asked_for_some_types(database: Database) -> None:
    with database.transaction() as transaction:
        transaction.emit(Event("a.v1", "s", "1", {}), Event("b.v1", "s", "2", {}))
    assert [e["subject"] for e in feed(database, types=["b.v1"])] == ["2"]
