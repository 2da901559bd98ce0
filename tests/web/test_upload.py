"""Uploads from the browser: by drop, by folder, as a zip; what came of each is told."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from hilum.core.postgres import EmbeddedPostgres
from tests.conftest import Server, fresh_database, serving
from tests.make import ct, folder
from tests.web.conftest import until
from tests.web.data import bundle

DROP = """
async (files) => {
  const transfer = new DataTransfer();
  for (const [name, bytes] of files) transfer.items.add(new File([new Uint8Array(bytes)], name));
  for (const type of ['dragenter', 'dragover', 'drop'])
    document.body.dispatchEvent(new DragEvent(type, { bubbles: true, cancelable: true, dataTransfer: transfer }));
}
"""


@pytest.fixture(scope="module")
def filled(server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A server with a study in it."""
    server.hilum("import", str(folder(tmp_path_factory.mktemp("first") / "study", instances=2)))
    return server.url


def finished(page: Page) -> str:
    """Wait for the end of the upload; answers what its tray says."""
    tray = page.get_by_test_id("upload-tray")
    expect(tray).to_have_attribute("data-phase", "done", timeout=120_000)
    return page.get_by_test_id("upload-summary").inner_text()


def uploads(page: Page) -> list[str]:
    """Grows by each request of an upload that the page sends."""
    sent: list[str] = []
    page.on("request", lambda request: request.url.endswith("/uploads") and sent.append(request.url))
    return sent


def test_an_empty_archive_asks_for_a_folder_and_takes_a_drop(
    page: Page, cluster: EmbeddedPostgres, tmp_path: Path
) -> None:
    with fresh_database(cluster) as database_url, serving(tmp_path / "data", database_url) as server:
        page.goto(f"{server.url}/imaging")
        expect(page.get_by_role("heading", name="Drop a folder of DICOM here")).to_be_visible()
        files = [[f"IM{n}", list(ct(31, 1, n, PatientName="Dropped^Dora"))] for n in (1, 2, 3)]
        page.evaluate(DROP, [*files, ["notes.txt", list(b"not an image")]])
        assert "1 new study, 1 series, 3 instances with 3 images." in finished(page)
        # The list has the study without a reload.
        expect(page.get_by_test_id("study-row").filter(has_text="Dora Dropped")).to_be_visible()
        page.goto("about:blank")


def test_a_drop_says_what_was_left_out_and_why(page: Page, filled: str) -> None:
    page.goto(f"{filled}/imaging")
    page.evaluate(
        DROP,
        [
            ["IM1", list(ct(41, 1, 1))],
            ["notes.txt", list(b"not an image")],
            ["lost.dcm", list(ct(42)[:-30])],
        ],
    )
    told = finished(page)
    assert "1 instance with 1 image" in told
    summary = page.get_by_test_id("upload-summary")
    expect(summary.locator("details")).to_have_count(2)
    page.get_by_role("link", name="1 file set aside").click()
    expect(page.get_by_test_id("set-aside-row").first).to_contain_text("cut short")


def test_a_large_folder_goes_in_several_requests(page: Page, filled: str, tmp_path: Path) -> None:
    page.goto(f"{filled}/imaging")
    expect(page.get_by_test_id("study-row").first).to_be_visible()
    sent = uploads(page)
    page.get_by_test_id("upload-folder").set_input_files(folder(tmp_path / "large", series=2, instances=120))
    told = finished(page)
    assert len(sent) == 3
    assert "238 instances with 238 images" in told
    assert "2 instances already here." in told


def test_the_same_again_is_told_as_already_here(page: Page, filled: str, tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(ct(51, 1, 1))
    page.goto(f"{filled}/imaging")
    for wanted in ("1 new study", "Nothing new."):
        page.get_by_test_id("upload-files").set_input_files(tmp_path / "a.dcm")
        until(page, lambda wanted=wanted: wanted in finished(page), wanted)
    assert "1 instance already here." in finished(page)


def test_a_zip_brings_its_other_files(page: Page, filled: str, tmp_path: Path) -> None:
    page.goto(f"{filled}/imaging")
    page.get_by_test_id("upload-files").set_input_files(bundle(tmp_path / "cd.zip"))
    told = finished(page)
    assert "2 instances" in told
    assert "kept with the study" in told
    page.get_by_role("link", name="Show what arrived").click()
    expect(page.get_by_test_id("study-row").first).to_contain_text("Bo Bundle")


def test_jobs_tell_what_they_did(page: Page, filled: str, tmp_path: Path) -> None:
    (tmp_path / "b.dcm").write_bytes(ct(61, 1, 1))
    page.goto(f"{filled}/jobs")
    page.get_by_role("link", name="Imaging", exact=True).click()
    page.get_by_test_id("upload-files").set_input_files(tmp_path / "b.dcm")
    finished(page)
    page.get_by_test_id("upload-tray").get_by_role("link", name="Jobs").click()
    job = page.get_by_test_id("job").first
    expect(job).to_have_attribute("data-state", "succeeded")
    job.get_by_role("button").first.click()
    expect(job).to_contain_text("New studies")
    page.reload()
    # The job that was open is in the address.
    expect(page.get_by_test_id("job").first).to_contain_text("New studies")


def test_a_server_that_is_gone_is_a_sentence_and_another_try(
    page: Page, filled: str, tmp_path: Path, faults: list[str]
) -> None:
    (tmp_path / "c.dcm").write_bytes(ct(71, 1, 1))
    page.goto(f"{filled}/imaging")
    expect(page.get_by_test_id("study-row").first).to_be_visible()
    page.context.set_offline(True)
    page.get_by_test_id("upload-files").set_input_files(tmp_path / "c.dcm")
    tray = page.get_by_test_id("upload-tray")
    expect(tray.get_by_role("alert")).to_contain_text("The connection was lost")
    page.context.set_offline(False)
    tray.get_by_role("button", name="Go on from here").click()
    assert "1 new study" in finished(page)
    faults.clear()
