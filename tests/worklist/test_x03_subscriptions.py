"""Subscriptions and event reports (PS3.18 sections 8.10 and 11.10 to 11.13, PS3.4 sections CC.2.3 and CC.2.4)."""

import json
from datetime import timedelta

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from hilum.imaging.worklist import reports, subscriptions
from hilum.imaging.worklist.workitems import forget
from tests.conftest import wait_until
from tests.worklist.conftest import Worklist, code, element, gist, new_uid, performed, read, value, workitem

ALL, FILTERED = "1.2.840.10008.5.1.4.34.5", "1.2.840.10008.5.1.4.34.5.1"


def quiet(worklist: Worklist, ae_title: str) -> bool:
    """Whether nothing waits for a subscriber."""
    with worklist.archive.database.transaction() as sql:
        return not sql.rows(
            "select 1 from hilum.worklist_report r join hilum.worklist_subscriber s on s.id = r.subscriber_id "
            "where s.ae_title = %s and r.sent_at is null limit 1",
            (ae_title,),
        )


def test_x03_a_subscription_answers_with_the_socket_and_tells_the_present_state(worklist: Worklist, node: str) -> None:
    uid = worklist.create()
    answer = worklist.subscribe(uid, node)
    assert (answer.status_code, answer.content) == (201, b"")
    assert answer.headers["content-location"] == f"ws{worklist.root[4:]}/subscribers/{node}"
    with worklist.open(node) as socket:
        (report,) = read(socket, 1)
    assert report == {
        "00000002": element("UI", "1.2.840.10008.5.1.4.34.6.1"),
        "00000100": element("US", 256),
        "00000110": element("US", 1),
        "00001000": element("UI", uid),
        "00001002": element("US", 1),
        "00404041": element("CS", "READY"),
        "00741000": element("CS", "SCHEDULED"),
    }
    assert list(report) == sorted(report)


def test_x03_each_change_is_told_once_and_in_order(worklist: Worklist, node: str) -> None:
    uid = worklist.create()
    with worklist.open(node) as socket:
        worklist.subscribe(uid, node)
        transaction = worklist.claim(uid)
        progress = {"00741002": element("SQ", {"00741004": element("DS", 50), "00741006": element("ST", "half way")})}
        worklist.update(uid, progress, transaction)
        worklist.update(uid, progress, transaction)  # the same again is no change
        worklist.update(uid, {"00404041": element("CS", "UNAVAILABLE")}, transaction)
        worklist.update(uid, {"00404025": element("SQ", code("CT1"))}, transaction)
        worklist.update(uid, performed(), transaction)  # told to nobody: no event type is for it
        worklist.change(uid, "COMPLETED", transaction)
        told = read(socket, 6)
        wait_until(lambda: quiet(worklist, node))
    assert [gist(one) for one in told] == [
        (uid, 1, "SCHEDULED"),
        (uid, 1, "IN PROGRESS"),
        (uid, 3, None),
        (uid, 1, "IN PROGRESS"),
        (uid, 5, None),
        (uid, 1, "COMPLETED"),
    ]
    assert [value(one, "00000110") for one in told] == [1, 2, 3, 4, 5, 6]
    assert told[2]["00741002"] == progress["00741002"]
    assert value(told[3], "00404041") == "UNAVAILABLE"
    assert value(value(told[4], "00404025"), "00080100") == "CT1"  # pyright: ignore


def test_x03_a_cancel_request_of_a_scheduled_workitem_is_told_as_two_changes(worklist: Worklist, node: str) -> None:
    uid = worklist.create()
    with worklist.open(node) as socket:
        worklist.subscribe(uid, node)
        worklist.send("POST", f"/workitems/{uid}/cancelrequest", {"00741238": element("LT", "enough")})
        told = read(socket, 3)
    assert [gist(one)[2] for one in told] == ["SCHEDULED", "IN PROGRESS", "CANCELED"]
    assert value(told[2], "00741238") == "enough"


