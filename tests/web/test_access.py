"""Who cannot see well or use a mouse: axe-core finds nothing serious on any page, in either scheme."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.conftest import Server
from tests.make import ct
from tests.web.data import STUDY, rich_study, study_uid

AXE = Path(__file__).parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
SETTLED = """() => Promise.all(document.getAnimations()
    .filter(one => Number.isFinite(one.effect.getComputedTiming().endTime))
    .map(one => one.finished.catch(() => null)))"""
VIEW = f"/imaging/{study_uid(STUDY)}"
PAGES = {
    "/imaging": "[data-testid=study-row]",
    "/imaging?q=nosuchthing": "h2",
    VIEW: "[data-testid=instance-row]",
    f"{VIEW}?tab=tags": "[data-testid=tag-row]",
    f"{VIEW}/view": "body:has([data-state=ready]) button[aria-expanded]:enabled:has-text('40 / 400')",
    "/jobs": "[data-testid=job]",
    "/jobs?view=set-aside": "[data-testid=set-aside-row]",
    "/jobs?view=quarantine": "[data-testid=quarantined] img",
    "/jobs?view=conflicts": "[data-testid=conflict] a",
    "/links": "h2",
    "/settings": "h2",
    "/settings?section=webhooks": "h2",
    "/settings?section=deliveries": "[data-testid=consumer]",
}


@pytest.fixture(scope="module")
def url(server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A server with the study with everything, one without a patient and one with two."""
    folder = rich_study(tmp_path_factory.mktemp("study") / "rich")
    (folder / "nobodys.dcm").write_bytes(ct(960, PatientID=None))
    for number, patient in enumerate(("P961", "P962"), start=1):
        (folder / f"disputed{number}.dcm").write_bytes(ct(961, 1, number, PatientID=patient))
    server.hilum("import", str(folder), check=False)
    return server.url


@pytest.mark.parametrize("path", PAGES)
def test_nothing_serious_stands_in_the_way(open_tab: Callable[..., Page], url: str, path: str) -> None:
    page = open_tab(width=1280 if "view" not in path else 800, height=700)
    page.goto(url + path)
    expect(page.locator(PAGES[path]).first).to_be_visible(timeout=60_000)
    page.evaluate(AXE.read_text())
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        shown = "dark" if path.endswith("/view") else scheme  # the viewer is always dark
        expect(page.locator("html")).to_have_attribute("data-mantine-color-scheme", shown)
        page.evaluate(SETTLED)
        found = page.evaluate("async () => (await axe.run(document)).violations")
        serious = [
            f"{one['id']}: {node['html'][:160]} {node['failureSummary'][:200]}"
            for one in found
            if one["impact"] in ("serious", "critical")
            for node in one["nodes"]
        ]
        assert (scheme, serious) == (scheme, [])
