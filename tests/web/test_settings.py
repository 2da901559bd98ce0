"""Webhooks and deliveries on the page: one is added, signed for, refused, sent again, switched off and deleted; and
what publication and forwarding could not bring to others stands beside it."""

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from hilum.core.delivery.signature import sign
from hilum.core.postgres import EmbeddedPostgres
from tests.conftest import Server, fresh_database, serving
from tests.delivery.conftest import Receiver, receiving
from tests.make import ct
from tests.routing.conftest import node
from tests.web.conftest import expect_query, query
from tests.web.test_access import AXE

SLOW = 90_000


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    """A running receiver that takes everything."""
    with receiving(tmp_path / "receiver") as running:
        yield running


@pytest.fixture(scope="module")
def telling(cluster: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose FHIR server is away, and whose rule sends to a node that refuses everything."""
    folder = tmp_path_factory.mktemp("telling")
    with ExitStack() as stack:
        url = stack.enter_context(fresh_database(cluster))
        peer = stack.enter_context(node(status=lambda _: 0x0122))
        away = stack.enter_context(socket.socket())  # bound, so that nobody else answers there
        away.bind(("127.0.0.1", 0))
        settings = {
            "delivery_retry_seconds": "0.1,0.1",
            "fhir_publish_url": f"http://127.0.0.1:{away.getsockname()[1]}/r4",
            "study_quiet_seconds": "1",
        }
        server = stack.enter_context(serving(folder / "data", url, **settings))
        node_address = {"host": "127.0.0.1", "port": peer.port, "called_ae_title": "PEER"}
        add(server, "destinations", name="PACS", kind="cstore", address=node_address)
        add(server, "rules", name="Everything", destination_id=1, when="instance")
        yield server


def add(server: Server, what: str, **values: object) -> None:
    assert httpx.post(f"{server.url}/api/v1/imaging/{what}", json=values).status_code == 201


def lately(sentence: str) -> re.Pattern[str]:
    """A sentence with a time in it that is now, or was a while ago on a busy machine."""
    return re.compile(re.escape(sentence).replace(re.escape("{}"), r"(just now|\d+ min ago)"))


def keep(server: Server, number: int) -> None:
    path = server.data.parent / f"{number}.dcm"
    path.write_bytes(ct(number))
    server.hilum("import", str(path))


def test_a_webhook_is_added_refused_sent_again_and_deleted(
    open_tab: Callable[..., Page], foreseen: list[str], telling: Server, receiver: Receiver
) -> None:
    foreseen.append("422")
    page = open_tab()
    page.goto(f"{telling.url}/settings")
    page.get_by_role("tab", name="Webhooks").click()
    page.get_by_role("button", name="Add a webhook").click()
    form = page.get_by_role("dialog")
    expect(form.get_by_label("Address")).to_be_focused()
    page.keyboard.type("http://169.254.169.254/latest")
    page.keyboard.press("Enter")
    expect(form.get_by_role("alert")).to_contain_text("nothing is sent there")
    form.get_by_label("Address").fill(receiver.url)
    form.get_by_label("Events").fill("hilum.instance.stored.v1")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    form.get_by_role("button", name="Add", exact=True).click()
    secret = page.get_by_test_id("secret").inner_text()
    page.get_by_role("button", name="I have it").click()
    hook = page.get_by_test_id("webhook").filter(has_text=receiver.url)
    expect(hook).to_contain_text("instance.stored")
    expect(hook).to_contain_text("Nothing has been sent to it yet.")
    assert secret not in page.content()
    hook.get_by_role("button", name="Test").click()
    expect(hook.get_by_test_id("tested")).to_contain_text("It took the test.")
    assert is_signed(receiver.requests()[-1], secret)

    receiver.mode("401")
    keep(telling, 1)
    again = hook.get_by_role("button", name="Send 1 dead letter again")
    expect(again).to_be_visible(timeout=SLOW)
    expect(hook).to_contain_text(lately("It did not take instance.stored {}: The receiver refuses the event (401)."))
    hook.get_by_role("link", name="1 in the list of deliveries").click()
    expect(page.get_by_test_id("letters")).to_be_visible()
    name = query(page)["consumer"]
    consumer = page.locator(f"[data-consumer='{name}']")
    letter = consumer.get_by_test_id("delivery")
    expect(letter).to_contain_text("The receiver refuses the event (401).")
    expect(letter).to_contain_text(lately("3 attempts, the last {}"))
    receiver.mode("204")
    letter.get_by_role("button", name="Send again").press("Enter")
    expect(letter).to_contain_text("Delivered", timeout=SLOW)
    consumer.get_by_label("State of the deliveries").click()
    page.get_by_role("option", name="Dead letters").click()
    expect(consumer).to_contain_text("Nothing is in this state.")
    page.reload()
    expect(consumer).to_contain_text("Nothing is in this state.")

    page.get_by_role("tab", name="Webhooks").click()
    expect(hook).to_contain_text(lately("It took instance.stored {}."))
    hook.get_by_role("button", name="Switch off").click()
    expect(hook).to_contain_text("It is off: what happens waits for it.")
    hook.get_by_role("button", name=f"Edit {receiver.url}").click()
    form.get_by_text("One JSON document").click()
    form.get_by_role("button", name="Save").click()
    expect(hook).to_contain_text("each as one document")
    hook.get_by_role("button", name=f"Delete {receiver.url}").click()
    form.get_by_role("button", name="Keep it").press("Enter")
    hook.get_by_role("button", name=f"Delete {receiver.url}").press("Enter")
    form.get_by_role("button", name="Delete").click()
    expect(hook).to_be_hidden()


def test_what_did_not_get_through_stands_in_one_place(open_tab: Callable[..., Page], telling: Server) -> None:
    page = open_tab()
    keep(telling, 2)
    page.goto(f"{telling.url}/settings?section=deliveries")
    routing = page.locator("[data-consumer=routing]")
    expect(routing).to_contain_text("Forwarding, in Hilum")
    expect(page.get_by_test_id("publication")).to_contain_text("The server cannot be reached", timeout=SLOW)
    expect(page.get_by_test_id("unpublished").first).to_contain_text("Source default, version 1")
    page.get_by_role("button", name="Send now").click()
    forwarded = page.get_by_test_id("forwarded")
    expect(forwarded).to_contain_text("Everything", timeout=SLOW)
    expect(forwarded.get_by_role("button", name="again")).to_be_visible()
    forwarded.get_by_role("link").click()
    expect(page.get_by_test_id("item").first).to_contain_text("it does not take this SOP class")
    expect_query(page, section="forwarding", rule="1", state="dead")


@pytest.mark.parametrize("section", ["webhooks", "deliveries&consumer=routing"])
@pytest.mark.parametrize(("width", "scheme"), [(1280, "dark"), (390, "light")])
def test_it_is_for_everyone(
    open_tab: Callable[..., Page], telling: Server, section: str, width: int, scheme: str
) -> None:
    add(telling, "webhooks", url="https://receiver.example/a/rather/long/address/of/a/receiver", active=False)
    page = open_tab(width, 900, scheme)
    page.goto(f"{telling.url}/settings?section={section}")
    expect(page.get_by_test_id("webhook" if section == "webhooks" else "letters").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate(AXE.read_text())
    found = page.evaluate("async () => (await axe.run(document)).violations")
    assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []


def is_signed(request: dict[str, dict[str, str] | str], secret: str) -> bool:
    headers = request["headers"]
    assert isinstance(headers, dict)
    name, stamp = headers["webhook-id"], int(headers["webhook-timestamp"])
    return sign(secret, name, stamp, str(request["body"]).encode())["webhook-signature"] == headers["webhook-signature"]