def test_x03_a_global_subscriber_is_told_of_every_new_workitem(alone: Worklist) -> None:
    old = alone.create()
    with alone.open("ALL") as socket, alone.open("LOCKED") as locked:
        assert alone.subscribe(ALL, "ALL").status_code == 201
        assert alone.subscribe(ALL, "LOCKED", deletionlock="true").status_code == 201
        performer = {
            "00404009": element("SQ", code("DR1")),
            "00404036": element("LO", "Radiology"),
            "00404037": element("PN", {"Alphabetic": "Roe^R"}),
        }
        new = alone.create(t00404025=element("SQ", code("CT1")), t00404034=element("SQ", performer))
        alone.claim(old)
        told, told_locked = read(socket, 3), read(locked, 4)
    expected = [(new, 1, "SCHEDULED"), (new, 5, None), (old, 1, "IN PROGRESS")]
    assert [gist(one) for one in told] == expected
    # With a lock the state of those that are there is told at first (PS3.4 table CC.2.3-2).
    assert [gist(one) for one in told_locked] == [(old, 1, "SCHEDULED"), *expected]
    assert value(value(told[1], "00404009"), "00080100") == "DR1"  # pyright: ignore
    assert value(told[1], "00404036") == "Radiology"


def test_x03_a_filtered_subscriber_is_told_of_what_matches(alone: Worklist) -> None:
    old = [alone.create(t00741202=element("LO", "LUNG")), alone.create()]
    with alone.open("LUNGS") as socket:
        keys = "WorklistLabel=LUNG,ScheduledWorkitemCodeSequence.CodeValue=S*"
        assert alone.subscribe(FILTERED, "LUNGS", filter=keys).status_code == 201
        new = [alone.create(), alone.create(t00741202=element("LO", "LUNG"))]
        alone.create(t00741202=element("LO", "LUNG"), t00404018=element("SQ", code("CAD")))
        for uid in (*old, *new):
            alone.claim(uid)
        told = read(socket, 3)
        wait_until(lambda: quiet(alone, "LUNGS"))
    assert [gist(one) for one in told] == [
        (new[1], 1, "SCHEDULED"),
        (old[0], 1, "IN PROGRESS"),
        (new[1], 1, "IN PROGRESS"),
    ]


@pytest.mark.parametrize(
    "query", ["", "filter=", "filter=WorklistLabel", "filter=Nonsense=1", "filter=PatientBirthDate=x"]
)
def test_x03_a_filter_that_is_none_is_400(worklist: Worklist, node: str, query: str) -> None:
    answer = worklist.send("POST", f"/workitems/{FILTERED}/subscribers/{node}?{query}")
    assert answer.status_code == 400, answer.text


def test_x03_suspending_ends_what_is_to_come_and_unsubscribing_all(alone: Worklist) -> None:
    with alone.open("A") as socket:
        alone.subscribe(ALL, "A")
        first = alone.create()
        assert alone.send("POST", f"/workitems/{ALL}/subscribers/A/suspend").status_code == 200
        second = alone.create()
        alone.claim(first)
        alone.claim(second)
        assert [gist(one) for one in read(socket, 2)] == [(first, 1, "SCHEDULED"), (first, 1, "IN PROGRESS")]
        assert alone.send("POST", f"/workitems/{ALL}/subscribers/A/suspend").status_code == 404
        alone.subscribe(second, "A")
        assert alone.send("DELETE", f"/workitems/{first}/subscribers/A").status_code == 200
        assert alone.send("DELETE", f"/workitems/{first}/subscribers/A").status_code == 404
        assert alone.send("DELETE", f"/workitems/{ALL}/subscribers/A").status_code == 200
        assert alone.send("DELETE", f"/workitems/{ALL}/subscribers/A").status_code == 404
        assert alone.send("DELETE", f"/workitems/{FILTERED}/subscribers/A").status_code == 404
        alone.update(second, {"00404041": element("CS", "READY")})
        assert [gist(one) for one in read(socket, 1)] == [(second, 1, "IN PROGRESS")]
        with alone.archive.database.transaction() as sql:
            assert sql.rows("select max(number) as last from hilum.worklist_report") == [{"last": 3}]


