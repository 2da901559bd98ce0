"""Webhooks: signed, in order, tried again, given up, replayed; and nothing goes where nobody sent it."""

import base64
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from hilum.core.config import Settings
from hilum.core.database import Database
from hilum.core.delivery import webhooks
from hilum.core.delivery.consumer import Undelivered
from hilum.core.delivery.ledger import replay
from hilum.core.delivery.post import Answer, Post
from hilum.core.errors import Invalid
from hilum.core.outgoing import Forbidden, allowed, check_url
from hilum.core.trust import trusting
from tests.conftest import free_port, wait_until
from tests.delivery.conftest import QUICK, Receiver, authority, emit, receiving, rows

Start = Callable[..., None]
DEAD = "select event_id, attempts, status, reason from hilum.delivery where state = 'dead' order by id"


REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "events.md"


def signed(request: dict[str, Any], secret: str) -> bool:
    """As the documentation tells a receiver to check it: by its own lines."""
    code: dict[str, Any] = {}
    exec(REFERENCE.read_text().split("```python\n")[1].split("```")[0], code)
    fields = {name.lower(): value for name, value in request["headers"].items()}
    return code["is_genuine"](secret, fields, request["body"].encode())


def serve(database: Database, couriers: Start, settings: Settings = QUICK) -> None:
    couriers(webhooks.group(database, list), settings=settings)


def test_events_arrive_in_binary_mode_in_order_and_signed(
    database: Database, couriers: Start, receiver: Receiver
) -> None:
    emit(database, "before")
    hook = webhooks.add_hook(database, receiver.url)
    emit(database, "1.2.3", n=1)
    serve(database, couriers)
    emit(database, "ä %", "3")
    wait_until(lambda: len(receiver.requests()) == 3)
    first = receiver.requests()[0]
    fields = {name.lower(): value for name, value in first["headers"].items()}
    assert json.loads(first["body"]) == {"n": 1}
    assert (fields["ce-specversion"], fields["ce-type"], fields["ce-subject"]) == ("1.0", "x.v1", "1.2.3")
    assert (fields["ce-source"], fields["ce-sequence"]) == ("http://hilum/sources/default", "2")
    assert (fields["content-type"], fields["webhook-id"]) == ("application/json", fields["ce-id"])
    assert receiver.subjects() == ["1.2.3", "%C3%A4%20%25", "3"]
    assert all(signed(request, hook.secret) for request in receiver.requests())
    assert not signed(first, "whsec_" + base64.b64encode(b"x" * 32).decode())
    wait_until(lambda: len(rows(database, "select 1 from hilum.delivery where state = 'delivered'")) == 3)


def test_structured_mode_and_filters(database: Database, couriers: Start, receiver: Receiver) -> None:
    hook = webhooks.add_hook(database, receiver.url, types=["a.v1"], sources=["north"], mode="structured")
    emit(database, 1, type="a.v1", source="south")
    emit(database, 2, type="b.v1", source="north")
    emit(database, 3, type="a.v1", source="north", n=3)
    serve(database, couriers)
    wait_until(receiver.requests)
    (request,) = receiver.requests()
    event = json.loads(request["body"])
    assert (event["subject"], event["data"], event["specversion"]) == ("3", {"n": 3}, "1.0")
    assert request["headers"]["Content-Type"] == "application/cloudevents+json"
    assert signed(request, hook.secret)


def test_order_is_kept_while_the_receiver_fails_and_while_it_is_away(
    database: Database, couriers: Start, receiver: Receiver
) -> None:
    receiver.mode("500")
    webhooks.add_hook(database, receiver.url)
    emit(database, 1, 2, 3)
    serve(database, couriers, Settings(delivery_retry_seconds=[0.2] * 3 + [3600.0]))
    wait_until(lambda: len(receiver.subjects()) >= 2)
    receiver.mode("204")
    wait_until(lambda: receiver.subjects()[-2:] == ["2", "3"])
    assert list(dict.fromkeys(receiver.subjects())) == ["1", "2", "3"]
    receiver.stop()
    emit(database, 4, 5)
    wait_until(lambda: rows(database, "select 1 from hilum.delivery_cursor where failures >= 2"))
    receiver.start()
    wait_until(lambda: receiver.subjects()[-2:] == ["4", "5"])
    assert rows(database, DEAD) == []


@pytest.mark.parametrize(("status", "tries"), [(400, 3), (404, 3), (410, 3), (302, 3), (409, 6), (500, 6)])
def test_a_refused_event_is_given_up_after_its_tries(
    database: Database, couriers: Start, receiver: Receiver, status: int, tries: int
) -> None:
    receiver.mode(f"poison:2:{status}")
    webhooks.add_hook(database, receiver.url)
    emit(database, 1, 2, 3)
    serve(database, couriers)
    wait_until(lambda: rows(database, DEAD))
    ((event, attempts, given, reason),) = rows(database, DEAD)
    assert (event, attempts, given) == (2, tries, status)
    assert str(status) in str(reason)
    wait_until(lambda: "3" in receiver.subjects())
    assert receiver.subjects().count("2") == tries


