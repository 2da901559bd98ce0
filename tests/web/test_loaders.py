"""Cornerstone's loaders, wadouri and wadors, in a real Chromium: untouched, on a page of another origin."""

import io
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pydicom
import pytest
from playwright.sync_api import Page
from pydicom.pixels import apply_rescale

from tests.conftest import Server
from tests.dicom.files import wheel_file
from tests.web.conftest import until

WEB = Path(__file__).parents[2] / "web"
FILES = ("CT_small.dcm", "MR_small_implicit.dcm", "JPEG2000.dcm", "MR_small_RLE.dcm")


class Quiet(SimpleHTTPRequestHandler):
    """Files of a folder."""

    def log_message(self, *_: object) -> None:
        """A test has no use for an access log."""


@pytest.fixture(scope="module")
def loaders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a page with both loaders: built where its packages are, served from elsewhere."""
    place = WEB / "node_modules" / f".loaders-{tmp_path_factory.getbasetemp().name}"
    shutil.copytree(Path(__file__).parent / "loaders", place, dirs_exist_ok=True)
    built = tmp_path_factory.mktemp("loaders")
    try:
        command = ["node", "node_modules/vite/bin/vite.js", "build", str(place), "--config", "vite.config.ts"]
        subprocess.run(
            [*command, "--outDir", str(built), "--logLevel", "error", "--minify", "false"], cwd=WEB, check=True
        )
    finally:
        shutil.rmtree(place)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(built))) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://localhost:{running.server_port}"
        running.shutdown()


def rescaled_values(name: str) -> np.ndarray:
    """What the loaders give: stored values after the modality's rescale."""
    ds = pydicom.dcmread(wheel_file(name))
    return apply_rescale(ds.pixel_array, ds)


def test_both_loaders_give_the_values_that_are_stored(
    open_tab: Callable[..., Page], server: Server, loaders: str, tmp_path: Path
) -> None:
    for name in FILES:
        shutil.copy(wheel_file(name), tmp_path)
    server.hilum("import", str(tmp_path))
    page = open_tab()
    page.goto(loaders)
    until(page, lambda: page.evaluate("window.ready === true"), "the loaders")
    for name in FILES:
        ds = pydicom.dcmread(io.BytesIO(wheel_file(name).read_bytes()), stop_before_pixels=True)
        uids = ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID
        query = "requestType=WADO&studyUID={}&seriesUID={}&objectUID={}&contentType=application%2Fdicom".format(*uids)
        place = f"{server.url}/dicom-web/studies/{uids[0]}/series/{uids[1]}/instances/{uids[2]}"
        for image_id, metadata in (
            (f"wadouri:{server.url}/wado?{query}", None),
            (f"wadouri:{server.url}/wado?{query}&transferSyntax=*", None),
            (f"wadors:{place}/frames/1", f"{place}/metadata"),
        ):
            found = page.evaluate("([id, metadata]) => window.load(id, metadata)", [image_id, metadata])
            assert (found["rows"], found["columns"]) == (ds.Rows, ds.Columns)
            assert np.array_equal(np.reshape(found["values"], (ds.Rows, ds.Columns)), rescaled_values(name)), image_id
