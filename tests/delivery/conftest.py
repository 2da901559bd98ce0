"""Events to deliver, and couriers that do it."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from hilum.core.config import Settings
from hilum.core.database import Database
from hilum.core.delivery.consumer import Group
from hilum.core.delivery.courier import Courier
from hilum.core.events import Event
from tests.conftest import free_port, wait_until

QUICK = Settings(delivery_retry_seconds=[0.05] * 5, public_url="http://hilum")


def emit(database: Database, *subjects: object, type: str = "x.v1", source: str = "default", **data: object) -> None:  # noqa: A002
    """Write events, each in a transaction of its own."""
    for subject in subjects:
        with database.transaction() as transaction:
            transaction.emit(Event(type, source, str(subject), data))


def rows(database: Database, query: str) -> list[tuple[object, ...]]:
    """What a query finds."""
    with database.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(query)]


class Seen:
    """A handler that writes down what it is told, and fails where a test wants it."""

    def __init__(self, fail: Callable[[str, int], Exception | None] = lambda _subject, _time: None) -> None:
        self.calls: list[str] = []
        self.taken: list[str] = []
        self.ids: list[str] = []
        self._fail = fail
        self._lock = threading.Lock()

    def __call__(self, event: Mapping[str, object]) -> None:
        with self._lock:
            subject = str(event["subject"])
            self.calls.append(subject)
            error = self._fail(subject, self.calls.count(subject))
            if error:
                raise error
            self.taken.append(subject)
            self.ids.append(str(event["id"]))


@pytest.fixture
def couriers(database: Database) -> Iterator[Callable[..., None]]:
    """Starts couriers, which end with the test."""
    with ExitStack() as stack:

        def start(*groups: Group, settings: Settings = QUICK, only: tuple[str, ...] = ()) -> None:
            stack.enter_context(Courier(database, settings, groups).running(only))

        yield start


class Receiver:
    """A process that receives webhooks; see ``receiver.py``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/events"
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir()
        self.mode("204")

    def mode(self, mode: str) -> None:
        (self.folder / "new").write_text(mode)
        (self.folder / "new").rename(self.folder / "mode")

    def start(self) -> None:
        script = str(Path(__file__).with_name("receiver.py"))
        self.process = subprocess.Popen([sys.executable, script, str(self.folder), str(self.port)])
        wait_until(lambda: is_open(self.port))

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def requests(self) -> list[dict[str, Any]]:
        """What was received so far."""
        path = self.folder / "requests"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def subjects(self) -> list[str]:
        return [request["headers"]["ce-subject"] for request in self.requests()]


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    """A running receiver that takes everything."""
    made = Receiver(tmp_path / "receiver")
    made.start()
    yield made
    made.stop()
