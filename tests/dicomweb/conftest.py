"""A real HTTP server in a thread of the test, with an archive of the test's own behind it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import uvicorn

from hilum.app import Services, create_app
from hilum.core.blobs import LocalBlobs
from hilum.core.config import Settings
from hilum.core.database import Database
from hilum.core.delivery.courier import Courier
from hilum.core.jobs import Jobs
from hilum.core.postgres import EmbeddedPostgres
from hilum.imaging.archive.store import Archive
from tests.conftest import fresh_database, wait_until

BOUNDARY = "a-boundary"


@dataclass
class Web:
    """The DICOMweb service under test."""

    root: str
    archive: Archive

    def get(self, path: str, accept: str | None = None, **headers: str) -> httpx.Response:
        """GET below the service's root, by default without an Accept field."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        request = httpx.Request("GET", self.root + path, headers=given | ({"Accept": accept} if accept else {}))
        with httpx.Client(timeout=60) as client:
            return client.send(request)

    def stow(self, *instances: bytes, study: str = "", **headers: str) -> httpx.Response:
        """Store instances by STOW-RS."""
        body = b"".join(
            f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode() + one + b"\r\n" for one in instances
        )
        return self.post(body + f"--{BOUNDARY}--\r\n".encode(), study=study, **headers)

    def post(self, body: object, content_type: str | None = None, study: str = "", **headers: str) -> httpx.Response:
        """POST a body of any kind."""
        kind = (
            content_type
            if content_type is not None
            else f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
        )
        given = {name.replace("_", "-"): value for name, value in headers.items()} | (
            {"Content-Type": kind} if kind else {}
        )
        path = f"/studies/{study}" if study else "/studies"
        return httpx.post(self.root + path, content=body, headers=given, timeout=60)  # pyright: ignore[reportArgumentType]

    def keep(self, *instances: bytes) -> None:
        """Put instances into the archive without HTTP."""
        with self.archive.batch(self.archive.source(), "import") as batch:
            for number, one in enumerate(instances):
                batch.add(str(number), [one])
            outcomes = batch.commit().outcomes
        assert {outcome.state for outcome in outcomes} <= {"added", "replaced", "duplicate"}, outcomes


@pytest.fixture
def web(archive: Archive) -> Iterator[Web]:
    """The service, listening on loopback."""
    with listening(archive) as running:
        yield running


@contextmanager
def shared(cluster: EmbeddedPostgres, folder: Path, **settings: object) -> Iterator[Web]:
    """A service that the tests of a module share, with an archive of its own."""
    with fresh_database(cluster) as url:
        database = Database(url, pool_size=6)
        given = Settings(data=folder / "data", min_free_bytes=0, **settings)  # pyright: ignore[reportArgumentType]
        with listening(Archive(database, LocalBlobs(folder / "objects", 0), given)) as web:
            yield web
        database.close()


@contextmanager
def listening(archive: Archive) -> Iterator[Web]:
    """Serve an archive."""
    courier = Courier(archive.database, archive.settings, [])
    app = create_app(Services(archive.settings, archive.database, archive, Jobs(archive.database), courier))
    server = uvicorn.Server(
        uvicorn.Config(app, "127.0.0.1", 0, log_level="warning", lifespan="off", proxy_headers=False)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started, what="a started server")
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield Web(f"http://127.0.0.1:{port}/dicom-web", archive)
    finally:
        server.should_exit = True
        thread.join(10)


def parts(answer: httpx.Response) -> list[tuple[dict[str, str], bytes]]:
    """The parts of a multipart answer, read by a parser that is not Hilum's."""
    kind = answer.headers["content-type"]
    assert kind.startswith("multipart/related;"), kind
    boundary = kind.partition("boundary=")[2].strip('"').encode()
    found: list[tuple[dict[str, str], bytes]] = []
    pieces = (b"\r\n" + answer.content).split(b"\r\n--" + boundary)
    assert pieces[0] == b""
    assert pieces[-1].startswith(b"--")
    for piece in pieces[1:-1]:
        head, _, body = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        fields = (tuple(line.split(": ", 1)) for line in head.decode().split("\r\n"))
        found.append((dict(fields), body))
    return found


@pytest.fixture(scope="module")
def shared_web(cluster: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """A service that the tests of a module share: each has instances of its own, and changes none."""
    folder = tmp_path_factory.mktemp("shared")
    with fresh_database(cluster) as url:
        database = Database(url, pool_size=6)
        settings = Settings(data=folder / "data", min_free_bytes=0)
        with listening(Archive(database, LocalBlobs(folder / "objects", 0), settings)) as running:
            yield running
        database.close()
