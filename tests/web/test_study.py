"""The study page in the browser: who and what, series, instances, tags; what is chosen stands in the address."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.conftest import Server
from tests.web.conftest import query, until
from tests.web.data import CINE, REPORT, SLICES, STACK, STUDY, rich_study, study_uid


@pytest.fixture(scope="module")
def url(server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of the study with everything."""
    server.hilum("import", str(rich_study(tmp_path_factory.mktemp("study") / "rich")))
    return f"{server.url}/imaging/{study_uid(STUDY)}"


def series(number: int) -> str:
    """Series Instance UID of a series of the study."""
    return f"{study_uid(STUDY)}.{number}"


@pytest.fixture
def study(page: Page, url: str) -> Page:
    """A tab with the study."""
    page.goto(url)
    expect(page.get_by_role("heading", name="Ida Hallberg")).to_be_visible()
    return page


def test_it_tells_who_and_what(study: Page) -> None:
    header = study.get_by_role("region", name="Study", exact=True)
    for text in ("W900", "54 y", "CT thorax", "2024-01-31 10:15", "W-2024-900", "Saint Elsewhere", study_uid(STUDY)):
        expect(header).to_contain_text(text)
    assert header.locator("abbr").all_inner_texts() == ["CT", "SR", "US"]


def test_every_series_has_its_picture_and_its_counts(study: Page) -> None:
    rows = study.get_by_test_id("series-row")
    expect(rows).to_have_count(5)
    expect(rows.nth(0)).to_contain_text(f"{SLICES} images")
    expect(rows.nth(1)).to_contain_text("12 images in 1 instance")
    expect(rows.nth(2)).to_contain_text("1 instance, no image")
    loaded = "image => image.complete && image.naturalWidth > 0"
    until(study, lambda: all(image.evaluate(loaded) for image in rows.locator("img").all()[:2]), "thumbnails")


def test_instances_are_sorted_and_paged_in_the_address(study: Page) -> None:
    rows = study.get_by_test_id("instance-row")
    expect(rows).to_have_count(25)
    # By position: the instance that was numbered last lies first.
    expect(rows.first).to_contain_text("0.00 mm")
    study.get_by_role("button", name="Number").click()
    until(study, lambda: query(study) == {"sort": "instance_number"}, "the order in the address")
    until(study, lambda: "122.50 mm" in rows.first.inner_text(), "the other order")
    study.get_by_role("button", name="Page 2").click()
    until(study, lambda: query(study) == {"sort": "instance_number", "page": "2"}, "the page in the address")
    study.reload()
    expect(study.get_by_test_id("pager-range")).to_have_text(f"26–50 of {SLICES} instances")


def test_an_instance_downloads_as_it_was_sent(study: Page, tmp_path: Path) -> None:
    with study.expect_download() as download:
        study.get_by_role("link", name="Download instance").first.click()
    download.value.save_as(tmp_path / "instance.dcm")
    sent = rich_study(tmp_path / "again") / "stack000.dcm"
    assert (tmp_path / "instance.dcm").read_bytes() == sent.read_bytes()


def test_tags_are_searched_by_keyword_tag_and_value(study: Page) -> None:
    study.get_by_role("tab", name="Tags").click()
    search = study.get_by_label("Search tags")
    rows = study.get_by_test_id("tag-row")
    for words, found in (
        ("rescaleinter", "RescaleIntercept"),
        ("0010,0020", "PatientID"),
        ("(0010,0020)", "PatientID"),
        ("saint else", "InstitutionName"),
    ):
        search.fill(words)
        expect(rows).to_have_count(1)
        expect(rows).to_contain_text(found)
    until(study, lambda: query(study).get("find") == "saint else", "the search in the address")
    study.reload()
    expect(rows).to_have_count(1)


def test_sequences_are_indented_and_fold(page: Page, url: str) -> None:
    page.goto(f"{url}?series={series(REPORT)}&tab=tags")
    rows = page.get_by_test_id("tag-row")
    expect(rows.filter(has_text="CodeMeaning")).to_have_attribute("data-depth", "2")
    page.get_by_role("button", name="Close ConceptNameCodeSequence").click()
    expect(rows.filter(has_text="CodeMeaning")).to_have_count(0)
    expect(rows.filter(has_text="TextValue")).to_have_count(1)
    page.get_by_role("button", name="Close ContentSequence").click()
    expect(rows.filter(has_text="TextValue")).to_have_count(0)
    page.get_by_role("button", name="Open sequences").click()
    expect(rows.filter(has_text="CodeMeaning")).to_have_count(1)


def test_the_viewer_opens_on_the_chosen_series_and_comes_back(study: Page) -> None:
    study.get_by_test_id("series-row").filter(has_text="Cine").get_by_role("button").click()
    until(study, lambda: "series" in query(study), "the series in the address")
    study.get_by_role("link", name="Open viewer").click()
    expect(study.get_by_test_id("viewport")).to_have_attribute("data-series", series(CINE))
    study.get_by_role("link", name="Back to the study").click()
    chosen = study.locator("[data-testid=series-row][data-chosen]")
    expect(chosen).to_contain_text("Cine")


def test_a_phone_shows_it_without_scrolling_sideways(open_tab: Callable[..., Page], url: str) -> None:
    phone = open_tab(width=390, height=844, scheme="dark")
    phone.goto(f"{url}?series={series(STACK)}")
    expect(phone.get_by_test_id("instance-row").first).to_be_visible()
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
