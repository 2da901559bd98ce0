"""REST of delivery on a real server with its worker."""

from collections.abc import Iterator

import httpx
import pytest

from hilum.core.database import Database
from hilum.core.postgres import EmbeddedPostgres
from tests.conftest import Server, fresh_database, serving, wait_until
from tests.delivery.conftest import Receiver, emit

API = "/api/v1/imaging"


@pytest.fixture(scope="module")
def server(cluster: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that is quick to try again."""
    folder = tmp_path_factory.mktemp("server") / "data"
    with fresh_database(cluster) as url, serving(folder, url, delivery_retry_seconds="0.1,0.1") as running:
        yield running


@pytest.fixture
def feed(server: Server):
    """Writes events into the server's database."""
    database = Database(server.environment["HILUM_DATABASE_URL"], pool_size=2)
    yield lambda *subjects: emit(database, *subjects, type="hilum.test.v1")
    database.close()


def call(server: Server, method: str, path: str, **options: object) -> httpx.Response:
    return httpx.request(method, server.url + API + path, timeout=60, **options)  # pyright: ignore


def test_a_webhook_from_its_making_to_its_end(server: Server, receiver: Receiver, feed) -> None:
    made = call(server, "POST", "/webhooks", json={"url": receiver.url, "types": ["hilum.test.v1"]})
    assert made.status_code == 201, made.text
    hook = made.json()
    secret = hook.pop("secret")
    assert secret.startswith("whsec_")
    place = f"/webhooks/{hook['id']}"
    assert call(server, "GET", place).json() == hook
    assert secret not in call(server, "GET", "/webhooks").text
    tested = call(server, "POST", f"{place}/test").json()
    assert (tested["delivered"], tested["reason"]) == (True, "")
    assert receiver.requests()[0]["headers"]["ce-type"] == "hilum.webhook.test.v1"

    receiver.mode("400")
    feed("1.2", "1.3")
    dead = f"/deliveries?state=dead&consumer=webhook:{hook['id']}"
    wait_until(lambda: call(server, "GET", dead).json()["total"] == 2, 90)
    letter = call(server, "GET", dead).json()["items"][-1]
    assert (letter["subject"], letter["status"], letter["attempts"]) == ("1.2", 400, 3)
    assert call(server, "GET", place).json()["dead"] == 2
    assert figure(server, "hilum_deliveries_dead", hook["id"]) == 2
    assert call(server, "POST", f"{place}/test").json()["status"] == 400

    receiver.mode("204")
    assert call(server, "POST", f"/deliveries/{letter['id']}/replay").json() == {"replayed": 1}
    wait_until(lambda: call(server, "GET", dead).json()["total"] == 1)
    assert call(server, "POST", f"{place}/replay").json() == {"replayed": 1}
    wait_until(lambda: call(server, "GET", dead).json()["total"] == 0)
    listed = f"/deliveries?state=delivered&consumer=webhook:{hook['id']}"
    wait_until(lambda: call(server, "GET", listed).json()["total"] == 2)
    assert call(server, "POST", f"/deliveries/{letter['id']}/replay").status_code == 409
    assert receiver.subjects()[-2:] == ["1.2", "1.3"]

    changed = call(server, "PATCH", place, json={"active": False, "mode": "structured"})
    assert (changed.status_code, changed.json()["active"], changed.json()["mode"]) == (200, False, "structured")
    assert figure(server, "hilum_deliveries_dead", hook["id"]) == 0
    assert figure(server, "hilum_consumer_lag", hook["id"]) == 0
    feed("1.4", "1.5")
    assert figure(server, "hilum_consumer_lag", hook["id"]) == 2
    consumers = {one["name"]: one for one in call(server, "GET", "/deliveries/consumers?limit=100").json()["items"]}
    told = consumers[f"webhook:{hook['id']}"]
    assert (told["behind"], told["dead"], told["retrying"], told["problem"]) == (2, 0, 0, "")
    wait_until(lambda: figure(server, "hilum_consumer_lag", "routing") == 0)
    assert call(server, "DELETE", place).status_code == 204
    assert call(server, "GET", place).status_code == 404
    assert call(server, "GET", listed).json()["total"] == 0


def figure(server: Server, name: str, consumer: int | str) -> float:
    """What ``/metrics`` says of a consumer."""
    label = f"webhook:{consumer}" if isinstance(consumer, int) else consumer
    begin = f'{name}{{consumer="{label}"}} '
    return next(float(line.removeprefix(begin)) for line in server.get("/metrics").text.splitlines() if begin in line)


@pytest.mark.parametrize(
    "body",
    [
        {}, {"url": None}, {"url": "ftp://a/"}, {"url": "http://u:p@a/"}, {"url": "http://169.254.169.254/"},
        {"url": "http://a/", "mode": "x"}, {"url": "http://a/", "secret": "short"}, {"url": "http://a/", "colour": 1},
        {"url": "http://a/", "types": ["A B"]}, {"url": "http://a/", "sources": ["../x"]},
    ],
)  # fmt: skip
def test_what_cannot_be_a_webhook_is_refused_with_a_sentence(server: Server, body: dict[str, object]) -> None:
    answer = call(server, "POST", "/webhooks", json=body)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_what_is_not_there(server: Server) -> None:
    for method, path in (
        ("GET", "/webhooks/9999"), ("PATCH", "/webhooks/9999"), ("DELETE", "/webhooks/9999"),
        ("POST", "/webhooks/9999/test"), ("POST", "/webhooks/9999/replay"), ("POST", "/deliveries/9999/replay"),
    ):  # fmt: skip
        answer = call(server, method, path, json={} if method == "PATCH" else None)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert call(server, "POST", "/deliveries/replay?consumer=nobody").json() == {"replayed": 0}
    assert call(server, "GET", "/deliveries?state=lost").status_code == 422
