"""Events to deliver, and couriers that do it."""

import asyncio
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg
from nats.js.errors import NotFoundError

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

    def __init__(self, folder: Path, certificate: Path | None = None) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http{'s' if certificate else ''}://127.0.0.1:{self.port}/events"
        self._certificate = [str(certificate)] if certificate else []
        self.process: subprocess.Popen[bytes] | None = None
        self._read: list[dict[str, Any]] = []
        self._offset = 0
        folder.mkdir()
        self.mode("204")

    def mode(self, mode: str) -> None:
        (self.folder / "new").write_text(mode)
        (self.folder / "new").rename(self.folder / "mode")

    def start(self) -> None:
        script = str(Path(__file__).with_name("receiver.py"))
        self.process = subprocess.Popen([sys.executable, script, str(self.folder), str(self.port), *self._certificate])
        wait_until(lambda: is_open(self.port))

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def requests(self) -> list[dict[str, Any]]:
        """What was received so far; a line that is still being written is left for the next time."""
        path = self.folder / "requests"
        if path.exists():
            with path.open("rb") as file:
                file.seek(self._offset)
                whole = file.read().rpartition(b"\n")[0]
            self._read += [json.loads(line) for line in whole.splitlines()]
            self._offset += len(whole) + 1 if whole else 0
        return list(self._read)

    def subjects(self) -> list[str]:
        return [request["headers"]["ce-subject"] for request in self.requests()]


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def receiving(folder: Path, certificate: Path | None = None) -> Iterator[Receiver]:
    """Run a receiver that takes everything."""
    made = Receiver(folder, certificate)
    made.start()
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    """A running receiver that takes everything."""
    with receiving(tmp_path / "receiver") as running:
        yield running


def authority(folder: Path, *names: str) -> Path:
    """Make an authority (``ca.pem``), and for each name a certificate of 127.0.0.1 with its key in one file."""

    def openssl(*words: str | Path) -> None:
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)

    new = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    folder.mkdir()
    openssl(*new, "-subj", "/CN=ca", "-keyout", folder / "ca.key", "-out", folder / "ca.pem")
    for name in names:
        openssl(
            *new, "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-addext",
            "basicConstraints=critical,CA:FALSE", "-CA", folder / "ca.pem", "-CAkey", folder / "ca.key",
            "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem",
        )  # fmt: skip
        with (folder / f"{name}.pem").open("a") as file:
            file.write((folder / f"{name}.key").read_text())
    return folder


class Nats:
    """A NATS server with JetStream, whose store outlives it."""

    def __init__(self, folder: Path, extra: str = "", **client: object) -> None:
        self.port = free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self._client = client
        self._log = folder / "nats.log"
        self._config = folder / "nats.conf"
        store = f'jetstream {{ store_dir: "{folder}/store" }}'
        self._config.write_text(f"listen: 127.0.0.1:{self.port}\n{store}\n{extra}\n")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            command = [str(Path(sys.executable).with_name("nats-server")), "-c", str(self._config)]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until(lambda: is_open(self.port), what="NATS")

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def call(self, work: Callable[[JetStreamContext], Any]) -> Any:
        """Do something with JetStream."""

        async def calling() -> Any:
            client = await nats.connect(self.url, **self._client)  # pyright: ignore[reportArgumentType]
            try:
                return await work(client.jetstream())
            finally:
                await client.close()

        return asyncio.run(calling())

    def count(self, stream: str) -> int:
        """How many messages a stream holds; 0 when it is not there."""

        async def counting(js: JetStreamContext) -> int:
            try:
                return (await js.stream_info(stream)).state.messages
            except NotFoundError:
                return 0

        return self.call(counting)

    def messages(self, stream: str) -> list[RawStreamMsg]:
        """All messages of a stream, in order."""

        async def reading(js: JetStreamContext) -> list[RawStreamMsg]:
            state = (await js.stream_info(stream)).state
            return [await js.get_msg(stream, seq=n) for n in range(state.first_seq, state.last_seq + 1)]

        return self.call(reading)


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[Nats]:
    """A running NATS server."""
    server = Nats(tmp_path)
    server.start()
    yield server
    server.kill()
