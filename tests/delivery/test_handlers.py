"""Handlers: told of each event at least once and in order, whatever fails, dies or stands still."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from hilum.core.config import Settings
from hilum.core.database import Database
from hilum.core.delivery import Handlers, courier
from hilum.core.delivery.ledger import replay
from hilum.core.delivery.models import Site
from hilum.core.errors import Invalid, Unavailable
from hilum.core.events import Event
from tests.conftest import wait_until
from tests.delivery.conftest import QUICK, Seen, emit, rows

Start = Callable[..., None]

COURIERS = "from pg_stat_activity where application_name = 'hilum-delivery' and datname = current_database()"


def listening(**handlers: Seen) -> Handlers:
    known = Handlers()
    for name, handle in handlers.items():
        known.on(name, (), handle)
    return known


def test_a_handler_is_told_of_its_types_in_order_from_the_beginning_of_the_feed(
    database: Database, couriers: Start
) -> None:
    seen = Seen()
    handlers = Handlers()
    handlers.on("some", ["a.v1", "c.v1"], seen)
    emit(database, 1, 2, type="a.v1")
    emit(database, 3, type="b.v1")
    couriers(handlers.group())
    wait_until(lambda: seen.taken == ["1", "2"])
    emit(database, 4, type="b.v1")
    emit(database, 5, type="c.v1")
    wait_until(lambda: seen.taken == ["1", "2", "5"])


def test_what_a_handler_has_no_use_for_is_passed_over_until_it_has(database: Database, couriers: Start) -> None:
    seen = Seen()
    handlers = Handlers()
    handlers.on("some", [], seen, where=sa.exists().where(Site.key == "open"))
    emit(database, 1, 2)
    couriers(handlers.group())
    wait_until(lambda: rows(database, "select position from hilum.delivery_cursor") == [(2,)])
    with database.transaction() as sql:
        sql.rows("insert into hilum.site (key, sources, types, after) values ('open', '{}', '{}', 0)")
    emit(database, 3)
    wait_until(lambda: seen.taken == ["3"])


def test_an_event_has_the_shape_of_the_feed(database: Database, couriers: Start) -> None:
    told: list[dict[str, object]] = []
    handlers = Handlers()
    handlers.on("some", [], told.append)  # pyright: ignore
    emit(database, "1.2.3", n=1)
    couriers(handlers.group())
    wait_until(lambda: told)
    event = told[0]
    assert event | {"id": "", "time": ""} == {
        "specversion": "1.0", "id": "", "type": "x.v1", "source": "http://hilum/sources/default", "subject": "1.2.3",
        "time": "", "sequence": "1", "datacontenttype": "application/json", "data": {"n": 1},
    }  # fmt: skip


def test_a_new_event_is_told_at_once(database: Database, couriers: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Woken by the database, not by the poll."""
    monkeypatch.setattr(courier, "POLL_SECONDS", 3600.0)
    came = threading.Event()
    handlers = Handlers()
    handlers.on("some", [], lambda _event: came.set())
    couriers(handlers.group())
    wait_until(lambda: rows(database, f"select 1 {COURIERS}"))
    emit(database, 1)
    assert came.wait(60)


def test_what_was_handled_is_not_told_again_to_the_next_process(database: Database, couriers: Start) -> None:
    first, second = Seen(), Seen()
    emit(database, 1, 2)
    couriers(listening(one=first).group())
    wait_until(lambda: rows(database, "select 1 from hilum.delivery_cursor where name = 'one' and position = 2"))
    emit(database, 3)
    wait_until(lambda: len(first.taken) == 3)
    wait_until(lambda: rows(database, "select 1 from hilum.delivery_cursor where name = 'one' and position = 3"))
    couriers(listening(one=second).group())
    emit(database, 4)
    wait_until(lambda: "4" in first.taken + second.taken)
    assert sorted(first.taken + second.taken) == ["1", "2", "3", "4"]


