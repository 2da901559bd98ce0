"""Forwarding by STOW-RS: to a second Hilum, and to servers that answer in every odd way."""

import json
import time
from datetime import UTC, datetime

import httpx
import pytest
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, JPEG2000Lossless

from hilum.imaging.routing import destinations, queue
from tests.dicom.formats import in_syntax
from tests.dicomweb.conftest import Web
from tests.make import ct, uid
from tests.routing.conftest import Answer, Forwarder, arrivals_at, held_by, odd_target
from tests.routing.test_cstore_out import in_native


def stow(web: Web) -> dict[str, object]:
    return {"url": web.root}


def test_instances_arrive_once_with_their_digests_whatever_they_are_stored_in(
    forwarder: Forwarder, target: Web
) -> None:
    forwarder.rule(forwarder.destination(**stow(target)))
    plain = [ct(1, 1, n) for n in range(1, 8)]
    forwarder.keep(
        *plain,
        in_syntax(ct(2), JPEG2000Lossless),
        in_native(ct(3), ImplicitVRLittleEndian),
        in_native(ct(4), ExplicitVRBigEndian),
        ct(5, Rows=512, Columns=512, PixelData=bytes(512 * 1024)),
    )
    assert forwarder.hear() == 11
    forwarder.send()
    assert set(forwarder.states().values()) == {"sent"}
    assert held_by(target.archive) == held_by(forwarder.archive)
    assert sorted(arrivals_at(target.archive)) == sorted(held_by(forwarder.archive))
    forwarder.heard = 0
    assert forwarder.hear() == 0


def test_replaced_bytes_are_sent_as_well(forwarder: Forwarder, target: Web) -> None:
    forwarder.rule(forwarder.destination(**stow(target)))
    for seed in (1, 2, 3):
        forwarder.keep(ct(1, seed=seed))
        forwarder.hear()
        forwarder.send()
        assert held_by(target.archive) == held_by(forwarder.archive)
    assert len(arrivals_at(target.archive)) == 3


def test_bytes_that_are_replaced_while_they_are_sent_are_followed_by_the_new_ones(
    forwarder: Forwarder, target: Web
) -> None:
    from hilum.imaging.routing.sending import deliver

    forwarder.rule(forwarder.destination(**stow(target)))
    forwarder.keep(ct(1, seed=1))
    forwarder.hear()
    held = queue.lease(forwarder.database)
    assert held
    before = held.items[0].digest
    forwarder.keep(ct(1, seed=2))
    forwarder.hear()
    assert queue.lease(forwarder.database) is None
    deliver(forwarder.archive, held)
    assert forwarder.count("waiting") == 1
    forwarder.send()
    assert held_by(target.archive) == held_by(forwarder.archive) != {uid(1, 1, 1): before}


def test_a_destination_may_want_one_transfer_syntax(forwarder: Forwarder, target: Web) -> None:
    forwarder.rule(forwarder.destination(**stow(target), transfer_syntax_uid=str(JPEG2000Lossless)))
    forwarder.keep(ct(1, size=64), ct(2, size=64))
    forwarder.hear()
    forwarder.send()
    with target.archive.database.transaction() as sql:
        rows = sql.rows("select transfer_syntax_uid from hilum.instance")
    assert [row["transfer_syntax_uid"] for row in rows] == [JPEG2000Lossless] * 2


def answer_of(stored: list[str], failed: dict[str, int]) -> bytes:
    def item(instance: str, **more: object) -> dict[str, object]:
        return {"00081155": {"vr": "UI", "Value": [instance]}} | more

    sequences = {
        "00081199": {"vr": "SQ", "Value": [item(one) for one in stored]},
        "00081198": {
            "vr": "SQ",
            "Value": [item(one, **{"00081197": {"vr": "US", "Value": [code]}}) for one, code in failed.items()],
        },
    }
    return json.dumps(sequences).encode()


def uids_in(body: bytes) -> list[str]:
    """Those of the six instances of `keep_six` that a request holds."""
    return [one for n in range(1, 7) if (one := uid(1, 1, n)).encode() + b"\0" in body or one.encode() in body]


def keep_six(forwarder: Forwarder) -> None:
    forwarder.keep(*(ct(1, 1, n) for n in range(1, 7)))
    forwarder.hear()


