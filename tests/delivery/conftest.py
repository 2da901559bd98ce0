"""Events to deliver, and couriers that do it."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack

import pytest

from hilum.core.config import Settings
from hilum.core.database import Database
from hilum.core.delivery.consumer import Group
from hilum.core.delivery.courier import Courier
from hilum.core.events import Event

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
