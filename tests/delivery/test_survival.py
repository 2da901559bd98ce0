"""A whole Hilum whose workers are killed in the middle: each event arrives, each after the one before it."""

from pathlib import Path

from hilum.core.database import Database
from hilum.core.delivery import webhooks
from hilum.core.events import Event
from tests.conftest import serving, wait_until
from tests.delivery.conftest import Nats, Receiver

EVENTS = 500


def test_killed_workers_lose_no_event(
    database: Database, database_url: str, receiver: Receiver, nats_server: Nats, tmp_path: Path
) -> None:
    webhooks.add_hook(database, receiver.url, types=["hilum.x.v1"])
    with serving(tmp_path / "data", database_url, workers=2, nats_url=nats_server.url) as server:
        wait_until(lambda: len(server.children("worker")) == 2)
        with database.transaction() as transaction:
            transaction.emit(*(Event("hilum.x.v1", "default", str(n), {}) for n in range(EVENTS)))
        wait_until(lambda: len(receiver.requests()) >= 100, 90)
        for process in server.children("worker"):
            process.kill()
        wait_until(lambda: len(set(receiver.subjects())) == EVENTS, 90)
        wait_until(lambda: nats_server.count("HILUM_EVENTS") >= EVENTS, 90)
    assert list(dict.fromkeys(receiver.subjects())) == [str(n) for n in range(EVENTS)]
    assert len({request["headers"]["webhook-id"] for request in receiver.requests()}) == EVENTS
    assert nats_server.count("HILUM_EVENTS") == EVENTS