def test_order_is_kept_over_a_failure_that_passes(database: Database, couriers: Start) -> None:
    seen = Seen(lambda subject, time: ValueError() if subject == "2" and time < 3 else None)
    emit(database, *range(1, 6))
    couriers(listening(one=seen).group())
    wait_until(lambda: len(seen.taken) == 5)
    assert seen.taken == ["1", "2", "3", "4", "5"]
    assert seen.calls.count("2") == 3
    wait_until(lambda: rows(database, "select count(*) from hilum.delivery") == [(0,)])


def test_a_poison_event_becomes_a_dead_letter_and_stops_nobody(database: Database, couriers: Start) -> None:
    poisoned, other = Seen(lambda subject, _: ValueError("Doe^Jane") if subject == "2" else None), Seen()
    emit(database, *range(1, 6))
    couriers(listening(one=poisoned, two=other).group())
    dead = "select event_id, state, attempts, reason from hilum.delivery where state = 'dead'"
    wait_until(lambda: rows(database, dead) and len(other.taken) == 5)
    assert (poisoned.taken, other.taken) == (["1", "3", "4", "5"], ["1", "2", "3", "4", "5"])
    assert poisoned.calls.count("2") == len(QUICK.delivery_retry_seconds) + 1
    ((event, _, attempts, reason),) = rows(database, dead)
    assert (event, attempts) == (2, 6)
    assert "ValueError" in str(reason)
    assert "Doe" not in str(reason)


def test_later_events_wait_for_a_poison_event_only_the_first_few_times(database: Database, couriers: Start) -> None:
    seen = Seen(lambda subject, _: ValueError() if subject == "2" else None)
    emit(database, 1, 2, 3)
    couriers(listening(one=seen).group(), settings=Settings(delivery_retry_seconds=[0.05, 0.05, 0.05, 3600.0]))
    wait_until(lambda: seen.taken == ["1", "3"])
    assert seen.calls == ["1", "2", "2", "2", "2", "3"]
    assert rows(database, "select state, attempts from hilum.delivery") == [("retrying", 4)]


def test_a_dead_letter_is_told_once_more_when_it_is_replayed(database: Database, couriers: Start) -> None:
    well = threading.Event()
    seen = Seen(lambda subject, _: ValueError() if subject == "1" and not well.is_set() else None)
    emit(database, 1, 2)
    couriers(listening(one=seen).group())
    wait_until(lambda: rows(database, "select 1 from hilum.delivery where state = 'dead'"))
    well.set()
    assert replay(database, consumer="one") == 1
    wait_until(lambda: seen.taken == ["2", "1"])
    wait_until(lambda: rows(database, "select 1 from hilum.delivery") == [])


def test_while_a_handler_lacks_what_it_needs_its_events_wait_and_none_is_given_up(
    database: Database, couriers: Start
) -> None:
    well = threading.Event()
    seen = Seen(lambda _subject, _time: None if well.is_set() else Unavailable("The FHIR server is away."))
    emit(database, 1, 2)
    couriers(listening(one=seen).group())
    problem = "select problem from hilum.delivery_cursor where failures >= 2"
    wait_until(lambda: rows(database, problem) == [("The FHIR server is away.",)])
    well.set()
    wait_until(lambda: seen.taken == ["1", "2"])
    assert rows(database, "select 1 from hilum.delivery") == []
    wait_until(lambda: rows(database, "select failures, problem from hilum.delivery_cursor") == [(0, "")])


def test_patience_ends(database: Database, couriers: Start) -> None:
    seen = Seen(lambda _subject, _time: Unavailable("The FHIR server is away."))
    emit(database, 1)
    couriers(listening(one=seen).group(), settings=Settings(delivery_patience_hours=0))
    wait_until(lambda: rows(database, "select state from hilum.delivery") == [("dead",)])


def test_a_handler_that_stands_still_stops_no_other(database: Database, couriers: Start) -> None:
    release = threading.Event()
    handlers = Handlers()
    handlers.on("still", [], lambda _event: release.wait(60) and None)
    seen = Seen()
    handlers.on("other", [], seen)
    couriers(handlers.group())
    emit(database, *range(20))
    wait_until(lambda: len(seen.taken) == 20)
    release.set()


