"""NATS JetStream: every event once and in order, whatever is killed."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from nats.js.api import StreamConfig

from hilum.core.config import Settings, explain_settings
from hilum.core.database import Database
from hilum.core.delivery import jetstream
from hilum.core.delivery.jetstream import STREAM, Publisher
from hilum.core.errors import Unavailable
from hilum.core.events import Event
from hilum.core.nats import Link, NatsOptions
from tests.conftest import wait_until
from tests.delivery.conftest import Nats, emit, rows

Start = Callable[..., None]
POSITION = "select position from hilum.delivery_cursor where name = 'nats'"


def publish(server: Nats, couriers: Start) -> None:
    couriers(Publisher(Link(NatsOptions((server.url,))), "http://hilum", list).group())


def emit_many(database: Database, first: int, last: int) -> None:
    with database.transaction() as transaction:
        transaction.emit(*(Event("hilum.x.v1", "default", str(n), {"n": n}) for n in range(first, last)))


def subjects(server: Nats) -> list[str]:
    return [json.loads(message.data or b"")["subject"] for message in server.messages(STREAM)]


def test_an_event_is_published_as_one_document_on_its_subject(
    database: Database, couriers: Start, nats_server: Nats
) -> None:
    emit(database, "1.2.3", type="hilum.instance.stored.v1", source="north", n=1)
    publish(nats_server, couriers)
    wait_until(lambda: nats_server.count(STREAM) == 1)
    (message,) = nats_server.messages(STREAM)
    event = json.loads(message.data or b"")
    assert message.subject == "hilum.north.instance.stored.v1"
    assert (message.headers or {})["Nats-Msg-Id"] == event["id"]
    assert (message.headers or {})["Content-Type"] == "application/cloudevents+json"
    assert (event["subject"], event["data"], event["sequence"]) == ("1.2.3", {"n": 1}, "1")


def test_a_server_that_is_killed_and_comes_back_has_every_event_once(
    database: Database, couriers: Start, nats_server: Nats
) -> None:
    emit_many(database, 0, 3000)
    publish(nats_server, couriers)
    wait_until(lambda: nats_server.count(STREAM) > 0)
    nats_server.kill()
    emit_many(database, 3000, 3500)
    wait_until(lambda: rows(database, "select 1 from hilum.delivery_cursor where failures >= 2"))
    nats_server.start()
    wait_until(lambda: rows(database, POSITION) == [(3500,)], 120)
    assert subjects(nats_server) == [str(n) for n in range(3500)]
    assert rows(database, "select 1 from hilum.delivery") == []


def test_after_a_break_longer_than_the_window_nothing_comes_twice(
    database: Database, couriers: Start, nats_server: Nats
) -> None:
    """The acknowledgements of half a batch are lost: the last message of the stream tells how far it came."""

    async def prepare(js) -> None:
        await js.add_stream(StreamConfig(name=STREAM, subjects=["hilum.>"], duplicate_window=0.1))

    nats_server.call(prepare)
    emit_many(database, 0, 20)
    publish(nats_server, couriers)
    wait_until(lambda: rows(database, POSITION) == [(20,)])
    nats_server.kill()  # the connection is a new one
    with database.transaction() as transaction:
        transaction.rows("update hilum.delivery_cursor set position = 7")
    nats_server.start()
    emit_many(database, 20, 25)
    wait_until(lambda: rows(database, POSITION) == [(25,)], 60)
    assert subjects(nats_server) == [str(n) for n in range(25)]


def test_an_event_that_is_too_large_tells_where_it_is(database: Database, couriers: Start, nats_server: Nats) -> None:
    emit(database, "small")
    emit(database, "large", instances=["1.2.840." + "1" * 50] * 30_000)
    emit(database, "after")
    publish(nats_server, couriers)
    wait_until(lambda: nats_server.count(STREAM) == 3)
    event = json.loads(nats_server.messages(STREAM)[1].data or b"")
    assert event["dataref"] == "http://hilum/api/v1/imaging/events?after=1&limit=1"
    assert "data" not in event


def test_what_no_subject_can_hold_is_a_dead_letter(database: Database, couriers: Start, nats_server: Nats) -> None:
    emit(database, 1, source="a b")
    emit(database, 2)
    publish(nats_server, couriers)
    wait_until(lambda: nats_server.count(STREAM) == 1)
    assert rows(database, "select event_id, state, attempts from hilum.delivery") == [(1, "dead", 1)]


def test_a_message_larger_than_the_stream_takes_stops_no_other(
    database: Database, couriers: Start, nats_server: Nats
) -> None:
    async def prepare(js) -> None:
        await js.add_stream(StreamConfig(name=STREAM, subjects=["hilum.>"], max_msg_size=2000))

    nats_server.call(prepare)
    emit(database, "large", text="x" * 4000, type="hilum.x.v1")
    emit(database, "small", type="hilum.x.v1")
    publish(nats_server, couriers)
    wait_until(lambda: rows(database, POSITION) == [(2,)])
    assert subjects(nats_server) == ["small"]
    assert rows(database, "select event_id, state from hilum.delivery") == [(1, "dead")]


def test_without_nats_events_wait(database: Database, couriers: Start, nats_server: Nats) -> None:
    nats_server.kill()
    emit(database, 1, 2)
    publish(nats_server, couriers)
    wait_until(lambda: rows(database, "select 1 from hilum.delivery_cursor where failures >= 1 and position = 0"))
    nats_server.start()
    wait_until(lambda: nats_server.count(STREAM) == 2)


WORKER = """
import sys, threading
from hilum.core.config import Settings
from hilum.core.database import Database
from hilum.core.delivery.courier import Courier
from hilum.core.delivery.jetstream import Publisher
from hilum.core.nats import Link, NatsOptions

database = Database(sys.argv[1], pool_size=4)
group = Publisher(Link(NatsOptions((sys.argv[2],))), "http://hilum", list).group()
with Courier(database, Settings(), [group]).running():
    threading.Event().wait()
"""


def test_a_killed_worker_publishes_nothing_twice_and_leaves_nothing_out(
    database: Database, database_url: str, nats_server: Nats, tmp_path: Path
) -> None:
    (tmp_path / "worker.py").write_text(WORKER)
    emit_many(database, 0, 5000)
    command = [sys.executable, str(tmp_path / "worker.py"), database_url, nats_server.url]
    for goal in (1, 1500, 5000):
        process = subprocess.Popen(command)
        wait_until(lambda goal=goal: nats_server.count(STREAM) >= goal, 120)
        process.kill()
        process.wait()
    assert subjects(nats_server) == [str(n) for n in range(5000)]


def test_a_password_opens_nats_and_is_shown_nowhere(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    server = Nats(tmp_path, "authorization { user: hilum, password: geheim }")
    server.start()
    try:
        address = server.url.replace("//", "//hilum:geheim@")
        options = NatsOptions.of(Settings(nats_url=f"nats://127.0.0.1:1, {address}"))
        assert Link(options).run(_is_connected)
        with pytest.raises(Unavailable) as failed:
            Link(NatsOptions.of(Settings(nats_url=server.url.replace("//", "//hilum:falsch@")))).run(_is_connected)
        shown = {s.name: s.value for s in explain_settings(Settings(nats_url=address))}["HILUM_NATS_URL"]
    finally:
        server.kill()
    assert shown == server.url.replace("//", "//***@")
    output = capfd.readouterr()
    assert not any(
        word in text for word in ("geheim", "falsch") for text in (str(failed.value), output.out, output.err)
    )


async def _is_connected(client) -> bool:
    return client.is_connected


def test_the_subject_of_an_event() -> None:
    event = {"source": "http://hilum/sources/north", "type": "hilum.study.revised.v1"}
    assert jetstream.subject_of(event) == "north.study.revised.v1"
