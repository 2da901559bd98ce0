"""A person puts a study right on its page, undoes it, deletes it and has it back."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.conftest import Server
from tests.make import ct, uid


@pytest.fixture(scope="module")
def url(server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of one of two studies with the same wrong description."""
    folder = tmp_path_factory.mktemp("curation")
    for n in (801, 802):
        (folder / str(n)).write_bytes(ct(n, StudyDescription="THX", PatientName="Curie^Ada"))
    server.hilum("import", str(folder))
    return f"{server.url}/imaging/"


def test_a_study_is_corrected_with_its_history_and_put_back(page: Page, url: str) -> None:
    page.goto(url + uid(801))
    page.get_by_role("button", name="Edit the study").click()
    dialog = page.get_by_role("dialog", name="Edit the study")
    expect(dialog.get_by_role("button", name="Save")).to_be_disabled()
    dialog.get_by_label("Description").fill("CT thorax")
    dialog.get_by_label("Modality").fill("mr")
    dialog.get_by_role("button", name="Save").click()
    header = page.get_by_role("region", name="Study", exact=True)
    expect(header).to_contain_text("CT thorax")
    expect(header.locator("abbr")).to_have_text("MR")

    page.goto(url + uid(802))
    page.get_by_role("button", name="Edit the study").click()
    page.get_by_role("button", name="Use CT thorax, as once before").click()
    expect(dialog.get_by_label("Description")).to_have_value("CT thorax")
    dialog.get_by_role("button", name="Cancel").click()

    page.goto(url + uid(801))
    page.get_by_role("button", name="Edit the study").click()
    expect(page.get_by_test_id("correction")).to_have_count(2)
    changed = page.get_by_test_id("correction").filter(has_text="THX → CT thorax")
    changed.get_by_role("button", name="Undo").click()
    expect(page.get_by_test_id("correction")).to_have_count(3)
    expect(dialog.get_by_label("Description")).to_have_value("THX")
    page.keyboard.press("Escape")
    expect(header).to_contain_text("THX")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_deleted_study_leaves_the_list_and_comes_back_by_undo(
    open_tab: Callable[..., Page], foreseen: list[str], url: str, width: int, scheme: str
) -> None:
    page = open_tab(width=width, scheme=scheme)
    page.goto(url + uid(802))
    page.get_by_role("button", name="Delete the study").click()
    toast = page.get_by_role("region", name="Deleted study")
    expect(toast).to_contain_text("THX")
    expect(page).to_have_url(url.rstrip("/"))
    expect(page.get_by_text("Ada Curie")).to_have_count(1)
    box = toast.bounding_box()
    assert box
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    toast.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("heading", name="Ada Curie")).to_be_visible()
    expect(toast).to_have_count(0)
    foreseen.append("410")
