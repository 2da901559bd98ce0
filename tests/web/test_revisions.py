"""The study page tells what came when: revisions, what each changed, and that a study is complete."""

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from hilum.core.postgres import EmbeddedPostgres
from tests.conftest import Server, fresh_database, serving
from tests.make import ct, uid

NAMES = {"PatientName": "Hallberg^Ida", "StudyDescription": "CT thorax"}


@pytest.fixture(scope="module")
def server(cluster: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on which studies are complete only when somebody says so; each test has a study of its own."""
    data = tmp_path_factory.mktemp("revisions") / "data"
    with fresh_database(cluster) as url, serving(data, url, study_quiet_seconds=3600) as running:
        yield running


def send(server: Server, folder: Path, *files: bytes) -> None:
    folder.mkdir()
    for number, file in enumerate(files):
        (folder / f"{number}.dcm").write_bytes(file)
    server.hilum("import", str(folder))


def test_a_study_is_marked_complete_and_its_revisions_are_opened(
    server: Server, tmp_path: Path, open_tab: Callable[..., Page]
) -> None:
    send(
        server, tmp_path / "a", *(ct(1, e, i, SeriesDescription=f"Axial {e}", **NAMES) for e in (1, 2) for i in (1, 2))
    )
    page = open_tab()
    page.goto(f"{server.url}/imaging/{uid(1)}?tab=revisions")
    header = page.get_by_role("region", name="Study", exact=True)
    expect(header).to_contain_text("Indexed")
    expect(page.get_by_text("The study has not been complete yet.")).to_be_visible()
    page.get_by_role("button", name="Mark complete").click()
    expect(header).to_contain_text("Processed")
    expect(page.get_by_role("button", name="Mark complete")).to_have_count(0)
    revisions = page.get_by_test_id("revision")
    expect(revisions).to_have_count(1)
    expect(revisions.first).to_contain_text("Revision 1")
    expect(revisions.first).to_contain_text("Completed or restored by hand · 4 instances")

    send(server, tmp_path / "b", ct(1, 1, 3, **NAMES), ct(1, 1, 1, seed=5, **NAMES))
    api = f"{server.url}/api/v1/imaging/studies/{uid(1)}"
    assert httpx.post(f"{api}/complete").status_code == 200
    assert httpx.delete(f"{api}/series/{uid(1, 2)}").status_code < 300
    page.reload()
    expect(revisions).to_have_count(3)
    expect(revisions.nth(0)).to_contain_text("Something was deleted")
    expect(revisions.nth(0).locator("[data-change=removed]")).to_have_text("−2 removed")
    expect(revisions.nth(1).locator("[data-change]")).to_have_text(["+1 added", "↻1 replaced"])
    for n in (0, 2):
        revisions.nth(n).get_by_role("button").click()
    expect(revisions.nth(0).get_by_role("listitem")).to_contain_text(["2 · CT · no longer here"])
    expect(revisions.nth(2).get_by_role("listitem")).to_contain_text(["1 · CT · Axial 1", "2 · CT"])


@pytest.mark.parametrize("width", [1280, 390])
def test_the_timeline_fits_the_screen(
    server: Server, tmp_path: Path, open_tab: Callable[..., Page], width: int
) -> None:
    send(server, tmp_path / "a", *(ct(width, 1, i, **NAMES) for i in range(1, 4)))
    assert httpx.post(f"{server.url}/api/v1/imaging/studies/{uid(width)}/complete").status_code == 200
    page = open_tab(width=width, scheme="dark")
    page.goto(f"{server.url}/imaging/{uid(width)}?tab=revisions")
    page.get_by_test_id("revision").get_by_role("button").click()
    expect(page.get_by_text("1 · CT · Axial")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
