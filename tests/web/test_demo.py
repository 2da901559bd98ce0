"""The first five minutes: `hilum demo` on an empty folder, its studies in the browser, a CT on the screen. With
HILUM_SCREENSHOTS set to a folder, what was seen is kept there: the pictures of the README are made so."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from hilum.core.postgres import remove_database
from tests.conftest import free_port, wait_until

SHOTS = os.environ.get("HILUM_SCREENSHOTS")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a demo that was made from nothing."""
    data, port = tmp_path_factory.mktemp("demo") / "hilum-demo", free_port()
    log = (data.parent / "log").open("wb")
    command = [sys.executable, "-m", "hilum", "demo", "--no-open", "--data", str(data), "--port", str(port)]
    process = subprocess.Popen(command, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    wait_until(lambda: process.poll() is not None or _answers(url), 180, "a demo that answers")
    yield url
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    refused = [sys.executable, "-m", "hilum", "demo", "--reset", "--data", str(data.parent)]
    assert "not made by hilum demo" in subprocess.run(refused, capture_output=True, text=True, check=False).stderr
    remove_database(data)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/ready").status_code == 200
    except httpx.TransportError:
        return False


def shoot(page: Page, name: str) -> None:
    if SHOTS:
        page.screenshot(path=Path(SHOTS) / f"{name}.png")


def test_the_demo_holds_what_it_promises(demo: str) -> None:
    stats = httpx.get(f"{demo}/api/v1/imaging/stats").json()
    default = httpx.get(f"{demo}/api/v1/imaging/studies?source=default&limit=100").json()
    assert default["total"] == 60
    assert {"CT", "MR", "CR", "DX", "MG", "US", "PT", "NM", "XA", "RF"} <= stats["studies_by_modality"].keys()
    assert httpx.get(f"{demo}/api/v1/imaging/set-aside?source=default").json()["total"] == 0
    assert len({study["patient_id"] for study in default["items"]}) == 39
    waiting = httpx.get(f"{demo}/api/v1/imaging/links/queue?source=default").json()
    assert waiting["total"] == 13
    assert (stats["linked_studies"], len({one["reason"] for one in waiting["items"]})) == (52, 11)
    on_cd = httpx.get(f"{demo}/api/v1/imaging/studies?accession_number=NF2400007").json()["items"][0]
    files = httpx.get(f"{demo}/api/v1/imaging/studies/{on_cd['id']}").json()["bundle_files"]
    assert {"pdf", "image"} <= {file["kind"] for file in files}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_study_is_found_and_a_ct_is_on_the_screen(demo: str, open_tab: Callable[..., Page], scheme: str) -> None:
    page = open_tab(width=1280, height=800, scheme=scheme)
    page.goto(f"{demo}/imaging?source=default")
    expect(page.get_by_test_id("study-row").first).to_be_visible()
    shoot(page, f"studies-{scheme}")
    page.goto(f"{demo}/imaging?source=default&q=NF2300002")
    page.get_by_test_id("study-row").first.click()
    expect(page.get_by_test_id("series-row").first).to_be_visible()
    page.wait_for_load_state("networkidle")
    shoot(page, f"study-{scheme}")
    study = page.url.split("/imaging/")[1].split("?")[0]
    page.goto(f"{demo}/imaging/{study}/view?image=38")
    viewport = page.get_by_test_id("viewport")
    expect(viewport).to_have_attribute("data-state", "ready", timeout=60_000)
    expect(viewport).to_have_attribute("data-loaded", "60", timeout=60_000)
    grey = viewport.locator("canvas").first.evaluate(
        "c => new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size"
    )
    assert grey > 50
    shoot(page, f"viewer-{scheme}")
