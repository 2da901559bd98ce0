"""Uploads from the browser: by drop, by folder, as a zip; what came of each is told."""

import io
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

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


def drop(page: Page, files: list[list[object]]) -> None:
    """Drop files on the page, as soon as it shows what it holds: before that nothing of it takes a drop."""
    expect(page.get_by_test_id("study-row").first).to_be_visible()
    page.evaluate(DROP, files)


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
    drop(
        page,
        [
            ["IM1", list(ct(41, 1, 1))],
            ["notes.txt", list(b"not an image")],
            ["lost.dcm", list(ct(42)[:-40])],
        ],
    )
    told = finished(page)
    assert "1 instance with 1 image" in told
    summary = page.get_by_test_id("upload-summary")
    expect(summary.locator("details")).to_have_count(2)
    page.get_by_role("link", name="1 file set aside").click()
    expect(page.get_by_test_id("set-aside-row").first).to_contain_text("The pixel data is cut short")


def asked(page: Page) -> Locator:
    """The form that asks whose the files are."""
    return page.get_by_role("form", name="Whose is it?")


def photo(grey: int) -> list[int]:
    """A small JPEG."""
    file = io.BytesIO()
    Image.new("L", (40, 30), grey).save(file, "JPEG")
    return list(file.getvalue())


def test_photos_become_a_study_of_the_patient_that_the_person_names(page: Page, filled: str) -> None:
    page.goto(f"{filled}/imaging")
    sent = uploads(page)
    drop(page, [["1.jpg", photo(60)], ["2.JPG", photo(200)], ["letter.pdf", list(b"%PDF-1.4\n%%EOF\n")]])
    form = asked(page)
    expect(form).to_contain_text("2 images and 1 PDF")
    field = form.get_by_label("Patient ID")
    expect(field).to_be_focused()
    field.fill("4711")
    field.press("Enter")
    expect(form.get_by_role("alert")).to_contain_text("the study that the images become")
    assert sent == []
    form.get_by_label("Study date").fill("2024-05-06")
    form.get_by_label("Study description").fill("Wound photos")
    form.get_by_label("Wrap PDFs too").check()
    field.press("Enter")
    assert "1 new study" in finished(page)
    page.get_by_role("link", name="Show what arrived").click()
    row = page.get_by_test_id("study-row").filter(has_text="Wound photos")
    expect(row).to_contain_text("2024-05-06")
    expect(row).to_contain_text("4711")
    expect(row).to_contain_text("2 series")


def test_what_the_server_does_not_take_is_asked_again_with_its_reason(
    page: Page, filled: str, foreseen: list[str]
) -> None:
    page.goto(f"{filled}/imaging")
    drop(page, [["1.png", photo(90)]])
    form = asked(page)
    form.get_by_label("Patient ID").fill("4711")
    form.get_by_label("Study description").fill("a\\b")
    form.get_by_role("button", name="Upload", exact=True).click()
    expect(form.get_by_role("alert")).to_contain_text("no backslash")
    expect(form.get_by_label("Patient ID")).to_have_value("4711")
    form.get_by_label("Study description").fill("Scan")
    form.get_by_role("button", name="Upload", exact=True).click()
    assert "1 new study" in finished(page)
    foreseen.append("422")


def test_files_without_a_patient_may_go_as_they_are_or_not_at_all(page: Page, filled: str) -> None:
    page.goto(f"{filled}/imaging")
    sent = uploads(page)
    drop(page, [["1.jpg", photo(30)]])
    expect(asked(page)).to_be_visible()
    page.keyboard.press("Escape")
    expect(asked(page)).to_have_count(0)
    assert sent == []
    drop(page, [["1.jpg", photo(30)]])
    asked(page).get_by_role("button", name="Upload as it is").click()
    assert "Nothing new." in finished(page)
    assert len(sent) == 1


def test_dicom_is_given_another_patient_where_a_person_wants_to_say_it(page: Page, filled: str) -> None:
    page.goto(f"{filled}/imaging")
    page.get_by_role("button", name="Upload").click()
    page.get_by_role("menuitemcheckbox", name="Say whose it is first").click()
    page.keyboard.press("Escape")
    drop(page, [["IM1", list(ct(81, StudyDescription="Another's", PatientID="WRONG"))]])
    form = asked(page)
    form.get_by_label("Patient ID").fill("4712")
    form.get_by_role("button", name="Upload", exact=True).click()
    finished(page)
    row = page.get_by_test_id("study-row").filter(has_text="Another's")
    expect(row).to_contain_text("4712")
    # It is asked once: the next files start at once again.
    drop(page, [["IM1", list(ct(82))]])
    expect(page.get_by_test_id("upload-tray")).to_be_visible()
    expect(asked(page)).to_have_count(0)
    finished(page)


def test_an_upload_without_a_patient_leads_to_the_quarantine(page: Page, filled: str) -> None:
    page.goto(f"{filled}/imaging")
    drop(page, [["IM1", list(ct(83, StudyDescription="Whose?", PatientID=None))]])
    finished(page)
    page.get_by_role("link", name="1 study without a patient").click()
    expect(page.get_by_test_id("quarantined").filter(has_text="Whose?")).to_be_visible()


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
    files = [tmp_path / f"{n}.dcm" for n in range(5)]
    for n, path in enumerate(files):
        path.write_bytes(ct(61, 1, n + 1))
    page.goto(f"{filled}/jobs")
    page.get_by_role("link", name="Imaging", exact=True).click()
    page.get_by_test_id("upload-files").set_input_files(files)
    finished(page)
    page.get_by_test_id("upload-tray").get_by_role("link", name="Jobs").click()
    # By its title: the list of before, with other jobs in the same places, is shown until the new one is there.
    job = page.get_by_test_id("job").filter(has_text="Upload of 5 files")
    expect(job).to_have_attribute("data-state", "succeeded")
    job.get_by_role("button").first.click()
    expect(job).to_contain_text("New studies")
    page.reload()
    # The job that was open is in the address.
    expect(job).to_contain_text("New studies")


def test_a_server_that_is_gone_is_a_sentence_and_another_try(
    page: Page, filled: str, tmp_path: Path, foreseen: list[str]
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
    foreseen.append("ERR_INTERNET_DISCONNECTED")
