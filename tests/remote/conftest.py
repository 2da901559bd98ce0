"""Remote archives for the tests: Debian's Orthanc with its DICOMweb plugin, another Hilum, and a liar."""

import json
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from hilum.core.progress import Progress
from hilum.imaging.archive.query import StudyFilter, list_studies
from hilum.imaging.archive.sources import add_source
from hilum.imaging.archive.store import Archive
from hilum.imaging.remote import copies
from hilum.imaging.remote.fetching import fetch
from hilum.imaging.remote.indexing import Wish, index_studies
from hilum.imaging.remote.servers import change_server
from tests.conftest import free_port, wait_until

ORTHANC = Path("/usr/sbin/Orthanc")
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


@dataclass
class Orthanc:
    """A running Orthanc."""

    url: str

    def keep(self, *instances: bytes) -> None:
        """Put instances into it."""
        for one in instances:
            httpx.post(f"{self.url}/instances", content=one, auth=("ann", "s3cret"), timeout=60).raise_for_status()


@contextmanager
def running_orthanc(folder: Path) -> Iterator[Orthanc]:
    """An Orthanc of its own, which asks for a password."""
    port = free_port()
    configuration = {
        "StorageDirectory": str(folder), "IndexDirectory": str(folder), "RemoteAccessAllowed": False,
        "AuthenticationEnabled": True, "RegisteredUsers": {"ann": "s3cret"}, "HttpPort": port,
        "DicomServerEnabled": False, "Plugins": [str(PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "Host": "127.0.0.1", "Ssl": False},
    }  # fmt: skip
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([str(ORTHANC), str(folder / "orthanc.json")], stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: _answers(url), 60, "a ready Orthanc")
        yield Orthanc(url)
    finally:
        process.terminate()
        process.wait(30)


def _answers(url: str) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(f"{url}/system", auth=("ann", "s3cret")).status_code == 200
    return False


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """The Orthanc that the tests of a module share."""
    if not (ORTHANC.exists() and PLUGIN.exists()):
        pytest.fail("install orthanc and orthanc-dicomweb")
    with running_orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


Answerer = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Liar:
    """A server that answers as a test says, and keeps what it was asked."""

    url: str
    asked: list[str] = field(default_factory=list[str])
    headers: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    answer: Answerer = lambda handler: reply(handler, [])
    server: ThreadingHTTPServer | None = None

    def over_tls(self, context: ssl.SSLContext) -> None:
        """Speak TLS from now on."""
        assert self.server
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = self.url.replace("http:", "https:")


def reply(handler: BaseHTTPRequestHandler, body: object, status: int = 200, **headers: str) -> None:
    """Answer with JSON, or with bytes as they are."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    handler.send_response(status)
    handler.send_header("Content-Type", "application/dicom+json")
    handler.send_header("Content-Length", str(len(data)))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(data)


@pytest.fixture
def liar() -> Iterator[Liar]:
    """A liar of the test's own."""
    found: list[Liar] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            found[0].asked.append(f"{self.command} {self.path}")
            found[0].headers.append(dict(self.headers))
            with suppress(ConnectionError):
                found[0].answer(self)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    found.append(Liar(f"http://127.0.0.1:{server.server_address[1]}/dicom-web", server=server))
    yield found[0]
    server.shutdown()
    server.server_close()


@dataclass
class Here:
    """Our archive, with a source ``far`` that names a remote archive."""

    archive: Archive

    def name(self, url: str, **changes: object) -> None:
        """Let ``far`` name a remote archive."""
        add_source(self.archive.database, "far", "Far")
        change_server(self.archive.database, "far", {"url": url} | changes)

    def index(self, **wish: object) -> Progress:
        """Index it; gives what was counted."""
        progress = Progress(self.archive.database, 0)
        index_studies(self.archive, "far", Wish(**wish), progress)  # pyright: ignore[reportArgumentType]
        return progress

    def studies(self, **wanted: object) -> dict[str, dict[str, object]]:
        """Its studies by UID."""
        with self.archive.database.connect() as connection:
            found = list_studies(connection, StudyFilter(source="far", **wanted), limit=500)[0]  # pyright: ignore[reportArgumentType]
            return {str(row["study_instance_uid"]): dict(row) for row in found}

    def series(self, study: str) -> list[dict[str, object]]:
        """The series of a study."""
        with self.archive.database.transaction() as sql:
            return sql.rows(
                "select e.* from hilum.series e join hilum.study t on t.id = e.study_id "
                "where t.study_instance_uid = %s and t.deleted_at is null order by series_number",
                (study,),
            )

    def copy(self, study: str) -> copies.Copy:
        """Where the copy of a study stands."""
        with self.archive.database.transaction() as sql:
            return copies.find_copy(sql, self.studies()[study]["id"])  # pyright: ignore[reportArgumentType]

    def fetch(self, study: str) -> copies.Copy:
        """Ask for a study, and fetch it."""
        with self.archive.database.transaction() as sql:
            copies.want(sql, self.studies()[study]["id"])  # pyright: ignore[reportArgumentType]
        self.fetch_all()
        return self.copy(study)

    def fetch_all(self) -> None:
        """Fetch what is wanted."""
        while wanted := copies.lease(self.archive.database):
            fetch(self.archive, wanted)

    def quiet(self) -> None:
        """Let what has come be complete."""
        with self.archive.database.transaction() as sql:
            sql.rows("update hilum.study_clock set due_at = null")


@pytest.fixture
def here(archive: Archive) -> Here:
    """Ours."""
    return Here(archive)


__all__ = ["Here", "Liar", "Orthanc", "reply"]
