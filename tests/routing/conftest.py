"""An archive that forwards, what it is told to do, and targets: a second Hilum, and nodes that are not Hilum's."""

import io
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest
from pydicom.filereader import _read_file_meta_info, read_preamble  # pyright: ignore
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification

from hilum.core.blobs import LocalBlobs
from hilum.core.config import Settings
from hilum.core.database import Database
from hilum.core.events import read_events
from hilum.core.postgres import EmbeddedPostgres
from hilum.imaging.archive.store import Archive
from hilum.imaging.routing import matching, queue
from hilum.imaging.routing.conditions import Conditions
from hilum.imaging.routing.destinations import Address, add_destination
from hilum.imaging.routing.rules import add_rule
from hilum.imaging.routing.sending import deliver
from tests.conftest import fresh_database
from tests.dicomweb.conftest import Web, listening

Json = dict[str, object]
FIRST_WAIT = 0.1
"""Seconds of the first wait after a failure."""


@dataclass
class Forwarder:
    """An archive with rules. Events are told to it twice, as they may be."""

    archive: Archive
    heard: int = 0
    _number: int = field(default=0)

    @property
    def database(self) -> Database:
        return self.archive.database

    def keep(self, *instances: bytes, sender: str = "", source: str = "default") -> None:
        """Have instances arrive."""
        with self.archive.batch(self.archive.source(source), "dimse", sender=sender) as batch:
            for number, one in enumerate(instances):
                batch.add(str(number), [one])
            outcomes = batch.commit().outcomes
        assert {outcome.state for outcome in outcomes} <= {"added", "replaced", "duplicate"}, outcomes

    def events(self, after: int = 0) -> list[Json]:
        with self.database.connect() as connection:
            return read_events(connection, "http://hilum.example", after=after, limit=10_000)

    def hear(self) -> int:
        """Handle what has happened since the last time; gives how many were queued."""
        queued = 0
        for event in self.events(self.heard):
            self.heard = int(str(event["sequence"]))
            if event["type"] in (matching.STORED, matching.REVISED):
                queued += matching.handle(self.database, self.archive.choice, event)
                assert matching.handle(self.database, self.archive.choice, event) == 0
        return queued

    def destination(self, **given: object) -> int:
        """Add a destination, of the kind that its address is of."""
        self._number += 1
        credentials = given.pop("credentials", {})
        address = Address(**({"retry_seconds": FIRST_WAIT, "timeout_seconds": 5.0} | given))  # pyright: ignore
        kind = "stow" if address.url else "cstore"
        return add_destination(self.database, f"destination {self._number}", kind, address, credentials)  # pyright: ignore

    def rule(self, destination: int, when: str = "instance", priority: int = 0, **conditions: object) -> int:
        self._number += 1
        return add_rule(
            self.database, self.archive.choice, name=f"rule {self._number}", destination_id=destination,
            when=when, conditions=Conditions(**conditions), priority=priority,  # pyright: ignore
        )  # fmt: skip

    def send(self, seconds: float = 60) -> None:
        """Send until nothing waits any more, as the workers do."""
        deadline = time.monotonic() + seconds
        while self.count("waiting", "sending"):
            if held := queue.lease(self.database):
                deliver(self.archive, held)
            elif time.monotonic() > deadline:
                pytest.fail(f"still waiting: {self.items()}")
            else:
                time.sleep(0.02)

    def send_once(self) -> bool:
        """Send what is leased next, if anything is due."""
        held = queue.lease(self.database)
        if held:
            deliver(self.archive, held)
        return held is not None

    def count(self, *states: str) -> int:
        with self.database.transaction() as sql:
            (row,) = sql.rows("select count(*) n from hilum.routing_item where state = any(%s)", (list(states),))
        return int(str(row["n"]))

    def items(self) -> list[Json]:
        with self.database.transaction() as sql:
            return sql.rows(
                "select i.*, n.sop_instance_uid "
                "from hilum.routing_item i join hilum.instance n on n.id = i.instance_id "
                "order by i.id"
            )

    def states(self) -> dict[str, str]:
        """State of each instance's item by SOP Instance UID."""
        return {str(item["sop_instance_uid"]): str(item["state"]) for item in self.items()}


@pytest.fixture
def forwarder(archive: Archive) -> Forwarder:
    """An archive of the test's own."""
    return Forwarder(archive)


