"""A real NATS, receivers (``hilum dicom``) and proxies (``hilum proxy``) as processes of their own, DICOM's own tools
as modalities, and a line between relay and NATS that can be cut and spoilt."""

import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from hilum.core.delivery.jetstream import Publisher
from hilum.core.nats import Link, NatsOptions
from hilum.core.postgres import EmbeddedPostgres
from tests.conftest import free_port, fresh_database, wait_until

_ADDRESS = re.compile(rb"(?:DICOM|The proxy) is at \S*?:(\d+) ")


class Nats:
    """A NATS server that can be killed and started again on its port."""

    def __init__(self, folder: Path, extra: str = "") -> None:
        self.port = free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self._log = folder / "nats.log"
        self._config = folder / "nats.conf"
        self._config.write_text(f"listen: 127.0.0.1:{self.port}\n{extra}\n")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            command = [str(Path(sys.executable).with_name("nats-server")), "-c", str(self._config)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until(lambda: is_open(self.port), what="NATS")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@dataclass
class Process:
    """A running ``hilum dicom`` or ``hilum proxy``."""

    process: subprocess.Popen[bytes]
    log: Path
    port: int = 0

    def said(self, text: str) -> bool:
        """Whether its log has a word."""
        return text.encode() in self.log.read_bytes()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()
            raise


@dataclass
class Site:
    """What a test works with."""

    folder: Path
    database_url: str
    nats: Nats
    stack: ExitStack
    _count: list[int] = field(default_factory=lambda: [0])

    def dicom(self, *words: str, nats: str = "", **settings: object) -> Process:
        """Start a receiver."""
        words = ("dicom", "--dicom-port", "0", "--nats", nats or self.nats.url, *words)
        return self._start(words, {"DATABASE_URL": self.database_url, **settings})

    def proxy(self, *words: str | Path, nats: str = "", port: int = 0, **settings: object) -> Process:
        """Start a proxy."""
        words = ("proxy", "--listen-port", str(port), "--nats", nats or self.nats.url, *map(str, words))
        return self._start(words, settings)  # pyright: ignore[reportArgumentType]

    def connected(self, *processes: Process) -> None:
        """Wait until processes have found NATS."""
        for process in processes:
            wait_until(lambda one=process: one.said("relay.connected"), 60, "a relay that is connected")

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """Ask the catalogue."""
        with psycopg.connect(self.database_url.replace("+psycopg", "")) as connection:
            return connection.execute(query).fetchall()  # pyright: ignore[reportArgumentType, reportCallIssue]

    def digests(self) -> dict[str, str]:
        """BLAKE3 of each data set in the archive, by SOP Instance UID, read from the files themselves."""
        found = self.rows("select sop_instance_uid, blob_key from hilum.instance where deleted_at is null")
        return {str(uid): body_digest((self.folder / "data" / "objects" / str(key)).read_bytes()) for uid, key in found}

    def _start(self, words: tuple[str, ...], settings: dict[str, object]) -> Process:
        self._count[0] += 1
        log = self.folder / f"{words[0]}-{self._count[0]}.log"
        given = {"DATA": self.folder / "data", "MIN_FREE_BYTES": 0, "RELAY_SILENCE_SECONDS": 5} | settings
        environment = os.environ | {f"HILUM_{name.upper()}": str(value) for name, value in given.items()}
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "hilum", *words], env=environment, stdout=output, stderr=output
            )
        started = Process(process, log)
        self.stack.callback(started.stop)

        def told() -> bool:
            if process.poll() is not None:
                pytest.fail(f"hilum {words[0]} ended: {log.read_text()[-3000:]}")
            found = _ADDRESS.search(log.read_bytes())
            started.port = int(found[1]) if found else 0
            return found is not None

        wait_until(told, 240, f"a started hilum {words[0]}")
        return started


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[Nats]:
    """A NATS without TLS."""
    server = Nats(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def site(tmp_path: Path, database_url: str, nats: Nats) -> Iterator[Site]:
    """A place to start receivers and proxies in."""
    with ExitStack() as stack:
        yield Site(tmp_path, database_url, nats, stack)


@dataclass
class Running:
    """A proxy and a receiver that tests share, with AEs inside and one at the edge, by their ports."""

    site: Site
    receiver: Process
    proxy: Process
    pacs: int
    slow: int
    local: int


def publish(url: str) -> None:
    """Put an event on the stream of events, as a Hilum does that uses the same NATS for both."""
    event: dict[str, object] = {
        "specversion": "1.0", "id": "1", "source": "http://hilum/default", "type": "hilum.study.revised.v1",
        "subject": "1.2", "time": "2026-01-01T00:00:00Z", "sequence": "1", "data": {},
    }  # fmt: skip
    publisher = Publisher(Link(NatsOptions((url,))), "http://hilum", list)
    assert list(publisher.deliver([event])) == [None]


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory, cluster: EmbeddedPostgres) -> Iterator[Running]:
    """Started once: starting costs more than most of what is tested."""
    place = tmp_path_factory.mktemp("relay")
    with ExitStack() as stack:
        url = stack.enter_context(fresh_database(cluster))
        bus = Nats(place, f'jetstream {{ store_dir: "{place}/jetstream" }}')
        bus.start()
        stack.callback(bus.kill)
        publish(bus.url)
        site = Site(place, url, bus, stack)
        pacs, slow, local = free_port(), free_port(), free_port()
        callers = "STORESCU,ECHOSCU,FINDSCU,MOVESCU,GETSCU"
        targets = f"PACS=127.0.0.1:{pacs},SLOW=127.0.0.1:{slow},GONE=127.0.0.1:1"
        receiver = site.dicom(
            "--channel", "st-mary,other", DICOM_TARGETS=targets, DICOM_PEERS=f"{callers},CT01=nats:st-mary"
        )
        proxy = site.proxy(
            "--channel", "st-mary", "--peers", callers, "--local", f"CT01=127.0.0.1:{local}", DICOM_MAX_ASSOCIATIONS=6
        )
        site.connected(receiver, proxy)
        yield Running(site, receiver, proxy, pacs, slow, local)