def test_x03_only_the_worklist_is_suspended(worklist: Worklist, node: str) -> None:
    uid = worklist.create()
    assert worklist.send("POST", f"/workitems/{uid}/subscribers/{node}/suspend").status_code == 400


@pytest.mark.parametrize("ae_title", ["SEVENTEEN_LETTERS", "%20", "A%5CB", "A%0A", "%C3%84"])
def test_x03_bad_ae_titles_are_400(worklist: Worklist, ae_title: str) -> None:
    uid = worklist.create()
    assert worklist.send("POST", f"/workitems/{uid}/subscribers/{ae_title}").status_code == 400
    assert worklist.send("DELETE", f"/workitems/{uid}/subscribers/{ae_title}").status_code == 400
    with pytest.raises(InvalidStatus) as refused, worklist.open(ae_title):
        pass
    assert refused.value.response.status_code == 400


def test_x03_a_lock_keeps_what_has_ended_and_the_rest_goes_and_is_410(alone: Worklist) -> None:
    locked, free, going = alone.create(), alone.create(), alone.create()
    alone.subscribe(locked, "KEEPER", deletionlock="true")
    alone.subscribe(free, "KEEPER", deletionlock="false")
    transaction = alone.complete(locked)
    alone.complete(free)
    assert forget(alone.archive.database, timedelta(days=1)) == 0
    assert forget(alone.archive.database, timedelta(0)) == 1
    assert forget(alone.archive.database, timedelta(0)) == 0
    assert alone.uids() == [locked, going]
    for method, path, data in (
        ("GET", "", None),
        ("POST", "", {}),
        ("PUT", "/state", {"00741000": element("CS", "COMPLETED"), "00081195": element("UI", transaction)}),
        ("POST", "/cancelrequest", None),
        ("POST", "/subscribers/KEEPER", None),
    ):
        assert alone.send(method, f"/workitems/{free}{path}", data).status_code == 410
    assert alone.send("POST", f"/workitems?{free}", workitem()).status_code == 409
    assert alone.feed(free)[-1][0] == "hilum.workitem.deleted.v1"
    assert alone.subscribe(locked, "KEEPER", deletionlock="false").status_code == 201
    assert forget(alone.archive.database, timedelta(0)) == 1


def test_x03_deletionlock_is_true_or_false(worklist: Worklist, node: str) -> None:
    assert worklist.subscribe(worklist.create(), node, deletionlock="maybe").status_code == 400


def test_x03_the_address_of_a_socket_says_so_to_others(worklist: Worklist, node: str) -> None:
    answer = worklist.send("GET", f"/subscribers/{node}")
    assert (answer.status_code, answer.headers["upgrade"]) == (426, "websocket")


def test_x03_a_page_of_another_site_opens_no_socket(worklist: Worklist, node: str) -> None:
    for headers, status in (({"Origin": "https://evil.example"}, 403), ({"Host": "evil.example"}, 421)):
        with pytest.raises(InvalidStatus) as refused, worklist.open(node, additional_headers=headers):
            pass
        assert refused.value.response.status_code == status
    with worklist.open(node, origin=worklist.root.rpartition("/")[0]):
        pass


def test_x03_what_was_not_told_is_told_after_the_reconnect_and_nothing_twice(worklist: Worklist, node: str) -> None:
    uids = [worklist.create() for _ in range(3)]
    with worklist.open(node) as socket:
        worklist.subscribe(uids[0], node)
        assert gist(read(socket, 1)[0])[0] == uids[0]
        wait_until(lambda: quiet(worklist, node))
    worklist.subscribe(uids[1], node)
    worklist.subscribe(uids[2], node)
    with worklist.open(node) as socket:
        assert [gist(one)[0] for one in read(socket, 2)] == uids[1:]


