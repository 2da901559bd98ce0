"""OHIF, the viewer that many hospitals have, looks at the archive through its DICOMweb root: untouched, behind one
address with Hilum, as a reverse proxy puts it."""

import http.client
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.conftest import Server
from tests.web.conftest import until
from tests.web.data import STUDY, rich_study, study_uid

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
        connection.request("GET", self.path, headers={"Accept": self.headers.get("Accept", "*/*")})
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


@pytest.fixture(scope="module")
def ohif(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """OHIF's address, in front of an archive with a CT."""
    if not DIST.is_dir():
        pytest.skip("OHIF is not installed; scripts/test does that")
    server.hilum("import", str(rich_study(tmp_path_factory.mktemp("study") / "rich")))
    gate = type("HilumGate", (Gate,), {"archive": server.url.removeprefix("http://")})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(gate, directory=str(DIST))) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


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
