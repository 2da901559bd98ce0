"""The study list in the browser: search, filters, order and page, all of them in the address."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.conftest import Server
from tests.web.conftest import expect_query, query, until
from tests.web.data import bundle, many_studies


@pytest.fixture(scope="module")
def url(server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A server with 45 studies and one from a CD."""
    folder = tmp_path_factory.mktemp("studies")
    server.hilum("import", str(many_studies(folder / "many")), str(bundle(folder / "cd.zip")))
    return server.url


def rows(page: Page) -> list[str]:
    """The studies that the list shows, by description."""
    expect(page.get_by_test_id("study-row").first).to_be_visible()
    until(page, lambda: page.locator("[data-testid=study-list][data-stale]").count() == 0, "a fresh list")
    return page.get_by_test_id("study-row").all_inner_texts()


def test_the_newest_studies_come_first_with_their_number(page: Page, url: str) -> None:
    page.goto(url)
    first = rows(page)
    assert page.url == f"{url}/imaging"
    assert len(first) == 20
    expect(page.get_by_test_id("pager-range")).to_have_text("1–20 of 46 studies")
    assert "From a CD" in first[0]
    expect(page.get_by_test_id("archive-figures")).to_contain_text("46 studies")


def test_a_column_sorts_both_ways_and_a_reload_keeps_it(page: Page, url: str) -> None:
    page.goto(f"{url}/imaging")
    rows(page)
    page.get_by_role("button", name="Patient").click()
    until(page, lambda: query(page) == {"sort": "patient"}, "the order in the address")
    until(page, lambda: "Bo Bundle" in rows(page)[0], "patients from A on")
    page.get_by_role("button", name="Patient").click()
    until(page, lambda: query(page) == {"sort": "-patient"}, "the other order in the address")
    until(page, lambda: "N045 Patient" in rows(page)[0], "patients from the end")
    page.reload()
    assert "N045 Patient" in rows(page)[0]
    expect(page.locator("th[aria-sort=descending]")).to_have_text("Patient")


def test_search_narrows_the_list_and_stands_in_the_address(page: Page, url: str) -> None:
    page.goto(f"{url}/imaging?page=2")
    rows(page)
    page.keyboard.press("/")
    page.keyboard.type("number 17")
    until(page, lambda: query(page) == {"q": "number 17"}, "the search in the address, its page gone")
    until(page, lambda: len(rows(page)) == 1, "one study")
    page.reload()
    expect(page.get_by_role("searchbox")).to_have_value("number 17")
    assert "Study number 17" in rows(page)[0]


def test_filters_combine(page: Page, url: str) -> None:
    page.goto(f"{url}/imaging")
    rows(page)
    page.get_by_role("combobox", name="Modality").click()
    page.get_by_role("option", name="MR").click()
    until(page, lambda: query(page) == {"modality": "MR"}, "the modality in the address")
    until(page, lambda: page.get_by_test_id("pager-range").inner_text() == "1–15 of 15 studies", "the MR studies")
    page.get_by_label("Study date from").fill("2022-01-01")
    page.get_by_label("Study date to").fill("2022-12-31")
    until(page, lambda: query(page) == {"modality": "MR", "date_from": "2022-01-01", "date_to": "2022-12-31"}, "dates")
    until(page, lambda: page.get_by_test_id("pager-range").inner_text() == "1–4 of 4 studies", "the MR studies of 2022")
    page.get_by_role("button", name="Clear the filters").click()
    until(page, lambda: query(page) == {}, "a clean address")
    until(page, lambda: len(rows(page)) == 20, "all studies again")


def test_pages_turn_and_the_back_button_returns(page: Page, url: str) -> None:
    page.goto(f"{url}/imaging")
    first = rows(page)
    page.get_by_role("button", name="Next page").click()
    until(page, lambda: page.get_by_test_id("pager-range").inner_text() == "21–40 of 46 studies", "the second page")
    expect_query(page, page="2")
    assert not set(rows(page)) & set(first)
    page.go_back()
    until(page, lambda: rows(page) == first, "the first page")


def test_a_page_beyond_the_end_is_the_last(page: Page, url: str) -> None:
    page.goto(f"{url}/imaging?page=99")
    until(page, lambda: query(page) == {"page": "3"}, "the last page")
    assert len(rows(page)) == 6


def test_the_keyboard_walks_and_opens(page: Page, url: str) -> None:
    page.goto(f"{url}/imaging")
    rows(page)
    page.keyboard.press("j")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("j")
    page.keyboard.press("k")
    wanted = page.get_by_test_id("study-row").nth(1).get_attribute("data-study-uid")
    expect(page.locator("tr[data-active]")).to_have_attribute("data-study-uid", wanted or "")
    page.keyboard.press("Enter")
    expect(page.get_by_text(str(wanted), exact=True)).to_be_visible()
    assert "/imaging/" in page.url


def test_nothing_found_says_so_and_offers_the_way_back(page: Page, url: str) -> None:
    page.goto(f"{url}/imaging?q=nosuchthing")
    expect(page.get_by_role("heading", name="No study matches")).to_be_visible()
    page.get_by_role("button", name="Show all studies").click()
    assert len(rows(page)) == 20


def test_an_error_is_a_sentence_with_another_try(page: Page, url: str, foreseen: list[str]) -> None:
    page.goto(f"{url}/imaging/999999")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("The study could not be opened")
    expect(alert.get_by_role("button", name="Try again")).to_be_visible()
    foreseen.append("404")


@pytest.mark.parametrize("path", ["/imaging", "/imaging?modality=CT", "/jobs"])
def test_a_phone_shows_all_without_scrolling_sideways(open_tab: Callable[..., Page], url: str, path: str) -> None:
    phone = open_tab(width=390, height=844)
    phone.goto(url + path)
    expect(phone.get_by_test_id("study-row" if "imaging" in path else "job").first).to_be_visible()
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_scheme_is_chosen_and_kept(open_tab: Callable[..., Page], url: str) -> None:
    page = open_tab(scheme="dark")
    page.goto(f"{url}/imaging")
    root = page.locator("html")
    expect(root).to_have_attribute("data-mantine-color-scheme", "dark")
    page.get_by_role("button", name="Colours").click()
    page.get_by_role("menuitem", name="Light").click()
    expect(root).to_have_attribute("data-mantine-color-scheme", "light")
    page.reload()
    expect(root).to_have_attribute("data-mantine-color-scheme", "light")


def test_a_bundle_keeps_its_files(page: Page, url: str, tmp_path: Path) -> None:
    page.goto(f"{url}/imaging?q=CD")
    page.get_by_test_id("study-row").first.get_by_role("link").click()
    page.get_by_role("tab", name="Files of the bundle").click()
    until(page, lambda: query(page).get("tab") == "files", "the tab in the address")
    with page.expect_download() as download:
        page.get_by_role("link", name="report.pdf").click()
    download.value.save_as(tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF-1.4")
