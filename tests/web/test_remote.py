"""A source's remote archive on the page: named, tried, indexed, and the images of a study fetched from it."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from hilum.core.postgres import EmbeddedPostgres
from tests.conftest import Server
from tests.dicomweb.conftest import Web, shared
from tests.make import ct
from tests.web.test_access import AXE

SLOW = 90_000


@pytest.fixture(scope="module")
def remote(cluster: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """Another Hilum with one study."""
    with shared(cluster, tmp_path_factory.mktemp("remote")) as web:
        web.keep(ct(1, 1, 1, size=64, StudyDescription="Lies there"))
        yield web


def test_it_is_named_tried_indexed_and_fetched_from(
    open_tab: Callable[..., Page], foreseen: list[str], server: Server, remote: Web
) -> None:
    foreseen.extend(("422", "404"))
    page = open_tab()
    page.goto(f"{server.url}/settings?section=sources")
    source = page.get_by_test_id("source")
    expect(source).to_contain_text("No remote archive")
    source.get_by_role("button", name="Edit").click()
    form = page.get_by_role("dialog")
    form.get_by_label("Remote archive").fill("http://169.254.169.254/latest")
    form.get_by_role("button", name="Save").click()
    expect(form.get_by_role("alert")).to_contain_text("nothing is sent there")
    form.get_by_label("Remote archive").fill(remote.root.removesuffix("/dicom-web"))
    form.get_by_label("Kept for").fill("30")
    form.get_by_role("button", name="Save").click()
    expect(source).to_contain_text("kept for 30 days", timeout=SLOW)
    source.get_by_role("button", name="Test").click()
    expect(source.get_by_test_id("tested")).to_contain_text("It answers. QIDO-RS, WADO-RS", timeout=SLOW)
    page.evaluate(AXE.read_text())
    assert page.evaluate("axe.run().then(found => found.violations.map(one => one.id))") == []

    source.get_by_role("button", name="Index").click()
    page.get_by_role("dialog").get_by_role("button", name="Index", exact=True).click()
    expect(page.get_by_text("Indexing of a remote archive")).to_be_visible(timeout=SLOW)
    expect(page.get_by_text("Succeeded").first).to_be_visible(timeout=SLOW)
    page.goto(f"{server.url}/imaging")
    page.get_by_text("Lies there").first.click()
    expect(page.get_by_text("In the remote archive")).to_be_visible(timeout=SLOW)
    expect(page.get_by_test_id("series-row")).to_contain_text("1 instance")
    page.get_by_role("button", name="Fetch images").click()
    expect(page.get_by_role("link", name="Open viewer")).to_be_visible(timeout=SLOW)
    expect(page.get_by_test_id("series-row")).to_contain_text("1 image")
