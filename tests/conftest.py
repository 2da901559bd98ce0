"""What every test may use: one PostgreSQL cluster a run, a database of its own for each test, and real servers."""

import fcntl
import hashlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import httpx
import psycopg
import pytest
from httpx._transports import default as transport

from hilum.core.blobs import Blobs, LocalBlobs
from hilum.core.config import Settings
from hilum.core.database import Database
from hilum.core.errors import InUse
from hilum.core.postgres import EmbeddedPostgres, remove_database
from hilum.imaging.archive.arrivals import SourceRef
from hilum.imaging.archive.store import Archive
from tests.s3 import S3, s3_server

TEMPLATE = "hilum_template"

# Each `httpx.get` would read all certificates of the system anew, which takes 35 ms, ten times what the rest does.
transport.create_ssl_context = cache(transport.create_ssl_context)


def wait_until(condition: Callable[[], object], seconds: float = 30, what: str = "the condition") -> None:
    """Poll until a state is reached; fail when it is not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"{what} was not reached within {seconds} s")
        time.sleep(0.02)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """The PostgreSQL of this run, shared by all its workers; the last of them removes it."""
    run = tmp_path_factory.getbasetemp()
    run = run.parent if os.environ.get("PYTEST_XDIST_WORKER") else run
    # Not below pytest's own folder: as root the database's user could not reach it there.
    shared = Path(tempfile.gettempdir()) / f"hilum-tests-{hashlib.sha256(str(run).encode()).hexdigest()[:12]}"
    shared.mkdir(mode=0o711, exist_ok=True)
    with EmbeddedPostgres(shared / "cluster") as server:
        with (shared / "template.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            _make_template(server.url)
        yield server
    with suppress(InUse):
        remove_database(shared / "cluster")
        shutil.rmtree(shared)


def _make_template(url: str) -> None:
    with administration(url) as connection:
        if connection.execute("select 1 from pg_database where datname = %s", (TEMPLATE,)).fetchone():
            return
        connection.execute(f"create database {TEMPLATE}")
    database = Database(named(url, TEMPLATE), pool_size=1)
    database.migrate()
    database.close()


@contextmanager
def administration(url: str) -> Iterator[psycopg.Connection]:
    plain = url.replace("postgresql+psycopg://", "postgresql://")
    with psycopg.connect(plain, autocommit=True) as connection:
        yield connection


def named(url: str, name: str) -> str:
    head, _, query = url.partition("?")
    return f"{head.rpartition('/')[0]}/{name}?{query}"


@contextmanager
def fresh_database(cluster: EmbeddedPostgres) -> Iterator[str]:
    """A migrated database, dropped at the end."""
    name = f"test_{secrets.token_hex(6)}"
    with administration(cluster.url) as connection:
        connection.execute(f"create database {name} template {TEMPLATE}")
    yield named(cluster.url, name)
    with administration(cluster.url) as connection:
        connection.execute(f"drop database {name} with (force)")


@pytest.fixture
def database_url(cluster: EmbeddedPostgres) -> Iterator[str]:
    """A migrated database of the test's own."""
    with fresh_database(cluster) as url:
        yield url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """The test's database, open."""
    opened = Database(database_url, pool_size=6)
    yield opened
    opened.close()


_TESTS: Final = Path(__file__).parent
_SLOWEST_FIRST: Final = frozenset(("packaging", "deploy", "journeys", "dimse"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the folders whose tests take longest, so that no process is left alone with one at the end."""
    items.sort(key=lambda item: not _SLOWEST_FIRST.intersection(item.path.relative_to(_TESTS).parts))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what is marked ``bucket`` twice: with objects in files and in a bucket."""
    if metafunc.definition.get_closest_marker("bucket") and "archive" in metafunc.fixturenames:
        metafunc.parametrize("objects_in", ["files", "bucket"], indirect=True)


@pytest.fixture
def objects_in(request: pytest.FixtureRequest) -> str:
    """Where the test's archive keeps its objects: ``files`` or ``bucket``."""
    return getattr(request, "param", "files")


@pytest.fixture
def archive(database: Database, tmp_path: Path, objects_in: str, request: pytest.FixtureRequest) -> Iterator[Archive]:
    """An archive of the test's own, with objects below ``tmp_path`` or in a bucket."""
    settings = Settings(data=tmp_path / "data", min_free_bytes=0)
    blobs: Blobs = LocalBlobs(tmp_path / "objects", 0)
    if objects_in == "bucket":
        blobs = request.getfixturevalue("s3").blobs(tmp_path / "data")
    yield Archive(database, blobs, settings)
    blobs.close()


@pytest.fixture
def source(archive: Archive) -> SourceRef:
    """The default source."""
    return archive.source()


@dataclass
class Server:
    """A running ``hilum serve``."""

    url: str
    data: Path
    process: subprocess.Popen[bytes]
    log: Path
    environment: dict[str, str]

    @property
    def dicom_port(self) -> int:
        """The port of its DICOM listener."""
        return int((self.data / "run" / "dicom-port").read_text())

    def get(self, path: str, **options: object) -> httpx.Response:
        """GET below the server's address."""
        return httpx.get(self.url + path, timeout=60, **options)  # pyright: ignore[reportArgumentType]

    def job(self, answer: httpx.Response, seconds: float = 120) -> dict[str, object]:
        """Wait for the job that an answer names, and give its last state."""
        assert answer.status_code == 202, answer.text
        url = f"/api/v1/imaging/jobs/{answer.json()['id']}"
        ended = ("succeeded", "failed", "cancelled")
        wait_until(lambda: self.get(url).json()["state"] in ended, seconds, "the job's end")
        return self.get(url).json()

    def hilum(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run another hilum command on the same data."""
        return subprocess.run(
            [sys.executable, "-m", "hilum", *words],
            env=self.environment, capture_output=True, text=True, check=check, timeout=300,
        )  # fmt: skip

    def stop(self) -> int:
        """End it as a service manager would."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def serving(data: Path, database_url: str = "", **settings: object) -> Iterator[Server]:
    """Run ``hilum serve`` on a data folder; by default with a PostgreSQL of its own."""
    port = free_port()
    environment = os.environ | {
        "HILUM_DATA": str(data),
        "HILUM_DATABASE_URL": database_url,
        "HILUM_PORT": str(port),
        "HILUM_HTTP_PROCESSES": "1",
        "HILUM_DICOM_PORT": "0",
        "HILUM_MIN_FREE_BYTES": "0",
        **{f"HILUM_{name.upper()}": str(value) for name, value in settings.items()},
    }
    log = data.parent / f"{data.name}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "hilum", "serve"], env=environment, stdout=output, stderr=output
        )
    server = Server(f"http://127.0.0.1:{port}", data, process, log, environment)
    try:
        wait_until(lambda: _ready(server), 120, f"a ready server (its log: {log})")
        yield server
    finally:
        if process.poll() is None:
            server.stop()


def _ready(server: Server) -> bool:
    if server.process.poll() is not None:
        pytest.fail(f"the server ended: {server.log.read_text()[-3000:]}")
    try:
        return httpx.get(f"{server.url}/ready").status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def server(cluster: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that the tests of a module share, on a database of the run's cluster."""
    with fresh_database(cluster) as url, serving(tmp_path_factory.mktemp("server") / "data", url) as running:
        yield running


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """A real S3 server, for the tests of this worker."""
    with s3_server(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], check=False)
    if mounted.returncode != 0:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    """A data folder whose embedded database goes with it."""
    yield tmp_path / "data"
    remove_database(tmp_path / "data")