def test_each_instance_has_its_own_fate(forwarder: Forwarder) -> None:
    tried: list[str] = []

    def answer(_: int, body: bytes) -> Answer:
        there = uids_in(body)
        tried.extend(there)
        failed = {one: code for one, code in FATES.items() if one in there and tried.count(one) <= code[1]}
        stored = [one for one in there if one not in failed and not one.endswith(".6")]
        content = answer_of(stored, {one: code for one, (code, _) in failed.items()})
        return (202 if stored else 409), {"Content-Type": "application/dicom+json"}, content

    with odd_target(answer) as odd:
        rule = forwarder.rule(forwarder.destination(url=odd.url, max_attempts=3))
        keep_six(forwarder)
        forwarder.send()
    states = forwarder.states()
    assert [states[uid(1, 1, n)] for n in range(1, 7)] == ["dead", "sent", "dead", "sent", "sent", "dead"]
    reasons = {item["sop_instance_uid"]: item for item in forwarder.items()}
    assert "SOP class" in str(reasons[uid(1, 1, 1)]["error"])
    assert reasons[uid(1, 1, 3)]["attempts"] == 3
    assert "409" in str(reasons[uid(1, 1, 6)]["error"])
    assert tried.count(uid(1, 1, 1)) == 1
    counts = queue.counts(forwarder.database, [rule])[rule]
    assert (counts.sent, counts.dead, counts.waiting, counts.per_minute) == (3, 3, 0, 3)


FATES = {
    uid(1, 1, 1): (0x0122, 99),  # never
    uid(1, 1, 2): (0x0110, 1),  # the second time
    uid(1, 1, 3): (0x0110, 99),  # tried until it is given up
}


def test_dead_letters_are_replayed(forwarder: Forwarder, api: httpx.Client) -> None:
    mended = False

    def answer(_: int, body: bytes) -> Answer:
        there = uids_in(body)
        return (200, {}, answer_of(there, {})) if mended else (409, {}, answer_of([], dict.fromkeys(there, 0x0122)))

    with odd_target(answer) as odd:
        rule = forwarder.rule(forwarder.destination(url=odd.url))
        keep_six(forwarder)
        forwarder.send()
        assert set(forwarder.states().values()) == {"dead"}
        mended = True
        first = api.get(f"/rules/{rule}/queue?state=dead").json()["items"][0]
        assert api.post(f"/rules/{rule}/queue/{first['id']}/replay").json() == {"replayed": 1}
        assert api.post(f"/rules/{rule}/queue/replay").json() == {"replayed": 5}
        forwarder.send()
    assert set(forwarder.states().values()) == {"sent"}


def test_one_instance_that_makes_a_server_fail_is_found_and_the_others_go(forwarder: Forwarder) -> None:
    poison = uid(1, 1, 4)

    def answer(_: int, body: bytes) -> Answer:
        return (500, {}, b"Traceback") if poison in uids_in(body) else (200, {}, b"")

    with odd_target(answer) as odd:
        forwarder.rule(forwarder.destination(url=odd.url, max_attempts=2))
        keep_six(forwarder)
        forwarder.send()
    assert [one for one, state in forwarder.states().items() if state != "sent"] == [poison]
    assert forwarder.states()[poison] == "dead"


@pytest.mark.parametrize("status", [401, 404, 301, 503])
def test_an_answer_that_no_instance_is_to_blame_for_makes_no_dead_letters(forwarder: Forwarder, status: int) -> None:
    with odd_target(lambda _n, _body: (200, {}, b"")) as elsewhere:

        def answer(number: int, _: bytes) -> Answer:
            return (status, {"Location": elsewhere.url + "/studies"}, b"") if number <= 3 else (200, {}, b"")

        with odd_target(answer) as odd:
            to = forwarder.destination(url=odd.url, max_attempts=1)
            forwarder.rule(to)
            keep_six(forwarder)
            while not forwarder.send_once():
                pass
            assert destinations.find_destination(forwarder.database, to).error
            forwarder.send()
            sizes = [len(uids_in(body)) for _, _, body in odd.requests]
        assert elsewhere.requests == []
    assert set(forwarder.states().values()) == {"sent"}
    assert sizes[:4] == [1, 1, 1, 1]  # it is asked with one until it answers
    assert destinations.find_destination(forwarder.database, to).failures == 0