def test_x03_a_client_that_says_what_it_has_seen_is_told_the_rest(worklist: Worklist, node: str) -> None:
    uids = [worklist.create() for _ in range(4)]
    for uid in uids:
        worklist.subscribe(uid, node)
    for after, expected in ((0, uids), (1, uids[1:]), (3, uids[3:]), (2, uids[2:])):
        with worklist.open(node, f"?after={after}") as socket:
            assert [gist(one)[0] for one in read(socket, len(expected))] == expected
            wait_until(lambda: quiet(worklist, node))
    for wrong in ("x", "-1", "65536"):
        with pytest.raises(InvalidStatus) as refused, worklist.open(node, f"?after={wrong}"):
            pass
        assert refused.value.response.status_code == 400


def test_x03_the_latest_of_two_sockets_is_served(worklist: Worklist, node: str) -> None:
    uid = worklist.create()
    with worklist.open(node) as first, worklist.open(node) as second:
        worklist.subscribe(uid, node)
        assert len(read(second, 1)) == 1
        with pytest.raises(ConnectionClosed) as closed:
            first.recv(timeout=60)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4001


def test_x03_clients_may_talk_and_are_not_listened_to(worklist: Worklist, node: str) -> None:
    uid = worklist.create()
    with worklist.open(node) as socket:
        socket.send("hello")
        socket.send(b"\x00" * 1000)
        worklist.subscribe(uid, node)
        assert len(read(socket, 1)) == 1


def test_x03_the_queue_of_a_subscriber_is_bounded_and_the_gap_shows(
    worklist: Worklist, node: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "MAX_KEPT", 5)
    uid = worklist.create()
    for _ in range(8):
        worklist.subscribe(uid, node)
    with worklist.open(node) as socket:
        assert [value(one, "00000110") for one in read(socket, 5)] == [4, 5, 6, 7, 8]


def test_x03_the_number_of_subscribers_is_bounded_and_idle_ones_make_room(
    alone: Worklist, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "MAX_SUBSCRIBERS", 3)
    uid = alone.create()
    assert [alone.subscribe(uid, f"N{n}").status_code for n in range(4)] == [201, 201, 201, 403]
    alone.send("DELETE", f"/workitems/{uid}/subscribers/N0")
    with alone.open("N0") as socket:
        read(socket, 1)
        wait_until(lambda: quiet(alone, "N0"))
    assert alone.subscribe(uid, "N3").status_code == 201
    assert alone.subscribe(uid, "N4").status_code == 403


def test_x03_message_ids_run_on_beyond_16_bits(worklist: Worklist, node: str) -> None:
    uid = worklist.create()
    worklist.subscribe(uid, node)
    with worklist.archive.database.transaction() as sql:
        sql.rows("update hilum.worklist_subscriber set last_number = 65533 where ae_title = %s", (node,))
        sql.rows("delete from hilum.worklist_report")
    for _ in range(4):
        worklist.subscribe(uid, node)
    with worklist.open(node) as socket:
        assert [value(one, "00000110") for one in read(socket, 4)] == [65534, 65535, 1, 2]
    with worklist.open(node, "?after=65535") as socket:
        assert [value(one, "00000110") for one in read(socket, 2)] == [1, 2]


def test_x03_the_feed_and_reports_name_no_patient(worklist: Worklist, node: str) -> None:
    uid = new_uid()
    secret = workitem(t00100010=element("PN", {"Alphabetic": "Secret^S"}), t00100020=element("LO", "SECRET-1"))
    with worklist.open(node) as socket:
        assert worklist.send("POST", f"/workitems?{uid}", secret).status_code == 201
        worklist.subscribe(uid, node)
        worklist.claim(uid)
        told = json.dumps(read(socket, 2)) + str(worklist.feed(uid))
    assert "secret" not in told.lower()