def test_of_several_workers_one_tells_a_handler_at_a_time(database: Database, couriers: Start) -> None:
    inside = threading.Lock()
    overlaps: list[str] = []
    seen = Seen()

    def handle(event: dict[str, object]) -> None:
        if not inside.acquire(blocking=False):
            overlaps.append(str(event["subject"]))
            return
        seen(event)
        inside.release()

    for _ in range(3):
        handlers = Handlers()
        handlers.on("one", [], handle)  # pyright: ignore
        couriers(handlers.group())
    emit(database, *range(60))
    wait_until(lambda: len(seen.taken) + len(overlaps) >= 60)
    assert (overlaps, seen.taken) == ([], [str(n) for n in range(60)])


def test_a_worker_may_serve_one_handler_alone(database: Database, couriers: Start) -> None:
    one, two = Seen(), Seen()
    emit(database, 1, 2)
    couriers(listening(one=one, two=two).group(), only=("two",))
    wait_until(lambda: two.taken == ["1", "2"])
    assert one.calls == []
    assert rows(database, "select name from hilum.delivery_cursor") == [("two",)]


def test_a_lost_connection_to_the_database_loses_nothing(
    database: Database, couriers: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier, "POLL_SECONDS", 0.5)
    seen = Seen()
    couriers(listening(one=seen).group())
    emit(database, *range(10))
    wait_until(lambda: seen.taken)
    assert rows(database, f"select pg_terminate_backend(pid) {COURIERS}") == [(True,)]
    emit(database, *range(10, 20))
    wait_until(lambda: set(seen.taken) >= {str(n) for n in range(20)})


@pytest.mark.parametrize("name", ["", "A", "nats", "webhook:1", "twice"])
def test_a_name_that_cannot_be_is_refused(name: str) -> None:
    handlers = Handlers()
    handlers.on("twice", [], lambda _event: None)
    with pytest.raises(Invalid):
        handlers.on(name, [], lambda _event: None)


WORKER = """
import sys, threading
from hilum.core.config import Settings
from hilum.core.database import Database
from hilum.core.delivery import Handlers, courier
from hilum.core.delivery.courier import Courier

database = Database(sys.argv[1], pool_size=4)

left = int(sys.argv[3])

def handle(event):
    global left
    if not left:
        threading.Event().wait()  # stands still before it is told of one more
    left -= 1
    with open(sys.argv[2], "a") as file:
        file.write(event["id"] + " " + event["subject"] + "\\n")

handlers = Handlers()
handlers.on("one", [], handle)
with Courier(database, Settings(), [handlers.group()]).running():
    threading.Event().wait()
"""


@pytest.fixture
def worker(database_url: str, tmp_path: Path) -> Iterator[Callable[[int], subprocess.Popen[bytes]]]:
    """Starts workers, which are told of so many events and then stand still."""
    (tmp_path / "worker.py").write_text(WORKER)
    running: list[subprocess.Popen[bytes]] = []

    def start(most: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(tmp_path / "worker.py"), database_url, str(tmp_path / "told"), str(most)]
        running.append(subprocess.Popen(command))
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.wait()


def test_a_killed_worker_loses_no_event(
    database: Database, worker: Callable[[int], subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    """kill -9 in the middle: each event is told at least once, and each after the one before it."""
    told = tmp_path / "told"
    with database.transaction() as sql:
        sql.emit(*(Event("x.v1", "default", str(n), {}) for n in range(800)))

    def lines() -> list[list[str]]:
        return [line.split() for line in told.read_text().splitlines()] if told.exists() else []

    for most in (130, 250):
        goal = len(lines()) + most
        process = worker(most)
        wait_until(lambda goal=goal: len(lines()) == goal, 90)
        process.kill()
        process.wait()
    worker(-1)
    wait_until(lambda: len({subject for _, subject in lines()}) == 800, 90)
    first = list(dict.fromkeys(subject for _, subject in lines()))
    assert first == [str(n) for n in range(800)]
    assert len({event for event, _ in lines()}) == 800
