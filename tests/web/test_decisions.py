"""What waits for a person, on the page: studies without a patient, studies of two patients, and what was replaced."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.conftest import Server
from tests.make import ct, uid
from tests.web.conftest import expect_query

NOBODYS = {"PatientID": None, "PatientName": None}
KEPT, MOVED, REPLACED, DERIVED, GONE = 824, 825, 826, 827, 828
OLGA = {"PatientID": "P999", "PatientName": "Other^Olga"}


@pytest.fixture(scope="module")
def url(server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A server with all of it."""
    first, later = tmp_path_factory.mktemp("first"), tmp_path_factory.mktemp("later")
    (first / "lost").mkdir()
    for n in (821, 822, 823):
        (first / f"{n}").write_bytes(ct(n, size=64, StudyDescription=f"Nobody's {n}", **NOBODYS))
    for n in (KEPT, MOVED, GONE):
        (first / f"{n}").write_bytes(ct(n, StudyDescription=f"Disputed {n}"))
        for number in (2, 3):
            (later / f"{n}-{number}").write_bytes(ct(n, 1, number, **OLGA))
    (first / f"{REPLACED}").write_bytes(ct(REPLACED))
    (later / f"{REPLACED}").write_bytes(ct(REPLACED, seed=5))
    unnamed = {"StudyInstanceUID": None, "SeriesInstanceUID": None, "StudyDescription": "Without UIDs"}
    (first / "lost" / "1").write_bytes(ct(DERIVED, **unnamed))
    server.hilum("import", str(first))
    server.hilum("import", str(later), check=False)
    httpx.delete(f"{server.url}/api/v1/imaging/studies/{uid(GONE)}").raise_for_status()
    return server.url


def quarantined(page: Page, number: int) -> Locator:
    """The row of a study in quarantine."""
    return page.get_by_test_id("quarantined").filter(has_text=f"Nobody's {number}")


def give(row: Locator, patient: str) -> None:
    """Say whose a study is, by the keyboard."""
    field = row.get_by_label("Patient ID")
    field.fill(patient)
    field.press("Enter")


def test_a_study_without_a_patient_is_marked_and_leads_to_the_form_that_names_one(page: Page, url: str) -> None:
    page.goto(f"{url}/imaging")
    row = page.get_by_test_id("study-row").filter(has_text="Nobody's 821")
    expect(row.locator("[data-mark=no-patient]")).to_contain_text("No patient")
    row.get_by_role("link").first.click()
    header = page.get_by_role("region", name="Study", exact=True)
    header.locator("[data-mark=no-patient]").hover()
    expect(page.get_by_role("tooltip")).to_contain_text("until a person says whose it is")
    header.get_by_role("link", name="Say whose it is").click()
    expect_query(page, view="quarantine")
    lost = quarantined(page, 821)
    expect(lost).to_contain_text("2024-01-31 10:15")
    expect(lost).to_contain_text("From default")
    expect(lost.locator("img")).to_be_visible()


def test_a_patient_given_by_the_keyboard_ends_the_quarantine(page: Page, url: str, foreseen: list[str]) -> None:
    page.goto(f"{url}/jobs")
    tab = page.get_by_role("tab", name="Quarantine")
    expect(tab).to_contain_text("3")
    tab.click()
    lost = quarantined(page, 822)
    expect(lost.get_by_role("button", name="Give it this patient")).to_be_disabled()
    give(lost, "no\\backslash")
    expect(lost.get_by_role("alert")).to_contain_text("no backslash")
    lost.get_by_label("Issuer").fill("North")
    give(lost, "4711")
    expect(page.get_by_role("status").filter(has_text="Nobody's 822 belongs to 4711 now.")).to_be_visible()
    expect(lost).to_have_count(0)
    expect(tab).to_contain_text("2")
    # One can type on: the form of the next study has the focus.
    expect(page.get_by_label("Patient ID").and_(page.locator(":focus"))).to_have_count(1)
    page.get_by_role("link", name="Open it").click()
    header = page.get_by_role("region", name="Study", exact=True)
    expect(header).to_contain_text("4711")
    expect(header.locator("[data-mark=no-patient]")).to_have_count(0)
    foreseen.append("422")


def test_a_conflict_shows_both_patients_and_a_decision_is_followed_to_its_end(page: Page, url: str) -> None:
    for number, button, patient in ((KEPT, f"Keep it with P{KEPT}", f"P{KEPT}"), (MOVED, "Move it to P999", "P999")):
        page.goto(f"{url}/jobs?view=conflicts")
        conflict = page.get_by_test_id("conflict").filter(has_text=f"Disputed {number}")
        expect(conflict.get_by_role("region", name="Archived under")).to_contain_text(f"P{number}")
        arrived = conflict.get_by_role("region", name="Arrived later")
        expect(arrived).to_contain_text("Olga Other")
        expect(arrived).to_contain_text("the 2 files join it")
        conflict.get_by_role("button", name=button).click()
        settled = page.get_by_test_id("settled")
        expect(settled).to_contain_text(f"All of it is with {patient} now; 2 files joined", timeout=60_000)
        expect(conflict).to_have_count(0)
        settled.get_by_role("link", name="Open the study").click()
        expect(page.get_by_role("region", name="Study", exact=True)).to_contain_text(patient)
        expect(page.get_by_test_id("instance-row")).to_have_count(3)
    # Of a study that has been deleted since only the later files are left.
    page.goto(f"{url}/jobs?view=conflicts")
    page.get_by_test_id("conflict").get_by_role("button", name="Archive under P999").click()
    expect(page.get_by_test_id("settled")).to_contain_text("All of it is with P999 now; 2 files joined", timeout=60_000)
    # None is left: the list says what would stand in it, and its tab counts nothing.
    page.goto(f"{url}/jobs?view=conflicts")
    expect(page.get_by_role("heading", name="No study has two patients")).to_be_visible()
    expect(page.get_by_role("tab", name="Conflicts")).to_have_text("Conflicts")


@pytest.mark.parametrize("width", [1280, 390])
def test_what_was_derived_says_so(open_tab: Callable[..., Page], url: str, width: int) -> None:
    page = open_tab(width=width)
    page.goto(f"{url}/imaging")
    row = page.get_by_test_id("study-row").filter(has_text="Without UIDs")
    expect(row.locator("[data-mark=derived]")).to_contain_text("Derived")
    row.get_by_role("link").first.click()
    page.get_by_role("region", name="Study", exact=True).locator("[data-mark=derived]").hover()
    expect(page.get_by_role("tooltip")).to_contain_text("The files name no Study Instance UID")
    expect(page.get_by_test_id("series-row").locator("[data-mark=derived]")).to_have_count(1)


def test_what_an_instance_was_before_it_was_replaced_can_be_had_back(page: Page, url: str) -> None:
    page.goto(f"{url}/imaging/{uid(REPLACED)}")
    page.get_by_role("tab", name="Earlier versions").click()
    expect_query(page, tab="versions")
    version = page.get_by_test_id("earlier-version")
    expect(version).to_have_count(1)
    expect(version).to_contain_text(uid(REPLACED, 1, 1))
    expect(version).to_contain_text("Import")
    with page.expect_download() as download:
        version.get_by_role("link").click()
    assert Path(download.value.path()).read_bytes() == ct(REPLACED)
    # A study in which nothing was replaced has no such tab.
    page.goto(f"{url}/imaging/{uid(KEPT)}")
    expect(page.get_by_test_id("instance-row").first).to_be_visible()
    expect(page.get_by_role("tab", name="Earlier versions")).to_have_count(0)