@pytest.fixture
def target(cluster: EmbeddedPostgres, tmp_path: Path) -> Iterator[Web]:
    """A second Hilum, with a database of its own."""
    with fresh_database(cluster) as url:
        database = Database(url, pool_size=6)
        settings = Settings(data=tmp_path / "target", min_free_bytes=0)
        with listening(Archive(database, LocalBlobs(tmp_path / "target-objects", 0), settings)) as running:
            yield running
        database.close()


def held_by(archive: Archive) -> dict[str, str]:
    """What an archive holds: digests by SOP Instance UID."""
    with archive.database.transaction() as sql:
        rows = sql.rows("select sop_instance_uid, digest from hilum.instance where deleted_at is null")
    return {str(row["sop_instance_uid"]): str(row["digest"]) for row in rows}


def arrivals_at(archive: Archive) -> list[str]:
    """SOP Instance UIDs of all that was ever added or replaced, in order."""
    with archive.database.transaction() as sql:
        rows = sql.rows("select subject from hilum.event where type = %s order by id", (matching.STORED,))
    return [str(row["subject"]) for row in rows]


@dataclass
class Node:
    """A pynetdicom storage SCP: what it was sent, in the order of its arrival."""

    port: int
    received: list[tuple[str, bytes]]
    associations: list[str]

    @property
    def uids(self) -> list[str]:
        return [uid for uid, _ in self.received]


@contextmanager
def node(
    *,
    status: Callable[[str], int] = lambda _: 0,
    syntaxes: list[str] | None = None,
    require_called: bool = False,
    port: int = 0,
    tls: object = None,
    abort: Callable[[str], bool] = lambda _: False,
) -> Iterator[Node]:
    """A DICOM node called PEER that answers each instance with a status of the test's choice."""
    ae = AE("PEER")
    ae.require_called_aet = require_called
    ae.maximum_pdu_size = 16382
    for context in AllStoragePresentationContexts[:128]:
        ae.add_supported_context(context.abstract_syntax, syntaxes or EVERYTHING)  # pyright: ignore
    ae.add_supported_context(Verification)
    found = Node(0, [], [])

    def store(event: evt.Event) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)  # pyright: ignore
        if abort(uid):
            event.assoc.abort()
            return 0
        answer = status(uid)
        if answer == 0 or answer & 0xF000 == 0xB000:
            found.received.append((uid, event.encoded_dataset()))
        return answer

    handlers = [
        (evt.EVT_C_STORE, store),
        (evt.EVT_ACCEPTED, lambda event: found.associations.append(event.assoc.requestor.ae_title)),
    ]
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers, ssl_context=tls)  # pyright: ignore
    found.port = server.server_address[1]  # pyright: ignore
    try:
        yield found
    finally:
        server.shutdown()  # pyright: ignore


EVERYTHING = [
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.5",
]


def data_set_of(file: bytes) -> bytes:
    """The bytes of a Part 10 file behind its File Meta Information."""
    reader = io.BytesIO(file)
    read_preamble(reader, force=False)
    _read_file_meta_info(reader)
    return file[reader.tell() :]


Answer = tuple[int, Mapping[str, str], bytes]


@dataclass
class OddTarget:
    """An HTTP server that answers as a test tells it, and keeps what it was asked."""

    url: str
    requests: list[tuple[str, dict[str, str], bytes]]


@contextmanager
def odd_target(answer: Callable[[int, bytes], Answer], port: int = 0) -> Iterator[OddTarget]:
    """Serve answers: each by the number of the request, from 1, and its body."""
    found = OddTarget("", [])

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self._answer(self._body())

        def do_GET(self) -> None:
            self._answer(b"")

        def _body(self) -> bytes:
            if "chunked" not in self.headers.get("Transfer-Encoding", ""):
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def _answer(self, body: bytes) -> None:
            found.requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            status, headers, content = answer(len(found.requests), body)
            try:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except OSError:
                pass  # the client has had enough

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    Thread(target=server.serve_forever, daemon=True).start()
    found.url = f"http://127.0.0.1:{server.server_address[1]}/dicom-web"
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def api(archive: Archive) -> Iterator[httpx.Client]:
    """REST of the archive that forwards."""
    with (
        listening(archive) as web,
        httpx.Client(base_url=web.root.removesuffix("/dicom-web") + "/api/v1/imaging", timeout=60) as client,
    ):
        yield client