def test_a_receiver_whose_gateway_fails_on_one_event_gets_the_others(
    database: Database, couriers: Start, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 503 may mean that all is down: events wait for a while, then the next one tells."""
    monkeypatch.setattr("hilum.core.delivery.courier.LONGEST_WAIT_SECONDS", 0.05)
    receiver.mode("poison:2:503")
    webhooks.add_hook(database, receiver.url)
    emit(database, 1, 2, 3)
    serve(database, couriers)
    wait_until(lambda: "3" in receiver.subjects())
    assert receiver.subjects().count("2") >= 8
    wait_until(lambda: rows(database, DEAD))


def test_dead_letters_are_sent_again_one_by_one_or_all(database: Database, couriers: Start, receiver: Receiver) -> None:
    receiver.mode("400")
    hook = webhooks.add_hook(database, receiver.url)
    emit(database, 1, 2, 3)
    serve(database, couriers)
    wait_until(lambda: len(rows(database, DEAD)) == 3)
    receiver.mode("204")
    (first, *_) = rows(database, "select id from hilum.delivery order by id")
    assert replay(database, delivery_id=first[0]) == 1  # pyright: ignore
    wait_until(lambda: len(rows(database, DEAD)) == 2)
    wait_until(lambda: receiver.subjects()[-1] == "1")
    assert replay(database, consumer=hook.consumer) == 2
    wait_until(lambda: rows(database, "select count(*) from hilum.delivery where state = 'delivered'") == [(3,)])
    assert receiver.subjects()[-2:] == ["2", "3"]
    ids = {request["headers"]["webhook-id"] for request in receiver.requests()}
    assert len(ids) == 3  # the same each time


def test_https_is_spoken_to_whom_an_authority_of_ours_has_signed(
    database: Database, couriers: Start, tmp_path: Path
) -> None:
    ours, strangers = authority(tmp_path / "ours", "server"), authority(tmp_path / "strangers", "server")
    with (
        receiving(tmp_path / "known", ours / "server.pem") as known,
        receiving(tmp_path / "foreign", strangers / "server.pem") as foreign,
    ):
        hook, other = (webhooks.add_hook(database, receiver.url) for receiver in (known, foreign))
        for one, authorities in ((hook, None), (other, ours / "ca.pem")):
            why = webhooks.send_test(one, "http://hilum", authorities)
            assert why is not None
            assert (why.blame, "certificate verify failed" in why.reason.lower()) == ("consumer", True)
        couriers(webhooks.group(database, list, ours / "ca.pem"))
        emit(database, 1, 2)
        wait_until(lambda: known.subjects() == ["1", "2"])
        assert all(signed(request, hook.secret) for request in known.requests())
        wait_until(lambda: rows(database, "select 1 from hilum.delivery_cursor where failures > 0"))
        assert foreign.requests() == []


def test_an_authority_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    for path in (tmp_path / "ca.pem", tmp_path / "missing.pem"):
        with pytest.raises(Invalid, match="HILUM_OUTGOING_CA"):
            trusting(path)


def test_nothing_goes_where_a_redirect_leads(database: Database, receiver: Receiver) -> None:
    receiver.mode(f"redirect:{receiver.url}/elsewhere")
    hook = webhooks.add_hook(database, receiver.url)
    why = webhooks.send_test(hook, "http://hilum")
    assert why is not None
    assert (why.status, why.tries) == (302, 3)
    assert [request["path"] for request in receiver.requests()] == ["/events"]


@pytest.mark.parametrize("mode", ["hang", "drip"])
def test_a_receiver_that_does_not_come_to_an_end_is_left(receiver: Receiver, mode: str) -> None:
    import httpcore

    receiver.mode(mode)
    began = time.monotonic()
    with Post(receiver.url, seconds=1) as post, pytest.raises(httpcore.TimeoutException):
        post.send({}, b"{}")
    assert time.monotonic() - began < 20


def test_garbage_and_cut_connections_are_failures(database: Database, receiver: Receiver) -> None:
    hook = webhooks.add_hook(database, receiver.url)
    receiver.mode("garbage")
    why = webhooks.send_test(hook, "http://hilum")
    assert why is not None
    assert "not HTTP" in why.reason
    receiver.mode("cut")
    assert webhooks.send_test(hook, "http://hilum") is not None
    receiver.stop()
    gone = webhooks.send_test(hook, "http://hilum")
    assert gone is not None
    assert gone.blame == "consumer"


def test_of_an_endless_answer_little_is_read(receiver: Receiver) -> None:
    receiver.mode("endless")
    with Post(receiver.url) as post:
        assert post.send({}, b"{}").status == 200
        receiver.mode("204")
        assert post.send({}, b"{}").status == 204


def test_a_hanging_receiver_stops_no_other(database: Database, couriers: Start, receiver: Receiver, tmp_path) -> None:
    hanging = Receiver(tmp_path / "hanging")
    hanging.start()
    hanging.mode("hang")
    webhooks.add_hook(database, hanging.url)
    webhooks.add_hook(database, receiver.url)
    emit(database, *range(10))
    serve(database, couriers)
    wait_until(lambda: len(receiver.requests()) == 10)
    hanging.stop()


def test_an_inactive_webhook_keeps_its_place(database: Database, couriers: Start, receiver: Receiver) -> None:
    hook = webhooks.add_hook(database, receiver.url, active=False)
    other = webhooks.add_hook(database, receiver.url + "/other")
    serve(database, couriers)
    emit(database, 1, 2)
    wait_until(lambda: len(receiver.requests()) == 2)
    webhooks.change_hook(database, hook.id, {"active": True})
    wait_until(lambda: len(receiver.requests()) == 4)
    assert [request["path"] for request in receiver.requests()] == ["/events/other"] * 2 + ["/events"] * 2
    webhooks.remove_hook(database, other.id)
    emit(database, 3)
    wait_until(lambda: len(receiver.requests()) == 5)
    assert rows(database, "select name from hilum.delivery_cursor") == [(hook.consumer,)]


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a/b", "http://", "//a", "a", "http://user:secret@a/", "http://user@a/", "http://a/#x", "http://a:99999/",
        "http://a:0/", "http://a b/", "http://a/\n", "http://169.254.169.254/latest", "http://[fe80::1]/",
        "http://[::ffff:169.254.169.254]/", "http://0.0.0.0/", "http://224.0.0.1/", "http://[fd00:ec2::254]/",
        "http://100.100.100.200/", "http://[64:ff9b::a9fe:a9fe]/", "http://[::]/", "http://a/" + "x" * 2048, "http://[",
    ],
)  # fmt: skip
def test_an_address_that_may_not_be_is_refused(url: str) -> None:
    with pytest.raises(Invalid):
        check_url(url)


@pytest.mark.parametrize(
    "url", ["https://receiver.example/a?b=c", "http://10.1.2.3:8080/", "http://[fd12::1]/", "http://127.0.0.1:1/"]
)
def test_an_address_of_the_hospital_is_taken(url: str) -> None:
    check_url(url)


@pytest.mark.parametrize("host", ["2852039166", "0xa9.0xfe.0xa9.0xfe", "0251.0376.0251.0376"])
def test_a_name_is_judged_by_what_it_stands_for(host: str) -> None:
    """Other spellings of 169.254.169.254, which the resolver understands."""
    with Post(f"http://{host}/", seconds=5) as post, pytest.raises(Forbidden):
        post.send({}, b"")


def test_private_and_loopback_addresses_are_allowed_link_local_ones_are_not() -> None:
    assert all(map(allowed, ["10.0.0.1", "192.168.1.1", "172.16.0.1", "127.0.0.1", "::1", "fd12::1", "8.8.8.8"]))
    assert not any(map(allowed, ["169.254.1.1", "fe80::1%eth0", "255.255.255.255", "0.1.2.3", "ff02::1", "240.0.0.1"]))


def test_what_an_answer_means() -> None:
    assert webhooks.judge(Answer(202, "")) is None
    slow = webhooks.judge(Answer(429, "120"))
    assert slow == Undelivered("The receiver cannot take events now (429).", 429, None, 120.0, "either")
    later = format_datetime(datetime.now(UTC) + timedelta(minutes=5), usegmt=True)
    at = webhooks.judge(Answer(503, later))
    assert at is not None
    assert 250 < at.after <= 300
    for nonsense in ("-1", "x", "9" * 70, "Mon, 99 Foo", "²"):
        answer = webhooks.judge(Answer(503, nonsense))
        assert answer is not None
        assert 0 <= answer.after <= 3600


def test_retry_after_is_heeded(database: Database, couriers: Start, receiver: Receiver) -> None:
    receiver.mode("429;Retry-After: 1800")
    webhooks.add_hook(database, receiver.url)
    emit(database, 1)
    serve(database, couriers)
    wait = "select extract(epoch from retry_at - now()) > 1700 from hilum.delivery_cursor where failures = 1"
    wait_until(lambda: rows(database, wait) == [(True,)])


@pytest.mark.parametrize(
    "secret", ["abc", "whsec_", "whsec_!!!!", "whsec_" + base64.b64encode(b"x" * 23).decode(), "x" * 40]
)
def test_a_weak_secret_is_refused(database: Database, receiver: Receiver, secret: str) -> None:
    with pytest.raises(Invalid):
        webhooks.add_hook(database, receiver.url, secret=secret)


def test_nobody_is_there(database: Database) -> None:
    hook = webhooks.add_hook(database, f"http://127.0.0.1:{free_port()}/")
    why = webhooks.send_test(hook, "http://hilum")
    assert why is not None
    assert why.blame == "consumer"
    assert "refused" in why.reason