def test_credentials_go_with_each_request(forwarder: Forwarder) -> None:
    with odd_target(lambda _n, _body: (200, {}, b"")) as odd:
        for credentials in ({"username": "hilum", "password": "pass"}, {"token": "abc"}):
            forwarder.rule(forwarder.destination(url=odd.url, credentials=credentials))
        keep_six(forwarder)
        forwarder.send()
        sent = {headers.get("authorization") for _, headers, _ in odd.requests}
    assert sent == {"Basic aGlsdW06cGFzcw==", "Bearer abc"}


def test_base_url_takes_the_place_of_the_url(forwarder: Forwarder) -> None:
    with odd_target(lambda _n, _body: (200, {}, b"")) as odd:
        forwarder.rule(forwarder.destination(url="https://pacs.example/dicom-web", base_url=odd.url + "/inside/"))
        forwarder.keep(ct(1))
        forwarder.hear()
        forwarder.send()
        assert [path for path, _, _ in odd.requests] == ["/dicom-web/inside/studies"]


def test_a_server_that_answers_late_or_without_end_holds_nothing_up(forwarder: Forwarder) -> None:
    def answer(number: int, _: bytes) -> Answer:
        if number == 1:
            time.sleep(2.5)
        return (200, {}, b"" if number != 2 else b" " * (9 << 20))

    with odd_target(answer) as odd:
        forwarder.rule(forwarder.destination(url=odd.url, timeout_seconds=1.0))
        forwarder.keep(ct(1))
        forwarder.hear()
        forwarder.send()
        assert len(odd.requests) >= 3  # on a slow machine an answer that is short may be late, too
    assert set(forwarder.states().values()) == {"sent"}


def test_a_server_that_does_not_take_the_stored_syntax_gets_a_plain_one(forwarder: Forwarder) -> None:
    def answer(_: int, body: bytes) -> Answer:
        if b"transfer-syntax=1.2.840.10008.1.2.1\r\n" in body:
            return 200, {}, answer_of([uid(1, 1, 1)], {})
        return 409, {}, answer_of([], {uid(1, 1, 1): 0xC122})

    with odd_target(answer) as odd:
        forwarder.rule(forwarder.destination(url=odd.url))
        forwarder.keep(in_syntax(ct(1, size=64), JPEG2000Lossless))
        forwarder.hear()
        forwarder.send()
        assert len(odd.requests) == 2
    assert set(forwarder.states().values()) == {"sent"}


def test_a_lease_that_runs_out_is_taken_up_by_another(forwarder: Forwarder, target: Web) -> None:
    forwarder.rule(forwarder.destination(**stow(target)))
    forwarder.keep(ct(1))
    forwarder.hear()
    dead = queue.lease(forwarder.database)
    assert dead
    assert queue.lease(forwarder.database) is None
    queue.keep(forwarder.database, [dead.lease])
    with forwarder.database.transaction() as sql:
        sql.rows("update hilum.routing_item set leased_until = now() - interval '1 second'")
    again = queue.lease(forwarder.database)
    assert again
    assert again.items[0].uncertain
    queue.settle(forwarder.database, dead, [queue.Result(dead.items[0], sent=False, error="late")])
    assert forwarder.count("sending") == 1
    queue.settle(forwarder.database, again, [queue.Result(again.items[0], sent=True)])
    assert forwarder.count("sent") == 1


def test_a_sign_of_life_is_asked_for(forwarder: Forwarder, api: httpx.Client, target: Web) -> None:
    there, gone = forwarder.destination(**stow(target)), forwarder.destination(url="http://127.0.0.1:9/dicom-web")
    told = api.post(f"/destinations/{there}/test").json()
    assert (told["ok"], told["message"]) == (True, "It answers.")
    told = api.post(f"/destinations/{gone}/test").json()
    assert (told["ok"], told["message"]) == (False, "Nobody answers there.")


def test_retry_after_is_heeded(forwarder: Forwarder) -> None:
    """A destination that asks for an hour is left alone for it, not for the tenth of a second that would be due."""
    with odd_target(lambda _, __: (503, {"Retry-After": "1800"}, b"")) as odd:
        destination = forwarder.destination(url=odd.url)
        forwarder.rule(destination)
        keep_six(forwarder)
        assert forwarder.send_once()
        found = destinations.find_destination(forwarder.database, destination)
        assert found.retry_at is not None
        assert 1700 < (found.retry_at - datetime.now(UTC)).total_seconds() <= 1800
        assert not forwarder.send_once()
    assert set(forwarder.states().values()) == {"waiting"}