@dataclass
class Line:
    """A TCP line to NATS that can be cut, and treats what is on its way as it is told.

    Parameters
    ----------
    target
        NATS's port.
    changes
        Makes what treats the bytes of one direction of a connection; called for each anew.
    pace
        Bytes a second that go towards NATS on all connections; 0 for as many as there are.
    """

    target: int
    changes: Callable[[], Callable[[bytes], bytes]] = lambda: bytes
    pace: int = 0
    port: int = 0
    carried: int = 0
    """Bytes that went towards NATS."""
    _open: list[socket.socket] = field(default_factory=list[socket.socket])
    _clock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Cut every connection; new ones are taken."""
        lines, self._open = self._open, []
        for one in lines:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def run(self, door: socket.socket) -> None:
        while True:
            try:
                near, _ = door.accept()
                far = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                return
            self._open += [near, far]
            for source, sink in ((near, far), (far, near)):
                words = (source, sink, self.changes(), source is near)
                threading.Thread(target=self._pass, args=words, daemon=True).start()

    def _pass(
        self, source: socket.socket, sink: socket.socket, change: Callable[[bytes], bytes], towards: bool
    ) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if towards:
                    with self._clock:
                        self.carried += len(data)
                        if self.pace:  # as long as so many bytes are on a line of that speed
                            time.sleep(len(data) / self.pace)
                sink.sendall(change(data))
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


@contextmanager
def line_to(
    nats: Nats, changes: Callable[[], Callable[[bytes], bytes]] = lambda: bytes, pace: int = 0
) -> Iterator[Line]:
    """A line to NATS."""
    with socket.socket() as door:
        if pace:
            door.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)  # no more shall be on its way than it carries
        door.bind(("127.0.0.1", 0))
        door.listen()
        line = Line(nats.port, changes, pace, door.getsockname()[1])
        threading.Thread(target=line.run, args=(door,), daemon=True).start()
        yield line
        line.cut()
        door.shutdown(socket.SHUT_RDWR)


class Fates:
    """What becomes of the relay's messages on a line: of each kind of misfortune some, by chance."""

    def __init__(self, seed: int) -> None:
        self.counts: Counter[str] = Counter()
        self._chance = random.Random(seed)

    def direction(self) -> Callable[[bytes], bytes]:
        """What treats the bytes of one direction, which are NATS's protocol."""
        waiting = bytearray()
        late: list[tuple[int, bytes]] = []
        count = 0

        def treat(data: bytes) -> bytes:
            nonlocal count
            waiting.extend(data)
            out = b""
            while command := _command(waiting):
                count += 1
                fate = self._fate(command)
                if fate == "late":
                    late.append((count + 3, command))
                elif fate != "lost":
                    out += command * (2 if fate == "repeated" else 1)
                while late and late[0][0] <= count:
                    out += late.pop(0)[1]
            return out

        return treat

    def _fate(self, command: bytes) -> str:
        body = command.partition(b"\r\n")[2]
        if body[:4] != b"HLMR" or body[5] not in (4, 5, 6):  # DATA, ACK, END
            return "right"
        fate = self._chance.choices(("right", "lost", "repeated", "late"), (88, 4, 4, 4))[0]
        self.counts[fate] += 1
        return fate


def _command(waiting: bytearray) -> bytes:
    """Take the first whole command of NATS's protocol, with its payload; nothing where none is whole."""
    end = waiting.find(b"\r\n") + 2
    if end < 2:
        return b""
    words = bytes(waiting[: end - 2]).split()
    if words and words[0] in (b"PUB", b"MSG"):
        end += int(words[-1]) + 2
    if len(waiting) < end:
        return b""
    command = bytes(waiting[:end])
    del waiting[:end]
    return command


def is_open(port: int) -> bool:
    """Whether something listens on a port of loopback."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False


def body_digest(file: bytes) -> str:
    """BLAKE3 of the data set of a file."""
    from blake3 import blake3

    from hilum.imaging.dicom.header import scan

    return blake3(file[scan(file).data_set_offset :]).hexdigest()
