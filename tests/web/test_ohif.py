"""OHIF, the viewer that many hospitals have, looks at the archive through its DICOMweb root: untouched, behind one
address with Hilum, as a reverse proxy puts it."""

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.conftest import Server
from tests.web.conftest import until
from tests.web.data import STUDY, rich_study, study_uid

API = "/api/v1/imaging"
DIST = Path(__file__).parents[2] / ".uv" / "ohif" / "package" / "dist"
CONFIGURATION = b"""window.config = {
  routerBasename: null, extensions: [], modes: [], showStudyList: true, defaultDataSourceName: 'hilum',
  investigationalUseDialog: { option: 'never' },
  dataSources: [{
    namespace: '@ohif/extension-default.dataSourcesModule.dicomweb', sourceName: 'hilum',
    configuration: {
      friendlyName: 'Hilum', name: 'hilum', qidoRoot: '/dicom-web', wadoRoot: '/dicom-web', imageRendering: 'wadors',
      thumbnailRendering: 'wadors', enableStudyLazyLoad: true, supportsWildcard: true,
    },
  }],
}"""
COLOURS = """canvas => {
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d')
  copy.drawImage(canvas, 0, 0)
  return new Set(copy.getImageData(0, 0, canvas.width, canvas.height).data).size
}"""


class Gate(SimpleHTTPRequestHandler):
    """OHIF's files, its configuration, and Hilum's DICOMweb, all at one address."""

    protocol_version = "HTTP/1.1"
    archive = ""
    root = "/dicom-web"

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path.startswith("/dicom-web"):
            self._pass_on()
        elif path == "/app-config.js":
            self._answer(200, [("Content-Type", "text/javascript")], CONFIGURATION)
        else:
            self.path = path if (DIST / path.lstrip("/")).is_file() else "/index.html"
            super().do_GET()

    def _pass_on(self) -> None:
        connection = http.client.HTTPConnection(self.archive, timeout=60)
        path = self.root + self.path.removeprefix("/dicom-web")
        connection.request("GET", path, headers={"Accept": self.headers.get("Accept", "*/*")})
        answer = connection.getresponse()
        kept = [(name, value) for name, value in answer.getheaders() if name.lower() == "content-type"]
        self._answer(answer.status, kept, answer.read())
        connection.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response(status)
        for name, value in [*headers, ("Content-Length", str(len(body)))]:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """A test has no use for an access log."""


@contextmanager
def gate(server: Server, root: str) -> Iterator[str]:
    """OHIF's address, in front of a DICOMweb root of the server."""
    made = type("HilumGate", (Gate,), {"archive": server.url.removeprefix("http://"), "root": root})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(made, directory=str(DIST))) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.fixture(scope="module")
def filled(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """The archive with a CT."""
    if not DIST.is_dir():
        pytest.skip("OHIF is not installed; scripts/test does that")
    server.hilum("import", str(rich_study(tmp_path_factory.mktemp("study") / "rich")))
    return server


@pytest.fixture(scope="module")
def ohif(filled: Server) -> Iterator[str]:
    """OHIF's address, in front of an archive with a CT."""
    with gate(filled, "/dicom-web") as address:
        yield address


@pytest.fixture(scope="module")
def shared(filled: Server) -> Iterator[str]:
    """OHIF's address, in front of a version of a data set with the CT, de-identified."""
    httpx.post(f"{filled.url}{API}/studies/{study_uid(STUDY)}/complete", timeout=60).raise_for_status()
    definition = {"name": "ct", "filter": {}, "profile": "research", "clinical": False}
    httpx.post(f"{filled.url}{API}/datasets", json=definition, timeout=60).raise_for_status()
    made = filled.job(httpx.post(f"{filled.url}{API}/datasets/ct/versions", timeout=60))
    assert made["state"] == "succeeded"
    with gate(filled, "/datasets/ct/versions/1/dicom-web") as address:
        yield address


def test_ohif_lists_the_studies(open_tab: Callable[..., Page], ohif: str) -> None:
    page = open_tab()
    page.goto(ohif)
    expect(page.get_by_text("CT thorax").first).to_be_visible(timeout=60_000)


def test_ohif_shows_the_images(open_tab: Callable[..., Page], ohif: str) -> None:
    page = open_tab()
    page.goto(f"{ohif}/viewer?StudyInstanceUIDs={study_uid(STUDY)}")
    canvas = page.locator(".viewport-element canvas, canvas.cornerstone-canvas").first
    canvas.wait_for(timeout=60_000)
    until(page, lambda: canvas.evaluate(COLOURS) > 20, "a picture in OHIF", 60)


def test_ohif_opens_a_version_of_a_data_set(open_tab: Callable[..., Page], filled: Server, shared: str) -> None:
    (study,) = filled.get("/datasets/ct/versions/1/dicom-web/studies").json()
    page = open_tab()
    page.goto(shared)
    expect(page.get_by_text(study["00100020"]["Value"][0]).first).to_be_visible(timeout=60_000)
    page.goto(f"{shared}/viewer?StudyInstanceUIDs={study['0020000D']['Value'][0]}")
    canvas = page.locator(".viewport-element canvas, canvas.cornerstone-canvas").first
    canvas.wait_for(timeout=60_000)
    until(page, lambda: canvas.evaluate(COLOURS) > 20, "a picture of the version in OHIF", 60)
