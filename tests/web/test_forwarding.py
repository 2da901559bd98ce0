"""Forwarding on the page: a destination and a rule are made by the keyboard, watched, mended, deleted and had back."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from hilum.core.database import Database
from hilum.core.events import read_events
from hilum.core.postgres import EmbeddedPostgres
from hilum.imaging.archive.further import chosen
from hilum.imaging.routing import matching
from tests.conftest import Server, fresh_database, serving
from tests.make import ct
from tests.routing.conftest import Node, node
from tests.web.conftest import query
from tests.web.test_access import AXE


class Sending:
    """A server of the test's own, whose rules are told of what arrives."""

    def __init__(self, server: Server, database: Database) -> None:
        self.server = server
        self.database = database

    def keep(self, *files: bytes) -> None:
        for number, one in enumerate(files):
            path = self.server.data.parent / f"{number}.dcm"
            path.write_bytes(one)
            self.server.hilum("import", str(path))
        with self.database.connect() as connection:
            for event in read_events(connection, "http://hilum", limit=1000, types=[matching.STORED]):
                matching.handle(self.database, chosen(()), event)


@pytest.fixture(scope="module")
def sending(cluster: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sending]:
    """A server of the module's own."""
    with fresh_database(cluster) as url, serving(tmp_path_factory.mktemp("sending") / "data", url) as server:
        database = Database(url, 1)
        yield Sending(server, database)
        database.close()


@pytest.fixture
def peer() -> Iterator[Node]:
    """A node that takes no ultrasound."""
    with node(status=lambda uid: 0x0122 if uid.startswith("2.25.7.2.") else 0) as running:
        yield running


def test_a_rule_is_made_watched_mended_deleted_and_had_back(
    open_tab: Callable[..., Page], foreseen: list[str], sending: Sending, peer: Node
) -> None:
    foreseen.extend(("422", "409"))
    page = open_tab()
    page.goto(f"{sending.server.url}/settings")
    expect(page.get_by_role("heading", name="Nothing is forwarded")).to_be_visible()
    page.get_by_role("button", name="Add a destination").click()
    form = page.get_by_role("dialog")
    expect(form.get_by_label("Name")).to_be_focused()
    page.keyboard.type("PACS")
    form.get_by_text("DICOM (C-STORE)").click()
    form.get_by_label("Host").fill("127.0.0.1")
    form.get_by_label("Port").fill("9")
    form.get_by_label("Its AE title").fill("PEER")
    form.get_by_label("Its AE title").press("Enter")
    destination = page.get_by_test_id("destination")
    expect(destination).to_contain_text("C-STORE to PEER at 127.0.0.1, port 9")
    destination.get_by_role("button", name="Test").click()
    expect(destination.get_by_test_id("tested")).to_contain_text("Nobody answers at 127.0.0.1, port 9")
    destination.get_by_role("button", name="Edit PACS").click()
    form.get_by_label("Port").fill(str(peer.port))
    form.get_by_role("button", name="Save").click()
    expect(form).to_be_hidden()
    destination.get_by_role("button", name="Test").click()
    expect(destination.get_by_test_id("tested")).to_contain_text("It answered the C-ECHO.")

    page.get_by_role("button", name="Add a rule").click()
    page.keyboard.type("All CT")
    form.get_by_label("Modality").fill("CT")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    form.get_by_role("button", name="Add an expression").click()
    form.get_by_label("Attribute").fill("StudyDescription")
    form.get_by_label("Expression", exact=True).fill("(")
    expect(form.get_by_test_id("sentence")).to_have_text(
        "Each CT instance whose StudyDescription matches ( goes to PACS as it arrives."
    )
    form.get_by_role("button", name="Add", exact=True).click()
    expect(form.get_by_role("alert")).to_contain_text("is no regular expression")
    form.get_by_label("Expression", exact=True).fill("chest")
    form.get_by_role("button", name="Add", exact=True).click()
    rule = page.get_by_test_id("rule")
    expect(rule).to_contain_text("whose StudyDescription matches chest goes to PACS")

    sending.keep(ct(1), ct(2))
    expect(rule.locator("[data-unit=sent]")).to_have_text("1 sent", timeout=60_000)
    again = rule.get_by_role("button", name="Send 1 dead letter again")
    expect(again).to_be_visible(timeout=60_000)
    rule.locator("[aria-expanded]").press("Enter")
    dead = rule.get_by_test_id("item").and_(page.locator("[data-state=dead]"))
    expect(dead).to_contain_text("Refused with 0x0122: it does not take this SOP class.")
    assert query(page)["rule"]
    page.reload()
    expect(dead).to_be_visible()
    dead.get_by_role("button", name="Do not send").click()
    expect(again).to_be_hidden()

    rule.get_by_role("button", name="Switch off").click()
    expect(rule).to_contain_text("It is off")
    rule.get_by_role("button", name="Delete All CT").press("Enter")
    expect(rule).to_be_hidden()
    page.get_by_test_id("undo").get_by_role("button", name="Undo").click()
    expect(rule).to_contain_text("1 sent")
    destination.get_by_role("button", name="Pause").click()
    expect(destination).to_contain_text("Paused: what is for it waits.")
    destination.get_by_role("button", name="Delete PACS").click()
    expect(destination.get_by_role("alert")).to_contain_text("Rules send to 'PACS'")

    for width, scheme in ((1280, "dark"), (390, "light")):
        tab = open_tab(width, 900, scheme)
        tab.goto(f"{sending.server.url}/settings?rule=1")
        expect(tab.get_by_test_id("item").first).to_be_visible()
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        tab.evaluate(AXE.read_text())
        found = tab.evaluate("async () => (await axe.run(document)).violations")
        assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []
